//! What only the embedded broker promises: identity is the certificate, all of it and nothing else.

use std::time::Duration;

use bramble_link::tls::{FloorClock, client_config};
use bramble_link::{Event, Reason, Will};
use bramble_wire::name::NodeName;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::bed::{Bed, Ca, PATIENCE, Peer, node_topic};

/// Waits for the first end of a connection and says why.
async fn refusal(peer: &mut Peer) -> Reason {
    match peer
        .until(|event| !matches!(event, Event::Connected { .. }))
        .await
    {
        Event::Disconnected { reason, .. } => reason,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

fn refused(code: &str) -> Reason {
    Reason::Refused(code.to_owned())
}

#[tokio::test]
async fn foreign_client_id_is_refused() {
    let bed = Bed::embedded().await;
    let mut victim = bed.node("n2", 1).await;
    for id in ["bramble-n2", "controller", "n1", "bramble-n1x"] {
        let mut options = bed.node_options("n1", 1);
        options.client_id = id.to_owned();
        assert_eq!(
            refusal(&mut Peer::spawn(options)).await,
            refused("ClientIdentifierNotValid")
        );
    }
    // The victim's session was not taken over on the way.
    let controller = bed.controller().await;
    controller
        .link
        .send(&node_topic("n2", "d/head"), "x")
        .unwrap();
    victim.expect(&node_topic("n2", "d/head"), b"x").await;
    assert_eq!(victim.link.counters().connected, 1);
}

#[tokio::test]
async fn certificate_decides_who_may_connect() {
    let bed = Bed::embedded().await;
    let network = |reason: &Reason| matches!(reason, Reason::Network(_));

    // No certificate.
    let reason = refusal(&mut Peer::spawn(bed.options_with("bramble-n1", None))).await;
    assert!(network(&reason), "{reason:?}");

    // A certificate of another CA, while trusting the right one.
    let strange = Ca::new().leaf("n1");
    bed.table.add(&strange.der, "n1");
    let reason = refusal(&mut Peer::spawn(
        bed.options_with("bramble-n1", Some(&strange)),
    ))
    .await;
    assert!(network(&reason), "{reason:?}");

    // A good certificate that is in no table.
    let unknown = bed.ca.leaf("n1");
    let reason = refusal(&mut Peer::spawn(
        bed.options_with("bramble-n1", Some(&unknown)),
    ))
    .await;
    assert!(network(&reason), "{reason:?}");

    // A server that is not the cluster's.
    let mut options = bed.node_options("n1", 1);
    let roots = [Ca::new().der];
    options.tls = Some(client_config(&roots, None, FloorClock::new(0)).unwrap());
    let reason = refusal(&mut Peer::spawn(options)).await;
    assert!(
        matches!(&reason, Reason::Network(text) if text.contains("invalid peer certificate")),
        "{reason:?}"
    );

    let counters = bed.broker().counters();
    assert_eq!(counters.accepted, 0);
    assert!(counters.handshake_failed >= 2, "{counters:?}");
    assert!(counters.not_a_member >= 1, "{counters:?}");
}

#[tokio::test]
async fn revoked_node_is_out_and_stays_out() {
    let bed = Bed::embedded().await;
    let mut node = bed.node("n1", 1).await;
    let other = bed.node("n2", 1).await;
    bed.table.revoke("n1");
    bed.broker().kick(&NodeName::new("n1").unwrap());
    node.until(|event| matches!(event, Event::Disconnected { .. }))
        .await;
    // It tries again and gets no further than TLS.
    node.until(|event| matches!(event, Event::Disconnected { .. }))
        .await;
    assert_eq!(node.link.counters().connected, 1);
    assert_eq!(bed.broker().counters().kicked, 1);
    assert!(other.link.is_online());
}

#[tokio::test]
async fn local_process_gets_nothing_from_the_plain_port() {
    let bed = Bed::embedded().await;
    let controller = bed.controller_options();
    let plain = |client_id: &str, credentials: Option<(&str, &str)>| {
        let mut options = controller.clone();
        options.client_id = client_id.to_owned();
        options.credentials = credentials.map(|(user, pass)| (user.to_owned(), pass.to_owned()));
        Peer::spawn(options)
    };
    let _node = bed.node("n1", 1).await;
    let password = controller.credentials.clone().unwrap().1;
    for (client_id, credentials) in [
        ("bramble-n1", None),
        ("bramble-n1", Some(("controller", password.as_str()))),
        ("controller", None),
        ("controller", Some(("controller", "guess"))),
        ("controller", Some(("bramble-n1", password.as_str()))),
    ] {
        let reason = refusal(&mut plain(client_id, credentials)).await;
        assert_eq!(
            reason,
            refused("NotAuthorized"),
            "{client_id} {credentials:?}"
        );
    }
    assert!(bed.broker().counters().connects_refused >= 5);
    let mut right = plain("controller", Some(("controller", &password)));
    right
        .until(|event| matches!(event, Event::Subscribed))
        .await;
}

#[tokio::test]
async fn will_on_a_foreign_topic_is_refused() {
    let bed = Bed::embedded().await;
    for topic in [
        node_topic("n2", "s/life"),
        node_topic("n1", "d/head"),
        node_topic("n1", "s/report"),
    ] {
        let mut options = bed.node_options("n1", 1);
        options.will = Some(
            Will {
                topic: topic.clone(),
                payload: "forged".into(),
                retain: false,
            }
            .into(),
        );
        let reason = refusal(&mut Peer::spawn(options)).await;
        assert_eq!(reason, refused("NotAuthorized"), "{topic}");
    }
}

#[tokio::test]
async fn nodes_retain_nothing() {
    let bed = Bed::embedded().await;
    let node = bed.node("n1", 1).await;
    let mut controller = bed.controller().await;
    let topic = node_topic("n1", "s/birth");
    node.link.put_retained(&topic, "retained").unwrap();
    controller.expect(&topic, b"retained").await;
    // A controller that comes later sees only what is published later.
    let mut options = bed.controller_options();
    drop(controller);
    options.session_expiry = Duration::ZERO;
    let mut late = Peer::spawn(options);
    late.until(|event| matches!(event, Event::Subscribed)).await;
    node.link.put(&topic, "later").unwrap();
    late.expect(&topic, b"later").await;
}

#[tokio::test]
async fn silent_stranger_is_shown_out() {
    let bed = Bed::embedded_with(|config| {
        config.handshake_timeout = Duration::from_millis(200);
        config.clients_max = 1;
    })
    .await;
    // Says nothing: closed when its time is up.
    let mut silent = TcpStream::connect(bed.address).await.unwrap();
    // One too many: closed at once.
    let mut surplus = TcpStream::connect(bed.address).await.unwrap();
    for stream in [&mut surplus, &mut silent] {
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut [0; 16]))
            .await
            .unwrap();
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    }
    let counters = bed.broker().counters();
    assert_eq!((counters.over_limit, counters.handshake_failed), (1, 1));
    // The place is free again.
    bed.node("n1", 1).await;
}
