//! The store, as the node link sees it: durable changes of all that documents are made of, up to
//! one revision.

use super::released;
use crate::join::{GROUP, NODE_KEYS};
use crate::store::{Entry, Error, Event, Page, Revision, Scope, Store, Watcher};
use std::sync::Arc;

/// What documents are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Pods,
    ConfigMaps,
    Secrets,
    /// For the tokens of pods.
    ServiceAccounts,
    NodeKeys,
    /// Unclaimed pods that a person lets go.
    Released,
    /// For what a person says about the whole cluster.
    Namespaces,
}

const SOURCES: [Source; 7] = [
    Source::Pods,
    Source::ConfigMaps,
    Source::Secrets,
    Source::ServiceAccounts,
    Source::NodeKeys,
    Source::Released,
    Source::Namespaces,
];

/// Looks at all watchers until they agree on a revision. Each look takes what has become durable
/// meanwhile, so more than a few means a storm of writes; then what is there waits for the next.
const LOOKS_MAX: usize = 16;

impl Source {
    fn scope(self) -> Scope {
        match self {
            Source::Pods => Scope::all("", "pods"),
            Source::ConfigMaps => Scope::all("", "configmaps"),
            Source::Secrets => Scope::all("", "secrets"),
            Source::ServiceAccounts => Scope::all("", "serviceaccounts"),
            Source::NodeKeys => Scope::all(GROUP, NODE_KEYS),
            Source::Released => Scope::all(GROUP, released::RESOURCE),
            Source::Namespaces => Scope::all("", "namespaces"),
        }
    }
}

/// A watcher for each source.
pub(super) struct Watchers {
    watchers: [(Source, Watcher); 7],
}

/// The state at the start of the watchers.
pub(super) struct Snapshot {
    pub(super) entries: Vec<(Source, Arc<Entry>)>,
}

impl Watchers {
    /// Everything there is, durable, and watchers from there on.
    pub(super) async fn open(store: &dyn Store) -> Result<(Watchers, Snapshot), Error> {
        let mut entries = Vec::new();
        let mut newest = Revision(0);
        let mut open = |source: Source| -> Result<(Source, Watcher), Error> {
            let listing = store.list(&source.scope(), &Page::default())?;
            newest = newest.max(listing.revision);
            entries.extend(listing.entries.into_iter().map(|entry| (source, entry)));
            Ok((source, store.watch(&source.scope(), listing.revision)?))
        };
        let [
            pods,
            config_maps,
            secrets,
            accounts,
            keys,
            released,
            namespaces,
        ] = SOURCES;
        let watchers = [
            open(pods)?,
            open(config_maps)?,
            open(secrets)?,
            open(accounts)?,
            open(keys)?,
            open(released)?,
            open(namespaces)?,
        ];
        // A list shows pending writes; nothing is made of them before they are durable.
        store.settled(newest).wait().await?;
        Ok((Watchers { watchers }, Snapshot { entries }))
    }

    /// The next change of any source. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<(Source, Event), Error> {
        let [
            (pods, a),
            (config_maps, b),
            (secrets, c),
            (accounts, d),
            (keys, e),
            (released, f),
            (namespaces, g),
        ] = &mut self.watchers;
        tokio::select! {
            event = a.next() => Ok((*pods, event?)),
            event = b.next() => Ok((*config_maps, event?)),
            event = c.next() => Ok((*secrets, event?)),
            event = d.next() => Ok((*accounts, event?)),
            event = e.next() => Ok((*keys, event?)),
            event = f.next() => Ok((*released, event?)),
            event = g.next() => Ok((*namespaces, event?)),
        }
    }

    /// Takes every change up to a revision, the same for all sources, and returns the newest hard
    /// change up to there. `None` when the store does not hold still long enough; what was taken stays
    /// taken.
    pub(super) fn catch_up(
        &mut self,
        store: &dyn Store,
        mut take: impl FnMut(Source, Event),
    ) -> Result<Option<Revision>, Error> {
        let mut before = store.visible();
        for _ in 0..LOOKS_MAX {
            let hard = store.hard();
            for (source, watcher) in &mut self.watchers {
                while let Some(event) = watcher.try_next()? {
                    take(*source, event);
                }
            }
            let after = store.visible();
            if after == before {
                return Ok(Some(hard));
            }
            before = after;
        }
        Ok(None)
    }
}
