//! The roles that every cluster has, and how they are kept.
//!
//! Rules are upstream's (`plugin/pkg/auth/authorizer/rbac/bootstrappolicy`), also where they name
//! kinds that are not served yet: a role means the same here and elsewhere. Left out are roles for
//! programs that do not exist here (kube-controller-manager, kube-scheduler, kube-dns, kubelets'
//! certificates, heapster): nobody could bear them.

use std::sync::{Arc, LazyLock};

use serde::Deserialize;
use serde_json::{Value, json};

use super::covers;
use super::{GROUP, Rule};

mod table;

use table::{Row, Scope};

/// Marks what this file made.
const LABEL: &str = "kubernetes.io/bootstrapping";
const LABEL_VALUE: &str = "rbac-defaults";
/// With the value `false`, an object is left as it is.
pub const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// An object that every cluster has.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Plural resource name.
    pub resource: &'static str,
    /// Namespace; empty for none.
    pub namespace: &'static str,
    /// Name.
    pub name: &'static str,
    /// The object, without what the API server adds.
    pub object: Value,
}

fn words(list: &[&str]) -> Vec<Arc<str>> {
    list.iter().map(|word| Arc::from(*word)).collect()
}

impl Row {
    fn rule(&self) -> Rule {
        Rule {
            verbs: words(self.verbs),
            api_groups: words(self.groups),
            resources: words(self.resources),
            resource_names: words(self.names),
            urls: words(self.urls),
        }
    }
}

fn object(kind: &str, scope: &Scope, name: &str) -> Value {
    let mut labels = serde_json::Map::new();
    labels.insert(LABEL.to_owned(), LABEL_VALUE.into());
    let mut metadata = json!({
        "name": name, "annotations": {AUTOUPDATE: "true"},
    });
    if let Scope::Namespace(namespace) = scope {
        metadata["namespace"] = (*namespace).into();
    }
    metadata["labels"] = labels.into();
    json!({"kind": kind, "apiVersion": format!("{GROUP}/v1"), "metadata": metadata})
}

fn aggregate_to(role: &str) -> String {
    format!("rbac.authorization.k8s.io/aggregate-to-{role}")
}

/// All of them: roles first, then bindings.
#[must_use]
pub fn all() -> Vec<Object> {
    let roles = table::ROLES.iter().map(|role| {
        let (kind, resource) = match role.scope {
            Scope::Cluster => ("ClusterRole", "clusterroles"),
            Scope::Namespace(_) => ("Role", "roles"),
        };
        let mut object = object(kind, &role.scope, role.name);
        for to in role.aggregate_to {
            object["metadata"]["labels"][aggregate_to(to)] = "true".into();
        }
        let rules: Vec<Rule> = role.rules.iter().map(Row::rule).collect();
        object["rules"] = json!(rules);
        if let Some(from) = role.aggregates {
            object["aggregationRule"] =
                json!({"clusterRoleSelectors": [{"matchLabels": {aggregate_to(from): "true"}}]});
        }
        Object {
            resource,
            namespace: role.scope.namespace(),
            name: role.name,
            object,
        }
    });
    let bindings = table::BINDINGS.iter().map(|binding| {
        let mut object = object("ClusterRoleBinding", &Scope::Cluster, binding.name);
        object["roleRef"] = json!({"apiGroup": GROUP, "kind": "ClusterRole", "name": binding.name});
        if !binding.groups.is_empty() {
            let subject = |name: &&str| json!({"kind": "Group", "apiGroup": GROUP, "name": name});
            object["subjects"] = binding.groups.iter().map(subject).collect();
        }
        Object {
            resource: "clusterrolebindings",
            namespace: "",
            name: binding.name,
            object,
        }
    });
    roles.chain(bindings).collect()
}

/// What a node may do beyond what [`super::node`] looks at in detail: the rules of `system:node`.
#[must_use]
pub fn node_rules() -> &'static [Rule] {
    static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
        let role = table::ROLES.iter().find(|role| role.name == "system:node");
        let rows = role.map_or(&[][..], |role| role.rules);
        rows.iter().map(Row::rule).collect()
    });
    &RULES
}

/// What must be done about an object that is there.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Nothing.
    Keep,
    /// This is the object from now on.
    Update(Value),
    /// It binds another role, and that can't be changed: it goes, and the default comes.
    Replace,
}

/// What of a default is missing in the object that is there. As upstream at its start: missing rules,
/// subjects, labels and annotations come back, further ones stay; an object whose annotation
/// [`AUTOUPDATE`] says `false` is left alone.
#[must_use]
pub fn reconcile(existing: &Value, wanted: &Value) -> Step {
    let annotations = existing.pointer("/metadata/annotations");
    if annotations.and_then(|a| a.get(AUTOUPDATE)) == Some(&Value::from("false")) {
        return Step::Keep;
    }
    if let Some(role) = wanted.get("roleRef") {
        let same = ["apiGroup", "kind", "name"]
            .iter()
            .all(|key| existing["roleRef"].get(key) == role.get(key));
        if !same {
            return Step::Replace;
        }
    }
    let mut new = existing.clone();
    for field in ["labels", "annotations"] {
        let Some(Value::Object(wanted)) = wanted["metadata"].get(field) else {
            continue;
        };
        if !new["metadata"][field].is_object() {
            new["metadata"][field] = json!({});
        }
        for (key, value) in wanted {
            new["metadata"][field][key] = value.clone();
        }
    }
    if let Some(rule) = wanted.get("aggregationRule") {
        let selectors = |rule: &Value| rule.get("clusterRoleSelectors").cloned();
        let mut all = new.get("aggregationRule").and_then(selectors);
        let list = all.get_or_insert_with(|| json!([]));
        append_missing(list, selectors(rule).as_ref());
        new["aggregationRule"] = json!({"clusterRoleSelectors": list});
    } else if let Some(rules) = wanted.get("rules") {
        let read = |rules: Option<&Value>| -> Vec<Rule> {
            let one = |rule: &Value| Rule::deserialize(rule).ok();
            let list = rules.and_then(Value::as_array);
            list.into_iter().flatten().filter_map(one).collect()
        };
        let (own, wanted) = (read(new.get("rules")), read(Some(rules)));
        let missing = covers::uncovered(&own.iter().collect::<Vec<_>>(), &wanted);
        if !missing.is_empty() {
            let mut rules = new.get("rules").and_then(Value::as_array).cloned();
            rules
                .get_or_insert_default()
                .extend(missing.iter().map(|rule| json!(rule)));
            new["rules"] = rules.into();
        }
    }
    if let Some(subjects) = wanted.get("subjects") {
        let mut list = new.get("subjects").cloned().unwrap_or_else(|| json!([]));
        append_missing(&mut list, Some(subjects));
        new["subjects"] = list;
    }
    if new == *existing {
        Step::Keep
    } else {
        Step::Update(new)
    }
}

fn append_missing(list: &mut Value, wanted: Option<&Value>) {
    if !list.is_array() {
        *list = json!([]);
    }
    let Value::Array(list) = list else { return };
    for item in wanted.and_then(Value::as_array).into_iter().flatten() {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
}
