//! Several terms or constraints at once, and which of several nodes gives way.

use super::*;

/// A node with these labels.
fn labelled(name: &str, labels: Value) -> Node {
    node(name, json!({"metadata": {"labels": labels}}))
}

fn on(name: &str, node: &str, labels: Value) -> Pod {
    let spec = json!({"metadata": {"labels": labels}, "spec": {"nodeName": node}});
    pod(name, spec)
}

#[test]
fn company_is_who_all_of_the_terms_mean() {
    let nodes = [
        labelled("a", json!({"zone": "1"})),
        labelled("b", json!({"zone": "2"})),
    ];
    let term = |key: &str, value: &str| json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {key: value}}});
    let wants = |labels: Value| {
        let terms = json!([term("app", "db"), term("tier", "back")]);
        let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": terms});
        pod(
            "p",
            json!({"metadata": {"labels": labels}, "spec": {"affinity": {"podAffinity": required}}}),
        )
    };
    let none = "0/2 nodes are available: 2 node(s) didn't match pod affinity rules.";
    // Two pods that each one term means are not one that both do.
    let halves = [
        on("1", "b", json!({"app": "db"})),
        on("2", "b", json!({"tier": "back"})),
    ];
    check(&nodes, &halves, &wants(json!({})), none);
    let whole = [on("1", "b", json!({"app": "db", "tier": "back"}))];
    check(&nodes, &whole, &wants(json!({})), "→ b");
    // Halves are none of its kind, so it may be the first.
    let own = json!({"app": "db", "tier": "back"});
    check(&nodes, &halves, &wants(own), "→ a");
}

#[test]
fn a_node_counts_for_hard_constraints_with_the_labels_of_all() {
    let nodes = [
        labelled("a", json!({"zone": "1", "rack": "r1"})),
        labelled("b", json!({"zone": "2", "rack": "r2"})),
        // In a zone of its own, but in no rack.
        labelled("c", json!({"zone": "3"})),
    ];
    let spread = |key: &str| {
        json!({"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "web"}}})
    };
    let web = |name: &str, node: &str| on(name, node, json!({"app": "web"}));
    let newcomer = |constraints: Value| {
        let mut newcomer = web("p", "");
        newcomer.spec.topology_spread_constraints = serde_json::from_value(constraints).unwrap();
        newcomer
    };
    let there = [web("1", "a"), web("2", "b")];
    // By zone alone the third is due; with racks it is no place at all, and none is behind.
    check(&nodes, &there, &newcomer(json!([spread("zone")])), "→ c");
    let both = newcomer(json!([spread("zone"), spread("rack")]));
    check(&nodes, &there, &both, "→ a");
}

#[test]
fn wished_spreads_weigh_by_their_places_and_need_all_labels() {
    let spread = |key: &str, skew: i64| {
        json!({"maxSkew": skew, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {"app": "web"}}})
    };
    let web = |name: &str, node: &str| on(name, node, json!({"app": "web"}));
    let newcomer = |constraints: Value| {
        let mut newcomer = web("p", "");
        newcomer.spec.topology_spread_constraints = serde_json::from_value(constraints).unwrap();
        newcomer
    };
    let key = "kubernetes.io/hostname";
    // Two zones and five hosts: a pod on the host counts more than a pod in the zone.
    let nodes: Vec<Node> = ["a1", "b1", "b2", "b3", "b4"]
        .iter()
        .map(|name| labelled(name, json!({"zone": name[..1]})))
        .collect();
    let there: Vec<Pod> = ["a1", "a1", "a1", "a1"]
        .into_iter()
        .chain(["b1", "b2", "b3"].into_iter().flat_map(|host| [host; 3]))
        .enumerate()
        .map(|(n, host)| web(&n.to_string(), host))
        .collect();
    let both = newcomer(json!([spread("zone", 1), spread(key, 1)]));
    // a1: 4·ln 4 + 4·ln 7 = 13; b4: 9·ln 4 = 12, though that is nine pods against eight.
    check(&nodes, &there, &both, "→ b4");
    // A node without one of the labels is worst, however empty it is.
    let nodes = [labelled("a", json!({"zone": "1"})), node("lone", json!({}))];
    let there = [web("1", "a"), web("2", "a")];
    check(&nodes, &there, &newcomer(json!([spread("zone", 1)])), "→ a");
}

#[test]
fn of_nodes_with_equal_priorities_the_sum_the_number_and_the_start_decide() {
    let of = |name: &str, priority: i32, cpu: &str, on: &str, started: i64| {
        let mut pod = pod(name, json!({"spec": asks(cpu, "0")}));
        pod.spec.priority = priority;
        pod.spec.node_name = on.into();
        pod.status.start_time = Some(Timestamp::from_seconds(started));
        pod
    };
    let mut newcomer = pod("p", json!({"spec": asks("1", "0")}));
    newcomer.spec.priority = 10;
    let nodes = [node("a", json!({})), node("b", json!({}))];
    let chosen = |there: &[Pod]| match place(&cluster(&nodes, there), &newcomer) {
        Verdict::Preempt(node, victims, _) => {
            let names: Vec<String> = victims.into_iter().map(|one| one.name).collect();
            (node, names.join(" "))
        }
        other => panic!("{other:?}"),
    };
    let got = |node: &str, names: &str| (node.to_owned(), names.to_owned());
    // The same highest: the smaller sum.
    let there = [
        of("1", 5, "500m", "a", 0),
        of("2", 4, "500m", "a", 0),
        of("3", 5, "500m", "b", 0),
        of("4", 1, "500m", "b", 0),
    ];
    assert_eq!(chosen(&there), got("b", "4 3"));
    // More pods are a greater sum, also when they count for less than nothing.
    let there = [
        of("1", -5, "500m", "a", 0),
        of("2", -5, "500m", "a", 0),
        of("3", -5, "1", "b", 0),
    ];
    assert_eq!(chosen(&there), got("b", "3"));
    // All alike: where the oldest of the most important began last.
    let there = [of("1", 5, "1", "a", 100), of("2", 5, "1", "b", 200)];
    assert_eq!(chosen(&there), got("b", "2"));
    // On one node the younger of two goes.
    let there = [
        of("1", 5, "500m", "a", 100),
        of("2", 5, "500m", "a", 200),
        of("3", 9, "1", "b", 0),
    ];
    let mut half = newcomer.clone();
    half.spec.containers = serde_json::from_value(asks("500m", "0")["containers"].clone()).unwrap();
    match place(&cluster(&nodes, &there), &half) {
        Verdict::Preempt(_, victims, _) => assert_eq!(victims[0].name, "2"),
        other => panic!("{other:?}"),
    }
}
