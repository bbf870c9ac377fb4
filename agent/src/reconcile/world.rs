//! The board as the loop sees it: everything that it needs of runtime, network, images and volumes.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use bramble_agent_core::image::{Pulls, Want};
use bramble_agent_core::observed::{ImageState, ObservedPod, Verdict};
use bramble_agent_core::plan::Action;
use bramble_agent_core::probe::Target;
use bramble_agent_core::time::Moment;
use bramble_wire::object::PodUid;
use tokio::sync::watch;

/// Looks at the board and acts on it.
pub trait World: Send + Sync + 'static {
    /// Everything that is there. Changes nothing.
    fn observe(&self, images: &BTreeSet<String>, now: Moment) -> impl Future<Output = Seen> + Send;

    /// Carries out one action; may be repeated.
    fn execute(&self, action: Action) -> impl Future<Output = Result<(), Failed>> + Send;

    /// Takes note of the images that are wanted, the whole list: pulls what is new, drops what nobody
    /// wants any more; those of the pods in `busy` stay as they are. Never waits.
    fn pull(&self, wants: Vec<Want>, busy: &BTreeSet<PodUid>) {
        let _ = (wants, busy);
    }

    /// Takes note of the running containers with hooks or probes, the whole list. Never waits.
    fn watch(&self, targets: Vec<Target>) {
        let _ = targets;
    }

    /// Ticks whenever [`World::observe`] may have something new to say.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// What is on the board.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Every pod of which anything is left.
    pub pods: BTreeMap<PodUid, ObservedPod>,
    /// State of each image that was asked for.
    pub images: BTreeMap<String, ImageState>,
    /// What pulls of images came to.
    pub pulls: Pulls,
    /// Pods that broke a bound of the board and have to go.
    pub evicted: BTreeMap<PodUid, Verdict>,
    /// Pods that something, begun by an agent before this one, is still at work on.
    pub busy: BTreeSet<PodUid>,
}

/// An action that did not succeed, with a text for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failed {
    /// The container's program could not be started: its own fault.
    Start(String),
    /// What the container was told to have can't be had: tried again, with a reason of its own.
    Config(String),
    /// Anything else: tried again.
    Other(String),
}

impl Failed {
    /// For a person.
    pub fn message(&self) -> &str {
        match self {
            Self::Start(message) | Self::Config(message) | Self::Other(message) => message,
        }
    }

    /// For a person.
    pub fn into_message(self) -> String {
        match self {
            Self::Start(message) | Self::Config(message) | Self::Other(message) => message,
        }
    }
}
