//! Whether everything has arrived.

use super::*;

impl World {
    /// What is missing for everything to have arrived; `None` when nothing is.
    pub fn missing(&self) -> Option<String> {
        let Some(link) = self.controller.link() else {
            return Some("the controller is down".into());
        };
        let store = self.controller.disk.durable();
        if !link.all_confirmed() {
            return Some("a node has not reported".into());
        }
        for (number, node) in self.nodes.iter().enumerate() {
            let Some(state) = link.node(&node.name) else {
                continue;
            };
            if state.presence != bramble_controller_core::nodelink::Presence::Ready {
                return Some(format!("node {number} is {:?}", state.presence));
            }
            let held = node.document().map(|document| document.version);
            if held.is_none() || held != state.version || state.accepted != held {
                return Some(format!(
                    "node {number} holds {held:?}, says {:?}, should {:?}",
                    state.accepted, state.version
                ));
            }
            let known = node.document().map(|document| document.unclaimed.len());
            if known != Some(0) {
                return Some(format!("node {number} keeps {known:?} unclaimed objects"));
            }
        }
        if self.controller.has_strays() {
            return Some("a node runs what the store does not know".into());
        }
        for (uid, pod) in &store.pods {
            if pod.deleting {
                return Some(format!("{uid} on node {} is still being deleted", pod.node));
            }
            if pod.ended.is_none() {
                let runs = self.nodes[pod.node].running().any(|running| running == uid);
                let phase = self.controller.phase(uid);
                let settled = runs && phase == Some(bramble_wire::report::Phase::Running);
                if self.oracle.policies.get(uid) == Some(&RestartPolicy::Always) && !settled {
                    return Some(format!(
                        "{uid} on node {} runs {runs}, phase {phase:?}",
                        pod.node
                    ));
                }
            }
        }
        for (number, node) in self.nodes.iter().enumerate() {
            let surplus = node.running().find(|uid| !store.pods.contains_key(uid));
            if let Some(surplus) = surplus {
                return Some(format!("node {number} still runs {surplus}"));
            }
        }
        self.controller.missing_pods()
    }
}
