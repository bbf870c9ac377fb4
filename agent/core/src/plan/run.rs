//! Bringing a pod up and keeping it so.

use bramble_wire::object::{Container, Pod, PullPolicy};

use super::absorb::restarts;
use super::{Action, Draft, Durability, Pass, PodNetwork, SandboxInput, running};
use crate::backoff;
use crate::container;
use crate::ipam;
use crate::memory::{ContainerMemory, Life};
use crate::observed::{Image, ImageState, ObservedPod, Run, Sandbox, Step};
use crate::volume::{self, VolumeInput};

/// What one container needs next.
enum Next {
    /// Nothing.
    Rest,
    /// Not now: a reason for people, and when to look again.
    Wait {
        reason: String,
        message: String,
        wake: Option<u64>,
    },
    /// This.
    Act(Box<Action>),
}

fn wait(reason: &str, message: impl Into<String>) -> Next {
    Next::Wait {
        reason: reason.into(),
        message: message.into(),
        wake: None,
    }
}

impl Pass<'_> {
    pub(super) fn plan_run(
        &mut self,
        draft: &mut Draft,
        pod: &Pod,
        seen: Option<&ObservedPod>,
    ) -> Option<Action> {
        if has_finished(draft, pod) {
            return finish(draft, seen);
        }
        if !self.ensure_address(draft, pod) {
            return None;
        }
        let volumes = match volume::compile(self.desired, pod) {
            Ok(volumes) => volumes,
            Err(error) => {
                self.creating(draft, pod, seen, &error.to_string());
                // What runs goes on with the files that it has.
                return None;
            }
        };
        match seen.map(|seen| seen.sandbox) {
            Some(Sandbox::Lost) => {
                self.unless_held_back(draft, pod, seen, |uid| Action::StopSandbox { uid })
            }
            None | Some(Sandbox::Stopped) => {
                let network = self.network_of(draft, pod);
                self.unless_held_back(draft, pod, seen, |uid| {
                    Action::StartSandbox(SandboxInput {
                        uid,
                        name: pod.name.clone(),
                        hostname: pod.hostname.clone(),
                        network,
                        host_aliases: pod.host_aliases.clone(),
                        volumes,
                    })
                })
            }
            Some(Sandbox::Ready { .. }) => self.plan_containers(draft, pod, seen, volumes),
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
        for container in &pod.containers {
            // One action at a time on a pod; the reasons of all are wanted all the same.
            match self.plan_container(draft, pod, container, seen, action.is_none()) {
                Next::Rest => {}
                Next::Act(next) => action = action.or(Some(*next)),
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
        action
    }

    fn plan_container(
        &mut self,
        draft: &mut Draft,
        pod: &Pod,
        container: &Container,
        seen: Option<&ObservedPod>,
        may_act: bool,
    ) -> Next {
        let known = (draft.memory.containers.get(&container.name)).cloned();
        let known = known.unwrap_or_default();
        if let Some(run) = running(seen, &container.name) {
            let surplus = run.life != known.lives || known.life != Life::Begun;
            let changed = run.image != container.image;
            let Run::Running { stopping_s, .. } = run.run else {
                return Next::Rest;
            };
            return match (surplus || changed, stopping_s) {
                (false, _) => Next::Rest,
                (true, None) if self.held_back(pod.uid).is_some() => wait(
                    "ContainerCreating",
                    "the container could not be stopped yet",
                ),
                (true, None) => Next::Act(Box::new(Action::StopContainer {
                    uid: pod.uid,
                    container: container.name.clone(),
                    life: run.life,
                    grace_s: if surplus { 0 } else { pod.termination_grace_s },
                })),
                (true, Some(_)) => wait("ContainerCreating", "the container is being stopped"),
            };
        }
        if let Life::Ended(end) = &known.life
            && !restarts(pod.restart_policy, end.exit_code)
        {
            return Next::Rest;
        }
        let delay_ms = match self.due(&known, container, pod, seen) {
            Ok(delay_ms) => delay_ms,
            Err(next) => return next,
        };
        let image = match self.image(container) {
            Ok(image) => image,
            Err(next) => return next,
        };
        let address = if pod.host_network {
            self.host.address
        } else {
            draft.memory.address
        };
        let input = container::compile(
            self.desired,
            self.host,
            pod,
            address,
            container,
            known.lives + 1,
            image,
        );
        let input = match input {
            Ok(input) => input,
            Err(error) => return wait(error.reason(), error.to_string()),
        };
        if !may_act {
            return wait("ContainerCreating", "");
        }
        let record = draft.memory.containers.entry(container.name.clone());
        let record = record.or_default();
        record.begin(image.id.clone());
        record.delay_ms = if known.lives == 0 {
            0
        } else {
            backoff::restart_after(delay_ms)
        };
        draft.mark(match (pod.restart_policy, known.lives) {
            // A container that must not run twice is known to have run before it does.
            (bramble_wire::object::RestartPolicy::Never, _) => Durability::Hard,
            (_, 0) => Durability::Soon,
            (_, _) => Durability::Ride,
        });
        Next::Act(Box::new(Action::StartContainer(Box::new(input))))
    }

    /// Whether the next life may begin now; with the delay that has been waited.
    fn due(
        &mut self,
        known: &ContainerMemory,
        container: &Container,
        pod: &Pod,
        seen: Option<&ObservedPod>,
    ) -> Result<u32, Next> {
        let failure = self.observed.failure(pod.uid, &container.name);
        if let Some(failure) = failure
            && let Step::Create { .. } = failure.step
        {
            let due = failure.retry_at();
            if self.now.boot_ms < due {
                return Err(Next::Wait {
                    reason: "CreateContainerError".into(),
                    message: failure.message.clone(),
                    wake: Some(due),
                });
            }
        }
        let last = seen
            .and_then(|seen| seen.containers.get(&container.name))
            .filter(|seen| seen.life == known.lives);
        let (ran_ms, finished_ms) = match (last.map(|last| &last.run), failure) {
            (Some(Run::Exited(exit)), _) => (
                exit.finished.boot_ms.saturating_sub(exit.started.boot_ms),
                exit.finished.boot_ms,
            ),
            (_, Some(failure)) if failure.step == (Step::Start { life: known.lives }) => {
                (0, failure.at.boot_ms)
            }
            // Nobody knows when it ended, so it is long enough ago.
            _ => return Ok(known.delay_ms),
        };
        let delay_ms = if ran_ms >= backoff::RESTART_RESET_MS {
            0
        } else {
            known.delay_ms
        };
        let due = finished_ms + u64::from(delay_ms);
        if self.now.boot_ms >= due {
            return Ok(delay_ms);
        }
        Err(Next::Wait {
            reason: "CrashLoopBackOff".into(),
            message: format!(
                "back-off {} restarting failed container={} pod={}",
                backoff::text(delay_ms),
                container.name,
                container::pod_text(pod)
            ),
            wake: Some(due),
        })
    }

    fn image(&self, container: &Container) -> Result<&Image, Next> {
        let name = &container.image;
        const ABSENT: &ImageState = &ImageState::Absent;
        match self.observed.images.get(name).unwrap_or(ABSENT) {
            ImageState::InvalidName(why) => Err(wait(
                "InvalidImageName",
                format!("Failed to apply default image tag {name:?}: {why}"),
            )),
            ImageState::Broken { reason, message } => Err(wait(reason, message.clone())),
            ImageState::Loading => {
                Err(wait("ContainerCreating", format!("loading image {name:?}")))
            }
            ImageState::Present(image) if container.pull_policy != PullPolicy::Always => Ok(image),
            ImageState::Absent if container.pull_policy == PullPolicy::Never => Err(wait(
                "ErrImageNeverPull",
                format!("Container image {name:?} is not present with pull policy of Never"),
            )),
            ImageState::Present(_) => Err(wait(
                "ImagePullBackOff",
                format!(
                    "Back-off pulling image {name:?}: ErrImagePull: this release does not pull from registries; the image is on the node: set imagePullPolicy to IfNotPresent"
                ),
            )),
            ImageState::Absent => Err(wait(
                "ImagePullBackOff",
                format!(
                    "Back-off pulling image {name:?}: ErrImagePull: this release does not pull from registries; load the image on the node"
                ),
            )),
        }
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
        for container in &pod.containers {
            let known = draft.memory.containers.get(&container.name);
            let finished = known.is_some_and(|known| is_final(known, pod));
            if !finished && running(seen, &container.name).is_none() {
                let name = Some(container.name.as_str());
                self.wait(pod.uid, name, "ContainerCreating", why.into());
            }
        }
    }
}

fn is_final(known: &ContainerMemory, pod: &Pod) -> bool {
    matches!(&known.life, Life::Ended(end) if !restarts(pod.restart_policy, end.exit_code))
}

fn has_finished(draft: &Draft, pod: &Pod) -> bool {
    !pod.containers.is_empty()
        && pod.containers.iter().all(|container| {
            (draft.memory.containers.get(&container.name)).is_some_and(|known| is_final(known, pod))
        })
}

/// All ended for good: the sandbox goes, the logs stay, and the address is free once the sandbox is
/// gone.
fn finish(draft: &mut Draft, seen: Option<&ObservedPod>) -> Option<Action> {
    match seen.map(|seen| seen.sandbox) {
        Some(Sandbox::Ready { .. } | Sandbox::Lost) => Some(Action::StopSandbox { uid: draft.uid }),
        Some(Sandbox::Stopped) | None => {
            if draft.memory.holds_address {
                draft.memory.holds_address = false;
                draft.mark(Durability::Hard);
            }
            None
        }
    }
}
