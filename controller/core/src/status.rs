//! A node's report of a pod becomes the pod's status, and in the end the pod's removal.
//!
//! In: the stored pod and the newest report of it. Out: the write that the report calls for, or none
//! when it says what is known. A terminal phase is one-way: no report undoes it.

mod condition;
mod container;

use bramble_api::time::Timestamp;
use bramble_api::view::{self, Container, FullPod};
use bramble_wire::report::{ContainerReport, Phase, PodReport, UnixMs};
use serde_json::{Map, Value, json};

use crate::action::{Action, Durability, Target};
use crate::{conditions, kinds};

/// What a report of a pod calls for. `pod` is the stored object, `host_ip` the node's address.
///
/// The caller has found the pod by the report's UID and must have checked that the pod is bound to
/// the node that reports; a report about another node's pod is refused here too.
pub fn from_report(
    node: &str,
    pod: &Value,
    revision: u64,
    report: &PodReport,
    host_ip: Option<&str>,
    now: Timestamp,
) -> Result<Option<Action>, serde_json::Error> {
    let view: FullPod = serde::Deserialize::deserialize(pod)?;
    let same = view.metadata.uid == report.uid.to_string() && view.spec.node_name == node;
    if !same {
        return Ok(None);
    }
    let target = Target::of(kinds::pod(), &view.metadata);
    if report.gone && view.metadata.is_deleting() && view.metadata.finalizers.is_empty() {
        return Ok(Some(Action::Remove {
            target,
            uid: view.metadata.uid,
        }));
    }
    let stored = pod.get("status").and_then(Value::as_object);
    let ended = matches!(view.status.phase.as_str(), "Succeeded" | "Failed");
    if ended && !matches!(report.phase, Phase::Succeeded | Phase::Failed) {
        return Ok(None);
    }
    let mut changes = status(&view, report, host_ip, now);
    if ended {
        changes.remove("phase");
    }
    if stored.is_some_and(|status| status.contains_key("qosClass")) {
        changes.remove("qosClass");
    }
    changes.retain(|key, value| {
        let old = stored.and_then(|status| status.get(key));
        old.unwrap_or(&Value::Null) != value
    });
    if changes.is_empty() {
        return Ok(None);
    }
    Ok(Some(Action::Patch {
        target,
        revision,
        patch: json!({"status": changes}),
        durability: if report.is_terminal() {
            Durability::Hard
        } else {
            Durability::Soft
        },
        note: None,
    }))
}

/// The patch that makes a pod with readiness gates as ready as they and its containers are; none when
/// it is so, or its node can't be asked. `pod` is the stored object.
///
/// # Errors
/// A stored pod that does not decode.
pub fn gates(
    pod: &Value,
    revision: u64,
    now: Timestamp,
) -> Result<Option<Action>, serde_json::Error> {
    let view: FullPod = serde::Deserialize::deserialize(pod)?;
    let ended = matches!(view.status.phase.as_str(), "Succeeded" | "Failed");
    if ended || view.spec.readiness_gates.is_empty() || view.spec.node_name.is_empty() {
        return Ok(None);
    }
    let Some(list) = condition::after_gates(&view, now) else {
        return Ok(None);
    };
    Ok(Some(Action::Patch {
        target: Target::of(kinds::pod(), &view.metadata),
        revision,
        patch: json!({"status": {"conditions": conditions::to_json(&list, false)}}),
        durability: Durability::Soft,
        note: None,
    }))
}

/// Every field of the status that a report decides; null for one that must not be there.
fn status(
    pod: &FullPod,
    report: &PodReport,
    host_ip: Option<&str>,
    now: Timestamp,
) -> Map<String, Value> {
    let phase = match report.phase {
        Phase::Pending => "Pending",
        Phase::Running => "Running",
        Phase::Succeeded => "Succeeded",
        Phase::Failed => "Failed",
    };
    let ip = report.pod_ip.map(|[a, b, c, d]| format!("{a}.{b}.{c}.{d}"));
    let ip = ip.as_deref().or(host_ip.filter(|_| pod.spec.host_network));
    let list = |ip: Option<&str>| ip.map(|ip| json!([{"ip": ip}]));
    let some = |text: &str| Some(text).filter(|text| !text.is_empty()).map(Value::from);
    let (spec, optional) = (&pod.spec, |list: Vec<Value>| {
        (!list.is_empty()).then(|| Value::from(list))
    });
    let init = statuses(&spec.init_containers, &report.init_containers);
    let ephemeral = statuses(&spec.ephemeral_containers, &report.ephemeral_containers);
    let fields = [
        ("phase", Some(phase.into())),
        ("reason", some(&report.reason)),
        ("message", some(&report.message)),
        ("startTime", Some(time(report.started))),
        ("podIP", ip.map(Value::from)),
        ("podIPs", list(ip)),
        ("hostIP", host_ip.map(Value::from)),
        ("hostIPs", list(host_ip)),
        ("qosClass", Some(qos_class(pod).into())),
        ("initContainerStatuses", optional(init)),
        (
            "containerStatuses",
            Some(statuses(&spec.containers, &report.containers).into()),
        ),
        ("ephemeralContainerStatuses", optional(ephemeral)),
        (
            "conditions",
            Some(conditions::to_json(
                &condition::list(pod, report, now),
                false,
            )),
        ),
    ];
    let entry = |(key, value): (&str, Option<Value>)| (key.to_owned(), value.unwrap_or_default());
    fields.into_iter().map(entry).collect()
}

/// In the manifest's order, whatever the order of the report.
fn statuses(manifest: &[Container], reports: &[ContainerReport]) -> Vec<Value> {
    let of = |container: &Container| {
        let report = reports
            .iter()
            .find(|report| report.name == container.name)?;
        Some(container::status(container, report))
    };
    manifest.iter().filter_map(of).collect()
}

/// A node that does not know when says 0, upstream says null.
fn time(at: UnixMs) -> Value {
    if at == UnixMs::default() {
        return Value::Null;
    }
    Timestamp::from_seconds(at.0.div_euclid(1000))
        .rfc3339()
        .into()
}

/// `Guaranteed`, `Burstable` or `BestEffort`, by upstream's rules.
pub fn qos_class(pod: &FullPod) -> &'static str {
    let containers = || pod.spec.containers.iter().chain(&pod.spec.init_containers);
    let amounts = |list: &view::ResourceList| {
        (
            list.milli("cpu").filter(|n| *n > 0),
            list.units("memory").filter(|n| *n > 0),
        )
    };
    let any = |list: &view::ResourceList| {
        let (cpu, memory) = amounts(list);
        cpu.is_some() || memory.is_some()
    };
    if !containers().any(|c| any(&c.resources.requests) || any(&c.resources.limits)) {
        return "BestEffort";
    }
    let guaranteed = containers().all(|c| {
        let (cpu, memory) = amounts(&c.resources.limits);
        // A request that is left out is the limit; one of nothing is given, and differs from it.
        let requests = &c.resources.requests;
        let same = |request: Option<u64>, limit: Option<u64>| request.is_none() || request == limit;
        cpu.is_some()
            && memory.is_some()
            && same(requests.milli("cpu"), cpu)
            && same(requests.units("memory"), memory)
    });
    if guaranteed {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

#[cfg(test)]
mod tests;
