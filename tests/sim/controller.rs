//! The controller's process around the real node link, with a small model of store, controllers and
//! scheduler, and the people who use it.

mod events;
mod power;
mod store;
mod user;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bramble_controller_core::nodelink::{
    Compiled, Config, Event as LinkEvent, Limits, NodeKeys, NodeLink, Objects, Output, Presence,
    Recovered, Report,
};
use bramble_wire::clock::Millis;
use bramble_wire::document::{Digest, IndexEntry, digest};
use bramble_wire::name::ClusterId;
use bramble_wire::object::{
    Cidr, ConfigMap, Container, EnvValue, EnvVar, NodeConfig, Object, ObjectId, ObjectName, Pod,
    PodUid, RestartPolicy, SecretData, Stop,
};
use bramble_wire::publish::Publish;
use bramble_wire::report::Phase;
use bramble_wire::version::{Boot, HistoryId};
use bramble_wire::{SigningKey, VerifyingKey};

use super::Mutation;
use super::disk::{Disk, WriteId};
use super::network::Packet;
use super::rng::Rng;
use super::stats::Invariant;
use super::world::{Event, World};

pub use store::{PodObject, Source, Store, UserOperation, expected_digest};

use store::Workload;

/// Revisions are reserved on disk in blocks; a start continues at the next.
const BLOCK: u64 = 1 << 20;
/// How every secret begins.
pub const SECRET_MARK: &[u8] = b"SECRET:";
/// A Deployment's pod is replaced when its node was away for so long.
const TOLERATION_MS: u64 = 40_000;

/// The controller's board.
#[derive(Debug)]
pub struct Controller {
    /// Its disk.
    pub disk: Disk<Store>,
    identity: SigningKey,
    cluster: ClusterId,
    /// Counts lives of its process.
    pub life: u32,
    process: Option<Process>,
    backups: Vec<Store>,
    /// The backup that was restored last.
    restored: Option<Store>,
}

#[derive(Debug)]
struct Process {
    link: Option<NodeLink>,
    store: Store,
    waiters: Vec<(WriteId, Waiter)>,
    sync_due: bool,
    /// The epoch does not rise any more by itself.
    braked: bool,
    /// What nodes report softly.
    phases: BTreeMap<PodUid, Phase>,
    /// What nodes run and the store does not know.
    strays: BTreeMap<usize, BTreeSet<PodUid>>,
    /// Events that each node's session has told.
    told: BTreeMap<usize, BTreeSet<String>>,
    away: BTreeMap<usize, u64>,
}

#[derive(Debug)]
enum Waiter {
    Start,
    Person(u64),
    Report(usize, u64, Vec<PodUid>),
    Epoch(u64, HistoryId),
}

impl Controller {
    /// A controller that was never started, and is off.
    pub fn new(rng: &mut Rng) -> Self {
        let store = Store {
            revision: 1 << 40,
            boot: 0,
            epoch: 1,
            history: HistoryId(rng.bytes()),
            lives: Vec::new(),
            confirmed_epoch: 1,
            workloads: BTreeMap::new(),
            pods: BTreeMap::new(),
            configs: BTreeMap::new(),
            secrets: BTreeMap::new(),
            had: Arc::default(),
        };
        Self {
            disk: Disk::new(store),
            identity: SigningKey::from_bytes(&rng.bytes()),
            cluster: ClusterId::new("sim").expect("a label"),
            life: 0,
            process: None,
            backups: Vec::new(),
            restored: None,
        }
    }

    /// Verifies what it says.
    pub fn public(&self) -> VerifyingKey {
        self.identity.verifying_key()
    }

    /// Signs what it says; only for a mutated agent.
    pub fn identity(&self) -> &SigningKey {
        &self.identity
    }

    /// Whether its process runs.
    pub fn is_running(&self) -> bool {
        self.link().is_some()
    }

    /// The machine under test.
    pub fn link(&self) -> Option<&NodeLink> {
        self.process.as_ref()?.link.as_ref()
    }

    /// The store as the running process sees it.
    pub fn store(&self) -> Option<&Store> {
        self.process.as_ref().map(|process| &process.store)
    }

    /// The phase of a pod as last reported, for convergence.
    pub fn phase(&self, uid: &PodUid) -> Option<Phase> {
        self.process.as_ref()?.phases.get(uid).copied()
    }

    /// Whether some node runs what the store does not know.
    pub fn has_strays(&self) -> bool {
        let process = self.process.as_ref();
        process.is_some_and(|process| process.strays.values().any(|pods| !pods.is_empty()))
    }

    /// A workload that has not the pods it should have, for convergence.
    pub fn missing_pods(&self) -> Option<String> {
        let store = self.store()?;
        store.workloads.iter().find_map(|(name, workload)| {
            // What has ended counts for a Job only.
            let job = workload.policy != RestartPolicy::Always;
            let its = store.pods.values().filter(|pod| pod.workload == *name);
            let counts = |pod: &&PodObject| !pod.deleting && (job || pod.ended.is_none());
            let count = its.filter(counts).count();
            let wanted = workload.replicas;
            (count != wanted).then(|| format!("{name} has {count} of {wanted} pods"))
        })
    }

    /// Its last will.
    pub fn offline(&self) -> Publish {
        self.link()
            .expect("only a running controller connects")
            .offline()
    }
}

impl World {
    /// The controller's process starts: its boot number, and a new block of revisions, before
    /// anything else.
    pub fn start_controller(&mut self) {
        if self.controller.process.is_some() {
            return;
        }
        let controller = &mut self.controller;
        controller.life += 1;
        let mut store = controller.disk.newest().clone();
        let acknowledged = self.oracle.acknowledged_revision;
        let kept = store.revision >= acknowledged;
        let revision = store.revision;
        store.boot += 1;
        // Not where a life begins that starts from a copy of this disk.
        let spread = self.rng.store.within(0, BLOCK / 2);
        store.revision = (store.revision / BLOCK + 2) * BLOCK + spread;
        store.lives.push(Recovered {
            top: revision,
            start: store.revision,
        });
        let write = controller.disk.write(store.clone());
        controller.process = Some(Process {
            link: None,
            store,
            waiters: vec![(write, Waiter::Start)],
            sync_due: true,
            braked: false,
            phases: BTreeMap::new(),
            strays: BTreeMap::new(),
            told: BTreeMap::new(),
            away: BTreeMap::new(),
        });
        if acknowledged > 0 {
            self.check(Invariant::Acknowledged, kept, || {
                format!("revision {acknowledged} was acknowledged, the disk has {revision}")
            });
        }
        self.sync_controller(write);
    }

    fn sync_controller(&mut self, write: WriteId) {
        let delay = self.rng.disk[0].within(1, 40);
        let life = self.controller.life;
        if self.wrote(0, delay) {
            self.after(delay, Event::Synced(0, life, write));
        }
    }

    /// A write of the controller is on disk.
    pub fn controller_synced(&mut self, life: u32, upto: WriteId) {
        if self.controller.life != life {
            return;
        }
        self.controller.disk.sync(upto);
        let Some(mut process) = self.controller.process.take() else {
            return;
        };
        process.sync_due = false;
        let waiters = std::mem::take(&mut process.waiters);
        let (done, waiting) = waiters.into_iter().partition(|(write, _)| *write <= upto);
        process.waiters = waiting;
        for (_, waiter) in done {
            self.controller_resumes(&mut process, waiter);
        }
        if process.link.is_some() {
            self.compile_all(&mut process);
        }
        if self.rng.disk[0].percent(3) {
            let backup = self.controller.disk.durable().clone();
            self.controller.backups.push(backup);
        }
        if self.controller.disk.is_dirty() {
            process.sync_due = true;
            let last = self.controller.disk.last();
            self.sync_controller(last);
        }
        self.pump_controller(process);
    }

    fn controller_resumes(&mut self, process: &mut Process, waiter: Waiter) {
        match waiter {
            Waiter::Start => self.controller_started(process),
            Waiter::Person(revision) => {
                let acknowledged = &mut self.oracle.acknowledged_revision;
                *acknowledged = revision.max(*acknowledged);
            }
            Waiter::Report(node, number, gone) => self.acknowledge(process, node, number, gone),
            Waiter::Epoch(epoch, history) => {
                self.stats.raised += 1;
                self.note(|| format!("epoch {epoch}"));
                if let Some(link) = &mut process.link {
                    link.handle_epoch(epoch, history, Millis(self.now));
                }
                self.confirm_soon();
            }
        }
    }

    fn controller_started(&mut self, process: &mut Process) {
        let store = &process.store;
        let config = Config {
            cluster: self.controller.cluster.clone(),
            identity: self.controller.identity.clone(),
            boot: Boot(store.boot),
            epoch: store.epoch,
            term: 1,
            history: store.history,
            recovered: match self.mutation {
                Some(Mutation::KnownGap) => Vec::new(),
                _ => store.lives.clone(),
            },
            limits: Limits::default(),
        };
        let now = Millis(self.now);
        let life = u64::from(self.controller.life);
        let seed = Rng::of(self.seed, "link", life).bytes();
        let mut link = NodeLink::new(config, &seed);
        link.set_clock(1_700_000_000 + (self.now / 1000) as i64);
        for number in 0..self.nodes.len() {
            if self.nodes[number].member {
                link.set_node(&self.nodes[number].name, self.keys(number), now);
            }
        }
        process.link = Some(link);
        let (boot, epoch) = (store.boot, store.epoch);
        self.note(|| format!("controller boot {boot} epoch {epoch}"));
        self.after(50, Event::Connect(0));
        if process.store.confirmed_epoch < epoch && epoch > 1 {
            self.confirm_soon();
        }
        let reconcile = UserOperation::Reconcile(self.controller.life);
        self.after(1_000, Event::User(reconcile));
    }

    fn keys(&self, number: usize) -> NodeKeys {
        let sealed_to = match self.mutation {
            Some(Mutation::WrongSealingKey) => 0,
            _ => number,
        };
        NodeKeys {
            identity: self.nodes[number].public(),
            sealing: self.nodes[sealed_to].sealing_public,
        }
    }

    /// A board is in the key table, with its keys.
    pub fn enrol(&mut self, number: usize) {
        let (name, keys) = (self.nodes[number].name.clone(), self.keys(number));
        self.with_controller(|link, now| link.set_node(&name, keys, now));
    }

    /// A board is not in the key table any more.
    pub fn leave(&mut self, number: usize) {
        let name = self.nodes[number].name.clone();
        if let Some(process) = &mut self.controller.process {
            process.strays.remove(&number);
            process.told.remove(&number);
        }
        self.with_controller(|link, _| link.remove_node(&name));
    }

    /// Documents follow from what is on disk.
    fn compile_all(&mut self, process: &mut Process) {
        let mutation = self.mutation;
        let store = match mutation {
            Some(Mutation::SendBeforeDurable) => process.store.clone(),
            _ => self.controller.disk.durable().clone(),
        };
        let Some(link) = &mut process.link else {
            return;
        };
        for (number, node) in self.nodes.iter().enumerate() {
            let mut objects = Objects::new();
            for (id, (revision, source)) in store.compile(number) {
                let compiled = match (source, &id) {
                    (Source::Plain(object), _) => Compiled::plain(revision, &object),
                    (Source::Secret(SecretData(data)), ObjectId::Secret(name))
                        if mutation == Some(Mutation::PlainSecrets) =>
                    {
                        let object = Object::ConfigMap(ConfigMap {
                            name: name.clone(),
                            data,
                        });
                        Compiled::plain(revision, &object)
                    }
                    (Source::Secret(data), _) => Compiled::secret(revision, &data),
                };
                objects.insert(id, compiled);
            }
            link.set_document(&node.name, objects, store.revision, Millis(self.now))
                .expect("the model's documents are small");
        }
    }

    /// Writes a change; `waiter` goes on when it is on disk.
    fn commit(&mut self, process: &mut Process, waiter: Option<Waiter>) {
        let write = self.controller.disk.write(process.store.clone());
        process.waiters.extend(waiter.map(|waiter| (write, waiter)));
        if !process.sync_due {
            process.sync_due = true;
            self.sync_controller(write);
        }
    }

    /// The controller is connected.
    pub fn controller_connected(&mut self) {
        self.with_controller(|link, now| link.handle_connected(now));
    }

    /// The controller's connection is dead.
    pub fn controller_disconnected(&mut self) {
        self.with_controller(|link, now| link.handle_disconnected(now));
    }

    /// The embedded broker lost a node.
    pub fn on_node_disconnected(&mut self, number: usize) {
        let name = self.nodes[number].name.clone();
        self.with_controller(|link, now| link.handle_node_disconnected(&name, now));
    }

    /// A timer of the controller is due.
    pub fn controller_timer(&mut self, life: u32) {
        if self.controller.life == life {
            self.with_controller(|link, now| link.handle_timeout(now));
        }
    }

    /// A packet reaches the controller.
    pub fn controller_packet(&mut self, packet: Packet) {
        let count = |link: &NodeLink| link.counters().dropped.values().sum::<u64>();
        let Some(before) = self.controller.link().map(count) else {
            return;
        };
        self.with_controller(|link, now| link.handle_packet(&packet.topic, &packet.payload, now));
        let after = self.controller.link().map(count).unwrap_or_default();
        if packet.forged {
            self.check(Invariant::Dropped, after == before + 1, || {
                format!(
                    "the controller took {} bytes on {}",
                    packet.payload.len(),
                    packet.topic
                )
            });
        }
    }

    fn with_controller(&mut self, act: impl FnOnce(&mut NodeLink, Millis)) {
        let Some(mut process) = self.controller.process.take() else {
            return;
        };
        if let Some(link) = &mut process.link {
            act(link, Millis(self.now));
        }
        self.pump_controller(process);
    }

    fn pump_controller(&mut self, mut process: Process) {
        if self.mutation == Some(Mutation::SendBeforeDurable) && process.link.is_some() {
            self.compile_all(&mut process);
        }
        let now = Millis(self.now);
        let strays = process.strays.values().any(|pods| !pods.is_empty());
        let store = self.controller.disk.durable();
        let confirmed = store.confirmed_epoch >= process.store.epoch;
        if let Some(link) = &mut process.link {
            let clear = link.all_confirmed() && confirmed && !strays;
            link.set_cleared(clear);
        }
        while let Some(output) = process.link.as_mut().and_then(|link| link.poll(now)) {
            match output {
                Output::Publish(publish) => {
                    self.check_publish(&publish);
                    self.publish(0, &publish);
                }
                Output::Event(event) => self.link_event(&mut process, event),
            }
        }
        if let Some(wake) = process.link.as_ref().and_then(|link| link.next_wake(now)) {
            let life = self.controller.life;
            self.arm_timer(0, life, wake.0);
        }
        self.controller.process = Some(process);
    }
}
