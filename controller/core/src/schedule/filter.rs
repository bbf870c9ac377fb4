//! Whether a node can take a pod. The first rule that says no decides, in upstream's order, except
//! that every lacking resource is named.

use std::fmt;

use bramble_api::view::{AffinityTerm, Labels, Node, Pod, Requirement, Taint};

use super::{Amount, Place};

/// Why a node can't take a pod; prints as upstream does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Cordoned.
    Unschedulable,
    /// A taint that the pod does not bear.
    Taint(String, String),
    /// The node selector or required affinity.
    Affinity,
    /// Not enough of a resource.
    Insufficient(&'static str),
    /// The node's document would hold too many pods.
    TooManyPods,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unschedulable => f.write_str("node(s) were unschedulable"),
            Self::Taint(key, value) => {
                write!(f, "node(s) had untolerated taint {{{key}: {value}}}")
            }
            Self::Affinity => f.write_str("node(s) didn't match Pod's node affinity/selector"),
            Self::Insufficient(resource) => write!(f, "Insufficient {resource}"),
            Self::TooManyPods => f.write_str("Too many pods"),
        }
    }
}

pub(super) fn check(
    pod: &Pod,
    wants: Amount,
    place: &Place,
    node: &Node,
) -> Result<(), Vec<Reason>> {
    if node.spec.unschedulable && !tolerates(pod, &cordon()) {
        return Err(vec![Reason::Unschedulable]);
    }
    if let Some(taint) = untolerated(pod, node) {
        return Err(vec![Reason::Taint(taint.key.clone(), taint.value.clone())]);
    }
    if !matches_selector(pod, node) {
        return Err(vec![Reason::Affinity]);
    }
    let lacking = lacking(wants, place);
    if lacking.is_empty() {
        Ok(())
    } else {
        Err(lacking)
    }
}

fn cordon() -> Taint {
    Taint {
        key: "node.kubernetes.io/unschedulable".into(),
        effect: "NoSchedule".into(),
        ..Taint::default()
    }
}

fn tolerates(pod: &Pod, taint: &Taint) -> bool {
    pod.spec
        .tolerations
        .iter()
        .any(|toleration| toleration.tolerates(taint))
}

fn untolerated<'a>(pod: &Pod, node: &'a Node) -> Option<&'a Taint> {
    let taints = node.spec.taints.iter();
    let mut hard = taints.filter(|t| matches!(t.effect.as_str(), "NoSchedule" | "NoExecute"));
    hard.find(|taint| !tolerates(pod, taint))
}

fn matches_selector(pod: &Pod, node: &Node) -> bool {
    let labels = &node.metadata.labels;
    let selected = pod
        .spec
        .node_selector
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value));
    let affine = pod.spec.node_affinity.as_ref().is_none_or(|terms| {
        terms
            .iter()
            .any(|term| matches_term(term, labels, &node.metadata.name))
    });
    selected && affine
}

/// An empty term selects nothing, as upstream.
fn matches_term(term: &AffinityTerm, labels: &Labels, name: &str) -> bool {
    let fields = Labels::from([("metadata.name".to_owned(), name.to_owned())]);
    let all = |list: &[Requirement], of: &Labels| list.iter().all(|r| r.matches(of));
    !(term.match_expressions.is_empty() && term.match_fields.is_empty())
        && all(&term.match_expressions, labels)
        && all(&term.match_fields, &fields)
}

fn lacking(wants: Amount, place: &Place) -> Vec<Reason> {
    let has = place.allocatable;
    let used = place.used;
    let lacks = |want: u64, used: u64, has: u64| want > 0 && used.saturating_add(want) > has;
    let mut reasons = Vec::new();
    if lacks(wants.pods, used.pods, has.pods) {
        reasons.push(Reason::TooManyPods);
    }
    if lacks(wants.cpu_milli, used.cpu_milli, has.cpu_milli) {
        reasons.push(Reason::Insufficient("cpu"));
    }
    if lacks(wants.memory, used.memory, has.memory) {
        reasons.push(Reason::Insufficient("memory"));
    }
    reasons
}
