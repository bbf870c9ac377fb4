//! Which of the nodes that may have a pod gets it.

use super::*;

#[test]
fn the_best_node_is_the_one_without_soft_taints_then_without_siblings_then_the_emptiest() {
    let owned = |name: &str, on: &str| {
        pod(
            name,
            json!({
                "metadata": {"ownerReferences": [{"kind": "ReplicaSet", "name": "r", "uid": "r", "controller": true}]},
                "spec": {"nodeName": on},
            }),
        )
    };
    let soft = json!({"spec": {"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}});
    let plain = |name| node(name, json!({}));
    let busy = |on: &str| {
        let mut busy = pod("busy", json!({"spec": asks("900m", "900Mi")}));
        busy.spec.node_name = on.into();
        busy
    };
    let sibling = owned("s", "");
    check(&[plain("b"), plain("a")], &[], &pod("p", json!({})), "→ a");
    check(
        &[plain("a"), plain("b")],
        &[busy("a")],
        &pod("p", json!({})),
        "→ b",
    );
    check(
        &[node("a", soft.clone()), plain("b")],
        &[],
        &pod("p", json!({})),
        "→ b",
    );
    check(
        &[node("a", soft.clone()), plain("b")],
        &[busy("b")],
        &pod("p", json!({})),
        "→ b",
    );
    let bears = json!({"spec": {"tolerations": [{"operator": "Exists"}]}});
    check(
        &[node("a", soft.clone()), plain("b")],
        &[],
        &pod("p", bears),
        "→ a",
    );
    check(
        &[plain("a"), plain("b")],
        &[owned("1", "a"), busy("b")],
        &sibling,
        "→ b",
    );
    check(
        &[plain("a"), node("b", soft)],
        &[owned("1", "a")],
        &sibling,
        "→ a",
    );
    check(
        &[plain("a"), plain("b")],
        &[owned("1", "a"), owned("2", "a"), owned("3", "b")],
        &sibling,
        "→ b",
    );
}
