//! A broker and the links to it: connections that break without anybody noticing, last wills, session
//! queues, and a broker that is not to be trusted.
//!
//! Client 0 is the controller, client `i` is node `i - 1`.

use std::collections::{BTreeMap, VecDeque};

use bramble_wire::limits::PACKET_MAX;
use bramble_wire::publish::{Delivery, Publish};
use bramble_wire::topic::Topic;

use super::rng::Rng;
use super::stats::Fault;
use super::world::{Event, World};

/// Messages that the broker keeps for a client that is away.
const QUEUE_MAX: usize = 64;
/// After so many attempts that failed a client takes its time.
const PATIENT_AFTER: u32 = 30;
/// Packets that a hostile broker remembers.
const MEMORY_MAX: usize = 256;

/// A message on its way.
#[derive(Debug, Clone)]
pub struct Packet {
    /// Topic as text.
    pub topic: String,
    /// Bytes.
    pub payload: Vec<u8>,
    /// The broker made it up, altered it or played it again.
    pub forged: bool,
}

/// One client's side and the broker's side of it.
#[derive(Debug, Default)]
pub struct Client {
    /// The connection that the client believes in.
    pub up: Option<u32>,
    /// The connection that the broker believes in, with its last will.
    held: Option<(u32, Option<Packet>)>,
    /// Packets of this connection get nowhere.
    severed: Option<u32>,
    generation: u32,
    /// Attempts to connect that failed, in a row.
    failures: u32,
    /// When it tries again.
    retry_at: u64,
    queue: VecDeque<Packet>,
    outbox: BTreeMap<String, Packet>,
    last_up: u64,
    last_down: u64,
}

/// The broker and everything in flight.
#[derive(Debug)]
pub struct Network {
    /// By number.
    pub clients: Vec<Client>,
    /// Whether the broker runs.
    pub broker_up: bool,
    retained: Option<Packet>,
    /// What a hostile broker has seen, with its receiver.
    memory: VecDeque<(usize, Packet)>,
}

impl Network {
    /// A running broker without connections.
    pub fn new(clients: usize) -> Self {
        Self {
            clients: (0..clients).map(|_| Client::default()).collect(),
            broker_up: true,
            retained: None,
            memory: VecDeque::new(),
        }
    }
}

impl World {
    /// The client's process tries to connect.
    pub fn connect(&mut self, client: usize) {
        if self.net.clients[client].up.is_some() || !self.is_running(client) {
            return;
        }
        let refused = self.faults.is_refused(client, self.now);
        if refused && self.net.broker_up {
            // A subscription that is needed is refused: the link ends the connection.
            self.stats.fault(Fault::BrokerRefuses);
        }
        if !self.net.broker_up || refused || self.faults.is_partitioned(client, self.now) {
            let state = &mut self.net.clients[client];
            state.failures += 1;
            if state.failures >= PATIENT_AFTER && state.retry_at > self.now {
                return;
            }
            let pause = match state.failures {
                0..PATIENT_AFTER => (1_000, 15_000),
                _ => (60_000, 300_000),
            };
            let delay = self.rng.net[client].within(pause.0, pause.1);
            self.net.clients[client].retry_at = self.now + delay;
            self.after(delay, Event::Connect(client));
            return;
        }
        let (nonce, will) = self.last_will(client);
        let state = &mut self.net.clients[client];
        state.failures = 0;
        state.generation += 1;
        let generation = state.generation;
        state.up = Some(generation);
        state.severed = None;
        let before = state.held.replace((generation, Some(will)));
        let queued: Vec<Packet> = state.queue.drain(..).collect();
        if let Some((_, Some(will))) = before {
            // Taken over: the will of the connection before may arrive after the new birth.
            self.stats.fault(Fault::StaleWill);
            let delay = self.rng.net[client].within(1, 5_000);
            self.after(delay, Event::Route(will));
        }
        self.note(|| format!("connected {client} #{generation}"));
        for packet in queued {
            self.send_down(client, packet);
        }
        if client != 0
            && let Some(state) = self.net.retained.clone()
        {
            self.send_down(client, state);
        }
        self.on_connected(client, nonce);
        let waiting = std::mem::take(&mut self.net.clients[client].outbox);
        for (_, packet) in waiting {
            self.send_up(client, packet);
        }
    }

    /// The process of a client is gone: its socket is closed, and the broker knows.
    pub fn close(&mut self, client: usize) {
        let Some(generation) = self.net.clients[client].up.take() else {
            return;
        };
        self.net.clients[client].outbox.clear();
        self.after(1, Event::BrokerNotices(client, generation));
    }

    /// The machine of a client is gone without a word; the broker notices by its keep-alive.
    pub fn vanish(&mut self, client: usize) {
        let Some(generation) = self.net.clients[client].up.take() else {
            return;
        };
        self.net.clients[client].outbox.clear();
        let delay = self.rng.net[client].within(5_000, 90_000);
        self.after(delay, Event::BrokerNotices(client, generation));
    }

    /// The path between a client and the broker is cut: both will notice, some time.
    pub fn cut(&mut self, client: usize) {
        let Some(generation) = self.net.clients[client].up else {
            return;
        };
        self.stats.fault(Fault::Cut);
        self.note(|| format!("cut {client} #{generation}"));
        self.net.clients[client].severed = Some(generation);
        let (one, other) = (
            self.rng.net[client].within(0, 60_000),
            self.rng.net[client].within(0, 90_000),
        );
        self.after(one, Event::ClientNotices(client, generation));
        self.after(other, Event::BrokerNotices(client, generation));
    }

    /// The client notices that its connection is dead.
    pub fn client_notices(&mut self, client: usize, generation: u32) {
        if self.net.clients[client].up != Some(generation) {
            return;
        }
        self.net.clients[client].up = None;
        self.note(|| format!("disconnected {client} #{generation}"));
        self.on_disconnected(client);
        let delay = self.rng.net[client].within(500, 8_000);
        self.after(delay, Event::Connect(client));
    }

    /// The broker notices that a connection is dead, and publishes its last will.
    pub fn broker_notices(&mut self, client: usize, generation: u32) {
        let held = &mut self.net.clients[client].held;
        if held.as_ref().is_none_or(|(known, _)| *known != generation) {
            return;
        }
        if let Some((_, Some(will))) = held.take() {
            self.route(will);
        }
        if client != 0 && self.rng.net[client].percent(50) {
            // An embedded broker tells at once.
            self.on_node_disconnected(client - 1);
        }
    }

    /// The broker goes down: queues gone, last wills gone, perhaps retained messages gone.
    pub fn broker_down(&mut self, amnesia: bool) {
        if !self.net.broker_up {
            return;
        }
        self.stats.fault(Fault::BrokerRestart);
        self.net.broker_up = false;
        if amnesia {
            self.stats.fault(Fault::BrokerAmnesia);
            self.net.retained = None;
        }
        self.note(|| "broker down".into());
        for client in 0..self.net.clients.len() {
            let state = &mut self.net.clients[client];
            state.held = None;
            state.queue.clear();
            if let Some(generation) = state.up {
                state.severed = Some(generation);
                let delay = self.rng.net[client].within(0, 20_000);
                self.after(delay, Event::ClientNotices(client, generation));
            }
        }
    }

    /// The broker cuts what it keeps for those who are away, and says nothing.
    pub fn broker_truncates(&mut self, rng: &mut Rng) {
        let most = rng.within(0, 3) as usize;
        let oldest = rng.percent(50);
        for client in &mut self.net.clients {
            let over = client.queue.len().saturating_sub(most);
            let cut = if oldest {
                0..over
            } else {
                client.queue.len() - over..client.queue.len()
            };
            client.queue.drain(cut);
            if over > 0 {
                self.stats.fault(Fault::BrokerTruncates);
            }
        }
        if most == 0 && self.net.retained.take().is_some() {
            self.stats.fault(Fault::BrokerTruncates);
        }
    }

    /// Messages that wait in a client for its link.
    pub fn waiting(&self, client: usize) -> usize {
        self.net.clients[client].outbox.len()
    }

    /// A process publishes.
    pub fn publish(&mut self, client: usize, publish: &Publish) {
        let topic = publish.topic_text(&self.cluster).to_string();
        let packet = Packet {
            topic: topic.clone(),
            payload: publish.payload.clone(),
            forged: false,
        };
        match (self.net.clients[client].up, publish.delivery) {
            (Some(_), _) => self.send_up(client, packet),
            (None, Delivery::State | Delivery::Retained) => {
                self.net.clients[client].outbox.insert(topic, packet);
            }
            (None, Delivery::Message) => {}
        }
    }

    fn send_up(&mut self, client: usize, packet: Packet) {
        let Some(generation) = self.net.clients[client].up else {
            return;
        };
        if self.net.clients[client].severed == Some(generation) {
            self.stats.fault(Fault::Partition);
            return;
        }
        if self.faults.is_refused(client, self.now) && self.rng.net[client].percent(50) {
            self.stats.fault(Fault::BrokerRefuses);
            return;
        }
        let last = self.net.clients[client].last_up;
        for at in self.arrivals(client, last) {
            self.net.clients[client].last_up = at.max(last);
            self.at(at, Event::AtBroker(client, generation, packet.clone()));
        }
    }

    fn send_down(&mut self, client: usize, packet: Packet) {
        let Some((generation, _)) = self.net.clients[client].held else {
            let queue = &mut self.net.clients[client].queue;
            if queue.len() == QUEUE_MAX {
                queue.pop_front();
            }
            queue.push_back(packet);
            return;
        };
        if self.net.clients[client].severed == Some(generation) {
            self.stats.fault(Fault::Partition);
            return;
        }
        let last = self.net.clients[client].last_down;
        for at in self.arrivals(client, last) {
            self.net.clients[client].last_down = at.max(last);
            self.at(at, Event::AtClient(client, generation, packet.clone()));
        }
    }

    /// When a message arrives: once, in order, soon; or not so.
    fn arrivals(&mut self, client: usize, last: u64) -> Vec<u64> {
        let soon = self.now + self.rng.net[client].within(1, 20);
        if !self.faults.active || !self.only.links {
            return vec![soon.max(last)];
        }
        match self.rng.net[client].within(0, 99) {
            0..=2 => {
                self.stats.fault(Fault::Drop);
                vec![]
            }
            3..=5 => {
                self.stats.fault(Fault::Duplicate);
                vec![
                    soon.max(last),
                    soon.max(last) + self.rng.net[client].within(0, 3_000),
                ]
            }
            6..=8 => {
                if last > soon {
                    self.stats.fault(Fault::Reorder);
                }
                vec![soon]
            }
            9..=10 => {
                self.stats.fault(Fault::Delay);
                vec![self.now + self.rng.net[client].within(1_000, 15_000)]
            }
            _ => vec![soon.max(last)],
        }
    }

    /// A message arrives at the broker.
    pub fn at_broker(&mut self, client: usize, generation: u32, packet: Packet) {
        let held = &self.net.clients[client].held;
        if self.net.broker_up && held.as_ref().is_some_and(|(known, _)| *known == generation) {
            self.route(packet);
        }
    }

    /// The broker hands a message to whom it concerns.
    pub fn route(&mut self, packet: Packet) {
        let Some(topic) = Topic::parse(&self.cluster, &packet.topic) else {
            return;
        };
        let receivers: Vec<usize> = match topic.node() {
            None => {
                self.net.retained = Some(packet.clone());
                (1..self.net.clients.len()).collect()
            }
            Some(_) if topic.node_publishes() => vec![0],
            Some(name) => self
                .node_number(name)
                .map(|node| node + 1)
                .into_iter()
                .collect(),
        };
        for receiver in receivers {
            if self.net.memory.len() == MEMORY_MAX {
                self.net.memory.pop_front();
            }
            self.net.memory.push_back((receiver, packet.clone()));
            let links = self.faults.active && self.only.links;
            if links && self.rng.net[receiver].percent(2) {
                self.stats.fault(Fault::Withhold);
                let delay = self.rng.net[receiver].within(5_000, 60_000);
                self.after(delay, Event::Deliver(receiver, packet.clone()));
                continue;
            }
            self.send_down(receiver, packet.clone());
        }
    }

    /// A message arrives at a client.
    pub fn at_client(&mut self, client: usize, generation: u32, packet: Packet) {
        if self.net.clients[client].up == Some(generation) {
            self.deliver(client, packet);
        }
    }

    /// The broker does harm.
    pub fn mischief(&mut self, rng: &mut Rng) {
        if self.net.memory.is_empty() {
            return;
        }
        let (receiver, mut packet) = self.net.memory[rng.index(self.net.memory.len())].clone();
        let mut target = receiver;
        packet.forged = true;
        let fault = match rng.index(5) {
            0 => {
                // It may not have arrived the first time, and then it is good.
                packet.forged = false;
                Fault::Replay
            }
            1 => {
                let at = rng.index(packet.payload.len());
                packet.payload[at] ^= 1 << rng.index(8);
                Fault::Tamper
            }
            2 => {
                let other = 1 + rng.index(self.nodes.len());
                if receiver == 0 || other == receiver || !packet.topic.contains("/nodes/") {
                    return;
                }
                let (from, to) = (
                    self.nodes[receiver - 1].name.clone(),
                    &self.nodes[other - 1].name,
                );
                let part = |name: &str| format!("/nodes/{name}/");
                packet.topic = packet
                    .topic
                    .replace(&part(from.as_str()), &part(to.as_str()));
                target = other;
                Fault::Misroute
            }
            3 => {
                let len = rng.within(0, 300) as usize;
                packet.payload = (0..len).map(|_| rng.bits() as u8).collect();
                Fault::Garbage
            }
            _ => {
                packet.payload = vec![1; PACKET_MAX + 1];
                Fault::Oversize
            }
        };
        if self.net.clients[target].up.is_some() {
            self.stats.fault(fault);
            self.note(|| format!("mischief {} to {target}", fault.text()));
            self.deliver(target, packet);
        }
    }
}
