use super::*;
use crate::kind::{KINDS, find};

const NOW: &str = "2026-01-01T01:00:00Z";

/// Cells of an object, joined, without the wide ones unless asked.
fn shown(group: &str, plural: &str, object: Value, wide: bool) -> String {
    let kind = find(group, "v1", plural).unwrap();
    let cells = row(kind, &object, Timestamp::parse(NOW).unwrap());
    assert_eq!(cells.len(), columns(kind).len());
    let cells: Vec<String> = cells
        .iter()
        .zip(columns(kind))
        .filter(|(_, column)| wide || column.priority == 0)
        .map(|(cell, _)| {
            cell.as_str()
                .map_or_else(|| cell.to_string(), str::to_owned)
        })
        .collect();
    cells.join(" | ")
}

fn pod(spec: Value, status: Value) -> Value {
    json!({"metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": spec, "status": status})
}

#[track_caller]
fn check_pod(status: Value, want: &str) {
    let spec = json!({"containers": [{"name": "a"}, {"name": "b"}]});
    assert_eq!(
        shown("", "pods", pod(spec, status), false),
        format!("p | {want} | 60m")
    );
}

#[test]
fn pods_by_state() {
    check_pod(json!({"phase": "Pending"}), "0/2 | Pending | 0");
    check_pod(
        json!({"phase": "Running", "containerStatuses": [
            {"name": "a", "ready": true, "restartCount": 0, "state": {"running": {}}},
            {"name": "b", "ready": true, "restartCount": 1, "state": {"running": {}},
             "lastState": {"terminated": {"finishedAt": "2026-01-01T00:59:55Z"}}}]}),
        "2/2 | Running | 1 (5s ago)",
    );
    check_pod(
        json!({"phase": "Running", "containerStatuses": [
            {"name": "a", "ready": false, "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
             "lastState": {"terminated": {"finishedAt": "2026-01-01T00:50:00Z"}}}]}),
        "0/2 | CrashLoopBackOff | 3 (10m ago)",
    );
    check_pod(
        json!({"phase": "Succeeded", "containerStatuses": [
            {"name": "a", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}]}),
        "0/2 | Completed | 0",
    );
    check_pod(
        json!({"phase": "Failed", "containerStatuses": [{"name": "a", "state": {"terminated": {"exitCode": 3}}}]}),
        "0/2 | ExitCode:3 | 0",
    );
    check_pod(
        json!({"phase": "Failed", "containerStatuses": [{"name": "a", "state": {"terminated": {"signal": 9}}}]}),
        "0/2 | Signal:9 | 0",
    );
    check_pod(
        json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}], "containerStatuses": [
            {"name": "a", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}},
            {"name": "b", "ready": true, "state": {"running": {}}}]}),
        "1/2 | NotReady | 0",
    );
    check_pod(
        json!({"phase": "Failed", "reason": "Evicted"}),
        "0/2 | Evicted | 0",
    );
    check_pod(
        json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]}),
        "0/2 | SchedulingGated | 0",
    );
}

#[test]
fn pods_initialising() {
    let spec =
        json!({"initContainers": [{"name": "i"}, {"name": "j"}], "containers": [{"name": "a"}]});
    for (state, want) in [
        (json!({"running": {}}), "Init:0/2"),
        (
            json!({"waiting": {"reason": "ImagePullBackOff"}}),
            "Init:ImagePullBackOff",
        ),
        (
            json!({"waiting": {"reason": "PodInitializing"}}),
            "Init:0/2",
        ),
        (
            json!({"terminated": {"exitCode": 1, "reason": "Error"}}),
            "Init:Error",
        ),
        (json!({"terminated": {"exitCode": 0}}), "Pending"),
    ] {
        let status =
            json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": state}]});
        assert_eq!(
            shown("", "pods", pod(spec.clone(), status), false),
            format!("p | 0/1 | {want} | 0 | 60m")
        );
    }
}

#[test]
fn pods_going_away_and_wide() {
    let mut object = pod(
        json!({"containers": [{}], "nodeName": "n1"}),
        json!({"phase": "Running", "podIP": "10.42.0.7"}),
    );
    object["metadata"]["deletionTimestamp"] = NOW.into();
    assert_eq!(
        shown("", "pods", object, true),
        "p | 0/1 | Terminating | 0 | 60m | 10.42.0.7 | n1 | <none> | <none>"
    );
}

#[test]
fn nodes() {
    let object = json!({
        "metadata": {"name": "n1", "creationTimestamp": "2025-12-30T00:00:00Z",
                     "labels": {"node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/edge": ""}},
        "spec": {"unschedulable": true},
        "status": {"conditions": [{"type": "Ready", "status": "True"}],
                   "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
                   "nodeInfo": {"kubeletVersion": "v0.1.0", "osImage": "Debian 12"}}});
    assert_eq!(
        shown("", "nodes", object, true),
        "n1 | Ready,SchedulingDisabled | edge,worker | 2d1h | v0.1.0 | 10.0.0.1 | <none> | Debian 12 | <unknown> | <unknown>"
    );
    let silent = json!({"metadata": {"name": "n2"}, "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}});
    assert_eq!(
        shown("", "nodes", silent, false),
        "n2 | NotReady | <none> | <unknown> | "
    );
}

#[test]
fn workloads() {
    let object = json!({
        "metadata": {"name": "web", "creationTimestamp": "2026-01-01T00:59:00Z"},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}},
                 "template": {"spec": {"containers": [{"name": "a", "image": "x:1"}, {"name": "b", "image": "y:2"}]}}},
        "status": {"replicas": 3, "readyReplicas": 2, "updatedReplicas": 1, "availableReplicas": 2}});
    assert_eq!(
        shown("apps", "deployments", object.clone(), true),
        "web | 2/3 | 1 | 2 | 60s | a,b | x:1,y:2 | app=web"
    );
    assert_eq!(
        shown("apps", "replicasets", object, true),
        "web | 3 | 3 | 2 | 60s | a,b | x:1,y:2 | app=web"
    );
}

#[test]
fn the_rest() {
    let object = |rest: Value| {
        let mut out =
            json!({"metadata": {"name": "x", "creationTimestamp": "2026-01-01T00:59:00Z"}});
        out.as_object_mut()
            .unwrap()
            .extend(rest.as_object().unwrap().clone());
        out
    };
    assert_eq!(
        shown(
            "",
            "namespaces",
            object(json!({"status": {"phase": "Active"}})),
            true
        ),
        "x | Active | 60s"
    );
    assert_eq!(
        shown(
            "",
            "configmaps",
            object(json!({"data": {"a": ""}, "binaryData": {"b": ""}})),
            true
        ),
        "x | 2 | 60s"
    );
    assert_eq!(
        shown(
            "",
            "secrets",
            object(json!({"type": "Opaque", "data": {"a": ""}})),
            true
        ),
        "x | Opaque | 1 | 60s"
    );
    let event = object(
        json!({"type": "Warning", "reason": "Failed", "message": "no such image\n", "count": 4,
        "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:59:30Z",
        "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{a}"},
        "source": {"component": "bramble-agent", "host": "n1"}}),
    );
    assert_eq!(
        shown("", "events", event, true),
        "30s | Warning | Failed | pod/p | spec.containers{a} | bramble-agent, n1 | no such image | 60m | 4 | x"
    );
}

#[test]
fn rows_carry_what_was_asked() {
    let kind = find("", "v1", "configmaps").unwrap();
    let object = json!({"kind": "ConfigMap", "metadata": {"name": "x", "resourceVersion": "7"}, "data": {"a": "b"}});
    let now = Timestamp::default();
    let table = table_of(kind, object.clone(), now, Include::Metadata, true);
    assert_eq!(table["metadata"]["resourceVersion"], "7");
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(table["rows"][0]["object"].get("data"), None);
    assert_eq!(table["columnDefinitions"][0]["format"], "name");
    let row = row_json(kind, object.clone(), now, Include::Object);
    assert_eq!(row["object"], object);
    assert_eq!(
        row_json(kind, object, now, Include::None).get("object"),
        None
    );
}

#[test]
fn every_kind_prints_an_empty_object() {
    for kind in KINDS {
        let cells = row(kind, &json!({}), Timestamp::default());
        assert_eq!(cells.len(), columns(kind).len(), "{}", kind.kind);
    }
}
