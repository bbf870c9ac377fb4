use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn view<T: serde::de::DeserializeOwned>(json: Value, revision: u64) -> Observed<T> {
    Observed {
        revision,
        object: serde_json::from_value(json).unwrap(),
    }
}

fn service(spec: Value) -> Observed<Service> {
    let metadata = json!({"name": "web", "namespace": "d", "uid": "s", "labels": {"l": "1"}});
    view(json!({"metadata": metadata, "spec": spec}), 1)
}

fn plain() -> Observed<Service> {
    service(json!({"selector": {"app": "web"}, "clusterIP": "10.43.0.9",
        "ports": [{"port": 80, "targetPort": 8080, "protocol": "TCP"}]}))
}

fn pod(name: &str, ip: &str, ready: bool) -> Observed<Pod> {
    pod_with(name, ip, ready, json!({}))
}

fn pod_with(name: &str, ip: &str, ready: bool, more: Value) -> Observed<Pod> {
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "d", "uid": format!("u-{name}"),
            "labels": {"app": "web"}},
        "spec": {"nodeName": "n1", "containers": [{"name": "c"}]},
        "status": {"phase": "Running", "podIP": ip, "conditions": [
            {"type": "Ready", "status": if ready { "True" } else { "False" }}]},
    });
    merge(&mut pod, &more);
    view(pod, 1)
}

/// RFC 7396, as the edge carries patches out.
fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            into.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut into[key.as_str()], value);
        }
    }
}

/// What is stored: Endpoints and slices, as values.
#[derive(Default, Clone)]
struct Stored {
    endpoints: Option<Value>,
    slices: Vec<Value>,
    serial: u32,
    writes: usize,
}

impl Stored {
    fn slices(&self) -> Vec<Observed<EndpointSlice>> {
        self.slices
            .iter()
            .map(|slice| view(slice.clone(), 1))
            .collect()
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        self.writes += actions.len();
        for action in actions {
            match action {
                Action::Create {
                    kind, mut object, ..
                } if kind.kind == "Endpoints" => {
                    object["metadata"]["uid"] = "e".into();
                    assert!(self.endpoints.replace(object).is_none());
                }
                Action::Create { mut object, .. } => {
                    self.serial += 1;
                    object["metadata"]["name"] = format!("web-{:03}", self.serial).into();
                    object["metadata"]["uid"] = format!("slice-{}", self.serial).into();
                    self.slices.push(object);
                }
                Action::Patch { target, patch, .. } if target.kind.kind == "Endpoints" => {
                    merge(self.endpoints.as_mut().unwrap(), &patch);
                }
                Action::Patch { target, patch, .. } => {
                    let slices = self.slices.iter_mut();
                    let named = |s: &&mut Value| s["metadata"]["name"] == *target.name;
                    merge({ slices }.find(named).unwrap(), &patch);
                }
                Action::Delete { uid, .. } => {
                    self.slices.retain(|slice| slice["metadata"]["uid"] != *uid);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Plans until nothing is left to do, which must be at once.
    #[track_caller]
    fn follow(&mut self, service: &Observed<Service>, pods: &[Observed<Pod>]) {
        for round in 0.. {
            let endpoints = self.endpoints.clone().map(|e| view(e, 1));
            let pods: Vec<_> = pods.iter().collect();
            let zone = |node: &str| (node == "n2").then(|| "z".to_owned());
            let actions = plan(&Input {
                service,
                pods: &pods,
                endpoints: endpoints.as_ref(),
                slices: &self.slices(),
                zone: &zone,
            });
            if actions.is_empty() {
                return;
            }
            assert!(round < 1, "{actions:?}");
            self.carry_out(actions);
        }
    }

    /// `address ready|serving|terminating` of all slices, sorted.
    fn endpoints(&self) -> Vec<String> {
        let slices = self.slices();
        let endpoints = slices.iter().flat_map(|slice| &slice.endpoints);
        let mut lines: Vec<_> = endpoints
            .map(|e| {
                let flag = |set: Option<bool>, name| if set == Some(true) { name } else { "-" };
                let c = e.conditions;
                let (r, s, t) = (
                    flag(c.ready, "R"),
                    flag(c.serving, "S"),
                    flag(c.terminating, "T"),
                );
                format!("{} {r}{s}{t}", e.addresses[0])
            })
            .collect();
        lines.sort();
        lines
    }
}

#[track_caller]
fn check(service: &Observed<Service>, pods: &[Observed<Pod>], want: &[&str], subsets: Value) {
    let mut stored = Stored::default();
    stored.follow(service, pods);
    assert_eq!(stored.endpoints(), want);
    assert_eq!(
        stored
            .endpoints
            .unwrap()
            .get("subsets")
            .cloned()
            .unwrap_or_default(),
        subsets
    );
}

fn address(name: &str, ip: &str) -> Value {
    json!({"ip": ip, "nodeName": "n1", "targetRef":
        {"kind": "Pod", "namespace": "d", "name": name, "uid": format!("u-{name}")}})
}

#[test]
fn a_service_leads_to_its_ready_pods() {
    let ports = json!([{"name": "", "port": 8080, "protocol": "TCP"}]);
    let other = pod_with(
        "x",
        "10.0.0.9",
        true,
        json!({"metadata": {"labels": {"app": "x"}}}),
    );
    let ended = pod_with(
        "e",
        "10.0.0.8",
        true,
        json!({"status": {"phase": "Failed"}}),
    );
    let pods = [
        pod("a", "10.0.0.1", true),
        pod("b", "10.0.0.2", false),
        pod("c", "", false),
        other,
        ended,
    ];
    check(
        &plain(),
        &pods,
        &["10.0.0.1 RS-", "10.0.0.2 ---"],
        json!([
        {"addresses": [address("a", "10.0.0.1")],
         "notReadyAddresses": [address("b", "10.0.0.2")], "ports": ports}]),
    );
}

#[test]
fn who_leaves_serves_still_but_takes_nothing_new() {
    let deleting = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    let pods = [pod_with("a", "10.0.0.1", true, deleting)];
    check(&plain(), &pods, &["10.0.0.1 -ST"], json!(null));
    let mut all = plain();
    all.object.spec.publish_not_ready_addresses = true;
    check(
        &all,
        &pods,
        &["10.0.0.1 RST"],
        json!([{"addresses": [address("a", "10.0.0.1")],
        "ports": [{"name": "", "port": 8080, "protocol": "TCP"}]}]),
    );
    check(
        &all,
        &[pod("b", "10.0.0.2", false)],
        &["10.0.0.2 R--"],
        json!([
        {"addresses": [address("b", "10.0.0.2")],
         "ports": [{"name": "", "port": 8080, "protocol": "TCP"}]}]),
    );
}

#[test]
fn ports_by_name_are_each_pods_own() {
    let service = service(json!({"selector": {"app": "web"}, "ports": [
        {"name": "w", "port": 80, "targetPort": "http"}, {"name": "m", "port": 90}]}));
    let ports = |number: i32| {
        json!({"spec": {"containers": [{"name": "c", "ports": [
        {"name": "http", "containerPort": number}]}]}})
    };
    let pods = [
        pod_with("a", "10.0.0.1", true, ports(8080)),
        pod_with("b", "10.0.0.2", true, ports(9090)),
        pod("c", "10.0.0.3", true),
    ];
    let mut stored = Stored::default();
    stored.follow(&service, &pods);
    let mut seen: Vec<_> = stored
        .slices()
        .iter()
        .map(|slice| {
            let ports = slice
                .ports
                .iter()
                .map(|p| format!("{}:{}", p.name, p.port.unwrap()));
            format!(
                "{} {}",
                slice.endpoints[0].addresses[0],
                ports.collect::<Vec<_>>().join(",")
            )
        })
        .collect();
    seen.sort();
    assert_eq!(
        seen,
        [
            "10.0.0.1 m:90,w:8080",
            "10.0.0.2 m:90,w:9090",
            "10.0.0.3 m:90"
        ]
    );
}

#[test]
fn a_headless_service_names_its_pods() {
    let service = service(json!({"selector": {"app": "web"}, "clusterIP": "None"}));
    let named = json!({"spec": {"nodeName": "n2", "hostname": "h", "subdomain": "web"}});
    let other = json!({"spec": {"hostname": "h", "subdomain": "other"}});
    let pods = [
        pod_with("a", "10.0.0.1", true, named),
        pod_with("b", "10.0.0.2", true, other),
    ];
    let mut stored = Stored::default();
    stored.follow(&service, &pods);
    let slice = &stored.slices[0];
    assert_eq!(
        slice["metadata"]["labels"],
        json!({"l": "1", HEADLESS: "",
        SERVICE_NAME: "web", MANAGED_BY: OURS})
    );
    assert_eq!(slice["metadata"]["ownerReferences"][0]["kind"], "Service");
    assert_eq!(slice["endpoints"][0]["hostname"], "h");
    assert_eq!(slice["endpoints"][0]["zone"], "z");
    assert_eq!(slice["endpoints"][0]["targetRef"]["name"], "a");
    assert!(slice["endpoints"][1].get("hostname").is_none());
    let endpoints = stored.endpoints.unwrap();
    assert!(endpoints["metadata"]["labels"].get(HEADLESS).is_some());
    assert_eq!(endpoints["subsets"][0]["addresses"][0]["hostname"], "h");
    assert!(endpoints["subsets"][0].get("ports").is_none());
}

#[test]
fn one_that_leads_nowhere_or_elsewhere() {
    let mut stored = Stored::default();
    stored.follow(&plain(), &[]);
    assert_eq!((stored.slices.len(), stored.endpoints().len()), (1, 0));
    stored.follow(&plain(), &[pod("a", "10.0.0.1", true)]);
    assert_eq!((stored.slices.len(), stored.endpoints().len()), (1, 1));
    stored.follow(&plain(), &[]);
    assert_eq!((stored.slices.len(), stored.endpoints().len()), (1, 0));
    for elsewhere in [
        json!({"selector": {"app": "web"}, "type": "ExternalName"}),
        json!({"ports": [{"port": 1}]}),
    ] {
        let mut stored = Stored::default();
        stored.follow(&service(elsewhere), &[pod("a", "10.0.0.1", true)]);
        assert_eq!(stored.writes, 0);
    }
}

#[test]
fn slices_are_bounded_and_a_change_touches_one_of_them() {
    let ip = |n: usize| format!("10.0.{}.{}", n / 200, n % 200 + 1);
    let pods = |ready: &dyn Fn(usize) -> bool| -> Vec<_> {
        (0..250)
            .map(|n| pod(&format!("p{n:03}"), &ip(n), ready(n)))
            .collect()
    };
    let mut stored = Stored::default();
    stored.follow(&plain(), &pods(&|_| true));
    let sizes =
        |stored: &Stored| -> Vec<_> { stored.slices().iter().map(|s| s.endpoints.len()).collect() };
    assert_eq!(sizes(&stored), [100, 100, 50]);
    let before = stored.writes;
    stored.follow(&plain(), &pods(&|n| n != 120));
    assert_eq!(stored.writes - before, 2, "the Endpoints and one slice");
    let mut fewer = pods(&|_| true);
    fewer.remove(3);
    fewer.push(pod("new", "10.1.0.1", true));
    let before = stored.writes;
    stored.follow(&plain(), &fewer);
    assert_eq!(
        stored.writes - before,
        3,
        "120 is back; the newcomer takes the place of who left"
    );
    assert_eq!(sizes(&stored), [100, 100, 50]);
}

#[test]
fn too_many_for_endpoints_are_cut_and_told_of() {
    let pods: Vec<_> = (0..1001)
        .map(|n| {
            pod(
                &format!("p{n}"),
                &format!("10.{}.{}.1", n / 250, n % 250),
                true,
            )
        })
        .collect();
    let mut stored = Stored::default();
    stored.follow(&plain(), &pods);
    let endpoints = stored.endpoints.clone().unwrap();
    assert_eq!(
        endpoints["metadata"]["annotations"],
        json!({"endpoints.kubernetes.io/over-capacity": "truncated"})
    );
    assert_eq!(
        endpoints["subsets"][0]["addresses"]
            .as_array()
            .unwrap()
            .len(),
        1000
    );
    stored.follow(&plain(), &pods[..2]);
    assert_eq!(
        stored.endpoints.unwrap()["metadata"]["annotations"],
        json!({})
    );
}

#[test]
fn labels_follow_the_service() {
    let mut stored = Stored::default();
    stored.follow(&plain(), &[]);
    let mut other = plain();
    other.object.metadata.labels = [("m".to_owned(), "2".to_owned())].into();
    stored.follow(&other, &[]);
    assert_eq!(
        stored.slices[0]["metadata"]["labels"],
        json!({"m": "2",
        SERVICE_NAME: "web", MANAGED_BY: OURS})
    );
    assert_eq!(
        stored.endpoints.unwrap()["metadata"]["labels"],
        json!({"m": "2",
        "endpoints.kubernetes.io/managed-by": "endpoint-controller"})
    );
}

#[test]
fn endpoints_by_hand_are_mirrored() {
    let by_hand = service(json!({"ports": [{"port": 80}]}));
    let endpoints = |metadata: Value| -> Observed<Endpoints> {
        let mut all = json!({"name": "web", "namespace": "d", "uid": "e", "labels": {"k": "v"}});
        merge(&mut all, &metadata);
        view(
            json!({"metadata": all, "subsets": [{"addresses": [{"ip": "192.0.2.1"},
            {"ip": "2001:db8::1"}], "notReadyAddresses": [{"ip": "192.0.2.2"}],
            "ports": [{"port": 80, "protocol": "TCP"}]}]}),
            1,
        )
    };
    let mut stored = Stored::default();
    let mut follow = |endpoints: Option<&Observed<Endpoints>>,
                      service: Option<&Observed<Service>>| {
        let service = service.map(|s| &s.object);
        let actions = mirror(endpoints, service, &stored.slices());
        stored.carry_out(actions);
        assert_eq!(mirror(endpoints, service, &stored.slices()), []);
        (stored.slices.len(), stored.endpoints())
    };
    let plain_endpoints = endpoints(json!({}));
    let want = ["192.0.2.1 R--", "192.0.2.2 ---", "2001:db8::1 R--"]
        .map(str::to_owned)
        .to_vec();
    assert_eq!(
        follow(Some(&plain_endpoints), Some(&by_hand)),
        (2, want.clone())
    );
    assert_eq!(
        follow(Some(&plain_endpoints), None),
        (0, vec![]),
        "no Service"
    );
    for skipped in [
        json!({"labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}}),
        json!({"annotations": {"control-plane.alpha.kubernetes.io/leader": "x"}}),
    ] {
        follow(Some(&plain_endpoints), Some(&by_hand));
        assert_eq!(follow(Some(&endpoints(skipped)), Some(&by_hand)).0, 0);
    }
    follow(Some(&plain_endpoints), Some(&by_hand));
    assert_eq!(
        follow(Some(&plain_endpoints), Some(&plain())).0,
        0,
        "it has a selector now"
    );
    follow(Some(&plain_endpoints), Some(&by_hand));
    assert_eq!(follow(None, Some(&by_hand)).0, 0);
}

proptest! {
    /// From any state to any other: one round gets there, and the order of pods does not matter.
    #[test]
    fn one_round_gets_from_anywhere_to_anywhere(
        states in prop::collection::vec(prop::collection::btree_map(0..6_u8, 0..3_u8, 0..6), 1..5),
    ) {
        let mut stored = Stored::default();
        for state in states {
            let deleting = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
            let mut pods: Vec<_> = state.iter().map(|(n, how)| {
                let more = if *how == 2 { deleting.clone() } else { json!({}) };
                pod_with(&format!("p{n}"), &format!("10.0.0.{n}"), *how > 0, more)
            }).collect();
            stored.follow(&plain(), &pods);
            let want: BTreeSet<String> = state.iter().map(|(n, how)| {
                format!("10.0.0.{n} {}", ["---", "RS-", "-ST"][usize::from(*how)])
            }).collect();
            prop_assert_eq!(stored.endpoints(), want.into_iter().collect::<Vec<_>>());
            let before = stored.writes;
            pods.reverse();
            stored.follow(&plain(), &pods);
            prop_assert_eq!(stored.writes, before);
        }
    }
}
