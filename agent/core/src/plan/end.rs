//! Ending a pod: everything stops, then everything is released, then it is said.

use super::{Action, Draft, Durability, Pass};
use crate::observed::{ObservedPod, Run, Sandbox};

impl Pass<'_> {
    /// The ending is in the draft's record, which is on disk before the action begins.
    pub(super) fn plan_end(
        &mut self,
        draft: &mut Draft,
        seen: Option<&ObservedPod>,
    ) -> Option<Action> {
        let uid = draft.uid;
        let Some(seen) = seen else {
            if !draft.memory.gone {
                draft.memory.gone = true;
                draft.memory.holds_address = false;
                draft.mark(Durability::Hard);
            }
            return None;
        };
        self.plan.converged = false;
        if let Some(failure) = self.held_back(uid) {
            let message = failure.message.clone();
            self.wait(uid, None, "FailedKillPod", message);
            return None;
        }
        let grace_s = draft.memory.ending.map_or(0, |ending| ending.grace_s);
        let runs = (seen.containers.values())
            .any(|container| matches!(container.run, Run::Running { .. }));
        match seen.sandbox {
            Sandbox::Ready { stopping_s } if runs => match stopping_s {
                Some(known) if known <= grace_s => None,
                _ => Some(Action::StopContainers { uid, grace_s }),
            },
            Sandbox::Ready { .. } | Sandbox::Lost | Sandbox::Stopped => {
                Some(Action::RemovePod { uid })
            }
        }
    }
}
