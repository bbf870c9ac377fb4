//! What nodes may do.

use serde_json::{Value, json};

use crate::rbac::node::{Graph, Pod, decide, node_of};
use crate::rbac::restrict::{Operation, Write, admit};
use crate::rbac::*;

fn pod(node: &str) -> Pod {
    serde_json::from_value(json!({"spec": {
        "nodeName": node, "serviceAccountName": "runner", "imagePullSecrets": [{"name": "pull"}],
        "volumes": [
            {"name": "a", "secret": {"secretName": "mounted"}},
            {"name": "b", "configMap": {"name": "settings"}},
            {"name": "c", "projected": {"sources": [{"secret": {"name": "projected"}}, {"configMap": {"name": "part"}}]}},
            {"name": "d", "persistentVolumeClaim": {"claimName": "data"}},
            {"name": "e", "ephemeral": {"volumeClaimTemplate": {}}},
            {"name": "f", "emptyDir": {}},
        ],
        "containers": [{
            "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "env", "key": "k"}}}, {"name": "B", "value": "x"}],
            "envFrom": [{"configMapRef": {"name": "envs"}}, {"secretRef": null}],
        }],
        "initContainers": [{"envFrom": [{"secretRef": {"name": "init"}}]}],
        "ephemeralContainers": null,
    }}))
    .unwrap()
}

fn may(graph: &Graph, node: &str, text: &str, selected: Option<&str>) -> Result<(), String> {
    let words: Vec<&str> = text
        .split(' ')
        .map(|w| if w == "-" { "" } else { w })
        .collect();
    let (group, resource) = words[1].split_once('/').unwrap();
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let resource = Resource {
        group,
        resource,
        subresource,
        namespace: words[2],
        name: words[3],
    };
    decide(
        graph,
        node,
        &Attributes::resource(words[0], resource),
        selected,
    )
}

#[test]
fn a_node_reads_what_its_pods_refer_to() {
    let mut graph = Graph::default();
    graph.set_pod("ns", "p", Some(&pod("n1")));
    graph.set_pod("ns", "q", Some(&pod("n2")));
    graph.set_pod("ns", "unbound", Some(&pod("")));
    let none = "no relationship found between node 'n3' and this object";
    let yes: Result<(), &str> = Ok(());
    let cases = [
        ("n1", "get /secrets ns mounted", yes),
        ("n1", "watch /secrets ns pull", yes),
        ("n1", "list /secrets ns env", yes),
        ("n1", "get /secrets ns init", yes),
        ("n1", "get /secrets ns projected", yes),
        ("n1", "get /configmaps ns settings", yes),
        ("n1", "get /configmaps ns envs", yes),
        ("n1", "get /configmaps ns part", yes),
        ("n1", "get /persistentvolumeclaims ns data", yes),
        ("n1", "get /persistentvolumeclaims ns p-e", yes),
        ("n1", "create /serviceaccounts/token ns runner", yes),
        ("n1", "get /pods ns p", yes),
        ("n3", "get /secrets ns mounted", Err(none)),
        ("n3", "get /pods ns p", Err(none)),
        ("n3", "create /serviceaccounts/token ns runner", Err(none)),
        ("n3", "get /persistentvolumes - x", Err(none)),
        ("n1", "list /secrets ns -", Err("No Object name found")),
        (
            "n1",
            "list /secrets - -",
            Err("can only read namespaced object of this type"),
        ),
        (
            "n1",
            "update /secrets ns mounted",
            Err("can only read resources of this type"),
        ),
        (
            "n1",
            "list /pods - -",
            Err("can only list/watch pods with spec.nodeName field selector"),
        ),
        ("n1", "get /nodes - n1", yes),
        ("n1", "list /nodes - n1", yes),
        (
            "n1",
            "get /nodes - n2",
            Err("node 'n1' cannot read 'n2', only its own Node object"),
        ),
        (
            "n1",
            "list /nodes - -",
            Err("node 'n1' cannot read all nodes, only its own Node object"),
        ),
        ("n1", "delete /nodes - n1", Err("")),
        ("n1", "patch /nodes/status - n1", yes),
        ("n1", "update /pods/status ns p", yes),
        ("n1", "update /pods ns p", Err("")),
        (
            "n1",
            "update coordination.k8s.io/leases kube-node-lease n1",
            yes,
        ),
        (
            "n1",
            "create coordination.k8s.io/leases kube-node-lease -",
            yes,
        ),
        (
            "n1",
            "update coordination.k8s.io/leases kube-node-lease n2",
            Err("can only access node lease with the same name as the requesting node"),
        ),
        (
            "n1",
            "get coordination.k8s.io/leases ns n1",
            Err("can only access leases in the \"kube-node-lease\" system namespace"),
        ),
        ("n1", "create /events ns -", yes),
        ("n1", "list /services - -", yes),
        ("n1", "delete /services ns x", Err("")),
        ("n1", "list apps/deployments - -", Err("")),
    ];
    for (node, text, want) in cases {
        let got = may(&graph, node, text, None);
        assert_eq!(got, want.map_err(str::to_owned), "{node}: {text}");
    }
    assert_eq!(may(&graph, "n1", "watch /pods - -", Some("n1")), Ok(()));
    assert!(may(&graph, "n1", "watch /pods - -", Some("n2")).is_err());
}

#[test]
fn the_graph_follows_pods() {
    let mut graph = Graph::default();
    graph.set_pod("ns", "p", Some(&pod("n1")));
    graph.set_pod("ns", "q", Some(&pod("n1")));
    let reads = |graph: &Graph, node: &str| may(graph, node, "get /secrets ns env", None).is_ok();
    graph.set_pod("ns", "p", None);
    assert!(reads(&graph, "n1"));
    graph.set_pod("ns", "q", Some(&pod("n2")));
    assert!(!reads(&graph, "n1"));
    assert!(reads(&graph, "n2"));
    graph.set_pod("ns", "q", None);
    graph.set_pod("ns", "q", None);
    assert!(!reads(&graph, "n2"));
}

#[test]
fn only_members_of_the_group_are_nodes() {
    let groups = ["system:nodes".to_owned()];
    let of = |name, groups| node_of(User { name, groups });
    assert_eq!(of("system:node:a", &groups[..]), Some("a"));
    assert_eq!(of("system:node:a", &[]), None);
    assert_eq!(of("a", &groups), None);
}

fn write<'a>(text: &'a str, new: &'a Value, old: &'a Value) -> Write<'a> {
    let words: Vec<&str> = text.split(' ').collect();
    let (group, resource) = words[1].split_once('/').unwrap();
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    Write {
        node: "n1",
        operation: match words[0] {
            "create" => Operation::Create,
            "update" => Operation::Update,
            _ => Operation::Delete,
        },
        group,
        resource,
        subresource,
        namespace: words[2],
        name: words[3],
        new: Some(new),
        old: Some(old),
    }
}

#[test]
fn a_node_writes_its_own_and_nothing_that_steers_pods() {
    let here = json!({"metadata": {"labels": {"a": "1"}, "uid": "u"}, "spec": {"nodeName": "n1"}});
    let there = json!({"metadata": {"labels": {"a": "1"}, "uid": "u"}, "spec": {"nodeName": "n2"}});
    let relabelled = json!({"metadata": {"labels": {"a": "2"}}, "spec": {"nodeName": "n1"}});
    let node = |labels: Value, taints: Value| json!({"metadata": {"labels": labels}, "spec": {"taints": taints}});
    let plain = node(json!({"kubernetes.io/hostname": "x"}), json!([]));
    let own = node(
        json!({"kubernetes.io/hostname": "x", "example.com/a": "b", "kubelet.kubernetes.io/x": "y"}),
        json!([]),
    );
    let fenced = node(
        json!({"node-restriction.kubernetes.io/a": "b", "kubernetes.io/hostname": "x"}),
        json!([]),
    );
    let below = node(
        json!({"a.node-restriction.kubernetes.io/a": "b"}),
        json!([]),
    );
    let role = node(
        json!({"node-role.kubernetes.io/control-plane": ""}),
        json!([]),
    );
    let tainted = node(
        json!({"kubernetes.io/hostname": "x"}),
        json!([{"key": "a"}]),
    );
    let nothing = json!({});
    let token = |uid: &str| json!({"spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": uid}}});
    let (bound, stale) = (token("u"), token("old"));
    let yes: Result<(), &str> = Ok(());
    let cases = [
        ("update /pods/status ns p", &here, &here, yes),
        (
            "update /pods/status ns p",
            &there,
            &there,
            Err("node \"n1\" can only update pod status for pods with spec.nodeName set to itself"),
        ),
        (
            "update /pods/status ns p",
            &relabelled,
            &here,
            Err("node \"n1\" cannot update labels through pod status"),
        ),
        ("delete /pods ns p", &nothing, &here, yes),
        (
            "delete /pods ns p",
            &nothing,
            &there,
            Err("node \"n1\" can only delete pods with spec.nodeName set to itself"),
        ),
        ("create /pods/eviction ns p", &nothing, &here, yes),
        (
            "create /pods/eviction ns p",
            &nothing,
            &there,
            Err("node n1 can only evict pods with spec.nodeName set to itself"),
        ),
        (
            "create /pods ns p",
            &here,
            &nothing,
            Err(
                "pod does not have \"kubernetes.io/config.mirror\" annotation, node \"n1\" can only create mirror pods",
            ),
        ),
        ("update /nodes - n1", &own, &plain, yes),
        ("create /nodes - n1", &own, &nothing, yes),
        ("update /nodes/status - n1", &plain, &plain, yes),
        (
            "update /nodes/status - n2",
            &plain,
            &plain,
            Err("node \"n1\" is not allowed to modify node \"n2\""),
        ),
        (
            "update /nodes - n1",
            &fenced,
            &plain,
            Err("is not allowed to modify labels: node-restriction.kubernetes.io/a"),
        ),
        (
            "update /nodes - n1",
            &plain,
            &fenced,
            Err("is not allowed to modify labels: node-restriction.kubernetes.io/a"),
        ),
        (
            "create /nodes - n1",
            &below,
            &nothing,
            Err(
                "node \"n1\" is not allowed to set the following labels: a.node-restriction.kubernetes.io/a",
            ),
        ),
        (
            "create /nodes - n1",
            &role,
            &nothing,
            Err(
                "node \"n1\" is not allowed to set the following labels: node-role.kubernetes.io/control-plane",
            ),
        ),
        (
            "update /nodes - n1",
            &tainted,
            &plain,
            Err("node \"n1\" is not allowed to modify taints"),
        ),
        (
            "update coordination.k8s.io/leases kube-node-lease n1",
            &nothing,
            &nothing,
            yes,
        ),
        (
            "create coordination.k8s.io/leases kube-node-lease n2",
            &nothing,
            &nothing,
            Err("can only access node lease with the same name as the requesting node"),
        ),
        ("create /serviceaccounts/token ns sa", &bound, &here, yes),
        (
            "create /serviceaccounts/token ns sa",
            &bound,
            &there,
            Err("node requested token bound to a pod scheduled on a different node"),
        ),
        (
            "create /serviceaccounts/token ns sa",
            &nothing,
            &nothing,
            Err("node requested token not bound to a pod"),
        ),
        (
            "create /serviceaccounts/token ns sa",
            &stale,
            &here,
            Err(
                "the UID in the bound object reference (old) does not match the UID in record. The object might have been deleted and then recreated",
            ),
        ),
        ("create /events ns e", &nothing, &nothing, yes),
    ];
    for (text, new, old, want) in cases {
        let got = admit(&write(text, new, old));
        assert_eq!(got, want.map_err(str::to_owned), "{text} {new} {old}");
    }
}

#[test]
fn a_mirror_pod_refers_to_nothing() {
    let mirror = json!({
        "metadata": {
            "annotations": {"kubernetes.io/config.mirror": "x"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "u", "controller": true}],
        },
        "spec": {"nodeName": "n1", "containers": [{"name": "c"}]},
    });
    let check = |change: &dyn Fn(&mut Value)| {
        let mut pod = mirror.clone();
        change(&mut pod);
        admit(&write("create /pods ns p", &pod, &Value::Null))
    };
    assert_eq!(check(&|_| {}), Ok(()));
    let changes: [&dyn Fn(&mut Value); 6] = [
        &|pod| pod["spec"]["nodeName"] = "n2".into(),
        &|pod| pod["metadata"]["ownerReferences"][0]["name"] = "n2".into(),
        &|pod| pod["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] = true.into(),
        &|pod| pod["spec"]["serviceAccountName"] = "sa".into(),
        &|pod| pod["spec"]["volumes"] = json!([{"name": "v", "secret": {"secretName": "s"}}]),
        &|pod| pod["spec"]["containers"][0]["envFrom"] = json!([{"configMapRef": {"name": "c"}}]),
    ];
    for (n, change) in changes.iter().enumerate() {
        assert!(check(change).is_err(), "change {n}");
    }
}
