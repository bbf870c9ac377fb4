//! Nobody hands on what they don't have.

use serde_json::{Value, json};

use crate::rbac::covers::{Error, confirm, is_everything};
use crate::rbac::*;

fn rules(value: Value) -> Vec<Rule> {
    serde_json::from_value(value).unwrap()
}

fn check(own: &Value, wanted: &Value) -> Result<(), String> {
    let (own, wanted) = (rules(own.clone()), rules(wanted.clone()));
    let own: Vec<&Rule> = own.iter().collect();
    let user = User {
        name: "ann",
        groups: &["people".to_owned(), "system:authenticated".to_owned()],
    };
    confirm(user, &own, None, &wanted).map_err(|error| error.to_string())
}

fn on(verbs: &[&str], groups: &[&str], resources: &[&str]) -> Value {
    json!({"verbs": verbs, "apiGroups": groups, "resources": resources})
}

#[test]
fn rights_are_compared_one_by_one() {
    let pods = on(&["get", "list"], &[""], &["pods"]);
    let all = on(&["*"], &["*"], &["*"]);
    let scale = on(&["*"], &["*"], &["*/scale"]);
    let mut named = pods.clone();
    named["resourceNames"] = json!(["a", "b"]);
    let mut one = pods.clone();
    one["resourceNames"] = json!(["a"]);
    let paths = json!({"verbs": ["get"], "nonResourceURLs": ["/api/*"]});
    let path = json!({"verbs": ["get"], "nonResourceURLs": ["/api/v1", "/api/*"]});
    let every = json!({"verbs": ["*"], "nonResourceURLs": ["*"]});
    let fine = [
        (json!([]), json!([])),
        (json!([pods]), json!([])),
        (json!([pods]), json!([pods])),
        // Two rules of the owner together contain one of the role.
        (
            json!([
                on(&["get"], &[""], &["pods"]),
                on(&["list"], &[""], &["pods"])
            ]),
            json!([pods]),
        ),
        (json!([all]), json!([pods, named])),
        (json!([pods]), json!([named])),
        (json!([named]), json!([one])),
        (
            json!([scale]),
            json!([on(&["get"], &["apps"], &["deployments/scale"])]),
        ),
        (json!([paths]), json!([path])),
        (json!([all, every]), json!([all, every, paths])),
    ];
    for (own, wanted) in fine {
        assert_eq!(check(&own, &wanted), Ok(()), "{own} {wanted}");
    }
    let lacking = [
        (
            json!([]),
            json!([pods]),
            r#"{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}"#,
        ),
        (
            json!([on(&["get"], &[""], &["pods"])]),
            json!([pods]),
            r#"{APIGroups:[""], Resources:["pods"], Verbs:["list"]}"#,
        ),
        (
            json!([one]),
            json!([named]),
            "{APIGroups:[\"\"], Resources:[\"pods\"], ResourceNames:[\"b\"], Verbs:[\"get\"]}\n\
             {APIGroups:[\"\"], Resources:[\"pods\"], ResourceNames:[\"b\"], Verbs:[\"list\"]}",
        ),
        (
            json!([scale]),
            json!([on(&["get"], &["apps"], &["deployments"])]),
            r#"{APIGroups:["apps"], Resources:["deployments"], Verbs:["get"]}"#,
        ),
        (
            json!([all]),
            json!([paths]),
            r#"{NonResourceURLs:["/api/*"], Verbs:["get"]}"#,
        ),
        (
            json!([pods]),
            json!([all]),
            r#"{APIGroups:["*"], Resources:["*"], Verbs:["*"]}"#,
        ),
    ];
    for (own, wanted, missing) in lacking {
        let want = format!(
            "user \"ann\" (groups=[\"people\" \"system:authenticated\"]) is attempting to grant \
             RBAC permissions not currently held:\n{missing}"
        );
        assert_eq!(check(&own, &wanted), Err(want), "{own} {wanted}");
    }
}

#[test]
fn a_role_of_too_many_combinations_is_refused_quickly() {
    let many: Vec<String> = (0..2_000).map(|n| format!("x{n}")).collect();
    let wanted = rules(json!([{"verbs": many, "apiGroups": many, "resources": many}]));
    let own = rules(json!([on(&["get"], &[""], &["pods"])]));
    let own: Vec<&Rule> = own.iter().collect();
    let user = User {
        name: "ann",
        groups: &[],
    };
    assert_eq!(confirm(user, &own, None, &wanted), Err(Error::TooMany));
    // One rule that contains it needs no comparison.
    let all = rules(json!([on(&["*"], &["*"], &["*"])]));
    let all: Vec<&Rule> = all.iter().collect();
    assert_eq!(confirm(user, &all, None, &wanted), Ok(()));
}

#[test]
fn everything_is_objects_and_paths() {
    let objects = rules(json!([on(&["*"], &["*"], &["*"])]));
    let both =
        rules(json!([on(&["*"], &["*"], &["*"]), {"verbs": ["*"], "nonResourceURLs": ["*"]}]));
    assert!(!is_everything(&objects.iter().collect::<Vec<_>>()));
    assert!(is_everything(&both.iter().collect::<Vec<_>>()));
}
