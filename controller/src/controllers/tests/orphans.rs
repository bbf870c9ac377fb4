//! Pods whose node is not there any more.

use super::*;

#[test]
fn a_pod_of_a_deleted_node_has_failed_and_goes_unless_something_holds_it() {
    virtually(async {
        let world = World::new(&["n1"]).start();
        let pod = |name: &str, finalizers: Value| {
            let spec = json!({"nodeName": "n1", "containers": [{"name": "c", "image": "i:1"}]});
            let metadata = json!({"name": name, "finalizers": finalizers});
            world.create(
                kinds::pod(),
                "d",
                json!({"metadata": metadata, "spec": spec}),
            );
        };
        pod("free", json!([]));
        pod("held", json!(["example.com/hold"]));
        pod("done", json!(["example.com/hold"]));
        for (name, phase) in [("held", "Running"), ("done", "Succeeded")] {
            world.change("pods", "d", name, |pod| {
                pod["status"]["phase"] = phase.into()
            });
        }
        world.delete("nodes", "", "n1");
        let marked = |pod: &Value| pod.pointer("/metadata/deletionTimestamp").is_some();
        world
            .until("gone", |w| {
                let pods = w.list("pods");
                pods.len() == 2 && pods.iter().all(marked)
            })
            .await;
        let held = world.get("pods", "d", "held").unwrap();
        assert_eq!(held["status"]["phase"], "Failed");
        assert_eq!(held["metadata"]["deletionGracePeriodSeconds"], 0);
        let conditions = held["status"]["conditions"].as_array().unwrap();
        let why = conditions.iter().find(|c| c["type"] == "DisruptionTarget");
        let why = why.unwrap();
        assert_eq!(why["status"], "True");
        assert_eq!(why["reason"], "DeletionByPodGC");
        assert_eq!(why["message"], "PodGC: node no longer exists");
        let done = world.get("pods", "d", "done").unwrap();
        assert_eq!(done["status"]["phase"], "Succeeded");
        // Whoever held it lets go.
        world.change("pods", "d", "held", |pod| {
            pod["metadata"]["finalizers"] = json!([]);
        });
        world
            .until("let go", |w| w.get("pods", "d", "held").is_none())
            .await;
    });
}
