use super::*;
use serde_json::{Value, json};

/// An hour after the objects of these tests were made.
fn later() -> Timestamp {
    Timestamp::parse("2026-01-01T01:00:00Z").unwrap()
}

fn report(nodes: &Value, pods: &Value) -> Report {
    let mut report = Report {
        server: "https://10.0.0.1:6443".into(),
        version: "0.1.0".into(),
        kubernetes_version: "v1.34.2".into(),
        ..Report::default()
    };
    report.add_nodes(&serde_json::from_value::<Vec<Node>>(nodes.clone()).unwrap());
    report.add_pods(
        &serde_json::from_value::<Vec<Pod>>(pods.clone()).unwrap(),
        later(),
    );
    report
}

fn node(name: &str, ready: &str, message: &str) -> Value {
    json!({"metadata": {"name": name}, "status": {
        "conditions": [
            {"type": "MemoryPressure", "status": "False"},
            {"type": "Ready", "status": ready, "reason": "AgentSilent", "message": message}],
        "addresses": [{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": "10.0.0.11"}],
        "nodeInfo": {"kubeletVersion": "v0.1.0"}}})
}

fn pod(name: &str, status: Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "default", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"nodeName": "board-1"}, "status": status})
}

fn running() -> Value {
    json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [{"name": "c", "ready": true, "state": {"running": {}}}]})
}

fn crashing() -> Value {
    json!({"phase": "Running", "containerStatuses": [{"name": "c", "ready": false, "restartCount": 4,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
        "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}}}]})
}

#[test]
fn one_screen_says_what_runs_and_what_does_not() {
    let nodes = json!([
        node("board-1", "True", ""),
        node("board-2", "Unknown", "not heard for 2m"),
        {"metadata": {"name": "board-3"}, "spec": {"unschedulable": true}},
    ]);
    let pods = json!([
        pod("a", running()),
        pod("b", crashing()),
        pod("done", json!({"phase": "Succeeded"})),
        {"metadata": {"name": "w", "namespace": "default"}, "status": {"phase": "Pending", "conditions":
            [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "insufficient memory on 1 of 3 nodes"}]}},
    ]);
    assert_eq!(
        render::text(&report(&nodes, &pods)),
        "\
Bramble 0.1.0 (Kubernetes v1.34.2) at https://10.0.0.1:6443

NODE      STATUS                       VERSION   ADDRESS     PODS
board-2   NotReady                     v0.1.0    10.0.0.11   0
board-3   Unknown,SchedulingDisabled   -         -           0
board-1   Ready                        v0.1.0    10.0.0.11   2

Pods: 4 (1 Pending, 2 Running, 1 Succeeded)

Unhealthy:
  node board-2: AgentSilent: not heard for 2m
  node board-3: Unknown: it has not reported yet
  pod default/b on board-1: CrashLoopBackOff: container c: back-off 40s: last exit code 1: 4 restarts
  pod default/w: Unschedulable: insufficient memory on 1 of 3 nodes
"
    );
}

#[test]
fn an_empty_cluster_says_what_to_do() {
    let text = render::text(&report(&json!([]), &json!([])));
    assert!(text.contains("bramble join"), "{text}");
    assert!(
        text.ends_with("No pods.\nNothing is unhealthy.\n"),
        "{text}"
    );
}

#[test]
fn a_large_cluster_stays_on_one_screen() {
    let nodes: Vec<Value> = (0..300)
        .map(|n| node(&format!("n{n}"), "False", "x"))
        .collect();
    let text = render::text(&report(&nodes.into(), &json!([])));
    assert!(text.lines().count() < 50, "{}", text.lines().count());
    assert!(text.contains("… 280 more; 0 of 300 are Ready"), "{text}");
    assert!(
        text.contains("… 280 more (all: bramble status -o json)"),
        "{text}"
    );
}

#[test]
fn json_has_everything() {
    let report = report(
        &json!([node("board-1", "True", "")]),
        &json!([pod("b", crashing())]),
    );
    let value = serde_json::to_value(&report).unwrap();
    assert_eq!(value["nodes"][0]["pods"], 1);
    assert_eq!(
        value["pods"],
        json!({"total": 1, "byPhase": {"Running": 1}})
    );
    assert_eq!(value["unhealthy"][0]["reason"], "CrashLoopBackOff");
    assert_eq!(value["unhealthy"][0]["node"], "board-1");
}

/// Reason and message of a pod, or nothing.
fn check(pod: Value) -> Option<String> {
    let pod: Pod = serde_json::from_value(pod).unwrap();
    problem::of_pod(&pod, later()).map(|p| format!("{}: {}", p.reason, p.message))
}

#[test]
fn each_trouble_of_a_pod_has_its_reason() {
    let young = |status: Value| {
        let mut pod = pod("p", status);
        pod["metadata"]["creationTimestamp"] = "2026-01-01T00:59:50Z".into();
        pod
    };
    let ending = |due: &str| {
        let mut pod = pod("p", running());
        pod["metadata"]["deletionTimestamp"] = due.into();
        pod
    };
    let waiting = |reason: &str, message: &str| {
        json!({"phase": "Pending", "containerStatuses": [{"name": "c",
            "state": {"waiting": {"reason": reason, "message": message}}, "lastState": null}]})
    };
    let mut future = pod("p", json!({}));
    future["metadata"]["creationTimestamp"] = "2026-06-01T00:00:00Z".into();
    let failed = json!({"phase": "Failed", "containerStatuses":
        [{"name": "c", "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]});
    let unready = json!({"phase": "Running",
        "conditions": [{"type": "Ready", "status": "False", "reason": "ContainersNotReady"}],
        "containerStatuses": [{"name": "c", "state": {"running": {}}}]});
    for (pod, want) in [
        (pod("p", running()), None),
        (pod("p", json!({"phase": "Succeeded"})), None),
        (young(json!({})), None),
        (young(waiting("ContainerCreating", "")), None),
        (pod("p", json!({})), Some("Pending: for 60m")),
        (
            pod("p", waiting("ContainerCreating", "")),
            Some("Pending: for 60m"),
        ),
        (future, Some("Pending: ")),
        (
            young(waiting("ErrImageNeverPull", "no image x")),
            Some("ErrImageNeverPull: container c: no image x"),
        ),
        (
            pod("p", failed),
            Some("Failed: container c: exit code 137 (OOMKilled)"),
        ),
        (
            pod(
                "p",
                json!({"phase": "Failed", "reason": "Evicted", "message": "node gone"}),
            ),
            Some("Evicted: node gone"),
        ),
        (young(unready.clone()), None),
        (
            pod("p", unready),
            Some("ContainersNotReady: container c is not ready"),
        ),
        (ending("2026-01-01T00:59:50Z"), None),
        (
            ending("2026-01-01T00:50:00Z"),
            Some("Terminating: should have ended 10m ago"),
        ),
    ] {
        let text = pod.to_string();
        assert_eq!(check(pod).as_deref(), want, "{text}");
    }
}

#[test]
fn nothing_that_an_object_says_moves_the_cursor() {
    let nodes = json!([node("board-1", "False", "red\u{1b}[31m\nhacked")]);
    let text = render::text(&report(&nodes, &json!([])));
    assert!(!text.contains('\u{1b}'), "{text:?}");
    assert!(text.contains("red [31m hacked"), "{text:?}");
}

#[test]
fn places_in_lists_survive_the_query() {
    assert_eq!(escaped("eyJ2+/=&é"), "eyJ2%2B%2F%3D%26%C3%A9");
}

fn unclaimed(name: &str, node: &str) -> bramble_wire::standing::Unclaimed {
    bramble_wire::standing::Unclaimed {
        node: node.into(),
        uid: "3f6c".into(),
        namespace: "shop".into(),
        name: name.into(),
        images: vec!["registry.example/shop:v7".into()],
        phase: "Running".into(),
        since: "2025-12-31T23:00:00Z".into(),
        released: false,
    }
}

#[test]
fn what_waits_for_a_person_comes_first_with_the_commands() {
    let mut standing = Standing {
        epoch: 8,
        confirmed: 7,
        waiting_for: vec!["pi-3".into(), "pi-4".into()],
        waiting: 5,
        unclaimed: vec![unclaimed("web-7d5-x2k1c", "pi-2"), unclaimed("", "pi-2")],
        unclaimed_total: 30,
        ..Standing::default()
    };
    assert_eq!(
        standing::text(&standing, later()),
        "\
This cluster's store was set back (epoch 8): nodes keep what it does not know until you decide.
Waiting for: pi-3, pi-4 and 3 more (bramble node remove pi-3, if it will not come back)
UNCLAIMED            NODE   IMAGES                     SINCE
shop/web-7d5-x2k1c   pi-2   registry.example/shop:v7   120m
3f6c                 pi-2   registry.example/shop:v7   120m
… 28 more (all: bramble status -o json)
  keep:  bramble adopt pi-2/shop/web-7d5-x2k1c
  drop:  bramble release pi-2/shop/web-7d5-x2k1c
  all:   bramble adopt --all | bramble release --all

"
    );
    standing.braked = true;
    let text = standing::text(&standing, later());
    assert!(text.contains("two controllers"), "{text}");
    for pod in &mut standing.unclaimed {
        pod.released = true;
    }
    let text = standing::text(&standing, later());
    assert!(text.contains("let go and has still to stop"), "{text}");
    standing.unclaimed.clear();
    (standing.unclaimed_total, standing.waiting) = (0, 0);
    standing.waiting_for.clear();
    let text = standing::text(&standing, later());
    assert!(text.contains("nothing of it is unknown"), "{text}");
    assert!(text.contains("bramble release --all"), "{text}");
    standing.confirmed = 8;
    assert_eq!(standing::text(&standing, later()), "");
    standing.unclaimed_total = 1;
    let text = standing::text(&standing, later());
    assert!(text.contains("still to stop: 1"), "{text}");
}

#[test]
fn boards_that_are_no_members_are_shown() {
    let stranger = bramble_wire::standing::Stranger {
        node: "pi-9\u{1b}".into(),
        address: "10.0.0.9".into(),
        last_seen: "2026-01-01T00:59:50Z".into(),
        ..bramble_wire::standing::Stranger::default()
    };
    let standing = Standing {
        strangers: vec![stranger; 9],
        ..Standing::default()
    };
    let text = standing::text(&standing, later());
    assert!(text.contains("pi-9       10.0.0.9   10s"), "{text}");
    assert!(text.contains("… 1 more"), "{text}");
}

#[test]
fn boards_that_are_refused_are_shown() {
    let duplicate = |node: &str, hardware: &str| bramble_wire::standing::Duplicate {
        node: node.into(),
        hardware: hardware.into(),
        last_seen: "2026-01-01T00:59:50Z".into(),
        times: 3,
    };
    let standing = Standing {
        duplicates: vec![duplicate("pi-1", "0abc"), duplicate("pi-2", "")],
        ..Standing::default()
    };
    let text = standing::text(&standing, later());
    assert!(text.contains("pi-1           0abc    10s"), "{text}");
    assert!(text.contains("pi-2           -       10s"), "{text}");
    assert!(text.contains("uninstall --purge"), "{text}");
}
