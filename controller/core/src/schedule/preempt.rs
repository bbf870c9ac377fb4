//! Room for a pod that matters more: which pods of which node would have to go.
//!
//! As upstream: only pods of lower priority, as few and as unimportant as possible, and none while
//! pods that were told to go for this one are still going.

use std::cmp::Reverse;

use bramble_api::time::Timestamp;
use bramble_api::view::Pod;

use super::Amount;
use super::cluster::{Cluster, Place, Resident};
use super::filter::{self, Reason};
use super::peers::Peers;

/// Nodes on which it is tried what other pods mean without those that would go: each costs a look at
/// all pods for each of its pods.
const CLOSE_LOOKS: usize = 32;

/// A pod that has to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Victim {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

/// What preemption came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Preemption {
    /// These leave that node for it.
    Victims(String, Vec<Victim>),
    /// Pods leave already.
    Waiting,
    /// It may not, and why not.
    NotEligible,
    /// Nobody's leaving would help.
    Helpless,
}

/// What a node's victims are worth; the node where that is least is taken. The order of the fields is
/// upstream's (`pickOneNodeForPreemption`).
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cost {
    highest: i32,
    /// Of all priorities, each as if the lowest there is were 0: more pods are worth more.
    sum: i64,
    count: usize,
    /// When the first of the highest priority started: the least work is lost with the latest.
    since: Reverse<Started>,
}

impl Cost {
    fn of(victims: &[(&str, &Resident)]) -> Self {
        let priorities = victims.iter().map(|(_, one)| one.priority);
        let highest = priorities.clone().max().unwrap_or(i32::MIN);
        let most = victims.iter().filter(|(_, one)| one.priority == highest);
        let since = most.map(|(_, one)| Started::of(one)).min();
        Self {
            highest,
            sum: priorities
                .map(|one| i64::from(one) - i64::from(i32::MIN))
                .sum(),
            count: victims.len(),
            since: Reverse(since.unwrap_or(Started::NotYet)),
        }
    }
}

/// When a pod started; one that has not starts now at the earliest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Started {
    At(Timestamp),
    NotYet,
}

impl Started {
    fn of(one: &Resident) -> Self {
        one.started.map_or(Self::NotYet, Self::At)
    }
}

/// Looks for room for a pod that no node can take. `refusals` says why each node can't.
pub(super) fn find(
    cluster: &Cluster,
    pod: &Pod,
    wants: Amount,
    refusals: &[(&str, Vec<Reason>)],
) -> Preemption {
    if pod.spec.preemption_policy == "Never" {
        return Preemption::NotEligible;
    }
    let nominated = cluster.places.get(&pod.status.nominated_node_name);
    let leaves = |one: &Resident| one.deleting && one.priority < pod.spec.priority;
    if nominated.is_some_and(|place| place.residents.values().any(leaves)) {
        return Preemption::Waiting;
    }
    let mut best: Option<(Cost, &str, Vec<Victim>)> = None;
    let concerns_peers = |reason: &Reason| {
        matches!(
            reason,
            Reason::PodAntiAffinity | Reason::ExistingAntiAffinity | Reason::Spread
        )
    };
    // Who has wishes about other pods, or is kept away by theirs, is looked at closely.
    let close = refusals
        .iter()
        .any(|(_, reasons)| reasons.iter().any(concerns_peers))
        || pod.spec.affinity.is_some()
        || !pod.spec.topology_spread_constraints.is_empty();
    let mut scratch = close.then(|| cluster.clone());
    let mut looks = 0;
    for (name, reasons) in refusals {
        let Some(place) = cluster.places.get(*name) else {
            continue;
        };
        if !reasons.iter().all(Reason::ends_with_pods) {
            continue;
        }
        let found = match &mut scratch {
            Some(_) if looks >= CLOSE_LOOKS => continue,
            Some(scratch) => {
                looks += 1;
                let mut agrees = |gone: &[&str]| without(scratch, name, gone, pod);
                victims(place, pod, wants, &mut agrees)
            }
            None => victims(place, pod, wants, &mut |_| true),
        };
        let Some(victims) = found else {
            continue;
        };
        let cost = Cost::of(&victims);
        if best.as_ref().is_none_or(|(other, ..)| cost < *other) {
            let victims = (victims.into_iter())
                .map(|(uid, one)| Victim {
                    namespace: one.namespace.clone(),
                    name: one.name.clone(),
                    uid: uid.to_owned(),
                })
                .collect();
            best = Some((cost, name, victims));
        }
    }
    match best {
        Some((_, name, victims)) => Preemption::Victims(name.to_owned(), victims),
        None => Preemption::Helpless,
    }
}

/// Whether other pods would let it onto a node that these have left.
fn without(scratch: &mut Cluster, name: &str, gone: &[&str], pod: &Pod) -> bool {
    let Some(place) = scratch.places.get_mut(name) else {
        return false;
    };
    let taken: Vec<(String, Resident)> = (gone.iter())
        .filter_map(|uid| place.residents.remove_entry(*uid))
        .collect();
    let peers = Peers::of(scratch, pod);
    let Some(place) = scratch.places.get_mut(name) else {
        return false;
    };
    place.residents.extend(taken);
    place
        .node
        .as_ref()
        .is_some_and(|node| peers.refuses(node).is_none())
}

/// The pods of a node that would have to go, least important first; `None` when that is no help.
/// `agrees` says whether other pods allow it once those are gone.
fn victims<'a>(
    place: &'a Place,
    pod: &Pod,
    wants: Amount,
    agrees: &mut dyn FnMut(&[&str]) -> bool,
) -> Option<Vec<(&'a str, &'a Resident)>> {
    let mut lower: Vec<(&str, &Resident)> = (place.residents.iter())
        .filter(|(_, one)| one.priority < pod.spec.priority && !one.deleting)
        .map(|(uid, one)| (uid.as_str(), one))
        .collect();
    // As upstream's `MoreImportantPod`: of the same priority the older one.
    lower.sort_by_key(|(uid, one)| (one.priority, Reverse(Started::of(one)), *uid));
    let reserved = place.reserved_before(pod);
    let mut gone: Vec<&str> = lower.iter().map(|(uid, _)| *uid).collect();
    let mut fits = |gone: &[&str]| {
        let freed = gone.iter().filter_map(|uid| place.residents.get(*uid));
        let freed = freed.fold(Amount::default(), |sum, one| sum.plus(one.amount));
        let used = place.used.minus(freed).plus(reserved);
        filter::lacking(wants, used, place.allocatable).is_empty()
            && !place.has_port_of_without(pod, gone)
            && agrees(gone)
    };
    if gone.is_empty() || !fits(&gone) {
        return None;
    }
    // Spared, the most important first, is whoever need not go.
    for (uid, _) in lower.iter().rev() {
        let without: Vec<&str> = gone.iter().copied().filter(|one| one != uid).collect();
        if fits(&without) {
            gone = without;
        }
    }
    lower.retain(|(uid, _)| gone.contains(uid));
    Some(lower)
}
