//! Each case: an object, a request, and what of the object differs afterwards.

use super::Propagation::{Background, Foreground, Orphan};
use super::*;
use bramble_api::kind::find;

const NOW: Timestamp = Timestamp {
    seconds: 1000,
    nanos: 5,
};

fn kind(plural: &str) -> &'static Kind {
    let group = if plural == "deployments" { "apps" } else { "" };
    find(group, "v1", plural).unwrap()
}

/// `REMOVE`, `PENDING`, `SAME`, or seconds until the end, grace, generation and finalizers.
fn check(plural: &str, object: &Value, options: Options, want: &str) {
    let got = match decide(kind(plural), object, &options, NOW) {
        Deletion::Remove => "REMOVE".to_owned(),
        Deletion::Pending => "PENDING".to_owned(),
        Deletion::Mark(new) if new == *object => "SAME".to_owned(),
        Deletion::Mark(new) => {
            let meta = &new["metadata"];
            let at = Timestamp::parse(meta["deletionTimestamp"].as_str().unwrap()).unwrap();
            let grace = meta["deletionGracePeriodSeconds"].as_i64();
            let grace = grace.map_or("-".into(), |grace| grace.to_string());
            let finalizers = meta["finalizers"].as_array();
            let finalizers = finalizers
                .into_iter()
                .flatten()
                .map(|f| f.as_str().unwrap());
            let finalizers: Vec<_> = finalizers.collect();
            let generation = meta["generation"].as_i64().unwrap_or(0);
            let at = at.seconds - NOW.seconds;
            format!(
                "+{at} grace={grace} gen={generation} {}",
                finalizers.join(",")
            )
        }
    };
    assert_eq!(got, want, "{plural} {object} {options:?}");
}

fn asked(grace: i64) -> Options {
    Options {
        grace: Some(grace),
        ..Options::default()
    }
}

fn with(propagation: Propagation) -> Options {
    Options {
        grace: None,
        propagation: Some(propagation),
    }
}

fn object(finalizers: &[&str]) -> Value {
    json!({"metadata": {"name": "a", "generation": 1, "finalizers": finalizers}})
}

fn marked(finalizers: &[&str]) -> Value {
    let mut object = object(finalizers);
    object["metadata"]["deletionTimestamp"] = Timestamp::from_seconds(990).rfc3339().into();
    object["metadata"]["deletionGracePeriodSeconds"] = 0.into();
    object["metadata"]["generation"] = 2.into();
    object
}

#[test]
fn finalizers_hold_an_object_and_the_request_may_add_to_them() {
    let none = Options::default();
    let cases: &[(&str, Value, Options, &str)] = &[
        ("configmaps", object(&[]), none, "REMOVE"),
        ("configmaps", object(&[]), with(Background), "REMOVE"),
        ("configmaps", object(&["x/y"]), none, "+0 grace=0 gen=2 x/y"),
        (
            "deployments",
            object(&[]),
            with(Foreground),
            "+0 grace=0 gen=2 foregroundDeletion",
        ),
        (
            "deployments",
            object(&[]),
            with(Orphan),
            "+0 grace=0 gen=2 orphan",
        ),
        (
            "deployments",
            object(&["x/y"]),
            with(Orphan),
            "+0 grace=0 gen=2 x/y,orphan",
        ),
        // What the object says holds when the request says nothing, and yields when it does.
        (
            "deployments",
            object(&["orphan"]),
            none,
            "+0 grace=0 gen=2 orphan",
        ),
        (
            "deployments",
            object(&["orphan"]),
            with(Background),
            "REMOVE",
        ),
        (
            "deployments",
            object(&["orphan"]),
            with(Foreground),
            "+0 grace=0 gen=2 foregroundDeletion",
        ),
        // A second request may still change it, and marks nothing twice.
        ("deployments", marked(&["x/y"]), none, "SAME"),
        (
            "deployments",
            marked(&["foregroundDeletion"]),
            with(Foreground),
            "SAME",
        ),
        (
            "deployments",
            marked(&["x/y"]),
            with(Foreground),
            "+-10 grace=0 gen=2 x/y,foregroundDeletion",
        ),
        (
            "deployments",
            marked(&["foregroundDeletion"]),
            with(Background),
            "REMOVE",
        ),
        ("deployments", marked(&[]), none, "REMOVE"),
        (
            "replicationcontrollers",
            object(&[]),
            none,
            "+0 grace=0 gen=2 orphan",
        ),
        (
            "replicationcontrollers",
            object(&[]),
            with(Background),
            "REMOVE",
        ),
        ("events", object(&[]), with(Foreground), "REMOVE"),
    ];
    for (plural, object, options, want) in cases {
        check(plural, object, *options, want);
    }
}

fn pod(phase: &str, node: &str) -> Value {
    json!({"metadata": {"name": "a", "generation": 1}, "status": {"phase": phase},
           "spec": {"nodeName": node, "terminationGracePeriodSeconds": 20}})
}

fn ending_pod(grace: i64) -> Value {
    let mut pod = pod("Running", "n");
    pod["metadata"]["deletionTimestamp"] = Timestamp::from_seconds(995 + grace).rfc3339().into();
    pod["metadata"]["deletionGracePeriodSeconds"] = grace.into();
    pod
}

#[test]
fn pods_get_their_grace_once_and_it_only_shrinks() {
    let none = Options::default();
    let running = || pod("Running", "n");
    let cases: &[(Value, Options, &str)] = &[
        (running(), none, "+20 grace=20 gen=2 "),
        (running(), asked(5), "+5 grace=5 gen=2 "),
        (running(), asked(-7), "+1 grace=1 gen=2 "),
        (running(), asked(0), "REMOVE"),
        (
            running(),
            with(Foreground),
            "+20 grace=20 gen=2 foregroundDeletion",
        ),
        (pod("Pending", ""), none, "REMOVE"),
        (pod("Pending", ""), with(Orphan), "+0 grace=0 gen=2 orphan"),
        (pod("Failed", "n"), none, "REMOVE"),
        (ending_pod(20), none, "PENDING"),
        (ending_pod(20), asked(20), "PENDING"),
        (ending_pod(20), asked(30), "PENDING"),
        // Counted from the first request.
        (ending_pod(20), asked(5), "+0 grace=5 gen=1 "),
        (ending_pod(20), asked(0), "REMOVE"),
        (ending_pod(0), none, "REMOVE"),
    ];
    for (pod, options, want) in cases {
        check("pods", pod, *options, want);
    }
    let extreme = decide(kind("pods"), &running(), &asked(i64::MAX), NOW);
    assert!(matches!(extreme, Deletion::Mark(_)), "no overflow");
}

#[test]
fn a_namespace_waits_for_its_content() {
    let none = Options::default();
    let fresh = json!({"metadata": {"name": "a"}, "spec": {"finalizers": ["kubernetes"]},
                       "status": {"phase": "Active"}});
    check("namespaces", &fresh, none, "+0 grace=- gen=0 ");
    check(
        "namespaces",
        &fresh,
        with(Foreground),
        "+0 grace=- gen=0 foregroundDeletion",
    );
    let Deletion::Mark(ending) = decide(kind("namespaces"), &fresh, &none, NOW) else {
        panic!("it is marked");
    };
    assert_eq!(ending["status"]["phase"], "Terminating");
    check("namespaces", &ending, none, "SAME");
    check("namespaces", &ending, with(Foreground), "SAME");
    assert!(!is_finished(kind("namespaces"), &ending));
    let mut empty = ending;
    empty["spec"]["finalizers"] = json!([]);
    check("namespaces", &empty, none, "REMOVE");
    assert!(is_finished(kind("namespaces"), &empty));
}

#[test]
fn a_marked_object_that_nothing_holds_is_finished() {
    let finished = |plural: &str, object: &Value| is_finished(kind(plural), object);
    assert!(finished("configmaps", &marked(&[])));
    assert!(!finished("configmaps", &marked(&["x/y"])));
    assert!(!finished("configmaps", &object(&[])));
    assert!(
        !finished("pods", &ending_pod(20)),
        "its node is still at it"
    );
    assert!(finished("pods", &ending_pod(0)));
}
