//! The table of pods: READY, STATUS and RESTARTS as upstream's printer works them out.

use super::{Printer, age, column, list, name, number, or_none, text};
use crate::time::{Timestamp, human_duration};
use serde_json::Value;

pub(super) static PRINTER: Printer = Printer {
    columns: &[
        column("Name", "string", 0),
        column("Ready", "string", 0),
        column("Status", "string", 0),
        column("Restarts", "string", 0),
        column("Age", "string", 0),
        column("IP", "string", 1),
        column("Node", "string", 1),
        column("Nominated Node", "string", 1),
        column("Readiness Gates", "string", 1),
    ],
    cells,
};

/// What a pod uses, all of its containers together.
pub(super) static METRICS: Printer = Printer {
    columns: super::node::METRICS.columns,
    cells: |object, _| {
        let containers = list(object, "/containers");
        super::node::used(object, |resource| {
            super::node::sum(containers.iter(), resource)
        })
    },
};

fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let reason = match text(pod, "/status/reason") {
        "" => text(pod, "/status/phase"),
        reason => reason,
    };
    let mut summary = Summary {
        reason: reason.to_owned(),
        ..Summary::default()
    };
    if let Some(gated) = scheduling_gated(pod) {
        summary.reason = gated;
    }
    let initializing = summary.read_init_containers(pod);
    if !initializing || has_condition(pod, "Initialized") {
        summary.read_containers(pod);
    }
    summary.read_deletion(pod);
    let total = list(pod, "/spec/containers").len() + sidecars(pod).count();
    vec![
        name(pod),
        format!("{}/{total}", summary.ready).into(),
        summary.reason.clone().into(),
        summary.restarts(now).into(),
        age(pod, now),
        or_none(pod_ip(pod)),
        or_none(text(pod, "/spec/nodeName")),
        or_none(text(pod, "/status/nominatedNodeName")),
        readiness_gates(pod),
    ]
}

#[derive(Default)]
struct Summary {
    reason: String,
    ready: usize,
    restarts: i64,
    last_restart: Option<Timestamp>,
}

impl Summary {
    fn count_restarts(&mut self, status: &Value) {
        self.restarts += number(status, "/restartCount");
        let finished = Timestamp::parse(text(status, "/lastState/terminated/finishedAt"));
        self.last_restart = self.last_restart.max(finished);
    }

    /// The first init container that is not done decides the reason; true when there is one.
    fn read_init_containers(&mut self, pod: &Value) -> bool {
        let statuses = list(pod, "/status/initContainerStatuses");
        let total = list(pod, "/spec/initContainers").len();
        for (at, status) in statuses.iter().enumerate() {
            self.count_restarts(status);
            let sidecar = sidecars(pod).any(|c| text(c, "/name") == text(status, "/name"));
            if sidecar && status.get("started") == Some(&Value::Bool(true)) {
                self.ready += usize::from(is_true(status, "/ready"));
                continue;
            }
            let waiting = text(status, "/state/waiting/reason");
            self.reason = match status.pointer("/state/terminated") {
                Some(ended) if number(ended, "/exitCode") == 0 => continue,
                Some(ended) => format!("Init:{}", ending(ended)),
                None if !waiting.is_empty() && waiting != "PodInitializing" => {
                    format!("Init:{waiting}")
                }
                None => format!("Init:{at}/{total}"),
            };
            return true;
        }
        false
    }

    fn read_containers(&mut self, pod: &Value) {
        // Restarts of finished init containers no longer count.
        self.restarts = 0;
        let init_restart = self.last_restart.take();
        for sidecar in sidecars(pod) {
            let statuses = list(pod, "/status/initContainerStatuses");
            if let Some(status) = statuses
                .iter()
                .find(|s| text(s, "/name") == text(sidecar, "/name"))
            {
                self.restarts += number(status, "/restartCount");
                self.last_restart = init_restart;
            }
        }
        let mut running = false;
        for status in list(pod, "/status/containerStatuses").iter().rev() {
            self.count_restarts(status);
            let waiting = text(status, "/state/waiting/reason");
            if !waiting.is_empty() {
                waiting.clone_into(&mut self.reason);
            } else if let Some(ended) = status.pointer("/state/terminated") {
                self.reason = ending(ended);
            } else if is_true(status, "/ready") && status.pointer("/state/running").is_some() {
                running = true;
                self.ready += 1;
            }
        }
        // A finished container beside a running one does not make the pod complete.
        if self.reason == "Completed" && running {
            self.reason = if has_condition(pod, "Ready") {
                "Running"
            } else {
                "NotReady"
            }
            .into();
        }
    }

    fn read_deletion(&mut self, pod: &Value) {
        if text(pod, "/metadata/deletionTimestamp").is_empty() {
            return;
        }
        if text(pod, "/status/reason") == "NodeLost" {
            self.reason = "Unknown".into();
        } else if !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed") {
            self.reason = "Terminating".into();
        }
    }

    fn restarts(&self, now: Timestamp) -> String {
        match self.last_restart {
            Some(last) if self.restarts > 0 => {
                format!(
                    "{} ({} ago)",
                    self.restarts,
                    human_duration(now.since(last))
                )
            }
            _ => self.restarts.to_string(),
        }
    }
}

/// Reason of an ended container, or its signal or exit code.
fn ending(ended: &Value) -> String {
    match (text(ended, "/reason"), number(ended, "/signal")) {
        ("", 0) => format!("ExitCode:{}", number(ended, "/exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn is_true(value: &Value, path: &str) -> bool {
    value.pointer(path) == Some(&Value::Bool(true))
}

/// Init containers that keep running.
fn sidecars(pod: &Value) -> impl Iterator<Item = &Value> {
    list(pod, "/spec/initContainers")
        .iter()
        .filter(|c| text(c, "/restartPolicy") == "Always")
}

fn has_condition(pod: &Value, kind: &str) -> bool {
    list(pod, "/status/conditions")
        .iter()
        .any(|c| text(c, "/type") == kind && text(c, "/status") == "True")
}

fn scheduling_gated(pod: &Value) -> Option<String> {
    list(pod, "/status/conditions")
        .iter()
        .find(|c| text(c, "/type") == "PodScheduled" && text(c, "/reason") == "SchedulingGated")
        .map(|c| text(c, "/reason").to_owned())
}

fn pod_ip(pod: &Value) -> &str {
    match list(pod, "/status/podIPs").first() {
        Some(first) => text(first, "/ip"),
        None => text(pod, "/status/podIP"),
    }
}

fn readiness_gates(pod: &Value) -> Value {
    let gates = list(pod, "/spec/readinessGates");
    if gates.is_empty() {
        return "<none>".into();
    }
    let met = gates
        .iter()
        .filter(|g| has_condition(pod, text(g, "/conditionType")))
        .count();
    format!("{met}/{}", gates.len()).into()
}
