//! What is honoured by being there: it comes back as it was written.

use super::rules::{KEPT, KEPT_STATUS};
use super::*;
use crate::admit;
use crate::decode::{self, FieldValidation};
use crate::facts::Type;
use crate::kind::KINDS;
use crate::time::Timestamp;
use serde_json::json;
use std::collections::BTreeSet;

/// Through the decoder's strict mode, as a request body goes.
fn decoded(kind: &'static Kind, object: &Value) -> Value {
    let bytes = serde_json::to_vec(object).unwrap();
    decode::body(
        Some("application/json"),
        &bytes,
        kind,
        FieldValidation::Strict,
    )
    .unwrap_or_else(|status| panic!("{}: {status}", kind.kind))
    .value
}

/// Through the canonical bytes, as the store keeps them.
fn stored(object: &Value) -> Value {
    serde_json::from_slice(&crate::metadata::canonical(object).bytes).unwrap()
}

fn create(kind: &'static Kind, object: &Value) -> Value {
    let mut object = decoded(kind, object);
    let ctx = admit::Create {
        now: Timestamp::parse("2026-01-01T00:00:00Z").unwrap(),
        uid: "0a1b2c3d-0000-4000-8000-000000000000",
        suffix: "x2x4z",
        namespace: kind.namespaced.then_some("default"),
    };
    admit::create(kind, &mut object, &ctx)
        .unwrap_or_else(|status| panic!("{}: {status}", kind.kind));
    stored(&object)
}

/// The value at a schema path (`a[].b`), from the first item of each list.
fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.')
        .try_fold(object, |value, part| match part.strip_suffix("[]") {
            Some(name) => value.get(name)?.get(0),
            None => value.get(part),
        })
}

/// One object of each kind that has kept fields, with all of them.
fn samples() -> Vec<Value> {
    let reference = json!({"apiVersion": "v1", "fieldPath": "spec", "kind": "Pod", "name": "p",
        "namespace": "default", "resourceVersion": "7", "uid": "u"});
    let port = json!({"appProtocol": "http", "name": "web", "port": 80, "protocol": "TCP"});
    let address = |ip: &str| {
        json!({"hostname": "h", "ip": ip, "nodeName": "n",
        "targetRef": reference})
    };
    vec![
        json!({"apiVersion": "v1", "kind": "Endpoints", "subsets": [{
            "addresses": [address("10.0.0.1")], "notReadyAddresses": [address("10.0.0.2")],
            "ports": [port]}]}),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.0.0.1"],
                "conditions": {"ready": true, "serving": true, "terminating": false},
                "deprecatedTopology": {"a": "b"}, "hints": {"forNodes": [{"name": "n"}], "forZones": [{"name": "z"}]},
                "hostname": "h", "nodeName": "n", "targetRef": reference, "zone": "z"}],
            "ports": [port]}),
        json!({"apiVersion": "v1", "kind": "Node", "spec": {"providerID": "a://b"}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "automountServiceAccountToken": false,
            "secrets": [reference]}),
        json!({"apiVersion": "v1", "kind": "Service", "spec": {"publishNotReadyAddresses": true,
            "selector": {"a": "b"}, "ports": [port]}}),
        json!({"apiVersion": "v1", "kind": "Event", "action": "a", "count": 2,
            "eventTime": "2026-01-01T00:00:00.000000Z", "firstTimestamp": "2026-01-01T00:00:00Z",
            "involvedObject": reference, "lastTimestamp": "2026-01-01T00:00:00Z", "message": "m",
            "reason": "R", "related": reference, "reportingComponent": "a/b",
            "reportingInstance": "i", "series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:00.000000Z"},
            "source": {"component": "c", "host": "h"}, "type": "Normal"}),
        json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "action": "a",
            "eventTime": "2026-01-01T00:00:00.000000Z", "note": "m",
            "reason": "R", "regarding": reference, "related": reference,
            "reportingController": "a/b", "reportingInstance": "i",
            "series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:00.000000Z"}, "type": "Normal"}),
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": {
            "acquireTime": "2026-01-01T00:00:00.000000Z", "holderIdentity": "h",
            "leaseDurationSeconds": 1, "leaseTransitions": 2, "preferredHolder": "p",
            "renewTime": "2026-01-01T00:00:00.000000Z", "strategy": "OldestEmulationVersion"}}),
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": 7,
            "globalDefault": true, "description": "d"}),
        json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "data": {"a": {"b": 1}},
            "revision": 3}),
        json!({"apiVersion": "v1", "kind": "ReplicationController", "spec": {
            "minReadySeconds": 1, "replicas": 2, "selector": {"a": "b"},
            "template": {"metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "c", "image": "i"}]}}}}),
    ]
}

/// Fields that upstream does not take from a new object of this version: nothing to compare.
const NOT_ON_CREATION: [&str; 4] = [
    "deprecatedCount",
    "deprecatedFirstTimestamp",
    "deprecatedLastTimestamp",
    "deprecatedSource",
];

#[test]
fn what_is_kept_comes_back_as_written() {
    let samples = samples();
    let mut shown = 0;
    for kind in KINDS {
        let mut paths = Vec::new();
        leaves(kind, &mut |leaf| {
            if leaf
                .rule
                .is_some_and(|r| r.verdict == Verdict::Honoured(KEPT))
            {
                paths.push(leaf.path.to_owned());
            }
        });
        if paths.is_empty() {
            continue;
        }
        let of_kind = |s: &&Value| {
            s["kind"] == kind.kind && s["apiVersion"].as_str() == Some(&*kind.api_version())
        };
        let sample = samples.iter().find(of_kind);
        let mut sample = sample
            .unwrap_or_else(|| panic!("no sample of {}", kind.kind))
            .clone();
        sample["metadata"] =
            json!({"name": "a", "namespace": kind.namespaced.then_some("default")});
        let back = create(kind, &sample);
        for path in paths {
            if NOT_ON_CREATION.contains(&&*path) {
                continue;
            }
            let sent = at(&sample, path.trim_end_matches("[]"));
            assert!(sent.is_some(), "the sample of {} lacks {path}", kind.kind);
            assert_eq!(
                at(&back, path.trim_end_matches("[]")),
                sent,
                "{} {path}",
                kind.kind
            );
            shown += 1;
        }
    }
    assert!(shown > 50, "{shown}");
}

/// A value for every field of a message, and what is in it.
fn filled(message: &'static Message) -> Value {
    let value = |field: &facts::Field| match field.ty {
        Type::Str => match field.name {
            "ip" | "podIP" | "hostIP" => "10.0.0.1".into(),
            "qosClass" => "BestEffort".into(),
            "phase" => "Active".into(),
            name => name.to_ascii_lowercase().into(),
        },
        Type::Bool => true.into(),
        Type::Int32 | Type::Int64 | Type::Double | Type::IntOrString => 1.into(),
        Type::Bytes => "MQ==".into(),
        Type::Time => "2026-01-01T00:00:00Z".into(),
        Type::MicroTime => "2026-01-01T00:00:00.000000Z".into(),
        Type::Quantity => "1".into(),
        Type::Raw | Type::FieldsV1 | Type::Any => json!({"a": "b"}),
        Type::Msg(_) => field.ty.message().map_or(Value::Null, filled),
    };
    let fields = message.fields.iter().map(|field| {
        let value = value(field);
        let value = match field.shape {
            Shape::One => value,
            Shape::List => json!([value]),
            Shape::Map => json!({"cpu": value}),
            Shape::MapOfLists => json!({"a": [value]}),
        };
        (field.name.to_owned(), value)
    });
    Value::Object(fields.collect())
}

/// An object with nothing in it but the value at a schema path, and the path as it is reported.
fn only(
    message: &'static Message,
    path: &str,
    value: impl Fn(&facts::Field) -> Value,
) -> (Value, String) {
    let (head, rest) = path.split_once('.').unwrap_or((path, ""));
    let name = head.trim_end_matches("[]");
    let field = message.field(name).unwrap();
    let (inner, below) = match field.ty.message() {
        Some(inner) if !rest.is_empty() => only(inner, rest, value),
        _ => (value(field), String::new()),
    };
    let dot = if below.is_empty() { "" } else { "." };
    let (inner, index) = match field.shape {
        Shape::List => (json!([inner]), if below.is_empty() { "" } else { "[0]" }),
        _ => (inner, ""),
    };
    (json!({name: inner}), format!("{name}{index}{dot}{below}"))
}

/// At run time each leaf gets what the list says of it, in pods and in templates.
#[test]
fn every_leaf_that_is_not_carried_out_is_told_of() {
    let (mut warned, mut refused) = (0, 0);
    for kind in KINDS {
        let message = facts::message(kind.message).unwrap();
        leaves(kind, &mut |leaf| {
            let rule = leaf.rule.unwrap();
            // Either value asks for what happens anyway.
            if rule.fine.len() == 2 && type_at(message, leaf.path) == Type::Bool {
                return;
            }
            let value = |field: &facts::Field| match field.ty {
                Type::Str => "something else".into(),
                Type::Bool => (!rule.fine.contains(&"true")).into(),
                Type::Msg(_) => json!({}),
                _ => 7.into(),
            };
            let (object, path) = only(message, leaf.path, value);
            let (warnings, refusals) = review(kind, &object);
            let warnings: Vec<_> = warnings
                .iter()
                .map(|w| w.text.split(':').next().unwrap())
                .collect();
            let refusals: Vec<_> = refusals.iter().map(|c| c.field.as_str()).collect();
            match rule.verdict {
                Verdict::Warned => {
                    assert_eq!(
                        (warnings, refusals),
                        (vec![&*path], vec![]),
                        "{} {path}",
                        kind.kind
                    );
                    warned += 1;
                }
                Verdict::Refused => {
                    assert_eq!(
                        (warnings, refusals),
                        (vec![], vec![&*path]),
                        "{} {path}",
                        kind.kind
                    );
                    refused += 1;
                }
                Verdict::Honoured(_) | Verdict::Inside => {
                    assert_eq!(
                        (warnings.len(), refusals.len()),
                        (0, 0),
                        "{} {path}",
                        kind.kind
                    );
                }
            }
        });
    }
    assert!(warned > 50 && refused > 100, "{warned} {refused}");
}

/// The type at the end of a schema path.
fn type_at(message: &'static Message, path: &str) -> Type {
    let (head, rest) = path.split_once('.').unwrap_or((path, ""));
    let field = message.field(head.trim_end_matches("[]")).unwrap();
    match field.ty.message() {
        Some(inner) if !rest.is_empty() => type_at(inner, rest),
        _ => field.ty,
    }
}

#[test]
fn every_leaf_of_a_status_comes_back_as_written() {
    let mut shown = BTreeSet::new();
    for kind in KINDS.iter().filter(|kind| kind.has_status()) {
        let message = facts::message(kind.message).unwrap();
        let status = message.field("status").unwrap().ty.message().unwrap();
        let mut old = json!({"apiVersion": kind.api_version(), "kind": kind.kind,
            "metadata": {"name": "a", "namespace": kind.namespaced.then_some("default")},
            "spec": {"hard": {"pods": "1"}, "containers": [{"name": "name"}],
                     "resourceClaims": [{"name": "name"}], "type": "LoadBalancer"},
            "status": {"qosClass": "BestEffort", "phase": "Active"}});
        let mut sent = filled(status);
        if kind.kind == "ResourceQuota" {
            sent = json!({"hard": {"pods": "1"}, "used": {"pods": "1"}});
        }
        if kind.kind == "Service" {
            let ingress = &mut sent["loadBalancer"]["ingress"][0];
            (ingress["ipMode"], ingress["ports"][0]["protocol"]) = ("VIP".into(), "TCP".into());
        }
        old["spec"] = decoded_loosely(kind, &old)["spec"].take();
        let mut new = old.clone();
        new["status"] = sent.clone();
        let ctx = admit::Update {
            now: Timestamp::default(),
            subresource: Some("status"),
        };
        let mut new = decoded_loosely(kind, &new);
        assert_eq!(new["status"], sent, "{}: lost in decoding", kind.kind);
        admit::update(kind, &old, &mut new, &ctx)
            .unwrap_or_else(|status| panic!("{}: {status}", kind.kind));
        assert_eq!(stored(&new)["status"], sent, "{}", kind.kind);
        leaves(kind, &mut |leaf| {
            let kept = leaf.rule.map(|r| r.verdict) == Some(Verdict::Honoured(KEPT_STATUS));
            if kept {
                assert!(at(&new, leaf.path).is_some(), "{} {}", kind.kind, leaf.path);
                shown.insert(format!("{} {}", kind.kind, leaf.path));
            }
        });
    }
    assert!(shown.len() > 30, "{shown:?}");
}

/// Only what the kind has.
fn decoded_loosely(kind: &'static Kind, object: &Value) -> Value {
    let bytes = serde_json::to_vec(object).unwrap();
    decode::body(
        Some("application/json"),
        &bytes,
        kind,
        FieldValidation::Ignore,
    )
    .unwrap_or_else(|status| panic!("{}: {status}", kind.kind))
    .value
}
