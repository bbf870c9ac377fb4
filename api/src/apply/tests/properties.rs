//! What holds for every configuration.

use super::*;
use proptest::prelude::*;

/// Any JSON, with names that the schemas know more often than not.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z0-9]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name(), inner), 0..5)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

fn name() -> impl Strategy<Value = String> {
    const KNOWN: &[&str] = &[
        "metadata",
        "spec",
        "status",
        "containers",
        "name",
        "env",
        "ports",
        "containerPort",
        "protocol",
        "labels",
        "finalizers",
        "nodeSelector",
        "tolerations",
        "managedFields",
        "annotations",
        "ownerReferences",
        "uid",
        "resources",
        "limits",
        "cpu",
        "template",
        "selector",
        "volumes",
        "configMap",
        "items",
        "conditions",
        "type",
        "value",
        "f:a",
        ".",
    ];
    prop_oneof![
        9 => prop::sample::select(KNOWN).prop_map(str::to_owned),
        1 => "[a-z:.]{0,4}".prop_map(String::from),
    ]
}

/// A well-formed Pod configuration over few names, so that two of them meet.
fn pod() -> impl Strategy<Value = Value> {
    let text = prop::sample::select(&["a", "b", "c"][..]);
    let labels = prop::collection::btree_map(text.clone(), text.clone(), 0..3);
    let env = prop::collection::btree_map(text.clone(), text.clone(), 0..3);
    let ports = prop::collection::btree_map(80..82_u16, text.clone(), 0..2);
    let container = (env, ports, prop::option::of(text.clone()));
    let containers = prop::collection::btree_map(text.clone(), container, 0..3);
    let finalizers = prop::collection::btree_set(text.clone(), 0..3);
    let selector = prop::option::of(prop::collection::btree_map(
        text.clone(),
        text.clone(),
        0..2,
    ));
    (
        labels,
        containers,
        finalizers,
        selector,
        prop::option::of(text),
    )
        .prop_map(|(labels, containers, finalizers, selector, hostname)| {
            let containers: Vec<Value> = containers
                .into_iter()
                .map(|(name, (env, ports, image))| {
                    let env: Vec<Value> = env
                        .into_iter()
                        .map(|(name, value)| json!({"name": name, "value": value}))
                        .collect();
                    let ports: Vec<Value> = ports
                        .into_iter()
                        .map(|(port, name)| json!({"containerPort": port, "name": name}))
                        .collect();
                    let mut out = json!({"name": name, "env": env, "ports": ports});
                    if let Some(image) = image {
                        out["image"] = image.into();
                    }
                    out
                })
                .collect();
            let mut out = json!({
                "metadata": {"labels": labels, "finalizers": finalizers},
                "spec": {"containers": containers},
            });
            if let Some(selector) = selector {
                out["spec"]["nodeSelector"] = json!(selector);
            }
            if let Some(hostname) = hostname {
                out["spec"]["hostname"] = hostname.into();
            }
            out
        })
}

fn force(server: &mut Server, manager: &str, config: &Value) {
    let config = server.full(config.clone());
    let mut request = server.request(manager, None);
    request.force = true;
    server.run(&request, &config).unwrap();
}

fn set() -> impl Strategy<Value = Set> {
    let element = prop_oneof![
        "[a-z.:\"é]{0,3}".prop_map(Element::Field),
        prop::collection::btree_map("[a-z]{1,2}", leaf(), 1..3)
            .prop_map(|map| Element::Key(map.into_iter().collect())),
        leaf().prop_map(Element::Value),
        any::<i64>().prop_map(Element::Index),
    ];
    let path = prop::collection::vec(element, 1..4);
    prop::collection::vec(path, 0..12).prop_map(|paths| {
        let mut out = Set::default();
        paths.iter().for_each(|path| out.insert(path));
        out
    })
}

fn leaf() -> impl Strategy<Value = Scalar> {
    prop_oneof![
        any::<i64>().prop_map(|n| Scalar(n.into())),
        any::<bool>().prop_map(|b| Scalar(b.into())),
        "[a-z\"\\\\]{0,3}".prop_map(|s| Scalar(s.into())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn sets_survive_their_json_form(set in set()) {
        let json = print_fields(&set);
        let text: Value = serde_json::from_str(&json.to_string()).unwrap();
        prop_assert_eq!(parse_fields(&text).unwrap(), set);
    }

    #[test]
    fn the_algebra_is_one(a in set(), b in set()) {
        let union = a.clone().union(&b);
        prop_assert_eq!(&union, &b.clone().union(&a));
        let both = a.clone().intersection(&b);
        prop_assert_eq!(&both, &b.clone().intersection(&a));
        let only = a.clone().difference(&b);
        prop_assert_eq!(only.clone().union(&both), a.clone());
        prop_assert_eq!(only.clone().union(&b), union);
        prop_assert!(only.intersection(&b).is_empty());
        for path in both.paths() {
            prop_assert!(a.has(&path) && b.has(&path));
        }
    }

    #[test]
    fn nothing_panics(live in any_json(), config in any_json(), sent in any_json()) {
        for resource in ["pods", "deployments", "configmaps"] {
            let mut server = Server::of(resource);
            let mut config = config.clone();
            if config.is_object() {
                config["apiVersion"] = server.kind.api_version().into();
                config["kind"] = server.kind.kind.into();
            }
            for subresource in [None, Some("status"), Some("scale")] {
                for manager in ["a", "kubectl", ""] {
                    let request = server.request(manager, subresource);
                    let _ = apply(&request, Some(&live), &config);
                    let _ = apply(&request, None, &config);
                    let mut new = config.clone();
                    update(&request, &live, &mut new, &Sent::Entries(sent.clone()));
                }
            }
        }
    }

    #[test]
    fn applying_twice_changes_nothing(before in pod(), mine in pod(), theirs in pod()) {
        let mut server = Server::with("pods", &before.to_string());
        force(&mut server, "b", &theirs);
        force(&mut server, "a", &mine);
        let once = server.object.clone();
        force(&mut server, "a", &mine);
        prop_assert_eq!(server.object, once);
    }

    #[test]
    fn what_is_applied_is_there(before in pod(), mine in pod()) {
        let mut server = Server::with("pods", &before.to_string());
        force(&mut server, "a", &mine);
        let schema = Schema::object(facts::message(server.kind.message).unwrap());
        let mine = server.stored(server.full(mine));
        let wanted = typed::fields(schema, &mine);
        let missing = wanted.difference(&owner::unchanged(schema, &mine, server.live()));
        prop_assert!(missing.is_empty(), "{}", missing);
    }

    #[test]
    fn disjoint_appliers_commute(mine in pod(), theirs in pod()) {
        // Made disjoint by giving each its own names below what can be shared.
        let rename = |config: &Value, with: &str| -> Value {
            let text = config.to_string();
            let text = ["a", "b", "c"].iter().fold(text, |text, name| {
                text.replace(&format!("\"{name}\""), &format!("\"{name}{with}\""))
            });
            let mut config: Value = serde_json::from_str(&text).unwrap();
            for key in ["nodeSelector", "hostname"] {
                config["spec"].as_object_mut().unwrap().remove(key);
            }
            // An empty map is owned as such, and in the way of who fills it: upstream's rule.
            if config["metadata"]["labels"] == json!({}) {
                config["metadata"].as_object_mut().unwrap().remove("labels");
            }
            config
        };
        let (mine, theirs) = (rename(&mine, "m"), rename(&theirs, "t"));
        let run = |order: [(&str, &Value); 2]| {
            let mut server = Server::of("pods");
            for (manager, config) in order {
                server.apply(manager, &config.to_string());
            }
            let mut owners = vec![server.owned("m"), server.owned("t")];
            owners.sort();
            let mut object = without_managed(server.live());
            for list in ["/spec/containers", "/metadata/finalizers"] {
                if let Some(Value::Array(items)) = object.pointer_mut(list) {
                    items.sort_by_key(ToString::to_string);
                }
            }
            (object, owners)
        };
        prop_assert_eq!(run([("m", &mine), ("t", &theirs)]), run([("t", &theirs), ("m", &mine)]));
    }

    #[test]
    fn who_lets_go_leaves_no_trace(before in pod(), mine in pod()) {
        let mut server = Server::of("pods");
        force(&mut server, "a", &before);
        let first = without_managed(server.live());
        force(&mut server, "b", &mine);
        // `b` took over what it changed; `a` takes it back, then `b` lets go.
        force(&mut server, "a", &before);
        force(&mut server, "b", &json!({}));
        let mut last = without_managed(server.live());
        // Lists keep the order that `b` gave them.
        let mut first = first;
        for object in [&mut first, &mut last] {
            // Upstream's objects always have a spec.
            if object.get("spec").is_none_or(|spec| *spec == json!({})) {
                object["spec"] = json!({});
            }
            for list in ["/spec/containers", "/metadata/finalizers"] {
                if let Some(Value::Array(items)) = object.pointer_mut(list) {
                    for item in items.iter_mut() {
                        for inner in ["env", "ports"] {
                            if let Some(Value::Array(items)) = item.get_mut(inner) {
                                items.sort_by_key(ToString::to_string);
                            }
                        }
                    }
                    items.sort_by_key(ToString::to_string);
                }
            }
        }
        prop_assert_eq!(last, first);
    }
}
