//! A node: its disk, its kernel, and the agent's process around the real session and planner.

mod mistakes;
mod output;
mod pass;
mod power;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bramble_agent_core::desired::{Desired, Host};
use bramble_agent_core::memory::{Endings, Memory};
use bramble_agent_core::observed::{
    Exit, Image, ImageState, Observed, ObservedContainer, ObservedPod, Run, Sandbox, Stopping,
};
use bramble_agent_core::plan::{self, Action, Durability};
use bramble_agent_core::report::reports;
use bramble_agent_core::session::{Config, Document, Observation, Session};
use bramble_agent_core::time::Moment;
use bramble_wire::clock::Millis;
use bramble_wire::envelope::{self, KeyId, Sequence};
use bramble_wire::name::{ClusterId, NodeName};
use bramble_wire::object::{ObjectId, PodUid, RestartPolicy};
use bramble_wire::publish::Publish;
use bramble_wire::report::{Amounts, NodeFacts, PodEvent, UnixMs, Usage};
use bramble_wire::seal::{self, Binding, SealingPublic, SealingSecret};
use bramble_wire::topic::Topic;
use bramble_wire::version::{Boot, Nonce, Version};
use bramble_wire::{SigningKey, VerifyingKey};

use super::Mutation;
use super::disk::{Disk, WriteId};
use super::network::Packet;
use super::rng::Rng;
use super::stats::Invariant;
use super::world::{Event, World};

use pass::{PASSES_MAX, runs};

/// When the simulation begins, for people.
const UNIX_MS: i64 = 1_700_000_000_000;

/// What an agent keeps on disk.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Starts of the process so far.
    pub boot: u64,
    /// The accepted document.
    pub document: Option<Arc<Document>>,
    /// The planner's memory.
    pub memory: Memory,
    /// Pods that ended and were forgotten.
    pub endings: Endings,
}

/// A board.
#[derive(Debug)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// Events that its agents have told.
    pub told: u64,
    /// Its disk.
    pub disk: Disk<State>,
    /// What runs: survives the agent, not the board.
    pub kernel: BTreeMap<PodUid, ObservedPod>,
    /// The addresses of what runs.
    pub addresses: BTreeMap<PodUid, [u8; 4]>,
    /// It is in the controller's key table.
    pub member: bool,
    /// How far its clock is off, milliseconds.
    pub wall_ms: i64,
    /// It is switched off.
    off: bool,
    /// Bytes and writes that its agents sent to the card, as records.
    pub written: (u64, u64),
    /// Reports that its agents sent.
    pub reports: u64,
    /// When it was switched on.
    booted_at: u64,
    /// Documents that it has held; only a mutated agent looks at them.
    past: Vec<Arc<Document>>,
    /// Opens its secrets.
    pub sealing: SealingSecret,
    /// Its key for secrets.
    pub sealing_public: SealingPublic,
    identity: SigningKey,
    controller: VerifyingKey,
    cluster: ClusterId,
    kernel_boot: u32,
    /// Counts lives of the agent's process.
    pub life: u32,
    agent: Option<Agent>,
}

#[derive(Debug)]
struct Agent {
    config: Arc<Config>,
    session: Option<Session>,
    state: State,
    desired: Option<(Version, Desired)>,
    /// What the session last said of [`Session::cleared`].
    cleared: Option<Version>,
    busy: BTreeSet<PodUid>,
    waiters: Vec<(WriteId, Waiter)>,
    /// A pass whose records are not on disk yet: nothing is acted on before.
    holding: bool,
    dirty: bool,
    plan_wake: Option<u64>,
    online: bool,
    asked: Nonce,
    forged_seq: u64,
}

#[derive(Debug)]
enum Waiter {
    Boot,
    Document(Version),
    Pass(Vec<Action>, Box<Observation>),
}

/// Something that happens in a node's kernel.
#[derive(Debug, Clone)]
pub enum KernelEvent {
    /// An action of an agent (life of its process) is done.
    Done(u32, Box<Action>),
    /// A life of a container ends.
    Exit(PodUid, u32, i32),
}

impl Node {
    /// A joined board that is off.
    pub fn new(
        number: usize,
        cluster: &ClusterId,
        controller: VerifyingKey,
        rng: &mut Rng,
    ) -> Self {
        let (sealing, sealing_public) = SealingSecret::from_seed(&rng.bytes());
        Self {
            name: NodeName::new(&format!("node-{number}")).expect("a label"),
            disk: Disk::new(State::default()),
            told: 0,
            kernel: BTreeMap::new(),
            addresses: BTreeMap::new(),
            member: true,
            wall_ms: 0,
            off: true,
            written: (0, 0),
            reports: 0,
            booted_at: 0,
            past: Vec::new(),
            sealing,
            sealing_public,
            identity: SigningKey::from_bytes(&rng.bytes()),
            controller,
            cluster: cluster.clone(),
            kernel_boot: 0,
            life: 0,
            agent: None,
        }
    }

    /// Another board: it has other keys.
    pub fn rekey(&mut self, rng: &mut Rng) {
        (self.sealing, self.sealing_public) = SealingSecret::from_seed(&rng.bytes());
        self.identity = SigningKey::from_bytes(&rng.bytes());
    }

    /// Verifies what it says.
    pub fn public(&self) -> VerifyingKey {
        self.identity.verifying_key()
    }

    /// Whether its agent runs.
    pub fn is_running(&self) -> bool {
        self.agent
            .as_ref()
            .is_some_and(|agent| agent.session.is_some())
    }

    /// The accepted document, as the running agent sees it.
    pub fn document(&self) -> Option<&Arc<Document>> {
        self.agent.as_ref()?.session.as_ref()?.document()
    }

    /// The agent's last will for a connection.
    pub fn last_will(&self, nonce: Nonce) -> Publish {
        let agent = self.agent.as_ref().expect("only a running agent connects");
        agent.config.last_will(nonce)
    }

    /// Pods with a running container.
    pub fn running(&self) -> impl Iterator<Item = &PodUid> {
        self.kernel
            .iter()
            .filter(|(_, pod)| runs(pod))
            .map(|(uid, _)| uid)
    }

    /// Bytes of what its agent keeps.
    pub fn state_len(&self) -> usize {
        let state = self.disk.newest();
        let document = state
            .document
            .iter()
            .flat_map(|document| document.effective());
        let bodies: usize = document.map(|(.., body)| body.len()).sum();
        bramble_wire::encode(&state.memory).len() + bodies
    }

    /// Opens a secret of its document.
    pub fn open(&self, id: &ObjectId, revision: u64, sealed: &seal::Sealed) -> Option<Vec<u8>> {
        let binding = Binding {
            cluster: &self.cluster,
            node: &self.name,
            id,
            revision,
        };
        seal::open(&self.sealing, binding, sealed).ok()
    }
}

impl World {
    fn moment(&self, number: usize) -> Moment {
        let node = &self.nodes[number];
        let unix = UNIX_MS + self.now as i64 + node.wall_ms;
        Moment::new(self.now - node.booted_at, unix)
    }

    /// The agent's process starts: it raises its boot number before anything else.
    pub fn start_agent(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        if node.agent.is_some() || !node.member {
            return;
        }
        node.life += 1;
        if node.off {
            node.off = false;
            node.booted_at = self.now;
        }
        let mut state = node.disk.newest().clone();
        match self.mutation {
            Some(Mutation::SkipFsync) => node.disk.lie(),
            Some(Mutation::AcceptOlder) => {
                let older = node.past.iter().rev().nth(1).cloned();
                state.document = older.or(state.document);
            }
            Some(Mutation::ForgetBegun) => {
                for pod in state.memory.values_mut() {
                    pod.containers.clear();
                }
            }
            _ => {}
        }
        state.boot += 1;
        let write = node.disk.write(state.clone());
        let config = Config {
            cluster: node.cluster.clone(),
            node: node.name.clone(),
            identity: node.identity.clone(),
            controller: node.controller,
            boot: Boot(state.boot),
            hardware: None,
        };
        node.agent = Some(Agent {
            config: Arc::new(config),
            session: None,
            state,
            desired: None,
            cleared: None,
            busy: BTreeSet::new(),
            waiters: vec![(write, Waiter::Boot)],
            holding: false,
            dirty: true,
            plan_wake: None,
            online: false,
            asked: Nonce::default(),
            forged_seq: 0,
        });
        self.sync_agent(number, write);
    }

    fn sync_agent(&mut self, number: usize, write: WriteId) {
        let delay = self.rng.disk[number + 1].within(2, 60);
        let life = self.nodes[number].life;
        if self.wrote(number + 1, delay) {
            self.after(delay, Event::Synced(number + 1, life, write));
        }
    }

    /// A write of an agent is on disk.
    pub fn agent_synced(&mut self, number: usize, life: u32, upto: WriteId) {
        let node = &mut self.nodes[number];
        if node.life != life {
            return;
        }
        node.disk.sync(upto);
        let Some(mut agent) = node.agent.take() else {
            return;
        };
        let (done, waiting) = agent
            .waiters
            .drain(..)
            .partition(|(write, _)| *write <= upto);
        agent.waiters = waiting;
        for (_, waiter) in done {
            self.agent_resumes(number, &mut agent, waiter);
        }
        self.pump(number, agent);
    }

    fn agent_resumes(&mut self, number: usize, agent: &mut Agent, waiter: Waiter) {
        let now = Millis(self.now);
        match waiter {
            Waiter::Boot => {
                let life = u64::from(self.nodes[number].life);
                let number_of = (number as u64) << 32 | life;
                let seed = Rng::of(self.seed, "session", number_of).bytes();
                let document = agent.state.document.clone();
                agent.session = Some(Session::new(agent.config.clone(), document, &seed));
                let boot = agent.state.boot;
                if self.mutation == Some(Mutation::StopOnStart) {
                    let running: Vec<PodUid> = self.nodes[number].running().copied().collect();
                    for uid in running {
                        self.check_stop(number, uid);
                        self.nodes[number].kernel.remove(&uid);
                    }
                }
                self.note(|| format!("node {number} boot {boot}"));
                let delay = self.rng.net[number + 1].within(10, 2_000);
                self.after(delay, Event::Connect(number + 1));
            }
            Waiter::Document(version) => {
                if let Some(session) = &mut agent.session {
                    session.handle_persisted(version, now);
                }
                agent.dirty = true;
            }
            Waiter::Pass(actions, observation) => {
                agent.holding = false;
                self.carry_out(number, agent, actions, *observation);
            }
        }
    }

    /// The agent is connected.
    pub fn agent_connected(&mut self, number: usize, nonce: Nonce) {
        self.with_agent(number, |agent, now| {
            agent.online = true;
            agent.dirty = true;
            if let Some(session) = &mut agent.session {
                session.handle_connected(nonce, now);
            }
        });
    }

    /// The agent's connection is dead.
    pub fn agent_disconnected(&mut self, number: usize) {
        self.with_agent(number, |agent, now| {
            agent.online = false;
            agent.dirty = true;
            if let Some(session) = &mut agent.session {
                session.handle_disconnected(now);
            }
        });
    }

    /// A timer of the agent is due.
    pub fn agent_timer(&mut self, number: usize, life: u32) {
        if self.nodes[number].life != life {
            return;
        }
        let now = self.now;
        self.with_agent(number, |agent, millis| {
            if agent.plan_wake.is_some_and(|wake| wake <= now) {
                agent.plan_wake = None;
                agent.dirty = true;
            }
            if let Some(session) = &mut agent.session {
                session.handle_timeout(millis);
            }
        });
    }

    /// A packet reaches the agent.
    pub fn agent_packet(&mut self, number: usize, packet: Packet) {
        let Some(mut agent) = self.nodes[number].agent.take() else {
            return;
        };
        let now = Millis(self.now);
        let packet = self.mutated(&mut agent, packet);
        if let Some(session) = &mut agent.session {
            let before = session.counters();
            session.handle_packet(&packet.topic, &packet.payload, now);
            let after = session.counters();
            if packet.forged {
                self.check(
                    Invariant::Dropped,
                    dropped(&after) == dropped(&before) + 1,
                    || {
                        format!(
                            "node {number} took {} bytes on {}",
                            packet.payload.len(),
                            packet.topic
                        )
                    },
                );
            }
        }
        self.pump(number, agent);
    }

    fn with_agent(&mut self, number: usize, act: impl FnOnce(&mut Agent, Millis)) {
        let Some(mut agent) = self.nodes[number].agent.take() else {
            return;
        };
        act(&mut agent, Millis(self.now));
        self.pump(number, agent);
    }

    /// Does everything that the agent wants done at this moment, and puts it back.
    fn pump(&mut self, number: usize, mut agent: Agent) {
        let mut passes = 0;
        loop {
            while let Some(output) = agent.session.as_mut().and_then(Session::poll) {
                self.agent_output(number, &mut agent, output);
            }
            let cleared = agent.session.as_ref().and_then(Session::cleared);
            agent.dirty |= std::mem::replace(&mut agent.cleared, cleared) != cleared;
            if !agent.dirty || agent.holding || agent.session.is_none() {
                break;
            }
            passes += 1;
            assert!(
                passes < PASSES_MAX,
                "the planner of node {number} never settles"
            );
            self.pass(number, &mut agent);
        }
        let session = agent
            .session
            .as_ref()
            .and_then(Session::next_wake)
            .map(|wake| wake.0);
        let wake = [session, agent.plan_wake].into_iter().flatten().min();
        if let Some(wake) = wake {
            let life = self.nodes[number].life;
            self.arm_timer(number + 1, life, wake);
        }
        self.nodes[number].agent = Some(agent);
    }
}

fn dropped(counters: &bramble_agent_core::session::Counters) -> u64 {
    counters.oversize
        + counters.topic
        + counters.malformed
        + counters.signature
        + counters.recipient
        + counters.replay
}
