//! What the local socket says of the agent, gathered from what the tasks publish.

use std::collections::BTreeSet;
use std::sync::Arc;

use bramble_agent_core::session::{Document, Observation};
use bramble_wire::local::Status;
use bramble_wire::object::{Object, ObjectId};
use bramble_wire::report::{ContainerState, Phase};
use tokio::sync::watch;

use crate::image::{ImageId, Store};

/// Where it is gathered from.
#[derive(Clone)]
pub struct Sources {
    /// The node's name.
    pub node: String,
    /// What the loop says.
    pub observations: watch::Receiver<Observation>,
    /// The accepted document.
    pub document: watch::Receiver<Option<Arc<Document>>>,
    /// Whether the controller has welcomed this node.
    pub welcomed: watch::Receiver<bool>,
    /// Images.
    pub images: Arc<Store>,
}

/// Starts the gathering; it ends when the sources do.
pub fn spawn(mut sources: Sources) -> watch::Receiver<Status> {
    let (status, receiver) = watch::channel(sources.status());
    tokio::spawn(async move {
        loop {
            let Sources {
                observations,
                document,
                welcomed,
                ..
            } = &mut sources;
            let changed = tokio::select! {
                changed = observations.changed() => changed,
                changed = document.changed() => changed,
                changed = welcomed.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
            status.send_replace(sources.status());
        }
    });
    receiver
}

impl Sources {
    fn status(&self) -> Status {
        let observation = self.observations.borrow();
        let document = self.document.borrow();
        let wanted = document.as_ref().map_or(0, |document| {
            let ids = document.objects.keys();
            ids.filter(|id| matches!(id, ObjectId::Pod(_))).count()
        });
        let running = (observation.pods.values())
            .filter(|pod| {
                pod.phase == Phase::Running
                    && (pod.containers.iter())
                        .any(|container| matches!(container.state, ContainerState::Running { .. }))
            })
            .count();
        Status {
            node: self.node.clone(),
            agent_version: env!("CARGO_PKG_VERSION").into(),
            connected: *self.welcomed.borrow(),
            document: document
                .as_ref()
                .map_or_else(String::new, |document| document.version.to_string()),
            pods_wanted: u32::try_from(wanted).unwrap_or(u32::MAX),
            pods_running: u32::try_from(running).unwrap_or(u32::MAX),
            notes: self.notes(&observation),
        }
    }

    fn notes(&self, observation: &Observation) -> Vec<String> {
        let mut notes = Vec::new();
        for pod in observation.pods.values() {
            for container in &pod.containers {
                if let ContainerState::Waiting { reason, message } = &container.state {
                    let text = format!(
                        "pod {} container {}: {reason} {message}",
                        pod.uid, container.name
                    );
                    notes.push(text.trim_end().to_owned());
                }
            }
        }
        notes
    }

    /// Images that the document names or that something runs of, as of now.
    pub fn in_use(&self) -> BTreeSet<ImageId> {
        let mut ids: BTreeSet<ImageId> = (self.observations.borrow().pods.values())
            .flat_map(|pod| {
                (pod.init_containers.iter())
                    .chain(&pod.containers)
                    .chain(&pod.ephemeral_containers)
            })
            .filter(|container| matches!(container.state, ContainerState::Running { .. }))
            .map(|container| ImageId(container.image_id.clone()))
            .collect();
        let document = self.document.borrow();
        let bodies = document.iter().flat_map(|document| document.effective());
        for (id, _, body) in bodies {
            if let (ObjectId::Pod(_), Ok(Object::Pod(pod))) =
                (id, bramble_wire::decode(body, "object"))
            {
                let images = pod.all_containers();
                ids.extend(
                    images.filter_map(|container| {
                        Some(self.images.resolve(&container.image).ok()?.id)
                    }),
                );
            }
        }
        ids
    }
}
