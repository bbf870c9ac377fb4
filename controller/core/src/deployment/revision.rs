//! The ReplicaSet of the current template: found or made, and its revision.

use bramble_api::view::Metadata;
use serde_json::{Map, Value, json};

use super::{DESIRED_REPLICAS, MAX_REPLICAS, REVISION, REVISION_HISTORY, Sync, scale, template};
use crate::action::{Action, controller_reference};
use crate::{conditions, kinds};

/// Annotations of a Deployment that its ReplicaSets don't get.
const KEPT_BACK: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    "deprecated.deployment.rollback.to",
];
/// As upstream, so that histories do not grow for ever.
const HISTORY_MAX: usize = 2000;

/// Revision of an object; 0 when it has none.
pub(super) fn of(metadata: &Metadata) -> i64 {
    metadata
        .annotations
        .get(REVISION)
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

impl Sync<'_> {
    /// Brings the newest ReplicaSet's annotations up to date, or makes it when `create` says so.
    /// True when that is the step of this look.
    pub(super) fn find_new(&mut self, create: bool) -> bool {
        let old = (0..self.sets.len()).filter(|index| self.is_old(*index));
        let newest_old = old
            .map(|index| of(&self.sets[index].seen.metadata))
            .max()
            .unwrap_or(0);
        let revision = (newest_old + 1).to_string();
        if let Some(index) = self.newest {
            return self.refresh(index, newest_old + 1);
        }
        if !create {
            return false;
        }
        self.create(&revision);
        true
    }

    fn refresh(&mut self, index: usize, revision: i64) -> bool {
        let set = self.sets[index].seen;
        let mut changes = self.copied(Some(&set.metadata));
        let has = of(&set.metadata);
        let now = has.max(revision);
        if has < revision {
            changes.insert(REVISION.into(), revision.to_string().into());
            if has > 0 {
                changes.insert(REVISION_HISTORY.into(), history(&set.metadata, has).into());
            }
        }
        self.show_revision(&now.to_string());
        if conditions::find(&self.conditions, "Progressing").is_none() && self.has_deadline() {
            let message = format!("Found new replica set \"{}\"", set.metadata.name);
            self.progressing("True", "NewReplicaSetFound", &message);
        }
        let min_ready = self.deployment.spec.min_ready_seconds;
        let mut patch = Map::new();
        if !changes.is_empty() {
            patch.insert("metadata".into(), json!({"annotations": changes}));
        }
        if set.spec.min_ready_seconds != min_ready {
            patch.insert("spec".into(), json!({"minReadySeconds": min_ready}));
        }
        if patch.is_empty() {
            return false;
        }
        self.patch_set(set, Value::Object(patch), None);
        true
    }

    fn show_revision(&mut self, revision: &str) {
        let shown = self.deployment.metadata.annotations.get(REVISION);
        if shown.map(String::as_str) != Some(revision) {
            self.annotations.insert(REVISION.into(), revision.into());
        }
    }

    /// Annotations that a ReplicaSet lacks of its Deployment's.
    fn copied(&self, has: Option<&Metadata>) -> Map<String, Value> {
        let wanted = self.deployment.metadata.annotations.iter();
        wanted
            .filter(|(key, _)| !KEPT_BACK.contains(&key.as_str()))
            .filter(|(key, value)| has.and_then(|m| m.annotations.get(*key)) != Some(*value))
            .map(|(key, value)| (key.clone(), value.clone().into()))
            .collect()
    }

    fn create(&mut self, revision: &str) {
        let deployment = self.deployment;
        let mut body = template::without_hash(deployment.spec.template.value());
        let hash = template::hash(&body, self.collisions);
        let name = format!("{}-{hash}", deployment.metadata.name);
        if (self.input.name_taken)(&name) {
            // Another template, or somebody else's ReplicaSet, has the name: next time another one.
            self.collisions = Some(self.collisions.unwrap_or(0) + 1);
            return;
        }
        body["metadata"]["labels"][template::HASH_LABEL] = hash.clone().into();
        let replicas = scale::new_replicas(self, 0);
        let mut annotations = self.copied(None);
        annotations.insert(REVISION.into(), revision.into());
        annotations.extend(self.size_annotations());
        let object = json!({
            "kind": "ReplicaSet",
            "apiVersion": "apps/v1",
            "metadata": {
                "name": name,
                "namespace": deployment.metadata.namespace,
                "labels": body["metadata"]["labels"],
                "annotations": annotations,
                "ownerReferences": [controller_reference(kinds::deployment(), &deployment.metadata)],
            },
            "spec": {
                "replicas": replicas,
                "minReadySeconds": deployment.spec.min_ready_seconds,
                "selector": self.selector(&hash),
                "template": body,
            },
        });
        let note = (replicas > 0).then(|| {
            let message = format!("Scaled up replica set {{}} from 0 to {replicas}");
            self.note("ScalingReplicaSet", message)
        });
        self.plan.actions.push(Action::Create {
            kind: kinds::replica_set(),
            namespace: deployment.metadata.namespace.clone(),
            object,
            note,
        });
        self.show_revision(revision);
        if self.has_deadline() {
            let message = format!("Created new replica set \"{name}\"");
            self.progressing("True", "NewReplicaSetCreated", &message);
        }
    }

    /// The Deployment's selector with the template's hash.
    fn selector(&self, hash: &str) -> Value {
        let selector = &self.deployment.spec.selector;
        let mut labels: Map<String, Value> = selector
            .match_labels
            .iter()
            .map(|(k, v)| (k.clone(), v.clone().into()))
            .collect();
        labels.insert(template::HASH_LABEL.into(), hash.into());
        let mut out = json!({"matchLabels": labels});
        let expressions = selector.match_expressions.iter().map(|requirement| {
            let mut entry = json!({"key": requirement.key, "operator": requirement.operator});
            if !requirement.values.is_empty() {
                entry["values"] = requirement.values.clone().into();
            }
            entry
        });
        let expressions: Vec<Value> = expressions.collect();
        if !expressions.is_empty() {
            out["matchExpressions"] = expressions.into();
        }
        out
    }

    /// The sizes that the next proportional scaling starts from.
    pub(super) fn size_annotations(&self) -> Map<String, Value> {
        let replicas = self.replicas();
        let max = replicas + scale::max_surge(self);
        Map::from_iter([
            (DESIRED_REPLICAS.to_owned(), replicas.to_string().into()),
            (MAX_REPLICAS.to_owned(), max.to_string().into()),
        ])
    }
}

fn history(metadata: &Metadata, revision: i64) -> String {
    let mut history = metadata
        .annotations
        .get(REVISION_HISTORY)
        .cloned()
        .unwrap_or_default();
    if !history.is_empty() {
        history.push(',');
    }
    history.push_str(&revision.to_string());
    while history.len() > HISTORY_MAX {
        match history.split_once(',') {
            Some((_, rest)) => history = rest.to_owned(),
            None => break,
        }
    }
    history
}
