//! The envelope around every message: signed with Ed25519 over a length-prefixed header and the
//! hash of the body. The header names the full topic, sender and recipient, so a broker can delay
//! or drop a message but not alter it, move it to another topic or hand it to another node.

use alloc::vec::Vec;
use core::fmt;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::limits::{PACKET_MAX, PROTOCOL};
use crate::message::Kind;
use crate::version::Boot;

const DOMAIN: &[u8] = b"bramble/envelope/1\0";

/// First eight bytes of the BLAKE3 hash of a public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct KeyId(pub [u8; 8]);

impl KeyId {
    /// Recipient of messages that everybody may read (`c/state`).
    pub const ANY: Self = Self([0; 8]);

    /// The id of a public key.
    pub fn of(key: &VerifyingKey) -> Self {
        let hash = blake3::hash(key.as_bytes());
        let mut id = [0; 8];
        id.copy_from_slice(&hash.as_bytes()[..8]);
        Self(id)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyId(")?;
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))?;
        f.write_str(")")
    }
}

/// A message type: what the body is, and its number in the header.
pub trait Message: Serialize + DeserializeOwned {
    /// Number in the header; never used again for something else.
    const KIND: Kind;
}

/// Who sends, from which life, and the how-manieth message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Sequence {
    /// Epoch that the sender believes in; informative to nodes' messages, checked by the receiver.
    pub epoch: u64,
    /// Boot of the sender.
    pub boot: Boot,
    /// Counts every message of this boot to this recipient, from 1.
    pub seq: u64,
}

#[derive(Serialize, Deserialize)]
struct Packet<'a> {
    protocol: u8,
    sender: KeyId,
    recipient: KeyId,
    kind: Kind,
    sequence: Sequence,
    body: &'a [u8],
    #[serde(with = "signature_bytes")]
    signature: [u8; 64],
}

/// A message whose signature, recipient, topic and kind were right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened<M> {
    /// Its place in the sender's life.
    pub sequence: Sequence,
    /// The message.
    pub message: M,
}

/// Why a packet was dropped. None of them is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Larger than [`PACKET_MAX`].
    #[error("packet of {0} bytes is over the limit")]
    Oversize(usize),
    /// Not an envelope.
    #[error("packet is malformed")]
    Malformed,
    /// Another protocol version.
    #[error("protocol version {0} is not spoken here")]
    Protocol(u8),
    /// Signed by another key than expected on this topic.
    #[error("sender is not the expected one")]
    Sender,
    /// Meant for somebody else.
    #[error("recipient is somebody else")]
    Recipient,
    /// The kind does not belong on this topic.
    #[error("message kind {0:?} is not expected here")]
    Kind(Kind),
    /// Header, body or topic were altered.
    #[error("signature is wrong")]
    Signature,
    /// The signature is right, the body is not of its kind.
    #[error("body does not decode")]
    Body,
    /// Seen before, or from an earlier life.
    #[error("message is a replay")]
    Replay,
}

/// Wraps and signs a message.
///
/// # Errors
/// [`Error::Oversize`] when the packet would be larger than [`PACKET_MAX`].
pub fn sign<M: Message>(
    key: &SigningKey,
    topic: &str,
    recipient: KeyId,
    sequence: Sequence,
    message: &M,
) -> Result<Vec<u8>, Error> {
    let body = crate::encode(message);
    let sender = KeyId::of(&key.verifying_key());
    let signed = to_be_signed(topic, sender, recipient, M::KIND, sequence, &body);
    let signature = key.sign(&signed).to_bytes();
    let packet = Packet {
        protocol: PROTOCOL,
        sender,
        recipient,
        kind: M::KIND,
        sequence,
        body: &body,
        signature,
    };
    let bytes = crate::encode(&packet);
    if bytes.len() > PACKET_MAX {
        Err(Error::Oversize(bytes.len()))
    } else {
        Ok(bytes)
    }
}

/// Checks and unwraps a packet that arrived on `topic` for `me`, expected from `sender`.
///
/// Replays are the caller's to refuse, with [`ReplayGuard`], after this.
///
/// # Errors
/// Every variant of [`Error`] except [`Error::Replay`].
pub fn open<M: Message>(
    bytes: &[u8],
    topic: &str,
    me: KeyId,
    sender: &VerifyingKey,
) -> Result<Opened<M>, Error> {
    if bytes.len() > PACKET_MAX {
        return Err(Error::Oversize(bytes.len()));
    }
    match bytes.first() {
        Some(&PROTOCOL) => {}
        Some(&other) => return Err(Error::Protocol(other)),
        None => return Err(Error::Malformed),
    }
    let Ok((packet, [])) = postcard::take_from_bytes::<Packet<'_>>(bytes) else {
        return Err(Error::Malformed);
    };
    if packet.sender != KeyId::of(sender) {
        return Err(Error::Sender);
    }
    if packet.recipient != me && packet.recipient != KeyId::ANY {
        return Err(Error::Recipient);
    }
    if packet.kind != M::KIND {
        return Err(Error::Kind(packet.kind));
    }
    let signed = to_be_signed(
        topic,
        packet.sender,
        packet.recipient,
        packet.kind,
        packet.sequence,
        packet.body,
    );
    sender
        .verify_strict(&signed, &Signature::from_bytes(&packet.signature))
        .map_err(|_| Error::Signature)?;
    let message = crate::decode(packet.body, "message").map_err(|_| Error::Body)?;
    Ok(Opened {
        sequence: packet.sequence,
        message,
    })
}

/// Reads a packet without believing it: for traces and tests. `None` for anything but this kind.
pub fn read_unverified<M: Message>(bytes: &[u8]) -> Option<Opened<M>> {
    let (packet, []) = postcard::take_from_bytes::<Packet<'_>>(bytes).ok()? else {
        return None;
    };
    if packet.protocol != PROTOCOL || packet.kind != M::KIND {
        return None;
    }
    let message = crate::decode(packet.body, "message").ok()?;
    Some(Opened {
        sequence: packet.sequence,
        message,
    })
}

fn to_be_signed(
    topic: &str,
    sender: KeyId,
    recipient: KeyId,
    kind: Kind,
    sequence: Sequence,
    body: &[u8],
) -> Vec<u8> {
    let body_hash = *blake3::hash(body).as_bytes();
    // postcard writes the length before the topic, every other field has a fixed meaning in order.
    let header = (
        PROTOCOL, topic, sender, recipient, kind, sequence, body_hash,
    );
    let mut out = Vec::with_capacity(DOMAIN.len() + topic.len() + 96);
    out.extend_from_slice(DOMAIN);
    out.extend_from_slice(&crate::encode(&header));
    out
}

/// Remembers which sequence numbers of one sender's boot have been seen, with a window of 64 so
/// that messages reordered on the way are not lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReplayGuard {
    boot: Boot,
    highest: u64,
    window: u64,
}

impl ReplayGuard {
    /// A guard that believes nothing from before `boot`.
    pub fn from_boot(boot: Boot) -> Self {
        Self {
            boot,
            highest: 0,
            window: 0,
        }
    }

    /// A guard that believes nothing up to and including this message, known to be fresh by other
    /// means: whoever lost its durable state counts its boots and messages from the beginning again.
    pub fn starting_at(sequence: Sequence) -> Self {
        Self {
            boot: sequence.boot,
            highest: sequence.seq,
            window: u64::MAX,
        }
    }

    /// Whether something later than this message was seen.
    pub fn is_ahead_of(&self, sequence: Sequence) -> bool {
        (self.boot, self.highest) > (sequence.boot, sequence.seq)
    }

    /// The boot that is believed now.
    pub fn boot(&self) -> Boot {
        self.boot
    }

    /// Whether [`ReplayGuard::accept`] would refuse it, without noting it.
    pub fn has_seen(&self, sequence: Sequence) -> bool {
        let mut copy = *self;
        copy.accept(sequence).is_err()
    }

    /// Notes a message.
    ///
    /// # Errors
    /// [`Error::Replay`] when it was seen, is older than the window, or is of an earlier boot.
    pub fn accept(&mut self, sequence: Sequence) -> Result<(), Error> {
        if sequence.boot < self.boot || sequence.seq == 0 {
            return Err(Error::Replay);
        }
        if sequence.boot > self.boot {
            *self = Self {
                boot: sequence.boot,
                highest: sequence.seq,
                window: 1,
            };
            return Ok(());
        }
        if sequence.seq > self.highest {
            let by = sequence.seq - self.highest;
            self.window = if by >= 64 { 0 } else { self.window << by };
            self.window |= 1;
            self.highest = sequence.seq;
            return Ok(());
        }
        let back = self.highest - sequence.seq;
        if back >= 64 || self.window >> back & 1 == 1 {
            return Err(Error::Replay);
        }
        self.window |= 1 << back;
        Ok(())
    }
}

mod signature_bytes {
    use serde::de::{Error, SeqAccess, Visitor};
    use serde::ser::SerializeTuple;
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8; 64], s: S) -> Result<S::Ok, S::Error> {
        let mut tuple = s.serialize_tuple(64)?;
        for byte in bytes {
            tuple.serialize_element(byte)?;
        }
        tuple.end()
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<[u8; 64], D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = [u8; 64];
            fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str("64 bytes")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<[u8; 64], A::Error> {
                let mut out = [0; 64];
                for byte in &mut out {
                    *byte = seq
                        .next_element()?
                        .ok_or_else(|| A::Error::custom("too short"))?;
                }
                Ok(out)
            }
        }
        d.deserialize_tuple(64, Bytes)
    }
}
