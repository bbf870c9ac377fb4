//! What should run: the accepted document, and the board's own pods beside it.

use std::collections::BTreeSet;
use std::sync::Arc;

use bramble_agent_core::desired::Desired;
use bramble_agent_core::plan::Durability;
use bramble_wire::object::{ObjectName, Pod, PodUid};
use bramble_wire::version::Version;

use super::{Inputs, Reconciler, Seen, World};
use crate::state::{self, Change};
use crate::static_pods::Kept;

impl<W: World> Reconciler<W> {
    /// Takes what should run: the accepted document, and the board's own pods beside it.
    pub(super) fn take(&mut self, inputs: &mut Inputs) {
        let document = inputs.document.borrow_and_update().clone();
        let view = Arc::clone(&inputs.static_pods.borrow_and_update());
        let mut desired = match &document {
            Some(document) => Desired::from_objects(document.effective(), &self.around.opener),
            None if *view.kept == Kept::default() => return,
            None => Desired::default(),
        };
        for uid in &desired.unreadable {
            tracing::warn!(pod = %uid, "the document has a pod that this agent can't read");
        }
        let version = document.map(|document| document.version);
        if let Some(version) = version.filter(|version| self.version != Some(*version)) {
            tracing::info!(%version, pods = desired.pods.len(), "document accepted");
        }
        let files = || view.kept.files.values();
        desired.add_static(
            files().flat_map(|held| held.pods.iter().map(|(_, pod)| pod)),
            files().flat_map(|held| &held.config_maps),
            files().flat_map(|held| &held.secrets),
        );
        desired.doubted = self.around.salvaged;
        self.sure_of_own = view.sure;
        self.desired = Some(desired);
        self.version = version;
    }

    pub(super) fn take_clearance(&mut self, cleared: Option<Version>) {
        if let Some(desired) = &mut self.desired {
            desired.cleared = cleared.is_some() && cleared == self.version;
        }
    }

    /// What was left of a damaged state is the controller's word by now, and what it leaves open of pods is on
    /// disk: then the doubt is over. Whether it is over since.
    pub(super) async fn settle(&mut self, inputs: &mut Inputs) -> Result<bool, state::Error> {
        if !self.around.salvaged || self.undecided {
            return Ok(false);
        }
        let settled = (self.around.state).commit(vec![Change::Settled], Durability::Hard);
        match settled.await {
            Ok(()) => {}
            Err(error @ state::Error::Failed(_)) => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "that the damage is settled is not on disk; it is tried again");
                return Ok(false);
            }
        }
        self.around.salvaged = false;
        self.take(inputs);
        self.take_clearance(*inputs.cleared.borrow());
        Ok(true)
    }

    /// Without a document nothing is known of what the controller wants: its pods are left as they are. Where
    /// something of the state was lost, a pod that is not wanted may be one of a document that was.
    pub(super) fn leave_alone(&mut self, seen: &Seen) {
        let Some(desired) = &mut self.desired else {
            return;
        };
        let known = self.memory.keys().chain(seen.pods.keys());
        if self.around.salvaged {
            let ends = |uid: &&PodUid| self.memory.get(uid).is_some_and(|pod| pod.ending.is_some());
            // Of the board's own pods their folder says what is wanted, once it was read.
            let said = |uid: &&PodUid| uid.is_static() && self.sure_of_own;
            let lost =
                known.filter(|uid| !desired.pods.contains_key(uid) && !ends(uid) && !said(uid));
            let lost: Vec<PodUid> = lost.copied().collect();
            desired.unreadable.extend(lost);
        } else if self.version.is_none() {
            desired.unreadable = known.filter(|uid| !uid.is_static()).copied().collect();
        }
    }

    /// A pod of the board's own begins when its predecessor of the same name has ended.
    pub(super) fn hold_back(&mut self) -> Vec<Pod> {
        let Some(desired) = &mut self.desired else {
            return Vec::new();
        };
        let ending: BTreeSet<&ObjectName> = (self.memory.iter())
            .filter(|(uid, pod)| uid.is_static() && !pod.gone && !desired.pods.contains_key(uid))
            .map(|(_, pod)| &pod.name)
            .collect();
        let later = |uid: &PodUid, pod: &mut Pod| {
            uid.is_static() && ending.contains(&pod.name) && !self.memory.contains_key(uid)
        };
        let held = desired.pods.extract_if(.., later);
        held.map(|(_, pod)| pod).collect()
    }
}
