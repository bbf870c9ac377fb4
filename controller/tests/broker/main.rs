//! The broker contract: what the node protocol needs of a broker, run against the embedded broker
//! and against mosquitto, through the real link and real TLS. What only the embedded broker can
//! promise (client ids, revocation, the plain port) follows in `embedded`.

#![allow(clippy::unwrap_used, reason = "a test")]

mod bed;
mod cases;
mod embedded;
mod loss;
mod nodelink;
mod proxy;
mod real;
mod twins;

/// Runs each case against both brokers.
macro_rules! contract {
    ($($module:ident: $($case:ident),* $(,)?;)*) => {
        mod with_embedded {
            $($(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                crate::$module::$case(crate::bed::Bed::embedded().await).await;
            })*)*
        }
        mod with_mosquitto {
            $($(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                crate::$module::$case(crate::bed::Bed::mosquitto().await).await;
            })*)*
        }
    };
}

contract!(
    cases:
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
    ;
    loss:
    a_publish_lost_in_a_reconnect_is_said_again,
    storage_is_lost_and_desired_state_arrives_again,
    a_broker_that_restarts_again_and_again,
    a_throttled_broker_delays_and_loses_nothing,
    ;
);

/// What only a broker of somebody else does.
mod mosquitto {
    use crate::bed::Bed;
    use crate::{loss, twins};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn retained_state_is_truncated_and_nothing_depends_on_it() {
        let bed = Bed::mosquitto().await;
        loss::retained_state_is_truncated_and_nothing_depends_on_it(bed).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn publishes_are_refused_by_the_acl_and_said() {
        let bed = Bed::mosquitto().await;
        loss::publishes_are_refused_by_the_acl_and_said(bed).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn of_two_controllers_the_one_that_was_started_last_goes_on() {
        let bed = Bed::mosquitto().await;
        twins::of_two_controllers_the_one_that_was_started_last_goes_on(bed).await;
    }

    /// One message at a time, and what waits behind five others is dropped without a word.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_broker_with_the_smallest_windows_delays_and_loses_nothing() {
        let windows = "max_inflight_messages 1\nmax_queued_messages 5";
        let bed = Bed::mosquitto_with(windows).await;
        loss::a_throttled_broker_delays_and_loses_nothing(bed).await;
    }
}

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
