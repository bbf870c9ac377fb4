//! What a node tells of its pods itself, for people.
//!
//! In: the stored pod and what its node told. Out: the note and when it was seen. A node's clock
//! may be wrong and its words anything: both are brought within bounds.

use bramble_api::time::Timestamp;
use bramble_wire::report::PodEvent;
use serde_json::Value;

use super::{Seen, TTL_S};
use crate::action::{Note, Regarding};
use crate::kinds;

/// What says so, upstream's name of it.
const COMPONENT: &str = "kubelet";
/// Longest reason.
const REASON_MAX: usize = 128;
/// Where containers are in a pod's spec.
const LISTS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// The note of an event that `node` tells of `pod`; none when the pod is not on that node, or the
/// event has no reason that could be one.
pub fn from_node(
    node: &str,
    pod: &Value,
    event: &PodEvent,
    now: Timestamp,
) -> Option<(Note, Seen)> {
    let text = |path: &str| pod.pointer(path).and_then(Value::as_str).unwrap_or("");
    let reason = event.reason.as_str();
    let word = !reason.is_empty()
        && reason.len() <= REASON_MAX
        && reason.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let same = text("/metadata/uid") == event.uid.to_string() && text("/spec/nodeName") == node;
    if !same || !word {
        return None;
    }
    let kind = kinds::pod();
    let regarding = Regarding {
        api_version: kind.api_version(),
        kind: kind.kind.to_owned(),
        namespace: text("/metadata/namespace").to_owned(),
        name: text("/metadata/name").to_owned(),
        uid: event.uid.to_string(),
        field_path: field_path(pod, &event.container),
    };
    let note = Note {
        regarding,
        warning: event.warning,
        reason: reason.to_owned().into(),
        message: event.message.clone(),
        component: COMPONENT,
        host: node.to_owned(),
    };
    let seen = Seen {
        at: plausible(event.at.0.div_euclid(1000), now),
        count: event.count.max(1),
    };
    Some((note, seen))
}

/// `spec.initContainers{name}`; empty for the pod as a whole, and for a container that it does not
/// have.
fn field_path(pod: &Value, container: &str) -> String {
    let has = |list: &&&str| {
        let list = pod["spec"][**list].as_array();
        list.is_some_and(|list| list.iter().any(|c| c["name"] == container))
    };
    let list = LISTS.iter().find(has);
    list.map_or_else(String::new, |list| format!("spec.{list}{{{container}}}"))
}

/// The node's time while it is one at which an Event would be kept, else now.
fn plausible(seconds: i64, now: Timestamp) -> Timestamp {
    let oldest = now.seconds - TTL_S / 2;
    match (oldest..=now.seconds).contains(&seconds) {
        true => Timestamp::from_seconds(seconds),
        false => now,
    }
}

#[cfg(test)]
mod tests {
    use bramble_wire::object::PodUid;
    use bramble_wire::report::UnixMs;
    use serde_json::json;

    use super::*;

    const UID: &str = "00000000-0000-4000-8000-000000000001";
    const NOW: Timestamp = Timestamp::from_seconds(1_780_000_000);

    fn event(container: &str, reason: &str, at_s: i64) -> PodEvent {
        PodEvent {
            uid: PodUid::parse(UID).unwrap(),
            container: container.into(),
            warning: true,
            reason: reason.into(),
            message: "m".into(),
            at: UnixMs(at_s * 1000),
            count: 3,
        }
    }

    fn told(node: &str, event: &PodEvent) -> Option<(Note, Seen)> {
        let pod = json!({"metadata": {"name": "p", "namespace": "d", "uid": UID},
            "spec": {"nodeName": "n1",
                "containers": [{"name": "main"}],
                "initContainers": [{"name": "first"}],
                "ephemeralContainers": [{"name": "look"}]}});
        from_node(node, &pod, event, NOW)
    }

    #[test]
    fn the_part_that_is_meant_is_named() {
        for (container, path) in [
            ("main", "spec.containers{main}"),
            ("first", "spec.initContainers{first}"),
            ("look", "spec.ephemeralContainers{look}"),
            ("", ""),
            ("unknown", ""),
        ] {
            let (note, seen) = told("n1", &event(container, "Unhealthy", NOW.seconds)).unwrap();
            assert_eq!(note.regarding.field_path, path);
            assert_eq!((note.component, note.host.as_str()), ("kubelet", "n1"));
            assert_eq!((note.reason.as_ref(), seen.count), ("Unhealthy", 3));
        }
    }

    #[test]
    fn nobody_tells_of_pods_elsewhere_and_no_reason_is_any_text() {
        assert_eq!(told("n2", &event("main", "Killing", 0)), None);
        for reason in ["", "two words", "x\ny", &"R".repeat(REASON_MAX + 1)] {
            assert_eq!(told("n1", &event("main", reason, 0)), None, "{reason}");
        }
    }

    #[test]
    fn a_clock_that_is_wrong_is_not_believed() {
        for (at, seen) in [
            (NOW.seconds - 60, NOW.seconds - 60),
            (NOW.seconds + 60, NOW.seconds),
            (0, NOW.seconds),
        ] {
            let (_, told) = told("n1", &event("main", "Killing", at)).unwrap();
            assert_eq!(told.at.seconds, seen);
        }
    }
}
