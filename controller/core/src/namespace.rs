//! The end of a namespace: its content goes, pods first, and it says what keeps it.
//!
//! In: the namespace and what the cache has of its content, of whatever kind. Out: deletions, the
//! conditions that tell people what remains, and in the end the namespace's own. Upstream's
//! counterpart is `pkg/controller/namespace/deletion`, with its conditions and texts.

use std::collections::BTreeMap;

use bramble_api::kind::Kind;
use bramble_api::time::Timestamp;
use bramble_api::view::{Condition, Metadata, Namespace};
use serde_json::json;

use crate::action::{Action, Durability, Observed, Target};
use crate::{conditions, kinds};

/// The finalizer that is taken away when the content is gone.
const KUBERNETES: &str = "kubernetes";
const CONTENT_FAILURE: &str = "NamespaceDeletionContentFailure";
const CONTENT_REMAINING: &str = "NamespaceContentRemaining";
const FINALIZERS_REMAINING: &str = "NamespaceFinalizersRemaining";
/// Conditions with what each says when all is well, in upstream's order.
const FINE: [(&str, &str, &str); 5] = [
    (
        "NamespaceDeletionDiscoveryFailure",
        "ResourcesDiscovered",
        "All resources successfully discovered",
    ),
    (
        "NamespaceDeletionGroupVersionParsingFailure",
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed",
    ),
    (
        CONTENT_FAILURE,
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    (
        CONTENT_REMAINING,
        "ContentRemoved",
        "All content successfully removed",
    ),
    (
        FINALIZERS_REMAINING,
        "ContentRemoved",
        "All content successfully removed",
    ),
];

/// What the end of a namespace is decided on.
#[derive(Debug)]
pub struct Input<'a> {
    /// It.
    pub namespace: &'a Observed<Namespace>,
    /// What is in it.
    pub content: &'a [(&'static Kind, &'a Observed<Metadata>)],
    /// Why deletions failed in the round before, and what can't be read and so not be deleted.
    pub failures: &'a [String],
}

/// What a namespace that is being deleted needs. A second look deletes nothing twice.
pub fn end(input: &Input<'_>, now: Timestamp) -> Vec<Action> {
    let namespace = input.namespace;
    if !namespace.metadata.is_deleting() {
        return Vec::new();
    }
    let target = Target::of(kinds::namespace(), &namespace.metadata);
    if input.content.is_empty() && input.failures.is_empty() {
        let rest: Vec<&String> = namespace
            .spec
            .finalizers
            .iter()
            .filter(|finalizer| *finalizer != KUBERNETES)
            .collect();
        if rest.is_empty() && namespace.metadata.finalizers.is_empty() {
            return vec![Action::Remove {
                target,
                uid: namespace.metadata.uid.clone(),
            }];
        }
        if rest.len() < namespace.spec.finalizers.len() {
            return vec![patch(
                namespace,
                json!({"spec": {"finalizers": rest}}),
                Durability::Hard,
            )];
        }
    }
    // Pods go before what protects or serves them, such as network policies.
    let pods_left = input.content.iter().any(|(kind, _)| kind.kind == "Pod");
    let deletions: Vec<Action> = input
        .content
        .iter()
        .filter(|(kind, object)| !object.is_deleting() && (!pods_left || kind.kind == "Pod"))
        .map(|(kind, object)| Action::Delete {
            target: Target::of(kind, &object.object),
            uid: object.uid.clone(),
            told: None,
            note: None,
        })
        .collect();
    // Most of it is gone a moment later: what remains then is worth telling.
    if !deletions.is_empty() && input.failures.is_empty() {
        return deletions;
    }
    let list = told(input, now);
    if list == namespace.status.conditions && namespace.status.phase == "Terminating" {
        return deletions;
    }
    let list = conditions::to_json(&list, false);
    let status = json!({"status": {"phase": "Terminating", "conditions": list}});
    let mut actions = deletions;
    actions.push(patch(namespace, status, Durability::Soft));
    actions
}

fn patch(
    namespace: &Observed<Namespace>,
    patch: serde_json::Value,
    durability: Durability,
) -> Action {
    Action::Patch {
        target: Target::of(kinds::namespace(), &namespace.metadata),
        revision: namespace.revision,
        patch,
        durability,
        note: None,
    }
}

/// The conditions as they are to be.
fn told(input: &Input<'_>, now: Timestamp) -> Vec<Condition> {
    let mut list = input.namespace.status.conditions.clone();
    for (kind, reason, message) in FINE {
        let (status, reason, message) = match news(kind, input) {
            Some((reason, message)) => ("True", reason, message),
            None => ("False", reason, message.to_owned()),
        };
        let mut new = conditions::now(kind, status, reason, &message, now);
        new.last_update_time = None;
        match list.iter_mut().find(|c| c.kind == kind) {
            None => list.push(new),
            Some(old) if old.status == new.status => {
                new.last_transition_time = old.last_transition_time;
                *old = new;
            }
            Some(old) => *old = new,
        }
    }
    list
}

fn news(condition: &str, input: &Input<'_>) -> Option<(&'static str, String)> {
    let joined = |counts: BTreeMap<String, usize>, say: &dyn Fn(&str, usize) -> String| {
        let lines: Vec<_> = counts
            .iter()
            .map(|(what, count)| say(what, *count))
            .collect();
        (!lines.is_empty()).then(|| lines.join(", "))
    };
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    match condition {
        CONTENT_FAILURE => {
            let mut failures = input.failures.to_vec();
            failures.sort();
            let (count, all) = (failures.len(), failures.join(", "));
            (count > 0).then(|| {
                let text = format!("Failed to delete all resource types, {count} remaining: {all}");
                ("ContentDeletionFailed", text)
            })
        }
        CONTENT_REMAINING => {
            for (kind, _) in input.content {
                *counts
                    .entry(format!("{}.{}", kind.plural, kind.group))
                    .or_default() += 1;
            }
            let all = joined(counts, &|what, n| {
                format!("{what} has {n} resource instances")
            })?;
            Some((
                "SomeResourcesRemain",
                format!("Some resources are remaining: {all}"),
            ))
        }
        FINALIZERS_REMAINING => {
            for finalizer in input
                .content
                .iter()
                .flat_map(|(_, object)| &object.finalizers)
            {
                *counts.entry(finalizer.clone()).or_default() += 1;
            }
            let all = joined(counts, &|what, n| {
                format!("{what} in {n} resource instances")
            })?;
            Some((
                "SomeFinalizerRemain",
                format!("Some finalizers are remaining: {all}"),
            ))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn namespace(deleting: bool, finalizers: Value, conditions: Value) -> Observed<Namespace> {
        let deletion = deleting.then_some("2026-01-01T00:00:00Z");
        let object = json!({
            "metadata": {"name": "n", "uid": "u", "deletionTimestamp": deletion},
            "spec": {"finalizers": finalizers},
            "status": {"phase": "Terminating", "conditions": conditions},
        });
        Observed {
            revision: 1,
            object: serde_json::from_value(object).unwrap(),
        }
    }

    fn object(name: &str, deleting: bool, finalizers: &[&str]) -> Observed<Metadata> {
        let deletion = deleting.then_some("2026-01-01T00:00:00Z");
        let object = json!({"name": name, "namespace": "n", "uid": name,
            "deletionTimestamp": deletion, "finalizers": finalizers});
        Observed {
            revision: 1,
            object: serde_json::from_value(object).unwrap(),
        }
    }

    fn say(action: &Action) -> String {
        match action {
            Action::Delete { target, .. } => format!("delete {}", target.name),
            Action::Remove { target, .. } => format!("remove {}", target.name),
            Action::Patch { patch, .. } if !patch["spec"].is_null() => {
                format!("finalizers {}", patch["spec"]["finalizers"])
            }
            Action::Patch { patch, .. } => {
                let list = patch["status"]["conditions"].as_array().unwrap();
                assert_eq!(list.len(), FINE.len());
                let bad = list.iter().filter(|c| c["status"] == "True");
                let text = |c: &Value| c["message"].as_str().unwrap().to_owned();
                bad.map(text).collect::<Vec<_>>().join("; ")
            }
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn check(
        namespace: &Observed<Namespace>,
        content: &[(&'static Kind, &Observed<Metadata>)],
        failures: &[&str],
        want: &[&str],
    ) {
        let failures: Vec<String> = failures.iter().map(|f| (*f).to_owned()).collect();
        let input = Input {
            namespace,
            content,
            failures: &failures,
        };
        let actions = end(&input, NOW);
        assert_eq!(actions.iter().map(say).collect::<Vec<_>>(), want);
        // Said once: with the conditions as they are now, nothing more is said.
        if let Some(Action::Patch { patch, .. }) = actions.last()
            && !patch["status"].is_null()
        {
            let list = patch["status"]["conditions"].clone();
            let told = self::namespace(true, json!(["kubernetes"]), list);
            let again = end(
                &Input {
                    namespace: &told,
                    ..input
                },
                NOW,
            );
            assert!(
                !again.iter().any(|a| matches!(a, Action::Patch { .. })),
                "{again:?}"
            );
        }
    }

    #[test]
    fn a_namespace_goes_after_its_content_and_pods_first() {
        let going = namespace(true, json!(["kubernetes"]), json!([]));
        let (pod, map) = (object("p", false, &[]), object("m", false, &[]));
        let (pods, maps) = (kinds::pod(), kinds::config_map());
        check(
            &namespace(false, json!([]), json!([])),
            &[(pods, &pod)],
            &[],
            &[],
        );
        check(&going, &[(maps, &map), (pods, &pod)], &[], &["delete p"]);
        check(&going, &[(maps, &map)], &[], &["delete m"]);
        check(&going, &[], &[], &["remove n"]);
        let held = namespace(true, json!(["kubernetes", "x/y"]), json!([]));
        check(&held, &[], &[], &["finalizers [\"x/y\"]"]);
        let mut kept = going.clone();
        kept.object.metadata.finalizers = vec!["x/y".into()];
        check(&kept, &[], &[], &["finalizers []"]);
    }

    #[test]
    fn it_says_what_keeps_it() {
        let going = namespace(true, json!(["kubernetes"]), json!([]));
        let (pod, map) = (object("p", true, &[]), object("m", true, &["x/y"]));
        let sets = kinds::replica_set();
        check(
            &going,
            &[(kinds::pod(), &pod), (sets, &map), (sets, &map)],
            &[],
            &[
                "Some resources are remaining: pods. has 1 resource instances, \
             replicasets.apps has 2 resource instances; \
             Some finalizers are remaining: x/y in 2 resource instances",
            ],
        );
        check(
            &going,
            &[],
            &["b", "a"],
            &["Failed to delete all resource types, 2 remaining: a, b"],
        );
    }
}
