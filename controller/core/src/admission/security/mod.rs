//! The Pod Security Standards, chosen by labels of the namespace.
//!
//! [`Policy::of`] reads the labels; [`violations`] runs every check of a level in the version that the
//! labels name. Sources: upstream's `staging/src/k8s.io/pod-security-admission`; levels and versions of
//! the checks as of v1.37.

mod baseline;
mod policy;
mod restricted;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_json::Value;

use super::{items, part, text};

pub use policy::{Level, LevelVersion, Policy, Version};

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// In a few words.
    pub reason: String,
    /// Who and what exactly.
    pub detail: String,
}

impl Violation {
    fn new(reason: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            detail: detail.into(),
        }
    }
}

/// Everything in which a pod or a pod template breaks a level, in upstream's order.
#[must_use]
pub fn violations(level: LevelVersion, pod: &Value) -> Vec<Violation> {
    let checks = match level.level {
        Level::Privileged => return Vec::new(),
        Level::Baseline => vec![baseline::CHECKS],
        Level::Restricted => vec![baseline::CHECKS, restricted::CHECKS],
    };
    let pod = Pod::new(pod, level.version);
    let overridden: Vec<&str> = checks
        .iter()
        .skip(1)
        .flat_map(|checks| checks.iter())
        .filter(|check| check.since <= pod.minor)
        .filter_map(|check| check.overrides)
        .collect();
    let checks = checks.into_iter().flatten();
    checks
        .filter(|check| check.since <= pod.minor && !overridden.contains(&check.id))
        .filter_map(|check| (check.run)(&pod))
        .collect()
}

/// `host namespaces (hostNetwork=true), privileged (…)`.
#[must_use]
pub fn details(violations: &[Violation]) -> String {
    let one = |v: &Violation| match v.detail.as_str() {
        "" => v.reason.clone(),
        detail => format!("{} ({detail})", v.reason),
    };
    violations.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// What a pod, or a template when `enforce` is false, comes to under a policy: a refusal, or else a
/// warning.
///
/// # Errors
/// `violates PodSecurity …`.
pub fn judge(policy: &Policy, pod: &Value, enforce: bool) -> Result<Option<String>, String> {
    if enforce {
        let found = violations(policy.enforce, pod);
        if !found.is_empty() {
            let level = policy.enforce;
            return Err(format!(
                "violates PodSecurity \"{level}\": {}",
                details(&found)
            ));
        }
    }
    let found = violations(policy.warn, pod);
    if found.is_empty() {
        return Ok(None);
    }
    let level = policy.warn;
    Ok(Some(format!(
        "would violate PodSecurity \"{level}\": {}",
        details(&found)
    )))
}

/// The pod template of a workload; the pod itself for a pod. `None` for other kinds.
#[must_use]
pub fn template<'a>(kind: &str, object: &'a Value) -> Option<&'a Value> {
    match kind {
        "Pod" => Some(object),
        "PodTemplate" => object.get("template"),
        "ReplicationController"
        | "ReplicaSet"
        | "Deployment"
        | "DaemonSet"
        | "StatefulSet"
        | "Job" => object.get("spec")?.get("template"),
        "CronJob" => object.pointer("/spec/jobTemplate/spec/template"),
        _ => None,
    }
}

/// Whether an update of a pod changes anything that the checks look at and that may change.
#[must_use]
pub fn is_significant(new: &Value, old: &Value) -> bool {
    let annotation =
        |pod: &Value, key: &str| text(part(part(pod, "metadata"), "annotations"), key).to_owned();
    if annotation(new, baseline::SECCOMP_POD) != annotation(old, baseline::SECCOMP_POD) {
        return true;
    }
    let (new_spec, old_spec) = (part(new, "spec"), part(old, "spec"));
    let differs = |container: &Value, before: Option<&Value>| {
        let key = format!("{}{}", baseline::SECCOMP_CONTAINER, text(container, "name"));
        before.is_none_or(|before| text(before, "image") != text(container, "image"))
            || annotation(new, &key) != annotation(old, &key)
    };
    let changed = ["initContainers", "containers"].into_iter().any(|list| {
        let (now, before) = (items(new_spec, list), items(old_spec, list));
        now.len() != before.len() || now.iter().zip(before).any(|(n, o)| differs(n, Some(o)))
    });
    let debug = items(new_spec, "ephemeralContainers").iter().any(|now| {
        let same = |old: &&Value| text(old, "name") == text(now, "name");
        differs(
            now,
            items(old_spec, "ephemeralContainers").iter().find(same),
        )
    });
    changed || debug
}

/// What a stricter level means to the pods that are there: nothing happens to them, but whoever sets
/// the level should know.
#[must_use]
pub fn namespace_warnings<'a>(
    namespace: &str,
    enforce: LevelVersion,
    pods: impl IntoIterator<Item = &'a Value>,
) -> Vec<String> {
    let mut found: BTreeMap<String, (String, usize)> = BTreeMap::new();
    for pod in pods {
        let violations = violations(enforce, pod);
        if violations.is_empty() {
            continue;
        }
        let reasons: Vec<String> = violations.into_iter().map(|v| v.reason).collect();
        let name = text(part(pod, "metadata"), "name");
        let entry = found
            .entry(reasons.join(", "))
            .or_insert_with(|| (name.to_owned(), 0));
        if name < entry.0.as_str() {
            entry.0 = name.to_owned();
        }
        entry.1 += 1;
    }
    if found.is_empty() {
        return Vec::new();
    }
    let mut lines: Vec<String> = found
        .into_iter()
        .map(|(reasons, (name, count))| match count {
            1 => format!("{name}: {reasons}"),
            2 => format!("{name} (and 1 other pod): {reasons}"),
            _ => format!("{name} (and {} other pods): {reasons}", count - 1),
        })
        .collect();
    lines.sort();
    let head = format!(
        "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{enforce}\""
    );
    lines.insert(0, head);
    lines
}

/// One check: from which version on, and which check of the level below it stands for.
struct Check {
    id: &'static str,
    since: u32,
    overrides: Option<&'static str>,
    run: fn(&Pod<'_>) -> Option<Violation>,
}

/// A pod as the checks see it.
struct Pod<'a> {
    metadata: &'a Value,
    spec: &'a Value,
    minor: u32,
}

impl<'a> Pod<'a> {
    fn new(pod: &'a Value, version: Version) -> Self {
        Self {
            metadata: part(pod, "metadata"),
            spec: part(pod, "spec"),
            minor: version.minor(),
        }
    }

    /// Init containers first, as upstream visits them.
    fn containers(&self) -> impl Iterator<Item = Container<'a>> + use<'a> {
        let spec = self.spec;
        ["initContainers", "containers", "ephemeralContainers"]
            .into_iter()
            .flat_map(move |key| items(spec, key))
            .map(|value| Container { value })
    }

    /// Names of the containers of which this is so.
    fn containers_that(&self, mut is: impl FnMut(Container<'a>) -> bool) -> Vec<&'a str> {
        let containers = self.containers().filter(|container| is(*container));
        containers.map(Container::name).collect()
    }

    /// Who has a security context of which this is so: the pod, containers, or both. All are asked.
    fn setters(&self, mut is: impl FnMut(&'a Value) -> bool) -> Option<String> {
        let pod = is(self.security());
        setters(
            pod,
            &self.containers_that(|container| is(container.security())),
        )
    }

    fn security(&self) -> &'a Value {
        part(self.spec, "securityContext")
    }

    fn annotations(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let annotations = part(self.metadata, "annotations").as_object();
        annotations
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()))
    }

    /// Windows knows none of these; excepted since v1.25.
    fn is_windows(&self) -> bool {
        self.minor >= 25 && text(part(self.spec, "os"), "name") == "windows"
    }

    /// Root in a user namespace is not root outside; relaxed since v1.35.
    fn has_user_namespace(&self) -> bool {
        self.minor >= 35 && part(self.spec, "hostUsers").as_bool() == Some(false)
    }
}

#[derive(Clone, Copy)]
struct Container<'a> {
    value: &'a Value,
}

impl<'a> Container<'a> {
    fn name(self) -> &'a str {
        text(self.value, "name")
    }

    fn security(self) -> &'a Value {
        part(self.value, "securityContext")
    }
}

/// `"a", "b"`.
fn quoted<T: AsRef<str>>(list: impl IntoIterator<Item = T>) -> String {
    let list: Vec<String> = list
        .into_iter()
        .map(|item| format!("\"{}\"", item.as_ref()))
        .collect();
    list.join(", ")
}

fn plural<'a>(one: &'a str, many: &'a str, count: usize) -> &'a str {
    if count == 1 { one } else { many }
}

/// `container "a"` or `containers "a", "b"`.
fn named(names: &[&str]) -> String {
    let word = plural("container", "containers", names.len());
    format!("{word} {}", quoted(names))
}

/// `pod and container "a"`: who set something.
fn setters(pod: bool, containers: &[&str]) -> Option<String> {
    let mut setters = Vec::new();
    if pod {
        setters.push("pod".to_owned());
    }
    if !containers.is_empty() {
        setters.push(named(containers));
    }
    (!setters.is_empty()).then(|| setters.join(" and "))
}
