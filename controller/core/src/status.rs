//! A node's report of a pod becomes the pod's status, and in the end the pod's removal.
//!
//! In: the stored pod and the newest report of it. Out: the write that the report calls for, or none
//! when it says what is known. A terminal phase is one-way: no report undoes it.

use bramble_api::time::Timestamp;
use bramble_api::view::{self, Condition, FullPod};
use bramble_wire::report::{ContainerReport, ContainerState, Phase, PodReport, Terminated, UnixMs};
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
    // In the manifest's order, whatever the order of the report.
    let reports = pod.spec.containers.iter();
    let reports = reports.filter_map(|c| report.containers.iter().find(|r| r.name == c.name));
    let containers: Vec<Value> = reports.map(container).collect();
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
        ("containerStatuses", Some(containers.into())),
        (
            "conditions",
            Some(conditions::to_json(
                &pod_conditions(pod, report, now),
                false,
            )),
        ),
    ];
    let entry = |(key, value): (&str, Option<Value>)| (key.to_owned(), value.unwrap_or_default());
    fields.into_iter().map(entry).collect()
}

fn pod_conditions(pod: &FullPod, report: &PodReport, now: Timestamp) -> Vec<Condition> {
    let mut list = pod.status.conditions.clone();
    let completed = report.phase == Phase::Succeeded;
    let failed = report.phase == Phase::Failed;
    let unready: Vec<&str> = pod
        .spec
        .containers
        .iter()
        .map(|c| c.name.as_str())
        .filter(|name| !report.containers.iter().any(|r| r.name == *name && r.ready))
        .collect();
    let ready = report.phase == Phase::Running && unready.is_empty();
    let message = format!("containers with unready status: [{}]", unready.join(" "));
    let (status, reason, message) = match (ready, completed, failed) {
        (true, ..) => ("True", "", ""),
        (_, true, _) => ("False", "PodCompleted", ""),
        (_, _, true) => ("False", "PodFailed", ""),
        _ => ("False", "ContainersNotReady", message.as_str()),
    };
    let initialized = if completed { "PodCompleted" } else { "" };
    put(&mut list, "Initialized", "True", initialized, "", now);
    put(&mut list, "Ready", status, reason, message, now);
    put(&mut list, "ContainersReady", status, reason, message, now);
    if conditions::find(&list, "PodScheduled").is_none() {
        put(&mut list, "PodScheduled", "True", "", "", now);
    }
    list
}

/// Sets a condition in its place. Unlike a Deployment's, a pod's condition takes a new message also
/// while status and reason stay.
fn put(
    list: &mut Vec<Condition>,
    kind: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    let new = conditions::now(kind, status, reason, message, now);
    let mut new = Condition {
        last_update_time: None,
        ..new
    };
    match list.iter_mut().find(|c| c.kind == kind) {
        Some(old) => {
            if old.status == status {
                new.last_transition_time = old.last_transition_time;
            }
            *old = new;
        }
        None => list.push(new),
    }
}

fn container(report: &ContainerReport) -> Value {
    let mut out = json!({
        "name": report.name,
        "state": state(&report.state),
        "lastState": report.last.as_ref().map_or_else(|| json!({}), |t| {
            json!({"terminated": terminated(t)})
        }),
        "ready": report.ready,
        "started": report.started,
        "restartCount": report.restarts,
        "image": report.image,
        "imageID": report.image_id,
    });
    if !report.container_id.is_empty() {
        out["containerID"] = container_id(&report.container_id);
    }
    out
}

fn container_id(id: &str) -> Value {
    format!("bramble://{id}").into()
}

fn state(state: &ContainerState) -> Value {
    match state {
        ContainerState::Waiting { reason, message } => {
            let mut waiting = json!({"reason": reason});
            if !message.is_empty() {
                waiting["message"] = message.as_str().into();
            }
            json!({"waiting": waiting})
        }
        ContainerState::Running { started } => json!({"running": {"startedAt": time(*started)}}),
        ContainerState::Terminated(end) => json!({"terminated": terminated(end)}),
    }
}

fn terminated(end: &Terminated) -> Value {
    let mut out = json!({
        "exitCode": end.exit_code,
        "reason": end.reason,
        "startedAt": time(end.started),
        "finishedAt": time(end.finished),
    });
    if end.signal != 0 {
        out["signal"] = end.signal.into();
    }
    if !end.message.is_empty() {
        out["message"] = end.message.as_str().into();
    }
    if !end.container_id.is_empty() {
        out["containerID"] = container_id(&end.container_id);
    }
    out
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
