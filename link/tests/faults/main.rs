//! What brokers do wrong, played by a scripted one: the link must come back, in time and in bounds.

#![allow(clippy::unwrap_used, reason = "a test")]

mod broker;

use std::future::Future;
use std::net::Ipv4Addr;
use std::time::Duration;

use bramble_link::{BrokerUrl, Event, Link, Options, Reason, Refused, Subscription};
use bramble_wire::limits;
use tokio::net::TcpListener;

use broker::{Client, DISCONNECT, PINGREQ, PUBLISH, SUBSCRIBE, bed};

const PATIENCE: Duration = Duration::from_secs(10);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it takes too long")
}

#[tokio::test]
async fn connects_within_its_limits() {
    let bed = bed(|options| options.keep_alive = Duration::from_secs(1)).await;
    let mut client = bed.accept().await;
    let (connect, _) = soon(client.subscribed()).await;
    assert_eq!(connect.keep_alive(), 30, "raised to the floor");
    assert!(
        !connect.clean_start(),
        "a session survives a broker's restart only without it"
    );
    let properties: &[&[u8]] = &[
        &[0x11, 0, 0, 0x0e, 0x10],    // session expiry 3600 s
        &[0x21, 0, 16],               // receive maximum
        &[0x27, 0, 0x04, 0x04, 0x00], // maximum packet size 257 KiB
    ];
    for property in properties {
        assert!(
            connect.body.windows(property.len()).any(|w| w == *property),
            "{property:x?}"
        );
    }
}

#[tokio::test]
async fn oversize_packet_ends_in_a_clean_session_not_in_a_storm() {
    let mut bed = bed(|_| {}).await;
    let oversize = vec![7; 300 * 1024];

    // It is queued in the session.
    let mut client = bed.accept().await;
    let (connect, _) = soon(client.subscribed()).await;
    assert!(!connect.clean_start());
    client.publish("in/x", &oversize).await;
    assert_eq!(bed.disconnected().await.0, Reason::Oversize);

    // It is retained.
    let mut client = bed.accept().await;
    let (connect, subscribe) = soon(client.subscribed()).await;
    assert!(connect.clean_start(), "the session is given up");
    assert_eq!(subscribe.retain_handling(), 0);
    client.publish("in/x", &oversize).await;
    assert_eq!(bed.disconnected().await.0, Reason::Oversize);

    let mut client = bed.accept().await;
    let (connect, subscribe) = soon(client.subscribed()).await;
    assert!(connect.clean_start());
    assert_eq!(subscribe.retain_handling(), 2, "no retained messages");
    client.publish("in/x", b"small").await;
    bed.until(|event| matches!(event, Event::Message { .. }))
        .await;
    assert_eq!(bed.link.counters().oversize_in, 2);
    assert_eq!(bed.link.counters().connected, 3);
}

#[tokio::test]
async fn payload_over_the_limit_is_dropped_and_the_connection_stays() {
    let mut bed = bed(|options| options.inbox_bytes = 8 << 20).await;
    let mut client = bed.accept().await;
    soon(client.subscribed()).await;
    client
        .publish("in/x", &vec![7; limits::PACKET_MAX + 1])
        .await;
    bed.until(|event| matches!(event, Event::Oversize)).await;
    client.publish("in/x", &vec![7; limits::PACKET_MAX]).await;
    bed.until(|event| matches!(event, Event::Message { .. }))
        .await;
    assert_eq!(bed.link.counters().connected, 1);
}

#[tokio::test]
async fn third_takeover_waits_the_longest() {
    let mut bed = bed(|options| options.backoff_max = Duration::from_secs(300)).await;
    for round in 1..=3 {
        let mut client = bed.accept().await;
        soon(client.subscribed()).await;
        client.write(&[0xe0, 2, 0x8e, 0]).await;
        let (reason, retry_in) = bed.disconnected().await;
        assert_eq!(reason, Reason::TakenOver);
        assert_eq!(
            retry_in == Duration::from_secs(300),
            round == 3,
            "round {round}: {retry_in:?}"
        );
    }
    assert_eq!(bed.link.counters().taken_over, 3);
    // News about the network ends the wait.
    bed.link.retry_now();
    soon(bed.accept().await.subscribed()).await;
}

/// An address that nobody listens at.
async fn nobody() -> BrokerUrl {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    format!("mqtt://{}", listener.local_addr().unwrap())
        .parse()
        .unwrap()
}

#[tokio::test]
async fn the_others_of_a_list_are_tried_without_a_pause() {
    let gone = [nobody().await, nobody().await, nobody().await];
    let mut bed = bed(|options| {
        // A pause would outlast the test.
        options.backoff_min = Duration::from_secs(300);
        options.backoff_max = Duration::from_secs(300);
        for url in gone {
            options.urls.insert(0, url);
        }
    })
    .await;
    soon(bed.accept().await.subscribed()).await;
    for _ in 0..3 {
        assert_eq!(bed.disconnected().await.1, Duration::ZERO);
    }
    bed.subscribed().await;
}

#[tokio::test]
async fn another_list_is_tried_at_once_where_there_is_no_connection() {
    let gone = nobody().await;
    let mut bed = bed(|options| {
        options.backoff_min = Duration::from_secs(300);
        options.backoff_max = Duration::from_secs(300);
        options.urls = vec![gone];
    })
    .await;
    let (_, retry_in) = bed.disconnected().await;
    assert!(!retry_in.is_zero());
    assert_eq!(bed.link.broker(), None);
    let here: BrokerUrl = format!("mqtt://{}", bed.listener.local_addr().unwrap())
        .parse()
        .unwrap();
    bed.link.set_urls(vec![here.clone()]).unwrap();
    let mut client = bed.accept().await;
    soon(client.subscribed()).await;
    bed.subscribed().await;
    assert_eq!(bed.link.broker(), Some(here));
}

#[tokio::test]
async fn another_list_leaves_a_connection_alone_until_it_ends() {
    let mut bed = bed(|_| {}).await;
    let mut client = bed.accept().await;
    soon(client.subscribed()).await;
    bed.subscribed().await;
    let next = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url: BrokerUrl = format!("mqtt://{}", next.local_addr().unwrap())
        .parse()
        .unwrap();
    bed.link.set_urls(vec![url.clone()]).unwrap();
    client.publish("in/x", b"still here").await;
    bed.until(|event| matches!(event, Event::Message { .. }))
        .await;
    drop(client);
    let mut client = Client(soon(next.accept()).await.unwrap().0);
    soon(client.subscribed()).await;
    bed.subscribed().await;
    assert_eq!(bed.link.broker(), Some(url));
}

#[tokio::test]
async fn a_broker_is_left_for_the_next_of_the_list() {
    let next = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url: BrokerUrl = format!("mqtt://{}", next.local_addr().unwrap())
        .parse()
        .unwrap();
    let mut bed = bed(|options| options.urls.push(url.clone())).await;
    // Before there is a connection there is nothing to leave.
    bed.link.try_next();
    let mut first = bed.accept().await;
    soon(first.subscribed()).await;
    bed.subscribed().await;
    bed.link.try_next();
    assert_eq!(bed.disconnected().await.0, Reason::Left);
    let mut second = Client(soon(next.accept()).await.unwrap().0);
    soon(second.subscribed()).await;
    bed.subscribed().await;
    assert_eq!(bed.link.broker(), Some(url));
    assert_eq!(bed.link.counters().connected, 2);
}

#[tokio::test]
async fn a_list_that_can_not_be_used_changes_nothing() {
    let mut bed = bed(|_| {}).await;
    for urls in [
        vec![],
        vec!["mqtt://10.0.0.1".parse().unwrap()],
        vec!["mqtts://10.0.0.1".parse().unwrap()],
    ] {
        assert!(bed.link.set_urls(urls).is_err());
    }
    soon(bed.accept().await.subscribed()).await;
    bed.subscribed().await;
}

#[tokio::test]
async fn refused_subscription_ends_the_connection_only_if_required() {
    let mut bed = bed(|options| {
        options
            .subscriptions
            .push(Subscription::queue("in/extra").optional());
    })
    .await;
    let mut client = bed.accept().await;
    client.connected().await;
    let subscribe = client.read().await;
    client.suback(&subscribe, &[0x87, 1]).await;
    let reason = "NotAuthorized".to_owned();
    let expected = Reason::SubscriptionRefused {
        filter: "in/#".to_owned(),
        reason: reason.clone(),
    };
    assert_eq!(bed.disconnected().await.0, expected);

    let mut client = bed.accept().await;
    client.connected().await;
    let subscribe = client.read().await;
    client.suback(&subscribe, &[1, 0x87]).await;
    let refused = bed
        .until(|event| matches!(event, Event::SubscriptionRefused { .. }))
        .await;
    assert_eq!(
        refused,
        Event::SubscriptionRefused {
            filter: "in/extra".to_owned(),
            reason
        }
    );
    bed.subscribed().await;
}

#[tokio::test]
async fn refused_publish_is_reported_and_not_sent_again() {
    let mut bed = bed(|_| {}).await;
    bed.link.put("out/forbidden", "1").unwrap();
    bed.link.put("out/fine", "2").unwrap();
    let mut client = bed.accept().await;
    soon(client.subscribed()).await;
    for code in [0x87, 0] {
        let (_, packet, _) = soon(client.read()).await.publish();
        client.puback(packet, code).await;
    }
    let refused = bed
        .until(|event| matches!(event, Event::PublishRefused { .. }))
        .await;
    let reason = "NotAuthorized".to_owned();
    assert_eq!(
        refused,
        Event::PublishRefused {
            topic: "out/forbidden".to_owned(),
            reason
        }
    );
    // On the next connection neither comes again.
    drop(client);
    let mut client = bed.accept().await;
    soon(client.subscribed()).await;
    bed.link.put("out/marker", "3").unwrap();
    assert_eq!(soon(client.read()).await.publish().0, "out/marker");
}

#[tokio::test]
async fn nothing_is_sent_before_the_subscriptions_are_granted() {
    let mut bed = bed(|_| {}).await;
    bed.link.put("out/state", "old").unwrap();
    assert_eq!(bed.link.send("out/frame", "early"), Err(Refused::Offline));
    let mut client = bed.accept().await;
    client.connected().await;
    let subscribe = client.read().await;
    bed.until(|event| matches!(event, Event::Connected { .. }))
        .await;
    bed.link.put("out/state", "new").unwrap();
    assert_eq!(bed.link.send("out/frame", "early"), Err(Refused::Offline));
    client.suback(&subscribe, &[1]).await;
    bed.subscribed().await;
    bed.link.send("out/frame", "late").unwrap();
    let (topic, _, payload) = soon(client.read()).await.publish();
    assert_eq!(
        (topic.as_str(), payload.as_slice()),
        ("out/state", b"new".as_slice())
    );
    assert_eq!(soon(client.read()).await.publish().0, "out/frame");
    assert_eq!(bed.link.counters().conflated_out, 1);
}

#[tokio::test]
async fn broker_that_never_answers_a_subscribe_is_left() {
    let mut bed = bed(|options| options.connect_timeout = Duration::from_millis(300)).await;
    let mut client = bed.accept().await;
    client.connected().await;
    assert_eq!(bed.disconnected().await.0, Reason::Stalled);
    soon(client.hung_up()).await;
}

#[tokio::test]
async fn broker_that_never_acknowledges_is_left_although_it_talks() {
    let mut bed = bed(|options| options.watchdog = Some(Duration::from_millis(500))).await;
    let mut client = bed.accept().await;
    soon(client.subscribed()).await;
    bed.subscribed().await;
    bed.link.put("out/x", "1").unwrap();
    let talk = async {
        let mut pace = tokio::time::interval(Duration::from_millis(50));
        loop {
            pace.tick().await;
            client.publish("in/chatter", b"...").await;
        }
    };
    tokio::select! {
        () = talk => unreachable!(),
        (reason, _) = bed.disconnected() => assert_eq!(reason, Reason::Stalled),
    }
    let mut client = bed.accept().await;
    soon(client.subscribed()).await;
    assert_eq!(
        soon(client.read()).await.publish().0,
        "out/x",
        "state comes again"
    );
}

#[tokio::test]
async fn acknowledgements_out_of_order_end_in_a_reconnect_not_in_a_live_lock() {
    let mut bed = bed(|_| {}).await;
    let mut client = bed.accept().await;
    soon(client.subscribed()).await;
    bed.subscribed().await;
    bed.link.put("out/first", "1").unwrap();
    let (_, first, _) = soon(client.read()).await.publish();
    // The first stays unacknowledged until its packet identifier comes round again.
    for round in 0..16 {
        bed.link.send("out/frame", format!("{round}")).unwrap();
        let Some(packet) = soon(client.try_read()).await else {
            break;
        };
        let (_, packet, _) = packet.publish();
        assert_ne!(packet, first);
        client.puback(packet, 0).await;
    }
    let (reason, _) = bed.disconnected().await;
    assert!(
        matches!(&reason, Reason::Protocol(text) if text.contains("in use")),
        "{reason:?}"
    );
    let mut client = bed.accept().await;
    soon(client.subscribed()).await;
    assert_eq!(soon(client.read()).await.publish().0, "out/first");
}

#[tokio::test]
async fn broker_without_keep_alive_is_not_flooded_with_pings() {
    let mut bed = bed(|_| {}).await;
    let mut client = bed.accept().await;
    client.read().await;
    // CONNACK with "server keep alive" 0.
    client.write(&[0x20, 6, 0, 0, 3, 0x13, 0, 0]).await;
    let mut pings = 0;
    let mut subscribed = false;
    for round in 0..200 {
        if subscribed {
            bed.link.put("out/x", format!("{round}")).unwrap();
        }
        loop {
            let packet = soon(client.read()).await;
            match packet.kind {
                PINGREQ => {
                    pings += 1;
                    client.write(&[0xd0, 0]).await;
                }
                SUBSCRIBE => {
                    client.suback(&packet, &[1]).await;
                    bed.subscribed().await;
                    subscribed = true;
                    break;
                }
                _ => {
                    let (_, id, _) = packet.publish();
                    client.puback(id, 0).await;
                    break;
                }
            }
        }
    }
    assert!(pings <= 1, "{pings} pings");
}

#[tokio::test]
async fn garbage_is_answered_with_a_new_connection() {
    let mut bed = bed(|_| {}).await;
    let http = "HTTP/1.1 400 Bad Request\r\n".repeat(8);
    for garbage in [http.as_bytes(), &[0x40, 2, 0, 9], &[0xff; 64], &[0xf0, 0]] {
        let mut client = bed.accept().await;
        soon(client.subscribed()).await;
        client.write(garbage).await;
        bed.disconnected().await;
        soon(client.hung_up()).await;
    }
    let mut client = bed.accept().await;
    soon(client.subscribed()).await;
    client.publish("in/x", b"fine").await;
    bed.until(|event| matches!(event, Event::Message { .. }))
        .await;
}

#[tokio::test]
async fn shutdown_says_good_bye_and_ends_the_events() {
    let mut bed = bed(|_| {}).await;
    let mut client = bed.accept().await;
    soon(client.subscribed()).await;
    bed.subscribed().await;
    let broker = async {
        assert_eq!(client.read().await.kind, DISCONNECT);
        drop(client);
    };
    soon(async { tokio::join!(bed.link.shutdown(), broker) }).await;
    assert_eq!(bed.disconnected().await.0, Reason::Shutdown);
    assert_eq!(bed.events.next().await, None);
}

#[tokio::test]
async fn dropping_the_last_handle_stops_the_link() {
    let mut bed = bed(|_| {}).await;
    let mut client = bed.accept().await;
    soon(client.subscribed()).await;
    bed.subscribed().await;
    let second = bed.link.clone();
    drop(bed.link);
    second.send("out/x", "still here").unwrap();
    assert_eq!(soon(client.read()).await.kind, PUBLISH);
    drop(second);
    soon(client.hung_up()).await;
    assert_eq!(soon(bed.events.next()).await, None);
}

#[tokio::test]
async fn plaintext_stays_on_this_machine() {
    let check = |url: &str, allow: bool| {
        let mut options = Options::new("x", vec![url.parse().unwrap()]);
        options.allow_plaintext = allow;
        Link::spawn(options).map(|_| ())
    };
    assert!(check("mqtt://127.0.0.1:1", false).is_ok());
    assert!(check("mqtt://203.0.113.1:1", true).is_ok());
    assert!(check("mqtt://203.0.113.1:1", false).is_err());
    assert!(
        check("mqtts://203.0.113.1:1", false).is_err(),
        "no TLS configuration"
    );
    assert!(Link::spawn(Options::new("x", vec![])).is_err());
}
