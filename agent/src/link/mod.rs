//! The edge of the conversation with the controller: feeds the session machine from the MQTT link,
//! the disk and the reconcile loop, and does what it says.
//!
//! In: link events, observations of the loop. Out: publishes, accepted documents (on disk before the
//! session, and so anybody, hears of it), pods to forget, log streams. This task owns the
//! [`Session`]. It never blocks on the network, the disk or a reader of logs, so a slow one of them
//! holds up neither the others nor the loop.

mod connection;
mod time_floor;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bramble_agent_core::plan::Durability;
use bramble_agent_core::session::{self, Document, Observation, Output, Session};
use bramble_link::tls::FloorClock;
use bramble_link::{BrokerUrl, Event, Events, Handle, Link, Refused};
use bramble_wire::clock::Millis;
use bramble_wire::object::PodUid;
use bramble_wire::publish::{Delivery, Publish};
use bramble_wire::report::{PodEvent, Usage};
use bramble_wire::version::{HardwareId, Nonce, Version};
use tokio::sync::{mpsc, oneshot, watch};

use crate::brokers::{Brokers, Patience};
use crate::clock;
use crate::identity::{self, Identity};
use crate::state::{self, Change, State};
use crate::streams::{self, Pods, Streams};

use connection::options;
use time_floor::TimeFloor;

/// A good-bye has this long to reach the broker.
const GOODBYE: Duration = Duration::from_millis(500);

/// What the task works with.
pub struct Parts {
    /// The node.
    pub identity: Identity,
    /// Where the brokers are.
    pub brokers: Arc<Brokers>,
    /// Which board this is.
    pub hardware: Option<HardwareId>,
    /// This start of the agent, on disk.
    pub boot: bramble_wire::version::Boot,
    /// The document accepted before.
    pub document: Option<Arc<Document>>,
    /// The state log.
    pub state: State,
    /// The clock that certificates are judged by, and the floor that is on disk.
    pub floor: (Arc<FloorClock>, i64),
    /// What the loop says.
    pub observations: watch::Receiver<Observation>,
    /// What happened to pods ([`crate::events::Events`]).
    pub events: mpsc::Receiver<PodEvent>,
    /// What containers use.
    pub usage: watch::Receiver<Option<Usage>>,
    /// Where accepted documents go.
    pub documents: watch::Sender<Option<Arc<Document>>>,
    /// Where pods to forget go.
    pub forget: mpsc::Sender<Vec<PodUid>>,
    /// Which document is cleared ([`Session::cleared`]).
    pub cleared: watch::Sender<Option<Version>>,
    /// Whether the documents are the controller's word ([`Session::is_confirmed`]).
    pub confirmed: watch::Sender<bool>,
    /// Whether the controller has welcomed this node on the present connection.
    pub welcomed: watch::Sender<bool>,
    /// Whether it serves another board as this node.
    pub refused: watch::Sender<bool>,
    /// What streams are with.
    pub pods: Arc<dyn Pods>,
    /// Ends the task; it says good-bye first.
    pub shutdown: oneshot::Receiver<()>,
}

/// Why the task ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Keys or certificates are unusable.
    #[error(transparent)]
    Identity(#[from] identity::Error),
    /// The link could not be set up.
    #[error("set up the link to the broker")]
    Link(#[source] bramble_link::Error),
    /// The state log failed.
    #[error(transparent)]
    State(#[from] state::Error),
}

/// Talks with the controller until told to stop or the state log fails.
///
/// # Errors
/// [`Error`].
pub async fn run(parts: Parts) -> Result<(), Error> {
    let Parts {
        identity,
        brokers,
        hardware,
        boot,
        document,
        state,
        floor,
        observations,
        events: told,
        usage,
        documents,
        forget,
        cleared,
        confirmed,
        welcomed,
        refused,
        pods,
        shutdown,
    } = parts;
    let config = Arc::new(session::Config {
        cluster: identity.cluster.clone(),
        node: identity.node.clone(),
        identity: identity.signing.clone(),
        controller: identity.controller,
        boot,
        hardware,
    });
    let (clock, stored_floor) = floor;
    let connection = Arc::new(Mutex::new(Nonce::default()));
    let options = options(
        &identity,
        brokers.list(),
        &config,
        Arc::clone(&clock),
        Arc::clone(&connection),
    )?;
    let (link, events) = Link::spawn(options).map_err(Error::Link)?;
    let (streams, frames) = Streams::new(pods, observations.clone(), documents.subscribe());
    let (persisted, persisted_inbox) = mpsc::channel(1);
    let edge = Edge {
        session: Session::new(Arc::clone(&config), document, &identity::seed()?),
        config,
        connection,
        brokers,
        link,
        state,
        documents,
        forget,
        cleared,
        confirmed,
        welcomed,
        refused,
        streams,
        persisted,
        time_floor: TimeFloor::new(clock, stored_floor),
        connected: None,
        patience: Patience::new(),
        refusals: 0,
    };
    let inputs = Inputs {
        events,
        observations,
        told,
        usage,
        frames,
        persisted: persisted_inbox,
        shutdown,
    };
    edge.run(inputs).await
}

struct Inputs {
    events: Events,
    observations: watch::Receiver<Observation>,
    told: mpsc::Receiver<PodEvent>,
    usage: watch::Receiver<Option<Usage>>,
    frames: mpsc::Receiver<streams::Frame>,
    persisted: mpsc::Receiver<Persisted>,
    shutdown: oneshot::Receiver<()>,
}

struct Persisted {
    document: Arc<Document>,
    result: Result<(), state::Error>,
}

struct Edge {
    session: Session,
    config: Arc<session::Config>,
    connection: Arc<Mutex<Nonce>>,
    brokers: Arc<Brokers>,
    link: Handle,
    state: State,
    documents: watch::Sender<Option<Arc<Document>>>,
    forget: mpsc::Sender<Vec<PodUid>>,
    cleared: watch::Sender<Option<Version>>,
    confirmed: watch::Sender<bool>,
    welcomed: watch::Sender<bool>,
    refused: watch::Sender<bool>,
    streams: Streams,
    persisted: mpsc::Sender<Persisted>,
    time_floor: TimeFloor,
    connected: Option<Nonce>,
    patience: Patience,
    refusals: u64,
}

impl Edge {
    async fn run(mut self, mut inputs: Inputs) -> Result<(), Error> {
        let brokers = Arc::clone(&self.brokers);
        loop {
            self.drain().await;
            let wake = self.session.next_wake();
            let connected = self.connected.is_some();
            let welcomed = self.session.is_welcomed();
            let leave = self.patience.due(connected, welcomed, now().0);
            tokio::select! {
                event = inputs.events.next() => match event {
                    Some(event) => self.handle_event(event),
                    None => return Ok(()),
                },
                // The first value is from before the loop has looked: it would say "no pods".
                Ok(()) = inputs.observations.changed() => {
                    let observation = inputs.observations.borrow_and_update().clone();
                    self.session.handle_observed(observation, now());
                }
                Some(event) = inputs.told.recv() => self.session.handle_event(event, now()),
                Ok(()) = inputs.usage.changed() => {
                    let usage = inputs.usage.borrow_and_update().clone();
                    if let Some(usage) = usage {
                        self.session.handle_usage(usage, now());
                    }
                }
                Some(persisted) = inputs.persisted.recv() => self.handle_persisted(persisted)?,
                Some(frame) = next_frame(&self.link, &mut inputs.frames) => self.handle_frame(frame),
                () = sleep_until(wake) => self.session.handle_timeout(now()),
                () = sleep_until(leave.map(Millis)) => self.look_elsewhere(),
                () = brokers.found() => self.take_over(brokers.list()),
                _ = &mut inputs.shutdown => {
                    self.say_goodbye().await;
                    return Ok(());
                }
            }
        }
    }

    fn handle_event(&mut self, event: Event) {
        match event {
            Event::Connected { .. } => self.brokers.connected(self.link.broker()),
            Event::Subscribed => {
                let nonce = *self
                    .connection
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                tracing::info!("connected to the broker");
                self.connected = Some(nonce);
                self.session.handle_connected(nonce, now());
            }
            Event::Disconnected { reason, retry_in } => {
                if self.connected.take().is_some() {
                    tracing::warn!(%reason, ?retry_in, "the link to the broker is down");
                } else {
                    // The link has said it, once for each broker and reason.
                    tracing::debug!(%reason, ?retry_in, "no link to the broker");
                }
                self.streams.close_all();
                self.session.handle_disconnected(now());
            }
            Event::Message { topic, payload } => {
                let before = self.session.counters();
                self.session.handle_packet(&topic, &payload, now());
                self.log_first_drop(before, &topic);
            }
            Event::SubscriptionRefused { filter, reason } => {
                tracing::warn!(filter, reason, "the broker refused a subscription");
            }
            Event::PublishRefused { topic, reason } => {
                tracing::warn!(topic, reason, "the broker refused a publish");
            }
            Event::Oversize => tracing::warn!("a packet above the limit was dropped"),
        }
    }

    /// Bad packets are counted; only the first of each sort is logged, as anybody can send them.
    fn log_first_drop(&self, before: session::Counters, topic: &str) {
        let after = self.session.counters();
        let sorts = [
            (before.oversize, after.oversize, "oversize"),
            (before.topic, after.topic, "not for this node"),
            (before.malformed, after.malformed, "malformed"),
            (before.signature, after.signature, "wrong signature"),
            (before.recipient, after.recipient, "for somebody else"),
            (before.replay, after.replay, "seen before"),
            (before.refused, after.refused, "a document was refused"),
            (before.invalid, after.invalid, "wrong content"),
        ];
        for (before, after, why) in sorts {
            if before == 0 && after > 0 {
                tracing::warn!(topic, why, "message dropped; further ones are only counted");
            }
        }
    }

    fn handle_persisted(&mut self, persisted: Persisted) -> Result<(), Error> {
        let version = persisted.document.version;
        match persisted.result {
            Ok(()) => {
                self.session.handle_persisted(version, now());
                self.follow(&persisted.document);
                // Before its document, so that nothing waits for a word that is there.
                self.tell_cleared();
                self.documents.send_replace(Some(persisted.document));
                Ok(())
            }
            Err(error @ state::Error::Failed(_)) => Err(error.into()),
            Err(error) => {
                tracing::error!(%version, %error, "document not accepted; trying again");
                self.persist(persisted.document, Duration::from_secs(10));
                Ok(())
            }
        }
    }

    /// The broker is there and the controller is not: it may be at another one.
    fn look_elsewhere(&mut self) {
        self.patience.end();
        if self.brokers.list().len() > 1 {
            tracing::info!("the controller does not speak here; trying the next broker");
            self.link.try_next();
        }
    }

    /// The controller may have said where it is going to be.
    fn follow(&self, document: &Document) {
        let before = self.brokers.list();
        self.brokers.accept(document);
        let brokers = self.brokers.list();
        if brokers != before {
            self.take_over(brokers);
        }
    }

    fn take_over(&self, brokers: Vec<BrokerUrl>) {
        let names: Vec<String> = brokers.iter().map(ToString::to_string).collect();
        tracing::info!(brokers = names.join(" "), "where the controller may be");
        if let Err(error) = self.link.set_urls(brokers) {
            tracing::error!(%error, "the brokers stay as they were");
        }
    }

    fn persist(&self, document: Arc<Document>, after: Duration) {
        let (state, persisted) = (self.state.clone(), self.persisted.clone());
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let change = Change::Document(Arc::clone(&document));
            let result = state.commit(vec![change], Durability::Hard).await;
            // The task is gone when the agent stops: then nobody needs to know.
            let _ = persisted.send(Persisted { document, result }).await;
        });
    }

    fn handle_frame(&mut self, frame: streams::Frame) {
        let end = matches!(frame.out, bramble_wire::stream::Out::End { .. });
        let publish = self.session.stream_out(frame.id, &frame.out);
        let sent = publish.is_some_and(|publish| self.publish(publish));
        if end || !sent {
            // The other end notices the gap, or that nothing more comes.
            self.streams.close(frame.id);
        }
    }

    /// Does what the session wants done.
    async fn drain(&mut self) {
        while let Some(output) = self.session.poll() {
            match output {
                Output::Publish(publish) => {
                    self.publish(publish);
                }
                Output::Persist(document) => self.persist(document, Duration::ZERO),
                Output::Forget(uids) => {
                    // The loop takes them at its next pass; it is never long.
                    let _ = self.forget.send(uids).await;
                }
                Output::TimeFloor { unix_s } => {
                    if let Some((change, durability)) = self.time_floor.raise(unix_s) {
                        // Nothing waits for it, and the disk may be slow.
                        let state = self.state.clone();
                        tokio::spawn(async move {
                            if let Err(error) = state.commit(vec![change], durability).await {
                                tracing::warn!(%error, "the time floor is not on disk");
                            }
                        });
                    }
                }
                Output::StreamOpen(id, open) => self.streams.open(id, open),
                Output::StreamIn(id, input) => self.streams.handle_in(id, input),
            }
        }
        self.tell_cleared();
        // After the document: who hears of it has that.
        let confirmed = self.session.is_confirmed();
        (self.confirmed).send_if_modified(|old| std::mem::replace(old, confirmed) != confirmed);
        let welcomed = self.session.is_welcomed();
        self.welcomed
            .send_if_modified(|old| std::mem::replace(old, welcomed) != welcomed);
        let refused = self.session.is_refused();
        if self.refused.send_replace(refused) != refused {
            match refused {
                true => tracing::error!(
                    "the controller serves another board as this node: is this card a copy?"
                ),
                false => tracing::info!("the controller serves this board as the node again"),
            }
        }
    }

    fn tell_cleared(&self) {
        let cleared = self.session.cleared();
        self.cleared
            .send_if_modified(|old| std::mem::replace(old, cleared) != cleared);
    }

    /// Nothing that is refused here is lost for good: the session repeats what matters.
    fn publish(&mut self, publish: Publish) -> bool {
        let topic = publish.topic_text(&self.config.cluster);
        let result = match publish.delivery {
            Delivery::State => self.link.put(&topic, publish.payload),
            Delivery::Retained => self.link.put_retained(&topic, publish.payload),
            Delivery::Message => self.link.send(&topic, publish.payload),
        };
        match result {
            Ok(()) => true,
            Err(Refused::Offline | Refused::Shutdown) => false,
            Err(error) => {
                self.refusals += 1;
                if self.refusals.is_power_of_two() {
                    tracing::warn!(%topic, %error, count = self.refusals, "not sent");
                }
                false
            }
        }
    }

    async fn say_goodbye(&mut self) {
        if let Some(nonce) = self.connected {
            let goodbye = self.config.goodbye(nonce);
            self.publish(goodbye);
            let idle = async {
                while !self.link.is_idle() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            // Without it the broker publishes the will, which says the same later.
            let _ = tokio::time::timeout(GOODBYE, idle).await;
        }
        self.link.shutdown().await;
    }
}

fn now() -> Millis {
    Millis(clock::boot_ms())
}

/// Takes a frame when the link has room for it: streams wait, everything else doesn't.
async fn next_frame(
    link: &Handle,
    frames: &mut mpsc::Receiver<streams::Frame>,
) -> Option<streams::Frame> {
    link.room().await;
    frames.recv().await
}

async fn sleep_until(at: Option<Millis>) {
    match at {
        Some(at) if at != Millis::NEVER => {
            tokio::time::sleep(Duration::from_millis(at.since(now()))).await;
        }
        _ => std::future::pending().await,
    }
}
