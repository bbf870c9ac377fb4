//! Whether a node can take a pod. The first rule that says no decides, in upstream's order, except
//! that every lacking resource is named.

use std::fmt;

use bramble_api::view::{AffinityTerm, Labels, Node, Pod, Requirement, Taint};

use super::Amount;
use super::cluster::{Cluster, Place};
use super::peers::Peers;

/// Why a node can't take a pod; prints as upstream does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Cordoned.
    Unschedulable,
    /// A taint that the pod does not bear.
    Taint(String, String),
    /// The node selector or required affinity.
    Affinity,
    /// An image of the pod does not run there; the platforms that it is for, if they are known.
    Platform(String, String),
    /// Not enough of a resource.
    Insufficient(&'static str),
    /// The node's document would hold too many pods.
    TooManyPods,
    /// Another pod has a host port that it wants.
    Ports,
    /// Required to be beside pods that are not there.
    PodAffinity,
    /// Required to be away from pods that are there.
    PodAntiAffinity,
    /// Pods that are there require to be away from it.
    ExistingAntiAffinity,
    /// The pods would be spread too unevenly.
    Spread,
    /// The node lacks the label by which pods are to be spread.
    SpreadLabel,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unschedulable => f.write_str("node(s) were unschedulable"),
            Self::Taint(key, value) => {
                write!(f, "node(s) had untolerated taint {{{key}: {value}}}")
            }
            Self::Affinity => f.write_str("node(s) didn't match Pod's node affinity/selector"),
            Self::Platform(image, platforms) => {
                write!(f, "node(s) can't run image \"{image}\"")?;
                match platforms.as_str() {
                    "" => Ok(()),
                    platforms => write!(f, ", which is for {platforms}"),
                }
            }
            Self::Insufficient(resource) => write!(f, "Insufficient {resource}"),
            Self::TooManyPods => f.write_str("Too many pods"),
            Self::Ports => {
                f.write_str("node(s) didn't have free ports for the requested pod ports")
            }
            Self::PodAffinity => f.write_str("node(s) didn't match pod affinity rules"),
            Self::PodAntiAffinity => f.write_str("node(s) didn't match pod anti-affinity rules"),
            Self::ExistingAntiAffinity => {
                f.write_str("node(s) didn't satisfy existing pods anti-affinity rules")
            }
            Self::Spread => f.write_str("node(s) didn't match pod topology spread constraints"),
            Self::SpreadLabel => f.write_str(
                "node(s) didn't match pod topology spread constraints (missing required label)",
            ),
        }
    }
}

impl Reason {
    /// Whether the node could take the pod if it had fewer pods.
    pub(super) fn ends_with_pods(&self) -> bool {
        matches!(
            self,
            Self::Insufficient(_)
                | Self::TooManyPods
                | Self::Ports
                | Self::PodAntiAffinity
                | Self::ExistingAntiAffinity
                | Self::Spread
        )
    }
}

pub(super) fn check(
    cluster: &Cluster,
    pod: &Pod,
    wants: Amount,
    place: &Place,
    node: &Node,
    peers: &Peers,
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
    if let Some((image, platforms)) = cluster.images.refusal(pod, node) {
        return Err(vec![Reason::Platform(image, platforms)]);
    }
    if place.has_port_of(pod) {
        return Err(vec![Reason::Ports]);
    }
    let reserved = place.reserved_before(pod);
    let lacking = lacking(wants, place.used.plus(reserved), place.allocatable);
    if !lacking.is_empty() {
        return Err(lacking);
    }
    match peers.refuses(node) {
        Some(reason) => Err(vec![reason]),
        None => Ok(()),
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

pub(super) fn untolerated<'a>(pod: &Pod, node: &'a Node) -> Option<&'a Taint> {
    let taints = node.spec.taints.iter();
    let mut hard = taints.filter(|t| matches!(t.effect.as_str(), "NoSchedule" | "NoExecute"));
    hard.find(|taint| !tolerates(pod, taint))
}

pub(super) fn matches_selector(pod: &Pod, node: &Node) -> bool {
    let labels = &node.metadata.labels;
    let selected = pod
        .spec
        .node_selector
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value));
    let affinity = pod.spec.affinity.as_ref();
    let required = affinity.and_then(|affinity| affinity.node_affinity.required.as_ref());
    let affine = required.is_none_or(|terms| {
        (terms.node_selector_terms.iter())
            .any(|term| matches_term(term, labels, &node.metadata.name))
    });
    selected && affine
}

/// An empty term selects nothing, as upstream.
pub(super) fn matches_term(term: &AffinityTerm, labels: &Labels, name: &str) -> bool {
    let fields = Labels::from([("metadata.name".to_owned(), name.to_owned())]);
    let all = |list: &[Requirement], of: &Labels| list.iter().all(|r| r.matches(of));
    !(term.match_expressions.is_empty() && term.match_fields.is_empty())
        && all(&term.match_expressions, labels)
        && all(&term.match_fields, &fields)
}

pub(super) fn lacking(wants: Amount, used: Amount, has: Amount) -> Vec<Reason> {
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
    if lacks(wants.storage, used.storage, has.storage) {
        reasons.push(Reason::Insufficient("ephemeral-storage"));
    }
    reasons
}
