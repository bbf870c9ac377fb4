//! A JSON value as YAML in blocks: what people expect in a kubeconfig.

use serde_json::Value;

/// The value, which is a map, as a document.
pub(super) fn text(value: &Value) -> String {
    let mut out = String::new();
    block(value, 0, &mut out);
    out
}

/// Each line of the value, indented by `depth` steps; begins and ends at the start of a line.
fn block(value: &Value, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                out.push_str(&format!("{indent}{}:", scalar(&key.as_str().into())));
                after(value, depth, out);
            }
        }
        Value::Array(items) => {
            for item in items {
                // The first line of an item stands after its dash, which is as wide as a step.
                let mut lines = String::new();
                if is_block(item) {
                    block(item, depth + 1, &mut lines);
                    out.push_str(&format!("{indent}- {}", lines.trim_start_matches(' ')));
                } else {
                    out.push_str(&format!("{indent}- {}\n", scalar(item)));
                }
            }
        }
        other => out.push_str(&format!("{indent}{}\n", scalar(other))),
    }
}

/// What stands behind a key.
fn after(value: &Value, depth: usize, out: &mut String) {
    if !is_block(value) {
        out.push_str(&format!(" {}\n", scalar(value)));
        return;
    }
    out.push('\n');
    // As kubectl writes it: lists at the level of their key.
    let step = usize::from(value.is_object());
    block(value, depth + step, out);
}

fn is_block(value: &Value) -> bool {
    match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    }
}

/// Bare where nothing can be misread; a JSON string is a YAML string, whatever is in it.
fn scalar(value: &Value) -> String {
    let Value::String(text) = value else {
        return value.to_string();
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./@+=".contains(c);
    let first = |c: char| c.is_ascii_alphabetic() || c == '/';
    let word = matches!(
        text.to_ascii_lowercase().as_str(),
        "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
    );
    let url = text.starts_with("https://") && !text.ends_with(':');
    let fine = |c: char| plain(c) || (url && c == ':');
    if text.starts_with(first) && text.chars().all(fine) && !word {
        return text.clone();
    }
    value.to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let value = json!({
            "apiVersion": "v1", "current-context": "", "preferences": {}, "none": null, "n": 5,
            "odd": ["true", "5", "a: b", "- x", "#", "line\nline", "", " a", "~", "é", "a\u{1}b",
                    "1e3", "https://[::1]:6443", "https://a:6443", "x:"],
            "clusters": [
                {"cluster": {"server": "https://10.0.0.1:6443", "extensions": [
                    {"name": "a", "extension": {"deep": [["x", []], {}]}}]}, "name": "bramble"},
            ],
            "a key": {"b: c": true},
        });
        let text = text(&value);
        let read = bramble_api::decode::untyped(Some("application/yaml"), text.as_bytes());
        assert_eq!(read.unwrap(), value, "{text}");
    }

    #[test]
    fn it_looks_like_what_kubectl_writes() {
        let value = json!({"contexts": [{"context": {"cluster": "c", "user": "u"}, "name": "me"}]});
        let want = "contexts:\n- context:\n    cluster: c\n    user: u\n  name: me\n";
        assert_eq!(text(&value), want);
    }
}
