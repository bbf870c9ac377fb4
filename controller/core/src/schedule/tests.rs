use proptest::prelude::*;
use serde_json::Value;

use super::*;

mod peers;
mod preempt;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const GI: u64 = 1 << 30;

/// A node of 1 core, 1 GiB and 10 pods, changed by `patch`.
fn node(name: &str, patch: Value) -> Node {
    let mut object = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {},
        "status": {"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "10"}},
    });
    merge(&mut object, patch);
    serde_json::from_value(object).unwrap()
}

/// A pod without requests, changed by `patch`.
fn pod(name: &str, patch: Value) -> Pod {
    let mut object = json!({
        "metadata": {"name": name, "namespace": "d", "uid": name},
        "spec": {"containers": [{"name": "c"}]},
    });
    merge(&mut object, patch);
    serde_json::from_value(object).unwrap()
}

fn merge(into: &mut Value, patch: Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, patch) => *into = patch,
    }
}

fn asks(cpu: &str, memory: &str) -> Value {
    json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}}]})
}

fn cluster(nodes: &[Node], pods: &[Pod]) -> Cluster {
    let mut cluster = Cluster::default();
    for node in nodes {
        cluster.handle_node(&node.metadata.name, Some(node));
    }
    for pod in pods {
        cluster.handle_pod(None, Some(pod));
    }
    cluster
}

/// `want` is `→ node`, or the refusal.
#[track_caller]
fn check(nodes: &[Node], pods: &[Pod], newcomer: &Pod, want: &str) {
    let got = match place(&cluster(nodes, pods), newcomer) {
        Verdict::Bind(node) => format!("→ {node}"),
        Verdict::Preempt(_, _, message) => message,
        // What preemption says is tested with preemption.
        Verdict::Unschedulable(message) => match message.split_once(" preemption: ") {
            Some((message, _)) => message.to_owned(),
            None => message,
        },
    };
    assert_eq!(got, want);
}

#[test]
fn a_pod_goes_only_where_it_may() {
    let taint = |key: &str, effect: &str| json!({"spec": {"taints": [{"key": key, "value": "x", "effect": effect}]}});
    let tolerate = |toleration: Value| json!({"spec": {"tolerations": [toleration]}});
    let terms = |terms: Value| {
        json!({"spec": {"affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}}})
    };
    let zone = json!({"metadata": {"labels": {"zone": "a", "slots": "5"}}});
    let cordoned = json!({"spec": {"unschedulable": true}});
    let selector = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.";
    let tainted = "0/1 nodes are available: 1 node(s) had untolerated taint {k: x}.";
    let closed = "0/1 nodes are available: 1 node(s) were unschedulable.";
    let on = |operator: &str, values: Value| {
        terms(
            json!([{"matchExpressions": [{"key": "zone", "operator": operator, "values": values}]}]),
        )
    };
    for (of_node, of_pod, want) in [
        (json!({}), json!({}), "→ n"),
        // Cordon.
        (cordoned.clone(), json!({}), closed),
        (
            cordoned.clone(),
            tolerate(json!({"key": "node.kubernetes.io/unschedulable", "operator": "Exists"})),
            "→ n",
        ),
        (cordoned, tolerate(json!({"operator": "Exists"})), "→ n"),
        // Taints.
        (taint("k", "NoSchedule"), json!({}), tainted),
        (taint("k", "NoExecute"), json!({}), tainted),
        (taint("k", "PreferNoSchedule"), json!({}), "→ n"),
        (
            taint("k", "NoSchedule"),
            tolerate(json!({"key": "k", "value": "x"})),
            "→ n",
        ),
        (
            taint("k", "NoSchedule"),
            tolerate(json!({"key": "k", "value": "y"})),
            tainted,
        ),
        (
            taint("k", "NoSchedule"),
            tolerate(json!({"key": "j", "operator": "Exists"})),
            tainted,
        ),
        (
            taint("k", "NoSchedule"),
            tolerate(json!({"key": "k", "operator": "Exists"})),
            "→ n",
        ),
        (
            taint("k", "NoSchedule"),
            tolerate(json!({"operator": "Exists"})),
            "→ n",
        ),
        (
            taint("k", "NoExecute"),
            tolerate(json!({"key": "k", "operator": "Exists", "effect": "NoSchedule"})),
            tainted,
        ),
        // Node selector: every label.
        (
            zone.clone(),
            json!({"spec": {"nodeSelector": {"zone": "a"}}}),
            "→ n",
        ),
        (
            zone.clone(),
            json!({"spec": {"nodeSelector": {"zone": "b"}}}),
            selector,
        ),
        (
            zone.clone(),
            json!({"spec": {"nodeSelector": {"zone": "a", "disk": "ssd"}}}),
            selector,
        ),
        // Required affinity: any term, every expression of it.
        (zone.clone(), on("In", json!(["a", "b"])), "→ n"),
        (zone.clone(), on("NotIn", json!(["a"])), selector),
        (zone.clone(), on("Exists", json!([])), "→ n"),
        (json!({}), on("DoesNotExist", json!([])), "→ n"),
        (json!({}), on("NotIn", json!(["a"])), "→ n"),
        (
            zone.clone(),
            terms(
                json!([{"matchExpressions": [{"key": "slots", "operator": "Gt", "values": ["4"]}]}]),
            ),
            "→ n",
        ),
        (
            zone.clone(),
            terms(
                json!([{"matchExpressions": [{"key": "slots", "operator": "Lt", "values": ["5"]}]}]),
            ),
            selector,
        ),
        (
            zone.clone(),
            terms(json!([
                {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"]}]},
                {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]},
            ])),
            "→ n",
        ),
        (zone.clone(), terms(json!([{}])), selector),
        (zone.clone(), terms(json!([])), selector),
        // Both the selector and the affinity.
        (
            zone,
            json!({"spec": {"nodeSelector": {"zone": "a"}, "affinity": {"nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                    {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["m"]}]}]}}}}}),
            selector,
        ),
    ] {
        check(&[node("n", of_node)], &[], &pod("p", of_pod), want);
    }
}

#[test]
fn a_pod_goes_only_where_there_is_room() {
    let full = "0/1 nodes are available: ";
    for (used, wants, want) in [
        (asks("600m", "0"), asks("400m", "0"), "→ n"),
        (asks("600m", "0"), asks("401m", "0"), "1 Insufficient cpu."),
        (asks("0", "512Mi"), asks("0", "512Mi"), "→ n"),
        (
            asks("0", "512Mi"),
            asks("0", "536870913"),
            "1 Insufficient memory.",
        ),
        (
            asks("1", "1Gi"),
            asks("1m", "1"),
            "1 Insufficient cpu, 1 Insufficient memory.",
        ),
        // Who asks for nothing of a resource is not kept out by its lack.
        (
            asks("1", "1Gi"),
            json!({"containers": [{"name": "c"}]}),
            "→ n",
        ),
        (asks("1", "0"), asks("0", "1Gi"), "→ n"),
    ] {
        let used = pod(
            "used",
            json!({"spec": used, "status": {"phase": "Running"}}),
        );
        let mut used = used;
        used.spec.node_name = "n".into();
        let want = if want.starts_with('→') {
            want.to_owned()
        } else {
            format!("{full}{want}")
        };
        check(
            &[node("n", json!({}))],
            &[used],
            &pod("p", json!({"spec": wants})),
            &want,
        );
    }
}

#[test]
fn a_pod_holds_its_room_until_it_has_ended() {
    let bound = json!({"nodeName": "n", "containers": asks("1", "0")["containers"]});
    let newcomer = pod("p", json!({"spec": asks("1", "0")}));
    let deleting = json!({"deletionTimestamp": "2027-01-01T00:00:00Z"});
    let full = "0/1 nodes are available: 1 Insufficient cpu.";
    for (other, want) in [
        (json!({"spec": bound}), full),
        (json!({"spec": bound, "status": {"phase": "Running"}}), full),
        (json!({"spec": bound, "metadata": deleting}), full),
        (
            json!({"spec": bound, "status": {"phase": "Succeeded"}}),
            "→ n",
        ),
        (json!({"spec": bound, "status": {"phase": "Failed"}}), "→ n"),
        (json!({"spec": asks("1", "0")}), "→ n"),
    ] {
        check(
            &[node("n", json!({}))],
            &[pod("other", other)],
            &newcomer,
            want,
        );
    }
}

#[test]
fn the_reasons_are_counted_and_sorted_as_text() {
    let allocatable = |of: Value| json!({"status": {"allocatable": of}});
    let nodes = [
        node("a", allocatable(json!({"cpu": "100m", "memory": "1Mi"}))),
        node("b", allocatable(json!({"cpu": "100m"}))),
        node("c", allocatable(json!({"pods": "0"}))),
        node("d", json!({"spec": {"unschedulable": true}})),
        node(
            "e",
            json!({"spec": {"unschedulable": true, "taints": [{"key": "k", "effect": "NoExecute"}]}}),
        ),
        node(
            "f",
            json!({"spec": {"taints": [{"key": "k", "effect": "NoExecute"}]}}),
        ),
    ];
    let want = "0/6 nodes are available: 1 Insufficient memory, 1 Too many pods, \
        1 node(s) had untolerated taint {k: }, 2 Insufficient cpu, 2 node(s) were unschedulable.";
    check(
        &nodes,
        &[],
        &pod("p", json!({"spec": asks("200m", "2Mi")})),
        want,
    );
    check(
        &[],
        &[],
        &pod("p", json!({})),
        "no nodes available to schedule pods",
    );
}

#[test]
fn requests_are_summed_and_the_largest_init_container_counts() {
    let resources =
        |cpu: &str| json!({"name": "c", "resources": {"requests": {"cpu": cpu, "memory": cpu}}});
    for (spec, cpu_milli, memory) in [
        (json!({"containers": [{"name": "c"}]}), 0, 0),
        (
            json!({"containers": [resources("1"), resources("2")]}),
            3000,
            3,
        ),
        (
            json!({"containers": [resources("1")], "initContainers": [resources("2"), resources("3")]}),
            3000,
            3,
        ),
        (
            json!({"containers": [resources("4")], "initContainers": [resources("3")]}),
            4000,
            4,
        ),
        // A limit alone is the request too.
        (
            json!({"containers": [{"name": "c", "resources": {"limits": {"cpu": "100m", "memory": "1Gi"}}}]}),
            100,
            GI,
        ),
        (
            json!({"containers": [{"name": "c", "resources": {
                "limits": {"cpu": "2", "memory": "2Gi"}, "requests": {"cpu": "0.1", "memory": "1Gi"}}}]}),
            100,
            GI,
        ),
    ] {
        let got = Amount::of(&pod("p", json!({"spec": spec})));
        assert_eq!(
            got,
            Amount {
                cpu_milli,
                memory,
                pods: 1
            },
            "{spec}"
        );
    }
}

#[test]
fn the_best_node_is_the_one_without_soft_taints_then_without_siblings_then_the_emptiest() {
    let owned = |name: &str, on: &str| {
        pod(
            name,
            json!({
                "metadata": {"ownerReferences": [{"kind": "ReplicaSet", "name": "r", "uid": "r", "controller": true}]},
                "spec": {"nodeName": on},
            }),
        )
    };
    let soft = json!({"spec": {"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}});
    let plain = |name| node(name, json!({}));
    let busy = |on: &str| {
        let mut busy = pod("busy", json!({"spec": asks("900m", "900Mi")}));
        busy.spec.node_name = on.into();
        busy
    };
    let sibling = owned("s", "");
    check(&[plain("b"), plain("a")], &[], &pod("p", json!({})), "→ a");
    check(
        &[plain("a"), plain("b")],
        &[busy("a")],
        &pod("p", json!({})),
        "→ b",
    );
    check(
        &[node("a", soft.clone()), plain("b")],
        &[],
        &pod("p", json!({})),
        "→ b",
    );
    check(
        &[node("a", soft.clone()), plain("b")],
        &[busy("b")],
        &pod("p", json!({})),
        "→ b",
    );
    let bears = json!({"spec": {"tolerations": [{"operator": "Exists"}]}});
    check(
        &[node("a", soft.clone()), plain("b")],
        &[],
        &pod("p", bears),
        "→ a",
    );
    check(
        &[plain("a"), plain("b")],
        &[owned("1", "a"), busy("b")],
        &sibling,
        "→ b",
    );
    check(
        &[plain("a"), node("b", soft)],
        &[owned("1", "a")],
        &sibling,
        "→ a",
    );
    check(
        &[plain("a"), plain("b")],
        &[owned("1", "a"), owned("2", "a"), owned("3", "b")],
        &sibling,
        "→ b",
    );
}

#[test]
fn only_pods_of_this_scheduler_that_are_neither_bound_nor_ended_wait() {
    for (patch, want) in [
        (json!({}), true),
        (
            json!({"spec": {"schedulerName": "default-scheduler"}}),
            true,
        ),
        (json!({"spec": {"schedulerName": "mine"}}), false),
        (json!({"spec": {"nodeName": "n"}}), false),
        (
            json!({"spec": {"schedulingGates": [{"name": "a/b"}]}}),
            false,
        ),
        (
            json!({"metadata": {"deletionTimestamp": "2027-01-01T00:00:00Z"}}),
            false,
        ),
        (json!({"status": {"phase": "Pending"}}), true),
        (json!({"status": {"phase": "Failed"}}), false),
    ] {
        assert_eq!(is_pending(&pod("p", patch.clone())), want, "{patch}");
    }
}

fn observed(object: Pod) -> Observed<Pod> {
    Observed {
        revision: 7,
        object,
    }
}

#[test]
fn a_binding_is_one_hard_write_with_its_event() {
    let cluster = cluster(&[node("n", json!({}))], &[]);
    let waiting = json!({"status": {"conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "m",
         "lastTransitionTime": "2020-01-01T00:00:00Z"}]}});
    let (plan, node) = plan(&cluster, &observed(pod("p", waiting)), NOW);
    assert_eq!(node.as_deref(), Some("n"));
    let [
        Action::Patch {
            target,
            revision: 7,
            patch,
            durability: Durability::Hard,
            note: Some(note),
        },
    ] = &plan.actions[..]
    else {
        panic!("{plan:?}")
    };
    assert_eq!(
        (target.namespace.as_str(), target.name.as_str()),
        ("d", "p")
    );
    assert_eq!(
        *patch,
        json!({
            "spec": {"nodeName": "n"},
            "status": {"conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": NOW.rfc3339()}]},
        })
    );
    assert_eq!(
        (
            note.warning,
            note.reason,
            note.message.as_str(),
            note.component
        ),
        (
            false,
            "Scheduled",
            "Successfully assigned d/p to n",
            "default-scheduler"
        )
    );
}

#[test]
fn a_refusal_is_written_when_it_is_news_and_its_time_is_that_of_the_first() {
    let refuse = |cluster: &Cluster, pod: &Pod, now| {
        let (plan, node) = plan(cluster, &observed(pod.clone()), now);
        assert_eq!(node, None);
        let event = plan.actions.last().cloned();
        let Some(Action::Event(note)) = event else {
            panic!("{plan:?}")
        };
        assert_eq!((note.warning, note.reason), (true, "FailedScheduling"));
        let patch = plan.actions.iter().find_map(|action| match action {
            Action::Patch {
                patch,
                durability: Durability::Soft,
                ..
            } => Some(patch.clone()),
            _ => None,
        });
        assert_eq!(plan.actions.len(), 1 + usize::from(patch.is_some()));
        (patch, note.message)
    };
    let condition = |message: &str| {
        json!({"status": {"conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": message, "lastTransitionTime": NOW.rfc3339()}]}})
    };
    let none = "no nodes available to schedule pods";
    let cordoned = "0/1 nodes are available: 1 node(s) were unschedulable. preemption: \
        0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
    let later = Timestamp::from_seconds(NOW.seconds + 60);
    let (empty, closed) = (
        cluster(&[], &[]),
        cluster(&[node("n", json!({"spec": {"unschedulable": true}}))], &[]),
    );

    assert_eq!(
        refuse(&empty, &pod("p", json!({})), NOW),
        (Some(condition(none)), none.to_owned())
    );
    assert_eq!(
        refuse(&empty, &pod("p", condition(none)), later),
        (None, none.to_owned())
    );
    assert_eq!(
        refuse(&closed, &pod("p", condition(none)), later),
        (Some(condition(cordoned)), cordoned.to_owned()),
        "another message is news, the transition was before"
    );
}

#[test]
fn what_a_node_had_outlives_it_and_goes_with_its_pods() {
    let n = node("n", json!({}));
    let bound = pod(
        "b",
        json!({"spec": {"nodeName": "n", "containers": asks("1", "0")["containers"]}}),
    );
    let newcomer = pod("p", json!({"spec": asks("1", "0")}));
    // The pods may come first, and the node may go and come back.
    let mut cluster = Cluster::default();
    cluster.handle_pod(None, Some(&bound));
    assert!(!cluster.has_node("n"));
    cluster.handle_node("n", Some(&n));
    assert!(cluster.has_node("n"));
    assert_ne!(place(&cluster, &newcomer), Verdict::Bind("n".into()));
    cluster.handle_node("n", None);
    assert_eq!(
        place(&cluster, &newcomer),
        Verdict::Unschedulable("no nodes available to schedule pods".into())
    );
    cluster.handle_node("n", Some(&n));
    assert_ne!(place(&cluster, &newcomer), Verdict::Bind("n".into()));
    cluster.handle_pod(Some(&bound), None);
    assert_eq!(place(&cluster, &newcomer), Verdict::Bind("n".into()));
    cluster.handle_node("n", None);
    assert_eq!(cluster, Cluster::default(), "nothing is left");
}

prop_compose! {
    fn some_node()(cpu in 0u64..2000, memory in 0u64..2000, pods in 0u64..6, cordoned in prop::bool::weighted(0.1)) -> Value {
        json!({"spec": {"unschedulable": cordoned},
            "status": {"allocatable": {"cpu": format!("{cpu}m"), "memory": memory, "pods": pods}}})
    }
}
prop_compose! {
    fn some_pod()(cpu in 0u64..900, memory in 0u64..900, owner in 0..3, phase in prop::sample::select(vec!["Pending", "Running", "Failed"])) -> (Value, &'static str) {
        let owner = format!("r{owner}");
        let mut spec = json!({"metadata": {"ownerReferences": [{"uid": owner, "controller": true}]}});
        spec["spec"] = asks(&format!("{cpu}m"), &memory.to_string());
        (spec, phase)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_node_is_over_committed_and_nothing_waits_beside_a_free_one(
        nodes in prop::collection::vec(some_node(), 0..5),
        pods in prop::collection::vec(some_pod(), 0..25),
    ) {
        let nodes: Vec<_> = nodes.into_iter().enumerate().map(|(i, n)| node(&format!("n{i}"), n)).collect();
        let mut cluster = cluster(&nodes, &[]);
        let mut used: BTreeMap<String, Amount> = BTreeMap::new();
        let fits = |used: Amount, wants: Amount, node: &Node| {
            let (has, sum) = (Amount::allocatable(node), used.plus(wants));
            sum.pods <= has.pods
                && (wants.cpu_milli == 0 || sum.cpu_milli <= has.cpu_milli)
                && (wants.memory == 0 || sum.memory <= has.memory)
        };
        for (i, (spec, _)) in pods.into_iter().enumerate() {
            let mut pod = pod(&format!("p{i}"), spec);
            let wants = Amount::of(&pod);
            match place(&cluster, &pod) {
                Verdict::Bind(name) => {
                    let node = nodes.iter().find(|n| n.metadata.name == name).unwrap();
                    prop_assert!(!node.spec.unschedulable);
                    let used = used.entry(name.clone()).or_default();
                    prop_assert!(fits(*used, wants, node), "{wants:?} beside {used:?} on {node:?}");
                    *used = used.plus(wants);
                    let before = pod.clone();
                    pod.spec.node_name = name;
                    cluster.handle_pod(Some(&before), Some(&pod));
                }
                Verdict::Preempt(..) => prop_assert!(false, "nobody matters more"),
                Verdict::Unschedulable(_) => for node in &nodes {
                    let used = used.get(&node.metadata.name).copied().unwrap_or_default();
                    prop_assert!(node.spec.unschedulable || !fits(used, wants, node), "{} had room", node.metadata.name);
                },
            }
        }
    }

    #[test]
    fn the_order_of_what_came_never_matters_and_all_of_it_can_go(
        nodes in prop::collection::vec(some_node(), 1..5),
        pods in prop::collection::vec((some_pod(), 0..6usize), 0..12),
        keys in prop::collection::vec(any::<u32>(), 17),
        newcomer in some_pod(),
    ) {
        enum Came { Node(Box<Node>), Pod(Box<Pod>) }
        let nodes = nodes.into_iter().enumerate().map(|(i, n)| Came::Node(Box::new(node(&format!("n{i}"), n))));
        // Some are bound to nodes that are not there.
        let pods = pods.into_iter().enumerate().map(|(i, ((spec, phase), on))| {
            let mut pod = pod(&format!("p{i}"), spec);
            pod.spec.node_name = format!("n{on}");
            pod.status.phase = phase.into();
            Came::Pod(Box::new(pod))
        });
        let all: Vec<Came> = nodes.chain(pods).collect();
        let mut shuffled: Vec<(u32, &Came)> = keys.into_iter().zip(&all).collect();
        shuffled.sort_by_key(|(key, _)| *key);
        let feed = |cluster: &mut Cluster, came: &Came, there: bool| match came {
            Came::Node(node) => cluster.handle_node(&node.metadata.name, there.then_some(&**node)),
            Came::Pod(pod) if there => cluster.handle_pod(None, Some(pod)),
            Came::Pod(pod) => cluster.handle_pod(Some(pod), None),
        };
        let (mut one, mut other) = (Cluster::default(), Cluster::default());
        all.iter().for_each(|came| feed(&mut one, came, true));
        shuffled.iter().for_each(|(_, came)| feed(&mut other, came, true));
        prop_assert_eq!(&one, &other);
        let newcomer = pod("new", newcomer.0);
        prop_assert_eq!(place(&one, &newcomer), place(&other, &newcomer));
        shuffled.iter().for_each(|(_, came)| feed(&mut one, came, false));
        prop_assert_eq!(one, Cluster::default());
    }

    #[test]
    fn a_pod_that_was_told_why_it_waits_is_written_no_more(
        nodes in prop::collection::vec(some_node(), 0..4), newcomer in some_pod(),
    ) {
        let nodes: Vec<_> = nodes.into_iter().enumerate().map(|(i, n)| node(&format!("n{i}"), n)).collect();
        let cluster = cluster(&nodes, &[]);
        let mut waits = pod("p", newcomer.0);
        if let (first, None) = plan(&cluster, &observed(waits.clone()), NOW) {
            let Action::Patch { patch, .. } = &first.actions[0] else { panic!("{first:?}") };
            waits.status = serde_json::from_value(patch["status"].clone()).unwrap();
            let later = Timestamp::from_seconds(NOW.seconds + 1);
            let again = plan(&cluster, &observed(waits), later).0;
            prop_assert!(matches!(&again.actions[..], [Action::Event(_)]), "{:?}", again);
        }
    }
}
