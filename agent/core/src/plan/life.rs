//! What one container needs next.

use bramble_wire::object::{Container, Pod, Probe, RestartPolicy};

use super::run::{creating, is_over, kind_of};
use super::{Action, Draft, Durability, Pass, StopInput, health, running};
use crate::backoff;
use crate::container;
use crate::memory::{ContainerMemory, Kind, Life};
use crate::observed::{Cause, ObservedContainer, ObservedPod, Run, Step};

/// What one container needs next.
pub(super) enum Next {
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
    pub(super) fn plan_container(
        &mut self,
        draft: &mut Draft,
        pod: &Pod,
        container: &Container,
        seen: Option<&ObservedPod>,
        may_act: bool,
    ) -> Next {
        if let Some(run) = running(seen, &container.name) {
            return self.plan_running(draft, pod, container, run, may_act);
        }
        let known = (draft.memory.containers.get(&container.name)).cloned();
        let known = known.unwrap_or_else(|| ContainerMemory {
            kind: kind_of(pod, container),
            ..ContainerMemory::default()
        });
        if is_over(draft, pod, container) {
            return Next::Rest;
        }
        let delay_ms = match self.due(&known, container, pod, seen) {
            Ok(delay_ms) => delay_ms,
            Err(next) => return next,
        };
        let image = match self.image_of(pod, container, known.lives + 1) {
            Ok(image) => image,
            Err(none) => {
                return Next::Wait {
                    reason: match none.reason.as_str() {
                        "ContainerCreating" => creating(pod).into(),
                        _ => none.reason,
                    },
                    message: none.message,
                    wake: none.wake,
                };
            }
        };
        let input = container::compile(
            self.desired,
            self.host,
            pod,
            self.address(draft, pod),
            container,
            known.lives + 1,
            &image,
        );
        let mut input = match input {
            Ok(input) => input,
            Err(error) => return wait(error.reason(), error.to_string()),
        };
        if let Some(target) = &container.target {
            let Some(run) = running(seen, target) else {
                let message = format!("target container {target:?} is not running");
                return wait("CreateContainerError", message);
            };
            input.target = Some((target.clone(), run.life));
        }
        if !may_act {
            return wait(creating(pod), "");
        }
        let sandbox = draft.memory.sandbox;
        let record = draft.memory.containers.entry(container.name.clone());
        let record = record.or_default();
        record.begin(image.id.clone());
        record.kind = kind_of(pod, container);
        record.sandbox = sandbox;
        record.delay_ms = match (known.lives, delay_ms) {
            (0, _) => 0,
            (_, Some(waited)) => backoff::restart_after(waited),
            (_, None) => known.delay_ms,
        };
        draft.mark(match (runs_once(pod, container), known.lives) {
            // A container that must not run twice is known to have run before it does.
            (true, _) => Durability::Hard,
            (false, 0) => Durability::Soon,
            (false, _) => Durability::Ride,
        });
        Next::Act(Box::new(Action::StartContainer(Box::new(input))))
    }

    /// A container that runs: whether it has to be ended.
    fn plan_running(
        &mut self,
        draft: &mut Draft,
        pod: &Pod,
        container: &Container,
        run: &ObservedContainer,
        may_act: bool,
    ) -> Next {
        let known = (draft.memory.containers.get(&container.name)).cloned();
        let known = known.unwrap_or_default();
        let Run::Running { stopping, .. } = run.run else {
            return Next::Rest;
        };
        let kind = kind_of(pod, container);
        let surplus = run.life != known.lives || known.life != Life::Begun;
        let changed = run.image != container.image && kind != Kind::Ephemeral;
        let failed = health(container, &run.run).failed;
        let Some((grace_s, why)) = why_end(pod, container, surplus, changed, failed) else {
            return Next::Rest;
        };
        if stopping.is_some() {
            return wait(creating(pod), "the container is being stopped");
        }
        if self.held_back(pod.uid).is_some() {
            return wait(creating(pod), "the container could not be stopped yet");
        }
        if !may_act {
            return wait(creating(pod), "");
        }
        // What the node ends itself it starts again, however it takes it.
        let again = !surplus && failed != Some(Cause::PostStart);
        if again && let Some(known) = draft.memory.containers.get_mut(&container.name) {
            known.again = true;
        }
        let hook = self.pre_stop(draft, Some(pod), Some(container));
        Next::Act(Box::new(Action::StopContainers {
            uid: pod.uid,
            containers: vec![StopInput {
                container: container.name.clone(),
                life: run.life,
                grace_s,
                pre_stop: hook.filter(|_| grace_s > 0),
                hold: false,
                why,
            }],
        }))
    }

    /// Whether the next life may begin now; with the delay that has been waited, `None` when the last life was not seen
    /// to end: it went with the board, which is no fault of the container's and does not raise its delay.
    fn due(
        &mut self,
        known: &ContainerMemory,
        container: &Container,
        pod: &Pod,
        seen: Option<&ObservedPod>,
    ) -> Result<Option<u32>, Next> {
        let failure = self.observed.failure(pod.uid, &container.name);
        if let Some(failure) = failure
            && let Step::Create { config, .. } = failure.step
        {
            let due = failure.retry_at();
            if self.now.boot_ms < due {
                return Err(Next::Wait {
                    reason: match config {
                        true => "CreateContainerConfigError".into(),
                        false => "CreateContainerError".into(),
                    },
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
            _ => return Ok(None),
        };
        let delay_ms = if ran_ms >= backoff::RESTART_RESET_MS {
            0
        } else {
            known.delay_ms
        };
        let due = finished_ms + u64::from(delay_ms);
        if self.now.boot_ms >= due {
            return Ok(Some(delay_ms));
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
}

/// That it runs once at most, so that it has begun must be on disk before.
fn runs_once(pod: &Pod, container: &Container) -> bool {
    match kind_of(pod, container) {
        Kind::Sidecar => false,
        Kind::Ephemeral => true,
        Kind::Main | Kind::Init => pod.restart_policy == RestartPolicy::Never,
    }
}

/// Why a running container has to end, with its grace and the text of its event; `None` when it may
/// go on. The texts are the kubelet's.
fn why_end(
    pod: &Pod,
    container: &Container,
    surplus: bool,
    changed: bool,
    failed: Option<Cause>,
) -> Option<(u32, String)> {
    let name = &container.name;
    let own = pod.termination_grace_s;
    if surplus {
        return Some((0, format!("Stopping container {name}")));
    }
    if changed {
        let text = format!("Container {name} definition changed, will be restarted");
        return Some((own, text));
    }
    let of = |probe: &Option<Probe>| {
        let grace = probe.as_ref().and_then(|probe| probe.termination_grace_s);
        grace.unwrap_or(own)
    };
    let will = match pod.restart_policy {
        RestartPolicy::Never if !container.sidecar => "",
        _ => ", will be restarted",
    };
    Some(match failed? {
        Cause::PostStart => (own, "FailedPostStartHook".to_owned()),
        Cause::Startup => (
            of(&container.startup),
            format!("Container {name} failed startup probe{will}"),
        ),
        Cause::Liveness => (
            of(&container.liveness),
            format!("Container {name} failed liveness probe{will}"),
        ),
    })
}
