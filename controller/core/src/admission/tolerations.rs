//! How long a pod stays on a node that is not ready, unless it says so itself.
//!
//! Source: upstream's `plugin/pkg/admission/defaulttolerationseconds/admission.go`.

use serde_json::{Value, json};

use super::{items, part, text};

/// Seconds. Upstream's default is 300, made for data centres; people with three boards on a shelf wait
/// for this. A board that comes back drops what was replaced.
const SECONDS: i64 = 30;

/// Adds the tolerations that a new pod lacks.
pub fn default_pod(pod: &mut Value) {
    for key in [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ] {
        let tolerated = items(part(pod, "spec"), "tolerations").iter().any(|t| {
            ["", key].contains(&text(t, "key")) && ["", "NoExecute"].contains(&text(t, "effect"))
        });
        if tolerated {
            continue;
        }
        let new = json!({"key": key, "operator": "Exists", "effect": "NoExecute",
                         "tolerationSeconds": SECONDS});
        let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else {
            return;
        };
        let list = spec.entry("tolerations").or_insert_with(|| json!([]));
        if list.is_null() {
            *list = json!([]);
        }
        if let Some(list) = list.as_array_mut() {
            list.push(new);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_added() {
        let not_ready = "node.kubernetes.io/not-ready";
        let unreachable = "node.kubernetes.io/unreachable";
        let cases: [(Value, &[&str]); 5] = [
            (json!([]), &[not_ready, unreachable]),
            (
                json!([{"key": not_ready, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}]),
                &[unreachable],
            ),
            (json!([{"operator": "Exists"}]), &[]),
            (
                json!([{"key": not_ready, "operator": "Exists", "effect": "NoSchedule"}]),
                &[not_ready, unreachable],
            ),
            (
                json!([{"key": unreachable, "operator": "Exists"}]),
                &[not_ready],
            ),
        ];
        for (before, want) in cases {
            let mut pod = json!({"spec": {"tolerations": before}});
            let count = before.as_array().unwrap().len();
            default_pod(&mut pod);
            let added = &pod["spec"]["tolerations"].as_array().unwrap()[count..];
            let keys: Vec<&str> = added.iter().map(|t| text(t, "key")).collect();
            assert_eq!(keys, want, "{before}");
            assert!(
                added
                    .iter()
                    .all(|t| t["tolerationSeconds"] == SECONDS && t["effect"] == "NoExecute")
            );
        }
    }
}
