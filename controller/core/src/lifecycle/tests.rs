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

fn say(action: &Action) -> String {
    match action {
        Action::Delete { target, .. } => format!("delete {}", target.name),
        Action::DeleteForeground { target, .. } => format!("foreground {}", target.name),
        Action::Event(note) => note.message.clone(),
        Action::Patch { target, patch, .. } => {
            let owners = patch["metadata"]["ownerReferences"].as_array();
            let name = |o: &Value| {
                let blocks = if o["blockOwnerDeletion"] == true {
                    ""
                } else {
                    " free"
                };
                format!("{}{blocks}", o["name"].as_str().unwrap())
            };
            let names: Vec<_> = owners.into_iter().flatten().map(name).collect();
            match patch["metadata"].get("finalizers") {
                Some(rest) => format!("{} keeps {rest}", target.name),
                None => format!("{} of {names:?}", target.name),
            }
        }
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn check(subject: &Observed<Metadata>, dependents: &[&Observed<Metadata>], want: &[&str]) {
    // Names say what is known of an owner.
    let owner = |owner: &OwnerReference| match owner.name.chars().next() {
        Some('a') => Owner::Absent,
        Some('w') => Owner::WaitsForDependents,
        Some('e') => Owner::Elsewhere,
        Some('u') => Owner::Unresolvable,
        _ => Owner::Present,
    };
    let dependents: Vec<_> = dependents.iter().map(|d| (kinds::pod(), *d)).collect();
    let actions = collect(kinds::pod(), subject, &owner, &dependents);
    assert_eq!(actions.iter().map(say).collect::<Vec<_>>(), want);
}

#[test]
fn what_lost_all_its_owners_goes() {
    check(&object("p", json!({})), &[], &[]);
    check(&object("p", owners(&["here"])), &[], &[]);
    check(&object("p", owners(&["a"])), &[], &["delete p"]);
    check(
        &object("p", owners(&["a", "here"])),
        &[],
        &["p of [\"here\"]"],
    );
    check(&object("p", owners(&["a", "a2"])), &[], &["delete p"]);
    check(&object("p", owners(&["waits"])), &[], &["delete p"]);
    check(
        &object("p", owners(&["waits", "here"])),
        &[],
        &["p of [\"here\"]"],
    );
}

#[test]
fn an_owner_in_another_namespace_owns_nothing_and_is_told_of() {
    let told = |name: &str| {
        format!(
            "ownerRef [apps/v1/ReplicaSet, namespace: d, name: {name}, uid: uid-{name}] does not \
             exist in namespace \"d\""
        )
    };
    check(
        &object("p", owners(&["else"])),
        &[],
        &[&told("else"), "delete p"],
    );
    let both = [&*told("else"), "p of [\"here\"]"];
    check(&object("p", owners(&["else", "here"])), &[], &both);
    check(&object("p", owners(&["u"])), &[], &[&told("u")]);
}

fn leaving(name: &str, finalizers: &[&str]) -> Observed<Metadata> {
    let extra = json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": finalizers});
    object(name, extra)
}

#[test]
fn a_foreground_deletion_waits_for_the_dependents_that_block_it() {
    let owner = leaving("o", &[FOREGROUND]);
    let child = object("c", owners(&["o"]));
    check(&owner, &[&child], &[]);
    let mut free = child.clone();
    free.object.owner_references[0].block_owner_deletion = false;
    check(&owner, &[&free], &["o keeps []"]);
    check(&owner, &[], &["o keeps []"]);
    check(
        &leaving("o", &[FOREGROUND, "x/y"]),
        &[],
        &["o keeps [\"x/y\"]"],
    );
    check(&leaving("o", &["x/y"]), &[&child], &[]);
}

#[test]
fn what_has_dependents_goes_in_the_foreground_too() {
    let middle = object("m", owners(&["waits"]));
    let leaf = object("l", owners(&["m"]));
    check(&middle, &[&leaf], &["foreground m"]);
    let mut circle = leaving("waits", &[FOREGROUND]);
    circle.object.owner_references = object("x", owners(&["m"])).object.owner_references;
    check(
        &middle,
        &[&circle],
        &["m of [\"waits free\"]", "foreground m"],
    );
}

#[test]
fn an_orphaning_deletion_frees_its_dependents() {
    let owner = leaving("o", &[ORPHAN]);
    let child = object("c", owners(&["o", "b"]));
    check(&owner, &[&child], &["c of [\"b\"]"]);
    check(&owner, &[], &["o keeps []"]);
}
