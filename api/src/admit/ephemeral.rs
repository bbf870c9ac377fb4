//! Ephemeral containers of a pod that runs: the one thing that may be added to it.
//!
//! In: the stored pod and the pod as the client wants it. Out: the stored pod with the client's
//! ephemeral containers, and nothing else of what was sent. Source: `podEphemeralContainersStrategy`
//! in kubernetes/kubernetes `pkg/registry/core/pod/strategy.go` and
//! `ValidatePodEphemeralContainersUpdate` in `pkg/apis/core/validation/validation.go`.

use super::pod::{list, text};
use super::{Errors, Warning, defaulted, meta, name_of, object_of, support, value_warnings};
use crate::kind::Kind;
use crate::status::Status;
use serde_json::{Map, Value};

const KEY: &str = "ephemeralContainers";
const MIRROR: &str = "/metadata/annotations/kubernetes.io~1config.mirror";

/// Leaves in `new` what will be stored.
pub(super) fn update(kind: &Kind, old: &Value, new: &mut Value) -> Result<Vec<Warning>, Status> {
    let empty = Map::new();
    let before = old.as_object().unwrap_or(&empty);
    meta::prepare_update(kind, before, object_of(new)?)?;
    let sent = new.get_mut("spec").and_then(Value::as_object_mut);
    let sent = sent.and_then(|spec| spec.remove(KEY));
    *new = old.clone();
    if let Some(spec) = new.get_mut("spec").and_then(Value::as_object_mut) {
        match sent {
            Some(Value::Array(sent)) if !sent.is_empty() => {
                spec.insert(KEY.into(), Value::Array(sent));
            }
            _ => drop(spec.remove(KEY)),
        }
    }
    let (mut warnings, refusals) = support::review(kind, new);
    warnings.extend(value_warnings(kind, new));
    let known = support::review(kind, old).0;
    let known_values = value_warnings(kind, old);
    warnings.retain(|w| !known.contains(w) && !known_values.contains(w));
    let map = object_of(new)?;
    defaulted(kind, map);
    let mut errors = Errors::default();
    meta::validate(kind, map, &mut errors);
    super::validate(kind, map, &mut errors);
    if old.pointer(MIRROR).is_some() {
        errors = Errors::default();
        errors.forbidden("", "static pods do not support ephemeral containers");
    } else {
        kept(old, map, &mut errors);
        errors.extend_new(refusals);
    }
    errors.into_result(kind, name_of(map))?;
    if before.get("spec") != map.get("spec") {
        meta::bump_generation(map);
    }
    Ok(warnings)
}

/// What is there stays as it is, in whatever order.
fn kept(old: &Value, new: &Map<String, Value>, errors: &mut Errors) {
    let containers = |pod: Option<&Value>| pod.map_or(&[][..], |spec| list(spec, KEY)).to_vec();
    let now = containers(new.get("spec"));
    let path = format!("spec.{KEY}");
    for was in containers(old.get("spec")) {
        let name = text(&was, "name");
        match now.iter().find(|c| text(c, "name") == name) {
            None => errors.forbidden(
                &path,
                &format!("existing ephemeral containers {name:?} may not be removed\n"),
            ),
            Some(is) if *is != was => errors.forbidden(
                &path,
                &format!("existing ephemeral containers {name:?} may not be changed\n"),
            ),
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::admit::{Update, update};
    use crate::time::Timestamp;

    fn pod(ephemeral: Value) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "namespace": "default", "uid": "u", "generation": 1,
                "creationTimestamp": "2026-01-01T00:00:00Z", "resourceVersion": "1"},
            "spec": {"containers": [{"name": "c", "image": "i:1", "imagePullPolicy": "Always",
                    "terminationMessagePath": "/dev/termination-log",
                    "terminationMessagePolicy": "File", "resources": {}}],
                "ephemeralContainers": ephemeral, "restartPolicy": "Always",
                "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler",
                "securityContext": {}, "terminationGracePeriodSeconds": 30,
                "enableServiceLinks": true, "nodeName": "n"}})
    }

    fn debug(more: Value) -> Value {
        let mut container = json!({"name": "d", "image": "busybox", "targetContainerName": "c"});
        let fields = more.as_object().unwrap().clone();
        container.as_object_mut().unwrap().extend(fields);
        container
    }

    fn changed(old: &Value, change: impl FnOnce(&mut Value)) -> Result<Value, String> {
        let mut new = old.clone();
        change(&mut new);
        let ctx = Update {
            now: Timestamp::default(),
            subresource: Some("ephemeralcontainers"),
        };
        let kind = crate::kind::find("", "v1", "pods").unwrap();
        update(kind, old, &mut new, &ctx)
            .map(|_| new)
            .map_err(|status| {
                let message = status.message();
                message
                    .strip_prefix("Pod \"p\" is invalid: ")
                    .unwrap_or(message)
                    .to_owned()
            })
    }

    fn with(container: Value) -> Result<Value, String> {
        changed(&pod(json!([])), |pod| {
            pod["spec"][KEY] = json!([container]);
        })
    }

    #[test]
    fn one_is_added_with_its_defaults_and_nothing_else_moves() {
        let new = changed(&pod(json!([])), |pod| {
            pod["spec"][KEY] = json!([debug(json!({"stdin": true, "tty": true}))]);
            pod["spec"]["containers"][0]["image"] = "other".into();
            pod["metadata"]["labels"] = json!({"a": "b"});
        })
        .unwrap();
        let container = &new["spec"][KEY][0];
        assert_eq!(container["imagePullPolicy"], "Always");
        assert_eq!(container["terminationMessagePolicy"], "File");
        assert_eq!(new["spec"]["containers"][0]["image"], "i:1");
        assert_eq!(new["metadata"].get("labels"), None);
        assert_eq!(new["metadata"]["generation"], 2);
    }

    #[test]
    fn what_is_there_stays() {
        let old = with(debug(json!({}))).unwrap();
        let more = changed(&old, |pod| {
            let containers = pod["spec"][KEY].as_array_mut().unwrap();
            containers.insert(0, json!({"name": "e", "image": "busybox:1"}));
        });
        assert_eq!(more.unwrap()["spec"][KEY].as_array().unwrap().len(), 2);
        assert_eq!(
            changed(&old, |pod| pod["spec"][KEY][0]["image"] = "x".into()).unwrap_err(),
            "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"d\" may not be changed\n"
        );
        assert_eq!(
            changed(&old, |pod| pod["spec"][KEY] = json!([])).unwrap_err(),
            "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"d\" may not be removed\n"
        );
    }

    #[test]
    fn wrong_ones_are_refused_in_upstreams_words() {
        for (container, want) in [
            (
                json!({"name": "c", "image": "i"}),
                "spec.ephemeralContainers[0].name: Duplicate value: \"c\"",
            ),
            (
                debug(json!({"targetContainerName": "x"})),
                "spec.ephemeralContainers[0].targetContainerName: Not found: \"x\"",
            ),
            (
                debug(json!({"resources": {"limits": {"cpu": "1"}}})),
                "spec.ephemeralContainers[0].resources: Forbidden: cannot be set for an Ephemeral Container",
            ),
            (
                json!({"name": "d"}),
                "spec.ephemeralContainers[0].image: Required value",
            ),
        ] {
            assert_eq!(with(container).unwrap_err(), want);
        }
        let mut mirror = pod(json!([]));
        mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "1"});
        let refused = changed(&mirror, |pod| pod["spec"][KEY] = json!([debug(json!({}))]));
        assert!(
            refused
                .unwrap_err()
                .ends_with("static pods do not support ephemeral containers")
        );
    }
}
