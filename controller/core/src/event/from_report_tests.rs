use bramble_wire::object::PodUid;
use serde_json::json;

use super::*;

const UID: &str = "00000000-0000-4000-8000-000000000001";
const NOW: bramble_api::time::Timestamp = bramble_api::time::Timestamp::from_seconds(1_780_000_000);

fn pod() -> Value {
    json!({"kind": "Pod", "apiVersion": "v1",
        "metadata": {"name": "p", "namespace": "d", "uid": UID},
        "spec": {"nodeName": "n1", "restartPolicy": "Always",
            "initContainers": [{"name": "first", "image": "i:0"}],
            "containers": [{"name": "main", "image": "i:1"}]}})
}

fn container(name: &str, reason: &str, message: &str) -> ContainerReport {
    ContainerReport {
        name: name.into(),
        state: ContainerState::Waiting {
            reason: reason.into(),
            message: message.into(),
        },
        last: None,
        restarts: 0,
        ready: false,
        started: false,
        image: "i:1".into(),
        image_id: String::new(),
        container_id: String::new(),
    }
}

fn waiting(reason: &str, message: &str) -> PodReport {
    PodReport {
        uid: PodUid::parse(UID).unwrap(),
        containers: vec![container("main", reason, message)],
        ..PodReport::default()
    }
}

/// Carries the report out on the stored pod, as the edge does, and gives what is told.
fn step(pod: &mut Value, report: &PodReport) -> Vec<String> {
    let action = crate::status::from_report("n1", pod, 1, report, None, NOW).unwrap();
    let Some(crate::action::Action::Patch { patch, .. }) = action else {
        return Vec::new();
    };
    let notes = from_report("n1", pod, report).unwrap();
    *pod = bramble_api::patch::merge(kinds::pod(), pod, &patch).unwrap();
    let again = from_report("n1", pod, report).unwrap();
    assert_eq!(again, [], "told twice: {report:?}");
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

#[test]
fn what_a_container_waits_for_is_told_with_upstreams_reasons() {
    let cases: [(&str, &[&str]); 6] = [
        ("ContainerCreating", &[]),
        // The node tells of it.
        ("CreateContainerConfigError", &[]),
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
    let other = [
        "Normal BackOff: other",
        "Warning Failed: Error: ImagePullBackOff",
    ];
    check(
        pod(),
        &[
            (waiting("ImagePullBackOff", "why"), cases[4].1),
            (waiting("ImagePullBackOff", "other"), &other),
        ],
    );
}

#[test]
fn a_note_names_the_container_and_the_node() {
    let mut report = waiting("ErrImagePull", "why");
    report.init_containers = vec![container("first", "ErrImagePull", "why")];
    let notes = from_report("n1", &pod(), &report).unwrap();
    let paths: Vec<_> = notes
        .iter()
        .map(|n| n.regarding.field_path.as_str())
        .collect();
    let (first, main) = ("spec.initContainers{first}", "spec.containers{main}");
    assert_eq!(paths, [first, first, main, main]);
    assert!(notes[0].message.contains("\"i:0\""));
    let write = crate::event::Recorder::default()
        .record(&notes[2], NOW)
        .unwrap();
    assert_eq!(write.object["involvedObject"]["fieldPath"], main);
    assert_eq!(
        write.object["source"],
        json!({"component": "kubelet", "host": "n1"})
    );
}

#[test]
fn another_nodes_report_or_another_pods_tells_nothing() {
    let report = waiting("ErrImagePull", "why");
    assert_eq!(from_report("n2", &pod(), &report).unwrap(), []);
    let mut other = pod();
    other["metadata"]["uid"] = "00000000-0000-4000-8000-000000000002".into();
    assert_eq!(from_report("n1", &other, &report).unwrap(), []);
}
