//! Unclaimed pods that a person lets go, one by one, before the epoch is confirmed as a whole: a record
//! for each in the store, of which the documents of their nodes are made. They go when the epoch is
//! confirmed, which lets everything go.

use std::collections::BTreeSet;

use bramble_wire::name::NodeName;
use bramble_wire::object::PodUid;
use bramble_wire::standing::RELEASED_MAX;
use serde::{Deserialize, Serialize};

use crate::join::GROUP;
use crate::store::{
    Body, Commit, Durability, Entry, Error as StoreError, Expect, Key, Op, Page, Scope, Store,
};

/// Resource of the records; the name is the pod's UID.
pub(super) const RESOURCE: &str = "released";

/// Why pods are not released.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The store refused.
    #[error("keep which pods are released")]
    Store(#[from] StoreError),
    /// A record can't be made.
    #[error("write which pods are released")]
    Encode(#[from] serde_json::Error),
    /// There would be too many.
    #[error(
        "{0} pods would be released one by one, and {RELEASED_MAX} are the most: release all of them"
    )]
    TooMany(usize),
}

#[derive(Serialize, Deserialize)]
struct Record {
    node: NodeName,
    uid: String,
}

/// Records that a person lets these pods go. Nodes hear of it once it is durable.
///
/// # Errors
/// [`Error`]; none is released then.
pub(crate) fn release(
    store: &dyn Store,
    pods: &BTreeSet<(NodeName, PodUid)>,
) -> Result<Commit, Error> {
    let mut uids = uids(store)?;
    uids.extend(pods.iter().map(|(_, uid)| *uid));
    if uids.len() > RELEASED_MAX {
        return Err(Error::TooMany(uids.len()));
    }
    let mut ops = Vec::with_capacity(pods.len());
    for (node, uid) in pods {
        let (node, uid) = (node.clone(), uid.to_string());
        let key = Key::new(GROUP, RESOURCE, "", uid.as_str());
        let json = serde_json::to_vec(&Record { node, uid })?;
        let body = Body {
            json,
            revision_at: None,
        };
        ops.push(Op::Put {
            key,
            expect: Expect::Any,
            body,
            durability: Durability::Hard,
        });
    }
    Ok(store.commit(ops)?)
}

/// Which pods are released.
pub(crate) fn uids(store: &dyn Store) -> Result<BTreeSet<PodUid>, StoreError> {
    let listing = store.list(&Scope::all(GROUP, RESOURCE), &Page::default())?;
    let read = |entry: &std::sync::Arc<Entry>| from_entry(entry).map(|(_, uid)| uid);
    Ok(listing.entries.iter().filter_map(read).collect())
}

/// A record that was stored.
pub(super) fn from_entry(entry: &Entry) -> Option<(NodeName, PodUid)> {
    let record: Record = serde_json::from_slice(&entry.json).ok()?;
    Some((record.node, PodUid::parse(&record.uid)?))
}

/// Forgets all: a person has confirmed the epoch.
pub(super) fn clear(store: &dyn Store) -> Result<(), StoreError> {
    let listing = store.list(&Scope::all(GROUP, RESOURCE), &Page::default())?;
    if listing.entries.is_empty() {
        return Ok(());
    }
    let delete = |entry: &std::sync::Arc<Entry>| Op::Delete {
        key: entry.key.clone(),
        expect: Expect::Any,
        durability: Durability::Hard,
    };
    let ops = listing.entries.iter().map(delete).collect();
    store.commit(ops).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    fn pods(of: std::ops::Range<u32>) -> BTreeSet<(NodeName, PodUid)> {
        let pod = |number: u32| {
            let mut uid = [0; 16];
            uid[..4].copy_from_slice(&number.to_be_bytes());
            (NodeName::new("pi").unwrap(), PodUid(uid))
        };
        of.map(pod).collect()
    }

    #[tokio::test]
    async fn released_pods_are_kept_until_all_are() {
        let store = MemoryStore::default();
        let most = u32::try_from(RELEASED_MAX).unwrap();
        clear(&store).unwrap();
        for of in [0..2, 1..most] {
            release(&store, &pods(of)).unwrap().durable().await.unwrap();
        }
        assert_eq!(uids(&store).unwrap().len(), RELEASED_MAX);
        let more = release(&store, &pods(most..most + 1));
        assert!(matches!(more, Err(Error::TooMany(_))), "{more:?}");
        clear(&store).unwrap();
        assert!(uids(&store).unwrap().is_empty());
        let _ = release(&store, &pods(0..1)).unwrap();
        let entry = store.get(&Key::new(
            GROUP,
            RESOURCE,
            "",
            "00000000-0000-0000-0000-000000000000",
        ));
        let pod = from_entry(&entry.unwrap());
        assert_eq!(pod, pods(0..1).first().cloned());
    }
}
