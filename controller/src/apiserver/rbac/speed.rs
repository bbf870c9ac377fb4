//! What authorization costs a request in a cluster with many roles. Run it with
//! `cargo test -p bramble-controller speed -- --nocapture` for the figures.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bramble_controller_core::rbac::{Attributes, GROUP, Resource};
use serde_json::json;

use super::super::authn::Identity;
use super::Rbac;
use crate::store::{Body, Durability, Expect, Key, MemoryStore, Op, Store as _};

const ROLES: usize = 500;
const ROUNDS: u32 = 5_000;

fn put(store: &MemoryStore, resource: &str, namespace: &str, name: &str, json: String) {
    let op = Op::Put {
        key: Key::new(GROUP, resource, namespace, name),
        expect: Expect::Any,
        body: Body {
            json: json.into_bytes(),
            revision_at: None,
        },
        durability: Durability::Hard,
    };
    drop(store.commit(vec![op]).unwrap());
}

/// So many ClusterRoles of five rules, each bound to a user of its own in a namespace and to a group
/// in the cluster; ann has ten of them.
fn cluster() -> MemoryStore {
    let store = MemoryStore::default();
    for n in 0..ROLES {
        let rule = |m: usize| json!({"verbs": ["get", "list"], "apiGroups": ["example.com"], "resources": [format!("r{n}-{m}")]});
        let rules: Vec<_> = (0..5).map(rule).collect();
        put(
            &store,
            "clusterroles",
            "",
            &format!("role-{n}"),
            json!({"rules": rules}).to_string(),
        );
        let user = if n < 10 {
            "ann".to_owned()
        } else {
            format!("user-{n}")
        };
        let role = json!({"kind": "ClusterRole", "name": format!("role-{n}")});
        let of = |kind: &str, name: &str| json!({"subjects": [{"kind": kind, "name": name}], "roleRef": role});
        let local = of("User", &user).to_string();
        put(&store, "rolebindings", "ns", &format!("b-{n}"), local);
        let wide = of("Group", &format!("group-{n}")).to_string();
        put(&store, "clusterrolebindings", "", &format!("b-{n}"), wide);
    }
    store
}

#[test]
fn authorization_costs_microseconds_with_500_roles() {
    let store = cluster();
    let started = Instant::now();
    let rbac = Rbac::open(Arc::new(store.clone())).unwrap();
    let opened = started.elapsed();
    let ann = Identity {
        user: "ann".to_owned(),
        groups: vec!["group-7".to_owned(), "system:authenticated".to_owned()],
        ..Identity::default()
    };
    let ask = |resource: &str, wanted: bool| {
        let target = Resource {
            group: "example.com",
            resource,
            namespace: "ns",
            ..Resource::default()
        };
        let attributes = Attributes::resource("get", target);
        let started = Instant::now();
        for _ in 0..ROUNDS {
            assert_eq!(rbac.allows(&ann, &attributes, None), wanted);
        }
        started.elapsed() / ROUNDS
    };
    let (first, last, refused) = (ask("r0-0", true), ask("r9-4", true), ask("pods", false));
    // A write between any two requests, so that each has something to take in.
    let target = Resource {
        group: "example.com",
        resource: "r9-4",
        namespace: "ns",
        ..Resource::default()
    };
    let attributes = Attributes::resource("get", target);
    let mut busy = Duration::ZERO;
    for n in 0..1_000 {
        put(&store, "roles", "ns", "busy", json!({"n": n}).to_string());
        let started = Instant::now();
        assert!(rbac.allows(&ann, &attributes, None));
        busy += started.elapsed();
    }
    let busy = busy / 1_000;
    println!(
        "{ROLES} roles, {} bindings: read in {opened:?}; allowed by the first binding {first:?}, by the \
         last {last:?}, refused {refused:?}, after a write {busy:?}",
        2 * ROLES
    );
    // Hundreds of times what it takes: a guard against decoding or walking everything per request.
    assert!(last < Duration::from_millis(2) && refused < Duration::from_millis(2));
}
