//! The virtual clock, the queue of events, and everybody in it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Write as _;

use bramble_wire::name::{ClusterId, NodeName};
use bramble_wire::version::Nonce;

use super::agent::{KernelEvent, Node};
use super::controller::{Controller, UserOperation};
use super::disk::WriteId;
use super::faults::{FaultEvent, Faults};
use super::network::{Network, Packet};
use super::only::{Only, Step};
use super::oracle::Oracle;
use super::rng::{Rng, Streams};
use super::stats::{Invariant, Stats};
use super::{FAULTS_MS, Mutation, Options, Violation};

/// What happens at a moment.
#[derive(Debug, Clone)]
pub enum Event {
    /// A client tries to connect.
    Connect(usize),
    /// A client notices that its connection is dead.
    ClientNotices(usize, u32),
    /// The broker notices that a connection is dead.
    BrokerNotices(usize, u32),
    /// A message arrives at the broker.
    AtBroker(usize, u32, Packet),
    /// The broker has a message to hand on.
    Route(Packet),
    /// A message arrives at a client.
    AtClient(usize, u32, Packet),
    /// A message arrives at a client, whichever connection it has.
    Deliver(usize, Packet),
    /// The broker comes back.
    BrokerUp,
    /// A process starts.
    Start(usize),
    /// A timer of a process (client, life of the process).
    Timer(usize, u32),
    /// A sync is done (client, life of the process).
    Synced(usize, u32, WriteId),
    /// Something happens in a node's kernel (node, boot of the kernel).
    Kernel(usize, u32, KernelEvent),
    /// A person does something.
    User(UserOperation),
    /// Something breaks.
    Fault(FaultEvent),
}

#[derive(Debug)]
struct Scheduled {
    at: u64,
    number: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// A record of everything that happened.
#[derive(Debug, Default)]
pub struct Trace {
    hash: u64,
    keep: bool,
    /// Lines, if they are kept.
    pub lines: Vec<String>,
}

impl Trace {
    fn line(&mut self, now: u64, text: &str) {
        let mut line = String::new();
        let _ = write!(line, "{:>7}.{:03} {text}", now / 1000, now % 1000);
        // FNV-1a.
        for byte in line.bytes().chain([b'\n']) {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        if self.keep {
            self.lines.push(line);
        }
    }

    /// Hash of all lines.
    pub fn hash(&self) -> u64 {
        self.hash
    }
}

/// Everything.
#[derive(Debug)]
pub struct World {
    /// Virtual time, milliseconds.
    pub now: u64,
    /// When faults stop.
    pub until: u64,
    /// Everything follows from it.
    pub seed: u64,
    /// What of the run is left in.
    pub only: Only,
    /// Steps of faults, mischief and people that were taken.
    pub steps: Vec<Step>,
    /// So many nodes the seed has, left in or not.
    pub drawn: usize,
    /// Streams of chance.
    pub rng: Streams,
    /// The broker.
    pub net: Network,
    /// The controller.
    pub controller: Controller,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// What goes wrong.
    pub faults: Faults,
    /// What must hold.
    pub oracle: Oracle,
    /// Counts.
    pub stats: Stats,
    /// Record.
    pub trace: Trace,
    /// The cluster.
    pub cluster: ClusterId,
    /// The deliberate mistake of this run.
    pub mutation: Option<Mutation>,
    /// The first invariant that did not hold.
    pub violation: Option<Violation>,
    queue: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    /// The timer that is set for each client: life of the process, moment.
    timers: Vec<Option<(u32, u64)>>,
}

impl World {
    /// A world before anything has happened.
    pub fn new(options: &Options) -> Self {
        let seed = options.seed;
        let mut setup = Rng::of(seed, "setup", 0);
        let cluster = ClusterId::new("sim").expect("a label");
        let drawn = setup.within(2, 4) as usize;
        let count = options.only.nodes.map_or(drawn, |most| drawn.min(most));
        let until = setup.within(FAULTS_MS.0, FAULTS_MS.1);
        let controller = Controller::new(&mut setup);
        let nodes = (0..count)
            .map(|number| {
                let mut rng = Rng::of(seed, "node", number as u64);
                Node::new(number, &cluster, controller.public(), &mut rng)
            })
            .collect();
        Self {
            now: 0,
            until: options.only.until_ms.unwrap_or(until),
            seed,
            only: options.only.clone(),
            steps: Vec::new(),
            drawn,
            net: Network::new(count + 1),
            controller,
            nodes,
            faults: Faults::new(),
            oracle: Oracle::default(),
            stats: Stats::default(),
            trace: Trace {
                keep: options.trace,
                hash: 0xcbf2_9ce4_8422_2325,
                lines: Vec::new(),
            },
            cluster,
            mutation: options.mutation,
            violation: None,
            queue: BinaryHeap::new(),
            scheduled: 0,
            timers: vec![None; count + 1],
            rng: Streams::new(seed, count),
        }
    }

    /// Schedules an event.
    pub fn at(&mut self, at: u64, event: Event) {
        self.scheduled += 1;
        let number = self.scheduled;
        self.queue.push(Reverse(Scheduled {
            at: at.max(self.now),
            number,
            event,
        }));
    }

    /// Schedules an event after some milliseconds.
    pub fn after(&mut self, delay: u64, event: Event) {
        self.at(self.now + delay, event);
    }

    /// Runs the next event if it is due by `until`; `false` when there is none.
    pub fn step(&mut self, until: u64) -> bool {
        if self
            .queue
            .peek()
            .is_none_or(|Reverse(next)| next.at > until)
        {
            self.now = until;
            return false;
        }
        let Some(Reverse(next)) = self.queue.pop() else {
            return false;
        };
        self.now = next.at;
        self.stats.steps += 1;
        match next.event {
            Event::Connect(client) => self.connect(client),
            Event::ClientNotices(client, generation) => self.client_notices(client, generation),
            Event::BrokerNotices(client, generation) => self.broker_notices(client, generation),
            Event::AtBroker(client, generation, packet) => {
                self.at_broker(client, generation, packet);
            }
            Event::Route(packet) => {
                if self.net.broker_up {
                    self.route(packet);
                }
            }
            Event::AtClient(client, generation, packet) => {
                self.at_client(client, generation, packet);
            }
            Event::Deliver(client, packet) => {
                if self.net.clients[client].up.is_some() {
                    self.deliver(client, packet);
                }
            }
            Event::BrokerUp => self.net.broker_up = true,
            Event::Start(0) => self.start_controller(),
            Event::Start(client) => self.start_agent(client - 1),
            Event::Timer(client, life) => {
                if self.timers[client].is_some_and(|(of, at)| of == life && at <= self.now) {
                    self.timers[client] = None;
                }
                match client {
                    0 => self.controller_timer(life),
                    client => self.agent_timer(client - 1, life),
                }
            }
            Event::Synced(0, life, upto) => self.controller_synced(life, upto),
            Event::Synced(client, life, upto) => self.agent_synced(client - 1, life, upto),
            Event::Kernel(node, boot, event) => self.kernel_event(node, boot, event),
            Event::User(operation) => self.user(operation),
            Event::Fault(fault) => self.fault(fault),
        }
        self.check_step();
        true
    }

    /// Sets the timer of a process, unless it is already set to an earlier moment.
    pub fn arm_timer(&mut self, client: usize, life: u32, at: u64) {
        let at = at.max(self.now + 1);
        if self.timers[client].is_some_and(|(of, due)| of == life && due <= at) {
            return;
        }
        self.timers[client] = Some((life, at));
        self.at(at, Event::Timer(client, life));
    }

    /// Writes a line of the trace.
    pub fn note(&mut self, line: impl FnOnce() -> String) {
        let text = line();
        self.trace.line(self.now, &text);
    }

    /// An invariant was looked at where it could have failed.
    pub fn check(&mut self, invariant: Invariant, holds: bool, detail: impl FnOnce() -> String) {
        self.stats.check(invariant);
        if !holds && self.violation.is_none() {
            let detail = detail();
            let violation = Violation { invariant, detail };
            self.note(|| format!("VIOLATION {violation}"));
            self.violation = Some(violation);
        }
    }

    /// The number of a node.
    pub fn node_number(&self, name: &NodeName) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == *name)
    }

    /// Counts the lives of the process of a client.
    pub fn life(&self, client: usize) -> u32 {
        match client {
            0 => self.controller.life,
            client => self.nodes[client - 1].life,
        }
    }

    /// Whether the process of a client runs.
    pub fn is_running(&self, client: usize) -> bool {
        match client {
            0 => self.controller.is_running(),
            client => self.nodes[client - 1].is_running(),
        }
    }

    /// The last will for a client's next connection, with the nonce in it.
    pub fn last_will(&mut self, client: usize) -> (Nonce, Packet) {
        let nonce = Nonce(self.rng.net[client].bytes());
        let publish = match client {
            0 => self.controller.offline(),
            client => self.nodes[client - 1].last_will(nonce),
        };
        let topic = publish.topic_text(&self.cluster).to_string();
        (
            nonce,
            Packet {
                topic,
                payload: publish.payload,
                forged: false,
            },
        )
    }

    /// A connection stands.
    pub fn on_connected(&mut self, client: usize, nonce: Nonce) {
        match client {
            0 => self.controller_connected(),
            client => self.agent_connected(client - 1, nonce),
        }
    }

    /// A connection is dead, and the client knows.
    pub fn on_disconnected(&mut self, client: usize) {
        match client {
            0 => self.controller_disconnected(),
            client => self.agent_disconnected(client - 1),
        }
    }

    /// A message reaches a process.
    pub fn deliver(&mut self, client: usize, packet: Packet) {
        self.stats.delivered += 1;
        match client {
            0 => self.controller_packet(packet),
            client => self.agent_packet(client - 1, packet),
        }
    }
}
