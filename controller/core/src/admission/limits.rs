//! LimitRange: defaults for containers, and bounds on containers, pods and claims.
//!
//! Source: upstream's `plugin/pkg/admission/limitranger/admission.go`.

use bramble_api::quantity::Quantity;
use serde_json::{Map, Value};

use super::resources::{Amounts, amounts, of_container, of_pod};
use super::{aggregate, child, items, part, text};

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// One entry of `spec.limits`, completed as the API server does when it stores the object: a default
/// limit from the maximum, a default request from the default limit or else the minimum.
#[derive(Debug, Default)]
struct Limit {
    kind: String,
    min: Amounts,
    max: Amounts,
    default: Amounts,
    default_request: Amounts,
    ratio: Amounts,
}

impl Limit {
    fn of(value: &Value) -> Self {
        let list = |key: &str| amounts(part(value, key));
        let mut limit = Self {
            kind: text(value, "type").to_owned(),
            min: list("min"),
            max: list("max"),
            default: list("default"),
            default_request: list("defaultRequest"),
            ratio: list("maxLimitRequestRatio"),
        };
        if limit.kind == "Container" {
            complete(&mut limit.default, &limit.max);
            complete(&mut limit.default_request, &limit.default);
            complete(&mut limit.default_request, &limit.min);
        }
        limit
    }

    fn all(range: &Value) -> Vec<Self> {
        items(part(range, "spec"), "limits")
            .iter()
            .map(Self::of)
            .collect()
    }
}

fn complete(list: &mut Amounts, from: &Amounts) {
    for (name, amount) in from {
        list.entry(name.clone()).or_insert(*amount);
    }
}

/// Gives the containers of a new pod what the namespace's LimitRanges say, and notes it in an
/// annotation.
pub fn default_pod<'a>(pod: &mut Value, ranges: impl IntoIterator<Item = &'a Value>) {
    for range in ranges {
        let mut requests = Amounts::new();
        let mut limits = Amounts::new();
        for limit in Limit::all(range) {
            if limit.kind == "Container" {
                requests.extend(limit.default_request);
                limits.extend(limit.default);
            }
        }
        let mut notes = Vec::new();
        let Some(spec) = pod.get_mut("spec") else {
            return;
        };
        for (key, what) in [
            ("containers", "container"),
            ("initContainers", "init container"),
        ] {
            let containers = spec.get_mut(key).and_then(Value::as_array_mut);
            for container in containers.into_iter().flatten() {
                default_container(container, what, &requests, &limits, &mut notes);
            }
        }
        if notes.is_empty() {
            continue;
        }
        let note = format!("LimitRanger plugin set: {}", notes.join("; "));
        if let Some(metadata) = pod.get_mut("metadata")
            && let Some(annotations) = child(metadata, "annotations")
        {
            annotations.insert(ANNOTATION.into(), note.into());
        }
    }
}

fn default_container(
    container: &mut Value,
    what: &str,
    requests: &Amounts,
    limits: &Amounts,
    notes: &mut Vec<String>,
) {
    let name = text(container, "name").to_owned();
    for (key, word, defaults) in [
        ("requests", "request", requests),
        ("limits", "limit", limits),
    ] {
        if defaults.is_empty() {
            continue;
        }
        if child(container, "resources").is_none() {
            return;
        }
        let Some(list) = child(&mut container["resources"], key) else {
            return;
        };
        let set = fill(list, defaults);
        if !set.is_empty() {
            notes.push(format!("{} {word} for {what} {name}", set.join(", ")));
        }
    }
}

fn fill(list: &mut Map<String, Value>, defaults: &Amounts) -> Vec<String> {
    let mut set = Vec::new();
    for (name, amount) in defaults {
        if !list.contains_key(name) {
            list.insert(name.clone(), amount.to_string().into());
            set.push(name.clone());
        }
    }
    set
}

/// Whether a new pod keeps within a LimitRange.
///
/// # Errors
/// The refusal, naming everything that is wrong.
pub fn check_pod(pod: &Value, range: &Value) -> Result<(), String> {
    let spec = part(pod, "spec");
    let mut errors = Vec::new();
    for limit in Limit::all(range) {
        match limit.kind.as_str() {
            "Container" => {
                let containers = items(spec, "containers")
                    .iter()
                    .chain(items(spec, "initContainers"));
                for container in containers {
                    let requests = of_container(container, "requests");
                    let limits = of_container(container, "limits");
                    check(&limit, &requests, &limits, &mut errors);
                }
            }
            "Pod" => {
                let (requests, limits) = (of_pod(spec, "requests"), of_pod(spec, "limits"));
                check(&limit, &requests, &limits, &mut errors);
            }
            _ => {}
        }
    }
    aggregate(errors)
}

/// Whether a claim keeps within a LimitRange.
///
/// # Errors
/// The refusal, naming everything that is wrong.
pub fn check_claim(claim: &Value, range: &Value) -> Result<(), String> {
    let requests = of_container(part(claim, "spec"), "requests");
    let mut errors = Vec::new();
    for limit in Limit::all(range) {
        if limit.kind != "PersistentVolumeClaim" {
            continue;
        }
        for (name, bound) in &limit.min {
            let bound = Bound::new(&limit.kind, name, *bound);
            errors.extend(bound.min(requests.get(name), None));
        }
        for (name, bound) in &limit.max {
            let bound = Bound::new(&limit.kind, name, *bound);
            errors.extend(bound.max_request(requests.get(name)));
        }
    }
    aggregate(errors)
}

fn check(limit: &Limit, requests: &Amounts, limits: &Amounts, errors: &mut Vec<String>) {
    let pair = |name: &String| (requests.get(name), limits.get(name));
    let bound = |name, amount: &Quantity| Bound::new(&limit.kind, name, *amount);
    for (name, amount) in &limit.min {
        let (request, limit) = pair(name);
        errors.extend(bound(name, amount).min(request, limit));
    }
    for (name, amount) in &limit.max {
        let (request, limit) = pair(name);
        errors.extend(bound(name, amount).max(request, limit));
    }
    for (name, amount) in &limit.ratio {
        let (request, limit) = pair(name);
        errors.extend(bound(name, amount).ratio(request, limit));
    }
}

/// One bound on one resource, for its texts.
struct Bound<'a> {
    kind: &'a str,
    resource: &'a str,
    amount: Quantity,
}

impl<'a> Bound<'a> {
    fn new(kind: &'a str, resource: &'a str, amount: Quantity) -> Self {
        Self {
            kind,
            resource,
            amount,
        }
    }

    fn text(&self, bound: &str, rest: &str) -> Option<String> {
        let (resource, kind, amount) = (self.resource, self.kind, self.amount);
        Some(format!(
            "{bound} {resource} usage per {kind} is {amount}{rest}"
        ))
    }

    fn min(&self, request: Option<&Quantity>, limit: Option<&Quantity>) -> Option<String> {
        let Some(request) = request else {
            return self.text("minimum", ".  No request is specified");
        };
        if *request < self.amount {
            return self.text("minimum", &format!(", but request is {request}"));
        }
        let limit = limit.filter(|limit| **limit < self.amount)?;
        self.text("minimum", &format!(", but limit is {limit}"))
    }

    fn max(&self, request: Option<&Quantity>, limit: Option<&Quantity>) -> Option<String> {
        let Some(limit) = limit else {
            return self.text("maximum", ".  No limit is specified");
        };
        if *limit > self.amount {
            return self.text("maximum", &format!(", but limit is {limit}"));
        }
        let request = request.filter(|request| **request > self.amount)?;
        self.text("maximum", &format!(", but request is {request}"))
    }

    fn max_request(&self, request: Option<&Quantity>) -> Option<String> {
        let Some(request) = request else {
            return self.text("maximum", ".  No request is specified");
        };
        if *request <= self.amount {
            return None;
        }
        self.text("maximum", &format!(", but request is {request}"))
    }

    fn ratio(&self, request: Option<&Quantity>, limit: Option<&Quantity>) -> Option<String> {
        let (resource, kind, amount) = (self.resource, self.kind, self.amount);
        let text = |why: &str| {
            Some(format!(
                "{resource} max limit to request ratio per {kind} is {amount}, but {why}"
            ))
        };
        let some = |amount: Option<&Quantity>| amount.copied().filter(|a| !a.is_zero());
        let Some(request) = some(request) else {
            return text("no request is specified or request is 0");
        };
        let Some(limit) = some(limit) else {
            return text("no limit is specified or limit is 0");
        };
        // Floating point, as upstream compares them.
        #[allow(clippy::cast_precision_loss)]
        let ratio = limit.milli() as f64 / request.milli() as f64;
        #[allow(clippy::cast_precision_loss)]
        let most = amount.milli() as f64 / 1000.0;
        if ratio > most {
            return text(&format!("provided ratio is {ratio:.6}"));
        }
        None
    }
}

#[cfg(test)]
mod tests;
