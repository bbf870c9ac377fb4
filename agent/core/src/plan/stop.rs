//! Ending containers in order: the main ones at once, then the sidecars, the last one first, all
//! within one grace.

use bramble_wire::object::{Container, Pod};

use super::{Action, Draft, Pass, StopInput};
use crate::memory::{Ending, Kind};
use crate::observed::{ObservedPod, Run, Sandbox};
use crate::probe::Check;

/// What one container gets at least after its hook or its turn, as upstream.
const LEAST_S: u32 = 2;

/// A running container that is to end.
struct Leaving<'a> {
    name: &'a str,
    life: u32,
    told: Option<crate::observed::Stopping>,
    /// Place among the init containers, of a sidecar.
    sidecar: Option<usize>,
    waits_for_none: bool,
}

impl Pass<'_> {
    /// Tells every running container to end whose turn it is and that has not been told so. `None`
    /// when all have been told, or none runs.
    pub(super) fn plan_stop(
        &mut self,
        draft: &Draft,
        pod: Option<&Pod>,
        seen: &ObservedPod,
        ending: Ending,
    ) -> Option<Action> {
        let elapsed_ms = self.now.boot_ms.saturating_sub(ending.since_boot_ms);
        let elapsed_s = u32::try_from(elapsed_ms / 1000).unwrap_or(u32::MAX);
        let left_s = ending.grace_s.saturating_sub(elapsed_s);
        let leaving: Vec<Leaving<'_>> = (seen.containers.iter())
            .filter_map(|(name, seen)| {
                let Run::Running { stopping, .. } = seen.run else {
                    return None;
                };
                let kind = draft.memory.containers.get(name).map(|known| known.kind);
                let init = pod.and_then(|pod| place(pod, name));
                let sidecar = kind == Some(Kind::Sidecar);
                Some(Leaving {
                    name,
                    life: seen.life,
                    told: stopping,
                    sidecar: init.filter(|_| sidecar),
                    waits_for_none: kind == Some(Kind::Ephemeral),
                })
            })
            .collect();
        let mut held = false;
        let mut containers = Vec::new();
        for one in &leaving {
            let turn = left_s == 0 || leaving.iter().all(|other| !goes_first(other, one));
            held |= !turn;
            let input = StopInput {
                container: one.name.to_owned(),
                life: one.life,
                grace_s: left_s,
                hold: !turn,
                ..StopInput::default()
            };
            containers.extend(match one.told {
                None => {
                    let spec = pod.and_then(|pod| find(pod, one.name));
                    Some(StopInput {
                        pre_stop: self.pre_stop(draft, pod, spec).filter(|_| left_s > 0),
                        why: format!("Stopping container {}", one.name),
                        ..input
                    })
                }
                Some(told) if told.held && turn => Some(StopInput {
                    grace_s: left_s.max(LEAST_S.min(ending.grace_s)),
                    ..input
                }),
                Some(told) if told.grace_s > ending.grace_s => Some(input),
                Some(_) => None,
            });
        }
        if held {
            let last = ending.since_boot_ms + u64::from(ending.grace_s) * 1000;
            self.wake_at(last);
        }
        let uid = draft.uid;
        (!containers.is_empty()).then_some(Action::StopContainers { uid, containers })
    }

    /// The preStop hook of a container, settled.
    pub(super) fn pre_stop(
        &self,
        draft: &Draft,
        pod: Option<&Pod>,
        container: Option<&Container>,
    ) -> Option<Check> {
        let container = container?;
        let handler = container.pre_stop.as_ref()?;
        Some(Check::of(handler, container, self.address(draft, pod?)))
    }

    /// All ended for good: what goes on beside is ended, the sandbox goes, the logs stay, and the
    /// address is free once the sandbox is gone.
    pub(super) fn finish(
        &mut self,
        draft: &mut Draft,
        pod: &Pod,
        seen: Option<&ObservedPod>,
    ) -> Option<Action> {
        let sandbox = seen.map(|seen| seen.sandbox);
        match (sandbox, seen) {
            (Some(Sandbox::Ready | Sandbox::Silent), Some(seen)) if super::runs(seen) => {
                let grace = draft.memory.verdict.as_ref();
                let grace = grace.and_then(|verdict| verdict.grace_s);
                let ending = *draft.memory.finishing.get_or_insert(Ending {
                    grace_s: grace.unwrap_or(pod.termination_grace_s),
                    since_boot_ms: self.now.boot_ms,
                });
                if self.held_back(draft.uid).is_some() {
                    return None;
                }
                self.plan.converged = false;
                self.plan_stop(draft, Some(pod), seen, ending)
            }
            (Some(Sandbox::Ready | Sandbox::Silent | Sandbox::Lost), _) => {
                Some(Action::StopSandbox {
                    uid: draft.uid,
                    last: true,
                })
            }
            (Some(Sandbox::Stopped) | None, _) => {
                if draft.memory.holds_address {
                    draft.memory.holds_address = false;
                    draft.mark(super::Durability::Hard);
                }
                None
            }
        }
    }
}

/// A sidecar goes after everything but debug containers, and after the sidecars that came later.
fn goes_first(other: &Leaving<'_>, one: &Leaving<'_>) -> bool {
    match (other.sidecar, one.sidecar) {
        (_, None) => false,
        (None, Some(_)) => !other.waits_for_none,
        (Some(other), Some(one)) => other > one,
    }
}

fn place(pod: &Pod, name: &str) -> Option<usize> {
    (pod.init_containers.iter()).position(|container| container.name == name)
}

fn find<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    pod.all_containers()
        .find(|container| container.name == name)
}
