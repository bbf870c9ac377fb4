//! Deployments and what stands below them.

use super::*;

#[test]
fn a_deployment_becomes_pods_spread_over_the_nodes() {
    virtually(async {
        let world = World::new(&["n1", "n2"]).start().with_nodes();
        world.deploy("web", 4, json!({}));
        world.until("rolled out", |w| w.rolled_out("web", 4)).await;
        let nodes: Vec<_> = world
            .list("pods")
            .iter()
            .map(|p| text(p, "/spec/nodeName").to_owned())
            .collect();
        for node in ["n1", "n2"] {
            assert_eq!(nodes.iter().filter(|n| *n == node).count(), 2, "{nodes:?}");
        }
        let deployment = world.get("deployments", "d", "web").unwrap();
        assert_eq!(condition(&deployment, "Available", "status"), "True");
        assert_eq!(
            deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"],
            "1"
        );
        let pod = &world.list("pods")[0];
        assert_eq!(condition(pod, "PodScheduled", "status"), "True");
        assert!(pod["metadata"]["labels"]["pod-template-hash"].is_string());
        for reason in ["ScalingReplicaSet", "SuccessfulCreate", "Scheduled"] {
            assert!(
                world.reasons().contains(reason),
                "{reason} in {:?}",
                world.reasons()
            );
        }
    });
}

#[test]
fn scaling_goes_up_and_down() {
    virtually(async {
        let world = World::new(&["n1"]).start().with_nodes();
        world.deploy("web", 1, json!({}));
        for replicas in [5, 2, 0, 3] {
            world.change("deployments", "d", "web", |d| {
                d["spec"]["replicas"] = replicas.into()
            });
            let count = usize::try_from(replicas).unwrap();
            world
                .until("scaled", |w| {
                    w.rolled_out("web", replicas) && w.list("pods").len() == count
                })
                .await;
        }
        assert_eq!(world.list("replicasets").len(), 1);
    });
}

#[test]
fn a_rolling_update_stays_within_its_bounds_and_can_be_undone() {
    virtually(async {
        let world = World::new(&["n1", "n2"]).start().with_nodes();
        let bounds = json!({"type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
        world.deploy("web", 3, bounds);
        world.until("first", |w| w.rolled_out("web", 3)).await;
        let first = text(&world.list("replicasets")[0], "/metadata/name").to_owned();
        let within = |w: &World| {
            let live: Vec<_> = w
                .list("pods")
                .into_iter()
                .filter(|pod| pod.pointer("/metadata/deletionTimestamp").is_none())
                .collect();
            let ready = live
                .iter()
                .filter(|pod| condition(pod, "Ready", "status") == "True");
            assert!(live.len() <= 4, "{} pods", live.len());
            assert!(ready.count() >= 3);
        };
        world.set_image("web", "i:2");
        world
            .until("second", |w| {
                within(w);
                w.rolled_out("web", 3) && w.images() == BTreeSet::from(["i:2".into()])
            })
            .await;
        assert_eq!(world.list("replicasets").len(), 2);

        world.set_image("web", "i:1");
        world
            .until("undone", |w| {
                w.rolled_out("web", 3) && w.images() == ["i:1".into()].into()
            })
            .await;
        assert_eq!(
            world.list("replicasets").len(),
            2,
            "the old ReplicaSet is used again"
        );
        let set = world.get("replicasets", "d", &first).unwrap();
        let annotations = &set["metadata"]["annotations"];
        assert_eq!(annotations["deployment.kubernetes.io/revision"], "3");
        assert_eq!(
            annotations["deployment.kubernetes.io/revision-history"],
            "1"
        );
    });
}

#[test]
fn recreate_starts_nothing_before_the_old_pods_are_gone() {
    virtually(async {
        let world = World::new(&["n1"]).start().with_nodes();
        world.deploy("db", 2, json!({"type": "Recreate"}));
        world.until("first", |w| w.rolled_out("db", 2)).await;
        world.set_image("db", "i:2");
        world
            .until("second", |w| {
                assert!(
                    w.images().len() <= 1,
                    "two templates at once: {:?}",
                    w.images()
                );
                w.rolled_out("db", 2) && w.images() == ["i:2".into()].into()
            })
            .await;
    });
}

#[test]
fn a_stuck_rollout_says_so_after_its_deadline() {
    virtually(async {
        let world = World::new(&["n1"]).start().with_nodes();
        world.deploy("web", 2, json!({}));
        world.until("first", |w| w.rolled_out("web", 2)).await;
        world.set_image("web", "broken:1");
        let reason = |w: &World| {
            let deployment = w.get("deployments", "d", "web").unwrap();
            condition(&deployment, "Progressing", "reason").to_owned()
        };
        world
            .until("deadline", |w| reason(w) == "ProgressDeadlineExceeded")
            .await;
        assert_eq!(
            world.get("deployments", "d", "web").unwrap()["status"]["availableReplicas"],
            2
        );
        world.set_image("web", "i:3");
        world.until("mended", |w| w.rolled_out("web", 2)).await;
    });
}

#[test]
fn deleting_a_deployment_takes_its_pods_along() {
    virtually(async {
        let world = World::new(&["n1"]).start().with_nodes();
        world.deploy("web", 3, json!({}));
        world.deploy("other", 1, json!({}));
        world
            .until("running", |w| {
                w.rolled_out("web", 3) && w.rolled_out("other", 1)
            })
            .await;
        world.delete("deployments", "d", "web");
        world
            .until("gone", |w| {
                w.list("replicasets").len() == 1 && w.list("pods").len() == 1
            })
            .await;
        assert!(world.rolled_out("other", 1));
    });
}

#[test]
fn a_deleted_pod_is_replaced() {
    virtually(async {
        let world = World::new(&["n1"]).start().with_nodes();
        world.deploy("web", 2, json!({}));
        world.until("running", |w| w.rolled_out("web", 2)).await;
        let name = text(&world.list("pods")[0], "/metadata/name").to_owned();
        world.delete("pods", "d", &name);
        world
            .until("replaced", |w| {
                w.list("pods").len() == 2
                    && w.get("pods", "d", &name).is_none()
                    && w.rolled_out("web", 2)
            })
            .await;
    });
}

#[test]
fn a_replication_controller_keeps_its_pods() {
    virtually(async {
        let world = World::new(&["n1"]).start().with_nodes();
        let template = json!({"metadata": {"labels": {"app": "old"}},
            "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
        world.create(
            kinds::replication_controller(),
            "d",
            json!({"metadata": {"name": "old"},
                "spec": {"replicas": 2, "selector": {"app": "old"}, "template": template}}),
        );
        let ready = |w: &World| {
            let controller = w.get("replicationcontrollers", "d", "old").unwrap();
            controller["status"]["readyReplicas"].as_i64().unwrap_or(0)
        };
        world.until("two", |w| ready(w) == 2).await;
        let victim = text(&world.list("pods")[0], "/metadata/name").to_owned();
        world.delete("pods", "d", &victim);
        world
            .until("two again", |w| {
                ready(w) == 2 && w.list("pods").len() == 2 && w.get("pods", "d", &victim).is_none()
            })
            .await;
    });
}
