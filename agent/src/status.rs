//! What the local socket says of the agent, gathered from what the tasks publish.

use std::collections::BTreeSet;
use std::sync::Arc;

use bramble_agent_core::session::{Document, Observation};
use bramble_agent_core::time::Moment;
use bramble_wire::local::{Board, Pod, Status, Uplink};
use bramble_wire::object::{Container, Object, ObjectId};
use bramble_wire::report::{ContainerState, Phase};
use tokio::sync::watch;

use crate::clock;
use crate::image::{ImageId, Store};
use crate::static_pods::View;

/// Most lines of notes in an answer; the rest is counted.
const NOTES_MAX: usize = 64;

/// Where it is gathered from.
#[derive(Clone)]
pub struct Sources {
    /// The board as a node.
    pub node: Node,
    /// What the loop says.
    pub observations: watch::Receiver<Observation>,
    /// The board's own pods.
    pub static_pods: watch::Receiver<Arc<View>>,
    /// The accepted document.
    pub document: watch::Receiver<Option<Arc<Document>>>,
    /// Since when the controller is there or away.
    pub uplink: watch::Receiver<Away>,
    /// Whether the controller serves another board as this node.
    pub refused: watch::Receiver<bool>,
    /// Images.
    pub images: Arc<Store>,
}

/// What does not change while the agent runs.
#[derive(Debug, Clone, Default)]
pub struct Node {
    /// The node's name.
    pub name: String,
    /// The cluster.
    pub cluster: String,
    /// How often the agent has been started.
    pub boot: u64,
    /// When this one was.
    pub started: Moment,
    /// Where a broker is looked for, best first.
    pub brokers: Vec<String>,
    /// Folder of the board's own pods; empty when there is none.
    pub static_pods: String,
    /// The card was in another board when the agent was started before.
    pub moved: bool,
}

/// Whether the controller is there, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Away {
    connected: bool,
    since: Moment,
    ever: bool,
}

/// Keeps the moment at which the controller came or went; ends with the sender.
pub fn follow(mut welcomed: watch::Receiver<bool>) -> watch::Receiver<Away> {
    let first = Away {
        since: clock::now(),
        ..Away::default()
    };
    let (uplink, receiver) = watch::channel(first);
    tokio::spawn(async move {
        while welcomed.changed().await.is_ok() {
            let connected = *welcomed.borrow_and_update();
            uplink.send_modify(|now| {
                *now = Away {
                    connected,
                    since: clock::now(),
                    ever: now.ever || connected,
                };
            });
        }
    });
    receiver
}

impl Sources {
    /// How the agent is, in the words of version 1.
    pub fn status(&self) -> Status {
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
            node: self.node.name.clone(),
            agent_version: env!("CARGO_PKG_VERSION").into(),
            connected: self.uplink.borrow().connected,
            document: version(document.as_deref()),
            pods_wanted: u32::try_from(wanted).unwrap_or(u32::MAX),
            pods_running: u32::try_from(running).unwrap_or(u32::MAX),
            notes: self.notes(&observation),
        }
    }

    /// How the board is as a node.
    pub fn board(&self) -> Board {
        let observation = self.observations.borrow();
        let document = self.document.borrow();
        let now = clock::now();
        let away = *self.uplink.borrow();
        let facts = &observation.facts;
        let addresses = match (facts.addresses.is_empty(), facts.address) {
            (true, Some(address)) => vec![address],
            _ => facts.addresses.clone(),
        };
        Board {
            node: self.node.name.clone(),
            cluster: self.node.cluster.clone(),
            agent_version: env!("CARGO_PKG_VERSION").into(),
            boot: self.node.boot,
            up_ms: now.boot_ms.saturating_sub(self.node.started.boot_ms),
            uplink: Uplink {
                connected: away.connected,
                for_ms: now.boot_ms.saturating_sub(away.since.boot_ms),
                ever: away.ever,
            },
            brokers: self.node.brokers.clone(),
            addresses,
            document: version(document.as_deref()),
            converged: document
                .as_ref()
                .is_some_and(|document| observation.converged == Some(document.version)),
            static_pods: self.node.static_pods.clone(),
            now: now.unix,
            notes: self.notes(&observation),
        }
    }

    fn notes(&self, observation: &Observation) -> Vec<String> {
        let card = card(self.node.moved, *self.refused.borrow());
        notes(observation, &self.static_pods.borrow(), card)
    }

    /// Every pod that the node knows of, by name.
    pub fn pods(&self) -> Vec<Pod> {
        let observation = self.observations.borrow();
        let document = self.document.borrow();
        let kept = Arc::clone(&self.static_pods.borrow().kept);
        let mut pods: Vec<Pod> = (observation.pods.iter())
            .map(|(uid, report)| {
                let mut report = report.clone();
                report.unclaimed =
                    (document.as_ref()).is_some_and(|document| document.is_unclaimed(uid));
                let name = observation.names.get(uid).cloned().unwrap_or_default();
                let file = kept.pods().find(|(_, pod)| pod.uid == *uid);
                let file = file.map(|(file, _)| file.to_owned());
                Pod { name, report, file }
            })
            .collect();
        pods.sort_by(|a, b| (&a.name, a.report.uid).cmp(&(&b.name, b.report.uid)));
        pods
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
        let kept = Arc::clone(&self.static_pods.borrow().kept);
        let resolved = |container: &Container| Some(self.images.resolve(&container.image).ok()?.id);
        let own = kept.pods().flat_map(|(_, pod)| pod.all_containers());
        ids.extend(own.filter_map(resolved));
        let document = self.document.borrow();
        let bodies = document.iter().flat_map(|document| document.effective());
        for (id, _, body) in bodies {
            if let (ObjectId::Pod(_), Ok(Object::Pod(pod))) =
                (id, bramble_wire::decode(body, "object"))
            {
                let images = pod.all_containers();
                ids.extend(images.filter_map(resolved));
            }
        }
        ids
    }
}

fn version(document: Option<&Document>) -> String {
    document.map_or_else(String::new, |document| document.version.to_string())
}

/// What a person should know of the card and the board that it is in.
fn card(moved: bool, refused: bool) -> impl Iterator<Item = String> {
    let refused = refused.then_some(
        "the controller serves another board as this node, and refuses this one: is the card a copy? Then \
         `bramble uninstall --purge` here, and join anew",
    );
    let moved = moved.then_some(
        "the card was in another board before: pods that must not run twice wait for the controller",
    );
    (refused.into_iter().chain(moved)).map(str::to_owned)
}

/// What a person should know: pressure on the board, and what waits.
fn notes(
    observation: &Observation,
    view: &View,
    card: impl Iterator<Item = String>,
) -> Vec<String> {
    let pressure = (observation.facts.conditions.iter())
        .filter(|condition| condition.status == Some(true))
        .map(|condition| format!("{}: {}", condition.kind, condition.message));
    let waits = observation.pods.iter().flat_map(|(uid, pod)| {
        let name = match observation.names.get(uid) {
            Some(name) => name.to_string(),
            None => uid.to_string(),
        };
        let whole =
            (!pod.reason.is_empty()).then(|| format!("pod {name}: {} {}", pod.reason, pod.message));
        let containers = (pod.init_containers.iter())
            .chain(&pod.containers)
            .filter_map(move |container| match &container.state {
                ContainerState::Waiting { reason, message } => Some(format!(
                    "pod {name} container {}: {reason} {message}",
                    container.name
                )),
                _ => None,
            });
        whole.into_iter().chain(containers)
    });
    let mut notes: Vec<String> = card
        .chain(view.notes.iter().cloned())
        .chain(pressure)
        .chain(waits)
        .map(|note| note.trim_end().to_owned())
        .collect();
    if let Some(more) = notes.len().checked_sub(NOTES_MAX).filter(|more| *more > 0) {
        notes.truncate(NOTES_MAX);
        notes.push(format!("{more} more"));
    }
    notes
}
