//! Steps of a Deployment as tables, and whole roll-outs in a small world of values.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::conditions;

mod world;

use world::World;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn template(version: i64) -> Value {
    json!({"template": {"spec": {"v": version}}})
}

fn check_bounds(replicas: i32, surge: Value, unavailable: Value, want: (i32, i32)) {
    let world = World::new(json!({"replicas": replicas,
        "strategy": {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}}));
    let deployment = Observed {
        revision: 1,
        object: serde_json::from_str(&world.deployment.to_string()).unwrap(),
    };
    let input = Input {
        deployment: &deployment,
        replica_sets: &[],
        name_taken: &|_| false,
        live_pods: &|_| 0,
    };
    let sync = Sync::new(&input, NOW);
    let got = (scale::max_surge(&sync), scale::max_unavailable(&sync));
    assert_eq!(got, want, "{replicas} {surge} {unavailable}");
}

#[test]
fn bounds_round_as_upstream() {
    check_bounds(10, Value::Null, Value::Null, (3, 2));
    check_bounds(3, Value::Null, Value::Null, (1, 0));
    check_bounds(1, json!("25%"), json!("25%"), (1, 0));
    check_bounds(4, json!(0), json!("10%"), (0, 1));
    check_bounds(4, json!(0), json!(0), (0, 1));
    check_bounds(2, json!(2), json!(5), (2, 2));
    check_bounds(0, json!("50%"), json!("50%"), (0, 0));
    check_bounds(10, json!("100%"), json!("100%"), (10, 10));
}

#[test]
fn a_new_deployment_makes_one_replica_set() {
    let mut world = World::new(json!({"minReadySeconds": 7}));
    world.settle();
    let (name, set) = world.sets.iter().next().unwrap();
    let hash = set["metadata"]["labels"][HASH_LABEL].as_str().unwrap();
    assert_eq!(*name, format!("web-{hash}"));
    assert_eq!(set["spec"]["replicas"], 3);
    assert_eq!(set["spec"]["minReadySeconds"], 7);
    assert_eq!(
        set["spec"]["selector"]["matchLabels"],
        json!({"app": "web", HASH_LABEL: hash})
    );
    assert_eq!(
        set["spec"]["template"]["metadata"]["labels"][HASH_LABEL],
        hash
    );
    assert_eq!(set["metadata"]["ownerReferences"][0]["uid"], "D");
    assert_eq!(
        set["metadata"]["annotations"],
        json!({"note": "x", REVISION: "1", DESIRED_REPLICAS: "3", MAX_REPLICAS: "4"})
    );
    assert_eq!(world.annotation(&world.deployment, REVISION), "1");
    assert_eq!(
        world.notes,
        [format!("Scaled up replica set {name} from 0 to 3")]
    );
    let (status, reason, message) = world.condition("Progressing");
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("True", "NewReplicaSetCreated")
    );
    assert_eq!(message, format!("Created new replica set \"{name}\""));
    assert_eq!(world.condition("Available").0, "False");
    assert_eq!(world.deployment["status"]["unavailableReplicas"], 3);
}

#[test]
fn a_rollout_that_is_through_says_so_in_upstreams_words() {
    let mut world = World::new(json!({}));
    world.roll_out();
    let name = world.sets.keys().next().unwrap().clone();
    assert_eq!(
        world.condition("Progressing"),
        (
            "True".into(),
            "NewReplicaSetAvailable".into(),
            format!("ReplicaSet \"{name}\" has successfully progressed.")
        )
    );
    assert_eq!(
        world.condition("Available"),
        (
            "True".into(),
            "MinimumReplicasAvailable".into(),
            "Deployment has minimum availability.".into()
        )
    );
    let status = &world.deployment["status"];
    for field in [
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
    ] {
        assert_eq!(status[field], 3, "{field}");
    }
    assert_eq!(status.get("unavailableReplicas"), None);
    assert_eq!(status["observedGeneration"], 1);
    assert_eq!(world.wake, None, "nothing is due any more");
}

#[test]
fn a_rolling_update_goes_step_by_step() {
    let mut world = World::new(json!({"replicas": 4}));
    world.roll_out();
    world.set_spec(template(2));
    // 25 %: one more, one less.
    world.settle();
    assert_eq!(world.sizes(), [3, 2], "one above, then one that is missing");
    world.run_pods(|_| i64::MAX);
    world.settle();
    assert_eq!(world.sizes(), [1, 4]);
    world.run_pods(|_| i64::MAX);
    world.settle();
    assert_eq!(world.sizes(), [0, 4]);
    world.roll_out();
    assert_eq!(world.condition("Progressing").1, "NewReplicaSetAvailable");
    assert_eq!(world.annotation(&world.deployment, REVISION), "2");
}

#[test]
fn broken_old_pods_go_before_working_ones() {
    let mut world = World::new(json!({"replicas": 4}));
    world.roll_out();
    let first = world.sets.keys().next().unwrap().clone();
    let only_first = |name: &str| if name == first { i64::MAX } else { 0 };
    world.set_spec(template(2));
    world.settle();
    assert_eq!(world.sizes(), [3, 2]);
    world.run_pods(only_first);
    // The second template never worked: its pods make room for the third's, not the first's.
    world.set_spec(template(3));
    world.settle();
    assert_eq!(world.sizes(), [3, 0, 2]);
    world.run_pods(only_first);
    world.settle();
    assert_eq!(
        world.sizes(),
        [3, 0, 2],
        "what works stays until the new one does"
    );
}

#[test]
fn undoing_uses_the_old_replica_set_again() {
    let mut world = World::new(json!({}));
    world.roll_out();
    let first = world.sets.keys().next().unwrap().clone();
    world.set_spec(template(2));
    world.roll_out();
    world.set_spec(template(1));
    world.roll_out();
    assert_eq!(world.sets.len(), 2);
    let set = &world.sets[&first];
    assert_eq!(set["spec"]["replicas"], 3);
    assert_eq!(world.annotation(set, REVISION), "3");
    assert_eq!(world.annotation(set, REVISION_HISTORY), "1");
    assert_eq!(world.annotation(&world.deployment, REVISION), "3");
}

#[test]
fn history_is_kept_up_to_its_limit() {
    let mut world = World::new(json!({"revisionHistoryLimit": 2}));
    for version in 1..=6 {
        world.set_spec(template(version));
        world.roll_out();
    }
    let mut revisions: Vec<_> = world
        .sets
        .values()
        .map(|set| world.annotation(set, REVISION))
        .collect();
    revisions.sort();
    assert_eq!(revisions, ["4", "5", "6"]);
}

#[test]
fn a_name_that_is_taken_raises_the_collision_count() {
    let mut world = World::new(json!({}));
    let template = template::without_hash(world.deployment["spec"]["template"].clone());
    let taken = format!("web-{}", template_hash(&template, None));
    // Somebody else's, with labels that do not match.
    let other = json!({"metadata": {"name": taken, "namespace": "d", "uid": "x", "labels": {}},
        "spec": {"replicas": 1, "template": {}}, "revision": 1});
    world.sets.insert(taken.clone(), other);
    world.settle();
    assert_eq!(world.deployment["status"]["collisionCount"], 1);
    let name = format!("web-{}", template_hash(&template, Some(1)));
    assert!(world.sets.contains_key(&name), "{:?}", world.sets.keys());
    assert_eq!(world.sets[&taken]["spec"]["replicas"], 1, "not ours");
}

#[test]
fn a_pause_stops_the_rollout_but_not_the_scaling() {
    let mut world = World::new(json!({}));
    world.roll_out();
    world.set_spec(json!({"paused": true, "template": {"spec": {"v": 2}}}));
    world.roll_out();
    assert_eq!(world.sizes(), [3]);
    let (status, reason, message) = world.condition("Progressing");
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("Unknown", "DeploymentPaused")
    );
    assert_eq!(message, "Deployment is paused");
    world.set_spec(json!({"replicas": 5}));
    world.roll_out();
    assert_eq!(world.sizes(), [5]);
    world.set_spec(json!({"paused": false}));
    world.roll_out();
    assert_eq!(world.sizes(), [0, 5]);
    assert_eq!(world.condition("Progressing").1, "NewReplicaSetAvailable");
}

#[test]
fn scaling_during_a_rollout_is_shared() {
    let mut world = World::new(json!({"replicas": 10,
        "strategy": {"rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}}));
    world.roll_out();
    world.set_spec(template(2));
    world.settle();
    assert_eq!(world.sizes(), [8, 5]);
    // Upstream's own example: 13 of 10+3 become 18 of 15+3, in proportion.
    world.set_spec(json!({"replicas": 15}));
    let plan = world.plan();
    let sized = plan.actions.iter().filter(|a| {
        matches!(a, Action::Patch { target, patch, .. }
        if target.kind.kind == "ReplicaSet" && !patch["spec"].is_null())
    });
    assert_eq!(sized.count(), 2);
    assert!(world.step());
    assert_eq!(world.sizes(), [11, 7]);
    world.roll_out();
    assert_eq!(world.sizes(), [0, 15]);
}

#[test]
fn a_rollout_without_progress_times_out_and_recovers() {
    let mut world = World::new(json!({"progressDeadlineSeconds": 600}));
    world.roll_out();
    world.set_spec(template(2));
    world.settle();
    world.run_pods(|name| if name.is_empty() { 0 } else { 3 });
    let newest = world.sizes().len() - 1;
    assert_eq!(newest, 1);
    // The new pod never becomes ready.
    let old = world
        .sets
        .iter()
        .find(|(_, set)| world.annotation(set, REVISION) == "1")
        .map(|(name, _)| name.clone())
        .unwrap();
    world.run_pods(|name| if name == old { 3 } else { 0 });
    world.settle();
    let wake = world.wake.expect("the deadline is due");
    assert_eq!(wake.since(NOW), 601);
    world.now = Timestamp {
        seconds: wake.seconds - 2,
        ..wake
    };
    world.settle();
    assert_ne!(world.condition("Progressing").1, "ProgressDeadlineExceeded");
    world.now = wake;
    world.settle();
    let (status, reason, message) = world.condition("Progressing");
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("False", "ProgressDeadlineExceeded")
    );
    assert!(message.ends_with("has timed out progressing."), "{message}");
    assert_eq!(world.wake, None);
    world.roll_out();
    assert_eq!(world.condition("Progressing").1, "NewReplicaSetAvailable");
}

#[test]
fn recreate_waits_for_the_last_pod() {
    let mut world = World::new(json!({"strategy": {"type": "Recreate"}}));
    world.roll_out();
    world.set_spec(template(2));
    world.pods = 1;
    world.settle();
    assert_eq!(world.sizes(), [0], "stopped, and no new one yet");
    world.pods = 0;
    world.roll_out();
    assert_eq!(world.sizes(), [0, 3]);
}

#[test]
fn orphans_are_adopted_and_strangers_released() {
    let mut world = World::new(json!({}));
    world.roll_out();
    let name = world.sets.keys().next().unwrap().clone();
    world.sets.get_mut(&name).unwrap()["metadata"]["ownerReferences"] = json!([]);
    assert!(world.step());
    assert_eq!(
        world.sets[&name]["metadata"]["ownerReferences"][0]["uid"],
        "D"
    );
    world.sets.get_mut(&name).unwrap()["metadata"]["labels"] = json!({"app": "other"});
    let plan = world.plan();
    assert!(
        matches!(&plan.actions[..], [Action::Patch { patch, .. }]
            if patch["metadata"]["ownerReferences"].is_null()),
        "{plan:?}"
    );
}

#[test]
fn the_hash_is_stable_and_ignores_the_order_of_keys() {
    let hash = |json: &str| template_hash(&serde_json::from_str(json).unwrap(), None);
    let one = hash(r#"{"a":1,"b":{"c":[1,2],"d":"x"}}"#);
    assert_eq!(one, hash(r#"{"b":{"d":"x","c":[1,2]},"a":1}"#));
    // Written down: a new release must find the ReplicaSets of the old one.
    assert_eq!(one, "959b4c99f");
    assert_ne!(one, hash(r#"{"a":1,"b":{"c":[2,1],"d":"x"}}"#));
    let template = json!({"a": 1});
    assert_ne!(
        template_hash(&template, None),
        template_hash(&template, Some(1))
    );
    assert!(
        one.len() <= 10
            && one
                .bytes()
                .all(|b| b"bcdfghjklmnpqrstvwxz2456789".contains(&b))
    );
}

#[test]
fn conditions_move_only_when_they_change() {
    let mut list = vec![conditions::now("A", "True", "R", "m", NOW)];
    let later = Timestamp::from_seconds(NOW.seconds + 9);
    conditions::set(&mut list, conditions::now("A", "True", "R", "other", later));
    assert_eq!(list[0].message, "m");
    conditions::set(&mut list, conditions::now("A", "True", "S", "n", later));
    assert_eq!(
        (list[0].reason.as_str(), list[0].last_transition_time),
        ("S", Some(NOW))
    );
    conditions::set(&mut list, conditions::now("A", "False", "S", "n", later));
    assert_eq!(list[0].last_transition_time, Some(later));
    assert_eq!(list[0].last_update_time, Some(later));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever the bounds: the roll-out ends, the sum of sizes never exceeds the surge, and what was
    /// available never falls below what must be.
    #[test]
    fn a_rollout_keeps_its_bounds_and_ends(
        replicas in 1i32..12,
        surge in 0i32..4,
        unavailable in 0i32..4,
        ready in prop::collection::vec(0i64..12, 1..20),
    ) {
        let mut world = World::new(json!({"replicas": replicas, "strategy": {
            "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}}));
        world.roll_out();
        world.set_spec(template(2));
        let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
        let floor = i64::from((replicas - unavailable).max(0));
        let first = world.sets.keys().next().unwrap().clone();
        for limit in ready {
            world.step();
            let total: i64 = world.sizes().iter().sum();
            prop_assert!(total <= i64::from(replicas + surge), "{:?}", world.sizes());
            // Old pods keep working; of the new ones only some do so far.
            world.run_pods(|name| if name == first { i64::MAX } else { limit });
            let available: i64 = world
                .sets
                .values()
                .map(|set| set["status"]["availableReplicas"].as_i64().unwrap())
                .sum();
            let new_broke = world.sets.iter().any(|(name, set)| {
                *name != first && set["status"]["availableReplicas"] != set["spec"]["replicas"]
            });
            prop_assert!(new_broke || available >= floor, "{available} < {floor}");
        }
        world.roll_out();
        let mut sizes = vec![0; world.sets.len() - 1];
        sizes.push(i64::from(replicas));
        prop_assert_eq!(world.sizes(), sizes);
        prop_assert!(world.plan().actions.is_empty(), "a satisfied world plans nothing");
    }
}
