//! Room for a pod that matters more: which pods of which node would have to go.
//!
//! As upstream: only pods of lower priority, as few and as unimportant as possible, and none while
//! pods that were told to go for this one are still going.

use bramble_api::view::Pod;

use super::filter::{self, Reason};
use super::{Amount, Cluster, Place, Resident};

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
    let mut best: Option<((i32, usize), &str, Vec<Victim>)> = None;
    for (name, reasons) in refusals {
        let Some(place) = cluster.places.get(*name) else {
            continue;
        };
        if !reasons.iter().all(Reason::ends_with_pods) {
            continue;
        }
        let Some(victims) = victims(place, pod, wants) else {
            continue;
        };
        let highest = victims.iter().map(|(_, one)| one.priority).max();
        let cost = (highest.unwrap_or(i32::MIN), victims.len());
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

/// The pods of a node that would have to go, least important first; `None` when that is no help.
fn victims<'a>(place: &'a Place, pod: &Pod, wants: Amount) -> Option<Vec<(&'a str, &'a Resident)>> {
    let mut lower: Vec<(&str, &Resident)> = (place.residents.iter())
        .filter(|(_, one)| one.priority < pod.spec.priority && !one.deleting)
        .map(|(uid, one)| (uid.as_str(), one))
        .collect();
    lower.sort_by_key(|(uid, one)| (one.priority, *uid));
    let reserved = place.reserved_before(pod);
    let mut gone: Vec<&str> = lower.iter().map(|(uid, _)| *uid).collect();
    let fits = |gone: &[&str]| {
        let freed = gone.iter().filter_map(|uid| place.residents.get(*uid));
        let freed = freed.fold(Amount::default(), |sum, one| sum.plus(one.amount));
        let used = place.used.minus(freed).plus(reserved);
        filter::lacking(wants, used, place.allocatable).is_empty()
            && !place.has_port_of_without(pod, gone)
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
