//! A toy node: carries plans out at once and complains when a plan breaks a rule that must hold.

use std::collections::{BTreeMap, BTreeSet};

use bramble_wire::object::{
    Cidr, ConfigMap, Container, EnvValue, EnvVar, NodeConfig, ObjectName, Pod, PodUid,
    RestartPolicy, Stop,
};

use crate::desired::{Desired, Host};
use crate::memory::{Endings, Life, Memory};
use crate::observed::{
    Exit, Failure, Health, Image, ImageState, Observed, ObservedContainer, ObservedPod, Run,
    Sandbox, Step, Stopping,
};
use crate::plan::{Action, Durability, Plan, StopInput, plan};
use crate::time::Moment;
use crate::volume;

pub(super) struct Toy {
    pub(super) desired: Option<Desired>,
    pub(super) observed: Observed,
    pub(super) memory: Memory,
    pub(super) endings: Endings,
    /// What would be left after a power cut.
    pub(super) disk: Memory,
    pub(super) now: Moment,
    pub(super) started: BTreeMap<(PodUid, String), Vec<u32>>,
    /// Init containers that ended well in the present sandbox.
    pub(super) inits_done: BTreeSet<(PodUid, String)>,
    /// Containers don't end when they are told to.
    pub(super) stubborn: bool,
}

pub(super) fn uid(n: u8) -> PodUid {
    PodUid([n; 16])
}

/// A pod `p<n>` with one container `c` from image `i`.
pub(super) fn pod(n: u8) -> Pod {
    Pod {
        uid: uid(n),
        name: ObjectName {
            namespace: "default".into(),
            name: format!("p{n}"),
        },
        hostname: format!("p{n}"),
        termination_grace_s: 30,
        containers: vec![container("c")],
        ..Pod::default()
    }
}

pub(super) fn container(name: &str) -> Container {
    Container {
        name: name.into(),
        image: "i".into(),
        ..Container::default()
    }
}

pub(super) fn with_policy(mut pod: Pod, policy: RestartPolicy) -> Pod {
    pod.restart_policy = policy;
    pod
}

pub(super) fn stopping(mut pod: Pod, grace_s: u32) -> Pod {
    pod.stop = Some(Stop { grace_s });
    pod
}

/// The pod's first container takes `KEY` from a ConfigMap.
pub(super) fn needing_config(mut pod: Pod, config_map: &str) -> Pod {
    pod.containers[0].env.push(EnvVar {
        name: "KEY".into(),
        value: EnvValue::ConfigMapKey {
            name: config_map.into(),
            key: "key".into(),
            optional: false,
        },
    });
    pod
}

pub(super) fn image() -> Image {
    Image {
        id: "sha256:1".into(),
        entrypoint: vec!["/bin/run".into()],
        ..Image::default()
    }
}

impl Toy {
    /// The runtime knows no container of a pod.
    pub(super) fn has_no_container(&mut self, pod: u8) {
        let pod = self.observed.pods.get_mut(&uid(pod));
        pod.expect("a pod that is observed").containers.clear();
    }

    pub(super) fn new(pods: impl IntoIterator<Item = Pod>) -> Self {
        let mut toy = Self {
            desired: Some(Desired {
                node: NodeConfig {
                    pod_cidr: Cidr {
                        address: [10, 42, 0, 0],
                        prefix: 24,
                    },
                    ..NodeConfig::default()
                },
                ..Desired::default()
            }),
            observed: Observed::default(),
            memory: Memory::default(),
            endings: Endings::default(),
            disk: Memory::default(),
            now: Moment::new(1_000_000, 1_700_000_000_000),
            started: BTreeMap::new(),
            inits_done: BTreeSet::new(),
            stubborn: false,
        };
        toy.observed
            .images
            .insert("i".into(), ImageState::Present(image()));
        toy.set(pods);
        toy
    }

    pub(super) fn document(&mut self) -> &mut Desired {
        self.desired.get_or_insert_default()
    }

    pub(super) fn set(&mut self, pods: impl IntoIterator<Item = Pod>) {
        self.document().pods = pods.into_iter().map(|pod| (pod.uid, pod)).collect();
    }

    pub(super) fn set_config(&mut self, name: &str, value: &str) {
        let name = ObjectName {
            namespace: "default".into(),
            name: name.into(),
        };
        let map = ConfigMap {
            name: name.clone(),
            data: [("key".to_owned(), value.as_bytes().to_vec())].into(),
        };
        self.document().config_maps.insert(name, map);
    }

    pub(super) fn plan(&self) -> Plan {
        let host = Host {
            name: "node".into(),
            address: Some([192, 0, 2, 1]),
            ..Host::default()
        };
        plan(
            self.desired.as_ref(),
            &host,
            &self.observed,
            &self.memory,
            &self.endings,
            self.now,
        )
    }

    /// One pass: the plan as text, then carried out.
    pub(super) fn pass(&mut self) -> Vec<String> {
        let plan = self.plan();
        let shown = show(&plan);
        self.carry_out(plan);
        shown
    }

    /// Passes until nothing is left to do; returns the actions.
    pub(super) fn settle(&mut self) -> Vec<String> {
        let mut actions = Vec::new();
        for _ in 0..200 {
            let plan = self.plan();
            if plan.actions.is_empty() && plan.records.is_empty() {
                return actions;
            }
            actions.extend(plan.actions.iter().map(show_action));
            self.carry_out(plan);
        }
        panic!("no end after 200 passes: {:?}", self.plan());
    }

    pub(super) fn advance(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
    }

    pub(super) fn exit(&mut self, n: u8, name: &str, code: i32) {
        let now = self.now;
        let seen = self.observed.pods.get_mut(&uid(n)).expect("pod");
        let seen = seen.containers.get_mut(name).expect("container");
        seen.run = Run::Exited(exit_of(&seen.run, code, now));
        if code == 0 {
            self.inits_done.insert((uid(n), name.to_owned()));
        }
    }

    /// Sets what hook and probes say of a container.
    pub(super) fn says(&mut self, n: u8, name: &str, change: impl FnOnce(&mut Health)) {
        let document = self.desired.as_ref().expect("document");
        let pod = &document.pods[&uid(n)];
        let spec = pod.all_containers().find(|one| one.name == name);
        let initial = Health::initial(spec.expect("container"));
        let seen = self.observed.pods.get_mut(&uid(n)).expect("pod");
        let Run::Running { health, .. } = &mut seen.containers.get_mut(name).expect("life").run
        else {
            panic!("{name} does not run");
        };
        change(health.get_or_insert(initial));
    }

    pub(super) fn runs(&self, n: u8, name: &str) -> bool {
        (self.observed.pods.get(&uid(n)))
            .and_then(|seen| seen.containers.get(name))
            .is_some_and(|seen| matches!(seen.run, Run::Running { .. }))
    }

    /// The agent is killed and comes back: what runs goes on. A count that was not on disk and of
    /// which nothing is left may be used again, except where a container must not run twice.
    pub(super) fn agent_restarts(&mut self) {
        self.memory = self.disk.clone();
        for ((uid, name), lives) in &mut self.started {
            let known = self.memory.get(uid);
            // A sidecar (`s…` here) may run twice whatever the policy.
            let never = known.is_some_and(|pod| pod.restart_policy == RestartPolicy::Never);
            if never && !name.starts_with('s') {
                continue;
            }
            let remembered = known
                .and_then(|pod| pod.containers.get(name))
                .map_or(0, |known| known.lives);
            let seen = (self.observed.pods.get(uid))
                .and_then(|pod| pod.containers.get(name))
                .map_or(0, |seen| seen.life);
            lives.retain(|life| *life <= remembered.max(seen));
        }
    }

    /// The power fails: only what is on disk comes back, and nothing runs.
    pub(super) fn power_cut(&mut self) {
        self.observed.pods.clear();
        self.observed.failures.clear();
        self.agent_restarts();
        self.now.boot_ms = 5_000;
    }

    fn carry_out(&mut self, plan: Plan) {
        let hard = (plan.records.iter()).any(|record| record.durability == Durability::Hard);
        for record in plan.records {
            if let (Some(old), Some(new)) = (self.memory.get(&record.uid), &record.memory) {
                assert!(
                    old.ending.is_none() || new.ending.is_some(),
                    "ending undone"
                );
                assert!(!old.gone || new.gone, "gone undone");
                for (name, old) in &old.containers {
                    assert!(new.containers[name].lives + 1 >= old.lives, "lives lost");
                }
            }
            match record.memory {
                Some(memory) => {
                    self.memory.insert(record.uid, memory);
                }
                None => {
                    self.memory.remove(&record.uid);
                    self.endings.note(record.uid);
                }
            }
        }
        if hard {
            self.disk = self.memory.clone();
        }
        // The power may fail between the records and the actions.
        self.check_addresses();
        let mut acted = BTreeSet::new();
        for action in plan.actions {
            assert!(acted.insert(action.uid()), "two actions on one pod");
            self.act(action);
        }
        self.check_addresses();
    }

    fn act(&mut self, action: Action) {
        let uid = action.uid();
        let now = self.now;
        match action {
            Action::StartSandbox(input) => {
                assert!(self.disk[&uid].ending.is_none(), "started while ending");
                let network = input.network.expect("no host network here");
                assert_eq!(
                    self.disk[&uid].address,
                    Some(network.address),
                    "address not on disk"
                );
                assert!(self.disk[&uid].holds_address, "address not held");
                self.inits_done.retain(|(of, _)| *of != uid);
                let containers = self
                    .observed
                    .pods
                    .get(&uid)
                    .map(|seen| seen.containers.clone())
                    .unwrap_or_default();
                let seen = ObservedPod {
                    sandbox: Sandbox::Ready,
                    containers,
                    files: Some(volume::digest(&input.volumes)),
                };
                self.observed.pods.insert(uid, seen);
            }
            Action::WriteVolumes { volumes, .. } => {
                let seen = self.observed.pods.get_mut(&uid).expect("sandbox");
                seen.files = Some(volume::digest(&volumes));
            }
            Action::StartContainer(input) => {
                let known = &self.memory[&uid].containers[&input.name];
                assert_eq!((known.lives, &known.life), (input.life, &Life::Begun));
                self.check_order(uid, &input.name);
                let image = &self.observed.images[&input.image];
                assert!(
                    matches!(image, ImageState::Present(_)),
                    "started without its image"
                );
                let seen = self.observed.pods.get_mut(&uid).expect("sandbox");
                assert_eq!(seen.sandbox, Sandbox::Ready);
                if let Some(old) = seen.containers.get(&input.name) {
                    assert!(matches!(old.run, Run::Exited(_)), "two lives at once");
                }
                let lives = self.started.entry((uid, input.name.clone())).or_default();
                assert!(lives.last() < Some(&input.life), "a life began twice");
                lives.push(input.life);
                let life = ObservedContainer {
                    life: input.life,
                    id: input.id,
                    image: input.image,
                    image_id: input.image_id,
                    run: Run::Running {
                        started: now,
                        stopping: None,
                        health: None,
                    },
                };
                seen.containers.insert(input.name, life);
            }
            Action::StopContainers { containers, .. } => {
                let seen = self.observed.pods.get_mut(&uid).expect("sandbox");
                for stop in containers {
                    let seen = seen.containers.get_mut(&stop.container).expect("container");
                    assert_eq!(seen.life, stop.life, "another life is stopped");
                    let Run::Running { stopping, .. } = &mut seen.run else {
                        panic!("what has ended is stopped");
                    };
                    if self.stubborn || stop.hold {
                        *stopping = Some(Stopping {
                            grace_s: stop.grace_s,
                            held: stop.hold,
                        });
                    } else {
                        seen.run = Run::Exited(exit_of(&seen.run, 143, now));
                    }
                }
            }
            Action::StopSandbox { .. } => {
                let seen = self.observed.pods.get_mut(&uid).expect("sandbox");
                seen.sandbox = Sandbox::Stopped;
                seen.containers
                    .retain(|_, seen| matches!(seen.run, Run::Exited(_)));
            }
            Action::RemovePod { .. } => {
                assert!(self.disk[&uid].ending.is_some(), "ending not on disk");
                self.observed.pods.remove(&uid);
            }
        }
    }

    /// Whatever comes before this container in the order of init containers is done.
    fn check_order(&self, uid: PodUid, name: &str) {
        let pod = &self.desired.as_ref().expect("document").pods[&uid];
        if (pod.ephemeral_containers.iter()).any(|container| container.name == name) {
            return;
        }
        let inits = &pod.init_containers;
        let place = inits.iter().position(|container| container.name == name);
        let sidecar = place.is_some_and(|at| inits[at].sidecar);
        for before in &inits[..place.unwrap_or(inits.len())] {
            let done = self.inits_done.contains(&(uid, before.name.clone()));
            let begun = self.started.contains_key(&(uid, before.name.clone()));
            // A sidecar may come back at any time after its first start.
            assert!(
                done || (before.sidecar && begun) || sidecar,
                "{name} before {}",
                before.name
            );
        }
    }

    /// No two pods that may use an address have the same, by what a power cut would leave.
    fn check_addresses(&self) {
        for memory in [&self.memory, &self.disk] {
            let held = memory.values().filter(|pod| pod.holds_address);
            let all: Vec<_> = held.filter_map(|pod| pod.address).collect();
            let distinct: BTreeSet<_> = all.iter().collect();
            assert_eq!(all.len(), distinct.len(), "an address given out twice");
        }
        for (uid, seen) in &self.observed.pods {
            if let (Sandbox::Ready, Some(pod)) = (seen.sandbox, self.memory.get(uid)) {
                assert!(
                    pod.holds_address || pod.address.is_none(),
                    "released while in use"
                );
            }
        }
    }
}

fn exit_of(run: &Run, code: i32, now: Moment) -> Exit {
    let started = match run {
        Run::Running { started, .. } => *started,
        Run::Exited(exit) => exit.started,
    };
    Exit {
        code,
        started,
        finished: now,
        ..Exit::default()
    }
}

pub(super) fn failure(step: Step, at: Moment, count: u32) -> Failure {
    Failure {
        step,
        message: "it broke".into(),
        at,
        count,
    }
}

/// A plan as text: one line for each thing it says.
pub(super) fn show(plan: &Plan) -> Vec<String> {
    let records = plan.records.iter().map(|record| {
        let pod = record.uid.0[0];
        let Some(memory) = &record.memory else {
            return format!("forget p{pod}");
        };
        let mut line = format!("remember p{pod}");
        if let Some(ending) = memory.ending {
            line += &format!(" ending={}", ending.grace_s);
        }
        if memory.gone {
            line += " gone";
        }
        for (name, container) in &memory.containers {
            line += &match &container.life {
                Life::None => format!(" {name}"),
                Life::Begun => format!(" {name}#{}", container.lives),
                Life::Ended(end) => {
                    format!(
                        " {name}#{}={} {}",
                        container.lives, end.exit_code, end.reason
                    )
                }
            };
        }
        format!("{line} ({:?})", record.durability)
    });
    let waiting = plan.waiting.iter().map(|waiting| {
        let whose = match &waiting.container {
            Some(container) => format!("p{}/{container}", waiting.uid.0[0]),
            None => format!("p{}", waiting.uid.0[0]),
        };
        format!("{whose} waits: {} {}", waiting.reason, waiting.message)
            .trim_end()
            .to_owned()
    });
    let mut lines: Vec<String> = records.collect();
    lines.extend(plan.actions.iter().map(show_action));
    lines.extend(waiting);
    lines.extend(plan.next_wake.map(|at| format!("wake {at}")));
    lines.extend(plan.converged.then(|| "converged".to_owned()));
    lines
}

fn show_action(action: &Action) -> String {
    let pod = action.uid().0[0];
    match action {
        Action::StartSandbox(_) => format!("start sandbox p{pod}"),
        Action::WriteVolumes { .. } => format!("write volumes p{pod}"),
        Action::StartContainer(input) => format!("start p{pod}/{}#{}", input.name, input.life),
        Action::StopContainers { containers, .. } => {
            let each = containers.iter().map(|stop| {
                let hook = stop.pre_stop.as_ref().map_or("", |_| " after its hook");
                let hold = if stop.hold {
                    " when its turn comes"
                } else {
                    ""
                };
                let StopInput {
                    container,
                    life,
                    grace_s,
                    ..
                } = stop;
                format!("stop p{pod}/{container}#{life} within {grace_s}{hook}{hold}")
            });
            each.collect::<Vec<_>>().join(", ")
        }
        Action::StopSandbox { .. } => format!("stop sandbox p{pod}"),
        Action::RemovePod { .. } => format!("remove p{pod}"),
    }
}
