use bramble_wire::object::PodUid;
use bramble_wire::report::{Phase, UnixMs};
use serde_json::json;

use super::*;

const UID: &str = "00000000-0000-4000-8000-000000000001";
const NOW: bramble_api::time::Timestamp = bramble_api::time::Timestamp::from_seconds(1_780_000_000);

fn pod() -> Value {
    json!({"kind": "Pod", "apiVersion": "v1",
        "metadata": {"name": "p", "namespace": "d", "uid": UID},
        "spec": {"nodeName": "n1", "restartPolicy": "Always",
            "containers": [{"name": "main", "image": "i:1"}]}})
}

fn end(life: u32, reason: &str) -> Terminated {
    Terminated {
        exit_code: 3,
        signal: 0,
        reason: reason.into(),
        message: "no such file".into(),
        started: UnixMs(1000),
        finished: UnixMs(2000),
        container_id: format!("life-{life}"),
    }
}

fn report(state: ContainerState, last: Option<Terminated>, id: &str) -> PodReport {
    let runs = matches!(state, ContainerState::Running { .. });
    PodReport {
        uid: PodUid::parse(UID).unwrap(),
        phase: Phase::Running,
        reason: String::new(),
        message: String::new(),
        pod_ip: None,
        started: UnixMs(1000),
        containers: vec![ContainerReport {
            name: "main".into(),
            state,
            last,
            restarts: 0,
            ready: runs,
            started: runs,
            image: "i:1".into(),
            image_id: String::new(),
            container_id: id.into(),
        }],
        ..PodReport::default()
    }
}

fn waiting(reason: &str, message: &str) -> PodReport {
    let (reason, message) = (reason.into(), message.into());
    report(ContainerState::Waiting { reason, message }, None, "")
}

fn running(life: u32, last: Option<Terminated>) -> PodReport {
    report(
        ContainerState::Running { started: UnixMs(1) },
        last,
        &format!("life-{life}"),
    )
}

fn backing_off(end: Terminated, delay: &str) -> PodReport {
    let id = end.container_id.clone();
    let (reason, message) = (
        "CrashLoopBackOff".into(),
        format!("back-off {delay} restarting"),
    );
    report(ContainerState::Waiting { reason, message }, Some(end), &id)
}

fn terminated(end: Terminated) -> PodReport {
    let id = end.container_id.clone();
    report(ContainerState::Terminated(end), None, &id)
}

/// Carries the report out on the stored pod, as the edge does, and gives what is told.
fn step(pod: &mut Value, report: &PodReport) -> Vec<String> {
    let action = crate::status::from_report("n1", pod, 1, report, None, NOW).unwrap();
    let Some(action) = action else {
        return Vec::new();
    };
    let notes = from_report("n1", pod, report).unwrap();
    if let crate::action::Action::Patch { patch, .. } = action {
        *pod = bramble_api::patch::merge(kinds::pod(), pod, &patch).unwrap();
        assert_eq!(
            from_report("n1", pod, report).unwrap(),
            [],
            "told twice: {report:?}"
        );
    }
    let kind = |note: &Note| if note.warning { "Warning" } else { "Normal" };
    notes
        .iter()
        .map(|n| format!("{} {}: {}", kind(n), n.reason, n.message))
        .collect()
}

/// A story of reports, and what each of them brings.
fn check(mut pod: Value, story: &[(PodReport, &[&str])]) {
    for (at, (report, expected)) in story.iter().enumerate() {
        assert_eq!(step(&mut pod, report), *expected, "report {at}");
    }
}

const PULLED: &str = "Normal Pulled: Container image \"i:1\" already present on machine";
const CREATED: &str = "Normal Created: Container created";
const STARTED: &str = "Normal Started: Container started";
const KILLING: &str = "Normal Killing: Stopping container main";
const BACK_OFF: &str = "Warning BackOff: Back-off restarting failed container main in pod \
                        p_d(00000000-0000-4000-8000-000000000001)";

#[test]
fn a_pod_starts_and_is_told_of_once() {
    check(
        pod(),
        &[
            (waiting("ContainerCreating", ""), &[]),
            (running(1, None), &[PULLED, CREATED, STARTED]),
            (running(1, None), &[]),
        ],
    );
}

#[test]
fn a_crash_loop_backs_off_once_for_each_end() {
    check(
        pod(),
        &[
            (running(1, None), &[PULLED, CREATED, STARTED]),
            (backing_off(end(1, "Error"), "10s"), &[BACK_OFF]),
            (backing_off(end(1, "Error"), "10s"), &[]),
            (
                running(2, Some(end(1, "Error"))),
                &[PULLED, CREATED, STARTED],
            ),
            (backing_off(end(2, "Error"), "20s"), &[BACK_OFF]),
            // The third life came and went between two reports.
            (
                backing_off(end(3, "Error"), "40s"),
                &[PULLED, CREATED, STARTED, BACK_OFF],
            ),
            // The fourth as well, and the fifth runs.
            (
                running(5, Some(end(4, "Error"))),
                &[PULLED, CREATED, STARTED, PULLED, CREATED, STARTED],
            ),
        ],
    );
}

#[test]
fn a_program_that_is_not_there_fails() {
    let failed = "Warning Failed: Error: no such file";
    check(
        pod(),
        &[(
            backing_off(end(1, START_ERROR), "10s"),
            &[PULLED, CREATED, failed, BACK_OFF],
        )],
    );
}

#[test]
fn a_life_that_nobody_saw_is_not_told_of() {
    check(
        pod(),
        &[(terminated(end(1, "ContainerStatusUnknown")), &[])],
    );
}

#[test]
fn what_a_container_waits_for_is_told_with_upstreams_reasons() {
    let cases: [(&str, &[&str]); 9] = [
        ("ContainerCreating", &[]),
        (
            "CreateContainerConfigError",
            &["Warning Failed: Error: why"],
        ),
        ("CreateContainerError", &["Warning Failed: Error: why"]),
        ("RunContainerError", &["Warning Failed: Error: why"]),
        (
            "CreatePodSandboxError",
            &["Warning FailedCreatePodSandBox: Failed to create pod sandbox: why"],
        ),
        (
            "ErrImageNeverPull",
            &[
                "Warning ErrImageNeverPull: why",
                "Warning Failed: Error: ErrImageNeverPull",
            ],
        ),
        (
            "ErrImagePull",
            &[
                "Warning Failed: Failed to pull image \"i:1\": why",
                "Warning Failed: Error: ErrImagePull",
            ],
        ),
        (
            "ImagePullBackOff",
            &[
                "Normal BackOff: why",
                "Warning Failed: Error: ImagePullBackOff",
            ],
        ),
        (
            "InvalidImageName",
            &[
                "Warning InspectFailed: why",
                "Warning Failed: Error: InvalidImageName",
            ],
        ),
    ];
    for (reason, expected) in cases {
        check(
            pod(),
            &[
                (waiting(reason, "why"), expected),
                (waiting(reason, "why"), &[]),
            ],
        );
    }
    let (one, two) = ("CreateContainerConfigError", "configmap \"b\" not found");
    check(
        pod(),
        &[
            (waiting(one, "why"), &["Warning Failed: Error: why"]),
            (
                waiting(one, two),
                &["Warning Failed: Error: configmap \"b\" not found"],
            ),
        ],
    );
}

#[test]
fn a_pod_without_a_sandbox_says_why() {
    let mut none = waiting("ContainerCreating", "");
    none.reason = "FailedCreatePodSandBox".into();
    none.message = "no free address".into();
    let told = "Warning FailedCreatePodSandBox: Failed to create pod sandbox: no free address";
    check(pod(), &[(none.clone(), &[told]), (none, &[])]);
}

#[test]
fn only_a_deleted_pod_is_killed() {
    let mut deleted = pod();
    assert_eq!(
        step(&mut deleted, &running(1, None)),
        [PULLED, CREATED, STARTED]
    );
    let mut ended = deleted.clone();
    assert_eq!(
        step(&mut ended, &terminated(end(1, "Error"))),
        [""; 0],
        "ended by itself"
    );

    deleted["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    let mut stopped = terminated(end(1, "Error"));
    stopped.phase = Phase::Failed;
    let mut gone = stopped.clone();
    gone.gone = true;
    assert_eq!(
        step(&mut deleted.clone(), &gone),
        [KILLING],
        "all in one report"
    );
    assert_eq!(step(&mut deleted, &stopped), [KILLING]);
    assert_eq!(step(&mut deleted, &gone), [""; 0]);
}

#[test]
fn a_note_names_the_container_and_the_node() {
    let notes = from_report("n1", &pod(), &running(1, None)).unwrap();
    for note in notes {
        assert_eq!(note.regarding.field_path, "spec.containers{main}");
        assert_eq!((note.component, note.host.as_str()), ("kubelet", "n1"));
        let write = crate::event::Recorder::default()
            .record(&note, NOW)
            .unwrap();
        assert_eq!(
            write.object["involvedObject"]["fieldPath"],
            "spec.containers{main}"
        );
        assert_eq!(
            write.object["source"],
            json!({"component": "kubelet", "host": "n1"})
        );
    }
}

#[test]
fn another_nodes_report_or_another_pods_tells_nothing() {
    assert_eq!(from_report("n2", &pod(), &running(1, None)).unwrap(), []);
    let mut other = pod();
    other["metadata"]["uid"] = "00000000-0000-4000-8000-000000000002".into();
    assert_eq!(from_report("n1", &other, &running(1, None)).unwrap(), []);
}
