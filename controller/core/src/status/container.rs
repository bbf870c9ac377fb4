//! The status of one container, as `kubectl describe pod` shows it.
//!
//! In: the container of the manifest and what its node says of it. Out: JSON.

use bramble_api::view::Container;
use bramble_wire::report::{ContainerReport, ContainerState, Terminated};
use serde_json::{Value, json};

use super::time;

/// An entry of `containerStatuses`, `initContainerStatuses` or `ephemeralContainerStatuses`.
pub(super) fn status(container: &Container, report: &ContainerReport) -> Value {
    let mut out = json!({
        "name": report.name,
        "state": state(&report.state),
        "lastState": report.last.as_ref().map_or_else(|| json!({}), |t| {
            json!({"terminated": terminated(t)})
        }),
        "ready": report.ready,
        "started": report.started,
        "restartCount": report.restarts,
        "image": report.image,
        "imageID": report.image_id,
    });
    if !report.container_id.is_empty() {
        out["containerID"] = container_id(&report.container_id);
    }
    // What the node was told is what it does: nothing of it changes while a pod is there.
    let (requests, limits) = (
        &container.resources.requests.0,
        &container.resources.limits.0,
    );
    if !requests.is_empty() {
        out["allocatedResources"] = json!(requests);
    }
    if matches!(report.state, ContainerState::Running { .. }) {
        let mut resources = json!({});
        for (key, list) in [("limits", limits), ("requests", requests)] {
            if !list.is_empty() {
                resources[key] = json!(list);
            }
        }
        out["resources"] = resources;
    }
    out
}

fn container_id(id: &str) -> Value {
    format!("bramble://{id}").into()
}

fn state(state: &ContainerState) -> Value {
    match state {
        ContainerState::Waiting { reason, message } => {
            let mut waiting = json!({"reason": reason});
            if !message.is_empty() {
                waiting["message"] = message.as_str().into();
            }
            json!({"waiting": waiting})
        }
        ContainerState::Running { started } => json!({"running": {"startedAt": time(*started)}}),
        ContainerState::Terminated(end) => json!({"terminated": terminated(end)}),
    }
}

fn terminated(end: &Terminated) -> Value {
    let mut out = json!({
        "exitCode": end.exit_code,
        "reason": end.reason,
        "startedAt": time(end.started),
        "finishedAt": time(end.finished),
    });
    if end.signal != 0 {
        out["signal"] = end.signal.into();
    }
    if !end.message.is_empty() {
        out["message"] = end.message.as_str().into();
    }
    if !end.container_id.is_empty() {
        out["containerID"] = container_id(&end.container_id);
    }
    out
}
