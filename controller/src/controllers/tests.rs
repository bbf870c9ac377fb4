//! The loop over a store in memory, on a virtual clock, with a stand-in for the nodes.

mod doubt;
mod namespaces;
mod nodes;
mod orphans;
mod workloads;

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use bramble_api::admit;
use bramble_api::kind::Kind;
use bramble_api::metadata;
use bramble_controller_core::kinds;
use serde_json::{Value, json};

use super::*;
use crate::store::{Body, Durability, Expect, Key, MemoryStore, Op, Page, Revision, Scope};

/// What the virtual clock starts at.
const START: i64 = 1_780_000_000;

struct World {
    store: Arc<dyn Store>,
    clock: Clock,
    standing: watch::Sender<Arc<Standing>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl World {
    /// A cluster with the namespace `d` and some nodes of 4 cores, 4 GiB and 20 pods.
    fn new(nodes: &[&str]) -> Self {
        let started = Instant::now();
        let clock: Clock = Arc::new(move || {
            let seconds = i64::try_from(started.elapsed().as_secs()).unwrap();
            Timestamp::from_seconds(START + seconds)
        });
        let world = Self {
            store: Arc::new(MemoryStore::default()),
            clock,
            standing: watch::Sender::default(),
            tasks: Vec::new(),
        };
        world.create(kinds::namespace(), "", json!({"metadata": {"name": "d"}}));
        nodes.iter().for_each(|name| world.add_node(name));
        world
    }

    fn add_node(&self, name: &str) {
        self.create(
            kinds::node(),
            "",
            json!({"metadata": {"name": name, "labels": {"n": name}},
            "status": {"allocatable": {"cpu": "4", "memory": "4Gi", "pods": "20"}}}),
        );
        self.change("nodes", "", name, |node| {
            node["status"] = json!({"allocatable": {"cpu": "4", "memory": "4Gi", "pods": "20"}});
        });
    }

    fn start(mut self) -> Self {
        let settings = Settings {
            ca: "the CA".into(),
            api: None,
            standing: self.standing.subscribe(),
        };
        let controllers = Controllers::open(self.store.clone(), self.clock.clone(), settings);
        let controllers = controllers.unwrap();
        self.tasks.push(tokio::spawn(async move {
            panic!("ended: {}", run(controllers).await);
        }));
        self
    }

    /// Nodes that run what they get and confirm what they stop, as the node link would write it.
    fn with_nodes(mut self) -> Self {
        let (store, clock) = (self.store.clone(), self.clock.clone());
        self.tasks.push(tokio::spawn(async move {
            let world = World {
                store,
                clock,
                standing: watch::Sender::default(),
                tasks: Vec::new(),
            };
            loop {
                let seen = world.store.revision();
                world.node_pass();
                if world.store.revision() == seen {
                    world.next_change(seen).await;
                }
            }
        }));
        self
    }

    fn node_pass(&self) {
        for pod in self.list("pods") {
            let name = text(&pod, "/metadata/name").to_owned();
            if pod.pointer("/metadata/deletionTimestamp").is_some() {
                self.delete("pods", "d", &name);
            } else if !text(&pod, "/spec/nodeName").is_empty()
                && text(&pod, "/status/phase") == "Pending"
                && !text(&pod, "/spec/containers/0/image").contains("broken")
            {
                let now = (self.clock)().rfc3339();
                self.change("pods", "d", &name, |pod| {
                    pod["status"]["phase"] = "Running".into();
                    let ready =
                        json!({"type": "Ready", "status": "True", "lastTransitionTime": now});
                    pod["status"]["conditions"]
                        .as_array_mut()
                        .unwrap()
                        .push(ready);
                });
            }
        }
    }

    async fn next_change(&self, after: Revision) {
        self.store
            .settled(Revision(after.0 + 1))
            .wait()
            .await
            .unwrap();
    }

    /// Waits for a condition; the virtual clock runs only while nobody has anything to do.
    async fn until(&self, what: &str, condition: impl Fn(&World) -> bool) {
        let reached = async {
            loop {
                let seen = self.store.revision();
                if condition(self) {
                    return;
                }
                self.next_change(seen).await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(3600), reached)
            .await
            .is_err()
        {
            panic!("never: {what}\n{}", self.dump());
        }
    }

    fn dump(&self) -> String {
        ["deployments", "replicasets", "pods", "events"]
            .into_iter()
            .flat_map(|resource| self.list(resource))
            .map(|object| format!("{object}\n"))
            .collect()
    }

    fn create(&self, kind: &'static Kind, namespace: &str, object: Value) {
        let mut object = object;
        object["kind"] = kind.kind.into();
        object["apiVersion"] = kind.api_version().into();
        let uid = object::uid().unwrap();
        let context = admit::Create {
            now: (self.clock)(),
            uid: &uid,
            suffix: "zzzzz",
            namespace: kind.namespaced.then_some(namespace),
        };
        admit::create(kind, &mut object, &context).unwrap();
        let name = text(&object, "/metadata/name");
        let key = Key::new(kind.storage_group, kind.plural, namespace, name);
        self.put(key, &object, Expect::Absent);
    }

    fn put(&self, key: Key, object: &Value, expect: Expect) {
        let canonical = metadata::canonical(object);
        let body = Body {
            json: canonical.bytes,
            revision_at: canonical.revision_at,
        };
        let put = Op::Put {
            key,
            expect,
            body,
            durability: Durability::Hard,
        };
        drop(self.store.commit(vec![put]).unwrap());
    }

    fn key(resource: &str, namespace: &str, name: &str) -> Key {
        let group = match resource {
            "deployments" | "replicasets" => "apps",
            "endpointslices" => "discovery.k8s.io",
            _ => "",
        };
        Key::new(group, resource, namespace, name)
    }

    fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let entry = self.store.get(&Self::key(resource, namespace, name))?;
        Some(serde_json::from_slice(&entry.json).unwrap())
    }

    /// Changes an object as a client would: the generation moves with the spec.
    fn change(&self, resource: &str, namespace: &str, name: &str, edit: impl Fn(&mut Value)) {
        let old = self.get(resource, namespace, name).unwrap();
        let mut new = old.clone();
        edit(&mut new);
        if old["spec"] != new["spec"] {
            let generation = new["metadata"]["generation"].as_i64().unwrap_or(0);
            new["metadata"]["generation"] = (generation + 1).into();
        }
        self.put(Self::key(resource, namespace, name), &new, Expect::Any);
    }

    fn delete(&self, resource: &str, namespace: &str, name: &str) {
        let key = Self::key(resource, namespace, name);
        let delete = Op::Delete {
            key,
            expect: Expect::Any,
            durability: Durability::Hard,
        };
        drop(self.store.commit(vec![delete]).unwrap());
    }

    fn list(&self, resource: &str) -> Vec<Value> {
        let group = Self::key(resource, "", "").group;
        let listing = self
            .store
            .list(&Scope::all(group, resource), &Page::default())
            .unwrap();
        let decode =
            |entry: &Arc<crate::store::Entry>| serde_json::from_slice(&entry.json).unwrap();
        listing.entries.iter().map(decode).collect()
    }

    fn deploy(&self, name: &str, replicas: i32, strategy: Value) {
        self.create(
            kinds::deployment(),
            "d",
            json!({
                "metadata": {"name": name},
                "spec": {
                    "replicas": replicas,
                    "strategy": strategy,
                    "selector": {"matchLabels": {"app": name}},
                    "template": {
                        "metadata": {"labels": {"app": name}},
                        "spec": {"containers": [{"name": "c", "image": "i:1",
                            "resources": {"requests": {"cpu": "100m"}}}]},
                    },
                },
            }),
        );
    }

    fn set_image(&self, name: &str, image: &str) {
        self.change("deployments", "d", name, |deployment| {
            deployment["spec"]["template"]["spec"]["containers"][0]["image"] = image.into();
        });
    }

    fn images(&self) -> BTreeSet<String> {
        let image = |pod: &Value| text(pod, "/spec/containers/0/image").to_owned();
        self.list("pods").iter().map(image).collect()
    }

    /// As `kubectl rollout status` judges.
    fn rolled_out(&self, name: &str, replicas: i64) -> bool {
        let Some(deployment) = self.get("deployments", "d", name) else {
            return false;
        };
        let status = |field: &str| deployment["status"][field].as_i64().unwrap_or(0);
        status("observedGeneration") >= deployment["metadata"]["generation"].as_i64().unwrap()
            && status("updatedReplicas") == replicas
            && status("replicas") == replicas
            && status("availableReplicas") == replicas
            && condition(&deployment, "Progressing", "reason") == "NewReplicaSetAvailable"
    }

    fn reasons(&self) -> BTreeSet<String> {
        self.list("events")
            .iter()
            .map(|event| text(event, "/reason").to_owned())
            .collect()
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn condition<'a>(object: &'a Value, kind: &str, field: &str) -> &'a str {
    let conditions = object["status"]["conditions"].as_array();
    let found = conditions.into_iter().flatten().find(|c| c["type"] == kind);
    found.map_or("", |c| c[field].as_str().unwrap_or_default())
}

/// On a paused clock and one thread, so that each run is the same.
fn virtually<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(test);
}

#[test]
fn a_poisoned_object_stops_nothing() {
    virtually(async {
        let world = World::new(&["n1"]).start().with_nodes();
        let key = World::key("replicasets", "d", "bad");
        let bad = json!({"metadata": {"name": "bad"}, "spec": {"replicas": "many"}});
        world.put(key, &bad, Expect::Absent);
        world.deploy("web", 2, json!({}));
        world.until("running", |w| w.rolled_out("web", 2)).await;
        assert!(world.get("replicasets", "d", "bad").is_some());
    });
}

#[test]
fn a_restart_changes_nothing() {
    virtually(async {
        let mut world = World::new(&["n1", "n2"]).start().with_nodes();
        world.deploy("web", 3, json!({}));
        world.until("running", |w| w.rolled_out("web", 3)).await;
        // Whatever is still under way settles while the clock runs ahead.
        tokio::time::sleep(Duration::from_secs(30)).await;
        world.tasks.drain(..).for_each(|task| task.abort());
        let before = world.store.revision();
        let world = world.start().with_nodes();
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(world.store.revision(), before, "{}", world.dump());
    });
}

#[test]
fn an_idle_cluster_writes_nothing_but_the_end_of_its_events() {
    virtually(async {
        let world = World::new(&["n1"]).start().with_nodes();
        world.deploy("web", 2, json!({}));
        world.until("running", |w| w.rolled_out("web", 2)).await;
        tokio::time::sleep(Duration::from_secs(3500)).await;
        let settled = world.store.revision();
        let events = world.list("events").len();
        assert!(events > 0);
        tokio::time::sleep(Duration::from_secs(7200)).await;
        assert_eq!(world.list("events").len(), 0);
        assert_eq!(
            world.store.revision().0 - settled.0,
            u64::try_from(events).unwrap()
        );
    });
}

#[test]
fn an_event_in_series_ends_an_hour_after_it_was_seen_last() {
    virtually(async {
        let world = World::new(&[]).start();
        let now = (world.clock)();
        let last = Timestamp::from_seconds(now.seconds + 1800);
        // As the sources of the newer group write it: no `lastTimestamp`.
        let event = json!({
            "metadata": {"name": "e", "namespace": "d", "creationTimestamp": now.rfc3339()},
            "eventTime": now.rfc3339_micro(),
            "series": {"count": 2, "lastObservedTime": last.rfc3339_micro()},
        });
        world.put(World::key("events", "d", "e"), &event, Expect::Absent);
        tokio::time::sleep(Duration::from_secs(5300)).await;
        assert!(world.get("events", "d", "e").is_some());
        tokio::time::sleep(Duration::from_secs(200)).await;
        assert!(world.get("events", "d", "e").is_none());
    });
}

fn addresses(world: &World, field: &str) -> Vec<String> {
    let endpoints = world.get("endpoints", "d", "web").unwrap_or_default();
    let subsets = endpoints["subsets"].as_array().cloned().unwrap_or_default();
    let addresses = subsets
        .iter()
        .flat_map(|s| s[field].as_array().cloned().unwrap_or_default());
    addresses.map(|a| text(&a, "/ip").to_owned()).collect()
}

#[test]
fn a_service_leads_to_its_pods_and_leaves_nothing_behind() {
    virtually(async {
        let world = World::new(&["n1"]).start().with_nodes();
        let spec = json!({"selector": {"app": "web"}, "ports": [{"port": 80}]});
        world.create(
            kinds::service(),
            "d",
            json!({"metadata": {"name": "web"}, "spec": spec}),
        );
        world.deploy("web", 3, json!({}));
        world.until("rolled out", |w| w.rolled_out("web", 3)).await;
        for (at, pod) in world.list("pods").iter().enumerate() {
            world.change("pods", "d", text(pod, "/metadata/name"), |pod| {
                pod["status"]["podIP"] = format!("10.42.0.{at}").into();
            });
        }
        world
            .until("led", |w| addresses(w, "addresses").len() == 3)
            .await;
        let slices = world.list("endpointslices");
        assert_eq!(slices.len(), 1, "{slices:?}");
        assert_eq!(slices[0]["endpoints"].as_array().unwrap().len(), 3);
        let name = text(&world.list("pods")[0], "/metadata/name").to_owned();
        world.change("pods", "d", &name, |pod| {
            pod["status"]["conditions"] = json!([{"type": "Ready", "status": "False"}]);
        });
        world
            .until("one is not ready", |w| {
                addresses(w, "notReadyAddresses").len() == 1 && addresses(w, "addresses").len() == 2
            })
            .await;
        world.delete("services", "d", "web");
        world
            .until("nothing is left", |w| {
                w.get("endpoints", "d", "web").is_none() && w.list("endpointslices").is_empty()
            })
            .await;
    });
}
