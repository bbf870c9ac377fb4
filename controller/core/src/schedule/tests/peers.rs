//! Affinity between pods, even spread, host ports, wishes.

use proptest::prelude::*;

use super::*;

/// Nodes a1, a2 in zone a, b1 in zone b, and `lone` in none.
fn site() -> Vec<Node> {
    let zoned = |name: &str, zone: &str| {
        let labels = json!({"metadata": {"labels": {"zone": zone, "disk": format!("d-{name}")}}});
        node(name, labels)
    };
    vec![
        zoned("a1", "a"),
        zoned("a2", "a"),
        zoned("b1", "b"),
        node("lone", json!({})),
    ]
}

/// A pod with labels on a node.
fn on(name: &str, node: &str, labels: Value) -> Pod {
    let spec = json!({"metadata": {"labels": labels}, "spec": {"nodeName": node}});
    pod(name, spec)
}

fn term(key: &str, app: &str) -> Value {
    json!({"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}})
}

fn required(kind: &str, terms: Value) -> Value {
    json!({"spec": {"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}})
}

fn with(mut spec: Value, more: Value) -> Value {
    merge(&mut spec, more);
    spec
}

fn only(names: &[&str]) -> Value {
    json!({"spec": {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
        {"nodeSelectorTerms": [{"matchFields": [
            {"key": "metadata.name", "operator": "In", "values": names}]}]}}}}})
}

#[test]
fn required_affinity_keeps_a_pod_beside_others() {
    let beside = |key: &str| required("podAffinity", json!([term(key, "db")]));
    let db = |at: &str| on("db", at, json!({"app": "db"}));
    let none = "0/4 nodes are available: 4 node(s) didn't match pod affinity rules.";
    for (there, pod_spec, want) in [
        (vec![db("b1")], beside("zone"), "→ b1"),
        (vec![db("a2")], beside("disk"), "→ a2"),
        // The zone counts, not the node: the emptier of the two.
        (vec![db("a2")], beside("zone"), "→ a1"),
        (vec![], beside("zone"), none),
        // A pod on a node without the label is nowhere.
        (vec![db("lone")], beside("zone"), none),
        // The first of its kind may go anywhere that has the label.
        (
            vec![],
            with(
                beside("zone"),
                json!({"metadata": {"labels": {"app": "db"}}}),
            ),
            "→ a1",
        ),
        // Another namespace does not count …
        (
            vec![pod(
                "db",
                json!({"metadata": {"namespace": "other", "labels": {"app": "db"}}, "spec": {"nodeName": "b1"}}),
            )],
            beside("zone"),
            none,
        ),
    ] {
        check(&site(), &there, &pod("p", pod_spec), want);
    }
    // … unless it is named, or its labels are.
    let elsewhere = pod(
        "db",
        json!({"metadata": {"namespace": "other", "labels": {"app": "db"}}, "spec": {"nodeName": "b1"}}),
    );
    let mut there = cluster(&site(), &[elsewhere]);
    let team = Labels::from([("team".to_owned(), "x".to_owned())]);
    there.handle_namespace("other", Some(&team));
    for (more, want) in [
        (json!({"namespaces": ["other"]}), true),
        (json!({"namespaces": ["third"]}), false),
        (json!({"namespaceSelector": {}}), true),
        (
            json!({"namespaceSelector": {"matchLabels": {"team": "x"}}}),
            true,
        ),
        (
            json!({"namespaceSelector": {"matchLabels": {"team": "y"}}}),
            false,
        ),
    ] {
        let terms = json!([with(term("zone", "db"), more.clone())]);
        let newcomer = pod("p", required("podAffinity", terms));
        let bound = place(&there, &newcomer) == Verdict::Bind("b1".into());
        assert_eq!(bound, want, "{more}");
    }
}

#[test]
fn required_anti_affinity_works_both_ways() {
    let away = |key: &str| required("podAntiAffinity", json!([term(key, "web")]));
    let web = |name: &str, at: &str| on(name, at, json!({"app": "web"}));
    for (there, want) in [
        (vec![], "→ a1"),
        (vec![web("1", "a1")], "→ b1"),
        (vec![web("1", "a1"), web("2", "b1")], "→ lone"),
    ] {
        check(&site(), &there, &pod("p", away("zone")), want);
    }
    let full = [web("1", "a1"), web("2", "b1"), web("3", "lone")];
    let hosts = required(
        "podAntiAffinity",
        json!([term("kubernetes.io/hostname", "web")]),
    );
    check(&site(), &full, &pod("p", hosts), "→ a2");
    let nodes = &site()[..3];
    let refused = "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules.";
    check(nodes, &full[..2], &pod("p", away("zone")), refused);
    // Those that are there keep a newcomer away too, whatever it wants itself.
    let mut shy = pod("shy", away("zone"));
    shy.spec.node_name = "a1".into();
    let newcomer = pod("p", json!({"metadata": {"labels": {"app": "web"}}}));
    check(&site(), std::slice::from_ref(&shy), &newcomer, "→ b1");
    let closed =
        "0/2 nodes are available: 2 node(s) didn't satisfy existing pods anti-affinity rules.";
    check(&site()[..2], &[shy], &newcomer, closed);
}

#[test]
fn pods_are_spread_as_their_constraints_say() {
    let spread = |more: Value| {
        let one = with(
            json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"app": "web"}}}),
            more,
        );
        json!({"metadata": {"labels": {"app": "web"}}, "spec": {"topologySpreadConstraints": [one]}})
    };
    let web = |name: &str, at: &str| on(name, at, json!({"app": "web"}));
    let nodes = &site()[..3];
    let uneven = "0/2 nodes are available: 2 node(s) didn't match pod topology spread constraints.";
    check(
        nodes,
        &[web("1", "a1")],
        &pod("p", spread(json!({}))),
        "→ b1",
    );
    check(
        nodes,
        &[web("1", "a1"), web("2", "b1")],
        &pod("p", spread(json!({}))),
        "→ a2",
    );
    // Two more in one zone are allowed.
    let loose = spread(json!({"maxSkew": 2}));
    let busy_b = {
        let mut busy = pod("busy", json!({"spec": asks("900m", "900Mi")}));
        busy.spec.node_name = "b1".into();
        busy
    };
    check(
        nodes,
        &[web("1", "a1"), busy_b.clone()],
        &pod("p", loose),
        "→ a2",
    );
    // A zone too few counts as an empty one.
    let domains = spread(json!({"minDomains": 2}));
    check(&site()[..2], &[web("1", "a1")], &pod("p", domains), uneven);
    // A node without the label is out, and says why.
    let lone = "0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints \
        (missing required label).";
    check(&site()[3..], &[], &pod("p", spread(json!({}))), lone);
    // What goes does not count, nor what is elsewhere.
    let mut leaving = web("1", "b1");
    leaving.metadata.deletion_timestamp = Some(NOW);
    check(
        nodes,
        &[web("2", "a1"), leaving],
        &pod("p", spread(json!({}))),
        "→ b1",
    );
    // A wish only: the emptier zone, or else any.
    let wish = spread(json!({"whenUnsatisfiable": "ScheduleAnyway"}));
    check(nodes, &[web("1", "a1")], &pod("p", wish.clone()), "→ b1");
    let ones = with(wish, only(&["a1"]));
    check(nodes, &[web("1", "a1")], &pod("p", ones), "→ a1");
    // Pods of another revision of the Deployment don't count.
    let keyed = with(
        spread(json!({"matchLabelKeys": ["pod-template-hash"]})),
        json!({"metadata": {"labels": {"pod-template-hash": "new"}}}),
    );
    let old = on("1", "a1", json!({"app": "web", "pod-template-hash": "old"}));
    check(nodes, &[old], &pod("p", keyed), "→ a2");
    // Nodes that the pod may not choose are no places, unless it says so.
    let bound_to_a = |policy: &str| {
        let spread = spread(json!({"nodeAffinityPolicy": policy}));
        pod("p", with(spread, only(&["a1", "a2"])))
    };
    check(nodes, &[web("1", "a1")], &bound_to_a("Honor"), "→ a2");
    let refused = "0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, \
        2 node(s) didn't match pod topology spread constraints.";
    check(nodes, &[web("1", "a1")], &bound_to_a("Ignore"), refused);
    let mut tainted = site();
    tainted.truncate(3);
    tainted[2].spec.taints = vec![bramble_api::view::Taint {
        key: "k".into(),
        effect: "NoSchedule".into(),
        ..Default::default()
    }];
    let honoured = spread(json!({"nodeTaintsPolicy": "Honor"}));
    check(&tainted, &[web("1", "a1")], &pod("p", honoured), "→ a2");
}

#[test]
fn a_host_port_is_given_once() {
    let port = |port: i32, protocol: &str, address: &str| {
        json!({"spec": {"containers": [{"name": "c", "ports": [
            {"containerPort": 80, "hostPort": port, "protocol": protocol, "hostIP": address}]}]}})
    };
    let taken =
        "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.";
    for (there, comes, want) in [
        (port(80, "TCP", ""), port(80, "TCP", ""), taken),
        (port(80, "TCP", ""), port(81, "TCP", ""), "→ n"),
        (port(80, "TCP", ""), port(80, "UDP", ""), "→ n"),
        (port(80, "TCP", ""), port(80, "", "10.0.0.1"), taken),
        (
            port(80, "TCP", "0.0.0.0"),
            port(80, "TCP", "10.0.0.1"),
            taken,
        ),
        (
            port(80, "TCP", "10.0.0.2"),
            port(80, "TCP", "10.0.0.1"),
            "→ n",
        ),
        (port(0, "TCP", ""), port(0, "TCP", ""), "→ n"),
    ] {
        let mut there = pod("there", there);
        there.spec.node_name = "n".into();
        check(&[node("n", json!({}))], &[there], &pod("p", comes), want);
    }
}

#[test]
fn wishes_weigh_more_than_room() {
    let nodes = site();
    let busy = |name: &str, at: &str| {
        let mut busy = pod(name, json!({"spec": asks("900m", "900Mi")}));
        busy.spec.node_name = at.into();
        busy
    };
    let prefer = |weight: i64, zone: &str| {
        json!({"weight": weight, "preference": {"matchExpressions": [
            {"key": "zone", "operator": "In", "values": [zone]}]}})
    };
    let wish = |list: Value| {
        json!({"spec": {"affinity": {"nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": list}}}})
    };
    let to_b = wish(json!([prefer(1, "b")]));
    check(&nodes, &[busy("x", "b1")], &pod("p", to_b), "→ b1");
    let both = wish(json!([prefer(10, "a"), prefer(20, "b")]));
    check(&nodes, &[], &pod("p", both), "→ b1");
    let pods = |kind: &str| {
        json!({"spec": {"affinity": {kind: {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 5, "podAffinityTerm": term("zone", "db")}]}}}})
    };
    let db = on("db", "b1", json!({"app": "db"}));
    let there = [db.clone(), busy("x", "b1")];
    check(&nodes, &there, &pod("p", pods("podAffinity")), "→ b1");
    let there = [on("db", "a1", json!({"app": "db"})), busy("x", "lone")];
    check(&nodes, &there, &pod("p", pods("podAntiAffinity")), "→ b1");
    // A pod that is there may wish for the one that comes.
    let mut fond = pod("fond", pods("podAffinity"));
    fond.spec.node_name = "b1".into();
    let newcomer = pod("p", json!({"metadata": {"labels": {"app": "db"}}}));
    check(&nodes, &[fond, busy("x", "b1")], &newcomer, "→ b1");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_hard_constraint_holds_after_every_binding(zones in prop::collection::vec(0..3u8, 1..6), pods in 1..15usize) {
        let nodes: Vec<_> = zones.iter().enumerate().map(|(i, zone)| {
            let labels = json!({"metadata": {"labels": {"zone": format!("z{zone}")}}});
            node(&format!("n{i}"), labels)
        }).collect();
        let mut cluster = cluster(&nodes, &[]);
        let spec = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
             "labelSelector": {"matchLabels": {"app": "web"}}}]}});
        let mut counts: BTreeMap<String, i64> =
            zones.iter().map(|zone| (format!("z{zone}"), 0)).collect();
        for i in 0..pods {
            let mut pod = pod(&format!("p{i}"), spec.clone());
            let Verdict::Bind(name) = place(&cluster, &pod) else {
                // Only for want of room: ten pods a node.
                prop_assert!(i >= 10);
                break;
            };
            let zone = nodes.iter().find(|n| n.metadata.name == name).unwrap().metadata.labels["zone"].clone();
            *counts.get_mut(&zone).unwrap() += 1;
            let (least, most) = (counts.values().min().unwrap(), counts.values().max().unwrap());
            prop_assert!(most - least <= 1, "{counts:?}");
            let before = pod.clone();
            pod.spec.node_name = name;
            cluster.handle_pod(Some(&before), Some(&pod));
        }
    }
}
