//! From changes of Services, pods and their Endpoints to the decision where a Service leads.
//!
//! Changes are gathered: the first is acted on at once, those that follow closely together.

use std::time::Duration;

use bramble_api::view::{EndpointSlice, Endpoints};
use bramble_controller_core::action::{Action, Observed, Target};
use bramble_controller_core::endpoints::{self, SERVICE_NAME};
use bramble_controller_core::kinds;
use tokio::time::Instant;

use super::Controllers;
use super::cache::{Change, Id, View};
use super::queue::Work;
use super::write::Error;

/// Shortest time between two looks at a Service.
const GATHER: Duration = Duration::from_millis(250);
const ZONE: &str = "topology.kubernetes.io/zone";

impl Controllers {
    /// Queues the Services that a change may concern.
    pub(super) fn queue_endpoints(&mut self, change: &Change) {
        let Change { id, before, after } = change;
        let service = |name: &str| Id {
            resource: "services",
            namespace: id.namespace.clone(),
            name: name.into(),
        };
        match id.resource {
            "services" => {
                if after.is_none() {
                    self.queue.push(Work::LeftEndpoints(id.clone()));
                }
                self.queue_service(id.clone());
            }
            "endpoints" => self.queue_service(service(&id.name)),
            "endpointslices" => {
                for view in [before, after].into_iter().flatten() {
                    if let Some(name) = view.metadata().labels.get(SERVICE_NAME) {
                        self.queue_service(service(name));
                    }
                }
            }
            "pods" => self.queue_services_of(id, before.as_deref(), after.as_deref()),
            "nodes" => {
                let zone = |view: &Option<std::sync::Arc<View>>| {
                    let labels = &view.as_ref()?.metadata().labels;
                    labels.get(ZONE).cloned()
                };
                if zone(before) != zone(after) {
                    let all: Vec<Id> = self
                        .cache
                        .all("services")
                        .map(|(id, _)| id.clone())
                        .collect();
                    all.into_iter().for_each(|id| self.queue_service(id));
                }
            }
            _ => {}
        }
    }

    fn queue_services_of(&mut self, id: &Id, before: Option<&View>, after: Option<&View>) {
        let (before, after) = (before.and_then(View::pod), after.and_then(View::pod));
        if let (Some(before), Some(after)) = (before, after)
            && endpoints::same_endpoint(before, after)
        {
            return;
        }
        let states = [before, after];
        let means = |service: &bramble_api::view::Service| {
            let mut states = states.iter().flatten();
            states.any(|pod| endpoints::selects(service, &pod.metadata.labels))
        };
        let services = self.cache.namespaced("services", &id.namespace);
        let meant: Vec<Id> = services
            .filter(|(_, view)| view.service().is_some_and(|service| means(service)))
            .map(|(id, _)| id.clone())
            .collect();
        meant.into_iter().for_each(|id| self.queue_service(id));
    }

    fn queue_service(&mut self, id: Id) {
        let now = Instant::now();
        match self.led.get(&id) {
            Some(led) if *led + GATHER > now => {
                let due = *led + GATHER;
                self.queue.push_at(Work::Endpoints(id), due);
            }
            _ => self.queue.push(Work::Endpoints(id)),
        }
    }

    pub(super) fn reconcile_endpoints(&mut self, id: &Id) -> Result<(), Error> {
        let named = Id {
            resource: kinds::endpoints().plural,
            ..id.clone()
        };
        let found: Option<Observed<Endpoints>> = self.stored(&named);
        let slices = self.slices_of(id);
        let view = self.cache.get(id).cloned();
        let Some(service) = view.as_deref().and_then(View::service) else {
            self.led.remove(id);
            // Ours are of no use without the Service; those by hand may have come before theirs.
            if found
                .as_ref()
                .is_some_and(|found| endpoints::is_ours(found))
            {
                self.remove_left_endpoints(id)?;
            }
            let actions = endpoints::mirror(found.as_ref(), None, &slices);
            return self.act_on(&actions);
        };
        self.led.insert(id.clone(), Instant::now());
        let views: Vec<_> = self
            .cache
            .namespaced("pods", &id.namespace)
            .filter_map(|(_, view)| view.pod())
            .filter(|pod| endpoints::selects(service, &pod.metadata.labels))
            .collect();
        let zone = |node: &str| {
            let id = Id {
                resource: "nodes",
                namespace: "".into(),
                name: node.into(),
            };
            self.cache.get(&id)?.metadata().labels.get(ZONE).cloned()
        };
        let mut actions = endpoints::plan(&endpoints::Input {
            service,
            pods: &views,
            endpoints: found.as_ref(),
            slices: &slices,
            zone: &zone,
        });
        actions.extend(endpoints::mirror(found.as_ref(), Some(service), &slices));
        self.act_on(&actions)
    }

    fn slices_of(&self, service: &Id) -> Vec<Observed<EndpointSlice>> {
        let named = |view: &View| {
            let name = view.metadata().labels.get(SERVICE_NAME);
            name.is_some_and(|name| **name == *service.name)
        };
        self.cache
            .namespaced(kinds::endpoint_slice().plural, &service.namespace)
            .filter(|(_, view)| named(view))
            .filter_map(|(id, _)| self.stored(id))
            .collect()
    }

    /// As upstream, the Endpoints of a Service go with it, whoever made them.
    pub(super) fn remove_left_endpoints(&mut self, service: &Id) -> Result<(), Error> {
        let id = Id {
            resource: kinds::endpoints().plural,
            ..service.clone()
        };
        if self.cache.get(service).is_some() {
            return Ok(());
        }
        let Some(view) = self.cache.get(&id).cloned() else {
            return Ok(());
        };
        self.act(&Action::Delete {
            target: Target::of(id.kind(), view.metadata()),
            uid: view.metadata().uid.clone(),
            told: None,
            note: None,
        })
    }
}
