//! What the pods that are there mean for one that comes: affinity, anti-affinity, even spread.
//!
//! In: the cluster and the pod. Out: [`Peers`], made once for a decision and asked once for each
//! node. By upstream's rules (KEP-895, KEP-3633, the documentation of inter-pod affinity): places are
//! the values of a node label, a node without the label is no place.

use std::collections::{BTreeMap, BTreeSet};

use bramble_api::view::{Labels, Node, Pod, PodTerm, Selector, SpreadConstraint};

use super::cluster::{Cluster, Resident};
use super::filter::{self, Reason};

/// Counts by value of a label.
type Counts = BTreeMap<String, i64>;

/// A term or constraint with its counts.
#[derive(Debug)]
struct Counted {
    key: String,
    counts: Counts,
}

#[derive(Debug)]
struct Spread {
    key: String,
    max_skew: i64,
    counts: Counts,
    least: i64,
    /// Whether the pod itself is counted.
    itself: i64,
}

/// What other pods mean for this one.
#[derive(Debug, Default)]
pub(super) struct Peers {
    /// Required affinity; the flag says that the pod may be the first of its kind.
    beside: Vec<Counted>,
    first: bool,
    /// Required anti-affinity.
    away: Vec<Counted>,
    /// Places that other pods keep it out of.
    closed: BTreeSet<(String, String)>,
    hard: Vec<Spread>,
    soft: Vec<Spread>,
    /// Weight by place.
    wishes: BTreeMap<(String, String), i64>,
}

/// Whether a pod with these labels in this namespace is one that `of`'s term means.
fn means(
    cluster: &Cluster,
    term: &PodTerm,
    of: (&str, &Labels),
    namespace: &str,
    labels: &Labels,
) -> bool {
    let (own, own_labels) = of;
    let here = match &term.namespace_selector {
        None if term.namespaces.is_empty() => namespace == own,
        selector => {
            let listed = term.namespaces.iter().any(|one| one == namespace);
            let selected = selector.as_ref().is_some_and(|selector| {
                let none = Labels::new();
                selector.matches(cluster.namespaces.get(namespace).unwrap_or(&none))
            });
            listed || selected
        }
    };
    let alike = |key: &String| labels.get(key) == own_labels.get(key);
    // A key that the pod itself lacks is left out, as upstream.
    let known = |key: &&String| own_labels.contains_key(*key);
    here && selects(term.label_selector.as_ref(), labels)
        && term.match_label_keys.iter().filter(known).all(alike)
        && !term.mismatch_label_keys.iter().filter(known).any(alike)
}

fn selects(selector: Option<&Selector>, labels: &Labels) -> bool {
    selector.is_some_and(|selector| selector.matches(labels))
}

fn value<'a>(node: &'a Node, key: &str) -> Option<&'a String> {
    node.metadata.labels.get(key)
}

impl Peers {
    pub(super) fn of(cluster: &Cluster, pod: &Pod) -> Self {
        let mut peers = Self::default();
        let own = (pod.metadata.namespace.as_str(), &pod.metadata.labels);
        if let Some(affinity) = &pod.spec.affinity {
            let count = |term: &PodTerm| Counted {
                key: term.topology_key.clone(),
                counts: cluster.count(&term.topology_key, |resident| {
                    means(cluster, term, own, &resident.namespace, &resident.labels)
                }),
            };
            let required = &affinity.pod_affinity.required;
            peers.beside = required.iter().map(count).collect();
            peers.away = (affinity.pod_anti_affinity.required.iter())
                .map(count)
                .collect();
            let nowhere = peers.beside.iter().all(|term| term.counts.is_empty());
            peers.first =
                nowhere && (required.iter()).all(|term| means(cluster, term, own, own.0, own.1));
            let preferred = (affinity.pod_affinity.preferred.iter().map(|one| (one, 1))).chain(
                affinity
                    .pod_anti_affinity
                    .preferred
                    .iter()
                    .map(|one| (one, -1)),
            );
            for (wish, sign) in preferred {
                let counted = count(&wish.pod_affinity_term);
                for (value, count) in counted.counts {
                    let place = (counted.key.clone(), value);
                    *peers.wishes.entry(place).or_default() += sign * wish.weight * count;
                }
            }
        }
        peers.hear_residents(cluster, own);
        for constraint in &pod.spec.topology_spread_constraints {
            let spread = Spread::of(cluster, pod, constraint);
            match constraint.when_unsatisfiable.as_str() {
                "ScheduleAnyway" => peers.soft.push(spread),
                _ => peers.hard.push(spread),
            }
        }
        peers
    }

    /// What the pods that are there want of the one that comes.
    fn hear_residents(&mut self, cluster: &Cluster, own: (&str, &Labels)) {
        for (_, place, node) in cluster.nodes() {
            for resident in place.residents.values() {
                let Some(affinity) = &resident.affinity else {
                    continue;
                };
                let of = (resident.namespace.as_str(), &resident.labels);
                let meant = |term: &PodTerm| {
                    let value = value(node, &term.topology_key)?;
                    let meant = means(cluster, term, of, own.0, own.1);
                    meant.then(|| (term.topology_key.clone(), value.clone()))
                };
                let away = affinity.pod_anti_affinity.required.iter();
                self.closed.extend(away.filter_map(meant));
                let wishes = (affinity.pod_affinity.preferred.iter())
                    .map(|wish| (&wish.pod_affinity_term, wish.weight))
                    .chain(
                        (affinity.pod_anti_affinity.preferred.iter())
                            .map(|wish| (&wish.pod_affinity_term, -wish.weight)),
                    )
                    // Pods that require each other's company count a little, as upstream.
                    .chain(affinity.pod_affinity.required.iter().map(|term| (term, 1)));
                for (term, weight) in wishes {
                    if let Some(place) = meant(term) {
                        *self.wishes.entry(place).or_default() += weight;
                    }
                }
            }
        }
    }

    /// Why a node may not have the pod, if so.
    pub(super) fn refuses(&self, node: &Node) -> Option<Reason> {
        for spread in &self.hard {
            let Some(value) = value(node, &spread.key) else {
                return Some(Reason::SpreadLabel);
            };
            let here = spread.counts.get(value).copied().unwrap_or(0);
            if here + spread.itself - spread.least > spread.max_skew {
                return Some(Reason::Spread);
            }
        }
        let count = |term: &Counted| {
            let value = value(node, &term.key)?;
            Some(term.counts.get(value).copied().unwrap_or(0))
        };
        let beside = |term: &Counted| count(term).is_some_and(|count| self.first || count > 0);
        if !self.beside.iter().all(beside) {
            return Some(Reason::PodAffinity);
        }
        if self.away.iter().any(|term| count(term).unwrap_or(0) > 0) {
            return Some(Reason::PodAntiAffinity);
        }
        let closed = |(key, closed): &(String, String)| value(node, key) == Some(closed);
        if self.closed.iter().any(closed) {
            return Some(Reason::ExistingAntiAffinity);
        }
        None
    }

    /// Wishes of pods for each other that this node fulfils; more is better.
    pub(super) fn wished(&self, node: &Node) -> i64 {
        (self.wishes.iter())
            .filter(|((key, wanted), _)| value(node, key) == Some(wanted))
            .map(|(_, weight)| weight)
            .sum()
    }

    /// How many of the pods that are to be spread are here; fewer is better. `None`: none are.
    pub(super) fn crowd(&self, node: &Node) -> Option<i64> {
        if self.soft.is_empty() {
            return None;
        }
        let here = |spread: &Spread| match value(node, &spread.key) {
            Some(value) => spread.counts.get(value).copied().unwrap_or(0),
            // Behind every place that there is.
            None => spread.counts.values().max().copied().unwrap_or(0) + 1,
        };
        Some(self.soft.iter().map(here).sum())
    }
}

impl Spread {
    fn of(cluster: &Cluster, pod: &Pod, constraint: &SpreadConstraint) -> Self {
        let key = &constraint.topology_key;
        let own = &pod.metadata.labels;
        let counted = |labels: &Labels| {
            let keys = constraint.match_label_keys.iter();
            let mut keys = keys.filter(|key| own.contains_key(*key));
            selects(constraint.label_selector.as_ref(), labels)
                && keys.all(|key| labels.get(key) == own.get(key))
        };
        let mut counts = Counts::new();
        for (_, place, node) in cluster.nodes() {
            let Some(value) = value(node, key) else {
                continue;
            };
            let barred = (constraint.node_affinity_policy != "Ignore"
                && !filter::matches_selector(pod, node))
                || (constraint.node_taints_policy == "Honor"
                    && filter::untolerated(pod, node).is_some());
            if barred {
                continue;
            }
            let same = |resident: &&Resident| {
                !resident.deleting
                    && resident.namespace == pod.metadata.namespace
                    && counted(&resident.labels)
            };
            let here = place.residents.values().filter(same).count();
            *counts.entry(value.clone()).or_default() += i64::try_from(here).unwrap_or(i64::MAX);
        }
        let domains = i64::try_from(counts.len()).unwrap_or(i64::MAX);
        let few = (constraint.min_domains).is_some_and(|fewest| domains < fewest);
        let least = if few {
            0
        } else {
            counts.values().min().copied().unwrap_or(0)
        };
        Self {
            key: key.clone(),
            max_skew: constraint.max_skew,
            least,
            itself: i64::from(counted(own)),
            counts,
        }
    }
}
