//! What the pods that are there mean for one that comes: affinity, anti-affinity, even spread.
//!
//! In: the cluster and the pod. Out: [`Peers`], made once for a decision and asked once for each
//! node. By upstream's rules (KEP-895, KEP-3633, the documentation of inter-pod affinity): places are
//! the values of a node label, a node without the label is no place.

use std::collections::{BTreeMap, BTreeSet};

use bramble_api::view::{Labels, Node, Pod, PodTerm, Selector};

use super::cluster::{Cluster, Resident};
use super::filter::Reason;
use super::spread::{self, Hard, Soft};

/// Counts by value of a label.
pub(super) type Counts = BTreeMap<String, i64>;

/// A term or constraint with its counts.
#[derive(Debug)]
struct Counted {
    key: String,
    counts: Counts,
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
    hard: Vec<Hard>,
    soft: Vec<Soft>,
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

pub(super) fn selects(selector: Option<&Selector>, labels: &Labels) -> bool {
    selector.is_some_and(|selector| selector.matches(labels))
}

pub(super) fn value<'a>(node: &'a Node, key: &str) -> Option<&'a String> {
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
            // As upstream: company is a pod that all of the terms mean.
            let company = |resident: &Resident| {
                let (namespace, labels) = (&resident.namespace, &resident.labels);
                (required.iter()).all(|term| means(cluster, term, own, namespace, labels))
            };
            peers.beside = (required.iter())
                .map(|term| Counted {
                    key: term.topology_key.clone(),
                    counts: cluster.count(&term.topology_key, company),
                })
                .collect();
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
        (peers.hard, peers.soft) = spread::constraints(cluster, pod);
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
            let reason = spread.refuses(node);
            if reason.is_some() {
                return reason;
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

    /// How well each of these nodes spreads the pods, in hundredths of points; `None`: nobody asked.
    pub(super) fn spreads(&self, nodes: &[&Node]) -> Option<Vec<i64>> {
        (!self.soft.is_empty()).then(|| spread::points(&self.soft, nodes))
    }
}
