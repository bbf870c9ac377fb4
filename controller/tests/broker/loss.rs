//! What brokers lose, refuse and delay, with the controller's node link at one end and the agent's
//! session at the other: what was wanted and what was seen arrive all the same.

use bramble_link::Subscription;
use bramble_wire::report::Phase;
use bramble_wire::topic::Topic;

use crate::bed::{Bed, Peer, cluster, node_topic, poll_until, url};
use crate::nodelink::World;
use crate::nodelink::board::n1;
use crate::proxy::{Proxy, Weather};

/// The publish was taken from us and never reached the broker: rumqttc does not tell.
pub(crate) async fn a_publish_lost_in_a_reconnect_is_said_again(bed: Bed) {
    let world = World::on(bed);
    let _link = world.start().await;
    let proxy = Proxy::to(world.bed.address).await;
    let node = world.node(1, |options| options.urls = vec![url(proxy.address)]);
    node.has_colour("blue").await;
    world.pod_phase("Pending").await;

    proxy.set(Weather::LostUp);
    node.becomes(Phase::Running);
    // Given to the network, and gone.
    proxy.lost_something().await;
    proxy.set(Weather::Cut);
    world.pod_phase("Running").await;

    // The same the other way.
    proxy.set(Weather::LostDown);
    world.colour("red");
    proxy.lost_something().await;
    proxy.set(Weather::Cut);
    node.has_colour("red").await;
}

pub(crate) async fn storage_is_lost_and_desired_state_arrives_again(bed: Bed) {
    let mut world = World::on(bed);
    let link = world.start().await;
    let node = world.node(1, |_| {});
    node.has_colour("blue").await;
    world.pod_phase("Pending").await;

    // While nobody carries anything, both sides change.
    let link = world.stop_broker(link).await;
    world.colour("red");
    node.becomes(Phase::Running);
    let _link = world.start_broker(link).await;
    node.has_colour("red").await;
    world.pod_phase("Running").await;
    world.node_ready("True").await;
}

pub(crate) async fn a_broker_that_restarts_again_and_again(bed: Bed) {
    let mut world = World::on(bed);
    let mut link = world.start().await;
    let node = world.node(1, |_| {});
    node.has_colour("blue").await;
    for round in 1..=4 {
        // Sometimes with a connection, sometimes in the middle of making one.
        if round % 2 == 0 {
            node.welcomed().await;
        }
        world.colour(&format!("colour {round}"));
        let kept = world.stop_broker(link).await;
        link = world.start_broker(kept).await;
    }
    node.has_colour("colour 4").await;
    node.becomes(Phase::Running);
    world.pod_phase("Running").await;
    drop(link);
}

/// Nothing is dropped where little is carried at a time, and a late answer is one.
pub(crate) async fn a_throttled_broker_delays_and_loses_nothing(bed: Bed) {
    let world = World::on(bed);
    let ballast = "x".repeat(120 * 1024);
    world.configure(&[("COLOUR", "blue"), ("BALLAST", &ballast)]);
    let _link = world.start().await;
    let proxy = Proxy::slow(world.bed.address, 64 * 1024).await;
    let node = world.node(1, |options| options.urls = vec![url(proxy.address)]);
    node.subscribed(1).await;
    for round in 0..20 {
        let colour = format!("colour {round}");
        world.configure(&[("COLOUR", &colour), ("BALLAST", &ballast)]);
        tokio::task::yield_now().await;
    }
    node.has_colour("colour 19").await;
    node.becomes(Phase::Running);
    world.pod_phase("Running").await;
    assert_eq!(node.link.counters().connected, 1, "slow is not dead");
}

/// Only one message is retained at all, and it is no more than a hint; and what a broker kept from
/// another time is not believed.
pub(crate) async fn retained_state_is_truncated_and_nothing_depends_on_it(bed: Bed) {
    let world = World::on(bed);
    let _link = world.start().await;
    let (head, state) = (
        Topic::Head(n1()).text(&cluster()),
        Topic::Controller.text(&cluster()),
    );
    let mut options = world.bed.controller_options();
    options.client_id = "somebody-else".into();
    options
        .subscriptions
        .push(Subscription::queue(head.as_str()));
    let mut broker = Peer::start(options).await;
    let first = world.node(1, |_| {});
    first.has_colour("blue").await;

    // The head of now is kept for later, what is retained is dropped.
    world.colour("red");
    let recorded = loop {
        let (topic, payload) = broker.message().await;
        if topic == head.as_str() {
            break payload;
        }
    };
    first.has_colour("red").await;
    drop(first);
    broker.link.put_retained(&state, "").unwrap();
    broker.link.put_retained(&head, recorded).unwrap();
    poll_until("both are taken", async || broker.link.is_idle()).await;
    world.colour("green");

    let second = world.node(3, |_| {});
    second.has_colour("green").await;
    second.becomes(Phase::Running);
    world.pod_phase("Running").await;
}

/// The rules of a broker that somebody else runs can be wrong: it is said, and heals by itself when
/// they are mended.
pub(crate) async fn publishes_are_refused_by_the_acl_and_said(bed: Bed) {
    let world = World::on(bed);
    let _link = world.start().await;
    world
        .bed
        .rules(|rules| rules.replace("pattern write bramble/v1/contract/nodes/%u/s/+", ""));
    let other = world.bed.node("n2", 1).await;
    poll_until("mosquitto has read its rules", async || {
        let _ = other.link.put(&node_topic("n2", "s/sum"), "may I?");
        other.link.counters().refused > 0
    })
    .await;
    let node = world.node(1, |_| {});
    node.refused("/s/birth").await;
    assert!(!node.is_welcomed());
    world.bed.rules(str::to_owned);
    node.welcomed().await;
    node.has_colour("blue").await;
    node.becomes(Phase::Running);
    world.pod_phase("Running").await;
    world.node_ready("True").await;
}
