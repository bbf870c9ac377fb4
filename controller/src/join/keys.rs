//! The table of node keys, with the lookups that broker and node link need.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, RwLock};

use bramble_wire::join::{hex_of, hex32};
use bramble_wire::name::NodeName;
use bramble_wire::seal::SealingPublic;
use bramble_wire::standing::Stranger;
use bramble_wire::version::HardwareId;
use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Serialize};

use super::strangers::Strangers;
use super::{GROUP, NODE_KEYS};
use crate::store::{Body, Durability, Entry, Error, Expect, Key, Op, Page, Scope, Store, Watcher};

/// A member of the cluster: its keys and its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeKey {
    /// Name.
    pub node: NodeName,
    /// SHA-256 of its current certificate in DER.
    pub certificate: [u8; 32],
    /// Signs what the node says.
    pub identity: VerifyingKey,
    /// Secrets are sealed to it.
    pub sealing: SealingPublic,
    /// Which board it is, as far as that is known.
    pub hardware: Option<HardwareId>,
    /// The node's own range of pod addresses, `10.42.3.0/24`.
    pub pod_cidr: String,
    /// Which /24 of the cluster's range that is.
    pub(super) index: u32,
    /// Id of the token it joined with.
    pub(super) token: String,
}

/// As stored.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    node: NodeName,
    certificate: String,
    identity: String,
    sealing: String,
    pod_cidr: String,
    index: u32,
    token: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hardware: Option<String>,
}

impl NodeKey {
    pub(super) fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&Record {
            node: self.node.clone(),
            certificate: hex_of(&self.certificate),
            identity: hex_of(self.identity.as_bytes()),
            sealing: hex_of(&self.sealing.0),
            pod_cidr: self.pod_cidr.clone(),
            index: self.index,
            token: self.token.clone(),
            hardware: self.hardware.map(|id| id.to_string()),
        })
    }

    /// Reads a stored record: an entry that a watcher of [`NodeKeys::watch`] delivered.
    #[must_use]
    pub fn from_entry(entry: &Entry) -> Option<Self> {
        let record: Record = serde_json::from_slice(&entry.json).ok()?;
        Some(Self {
            node: record.node,
            certificate: hex32(&record.certificate)?,
            identity: VerifyingKey::from_bytes(&hex32(&record.identity)?).ok()?,
            sealing: SealingPublic(hex32(&record.sealing)?),
            pod_cidr: record.pod_cidr,
            index: record.index,
            token: record.token,
            hardware: record.hardware.as_deref().and_then(HardwareId::parse),
        })
    }
}

/// Lookups in the table. Cheap to clone; always as new as the store.
#[derive(Clone)]
pub struct NodeKeys {
    store: Arc<dyn Store>,
    /// Certificate to node. A hint: the record in the store decides.
    certificates: Arc<RwLock<HashMap<[u8; 32], NodeName>>>,
    strangers: Arc<Strangers>,
}

impl std::fmt::Debug for NodeKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeKeys").finish_non_exhaustive()
    }
}

impl NodeKeys {
    /// Reads the table out of the store.
    ///
    /// # Errors
    /// What the store says.
    pub fn open(store: Arc<dyn Store>) -> Result<Self, Error> {
        let keys = Self {
            store,
            certificates: Arc::default(),
            strangers: Arc::default(),
        };
        for key in keys.all()? {
            keys.remember(&key);
        }
        Ok(keys)
    }

    /// The member of that name.
    #[must_use]
    pub fn by_name(&self, node: &NodeName) -> Option<NodeKey> {
        NodeKey::from_entry(&*self.store.get(&key_of(node.as_str()))?)
    }

    /// The node speaks from this board from now on; durable once the commit is.
    ///
    /// # Errors
    /// What the store says; a node that is no member any more is none.
    pub fn set_hardware(&self, node: &NodeName, hardware: HardwareId) -> Result<(), Error> {
        let key = key_of(node.as_str());
        let Some(entry) = self.store.get(&key) else {
            return Ok(());
        };
        let Some(mut member) = NodeKey::from_entry(&entry) else {
            return Ok(());
        };
        member.hardware = Some(hardware);
        let Ok(json) = member.to_json() else {
            return Ok(());
        };
        let body = Body {
            json,
            revision_at: None,
        };
        let put = Op::Put {
            key,
            expect: Expect::Revision(entry.modified),
            body,
            durability: Durability::Hard,
        };
        self.store.commit(vec![put]).map(drop)
    }

    /// The member with that certificate (SHA-256 of its DER). A certificate that was replaced or
    /// whose node was removed finds nobody.
    #[must_use]
    pub fn by_fingerprint(&self, certificate: &[u8; 32]) -> Option<NodeKey> {
        let node = {
            let certificates = self.certificates.read().unwrap_or_else(|e| e.into_inner());
            certificates.get(certificate)?.clone()
        };
        self.by_name(&node)
            .filter(|key| key.certificate == *certificate)
    }

    /// Every member, by name.
    ///
    /// # Errors
    /// What the store says.
    pub fn all(&self) -> Result<Vec<NodeKey>, Error> {
        let listing = self
            .store
            .list(&Scope::all(GROUP, NODE_KEYS), &Page::default())?;
        Ok(listing
            .entries
            .iter()
            .filter_map(|e| NodeKey::from_entry(e))
            .collect())
    }

    /// Changes from now on; read entries with [`NodeKey::from_entry`]. A deletion means that the
    /// node is no longer a member and must be disconnected.
    ///
    /// # Errors
    /// What the store says.
    pub fn watch(&self) -> Result<Watcher, Error> {
        self.store
            .watch(&Scope::all(GROUP, NODE_KEYS), self.store.revision())
    }

    /// Somebody showed a certificate of ours that is no member's.
    pub(crate) fn note_stranger(&self, certificate: &[u8], from: IpAddr) {
        self.strangers.note(certificate, from, crate::object::now());
    }

    /// Boards with a certificate of this cluster that are no members of it, those seen last first.
    #[must_use]
    pub fn strangers(&self) -> Vec<Stranger> {
        let member = |certificate: &[u8; 32]| self.by_fingerprint(certificate).is_some();
        self.strangers.seen(crate::object::now(), member)
    }

    pub(super) fn remember(&self, key: &NodeKey) {
        let mut certificates = self.certificates.write().unwrap_or_else(|e| e.into_inner());
        certificates.retain(|_, node| *node != key.node);
        certificates.insert(key.certificate, key.node.clone());
    }
}

/// Where a node's record lives.
pub(crate) fn key_of(node: &str) -> Key {
    Key::new(GROUP, NODE_KEYS, "", node)
}
