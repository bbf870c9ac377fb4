//! Who a node is, and what its connections begin and end with.

use bramble_wire::envelope::{self, KeyId, Sequence};
use bramble_wire::message::Life;
use bramble_wire::name::{ClusterId, NodeName};
use bramble_wire::publish::{Delivery, Publish};
use bramble_wire::topic::Topic;
use bramble_wire::version::{Boot, HardwareId, Nonce};
use bramble_wire::{SigningKey, VerifyingKey};

/// Who this node is and whom it obeys.
#[derive(Debug, Clone)]
pub struct Config {
    /// The cluster.
    pub cluster: ClusterId,
    /// This node.
    pub node: NodeName,
    /// The node's signing key.
    pub identity: SigningKey,
    /// The controller's, pinned at the join.
    pub controller: VerifyingKey,
    /// Raised and on disk since this process started.
    pub boot: Boot,
    /// Which board this is; `None` where nothing says so.
    pub hardware: Option<HardwareId>,
}

impl Config {
    /// The last will of a connection. `connection` is a fresh nonce, the one that
    /// [`super::Session::handle_connected`] is given when this connection stands.
    pub fn last_will(&self, connection: Nonce) -> Publish {
        self.life(Life::Lost {
            boot: self.boot,
            connection,
        })
    }

    /// To be published before the agent disconnects on purpose.
    pub fn goodbye(&self, connection: Nonce) -> Publish {
        self.life(Life::Bye {
            boot: self.boot,
            connection,
        })
    }

    fn life(&self, life: Life) -> Publish {
        let topic = Topic::Life(self.node.clone());
        // Judged by its connection nonce: a will is signed before everything that it ends.
        let sequence = Sequence {
            epoch: 0,
            boot: self.boot,
            seq: 0,
        };
        let text = topic.text(&self.cluster);
        let to = KeyId::of(&self.controller);
        let payload = envelope::sign(&self.identity, &text, to, sequence, &life)
            .expect("a life message is far smaller than a packet");
        Publish {
            topic,
            payload,
            delivery: Delivery::Message,
        }
    }
}
