//! What must be there before anybody asks: the accounts and CAs of namespaces, the Service of the API.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bramble_api::view::ConfigMap;
use bramble_controller_core::action::{Action, Observed};
use bramble_controller_core::{account, apiservice, kinds};
use serde_json::Value;
use tokio::time::Instant;

use super::Controllers;
use super::cache::Id;
use super::queue::Work;
use super::write::Error;

/// How often the machine's addresses are looked at.
const ADDRESSES: Duration = Duration::from_secs(60);

/// Tells the controller's addresses.
pub type Addresses = Arc<dyn Fn() -> Vec<Ipv4Addr> + Send + Sync>;

/// Where pods find the API.
#[derive(Clone)]
pub struct ApiPlace {
    /// The address of the Service `kubernetes`.
    pub cluster_ip: Ipv4Addr,
    /// The port that the API listens on.
    pub port: u16,
    /// The controller's addresses, as they are now.
    pub addresses: Addresses,
}

impl Controllers {
    /// Equips every namespace and announces the API, before anything else.
    pub(super) fn equip_first(&mut self) {
        let namespaces: Vec<Id> = self
            .cache
            .all("namespaces")
            .map(|(id, _)| id.clone())
            .collect();
        namespaces
            .into_iter()
            .map(Work::Equip)
            .chain([Work::Api])
            .for_each(|work| self.reconcile(&work));
    }

    /// What a change of these objects calls for.
    pub(super) fn queue_equipment(&mut self, id: &Id, new: bool, gone: bool) {
        let of_namespace = |name: &Arc<str>| {
            Work::Equip(Id {
                resource: "namespaces",
                namespace: "".into(),
                name: name.clone(),
            })
        };
        match (id.resource, &*id.name) {
            ("namespaces", _) if new => self.queue.push(of_namespace(&id.name)),
            ("serviceaccounts", account::DEFAULT_ACCOUNT) if gone => {
                self.queue.push(of_namespace(&id.namespace));
            }
            ("configmaps", account::ROOT_CA) => self.queue.push(of_namespace(&id.namespace)),
            ("services" | "endpoints" | "endpointslices", apiservice::NAME)
                if *id.namespace == *apiservice::NAMESPACE =>
            {
                self.queue.push(Work::Api);
            }
            _ => {}
        }
    }

    pub(super) fn equip(&mut self, namespace: &Id) -> Result<(), Error> {
        let Some(view) = self.cache.get(namespace).cloned() else {
            return Ok(());
        };
        let inside = |resource, name: &str| Id {
            resource,
            namespace: namespace.name.clone(),
            name: name.into(),
        };
        let account = inside(kinds::service_account().plural, account::DEFAULT_ACCOUNT);
        let root_ca = inside(kinds::config_map().plural, account::ROOT_CA);
        let root_ca: Option<Observed<ConfigMap>> = self.stored(&root_ca);
        let ca = self.settings.ca.clone();
        let actions = account::equip(&account::Input {
            namespace: view.metadata(),
            account: self.store.get(&account.key()).is_some(),
            root_ca: root_ca.as_ref(),
            ca: &ca,
        });
        self.act_on(&actions)
    }

    pub(super) fn announce_api(&mut self) -> Result<(), Error> {
        let Some(place) = self.settings.api.clone() else {
            return Ok(());
        };
        let work = Work::Api;
        self.queue.push_at(work, Instant::now() + ADDRESSES);
        let stored = |resource: &'static str| {
            self.stored::<Value>(&Id {
                resource,
                namespace: apiservice::NAMESPACE.into(),
                name: apiservice::NAME.into(),
            })
        };
        let stored = apiservice::Stored {
            service: stored("services"),
            endpoints: stored("endpoints"),
            slice: stored("endpointslices"),
        };
        let api = apiservice::Api {
            cluster_ip: place.cluster_ip,
            addresses: (place.addresses)(),
            port: place.port,
        };
        let actions = apiservice::ensure(&api, &stored);
        self.act_on(&actions)
    }

    /// An object as it is stored, for what the cache has no view of.
    pub(super) fn stored<T: serde::de::DeserializeOwned>(&self, id: &Id) -> Option<Observed<T>> {
        let entry = self.store.get(&id.key())?;
        match serde_json::from_slice(&entry.json) {
            Ok(object) => Some(Observed {
                revision: entry.modified.0,
                object,
            }),
            Err(error) => {
                tracing::error!(object = %entry.key, %error, "left out: it does not decode");
                None
            }
        }
    }

    /// Carries actions out, up to the first failure.
    pub(super) fn act_on(&mut self, actions: &[Action]) -> Result<(), Error> {
        actions.iter().try_for_each(|action| self.act(action))
    }
}
