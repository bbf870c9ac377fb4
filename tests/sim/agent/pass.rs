//! The node's reconcile loop over a kernel that is played: passes, what they do, and what happens by itself.

use super::*;

/// Passes of the planner in one moment; more means that it never settles.
pub(super) const PASSES_MAX: u32 = 50;

pub(super) fn runs(pod: &ObservedPod) -> bool {
    pod.containers
        .values()
        .any(|container| matches!(container.run, Run::Running { .. }))
}

/// Bytes of a record in the state log, without its frame.
fn record_len(record: &plan::Record) -> usize {
    let memory = record.memory.as_ref();
    16 + memory.map_or(0, |memory| bramble_wire::encode(memory).len())
}

fn event(uid: PodUid, number: u64) -> PodEvent {
    PodEvent {
        uid,
        container: String::new(),
        warning: false,
        reason: "Pulled".into(),
        message: number.to_string(),
        at: UnixMs(0),
        count: 1,
    }
}

impl World {
    pub(super) fn desired(&self, number: usize, document: &Document) -> Desired {
        let node = &self.nodes[number];
        let open = |id: &ObjectId, revision, sealed: &bramble_wire::seal::Sealed| {
            node.open(id, revision, sealed)
        };
        if self.mutation == Some(Mutation::DropUnclaimed) {
            let objects = document.objects.iter();
            return Desired::from_objects(objects.map(|(id, o)| (id, o.revision, &*o.body)), open);
        }
        Desired::from_objects(document.effective(), open)
    }

    /// One pass: snapshot, plan, remember, act, report.
    pub(super) fn pass(&mut self, number: usize, agent: &mut Agent) {
        agent.dirty = false;
        let document = agent
            .session
            .as_ref()
            .and_then(|session| session.document().cloned());
        if let Some(document) = &document {
            let current = agent.desired.as_ref().map(|(version, _)| *version);
            if current != Some(document.version) {
                agent.desired = Some((document.version, self.desired(number, document)));
            }
        }
        let cleared = agent.session.as_ref().and_then(Session::cleared);
        if let Some((version, desired)) = &mut agent.desired {
            desired.cleared = cleared == Some(*version);
        }
        let offline = Desired::default();
        let stops = self.mutation == Some(Mutation::StopWhenOffline) && !agent.online;
        let desired = match &agent.desired {
            Some(_) if stops => Some(&offline),
            known => known.as_ref().map(|(_, desired)| desired),
        };
        let node = &self.nodes[number];
        let host = Host {
            name: node.name.to_string(),
            address: Some([10, 0, 0, number as u8]),
            ..Host::default()
        };
        let images = desired.map(|desired| desired.images()).unwrap_or_default();
        let present = ImageState::Present(Image {
            id: "sha256:1".into(),
            cmd: vec!["run".into()],
            ..Image::default()
        });
        let observed = Observed {
            pods: node.kernel.clone(),
            images: images
                .iter()
                .map(|image| ((*image).to_owned(), present.clone()))
                .collect(),
            pulls: Default::default(),
            busy: agent.busy.clone(),
            failures: BTreeMap::new(),
            evicted: BTreeMap::new(),
        };
        let moment = self.moment(number);
        let (memory, endings) = (&agent.state.memory, &agent.state.endings);
        let plan = plan::plan(desired, &host, &observed, memory, endings, moment);
        let hard = plan
            .records
            .iter()
            .any(|record| record.durability == Durability::Hard);
        let wrote = !plan.records.is_empty();
        let bytes: usize = plan.records.iter().map(record_len).sum();
        self.nodes[number].written.0 += bytes as u64;
        self.nodes[number].written.1 += u64::from(hard);
        for record in plan.records {
            match record.memory {
                Some(memory) => {
                    agent.state.memory.insert(record.uid, memory);
                }
                None => {
                    agent.state.memory.remove(&record.uid);
                    if self.mutation != Some(Mutation::ForgetEndings) {
                        agent.state.endings.note(record.uid);
                    }
                }
            }
        }
        let mut pods = reports(
            desired,
            &host,
            &observed,
            &agent.state.memory,
            &plan.waiting,
        );
        if self.mutation == Some(Mutation::DropEndings) {
            pods.retain(|_, pod| !pod.gone);
        }
        let wait = |wake: u64| self.now + wake.saturating_sub(moment.boot_ms);
        agent.plan_wake = plan.next_wake.map(wait);
        let observation = Observation {
            pods,
            names: Default::default(),
            converged: document
                .filter(|_| plan.converged && !wrote)
                .map(|document| document.version),
            uncleared: plan.uncleared,
            facts: NodeFacts {
                hostname: host.name,
                pods: 110,
                ..NodeFacts::default()
            },
        };
        agent.dirty = wrote;
        if hard && self.mutation != Some(Mutation::SayGoneEarly) {
            let write = self.nodes[number].disk.write(agent.state.clone());
            agent.holding = true;
            agent
                .waiters
                .push((write, Waiter::Pass(plan.actions, Box::new(observation))));
            self.sync_agent(number, write);
        } else {
            if wrote {
                self.write_lazily(number, agent);
            }
            self.carry_out(number, agent, plan.actions, observation);
        }
    }

    pub(super) fn carry_out(
        &mut self,
        number: usize,
        agent: &mut Agent,
        actions: Vec<Action>,
        observation: Observation,
    ) {
        let acting = agent
            .session
            .as_ref()
            .and_then(Session::document)
            .map(|d| d.version);
        let disk = &self.nodes[number].disk;
        let stored = disk
            .durable()
            .document
            .as_ref()
            .map(|document| document.version);
        if disk.is_dirty() && !actions.is_empty() {
            self.check(Invariant::DiskFirst, acting == stored, || {
                format!("node {number} acts on {acting:?}, its disk has {stored:?}")
            });
        }
        for action in actions {
            agent.busy.insert(action.uid());
            let (life, boot) = (self.nodes[number].life, self.nodes[number].kernel_boot);
            let delay = self.rng.kernel[number].within(5, 300);
            let done = KernelEvent::Done(life, Box::new(action));
            self.after(delay, Event::Kernel(number, boot, done));
        }
        let told = &mut self.nodes[number].told;
        *told += 1;
        let (uid, now) = (observation.pods.keys().next().copied(), Millis(self.now));
        let Some(session) = &mut agent.session else {
            return;
        };
        session.handle_observed(observation, now);
        // Each is another: the controller sees it when it hears one again.
        let told_of = event(uid.unwrap_or_default(), *told);
        if self.mutation == Some(Mutation::TellTwice) {
            session.handle_event(event(uid.unwrap_or_default(), *told - 1), now);
        }
        session.handle_event(told_of, now);
        let node = Amounts {
            cpu_nano: (*told % 7) * 1_000_000_000,
            memory_bytes: 0,
        };
        let usage = Usage {
            node,
            ..Usage::default()
        };
        session.handle_usage(usage, now);
    }

    /// Something happens in a node's kernel.
    pub fn kernel_event(&mut self, number: usize, boot: u32, event: KernelEvent) {
        if self.nodes[number].kernel_boot != boot {
            return;
        }
        match event {
            KernelEvent::Done(life, action) => {
                let same = self.nodes[number].life == life;
                // What a killed agent had begun may be finished by the shim, or not; never after the next agent looked:
                // a shim reads what the old one wrote before it answers the new one.
                let finished = same || self.rng.kernel[number].percent(50);
                if finished && (same || self.nodes[number].agent.is_none()) {
                    self.apply(number, &action);
                }
                if same && let Some(agent) = &mut self.nodes[number].agent {
                    agent.busy.remove(&action.uid());
                }
            }
            KernelEvent::Exit(uid, life, code) => self.exit(number, uid, life, code),
        }
        self.with_agent(number, |agent, _| agent.dirty = true);
    }

    pub(super) fn apply(&mut self, number: usize, action: &Action) {
        let uid = action.uid();
        match action {
            Action::StartSandbox(input) => {
                self.check_address(number, uid, input.network.map(|network| network.address));
                let fresh = ObservedPod {
                    sandbox: Sandbox::Ready,
                    containers: BTreeMap::new(),
                    files: None,
                };
                let pod = self.nodes[number].kernel.entry(uid).or_insert(fresh);
                pod.sandbox = Sandbox::Ready;
            }
            Action::WriteVolumes { .. } => {}
            Action::StartContainer(input) => {
                self.check_start(number, uid, &input.env);
                let started = self.moment(number);
                let container = ObservedContainer {
                    life: input.life,
                    id: input.id.clone(),
                    image: input.image.clone(),
                    image_id: input.image_id.clone(),
                    run: Run::Running {
                        started,
                        stopping: None,
                        health: None,
                    },
                };
                if let Some(pod) = self.nodes[number].kernel.get_mut(&uid) {
                    pod.containers.insert(input.name.clone(), container);
                    self.note(|| format!("node {number} runs {uid} life {}", input.life));
                    self.schedule_end(number, uid, input.life);
                }
            }
            Action::StopContainers { containers, .. } => {
                self.check_stop(number, uid);
                let Some(pod) = self.nodes[number].kernel.get_mut(&uid) else {
                    return;
                };
                let mut lives = Vec::new();
                for stop in containers {
                    let container = pod.containers.get_mut(&stop.container);
                    if let Some(ObservedContainer {
                        life,
                        run: Run::Running { stopping, .. },
                        ..
                    }) = container
                    {
                        *stopping = Some(Stopping {
                            grace_s: stop.grace_s,
                            held: stop.hold,
                        });
                        lives.push((*life, stop.grace_s));
                    }
                }
                for (life, grace_s) in lives {
                    self.schedule_exit(number, uid, life, (1, u64::from(grace_s) * 1000 + 50), 143);
                }
            }
            Action::StopSandbox { .. } | Action::RemovePod { .. } => {
                self.check_stop(number, uid);
                self.nodes[number].kernel.remove(&uid);
                self.nodes[number].addresses.remove(&uid);
            }
        }
    }

    /// Jobs end by themselves, and so does, rarely, everything.
    pub(super) fn schedule_end(&mut self, number: usize, uid: PodUid, life: u32) {
        let policy = self.oracle.policies.get(&uid).copied().unwrap_or_default();
        let rng = &mut self.rng.kernel[number];
        let (within, code) = match (self.oracle.lives.get(&uid), policy) {
            (Some((within, code)), _) => (*within, *code),
            (None, RestartPolicy::Always) if rng.percent(75) => return,
            (None, RestartPolicy::Always) => ((1_000, 120_000), 1),
            (None, RestartPolicy::OnFailure | RestartPolicy::Never) => {
                ((1_000, 90_000), i32::from(rng.percent(40)))
            }
        };
        self.schedule_exit(number, uid, life, within, code);
    }

    pub(super) fn schedule_exit(
        &mut self,
        number: usize,
        uid: PodUid,
        life: u32,
        ms: (u64, u64),
        code: i32,
    ) {
        let delay = self.rng.kernel[number].within(ms.0, ms.1);
        let boot = self.nodes[number].kernel_boot;
        self.after(
            delay,
            Event::Kernel(number, boot, KernelEvent::Exit(uid, life, code)),
        );
    }

    pub(super) fn exit(&mut self, number: usize, uid: PodUid, life: u32, code: i32) {
        let finished = self.moment(number);
        let Some(pod) = self.nodes[number].kernel.get_mut(&uid) else {
            return;
        };
        for container in pod
            .containers
            .values_mut()
            .filter(|container| container.life == life)
        {
            if let Run::Running { started, .. } = container.run {
                let exit = Exit {
                    code,
                    started,
                    finished,
                    ..Exit::default()
                };
                container.run = Run::Exited(exit);
            }
        }
    }
}
