//! The service account of a pod: its name, its pull secrets, and its token as a volume.
//!
//! Source: upstream's `plugin/pkg/admission/serviceaccount/admission.go`.

use serde_json::{Map, Value, json};

use super::{items, part, text};

/// The account of a pod that names none.
pub const DEFAULT: &str = "default";

/// Prefix of the volume's name.
pub const VOLUME: &str = "kube-api-access-";

/// Where programs look for the token.
pub const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// What tokens of such volumes ask for, and how the API server knows one: it makes them last longer.
pub const EXPIRATION_SECONDS: i64 = 3607;

const MIRROR: &str = "kubernetes.io/config.mirror";

/// The ConfigMap with the cluster's CA that every namespace has.
const ROOT_CA: &str = "kube-root-ca.crt";

/// A pod that a node made by itself may have neither account nor secrets.
#[must_use]
pub fn is_mirror(pod: &Value) -> bool {
    !part(part(part(pod, "metadata"), "annotations"), MIRROR).is_null()
}

/// # Errors
/// What a mirror pod may not have.
pub fn check_mirror(pod: &Value) -> Result<(), String> {
    let spec = part(pod, "spec");
    if !text(spec, "serviceAccountName").is_empty() {
        return Err("a mirror pod may not reference service accounts".into());
    }
    let secret = |volume: &Value| !part(volume, "secret").is_null();
    if items(spec, "volumes").iter().any(secret) {
        return Err("a mirror pod may not reference secrets".into());
    }
    Ok(())
}

/// The account that a pod runs as.
#[must_use]
pub fn name_of(pod: &Value) -> &str {
    match text(part(pod, "spec"), "serviceAccountName") {
        "" => DEFAULT,
        name => name,
    }
}

/// Gives a new pod its account: the name, pull secrets if it has none, and the token's volume, named
/// with `suffix`, if it wants one.
pub fn assign(pod: &mut Value, account: &Value, suffix: &str) {
    let name = name_of(pod).to_owned();
    let automounts = automounts(pod, account);
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    spec.insert("serviceAccountName".into(), name.clone().into());
    spec.insert("serviceAccount".into(), name.into());
    let pull = spec.get("imagePullSecrets").and_then(Value::as_array);
    if pull.is_none_or(Vec::is_empty) {
        let names = items(account, "imagePullSecrets");
        let names: Vec<Value> = names
            .iter()
            .map(|secret| json!({"name": text(secret, "name")}))
            .collect();
        if !names.is_empty() {
            spec.insert("imagePullSecrets".into(), names.into());
        }
    }
    if automounts {
        mount_token(spec, suffix);
    }
}

fn automounts(pod: &Value, account: &Value) -> bool {
    let said = |value: &Value| part(value, "automountServiceAccountToken").as_bool();
    said(part(pod, "spec"))
        .or_else(|| said(account))
        .unwrap_or(true)
}

fn mount_token(spec: &mut Map<String, Value>, suffix: &str) {
    let volumes = spec.get("volumes").and_then(Value::as_array);
    let known = volumes
        .into_iter()
        .flatten()
        .map(|volume| text(volume, "name"))
        .find(|name| name.starts_with(VOLUME))
        .map(str::to_owned);
    let name = known.clone().unwrap_or_else(|| format!("{VOLUME}{suffix}"));
    let mut needed = false;
    for key in ["initContainers", "containers"] {
        let containers = spec.get_mut(key).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let there = |mount: &Value| text(mount, "mountPath") == MOUNT_PATH;
            if items(container, "volumeMounts").iter().any(there) {
                continue;
            }
            let Some(container) = container.as_object_mut() else {
                continue;
            };
            let mounts = container.entry("volumeMounts").or_insert(Value::Null);
            if mounts.is_null() {
                *mounts = json!([]);
            }
            let Some(mounts) = mounts.as_array_mut() else {
                continue;
            };
            mounts.push(json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH}));
            needed = true;
        }
    }
    if !needed || known.is_some() {
        return;
    }
    let volumes = spec.entry("volumes").or_insert(Value::Null);
    if volumes.is_null() {
        *volumes = json!([]);
    }
    if let Some(volumes) = volumes.as_array_mut() {
        volumes.push(volume(&name));
    }
}

fn volume(name: &str) -> Value {
    json!({"name": name, "projected": {"defaultMode": 0o644, "sources": [
        {"serviceAccountToken": {"expirationSeconds": EXPIRATION_SECONDS, "path": "token"}},
        {"configMap": {"name": ROOT_CA, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace",
            "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}})
}

/// An account that says so limits its pods to the secrets that it names.
///
/// # Errors
/// The first secret that the account does not name.
pub fn check_secrets(pod: &Value, account: &Value) -> Result<(), String> {
    let Some(limit) = Limit::of(account) else {
        return Ok(());
    };
    let spec = part(pod, "spec");
    for volume in items(spec, "volumes") {
        let Some(secret) = volume.get("secret").map(|s| text(s, "secretName")) else {
            continue;
        };
        limit.check(secret, || {
            format!("volume with secret.secretName={secret:?}")
        })?;
    }
    limit.containers(spec, "initContainers", "init container")?;
    limit.containers(spec, "containers", "container")?;
    for (at, secret) in items(spec, "imagePullSecrets").iter().enumerate() {
        let name = text(secret, "name");
        if !limit.names("imagePullSecrets", name) {
            return Err(format!(
                "imagePullSecrets[{at}].name={name:?} is not allowed because service account {} \
                 does not reference that imagePullSecret",
                limit.owner()
            ));
        }
    }
    Ok(())
}

/// The same for ephemeral containers that come to a pod.
///
/// # Errors
/// The first secret that the account does not name.
pub fn check_debug_secrets(pod: &Value, account: &Value) -> Result<(), String> {
    match Limit::of(account) {
        Some(limit) => limit.containers(
            part(pod, "spec"),
            "ephemeralContainers",
            "ephemeral container",
        ),
        None => Ok(()),
    }
}

/// An account that limits its pods.
struct Limit<'a>(&'a Value);

impl<'a> Limit<'a> {
    fn of(account: &'a Value) -> Option<Self> {
        let annotations = part(part(account, "metadata"), "annotations");
        let enforced = text(annotations, "kubernetes.io/enforce-mountable-secrets");
        matches!(enforced, "1" | "t" | "T" | "true" | "TRUE" | "True").then_some(Self(account))
    }

    fn owner(&self) -> &str {
        text(part(self.0, "metadata"), "name")
    }

    fn names(&self, list: &str, name: &str) -> bool {
        items(self.0, list).iter().any(|s| text(s, "name") == name)
    }

    fn check(&self, secret: &str, what: impl FnOnce() -> String) -> Result<(), String> {
        if secret.is_empty() || self.names("secrets", secret) {
            return Ok(());
        }
        let (what, owner) = (what(), self.owner());
        Err(format!(
            "{what} is not allowed because service account {owner} does not reference that secret"
        ))
    }

    fn containers(&self, spec: &Value, key: &str, what: &str) -> Result<(), String> {
        for container in items(spec, key) {
            let name = text(container, "name");
            for from in items(container, "envFrom") {
                let secret = text(part(from, "secretRef"), "name");
                self.check(secret, || {
                    format!("{what} {name} with envFrom referencing secret.secretName={secret:?}")
                })?;
            }
            for env in items(container, "env") {
                let secret = text(part(part(env, "valueFrom"), "secretKeyRef"), "name");
                self.check(secret, || {
                    let env = text(env, "name");
                    format!(
                        "{what} {name} with envVar {env} referencing secret.secretName={secret:?}"
                    )
                })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotate(object: &mut Value, key: &str, value: &str) {
        object["metadata"]["annotations"][key] = value.into();
    }

    fn assigned(spec: &Value, account: &Value) -> Value {
        let mut pod = json!({"spec": spec});
        assign(&mut pod, account, "abcde");
        pod["spec"].take()
    }

    #[test]
    fn a_pod_gets_name_secrets_and_token() {
        let account = json!({"imagePullSecrets": [{"name": "reg"}]});
        let spec = assigned(
            &json!({"initContainers": [{"name": "i"}], "containers": [{"name": "a"}, {"name": "b",
                "volumeMounts": [{"name": "mine", "mountPath": MOUNT_PATH}]}]}),
            &account,
        );
        assert_eq!(spec["serviceAccountName"], "default");
        assert_eq!(spec["serviceAccount"], "default");
        assert_eq!(spec["imagePullSecrets"], json!([{"name": "reg"}]));
        let mount =
            json!([{"name": "kube-api-access-abcde", "readOnly": true, "mountPath": MOUNT_PATH}]);
        assert_eq!(spec["containers"][0]["volumeMounts"], mount);
        assert_eq!(spec["initContainers"][0]["volumeMounts"], mount);
        assert_eq!(spec["containers"][1]["volumeMounts"][0]["name"], "mine");
        assert_eq!(
            spec["volumes"],
            json!([{"name": "kube-api-access-abcde", "projected": {"defaultMode": 420, "sources": [
                {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [{"path": "namespace",
                    "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}}]}}])
        );
    }

    #[test]
    fn what_is_there_stays() {
        let account = json!({"imagePullSecrets": [{"name": "reg"}]});
        let spec = assigned(
            &json!({"serviceAccountName": "me", "imagePullSecrets": [{"name": "own"}],
                "containers": [{"name": "a"}],
                "volumes": [{"name": "kube-api-access-old", "emptyDir": {}}]}),
            &account,
        );
        assert_eq!(spec["serviceAccount"], "me");
        assert_eq!(spec["imagePullSecrets"], json!([{"name": "own"}]));
        assert_eq!(spec["volumes"].as_array().unwrap().len(), 1);
        assert_eq!(
            spec["containers"][0]["volumeMounts"][0]["name"],
            "kube-api-access-old"
        );
    }

    #[test]
    fn who_wants_no_token_gets_none() {
        let no = json!({"automountServiceAccountToken": false});
        let yes = json!({"automountServiceAccountToken": true});
        let cases = [
            (&no, &yes, false),
            (&yes, &no, true),
            (&json!({}), &no, false),
            (&json!({}), &json!({}), true),
        ];
        for (pod, account, want) in cases {
            let mut spec = pod.clone();
            spec["containers"] = json!([{"name": "a"}]);
            assert_eq!(
                assigned(&spec, account).get("volumes").is_some(),
                want,
                "{pod} {account}"
            );
        }
    }

    #[test]
    fn mirror_pods() {
        let mut pod = json!({"spec": {"serviceAccountName": "x"}});
        assert!(!is_mirror(&pod));
        annotate(&mut pod, MIRROR, "1");
        assert!(is_mirror(&pod));
        assert_eq!(
            check_mirror(&pod),
            Err("a mirror pod may not reference service accounts".into())
        );
        pod["spec"] = json!({"volumes": [{"name": "s", "secret": {"secretName": "s"}}]});
        assert_eq!(
            check_mirror(&pod),
            Err("a mirror pod may not reference secrets".into())
        );
    }

    #[test]
    fn secrets_of_an_account_that_limits_them() {
        let mut account = json!({"metadata": {"name": "me"}, "secrets": [{"name": "ok"}]});
        let pod = |spec: Value| json!({"spec": spec});
        let volume =
            |name: &str| pod(json!({"volumes": [{"name": "v", "secret": {"secretName": name}}]}));
        assert_eq!(check_secrets(&volume("no"), &account), Ok(()));
        annotate(
            &mut account,
            "kubernetes.io/enforce-mountable-secrets",
            "true",
        );
        let rest = "is not allowed because service account me does not reference that secret";
        assert_eq!(check_secrets(&volume("ok"), &account), Ok(()));
        assert_eq!(
            check_secrets(&volume("no"), &account),
            Err(format!("volume with secret.secretName=\"no\" {rest}"))
        );
        let env = pod(json!({"containers": [{"name": "a", "env": [
            {"name": "E", "valueFrom": {"secretKeyRef": {"name": "no"}}}]}]}));
        assert_eq!(
            check_secrets(&env, &account),
            Err(format!(
                "container a with envVar E referencing secret.secretName=\"no\" {rest}"
            ))
        );
        let debug = pod(json!({"ephemeralContainers": [{"name": "e", "envFrom": [
            {"secretRef": {"name": "no"}}]}]}));
        assert_eq!(
            check_debug_secrets(&debug, &account),
            Err(format!(
                "ephemeral container e with envFrom referencing secret.secretName=\"no\" {rest}"
            ))
        );
        assert_eq!(
            check_secrets(&debug, &account),
            Ok(()),
            "checked as it comes"
        );
        let pull = pod(json!({"imagePullSecrets": [{"name": "ok"}]}));
        assert!(
            check_secrets(&pull, &account)
                .unwrap_err()
                .starts_with("imagePullSecrets[0].name=\"ok\" is not allowed")
        );
    }
}
