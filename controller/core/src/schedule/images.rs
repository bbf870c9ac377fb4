//! Which images do not run where, as nodes found out.
//!
//! In: pods as they come, change and go. Where a node refused the image of one, its status says which
//! platforms the image is for. Out: whether a node can run a pod's images, as far as that is known.
//!
//! What is known holds while a pod says so and for [`KEPT_S`] after, so that what replaces such a pod
//! goes elsewhere, and an image that was mended gets another chance. At most [`MAX`] images are known;
//! beyond that the one that was met longest ago is forgotten.

use std::collections::{BTreeMap, BTreeSet};

use bramble_api::time::Timestamp;
use bramble_api::view::{Node, Pod};

use crate::node::PLATFORMS;

/// Seconds that a refusal is remembered after the last pod that shows it.
const KEPT_S: i64 = 600;
/// Most images.
const MAX: usize = 256;

/// What is known of one image.
#[derive(Debug, Clone, Default, PartialEq)]
struct Known {
    /// Platforms that it is for; empty when the refusal did not say.
    offered: Vec<String>,
    /// Platforms of nodes that refused it.
    refused: BTreeSet<String>,
    /// Pods that show it now.
    pods: BTreeSet<String>,
    met: Timestamp,
}

/// What is known of all images.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Images(BTreeMap<String, Known>);

impl Images {
    /// A pod came, changed or went. `platforms` are those of its node.
    pub(super) fn handle_pod(
        &mut self,
        before: Option<&Pod>,
        after: Option<&Pod>,
        platforms: impl Fn(&Pod) -> Option<String>,
        now: Timestamp,
    ) {
        if let Some(pod) = before {
            for (image, _) in refusals(pod) {
                if let Some(known) = self.0.get_mut(image) {
                    known.pods.remove(&pod.metadata.uid);
                    known.met = now;
                }
            }
        }
        for (pod, (image, offered)) in after
            .iter()
            .flat_map(|pod| refusals(pod).map(move |r| (pod, r)))
        {
            let Some(platforms) = platforms(pod) else {
                continue;
            };
            let known = self.0.entry(image.to_owned()).or_default();
            known.offered = offered;
            known.refused.insert(platforms);
            known.pods.insert(pod.metadata.uid.clone());
            known.met = now;
        }
        self.0
            .retain(|_, known| !known.pods.is_empty() || now.since(known.met) < KEPT_S);
        while self.0.len() > MAX {
            let oldest = self.0.iter().min_by_key(|(_, known)| known.met);
            let Some(oldest) = oldest.map(|(image, _)| image.clone()) else {
                return;
            };
            self.0.remove(&oldest);
        }
    }

    /// The first image of the pod that the node does not run, with the platforms that it is for.
    pub(super) fn refusal(&self, pod: &Pod, node: &Node) -> Option<(String, String)> {
        if self.0.is_empty() {
            return None;
        }
        let platforms = node.metadata.annotations.get(PLATFORMS)?;
        let all = pod.spec.init_containers.iter().chain(&pod.spec.containers);
        let refused = |image: &String| {
            let known = self.0.get(image)?;
            let runs = match known.offered.is_empty() {
                true => !known.refused.contains(platforms),
                false => known.offered.iter().any(|p| runs(platforms, p)),
            };
            (!runs).then(|| (image.clone(), known.offered.join(", ")))
        };
        all.map(|container| &container.image).find_map(refused)
    }
}

/// Images that the pod's node refused, and the platforms that each is for.
fn refusals(pod: &Pod) -> impl Iterator<Item = (&str, Vec<String>)> {
    let status = &pod.status;
    let all = status
        .init_container_statuses
        .iter()
        .chain(&status.container_statuses);
    all.filter_map(|container| {
        let refused = container.refused.as_deref()?;
        let offered = refused.platforms.split(", ").filter(|p| p.contains('/'));
        Some((refused.image.as_str(), offered.map(str::to_owned).collect()))
    })
}

/// Whether `linux/arm64/v8,linux/arm/v7` has a platform, with the variants that images leave out.
fn runs(platforms: &str, image: &str) -> bool {
    let image = match image {
        "linux/arm64" => "linux/arm64/v8",
        "linux/arm" => "linux/arm/v7",
        other => other,
    };
    platforms.split(',').any(|platform| platform == image)
}

#[cfg(test)]
mod tests {
    use super::super::{Cluster, Verdict, place};
    use super::*;
    use serde_json::{Value, json};

    const ARM64: &str = "linux/arm64/v8,linux/arm/v8,linux/arm/v7";
    const AMD64: &str = "linux/amd64,linux/386";
    const ARMV6: &str = "linux/arm/v6";

    fn node(name: &str, platforms: &str) -> Node {
        let value = json!({"metadata": {"name": name, "annotations": {PLATFORMS: platforms}},
            "status": {"allocatable": {"cpu": "4", "memory": "1Gi", "pods": "110"}}});
        serde_json::from_value(value).unwrap()
    }

    fn cluster(nodes: &[(&str, &str)]) -> Cluster {
        let mut cluster = Cluster::default();
        for (name, platforms) in nodes {
            cluster.handle_node(name, Some(&node(name, platforms)));
        }
        cluster
    }

    fn pod(uid: &str, on: &str, refusal: Option<&str>) -> Pod {
        let mut value: Value = json!({"metadata": {"name": uid, "namespace": "d", "uid": uid},
            "spec": {"nodeName": on, "containers": [{"name": "c", "image": "app:1"}]}});
        if let Some(message) = refusal {
            let waiting = json!({"waiting": {"reason": "ErrImagePull", "message": message}});
            value["status"] = json!({"containerStatuses": [
                {"name": "c", "image": "app:1", "state": waiting},
            ]});
        }
        serde_json::from_value(value).unwrap()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(1_000_000 + seconds)
    }

    const FOR_PC: &str = "pull app:1: the image is for linux/amd64, this board is linux/arm64/v8";
    const FOR_BOTH: &str =
        "pull app:1: the image is for linux/amd64, linux/arm64, this board is linux/arm/v6";
    const NO_WORD: &str = "no matching manifest for linux/arm64/v8 in the manifest list entries";

    #[track_caller]
    fn check(refusal: &str, on: (&str, &str), nodes: &[(&str, &str)], want: &Verdict) {
        let all: Vec<_> = [on].iter().chain(nodes).copied().collect();
        let mut cluster = cluster(&all);
        let stuck = pod("stuck", on.0, Some(refusal));
        cluster.handle_pod(None, Some(&stuck));
        cluster.handle_images(None, Some(&stuck), at(0));
        assert_eq!(place(&cluster, &pod("new", "", None)), *want, "{refusal}");
    }

    #[test]
    fn a_pod_goes_where_its_image_runs() {
        let bound = |node: &str| Verdict::Bind(node.to_owned());
        check(
            FOR_PC,
            ("a", ARM64),
            &[("b", ARM64), ("c", AMD64)],
            &bound("c"),
        );
        check(
            FOR_BOTH,
            ("a", ARMV6),
            &[("b", ARMV6), ("c", ARM64)],
            &bound("c"),
        );
        check(
            NO_WORD,
            ("a", ARM64),
            &[("b", ARM64), ("c", AMD64)],
            &bound("c"),
        );
        // Another reason to wait says nothing of nodes.
        let mut there = cluster(&[("a", ARM64)]);
        let denied = pod("p", "a", Some("pull app:1: access denied"));
        there.handle_images(None, Some(&denied), at(0));
        assert_eq!(place(&there, &pod("new", "", None)), bound("a"));
    }

    #[test]
    fn a_pod_that_no_node_runs_says_so_for_each() {
        let why = "0/2 nodes are available: 2 node(s) can't run image \"app:1\", which is for \
                   linux/amd64. preemption: 0/2 nodes are available: 2 Preemption is not helpful \
                   for scheduling.";
        let waits = Verdict::Unschedulable(why.to_owned());
        check(FOR_PC, ("a", ARM64), &[("b", ARMV6)], &waits);
    }

    #[test]
    fn a_refusal_is_remembered_for_a_while_after_its_pod_is_gone() {
        let mut cluster = cluster(&[("a", ARM64)]);
        let stuck = pod("stuck", "a", Some(FOR_PC));
        cluster.handle_images(None, Some(&stuck), at(0));
        let waits = |cluster: &Cluster| {
            matches!(
                place(cluster, &pod("new", "", None)),
                Verdict::Unschedulable(_)
            )
        };
        // As long as it is there, however long.
        let other = pod("other", "a", None);
        cluster.handle_images(None, Some(&other), at(5 * KEPT_S));
        assert!(waits(&cluster));
        cluster.handle_images(Some(&stuck), None, at(5 * KEPT_S));
        assert!(waits(&cluster));
        cluster.handle_images(Some(&other), None, at(6 * KEPT_S));
        assert!(!waits(&cluster), "an image may have been mended");
    }

    #[test]
    fn what_is_known_is_bounded() {
        let mut images = Images::default();
        for n in 0..2 * MAX {
            let mut stuck = pod(&format!("p{n}"), "a", Some(FOR_PC));
            let status = &mut stuck.status.container_statuses[0];
            status.refused.as_mut().unwrap().image = format!("app:{n}");
            let seconds = i64::try_from(n).unwrap();
            images.handle_pod(None, Some(&stuck), |_| Some(ARM64.into()), at(seconds));
        }
        assert_eq!(images.0.len(), MAX);
        assert!(images.0.contains_key(&format!("app:{}", 2 * MAX - 1)));
    }
}
