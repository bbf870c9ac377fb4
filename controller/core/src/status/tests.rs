mod pod_conditions;

use bramble_api::view::Condition;
use bramble_wire::object::PodUid;
use bramble_wire::report::{Condition as Told, ContainerState, Terminated};
use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const BEFORE: &str = "2020-01-01T00:00:00Z";
const UID: &str = "00000000-0000-4000-8000-000000000001";
const START: UnixMs = UnixMs(1_700_000_000_999);
const STARTED: &str = "2023-11-14T22:13:20Z";

/// A pod on node `n` with the containers `a` and `b`.
fn pod(metadata: Value, status: Value) -> Value {
    let mut pod = json!({
        "metadata": {"name": "p", "namespace": "d", "uid": UID},
        "spec": {"nodeName": "n", "containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]},
        "status": status,
    });
    for (key, value) in metadata.as_object().unwrap() {
        pod["metadata"][key] = value.clone();
    }
    pod
}

fn running(name: &str, ready: bool) -> ContainerReport {
    container_report(name, ready, ContainerState::Running { started: START })
}

fn ended(name: &str, exit_code: i32) -> ContainerReport {
    let reason = if exit_code == 0 { "Completed" } else { "Error" };
    let end = Terminated {
        exit_code,
        signal: 0,
        reason: reason.into(),
        message: String::new(),
        started: START,
        finished: START,
        container_id: "id".into(),
    };
    container_report(name, false, ContainerState::Terminated(end))
}

fn container_report(name: &str, ready: bool, state: ContainerState) -> ContainerReport {
    ContainerReport {
        name: name.into(),
        state,
        last: None,
        restarts: 0,
        ready,
        started: true,
        image: "i:1".into(),
        image_id: "sha256:0".into(),
        container_id: "id".into(),
    }
}

fn report(phase: Phase, containers: Vec<ContainerReport>) -> PodReport {
    PodReport {
        uid: PodUid::parse(UID).unwrap(),
        phase,
        pod_ip: Some([10, 42, 0, 7]),
        started: START,
        containers,
        sandbox: true,
        ..PodReport::default()
    }
}

fn answer(pod: &Value, report: &PodReport) -> Option<Action> {
    from_report("n", pod, 7, report, Some("192.0.2.1"), NOW).unwrap()
}

/// The status patch of a report, with its durability.
#[track_caller]
fn patch(pod: &Value, report: &PodReport) -> (Value, Durability) {
    match answer(pod, report) {
        Some(Action::Patch {
            mut patch,
            revision: 7,
            durability,
            note: None,
            ..
        }) => (patch["status"].take(), durability),
        other => panic!("{other:?}"),
    }
}

/// `Type=Status/Reason`, one a line, and the message of Ready.
#[track_caller]
fn check(report: &PodReport, phase: &str, want: [&str; 4], message: &str, hard: bool) {
    let (status, durability) = patch(&pod(json!({}), json!({"phase": "Pending"})), report);
    let phase_now = status
        .get("phase")
        .and_then(Value::as_str)
        .unwrap_or("Pending");
    assert_eq!(phase_now, phase);
    assert_eq!(durability == Durability::Hard, hard, "{durability:?}");
    let list: Vec<Condition> = serde_json::from_value(status["conditions"].clone()).unwrap();
    let mut got: Vec<_> = list
        .iter()
        .map(|c| format!("{}={}/{}", c.kind, c.status, c.reason))
        .collect();
    got.sort_unstable();
    let sandbox = got.extract_if(.., |c| c.starts_with("PodReadyToStart"));
    assert_eq!(
        sandbox.collect::<Vec<_>>(),
        ["PodReadyToStartContainers=True/"]
    );
    assert_eq!(got, want);
    assert_eq!(conditions::find(&list, "Ready").unwrap().message, message);
    assert!(
        list.iter().all(|c| c.last_transition_time == Some(NOW)),
        "{list:?}"
    );
}

#[test]
fn a_report_of_a_new_pod_gives_its_whole_status() {
    let mut report = report(Phase::Running, vec![running("b", true), ended("a", 137)]);
    let ContainerState::Terminated(end) = &mut report.containers[1].state else {
        unreachable!()
    };
    (end.signal, end.message) = (9, "bye".into());
    let end = end.clone();
    report.containers[1].container_id = String::new();
    report.containers[0].last = Some(end);
    report.containers[0].restarts = 3;
    let end = json!({"exitCode": 137, "signal": 9, "reason": "Error", "message": "bye", "startedAt": STARTED,
        "finishedAt": STARTED, "containerID": "bramble://id"});
    let (mut status, _) = patch(&pod(json!({}), json!({})), &report);
    status.as_object_mut().unwrap().remove("conditions");
    assert_eq!(
        status,
        json!({
            "phase": "Running",
            "startTime": STARTED,
            "podIP": "10.42.0.7",
            "podIPs": [{"ip": "10.42.0.7"}],
            "hostIP": "192.0.2.1",
            "hostIPs": [{"ip": "192.0.2.1"}],
            "qosClass": "BestEffort",
            "containerStatuses": [
                {"name": "a", "state": {"terminated": end}, "lastState": {}, "ready": false, "started": true,
                 "restartCount": 0, "image": "i:1", "imageID": "sha256:0"},
                {"name": "b", "state": {"running": {"startedAt": STARTED}}, "lastState": {"terminated": end},
                 "ready": true, "started": true, "restartCount": 3, "image": "i:1", "imageID": "sha256:0",
                 "containerID": "bramble://id", "resources": {}},
            ],
        })
    );
}

/// What a condition of the pod with this spec says: status, reason and message.
#[track_caller]
fn says(spec: Value, status: Value, report: &PodReport, kind: &str) -> (String, String, String) {
    let mut pod = pod(json!({}), status);
    for (key, value) in spec.as_object().unwrap() {
        pod["spec"][key] = value.clone();
    }
    let (status, _) = patch(&pod, report);
    let list: Vec<Condition> = serde_json::from_value(status["conditions"].clone()).unwrap();
    let found = conditions::find(&list, kind).unwrap().clone();
    (found.status, found.reason, found.message)
}

fn said(status: &str, reason: &str, message: &str) -> (String, String, String) {
    (status.into(), reason.into(), message.into())
}

fn creating(name: &str) -> ContainerReport {
    let (reason, message) = ("PodInitializing".into(), String::new());
    let mut report = container_report(name, false, ContainerState::Waiting { reason, message });
    report.started = false;
    report
}

#[test]
fn what_a_container_may_use_is_said() {
    let mut pod = pod(json!({}), json!({}));
    let resources =
        json!({"limits": {"memory": "64Mi"}, "requests": {"cpu": "100m", "memory": "64Mi"}});
    pod["spec"]["containers"][0]["resources"] = resources.clone();
    let (status, _) = patch(
        &pod,
        &report(Phase::Running, vec![running("a", true), creating("b")]),
    );
    let [a, b] = &status["containerStatuses"].as_array().unwrap()[..] else {
        panic!("{status}")
    };
    assert_eq!(
        (&a["resources"], &a["allocatedResources"]),
        (&resources, &resources["requests"])
    );
    assert!(b.get("resources").is_none() && b.get("allocatedResources").is_none());
}

#[test]
fn a_waiting_container_says_why() {
    for (reason, message, want) in [
        (
            "ContainerCreating",
            "",
            json!({"waiting": {"reason": "ContainerCreating"}}),
        ),
        (
            "ErrImagePull",
            "no",
            json!({"waiting": {"reason": "ErrImagePull", "message": "no"}}),
        ),
    ] {
        let state = ContainerState::Waiting {
            reason: reason.into(),
            message: message.into(),
        };
        let report = report(Phase::Pending, vec![container_report("a", false, state)]);
        let (status, _) = patch(&pod(json!({}), json!({})), &report);
        assert_eq!(status["containerStatuses"][0]["state"], want);
    }
}

#[test]
fn a_pod_on_the_network_of_its_host_has_the_address_of_its_host() {
    let mut report = report(Phase::Running, vec![]);
    report.pod_ip = None;
    let mut pod = pod(json!({}), json!({}));
    assert_eq!(patch(&pod, &report).0.get("podIP"), None);
    pod["spec"]["hostNetwork"] = true.into();
    assert_eq!(
        patch(&pod, &report).0["podIPs"],
        json!([{"ip": "192.0.2.1"}])
    );
}

#[test]
fn an_end_is_one_way() {
    let ended_pod = |phase: &str| pod(json!({}), json!({"phase": phase}));
    for stored in ["Succeeded", "Failed"] {
        for phase in [Phase::Pending, Phase::Running] {
            assert_eq!(
                answer(&ended_pod(stored), &report(phase, vec![running("a", true)])),
                None
            );
        }
        for phase in [Phase::Succeeded, Phase::Failed] {
            let (status, durability) =
                patch(&ended_pod(stored), &report(phase, vec![ended("a", 0)]));
            assert_eq!(
                (status.get("phase"), durability),
                (None, Durability::Hard),
                "it stays {stored}"
            );
        }
    }
}

#[test]
fn only_the_node_of_a_pod_speaks_for_it_and_only_for_that_life_of_the_name() {
    let running = report(Phase::Running, vec![]);
    let pod = pod(json!({}), json!({}));
    assert_eq!(
        from_report("m", &pod, 7, &running, None, NOW).unwrap(),
        None
    );
    let other = PodReport {
        uid: PodUid([9; 16]),
        ..running
    };
    assert_eq!(answer(&pod, &other), None);
    assert!(from_report("n", &json!({"metadata": 5}), 7, &other, None, NOW).is_err());
}

#[test]
fn a_pod_is_removed_when_it_is_being_deleted_and_nothing_of_it_is_left() {
    let deleting = json!({"deletionTimestamp": BEFORE});
    let held = json!({"deletionTimestamp": BEFORE, "finalizers": ["example.org/hold"]});
    for (metadata, gone, removed) in [
        (deleting.clone(), true, true),
        (deleting, false, false),
        (held, true, false),
        (json!({}), true, false),
    ] {
        let report = PodReport {
            gone,
            ..report(Phase::Failed, vec![])
        };
        let got = answer(&pod(metadata.clone(), json!({})), &report);
        let is = matches!(&got, Some(Action::Remove { uid, .. }) if uid == UID);
        assert_eq!(is, removed, "{metadata} gone: {gone}: {got:?}");
    }
}

#[test]
fn the_class_of_service_is_upstreams() {
    let none = json!({});
    let one = json!({"cpu": "1", "memory": "1Gi"});
    let container = |requests: &Value, limits: &Value| json!({"name": "a", "resources": {"requests": requests, "limits": limits}});
    for (containers, want) in [
        (json!([container(&none, &none)]), "BestEffort"),
        (json!([{"name": "a"}]), "BestEffort"),
        (
            json!([container(&json!({"cpu": "0"}), &none)]),
            "BestEffort",
        ),
        (
            json!([container(&json!({"ephemeral-storage": "1Gi"}), &none)]),
            "BestEffort",
        ),
        (json!([container(&one, &one)]), "Guaranteed"),
        // Requests that are not given are the limits.
        (json!([container(&none, &one)]), "Guaranteed"),
        (
            json!([container(
                &json!({"cpu": "1000m", "memory": "1024Mi"}),
                &one
            )]),
            "Guaranteed",
        ),
        (
            json!([container(&one, &one), container(&one, &one)]),
            "Guaranteed",
        ),
        (
            json!([container(&one, &one), container(&none, &none)]),
            "Burstable",
        ),
        (json!([container(&one, &none)]), "Burstable"),
        (
            json!([container(&json!({"cpu": "1m"}), &none)]),
            "Burstable",
        ),
        (
            json!([container(&json!({"cpu": "500m"}), &one)]),
            "Burstable",
        ),
        (json!([container(&none, &json!({"cpu": "1"}))]), "Burstable"),
        // A request of nothing is given, and is not the limit.
        (
            json!([container(&json!({"cpu": "0", "memory": "1Gi"}), &one)]),
            "Burstable",
        ),
    ] {
        let mut pod = pod(json!({}), json!({}));
        pod["spec"]["containers"] = containers.clone();
        let pod: FullPod = serde_json::from_value(pod).unwrap();
        assert_eq!(qos_class(&pod), want, "{containers}");
    }
}

fn some_report() -> impl Strategy<Value = PodReport> {
    let phase = prop::sample::select(vec![
        Phase::Pending,
        Phase::Running,
        Phase::Succeeded,
        Phase::Failed,
    ]);
    let container = |name: &'static str| {
        (any::<bool>(), 0..3).prop_map(move |(ready, end)| match end {
            0 => running(name, ready),
            code => ended(name, code - 1),
        })
    };
    (
        phase,
        prop::option::of(container("a")),
        prop::option::of(container("b")),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(phase, a, b, ip, timed)| {
            let mut report = report(phase, a.into_iter().chain(b).collect());
            report.pod_ip = report.pod_ip.filter(|_| ip);
            if !timed {
                report.started = UnixMs::default();
            }
            report
        })
}

/// RFC 7396, as the edge carries patches out.
fn apply(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    let into = into.as_object_mut().unwrap();
    for (key, value) in patch {
        if value.is_null() {
            into.remove(key);
        } else {
            apply(into.entry(key).or_insert(Value::Null), value);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_report_that_was_written_writes_nothing_and_no_end_is_undone(reports in prop::collection::vec(some_report(), 1..6)) {
        let mut pod = pod(json!({}), json!({}));
        let mut end: Option<Value> = None;
        for report in reports {
            if let Some(Action::Patch { patch, .. }) = answer(&pod, &report) {
                apply(&mut pod, &patch);
            }
            let later = Timestamp::from_seconds(NOW.seconds + 60);
            let again = from_report("n", &pod, 8, &report, Some("192.0.2.1"), later).unwrap();
            prop_assert_eq!(again, None);
            let phase = pod["status"]["phase"].clone();
            if let Some(end) = &end {
                prop_assert_eq!(end, &phase);
            } else if matches!(phase.as_str(), Some("Succeeded" | "Failed")) {
                end = Some(phase);
            }
        }
    }

    #[test]
    fn the_order_of_containers_in_a_report_never_matters(report in some_report()) {
        let mut turned = report.clone();
        turned.containers.reverse();
        let pod = pod(json!({}), json!({}));
        prop_assert_eq!(answer(&pod, &report), answer(&pod, &turned));
    }
}
