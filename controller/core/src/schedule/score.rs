//! How well a node suits a pod, among those that can take it.
//!
//! As upstream each aspect gives a node 0 to 100 points, relative to the other nodes, times a weight.
//! What somebody asked for (taints, affinity, spread constraints) weighs more than what is done
//! unasked: keeping pods of one owner apart, and leaving the most free.

use bramble_api::view::{Node, Pod};

use super::cluster::Place;
use super::peers::Peers;
use super::{Amount, filter};

/// What a pod without requests is taken to need, so that such pods spread too. As upstream.
const CPU_DEFAULT_MILLI: u64 = 100;
const MEMORY_DEFAULT: u64 = 200 << 20;

/// Weights; upstream's, but that siblings are kept apart more firmly than free room counts.
const TAINTS: i64 = 3;
const WISHES: i64 = 3;
const SIBLINGS: i64 = 2;
const ROOM: i64 = 1;

/// What is known of one node.
pub(super) struct Candidate<'a> {
    pub(super) name: &'a str,
    node: &'a Node,
    taints: i64,
    node_wishes: i64,
    pod_wishes: i64,
    siblings: i64,
    room: i64,
}

impl<'a> Candidate<'a> {
    pub(super) fn new(
        name: &'a str,
        pod: &Pod,
        wants: Amount,
        place: &Place,
        node: &'a Node,
        peers: &Peers,
    ) -> Self {
        let siblings = (pod.metadata.controller())
            .and_then(|owner| place.siblings.get(&owner.uid))
            .copied()
            .unwrap_or(0);
        let soft = node.spec.taints.iter().filter(|taint| {
            let mut tolerations = pod.spec.tolerations.iter();
            taint.effect == "PreferNoSchedule"
                && !tolerations.any(|toleration| toleration.tolerates(taint))
        });
        let affinity = pod.spec.affinity.as_ref();
        let preferred = affinity.map(|affinity| affinity.node_affinity.preferred.as_slice());
        let labels = &node.metadata.labels;
        let node_wishes = (preferred.unwrap_or_default().iter())
            .filter(|wish| filter::matches_term(&wish.preference, labels, name))
            .map(|wish| wish.weight)
            .sum();
        Self {
            name,
            taints: i64::try_from(soft.count()).unwrap_or(i64::MAX),
            node_wishes,
            pod_wishes: peers.wished(node),
            node,
            siblings: siblings.into(),
            room: free(wants, place),
        }
    }
}

/// The best of them; ties go to the first name.
pub(super) fn best<'a>(candidates: &[Candidate<'a>], peers: &Peers) -> Option<&'a str> {
    let few = |of: fn(&Candidate<'_>) -> i64| Scale::of(candidates.iter().map(of));
    let taints = few(|one| one.taints);
    let node_wishes = few(|one| one.node_wishes);
    let pod_wishes = few(|one| one.pod_wishes);
    let nodes: Vec<&Node> = candidates.iter().map(|one| one.node).collect();
    let spreads = peers.spreads(&nodes);
    let siblings = few(|one| one.siblings);
    let mut best: Option<(i64, &'a str)> = None;
    for (at, one) in candidates.iter().enumerate() {
        let unasked = match &spreads {
            Some(points) => WISHES * points[at],
            None => SIBLINGS * (10_000 - siblings.points(one.siblings)),
        };
        let score = TAINTS * (10_000 - taints.points(one.taints))
            + WISHES * (node_wishes.points(one.node_wishes) + pod_wishes.points(one.pod_wishes))
            + unasked
            + ROOM * one.room;
        if best.is_none_or(|(other, _)| score > other) {
            best = Some((score, one.name));
        }
    }
    best.map(|(_, name)| name)
}

/// The values of an aspect over the nodes.
struct Scale {
    low: i64,
    high: i64,
}

impl Scale {
    fn of(values: impl Iterator<Item = i64> + Clone) -> Self {
        Self {
            low: values.clone().min().unwrap_or(0),
            high: values.max().unwrap_or(0),
        }
    }

    /// Hundredths of points: 0 for the lowest value, 100 for the highest; 0 when all are equal.
    fn points(&self, value: i64) -> i64 {
        let range = self.high.saturating_sub(self.low);
        if range == 0 {
            return 0;
        }
        let part = i128::from(value.saturating_sub(self.low)) * 10_000 / i128::from(range);
        i64::try_from(part).unwrap_or(0)
    }
}

/// Mean of the free shares of processor, memory and pods after the pod came, in hundredths of points.
fn free(wants: Amount, place: &Place) -> i64 {
    let has = place.allocatable;
    let share = |has: u64, used: u64, want: u64| {
        if has == 0 {
            return 0;
        }
        let left = has.saturating_sub(used.saturating_add(want));
        i64::try_from(u128::from(left) * 10_000 / u128::from(has)).unwrap_or(0)
    };
    let cpu = wants.cpu_milli.max(CPU_DEFAULT_MILLI);
    let memory = wants.memory.max(MEMORY_DEFAULT);
    (share(has.cpu_milli, place.used.cpu_milli, cpu)
        + share(has.memory, place.used.memory, memory)
        + share(has.pods, place.used.pods, wants.pods))
        / 3
}
