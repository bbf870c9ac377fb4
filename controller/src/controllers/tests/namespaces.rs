//! Namespaces begin with what belongs into them and end with their content.

use super::*;

#[test]
fn a_namespace_ends_when_its_content_has() {
    virtually(async {
        let world = World::new(&["n1"]).start().with_nodes();
        world.deploy("web", 2, json!({}));
        world.create(
            kinds::config_map(),
            "d",
            json!({"metadata": {"name": "c"}, "data": {}}),
        );
        world.until("running", |w| w.rolled_out("web", 2)).await;
        world.change("namespaces", "", "d", |namespace| {
            namespace["metadata"]["deletionTimestamp"] = "2026-06-01T00:00:00Z".into();
            namespace["status"]["phase"] = "Terminating".into();
        });
        world
            .until("gone", |w| w.get("namespaces", "", "d").is_none())
            .await;
        for resource in ["deployments", "replicasets", "pods", "configmaps", "events"] {
            assert!(world.list(resource).is_empty(), "{resource} are left");
        }
    });
}

#[test]
fn a_namespace_is_equipped_and_stays_so() {
    virtually(async {
        let world = World::new(&[]).start();
        let has = |w: &World, ca: &str| {
            let found = w.get("configmaps", "d", "kube-root-ca.crt");
            w.get("serviceaccounts", "d", "default").is_some()
                && found.is_some_and(|map| map["data"] == json!({"ca.crt": ca}))
        };
        world.until("equipped", |w| has(w, "the CA")).await;
        world.delete("serviceaccounts", "d", "default");
        world.change("configmaps", "d", "kube-root-ca.crt", |map| {
            map["data"]["more"] = "x".into();
        });
        world.until("put right", |w| has(w, "the CA")).await;
        world.delete("configmaps", "d", "kube-root-ca.crt");
        world.until("made again", |w| has(w, "the CA")).await;
    });
}

#[test]
fn a_namespace_ends_with_all_that_is_in_it() {
    virtually(async {
        let world = World::new(&["n1"]).start().with_nodes();
        world.deploy("web", 2, json!({}));
        world.until("rolled out", |w| w.rolled_out("web", 2)).await;
        world.create(
            kinds::config_map(),
            "d",
            json!({"metadata": {"name": "held", "finalizers": ["x/y"]}}),
        );
        world.change("namespaces", "", "d", |namespace| {
            namespace["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
            namespace["status"]["phase"] = "Terminating".into();
        });
        let says = |w: &World, kind: &str| {
            let namespace = w.get("namespaces", "", "d").unwrap();
            condition(&namespace, kind, "message").to_owned()
        };
        world
            .until("it says what is left", |w| {
                says(w, "NamespaceFinalizersRemaining")
                    == "Some finalizers are remaining: x/y in 1 resource instances"
                    && says(w, "NamespaceContentRemaining")
                        == "Some resources are remaining: configmaps. has 1 resource instances"
            })
            .await;
        world.delete("configmaps", "d", "held");
        world
            .until("gone", |w| w.get("namespaces", "", "d").is_none())
            .await;
        for resource in [
            "pods",
            "replicasets",
            "deployments",
            "serviceaccounts",
            "configmaps",
        ] {
            assert!(world.list(resource).is_empty(), "{resource}");
        }
    });
}
