//! What grows old: terminated pods above a bound, Events over their time or above theirs.

use std::sync::Arc;

use bramble_api::time::Timestamp;
use bramble_controller_core::event;

use super::Controllers;
use super::cache::{Id, View};
use super::queue::Work;
use super::write::Error;

/// Terminated pods that are kept; beyond it the oldest go.
const TERMINATED_MAX: usize = 1000;

impl Controllers {
    pub(super) fn bound_terminated(&mut self) -> Result<(), Error> {
        let mut ended: Vec<(Option<Timestamp>, Id, Arc<View>)> = self
            .cache
            .all("pods")
            .filter(|(_, view)| view.pod().is_some_and(|pod| pod.is_terminated()))
            .map(|(id, view)| (view.metadata().creation_timestamp, id.clone(), view.clone()))
            .collect();
        let surplus = ended.len().saturating_sub(TERMINATED_MAX);
        if surplus == 0 {
            return Ok(());
        }
        ended.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        ended.truncate(surplus);
        ended
            .iter()
            .filter_map(|(_, id, view)| Some((id, view.pod()?)))
            .try_for_each(|(id, pod)| self.remove_pod(id, pod))
    }

    /// Removes Events over their time or above their bound, and comes back for the next.
    pub(super) fn expire_events(&mut self, now: Timestamp) {
        self.recorder.expire(now);
        let mut events: Vec<_> = self
            .cache
            .all("events")
            .filter_map(|(id, view)| Some((self.last_seen(id, view)?, id.clone())))
            .collect();
        events.sort_unstable();
        let surplus = events.len().saturating_sub(event::MAX);
        let mut next = None;
        for (at, (seen, id)) in events.into_iter().enumerate() {
            if at < surplus || now.since(seen) >= event::TTL_S {
                self.remove_event(&id);
            } else {
                next.get_or_insert(seen);
            }
        }
        if let Some(seen) = next {
            let due = Timestamp::from_seconds(seen.seconds + event::TTL_S);
            self.later(Work::Events, due);
        }
    }

    /// When an Event happened last; none when it is gone.
    fn last_seen(&self, id: &Id, view: &View) -> Option<Timestamp> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Seen {
            last_timestamp: Option<String>,
            event_time: Option<String>,
            series: Option<Series>,
        }
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Series {
            last_observed_time: Option<String>,
        }
        let entry = self.store.get(&id.key())?;
        let seen = serde_json::from_slice::<Seen>(&entry.json).ok();
        // The newer group's sources keep no `lastTimestamp`.
        let last = seen.and_then(|seen| {
            let observed = seen.series.and_then(|series| series.last_observed_time);
            let stamps = [seen.last_timestamp, observed, seen.event_time];
            let stamps = stamps.into_iter().flatten();
            stamps.filter_map(|stamp| Timestamp::parse(&stamp)).max()
        });
        Some(
            last.or(view.metadata().creation_timestamp)
                .unwrap_or_default(),
        )
    }
}
