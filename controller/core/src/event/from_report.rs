//! Why a container waits for its image, as the kubelet would tell it.
//!
//! In: the stored pod, with the status that the reports before have brought, and the newest report.
//! Out: notes of what is new between the two. Everything else that happens on a node, it tells itself
//! ([`super::from_node`]); this is a level of its report, and so survives the loss of what was told.

use bramble_api::view::{Container, FullPod};
use bramble_wire::report::{ContainerReport, ContainerState, PodReport};
use serde_json::Value;

use crate::action::{Note, Regarding};
use crate::kinds;

/// What says so, upstream's name of it.
const COMPONENT: &str = "kubelet";

/// The events that a report of `pod`, bound to `node`, brings; for a report whose status is written.
///
/// # Errors
/// A stored pod that does not decode.
pub fn from_report(
    node: &str,
    pod: &Value,
    report: &PodReport,
) -> Result<Vec<Note>, serde_json::Error> {
    let view: FullPod = serde::Deserialize::deserialize(pod)?;
    let mut notes = Vec::new();
    if view.metadata.uid != report.uid.to_string() || view.spec.node_name != node {
        return Ok(notes);
    }
    let (spec, none) = (&view.spec, Vec::new());
    for (list, statuses, containers, reports) in [
        (
            "initContainers",
            "initContainerStatuses",
            &spec.init_containers,
            &report.init_containers,
        ),
        (
            "containers",
            "containerStatuses",
            &spec.containers,
            &report.containers,
        ),
        (
            "ephemeralContainers",
            "ephemeralContainerStatuses",
            &spec.ephemeral_containers,
            &report.ephemeral_containers,
        ),
    ] {
        let before = pod["status"][statuses].as_array().unwrap_or(&none);
        // In the manifest's order, whatever the order of the report.
        for container in containers {
            let named = |report: &&ContainerReport| report.name == container.name;
            let Some(new) = reports.iter().find(named) else {
                continue;
            };
            let old = before
                .iter()
                .find(|old| old["name"] == container.name.as_str());
            for (warning, reason, message) in tell(container, old, new) {
                let mut regarding = Regarding::of(kinds::pod(), &view.metadata);
                regarding.field_path = format!("spec.{list}{{{}}}", container.name);
                notes.push(Note {
                    regarding,
                    warning,
                    reason: reason.into(),
                    message,
                    component: COMPONENT,
                    host: node.to_owned(),
                });
            }
        }
    }
    Ok(notes)
}

/// Whether it is a warning, reason, message.
type Told = (bool, &'static str, String);

fn tell(container: &Container, old: Option<&Value>, new: &ContainerReport) -> Vec<Told> {
    let ContainerState::Waiting { reason, message } = &new.state else {
        return Vec::new();
    };
    let text = |path: &str| {
        old.and_then(|old| old.pointer(path))
            .and_then(Value::as_str)
    };
    let same = text("/state/waiting/reason") == Some(reason)
        && text("/state/waiting/message").unwrap_or("") == message;
    if same {
        return Vec::new();
    }
    let why = if message.is_empty() { reason } else { message };
    let first: Told = match reason.as_str() {
        "ErrImageNeverPull" => (true, "ErrImageNeverPull", why.clone()),
        "ErrImagePull" | "RegistryUnavailable" => {
            let image = &container.image;
            let message = format!("Failed to pull image \"{image}\": {why}");
            (true, "Failed", message)
        }
        "ImagePullBackOff" => (false, "BackOff", why.clone()),
        "InvalidImageName" => (true, "InspectFailed", why.clone()),
        // The node tells of it, or it is on its way.
        _ => return Vec::new(),
    };
    vec![first, (true, "Failed", format!("Error: {reason}"))]
}

#[cfg(test)]
#[path = "from_report_tests.rs"]
mod tests;
