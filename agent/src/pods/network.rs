//! The board's network as pods need it: the bridge before the first pod.

use std::net::Ipv4Addr;
use std::path::Path;

use bramble_agent_core::plan::PodNetwork;
use bramble_wire::object::PodUid;
use tokio::sync::Mutex;

use crate::error_chain;
use crate::network::{Address, Error, Network};

/// The bridge of this board and the pods on it.
#[derive(Debug)]
pub struct Bridge {
    network: Network,
    /// Gateway that the bridge is known to have.
    ready: Mutex<Option<([u8; 4], u8)>>,
}

impl Bridge {
    /// Wraps the network; changes nothing.
    pub fn new(network: Network) -> Self {
        Self {
            network,
            ready: Mutex::new(None),
        }
    }

    /// Takes the bridge away.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn remove(&self) -> Result<(), Error> {
        self.network.remove_node().await
    }
}

impl super::Network for Bridge {
    async fn attach(&self, uid: PodUid, netns: &Path, network: PodNetwork) -> Result<(), String> {
        let gateway = Ipv4Addr::from(network.gateway);
        let address = |ip| Address {
            ip,
            prefix: network.prefix,
        };
        {
            // One after the other: two that make the bridge at once would both fail.
            let mut ready = self.ready.lock().await;
            let wanted = Some((network.gateway, network.prefix));
            if *ready != wanted {
                let ensured = self.network.ensure_node(address(gateway)).await;
                ensured.map_err(|error| error_chain(&error))?;
                *ready = wanted;
            }
        }
        let pod = address(Ipv4Addr::from(network.address));
        let attached = self.network.ensure_pod(uid, netns, pod, gateway).await;
        if attached.is_err() {
            // Perhaps somebody took the bridge away.
            *self.ready.lock().await = None;
        }
        attached.map_err(|error| error_chain(&error))
    }

    async fn detach(&self, uid: PodUid) -> Result<(), String> {
        let removed = self.network.remove_pod(uid).await;
        removed.map_err(|error| error_chain(&error))
    }
}
