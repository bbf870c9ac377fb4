//! What is to be looked at: each thing once, now or at a moment, with a growing pause after failures.
//!
//! Bounded by the number of objects, since an entry that is queued already is not queued again.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::cache::Id;

const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Looks in a row that come at once because somebody else was faster; then it waits like a failure.
const STALE_AT_ONCE: u32 = 5;
/// Pauses of pods that no node will have, as upstream.
const PARK_MIN: Duration = Duration::from_secs(1);
const PARK_MAX: Duration = Duration::from_secs(10);

/// One thing to look at.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Work {
    /// A Deployment.
    Deployment(Id),
    /// A ReplicaSet or ReplicationController.
    ReplicaSet(Id),
    /// A pod without a node.
    Schedule(Id),
    /// An object with owners, or one that waits for its dependents.
    Collect(Id),
    /// A namespace that is being deleted.
    Namespace(Id),
    /// A pod that may be on a node that is not there.
    Stray(Id),
    /// Terminated pods above the bound.
    Terminated,
    /// Events over their time.
    Events,
    /// A namespace that may lack what each of them has.
    Equip(Id),
    /// The Service of the API.
    Api,
    /// ClusterRoles that are put together from others.
    Roles,
    /// Where a Service leads.
    Endpoints(Id),
    /// A Service that was deleted may have left its Endpoints behind.
    LeftEndpoints(Id),
    /// A pod that its node's absence or taints may concern.
    OnNode(Id),
    /// The Lease of a node.
    Lease(Id),
    /// A node whose taints may not be those of its conditions.
    Taints(Id),
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    ready: VecDeque<Work>,
    queued: HashSet<Work>,
    timers: BTreeMap<(Instant, u64), Work>,
    /// The earliest timer of each entry.
    due: HashMap<Work, (Instant, u64)>,
    serial: u64,
    failures: HashMap<Work, u32>,
    /// Pods that wait for the cluster to change, and not before when they may be tried.
    parked: BTreeMap<Work, (u32, Instant)>,
}

impl Queue {
    pub(super) fn push(&mut self, work: Work) {
        if self.queued.insert(work.clone()) {
            self.ready.push_back(work);
        }
    }

    /// At a moment, or earlier if it is due earlier already.
    pub(super) fn push_at(&mut self, work: Work, at: Instant) {
        if let Some(before) = self.due.get(&work) {
            if before.0 <= at {
                return;
            }
            self.timers.remove(before);
        }
        self.serial += 1;
        let slot = (at, self.serial);
        self.due.insert(work.clone(), slot);
        self.timers.insert(slot, work);
    }

    pub(super) fn pop(&mut self, now: Instant) -> Option<Work> {
        while let Some(entry) = self
            .timers
            .first_entry()
            .filter(|entry| entry.key().0 <= now)
        {
            let work = entry.remove();
            self.due.remove(&work);
            self.push(work);
        }
        let work = self.ready.pop_front()?;
        self.queued.remove(&work);
        Some(work)
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.timers.first_key_value().map(|((at, _), _)| *at)
    }

    /// It went well: the next failure starts with a short pause again.
    pub(super) fn succeeded(&mut self, work: &Work) {
        self.failures.remove(work);
    }

    /// It failed: again after a pause that grows. Returns how often it has failed in a row.
    pub(super) fn failed(&mut self, work: Work, now: Instant) -> u32 {
        let count = self.failures.entry(work.clone()).or_default();
        *count += 1;
        let count = *count;
        self.push_at(work, now + pause(RETRY_MIN, RETRY_MAX, count));
        count
    }

    /// Somebody else was faster: again at once. A write that is always refused must not spin, though.
    pub(super) fn again(&mut self, work: Work, now: Instant) {
        let count = self.failures.entry(work.clone()).or_default();
        *count += 1;
        match count.checked_sub(STALE_AT_ONCE) {
            None | Some(0) => self.push(work),
            Some(beyond) => self.push_at(work, now + pause(RETRY_MIN, RETRY_MAX, beyond)),
        }
    }

    /// A pod that no node will have: not before a pause, and only when the cluster has changed.
    pub(super) fn park(&mut self, work: Work, now: Instant) {
        let entry = self.parked.entry(work).or_insert((0, now));
        entry.0 += 1;
        entry.1 = now + pause(PARK_MIN, PARK_MAX, entry.0);
    }

    /// The cluster has changed: parked pods get another try when their pause is over.
    pub(super) fn unpark(&mut self, now: Instant) {
        let parked: Vec<_> = self
            .parked
            .iter()
            .map(|(work, (_, at))| (work.clone(), *at))
            .collect();
        for (work, at) in parked {
            if at <= now {
                self.push(work)
            } else {
                self.push_at(work, at)
            }
        }
    }

    /// Nothing about it is of interest any more.
    pub(super) fn forget(&mut self, work: &Work) {
        self.failures.remove(work);
        self.parked.remove(work);
        if let Some(slot) = self.due.remove(work) {
            self.timers.remove(&slot);
        }
    }
}

fn pause(min: Duration, max: Duration, count: u32) -> Duration {
    min.saturating_mul(1 << count.saturating_sub(1).min(16))
        .min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_bound() {
        let pauses: Vec<u64> = (1..8)
            .map(|n| pause(PARK_MIN, PARK_MAX, n).as_secs())
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 10, 10, 10]);
        assert_eq!(pause(RETRY_MIN, RETRY_MAX, u32::MAX), RETRY_MAX);
    }

    #[test]
    fn an_entry_is_queued_once_and_its_earliest_moment_counts() {
        let mut queue = Queue::default();
        let now = Instant::now();
        let second = Duration::from_secs(1);
        queue.push(Work::Events);
        queue.push(Work::Events);
        assert_eq!(queue.pop(now), Some(Work::Events));
        assert_eq!(queue.pop(now), None);
        queue.push_at(Work::Events, now + 2 * second);
        queue.push_at(Work::Events, now + second);
        queue.push_at(Work::Events, now + 3 * second);
        assert_eq!(queue.next_due(), Some(now + second));
        assert_eq!(queue.pop(now), None);
        assert_eq!(queue.pop(now + second), Some(Work::Events));
        assert_eq!(queue.next_due(), None, "the later moments are gone");
    }

    #[test]
    fn who_is_always_too_late_waits_in_the_end() {
        let mut queue = Queue::default();
        let (now, work) = (Instant::now(), Work::Terminated);
        for _ in 0..STALE_AT_ONCE {
            queue.again(work.clone(), now);
            assert_eq!(queue.pop(now).as_ref(), Some(&work));
        }
        queue.again(work.clone(), now);
        assert_eq!(queue.pop(now), None);
        assert_eq!(queue.pop(now + RETRY_MIN).as_ref(), Some(&work));
        queue.succeeded(&work);
        queue.again(work.clone(), now);
        assert_eq!(queue.pop(now), Some(work), "a success is a new beginning");
    }

    #[test]
    fn parked_pods_wait_for_a_change_and_for_their_pause() {
        let mut queue = Queue::default();
        let now = Instant::now();
        let work = Work::Terminated;
        queue.park(work.clone(), now);
        assert_eq!(queue.next_due(), None, "time alone changes nothing");
        queue.unpark(now);
        assert_eq!(queue.pop(now), None);
        assert_eq!(queue.pop(now + PARK_MIN), Some(work));
    }
}
