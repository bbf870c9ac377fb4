//! The objects of a node's document: compiled by the controller from Kubernetes objects, stored by
//! the agent as they came. An agent never parses JSON or YAML of a person.

mod bytes;
mod container;
mod pod;
mod volume;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};

use crate::seal::Sealed;

pub use container::{
    Container, EnvFrom, EnvFromSource, EnvValue, EnvVar, Handler, HttpGet, Mount, Port, PortRef,
    Probe, Propagation, Protocol, PullPolicy, Resources, Seccomp, Security,
};
pub use pod::{Pod, PodField, ResourceField, ResourceName, RestartPolicy, Stop};
pub use volume::{
    FieldFile, FieldSource, HostPathKind, KeyFile, KeyFiles, Projection, Volume, VolumeSource,
};

/// Names an object of a document, for ever: an id is not used again for something else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ObjectId {
    /// What the node itself needs to know ([`NodeConfig`]); always present.
    Node,
    /// A pod, by UID.
    Pod(PodUid),
    /// A ConfigMap.
    ConfigMap(ObjectName),
    /// A Secret.
    Secret(ObjectName),
    /// The service-account tokens of a pod's projected volumes.
    Tokens(PodUid),
}

impl ObjectId {
    /// Whether its object is sealed to its node: the bytes differ each time, and an index covers
    /// only the id and the revision.
    pub fn is_sealed(&self) -> bool {
        match self {
            Self::Secret(_) | Self::Tokens(_) => true,
            Self::Node | Self::Pod(_) | Self::ConfigMap(_) => false,
        }
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node => f.write_str("node"),
            Self::Pod(uid) => write!(f, "pod/{uid}"),
            Self::ConfigMap(name) => write!(f, "configmap/{name}"),
            Self::Secret(name) => write!(f, "secret/{name}"),
            Self::Tokens(uid) => write!(f, "tokens/{uid}"),
        }
    }
}

/// Namespace and name of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct ObjectName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// UID of a pod (16 bytes of a UUID), shown in the usual form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct PodUid(pub [u8; 16]);

impl PodUid {
    /// The UID of a board's own pod (a static pod): a UUID of version 8, which no API server makes.
    pub fn of_static(mut bytes: [u8; 16]) -> Self {
        bytes[6] = bytes[6] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self(bytes)
    }

    /// Whether it is of a board's own pod.
    pub fn is_static(&self) -> bool {
        self.0[6] >> 4 == 8
    }

    /// Parses the 36-character form of RFC 9562; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() != 36 {
            return None;
        }
        let mut out = [0u8; 16];
        let mut nibbles = 0;
        for (i, byte) in bytes.iter().enumerate() {
            if matches!(i, 8 | 13 | 18 | 23) {
                if *byte != b'-' {
                    return None;
                }
                continue;
            }
            let digit = match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'f' => byte - b'a' + 10,
                _ => return None,
            };
            out[nibbles / 2] = out[nibbles / 2] << 4 | digit;
            nibbles += 1;
        }
        Some(Self(out))
    }
}

impl fmt::Display for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PodUid({self})")
    }
}

/// One object of a document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(
    clippy::large_enum_variant,
    reason = "one is decoded at a time; most are pods"
)]
pub enum Object {
    /// See [`NodeConfig`].
    Node(NodeConfig),
    /// See [`Pod`].
    Pod(Pod),
    /// See [`ConfigMap`].
    ConfigMap(ConfigMap),
    /// See [`SealedSecret`].
    Secret(SealedSecret),
    /// The tokens of a pod, sealed to this node. The plain text is the postcard encoding of
    /// [`Tokens`].
    Tokens(Sealed),
}

/// The service-account tokens of one pod, one for each audience and lifetime that its projected
/// volumes ask for. The controller replaces the object when a token is at 80 % of its life; offline
/// the last one stays.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tokens(pub Vec<Token>);

/// One service-account token (a JWT); never logged.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Token {
    /// As the volume asks; empty is the API server.
    pub audience: String,
    /// As the volume asks, seconds.
    pub expiration_s: u64,
    /// The token.
    pub token: String,
    /// When it ends, seconds of the Unix epoch.
    pub expires_unix_s: i64,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("audience", &self.audience)
            .field("expires_unix_s", &self.expires_unix_s)
            .finish_non_exhaustive()
    }
}

/// What the node itself needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NodeConfig {
    /// Range of this node's pods; `.1` is the node's bridge.
    pub pod_cidr: Cidr,
    /// Range of Services (informative until the service proxy exists).
    pub service_cidr: Cidr,
    /// A person has confirmed the difference after the epoch rose to this one. While it is below the
    /// epoch of the document, the node keeps running what the document lacks and reports it as
    /// unclaimed ([`crate::report::PodReport::unclaimed`]).
    pub confirmed_epoch: u64,
    /// Where the controller's brokers are from now on, best first (`mqtts://host:port`); at most
    /// [`crate::limits::BROKERS_MAX`]. What the node was told when it joined comes after them.
    pub brokers: Vec<String>,
    /// Pods that a person lets go before the epoch is confirmed as a whole: they are no longer kept when
    /// the document lacks them.
    pub released: Vec<PodUid>,
}

/// An IPv4 range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cidr {
    /// Network address, most significant byte first.
    pub address: [u8; 4],
    /// Length of the prefix, 0 to 32.
    pub prefix: u8,
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.address;
        write!(f, "{a}.{b}.{c}.{d}/{}", self.prefix)
    }
}

/// A ConfigMap: `data` as text bytes and `binaryData` decoded.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ConfigMap {
    /// Its name.
    pub name: ObjectName,
    /// Every key with its bytes.
    #[serde(with = "bytes")]
    pub data: BTreeMap<String, Vec<u8>>,
}

/// A Secret whose data only this node can open. The plain text is the postcard encoding of
/// [`SecretData`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedSecret {
    /// Its name.
    pub name: ObjectName,
    /// Its data, sealed to this node.
    pub sealed: Sealed,
}

/// The data of a Secret; never logged (no `Debug` of the values).
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SecretData(#[serde(with = "bytes")] pub BTreeMap<String, Vec<u8>>);

impl fmt::Debug for SecretData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SecretData").field(&self.0.keys()).finish()
    }
}
