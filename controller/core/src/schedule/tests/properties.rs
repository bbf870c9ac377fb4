//! What holds whatever the nodes and pods are.

use proptest::prelude::*;

use super::*;

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
