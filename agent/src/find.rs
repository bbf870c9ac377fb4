//! Asking on the LAN where the controller went, when it has been away for long.
//!
//! In: whether the controller speaks. Out: places for [`Brokers`]. One task; it sends nothing while the
//! controller is there.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bramble_link::mdns;
use bramble_wire::name::ClusterId;
use tokio::sync::watch;

use crate::brokers::Brokers;
use crate::facts;

/// How long answers are gathered.
const GATHER: Duration = Duration::from_secs(3);

/// Whom to ask for, and when.
#[derive(Debug, Clone)]
pub struct Options {
    /// The cluster.
    pub cluster: ClusterId,
    /// The pods' bridge, where nobody is asked.
    pub bridge: String,
    /// How long the controller has to be away; after that long two and a half times, again and again. Zero:
    /// nobody is asked.
    pub after: Duration,
}

/// Asks for as long as the agent runs.
pub async fn follow(options: Options, mut welcomed: watch::Receiver<bool>, brokers: Arc<Brokers>) {
    if options.after.is_zero() {
        return;
    }
    let mut unheard = true;
    while welcomed.wait_for(|here| !here).await.is_ok() {
        let mut pause = options.after;
        while !is_back(&mut welcomed, pause).await {
            pause = options.after * 5 / 2;
            let own = facts::own_addresses(&options.bridge).await;
            let own: Vec<Ipv4Addr> = own.into_iter().map(Ipv4Addr::from).collect();
            match mdns::ask(&options.cluster, &own, GATHER).await {
                Ok(found) => {
                    brokers.find(found);
                    unheard = true;
                }
                // Said once: a board without a network has nobody to ask, for months perhaps.
                Err(error) if std::mem::take(&mut unheard) => {
                    tracing::info!(%error, "no network to ask for the controller by mDNS");
                }
                Err(_) => {}
            }
        }
    }
}

/// Waits for so long; whether the controller spoke, or the agent ended.
async fn is_back(welcomed: &mut watch::Receiver<bool>, pause: Duration) -> bool {
    let back = async { drop(welcomed.wait_for(|here| *here).await) };
    tokio::time::timeout(pause, back).await.is_ok()
}
