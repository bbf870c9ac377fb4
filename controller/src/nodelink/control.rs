//! Who controls, on disk: the boot, term, epoch and history of this controller.
//!
//! One record in the store, raised and durable before anything is signed with it. A record that
//! does not fit the store's epoch means that the store was restored or jumped: a new history begins.

use std::collections::VecDeque;

use bramble_controller_core::nodelink::Recovered;
use bramble_wire::join::hex_of;
use bramble_wire::version::{Boot, HistoryId};
use serde::{Deserialize, Serialize};

use crate::join::GROUP;
use crate::store::{Body, Durability, Error as StoreError, Expect, Key, Op, Store};

/// Annotation of the namespace [`CONFIRMED_ON`] by which a person confirms an epoch, named by its
/// number: what a document lacks then is wanted gone.
pub const CONFIRMED: &str = "bramble.dev/confirmed-epoch";
/// Where [`CONFIRMED`] is looked for.
pub const CONFIRMED_ON: &str = "kube-system";

const RESOURCE: &str = "control";
const NAME: &str = "controller";
/// See [`lives`].
const LIVES: &str = "lives";
/// Lives that are remembered: a node that was away for longer may hold what an older copy lacks.
const LIVES_MAX: usize = 1024;
/// See [`advance`].
const REVISION: &str = "revision";

/// Why the record is not usable.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store refused or failed.
    #[error("keep the record of who controls")]
    Store(#[from] StoreError),
    /// The record does not decode: a newer release wrote it, or it is damaged.
    #[error("the record of who controls is unreadable")]
    Unreadable(#[from] serde_json::Error),
    /// No random numbers.
    #[error("draw a history id: {0}")]
    Random(getrandom::Error),
}

/// Who controls, as of now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Control {
    /// This start of the controller.
    pub boot: Boot,
    /// Rises when another controller takes over.
    pub term: u64,
    /// Rises when history may be broken.
    pub epoch: u64,
    /// The history of this epoch.
    pub history: HistoryId,
    /// The newest epoch of which a person has confirmed the difference. The first needs no one.
    pub confirmed: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    boot: u64,
    term: u64,
    epoch: u64,
    history: String,
    confirmed: u64,
}

/// The epoch that a person confirms on this namespace, if any.
pub(super) fn confirmed_by(namespace: &[u8]) -> Option<u64> {
    let namespace: bramble_api::view::Object = bramble_api::view::decode(namespace).ok()?;
    namespace.metadata.annotations.get(CONFIRMED)?.parse().ok()
}

fn key() -> Key {
    Key::new(GROUP, RESOURCE, "", NAME)
}

/// What the lives of the store began with, the newest last; this one is added, durably. Between what was
/// there and where a life began, this store never made anything of which a node could know.
///
/// # Errors
/// [`Error`]; the controller must not speak then.
pub(super) async fn lives(store: &dyn Store) -> Result<Vec<Recovered>, Error> {
    let key = Key::new(GROUP, RESOURCE, "", LIVES);
    let mut lives: VecDeque<(u64, u64)> = match store.get(&key) {
        Some(entry) => serde_json::from_slice(&entry.json)?,
        None => VecDeque::new(),
    };
    let recovered = store.recovered();
    lives.push_back((recovered.top.0, recovered.start.0));
    while lives.len() > LIVES_MAX {
        lives.pop_front();
    }
    put(store, key, serde_json::to_vec(&lives)?).await?;
    let life = |(top, start)| Recovered { top, start };
    Ok(lives.into_iter().map(life).collect())
}

/// Whether the store was set back and nobody has confirmed the difference: what it lacks may be there.
///
/// # Errors
/// [`Error::Unreadable`].
pub(crate) fn is_set_back(store: &dyn Store) -> Result<bool, Error> {
    let Some(entry) = store.get(&key()) else {
        return Ok(false);
    };
    let control = Control::decode(&entry.json)?;
    Ok(control.confirmed < control.epoch)
}

/// Writes something that means nothing, so that there is a newer revision on disk.
///
/// # Errors
/// [`Error`]; there may be none.
pub(super) async fn advance(store: &dyn Store) -> Result<(), Error> {
    put(
        store,
        Key::new(GROUP, RESOURCE, "", REVISION),
        b"{}".to_vec(),
    )
    .await
}

async fn put(store: &dyn Store, key: Key, json: Vec<u8>) -> Result<(), Error> {
    let body = Body {
        json,
        revision_at: None,
    };
    let op = Op::Put {
        key,
        expect: Expect::Any,
        body,
        durability: Durability::Hard,
    };
    store.commit(vec![op])?.durable().await?;
    Ok(())
}

impl Control {
    /// A new start: the boot raised, durably.
    ///
    /// # Errors
    /// [`Error`]; the controller must not speak then.
    pub async fn start(store: &dyn Store) -> Result<Control, Error> {
        let epoch = u64::from(store.revision().epoch()).max(1);
        let mut control = match store.get(&key()) {
            Some(entry) => Control::decode(&entry.json)?,
            None => Control {
                boot: Boot(0),
                term: 1,
                epoch,
                history: new_history()?,
                confirmed: epoch,
            },
        };
        control.boot = Boot(control.boot.0 + 1);
        if control.epoch < epoch {
            tracing::warn!(
                from = control.epoch,
                to = epoch,
                "the store has a new epoch"
            );
            control.epoch = epoch;
            control.history = new_history()?;
        }
        control.save(store).await?;
        Ok(control)
    }

    /// A new epoch because the store is known to be an older copy; its number.
    ///
    /// # Errors
    /// [`Error`]; the store is as it was.
    pub async fn begin_epoch(store: &dyn Store) -> Result<u64, Error> {
        let control = Control::start(store).await?;
        let raised = (control.raise(store, control.epoch + 1, new_history()?)).await?;
        Ok(raised.epoch)
    }

    /// A new epoch with its history, durably, in the store's revisions too.
    ///
    /// # Errors
    /// [`Error`]; nothing of the new epoch may be sent then.
    pub async fn raise(
        mut self,
        store: &dyn Store,
        epoch: u64,
        history: HistoryId,
    ) -> Result<Control, Error> {
        let revision_epoch = u32::try_from(epoch).map_err(|_| StoreError::Failed)?;
        store.raise_epoch(revision_epoch)?.durable().await?;
        self.epoch = epoch;
        self.history = history;
        self.save(store).await?;
        Ok(self)
    }

    /// A person has confirmed the difference that this epoch makes; durable before a node hears of
    /// it.
    ///
    /// # Errors
    /// [`Error`]; it is not confirmed then.
    pub async fn confirm(mut self, store: &dyn Store) -> Result<Control, Error> {
        self.confirmed = self.epoch;
        self.save(store).await?;
        Ok(self)
    }

    /// What a person has to do, when something is to be confirmed.
    pub(super) fn hint(&self) -> Option<String> {
        (self.confirmed < self.epoch).then(|| {
            format!(
                "kubectl annotate --overwrite namespace {CONFIRMED_ON} {CONFIRMED}={}",
                self.epoch
            )
        })
    }

    async fn save(&self, store: &dyn Store) -> Result<(), Error> {
        let json = serde_json::to_vec(&Record {
            boot: self.boot.0,
            term: self.term,
            epoch: self.epoch,
            history: hex_of(&self.history.0),
            confirmed: self.confirmed,
        })?;
        put(store, key(), json).await
    }

    fn decode(json: &[u8]) -> Result<Control, Error> {
        let record: Record = serde_json::from_slice(json)?;
        let unreadable = || serde::de::Error::custom("history is not 16 bytes in hexadecimal");
        let history: [u8; 16] = hex::decode(&record.history)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| Error::Unreadable(unreadable()))?;
        Ok(Control {
            boot: Boot(record.boot),
            term: record.term,
            epoch: record.epoch,
            history: HistoryId(history),
            confirmed: record.confirmed,
        })
    }
}

fn new_history() -> Result<HistoryId, Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(Error::Random)?;
    Ok(HistoryId(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[tokio::test]
    async fn every_start_raises_the_boot_and_keeps_the_history() {
        let store = MemoryStore::default();
        let first = Control::start(&store).await.unwrap();
        let second = Control::start(&store).await.unwrap();
        assert_eq!((first.boot, second.boot), (Boot(1), Boot(2)));
        assert_eq!(
            Control {
                boot: first.boot,
                ..second
            },
            first
        );
        assert_eq!(
            first.confirmed, first.epoch,
            "a new cluster needs no person"
        );
    }

    #[tokio::test]
    async fn lives_are_remembered_and_the_oldest_forgotten() {
        let store = MemoryStore::default();
        let recovered = store.recovered();
        let this = Recovered {
            top: recovered.top.0,
            start: recovered.start.0,
        };
        assert_eq!(lives(&store).await.unwrap(), [this]);
        let hard = store.hard();
        assert_eq!(lives(&store).await.unwrap(), [this, this]);
        assert!(store.hard() > hard);
        let many: Vec<(u64, u64)> = (1..=LIVES_MAX as u64).map(|n| (n, n + 1)).collect();
        let key = Key::new(GROUP, RESOURCE, "", LIVES);
        put(&store, key, serde_json::to_vec(&many).unwrap())
            .await
            .unwrap();
        let known = lives(&store).await.unwrap();
        assert_eq!((known.len(), known[0].top), (LIVES_MAX, 2));
        assert_eq!(known.last(), Some(&this));
    }

    #[tokio::test]
    async fn a_raised_epoch_is_remembered_and_not_confirmed() {
        let store = MemoryStore::default();
        let first = Control::start(&store).await.unwrap();
        let history = HistoryId([9; 16]);
        let raised = first.raise(&store, first.epoch + 3, history).await.unwrap();
        let next = Control::start(&store).await.unwrap();
        assert_eq!((next.epoch, next.history), (raised.epoch, history));
        assert!(next.confirmed < next.epoch);
        assert!(next.hint().unwrap().ends_with(&format!("={}", next.epoch)));
        next.confirm(&store).await.unwrap();
        let last = Control::start(&store).await.unwrap();
        assert_eq!((last.confirmed, last.hint()), (next.epoch, None));
        assert!(u64::from(store.revision().epoch()) >= next.epoch);
    }

    #[tokio::test]
    async fn a_store_that_is_called_restored_begins_an_epoch_each_time() {
        let store = MemoryStore::default();
        let first = Control::start(&store).await.unwrap();
        for n in 1..3 {
            assert_eq!(Control::begin_epoch(&store).await.unwrap(), first.epoch + n);
        }
        let next = Control::start(&store).await.unwrap();
        assert_eq!(next.epoch, first.epoch + 2);
        assert_ne!(next.history, first.history);
        assert_eq!(next.confirmed, first.epoch);
    }

    #[tokio::test]
    async fn a_store_of_a_later_epoch_begins_a_new_history() {
        let store = MemoryStore::default();
        let first = Control::start(&store).await.unwrap();
        let _ = store.raise_epoch(7).unwrap();
        let next = Control::start(&store).await.unwrap();
        assert_eq!(next.epoch, 7);
        assert_ne!(next.history, first.history);
        assert_eq!(next.confirmed, first.epoch);
    }
}
