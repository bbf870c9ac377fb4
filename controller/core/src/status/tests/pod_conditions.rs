//! A pod's conditions.

use super::*;

#[test]
fn the_conditions_follow_the_phase_and_the_containers() {
    const READY: [&str; 4] = [
        "ContainersReady=True/",
        "Initialized=True/",
        "PodScheduled=True/",
        "Ready=True/",
    ];
    const UNREADY: [&str; 4] = [
        "ContainersReady=False/ContainersNotReady",
        "Initialized=True/",
        "PodScheduled=True/",
        "Ready=False/ContainersNotReady",
    ];
    const COMPLETED: [&str; 4] = [
        "ContainersReady=False/PodCompleted",
        "Initialized=True/PodCompleted",
        "PodScheduled=True/",
        "Ready=False/PodCompleted",
    ];
    const FAILED: [&str; 4] = [
        "ContainersReady=False/PodFailed",
        "Initialized=True/",
        "PodScheduled=True/",
        "Ready=False/PodFailed",
    ];
    let both = "containers with unready status: [a b]";
    let b = "containers with unready status: [b]";
    let neither = "containers with unknown status: [a b]";
    check(
        &report(Phase::Pending, vec![]),
        "Pending",
        UNREADY,
        neither,
        false,
    );
    check(
        &report(
            Phase::Pending,
            vec![running("a", false), running("b", false)],
        ),
        "Pending",
        UNREADY,
        both,
        false,
    );
    check(
        &report(Phase::Running, vec![running("a", true), running("b", true)]),
        "Running",
        READY,
        "",
        false,
    );
    check(
        &report(Phase::Running, vec![running("b", true), running("a", true)]),
        "Running",
        READY,
        "",
        false,
    );
    check(
        &report(
            Phase::Running,
            vec![running("a", true), running("b", false)],
        ),
        "Running",
        UNREADY,
        b,
        false,
    );
    check(
        &report(Phase::Running, vec![running("a", true)]),
        "Running",
        UNREADY,
        "containers with unknown status: [b]",
        false,
    );
    check(
        &report(Phase::Running, vec![running("a", true), ended("b", 1)]),
        "Running",
        UNREADY,
        b,
        false,
    );
    check(
        &report(Phase::Succeeded, vec![ended("a", 0), ended("b", 0)]),
        "Succeeded",
        COMPLETED,
        "",
        true,
    );
    check(
        &report(Phase::Failed, vec![ended("a", 0), ended("b", 1)]),
        "Failed",
        FAILED,
        "",
        true,
    );
}

#[test]
fn a_pod_is_initialized_when_its_init_containers_have_done_their_work() {
    let spec = json!({"initContainers": [
        {"name": "x"}, {"name": "side", "restartPolicy": "Always"}, {"name": "y"},
    ]});
    let side = |started| ContainerReport {
        started,
        ..running("side", started)
    };
    let main = || vec![creating("a"), creating("b")];
    let incomplete = |names: &str| {
        let message = format!("containers with incomplete status: [{names}]");
        said("False", "ContainersNotInitialized", &message)
    };
    let yes = said("True", "", "");
    for (init, main, want) in [
        (
            vec![running("x", false)],
            main(),
            said(
                "False",
                "ContainersNotInitialized",
                "containers with unknown status: [side y], containers with incomplete status: [x]",
            ),
        ),
        (
            vec![ended("x", 1), side(false), creating("y")],
            main(),
            incomplete("x side y"),
        ),
        (
            vec![ended("x", 0), side(true), running("y", false)],
            main(),
            incomplete("y"),
        ),
        (
            vec![ended("x", 0), side(true), ended("y", 0)],
            main(),
            yes.clone(),
        ),
        // Where a main container has been, so have they, whatever became of their state.
        (
            vec![creating("x"), side(false), creating("y")],
            vec![running("a", true), creating("b")],
            yes,
        ),
    ] {
        let mut report = report(Phase::Pending, main);
        report.init_containers = init;
        let got = says(spec.clone(), json!({}), &report, "Initialized");
        assert_eq!(got, want, "{report:?}");
    }
    let mut done = report(Phase::Succeeded, vec![ended("a", 0), ended("b", 0)]);
    done.init_containers = vec![ended("x", 0), side(true), ended("y", 0)];
    let completed = said("True", "PodCompleted", "");
    assert_eq!(says(spec, json!({}), &done, "Initialized"), completed);
}

#[test]
fn a_sidecar_counts_for_readiness_and_every_list_has_its_statuses() {
    let spec =
        json!({"initContainers": [{"name": "x"}, {"name": "side", "restartPolicy": "Always"}]});
    let mut report = report(
        Phase::Running,
        vec![running("a", true), running("b", false)],
    );
    report.init_containers = vec![running("side", false), ended("x", 0)];
    report.ephemeral_containers = vec![running("look", false)];
    let unready = "containers with unready status: [side b]";
    let want = said("False", "ContainersNotReady", unready);
    for kind in ["ContainersReady", "Ready"] {
        assert_eq!(says(spec.clone(), json!({}), &report, kind), want);
    }
    let mut pod = pod(json!({}), json!({}));
    pod["spec"]["initContainers"] = spec["initContainers"].clone();
    pod["spec"]["ephemeralContainers"] = json!([{"name": "look"}]);
    let (status, _) = patch(&pod, &report);
    let names = |list: &str| {
        let list = status[list].as_array().unwrap();
        let names = list.iter().map(|c| c["name"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names("initContainerStatuses"), ["x", "side"]);
    assert_eq!(names("ephemeralContainerStatuses"), ["look"]);
}

#[test]
fn gates_and_the_sandbox_are_conditions() {
    let ready = report(Phase::Running, vec![running("a", true), running("b", true)]);
    let spec = json!({"readinessGates": [{"conditionType": "x/a"}, {"conditionType": "x/b"}]});
    let condition = |status: &str| json!({"conditions": [{"type": "x/a", "status": status}]});
    let missing = "corresponding condition of pod readiness gate \"x/b\" does not exist.";
    let closed =
        format!("the status of pod readiness gate \"x/a\" is not \"True\", but False, {missing}");
    for (status, message) in [("True", missing), ("False", closed.as_str())] {
        let got = says(spec.clone(), condition(status), &ready, "Ready");
        assert_eq!(got, said("False", "ReadinessGatesNotReady", message));
        let containers = says(spec.clone(), condition(status), &ready, "ContainersReady");
        assert_eq!(containers, said("True", "", ""));
    }
    let mut alone = ready;
    alone.sandbox = false;
    let got = says(json!({}), json!({}), &alone, "PodReadyToStartContainers");
    assert_eq!(got, said("False", "", ""));
}

#[test]
fn a_gate_that_others_open_makes_a_pod_ready() {
    let pod_with = |gate: &str, ready: Value, containers: &str, phase: &str| {
        let mut pod = pod(
            json!({}),
            json!({"phase": phase, "conditions": [
                {"type": "x/a", "status": gate}, {"type": "ContainersReady", "status": containers}, ready,
            ]}),
        );
        pod["spec"]["readinessGates"] = json!([{"conditionType": "x/a"}]);
        pod
    };
    let closed = "the status of pod readiness gate \"x/a\" is not \"True\", but False";
    let unready = json!({"type": "Ready", "status": "False", "reason": "ReadinessGatesNotReady", "message": closed});
    let ready = json!({"type": "Ready", "status": "True"});
    let lost = json!({"type": "Ready", "status": "False", "reason": "NodeNotReady"});
    for (gate, was, containers, phase, now) in [
        ("True", &unready, "True", "Running", Some("True")),
        ("False", &ready, "True", "Running", Some("False")),
        ("False", &unready, "True", "Running", None),
        ("True", &ready, "True", "Running", None),
        ("True", &lost, "True", "Running", None),
        ("True", &unready, "False", "Running", None),
        ("True", &unready, "True", "Failed", None),
    ] {
        let pod = pod_with(gate, was.clone(), containers, phase);
        let got = gates(&pod, 7, NOW).unwrap().map(|action| {
            let Action::Patch { patch, .. } = action else {
                panic!("{action:?}");
            };
            let list: Vec<Condition> =
                serde_json::from_value(patch["status"]["conditions"].clone()).unwrap();
            assert!(conditions::find(&list, "x/a").is_some());
            conditions::find(&list, "Ready").unwrap().status.clone()
        });
        assert_eq!(got.as_deref(), now, "{gate} {was} {containers} {phase}");
    }
    assert_eq!(gates(&pod(json!({}), json!({})), 7, NOW).unwrap(), None);
}

#[test]
fn conditions_of_agents_come_and_go_and_take_nobodys_place() {
    let told = |kind: &str| Told {
        kind: kind.into(),
        status: Some(true),
        reason: "R".into(),
        message: "m".into(),
    };
    let mut report = report(Phase::Running, vec![running("a", true), running("b", true)]);
    report.conditions = vec![
        told("bramble.dev/TokenExpiring"),
        told("Ready"),
        told("DisruptionTarget"),
    ];
    let stored = json!({"conditions": [
        {"type": "bramble.dev/Old", "status": "True"}, {"type": "example.org/mine", "status": "True"},
    ]});
    let (status, _) = patch(&pod(json!({}), stored), &report);
    let list: Vec<Condition> = serde_json::from_value(status["conditions"].clone()).unwrap();
    let reason = |kind: &str| conditions::find(&list, kind).map(|c| c.reason.as_str());
    assert_eq!(reason("bramble.dev/TokenExpiring"), Some("R"));
    assert_eq!(reason("DisruptionTarget"), Some("R"));
    assert_eq!(reason("Ready"), Some(""));
    assert_eq!(reason("bramble.dev/Old"), None);
    assert!(reason("example.org/mine").is_some());
}

#[test]
fn the_transition_time_moves_with_the_status_and_other_conditions_stay() {
    let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "lastTransitionTime": BEFORE});
    let stored = pod(
        json!({}),
        json!({"conditions": [
            condition("PodScheduled", "True"), condition("example.org/mine", "True"),
            condition("Ready", "False"), condition("ContainersReady", "True"),
        ]}),
    );
    let (status, _) = patch(
        &stored,
        &report(Phase::Running, vec![running("a", true), running("b", true)]),
    );
    let now = NOW.rfc3339();
    let want = [
        ("PodScheduled", BEFORE),
        ("example.org/mine", BEFORE),
        ("Ready", now.as_str()),
        ("ContainersReady", BEFORE),
        ("PodReadyToStartContainers", now.as_str()),
        ("Initialized", now.as_str()),
    ];
    let want: Vec<_> = want
        .into_iter()
        .map(|(kind, at)| json!({"type": kind, "status": "True", "lastTransitionTime": at}))
        .collect();
    assert_eq!(status["conditions"], Value::from(want));
}
