//! What is said of an object: phases, conditions and containers in its status, events about it.

use anyhow::{Result, ensure};
use bramble_tests::local::{Cluster, wait_until};
use serde_json::Value;

use crate::{LIMIT, list, text};

/// A pod's containers run.
pub(crate) fn running(pod: &Value) -> bool {
    text(pod, "/status/phase") == "Running"
}

/// A pod has ended well.
pub(crate) fn succeeded(pod: &Value) -> bool {
    text(pod, "/status/phase") == "Succeeded"
}

/// A pod has ended, well or not.
pub(crate) fn ended(pod: &Value) -> bool {
    succeeded(pod) || text(pod, "/status/phase") == "Failed"
}

/// A condition; null when there is none of this type.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    let all = object["status"]["conditions"].as_array();
    let mut all = all.into_iter().flatten();
    all.find(|condition| condition["type"] == kind)
        .unwrap_or(&Value::Null)
}

/// Whether a condition has a status: `True`, `False`, `Unknown`.
pub(crate) fn is(object: &Value, kind: &str, status: &str) -> bool {
    condition(object, kind)["status"] == status
}

/// Status of a container or init container; null when there is none.
pub(crate) fn container<'a>(pod: &'a Value, name: &str) -> &'a Value {
    ["containerStatuses", "initContainerStatuses"]
        .iter()
        .filter_map(|list| pod["status"][list].as_array())
        .flatten()
        .find(|status| status["name"] == name)
        .unwrap_or(&Value::Null)
}

/// Waits until there is an event about an object with this reason, whose message has this text.
pub(crate) fn wait_for_event(
    cluster: &Cluster,
    object: &str,
    reason: &str,
    message: &str,
) -> Result<()> {
    let of = format!("involvedObject.name={object}");
    let mut seen = Vec::new();
    let found = wait_until(LIMIT, || {
        // An answer that fails just now (the controller may be starting) is asked for again.
        if let Ok(events) = list(cluster, &["events", "--field-selector", &of]) {
            seen = events;
        }
        Ok(seen.iter().any(|event| {
            text(event, "/reason") == reason && text(event, "/message").contains(message)
        }))
    })?;
    let short = |event: &Value| format!("{}: {}", text(event, "/reason"), text(event, "/message"));
    let seen: Vec<String> = seen.iter().map(short).collect();
    ensure!(found, "no {reason} of {object} says {message:?}: {seen:#?}");
    Ok(())
}
