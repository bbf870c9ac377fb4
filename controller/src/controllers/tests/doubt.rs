//! The store was set back, and not every node has said what it runs.

use bramble_wire::name::NodeName;
use bramble_wire::version::Boot;

use super::*;
use crate::nodelink::standing::Rival;

fn standing(waiting: usize) -> Arc<Standing> {
    Arc::new(Standing {
        epoch: 2,
        confirmed: 1,
        waiting,
        waiting_for: (0..waiting)
            .map(|number| NodeName::new(&format!("n{number}")).unwrap())
            .collect(),
        ..Standing::default()
    })
}

#[test]
fn nothing_is_collected_before_every_node_has_reported() {
    virtually(async {
        let world = World::new(&["n1"]);
        world.standing.send_replace(standing(1));
        let world = world.start();
        let owner = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "lost",
            "uid": "00000000-0000-4000-8000-000000000009", "controller": true}]);
        let spec = json!({"nodeName": "n1", "containers": [{"name": "c", "image": "i:1"}]});
        let orphan =
            json!({"metadata": {"name": "orphan", "ownerReferences": owner}, "spec": spec});
        world.create(kinds::pod(), "d", orphan);
        // Something else that the same loop does after it.
        let free = json!({"metadata": {"name": "free"},
            "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
        world.create(kinds::pod(), "d", free);
        let bound = |w: &World| {
            w.get("pods", "d", "free")
                .is_some_and(|pod| pod["spec"]["nodeName"] == "n1")
        };
        world.until("bound", bound).await;
        let marked = |w: &World| {
            let pod = w.get("pods", "d", "orphan");
            pod.is_none_or(|pod| pod.pointer("/metadata/deletionTimestamp").is_some())
        };
        assert!(!marked(&world));
        world.standing.send_replace(standing(0));
        world.until("collected", marked).await;
    });
}

#[test]
fn a_pod_that_must_not_run_twice_is_placed_when_every_node_has_reported() {
    virtually(async {
        let world = World::new(&["n1"]);
        world.standing.send_replace(standing(5));
        let world = world.start();
        let once = json!({"metadata": {"name": "once", "annotations": {"bramble.dev/once": "true"}},
            "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
        world.create(kinds::pod(), "d", once);
        let said = |w: &World| {
            w.get("pods", "d", "once").unwrap()["status"]["conditions"][0]["message"].clone()
        };
        world.until("told why", |w| said(w).is_string()).await;
        let message = said(&world);
        let message = message.as_str().unwrap();
        assert!(message.ends_with("n0, n1, n2 and 2 more"), "{message}");
        assert_eq!(
            text(&world.get("pods", "d", "once").unwrap(), "/spec/nodeName"),
            ""
        );
        world.standing.send_replace(standing(0));
        let bound = |w: &World| w.get("pods", "d", "once").unwrap()["spec"]["nodeName"] == "n1";
        world.until("bound", bound).await;
    });
}

#[test]
fn while_another_controller_goes_on_nothing_is_written() {
    virtually(async {
        let world = World::new(&["n1"]);
        let yielded = |goes_on: bool| {
            let rival = goes_on.then(|| Rival {
                goes_on,
                epoch: 1,
                boot: Boot(9),
                last: Timestamp::from_seconds(START),
            });
            Arc::new(Standing {
                rival,
                ..Standing::default()
            })
        };
        world.standing.send_replace(yielded(true));
        let world = world.start();
        let pod = json!({"metadata": {"name": "free"},
            "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
        world.create(kinds::pod(), "d", pod);
        let before = world.store.revision();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(world.store.revision(), before);
        let bound = |w: &World| {
            w.get("pods", "d", "free")
                .is_some_and(|pod| pod["spec"]["nodeName"] == "n1")
        };
        world.standing.send_replace(yielded(false));
        world.until("bound", bound).await;
        // They meet while this one is at work.
        world.standing.send_replace(yielded(true));
        let pod = json!({"metadata": {"name": "second"},
            "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
        world.create(kinds::pod(), "d", pod);
        let before = world.store.revision();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(world.store.revision(), before);
    });
}
