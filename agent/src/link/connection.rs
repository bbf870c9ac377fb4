//! What a connection to the broker begins with: who we are, what we hear, and our last will.

use std::sync::{Arc, Mutex, PoisonError};

use bramble_agent_core::session;
use bramble_link::tls::FloorClock;
use bramble_link::{BrokerUrl, Options, Subscription, Will, WillSource};
use bramble_wire::topic;
use bramble_wire::version::Nonce;

use super::Error;
use crate::clock;
use crate::identity::Identity;

pub(super) fn options(
    identity: &Identity,
    brokers: Vec<BrokerUrl>,
    config: &Arc<session::Config>,
    clock: Arc<FloorClock>,
    connection: Arc<Mutex<Nonce>>,
) -> Result<Options, Error> {
    // Two boards with one identity must not take the connection from each other for ever.
    let id = match config.hardware {
        Some(hardware) => format!("bramble-{}.{:.8}", identity.node, hardware.to_string()),
        None => format!("bramble-{}", identity.node),
    };
    let mut options = Options::new(id, brokers);
    options.tls = Some(identity.tls(clock)?);
    let filters = topic::node_filters(&identity.cluster, &identity.node);
    options.subscriptions = (filters.into_iter())
        .map(
            |filter| match filter.ends_with("/d/+") || filter.ends_with("/c/state") {
                true => Subscription::latest(filter.as_str()),
                false => Subscription::queue(filter.as_str()),
            },
        )
        .collect();
    let config = Arc::clone(config);
    options.will = Some(WillSource::new(move || {
        let nonce = fresh_nonce();
        *connection.lock().unwrap_or_else(PoisonError::into_inner) = nonce;
        let will = config.last_will(nonce);
        Will {
            topic: will.topic_text(&config.cluster).to_string(),
            payload: will.payload.into(),
            retain: false,
        }
    }));
    Ok(options)
}

/// A fresh nonce. Without randomness the time stands in for it: a will is judged together with the
/// boot number.
fn fresh_nonce() -> Nonce {
    let mut nonce = [0; 16];
    if getrandom::fill(&mut nonce).is_err() {
        nonce[..8].copy_from_slice(&clock::boot_ms().to_le_bytes());
    }
    Nonce(nonce)
}
