//! A pod's priority, from its class or the default one.
//!
//! Source: upstream's `plugin/pkg/admission/priority/admission.go`.

use serde_json::{Value, json};

use super::{part, text};

/// Classes that every cluster has: name, value, description.
pub const SYSTEM: [(&str, i64, &str); 2] = [
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
];

/// Sets `priority`, `priorityClassName` and `preemptionPolicy` of a new pod. `classes` are all
/// PriorityClasses.
///
/// # Errors
/// An unknown class, or a pod that contradicts its class.
pub fn resolve<'a>(
    pod: &mut Value,
    classes: impl IntoIterator<Item = &'a Value>,
) -> Result<(), String> {
    let Some(spec) = pod.get_mut("spec").filter(|spec| spec.is_object()) else {
        return Ok(());
    };
    let name = text(spec, "priorityClassName").to_owned();
    let (name, value, policy) = if name.is_empty() {
        match default_class(classes) {
            Some(class) => (name_of(class).to_owned(), value_of(class), policy_of(class)),
            None => (String::new(), 0, "PreemptLowerPriority".to_owned()),
        }
    } else if let Some(class) = classes.into_iter().find(|class| name_of(class) == name) {
        (name, value_of(class), policy_of(class))
    } else if let Some((_, value, _)) = SYSTEM.iter().find(|(system, ..)| *system == name) {
        (name, *value, "PreemptLowerPriority".to_owned())
    } else {
        return Err(format!("no PriorityClass with name {name} was found"));
    };
    let said = part(spec, "priority").as_i64();
    if let Some(said) = said.filter(|said| *said != value) {
        return Err(format!(
            "the integer value of priority ({said}) must not be provided in pod spec; priority \
             admission controller computed {value} from the given PriorityClass name"
        ));
    }
    let said = text(spec, "preemptionPolicy");
    if !said.is_empty() && said != policy {
        return Err(format!(
            "the string value of PreemptionPolicy ({said}) must not be provided in pod spec; priority \
             admission controller computed {policy} from the given PriorityClass name"
        ));
    }
    if !name.is_empty() {
        spec["priorityClassName"] = name.into();
    }
    spec["priority"] = value.into();
    spec["preemptionPolicy"] = policy.into();
    Ok(())
}

/// What an update leaves out of these fields stays as it was.
pub fn preserve(pod: &mut Value, old: &Value) {
    let old = part(old, "spec");
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    for key in ["priority", "preemptionPolicy"] {
        if let Some(value) = old.get(key).filter(|_| !spec.contains_key(key)) {
            spec.insert(key.into(), value.clone());
        }
    }
}

/// There is one default at most.
///
/// # Errors
/// Names the other one.
pub fn check_class<'a>(
    class: &Value,
    classes: impl IntoIterator<Item = &'a Value>,
) -> Result<(), String> {
    if part(class, "globalDefault").as_bool() != Some(true) {
        return Ok(());
    }
    match default_class(classes) {
        Some(other) if name_of(other) != name_of(class) => Err(format!(
            "PriorityClass {} is already marked as default. Only one default can exist",
            name_of(other)
        )),
        _ => Ok(()),
    }
}

/// The PriorityClass object of a system class.
#[must_use]
pub fn system_class(name: &str, value: i64, description: &str) -> Value {
    json!({"kind": "PriorityClass", "apiVersion": "scheduling.k8s.io/v1", "metadata": {"name": name},
           "value": value, "description": description, "preemptionPolicy": "PreemptLowerPriority"})
}

/// Should there be several, the one with the lowest value.
fn default_class<'a>(classes: impl IntoIterator<Item = &'a Value>) -> Option<&'a Value> {
    classes
        .into_iter()
        .filter(|class| part(class, "globalDefault").as_bool() == Some(true))
        .min_by_key(|class| value_of(class))
}

fn name_of(class: &Value) -> &str {
    text(part(class, "metadata"), "name")
}

fn value_of(class: &Value) -> i64 {
    part(class, "value").as_i64().unwrap_or(0)
}

fn policy_of(class: &Value) -> String {
    match text(class, "preemptionPolicy") {
        "" => "PreemptLowerPriority".to_owned(),
        policy => policy.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(name: &str, value: i64, default: bool) -> Value {
        json!({"metadata": {"name": name}, "value": value, "globalDefault": default, "preemptionPolicy": "Never"})
    }

    fn resolved(spec: &Value, classes: &[Value]) -> Result<Value, String> {
        let mut pod = json!({"spec": spec});
        resolve(&mut pod, classes)?;
        Ok(pod["spec"].take())
    }

    #[test]
    fn priorities_come_from_classes() {
        let classes = [
            class("low", 5, true),
            class("high", 100, false),
            class("other", 7, true),
        ];
        let cases = [
            (json!({}), Ok(json!({"priority": 5, "priorityClassName": "low", "preemptionPolicy": "Never"}))),
            (
                json!({"priorityClassName": "high"}),
                Ok(json!({"priority": 100, "priorityClassName": "high", "preemptionPolicy": "Never"})),
            ),
            (
                json!({"priorityClassName": "system-node-critical"}),
                Ok(json!({"priority": 2_000_001_000, "priorityClassName": "system-node-critical",
                          "preemptionPolicy": "PreemptLowerPriority"})),
            ),
            (
                json!({"priorityClassName": "nope"}),
                Err("no PriorityClass with name nope was found".to_owned()),
            ),
            (
                json!({"priorityClassName": "high", "priority": 4}),
                Err("the integer value of priority (4) must not be provided in pod spec; priority \
                     admission controller computed 100 from the given PriorityClass name".to_owned()),
            ),
            (
                json!({"priorityClassName": "high", "preemptionPolicy": "PreemptLowerPriority"}),
                Err("the string value of PreemptionPolicy (PreemptLowerPriority) must not be provided in \
                     pod spec; priority admission controller computed Never from the given PriorityClass name"
                    .to_owned()),
            ),
        ];
        for (spec, want) in cases {
            assert_eq!(resolved(&spec, &classes), want, "{spec}");
        }
        assert_eq!(
            resolved(&json!({}), &[]),
            Ok(json!({"priority": 0, "preemptionPolicy": "PreemptLowerPriority"}))
        );
    }

    #[test]
    fn one_default_at_most() {
        let classes = [class("low", 5, true)];
        assert_eq!(
            check_class(&class("b", 1, true), &classes),
            Err(
                "PriorityClass low is already marked as default. Only one default can exist".into()
            )
        );
        assert_eq!(check_class(&class("low", 6, true), &classes), Ok(()));
        assert_eq!(check_class(&class("b", 1, false), &classes), Ok(()));
    }

    #[test]
    fn an_update_keeps_what_it_leaves_out() {
        let mut new = json!({"spec": {"preemptionPolicy": "Never"}});
        preserve(
            &mut new,
            &json!({"spec": {"priority": 3, "preemptionPolicy": "x"}}),
        );
        assert_eq!(
            new,
            json!({"spec": {"priority": 3, "preemptionPolicy": "Never"}})
        );
    }
}
