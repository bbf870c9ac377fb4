//! The task that owns the connection: one `EventLoop` after the other.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bramble_wire::limits;
use rumqttc::Outgoing as Sent;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, DisconnectReasonCode, Filter, Packet, PubAckReason, RetainForwardRule, SubAck,
    SubscribeReasonCode,
};
use rumqttc::v5::mqttbytes::{Error as CodecError, QoS};
use rumqttc::v5::{AsyncClient, ConnectionError, Event as MqttEvent, EventLoop, StateError};
use tokio::time::timeout;

use crate::backoff::Backoff;
use crate::counters::count;
use crate::event::{Event, Reason};
use crate::inbox::Inbox;
use crate::link::Shared;
use crate::options::{BrokerUrl, Delivery, Options};
use crate::round::{Round, Told};
use crate::setup::{Resume, mqtt_options};

/// Room in the client's request channel: the window of publishes, subscribes, and a disconnect.
const REQUESTS_MAX: usize = 32;
/// A connection that lived this long resets the back-off.
const STABLE_AFTER: Duration = Duration::from_secs(60);
/// Filters in one SUBSCRIBE; brokers bound it.
const FILTERS_MAX: usize = 8;

/// Connects, again and again, until the link is shut down.
pub(crate) async fn run(shared: Arc<Shared>, options: Options, inbox: Arc<Inbox>) {
    // Closes the inbox on every way out, an abort included.
    struct Closing(Arc<Inbox>);
    impl Drop for Closing {
        fn drop(&mut self) {
            self.0.close();
        }
    }
    let _closing = Closing(Arc::clone(&inbox));

    let mut backoff = Backoff::new(options.backoff_min, options.backoff_max, STABLE_AFTER);
    let mut oversize_in_a_row = 0;
    let mut round = Round::default();
    let mut told = Told::default();
    while !shared.is_stopping() {
        let newest = Arc::clone(&shared.outgoing().urls);
        let url = &round.next(newest);
        let mut connection = Connection::new(
            &shared,
            &options,
            &inbox,
            url,
            Resume::after(oversize_in_a_row),
        );
        let reason = connection.drive().await;
        let lived = connection.up_since.map(|since| since.elapsed());
        let stable = lived.is_some_and(|lived| lived >= STABLE_AFTER);
        drop(connection);
        close(&shared);

        match reason {
            Reason::Oversize => oversize_in_a_row += 1,
            _ if stable => oversize_in_a_row = 0,
            _ => {}
        }
        count(&shared.counters.disconnected);
        let taken_over = reason == Reason::TakenOver;
        if taken_over {
            count(&shared.counters.taken_over);
        }
        if reason == Reason::Stalled {
            count(&shared.counters.stalled);
        }
        if shared.is_stopping() {
            let reason = Reason::Shutdown;
            inbox.change(Event::Disconnected {
                reason,
                retry_in: Duration::MAX,
            });
            break;
        }
        if stable && reason != Reason::Left {
            round = Round::default();
        }
        // The others of the list first: one of many that is gone costs no pause.
        let retry_in = match lived {
            None if round.goes_on() => Duration::ZERO,
            _ => backoff.after(lived, taken_over, Instant::now(), random()),
        };
        // A board that is away for weeks says so once, not every few minutes.
        if told.is_news(url, &reason) || lived.is_some() {
            tracing::info!(broker = %url, %reason, "link down");
        }
        tracing::debug!(broker = %url, ?retry_in, "trying again");
        inbox.change(Event::Disconnected { reason, retry_in });
        // A wake-up is a shutdown or news about the network.
        let _ = timeout(retry_in, shared.wake.notified()).await;
    }
}

/// Takes the client away from the senders and what it had not delivered back from it.
fn close(shared: &Shared) {
    let mut outgoing = shared.outgoing();
    outgoing.client = None;
    outgoing.open = false;
    outgoing.broker = None;
    let lost = outgoing.outbox.disconnected();
    shared.freed.notify_waiters();
    shared
        .counters
        .lost_out
        .fetch_add(lost, std::sync::atomic::Ordering::Relaxed);
}

/// Waits until the present connection is to be left.
async fn left(shared: &Shared) {
    while !shared.leaving.swap(false, Ordering::AcqRel) {
        shared.leave.notified().await;
    }
}

fn random() -> u32 {
    // Without randomness the fleet comes back in step, which costs time and nothing else.
    getrandom::u32().unwrap_or(u32::MAX)
}

/// Where a connection stands.
#[derive(Debug)]
enum Phase {
    /// Until the CONNACK; rumqttc bounds it by the connection timeout.
    Connecting,
    /// CONNACK is in; so many SUBACKs are out. Ends by `deadline`.
    Subscribing {
        outstanding: usize,
        deadline: Instant,
    },
    Open,
}

struct Connection<'a> {
    shared: &'a Shared,
    options: &'a Options,
    inbox: &'a Inbox,
    url: &'a BrokerUrl,
    client: AsyncClient,
    events: EventLoop,
    phase: Phase,
    up_since: Option<Instant>,
    /// SUBSCRIBEs written and not answered: packet identifier and the filters, by index.
    subscribes: Vec<(u16, usize)>,
    /// Batches handed to the client, packet identifier not known yet.
    batches_written: usize,
    watchdog: Duration,
    retained: RetainForwardRule,
}

impl<'a> Connection<'a> {
    fn new(
        shared: &'a Shared,
        options: &'a Options,
        inbox: &'a Inbox,
        url: &'a BrokerUrl,
        resume: Resume,
    ) -> Connection<'a> {
        let (client, events) = AsyncClient::new(mqtt_options(options, url, resume), REQUESTS_MAX);
        let keep_alive = options.effective_keep_alive();
        shared.outgoing().client = Some(client.clone());
        shared.leaving.store(false, Ordering::Release);
        Connection {
            shared,
            options,
            inbox,
            url,
            client,
            events,
            phase: Phase::Connecting,
            up_since: None,
            subscribes: Vec::new(),
            batches_written: 0,
            watchdog: options.watchdog.unwrap_or(keep_alive * 5 / 2),
            retained: match resume {
                Resume::Session | Resume::Retained => RetainForwardRule::OnEverySubscribe,
                Resume::Nothing => RetainForwardRule::Never,
            },
        }
    }

    /// Polls until the connection ends and says why. The event loop must not be polled again.
    async fn drive(&mut self) -> Reason {
        loop {
            let (patience, shared) = (self.patience(), self.shared);
            let polled = tokio::select! {
                // It is not polled again after either of the others.
                polled = timeout(patience, self.events.poll()) => match polled {
                    Ok(polled) => polled,
                    Err(_) => return Reason::Stalled,
                },
                () = left(shared) => return Reason::Left,
            };
            let ended = match polled {
                Ok(event) => self.handle_event(event).err(),
                Err(error) => {
                    // What was read together with the end still counts.
                    while let Some(event) = self.events.state.events.pop_front() {
                        if let Err(reason) = self.handle_event(event) {
                            return reason;
                        }
                    }
                    Some(self.reason(error))
                }
            };
            if let Some(reason) = ended {
                return reason;
            }
            if self.is_overdue() {
                return Reason::Stalled;
            }
        }
    }

    /// How long to wait for the next event.
    fn patience(&self) -> Duration {
        match self.phase {
            // rumqttc's own timeout comes first.
            Phase::Connecting => self.options.connect_timeout + Duration::from_secs(2),
            Phase::Subscribing { deadline, .. } => {
                deadline.saturating_duration_since(Instant::now())
            }
            Phase::Open => self.watchdog,
        }
    }

    /// Whether the broker owes an answer for too long although other things happen.
    fn is_overdue(&self) -> bool {
        match self.phase {
            Phase::Connecting => false,
            Phase::Subscribing { deadline, .. } => Instant::now() >= deadline,
            Phase::Open => {
                let oldest = self.shared.outgoing().outbox.oldest_unacked();
                oldest.is_some_and(|at| at.elapsed() >= self.watchdog)
            }
        }
    }

    fn handle_event(&mut self, event: MqttEvent) -> Result<(), Reason> {
        match event {
            MqttEvent::Incoming(Packet::ConnAck(connack)) => self.handle_connack(&connack),
            MqttEvent::Incoming(Packet::SubAck(suback)) => self.handle_suback(&suback),
            MqttEvent::Incoming(Packet::Publish(publish)) => {
                self.handle_publish(&publish.topic, publish.payload);
                Ok(())
            }
            MqttEvent::Incoming(Packet::PubAck(puback)) => {
                self.handle_puback(puback.pkid, puback.reason);
                Ok(())
            }
            MqttEvent::Outgoing(Sent::Publish(packet)) => {
                self.shared.outgoing().outbox.written(packet);
                Ok(())
            }
            MqttEvent::Outgoing(Sent::Subscribe(packet)) => {
                self.subscribes.push((packet, self.batches_written));
                self.batches_written += 1;
                Ok(())
            }
            // The packet identifier is taken by an unacknowledged publish. rumqttc may never get
            // out of that, so we don't let it try.
            MqttEvent::Outgoing(Sent::AwaitAck(packet)) => Err(Reason::Protocol(format!(
                "packet identifier {packet} in use"
            ))),
            _ => Ok(()),
        }
    }

    fn handle_connack(&mut self, connack: &ConnAck) -> Result<(), Reason> {
        count(&self.shared.counters.connected);
        let keep_alive = self.events.options.keep_alive();
        if keep_alive.is_zero() {
            // The broker wants no pings; rumqttc would send one after the other.
            self.events
                .options
                .set_keep_alive(self.options.effective_keep_alive());
        } else if self.options.watchdog.is_none() {
            self.watchdog = keep_alive * 5 / 2;
        }
        let session_present = connack.session_present;
        tracing::info!(broker = %self.url, session_present, "link up");
        self.up_since = Some(Instant::now());
        self.shared.outgoing().broker = Some(self.url.clone());
        self.inbox.change(Event::Connected { session_present });

        let mut outstanding = 0;
        for batch in self.options.subscriptions.chunks(FILTERS_MAX) {
            let filters = batch.iter().map(|subscription| {
                let mut filter = Filter::new(&subscription.filter, QoS::AtLeastOnce);
                filter.retain_forward_rule = self.retained.clone();
                filter
            });
            if self.client.try_subscribe_many(filters).is_err() {
                return Err(Reason::Protocol("too many subscriptions".to_owned()));
            }
            outstanding += 1;
        }
        let deadline = Instant::now() + self.options.connect_timeout;
        self.phase = Phase::Subscribing {
            outstanding,
            deadline,
        };
        if outstanding == 0 {
            self.open();
        }
        Ok(())
    }

    fn handle_suback(&mut self, suback: &SubAck) -> Result<(), Reason> {
        let Some(position) = self
            .subscribes
            .iter()
            .position(|(packet, _)| *packet == suback.pkid)
        else {
            return Err(Reason::Protocol(format!(
                "SUBACK for unknown packet {}",
                suback.pkid
            )));
        };
        let (_, batch) = self.subscribes.swap_remove(position);
        let subscriptions = self
            .options
            .subscriptions
            .chunks(FILTERS_MAX)
            .nth(batch)
            .unwrap_or(&[]);
        if suback.return_codes.len() != subscriptions.len() {
            return Err(Reason::Protocol(
                "SUBACK with a wrong number of codes".to_owned(),
            ));
        }
        for (subscription, code) in subscriptions.iter().zip(&suback.return_codes) {
            if matches!(code, SubscribeReasonCode::Success(_)) {
                continue;
            }
            let (filter, reason) = (subscription.filter.clone(), format!("{code:?}"));
            if subscription.required {
                return Err(Reason::SubscriptionRefused { filter, reason });
            }
            tracing::warn!(filter, reason, "subscription refused");
            self.inbox
                .change(Event::SubscriptionRefused { filter, reason });
        }
        if let Phase::Subscribing { outstanding, .. } = &mut self.phase {
            *outstanding -= 1;
            if *outstanding == 0 {
                self.open();
            }
        }
        Ok(())
    }

    fn open(&mut self) {
        self.phase = Phase::Open;
        let mut outgoing = self.shared.outgoing();
        // Before the reader hears of it, so that it can send at once.
        outgoing.open = true;
        self.inbox.change(Event::Subscribed);
        outgoing.pump(&self.shared.counters);
    }

    fn handle_publish(&self, topic: &[u8], payload: bytes::Bytes) {
        if payload.len() > limits::PACKET_MAX {
            self.oversize(payload.len());
            return;
        }
        let Ok(topic) = std::str::from_utf8(topic) else {
            count(&self.shared.counters.dropped_in);
            return;
        };
        // A message that matches no filter was meant for an earlier life of this session.
        match self.delivery(topic) {
            Some(delivery) => self.inbox.message(topic, payload, delivery),
            None => count(&self.shared.counters.dropped_in),
        }
    }

    fn delivery(&self, topic: &str) -> Option<Delivery> {
        let matching = self
            .options
            .subscriptions
            .iter()
            .filter(|s| rumqttc::matches(topic, &s.filter));
        matching.map(|subscription| subscription.delivery).next()
    }

    fn handle_puback(&self, packet: u16, reason: PubAckReason) {
        let mut outgoing = self.shared.outgoing();
        let publish = outgoing.outbox.acknowledged(packet);
        outgoing.pump(&self.shared.counters);
        drop(outgoing);
        self.shared.freed.notify_waiters();
        let Some(publish) = publish else {
            return;
        };
        match reason {
            PubAckReason::Success | PubAckReason::NoMatchingSubscribers => {
                count(&self.shared.counters.acknowledged);
            }
            refused => {
                count(&self.shared.counters.refused);
                let topic = publish.topic.as_ref().to_owned();
                let reason = format!("{refused:?}");
                tracing::warn!(topic, reason, "publish refused by the broker");
                self.inbox.change(Event::PublishRefused { topic, reason });
            }
        }
    }

    fn oversize(&self, size: usize) {
        count(&self.shared.counters.oversize_in);
        if self.shared.counters.read().oversize_in == 1 {
            tracing::warn!(size, "message above the size limit dropped; logged once");
        }
        self.inbox.change(Event::Oversize);
    }

    fn reason(&self, error: ConnectionError) -> Reason {
        match error {
            ConnectionError::ConnectionRefused(code) => Reason::Refused(format!("{code:?}")),
            ConnectionError::Timeout(_) => Reason::Network("connecting timed out".to_owned()),
            ConnectionError::Tls(error) => Reason::Network(format!("TLS: {error}")),
            ConnectionError::Io(error) => Reason::Network(error.to_string()),
            ConnectionError::MqttState(error) => self.state_reason(error),
            other => Reason::Protocol(other.to_string()),
        }
    }

    fn state_reason(&self, error: StateError) -> Reason {
        match error {
            StateError::Deserialization(CodecError::PayloadSizeLimitExceeded {
                pkt_size, ..
            })
            | StateError::IncomingPacketTooLarge { pkt_size, .. } => {
                self.oversize(pkt_size);
                Reason::Oversize
            }
            StateError::ServerDisconnect { reason_code, .. } => match reason_code {
                DisconnectReasonCode::SessionTakenOver => Reason::TakenOver,
                code => Reason::Ended(format!("{code:?}")),
            },
            StateError::ConnFail { reason } => Reason::Refused(format!("{reason:?}")),
            StateError::AwaitPingResp => Reason::Stalled,
            StateError::ConnectionAborted => Reason::Network("closed by the broker".to_owned()),
            StateError::Io(error) | StateError::Deserialization(CodecError::Io(error)) => {
                Reason::Network(error.to_string())
            }
            other => Reason::Protocol(other.to_string()),
        }
    }
}
