//! The board's own pods as the state log keeps them, and how a look at their folder changes them.
//!
//! Plain values: no file, no clock.

use std::collections::{BTreeMap, BTreeSet};

use bramble_wire::manifest::{File, Made};
use bramble_wire::object::{ConfigMap, ObjectName, Pod, PodUid, SecretData};
use serde::{Deserialize, Serialize};

/// What the folder says, as it was last understood.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Kept {
    /// Rises when a pod leaves: the same file put back later is another pod, as a UID ends once.
    pub counter: u64,
    /// By the name of the file.
    pub files: BTreeMap<String, Held>,
}

/// What one file says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Held {
    /// Pods, each with the hash of what was written.
    pub pods: Vec<(PodUid, Pod)>,
    /// ConfigMaps.
    pub config_maps: Vec<ConfigMap>,
    /// Secrets.
    pub secrets: Vec<(ObjectName, SecretData)>,
}

impl Kept {
    /// Every pod, with the file that says it.
    pub fn pods(&self) -> impl Iterator<Item = (&str, &Pod)> {
        (self.files.iter())
            .flat_map(|(file, held)| held.pods.iter().map(|(_, pod)| (file.as_str(), pod)))
    }

    /// What to keep now that these files are there and were compiled, and what a person should know.
    ///
    /// A file that can't be understood leaves what it said before, and a file that is not there any more leaves
    /// nothing.
    pub fn changed(&self, files: Vec<File>) -> (Self, Vec<String>) {
        let mut new = Self {
            counter: self.counter,
            files: BTreeMap::new(),
        };
        let mut notes = Vec::new();
        let mut names: BTreeMap<ObjectName, String> = BTreeMap::new();
        for File { name, made } in files {
            let before = self.files.get(&name);
            let taken = made.and_then(|made| self.take(&made, before, &names));
            let held = match taken {
                Ok(held) => Some(held),
                Err(why) => {
                    let kept = if before.is_some() {
                        ", what it said before stays"
                    } else {
                        ""
                    };
                    notes.push(format!("static pods: {name}: {why}{kept}"));
                    before.cloned()
                }
            };
            if let Some(held) = held {
                names.extend(
                    held.pods
                        .iter()
                        .map(|(_, pod)| (pod.name.clone(), name.clone())),
                );
                new.files.insert(name, held);
            }
        }
        let stay: BTreeSet<PodUid> = new.pods().map(|(_, pod)| pod.uid).collect();
        if self.pods().any(|(_, pod)| !stay.contains(&pod.uid)) {
            new.counter += 1;
        }
        (new, notes)
    }

    /// What a file says, with the UIDs of pods that are there already.
    fn take(
        &self,
        made: &Made,
        before: Option<&Held>,
        names: &BTreeMap<ObjectName, String>,
    ) -> Result<Held, String> {
        let mut own = BTreeSet::new();
        for pod in &made.pods {
            if let Some(other) = names.get(&pod.name) {
                return Err(format!("pod {} is in {other}, too", pod.name));
            }
            if !own.insert(&pod.name) {
                return Err(format!("pod {} is in it twice", pod.name));
            }
        }
        let known = |key: &PodUid| {
            let pods = before.iter().flat_map(|held| &held.pods);
            pods.clone().find(|(other, _)| other == key)
        };
        let pods = made.pods.iter().map(|pod| match known(&pod.uid) {
            Some(known) => known.clone(),
            None => {
                let uid = uid(&pod.uid, self.counter);
                (pod.uid, Pod { uid, ..pod.clone() })
            }
        });
        Ok(Held {
            pods: pods.collect(),
            config_maps: made.config_maps.clone(),
            secrets: made.secrets.clone(),
        })
    }
}

/// The UID of a pod of which this is what was written ([`PodUid::is_static`]).
fn uid(key: &PodUid, counter: u64) -> PodUid {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"bramble/static/1\0");
    hasher.update(&key.0);
    hasher.update(&counter.to_le_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    PodUid::of_static(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, key: u8) -> Pod {
        Pod {
            uid: PodUid([key; 16]),
            name: ObjectName {
                namespace: "default".into(),
                name: name.into(),
            },
            ..Pod::default()
        }
    }

    fn file(name: &str, pods: &[(&str, u8)]) -> File {
        let pods = pods.iter().map(|(name, key)| pod(name, *key)).collect();
        File {
            name: name.into(),
            made: Ok(Made {
                pods,
                ..Made::default()
            }),
        }
    }

    fn bad(name: &str) -> File {
        File {
            name: name.into(),
            made: Err("no YAML".into()),
        }
    }

    fn uids(kept: &Kept) -> Vec<PodUid> {
        kept.pods().map(|(_, pod)| pod.uid).collect()
    }

    #[test]
    fn a_changed_pod_is_another_and_the_others_stay() {
        let (first, notes) =
            Kept::default().changed(vec![file("a", &[("x", 1)]), file("b", &[("y", 2)])]);
        assert!(notes.is_empty());
        assert!(uids(&first).iter().all(PodUid::is_static));
        let (same, _) = first.changed(vec![file("a", &[("x", 1)]), file("b", &[("y", 2)])]);
        assert_eq!(same, first);
        let (second, _) = first.changed(vec![file("a", &[("x", 3)]), file("b", &[("y", 2)])]);
        assert_ne!(uids(&second)[0], uids(&first)[0]);
        assert_eq!(uids(&second)[1], uids(&first)[1]);
        // Back again: that pod has ended, this is one more.
        let (third, _) = second.changed(vec![file("a", &[("x", 1)]), file("b", &[("y", 2)])]);
        assert!(!uids(&first).contains(&uids(&third)[0]));
    }

    #[test]
    fn a_file_put_back_is_a_pod_of_its_own() {
        let (first, _) = Kept::default().changed(vec![file("a", &[("x", 1)])]);
        let (gone, _) = first.changed(vec![]);
        assert_eq!(uids(&gone), []);
        let (back, _) = gone.changed(vec![file("a", &[("x", 1)])]);
        assert_ne!(uids(&back), uids(&first));
    }

    #[test]
    fn a_bad_file_leaves_what_it_said_and_harms_no_other() {
        let (first, _) =
            Kept::default().changed(vec![file("a", &[("x", 1)]), file("b", &[("y", 2)])]);
        let (second, notes) = first.changed(vec![bad("a"), file("b", &[("y", 2)]), bad("c")]);
        assert_eq!(second, first);
        assert_eq!(
            notes,
            [
                "static pods: a: no YAML, what it said before stays",
                "static pods: c: no YAML"
            ]
        );
    }

    #[test]
    fn a_name_is_taken_once() {
        let files = vec![
            file("a", &[("x", 1)]),
            file("b", &[("x", 2)]),
            file("c", &[("z", 3), ("z", 4)]),
        ];
        let (kept, notes) = Kept::default().changed(files);
        assert_eq!(kept.files.keys().collect::<Vec<_>>(), ["a"]);
        assert!(notes[0].contains("is in a, too"), "{notes:?}");
        assert!(notes[1].contains("twice"), "{notes:?}");
    }
}
