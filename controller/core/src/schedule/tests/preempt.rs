//! Room for pods that matter more.

use super::*;

fn of(name: &str, priority: i32, cpu: &str, on: &str) -> Pod {
    let mut pod = pod(name, json!({"spec": asks(cpu, "0")}));
    pod.spec.priority = priority;
    pod.spec.node_name = on.into();
    pod
}

#[track_caller]
fn victims(nodes: &[Node], there: &[Pod], newcomer: &Pod, want: Option<(&str, &[&str])>) -> String {
    match (place(&cluster(nodes, there), newcomer), want) {
        (Verdict::Preempt(node, victims, message), Some((on, names))) => {
            let got: Vec<&str> = victims.iter().map(|one| one.name.as_str()).collect();
            assert_eq!((node.as_str(), got.as_slice()), (on, names));
            message
        }
        (Verdict::Unschedulable(message), None) => message,
        (got, _) => panic!("{got:?}, expected {want:?}"),
    }
}

#[test]
fn the_fewest_and_least_important_go() {
    let nodes = [node("a", json!({})), node("b", json!({}))];
    let newcomer = of("p", 10, "500m", "");
    let full = |name: &str, priority, on| of(name, priority, "1", on);
    // The node whose pods matter least.
    let there = [full("1", 5, "a"), full("2", 3, "b")];
    let message = victims(&nodes, &there, &newcomer, Some(("b", &["2"])));
    assert_eq!(message, "0/2 nodes are available: 2 Insufficient cpu.");
    // Of several, only those that have to.
    let there = [
        of("1", 5, "600m", "a"),
        of("2", 1, "400m", "a"),
        of("3", 5, "500m", "b"),
        of("4", 2, "500m", "b"),
    ];
    victims(&nodes, &there, &newcomer, Some(("b", &["4"])));
    // Pods that matter as much stay.
    let there = [full("1", 10, "a"), full("2", 11, "b")];
    let message = victims(&nodes, &there, &newcomer, None);
    let none = "0/2 nodes are available: 2 Insufficient cpu. preemption: \
        0/2 nodes are available: 2 No preemption victims found for incoming pod.";
    assert_eq!(message, none);
    // A closed node does not open by that.
    let closed = [
        node("a", json!({"spec": {"unschedulable": true}})),
        node("b", json!({})),
    ];
    let there = [full("1", 0, "a"), full("2", 11, "b")];
    let message = victims(&closed, &there, &newcomer, None);
    assert!(
        message.ends_with(
            "0/2 nodes are available: 1 No preemption victims found for incoming pod, \
            1 Preemption is not helpful for scheduling."
        ),
        "{message}"
    );
    // Who is not to take room from others does not.
    let mut meek = newcomer;
    meek.spec.preemption_policy = "Never".into();
    let message = victims(&nodes, &[full("1", 0, "a"), full("2", 0, "b")], &meek, None);
    assert!(
        message.ends_with("preemption: not eligible due to preemptionPolicy=Never."),
        "{message}"
    );
}

#[test]
fn room_that_was_made_is_kept_and_nobody_else_goes_meanwhile() {
    let nodes = [node("a", json!({}))];
    let mut waits = of("p", 10, "1", "");
    waits.status.nominated_node_name = "a".into();
    let mut leaving = of("1", 0, "1", "a");
    leaving.metadata.deletion_timestamp = Some(NOW);
    let mut there = cluster(&nodes, &[]);
    there.handle_pod(None, Some(&waits));
    there.handle_pod(None, Some(&leaving));
    let Verdict::Unschedulable(message) = place(&there, &waits) else {
        panic!("nobody else has to go");
    };
    assert!(
        message.ends_with("not eligible due to a terminating pod on the nominated node."),
        "{message}"
    );
    there.handle_pod(Some(&leaving), None);
    // Another one of less weight does not slip in, one of more does.
    let small = of("small", 5, "100m", "");
    assert_ne!(place(&there, &small), Verdict::Bind("a".into()));
    let great = of("great", 20, "100m", "");
    assert_eq!(place(&there, &great), Verdict::Bind("a".into()));
    assert_eq!(place(&there, &waits), Verdict::Bind("a".into()));
    // Once it has its place nothing is kept for it any more.
    let (bound, _) = plan(&there, &observed(waits.clone()), NOW);
    let Action::Patch { patch, .. } = &bound.actions[0] else {
        panic!("{bound:?}");
    };
    assert_eq!(
        patch.pointer("/status/nominatedNodeName"),
        Some(&Value::Null)
    );
    there.handle_pod(Some(&waits), None);
    assert_eq!(place(&there, &small), Verdict::Bind("a".into()));
}

#[test]
fn victims_are_deleted_and_told_why() {
    let there = cluster(&[node("a", json!({}))], &[of("1", 0, "1", "a")]);
    let (plan, bound) = plan(&there, &observed(of("p", 10, "1", "")), NOW);
    assert_eq!(bound, None);
    let [
        Action::Patch { patch, .. },
        Action::Delete {
            target,
            uid,
            told: Some(told),
            note: Some(note),
        },
        Action::Event(failed),
    ] = &plan.actions[..]
    else {
        panic!("{plan:?}");
    };
    assert_eq!(patch["status"]["nominatedNodeName"], "a");
    assert_eq!((target.name.as_str(), uid.as_str()), ("1", "1"));
    let told = (told.kind.as_str(), told.reason.as_str(), &*told.message);
    let why = "default-scheduler: preempting to accommodate a higher priority pod";
    assert_eq!(told, ("DisruptionTarget", "PreemptionByScheduler", why));
    assert_eq!(note.reason, "Preempted");
    assert_eq!(note.message, "Preempted by pod p on node a");
    assert_eq!(failed.reason, "FailedScheduling");
}

#[test]
fn pods_that_keep_one_away_go_too_if_they_matter_less() {
    let nodes = [node("a", json!({})), node("b", json!({}))];
    let labelled = |name: &str, priority: i32, on: &str, app: &str| {
        let mut pod = of(name, priority, "100m", on);
        pod.metadata.labels = Labels::from([("app".to_owned(), app.to_owned())]);
        pod
    };
    let away = |mut pod: Pod| {
        let term = json!({"topologyKey": "kubernetes.io/hostname",
            "labelSelector": {"matchLabels": {"app": "web"}}});
        pod.spec.affinity = serde_json::from_value(json!({"podAntiAffinity":
            {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}))
        .unwrap();
        pod
    };
    let newcomer = away(of("p", 10, "100m", ""));
    // It wants to be away from them; the other on the node stays.
    let there = [
        labelled("1", 0, "a", "web"),
        labelled("2", 0, "a", "db"),
        labelled("3", 10, "b", "web"),
    ];
    victims(&nodes, &there, &newcomer, Some(("a", &["1"])));
    // They want to be away from it.
    let there = [
        away(labelled("1", 0, "a", "db")),
        away(labelled("2", 10, "b", "db")),
    ];
    let web = labelled("p", 10, "", "web");
    victims(&nodes, &there, &web, Some(("a", &["1"])));
    // The spread would be right without one.
    let mut even = labelled("p", 10, "", "web");
    even.spec.topology_spread_constraints = serde_json::from_value(json!([{
        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}}}]))
    .unwrap();
    let closed = [
        node("a", json!({})),
        node("b", json!({"spec": {"unschedulable": true}})),
    ];
    let there = [labelled("1", 0, "a", "web")];
    victims(&closed, &there, &even, Some(("a", &["1"])));
    // Those that matter as much are respected.
    let there = [labelled("1", 10, "a", "web"), labelled("2", 10, "b", "web")];
    victims(&nodes, &there, &newcomer, None);
}
