//! Nodes that come and go: what that means for their pods, and their leases.

use std::collections::HashMap;
use std::sync::Arc;

use bramble_api::time::Timestamp;
use bramble_api::view::{Node, Pod, Taint};
use bramble_controller_core::action::{Action, Durability as Class, Plan, Target};
use bramble_controller_core::{eviction, kinds, lease, node};
use serde_json::Value;

use super::Controllers;
use super::cache::{Change, Id, View};
use super::queue::Work;
use super::write::Error;
use crate::object;
use crate::store::{Durability, Expect};

/// What is remembered of nodes besides the nodes themselves.
#[derive(Debug)]
pub(super) struct Watch {
    ready: usize,
    lost: usize,
    mass_loss: bool,
    calm_since: Timestamp,
    /// When taints without a time of their own were seen first, by node.
    tainted: HashMap<Arc<str>, Vec<(Taint, Timestamp)>>,
}

impl Watch {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            ready: 0,
            lost: 0,
            mass_loss: false,
            calm_since: now,
            tainted: HashMap::new(),
        }
    }

    /// Counts a change; true when a mass loss is over with it.
    fn count(&mut self, before: Option<&Node>, after: Option<&Node>, now: Timestamp) -> bool {
        let slot = |this: &mut Self, node: &Node, add: bool| {
            let count = if node.is_ready() {
                &mut this.ready
            } else {
                &mut this.lost
            };
            *count = if add { *count + 1 } else { *count - 1 };
        };
        if let Some(node) = before {
            slot(self, node, false);
        }
        if let Some(node) = after {
            slot(self, node, true);
        }
        let was = self.mass_loss;
        self.mass_loss = eviction::is_mass_loss(self.ready, self.lost);
        if self.mass_loss && !was {
            tracing::warn!(
                self.ready,
                self.lost,
                "most nodes are lost: nothing is evicted"
            );
        }
        if was && !self.mass_loss {
            self.calm_since = now;
        }
        was && !self.mass_loss
    }

    fn remember(&mut self, name: &Arc<str>, node: Option<&Node>, now: Timestamp) {
        let known = self.tainted.remove(name).unwrap_or_default();
        let taints = node.into_iter().flat_map(executing);
        let seen: Vec<_> = taints
            .filter(|taint| taint.time_added.is_none())
            .map(|taint| {
                let since = known.iter().find(|(known, _)| known == taint);
                (taint.clone(), since.map_or(now, |(_, since)| *since))
            })
            .collect();
        if !seen.is_empty() {
            self.tainted.insert(name.clone(), seen);
        }
    }
}

fn executing(node: &Node) -> impl Iterator<Item = &Taint> {
    let taints = node.spec.taints.iter();
    taints.filter(|taint| taint.effect == "NoExecute")
}

/// Whether a node says anything about this pod that the pod does not show, or may have to go for.
fn concerns(node: &Node, pod: &Pod) -> bool {
    !pod.is_terminated()
        && (!node.is_ready() || executing(node).next().is_some() || !pod.is_ready())
}

impl Controllers {
    /// Queues the pods that a change of a node, or of themselves, may concern.
    pub(super) fn queue_on_node(&mut self, change: &Change) {
        let Change { id, before, after } = change;
        match id.resource {
            "nodes" => {
                let before = before.as_deref().and_then(View::node);
                let after = after.as_deref().and_then(View::node);
                self.handle_node(id, before.map(|n| &n.object), after.map(|n| &n.object));
            }
            "pods" => {
                let Some(pod) = after.as_deref().and_then(View::pod) else {
                    return;
                };
                let view = self.cache.get(&node_id(&pod.spec.node_name));
                let node = view.and_then(|view| view.node());
                if node.is_some_and(|node| concerns(node, pod)) {
                    self.queue.push(Work::OnNode(id.clone()));
                }
            }
            _ => {}
        }
    }

    fn handle_node(&mut self, id: &Id, before: Option<&Node>, after: Option<&Node>) {
        let now = (self.clock)();
        let over = self.watch.count(before, after, now);
        self.watch.remember(&id.name, after, now);
        if over {
            let nodes: Vec<Id> = self
                .cache
                .all("nodes")
                .filter(|(_, view)| view.node().is_some_and(|n| executing(n).next().is_some()))
                .map(|(id, _)| id.clone())
                .collect();
            nodes.iter().for_each(|node| self.queue_pods_of(node));
        }
        let Some(after) = after else { return };
        if before.is_some_and(Node::is_ready) && !after.is_ready() {
            self.tell(Some(&eviction::node_note(after)));
        }
        let face = |node: &Node| {
            (
                node.is_ready(),
                executing(node).cloned().collect::<Vec<_>>(),
            )
        };
        if before.is_none_or(|before| face(before) != face(after)) {
            self.queue_pods_of(id);
        }
        if node::condition_taints(after, now).is_some() {
            self.queue.push(Work::Taints(id.clone()));
        }
        if after.is_ready() && !before.is_some_and(Node::is_ready) {
            self.queue.push(Work::Lease(id.clone()));
        }
    }

    fn queue_pods_of(&mut self, node: &Id) {
        let Some(view) = self.cache.get(node).cloned() else {
            return;
        };
        let Some(node) = view.node() else { return };
        let pods: Vec<Id> = self
            .cache
            .on_node(&node.metadata.name)
            .filter(|id| {
                let view = self.cache.get(id);
                let pod = view.and_then(|view| view.pod());
                pod.is_some_and(|pod| concerns(node, pod))
            })
            .cloned()
            .collect();
        pods.into_iter()
            .for_each(|id| self.queue.push(Work::OnNode(id)));
    }

    /// A pod is as ready as its node, and goes when it has borne the node's taints for long enough.
    pub(super) fn reconcile_on_node(&mut self, id: &Id, now: Timestamp) -> Result<(), Error> {
        let Some(view) = self.cache.get(id).cloned() else {
            return Ok(());
        };
        let Some(pod) = view.pod() else { return Ok(()) };
        let name: Arc<str> = pod.spec.node_name.as_str().into();
        let Some(node) = self.cache.get(&node_id(&name)).cloned() else {
            return Ok(());
        };
        let Some(node) = node.node() else {
            return Ok(());
        };
        let plan: Plan = eviction::plan(
            &eviction::Input {
                pod,
                node,
                mass_loss: self.watch.mass_loss,
                calm_since: self.watch.calm_since,
                tainted_since: &|taint| {
                    let seen = self.watch.tainted.get(&name).into_iter().flatten();
                    let mut seen = seen.filter(|(known, _)| known == taint);
                    seen.next().map_or(now, |(_, since)| *since)
                },
            },
            now,
        );
        self.carry_out(&Work::OnNode(id.clone()), &plan)
    }

    /// A node has the taints of its conditions, and of being cordoned.
    pub(super) fn reconcile_taints(
        &mut self,
        work: &Work,
        id: &Id,
        now: Timestamp,
    ) -> Result<(), Error> {
        let Some(view) = self.cache.get(id).cloned() else {
            return Ok(());
        };
        let Some(stored) = view.node() else {
            return Ok(());
        };
        let Some(patch) = node::condition_taints(stored, now) else {
            return Ok(());
        };
        let action = Action::Patch {
            target: Target::of(kinds::node(), &stored.metadata),
            revision: stored.revision,
            patch,
            durability: Class::Soft,
            note: None,
        };
        let actions = vec![action];
        let plan = Plan {
            actions,
            ..Plan::default()
        };
        self.carry_out(work, &plan)
    }

    /// Renews the Lease of a node that answers, in memory only.
    pub(super) fn renew_lease(&mut self, id: &Id, now: Timestamp) -> Result<(), Error> {
        let Some(view) = self.cache.get(id).cloned() else {
            return Ok(());
        };
        let Some(node) = view.node().filter(|node| node.is_ready()) else {
            return Ok(());
        };
        let own = Id {
            resource: kinds::lease().plural,
            namespace: lease::NAMESPACE.into(),
            name: id.name.clone(),
        };
        if self.cache.namespace(lease::NAMESPACE).is_some() {
            let before = self.stored::<Value>(&own);
            let lease = lease::renewed(&node.metadata, before.as_ref(), &object::uid()?, now);
            self.put(own.key(), &lease, Expect::Any, Durability::Memory)?;
        }
        let next = Timestamp::from_seconds(now.seconds + lease::RENEW_S);
        self.later(Work::Lease(id.clone()), next);
        Ok(())
    }
}

fn node_id(name: &str) -> Id {
    Id {
        resource: "nodes",
        namespace: "".into(),
        name: name.into(),
    }
}
