//! A Deployment's world of values: plans change it as the store would, and pods get ready.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;

/// A Deployment and its ReplicaSets as JSON, changed by plans as the store would be.
pub(super) struct World {
    pub(super) deployment: Value,
    pub(super) sets: BTreeMap<String, Value>,
    pub(super) pods: usize,
    pub(super) now: Timestamp,
    pub(super) revision: u64,
    pub(super) notes: Vec<String>,
    pub(super) wake: Option<Timestamp>,
}

impl World {
    pub(super) fn new(spec: Value) -> Self {
        let mut deployment = json!({
            "metadata": {"name": "web", "namespace": "d", "uid": "D", "generation": 1,
                "annotations": {"note": "x"}},
            "spec": {
                "replicas": 3,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"v": 1}},
                "progressDeadlineSeconds": 600,
                "revisionHistoryLimit": 10,
            },
            "status": {},
        });
        merge(&mut deployment["spec"], &spec);
        Self {
            deployment,
            sets: BTreeMap::new(),
            pods: 0,
            now: NOW,
            revision: 1,
            notes: Vec::new(),
            wake: None,
        }
    }

    pub(super) fn set_spec(&mut self, patch: Value) {
        merge(&mut self.deployment["spec"], &patch);
        let generation = self.deployment["metadata"]["generation"].as_i64().unwrap();
        self.deployment["metadata"]["generation"] = (generation + 1).into();
    }

    pub(super) fn plan(&self) -> Plan {
        let seen = |value: &Value| serde_json::from_str(&value.to_string()).unwrap();
        let deployment = Observed {
            revision: 1,
            object: seen(&self.deployment),
        };
        let sets: Vec<Observed<ReplicaSet>> = self
            .sets
            .values()
            .map(|set| Observed {
                revision: set["revision"].as_u64().unwrap(),
                object: serde_json::from_str(&set.to_string()).unwrap(),
            })
            .collect();
        let sets: Vec<_> = sets.iter().collect();
        let input = Input {
            deployment: &deployment,
            replica_sets: &sets,
            name_taken: &|name| self.sets.contains_key(name),
            live_pods: &|_| self.pods,
        };
        plan(&input, self.now)
    }

    /// One look; false when there was nothing to do.
    pub(super) fn step(&mut self) -> bool {
        let plan = self.plan();
        self.wake = plan.next_wake;
        let mut written = std::collections::BTreeSet::new();
        for action in &plan.actions {
            self.revision += 1;
            match action {
                Action::Create { object, note, .. } => {
                    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
                    let mut object = object.clone();
                    object["metadata"]["uid"] = format!("uid-{name}").into();
                    object["metadata"]["generation"] = 1.into();
                    let created = Timestamp {
                        seconds: self.now.seconds + self.revision as i64,
                        nanos: 0,
                    };
                    object["metadata"]["creationTimestamp"] = created.rfc3339().into();
                    object["status"] = json!({});
                    object["revision"] = self.revision.into();
                    self.notes
                        .extend(note.iter().map(|n| n.message.replace("{}", &name)));
                    assert!(
                        self.sets.insert(name, object).is_none(),
                        "a name is taken twice"
                    );
                }
                Action::Patch {
                    target,
                    patch,
                    note,
                    ..
                } => {
                    assert!(
                        written.insert(target.name.clone()),
                        "two writes to {}",
                        target.name
                    );
                    self.notes.extend(note.iter().map(|n| n.message.clone()));
                    let object = match target.kind.kind {
                        "Deployment" => &mut self.deployment,
                        _ => self.sets.get_mut(&target.name).unwrap(),
                    };
                    let before = object["spec"].clone();
                    merge(object, patch);
                    if target.kind.kind == "ReplicaSet" {
                        object["revision"] = self.revision.into();
                        if object["spec"] != before {
                            let generation = object["metadata"]["generation"].as_i64().unwrap();
                            object["metadata"]["generation"] = (generation + 1).into();
                        }
                    }
                }
                Action::Delete { target, .. } => {
                    self.sets.remove(&target.name).unwrap();
                }
                other => panic!("{other:?}"),
            }
        }
        !plan.actions.is_empty()
    }

    pub(super) fn settle(&mut self) {
        for _ in 0..50 {
            if !self.step() {
                return;
            }
        }
        panic!("it never settles: {} {:?}", self.deployment, self.sets);
    }

    /// What the ReplicaSet controller and the nodes make of the sizes: `ready` pods of each set at most.
    pub(super) fn run_pods(&mut self, ready: impl Fn(&str) -> i64) {
        for (name, set) in &mut self.sets {
            let replicas = set["spec"]["replicas"].as_i64().unwrap();
            let ready = replicas.min(ready(name));
            set["status"] = json!({"replicas": replicas, "readyReplicas": ready,
                "availableReplicas": ready, "observedGeneration": set["metadata"]["generation"]});
        }
    }

    pub(super) fn sizes(&self) -> Vec<i64> {
        let mut sets: Vec<_> = self.sets.values().collect();
        sets.sort_by_key(|set| {
            set["metadata"]["creationTimestamp"]
                .as_str()
                .unwrap()
                .to_owned()
        });
        sets.iter()
            .map(|set| set["spec"]["replicas"].as_i64().unwrap())
            .collect()
    }

    pub(super) fn roll_out(&mut self) {
        for _ in 0..200 {
            let moved = self.step();
            let before = self.sets.clone();
            self.run_pods(|_| i64::MAX);
            if !moved && before == self.sets {
                return;
            }
        }
        panic!("the roll-out never ends: {:?}", self.sizes());
    }

    pub(super) fn condition(&self, kind: &str) -> (String, String, String) {
        let list = self.deployment["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let found = list
            .iter()
            .find(|c| c["type"] == kind)
            .cloned()
            .unwrap_or_default();
        let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
        (text("status"), text("reason"), text("message"))
    }

    pub(super) fn annotation(&self, object: &Value, key: &str) -> String {
        object["metadata"]["annotations"][key]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

/// RFC 7396.
pub(super) fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut target[key], value);
        }
    }
}
