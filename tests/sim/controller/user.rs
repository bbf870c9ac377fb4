//! What users do, and the loop that follows from it.

use super::super::only::{Concern, Step};
use super::*;

impl World {
    /// People will do things, and controllers will look.
    pub fn schedule_user(&mut self) {
        self.after(4_000, Event::User(UserOperation::Change(0)));
    }

    /// A person, or a controller, does something.
    pub fn user(&mut self, operation: UserOperation) {
        match operation {
            UserOperation::Change(number) => {
                let concern = Concern::User;
                if let Some(mut rng) = self.turn(Step { concern, number }) {
                    self.with_process(|world, process| world.change(process, &mut rng));
                }
            }
            UserOperation::Confirm => {
                self.with_process(|world, process| {
                    if std::mem::take(&mut process.braked)
                        && let Some(link) = &mut process.link
                    {
                        link.handle_confirmed();
                    }
                    let confirmed = process.link.as_ref().is_some_and(NodeLink::all_confirmed);
                    if confirmed {
                        let epoch = process.store.epoch;
                        process.store.confirmed_epoch = epoch;
                        process.store.next();
                        let had = Arc::make_mut(&mut process.store.had);
                        // Whatever there is: a person has decided.
                        had.extend(world.oracle.policies.keys());
                        world.commit(process, None);
                    } else {
                        world.after(30_000, Event::User(UserOperation::Confirm));
                    }
                });
                if self.controller.process.is_none() {
                    self.after(30_000, Event::User(UserOperation::Confirm));
                }
            }
            UserOperation::Reconcile(life) if life == self.controller.life => {
                self.with_process(|world, process| {
                    world.reconcile(process);
                    let quiet = world.faults.is_quiet(world.now);
                    let delay = if quiet { 600_000 } else { 2_000 };
                    let again = UserOperation::Reconcile(life);
                    world.after(delay, Event::User(again));
                });
            }
            UserOperation::Reconcile(_) => {}
        }
    }

    /// A secret's value: marked, so that it is found wherever it goes.
    pub(super) fn secret(rng: &mut Rng) -> [u8; 16] {
        let mut value = rng.bytes::<16>();
        value[..SECRET_MARK.len()].copy_from_slice(SECRET_MARK);
        value
    }

    /// A person will look at what a new epoch changed.
    pub(super) fn confirm_soon(&mut self) {
        let delay = self.rng.store.within(60_000, 180_000);
        self.after(delay, Event::User(UserOperation::Confirm));
    }

    pub(super) fn with_process(&mut self, act: impl FnOnce(&mut Self, &mut Process)) {
        let Some(mut process) = self.controller.process.take() else {
            return;
        };
        if process.link.is_some() {
            act(self, &mut process);
        }
        self.pump_controller(process);
    }

    pub(super) fn change(&mut self, process: &mut Process, rng: &mut Rng) {
        let store = &mut process.store;
        let names: Vec<String> = store.workloads.keys().cloned().collect();
        let chosen = rng.pick(&names).cloned();
        let choice = rng.within(0, 99);
        match (choice, chosen) {
            (0..=29, _) | (_, None) if names.len() < 6 => {
                let name = format!("w{}", rng.bits() % 100_000);
                let (policy, once) = match rng.index(5) {
                    0 => (RestartPolicy::Never, false),
                    1 => (RestartPolicy::OnFailure, false),
                    2 => (RestartPolicy::Always, true),
                    _ => (RestartPolicy::Always, false),
                };
                let replicas = if once { 1 } else { rng.within(1, 4) as usize };
                store.workloads.insert(
                    name.clone(),
                    Workload {
                        replicas,
                        policy,
                        once,
                        lives: None,
                    },
                );
                let revision = store.next();
                store.configs.insert(name.clone(), (revision, rng.bits()));
                let secret = Self::secret(rng);
                store.secrets.insert(name, (revision, secret));
            }
            (0..=44, Some(name)) => {
                if let Some(workload) = store.workloads.get_mut(&name)
                    && !workload.once
                {
                    workload.replicas = rng.within(0, 5) as usize;
                }
            }
            (45..=59, Some(name)) => {
                store.workloads.remove(&name);
                store.configs.remove(&name);
                store.secrets.remove(&name);
            }
            (60..=74, Some(name)) => {
                let revision = store.next();
                store.configs.insert(name, (revision, rng.bits()));
            }
            (75..=86, Some(name)) => {
                let revision = store.next();
                let secret = Self::secret(rng);
                store.secrets.insert(name, (revision, secret));
            }
            _ => {
                let uids: Vec<PodUid> = store.pods.keys().copied().collect();
                if let Some(pod) = rng.pick(&uids).and_then(|uid| store.pods.get_mut(uid)) {
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

    /// A person makes a workload whose containers live so long, and end so.
    pub fn deploy(
        &mut self,
        name: &str,
        policy: RestartPolicy,
        replicas: usize,
        lives: Option<((u64, u64), i32)>,
    ) {
        self.with_process(|world, process| {
            let workload = Workload {
                replicas,
                policy,
                once: false,
                lives,
            };
            process.store.workloads.insert(name.to_owned(), workload);
            process.store.next();
            world.commit(process, None);
        });
    }

    /// Deployment, Job, StatefulSet, scheduler and garbage collector in miniature.
    pub(super) fn reconcile(&mut self, process: &mut Process) {
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
        // What was bound to a node that is no more.
        let nodes = &self.nodes;
        let lost = |pod: &PodObject| !nodes[pod.node].member;
        let forced: Vec<PodUid> = (store.pods.iter())
            .filter(|(_, pod)| lost(pod))
            .map(|(uid, _)| *uid)
            .collect();
        store.pods.retain(|_, pod| !lost(pod));
        let replaces_once = self.mutation == Some(Mutation::ReplaceOnce);
        let mut changed = !forced.is_empty();
        self.oracle.forced.extend(forced);
        for pod in store.pods.values_mut().filter(|pod| !pod.deleting) {
            let orphan = !store.workloads.contains_key(&pod.workload);
            let lost = away(pod.node) && !pod.once && pod.ended.is_none();
            // As a StatefulSet does; others only count what lives.
            let replaced = pod.once && pod.ended.is_some();
            pod.deleting = orphan || lost || replaced;
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
            let any = store.pods.values().any(its);
            let free = !workload.once || replaces_once || (all_confirmed && !strays && !any);
            for _ in live.len()..wanted {
                let node = self.rng.store.index(self.nodes.len());
                if !free || process.away.contains_key(&node) || !self.nodes[node].member {
                    continue;
                }
                let uid = PodUid(self.rng.store.bytes());
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
                Arc::make_mut(&mut store.had).insert(uid);
                self.oracle.policies.insert(uid, workload.policy);
                if let Some(lives) = workload.lives {
                    self.oracle.lives.insert(uid, lives);
                }
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
