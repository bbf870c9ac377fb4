//! Where pods go, and what becomes of them when their node does.

use super::*;

#[test]
fn a_pod_without_a_place_says_why_and_gets_one_when_there_is_one() {
    virtually(async {
        let world = World::new(&["n1"]).start().with_nodes();
        let pod = json!({"metadata": {"name": "p"}, "spec": {
            "containers": [{"name": "c", "image": "i"}], "nodeSelector": {"n": "n2"}}});
        world.create(kinds::pod(), "d", pod);
        let message = |w: &World| {
            let pod = w.get("pods", "d", "p").unwrap();
            condition(&pod, "PodScheduled", "message").to_owned()
        };
        let why = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. \
                   preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
        world.until("refused", |w| message(w) == why).await;
        assert!(world.reasons().contains("FailedScheduling"));
        world.add_node("n2");
        world
            .until("bound", |w| {
                w.get("pods", "d", "p").unwrap()["spec"]["nodeName"] == "n2"
            })
            .await;
    });
}

#[test]
fn a_removed_pod_makes_room_for_a_waiting_one() {
    virtually(async {
        let world = World::new(&["n1"]).start().with_nodes();
        let pod = |name: &str| {
            json!({"metadata": {"name": name}, "spec": {"containers": [
            {"name": "c", "image": "i", "resources": {"requests": {"memory": "3Gi"}}}]}})
        };
        world.create(kinds::pod(), "d", pod("a"));
        world
            .until("bound", |w| {
                w.get("pods", "d", "a").unwrap()["spec"]["nodeName"] == "n1"
            })
            .await;
        world.create(kinds::pod(), "d", pod("b"));
        let waits = "0/1 nodes are available: 1 Insufficient memory. \
                     preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.";
        world
            .until("waits", |w| {
                condition(&w.get("pods", "d", "b").unwrap(), "PodScheduled", "message") == waits
            })
            .await;
        world.delete("pods", "d", "a");
        world
            .until("room", |w| {
                w.get("pods", "d", "b").unwrap()["spec"]["nodeName"] == "n1"
            })
            .await;
    });
}

#[test]
fn pods_of_a_deleted_node_are_replaced_elsewhere() {
    virtually(async {
        let world = World::new(&["n1", "n2"]).start().with_nodes();
        world.deploy("web", 4, json!({}));
        world.until("running", |w| w.rolled_out("web", 4)).await;
        world.delete("nodes", "", "n1");
        world
            .until("moved", |w| {
                let pods = w.list("pods");
                pods.len() == 4
                    && pods.iter().all(|pod| text(pod, "/spec/nodeName") == "n2")
                    && w.rolled_out("web", 4)
            })
            .await;
    });
}

fn set_node(world: &World, ready: bool) {
    let now = (world.clock)().rfc3339();
    world.change("nodes", "", "n1", |node| {
        let status = if ready { "True" } else { "Unknown" };
        node["status"]["conditions"] =
            json!([{"type": "Ready", "status": status, "lastTransitionTime": now}]);
        node["spec"]["taints"] = match ready {
            true => json!([]),
            false => json!([{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute",
                "timeAdded": now}]),
        };
    });
}

#[test]
fn pods_of_a_lost_node_are_marked_in_time_and_replaced_unless_most_nodes_are_lost() {
    virtually(async {
        let world = World::new(&["n1", "n2"]).start();
        for node in ["n1", "n2"] {
            world.change("nodes", "", node, |node| {
                node["status"]["conditions"] = json!([{"type": "Ready", "status": "True"}]);
            });
        }
        world.create(
            kinds::pod(),
            "d",
            json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n1",
                "tolerations": [{"key": "node.kubernetes.io/unreachable", "operator": "Exists",
                    "effect": "NoExecute", "tolerationSeconds": 20}],
                "containers": [{"name": "c", "image": "i"}]}}),
        );
        world.change("pods", "d", "p", |pod| {
            pod["status"] = json!({"phase": "Running", "conditions": [
                {"type": "Ready", "status": "True"}, {"type": "ContainersReady", "status": "True"}]});
        });
        let ready =
            |w: &World| condition(&w.get("pods", "d", "p").unwrap(), "Ready", "status").to_owned();
        set_node(&world, false);
        world.until("not ready", |w| ready(w) == "False").await;
        set_node(&world, true);
        world.until("ready again", |w| ready(w) == "True").await;
        set_node(&world, false);
        let lost = (world.clock)();
        let marked = |w: &World| {
            let pod = w.get("pods", "d", "p").unwrap();
            pod.pointer("/metadata/deletionTimestamp").is_some()
        };
        world.until("marked", marked).await;
        assert_eq!((world.clock)().since(lost), 20, "when its time is over");
        assert!(world.reasons().contains("TaintManagerEviction"));
        assert!(world.reasons().contains("NodeNotReady"));
        assert!(
            world.get("pods", "d", "p").is_some(),
            "its node has the last word"
        );
    });
}
