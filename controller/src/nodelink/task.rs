//! The task that owns the machine of the node protocol.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bramble_controller_core::action::Note;
use bramble_controller_core::document;
use bramble_controller_core::nodelink::{self as machine, Event, Output, Presence};
use bramble_link::{Events, Handle, Refused, Will};
use bramble_wire::clock::Millis;
use bramble_wire::limits::{CHANNEL_CREDIT_MAX, STREAM_CREDIT_MAX};
use bramble_wire::name::{ClusterId, NodeName};
use bramble_wire::object::{ObjectName, PodUid};
use bramble_wire::publish::{Delivery, Publish};
use bramble_wire::stream::{Open, What};
use bramble_wire::version::Boot;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, mpsc, oneshot};

use super::control::{self, Control};
use super::desired::{Desired, Membership};
use super::events::Events as PodEvents;
use super::reports;
use super::streams::{self, Reader, Streams, Writer};
use super::tokens::Shelf;
use super::watch::{Source, Watchers};
use super::{gates, will_of};
use crate::join::{Cidr, NodeKey, NodeKeys};
use crate::store::{Entry, Error as StoreError, EventKind, Store};
use crate::usage::Usages;

/// Messages taken from the link, and documents compiled, before everything else gets a turn.
const BATCH: usize = 64;
/// How long the good-bye may take to reach the broker.
const GOODBYE_WAIT: Duration = Duration::from_secs(1);
/// Pause before the store is read anew after the watchers fell behind.
const RELIST_PAUSE: Duration = Duration::from_millis(100);

/// Longest wait for tokens to become due: the clock that says so may be set meanwhile.
const TOKENS_WAIT: Duration = Duration::from_secs(3600);

/// Asked of the task.
pub(super) enum Command {
    /// Open a stream.
    Open {
        node: NodeName,
        what: What,
        reply: oneshot::Sender<Result<(Writer, Reader), streams::Error>>,
    },
    /// Say good-bye and end.
    Stop { done: oneshot::Sender<()> },
}

/// What the task is made of.
pub(super) struct Parts {
    pub(super) cluster: ClusterId,
    pub(super) service_cidr: Cidr,
    pub(super) control: Control,
    pub(super) machine: machine::NodeLink,
    pub(super) link: Handle,
    pub(super) events: Events,
    pub(super) will: Arc<Mutex<Will>>,
    pub(super) usage: Arc<Usages>,
    pub(super) tokens: Shelf,
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
    /// The epoch that a person says is confirmed.
    asked: Option<u64>,
    /// Pods left out of documents, as last told.
    left_out: HashMap<NodeName, Vec<(ObjectName, document::Error)>>,
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
            asked: None,
            left_out: HashMap::new(),
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
            self.write_streams();
            let idle = !self.desired.is_dirty();
            let waiting = self.streams.has_input();
            let wake = self.next_wake();
            tokio::select! {
                command = requests.recv() => match command {
                    Some(Command::Open { node, what, reply }) => self.open_stream(node, what, reply),
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
                    }
                }
                recorded = finish(&mut self.recording) => self.handle_recorded(recorded),
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

    /// Starts from a snapshot: the machine learns of all members, and forgets who left meanwhile.
    fn begin(&mut self, entries: Vec<(Source, Arc<Entry>)>) {
        let before: Vec<NodeName> = self.desired.members().map(|key| key.node.clone()).collect();
        self.desired = Desired::default();
        for (source, entry) in entries {
            self.apply(source, EventKind::Added, &entry);
        }
        for node in before {
            if !self.desired.members().any(|key| key.node == node) {
                self.parts.machine.remove_node(&node);
                self.parts.usage.forget(&node);
                self.parts.tokens.forget(&node);
                self.streams.handle_node_gone(&node);
            }
        }
    }

    fn apply(&mut self, source: Source, kind: EventKind, entry: &Arc<Entry>) {
        if source == Source::Namespaces && *entry.key.name == *control::CONFIRMED_ON {
            self.asked = control::confirmed_by(&entry.json);
            self.confirm();
        }
        if source == Source::Pods && kind != EventKind::Deleted {
            self.note(gates::look(&*self.store, entry));
        }
        match self.desired.apply(source, kind, entry) {
            Some(Membership::Joined(key)) => {
                let NodeKey {
                    node,
                    identity,
                    sealing,
                    ..
                } = *key;
                let (keys, now) = (machine::NodeKeys { identity, sealing }, self.now());
                self.parts.machine.set_node(&node, keys, now);
            }
            Some(Membership::Left(node)) => {
                self.parts.machine.remove_node(&node);
                self.parts.usage.forget(&node);
                self.parts.tokens.forget(&node);
                self.streams.handle_node_gone(&node);
            }
            None => {}
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
            let (cidr, desired) = (self.parts.service_cidr, &self.desired);
            let document = reports::compile(desired, &key, cidr, confirmed, &maker);
            self.parts.tokens.put(&key.node, maker);
            self.tell_left_out(&key.node, document.left_out);
            let (objects, now) = (document.objects, self.now());
            let set = self
                .parts
                .machine
                .set_document(&key.node, objects, revision.0, now);
            if let Err(error) = set {
                tracing::error!(node = %key.node, %error, "the node's document stays as it was");
            }
        }
        Ok(())
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
            LinkEvent::Subscribed => self.parts.machine.handle_connected(now),
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

    fn handle_event(&mut self, event: Event) {
        match event {
            Event::Presence { node, presence } => {
                tracing::info!(%node, ?presence, "node");
                if matches!(presence, Presence::Stopped | Presence::Lost) {
                    self.parts.usage.forget(&node);
                    self.streams.handle_node_gone(&node);
                }
                let written = reports::write_presence(&*self.store, &node, presence);
                self.tell_of_node(written);
            }
            Event::Facts { node, facts } => {
                if let Some(member) = self.keys.by_name(&node) {
                    let written = reports::write_facts(&*self.store, &member, &facts);
                    self.tell_of_node(written);
                }
            }
            Event::Report(report) => self.handle_report(report),
            Event::StreamOut { node, id, out } => self.streams.handle_out(&node, id, out),
            Event::RaiseEpoch {
                node,
                seen,
                epoch,
                history,
            } => {
                tracing::error!(
                    %node, %seen, epoch,
                    "a node knows a future that this store does not: a new epoch begins, and the \
                     nodes keep what they run until a person confirms the difference"
                );
                let (store, control) = (Arc::clone(&self.store), self.parts.control);
                self.recording = Some(Box::pin(async move {
                    control.raise(&*store, epoch, history).await
                }));
            }
            Event::Dropped { node, reason } => {
                let node = node.as_ref().map_or("-", NodeName::as_str);
                tracing::warn!(
                    node,
                    ?reason,
                    "message dropped; further ones are only counted"
                );
            }
        }
    }

    fn handle_report(&mut self, report: machine::Report) {
        let (node, number) = (report.node.clone(), report.number);
        if !report.rejected.is_empty() {
            tracing::error!(%node, reason = report.rejected, "the node refused its document");
        }
        let now = crate::object::now();
        // First what was told: the report may have the pod removed.
        let pod = |uid: &PodUid| self.desired.pod_of(&node, uid);
        (self.pod_events).relay(&*self.store, &node, &report.events, pod, now);
        if let Some(usage) = report.usage.clone() {
            self.parts.usage.set(&node, usage, pod, now);
        }
        let written = match reports::write(&*self.store, &self.desired, &report) {
            Ok(written) => written,
            Err(error) => return self.note(Err(error)),
        };
        self.pod_events.tell(&*self.store, &written.notes, now);
        // What is only soft may be lost with the power; the node says all of it again then.
        let wait = report.hard || !written.forget.is_empty();
        self.pending.push(Box::pin(async move {
            if wait {
                written.durable.wait().await.ok()?;
            }
            Some((node, number, written.forget))
        }));
    }

    /// Records that a person has confirmed this very epoch, unless that is known.
    fn confirm(&mut self) {
        let control = self.parts.control;
        let news = self.asked == Some(control.epoch) && control.confirmed < control.epoch;
        if !news || self.recording.is_some() {
            return;
        }
        tracing::info!(epoch = control.epoch, "a person has confirmed the epoch");
        let store = Arc::clone(&self.store);
        self.recording = Some(Box::pin(async move { control.confirm(&*store).await }));
    }

    fn handle_recorded(&mut self, recorded: Result<Control, control::Error>) {
        match recorded {
            Ok(control) => {
                if control.confirmed != self.parts.control.confirmed {
                    self.desired.touch_all();
                }
                self.parts.control = control;
                if let Some(hint) = control.hint() {
                    tracing::warn!(
                        hint,
                        "to confirm the epoch, after a look at what the nodes run"
                    );
                }
                let now = self.now();
                self.parts
                    .machine
                    .handle_epoch(control.epoch, control.history, now);
                let will = will_of(&self.parts.cluster, self.parts.machine.offline());
                *self
                    .parts
                    .will
                    .lock()
                    .unwrap_or_else(|poisoned| poisoned.into_inner()) = will;
                self.confirm();
            }
            // Nothing is sent until the next start; nodes go on with what they have.
            Err(error) => tracing::error!(%error, "the record of who controls is not on disk"),
        }
    }

    /// Says what the node does not get: on the pod, and once in the log.
    fn tell_left_out(&mut self, node: &NodeName, left_out: Vec<(ObjectName, document::Error)>) {
        let told = self.left_out.get(node);
        for (pod, error) in &left_out {
            if !told.is_some_and(|told| told.iter().any(|(p, e)| p == pod && e == error)) {
                tracing::error!(%node, %pod, %error, "the pod is left out of the node's document");
            }
            self.note(reports::write_left_out(&*self.store, node, pod, error));
        }
        if left_out.is_empty() {
            self.left_out.remove(node);
        } else {
            self.left_out.insert(node.clone(), left_out);
        }
    }

    fn tell_of_node(&mut self, written: Result<Vec<Note>, reports::Error>) {
        match written {
            Ok(notes) => {
                let now = crate::object::now();
                self.pod_events.tell(&*self.store, &notes, now);
            }
            Err(error) => self.note(Err(error)),
        }
    }

    fn note(&self, result: Result<(), reports::Error>) {
        if let Err(error) = result {
            tracing::warn!(%error, "could not be written; it will come again");
        }
    }

    fn open_stream(
        &mut self,
        node: NodeName,
        what: What,
        reply: oneshot::Sender<Result<(Writer, Reader), streams::Error>>,
    ) {
        let forward = matches!(what, What::Forward(_));
        let opened = self.streams.open(&node, forward, Instant::now());
        let opened = opened.and_then(|(id, writer, reader)| {
            let credit = if forward {
                CHANNEL_CREDIT_MAX
            } else {
                STREAM_CREDIT_MAX
            };
            let boot = Boot(0);
            let open = Open { boot, credit, what };
            match self.parts.machine.stream_open(&node, id, open) {
                Some(publish) => {
                    self.publish(publish);
                    Ok((writer, reader))
                }
                None => {
                    self.streams.fail(id, streams::Error::Offline(node.clone()));
                    Err(streams::Error::Offline(node))
                }
            }
        });
        // A client that went away drops the reader, which closes the stream.
        let _ = reply.send(opened);
    }

    fn write_streams(&mut self) {
        let room = if self.parts.link.has_room() { BATCH } else { 0 };
        for (node, id, message) in self.streams.due(Instant::now(), room) {
            if let Some(publish) = self.parts.machine.stream_in(&node, id, &message) {
                self.publish(publish);
            }
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
        [machine, self.streams.next_wake(), tokens]
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
