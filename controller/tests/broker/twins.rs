//! Two controllers of one identity at one broker: a copy of the machine that somebody switched on.

use bramble_link::Options;
use bramble_wire::report::Phase;

use crate::bed::{Bed, PATIENCE};
use crate::nodelink::World;

pub(crate) async fn of_two_controllers_the_one_that_was_started_last_goes_on(bed: Bed) {
    let world = World::on(bed);
    let first = world.start().await;
    let node = world.node(1, |_| {});
    node.has_colour("blue").await;
    world.pod_phase("Pending").await;

    let named = |options: &mut Options| options.client_id = "another".into();
    let second = world.start_with(named).await;
    for (link, yields) in [(&first, true), (&second, false)] {
        let mut standing = link.standing();
        let met = standing.wait_for(|now| now.rival.is_some());
        let met = tokio::time::timeout(PATIENCE, met)
            .await
            .expect("they meet");
        assert_eq!(met.unwrap().has_yielded(), yields);
    }
    // The node is served by the one, and nothing of it was harmed.
    world.colour("red");
    node.has_colour("red").await;
    node.becomes(Phase::Running);
    world.pod_phase("Running").await;
    assert_eq!(second.standing().borrow().epoch, 1, "no epoch rose");

    // The word of the one that ends is not the last: who comes later is welcomed, too.
    first.stop().await;
    drop(node);
    let again = world.node(2, |_| {});
    again.has_colour("red").await;
    again.welcomed().await;
}
