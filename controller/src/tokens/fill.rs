//! The loop that keeps token Secrets filled, and removes those whose account is gone.
//!
//! Events say which Secret to look at again; what is done follows from what the store holds then. A
//! write that somebody else was faster with is left to the event of theirs.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Tokens;
use super::objects::Object;
use super::secret::{ACCOUNT, Fate, TYPE};
use crate::object;
use crate::store::{Durability, Entry, Error, EventKind, Expect, Key, Op, Page, Scope};

/// Runs until the store ends, and says how.
pub async fn fill_secrets(tokens: Arc<Tokens>) -> Error {
    loop {
        match watch(&tokens).await {
            Ok(()) => {}
            // More was written than the watch history holds: look at everything again.
            Err(error @ (Error::Compacted { .. } | Error::Future { .. })) => {
                tracing::warn!(%error, "looking at all token secrets again");
            }
            Err(error) => return error,
        }
    }
}

async fn watch(tokens: &Tokens) -> Result<(), Error> {
    let store = &tokens.store;
    // Watching first: nothing changes unseen between the two.
    let from = store.revision();
    let mut secrets = store.watch(&Scope::all("", "secrets"), from)?;
    let mut accounts = store.watch(&Scope::all("", "serviceaccounts"), from)?;
    tokens.look_at_all(&Scope::all("", "secrets"))?;
    loop {
        tokio::select! {
            event = secrets.next() => {
                let event = event?;
                if event.kind != EventKind::Deleted && is_ours(&event.entry) {
                    tokens.look_at(&event.entry.key)?;
                }
            }
            event = accounts.next() => {
                let event = event?;
                if event.kind == EventKind::Deleted {
                    let namespace = event.entry.key.namespace.clone();
                    tokens.look_at_all(&Scope::namespaced("", "secrets", namespace))?;
                }
            }
        }
    }
}

/// Whether it may be of our type: most Secrets are not, and are not parsed.
fn is_ours(entry: &Entry) -> bool {
    entry
        .json
        .windows(TYPE.len())
        .any(|part| part == TYPE.as_bytes())
}

impl Tokens {
    fn look_at_all(&self, scope: &Scope) -> Result<(), Error> {
        let listing = self.store.list(scope, &Page::default())?;
        for entry in listing.entries.iter().filter(|entry| is_ours(entry)) {
            self.look_at(&entry.key)?;
        }
        Ok(())
    }

    fn look_at(&self, key: &Key) -> Result<(), Error> {
        let Some(entry) = self.store.get(key) else {
            return Ok(());
        };
        let Ok(secret) = serde_json::from_slice::<Value>(&entry.json) else {
            tracing::warn!(%key, "a secret that can't be read");
            return Ok(());
        };
        let name = secret["metadata"]["annotations"][ACCOUNT].as_str();
        let account = name
            .and_then(|name| Object::read(&*self.store, "serviceaccounts", &key.namespace, name));
        let uid = account.as_ref().map(|account| &*account.metadata.uid);
        let expect = Expect::Revision(entry.modified);
        let durability = Durability::Hard;
        let key = key.clone();
        let op = match self.fate_of(&secret, uid) {
            Fate::Keep => return Ok(()),
            Fate::Write(secret) => object::put(key, &secret, expect, durability),
            Fate::Delete if has_finalizers(&secret) => {
                let mut leaving = secret;
                let metadata = &mut leaving["metadata"];
                metadata["deletionTimestamp"] = object::now().rfc3339().into();
                metadata["deletionGracePeriodSeconds"] = json!(0);
                object::put(key, &leaving, expect, durability)
            }
            Fate::Delete => Op::Delete {
                key,
                expect,
                durability,
            },
        };
        match self.store.commit(vec![op]) {
            // Nothing of it leaves this process before it is durable.
            Ok(_) => Ok(()),
            Err(Error::Conflict { .. } | Error::NotFound(_) | Error::Exists(_)) => Ok(()),
            Err(error @ (Error::Busy | Error::TooLarge { .. })) => {
                tracing::warn!(%error, "a token secret was not written");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

fn has_finalizers(secret: &Value) -> bool {
    let finalizers = secret["metadata"]["finalizers"].as_array();
    finalizers.is_some_and(|list| !list.is_empty())
}
