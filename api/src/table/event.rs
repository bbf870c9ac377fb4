//! The table of events.

use super::{Printer, age_of, column, name, number, text};
use crate::time::Timestamp;
use serde_json::Value;

pub(super) static PRINTER: Printer = Printer {
    columns: &[
        column("Last Seen", "string", 0),
        column("Type", "string", 0),
        column("Reason", "string", 0),
        column("Object", "string", 0),
        column("Subobject", "string", 1),
        column("Source", "string", 1),
        column("Message", "string", 0),
        column("First Seen", "string", 1),
        column("Count", "string", 1),
        column("Name", "string", 1),
    ],
    cells,
};

fn cells(object: &Value, now: Timestamp) -> Vec<Value> {
    let first_of = |paths: [&str; 3]| {
        let stamp = paths
            .into_iter()
            .map(|p| text(object, p))
            .find(|t| !t.is_empty());
        age_of(stamp.unwrap_or_default(), now)
    };
    let first = first_of([
        "/firstTimestamp",
        "/eventTime",
        "/metadata/creationTimestamp",
    ]);
    let last = match text(object, "/series/lastObservedTime") {
        "" => first_of(["/lastTimestamp", "/eventTime", "/firstTimestamp"]),
        seen => age_of(seen, now),
    };
    let (kind, involved) = (
        text(object, "/involvedObject/kind"),
        text(object, "/involvedObject/name"),
    );
    let target = match involved {
        "" => kind.to_lowercase(),
        _ => format!("{}/{involved}", kind.to_lowercase()),
    };
    let component = match text(object, "/source/component") {
        "" => text(object, "/reportingComponent"),
        component => component,
    };
    let source = match text(object, "/source/host") {
        "" => component.to_owned(),
        host => format!("{component}, {host}"),
    };
    let count = match number(object, "/series/count") {
        0 => number(object, "/count").max(1),
        series => series,
    };
    vec![
        last.into(),
        text(object, "/type").into(),
        text(object, "/reason").into(),
        target.into(),
        text(object, "/involvedObject/fieldPath").into(),
        source.into(),
        text(object, "/message").trim().into(),
        first.into(),
        count.into(),
        name(object),
    ]
}
