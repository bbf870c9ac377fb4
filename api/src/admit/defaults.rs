//! Upstream's defaults for pods, what makes pods, and Secrets.
//!
//! Source: kubernetes/kubernetes `pkg/apis/core/v1/defaults.go` and `pkg/apis/apps/v1/defaults.go`.
//! Zeros and empty texts are gone by now: decoding dropped them, as Go does not tell them from
//! absent.

use crate::kind::Kind;
use crate::quantity::Quantity;
use base64::Engine as _;
use serde_json::{Map, Value, json};

type Object = Map<String, Value>;

pub(super) fn apply(kind: &Kind, object: &mut Object) {
    match kind.kind {
        "Pod" => {
            let spec = child(object, "spec");
            pod_spec(spec);
            // Only pods get these two; templates keep what was written.
            set(spec, "enableServiceLinks", true);
            each_container(spec, requests_from_limits);
            if spec.get("hostNetwork") == Some(&Value::Bool(true)) {
                each_container(spec, host_ports);
            }
        }
        "Deployment" => deployment(child(object, "spec")),
        "ReplicaSet" => {
            let spec = child(object, "spec");
            set(spec, "replicas", 1);
            template(spec);
        }
        "Secret" => secret(object),
        _ => {}
    }
}

pub(super) fn set(object: &mut Object, key: &str, value: impl Into<Value>) {
    if !object.contains_key(key) {
        object.insert(key.into(), value.into());
    }
}

/// The object under `key`, made when missing, and also in the place of what is none: decoding lets
/// nothing like that through.
pub(super) fn child<'a>(object: &'a mut Object, key: &str) -> &'a mut Object {
    let slot = object.entry(key).or_insert_with(|| json!({}));
    if !slot.is_object() {
        *slot = json!({});
    }
    match slot {
        Value::Object(map) => map,
        _ => unreachable!("just made an object"),
    }
}

pub(super) fn each(object: &mut Object, key: &str, mut change: impl FnMut(&mut Object)) {
    let items = object
        .get_mut(key)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten();
    items.filter_map(Value::as_object_mut).for_each(&mut change);
}

fn deployment(spec: &mut Object) {
    set(spec, "replicas", 1);
    set(spec, "revisionHistoryLimit", 10);
    set(spec, "progressDeadlineSeconds", 600);
    let strategy = child(spec, "strategy");
    set(strategy, "type", "RollingUpdate");
    if strategy.get("type").and_then(Value::as_str) == Some("RollingUpdate") {
        let rolling = child(strategy, "rollingUpdate");
        set(rolling, "maxSurge", "25%");
        set(rolling, "maxUnavailable", "25%");
    }
    template(spec);
}

pub(super) fn template(spec: &mut Object) {
    pod_spec(child(child(spec, "template"), "spec"));
}

fn pod_spec(spec: &mut Object) {
    set(spec, "dnsPolicy", "ClusterFirst");
    set(spec, "restartPolicy", "Always");
    set(spec, "schedulerName", "default-scheduler");
    set(spec, "securityContext", json!({}));
    set(spec, "terminationGracePeriodSeconds", 30);
    // The old name of the field follows the new one, in both directions.
    match (
        spec.get("serviceAccountName").cloned(),
        spec.get("serviceAccount").cloned(),
    ) {
        (Some(name), _) => drop(spec.insert("serviceAccount".into(), name)),
        (None, Some(name)) => drop(spec.insert("serviceAccountName".into(), name)),
        (None, None) => {}
    }
    each_container(spec, container);
    let debug = spec.get("ephemeralContainers").and_then(Value::as_array);
    if debug.is_some_and(|debug| debug.len() <= super::pod::MAX_CONTAINERS) {
        each(spec, "ephemeralContainers", container);
    }
    each(spec, "volumes", volume);
}

/// Containers and init containers, the ones that have resources. Far too many are refused; they are not blown up first.
fn each_container(spec: &mut Object, change: fn(&mut Object)) {
    for key in ["containers", "initContainers"] {
        let count = spec.get(key).and_then(Value::as_array).map_or(0, Vec::len);
        if count <= super::pod::MAX_CONTAINERS {
            each(spec, key, change);
        }
    }
}

fn container(container: &mut Object) {
    let image = container
        .get("image")
        .and_then(Value::as_str)
        .unwrap_or_default();
    set(
        container,
        "imagePullPolicy",
        if is_latest(image) {
            "Always"
        } else {
            "IfNotPresent"
        },
    );
    set(container, "terminationMessagePath", "/dev/termination-log");
    set(container, "terminationMessagePolicy", "File");
    set(container, "resources", json!({}));
    each(container, "ports", |port| set(port, "protocol", "TCP"));
    each(container, "env", |env| {
        if let Some(Value::Object(from)) = env.get_mut("valueFrom") {
            field_ref(from);
        }
    });
    for set in ["limits", "requests"] {
        let resources = container.get_mut("resources");
        if let Some(Value::Object(amounts)) = resources.and_then(|r| r.get_mut(set)) {
            amounts.values_mut().for_each(round_up);
        }
    }
    if let Some(Value::Object(lifecycle)) = container.get_mut("lifecycle") {
        lifecycle
            .values_mut()
            .filter_map(Value::as_object_mut)
            .for_each(http_get);
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(Value::Object(probe)) = container.get_mut(probe) {
            self::probe(probe);
        }
    }
}

fn probe(probe: &mut Object) {
    set(probe, "timeoutSeconds", 1);
    set(probe, "periodSeconds", 10);
    set(probe, "successThreshold", 1);
    set(probe, "failureThreshold", 3);
    http_get(probe);
    if let Some(Value::Object(grpc)) = probe.get_mut("grpc") {
        set(grpc, "service", "");
    }
}

/// Of a probe or of a hook.
fn http_get(handler: &mut Object) {
    if let Some(Value::Object(get)) = handler.get_mut("httpGet") {
        set(get, "path", "/");
        set(get, "scheme", "HTTP");
    }
}

fn field_ref(holder: &mut Object) {
    if let Some(Value::Object(field)) = holder.get_mut("fieldRef") {
        set(field, "apiVersion", "v1");
    }
}

/// Nothing is counted finer than in thousandths.
fn round_up(amount: &mut Value) {
    let Some(Ok(exact)) = amount.as_str().map(Quantity::parse) else {
        return;
    };
    let rounded = Quantity::from_milli(exact.milli());
    if rounded != exact {
        *amount = rounded.to_string().into();
    }
}

/// With the board's network a declared port is the port.
fn host_ports(container: &mut Object) {
    each(container, "ports", |port| {
        if let Some(number) = port.get("containerPort").cloned() {
            set(port, "hostPort", number);
        }
    });
}

/// No tag and no digest, or the tag `latest`.
fn is_latest(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let name = image.rsplit('/').next().unwrap_or(image);
    match name.split_once(':') {
        Some((_, tag)) => tag == "latest",
        None => true,
    }
}

fn volume(volume: &mut Object) {
    if volume.keys().all(|key| key == "name") {
        volume.insert("emptyDir".into(), json!({}));
    }
    for source in ["configMap", "secret", "downwardAPI", "projected"] {
        if let Some(Value::Object(source)) = volume.get_mut(source) {
            set(source, "defaultMode", 0o644);
        }
    }
    if let Some(Value::Object(path)) = volume.get_mut("hostPath") {
        set(path, "type", "");
    }
    if let Some(Value::Object(downward)) = volume.get_mut("downwardAPI") {
        each(downward, "items", field_ref);
    }
    if let Some(Value::Object(projected)) = volume.get_mut("projected") {
        each(projected, "sources", |source| {
            if let Some(Value::Object(downward)) = source.get_mut("downwardAPI") {
                each(downward, "items", field_ref);
            }
            if let Some(Value::Object(token)) = source.get_mut("serviceAccountToken") {
                set(token, "expirationSeconds", 3600);
            }
        });
    }
}

fn requests_from_limits(container: &mut Object) {
    let Some(Value::Object(resources)) = container.get_mut("resources") else {
        return;
    };
    let Some(Value::Object(limits)) = resources.get("limits").cloned() else {
        return;
    };
    let requests = child(resources, "requests");
    for (name, limit) in limits {
        set(requests, &name, limit);
    }
}

fn secret(object: &mut Object) {
    set(object, "type", "Opaque");
    let Some(Value::Object(texts)) = object.remove("stringData") else {
        return;
    };
    let data = child(object, "data");
    for (key, text) in texts {
        let text = text.as_str().unwrap_or_default();
        data.insert(
            key,
            base64::engine::general_purpose::STANDARD
                .encode(text)
                .into(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::is_latest;

    #[test]
    fn which_images_are_pulled_always() {
        for (image, want) in [
            ("busybox", true),
            ("busybox:latest", true),
            ("busybox:1", false),
            ("reg:5000/busybox", true),
            ("reg:5000/busybox:1", false),
            ("busybox@sha256:00", false),
        ] {
            assert_eq!(is_latest(image), want, "{image}");
        }
    }
}
