//! The node link: the controller's end of the node protocol.
//!
//! In: messages of nodes over the [`link`](bramble_link), durable changes of the store, requests for
//! logs. Out: signed answers and heads to nodes; statuses of pods and nodes into the store. What is
//! said and believed is decided by [`bramble_controller_core::nodelink`]; what a node is to run by
//! [`bramble_controller_core::document`]. Here are the socket, the clock and the store.
//!
//! One task owns all of it. It sees only what is durable: nothing leaves the process that a power
//! cut could take back. A node's document is compiled again when something it is made of has
//! changed, once for all changes that are there at that moment. A report is acknowledged when what
//! was written because of it is as durable as it must be.

pub mod control;
mod desired;
mod documents;
mod events;
mod follow;
mod gates;
mod logs;
mod presence;
pub(crate) mod released;
mod reports;
pub mod standing;
pub mod streams;
mod task;
mod tokens;
mod watch;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bramble_controller_core::nodelink as machine;
use bramble_link::{Link, Options, Subscription, Will, WillSource};
use bramble_wire::SigningKey;
use bramble_wire::name::ClusterId;
use bramble_wire::publish::Publish;
use bramble_wire::topic;
use tokio::sync::{Notify, mpsc, oneshot, watch as published};
use tokio::task::JoinHandle;

use crate::join::NodeKeys;
use crate::store::Store;
use crate::tokens::Minter;
use crate::usage::Usages;
use control::Control;
pub use documents::Common;
use standing::{Board, Standing};

/// Requests for logs that wait for the task; one more waits with its client.
const COMMANDS_MAX: usize = 32;
/// How long the end waits for the broker to take the last message.
const STOP_WAIT: Duration = Duration::from_secs(4);

/// Why the node link did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The record of who controls.
    #[error(transparent)]
    Control(#[from] control::Error),
    /// The link to the broker.
    #[error("set up the link to the broker")]
    Link(#[from] bramble_link::Error),
    /// No random numbers.
    #[error("draw a seed: {0}")]
    Random(getrandom::Error),
}

/// Who speaks, and over which broker.
pub struct Settings {
    /// The cluster.
    pub cluster: ClusterId,
    /// The controller's signing key.
    pub signing: SigningKey,
    /// What every node is told alike.
    pub common: Common,
    /// The way to the broker: [`Broker::link_options`](crate::broker::Broker::link_options) or
    /// [`external`](crate::broker::external). Subscriptions and will are set here.
    pub link: Options,
    /// Makes the tokens of pods.
    pub minter: Arc<dyn Minter>,
}

/// A running node link. Serves logs to the API; cheap to clone.
#[derive(Clone)]
pub struct NodeLink {
    commands: mpsc::Sender<task::Command>,
    running: Arc<Mutex<Option<JoinHandle<()>>>>,
    usage: Arc<Usages>,
    /// A node has come, or all may have: who waits for one looks again.
    arrivals: Arc<Notify>,
    standing: published::Receiver<Arc<Standing>>,
}

/// Starts the node link. The boot of the controller is raised, durably, before anything is sent.
///
/// # Errors
/// [`Error`].
pub async fn start(
    settings: Settings,
    store: Arc<dyn Store>,
    keys: NodeKeys,
) -> Result<NodeLink, Error> {
    let control = Control::start(&*store).await?;
    tracing::info!(
        boot = control.boot.0,
        epoch = control.epoch,
        term = control.term,
        "node link"
    );
    if let Some(hint) = control.hint() {
        tracing::warn!(
            hint,
            "this epoch is not confirmed: nodes keep what their documents lack"
        );
    }
    let Settings {
        cluster,
        signing,
        common,
        link: mut options,
        minter,
    } = settings;
    let limits = machine::Limits {
        keep_alive_ms: u64::try_from(options.keep_alive.as_millis()).unwrap_or(u64::MAX),
        ..machine::Limits::default()
    };
    let config = machine::Config {
        cluster: cluster.clone(),
        identity: signing,
        boot: control.boot,
        epoch: control.epoch,
        term: control.term,
        history: control.history,
        recovered: control::lives(&*store).await?,
        limits,
    };
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(Error::Random)?;
    let machine = machine::NodeLink::new(config, &seed);

    let will = Arc::new(Mutex::new(will_of(&cluster, machine.offline())));
    let source = Arc::clone(&will);
    options.will = Some(WillSource::new(move || {
        source
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .clone()
    }));
    options.subscriptions = subscriptions(&cluster);
    let (link, events) = Link::spawn(options)?;

    let (commands, requests) = mpsc::channel(COMMANDS_MAX);
    let usage = Arc::new(Usages::default());
    let arrivals = Arc::new(Notify::new());
    let board = Board::new(&control);
    let standing = board.subscribe();
    let parts = task::Parts {
        board,
        usage: Arc::clone(&usage),
        arrivals: Arc::clone(&arrivals),
        cluster,
        common,
        control,
        machine,
        link,
        events,
        will,
        tokens: tokens::Shelf::new(minter),
    };
    let task = task::Task::new(parts, store, keys);
    let running = tokio::spawn(task.run(requests));
    Ok(NodeLink {
        commands,
        running: Arc::new(Mutex::new(Some(running))),
        usage,
        arrivals,
        standing,
    })
}

impl NodeLink {
    /// Resolves when the task has ended, by a stop, with the store or in a panic.
    pub async fn ended(&self) {
        // The task owns the other end for as long as it runs.
        self.commands.closed().await;
    }

    /// What nodes and their pods use, as they last said.
    pub fn usage(&self) -> Arc<Usages> {
        Arc::clone(&self.usage)
    }

    /// How the cluster stands after its store was set back; changes as nodes report and people decide.
    pub fn standing(&self) -> published::Receiver<Arc<Standing>> {
        self.standing.clone()
    }

    /// Tells the nodes that nobody controls, and ends.
    pub async fn stop(&self) {
        let (done, ended) = oneshot::channel();
        if self
            .commands
            .send(task::Command::Stop { done })
            .await
            .is_ok()
        {
            let _ = tokio::time::timeout(STOP_WAIT, ended).await;
        }
        let task = self
            .running
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .take();
        if let Some(task) = task {
            task.abort();
        }
    }
}

/// State of a node is worth its newest message, and so is its question: it asks again.
fn subscriptions(cluster: &ClusterId) -> Vec<Subscription> {
    topic::controller_filters(cluster)
        .iter()
        .map(|filter| {
            // Of two that say who controls, the one must not cover the other.
            if filter.ends_with("/out") || filter.ends_with("/c/state") {
                Subscription::queue(filter.as_str())
            } else {
                Subscription::latest(filter.as_str())
            }
        })
        .collect()
}

fn will_of(cluster: &ClusterId, publish: Publish) -> Will {
    Will {
        topic: publish.topic_text(cluster).as_str().to_owned(),
        payload: publish.payload.into(),
        retain: true,
    }
}
