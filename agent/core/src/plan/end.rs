//! Ending a pod: everything stops, then everything is released, then it is said.

use bramble_wire::object::Pod;

use super::{Action, Draft, Durability, Pass};
use crate::memory::Ending;
use crate::observed::{ObservedPod, Sandbox};

impl Pass<'_> {
    /// The ending is in the draft's record, which is on disk before the action begins.
    pub(super) fn plan_end(
        &mut self,
        draft: &mut Draft,
        pod: Option<&Pod>,
        seen: Option<&ObservedPod>,
        ending: Ending,
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
        match seen.sandbox {
            Sandbox::Ready | Sandbox::Silent if super::runs(seen) => {
                self.plan_stop(draft, pod, seen, ending)
            }
            Sandbox::Ready | Sandbox::Silent | Sandbox::Lost | Sandbox::Stopped => {
                Some(Action::RemovePod { uid })
            }
        }
    }
}
