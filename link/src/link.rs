//! The writing end of a link and its life.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bramble_wire::limits;
use bytes::Bytes;
use rumqttc::v5::AsyncClient;
use rumqttc::v5::mqttbytes::QoS;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::counters::{Counters, Live, count};
use crate::driver;
use crate::inbox::{Events, Inbox};
use crate::options::{BrokerUrl, Options, TOPIC_MAX};
use crate::outbox::{Limits, Outbox, Publish};

/// How long a shutdown waits for the broker to take the DISCONNECT.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(2);

/// Options that no link can be made of.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No broker to connect to.
    #[error("no broker URL")]
    NoUrl,
    /// A plaintext URL that leaves this machine.
    #[error("{0} is not encrypted and not on this machine")]
    Plaintext(String),
    /// `mqtts` without a TLS configuration.
    #[error("{0} needs a TLS configuration")]
    NoTls(String),
    /// A subscription or a will that no broker takes.
    #[error("unusable topic {0:?}")]
    Topic(String),
}

/// A payload was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No connection; frames are not kept for the next one.
    #[error("the link is offline")]
    Offline,
    /// The outbox is full; the network is slower than the sender.
    #[error("the outbox is full")]
    Full,
    /// Above the size limit of payload or topic.
    #[error("the message is too large")]
    Oversize,
    /// Not a topic that can be published to.
    #[error("not a topic")]
    Topic,
    /// The link is shut down.
    #[error("the link is shut down")]
    Shutdown,
}

/// Starts links.
#[derive(Debug)]
pub struct Link;

impl Link {
    /// Starts a link. It connects by itself, now and after every loss, until it is shut down or the
    /// last handle is dropped. Needs a tokio runtime.
    pub fn spawn(options: Options) -> Result<(Handle, Events), Error> {
        let accepted = Accepted {
            plaintext: options.allow_plaintext,
            tls: options.tls.is_some(),
        };
        accepted.check(&options.urls)?;
        if let Some(bad) = options
            .subscriptions
            .iter()
            .map(|subscription| &subscription.filter)
            .find(|filter| !rumqttc::valid_filter(filter))
        {
            return Err(Error::Topic(bad.clone()));
        }
        let counters = Arc::new(Live::default());
        let inbox = Inbox::new(
            options.inbox_messages,
            options.inbox_bytes,
            Arc::clone(&counters),
        );
        let limits = Limits {
            slots: options.outbox_slots,
            frames: options.outbox_frames,
            bytes: options.outbox_bytes,
        };
        let shared = Arc::new(Shared {
            outgoing: Mutex::new(Outgoing {
                outbox: Outbox::new(limits),
                client: None,
                open: false,
                broker: None,
                urls: options.urls.as_slice().into(),
            }),
            accepted,
            wake: Notify::new(),
            freed: Notify::new(),
            leave: Notify::new(),
            leaving: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            counters,
            oversize_logged: AtomicBool::new(false),
            payload_max: options.outbox_bytes.min(limits::PACKET_MAX),
        });
        let task = tokio::spawn(driver::run(
            Arc::clone(&shared),
            options,
            Arc::clone(&inbox),
        ));
        let owner = Owner {
            shared,
            task: Mutex::new(Some(task)),
        };
        Ok((
            Handle {
                owner: Arc::new(owner),
            },
            Events::new(inbox),
        ))
    }
}

/// The writing end of a link. Cheap to clone; nothing here waits for the network except
/// [`Handle::shutdown`]. The link stops when the last one is dropped.
#[derive(Clone, Debug)]
pub struct Handle {
    owner: Arc<Owner>,
}

impl Handle {
    /// Sets the state of a topic, to be sent as soon as possible. Replaces older state of the topic
    /// that waits, survives reconnects, and is sent at least once.
    pub fn put(&self, topic: &str, payload: impl Into<Bytes>) -> Result<(), Refused> {
        self.put_state(topic, payload.into(), false)
    }

    /// As [`put`](Handle::put), and the broker keeps it for later subscribers.
    pub fn put_retained(&self, topic: &str, payload: impl Into<Bytes>) -> Result<(), Refused> {
        self.put_state(topic, payload.into(), true)
    }

    /// Sends a frame on the present connection, in order. It is lost if the connection is.
    pub fn send(&self, topic: &str, payload: impl Into<Bytes>) -> Result<(), Refused> {
        let publish = self.check(topic, payload.into(), false, false)?;
        let shared = &self.owner.shared;
        let mut outgoing = shared.outgoing();
        if !outgoing.open {
            return Err(Refused::Offline);
        }
        outgoing.outbox.send(publish).map_err(|_| Refused::Full)?;
        outgoing.pump(&shared.counters);
        Ok(())
    }

    /// Forgets the waiting state of a topic.
    pub fn forget(&self, topic: &str) {
        self.owner.shared.outgoing().outbox.forget(topic);
    }

    /// Whether the link is connected and subscribed.
    pub fn is_online(&self) -> bool {
        self.owner.shared.outgoing().open
    }

    /// Whether everything put or sent has been acknowledged by the broker (or lost).
    pub fn is_idle(&self) -> bool {
        self.owner.shared.outgoing().outbox.is_empty()
    }

    /// Whether frames should be handed over now: half of the outbox is free. A sender of many that
    /// asks first is not refused.
    pub fn has_room(&self) -> bool {
        self.owner.shared.outgoing().outbox.has_room()
    }

    /// Waits for [`Handle::has_room`]. Cancel-safe.
    pub async fn room(&self) {
        let shared = &self.owner.shared;
        loop {
            let freed = shared.freed.notified();
            if self.has_room() {
                return;
            }
            freed.await;
        }
    }

    /// Other brokers from now on, best first. A connection that is up stays; the next attempt takes
    /// the new list, and is made at once when there is no connection.
    ///
    /// # Errors
    /// As [`Link::spawn`]; then the list stays as it was.
    pub fn set_urls(&self, urls: Vec<BrokerUrl>) -> Result<(), Error> {
        let shared = &self.owner.shared;
        shared.accepted.check(&urls)?;
        let mut outgoing = shared.outgoing();
        if *outgoing.urls == *urls {
            return Ok(());
        }
        outgoing.urls = urls.into();
        let connected = outgoing.broker.is_some();
        drop(outgoing);
        if !connected {
            self.retry_now();
        }
        Ok(())
    }

    /// Leaves the broker that the link is connected to for the next of the list: it answers, and who
    /// was to be met there does not.
    pub fn try_next(&self) {
        let shared = &self.owner.shared;
        if shared.outgoing().broker.is_some() {
            shared.leaving.store(true, Ordering::Release);
            shared.leave.notify_one();
        }
    }

    /// The broker that the link is connected to.
    pub fn broker(&self) -> Option<BrokerUrl> {
        self.owner.shared.outgoing().broker.clone()
    }

    /// Ends a back-off: the network changed, try now.
    pub fn retry_now(&self) {
        self.owner.shared.wake.notify_one();
    }

    /// A reading of the counters.
    pub fn counters(&self) -> Counters {
        self.owner.shared.counters.read()
    }

    /// Says good-bye to the broker, so that it does not publish the will, and stops the link.
    /// Takes at most two seconds.
    pub async fn shutdown(&self) {
        let shared = &self.owner.shared;
        shared.stop();
        if let Some(client) = shared.outgoing().client.as_ref() {
            // A full channel means a stalled connection; the task is aborted below.
            let _ = client.try_disconnect();
        }
        let task = self.owner.task();
        if let Some(mut task) = task
            && tokio::time::timeout(SHUTDOWN_WAIT, &mut task)
                .await
                .is_err()
        {
            task.abort();
            let _ = task.await;
        }
    }

    fn put_state(&self, topic: &str, payload: Bytes, retain: bool) -> Result<(), Refused> {
        let publish = self.check(topic, payload, retain, true)?;
        let shared = &self.owner.shared;
        let mut outgoing = shared.outgoing();
        if outgoing.outbox.put(publish).map_err(|_| Refused::Full)? {
            count(&shared.counters.conflated_out);
        }
        outgoing.pump(&shared.counters);
        Ok(())
    }

    fn check(
        &self,
        topic: &str,
        payload: Bytes,
        retain: bool,
        state: bool,
    ) -> Result<Publish, Refused> {
        let shared = &self.owner.shared;
        if shared.is_stopping() {
            return Err(Refused::Shutdown);
        }
        if payload.len() > shared.payload_max || topic.len() > TOPIC_MAX {
            count(&shared.counters.oversize_out);
            if !shared.oversize_logged.swap(true, Ordering::Relaxed) {
                tracing::warn!(topic, size = payload.len(), "message too large to send");
            }
            return Err(Refused::Oversize);
        }
        if topic.is_empty() || !rumqttc::valid_topic(topic) || topic.contains('\0') {
            return Err(Refused::Topic);
        }
        Ok(Publish {
            topic: topic.into(),
            payload,
            retain,
            state,
        })
    }
}

#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Owner {
    fn task(&self) -> Option<JoinHandle<()>> {
        self.task
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .take()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.stop();
        if let Some(task) = self.task() {
            task.abort();
        }
    }
}

/// What the handles and the task share. The lock is held for moments and never across an await.
#[derive(Debug)]
pub(crate) struct Shared {
    outgoing: Mutex<Outgoing>,
    /// Ends the task's back-off.
    pub(crate) wake: Notify,
    /// Tells that the outbox holds less than before.
    pub(crate) freed: Notify,
    /// Wakes the task to leave its broker.
    pub(crate) leave: Notify,
    /// Whether it is to leave; a wake-up may be one of an earlier connection.
    pub(crate) leaving: AtomicBool,
    stopping: AtomicBool,
    accepted: Accepted,
    pub(crate) counters: Arc<Live>,
    oversize_logged: AtomicBool,
    payload_max: usize,
}

impl Shared {
    pub(crate) fn outgoing(&self) -> MutexGuard<'_, Outgoing> {
        self.outgoing
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.wake.notify_one();
    }
}

/// The outbox and the client it empties into.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) outbox: Outbox,
    /// The client of the present connection attempt.
    pub(crate) client: Option<AsyncClient>,
    /// Whether the connection is subscribed: nothing is sent before.
    pub(crate) open: bool,
    /// The broker that accepted the connection.
    pub(crate) broker: Option<BrokerUrl>,
    /// The brokers of the next attempt.
    pub(crate) urls: Arc<[BrokerUrl]>,
}

/// Which URLs a link takes.
#[derive(Debug, Clone, Copy)]
struct Accepted {
    plaintext: bool,
    tls: bool,
}

impl Accepted {
    fn check(self, urls: &[BrokerUrl]) -> Result<(), Error> {
        if urls.is_empty() {
            return Err(Error::NoUrl);
        }
        for url in urls {
            if !url.tls && !url.is_loopback() && !self.plaintext {
                return Err(Error::Plaintext(url.to_string()));
            }
            if url.tls && !self.tls {
                return Err(Error::NoTls(url.to_string()));
            }
        }
        Ok(())
    }
}

impl Outgoing {
    /// Hands what the window allows to the client. Never blocks: the client's channel is larger
    /// than the window.
    pub(crate) fn pump(&mut self, counters: &Live) {
        let (true, Some(client)) = (self.open, &self.client) else {
            return;
        };
        while let Some(publish) = self.outbox.issue(Instant::now()) {
            let result = client.try_publish(
                &*publish.topic,
                QoS::AtLeastOnce,
                publish.retain,
                publish.payload,
            );
            if result.is_err() {
                // The event loop is gone; its end puts everything back.
                return;
            }
            count(&counters.published);
        }
    }
}
