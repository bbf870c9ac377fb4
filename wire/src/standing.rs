//! How the cluster stands after its store was set back, as JSON of `/bramble/v1/standing`: what a person
//! has to know and may decide. Shared by controller and command line.

use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// GET answers with [`Standing`].
pub const STANDING_PATH: &str = "/bramble/v1/standing";
/// POST of a [`Release`] answers with [`Released`].
pub const RELEASE_PATH: &str = "/bramble/v1/standing/release";
/// POST of an [`Adopt`] answers with [`Adopted`].
pub const ADOPT_PATH: &str = "/bramble/v1/standing/adopt";

/// Most pods that are adopted by one request.
pub const ADOPT_MAX: usize = 64;
/// Most pods that may be released before the epoch is confirmed as a whole.
pub const RELEASED_MAX: usize = 4096;

/// How the cluster stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Standing {
    /// The epoch; it rises when the store may have been set back.
    pub epoch: u64,
    /// The newest epoch of which a person has confirmed the difference.
    pub confirmed: u64,
    /// Nodes that have not said yet what they run: the first of them by name.
    pub waiting_for: Vec<String>,
    /// How many they are.
    pub waiting: usize,
    /// Pods that run although the store does not have them: the first of them by node.
    pub unclaimed: Vec<Unclaimed>,
    /// How many they are.
    pub unclaimed_total: usize,
    /// The epoch rose so often that two controllers may have this identity: it does not rise again before a
    /// person confirms it.
    pub braked: bool,
    /// Boards with a certificate of this cluster that are no members of it: those seen last.
    pub strangers: Vec<Stranger>,
    /// Another controller of this cluster's identity that was there since this one started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rival: Option<Rival>,
    /// Boards that are refused because another one has their node's identity and is there.
    pub duplicates: Vec<Duplicate>,
}

impl Standing {
    /// Whether a person has something to decide.
    pub fn is_set_back(&self) -> bool {
        self.confirmed < self.epoch
    }
}

/// A pod that runs although the store does not have it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Unclaimed {
    /// Where.
    pub node: String,
    /// Which.
    pub uid: String,
    /// Its namespace; empty when its node can't tell.
    pub namespace: String,
    /// Its name; empty when its node can't tell.
    pub name: String,
    /// Images of its containers.
    pub images: Vec<String>,
    /// `Pending`, `Running`, `Succeeded` or `Failed`.
    pub phase: String,
    /// When its node first saw it, RFC 3339, by the node's clock.
    pub since: String,
    /// A person lets it go; its node has not said yet that it has stopped.
    pub released: bool,
}

/// A board that shows a certificate of this cluster and is no member of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Stranger {
    /// The name in its certificate.
    pub node: String,
    /// SHA-256 of its certificate.
    pub fingerprint: String,
    /// Where it comes from.
    pub address: String,
    /// When it was last seen, RFC 3339, by the controller's clock.
    pub last_seen: String,
    /// How often it was seen since the controller started.
    pub times: u64,
}

/// Another controller of this cluster's identity.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rival {
    /// It is the one that goes on, and the one that answers here does nothing any more.
    pub goes_on: bool,
    /// Its epoch.
    pub epoch: u64,
    /// How often it has been started.
    pub boot: u64,
    /// When it was heard last, RFC 3339, by this controller's clock.
    pub last_seen: String,
}

/// A board that is refused because another one has its node's identity and is there: most likely its card
/// is a copy.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Duplicate {
    /// The node that both say they are.
    pub node: String,
    /// Which board the refused one is ([`HardwareId`](crate::version::HardwareId)); empty where nothing
    /// says so.
    pub hardware: String,
    /// When it was refused last, RFC 3339, by the controller's clock.
    pub last_seen: String,
    /// How often it was since the controller started.
    pub times: u64,
}

/// A person lets unclaimed pods go.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Release {
    /// The epoch that the person has looked at; another one is a conflict.
    pub epoch: u64,
    /// These.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<ReleasedPod>,
    /// All of them, on every node, also on those that have not spoken yet: the epoch is confirmed.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub all: bool,
}

/// A pod that is let go.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReleasedPod {
    /// Where it runs.
    pub node: String,
    /// Which.
    pub uid: String,
}

/// Answer to a [`Release`]: it is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Released {
    /// How many pods were named by it.
    pub pods: usize,
}

/// A person keeps unclaimed pods: they are made again as they run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Adopt {
    /// The epoch that the person has looked at; another one is a conflict.
    pub epoch: u64,
    /// These; at most [`ADOPT_MAX`].
    pub pods: Vec<ReleasedPod>,
}

/// Answer to an [`Adopt`]: what is adopted is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Adopted {
    /// What became of each.
    pub pods: Vec<AdoptedPod>,
}

/// What became of a pod that was to be adopted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AdoptedPod {
    /// Where it runs.
    pub node: String,
    /// Which.
    pub uid: String,
    /// Its namespace and name.
    pub name: String,
    /// Why it is not adopted; empty when it is.
    pub error: String,
    /// ConfigMaps that were made again with it.
    pub config_maps: Vec<String>,
    /// Secrets that it names, and its node is sent.
    pub secrets: Vec<String>,
    /// The account that it acts as.
    pub service_account: String,
    /// What it names and the cluster does not have, `secret/NAME`.
    pub missing: Vec<String>,
}
