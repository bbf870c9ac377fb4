//! Volumes that can't be made, told as events: at once, and again while it goes on.

use std::collections::BTreeMap;

use bramble_agent_core::volume::Error;
use bramble_wire::object::PodUid;

use crate::events::Events;

/// The kubelet tries again, and so tells again, after two minutes at the latest.
const AGAIN_MS: u64 = 122_000;

/// What was told, and when.
#[derive(Debug, Default)]
pub(super) struct Unmounted {
    told: BTreeMap<(PodUid, String), (String, u64)>,
}

impl Unmounted {
    /// Tells what is new, and what was told long ago.
    pub(super) fn tell(&mut self, events: &Events, unmounted: &[(PodUid, Error)], now_ms: u64) {
        let mut told = BTreeMap::new();
        for (uid, error) in unmounted {
            let key = (*uid, error.volume.clone());
            let text = error.to_string();
            let at = match self.told.remove(&key) {
                Some((old, at)) if old == text && now_ms < at.saturating_add(AGAIN_MS) => at,
                _ => {
                    events.tell(*uid, "", true, "FailedMount", &text);
                    now_ms
                }
            };
            told.insert(key, (text, at));
        }
        self.told = told;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_told_again_after_a_while() {
        let (events, mut inbox) = Events::channel();
        let mut unmounted = Unmounted::default();
        let error = |why: &str| {
            let error = Error {
                volume: "v".into(),
                why: why.into(),
            };
            vec![(PodUid([1; 16]), error)]
        };
        unmounted.tell(&events, &error("no"), 0);
        unmounted.tell(&events, &error("no"), 1_000);
        unmounted.tell(&events, &error("other"), 2_000);
        unmounted.tell(&events, &error("other"), 130_000);
        unmounted.tell(&events, &[], 131_000);
        unmounted.tell(&events, &error("other"), 132_000);
        let texts: Vec<String> = std::iter::from_fn(|| inbox.try_recv().ok())
            .map(|event| format!("{} {}", event.reason, event.message))
            .collect();
        let text =
            |why: &str| format!("FailedMount MountVolume.SetUp failed for volume \"v\" : {why}");
        assert_eq!(
            texts,
            [text("no"), text("other"), text("other"), text("other")]
        );
    }
}
