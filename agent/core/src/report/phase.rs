//! A pod's phase: the kubelet's `getPhase`.

use bramble_wire::object::{Pod, RestartPolicy};
use bramble_wire::report::{ContainerReport, ContainerState, Phase};

use crate::memory::{Kind, Life, PodMemory};

/// What containers amount to.
#[derive(Default)]
struct Count {
    /// Anything runs.
    alive: bool,
    waiting: usize,
    running: usize,
    stopped: usize,
    succeeded: usize,
    /// Init containers that have their work before them, and sidecars that have not started while
    /// no main container has begun.
    uninitialized: usize,
    init_failed: usize,
}

/// The phase of a pod with these containers.
pub(super) fn phase(
    pod: Option<&Pod>,
    known: &PodMemory,
    inits: &[ContainerReport],
    mains: &[ContainerReport],
) -> Phase {
    let runs =
        |container: &ContainerReport| matches!(container.state, ContainerState::Running { .. });
    let mut count = Count {
        alive: inits.iter().chain(mains).any(runs),
        ..Count::default()
    };
    let begun = |container: &ContainerReport| {
        (known.containers.get(&container.name)).is_some_and(|known| known.life != Life::None)
    };
    let initialized = mains.iter().any(begun);
    for (at, container) in inits.iter().enumerate() {
        let sidecar = match pod {
            Some(pod) => pod.init_containers[at].sidecar,
            None => (known.containers.get(&container.name))
                .is_some_and(|known| known.kind == Kind::Sidecar),
        };
        match sidecar {
            true => count.sidecar(container, initialized),
            false => count.init(container),
        }
    }
    for container in mains {
        count.main(container);
    }
    count.phase(known)
}

impl Count {
    fn init(&mut self, container: &ContainerReport) {
        match (&container.state, &container.last) {
            (ContainerState::Terminated(end), _) => {
                self.init_failed += usize::from(end.exit_code != 0);
            }
            (ContainerState::Waiting { .. }, Some(end)) => {
                self.init_failed += usize::from(end.exit_code != 0);
            }
            _ => self.uninitialized += 1,
        }
    }

    /// One that has ended, or waits to be started again, does not count.
    fn sidecar(&mut self, container: &ContainerReport, initialized: bool) {
        match (&container.state, &container.last) {
            (ContainerState::Running { .. }, _) => {
                self.uninitialized += usize::from(!container.started && !initialized);
                self.running += 1;
            }
            (ContainerState::Waiting { .. }, None) => {
                self.uninitialized += usize::from(!initialized);
                self.waiting += 1;
            }
            _ => {}
        }
    }

    fn main(&mut self, container: &ContainerReport) {
        match (&container.state, &container.last) {
            (ContainerState::Running { .. }, _) => self.running += 1,
            (ContainerState::Terminated(end), _) => {
                self.stopped += 1;
                self.succeeded += usize::from(end.exit_code == 0);
            }
            (ContainerState::Waiting { .. }, Some(_)) => self.stopped += 1,
            (ContainerState::Waiting { .. }, None) => self.waiting += 1,
        }
    }

    fn phase(&self, known: &PodMemory) -> Phase {
        let all_succeeded = self.stopped > 0 && self.stopped == self.succeeded && self.waiting == 0;
        if known.verdict.is_some() && !self.alive {
            return Phase::Failed;
        }
        if known.gone || (known.ending.is_some() && !self.alive && self.waiting == 0) {
            return match all_succeeded && self.init_failed == 0 {
                true => Phase::Succeeded,
                false => Phase::Failed,
            };
        }
        if self.init_failed > 0 && known.restart_policy == RestartPolicy::Never {
            // Said when nothing runs any more, as every end is.
            return match self.alive {
                false => Phase::Failed,
                true => Phase::Pending,
            };
        }
        match known.restart_policy {
            _ if self.uninitialized > 0 || self.waiting > 0 => Phase::Pending,
            _ if self.running > 0 => Phase::Running,
            _ if self.stopped == 0 => Phase::Pending,
            RestartPolicy::Always => Phase::Running,
            _ if all_succeeded => Phase::Succeeded,
            RestartPolicy::Never => Phase::Failed,
            RestartPolicy::OnFailure => Phase::Running,
        }
    }
}
