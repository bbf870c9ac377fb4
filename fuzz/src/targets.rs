//! What arbitrary bytes are fed to, and what must hold whatever they are.
//!
//! A target panics when it finds something; that is the only way it fails.

#[path = "../../link/src/mdns/packet.rs"]
mod packet;

use bramble_api::admit::{self, Create, Update};
use bramble_api::apply;
use bramble_api::decode::{self, FieldValidation, MAX_DEPTH};
use bramble_api::kind::{KINDS, Kind, find};
use bramble_api::metadata;
use bramble_api::patch;
use bramble_api::selector::{FieldSelector, LabelSelector};
use bramble_api::status::Status;
use bramble_api::time::Timestamp;
use serde_json::{Value, json};

/// A name, what takes the bytes, and inputs to start from.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    pub seeds: &'static [&'static [u8]],
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target {
        name: "json",
        run: json_body,
        seeds: &[POD, DEPLOYMENT, SERVICE, b"{}", b"[[[[1e400]]]]", b"\"\\ud800\""],
    },
    Target {
        name: "yaml",
        run: yaml_body,
        seeds: &[
            b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  a: |\n    b\n",
            b"a: &a [x]\nb: [*a, *a]\n<<: {c: 0x1F}\n? [1]\n: !!binary aGk=\n---\n...\n",
            POD,
        ],
    },
    Target {
        name: "protobuf",
        run: protobuf_body,
        seeds: &[
            b"k8s\0\n\x0f\n\x02v1\x12\tConfigMap\x12\x10\n\x06\n\x01a\"\0\x12\x06\n\x01a\x12\x01b\x1a\0\"\0",
            b"k8s\0\n\x09\n\x02v1\x12\x03Pod\x12\x04\n\x02\n\0",
        ],
    },
    Target {
        name: "delete",
        run: delete_options,
        seeds: &[
            br#"{"kind":"DeleteOptions","apiVersion":"v1","propagationPolicy":"Orphan","gracePeriodSeconds":-1,"preconditions":{"uid":"a"},"dryRun":["All"]}"#,
            b"k8s\0\n\x13\n\x02v1\x12\x0dDeleteOptions\x12\x02\x08\x05",
        ],
    },
    Target {
        name: "json-patch",
        run: json_patch,
        seeds: &[
            br#"[{"op":"test","path":"/spec/replicas","value":1},{"op":"copy","from":"/spec","path":"/metadata/annotations"}]"#,
            br#"[{"op":"move","from":"/spec/template","path":"/spec/template/spec/containers/-"},{"op":"remove","path":""}]"#,
            br#"[{"op":"add","path":"/spec/template/spec/containers/0","value":{"name":"~1~0"}}]"#,
        ],
    },
    Target {
        name: "merge-patch",
        run: merge_patch,
        seeds: &[br#"{"metadata":{"labels":{"a":null}},"spec":{"template":{"spec":null}}}"#, DEPLOYMENT],
    },
    Target {
        name: "strategic-patch",
        run: strategic_patch,
        seeds: &[
            br#"{"spec":{"template":{"spec":{"$setElementOrder/containers":[{"name":"c"},{"name":"d"}],"containers":[{"name":"d","image":"x"},{"$patch":"delete","name":"c"}]}}}}"#,
            br#"{"spec":{"$retainKeys":["replicas"],"strategy":{"$patch":"replace","type":"Recreate"}}}"#,
            br#"{"metadata":{"$deleteFromPrimitiveList/finalizers":["a"],"finalizers":["b"]}}"#,
            DEPLOYMENT,
        ],
    },
    Target {
        name: "apply",
        run: apply_patch,
        seeds: &[
            DEPLOYMENT,
            br#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d","managedFields":[{"manager":"m","operation":"Apply","apiVersion":"apps/v1","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{}}}}}}}}]}}"#,
        ],
    },
    Target {
        name: "labels",
        run: label_selector,
        seeds: &[b"a=b,c!=d,e in (f,g),h notin (i),j,!k", b"x>1,y<2", b"a in (,b),  c  =  d"],
    },
    Target {
        name: "fields",
        run: field_selector,
        seeds: &[
            b"metadata.name=a,status.phase!=Running,spec.nodeName==n",
            b"involvedObject.name=a\\,b,type=\\=,metadata.namespace!=",
        ],
    },
    Target {
        name: "mdns",
        run: mdns,
        seeds: &[
            b"\x12\x34\0\0\0\x01\0\0\0\0\0\0\x08_bramble\x04_tcp\x05local\0\0\x0c\x80\x01",
            b"\0\x07\x84\0\0\0\0\x04\0\0\0\0\x08_bramble\x04_tcp\x05local\0\0\x0c\0\x01\0\0\0\x0a\0\x04\x01a\xc0\x0c\xc0\x2b\0\x21\x80\x01\0\0\0\x78\0\x0b\0\0\0\0\x22\xb3\x02pi\xc0\x1a\xc0\x2b\0\x10\x80\x01\0\0\0\x78\0\x0a\x09cluster=a\xc0\x41\0\x01\x80\x01\0\0\0\x78\0\x04\x0a\x01\x02\x03",
        ],
    },
];

const POD: &[u8] = br#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","labels":{"a":"b"},"ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"n","uid":"u"}]},"spec":{"containers":[{"name":"c","image":"i","ports":[{"containerPort":80}],"resources":{"limits":{"cpu":"100m","memory":"1Gi"}},"livenessProbe":{"httpGet":{"path":"/","port":"http"}},"env":[{"name":"A","valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}}]}],"volumes":[{"name":"v","emptyDir":{}}],"tolerations":[{"operator":"Exists"}]}}"#;
const DEPLOYMENT: &[u8] = br#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d"},"spec":{"replicas":1,"selector":{"matchLabels":{"a":"b"}},"strategy":{"type":"RollingUpdate","rollingUpdate":{"maxSurge":"25%","maxUnavailable":1}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}"#;
const SERVICE: &[u8] = br#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"s"},"spec":{"selector":{"a":"b"},"ports":[{"port":80,"targetPort":"http","protocol":"TCP"}],"type":"NodePort"}}"#;

const NOW: Timestamp = Timestamp {
    seconds: 1_800_000_000,
    nanos: 0,
};

fn deployments() -> &'static Kind {
    find("apps", "v1", "deployments").expect("a row")
}

/// A stored object to change.
fn stored() -> Value {
    let mut object = serde_json::from_slice(DEPLOYMENT).expect("JSON");
    admitted(deployments(), &mut object).expect("it is fine");
    object["metadata"]["resourceVersion"] = "1".into();
    object
}

fn admitted(kind: &Kind, object: &mut Value) -> Result<(), Status> {
    let context = Create {
        now: NOW,
        uid: "00000000-0000-4000-8000-000000000000",
        suffix: "bcdfg",
        namespace: kind.namespaced.then_some("default"),
    };
    admit::create(kind, object, &context).map(drop)
}

/// No answer may be a fault of ours, nor much larger than the question.
fn refused(status: &Status, bytes: &[u8]) {
    assert!((400..500).contains(&status.code()), "{status:?}");
    let size = status.to_json().len();
    assert!(
        size <= 16 * 1024 + 64 * bytes.len(),
        "{size} bytes of refusal for {}",
        bytes.len()
    );
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// As every kind, so that the mutator need not guess it.
fn body(content_type: &str, bytes: &[u8]) {
    for kind in KINDS {
        let decoded = decode::body(Some(content_type), bytes, kind, FieldValidation::Warn);
        let decoded = match decoded {
            Ok(decoded) => decoded,
            Err(status) => {
                refused(&status, bytes);
                continue;
            }
        };
        assert!(depth(&decoded.value) <= MAX_DEPTH + 8, "too deep");
        let mut object = decoded.value;
        if let Err(status) = admitted(kind, &mut object) {
            refused(&status, bytes);
            continue;
        }
        // What was accepted is stored, read back, and accepted again without a change.
        let canonical = metadata::canonical(&object).bytes;
        let mut again: Value = serde_json::from_slice(&canonical).expect("our own JSON");
        let old = again.clone();
        let context = Update {
            now: NOW,
            subresource: None,
        };
        if let Err(status) = admit::update(kind, &old, &mut again, &context) {
            panic!("{} is refused the second time: {status}", kind.kind);
        }
        assert_eq!(
            again["spec"], old["spec"],
            "{}: defaults are not stable",
            kind.kind
        );
    }
}

fn json_body(bytes: &[u8]) {
    body("application/json", bytes);
}

fn yaml_body(bytes: &[u8]) {
    body("application/yaml", bytes);
}

fn protobuf_body(bytes: &[u8]) {
    body("application/vnd.kubernetes.protobuf", bytes);
    // Behind the envelope too, whatever it says.
    let mut whole = b"k8s\0".to_vec();
    whole.extend_from_slice(bytes);
    body("application/vnd.kubernetes.protobuf", &whole);
}

fn delete_options(bytes: &[u8]) {
    for content_type in [
        "application/json",
        "application/yaml",
        "application/vnd.kubernetes.protobuf",
    ] {
        if let Err(status) = decode::delete_options(Some(content_type), bytes) {
            refused(&status, bytes);
        }
    }
}

fn patched(bytes: &[u8], apply: fn(&Kind, &Value, &Value) -> Result<Value, Status>) {
    let Ok(patch) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    let (kind, old) = (deployments(), stored());
    let new = match apply(kind, &old, &patch) {
        Ok(new) => new,
        Err(status) => return refused(&status, bytes),
    };
    let size = new.to_string().len();
    assert!(size <= decode::MAX_BODY * 2, "a patch made {size} bytes");
    let mut new = match decode::check(kind, new, FieldValidation::Ignore) {
        Ok(decoded) => decoded.value,
        Err(status) => return refused(&status, bytes),
    };
    let context = Update {
        now: NOW,
        subresource: None,
    };
    match admit::update(kind, &old, &mut new, &context) {
        Ok(_) => assert_eq!(new["metadata"]["uid"], old["metadata"]["uid"]),
        Err(status) => refused(&status, bytes),
    }
}

fn json_patch(bytes: &[u8]) {
    patched(bytes, patch::json);
}

fn merge_patch(bytes: &[u8]) {
    patched(bytes, patch::merge);
}

fn strategic_patch(bytes: &[u8]) {
    patched(bytes, patch::strategic);
}

fn apply_patch(bytes: &[u8]) {
    let Ok(config) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    let kind = deployments();
    for manager in ["kubectl", "other"] {
        let request = apply::Request {
            kind,
            subresource: None,
            manager,
            force: manager == "other",
            now: NOW,
        };
        let live = stored();
        for live in [None, Some(&live)] {
            let applied = match apply::apply(&request, live, &config) {
                Ok(applied) => applied,
                // A field that nobody knows is 500 here, as upstream has it.
                Err(status) if status.message().starts_with("failed to create typed") => continue,
                Err(status) => {
                    refused(&status, bytes);
                    continue;
                }
            };
            let mut object = applied.object;
            apply::set_managed_fields(&mut object, applied.managed_fields);
            // The same again changes nothing.
            if let Ok(again) = apply::apply(&request, Some(&object), &config) {
                let mut second = again.object;
                apply::set_managed_fields(&mut second, again.managed_fields);
                assert!(apply::is_same(&object, &second), "{object}\n{second}");
            }
        }
    }
}

fn label_selector(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match LabelSelector::parse(text) {
        Ok(selector) => {
            selector.matches(&json!({"metadata": {"labels": {"a": "b", "x": "5"}}}));
            selector.matches(&json!({}));
        }
        Err(status) => refused(&status, bytes),
    }
}

fn field_selector(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    for kind in KINDS {
        match FieldSelector::parse(kind, text) {
            Ok(selector) => drop(selector.matches(stored().to_string().as_bytes())),
            Err(status) => refused(&status, bytes),
        }
    }
}

/// Anybody on the LAN: what is offered could be tried, and what we answer is understood.
fn mdns(bytes: &[u8]) {
    let id = bytes
        .get(..2)
        .map_or(0, |id| u16::from_be_bytes([id[0], id[1]]));
    let offers = packet::offers(bytes, id);
    assert!(offers.len() <= packet::RECORDS_MAX);
    for offer in &offers {
        assert!(offer.port != 0 && !offer.address.is_loopback(), "{offer:?}");
        assert!(offer.cluster.len() <= 255);
    }
    if let Some(asked) = packet::asked(bytes) {
        let offer = packet::Offer {
            cluster: "a".into(),
            address: [10, 1, 2, 3].into(),
            port: 8883,
        };
        let answer = packet::answer(asked, true, &offer);
        assert!(answer.len() <= packet::PACKET_MAX);
        assert_eq!(packet::offers(&answer, asked.id), [offer]);
        assert!(packet::asked(&packet::question(asked.id)).is_some());
    }
}
