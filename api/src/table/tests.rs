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

fn named(mut rest: Value) -> Value {
    rest["metadata"]["name"] = "x".into();
    rest["metadata"]["creationTimestamp"] = "2026-01-01T00:59:00Z".into();
    rest
}

/// Each object's row, with headings once per kind.
#[test]
fn the_kinds_that_came_later() {
    let headings = |kind: &Kind| -> String {
        let names: Vec<&str> = columns(kind).iter().map(|c| c.name).collect();
        names.join(" | ")
    };
    for (group, plural, heads, rows) in [
        (
            "",
            "services",
            "Name | Type | Cluster-IP | External-IP | Port(s) | Age | Selector",
            vec![
                (
                    json!({"spec": {"type": "NodePort", "clusterIPs": ["10.43.0.9"], "selector": {"b": "c", "a": "b"},
                        "ports": [{"port": 80, "nodePort": 30000, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}}),
                    "x | NodePort | 10.43.0.9 | <none> | 80:30000/TCP,53/UDP | 60s | a=b,b=c",
                ),
                (
                    json!({"spec": {"type": "ClusterIP", "clusterIP": "None", "externalIPs": ["1.2.3.4"]}}),
                    "x | ClusterIP | None | 1.2.3.4 | <none> | 60s | <none>",
                ),
                (
                    json!({"spec": {"type": "LoadBalancer", "clusterIP": "10.43.0.9"}}),
                    "x | LoadBalancer | 10.43.0.9 | <pending> | <none> | 60s | <none>",
                ),
                (
                    json!({"spec": {"type": "LoadBalancer", "clusterIP": "10.43.0.9"},
                        "status": {"loadBalancer": {"ingress": [{"ip": "5.6.7.8"}, {"hostname": "a.b"}]}}}),
                    "x | LoadBalancer | 10.43.0.9 | 5.6.7.8,a.b | <none> | 60s | <none>",
                ),
                (
                    json!({"spec": {"type": "ExternalName", "externalName": "a.b"}}),
                    "x | ExternalName | <none> | a.b | <none> | 60s | <none>",
                ),
            ],
        ),
        (
            "",
            "endpoints",
            "Name | Endpoints | Age",
            vec![
                (json!({}), "x | <none> | 60s"),
                (
                    json!({"subsets": [{"addresses": [{"ip": "1.1.1.1"}, {"ip": "::1"}, {"ip": "1.1.1.3"}, {"ip": "1.1.1.4"}], "ports": [{"port": 80}]}]}),
                    "x | 1.1.1.1:80,[::1]:80,1.1.1.3:80 + 1 more... | 60s",
                ),
                (
                    json!({"subsets": [{"addresses": [{"ip": "1.1.1.1"}]}]}),
                    "x | 1.1.1.1 | 60s",
                ),
            ],
        ),
        (
            "discovery.k8s.io",
            "endpointslices",
            "Name | AddressType | Ports | Endpoints | Age",
            vec![
                (
                    json!({"addressType": "IPv4"}),
                    "x | IPv4 | <unset> | <unset> | 60s",
                ),
                (
                    json!({"addressType": "IPv4", "ports": [{"port": 80}, {"name": "a"}, {}], "endpoints": [{"addresses": ["1.1.1.1"]}, {"addresses": ["1.1.1.2"]}]}),
                    "x | IPv4 | 80,a,* | 1.1.1.1,1.1.1.2 | 60s",
                ),
            ],
        ),
        (
            "",
            "serviceaccounts",
            "Name | Secrets | Age",
            vec![(json!({"secrets": [{"name": "a"}]}), "x | 1 | 60s")],
        ),
        (
            "",
            "resourcequotas",
            "Name | Request | Limit | Age",
            vec![(
                json!({"status": {"hard": {"pods": "10", "limits.cpu": "2", "cpu": "1"}, "used": {"pods": "3", "limits.cpu": "500m"}}}),
                "x | cpu: 0/1, pods: 3/10 | limits.cpu: 500m/2 | 60s",
            )],
        ),
        (
            "",
            "replicationcontrollers",
            "Name | Desired | Current | Ready | Age | Containers | Images | Selector",
            vec![(
                json!({"spec": {"replicas": 3, "selector": {"a": "b"}, "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}},
                    "status": {"replicas": 2, "readyReplicas": 1}}),
                "x | 3 | 2 | 1 | 60s | c | i | a=b",
            )],
        ),
        (
            "",
            "podtemplates",
            "Name | Containers | Images | Pod Labels",
            vec![(
                json!({"template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "j"}]}}}),
                "x | c,d | i,j | a=b",
            )],
        ),
        (
            "",
            "limitranges",
            "Name | Created At",
            vec![(json!({}), "x | 2026-01-01T00:59:00Z")],
        ),
        (
            "apps",
            "controllerrevisions",
            "Name | Controller | Revision | Age",
            vec![
                (json!({"revision": 1}), "x | <none> | 1 | 60s"),
                (
                    json!({"revision": 2, "metadata": {"ownerReferences": [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "w", "controller": true}]}}),
                    "x | statefulset.apps/w | 2 | 60s",
                ),
            ],
        ),
        (
            "coordination.k8s.io",
            "leases",
            "Name | Holder | Age",
            vec![(json!({"spec": {"holderIdentity": "n1"}}), "x | n1 | 60s")],
        ),
        (
            "scheduling.k8s.io",
            "priorityclasses",
            "Name | Value | Global-Default | Age | PreemptionPolicy",
            vec![(
                json!({"value": 1000, "preemptionPolicy": "Never"}),
                "x | 1000 | false | 60s | Never",
            )],
        ),
        (
            "rbac.authorization.k8s.io",
            "roles",
            "Name | Created At",
            vec![(json!({}), "x | 2026-01-01T00:59:00Z")],
        ),
        (
            "rbac.authorization.k8s.io",
            "clusterrolebindings",
            "Name | Role | Age | Users | Groups | ServiceAccounts",
            vec![(
                json!({"roleRef": {"kind": "ClusterRole", "name": "view"}, "subjects": [
                    {"kind": "User", "name": "jo"}, {"kind": "User", "name": "al"}, {"kind": "Group", "name": "g"},
                    {"kind": "ServiceAccount", "name": "s", "namespace": "n"}]}),
                "x | ClusterRole/view | 60s | jo, al | g | n/s",
            )],
        ),
    ] {
        let kind = find(group, "v1", plural).unwrap();
        assert_eq!(headings(kind), heads, "{plural}");
        for (object, want) in rows {
            assert_eq!(shown(group, plural, named(object), true), want, "{plural}");
        }
    }
}

#[test]
fn events_print_alike_in_both_groups_and_carry_the_asked_form() {
    let kind = find("events.k8s.io", "v1", "events").unwrap();
    let stored =
        named(json!({"kind": "Event", "apiVersion": "v1", "message": "hello", "type": "Normal"}));
    let now = Timestamp::parse(NOW).unwrap();
    let mut served = stored.clone();
    convert::to_served(kind, &mut served);
    for object in [stored, served] {
        let row = row_json(kind, object, now, Include::Object);
        assert_eq!(row["cells"][6], "hello");
        assert_eq!(row["object"]["note"], "hello");
        assert_eq!(row["object"]["apiVersion"], "events.k8s.io/v1");
    }
}
