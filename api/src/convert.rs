//! Kinds that are served in two groups: between the form of a request and the form that is stored.
//!
//! Events alone so far: `events.k8s.io/v1` is kept as `v1`, so that both groups show the same
//! objects (upstream's `pkg/apis/events/v1/conversion.go`).

use crate::kind::Kind;
use serde_json::{Map, Value};

/// `events.k8s.io/v1` name, core name.
const EVENT: [(&str, &str); 7] = [
    ("deprecatedCount", "count"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedSource", "source"),
    ("note", "message"),
    ("regarding", "involvedObject"),
    ("reportingController", "reportingComponent"),
];

/// Turns an object of `kind` into what is stored.
pub fn to_stored(kind: &Kind, object: &mut Value) {
    if is_foreign(kind)
        && let Value::Object(map) = object
    {
        for (served, stored) in EVENT {
            rename(map, served, stored);
        }
        map.insert("apiVersion".into(), "v1".into());
    }
}

/// Turns a stored object into what a client of `kind` sees.
pub fn to_served(kind: &Kind, object: &mut Value) {
    if is_foreign(kind)
        && let Value::Object(map) = object
    {
        for (served, stored) in EVENT {
            rename(map, stored, served);
        }
        map.insert("apiVersion".into(), kind.api_version().into());
    }
}

/// Whether stored bytes of this kind have another form than the one it serves.
pub fn is_foreign(kind: &Kind) -> bool {
    kind.stored && kind.group != kind.storage_group
}

/// The stored form's name of a field path, for selectors.
pub fn stored_path(kind: &Kind, path: &str) -> String {
    if is_foreign(kind) {
        for (served, stored) in EVENT {
            match path.strip_prefix(served) {
                Some(rest) if rest.is_empty() || rest.starts_with('.') => {
                    return format!("{stored}{rest}");
                }
                _ => {}
            }
        }
    }
    path.to_owned()
}

fn rename(map: &mut Map<String, Value>, from: &str, to: &str) {
    if let Some(value) = map.remove(from) {
        map.insert(to.into(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::find;
    use serde_json::json;

    #[test]
    fn events_go_there_and_back() {
        let kind = find("events.k8s.io", "v1", "events").unwrap();
        let served = json!({"kind": "Event", "apiVersion": "events.k8s.io/v1", "metadata": {"name": "e"},
            "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "c", "reportingInstance": "c-0",
            "action": "Start", "reason": "Started", "regarding": {"kind": "Pod", "name": "p"}, "note": "n",
            "type": "Normal", "deprecatedCount": 3, "deprecatedSource": {"component": "x"},
            "deprecatedFirstTimestamp": "2026-01-01T00:00:00Z", "deprecatedLastTimestamp": "2026-01-01T00:00:00Z"});
        let mut event = served.clone();
        to_stored(kind, &mut event);
        assert_eq!(
            event,
            json!({"kind": "Event", "apiVersion": "v1", "metadata": {"name": "e"},
                "eventTime": "2026-01-01T00:00:00.000000Z", "reportingComponent": "c", "reportingInstance": "c-0",
                "action": "Start", "reason": "Started", "involvedObject": {"kind": "Pod", "name": "p"}, "message": "n",
                "type": "Normal", "count": 3, "source": {"component": "x"},
                "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:00Z"})
        );
        to_served(kind, &mut event);
        assert_eq!(event, served);
        assert_eq!(stored_path(kind, "regarding.name"), "involvedObject.name");
        assert_eq!(stored_path(kind, "type"), "type");
    }

    #[test]
    fn the_home_of_a_kind_is_not_touched() {
        for kind in crate::kind::KINDS {
            assert_eq!(
                is_foreign(kind),
                kind.group == "events.k8s.io",
                "{}",
                kind.kind
            );
        }
        let mut event = json!({"note": "n"});
        to_stored(find("", "v1", "events").unwrap(), &mut event);
        assert_eq!(event, json!({"note": "n"}));
    }
}
