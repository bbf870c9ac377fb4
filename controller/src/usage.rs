//! What nodes and containers use, as the nodes last said. In memory only, and nobody's decision
//! depends on it.
//!
//! In: measurements from reports, in the node link's task. Out: the newest of each node, for
//! `metrics.k8s.io`. Bounded by the nodes, by the pods that are bound to each and by [`CONTAINERS_MAX`];
//! what a node says twice counts as it was said first, and what is beyond is left out. A node that is
//! not there has none.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bramble_api::time::Timestamp;
use bramble_wire::name::NodeName;
use bramble_wire::object::PodUid;
use bramble_wire::report::{Amounts, Usage};

use crate::store::Key;

/// Containers of a pod, and bytes of their names, that are kept.
const CONTAINERS_MAX: usize = 64;
const NAME_MAX: usize = 253;

/// A node's clock may differ by this from ours and is believed.
const CLOCKS_DIFFER_S: i64 = 300;

/// What one node and its pods use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeUsage {
    /// When it was measured.
    pub at: Timestamp,
    /// Over how long, milliseconds.
    pub window_ms: u32,
    /// The board.
    pub node: Amounts,
    /// Its pods.
    pub pods: Vec<PodUsage>,
}

/// What the containers of a pod use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodUsage {
    /// Where the pod is stored.
    pub key: Key,
    /// Which life of that name.
    pub uid: PodUid,
    /// Containers with their amounts.
    pub containers: Vec<(String, Amounts)>,
}

/// The newest measurement of each node.
#[derive(Debug, Default)]
pub struct Usages(Mutex<BTreeMap<NodeName, Arc<NodeUsage>>>);

impl Usages {
    /// A node measured. `key` finds a pod of that node; others are left out.
    pub(crate) fn set<'a>(
        &self,
        node: &NodeName,
        usage: Usage,
        key: impl Fn(&PodUid) -> Option<&'a Key>,
        now: Timestamp,
    ) {
        let told = Timestamp::from_seconds(usage.at.0.div_euclid(1000));
        let plausible = now.since(told).abs() <= CLOCKS_DIFFER_S;
        let mut seen = HashSet::new();
        let pods = usage.pods.into_iter().filter_map(|pod| {
            let key = key(&pod.uid)?.clone();
            seen.insert(pod.uid).then(|| PodUsage {
                key,
                uid: pod.uid,
                containers: containers(pod.containers),
            })
        });
        let usage = NodeUsage {
            at: if plausible { told } else { now },
            window_ms: usage.window_ms,
            node: usage.node,
            pods: pods.collect(),
        };
        self.lock().insert(node.clone(), Arc::new(usage));
    }

    /// A node is not there any more.
    pub(crate) fn forget(&self, node: &NodeName) {
        self.lock().remove(node);
    }

    /// The newest of each node.
    pub fn all(&self) -> Vec<(NodeName, Arc<NodeUsage>)> {
        let all = self.lock();
        all.iter()
            .map(|(node, usage)| (node.clone(), Arc::clone(usage)))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeName, Arc<NodeUsage>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn containers(mut told: Vec<(String, Amounts)>) -> Vec<(String, Amounts)> {
    let mut seen = HashSet::new();
    told.truncate(CONTAINERS_MAX);
    told.retain(|(name, _)| name.len() <= NAME_MAX && seen.insert(name.clone()));
    told
}

#[cfg(test)]
mod tests {
    use bramble_wire::report::{PodUsage as Told, UnixMs};

    use super::*;

    #[test]
    fn only_a_nodes_own_pods_count_and_a_wrong_clock_does_not() {
        let (usages, node) = (Usages::default(), NodeName::new("n1").unwrap());
        let (mine, other) = (PodUid([1; 16]), PodUid([2; 16]));
        let pod = |uid| Told {
            uid,
            containers: vec![("c".into(), Amounts::default())],
        };
        let key = Key::new("", "pods", "d", "mine");
        let now = Timestamp::from_seconds(1_800_000_000);
        for (at, seen) in [(now.seconds - 60, now.seconds - 60), (0, now.seconds)] {
            let usage = Usage {
                at: UnixMs(at * 1000),
                pods: vec![pod(mine), pod(other)],
                ..Usage::default()
            };
            usages.set(&node, usage, |uid| (*uid == mine).then_some(&key), now);
            let all = usages.all();
            assert_eq!(all.len(), 1);
            assert_eq!((all[0].1.at.seconds, all[0].1.pods.len()), (seen, 1));
        }
        usages.forget(&node);
        assert!(usages.all().is_empty());
    }

    #[test]
    fn what_a_node_says_twice_counts_once() {
        let (usages, node) = (Usages::default(), NodeName::new("n1").unwrap());
        let amount = |cpu_nano| Amounts {
            cpu_nano,
            memory_bytes: 0,
        };
        let pod = |cpu| Told {
            uid: PodUid([1; 16]),
            containers: vec![("c".into(), amount(cpu)), ("c".into(), amount(9))],
        };
        let mut many = pod(3);
        let names = (0..1000).map(|n| (n.to_string(), amount(n)));
        many.containers = names.collect();
        many.uid = PodUid([2; 16]);
        let usage = Usage {
            pods: vec![pod(1), pod(2), many],
            ..Usage::default()
        };
        let key = Key::new("", "pods", "d", "mine");
        usages.set(&node, usage, |_| Some(&key), Timestamp::from_seconds(0));
        let pods = usages.all().remove(0).1.pods.clone();
        assert_eq!(pods.len(), 2);
        assert_eq!(pods[0].containers, [("c".to_owned(), amount(1))]);
        assert_eq!(pods[1].containers.len(), CONTAINERS_MAX);
    }
}
