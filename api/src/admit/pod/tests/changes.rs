//! What may change about a pod that is there.

use super::*;

#[test]
fn a_gated_pod_says_so_and_may_become_choosier() {
    let mut object = pod(spec(
        json!({"schedulingGates": [{"name": "a/b"}], "nodeSelector": {"a": "b"}}),
    ));
    super::super::prepare(object.as_object_mut().unwrap());
    assert_eq!(
        object["status"]["conditions"][0]["reason"],
        "SchedulingGated"
    );
    let change = |change: &dyn Fn(&mut Value)| {
        let mut new = object.clone();
        change(&mut new);
        let mut errors = crate::admit::errors::Errors::default();
        crate::admit::pod_update::validate(
            object.as_object().unwrap(),
            new.as_object().unwrap(),
            &mut errors,
        );
        words(errors.into_result(kind("pods"), "p").err())
    };
    let none: [&str; 0] = [];
    assert_eq!(change(&|p| p["spec"]["schedulingGates"] = json!([])), none);
    assert_eq!(
        change(&|p| p["spec"]["schedulingGates"] = json!([{"name": "c"}])),
        [
            "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'c'"
        ]
    );
    assert_eq!(
        change(&|p| p["spec"]["nodeSelector"]["c"] = "d".into()),
        none
    );
    assert_eq!(
        change(&|p| p["spec"]["nodeSelector"] = json!({"a": "c"})),
        [
            "spec.nodeSelector: Invalid value: {\"a\":\"c\"}: only additions to spec.nodeSelector are allowed (no mutations or deletions)"
        ]
    );
    let term = |terms: Value| json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}});
    assert_eq!(change(&|p| p["spec"]["affinity"] = term(json!([{}]))), none);
}

#[test]
fn a_pods_deadline_only_comes_nearer() {
    let with_deadline = |seconds: Value| {
        let mut spec = spec(json!({}));
        spec["activeDeadlineSeconds"] = seconds;
        json!({"spec": spec}).as_object().unwrap().clone()
    };
    let change = |from: Value, to: Value| {
        let mut errors = crate::admit::errors::Errors::default();
        crate::admit::pod_update::validate(&with_deadline(from), &with_deadline(to), &mut errors);
        words(errors.into_result(kind("pods"), "p").err())
    };
    let none: [&str; 0] = [];
    assert_eq!(change(json!(9), json!(8)), none);
    assert_eq!(
        change(json!(8), json!(9)),
        [
            "spec.activeDeadlineSeconds: Invalid value: 9: must be less than or equal to previous value"
        ]
    );
    assert_eq!(
        change(json!(8), Value::Null)[0],
        "spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value"
    );
}

#[test]
fn tolerations_are_only_added_but_their_seconds_may_change() {
    let tolerates = |seconds: i64| json!([{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}]);
    let object = || pod(spec(json!({"tolerations": tolerates(5)})));
    updated("pods", object(), |p| {
        p["spec"]["tolerations"] = tolerates(9)
    })
    .unwrap();
    let status = updated("pods", object(), |p| p["spec"]["tolerations"] = json!([])).unwrap_err();
    assert!(status.message().ends_with(
        "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"
    ));
}

#[test]
fn a_status_keeps_what_is_over() {
    let mut object = pod(spec(json!({"restartPolicy": "Never"})));
    object = created("pods", object).unwrap().0;
    object["status"] = json!({"phase": "Running", "qosClass": "BestEffort", "containerStatuses": [
        {"name": "a", "state": {"terminated": {"exitCode": 0}}}]});
    let change = |status: Value| {
        let mut new = with(object.clone(), "/status", status);
        let ctx = Update {
            now: Timestamp::default(),
            subresource: Some("status"),
        };
        update(kind("pods"), &object, &mut new, &ctx).map(|_| new)
    };
    let words = |status: Value| words(change(status).err());
    assert_eq!(
        words(json!({"containerStatuses": [{"name": "a", "state": {"running": {}}}]})),
        [
            "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"
        ]
    );
    assert_eq!(
        words(json!({"qosClass": "Guaranteed"})),
        ["status.qosClass: Invalid value: \"Guaranteed\": field is immutable"]
    );
    assert_eq!(
        words(json!({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}]})),
        [
            "status.podIPs: Invalid value: [{\"ip\":\"10.0.0.1\"},{\"ip\":\"10.0.0.2\"}]: may specify no more than one IP for each IP family"
        ]
    );
    assert_eq!(
        words(json!({"hostIP": "10.0.0.1", "hostIPs": [{"ip": "10.0.0.2"}]})),
        ["status.hostIPs[0].ip: Invalid value: \"10.0.0.2\": must be equal to `hostIP`"]
    );
    let new = change(json!({"phase": "Succeeded"})).unwrap();
    assert_eq!(new["status"]["qosClass"], "BestEffort");
}
