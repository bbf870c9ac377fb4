//! The broker contract: what the node protocol needs of a broker, run against the embedded broker
//! and against mosquitto, through the real link and real TLS. What only the embedded broker can
//! promise (client ids, revocation, the plain port) follows in `embedded`.

#![allow(clippy::unwrap_used, reason = "a test")]

mod bed;
mod cases;
mod embedded;
mod nodelink;
mod proxy;

/// Runs each case against both brokers.
macro_rules! contract {
    ($($case:ident),* $(,)?) => {
        mod with_embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                crate::cases::$case(crate::bed::Bed::embedded().await).await;
            })*
        }
        mod with_mosquitto {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                crate::cases::$case(crate::bed::Bed::mosquitto().await).await;
            })*
        }
    };
}

contract!(
    own_topics_go_both_ways,
    foreign_topics_are_refused,
    no_node_name_is_privileged,
    controller_state_is_retained,
    will_is_delivered_when_the_connection_is_cut,
    good_bye_suppresses_the_will,
    largest_message_is_delivered,
    oversize_message_disturbs_nobody,
    restart_without_storage_heals,
    half_open_connection_is_noticed,
    stalled_broker_never_blocks_a_sender,
    stale_session_does_no_harm,
    duplicates_do_no_harm,
    many_nodes_at_once,
);

#[test]
fn the_guide_shows_the_access_rules_that_are_tested() {
    let guide = include_str!("../../../docs/external-broker.md");
    let rules = include_str!("mosquitto.acl")
        .lines()
        .filter(|line| !line.starts_with('#'));
    for rule in rules {
        assert!(
            guide.contains(rule),
            "docs/external-broker.md lacks {rule:?}"
        );
    }
}
