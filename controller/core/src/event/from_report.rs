//! What happened on a node, as the kubelet would tell it of its pods.
//!
//! In: the stored pod, with the status that the reports before have brought, and the newest report.
//! Out: notes of the transitions between the two. A report is a level: what happened twice between
//! two reports is told once, and a report that says what is known is told not at all.

use bramble_api::view::{Container, FullPod};
use bramble_wire::report::{ContainerReport, ContainerState, PodReport, Terminated};
use serde_json::Value;

use crate::action::{Note, Regarding};
use crate::kinds;

/// What says so, upstream's name of it.
const COMPONENT: &str = "kubelet";
/// As in [`crate::status`]: the runtime in front of a container's id.
const RUNTIME: &str = "bramble://";
/// Reason of a life that never began.
const START_ERROR: &str = "StartError";

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
    let mut story = Story {
        node,
        pod: &view,
        container: None,
        notes: Vec::new(),
    };
    if view.metadata.uid != report.uid.to_string() || view.spec.node_name != node {
        return Ok(story.notes);
    }
    story.tell_pod(pod, report);
    // In the manifest's order, whatever the order of the report.
    for container in &view.spec.containers {
        let Some(new) = report.containers.iter().find(|r| r.name == container.name) else {
            continue;
        };
        story.container = Some(container);
        story.tell_container(container, &Before::of(pod, &container.name), new);
    }
    Ok(story.notes)
}

/// A container as the status has it.
struct Before<'a>(Option<&'a Value>);

impl<'a> Before<'a> {
    fn of(pod: &'a Value, container: &str) -> Self {
        let list = pod
            .pointer("/status/containerStatuses")
            .and_then(Value::as_array);
        Self(list.and_then(|list| list.iter().find(|status| status["name"] == container)))
    }

    fn text(&self, path: &str) -> Option<&'a str> {
        self.0?.pointer(path)?.as_str()
    }

    fn runs(&self) -> bool {
        self.0
            .is_some_and(|status| status.pointer("/state/running").is_some())
    }

    /// Whether a life was seen running, or ended. The id of a waiting container says neither.
    fn knows(&self, life: &str) -> bool {
        let running = if self.runs() {
            self.text("/containerID")
        } else {
            None
        };
        let ended = [
            "/state/terminated/containerID",
            "/lastState/terminated/containerID",
        ];
        let ended = ended.into_iter().filter_map(|path| self.text(path));
        running
            .into_iter()
            .chain(ended)
            .any(|id| id.strip_prefix(RUNTIME) == Some(life))
    }
}

struct Story<'a> {
    node: &'a str,
    pod: &'a FullPod,
    /// The one that is told of; none for the pod itself.
    container: Option<&'a Container>,
    notes: Vec<Note>,
}

impl Story<'_> {
    fn normal(&mut self, reason: &'static str, message: String) {
        self.note(false, reason, message);
    }

    fn warn(&mut self, reason: &'static str, message: String) {
        self.note(true, reason, message);
    }

    fn note(&mut self, warning: bool, reason: &'static str, message: String) {
        let mut regarding = Regarding::of(kinds::pod(), &self.pod.metadata);
        if let Some(container) = self.container {
            regarding.field_path = format!("spec.containers{{{}}}", container.name);
        }
        let (component, host) = (COMPONENT, self.node.to_owned());
        self.notes.push(Note {
            regarding,
            warning,
            reason: reason.into(),
            message,
            component,
            host,
        });
    }

    fn tell_pod(&mut self, pod: &Value, report: &PodReport) {
        let old = |field: &str| {
            pod["status"]
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or("")
        };
        let same = old("reason") == report.reason && old("message") == report.message;
        if report.reason == "FailedCreatePodSandBox" && !same {
            let message = format!("Failed to create pod sandbox: {}", report.message);
            self.warn("FailedCreatePodSandBox", message);
        }
    }

    fn tell_container(&mut self, container: &Container, old: &Before<'_>, new: &ContainerReport) {
        // Lives in their order. One that came and went between two reports is told all the same.
        let runs = matches!(new.state, ContainerState::Running { .. });
        let stopped = old.runs() && !(runs && old.knows(&new.container_id));
        if stopped && self.pod.metadata.is_deleting() {
            self.normal("Killing", format!("Stopping container {}", container.name));
        }
        if let Some(end) = &new.last {
            self.tell_life(container, old, &end.container_id, Some(end));
        }
        match &new.state {
            ContainerState::Running { .. } => {
                self.tell_life(container, old, &new.container_id, None);
            }
            ContainerState::Terminated(end) => {
                self.tell_life(container, old, &end.container_id, Some(end));
            }
            ContainerState::Waiting { reason, message } => {
                self.tell_waiting(container, old, new, reason, message);
            }
        }
    }

    fn tell_life(
        &mut self,
        container: &Container,
        old: &Before<'_>,
        id: &str,
        end: Option<&Terminated>,
    ) {
        // A life whose end nobody saw may not have begun.
        if id.is_empty()
            || old.knows(id)
            || end.is_some_and(|e| e.reason == "ContainerStatusUnknown")
        {
            return;
        }
        let pulled = format!(
            "Container image \"{}\" already present on machine",
            container.image
        );
        self.normal("Pulled", pulled);
        self.normal("Created", "Container created".to_owned());
        match end {
            Some(end) if end.reason == START_ERROR => {
                self.warn("Failed", format!("Error: {}", end.message));
            }
            _ => self.normal("Started", "Container started".to_owned()),
        }
    }

    fn tell_waiting(
        &mut self,
        container: &Container,
        old: &Before<'_>,
        new: &ContainerReport,
        reason: &str,
        message: &str,
    ) {
        let before = old.text("/state/waiting/reason");
        let same_text = old.text("/state/waiting/message").unwrap_or("") == message;
        if reason == "CrashLoopBackOff" {
            // The text names a delay that grows; what is new is an end since the last time.
            let news = new
                .last
                .as_ref()
                .is_some_and(|end| !old.knows(&end.container_id));
            if before != Some(reason) || news {
                self.warn("BackOff", self.back_off(container));
            }
            return;
        }
        if before == Some(reason) && same_text {
            return;
        }
        let error = if message.is_empty() { reason } else { message };
        match reason {
            "CreateContainerConfigError"
            | "CreateContainerError"
            | "RunContainerError"
            | "InvalidImage"
            | "ErrImageLoad" => self.warn("Failed", format!("Error: {error}")),
            "CreatePodSandboxError" => {
                self.warn(
                    "FailedCreatePodSandBox",
                    format!("Failed to create pod sandbox: {error}"),
                );
            }
            "ErrImageNeverPull" => {
                self.warn("ErrImageNeverPull", error.to_owned());
                self.warn("Failed", format!("Error: {reason}"));
            }
            "ErrImagePull" => {
                let image = &container.image;
                self.warn(
                    "Failed",
                    format!("Failed to pull image \"{image}\": {error}"),
                );
                self.warn("Failed", format!("Error: {reason}"));
            }
            "ImagePullBackOff" => {
                self.normal("BackOff", error.to_owned());
                self.warn("Failed", format!("Error: {reason}"));
            }
            "InvalidImageName" => {
                self.warn("InspectFailed", error.to_owned());
                self.warn("Failed", format!("Error: {reason}"));
            }
            // `ContainerCreating`: on its way.
            _ => {}
        }
    }

    fn back_off(&self, container: &Container) -> String {
        let metadata = &self.pod.metadata;
        format!(
            "Back-off restarting failed container {} in pod {}_{}({})",
            container.name, metadata.name, metadata.namespace, metadata.uid
        )
    }
}

#[cfg(test)]
#[path = "from_report_tests.rs"]
mod tests;
