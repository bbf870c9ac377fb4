//! The contract, one function per promise.

use std::time::{Duration, Instant};

use bramble_link::{Delivery, Event, Reason, Refused, Subscription, Will};
use bramble_wire::limits;

use crate::bed::{Bed, Peer, cluster, node_topic, poll_until, url};
use crate::proxy::{Proxy, Weather};

pub(crate) async fn own_topics_go_both_ways(bed: Bed) {
    let mut controller = bed.controller().await;
    let mut node = bed.node("n1", 7).await;
    for rest in ["s/birth", "s/report", "rpc/7/rq", "cmd/3/out"] {
        let topic = node_topic("n1", rest);
        node.link.send(&topic, rest).unwrap();
        controller.expect(&topic, rest.as_bytes()).await;
    }
    for rest in ["d/head", "rpc/7/rs", "cmd/3/rq", "cmd/3/in"] {
        let topic = node_topic("n1", rest);
        controller.link.send(&topic, rest).unwrap();
        node.expect(&topic, rest.as_bytes()).await;
    }
}

pub(crate) async fn foreign_topics_are_refused(bed: Bed) {
    let mut controller = bed.controller().await;
    let mut victim = bed.node("n2", 1).await;
    let mut options = bed.node_options("n1", 1);
    let foreign = ["nodes/n2/d/+", "nodes/+/d/+", "nodes/n2/rpc/+/rs", "#"];
    options.subscriptions.extend(foreign.map(|filter| {
        let filter = format!("bramble/v1/{}/{filter}", cluster());
        Subscription::queue(filter).optional()
    }));
    let mut node = Peer::start(options).await;

    // Publishing: refused with a reason code, and nobody gets it.
    let c_state = format!("bramble/v1/{}/c/state", cluster());
    let forged = [
        node_topic("n2", "s/report"),
        node_topic("n1", "d/head"),
        c_state,
    ];
    for topic in &forged {
        node.link.send(topic, "forged").unwrap();
        node.until(|event| {
            matches!(event, Event::PublishRefused { topic: refused, .. } if refused == topic)
        })
        .await;
    }
    node.link
        .send(&node_topic("n1", "s/report"), "own")
        .unwrap();
    controller
        .expect(&node_topic("n1", "s/report"), b"own")
        .await;
    assert_eq!(node.link.counters().refused, forged.len() as u64);

    // Subscribing: whether refused or only granted in name, nothing of n2 arrives.
    controller
        .link
        .send(&node_topic("n2", "d/head"), "for n2")
        .unwrap();
    victim.expect(&node_topic("n2", "d/head"), b"for n2").await;
    controller
        .link
        .send(&node_topic("n1", "d/head"), "for n1")
        .unwrap();
    node.expect(&node_topic("n1", "d/head"), b"for n1").await;
}

pub(crate) async fn no_node_name_is_privileged(bed: Bed) {
    let mut controller = bed.controller().await;
    for name in ["controller", "bramble-controller", "admin", "nodes"] {
        let mut node = bed.node(name, 1).await;
        let forged = node_topic("n2", "d/head");
        node.link.send(&forged, "forged").unwrap();
        node.until(|event| matches!(event, Event::PublishRefused { .. }))
            .await;
        let own = node_topic(name, "s/birth");
        node.link.send(&own, name).unwrap();
        controller.expect(&own, name.as_bytes()).await;
    }
}

pub(crate) async fn controller_state_is_retained(bed: Bed) {
    let controller = bed.controller().await;
    let topic = format!("bramble/v1/{}/c/state", cluster());
    controller.link.put_retained(&topic, "online").unwrap();
    idle(&controller).await;
    let mut late = bed.node("late", 1).await;
    late.expect(&topic, b"online").await;
}

pub(crate) async fn will_is_delivered_when_the_connection_is_cut(bed: Bed) {
    let mut controller = bed.controller().await;
    let proxy = Proxy::to(bed.address).await;
    let mut options = bed.node_options("n1", 7);
    options.urls = vec![url(proxy.address)];
    let topic = node_topic("n1", "s/life");
    options.will = Some(
        Will {
            topic: topic.clone(),
            payload: "lost, boot 7".into(),
            retain: false,
        }
        .into(),
    );
    let mut node = Peer::start(options).await;
    proxy.set(Weather::Cut);
    controller.expect(&topic, b"lost, boot 7").await;
    // The node is back by itself.
    node.until(|event| matches!(event, Event::Subscribed)).await;
    node.link
        .send(&node_topic("n1", "s/birth"), "again")
        .unwrap();
    controller
        .expect(&node_topic("n1", "s/birth"), b"again")
        .await;
}

pub(crate) async fn good_bye_suppresses_the_will(bed: Bed) {
    let mut controller = bed.controller().await;
    let mut options = bed.node_options("n1", 7);
    let topic = node_topic("n1", "s/life");
    options.will = Some(
        Will {
            topic,
            payload: "lost".into(),
            retain: false,
        }
        .into(),
    );
    let mut node = Peer::start(options).await;
    node.link.shutdown().await;
    node.until(|event| {
        matches!(
            event,
            Event::Disconnected {
                reason: Reason::Shutdown,
                ..
            }
        )
    })
    .await;
    assert_eq!(node.events.next().await, None);
    assert_eq!(
        node.link.send(&node_topic("n1", "s/sum"), "late"),
        Err(Refused::Shutdown)
    );

    let next = bed.node("n1", 8).await;
    next.link
        .send(&node_topic("n1", "s/birth"), "boot 8")
        .unwrap();
    controller
        .expect(&node_topic("n1", "s/birth"), b"boot 8")
        .await;
}

pub(crate) async fn largest_message_is_delivered(bed: Bed) {
    let mut controller = bed.controller().await;
    let mut node = bed.node("n1", 7).await;
    let largest: Vec<u8> = (0..limits::PACKET_MAX).map(|i| (i % 251) as u8).collect();
    let (up, down) = (node_topic("n1", "s/report"), node_topic("n1", "rpc/7/rs"));
    node.link.put(&up, largest.clone()).unwrap();
    controller.expect(&up, &largest).await;
    controller.link.put(&down, largest.clone()).unwrap();
    node.expect(&down, &largest).await;
}

pub(crate) async fn oversize_message_disturbs_nobody(bed: Bed) {
    let mut controller = bed.controller().await;
    let node = bed.node("n1", 7).await;
    let topic = node_topic("n1", "s/report");
    // Our own side refuses to send it.
    let oversize = vec![1u8; limits::PACKET_MAX + 1];
    assert_eq!(node.link.put(&topic, oversize), Err(Refused::Oversize));
    assert_eq!(node.link.counters().oversize_out, 1);
    // A sender without scruples gets it at most as far as the broker.
    rogue_publish(&bed, "rogue", vec![1u8; 300 * 1024]).await;
    node.link.send(&topic, "small").unwrap();
    controller.expect(&topic, b"small").await;
    assert_eq!(node.link.counters().connected, 1, "no reconnects");
    assert_eq!(controller.link.counters().connected, 1, "no reconnects");
}

/// Publishes as a node, without our link's limits; returns when the broker has answered or hung up.
async fn rogue_publish(bed: &Bed, node: &str, payload: Vec<u8>) {
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::Packet;
    use rumqttc::v5::{AsyncClient, Event, MqttOptions};
    use rumqttc::{TlsConfiguration, Transport};

    let from = bed.node_options(node, 1);
    let (host, port) = (from.urls[0].host.clone(), from.urls[0].port);
    let mut options = MqttOptions::new(from.client_id, host, port);
    options.set_transport(Transport::Tls(TlsConfiguration::Rustls(from.tls.unwrap())));
    let (client, mut events) = AsyncClient::new(options, 4);
    let topic = node_topic(node, "s/report");
    client
        .try_publish(topic, QoS::AtLeastOnce, false, payload)
        .unwrap();
    loop {
        match tokio::time::timeout(crate::bed::PATIENCE, events.poll())
            .await
            .unwrap()
        {
            Ok(Event::Incoming(Packet::PubAck(_))) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

pub(crate) async fn restart_without_storage_heals(mut bed: Bed) {
    let mut controller = bed.controller().await;
    let mut node = bed.node("n1", 7).await;
    bed.restart().await;
    // The embedded broker has a new plain port and password, as after a restart of the controller.
    if bed.is_embedded() {
        controller = bed.controller().await;
    } else {
        controller
            .until(|event| matches!(event, Event::Subscribed))
            .await;
    }
    node.until(|event| matches!(event, Event::Subscribed)).await;
    let (up, down) = (node_topic("n1", "s/birth"), node_topic("n1", "d/head"));
    node.link.put(&up, "here").unwrap();
    controller.expect(&up, b"here").await;
    controller.link.put(&down, "look").unwrap();
    node.expect(&down, b"look").await;
}

pub(crate) async fn half_open_connection_is_noticed(bed: Bed) {
    let mut controller = bed.controller().await;
    let proxy = Proxy::to(bed.address).await;
    let mut options = bed.node_options("n1", 7);
    options.urls = vec![url(proxy.address)];
    options.short_keep_alive = true;
    options.keep_alive = Duration::from_secs(5);
    let mut node = Peer::start(options).await;
    proxy.set(Weather::BlackHole);
    let topic = node_topic("n1", "s/sum");
    node.link.put(&topic, "into the hole").unwrap();
    node.until(|event| {
        matches!(
            event,
            Event::Disconnected {
                reason: Reason::Stalled,
                ..
            }
        )
    })
    .await;
    controller.expect(&topic, b"into the hole").await;
    assert_eq!(node.link.counters().stalled, 1);
}

pub(crate) async fn stalled_broker_never_blocks_a_sender(bed: Bed) {
    let mut controller = bed.controller().await;
    let proxy = Proxy::to(bed.address).await;
    let mut options = bed.node_options("n1", 7);
    options.urls = vec![url(proxy.address)];
    options.watchdog = Some(Duration::from_secs(2));
    let mut node = Peer::start(options).await;
    proxy.set(Weather::Stalled);

    let (state, frames) = (node_topic("n1", "s/report"), node_topic("n1", "cmd/1/out"));
    let started = Instant::now();
    let mut refused = 0;
    for round in 0..2000u32 {
        let mut payload = vec![0u8; 100 * 1024];
        payload[..4].copy_from_slice(&round.to_be_bytes());
        // State is replaced, so there is always room for it; frames are refused when it is full.
        let _ = node.link.put(&state, payload);
        refused += u32::from(node.link.send(&frames, vec![1u8; 8 * 1024]).is_err());
    }
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "took {:?}",
        started.elapsed()
    );
    assert!(refused > 1000, "the outbox is bounded, {refused} refused");
    node.link.put(&state, "newest").unwrap();

    node.until(|event| {
        matches!(
            event,
            Event::Disconnected {
                reason: Reason::Stalled,
                ..
            }
        )
    })
    .await;
    // On the next connection the newest state goes out; what is older may come before, never after.
    let mut last = Vec::new();
    while last != b"newest" {
        last = controller.message().await.1;
    }
    idle(&node).await;
    controller
        .link
        .send(&node_topic("n1", "d/head"), "still alive")
        .unwrap();
    node.expect(&node_topic("n1", "d/head"), b"still alive")
        .await;
}

pub(crate) async fn stale_session_does_no_harm(bed: Bed) {
    let controller = bed.controller().await;
    let proxy = Proxy::to(bed.address).await;
    let mut options = bed.node_options("n1", 1);
    options.urls = vec![url(proxy.address)];
    let node = Peer::start(options).await;
    // The power fails; the session stays.
    drop(node);
    proxy.set(Weather::Cut);
    for boot in [1, 2] {
        let topic = node_topic("n1", &format!("rpc/{boot}/rs"));
        controller
            .link
            .put(&topic, format!("while away, boot {boot}"))
            .unwrap();
    }
    idle(&controller).await;

    let mut next = Peer::spawn(bed.node_options("n1", 2));
    let connected = next
        .until(|event| matches!(event, Event::Connected { .. }))
        .await;
    assert_eq!(
        connected,
        Event::Connected {
            session_present: true
        }
    );
    next.until(|event| matches!(event, Event::Subscribed)).await;
    // What was kept for the session may come; its topic says for which boot it was.
    let topic = node_topic("n1", "rpc/2/rs");
    controller.link.send(&topic, "fresh").unwrap();
    while next.message().await != (topic.clone(), b"fresh".to_vec()) {}
}

pub(crate) async fn duplicates_do_no_harm(bed: Bed) {
    let controller = bed.controller().await;
    let proxy = Proxy::to(bed.address).await;
    let mut options = bed.node_options("n1", 7);
    options.urls = vec![url(proxy.address)];
    let mut node = Peer::start(options).await;
    // The message arrives, the acknowledgement does not.
    proxy.set(Weather::LostUp);
    let topic = node_topic("n1", "rpc/7/rs");
    controller.link.send(&topic, "once").unwrap();
    node.expect(&topic, b"once").await;
    proxy.set(Weather::Cut);
    node.until(|event| matches!(event, Event::Disconnected { .. }))
        .await;
    node.expect(&topic, b"once").await;
    controller.link.send(&topic, "next").unwrap();
    node.expect(&topic, b"next").await;
}

pub(crate) async fn many_nodes_at_once(bed: Bed) {
    const NODES: usize = 40;
    let mut controller = bed.controller().await;
    let nodes: Vec<(String, Peer)> = (0..NODES)
        .map(|i| {
            let name = format!("n{i}");
            let mut options = bed.node_options(&name, 1);
            for subscription in &mut options.subscriptions {
                subscription.delivery = Delivery::Latest;
            }
            let peer = Peer::spawn(options);
            // Before there is a connection: state waits, frames do not.
            peer.link
                .put(&node_topic(&name, "s/birth"), name.clone())
                .unwrap();
            let frame = peer.link.send(&node_topic(&name, "rpc/1/rq"), "early");
            assert!(matches!(frame, Err(Refused::Offline) | Ok(())));
            (name, peer)
        })
        .collect();
    let mut births = std::collections::BTreeSet::new();
    while births.len() < NODES {
        let (topic, payload) = controller.message().await;
        if topic.ends_with("/s/birth") {
            births.insert(String::from_utf8(payload).unwrap());
        }
    }
    for (name, mut node) in nodes {
        controller
            .link
            .put(&node_topic(&name, "d/head"), name.clone())
            .unwrap();
        node.expect(&node_topic(&name, "d/head"), name.as_bytes())
            .await;
    }
}

/// Waits until the broker has acknowledged everything.
async fn idle(peer: &Peer) {
    poll_until("the broker has acknowledged", async || peer.link.is_idle()).await;
}
