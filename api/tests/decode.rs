//! Bodies as clients send them. `samples/*.pb` are requests of kubectl 1.32, recorded as they came:
//!
//! ```text
//! kubectl create configmap cm1 --from-literal=a=b --from-literal=empty= --from-file=bin
//! kubectl create secret generic s1 --from-literal=pass=word
//! kubectl create deployment web --image=nginx:1 --replicas=2 --port=80
//! kubectl create ns team
//! ```

// Helpers outside test functions unwrap too; a panic is the failure.
#![allow(clippy::unwrap_used)]

use bramble_api::decode::{self, Decoded, FieldValidation};
use bramble_api::kind::{self, Kind};
use bramble_api::status::Status;
use proptest::prelude::*;
use serde_json::{Value, json};

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const JSON: &str = "application/json";
const YAML: &str = "application/yaml";

fn find(plural: &str) -> &'static Kind {
    kind::find("", "v1", plural)
        .or_else(|| kind::find("apps", "v1", plural))
        .unwrap()
}

fn protobuf(plural: &str, bytes: &[u8]) -> Value {
    decode::body(Some(PROTOBUF), bytes, find(plural), FieldValidation::Strict)
        .unwrap()
        .value
}

fn json_body(plural: &str, text: &str, validation: FieldValidation) -> Result<Decoded, Status> {
    decode::body(Some(JSON), text.as_bytes(), find(plural), validation)
}

#[track_caller]
fn refused(plural: &str, text: &str, want: &str) {
    let status = json_body(plural, text, FieldValidation::Strict).unwrap_err();
    assert_eq!(
        (status.code(), status.reason(), status.message()),
        (400, "BadRequest", want)
    );
}

#[test]
fn protobuf_bodies_of_kubectl() {
    assert_eq!(
        protobuf("configmaps", include_bytes!("samples/configmap.pb")),
        json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "cm1"},
               "data": {"a": "b", "empty": ""}, "binaryData": {"bin": "AP8="}})
    );
    assert_eq!(
        protobuf("secrets", include_bytes!("samples/secret.pb")),
        json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "s1"}, "data": {"pass": "d29yZA=="}})
    );
    assert_eq!(
        protobuf("namespaces", include_bytes!("samples/namespace.pb")),
        json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "team"}, "spec": {}, "status": {}})
    );
    assert_eq!(
        protobuf("deployments", include_bytes!("samples/deployment.pb")),
        json!({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "web", "labels": {"app": "web"}},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "strategy": {},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [
                    {"name": "nginx", "image": "nginx:1", "ports": [{"containerPort": 80}], "resources": {}}]}}},
            "status": {}})
    );
}

/// Encodes one length-delimited field.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
    out.extend_from_slice(bytes);
    out
}

fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    [b"k8s\0".to_vec(), field(1, &meta), field(2, raw)].concat()
}

#[test]
fn protobuf_inlines_and_wrappers() {
    // A volume {name: v, volumeSource: {emptyDir: {}}} and a container with a TCP probe on port "web":
    // JSON writes volumeSource's and handler's fields among the parent's.
    let volume = [field(1, b"v"), field(2, &field(2, b""))].concat();
    let port = [vec![0x08, 1], field(3, b"web")].concat();
    let probe = field(1, &field(3, &field(1, &port)));
    let container = [
        field(1, b"a"),
        field(10, &probe),
        field(
            8,
            &field(1, &[field(1, b"cpu"), field(2, &field(1, b"0.5"))].concat()),
        ),
    ]
    .concat();
    let spec = [field(1, &volume), field(2, &container)].concat();
    let pod = field(2, &spec);
    assert_eq!(
        protobuf("pods", &envelope("v1", "Pod", &pod)),
        json!({"kind": "Pod", "apiVersion": "v1", "spec": {
            "volumes": [{"name": "v", "emptyDir": {}}],
            "containers": [{"name": "a", "livenessProbe": {"tcpSocket": {"port": "web"}},
                            "resources": {"limits": {"cpu": "500m"}}}]}})
    );
}

#[test]
fn numbers_from_a_newer_client_are_dropped_aloud() {
    // Numbers 200 and 201 (tags 0xc2 0x0c and 0xc8 0x0c) of the pod's spec; the second holds only zero.
    let spec = [vec![0xc2, 0x0c, 1, b'x'], vec![0xc8, 0x0c, 0]].concat();
    let body = envelope("v1", "Pod", &field(2, &spec));
    let decoded =
        decode::body(Some(PROTOBUF), &body, find("pods"), FieldValidation::Strict).unwrap();
    assert_eq!(
        decoded.warnings,
        ["field number 200 of PodSpec is not known to this release and was dropped"]
    );
}

#[test]
fn delete_options_in_every_dress() {
    for (media, body) in [
        (JSON, br#"{"kind":"DeleteOptions","apiVersion":"v1","propagationPolicy":"Background","gracePeriodSeconds":0}"#.to_vec()),
        (JSON, br#"{"propagationPolicy":"Background","gracePeriodSeconds":0}"#.to_vec()),
        (JSON, br#"{"kind":"DeleteOptions","apiVersion":"apps/v1","propagationPolicy":"Background","gracePeriodSeconds":0}"#.to_vec()),
        (PROTOBUF, envelope("v1", "DeleteOptions", &[vec![0x08, 0], field(4, b"Background")].concat())),
    ] {
        let options = decode::delete_options(Some(media), &body).unwrap();
        assert_eq!(options["propagationPolicy"], "Background");
        assert_eq!(options["gracePeriodSeconds"], 0);
    }
    assert_eq!(decode::delete_options(None, b"").unwrap(), json!({}));
    let wrong = br#"{"kind":"Pod","apiVersion":"v1"}"#;
    assert_eq!(
        decode::delete_options(Some(JSON), wrong)
            .unwrap_err()
            .code(),
        400
    );
}

#[test]
fn yaml_and_json_agree() {
    let yaml = "kind: ConfigMap\napiVersion: v1\nmetadata:\n  name: a\n  labels: {x: \"1\"}\ndata:\n  k: |\n    text\n";
    let decoded = decode::body(
        Some(YAML),
        yaml.as_bytes(),
        find("configmaps"),
        FieldValidation::Strict,
    )
    .unwrap();
    assert_eq!(
        decoded.value,
        json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a", "labels": {"x": "1"}}, "data": {"k": "text\n"}})
    );
}

#[test]
fn base64_as_go_reads_it() {
    let yaml = "data:\n  a: |\n    aGVs\n    bG8=\n  b: MR==\n";
    let decoded = decode::body(
        Some(YAML),
        yaml.as_bytes(),
        find("secrets"),
        FieldValidation::Strict,
    )
    .unwrap();
    assert_eq!(decoded.value["data"], json!({"a": "aGVsbG8=", "b": "MQ=="}));
}

#[test]
fn strict_in_upstreams_words() {
    refused(
        "deployments",
        r#"{"kind":"Deployment","apiVersion":"apps/v1","metadata":{"name":"x"},"spec":{"foo":1,"replicas":1,"template":{"spec":{"containers":[{"nam":"a"}]}}}}"#,
        "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: unknown field \"spec.foo\", unknown field \"spec.template.spec.containers[0].nam\"",
    );
    refused(
        "configmaps",
        r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"x","name":"y"}}"#,
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: duplicate field \"metadata.name\"",
    );
}

#[test]
fn types_in_gos_words() {
    let deployment =
        |spec: &str| format!(r#"{{"kind":"Deployment","apiVersion":"apps/v1","spec":{spec}}}"#);
    let head = "Deployment in version \"v1\" cannot be handled as a Deployment: ";
    for (spec, want) in [
        (
            r#"{"replicas":"3"}"#,
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            r#"{"replicas":1.5}"#,
            "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            r#"{"paused":"yes"}"#,
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.paused of type bool",
        ),
        (
            r#"{"template":{"spec":{"containers":{}}}}"#,
            "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
        ),
        (
            r#"{"template":{"metadata":{"labels":{"a":1}}}}"#,
            "json: cannot unmarshal number into Go struct field ObjectMeta.spec.template.metadata.labels.a of type string",
        ),
        (
            r#"{"template":{"spec":{"containers":[{"resources":{"limits":{"cpu":"lots"}}}]}}}"#,
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            "[]",
            "json: cannot unmarshal array into Go struct field Deployment.spec of type v1.DeploymentSpec",
        ),
    ] {
        refused("deployments", &deployment(spec), &format!("{head}{want}"));
    }
    refused(
        "secrets",
        r#"{"kind":"Secret","apiVersion":"v1","data":{"a":"not base64!"}}"#,
        "Secret in version \"v1\" cannot be handled as a Secret: illegal base64 data at input byte 3",
    );
}

#[test]
fn what_the_body_says_it_is() {
    refused(
        "configmaps",
        r#"{"kind":"Pod","apiVersion":"v1"}"#,
        "Pod in version \"v1\" cannot be handled as a ConfigMap: converting (v1.Pod) to (v1.ConfigMap): unknown conversion",
    );
    refused(
        "deployments",
        r#"{"kind":"Deployment","apiVersion":"apps/v1beta1"}"#,
        "the API version in the data (apps/v1beta1) does not match the expected API version (apps/v1)",
    );
    let empty = json_body(
        "configmaps",
        r#"{"metadata":{"name":"a"}}"#,
        FieldValidation::Strict,
    )
    .unwrap();
    assert_eq!(
        (&empty.value["kind"], &empty.value["apiVersion"]),
        (&json!("ConfigMap"), &json!("v1"))
    );
    let status = decode::body(
        Some("text/plain"),
        b"x",
        find("pods"),
        FieldValidation::Strict,
    )
    .unwrap_err();
    assert_eq!(status.code(), 415);
    assert_eq!(
        status.message(),
        "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf"
    );
    let status = json_body("pods", "{oops", FieldValidation::Strict).unwrap_err();
    assert!(status.message().starts_with("the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error: "));
    assert!(status.message().ends_with("({oops)"));
}

#[test]
fn warn_and_ignore_drop_what_is_unknown() {
    let body = r#"{"metadata":{"name":"a"},"foo":1,"data":{"k":"1","k":"2"}}"#;
    let warned = json_body("configmaps", body, FieldValidation::Warn).unwrap();
    assert_eq!(
        warned.warnings,
        ["unknown field \"foo\"", "duplicate field \"data.k\""]
    );
    assert_eq!(warned.value.get("foo"), None);
    assert_eq!(warned.value["data"]["k"], "2");
    assert!(
        json_body("configmaps", body, FieldValidation::Ignore)
            .unwrap()
            .warnings
            .is_empty()
    );
}

#[test]
fn absent_as_go_means_it() {
    let body = r#"{"metadata":{"name":"a","creationTimestamp":null,"labels":{}},"spec":{"replicas":0,"paused":false,
        "selector":{},"template":{"metadata":{"creationTimestamp":null},"spec":{"hostNetwork":false,"hostname":"",
        "containers":[{"name":"a","env":[{"name":"A","value":""}],"ports":[],"stdin":false,"securityContext":{"privileged":false}}]}}},"status":{}}"#;
    let value = json_body("deployments", body, FieldValidation::Strict)
        .unwrap()
        .value;
    assert_eq!(
        value,
        json!({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "a"}, "spec": {
            "replicas": 0, "selector": {}, "template": {"metadata": {}, "spec": {"containers": [
                {"name": "a", "env": [{"name": "A"}], "securityContext": {"privileged": false}}]}}}, "status": {}})
    );
}

#[test]
fn results_of_patches_are_checked() {
    let object = json!({"metadata": {"name": "a"}, "data": {"k": "v"}, "foo": 1});
    let status =
        decode::check(find("configmaps"), object.clone(), FieldValidation::Strict).unwrap_err();
    assert_eq!(status.code(), 422);
    assert!(
        status
            .message()
            .contains("strict decoding error: unknown field \"foo\"")
    );
    let warned = decode::check(find("configmaps"), object, FieldValidation::Warn).unwrap();
    assert_eq!(warned.warnings, ["unknown field \"foo\""]);
    let wrong = json!({"data": {"k": 1}});
    assert_eq!(
        decode::check(find("configmaps"), wrong, FieldValidation::Ignore)
            .unwrap_err()
            .code(),
        422
    );
}

#[test]
fn size_and_depth_are_bounded() {
    let big = vec![b' '; decode::MAX_BODY + 1];
    assert_eq!(
        decode::body(Some(JSON), &big, find("pods"), FieldValidation::Strict)
            .unwrap_err()
            .code(),
        413
    );
    for body in ["[".repeat(1_000_000), "{\"a\":".repeat(200_000)] {
        for media in [JSON, YAML] {
            assert_eq!(
                decode::body(
                    Some(media),
                    body.as_bytes(),
                    find("pods"),
                    FieldValidation::Strict
                )
                .unwrap_err()
                .code(),
                400
            );
        }
    }
    // A JSONSchemaProps-like recursion is not among the served kinds; nest through the envelope.
    let mut bytes = Vec::new();
    for _ in 0..60 {
        bytes = field(2, &bytes[..bytes.len().min(120)]);
    }
    let _ = decode::body(
        Some(PROTOBUF),
        &envelope("v1", "Pod", &bytes),
        find("pods"),
        FieldValidation::Strict,
    );
}

#[test]
fn what_a_body_can_cost_is_bounded() {
    let list = |item: &str| {
        format!(
            "{{\"spec\":{{\"containers\":[{}]}}}}",
            vec![item; 300_000].join(",")
        )
    };
    for item in ["{}", "0"] {
        assert!(json_body("pods", &list(item), FieldValidation::Strict).is_err());
    }
    let yaml = format!("spec: {{containers: [{}]}}", vec!["{}"; 300_000].join(","));
    assert!(
        decode::body(
            Some(YAML),
            yaml.as_bytes(),
            find("pods"),
            FieldValidation::Strict
        )
        .is_err()
    );
    let spec = vec![[0x12, 0]; 300_000].concat();
    let length = u32::try_from(spec.len()).unwrap();
    // 600,000 as a three-byte varint, twice: the spec in the pod, the pod in the envelope.
    let varint = |n: u32| {
        [
            n as u8 & 0x7f | 0x80,
            (n >> 7) as u8 & 0x7f | 0x80,
            (n >> 14) as u8,
        ]
    };
    let pod = [&[0x12], varint(length).as_slice(), &spec].concat();
    let raw = [&[0x12], varint(length + 4).as_slice(), &pod].concat();
    let body = [b"k8s\0".as_slice(), &raw].concat();
    let status =
        decode::body(Some(PROTOBUF), &body, find("pods"), FieldValidation::Strict).unwrap_err();
    assert!(status.message().contains("too many values"), "{status}");
    let unknown: Vec<String> = (0..10_000).map(|n| format!("\"x{n}\":1")).collect();
    let body = format!("{{{}}}", unknown.join(","));
    assert_eq!(
        json_body("pods", &body, FieldValidation::Warn)
            .unwrap()
            .warnings
            .len(),
        100
    );
}

const SAMPLES: [&[u8]; 4] = [
    include_bytes!("samples/configmap.pb"),
    include_bytes!("samples/secret.pb"),
    include_bytes!("samples/deployment.pb"),
    include_bytes!("samples/namespace.pb"),
];

fn all_ways(bytes: &[u8]) {
    for plural in ["pods", "deployments", "secrets", "events"] {
        for media in [JSON, YAML, PROTOBUF] {
            let decoded = decode::body(Some(media), bytes, find(plural), FieldValidation::Warn);
            if let Ok(decoded) = decoded {
                // What was accepted stays accepted, unchanged.
                let again =
                    decode::check(find(plural), decoded.value.clone(), FieldValidation::Strict)
                        .unwrap();
                assert_eq!(again.value, decoded.value);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        all_ways(&bytes);
        all_ways(&[b"k8s\0".as_slice(), &bytes].concat());
        all_ways(&envelope("v1", "Pod", &bytes[..bytes.len().min(100)]));
    }

    #[test]
    fn damaged_bodies_never_panic(sample in 0..SAMPLES.len(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let mut bytes = SAMPLES[sample].to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        all_ways(&bytes);
        let end = cut.index(bytes.len());
        all_ways(&bytes[..end]);
    }

    #[test]
    fn yaml_like_text_never_panics(text in "([a-z]{1,3}: |- |\\{|\\[|\\}|\\]|\"|'|\n|  |&a |\\*a|!!str |[0-9.eE+-]{1,6}|~|\\||#|,){0,40}") {
        all_ways(text.as_bytes());
    }
}
