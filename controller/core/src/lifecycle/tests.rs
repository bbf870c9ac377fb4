use serde_json::{Value, json};

use super::*;
use crate::kinds;

fn object(name: &str, extra: Value) -> Observed<Metadata> {
    let mut json = json!({"name": name, "namespace": "d", "uid": format!("uid-{name}")});
    for (key, value) in extra.as_object().into_iter().flatten() {
        json[key] = value.clone();
    }
    Observed {
        revision: 1,
        object: serde_json::from_str(&json.to_string()).unwrap(),
    }
}

fn owners(names: &[&str]) -> Value {
    let owner = |name: &&str| {
        json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name,
            "uid": format!("uid-{name}"), "blockOwnerDeletion": true})
    };
    json!({"ownerReferences": names.iter().map(owner).collect::<Vec<_>>()})
}

fn say(actions: &[Action]) -> Vec<String> {
    let line = |action: &Action| match action {
        Action::Delete { target, .. } => format!("delete {}", target.name),
        Action::Remove { target, .. } => format!("remove {}", target.name),
        Action::Patch { target, patch, .. } => {
            let owners = patch["metadata"]["ownerReferences"].as_array();
            let names: Vec<_> = owners
                .into_iter()
                .flatten()
                .map(|o| o["name"].as_str().unwrap())
                .collect();
            match patch["metadata"].get("finalizers") {
                Some(rest) => format!("{} keeps {rest}", target.name),
                None => format!("{} of {names:?}", target.name),
            }
        }
        other => panic!("{other:?}"),
    };
    actions.iter().map(line).collect()
}

fn check_collect(
    subject: &Observed<Metadata>,
    present: &[&str],
    dependents: &[&Observed<Metadata>],
    want: &[&str],
) {
    let owner = |owner: &OwnerReference| match owner.name.as_str() {
        name if present.contains(&name) => Owner::Present,
        "foreground" => Owner::WaitsForDependents,
        _ => Owner::Absent,
    };
    let dependents: Vec<_> = dependents.iter().map(|d| (kinds::pod(), *d)).collect();
    assert_eq!(
        say(&collect(kinds::pod(), subject, &owner, &dependents)),
        want
    );
}

#[test]
fn what_lost_all_its_owners_goes() {
    check_collect(&object("p", json!({})), &[], &[], &[]);
    check_collect(&object("p", owners(&["a"])), &["a"], &[], &[]);
    check_collect(&object("p", owners(&["a"])), &[], &[], &["delete p"]);
    check_collect(
        &object("p", owners(&["a", "b"])),
        &["b"],
        &[],
        &["p of [\"b\"]"],
    );
    check_collect(&object("p", owners(&["a", "b"])), &[], &[], &["delete p"]);
    check_collect(
        &object("p", owners(&["foreground"])),
        &[],
        &[],
        &["delete p"],
    );
}

fn leaving(name: &str, finalizers: &[&str]) -> Observed<Metadata> {
    let extra = json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": finalizers});
    object(name, extra)
}

#[test]
fn a_foreground_deletion_waits_for_its_dependents() {
    let owner = leaving("o", &[FOREGROUND]);
    let child = object("c", owners(&["o"]));
    check_collect(&owner, &[], &[&child], &["delete c"]);
    let mut going = owners(&["o"]);
    going["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    check_collect(&owner, &[], &[&object("c", going)], &[]);
    check_collect(&owner, &[], &[], &["remove o"]);
    check_collect(
        &leaving("o", &[FOREGROUND, "x/y"]),
        &[],
        &[],
        &["o keeps [\"x/y\"]"],
    );
    check_collect(&leaving("o", &["x/y"]), &[], &[&child], &[]);
}

#[test]
fn an_orphaning_deletion_frees_its_dependents() {
    let owner = leaving("o", &[ORPHAN]);
    check_collect(
        &owner,
        &[],
        &[&object("c", owners(&["o", "b"]))],
        &["c of [\"b\"]"],
    );
    check_collect(&owner, &[], &[], &["remove o"]);
}

#[test]
fn a_namespace_goes_after_its_content() {
    let check = |namespace: &Observed<Metadata>, content: &[&Observed<Metadata>], want: &[&str]| {
        let content: Vec<_> = content.iter().map(|c| (kinds::pod(), *c)).collect();
        assert_eq!(
            say(&end_namespace(kinds::namespace(), namespace, &content)),
            want
        );
    };
    let (a, b) = (object("a", json!({})), leaving("b", &[]));
    check(&object("n", json!({})), &[&a], &[]);
    check(&leaving("n", &[]), &[&a, &b], &["delete a"]);
    check(&leaving("n", &[]), &[&b], &[]);
    check(&leaving("n", &[]), &[], &["remove n"]);
    check(&leaving("n", &["x/y"]), &[], &[]);
}
