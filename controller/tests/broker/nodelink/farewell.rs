//! Boards whose Node was deleted.

use super::*;

impl World {
    /// What the API does for `kubectl delete node n1`.
    fn delete_node(&self) {
        self.delete(&[
            Key::new(GROUP, NODE_KEYS, "", "n1"),
            Key::new("", "nodes", "", "n1"),
        ]);
    }

    fn delete(&self, keys: &[Key]) {
        let ops = keys.iter().map(|key| Op::Delete {
            key: key.clone(),
            expect: Expect::Any,
            durability: Durability::Hard,
        });
        let _ = self.store.commit(ops.collect()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_board_of_a_deleted_node_is_told_to_stop_everything_and_is_a_stranger_then() {
    let world = World::new().await;
    let link = world.start().await;
    let mut board = world.board(1).await;
    board.born().await;
    let (version, objects) = board.pull().await;
    assert_eq!(objects.len(), 3, "{objects:?}");
    board.report(version, vec![running()]).await;
    world.node_ready("True").await;

    world.delete_node();
    let (_, head) = board
        .next::<Head>(|topic| matches!(topic, Topic::Head(_)))
        .await;
    assert!(head.version > version);
    let (version, objects) = board.pull().await;
    assert!(matches!(objects[..], [Object::Node(_)]), "{objects:?}");

    // It says that it knows, and is not heard any more: its facts make no Node again.
    let wire = board.peer.link.clone();
    board.reports += 1;
    let last = Report {
        session: board.session,
        number: board.reports,
        full: false,
        more: false,
        accepted: Some(version),
        converged: None,
        pods: Vec::new(),
        facts: Some(NodeFacts::default()),
        first_event: 0,
        events: Vec::new(),
        usage: None,
        rejected: String::new(),
    };
    board.send(&Topic::Report(n1()), &last);
    while !wire.is_idle() {
        tokio::task::yield_now().await;
    }
    assert!(world.store.get(&Key::new("", "nodes", "", "n1")).is_none());
    link.stop().await;
    assert!(world.store.get(&Key::new("", "nodes", "", "n1")).is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_node_that_something_holds_is_not_there() {
    let world = World::new().await;
    let link = world.start().await;
    let mut board = world.board(1).await;
    board.born().await;
    let (version, _) = board.pull().await;
    board.report(version, vec![running()]).await;
    world.node_ready("True").await;
    // A finalizer holds the Node; the membership has ended.
    world.delete(&[Key::new(GROUP, NODE_KEYS, "", "n1")]);
    world.node_ready("False").await;
    link.stop().await;
}
