//! What a pass found, as events in upstream's words.
//!
//! In: what waits, what failed, what is remembered anew. Out: [`Events`]. What waits is a level; it is
//! told when it is new, or has another text. A back-off has one with each delay.

use std::collections::BTreeSet;

use bramble_agent_core::memory::Memory;
use bramble_agent_core::plan::{Plan, Record, Waiting};
use bramble_wire::object::PodUid;

use super::Under;
use crate::events::Events;

/// What has been told of what waits; as long as it waits.
#[derive(Debug, Default)]
pub(super) struct Told(BTreeSet<(PodUid, String, String)>);

impl Told {
    /// Tells what waits newly.
    pub(super) fn waiting(&mut self, events: &Events, plan: &Plan, memory: &Memory) {
        let mut now = BTreeSet::new();
        for waiting in &plan.waiting {
            let Some((reason, message)) = text(waiting, memory) else {
                continue;
            };
            let container = waiting.container.clone().unwrap_or_default();
            let key = (waiting.uid, container, waiting.message.clone());
            if !self.0.contains(&key) {
                events.tell(waiting.uid, &key.1, true, reason, &message);
            }
            now.insert(key);
        }
        self.0 = now;
    }
}

/// Tells what the records say that the memory did not.
pub(super) fn records(events: &Events, records: &[Record], memory: &Memory) {
    for record in records {
        let before = memory.get(&record.uid).and_then(|pod| pod.verdict.as_ref());
        let verdict = record.memory.as_ref().and_then(|pod| pod.verdict.as_ref());
        if let (None, Some(verdict)) = (before, verdict)
            // An eviction has been told by who found it.
            && verdict.reason == "DeadlineExceeded"
        {
            events.tell(record.uid, "", false, &verdict.reason, &verdict.message);
        }
    }
}

/// Tells a failed action.
pub(super) fn failure(events: &Events, under: &Under, message: &str) {
    // A volume's failure has been told by name.
    let (reason, text) = match under.what {
        "start the sandbox" if !message.contains("MountVolume") => (
            "FailedCreatePodSandBox",
            format!("Failed to create pod sandbox: {message}"),
        ),
        "start a container" => ("Failed", format!("Error: {message}")),
        "stop containers" | "stop the sandbox" | "remove the pod" => {
            ("FailedKillPod", format!("error killing pod: {message}"))
        }
        _ => return,
    };
    let container = match under.what {
        "start a container" => under.container.as_str(),
        _ => "",
    };
    events.tell(under.uid, container, true, reason, &text);
}

fn text(waiting: &Waiting, memory: &Memory) -> Option<(&'static str, String)> {
    let message = &waiting.message;
    Some(match waiting.reason.as_str() {
        "CrashLoopBackOff" => {
            let name = memory.get(&waiting.uid).map(|pod| &pod.name)?;
            let container = waiting.container.as_deref().unwrap_or_default();
            let pod = format!("{}_{}({})", name.name, name.namespace, waiting.uid);
            let text = format!("Back-off restarting failed container {container} in pod {pod}");
            ("BackOff", text)
        }
        "CreateContainerConfigError" => ("Failed", format!("Error: {message}")),
        "FailedCreatePodSandBox" => (
            "FailedCreatePodSandBox",
            format!("Failed to create pod sandbox: {message}"),
        ),
        _ => return None,
    })
}
