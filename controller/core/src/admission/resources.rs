//! Lists of resources and what a pod asks for in all.
//!
//! Source: upstream's `staging/src/k8s.io/component-helpers/resource/helpers.go`.

use std::collections::BTreeMap;

use bramble_api::quantity::Quantity;
use serde_json::{Map, Value};

use super::{items, part, text};

/// Amounts by resource name, sorted as upstream prints them.
pub type Amounts = BTreeMap<String, Quantity>;

/// Reads a resource list; what is no quantity is left out, as validation reports it.
#[must_use]
pub fn amounts(list: &Value) -> Amounts {
    let entries = list.as_object().into_iter().flatten();
    entries
        .filter_map(|(name, value)| Some((name.clone(), quantity(value)?)))
        .collect()
}

fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => Quantity::parse(text).ok(),
        Value::Number(number) => Quantity::parse(&number.to_string()).ok(),
        _ => None,
    }
}

/// As JSON.
#[must_use]
pub fn to_value(amounts: &Amounts) -> Value {
    let entries = amounts
        .iter()
        .map(|(name, amount)| (name.clone(), Value::from(amount.to_string())));
    Value::Object(entries.collect::<Map<_, _>>())
}

/// `cpu=1,pods=2`.
#[must_use]
pub fn shown(amounts: &Amounts) -> String {
    let parts: Vec<String> = amounts
        .iter()
        .map(|(name, amount)| format!("{name}={amount}"))
        .collect();
    parts.join(",")
}

/// Adds `more` to `sum`.
pub fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let total = match sum.get(name) {
            Some(before) => *before + *amount,
            None => *amount,
        };
        sum.insert(name.clone(), total);
    }
}

fn raise(sum: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        if sum.get(name).is_none_or(|before| before < amount) {
            sum.insert(name.clone(), *amount);
        }
    }
}

/// What a container asks for: `which` is `requests` or `limits`.
#[must_use]
pub fn of_container(container: &Value, which: &str) -> Amounts {
    amounts(part(part(container, "resources"), which))
}

/// What a pod asks for in all: its containers with those init containers that go on running, or what
/// starting it takes at its worst moment, whichever is more; with the overhead.
#[must_use]
pub fn of_pod(spec: &Value, which: &str) -> Amounts {
    let mut sum = Amounts::new();
    for container in items(spec, "containers") {
        add(&mut sum, &of_container(container, which));
    }
    let mut staying = Amounts::new();
    let mut starting = Amounts::new();
    for container in items(spec, "initContainers") {
        let own = of_container(container, which);
        if text(container, "restartPolicy") == "Always" {
            add(&mut sum, &own);
            add(&mut staying, &own);
            raise(&mut starting, &staying);
        } else {
            let mut moment = staying.clone();
            add(&mut moment, &own);
            raise(&mut starting, &moment);
        }
    }
    raise(&mut sum, &starting);
    // Set for the whole pod, these stand for the containers'.
    let whole = amounts(part(part(spec, "resources"), which));
    for (name, amount) in whole {
        if matches!(name.as_str(), "cpu" | "memory") || name.starts_with("hugepages-") {
            sum.insert(name, amount);
        }
    }
    let overhead = amounts(part(spec, "overhead"));
    if which == "requests" {
        add(&mut sum, &overhead);
    } else {
        for (name, amount) in overhead {
            if let Some(limit) = sum.get_mut(&name).filter(|limit| !limit.is_zero()) {
                *limit = *limit + amount;
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn container(cpu: &str) -> Value {
        json!({"resources": {"requests": {"cpu": cpu}}})
    }

    #[test]
    fn a_pod_asks_for_its_worst_moment() {
        let cases = [
            (
                json!({"containers": [container("1"), container("500m")]}),
                "cpu=1500m",
            ),
            (
                json!({"initContainers": [container("3"), container("2")], "containers": [container("1")]}),
                "cpu=3",
            ),
            (
                json!({"initContainers": [
                    {"restartPolicy": "Always", "resources": {"requests": {"cpu": "1"}}}, container("2")],
                    "containers": [container("1")]}),
                "cpu=3",
            ),
            (
                json!({"containers": [container("1")], "overhead": {"cpu": "100m", "memory": "1Mi"}}),
                "cpu=1100m,memory=1Mi",
            ),
            (
                json!({"containers": [container("1")], "resources": {"requests": {"cpu": "4"}}}),
                "cpu=4",
            ),
            (json!({}), ""),
        ];
        for (spec, want) in cases {
            assert_eq!(shown(&of_pod(&spec, "requests")), want, "{spec}");
        }
    }
}
