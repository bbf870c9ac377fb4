//! The default roles: as written down, and as kept.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::rbac::aggregate::{ClusterRole, plan_aggregation};
use crate::rbac::defaults::{Step, all, reconcile};

/// One line for each rule and each subject, after the aggregation.
fn shown() -> String {
    let mut roles = BTreeMap::new();
    let objects = all();
    for object in objects.iter().filter(|o| o.resource == "clusterroles") {
        roles.insert(
            object.name.to_owned(),
            ClusterRole::read(&object.object).unwrap(),
        );
    }
    let gathered = plan_aggregation(&roles);
    let mut out = String::new();
    for object in objects {
        let place = if object.namespace.is_empty() {
            String::new()
        } else {
            format!("{}/", object.namespace)
        };
        let labels = object.object["metadata"]["labels"].as_object().unwrap();
        let labels: Vec<&str> = labels.keys().map(String::as_str).collect();
        writeln!(
            out,
            "{} {place}{} [{}]",
            object.resource,
            object.name,
            labels.join(" ")
        )
        .unwrap();
        if object.resource == "clusterroles" || object.resource == "roles" {
            let own = ClusterRole::read(&object.object).unwrap();
            let rules = gathered.get(object.name).unwrap_or(&own.rules);
            for rule in rules {
                let list = |words: &[std::sync::Arc<str>]| {
                    words
                        .iter()
                        .map(|w| if w.is_empty() { "\"\"" } else { w })
                        .collect::<Vec<_>>()
                        .join(",")
                };
                let what = if rule.urls.is_empty() {
                    format!("{} {}", list(&rule.api_groups), list(&rule.resources))
                } else {
                    list(&rule.urls)
                };
                let names = if rule.resource_names.is_empty() {
                    String::new()
                } else {
                    format!(" named {}", list(&rule.resource_names))
                };
                writeln!(out, "  {}: {what}{names}", list(&rule.verbs)).unwrap();
            }
        }
        for subject in object.object["subjects"].as_array().into_iter().flatten() {
            writeln!(
                out,
                "  {} {}",
                subject["kind"].as_str().unwrap(),
                subject["name"].as_str().unwrap()
            )
            .unwrap();
        }
    }
    out
}

/// After a change that is meant, the message is the new file.
#[test]
fn the_defaults_are_as_written_down() {
    let golden = include_str!("defaults.golden");
    let now = shown();
    assert!(
        now == golden,
        "the default roles have changed; they are now:\n{now}"
    );
}

fn named(name: &str, resource: &str) -> Value {
    let found = all()
        .into_iter()
        .find(|o| o.name == name && o.resource == resource);
    found.unwrap().object
}

#[test]
fn what_is_complete_is_kept() {
    for object in all() {
        let mut stored = object.object.clone();
        stored["metadata"]["uid"] = "u".into();
        assert_eq!(
            reconcile(&stored, &object.object),
            Step::Keep,
            "{}",
            object.name
        );
    }
}

#[test]
fn what_is_missing_comes_back_and_what_was_added_stays() {
    let wanted = named("system:basic-user", "clusterroles");
    let mut stored = wanted.clone();
    let own = json!({"verbs": ["get"], "apiGroups": ["example.com"], "resources": ["things"]});
    stored["rules"] = json!([own, wanted["rules"][1]]);
    stored["metadata"]["labels"] = json!({"mine": "yes"});
    let Step::Update(new) = reconcile(&stored, &wanted) else {
        panic!("not updated");
    };
    let rules = new["rules"].as_array().unwrap();
    assert_eq!(rules.len(), 3, "{new}");
    assert_eq!((&rules[0], &rules[2]), (&own, &wanted["rules"][0]));
    assert_eq!(new["metadata"]["labels"]["mine"], "yes");
    assert_eq!(
        new["metadata"]["labels"]["kubernetes.io/bootstrapping"],
        "rbac-defaults"
    );
    assert_eq!(reconcile(&new, &wanted), Step::Keep);
    // Who does not want that says so.
    stored["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"] =
        "false".into();
    assert_eq!(reconcile(&stored, &wanted), Step::Keep);
}

#[test]
fn gathered_rules_are_not_taken_for_missing_ones() {
    let wanted = named("view", "clusterroles");
    let mut stored = wanted.clone();
    stored["rules"] = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]);
    assert_eq!(reconcile(&stored, &wanted), Step::Keep);
    stored["aggregationRule"] = Value::Null;
    let Step::Update(new) = reconcile(&stored, &wanted) else {
        panic!("not updated");
    };
    assert_eq!(new["aggregationRule"], wanted["aggregationRule"]);
}

#[test]
fn a_binding_gets_its_subjects_back_and_its_role() {
    let wanted = named("system:public-info-viewer", "clusterrolebindings");
    let mut stored = wanted.clone();
    stored["subjects"] = json!([{"kind": "User", "name": "ann"}]);
    let Step::Update(new) = reconcile(&stored, &wanted) else {
        panic!("not updated");
    };
    assert_eq!(new["subjects"].as_array().unwrap().len(), 3);
    stored["roleRef"]["name"] = "cluster-admin".into();
    assert_eq!(reconcile(&stored, &wanted), Step::Replace);
}
