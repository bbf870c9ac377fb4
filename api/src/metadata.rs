//! Names, labels and annotations under upstream's rules, and the canonical bytes of an object.

use serde_json::{Map, Value};

/// Canonical JSON of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canonical {
    /// The bytes: `kind`, `apiVersion`, `metadata` first, every other key in byte order.
    pub bytes: Vec<u8>,
    /// Where the store writes the decimal revision: just after the opening quote of
    /// `"resourceVersion":""`. `None` when the value has no `metadata` object.
    pub revision_at: Option<usize>,
}

/// Serialises an object canonically, with an empty `resourceVersion` for the store to fill.
pub fn canonical(value: &Value) -> Canonical {
    let mut out = Canonical {
        bytes: Vec::with_capacity(1024),
        revision_at: None,
    };
    match value {
        Value::Object(map) => {
            out.bytes.push(b'{');
            for key in ["kind", "apiVersion"] {
                if let Some(value) = map.get(key) {
                    member(&mut out.bytes, key, value);
                }
            }
            match map.get("metadata") {
                Some(Value::Object(metadata)) => write_metadata(&mut out, metadata),
                Some(other) => member(&mut out.bytes, "metadata", other),
                None => {}
            }
            for (key, value) in sorted(map) {
                if !matches!(key.as_str(), "kind" | "apiVersion" | "metadata") {
                    member(&mut out.bytes, key, value);
                }
            }
            out.bytes.push(b'}');
        }
        other => write(&mut out.bytes, other),
    }
    out
}

/// Metadata with `resourceVersion` in its sorted place, always there, always empty.
fn write_metadata(out: &mut Canonical, metadata: &Map<String, Value>) {
    const REVISION: &str = "resourceVersion";
    key(&mut out.bytes, "metadata");
    out.bytes.push(b'{');
    let mut pending = true;
    let mut revision = |out: &mut Canonical| {
        if std::mem::take(&mut pending) {
            member(&mut out.bytes, REVISION, &Value::from(""));
            out.revision_at = Some(out.bytes.len() - 1);
        }
    };
    for (key, value) in sorted(metadata) {
        if key.as_str() >= REVISION {
            revision(out);
        }
        if key != REVISION {
            member(&mut out.bytes, key, value);
        }
    }
    revision(out);
    out.bytes.push(b'}');
}

/// In byte order, whichever map serde_json was built with.
fn sorted(map: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_unstable_by_key(|entry| entry.0);
    entries
}

fn key(out: &mut Vec<u8>, name: &str) {
    if !matches!(out.last(), Some(b'{')) {
        out.push(b',');
    }
    write(out, &Value::from(name));
    out.push(b':');
}

fn member(out: &mut Vec<u8>, name: &str, value: &Value) {
    key(out, name);
    write(out, value);
}

fn write(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Object(map) => {
            out.push(b'{');
            for (name, value) in sorted(map) {
                member(out, name, value);
            }
            out.push(b'}');
        }
        Value::Array(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write(out, item);
            }
            out.push(b']');
        }
        // A scalar always serialises.
        scalar => drop(serde_json::to_writer(out, scalar)),
    }
}

/// The characters of generated names: no vowels, nothing that looks like something else.
pub const SUFFIX_ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// Longest name that `generateName` makes.
const MAX_GENERATED: usize = 63;

/// A name out of `generateName` and a random suffix, cut as upstream cuts.
pub fn generated_name(base: &str, suffix: &str) -> String {
    let mut end = base
        .len()
        .min(MAX_GENERATED - suffix.len().min(MAX_GENERATED));
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", &base[..end])
}

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";

fn alphanumeric(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|b| alphanumeric(*b))
        && bytes.last().is_some_and(|b| alphanumeric(*b))
        && bytes.iter().all(|b| alphanumeric(*b) || *b == b'-')
}

fn too_long(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

/// What is wrong with an RFC 1123 label (namespace names, container names); empty when fine.
pub fn dns_label(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > 63 {
        out.push(too_long(63));
    }
    if !is_label(text) {
        out.push(format!("a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{LABEL}')"));
    }
    out
}

/// What is wrong with an RFC 1035 label (names of Services); empty when fine.
pub fn dns_1035_label(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > 63 {
        out.push(too_long(63));
    }
    if !is_label(text) || !text.starts_with(|c: char| c.is_ascii_lowercase()) {
        out.push("a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')".into());
    }
    out
}

/// What is wrong with a name that only has to fit a segment of a path (roles); empty when fine.
pub fn path_segment(text: &str) -> Vec<String> {
    if matches!(text, "." | "..") {
        return vec![format!("may not be '{text}'")];
    }
    ["/", "%"]
        .into_iter()
        .filter(|bad| text.contains(bad))
        .map(|bad| format!("may not contain '{bad}'"))
        .collect()
}

/// What is wrong with an RFC 1123 subdomain (most object names); empty when fine.
pub fn dns_subdomain(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > 253 {
        out.push(too_long(253));
    }
    if !text.split('.').all(is_label) {
        out.push(format!("a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{LABEL}(\\.{LABEL})*')"));
    }
    out
}

fn is_name_part(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

/// What is wrong with a label or annotation key; empty when fine.
pub fn qualified_name(text: &str) -> Vec<String> {
    const FORM: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
    let mut out = Vec::new();
    let mut parts = text.split('/');
    let (first, second, more) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let name = match (second, more) {
        (None, _) => first,
        (Some(name), None) => {
            if first.is_empty() {
                out.push("prefix part must be non-empty".into());
            } else {
                out.extend(
                    dns_subdomain(first)
                        .into_iter()
                        .map(|m| format!("prefix part {m}")),
                );
            }
            name
        }
        _ => {
            return vec![format!(
                "a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{FORM}') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        out.push("name part must be non-empty".into());
    } else if name.len() > 63 {
        out.push(format!("name part {}", too_long(63)));
    }
    if !is_name_part(name) {
        out.push(format!("name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{FORM}')"));
    }
    out
}

/// What is wrong with a label value; empty when fine.
pub fn label_value(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > 63 {
        out.push(too_long(63));
    }
    if !text.is_empty() && !is_name_part(text) {
        out.push("a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')".into());
    }
    out
}

/// What is wrong with a key of a ConfigMap or Secret; empty when fine.
pub fn config_key(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > 253 {
        out.push(too_long(253));
    }
    let form = |b: &u8| b.is_ascii_alphanumeric() || b"-._".contains(b);
    if text.is_empty() || !text.bytes().all(|b| form(&b)) {
        out.push("a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')".into());
    }
    match text {
        "." => out.push("must not be '.'".into()),
        ".." => out.push("must not be '..'".into()),
        _ if text.starts_with("..") => out.push("must not start with '..'".into()),
        _ => {}
    }
    out
}

/// What is wrong with the name of an environment variable; empty when fine.
pub fn env_name(text: &str) -> Vec<String> {
    // Upstream's relaxed rule: printable ASCII without '='.
    if !text.is_empty()
        && text
            .bytes()
            .all(|b| (b' '..=b'~').contains(&b) && b != b'=')
    {
        return Vec::new();
    }
    vec!["a valid environment variable name must consist only of printable ASCII characters other than '='".into()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn canonical_puts_identity_first_and_leaves_room_for_the_revision() {
        let value = json!({"spec": {"b": 1, "a": [true, null, "x\"y"]}, "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "a", "uid": "u", "resourceVersion": "77", "labels": {}}});
        let out = canonical(&value);
        let text = String::from_utf8(out.bytes.clone()).unwrap();
        assert_eq!(
            text,
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"labels":{},"name":"a","resourceVersion":"","uid":"u"},"spec":{"a":[true,null,"x\"y"],"b":1}}"#
        );
        let at = out.revision_at.unwrap();
        assert!(text[..at].ends_with("\"resourceVersion\":\""));
        let mut filled = out.bytes;
        filled.splice(at..at, b"123".iter().copied());
        let again: Value = serde_json::from_slice(&filled).unwrap();
        assert_eq!(again["metadata"]["resourceVersion"], "123");
    }

    #[test]
    fn canonical_of_small_things() {
        assert_eq!(
            canonical(&json!({"metadata": {}})).bytes,
            br#"{"metadata":{"resourceVersion":""}}"#
        );
        assert_eq!(
            canonical(&json!({"a": 1})),
            Canonical {
                bytes: b"{\"a\":1}".to_vec(),
                revision_at: None
            }
        );
    }

    #[test]
    fn names() {
        for good in ["a", "a-b", "0", "a.b-c.d1"] {
            assert!(dns_subdomain(good).is_empty(), "{good}");
        }
        for bad in ["", "A", "-a", "a-", "a..b", "a_b", "a.-b", "ä"] {
            assert!(!dns_subdomain(bad).is_empty(), "{bad}");
        }
        assert_eq!(
            dns_subdomain("Bad_Name"),
            [
                "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
            ]
        );
        assert!(dns_label("a.b").len() == 1 && dns_label(&"a".repeat(64)).len() == 1);
        for good in ["app", "a/b", "kubernetes.io/os", "A_b.c-1"] {
            assert!(qualified_name(good).is_empty(), "{good}");
        }
        for bad in ["", "/", "a/b/c", "-a", "A/b", "a/", &"x".repeat(64)] {
            assert!(!qualified_name(bad).is_empty(), "{bad}");
        }
        assert!(
            label_value("").is_empty()
                && !label_value("-").is_empty()
                && !label_value(&"a".repeat(64)).is_empty()
        );
        assert!(
            config_key("a.conf").is_empty()
                && !config_key("..a").is_empty()
                && !config_key("a/b").is_empty()
        );
        assert!(
            env_name("A_B").is_empty() && !env_name("A=B").is_empty() && !env_name("").is_empty()
        );
    }

    #[test]
    fn generated_names_are_cut() {
        assert_eq!(generated_name("web-", "x2x4z"), "web-x2x4z");
        assert_eq!(generated_name(&"a".repeat(100), "x2x4z").len(), 63);
    }

    proptest! {
        #[test]
        fn canonical_is_the_same_value(keys in prop::collection::btree_map("[a-zA-Z\"\\\\é]{0,5}", any::<i64>(), 0..8)) {
            let map: Map<String, Value> = keys.into_iter().map(|(k, v)| (k, v.into())).collect();
            let value = json!({"kind": "X", "metadata": {"name": "n"}, "spec": map});
            let mut want = value.clone();
            want["metadata"]["resourceVersion"] = "".into();
            let back: Value = serde_json::from_slice(&canonical(&value).bytes).unwrap();
            prop_assert_eq!(back, want);
        }
    }
}
