//! What a node's document may still hold. The same limits as where a document is served, kept here
//! pod by pod, so that what is too much costs one pod its place and not the node its news.

use bramble_wire::limits::{BODY_MAX, DOCUMENT_MAX, DOCUMENT_OBJECTS_MAX};

use super::Error;
use crate::nodelink::{Compiled, Objects};

#[derive(Debug, Default)]
pub(super) struct Budget {
    bytes: usize,
    objects: usize,
}

impl Budget {
    /// Counts what every document has.
    pub(super) fn take_always(&mut self, object: &Compiled) {
        self.bytes += object.weight();
        self.objects += 1;
    }

    /// Takes all of these or none.
    pub(super) fn take(&mut self, objects: &Objects) -> Result<(), Error> {
        let too_large = objects
            .iter()
            .find(|(_, object)| object.weight() > BODY_MAX);
        if let Some((id, object)) = too_large {
            return Err(Error::TooLarge {
                id: id.clone(),
                bytes: object.len(),
            });
        }
        let bytes = self.bytes + objects.values().map(Compiled::weight).sum::<usize>();
        let count = self.objects + objects.len();
        if bytes > DOCUMENT_MAX || count > DOCUMENT_OBJECTS_MAX {
            return Err(Error::NodeFull);
        }
        (self.bytes, self.objects) = (bytes, count);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use bramble_api::view::{self, FullPod};
    use bramble_wire::object::{NodeConfig, ObjectId, ObjectName};
    use serde_json::json;

    use super::super::tokens::Wanted;
    use super::super::{Configuration, Document, Error, compile};
    use crate::action::Observed;
    use crate::nodelink::Compiled;

    /// ConfigMaps by name, with the size of each.
    struct Maps(BTreeMap<&'static str, usize>);

    impl Configuration for Maps {
        fn config_map(&self, name: &ObjectName) -> Option<Observed<view::ConfigMap>> {
            let size = *self.0.get(name.name.as_str())?;
            let data = json!({"data": {"key": "x".repeat(size)}});
            let object = serde_json::from_value(data).unwrap();
            Some(Observed {
                revision: 7,
                object,
            })
        }

        fn secret(&self, _: &ObjectName) -> Option<Observed<view::Secret>> {
            None
        }

        fn tokens(&self, _: &FullPod, _: &BTreeSet<Wanted>) -> Option<Compiled> {
            None
        }
    }

    fn pod(number: usize, map: &str, deleting: bool) -> FullPod {
        let mut pod = json!({
            "metadata": {
                "name": format!("p{number}"), "namespace": "default", "generation": 1,
                "uid": format!("00000000-0000-4000-8000-{number:012}"),
                "creationTimestamp": format!("2026-01-01T00:00:{:02}Z", number % 60),
            },
            "spec": {"containers": [{"name": "c", "image": "i"}], "volumes": [
                {"name": "v", "configMap": {"name": map}},
            ]},
        });
        if deleting {
            pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:01:00Z".into();
        }
        serde_json::from_value(pod).unwrap()
    }

    fn compiled(pods: &[FullPod], maps: &[(&'static str, usize)]) -> Document {
        let maps = Maps(maps.iter().copied().collect());
        compile(&NodeConfig::default(), pods, &maps)
    }

    const MIB: usize = 1024 * 1024;

    #[test]
    fn an_object_over_its_limit_costs_only_its_pods() {
        let pods = [pod(1, "huge", false), pod(2, "small", false)];
        let out = compiled(&pods, &[("huge", 2 * MIB), ("small", 10)]);
        let [(name, Error::TooLarge { id, .. })] = &out.left_out[..] else {
            panic!("{:?}", out.left_out)
        };
        assert_eq!(
            (name.name.as_str(), id.to_string().as_str()),
            ("p1", "configmap/default/huge")
        );
        assert!(
            out.references.contains(id),
            "when it shrinks, the document is compiled again"
        );
        assert_eq!(
            out.objects.len(),
            3,
            "the node, the other pod and its ConfigMap"
        );
        assert!(!out.objects.contains_key(id));
    }

    #[test]
    fn a_full_node_keeps_its_older_pods_and_hears_of_every_end() {
        const MAPS: [&str; 9] = ["m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "m9"];
        let maps: Vec<_> = MAPS.iter().map(|name| (*name, MIB - 4096)).collect();
        let mut pods: Vec<_> = MAPS
            .iter()
            .enumerate()
            .map(|(n, m)| pod(n + 1, m, false))
            .collect();
        pods.push(pod(10, "m1", true));
        pods.reverse();
        let out = compiled(&pods, &maps);
        let left: Vec<_> = out
            .left_out
            .iter()
            .map(|(name, error)| (name.name.as_str(), error))
            .collect();
        assert_eq!(left, [("p9", &Error::NodeFull)], "the youngest");
        let ending = ObjectId::Pod(
            bramble_wire::object::PodUid::parse("00000000-0000-4000-8000-000000000010").unwrap(),
        );
        assert!(out.objects.contains_key(&ending));
        assert!(
            crate::nodelink::fits(&out.objects),
            "what is left can be served"
        );
    }
}
