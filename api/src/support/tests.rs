use super::*;
use crate::kind::KINDS;
use serde_json::json;
use std::fmt::Write as _;

#[test]
fn every_leaf_of_every_served_kind_has_a_rule() {
    for kind in KINDS {
        let gaps: Vec<String> = leaves(kind)
            .into_iter()
            .filter(|l| l.verdict.is_none())
            .map(|l| l.path)
            .collect();
        assert!(gaps.is_empty(), "{}: no rule for {gaps:?}", kind.kind);
    }
}

#[test]
fn every_rule_names_a_field_that_exists() {
    for (name, rules) in all() {
        let message = facts::message(name).unwrap_or_else(|| panic!("{name} is no message"));
        for rule in *rules {
            assert!(message.field(rule.field).is_some(), "{name}.{}", rule.field);
        }
    }
}

#[test]
fn every_honoured_field_can_be_sent_in_protobuf() {
    fn walk(message: &'static Message, seen: &mut Vec<&'static str>) {
        if seen.contains(&message.name) {
            return;
        }
        seen.push(message.name);
        for field in message.fields {
            let honoured = rule(message, field.name)
                .is_none_or(|r| matches!(r.verdict, Verdict::Honoured | Verdict::Whole));
            let inline = message
                .inline
                .iter()
                .any(|i| i.1.iter().any(|m| m.1 == field.name));
            // The envelope carries these two.
            let typed = matches!(field.name, "kind" | "apiVersion");
            if let Some(rule) = rule(message, field.name)
                && honoured
            {
                assert!(
                    field.number != 0 || inline || typed,
                    "{}.{} has no protobuf number",
                    message.name,
                    rule.field
                );
                if let Some(inner) = field.ty.message() {
                    walk(inner, seen);
                }
            }
        }
    }
    let mut seen = Vec::new();
    for kind in KINDS {
        walk(facts::message(kind.message).unwrap(), &mut seen);
    }
    assert!(seen.len() > rules::RULES.len() / 2);
}

fn review_pod(spec: Value) -> (Vec<String>, Vec<String>) {
    let kind = crate::kind::find("", "v1", "pods").unwrap();
    let (warnings, refusals) = review(
        kind,
        &json!({"kind": "Pod", "apiVersion": "v1", "spec": spec}),
    );
    (
        warnings.into_iter().map(|w| w.text).collect(),
        refusals
            .into_iter()
            .map(|c| format!("{}: {}", c.field, c.message))
            .collect(),
    )
}

#[test]
fn refusals_and_warnings_name_the_field() {
    let (warnings, refusals) = review_pod(json!({
        "hostNetwork": true,
        "initContainers": [{"name": "i"}],
        "containers": [{"name": "a", "livenessProbe": {"exec": {}}, "lifecycle": {}}],
        "volumes": [{"name": "v", "hostPath": {"path": "/"}}]}));
    assert_eq!(
        warnings,
        [
            "spec.containers[0].livenessProbe: not supported by this release: probes are not run; a container counts as ready while it runs"
        ]
    );
    assert_eq!(
        refusals,
        [
            "spec.containers[0].lifecycle: Forbidden: not supported by this release",
            "spec.hostNetwork: Forbidden: not supported by this release",
            "spec.initContainers: Forbidden: not supported by this release",
            "spec.volumes[0].hostPath: Forbidden: not supported by this release: volumes are emptyDir, configMap and secret",
        ]
    );
}

#[test]
fn asking_for_the_default_is_fine() {
    let spec = json!({"hostNetwork": false, "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler",
        "enableServiceLinks": true, "priority": 0, "os": {"name": "linux"},
        "containers": [{"terminationMessagePath": "/dev/termination-log", "stdin": false,
                        "securityContext": {"seccompProfile": {"type": "Unconfined"}}}]});
    assert_eq!(review_pod(spec), (vec![], vec![]));
}

/// The document, written from the list. `BRAMBLE_BLESS=1 cargo test` rewrites it.
#[test]
fn compatibility_document_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/compatibility.md");
    let text = document();
    if std::env::var_os("BRAMBLE_BLESS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == text,
        "docs/compatibility.md differs: run BRAMBLE_BLESS=1 cargo test -p bramble-api"
    );
}

fn document() -> String {
    let mut out = format!(
        "# What of Kubernetes works\n\n\
         The API is that of Kubernetes {}. This page is written from the list that the API server uses\n\
         (`api/src/support/rules.rs`); a test compares the two.\n\n\
         - **honoured**: carried out.\n\
         - **warned**: stored, not carried out; the answer has a `Warning` header, which kubectl prints.\n\
         - **refused**: answered with 422 and the field's path, because leaving it out would break or endanger the workload.\n\n\
         A kind that is not listed here is not served. Patches are JSON, merge and strategic merge; there is no\n\
         server-side apply. `status` is written by the system and served as stored.\n\n\
         | Kind | API version | Short names | Subresources | Fields honoured | warned | refused |\n\
         |---|---|---|---|---|---|---|\n",
        crate::discovery::KUBERNETES_VERSION
    );
    for kind in KINDS {
        let [honoured, warned, refused] = scalar_leaves(kind);
        let subresources: Vec<&str> = kind.subresources.iter().map(|s| s.name).collect();
        writeln!(
            out,
            "| {} | {} | {} | {} | {honoured} | {warned} | {refused} |",
            kind.kind,
            kind.api_version(),
            kind.short_names.join(", "),
            subresources.join(", ")
        )
        .unwrap();
    }
    for kind in KINDS {
        if kind.kind == "ReplicaSet" {
            out.push_str("\n## ReplicaSet\n\nAs Deployment, without what concerns rollouts.\n");
            continue;
        }
        writeln!(out, "\n## {}\n", kind.kind).unwrap();
        for leaf in leaves(kind) {
            // Pod templates repeat the pod; object metadata is the same everywhere.
            let repeated = leaf.path.starts_with("spec.template.spec.")
                || leaf.path.starts_with("spec.template.metadata.")
                || (kind.kind != "Pod" && leaf.path.starts_with("metadata."));
            if repeated {
                continue;
            }
            let verdict = match leaf.verdict {
                Some(Verdict::Honoured | Verdict::Whole) => "honoured",
                Some(Verdict::Warned) => "warned",
                Some(Verdict::Refused) => "refused",
                None => "unknown",
            };
            let remark = if leaf.remark.is_empty() {
                String::new()
            } else {
                format!(" ({})", leaf.remark)
            };
            writeln!(out, "- `{}`: {verdict}{remark}", leaf.path).unwrap();
        }
    }
    out.push_str(
        "\nMetadata of every kind, and the pod in every template, follow the Pod's list.\n\
         In `resources`, `cpu` and `memory` are honoured; `ephemeral-storage` is warned about; other resources are refused.\n\
         The effect `NoExecute` of a node's taint keeps new pods away and is warned about: it evicts none.\n\
         `emptyDir.sizeLimit` is honoured in memory and warned about on disk.\n\
         `fieldRef` knows `metadata.name`, `metadata.namespace`, `metadata.uid`, `metadata.labels['KEY']`,\n\
         `metadata.annotations['KEY']`, `spec.nodeName`, `spec.serviceAccountName`, `status.podIP` and `status.hostIP`.\n",
    );
    out
}
