//! From a change to what must be looked at, and from there to the core's decision and the writes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bramble_api::time::Timestamp;
use bramble_api::view::{Metadata, OwnerReference, Pod};
use bramble_controller_core::action::{Action, Durability, Plan, Target};
use bramble_controller_core::replicaset::{self, Failure};
use bramble_controller_core::{deployment, document, event, eviction, schedule};
use tokio::time::Instant;

use super::Controllers;
use super::cache::{Change, Id, View};
use super::queue::Work;
use super::write::Error;
use crate::store::Entry;

/// How long a pod may be bound to a node that is not there, as upstream.
const STRAY: Duration = Duration::from_secs(40);
/// Failures in a row that are told of, beyond the first.
const LOG_EVERY: u32 = 8;

impl Controllers {
    /// Takes a change of an object and queues what it may concern.
    pub(super) fn handle(&mut self, entry: &Entry, gone: bool) {
        let Some(change) = self.cache.apply(entry, gone) else {
            return;
        };
        self.queue_collection(&change);
        let Change { id, before, after } = &change;
        self.queue_equipment(id, before.is_none(), after.is_none());
        self.queue_endpoints(&change);
        self.queue_on_node(&change);
        match id.resource {
            "pods" => self.handle_pod(id, before.as_deref(), after.as_deref()),
            "replicasets" | "replicationcontrollers" => {
                self.queue.push(Work::ReplicaSet(id.clone()));
                for view in [before, after].into_iter().flatten() {
                    self.queue_owner(id, view.metadata());
                }
            }
            "deployments" => self.queue.push(Work::Deployment(id.clone())),
            "clusterroles" => self.queue.push(Work::Roles),
            "nodes" => {
                let node = after.as_ref().and_then(|view| view.node());
                self.cluster
                    .handle_node(&id.name, node.map(|node| &node.object));
                self.queue.unpark(Instant::now());
                if node.is_none() {
                    let pods: Vec<_> = self.cache.on_node(&id.name).cloned().collect();
                    pods.into_iter()
                        .for_each(|pod| self.queue.push(Work::Stray(pod)));
                }
            }
            "namespaces" => {
                let labels = after.as_ref().map(|view| &view.metadata().labels);
                self.cluster.handle_namespace(&id.name, labels);
            }
            "events" => {
                match (before.is_some(), after.is_some()) {
                    (false, true) => self.events += 1,
                    (true, false) => self.events -= 1,
                    _ => {}
                }
                // A flood is not kept for an hour; the margin keeps the clean-up rare.
                if self.events > event::MAX + event::MAX / 8 {
                    self.queue.push(Work::Events);
                }
                let seconds = (self.clock)().seconds + event::TTL_S;
                self.later(Work::Events, Timestamp::from_seconds(seconds));
            }
            _ => {}
        }
        if after.is_none() {
            for work in [
                Work::Deployment(id.clone()),
                Work::ReplicaSet(id.clone()),
                Work::Schedule(id.clone()),
                Work::Collect(id.clone()),
                Work::Stray(id.clone()),
                Work::Namespace(id.clone()),
                Work::Equip(id.clone()),
                Work::OnNode(id.clone()),
                Work::Lease(id.clone()),
                Work::Taints(id.clone()),
            ] {
                self.queue.forget(&work);
            }
        }
    }

    fn handle_pod(&mut self, id: &Id, before: Option<&View>, after: Option<&View>) {
        let (old, new) = (before.and_then(View::pod), after.and_then(View::pod));
        let (old_pod, new_pod) = (old.map(|pod| &pod.object), new.map(|pod| &pod.object));
        self.cluster.handle_pod(old_pod, new_pod);
        self.cluster.handle_images(old_pod, new_pod, (self.clock)());
        for pod in [old, new].into_iter().flatten() {
            self.queue_owner(id, &pod.metadata);
        }
        // A Recreate waits for the pods of its old ReplicaSets to end.
        if new.is_none_or(|pod| pod.is_terminated())
            && let Some(pod) = old
        {
            self.queue_grandparent(&pod.metadata);
        }
        let Some(pod) = new else {
            self.queue.unpark(Instant::now());
            return;
        };
        if schedule::is_pending(pod) {
            // Its own condition is no reason to try again; a new selector or toleration is.
            if old.is_none_or(|old| old.spec != pod.spec) {
                self.queue.push(Work::Schedule(id.clone()));
            }
        } else {
            self.queue.forget(&Work::Schedule(id.clone()));
        }
        if pod.is_terminated() {
            self.queue.push(Work::Terminated);
            if old.is_some_and(|old| !old.is_terminated()) {
                self.queue.unpark(Instant::now());
            }
        }
        if !pod.spec.node_name.is_empty() && !self.cluster.has_node(&pod.spec.node_name) {
            self.queue
                .push_at(Work::Stray(id.clone()), Instant::now() + STRAY);
        }
    }

    /// Queues the controller of a pod or ReplicaSet, or for an orphan whoever could adopt it.
    fn queue_owner(&mut self, id: &Id, metadata: &Metadata) {
        let mut works = Vec::new();
        if let Some(owner) = metadata.controller() {
            if let Some((owner, _)) = self.cache.by_uid(&owner.uid) {
                works.extend(work_of(owner));
            }
        } else {
            let resources: &[&str] = match id.resource {
                "pods" => &["replicasets", "replicationcontrollers"],
                "replicasets" => &["deployments"],
                _ => &[],
            };
            let candidates = resources
                .iter()
                .flat_map(|resource| self.cache.namespaced(resource, &id.namespace));
            let matching = candidates.filter(|(_, view)| match &***view {
                View::ReplicaSet(set) => set.spec.selector.matches(&metadata.labels),
                View::Deployment(owner) => owner.spec.selector.matches(&metadata.labels),
                _ => false,
            });
            works.extend(matching.filter_map(|(id, _)| work_of(id)));
        }
        works.into_iter().for_each(|work| self.queue.push(work));
    }

    fn queue_grandparent(&mut self, metadata: &Metadata) {
        let above = |metadata: &Metadata| self.cache.by_uid(&metadata.controller()?.uid);
        let owner = above(metadata).and_then(|(_, view)| above(view.metadata()));
        if let Some(work) = owner.and_then(|(id, _)| work_of(id)) {
            self.queue.push(work);
        }
    }

    /// Looks at one thing. Whatever goes wrong concerns this thing alone.
    pub(super) fn reconcile(&mut self, work: &Work) {
        let now = (self.clock)();
        let done = match work {
            Work::Deployment(id) => self.reconcile_deployment(work, id, now),
            Work::ReplicaSet(id) => self.reconcile_replica_set(work, id, now),
            Work::Schedule(id) => self.reconcile_pending(work, id, now),
            // Whose owner the store does not have may have one that it has lost.
            Work::Collect(id) if self.settings.standing.borrow().is_in_doubt() => {
                self.held.insert(id.clone());
                Ok(())
            }
            Work::Collect(id) => self.collect(id),
            Work::Namespace(id) => self.end_namespace(id, now),
            Work::Stray(id) => self.remove_stray(id),
            Work::Terminated => self.bound_terminated(),
            Work::Equip(id) => self.equip(id),
            Work::Api => self.announce_api(),
            Work::Roles => self.gather_roles(),
            Work::Endpoints(id) => self.reconcile_endpoints(id),
            Work::LeftEndpoints(id) => self.remove_left_endpoints(id),
            Work::OnNode(id) => self.reconcile_on_node(id, now),
            Work::Lease(id) => self.renew_lease(id, now),
            Work::Taints(id) => self.reconcile_taints(work, id, now),
            Work::Events => {
                self.expire_events(now);
                Ok(())
            }
        };
        match done {
            Ok(()) | Err(Error::Ending) => self.queue.succeeded(work),
            // The change that was faster is in the store already: look again at once.
            Err(Error::Stale) => self.queue.again(work.clone(), Instant::now()),
            Err(error) => {
                let count = self.queue.failed(work.clone(), Instant::now());
                if count % LOG_EVERY == 1 {
                    tracing::warn!(
                        ?work,
                        error = &error as &dyn std::error::Error,
                        count,
                        "failed"
                    );
                }
            }
        }
    }

    /// Carries a plan out, in order, up to the first failure.
    pub(super) fn carry_out(&mut self, work: &Work, plan: &Plan) -> Result<(), Error> {
        if let Some(at) = plan.next_wake {
            self.later(work.clone(), at);
        }
        plan.actions.iter().try_for_each(|action| self.act(action))
    }

    fn reconcile_deployment(&mut self, work: &Work, id: &Id, now: Timestamp) -> Result<(), Error> {
        let Some(view) = self.cache.get(id).cloned() else {
            return Ok(());
        };
        let Some(seen) = view.deployment() else {
            return Ok(());
        };
        let sets: Vec<Arc<View>> = self
            .cache
            .namespaced("replicasets", &id.namespace)
            .filter(|(_, set)| is_candidate(set.metadata(), &seen.metadata.uid))
            .map(|(_, set)| set.clone())
            .collect();
        let replica_sets: Vec<_> = sets.iter().filter_map(|set| set.replica_set()).collect();
        let cache = &self.cache;
        let plan = deployment::plan(
            &deployment::Input {
                deployment: seen,
                replica_sets: &replica_sets,
                name_taken: &|name| {
                    let id = Id {
                        resource: "replicasets",
                        name: name.into(),
                        ..id.clone()
                    };
                    cache.get(&id).is_some()
                },
                live_pods: &|uid| {
                    let pods = cache.dependents(uid).filter_map(|(_, view)| view.pod());
                    pods.filter(|pod| !pod.is_terminated()).count()
                },
            },
            now,
        );
        self.carry_out(work, &plan)
    }

    fn reconcile_replica_set(&mut self, work: &Work, id: &Id, now: Timestamp) -> Result<(), Error> {
        let Some(view) = self.cache.get(id).cloned() else {
            return Ok(());
        };
        let Some(set) = view.replica_set() else {
            return Ok(());
        };
        let uid = &set.metadata.uid;
        let owned = self.cache.dependents(uid).map(|(_, view)| view);
        let orphans = self
            .cache
            .orphans(&id.namespace)
            .filter(|view| set.spec.selector.matches(&view.metadata().labels));
        let views: Vec<Arc<View>> = owned.chain(orphans).cloned().collect();
        let mut pods: Vec<_> = views.iter().filter_map(|view| view.pod()).collect();
        pods.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        pods.dedup_by(|a, b| a.metadata.uid == b.metadata.uid);
        let related = self.related(set.metadata.controller(), uid);
        let input = replicaset::Input {
            kind: id.kind(),
            replica_set: set,
            pods: &pods,
            related_on_node: &related,
            failure: None,
        };
        let plan = replicaset::plan(&input, now);
        let done = self.carry_out(work, &plan);
        match done {
            Err(error @ (Error::Refused(_) | Error::Store(_))) => {
                let creating = plan
                    .actions
                    .iter()
                    .any(|a| matches!(a, Action::Create { .. }));
                let failure = Failure {
                    creating,
                    message: error.to_string(),
                };
                self.tell(Some(&replicaset::failure_note(&input, &failure)));
                let input = replicaset::Input {
                    failure: Some(&failure),
                    ..input
                };
                let status = replicaset::plan(&input, now);
                let own = |action: &&Action| matches!(action, Action::Patch { target, .. } if Id::from(target) == *id);
                if let Some(action) = status.actions.iter().find(own) {
                    // Best effort: the next try writes it again.
                    let _ = self.act(action);
                }
                Err(error)
            }
            done => done,
        }
    }

    /// Active pods by node of all ReplicaSets with the same owner.
    fn related(&self, owner: Option<&OwnerReference>, own: &str) -> BTreeMap<String, usize> {
        let mut sets: Vec<&str> = vec![own];
        if let Some(owner) = owner {
            sets = self
                .cache
                .dependents(&owner.uid)
                .map(|(_, v)| v.metadata().uid.as_str())
                .collect();
        }
        let mut counts = BTreeMap::new();
        let pods = sets.into_iter().flat_map(|uid| self.cache.dependents(uid));
        for pod in pods
            .filter_map(|(_, view)| view.pod())
            .filter(|pod| pod.is_active())
        {
            *counts.entry(pod.spec.node_name.clone()).or_default() += 1;
        }
        counts
    }

    fn reconcile_pending(&mut self, work: &Work, id: &Id, now: Timestamp) -> Result<(), Error> {
        let Some(view) = self.cache.get(id).cloned() else {
            return Ok(());
        };
        let Some(pod) = view.pod().filter(|pod| schedule::is_pending(pod)) else {
            return Ok(());
        };
        let doubt = self.settings.standing.borrow().doubt();
        if let Some(why) = doubt.filter(|_| document::is_once(&pod.metadata)) {
            let plan = schedule::hold(pod, why, now);
            self.queue.park(work.clone(), Instant::now());
            return self.carry_out(work, &plan);
        }
        let (plan, node) = schedule::plan(&self.cluster, pod, now);
        if node.is_none() {
            self.queue.park(work.clone(), Instant::now());
        }
        self.carry_out(work, &plan)
    }

    /// A pod on a node that is not there has nobody who could confirm its end: it has failed, and goes
    /// at once unless a finalizer holds it (upstream's `podgc`).
    fn remove_stray(&mut self, id: &Id) -> Result<(), Error> {
        let Some(view) = self.cache.get(id).cloned() else {
            return Ok(());
        };
        let Some(pod) = view.pod() else { return Ok(()) };
        let node = Id {
            resource: "nodes",
            namespace: "".into(),
            name: pod.spec.node_name.as_str().into(),
        };
        // The store is asked too: a Node that does not decode is there all the same.
        if pod.spec.node_name.is_empty() || self.store.get(&node.key()).is_some() {
            return Ok(());
        }
        tracing::info!(
            pod = %pod.metadata.name, namespace = %pod.metadata.namespace, node = %pod.spec.node_name,
            "removed: its node is not there"
        );
        let target = Target::of(id.kind(), &pod.metadata);
        if !pod.is_terminated() {
            self.act(&Action::Patch {
                target: target.clone(),
                revision: pod.revision,
                patch: eviction::orphaned(pod, (self.clock)()),
                durability: Durability::Hard,
                note: None,
            })?;
        }
        self.delete_at_once(&target, &pod.metadata.uid)
    }

    pub(super) fn remove_pod(&mut self, id: &Id, pod: &Pod) -> Result<(), Error> {
        let metadata = &pod.metadata;
        let target = Target::of(id.kind(), metadata);
        self.act(&Action::Remove {
            target,
            uid: metadata.uid.clone(),
        })
    }
}

fn work_of(id: &Id) -> Option<Work> {
    match id.resource {
        "replicasets" | "replicationcontrollers" => Some(Work::ReplicaSet(id.clone())),
        "deployments" => Some(Work::Deployment(id.clone())),
        _ => None,
    }
}

/// Controlled by this owner, or by nobody.
fn is_candidate(metadata: &Metadata, owner: &str) -> bool {
    metadata
        .controller()
        .is_none_or(|controller| controller.uid == owner)
}
