//! ClusterRoles that are put together from others by label, such as `edit`.

use std::collections::{BTreeMap, HashMap};

use bramble_api::kind;
use bramble_controller_core::action::{Action, Durability, Target};
use bramble_controller_core::rbac::GROUP;
use bramble_controller_core::rbac::aggregate::{ClusterRole, plan_aggregation};
use serde_json::{Value, json};

use super::Controllers;
use super::write::Error;
use crate::store::{Page, Scope};

impl Controllers {
    /// Brings the rules of all of them up to date; there are few, and they change rarely.
    pub(super) fn gather_roles(&mut self) -> Result<(), Error> {
        let scope = Scope::all(GROUP, "clusterroles");
        let Some(kind) = kind::find(GROUP, "v1", "clusterroles") else {
            return Ok(());
        };
        let listing = self
            .store
            .list(&scope, &Page::default())
            .map_err(Error::Store)?;
        let (mut roles, mut revisions) = (BTreeMap::new(), HashMap::new());
        for entry in listing.entries {
            // One that does not read is left out, as it is where rights are looked up.
            let object = serde_json::from_slice::<Value>(&entry.json).ok();
            if let Some(role) = object.as_ref().and_then(ClusterRole::read) {
                let name = entry.key.name.to_string();
                revisions.insert(name.clone(), entry.modified.0);
                roles.insert(name, role);
            }
        }
        for (name, rules) in plan_aggregation(&roles) {
            let revision = revisions.get(&name).copied().unwrap_or_default();
            self.act(&Action::Patch {
                target: Target {
                    kind,
                    namespace: String::new(),
                    name,
                },
                revision,
                patch: json!({"rules": rules}),
                durability: Durability::Hard,
                note: None,
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::controllers::Settings;
    use crate::store::{Body, Durability, Expect, Key, MemoryStore, Op, Store as _};

    fn put(store: &MemoryStore, name: &str, object: &Value) {
        let op = Op::Put {
            key: Key::new(GROUP, "clusterroles", "", name),
            expect: Expect::Any,
            body: Body {
                json: object.to_string().into_bytes(),
                revision_at: None,
            },
            durability: Durability::Hard,
        };
        drop(store.commit(vec![op]).unwrap());
    }

    fn part(name: &str, resource: &str) -> Value {
        json!({
            "kind": "ClusterRole", "apiVersion": format!("{GROUP}/v1"),
            "metadata": {"name": name, "uid": name, "labels": {"to": "sum"}},
            "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": [resource]}],
        })
    }

    fn gathered(store: &MemoryStore) -> Vec<String> {
        let entry = store
            .get(&Key::new(GROUP, "clusterroles", "", "sum"))
            .unwrap();
        let object: Value = serde_json::from_slice(&entry.json).unwrap();
        let rules = object["rules"].as_array().unwrap().iter();
        rules
            .map(|r| r["resources"][0].as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn a_role_follows_its_parts() {
        let store = MemoryStore::default();
        let mut sum = part("sum", "stale");
        sum["metadata"]["labels"] = json!({});
        sum["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {"to": "sum"}}]});
        put(&store, "sum", &sum);
        put(&store, "a", &part("a", "pods"));
        // It holds nothing up.
        put(
            &store,
            "bad",
            &json!({"rules": 5, "metadata": {"name": "bad", "uid": "bad", "labels": {"to": "sum"}}}),
        );
        let settings = Settings {
            ca: String::new(),
            api: None,
            standing: tokio::sync::watch::channel(Arc::default()).1,
        };
        let clock = Arc::new(crate::object::now);
        let mut controllers = Controllers::open(Arc::new(store.clone()), clock, settings).unwrap();
        let mut settle = || while controllers.work().unwrap() {};
        settle();
        assert_eq!(gathered(&store), ["pods"]);
        put(&store, "b", &part("b", "nodes"));
        settle();
        assert_eq!(gathered(&store), ["pods", "nodes"]);
        let mut other = part("a", "pods");
        other["metadata"]["labels"] = json!({});
        put(&store, "a", &other);
        settle();
        assert_eq!(gathered(&store), ["nodes"]);
        // At rest nothing is written.
        let before = store.revision();
        put(&store, "c", &part("c", "nodes"));
        let written = store.revision();
        assert!(written > before);
        settle();
        assert_eq!(store.revision(), written);
    }
}
