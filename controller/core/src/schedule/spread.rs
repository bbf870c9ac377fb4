//! Topology spread constraints: what they forbid, and how well they are met.
//!
//! As upstream (`plugins/podtopologyspread`): a node counts for the constraints of one sort only if it
//! has the labels of all of them, and the counts of a constraint weigh more the more places it has.

use std::collections::BTreeSet;

use bramble_api::view::{Labels, Node, Pod, SpreadConstraint};

use super::cluster::{Cluster, Resident};
use super::filter::{self, Reason};
use super::peers::{Counts, selects, value};

/// A constraint that must be met.
#[derive(Debug)]
pub(super) struct Hard {
    key: String,
    max_skew: i64,
    counts: Counts,
    least: i64,
    /// Whether the pod itself is counted.
    itself: i64,
}

/// A constraint that should be met.
#[derive(Debug)]
pub(super) struct Soft {
    key: String,
    max_skew: i64,
    counts: Counts,
}

/// The constraints of a pod with their counts.
pub(super) fn constraints(cluster: &Cluster, pod: &Pod) -> (Vec<Hard>, Vec<Soft>) {
    let all = &pod.spec.topology_spread_constraints;
    let (soft, hard): (Vec<_>, Vec<_>) = (all.iter())
        .partition(|constraint| constraint.when_unsatisfiable.as_str() == "ScheduleAnyway");
    let counted = |of: &[&SpreadConstraint], one: &SpreadConstraint| count(cluster, pod, of, one);
    let hard_ones = (hard.iter())
        .map(|one| Hard::of(pod, one, counted(&hard, one)))
        .collect();
    let soft_ones = (soft.iter())
        .map(|one| Soft {
            key: one.topology_key.clone(),
            max_skew: one.max_skew,
            counts: counted(&soft, one),
        })
        .collect();
    (hard_ones, soft_ones)
}

/// Whether a constraint of the pod counts pods with these labels.
fn counts(constraint: &SpreadConstraint, own: &Labels, labels: &Labels) -> bool {
    let keys = constraint.match_label_keys.iter();
    let mut keys = keys.filter(|key| own.contains_key(*key));
    selects(constraint.label_selector.as_ref(), labels)
        && keys.all(|key| labels.get(key) == own.get(key))
}

/// How many pods there are by place; places are those of nodes that have the labels of `all`.
fn count(
    cluster: &Cluster,
    pod: &Pod,
    all: &[&SpreadConstraint],
    constraint: &SpreadConstraint,
) -> Counts {
    let own = &pod.metadata.labels;
    let mut found = Counts::new();
    for (_, place, node) in cluster.nodes() {
        if !(all.iter()).all(|one| value(node, &one.topology_key).is_some()) {
            continue;
        }
        let Some(value) = value(node, &constraint.topology_key) else {
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
                && counts(constraint, own, &resident.labels)
        };
        let here = place.residents.values().filter(same).count();
        *found.entry(value.clone()).or_default() += i64::try_from(here).unwrap_or(i64::MAX);
    }
    found
}

impl Hard {
    fn of(pod: &Pod, constraint: &SpreadConstraint, found: Counts) -> Self {
        let own = &pod.metadata.labels;
        let domains = i64::try_from(found.len()).unwrap_or(i64::MAX);
        let few = (constraint.min_domains).is_some_and(|fewest| domains < fewest);
        let least = if few {
            0
        } else {
            found.values().min().copied().unwrap_or(0)
        };
        Self {
            key: constraint.topology_key.clone(),
            max_skew: constraint.max_skew,
            least,
            itself: i64::from(counts(constraint, own, own)),
            counts: found,
        }
    }

    /// Why a node may not have the pod, if so.
    pub(super) fn refuses(&self, node: &Node) -> Option<Reason> {
        let Some(value) = value(node, &self.key) else {
            return Some(Reason::SpreadLabel);
        };
        let here = self.counts.get(value).copied().unwrap_or(0);
        (here + self.itself - self.least > self.max_skew).then_some(Reason::Spread)
    }
}

/// The points that each of these nodes gets, in hundredths: none without the label of every
/// constraint, 100 where the fewest pods are, the fewer the more there are.
pub(super) fn points(soft: &[Soft], nodes: &[&Node]) -> Vec<i64> {
    let qualified = |node: &Node| soft.iter().all(|one| value(node, &one.key).is_some());
    let weights: Vec<f64> = (soft.iter())
        .map(|one| {
            let nodes = nodes.iter().filter(|node| qualified(node));
            let places: BTreeSet<_> = nodes.filter_map(|node| value(node, &one.key)).collect();
            f64::from(u32::try_from(places.len() + 2).unwrap_or(u32::MAX)).ln()
        })
        .collect();
    let crowd = |node: &&Node| {
        let term = |(one, weight): (&Soft, &f64)| {
            let here = one.counts.get(value(node, &one.key)?).copied().unwrap_or(0);
            Some(here as f64 * weight + (one.max_skew - 1) as f64)
        };
        let terms: Option<Vec<f64>> = soft.iter().zip(&weights).map(term).collect();
        terms.map(|terms| terms.iter().sum::<f64>().round() as i64)
    };
    let crowds: Vec<Option<i64>> = nodes.iter().map(crowd).collect();
    let low = crowds.iter().flatten().min().copied().unwrap_or(0);
    let high = crowds.iter().flatten().max().copied().unwrap_or(0);
    let scaled = |crowd: &Option<i64>| match crowd {
        None => 0,
        Some(_) if high == 0 => 10_000,
        Some(here) => (high + low).saturating_sub(*here).saturating_mul(10_000) / high,
    };
    crowds.iter().map(scaled).collect()
}
