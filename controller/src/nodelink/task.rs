//! The task that owns the machine of the node protocol.

mod events;
mod members;
mod requests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bramble_controller_core::document;
use bramble_controller_core::nodelink::{self as machine, Output};
use bramble_link::{Events, Handle, Refused, Will};
use bramble_wire::clock::Millis;
use bramble_wire::name::{ClusterId, NodeName};
use bramble_wire::object::{ObjectName, PodUid};
use bramble_wire::publish::{Delivery, Publish};
use bramble_wire::stream::What;
use bramble_wire::version::HistoryId;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, mpsc, oneshot};

use super::control::{self, Control};
use super::desired::Desired;
use super::documents::{self, Common};
use super::events::Events as PodEvents;
use super::standing::Board;
use super::streams::{self, Reader, Streams, Writer};
use super::tokens::Shelf;
use super::watch::Watchers;
use crate::join::NodeKeys;
use crate::store::{Error as StoreError, Store};
use crate::usage::Usages;

/// Messages taken from the link, and documents compiled, before everything else gets a turn.
const BATCH: usize = 64;
/// How long the good-bye may take to reach the broker.
const GOODBYE_WAIT: Duration = Duration::from_secs(1);
/// Pause before the store is read anew after the watchers fell behind.
const RELIST_PAUSE: Duration = Duration::from_millis(100);

/// Pause before a store that took no write is tried again.
const ADVANCE_AGAIN: Duration = Duration::from_secs(10);

/// Longest wait for tokens to become due: the clock that says so may be set meanwhile.
const TOKENS_WAIT: Duration = Duration::from_secs(3600);

/// Asked of the task.
pub(super) enum Command {
    /// Open a stream.
    Open {
        node: NodeName,
        what: Box<What>,
        reply: oneshot::Sender<Result<(Writer, Reader), streams::Error>>,
    },
    /// Say good-bye and end.
    Stop { done: oneshot::Sender<()> },
}

/// What the task is made of.
pub(super) struct Parts {
    pub(super) cluster: ClusterId,
    pub(super) common: Common,
    pub(super) control: Control,
    pub(super) machine: machine::NodeLink,
    pub(super) link: Handle,
    pub(super) events: Events,
    pub(super) will: Arc<Mutex<Will>>,
    pub(super) usage: Arc<Usages>,
    /// Told when a node may take streams that it did not before.
    pub(super) arrivals: Arc<Notify>,
    pub(super) tokens: Shelf,
    pub(super) board: Board,
}

/// A report whose writes are on their way to the disk.
type Pending = BoxFuture<'static, Option<(NodeName, u64, Vec<PodUid>)>>;

pub(super) struct Task {
    parts: Parts,
    store: Arc<dyn Store>,
    keys: NodeKeys,
    desired: Desired,
    streams: Streams,
    pod_events: PodEvents,
    /// A reader of a stream has read or left.
    readers: Arc<Notify>,
    pending: FuturesUnordered<Pending>,
    /// A new epoch, or a person's confirmation of this one, on its way to the disk.
    recording: Option<BoxFuture<'static, Result<Control, control::Error>>>,
    /// The epoch that is to be recorded next.
    rising: Option<(u64, HistoryId)>,
    /// The epoch that a person says is confirmed.
    asked: Option<u64>,
    /// Nodes whose documents have changed by time and not by a write: they get a version when something
    /// is written …
    unwritten: BTreeSet<NodeName>,
    /// … which is on its way to the disk.
    advancing: Option<BoxFuture<'static, Result<(), control::Error>>>,
    /// Pods left out of documents, as last told.
    left_out: HashMap<NodeName, Vec<(ObjectName, document::Error)>>,
    /// Boards of Nodes that were deleted, and how long they may take to hear of it.
    leaving: BTreeMap<NodeName, Instant>,
    started: Instant,
}

impl Task {
    pub(super) fn new(parts: Parts, store: Arc<dyn Store>, keys: NodeKeys) -> Task {
        let readers = Arc::new(Notify::new());
        // Not used twice in one boot, and not soon in another.
        let first = parts.control.boot.0 << 32;
        let streams = Streams::new(first, Arc::clone(&readers));
        Task {
            parts,
            store,
            keys,
            desired: Desired::default(),
            streams,
            pod_events: PodEvents::default(),
            readers,
            pending: FuturesUnordered::new(),
            recording: None,
            rising: None,
            asked: None,
            unwritten: BTreeSet::new(),
            advancing: None,
            left_out: HashMap::new(),
            leaving: BTreeMap::new(),
            started: Instant::now(),
        }
    }

    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<Command>) {
        loop {
            match self.follow(&mut requests).await {
                Ok(()) => return,
                Err(StoreError::Compacted { .. }) => {
                    // Too many changes at once for the history: read all anew.
                    tracing::warn!("the node link fell behind the store and starts over");
                    tokio::time::sleep(RELIST_PAUSE).await;
                }
                Err(error) => {
                    tracing::error!(%error, "the node link ends with the store");
                    return;
                }
            }
        }
    }

    /// Reads the store, then follows it and the link until a stop.
    async fn follow(&mut self, requests: &mut mpsc::Receiver<Command>) -> Result<(), StoreError> {
        let store = Arc::clone(&self.store);
        let (mut watchers, snapshot) = Watchers::open(&*store).await?;
        self.begin(snapshot.entries);
        loop {
            self.catch_up(&mut watchers)?;
            self.drain();
            self.let_go();
            self.advance();
            let unheard = self.parts.machine.unheard();
            let clear = self.parts.board.publish(&self.parts.control, unheard);
            self.parts.machine.set_cleared(clear);
            self.write_streams();
            let idle = !self.desired.is_dirty();
            let waiting = self.streams.has_input();
            let wake = self.next_wake();
            tokio::select! {
                command = requests.recv() => match command {
                    Some(Command::Open { node, what, reply }) => self.open_stream(node, *what, reply),
                    Some(Command::Stop { done }) => {
                        self.say_goodbye().await;
                        let _ = done.send(());
                        return Ok(());
                    }
                    None => return Ok(()),
                },
                event = self.parts.events.next() => match event {
                    Some(event) => self.handle_link(event),
                    None => return Ok(()),
                },
                change = watchers.next() => {
                    let (source, event) = change?;
                    self.apply(source, event.kind, &event.entry);
                }
                Some(durable) = self.pending.next() => {
                    if let Some((node, number, forget)) = durable {
                        let now = self.now();
                        self.parts.machine.handle_durable(&node, number, forget, now);
                        self.parts.board.touch();
                    }
                }
                recorded = finish(&mut self.recording) => self.handle_recorded(recorded),
                advanced = finish(&mut self.advancing) => self.handle_advanced(advanced),
                () = self.readers.notified() => {}
                () = self.parts.link.room(), if waiting => {}
                () = sleep_until(wake) => {
                    let now = self.now();
                    self.parts.machine.handle_timeout(now);
                    for node in self.parts.tokens.due(unix_s()) {
                        self.desired.touch(node);
                    }
                }
                () = tokio::task::yield_now(), if !idle => {}
            }
            // What came with it in one go.
            for _ in 0..BATCH {
                match self.parts.events.try_next() {
                    Some(event) => self.handle_link(event),
                    None => break,
                }
            }
        }
    }

    /// Compiles what has changed, at one revision of the store.
    fn catch_up(&mut self, watchers: &mut Watchers) -> Result<(), StoreError> {
        let store = Arc::clone(&self.store);
        let mut changes = Vec::new();
        let revision = watchers.catch_up(&*store, |source, event| changes.push((source, event)))?;
        for (source, event) in changes {
            self.apply(source, event.kind, &event.entry);
        }
        let Some(revision) = revision else {
            return Ok(());
        };
        for _ in 0..BATCH {
            let Some(key) = self.desired.next_dirty().cloned() else {
                break;
            };
            let confirmed = self.parts.control.confirmed;
            let maker = self.parts.tokens.take(&key.node, unix_s());
            let (common, desired) = (&self.parts.common, &self.desired);
            let document = documents::compile(desired, &key, common, confirmed, &maker);
            self.parts.tokens.put(&key.node, maker);
            self.tell_left_out(&key.node, document.left_out);
            let (objects, now) = (document.objects, self.now());
            let set = self
                .parts
                .machine
                .set_document(&key.node, objects, revision.0, now);
            match set {
                Ok(()) => {}
                Err(machine::Error::Unwritten) => {
                    self.unwritten.insert(key.node);
                }
                Err(error) => {
                    tracing::error!(node = %key.node, %error, "the node's document stays as it was");
                }
            }
        }
        Ok(())
    }

    /// Writes something, so that documents that have changed without a write get a version: each has
    /// the revision of a change that the disk has.
    fn advance(&mut self) {
        if self.unwritten.is_empty() || self.advancing.is_some() {
            return;
        }
        let store = Arc::clone(&self.store);
        self.advancing = Some(Box::pin(async move {
            let advanced = control::advance(&*store).await;
            if advanced.is_err() {
                tokio::time::sleep(ADVANCE_AGAIN).await;
            }
            advanced
        }));
    }

    fn handle_advanced(&mut self, advanced: Result<(), control::Error>) {
        if let Err(error) = advanced {
            tracing::error!(%error, "documents that are due wait for the store");
        }
        for node in std::mem::take(&mut self.unwritten) {
            self.desired.touch(node);
        }
    }

    /// Does what the machine wants done.
    fn drain(&mut self) {
        self.parts.machine.set_clock(crate::object::now().seconds);
        loop {
            let now = self.now();
            match self.parts.machine.poll(now) {
                Some(Output::Publish(publish)) => self.publish(publish),
                Some(Output::Event(event)) => self.handle_event(event),
                None => return,
            }
        }
    }

    /// Nothing depends on a publish: what is lost is asked for or said again.
    fn publish(&self, publish: Publish) {
        let topic = publish.topic_text(&self.parts.cluster);
        let link = &self.parts.link;
        let result = match publish.delivery {
            Delivery::State => link.put(&topic, publish.payload),
            Delivery::Retained => link.put_retained(&topic, publish.payload),
            Delivery::Message => link.send(&topic, publish.payload),
        };
        match result {
            Ok(()) | Err(Refused::Offline | Refused::Shutdown) => {}
            Err(reason @ (Refused::Full | Refused::Oversize | Refused::Topic)) => {
                tracing::debug!(%topic, %reason, "not sent");
            }
        }
    }

    fn handle_link(&mut self, event: bramble_link::Event) {
        use bramble_link::Event as LinkEvent;
        let now = self.now();
        match event {
            LinkEvent::Subscribed => {
                self.parts.machine.handle_connected(now);
                self.close_orphans();
                self.parts.arrivals.notify_waiters();
            }
            LinkEvent::Disconnected { .. } => {
                self.parts.machine.handle_disconnected(now);
                self.streams.handle_disconnected();
            }
            LinkEvent::Message { topic, payload } => {
                self.parts.machine.handle_packet(&topic, &payload, now);
            }
            // Counted and logged by the link.
            LinkEvent::Connected { .. }
            | LinkEvent::SubscriptionRefused { .. }
            | LinkEvent::PublishRefused { .. }
            | LinkEvent::Oversize => {}
        }
    }

    async fn say_goodbye(&mut self) {
        self.publish(self.parts.machine.offline());
        let link = self.parts.link.clone();
        let taken = async {
            while !link.is_idle() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if link.is_online() {
            let _ = tokio::time::timeout(GOODBYE_WAIT, taken).await;
        }
        link.shutdown().await;
    }

    fn now(&self) -> Millis {
        Millis(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn next_wake(&self) -> Option<Instant> {
        let machine = self.parts.machine.next_wake(self.now());
        let machine = machine.and_then(|at| self.started.checked_add(Duration::from_millis(at.0)));
        let tokens = self.parts.tokens.next_s().map(|at| {
            let seconds = u64::try_from(at.saturating_sub(unix_s())).unwrap_or(0);
            Instant::now() + Duration::from_secs(seconds).min(TOKENS_WAIT)
        });
        [
            machine,
            self.streams.next_wake(),
            tokens,
            self.next_farewell(),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

fn unix_s() -> i64 {
    crate::object::now().seconds
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Waits for a future that may not be there, and takes it out.
async fn finish<T>(slot: &mut Option<BoxFuture<'static, T>>) -> T {
    match slot {
        Some(future) => {
            let done = future.await;
            *slot = None;
            done
        }
        None => std::future::pending().await,
    }
}
