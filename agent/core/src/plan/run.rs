//! What a pod that should run needs next.
//!
//! ```text
//!  debug containers, each once
//!  init 0 ─▶ init 1 (sidecar) ─▶ … ─▶ main containers, all ─▶ all ended for good ─▶ sidecars end
//!   ended 0    started                                                              in reverse
//! ```
//!
//! Init containers run once in each sandbox, so once more after a reboot. Once a later one has
//! begun in it, an earlier one is not looked at again, except that a sidecar is kept running.

use bramble_wire::object::{Container, Pod, RestartPolicy};
use bramble_wire::report::UnixMs;

use super::life::Next;
use super::{Action, Draft, Durability, Pass, PodNetwork, SandboxInput, running};
use crate::ipam;
use crate::memory::{ContainerMemory, Kind, Life};
use crate::observed::{ObservedPod, Sandbox, Verdict};
use crate::volume::{self, VolumeInput};

/// Why nothing is done in a pod whose shim is silent.
const SILENT: &str = "the pod's shim does not answer; it is asked again";

/// Why a pod that must not run twice is not started.
const UNCLEARED: &str = "another copy of it may run elsewhere until every node has reported and the epoch is confirmed: bramble status";

impl Pass<'_> {
    pub(super) fn plan_run(
        &mut self,
        draft: &mut Draft,
        pod: &Pod,
        seen: Option<&ObservedPod>,
    ) -> Option<Action> {
        if draft.memory.verdict.is_none() && !has_finished(draft, pod) {
            self.judge(draft, pod);
        }
        if draft.memory.verdict.is_none() && !has_finished(draft, pod) {
            self.settle_doubt(draft, pod, seen);
        }
        if draft.memory.verdict.is_some() || has_finished(draft, pod) {
            return self.finish(draft, pod, seen);
        }
        if !self.ensure_cleared(draft, pod, seen) || !self.ensure_address(draft, pod) {
            return None;
        }
        let (condition, wake) = volume::expiring(self.desired, pod, self.now);
        let condition = condition.map(|condition| (pod.uid, condition));
        self.plan.conditions.extend(condition);
        if let Some(wake) = wake {
            self.wake_at(wake);
        }
        let address = self.address(draft, pod);
        let volumes = volume::compile(self.desired, self.host, pod, address);
        let why = self.unmounted(pod, volumes.errors);
        let volumes = volumes.inputs;
        match seen.map(|seen| seen.sandbox) {
            Some(Sandbox::Silent) => {
                self.creating(draft, pod, seen, SILENT);
                None
            }
            Some(Sandbox::Lost) => self.unless_held_back(draft, pod, seen, |uid| {
                Action::StopSandbox { uid, last: false }
            }),
            // What runs goes on with the files that it has.
            None | Some(Sandbox::Stopped) if !why.is_empty() => {
                self.creating(draft, pod, seen, &why);
                None
            }
            None | Some(Sandbox::Stopped) => {
                let network = self.network_of(draft, pod);
                let action = self.unless_held_back(draft, pod, seen, |uid| {
                    Action::StartSandbox(SandboxInput {
                        uid,
                        name: pod.name.clone(),
                        hostname: pod.hostname.clone(),
                        network,
                        host_aliases: pod.host_aliases.clone(),
                        share_process_namespace: pod.share_process_namespace,
                        host_pid: pod.host_pid,
                        host_ipc: pod.host_ipc,
                        sysctls: pod.sysctls.clone(),
                        resources: Box::new(crate::whole::resources(pod)),
                        storage: crate::whole::storage(pod),
                        volumes,
                    })
                });
                if action.is_some() {
                    begin_sandbox(draft, pod);
                }
                action
            }
            Some(Sandbox::Ready) => self.plan_containers(draft, pod, seen, volumes),
        }
    }

    /// Takes note of volumes that can't be made; all of them as one text.
    fn unmounted(&mut self, pod: &Pod, errors: Vec<volume::Error>) -> String {
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let of = errors.into_iter().map(|error| (pod.uid, error));
        self.plan.unmounted.extend(of);
        texts.join("; ")
    }

    /// Whether the pod has to go although nobody asked for it. Its record is on disk before.
    fn judge(&mut self, draft: &mut Draft, pod: &Pod) {
        let mut verdict = self.observed.evicted.get(&pod.uid).cloned();
        if let Some(deadline_s) = pod.active_deadline_s {
            let memory = &draft.memory;
            let active_ms = match self.now.boot_ms.checked_sub(memory.first_seen_boot_ms) {
                Some(ms) => ms,
                // The board has been started since; only the date can tell.
                None => difference_ms(memory.first_seen, self.now.unix),
            };
            let left_ms = (u64::from(deadline_s) * 1000).saturating_sub(active_ms);
            if left_ms == 0 {
                verdict = verdict.or_else(|| Some(past_deadline()));
            } else {
                self.wake_at(self.now.boot_ms + left_ms);
            }
        }
        if verdict.is_some() {
            draft.memory.verdict = verdict;
            draft.mark(Durability::Hard);
        }
    }

    fn plan_containers(
        &mut self,
        draft: &mut Draft,
        pod: &Pod,
        seen: Option<&ObservedPod>,
        volumes: Vec<VolumeInput>,
    ) -> Option<Action> {
        let written = seen.and_then(|seen| seen.files);
        if !volumes.is_empty() && written != Some(volume::digest(&volumes)) {
            return self.unless_held_back(draft, pod, seen, |uid| Action::WriteVolumes {
                uid,
                volumes,
            });
        }
        let mut action = None;
        for container in &pod.ephemeral_containers {
            let next = self.plan_container(draft, pod, container, seen, action.is_none());
            self.take(pod, container, next, &mut action);
        }
        let inits = &pod.init_containers;
        let done = |container: &Container| self.is_done(draft, container, seen);
        let initialized = is_initialized(draft, pod) || inits.last().is_none_or(done);
        let begun = inits
            .iter()
            .rposition(|container| in_this_sandbox(draft, container).is_some());
        let current = match begun {
            _ if initialized => inits.len(),
            Some(at) if done(&inits[at]) => at + 1,
            begun => begun.unwrap_or(0),
        };
        for (at, container) in inits.iter().enumerate() {
            if at > current {
                self.initializing(draft, pod, container, seen);
            } else if at == current || container.sidecar {
                let next = self.plan_container(draft, pod, container, seen, action.is_none());
                self.take(pod, container, next, &mut action);
            }
        }
        for container in &pod.containers {
            if !initialized {
                self.initializing(draft, pod, container, seen);
                continue;
            }
            let next = self.plan_container(draft, pod, container, seen, action.is_none());
            self.take(pod, container, next, &mut action);
        }
        action
    }

    /// One action at a time on a pod; the reasons of all are wanted all the same.
    fn take(&mut self, pod: &Pod, container: &Container, next: Next, action: &mut Option<Action>) {
        match next {
            Next::Rest => {}
            Next::Act(next) => {
                if action.is_none() {
                    *action = Some(*next);
                }
            }
            Next::Wait {
                reason,
                message,
                wake,
            } => {
                // A container in back-off has been carried out, one not started has not.
                self.plan.converged &= reason == "CrashLoopBackOff";
                self.wait(pod.uid, Some(&container.name), &reason, message);
                if let Some(wake) = wake {
                    self.wake_at(wake);
                }
            }
        }
    }

    /// An init container has ended well in this sandbox; a sidecar has started.
    fn is_done(&self, draft: &Draft, container: &Container, seen: Option<&ObservedPod>) -> bool {
        let Some(known) = in_this_sandbox(draft, container) else {
            return false;
        };
        if !container.sidecar {
            return matches!(&known.life, Life::Ended(end) if end.exit_code == 0);
        }
        running(seen, &container.name).is_some_and(|seen| {
            let health = super::health(container, &seen.run);
            seen.life == known.lives && health.hooked && health.started
        })
    }

    /// A container waits for the init containers.
    fn initializing(
        &mut self,
        draft: &Draft,
        pod: &Pod,
        container: &Container,
        seen: Option<&ObservedPod>,
    ) {
        self.plan.converged = false;
        if !is_over(draft, pod, container) && running(seen, &container.name).is_none() {
            self.wait(pod.uid, Some(&container.name), creating(pod), String::new());
        }
    }

    /// Where the memory has gaps, a pod that is not started again after its end may have come to it. One that
    /// runs has not, and nobody can say of the others: they have failed, for the controller to replace.
    fn settle_doubt(&mut self, draft: &mut Draft, pod: &Pod, seen: Option<&ObservedPod>) {
        if !self.desired.doubted || !may_have_ended(pod) || draft.memory.cleared {
            return;
        }
        match seen.map(|seen| seen.sandbox) {
            Some(Sandbox::Ready | Sandbox::Silent) => draft.memory.cleared = true,
            Some(Sandbox::Lost | Sandbox::Stopped) | None => {
                draft.memory.verdict = Some(state_lost());
            }
        }
        draft.mark(Durability::Hard);
    }

    /// What must not run twice is started only when a copy of it can't be running on another node; the
    /// record of that is hard, so that the board may start it again by itself. What runs goes on.
    fn ensure_cleared(&mut self, draft: &mut Draft, pod: &Pod, seen: Option<&ObservedPod>) -> bool {
        if !pod.once || draft.memory.cleared {
            return true;
        }
        let runs = seen.is_some_and(|seen| seen.sandbox != Sandbox::Stopped);
        if self.desired.cleared || runs {
            draft.memory.cleared = true;
            draft.mark(Durability::Hard);
            return true;
        }
        self.plan.converged = false;
        self.plan.uncleared = true;
        for container in pod.all_containers() {
            let name = Some(container.name.as_str());
            self.wait(pod.uid, name, "NotCleared", UNCLEARED.into());
        }
        false
    }

    /// Gives the pod an address if it has none; the record of it is hard.
    fn ensure_address(&mut self, draft: &mut Draft, pod: &Pod) -> bool {
        if pod.host_network || (draft.memory.address.is_some() && draft.memory.holds_address) {
            return true;
        }
        let cidr = self.desired.node.pod_cidr;
        match ipam::allocate(cidr, pod.uid, &self.taken) {
            Some(address) => {
                self.taken.insert(address);
                draft.memory.address = Some(address);
                draft.memory.holds_address = true;
                draft.mark(Durability::Hard);
                true
            }
            None => {
                self.plan.converged = false;
                let message = format!("no free address in the node's range {cidr}");
                self.wait(pod.uid, None, "FailedCreatePodSandBox", message);
                false
            }
        }
    }

    fn network_of(&self, draft: &Draft, pod: &Pod) -> Option<PodNetwork> {
        let cidr = self.desired.node.pod_cidr;
        let address = draft.memory.address.filter(|_| !pod.host_network)?;
        Some(PodNetwork {
            address,
            prefix: cidr.prefix,
            gateway: ipam::gateway(cidr),
        })
    }

    fn unless_held_back(
        &mut self,
        draft: &Draft,
        pod: &Pod,
        seen: Option<&ObservedPod>,
        action: impl FnOnce(bramble_wire::object::PodUid) -> Action,
    ) -> Option<Action> {
        let held = self.held_back(pod.uid);
        let why = held.map_or("", |failure| failure.message.as_str());
        self.creating(draft, pod, seen, why);
        held.is_none().then(|| action(pod.uid))
    }

    /// Every container that does not run waits for the pod's own things.
    fn creating(&mut self, draft: &Draft, pod: &Pod, seen: Option<&ObservedPod>, why: &str) {
        self.plan.converged = false;
        for container in pod.all_containers() {
            if !is_over(draft, pod, container) && running(seen, &container.name).is_none() {
                let name = Some(container.name.as_str());
                self.wait(pod.uid, name, creating(pod), why.into());
            }
        }
    }
}

/// The reason of a container that nothing is wrong with but that it does not run yet.
pub(super) fn creating(pod: &Pod) -> &'static str {
    match pod.init_containers.is_empty() {
        true => "ContainerCreating",
        false => "PodInitializing",
    }
}

/// Whether a pod comes to an end of its own, after which it is another pod's turn. The board's own pods have no
/// others after them.
pub(super) fn may_have_ended(pod: &Pod) -> bool {
    pod.restart_policy != RestartPolicy::Always && !pod.uid.is_static()
}

/// The end of a pod of which nobody can say whether it came to one.
fn state_lost() -> Verdict {
    Verdict {
        reason: "StateLost".into(),
        message: "the node's state was damaged and the pod may have come to its end: it is not started a \
                  second time"
            .into(),
        grace_s: None,
    }
}

/// Upstream's words.
fn past_deadline() -> Verdict {
    Verdict {
        reason: "DeadlineExceeded".into(),
        message: "Pod was active on the node longer than the specified deadline".into(),
        grace_s: None,
    }
}

fn difference_ms(from: UnixMs, to: UnixMs) -> u64 {
    u64::try_from(to.0.saturating_sub(from.0)).unwrap_or(0)
}

/// What is remembered of a container that has begun in this sandbox.
fn in_this_sandbox<'a>(draft: &'a Draft, container: &Container) -> Option<&'a ContainerMemory> {
    let known = draft.memory.containers.get(&container.name)?;
    (known.sandbox == draft.memory.sandbox && known.life != Life::None).then_some(known)
}

/// It has ended and does not run again in this sandbox.
pub(super) fn is_over(draft: &Draft, pod: &Pod, container: &Container) -> bool {
    let known = match kind_of(pod, container) {
        Kind::Init => in_this_sandbox(draft, container),
        _ => draft.memory.containers.get(&container.name),
    };
    known.is_some_and(|known| known.has_finished(pod.restart_policy))
}

/// The init containers have run: a main container has begun after them.
fn is_initialized(draft: &Draft, pod: &Pod) -> bool {
    (pod.containers.iter()).any(|container| in_this_sandbox(draft, container).is_some())
}

/// What ran in the sandbox before does not count in this one. Only where it makes a difference.
fn begin_sandbox(draft: &mut Draft, pod: &Pod) {
    let init = || pod.init_containers.iter();
    if init().any(|container| in_this_sandbox(draft, container).is_some()) {
        draft.memory.sandbox += 1;
        // Init containers taken for done that are not would be worse than a write.
        draft.mark(Durability::Hard);
    }
}

fn has_finished(draft: &Draft, pod: &Pod) -> bool {
    let known = |container: &Container| draft.memory.containers.get(&container.name);
    let finished = |container: &Container| {
        known(container).is_some_and(|known| known.has_finished(pod.restart_policy))
    };
    let failed = |container: &Container| {
        in_this_sandbox(draft, container)
            .is_some_and(|known| matches!(&known.life, Life::Ended(end) if end.exit_code != 0))
    };
    // A failed init container ends a pod that never restarts anything.
    let init_failed = pod.restart_policy == RestartPolicy::Never
        && !is_initialized(draft, pod)
        && (pod.init_containers.iter()).any(|container| !container.sidecar && failed(container));
    init_failed || (!pod.containers.is_empty() && pod.containers.iter().all(finished))
}

/// For the record of a life.
pub(super) fn kind_of(pod: &Pod, container: &Container) -> Kind {
    Kind::of(pod, &container.name).unwrap_or_default()
}
