//! The board as the loop sees it: everything that it needs of runtime, network, images and volumes.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use bramble_agent_core::observed::{ImageState, ObservedPod};
use bramble_agent_core::plan::Action;
use bramble_agent_core::time::Moment;
use bramble_wire::object::PodUid;
use tokio::sync::watch;

/// Looks at the board and acts on it.
pub trait World: Send + Sync + 'static {
    /// Everything that is there. Changes nothing.
    fn observe(&self, images: &BTreeSet<String>, now: Moment) -> impl Future<Output = Seen> + Send;

    /// Carries out one action; may be repeated.
    fn execute(&self, action: Action) -> impl Future<Output = Result<(), Failed>> + Send;

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
    /// Pods that something, begun by an agent before this one, is still at work on.
    pub busy: BTreeSet<PodUid>,
}

/// An action that did not succeed, with a text for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failed {
    /// The container's program could not be started: its own fault.
    Start(String),
    /// Anything else: tried again.
    Other(String),
}

impl Failed {
    /// For a person.
    pub fn message(&self) -> &str {
        match self {
            Self::Start(message) | Self::Other(message) => message,
        }
    }

    /// For a person.
    pub fn into_message(self) -> String {
        match self {
            Self::Start(message) | Self::Other(message) => message,
        }
    }
}
