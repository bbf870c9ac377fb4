//! When to try which probe, and what the results mean, for every container of the node.
//!
//! In: the targets ([`Probes::set`], the whole list), results ([`Probes::handle`]), the time. Out:
//! what to try next ([`Probes::poll`]), when to look again ([`Probes::next_wake`]), each container's
//! [`Health`], and what changed. One timer for all: a list ordered by when each is due. What is due
//! and finds no place free waits in that order; a probe is never tried twice at the same time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bramble_wire::object::PodUid;

use super::{Check, Target, Watch};
use crate::observed::{Cause, Health};

/// One life of a container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Pod.
    pub uid: PodUid,
    /// Container's name.
    pub container: Arc<str>,
    /// Which life.
    pub life: u32,
}

/// What is tried for a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The postStart hook, once.
    PostStart,
    /// The startup probe, until it succeeds.
    Startup,
    /// The liveness probe.
    Liveness,
    /// The readiness probe.
    Readiness,
}

/// Something to try now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Try {
    /// For which container.
    pub key: Key,
    /// As what.
    pub role: Role,
    /// What.
    pub check: Check,
    /// For how long; `None`: until it ends (a hook).
    pub timeout_ms: Option<u64>,
}

/// What became of a [`Try`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Succeeded.
    Success,
    /// Failed.
    Failure,
    /// It could not be tried; counts for nothing (of a hook: as a failure).
    Unknown,
}

/// Places for tries of one pod at the same time: those that hang hold up no other pod's. A command
/// costs a process, which is its container's to bear, a request next to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Places {
    /// Commands.
    pub commands: usize,
    /// Everything else.
    pub requests: usize,
}

/// Hooks and probes of the node.
#[derive(Debug)]
pub struct Probes {
    watched: BTreeMap<Key, Watched>,
    due: BTreeSet<(u64, Key, Role)>,
    /// Places that are taken; pods that have none are not in it.
    taken: BTreeMap<PodUid, Places>,
    places: Places,
    /// Containers whose health was never told or has changed since.
    changed: BTreeSet<Key>,
}

#[derive(Debug)]
struct Watched {
    target: Target,
    health: Health,
    tracks: BTreeMap<Role, Track>,
}

/// The tries of one probe of one container.
#[derive(Debug, Default)]
struct Track {
    /// In the list of what is due, at this time.
    due: Option<u64>,
    /// Under way, holding a place of this kind.
    running: Option<Place>,
    /// Last result, and how often in a row.
    last: Option<(Outcome, u32)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Command,
    Request,
    /// A hook may take for ever, and must not take a probe's place.
    None,
}

impl Probes {
    /// Nothing watched yet.
    pub fn new(places: Places) -> Self {
        Self {
            watched: BTreeMap::new(),
            due: BTreeSet::new(),
            taken: BTreeMap::new(),
            places,
            changed: BTreeSet::new(),
        }
    }

    /// Takes note of what there is to watch, the whole list. `remembered` is asked for each life
    /// that is new: what was known of it before this agent.
    pub fn set(
        &mut self,
        targets: Vec<Target>,
        mut remembered: impl FnMut(&Key) -> Option<Health>,
        now_ms: u64,
    ) {
        let mut left: BTreeSet<Key> = self.watched.keys().cloned().collect();
        for target in targets {
            let key = Key {
                uid: target.uid,
                container: target.container.as_str().into(),
                life: target.life,
            };
            left.remove(&key);
            match self.watched.get_mut(&key) {
                Some(watched) if watched.target == target => continue,
                Some(watched) => watched.target = target,
                None => {
                    let health = remembered(&key).unwrap_or(target.initial);
                    let watched = Watched {
                        target,
                        health,
                        tracks: BTreeMap::new(),
                    };
                    self.watched.insert(key.clone(), watched);
                    self.changed.insert(key.clone());
                }
            }
            self.settle(&key, now_ms);
        }
        for key in left {
            if let Some(watched) = self.watched.remove(&key) {
                for (role, track) in watched.tracks {
                    if let Some(at) = track.due {
                        self.due.remove(&(at, key.clone(), role));
                    }
                    self.give_back(key.uid, track.running);
                }
            }
            self.changed.remove(&key);
        }
    }

    /// The next thing to try; call it until there is nothing.
    pub fn poll(&mut self, now_ms: u64) -> Option<Try> {
        let found = (self.due.iter())
            .take_while(|(at, _, _)| *at <= now_ms)
            .find(|(_, key, role)| self.has_place(key, *role))
            .cloned()?;
        self.due.remove(&found);
        let (_, key, role) = found;
        let watched = self.watched.get_mut(&key)?;
        let (check, timeout_ms) = watched.target.check(role)?;
        let place = Place::of(role, check);
        let tried = Try {
            key: key.clone(),
            role,
            check: check.clone(),
            timeout_ms,
        };
        let track = watched.tracks.entry(role).or_default();
        track.due = None;
        track.running = Some(place);
        if let Some(count) = count(self.taken.entry(key.uid).or_default(), place) {
            *count += 1;
        }
        Some(tried)
    }

    /// When to call [`Self::poll`] again, if no result comes before. What only waits for a place is
    /// left out.
    pub fn next_wake(&self) -> Option<u64> {
        (self.due.iter())
            .find(|(_, key, role)| self.has_place(key, *role))
            .map(|(at, _, _)| *at)
    }

    /// Takes the result of a try. One of a life that is not watched any more is dropped, and so is
    /// its place, which was given back with it.
    pub fn handle(&mut self, key: &Key, role: Role, outcome: Outcome, now_ms: u64) {
        let Some(watched) = self.watched.get_mut(key) else {
            return;
        };
        let Some(track) = watched.tracks.get_mut(&role) else {
            return;
        };
        let Some(place) = track.running.take() else {
            return;
        };
        let before = watched.health;
        if let Some(counted) = track.count(watched.target.watch(role), outcome) {
            watched.health.take(role, counted);
        }
        if watched.health != before {
            self.changed.insert(key.clone());
        }
        let period_ms = watched.target.watch(role).map(|watch| watch.period_ms);
        self.give_back(key.uid, Some(place));
        if let Some(period_ms) = period_ms {
            self.set_due(key, role, now_ms + period_ms);
        }
        self.settle(key, now_ms);
    }

    /// What is known of a container; `None`: not watched.
    pub fn health(&self, key: &Key) -> Option<Health> {
        self.watched.get(key).map(|watched| watched.health)
    }

    /// Whether this life is watched.
    pub fn watches(&self, key: &Key) -> bool {
        self.watched.contains_key(key)
    }

    /// Containers whose health is new since the last call.
    pub fn take_changed(&mut self) -> Vec<(Key, Health)> {
        std::mem::take(&mut self.changed)
            .into_iter()
            .filter_map(|key| self.health(&key).map(|health| (key, health)))
            .collect()
    }

    /// Brings the tracks of a container in line with its target and health: what should be tried
    /// and is neither due nor under way becomes due, what should not is taken off the list.
    fn settle(&mut self, key: &Key, now_ms: u64) {
        let Some(watched) = self.watched.get_mut(key) else {
            return;
        };
        let before = watched.health;
        // A hook or a startup probe that nobody waits for any more has been passed.
        watched.health.hooked |= watched.target.post_start.is_none();
        watched.health.started |= watched.target.startup.is_none();
        if watched.health != before {
            self.changed.insert(key.clone());
        }
        for role in [
            Role::PostStart,
            Role::Startup,
            Role::Liveness,
            Role::Readiness,
        ] {
            let Some(watched) = self.watched.get(key) else {
                return;
            };
            let wanted = watched.wants(role);
            let track = watched.tracks.get(&role);
            let due = track.and_then(|track| track.due);
            let running = track.is_some_and(|track| track.running.is_some());
            match (wanted, due) {
                (true, None) if !running => {
                    let delay_ms = (watched.target.watch(role)).map_or(0, |w| w.initial_delay_ms);
                    let at = watched.target.started_boot_ms.saturating_add(delay_ms);
                    self.set_due(key, role, at.max(now_ms));
                }
                (false, Some(_)) => self.not_due(key, role),
                _ => {}
            }
        }
    }

    fn set_due(&mut self, key: &Key, role: Role, at: u64) {
        self.not_due(key, role);
        if let Some(watched) = self.watched.get_mut(key) {
            watched.tracks.entry(role).or_default().due = Some(at);
            self.due.insert((at, key.clone(), role));
        }
    }

    fn not_due(&mut self, key: &Key, role: Role) {
        let track = (self.watched.get_mut(key)).and_then(|watched| watched.tracks.get_mut(&role));
        if let Some(at) = track.and_then(|track| track.due.take()) {
            self.due.remove(&(at, key.clone(), role));
        }
    }

    fn has_place(&self, key: &Key, role: Role) -> bool {
        let check = (self.watched.get(key)).and_then(|watched| watched.target.check(role));
        let taken = self.taken.get(&key.uid).copied().unwrap_or_default();
        match check.map(|(check, _)| Place::of(role, check)) {
            Some(Place::Command) => taken.commands < self.places.commands,
            Some(Place::Request) => taken.requests < self.places.requests,
            Some(Place::None) | None => true,
        }
    }

    fn give_back(&mut self, uid: PodUid, place: Option<Place>) {
        let Some(taken) = self.taken.get_mut(&uid) else {
            return;
        };
        if let Some(count) = place.and_then(|place| count(taken, place)) {
            *count = count.saturating_sub(1);
        }
        if *taken == Places::default() {
            self.taken.remove(&uid);
        }
    }
}

fn count(taken: &mut Places, place: Place) -> Option<&mut usize> {
    match place {
        Place::Command => Some(&mut taken.commands),
        Place::Request => Some(&mut taken.requests),
        Place::None => None,
    }
}

impl Place {
    fn of(role: Role, check: &Check) -> Self {
        match check {
            _ if role == Role::PostStart => Self::None,
            Check::Exec(_) => Self::Command,
            Check::Http(_) | Check::Tcp { .. } | Check::Grpc { .. } => Self::Request,
            Check::Sleep { .. } | Check::Impossible(_) => Self::None,
        }
    }
}

impl Target {
    fn watch(&self, role: Role) -> Option<&Watch> {
        match role {
            Role::PostStart => None,
            Role::Startup => self.startup.as_ref(),
            Role::Liveness => self.liveness.as_ref(),
            Role::Readiness => self.readiness.as_ref(),
        }
    }

    fn check(&self, role: Role) -> Option<(&Check, Option<u64>)> {
        match role {
            Role::PostStart => self.post_start.as_ref().map(|check| (check, None)),
            _ => (self.watch(role)).map(|watch| (&watch.check, Some(watch.timeout_ms))),
        }
    }
}

impl Watched {
    /// Whether this is to be tried (again) in the present state.
    fn wants(&self, role: Role) -> bool {
        let Health {
            hooked,
            started,
            failed,
            ..
        } = self.health;
        match role {
            Role::PostStart => self.target.post_start.is_some() && !hooked && failed.is_none(),
            Role::Startup => {
                self.target.startup.is_some() && hooked && !started && failed.is_none()
            }
            // One that has to be ended is not asked again whether it lives.
            Role::Liveness => {
                self.target.liveness.is_some() && hooked && started && failed.is_none()
            }
            Role::Readiness => self.target.readiness.is_some() && hooked && started,
        }
    }
}

impl Track {
    /// Counts a result; what it amounts to once there are enough of it in a row.
    fn count(&mut self, watch: Option<&Watch>, outcome: Outcome) -> Option<bool> {
        let Some(watch) = watch else {
            return Some(outcome == Outcome::Success);
        };
        let run = match self.last {
            // What could not be tried neither counts nor breaks the row.
            _ if outcome == Outcome::Unknown => return None,
            Some((last, run)) if last == outcome => run.saturating_add(1),
            _ => 1,
        };
        self.last = Some((outcome, run));
        match outcome {
            Outcome::Success => (run >= watch.success_threshold).then_some(true),
            Outcome::Failure => (run >= watch.failure_threshold).then_some(false),
            Outcome::Unknown => None,
        }
    }
}

impl Health {
    fn take(&mut self, role: Role, passed: bool) {
        let failed = |cause| (!passed).then_some(cause);
        match role {
            Role::PostStart => {
                self.hooked = passed;
                self.failed = self.failed.or(failed(Cause::PostStart));
            }
            Role::Startup => {
                self.started = passed;
                self.failed = self.failed.or(failed(Cause::Startup));
            }
            Role::Liveness => self.failed = self.failed.or(failed(Cause::Liveness)),
            Role::Readiness => self.ready = passed,
        }
    }
}

#[cfg(test)]
mod tests;
