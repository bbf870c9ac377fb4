use super::*;
use serde_json::{Value, json};

fn document(path: &str) -> Value {
    serde_json::from_slice(&v3_document(path).unwrap().plain()).unwrap()
}

#[test]
fn index_names_every_group_version_with_its_hash() {
    let index: Value = serde_json::from_slice(&v3_index()).unwrap();
    let paths = index["paths"].as_object().unwrap();
    assert_eq!(paths.len(), group_versions().len());
    for (path, entry) in paths {
        let hash = &v3_document(path).unwrap().hash;
        assert_eq!(
            entry["serverRelativeURL"],
            format!("/openapi/v3/{path}?hash={hash}")
        );
    }
    assert!(v3_document("apis/nope/v1").is_none());
}

#[test]
fn documents_carry_what_apply_needs() {
    let core = document("api/v1");
    let schemas = &core["components"]["schemas"];
    let containers = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
    assert_eq!(
        containers["items"]["$ref"],
        "#/components/schemas/io.k8s.api.core.v1.Container"
    );
    let volumes = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["volumes"];
    assert_eq!(volumes["x-kubernetes-patch-strategy"], "merge,retainKeys");
    assert_eq!(
        schemas["io.k8s.api.core.v1.Pod"]["x-kubernetes-group-version-kind"],
        json!([{"group": "", "version": "v1", "kind": "Pod"}])
    );
    let property = |message: &str, field: &str| {
        schemas[format!("io.k8s.api.core.v1.{message}")]["properties"][field].clone()
    };
    for (message, field, keys) in [
        ("Container", "ports", ["containerPort", "protocol"]),
        ("ServiceSpec", "ports", ["port", "protocol"]),
        (
            "PodSpec",
            "topologySpreadConstraints",
            ["topologyKey", "whenUnsatisfiable"],
        ),
    ] {
        let list = property(message, field);
        assert_eq!(list["x-kubernetes-list-type"], "map");
        assert_eq!(list["x-kubernetes-list-map-keys"], json!(keys));
        assert_eq!(list["x-kubernetes-patch-merge-key"], keys[0]);
    }
    let node_selector = property("PodSpec", "nodeSelector");
    assert_eq!(node_selector["x-kubernetes-map-type"], "atomic");
    let selector = &schemas["io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector"];
    assert_eq!(selector["x-kubernetes-map-type"], "atomic");
    let patch = &core["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
    assert!(
        patch["parameters"]
            .as_array()
            .unwrap()
            .iter()
            .any(|p| p["name"] == "fieldValidation")
    );
    assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Pod");
    let spec = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"];
    assert_eq!(
        spec["hostUsers"]["description"],
        "Refused: not supported by this release; pods share the board's users. Accepted: true."
    );
    assert_eq!(
        spec["containers"]["description"],
        "The containers, by name."
    );
    let apps = document("apis/apps/v1");
    let strategy = &apps["components"]["schemas"]["io.k8s.api.apps.v1.DeploymentSpec"]["properties"]
        ["strategy"];
    assert_eq!(strategy["x-kubernetes-patch-strategy"], "retainKeys");
}

#[test]
fn every_reference_resolves() {
    fn references<'a>(value: &'a Value, out: &mut Vec<&'a str>) {
        match value {
            Value::Object(map) => {
                out.extend(map.get("$ref").and_then(Value::as_str));
                map.values().for_each(|v| references(v, out));
            }
            Value::Array(items) => items.iter().for_each(|v| references(v, out)),
            _ => {}
        }
    }
    for (group, version) in group_versions() {
        let path = if group.is_empty() {
            format!("api/{version}")
        } else {
            format!("apis/{group}/{version}")
        };
        let document = document(&path);
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            let name = reference.strip_prefix("#/components/schemas/").unwrap();
            assert!(
                document["components"]["schemas"].get(name).is_some(),
                "{reference}"
            );
        }
    }
}

#[test]
fn documents_stay_small() {
    let total: usize = group_versions().len().min(documents().len());
    assert_eq!(total, documents().len());
    let size: usize = documents().iter().map(|d| d.gzip.len()).sum();
    assert!(size < 80_000, "{size}");
    for v2 in [v2_json(), v2_protobuf()] {
        assert!(v2.gzip.len() < 60_000, "{}", v2.gzip.len());
    }
}

/// A decoder of exactly what a generic one needs: numbers and lengths.
fn fields(bytes: &[u8]) -> Vec<(u64, &[u8])> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return value;
            }
        }
    }
    let mut rest = bytes;
    let mut out = Vec::new();
    while !rest.is_empty() {
        let tag = varint(&mut rest);
        match tag & 7 {
            0 => {
                let value = varint(&mut rest);
                assert_eq!(value, 1, "a truth value");
                out.push((tag >> 3, &b"\x01"[..]));
            }
            2 => {
                let length = usize::try_from(varint(&mut rest)).unwrap();
                let (body, after) = rest.split_at(length);
                out.push((tag >> 3, body));
                rest = after;
            }
            other => panic!("wire type {other}"),
        }
    }
    out
}

fn one<'a>(message: &'a [u8], path: &[u64]) -> &'a [u8] {
    path.iter().fold(message, |at, number| {
        let found = fields(at).into_iter().find(|f| f.0 == *number);
        found.unwrap_or_else(|| panic!("no field {number}")).1
    })
}

fn all(message: &[u8], number: u64) -> Vec<&[u8]> {
    let of = fields(message).into_iter().filter(|f| f.0 == number);
    of.map(|f| f.1).collect()
}

fn named<'a>(message: &'a [u8], number: u64, name: &str) -> &'a [u8] {
    let pairs = all(message, number);
    let found = pairs.into_iter().find(|p| one(p, &[1]) == name.as_bytes());
    one(found.unwrap_or_else(|| panic!("no {name}")), &[2])
}

fn extension(message: &[u8], number: u64, name: &str) -> Value {
    serde_json::from_slice(one(named(message, number, name), &[2])).unwrap()
}

#[test]
fn v2_in_protobuf_is_the_document_that_gnostic_reads() {
    let bytes = v2_protobuf().plain();
    assert_eq!(one(&bytes, &[1]), b"2.0");
    assert_eq!(one(&bytes, &[2, 1]), b"Kubernetes");
    let definitions = one(&bytes, &[9]);
    let spec = named(definitions, 1, "io.k8s.api.core.v1.PodSpec");
    assert_eq!(one(spec, &[22, 1]), b"object");
    assert_eq!(all(spec, 19), [b"containers"]);
    let containers = named(one(spec, &[25]), 1, "containers");
    assert_eq!(one(containers, &[22, 1]), b"array");
    assert_eq!(
        one(containers, &[23, 1, 1]),
        b"#/definitions/io.k8s.api.core.v1.Container"
    );
    assert_eq!(
        extension(containers, 31, "x-kubernetes-patch-merge-key"),
        "name"
    );
    assert_eq!(
        extension(containers, 31, "x-kubernetes-patch-strategy"),
        "merge"
    );
    let pod = named(definitions, 1, "io.k8s.api.core.v1.Pod");
    assert_eq!(
        extension(pod, 31, "x-kubernetes-group-version-kind"),
        json!([{"group": "", "version": "v1", "kind": "Pod"}])
    );
    let labels = named(
        one(
            named(
                definitions,
                1,
                "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta",
            ),
            &[25],
        ),
        1,
        "labels",
    );
    assert_eq!(one(labels, &[21, 1, 22, 1]), b"string");

    let paths = one(&bytes, &[8]);
    let object = named(paths, 2, "/api/v1/namespaces/{namespace}/pods/{name}");
    let patch = one(object, &[8]);
    assert_eq!(
        extension(patch, 13, "x-kubernetes-group-version-kind"),
        json!({"group": "", "version": "v1", "kind": "Pod"})
    );
    // Old clients dry-run on the server only when the operation says so.
    let names: Vec<&[u8]> = all(patch, 8)
        .into_iter()
        .filter_map(|item| {
            let parameter = fields(one(item, &[1]));
            let query = parameter.into_iter().find(|f| f.0 == 2)?.1;
            Some(one(query, &[3, 4]))
        })
        .collect();
    assert!(names.contains(&&b"dryRun"[..]), "{names:?}");
    assert_eq!(
        one(patch, &[9, 1, 2, 1, 2, 1, 1]),
        b"#/definitions/io.k8s.api.core.v1.Pod"
    );
}

#[test]
fn v2_says_the_same_in_both_forms() {
    let json: Value = serde_json::from_slice(&v2_json().plain()).unwrap();
    let bytes = v2_protobuf().plain();
    let names = |message: &[u8], number: u64| -> Vec<String> {
        let pairs = all(message, number).into_iter();
        pairs
            .map(|p| String::from_utf8(one(p, &[1]).to_vec()).unwrap())
            .collect()
    };
    for (key, number, pair) in [("paths", 8, 2), ("definitions", 9, 1)] {
        let mut got = names(one(&bytes, &[number]), pair);
        got.sort();
        let want: Vec<&String> = json[key].as_object().unwrap().keys().collect();
        let mut want: Vec<String> = want.into_iter().cloned().collect();
        want.sort();
        assert_eq!(got, want);
    }
    assert_eq!(
        json["definitions"]["io.k8s.apimachinery.pkg.util.intstr.IntOrString"],
        json!({"type": "string", "format": "int-or-string"})
    );
    assert_eq!(
        json["definitions"]["io.k8s.api.core.v1.PodSpec"]["properties"]["securityContext"]["$ref"],
        "#/definitions/io.k8s.api.core.v1.PodSecurityContext"
    );
}

#[test]
fn every_verb_of_every_kind_has_its_operation() {
    let json: Value = serde_json::from_slice(&v2_json().plain()).unwrap();
    let mut actions: Vec<(String, String)> = Vec::new();
    for path in json["paths"].as_object().unwrap().values() {
        for operation in path.as_object().unwrap().values() {
            if let Some(action) = operation["x-kubernetes-action"].as_str() {
                let kind = operation["x-kubernetes-group-version-kind"]["kind"].as_str();
                actions.push((kind.unwrap().to_owned(), action.to_owned()));
            }
        }
    }
    for kind in KINDS {
        for verb in kind.verbs.iter().filter(|v| **v != "watch") {
            let action = match *verb {
                "create" => "post",
                "update" => "put",
                other => other,
            };
            let wanted = (kind.kind.to_owned(), action.to_owned());
            assert!(actions.contains(&wanted), "{wanted:?}");
        }
    }
    let mut ids: Vec<&str> = json["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|p| p.as_object().unwrap().values())
        .filter_map(|o| o["operationId"].as_str())
        .collect();
    for id in [
        "listCoreV1NamespacedPod",
        "listCoreV1PodForAllNamespaces",
        "deleteAppsV1CollectionNamespacedDeployment",
        "replaceCoreV1NamespacedPodStatus",
        "createRbacAuthorizationV1ClusterRole",
        "createCoreV1NamespacedServiceAccountToken",
    ] {
        assert!(ids.contains(&id), "{id}");
    }
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "identifiers of operations are unique");
}

#[test]
fn one_message_in_two_groups_names_its_group() {
    let core = document("api/v1");
    let events = document("apis/events.k8s.io/v1");
    let gvk = |document: &Value, name: &str| {
        document["components"]["schemas"][name]["x-kubernetes-group-version-kind"][0]["group"]
            .clone()
    };
    assert_eq!(gvk(&core, "io.k8s.api.core.v1.Event"), "");
    assert_eq!(gvk(&events, "io.k8s.api.events.v1.Event"), "events.k8s.io");
    let apps = document("apis/apps/v1");
    assert_eq!(gvk(&apps, "io.k8s.api.autoscaling.v1.Scale"), "autoscaling");
    let token =
        &core["paths"]["/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"]["post"];
    assert_eq!(
        token["x-kubernetes-group-version-kind"],
        json!({"group": "authentication.k8s.io", "version": "v1", "kind": "TokenRequest"})
    );
}
