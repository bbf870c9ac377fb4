//! The controller's process around the real node link, with a small model of store, controllers and
//! scheduler, and the people who use it.

use std::collections::{BTreeMap, BTreeSet};

use bramble_controller_core::nodelink::{
    Compiled, Config, Event as LinkEvent, Limits, NodeKeys, NodeLink, Objects, Output, Presence,
    Report,
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
use super::stats::{Fault, Invariant};
use super::world::{Event, World};

/// Revisions are reserved on disk in blocks; a start continues at the next.
const BLOCK: u64 = 1_000;
/// How every secret begins.
pub const SECRET_MARK: &[u8] = b"SECRET:";
/// A Deployment's pod is replaced when its node was away for so long.
const TOLERATION_MS: u64 = 40_000;

/// What the controller keeps on disk.
#[derive(Debug, Clone)]
pub struct Store {
    /// Newest revision: `epoch << 40 | n`.
    pub revision: u64,
    /// Starts of the process.
    pub boot: u64,
    /// Epoch.
    pub epoch: u64,
    /// History.
    pub history: HistoryId,
    /// Epoch whose differences a person confirmed.
    pub confirmed_epoch: u64,
    workloads: BTreeMap<String, Workload>,
    /// Pod objects.
    pub pods: BTreeMap<PodUid, PodObject>,
    configs: BTreeMap<String, (u64, u64)>,
    secrets: BTreeMap<String, (u64, [u8; 16])>,
}

#[derive(Debug, Clone, Copy)]
struct Workload {
    replicas: usize,
    policy: RestartPolicy,
    /// Its one pod must not run twice.
    once: bool,
}

/// A pod object; it is bound when it is made.
#[derive(Debug, Clone)]
pub struct PodObject {
    workload: String,
    /// Where it runs.
    pub node: usize,
    revision: u64,
    policy: RestartPolicy,
    once: bool,
    /// It has a deletion timestamp.
    pub deleting: bool,
    /// `Succeeded` or `Failed`.
    pub ended: Option<Phase>,
}

/// What a person does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserOperation {
    /// Something.
    Any,
    /// Confirm the differences after an epoch rose.
    Confirm,
    /// The controllers look at the world.
    Reconcile,
}

/// The controller's board.
#[derive(Debug)]
pub struct Controller {
    /// Its disk.
    pub disk: Disk<Store>,
    identity: SigningKey,
    cluster: ClusterId,
    life: u32,
    process: Option<Process>,
    backups: Vec<Store>,
}

#[derive(Debug)]
struct Process {
    link: Option<NodeLink>,
    store: Store,
    waiters: Vec<(WriteId, Waiter)>,
    sync_due: bool,
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
            confirmed_epoch: 0,
            workloads: BTreeMap::new(),
            pods: BTreeMap::new(),
            configs: BTreeMap::new(),
            secrets: BTreeMap::new(),
        };
        Self {
            disk: Disk::new(store),
            identity: SigningKey::from_bytes(&rng.bytes()),
            cluster: ClusterId::new("sim").expect("a label"),
            life: 0,
            process: None,
            backups: Vec::new(),
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
            let pods = store
                .pods
                .values()
                .filter(|pod| pod.workload == *name && !pod.deleting);
            let count = pods.count();
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

impl Store {
    fn next(&mut self) -> u64 {
        self.revision += 1;
        self.revision
    }

    /// The controller's way to compile a node's document, in miniature.
    pub fn compile(&self, node: usize) -> BTreeMap<ObjectId, (u64, Source)> {
        let mut out = BTreeMap::new();
        let address = [10, 42, node as u8, 0];
        let config = NodeConfig {
            pod_cidr: Cidr {
                address,
                prefix: 24,
            },
            confirmed_epoch: self.confirmed_epoch,
            ..NodeConfig::default()
        };
        out.insert(ObjectId::Node, (0, Source::Plain(Object::Node(config))));
        for (uid, pod) in self.pods.iter().filter(|(_, pod)| pod.node == node) {
            let name = named(&pod.workload);
            let object = Object::Pod(pod.compile(*uid));
            out.insert(ObjectId::Pod(*uid), (pod.revision, Source::Plain(object)));
            if let Some((revision, value)) = self.configs.get(&pod.workload) {
                // Large enough to be pulled in pieces, sometimes.
                let filler = vec![*value as u8; if *value % 8 == 0 { 40_000 } else { 0 }];
                let data = BTreeMap::from([
                    ("key".to_owned(), value.to_string().into_bytes()),
                    ("filler".to_owned(), filler),
                ]);
                let object = Object::ConfigMap(ConfigMap {
                    name: name.clone(),
                    data,
                });
                let id = ObjectId::ConfigMap(name.clone());
                out.insert(id, (*revision, Source::Plain(object)));
            }
            if let Some((revision, value)) = self.secrets.get(&pod.workload) {
                let mut data = BTreeMap::from([("key".to_owned(), value.to_vec())]);
                if value[15] < 24 {
                    data.insert("filler".into(), vec![value[15]; 40_000]);
                }
                out.insert(
                    ObjectId::Secret(name),
                    (*revision, Source::Secret(SecretData(data))),
                );
            }
        }
        out
    }
}

/// An object before it is compiled.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "few, and they do not wait")]
pub enum Source {
    /// For everybody.
    Plain(Object),
    /// For its node.
    Secret(SecretData),
}

fn named(workload: &str) -> ObjectName {
    ObjectName {
        namespace: "default".into(),
        name: workload.to_owned(),
    }
}

impl PodObject {
    fn compile(&self, uid: PodUid) -> Pod {
        let key = || (self.workload.clone(), "key".to_owned(), true);
        let (name, secret_key, optional) = key();
        let secret = EnvValue::SecretKey {
            name,
            key: secret_key,
            optional,
        };
        let (name, config_key, optional) = key();
        let config = EnvValue::ConfigMapKey {
            name,
            key: config_key,
            optional,
        };
        Pod {
            uid,
            name: ObjectName {
                namespace: "default".into(),
                name: format!("p-{uid}"),
            },
            hostname: "pod".into(),
            restart_policy: self.policy,
            termination_grace_s: 5,
            stop: self.deleting.then_some(Stop { grace_s: 5 }),
            containers: vec![Container {
                name: "main".into(),
                image: "app:1".into(),
                env: vec![
                    EnvVar {
                        name: "SECRET".into(),
                        value: secret,
                    },
                    EnvVar {
                        name: "CONFIG".into(),
                        value: config,
                    },
                ],
                ..Container::default()
            }],
            ..Pod::default()
        }
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
        store.revision = (store.revision / BLOCK + 1) * BLOCK;
        let write = controller.disk.write(store.clone());
        controller.process = Some(Process {
            link: None,
            store,
            waiters: vec![(write, Waiter::Start)],
            sync_due: true,
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
        let delay = self.rng.within(1, 40);
        let life = self.controller.life;
        self.after(delay, Event::Synced(0, life, write));
        self.wrote(0, delay);
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
        if self.rng.percent(3) {
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
            limits: Limits::default(),
        };
        let now = Millis(self.now);
        let mut link = NodeLink::new(config, &self.rng.bytes());
        link.set_clock(1_700_000_000 + (self.now / 1000) as i64);
        for node in &self.nodes {
            let keys = NodeKeys {
                identity: node.public(),
                sealing: node.sealing_public,
            };
            link.set_node(&node.name, keys, now);
        }
        process.link = Some(link);
        let (boot, epoch) = (store.boot, store.epoch);
        self.note(|| format!("controller boot {boot} epoch {epoch}"));
        self.after(50, Event::Connect(0));
        if process.store.confirmed_epoch < epoch && epoch > 1 {
            self.confirm_soon();
        }
        self.after(1_000, Event::User(UserOperation::Reconcile));
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

    fn link_event(&mut self, process: &mut Process, event: LinkEvent) {
        match event {
            LinkEvent::Report(report) => self.report(process, report),
            LinkEvent::Presence { node, presence } => {
                let Some(number) = self.node_number(&node) else {
                    return;
                };
                self.note(|| format!("node {number} is {presence:?}"));
                match presence {
                    Presence::Ready => process.away.remove(&number),
                    _ => process.away.insert(number, self.now),
                };
            }
            LinkEvent::RaiseEpoch {
                epoch,
                history,
                seen,
                ..
            } => {
                self.note(|| format!("unknown future {seen}"));
                if self.mutation == Some(Mutation::IgnoreFuture) {
                    return;
                }
                process.store.epoch = epoch;
                process.store.history = history;
                process.store.revision = process.store.revision.max(epoch << 40);
                self.commit(process, Some(Waiter::Epoch(epoch, history)));
            }
            // They do not change here, so it is a new session.
            LinkEvent::Facts { node, .. } => {
                if let Some(number) = self.node_number(&node) {
                    process.told.remove(&number);
                }
            }
            LinkEvent::StreamOut { .. } | LinkEvent::Dropped { .. } => {}
        }
    }

    fn report(&mut self, process: &mut Process, report: Report) {
        let Some(number) = self.node_number(&report.node) else {
            return;
        };
        for event in &report.events {
            let told = process.told.entry(number).or_default();
            let new = told.insert(event.message.clone());
            self.check(Invariant::ToldOnce, new, || {
                format!("node {number} told {} twice", event.message)
            });
        }
        let mut gone = Vec::new();
        for pod in &report.pods {
            let strays = process.strays.entry(number).or_default();
            if !pod.gone && !process.store.pods.contains_key(&pod.uid) {
                strays.insert(pod.uid);
            } else {
                strays.remove(&pod.uid);
            }
            process.phases.insert(pod.uid, pod.phase);
            if pod.gone {
                gone.push(pod.uid);
                process.phases.remove(&pod.uid);
            }
            let Some(object) = process.store.pods.get_mut(&pod.uid) else {
                continue;
            };
            if object.node != number {
                continue;
            }
            if pod.gone {
                process.store.pods.remove(&pod.uid);
                process.store.next();
            } else if matches!(pod.phase, Phase::Succeeded | Phase::Failed)
                && object.ended.is_none()
            {
                object.ended = Some(pod.phase);
                process.store.next();
            }
        }
        if let Some(all) = &report.all {
            let strays = process.strays.entry(number).or_default();
            strays.retain(|uid| all.contains(uid));
        }
        if report.hard {
            if self.mutation == Some(Mutation::AckBeforeDurable) {
                self.acknowledge(process, number, report.number, gone);
                self.commit(process, None);
                return;
            }
            self.commit(process, Some(Waiter::Report(number, report.number, gone)));
        } else {
            self.acknowledge(process, number, report.number, gone);
        }
    }

    /// The report is taken: what it ended is on disk.
    fn acknowledge(
        &mut self,
        process: &mut Process,
        number: usize,
        report: u64,
        gone: Vec<PodUid>,
    ) {
        let durable = &self.controller.disk.durable().pods;
        if !gone.is_empty() {
            let there = gone.iter().find(|uid| durable.contains_key(uid)).copied();
            self.check(Invariant::AckDurable, there.is_none(), || {
                format!("{there:?} is acknowledged as gone, its object is still on disk")
            });
        }
        let name = self.nodes[number].name.clone();
        if let Some(link) = &mut process.link {
            link.handle_durable(&name, report, gone, Millis(self.now));
        }
    }

    /// The controller stops in one way or another, and starts again.
    pub fn stop_controller(&mut self, fault: Fault) {
        if self.controller.process.is_none() {
            return;
        }
        let restores = matches!(fault, Fault::Restore | Fault::OldDisk);
        if restores && self.controller.backups.is_empty() {
            return;
        }
        self.stats.fault(fault);
        self.note(|| fault.text().into());
        let controller = &mut self.controller;
        controller.process = None;
        controller.life += 1;
        match fault {
            Fault::ControllerKill => {}
            Fault::ControllerPower => {
                if controller.disk.power_cut(&mut self.rng) > 0 {
                    self.stats.fault(Fault::ControllerLoss);
                }
            }
            _ => {
                let chosen = self.rng.index(controller.backups.len());
                let mut backup = controller.backups[chosen].clone();
                controller.backups.truncate(chosen + 1);
                if fault == Fault::Restore {
                    backup.epoch += 1;
                    backup.history = HistoryId(self.rng.bytes());
                    backup.revision = backup.epoch << 40;
                }
                controller.disk.replace(backup);
                self.oracle_restored();
            }
        }
        if fault == Fault::ControllerKill || self.rng.percent(50) {
            self.close(0);
        } else {
            self.vanish(0);
        }
        let delay = self.rng.within(500, 60_000);
        self.after(delay, Event::Start(0));
    }

    /// People will do things, and controllers will look.
    pub fn schedule_user(&mut self) {
        self.after(4_000, Event::User(UserOperation::Any));
    }

    /// A person, or a controller, does something.
    pub fn user(&mut self, operation: UserOperation) {
        match operation {
            UserOperation::Any => {
                if self.faults.active {
                    let delay = self.rng.within(1_000, 9_000);
                    self.after(delay, Event::User(UserOperation::Any));
                    self.with_process(|world, process| world.change(process));
                }
            }
            UserOperation::Confirm => {
                self.with_process(|world, process| {
                    let confirmed = process.link.as_ref().is_some_and(NodeLink::all_confirmed);
                    if confirmed {
                        process.store.confirmed_epoch = process.store.epoch;
                        process.store.next();
                        world.commit(process, None);
                    } else {
                        world.after(30_000, Event::User(UserOperation::Confirm));
                    }
                });
                if self.controller.process.is_none() {
                    self.after(30_000, Event::User(UserOperation::Confirm));
                }
            }
            UserOperation::Reconcile => {
                let life = self.controller.life;
                self.with_process(|world, process| {
                    world.reconcile(process);
                    world.after(2_000, Event::User(UserOperation::Reconcile));
                });
                debug_assert_eq!(life, self.controller.life, "reconciling stops nothing");
            }
        }
    }

    /// A secret's value: marked, so that it is found wherever it goes.
    fn secret(&mut self) -> [u8; 16] {
        let mut value = self.rng.bytes::<16>();
        value[..SECRET_MARK.len()].copy_from_slice(SECRET_MARK);
        value
    }

    /// A person will look at what a new epoch changed.
    fn confirm_soon(&mut self) {
        let delay = self.rng.within(60_000, 180_000);
        self.after(delay, Event::User(UserOperation::Confirm));
    }

    fn with_process(&mut self, act: impl FnOnce(&mut Self, &mut Process)) {
        let Some(mut process) = self.controller.process.take() else {
            return;
        };
        if process.link.is_some() {
            act(self, &mut process);
        }
        self.pump_controller(process);
    }

    fn change(&mut self, process: &mut Process) {
        let store = &mut process.store;
        let names: Vec<String> = store.workloads.keys().cloned().collect();
        let chosen = self.rng.pick(&names).cloned();
        let choice = self.rng.within(0, 99);
        match (choice, chosen) {
            (0..=29, _) | (_, None) if names.len() < 6 => {
                let name = format!("w{}", self.rng.bits() % 100_000);
                let (policy, once) = match self.rng.index(5) {
                    0 => (RestartPolicy::Never, false),
                    1 => (RestartPolicy::OnFailure, false),
                    2 => (RestartPolicy::Always, true),
                    _ => (RestartPolicy::Always, false),
                };
                let replicas = if once {
                    1
                } else {
                    self.rng.within(1, 4) as usize
                };
                store.workloads.insert(
                    name.clone(),
                    Workload {
                        replicas,
                        policy,
                        once,
                    },
                );
                let revision = store.next();
                store
                    .configs
                    .insert(name.clone(), (revision, self.rng.bits()));
                let secret = self.secret();
                store.secrets.insert(name, (revision, secret));
            }
            (0..=44, Some(name)) => {
                if let Some(workload) = store.workloads.get_mut(&name)
                    && !workload.once
                {
                    workload.replicas = self.rng.within(0, 5) as usize;
                }
            }
            (45..=59, Some(name)) => {
                store.workloads.remove(&name);
                store.configs.remove(&name);
                store.secrets.remove(&name);
            }
            (60..=74, Some(name)) => {
                let revision = store.next();
                store.configs.insert(name, (revision, self.rng.bits()));
            }
            (75..=86, Some(name)) => {
                let revision = store.next();
                let secret = self.secret();
                store.secrets.insert(name, (revision, secret));
            }
            _ => {
                let uids: Vec<PodUid> = store.pods.keys().copied().collect();
                if let Some(pod) = self.rng.pick(&uids).and_then(|uid| store.pods.get_mut(uid)) {
                    pod.deleting = true;
                }
            }
        }
        let revision = process.store.next();
        if self.mutation == Some(Mutation::ConfirmBeforeDurable) {
            self.oracle.acknowledged_revision = revision;
            self.commit(process, None);
        } else {
            self.commit(process, Some(Waiter::Person(revision)));
        }
    }

    /// Deployment, Job, StatefulSet, scheduler and garbage collector in miniature.
    fn reconcile(&mut self, process: &mut Process) {
        let before = process.store.revision;
        let all_confirmed = process.link.as_ref().is_some_and(NodeLink::all_confirmed);
        let strays = process.strays.values().any(|pods| !pods.is_empty());
        let store = &mut process.store;
        let now = self.now;
        let away = |node: usize| {
            process
                .away
                .get(&node)
                .is_some_and(|at| now - at > TOLERATION_MS)
        };
        let replaces_once = self.mutation == Some(Mutation::ReplaceOnce);
        let mut changed = false;
        for pod in store.pods.values_mut().filter(|pod| !pod.deleting) {
            let orphan = !store.workloads.contains_key(&pod.workload);
            let lost = away(pod.node) && !pod.once && pod.ended.is_none();
            pod.deleting = orphan || lost;
            changed |= pod.deleting;
        }
        for (name, workload) in store.workloads.clone() {
            let its = |pod: &PodObject| pod.workload == name;
            let job = workload.policy != RestartPolicy::Always;
            let live: Vec<PodUid> = (store.pods.iter())
                .filter(|(_, pod)| its(pod))
                .filter(|(_, pod)| !pod.deleting && (job || pod.ended.is_none()))
                .filter(|(_, pod)| !(replaces_once && away(pod.node)))
                .map(|(uid, _)| *uid)
                .collect();
            let wanted = workload.replicas;
            if live.len() > wanted {
                for uid in &live[wanted..] {
                    if let Some(pod) = store.pods.get_mut(uid) {
                        pod.deleting = true;
                        changed = true;
                    }
                }
            }
            // What must not run twice is bound only when nothing of it can be anywhere.
            let free = !workload.once
                || replaces_once
                || (all_confirmed && !strays && !store.pods.values().any(its));
            for _ in live.len()..wanted {
                let node = self.rng.index(self.nodes.len());
                if !free || process.away.contains_key(&node) {
                    continue;
                }
                let uid = PodUid(self.rng.bytes());
                let revision = store.next();
                let pod = PodObject {
                    workload: name.clone(),
                    node,
                    revision,
                    policy: workload.policy,
                    once: workload.once,
                    deleting: false,
                    ended: None,
                };
                store.pods.insert(uid, pod);
                self.oracle.policies.insert(uid, workload.policy);
                if workload.once {
                    self.oracle.once.insert(uid, name.clone());
                }
            }
        }
        if self.mutation == Some(Mutation::RemoveBeforeGone) {
            changed |= store.pods.values().any(|pod| pod.deleting);
            store.pods.retain(|_, pod| !pod.deleting);
        }
        if changed || store.revision != before {
            store.next();
            self.commit(process, None);
        }
    }
}

/// The digest that a document compiled from this store must have.
pub fn expected_digest(compiled: &BTreeMap<ObjectId, (u64, Source)>) -> Digest {
    let mut index: Vec<IndexEntry> = compiled
        .iter()
        .map(|(id, (revision, source))| {
            let body = match source {
                Source::Plain(object) => bramble_wire::encode(object),
                Source::Secret(_) => Vec::new(),
            };
            IndexEntry::of(id.clone(), *revision, &body)
        })
        .collect();
    digest(&mut index)
}
