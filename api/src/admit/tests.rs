mod changes;

use super::*;
use crate::kind::find;

pub(super) fn kind(plural: &str) -> &'static Kind {
    find("", "v1", plural)
        .or_else(|| find("apps", "v1", plural))
        .unwrap()
}

pub(super) fn ctx(kind: &Kind) -> Create<'static> {
    Create {
        now: Timestamp::parse("2026-01-01T00:00:00Z").unwrap(),
        uid: "0a1b2c3d-0000-4000-8000-000000000000",
        suffix: "x2x4z",
        namespace: kind.namespaced.then_some("default"),
    }
}

pub(super) fn created(plural: &str, mut object: Value) -> Result<(Value, Vec<Warning>), Status> {
    let kind = kind(plural);
    let warnings = create(kind, &mut object, &ctx(kind))?;
    Ok((object, warnings))
}

/// Creates, then updates with what `change` makes of it.
pub(super) fn updated(
    plural: &str,
    object: Value,
    change: impl Fn(&mut Value),
) -> Result<Value, Status> {
    let (old, _) = created(plural, object).unwrap();
    let mut new = old.clone();
    change(&mut new);
    let ctx = Update {
        now: Timestamp::default(),
        subresource: None,
    };
    update(kind(plural), &old, &mut new, &ctx)?;
    Ok(new)
}

pub(super) fn pod(spec: Value) -> Value {
    json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p"}, "spec": spec})
}

pub(super) fn container(rest: Value) -> Value {
    let mut out = json!({"name": "a", "image": "x:1"});
    out.as_object_mut()
        .unwrap()
        .extend(rest.as_object().unwrap().clone());
    json!({"containers": [out]})
}

pub(super) fn deployment() -> Value {
    json!({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "web"},
        "spec": {"selector": {"matchLabels": {"app": "web"}},
                 "template": {"metadata": {"labels": {"app": "web"}}, "spec": container(json!({}))}}})
}

pub(super) fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    object.pointer_mut(parent).unwrap()[key] = value;
    object
}

/// The message of a refused creation, without the head that names the object.
#[track_caller]
pub(super) fn refused(plural: &str, object: Value) -> String {
    let status = created(plural, object).unwrap_err();
    assert_eq!(
        (status.code(), status.reason()),
        (422, "Invalid"),
        "{status}"
    );
    status
        .message()
        .split_once(" is invalid: ")
        .unwrap()
        .1
        .to_owned()
}

#[test]
fn a_pod_gets_upstreams_defaults() {
    let (object, warnings) = created("pods", pod(container(json!({
        "ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": "1", "memory": "64Mi"}}})))).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(
        object,
        json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {"name": "p", "namespace": "default", "uid": "0a1b2c3d-0000-4000-8000-000000000000",
                     "creationTimestamp": "2026-01-01T00:00:00Z", "generation": 1},
        "spec": {
            "containers": [{"name": "a", "image": "x:1", "imagePullPolicy": "IfNotPresent",
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "resources": {"limits": {"cpu": "1", "memory": "64Mi"}, "requests": {"cpu": "1", "memory": "64Mi"}},
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}],
            "dnsPolicy": "ClusterFirst", "enableServiceLinks": true, "restartPolicy": "Always",
            "schedulerName": "default-scheduler", "securityContext": {}, "terminationGracePeriodSeconds": 30},
        "status": {"phase": "Pending", "qosClass": "Guaranteed"}})
    );
}

#[test]
fn a_deployment_gets_upstreams_defaults() {
    let (object, _) = created("deployments", deployment()).unwrap();
    let spec = &object["spec"];
    assert_eq!(spec["replicas"], 1);
    assert_eq!(spec["revisionHistoryLimit"], 10);
    assert_eq!(spec["progressDeadlineSeconds"], 600);
    assert_eq!(
        spec["strategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}})
    );
    assert_eq!(spec["template"]["spec"]["restartPolicy"], "Always");
    assert_eq!(spec["template"]["spec"].get("enableServiceLinks"), None);
}

#[test]
fn defaults_are_stable() {
    for (plural, object) in [
        ("pods", pod(container(json!({})))),
        ("deployments", deployment()),
    ] {
        let same = updated(plural, object.clone(), |_| {}).unwrap();
        assert_eq!(same, created(plural, object).unwrap().0);
    }
}

#[test]
fn names_in_upstreams_words() {
    let named = |name: &str| json!({"metadata": {"name": name}});
    assert_eq!(
        created("configmaps", named("Bad_Name"))
            .unwrap_err()
            .message(),
        "ConfigMap \"Bad_Name\" is invalid: metadata.name: Invalid value: \"Bad_Name\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
    );
    assert_eq!(
        refused("configmaps", json!({})),
        "metadata.name: Required value: name or generateName is required"
    );
    assert!(
        refused("namespaces", named("a.b"))
            .starts_with("metadata.name: Invalid value: \"a.b\": a lowercase RFC 1123 label must")
    );
    let (object, _) = created(
        "pods",
        with(
            pod(container(json!({}))),
            "/metadata",
            json!({"generateName": "web-"}),
        ),
    )
    .unwrap();
    assert_eq!(object["metadata"]["name"], "web-x2x4z");
    let status = created(
        "configmaps",
        json!({"metadata": {"name": "a", "namespace": "other"}}),
    )
    .unwrap_err();
    assert_eq!(status.code(), 400);
}

#[test]
pub(super) fn deployments_in_upstreams_words() {
    let at =
        |pointer: &str, value: Value| refused("deployments", with(deployment(), pointer, value));
    assert_eq!(
        at("/spec/template/metadata/labels", json!({"app": "other"})),
        "spec.template.metadata.labels: Invalid value: {\"app\":\"other\"}: `selector` does not match template `labels`"
    );
    assert_eq!(
        at("/spec/selector", json!({})),
        "spec.selector: Invalid value: {}: empty selector is invalid for deployment"
    );
    assert_eq!(
        at("/spec/replicas", json!(-1)),
        "spec.replicas: Invalid value: -1: must be greater than or equal to 0"
    );
    assert_eq!(
        at("/spec/template/spec/containers", json!([])),
        "spec.template.spec.containers: Required value"
    );
    assert_eq!(
        at("/spec/template/spec/containers/0/image", json!("")),
        "spec.template.spec.containers[0].image: Required value"
    );
    assert_eq!(
        at("/spec/template/spec/restartPolicy", json!("Never")),
        "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""
    );
    assert_eq!(
        at(
            "/spec/strategy",
            json!({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}})
        ),
        "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"
    );
    assert_eq!(
        at(
            "/spec/strategy",
            json!({"type": "Recreate", "rollingUpdate": {}})
        ),
        "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"
    );
    assert_eq!(
        at("/spec/minReadySeconds", json!(600)),
        "spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds"
    );
    let mut without = deployment();
    without["spec"].as_object_mut().unwrap().remove("selector");
    assert_eq!(
        refused("deployments", without),
        "spec.selector: Required value"
    );
}

#[test]
fn pods_in_upstreams_words() {
    let bad = |rest: Value| refused("pods", pod(container(rest)));
    assert_eq!(
        refused("pods", pod(json!({}))),
        "spec.containers: Required value"
    );
    assert!(bad(json!({"name": "A"})).starts_with(
        "spec.containers[0].name: Invalid value: \"A\": a lowercase RFC 1123 label must"
    ));
    assert_eq!(
        bad(json!({"name": "", "image": ""})),
        "[spec.containers[0].name: Required value, spec.containers[0].image: Required value]"
    );
    assert_eq!(
        bad(json!({"ports": [{"containerPort": 70000}]})),
        "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive"
    );
    assert_eq!(
        bad(json!({"imagePullPolicy": "Sometimes"})),
        "spec.containers[0].imagePullPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"IfNotPresent\", \"Never\""
    );
    assert_eq!(
        bad(json!({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}})),
        "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1"
    );
    assert_eq!(
        bad(json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]})),
        "spec.containers[0].volumeMounts[0].name: Not found: \"v\""
    );
    assert_eq!(
        bad(
            json!({"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.replicas"}}}]})
        ),
        "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"spec.replicas\": error converting fieldPath: field label not supported: spec.replicas"
    );
    assert_eq!(
        bad(json!({"resources": {"limits": {"example.com/gpu": "1"}}})),
        "[spec.containers[0].resources.limits[example.com/gpu]: Forbidden: not supported by this release, spec.containers[0].resources.requests[example.com/gpu]: Forbidden: not supported by this release]"
    );
    let two = json!({"containers": [{"name": "a", "image": "x"}, {"name": "a", "image": "x"}]});
    assert_eq!(
        refused("pods", pod(two)),
        "spec.containers[1].name: Duplicate value: \"a\""
    );
    let mut volumes = container(json!({}));
    volumes["volumes"] =
        json!([{"name": "v", "secret": {"items": [{"key": "k", "path": "../x"}]}}]);
    assert_eq!(
        refused("pods", pod(volumes)),
        "[spec.volumes[0].secret.secretName: Required value, spec.volumes[0].secret.items[0].path: Invalid value: \"../x\": must not contain '..']"
    );
}

#[test]
fn what_is_not_supported_is_refused_by_name_or_warned_about() {
    let mut spec = container(json!({"livenessProbe": {"exec": {"command": ["true"]}}}));
    spec["subdomain"] = "sub".into();
    let (object, warnings) = created("pods", pod(spec.clone())).unwrap();
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0]
            .text
            .starts_with("spec.subdomain: not supported by this release")
    );
    assert_eq!(
        object["spec"]["containers"][0]["livenessProbe"]["periodSeconds"],
        10
    );
    spec["runtimeClassName"] = "kata".into();
    assert_eq!(
        refused("pods", pod(spec)),
        "spec.runtimeClassName: Forbidden: not supported by this release"
    );
}

#[test]
fn limits_on_storage_are_a_resource_like_memory() {
    let rest = json!({"resources": {"limits": {"ephemeral-storage": "1Gi"}}});
    let (made, warnings) = created("pods", pod(container(rest))).unwrap();
    assert!(warnings.is_empty(), "{}", warnings[0].text);
    let resources = &made["spec"]["containers"][0]["resources"];
    assert_eq!(resources["requests"]["ephemeral-storage"], "1Gi");
}

#[test]
fn far_too_many_containers_are_refused_cheaply() {
    let containers = vec![json!({}); 10_000];
    assert_eq!(
        refused("pods", pod(json!({"containers": containers}))),
        "spec.containers: Too many: 10000: must have at most 256 items"
    );
    let labels: Map<String, Value> = (0..1000).map(|n| (format!("-{n}"), "".into())).collect();
    let status = created(
        "configmaps",
        json!({"metadata": {"name": "a", "labels": labels}}),
    )
    .unwrap_err();
    assert_eq!(status.details().unwrap().causes.len(), 100);
}

#[test]
fn status_is_not_the_clients_on_creation() {
    let mut object = deployment();
    object["status"] = json!({"readyReplicas": 7});
    object["metadata"]["uid"] = "mine".into();
    let (object, _) = created("deployments", object).unwrap();
    assert_eq!(object["status"], json!({}));
    assert_eq!(
        object["metadata"]["uid"],
        "0a1b2c3d-0000-4000-8000-000000000000"
    );
    let (namespace, _) = created("namespaces", json!({"metadata": {"name": "team"}})).unwrap();
    assert_eq!(namespace["spec"]["finalizers"], json!(["kubernetes"]));
    assert_eq!(namespace["status"]["phase"], "Active");
    assert_eq!(
        namespace["metadata"]["labels"]["kubernetes.io/metadata.name"],
        "team"
    );
}

#[test]
fn secrets() {
    let (secret, _) = created(
        "secrets",
        json!({"metadata": {"name": "s"}, "data": {"a": "MQ=="}, "stringData": {"b": "2"}}),
    )
    .unwrap();
    assert_eq!(secret["type"], "Opaque");
    assert_eq!(secret["data"], json!({"a": "MQ==", "b": "Mg=="}));
    assert_eq!(secret.get("stringData"), None);
    assert_eq!(
        refused(
            "secrets",
            json!({"metadata": {"name": "s"}, "type": "kubernetes.io/tls", "data": {"tls.crt": ""}})
        ),
        "data[tls.key]: Required value"
    );
    let big = json!({"metadata": {"name": "c"}, "data": {"a": "x".repeat(1024 * 1024 + 1)}});
    assert_eq!(
        refused("configmaps", big),
        "Too long: may not be more than 1048576 bytes"
    );
}
