//! From facts of the runtime to what the planner understands.

use std::collections::{BTreeMap, BTreeSet};

use bramble_agent_core::observed::{
    Exit, ImageState, ObservedContainer, ObservedPod, Run, Sandbox,
};
use bramble_agent_core::time::Moment;
use bramble_wire::object::PodUid;
use bramble_wire::shim::ExitRecord;
use serde::{Deserialize, Serialize};

use super::files::{names, read_log_end, read_message, read_record};
use super::{Board, Network};
use crate::image;
use crate::reconcile::Seen;
use crate::runtime::{self, ContainerFact, Runtime, Shim};

/// What a life was made from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct LifeRecord {
    pub(super) image: String,
    pub(super) image_id: String,
    /// The end of its log stands in for an empty termination message after a failure.
    pub(super) message_from_log: bool,
}

/// The runtime's id of a life, unique in its pod.
pub(super) fn id_of(container: &str, life: u32) -> String {
    format!("{container}-{life}")
}

/// Container and number of a life.
pub(super) fn parse_id(id: &str) -> Option<(&str, u32)> {
    let (container, life) = id.rsplit_once('-')?;
    Some((container, life.parse().ok()?))
}

impl<R: Runtime, N: Network> Board<R, N> {
    pub(super) async fn look(&self, images: &BTreeSet<String>, now: Moment) -> Seen {
        let mut seen = Seen {
            images: (images.iter())
                .map(|image| (image.clone(), self.image_state(image)))
                .collect(),
            pulls: (self.puller.get()).map_or_else(Default::default, |puller| puller.state()),
            ..Seen::default()
        };
        for pod in self.runtime.observe().await {
            let uid = pod.uid;
            let creating = |fact: &runtime::ObservedContainer| {
                matches!(
                    fact.state,
                    ContainerFact::Creating | ContainerFact::Created(_)
                )
            };
            if pod.shim == Shim::Answers && pod.containers.iter().any(creating) {
                seen.busy.insert(uid);
            }
            seen.pods.insert(uid, self.look_at(&pod, now));
        }
        self.look_for_leftovers(&mut seen.pods);
        self.stopping()
            .retain(|(uid, _), _| seen.pods.contains_key(uid));
        self.healths()
            .retain(|(uid, _), _| seen.pods.contains_key(uid));
        self.ended()
            .retain(|(uid, _), _| seen.pods.contains_key(uid));
        let mut evicted = self.evicted();
        evicted.retain(|uid, _| seen.pods.contains_key(uid));
        seen.evicted.clone_from(&evicted);
        drop(evicted);
        seen
    }

    fn look_at(&self, pod: &runtime::ObservedPod, now: Moment) -> ObservedPod {
        let uid = pod.uid;
        let mut containers: BTreeMap<String, ObservedContainer> = BTreeMap::new();
        for fact in &pod.containers {
            let Some((name, life)) = parse_id(&fact.id) else {
                continue;
            };
            let Some(run) = self.run_of(uid, fact, now) else {
                continue;
            };
            let runs = |run: &Run| matches!(run, Run::Running { .. });
            let newest = containers
                .get(name)
                .is_none_or(|other| (runs(&run), life) > (runs(&other.run), other.life));
            if newest {
                let record: Option<LifeRecord> = read_record(&self.directories.life(uid, &fact.id));
                let record = record.unwrap_or_else(|| LifeRecord {
                    image: String::new(),
                    image_id: String::new(),
                    message_from_log: false,
                });
                let container = ObservedContainer {
                    life,
                    id: bramble_agent_core::container::life_id(uid, name, life),
                    image: record.image,
                    image_id: record.image_id,
                    run,
                };
                containers.insert(name.to_owned(), container);
            }
        }
        let files: Option<[u8; 32]> = read_record(&self.directories.ready(uid));
        let sandbox = match pod.shim {
            Shim::Answers if files.is_some() => Sandbox::Ready,
            Shim::Silent => Sandbox::Silent,
            Shim::Answers | Shim::Gone => Sandbox::Lost,
        };
        ObservedPod {
            sandbox,
            containers,
            files,
        }
    }

    fn run_of(&self, uid: PodUid, fact: &runtime::ObservedContainer, now: Moment) -> Option<Run> {
        match fact.state {
            ContainerFact::Running(record) | ContainerFact::Created(record) => {
                let key = (uid, fact.id.clone());
                Some(Run::Running {
                    started: moment(record.created_unix_ms, now),
                    stopping: self.stopping().get(&key).map(|stop| stop.told),
                    health: self.health_of(uid, &fact.id),
                })
            }
            ContainerFact::Exited(exit) => {
                Some(Run::Exited(self.exit_of(uid, &fact.id, exit, now)))
            }
            ContainerFact::Creating | ContainerFact::Unknown => None,
        }
    }

    fn exit_of(&self, uid: PodUid, id: &str, exit: ExitRecord, now: Moment) -> Exit {
        let ended = &mut *self.ended();
        let (started, finished) = moments(ended, (uid, id.to_owned()), exit, now);
        Exit {
            code: exit.code,
            signal: exit.signal,
            oom_killed: exit.oom_killed,
            message: self.message_of(uid, id, exit.code),
            started,
            finished,
        }
    }

    /// What a life left as its termination message: its file, else, where that is wanted and it
    /// failed, the end of its log.
    fn message_of(&self, uid: PodUid, id: &str, code: i32) -> String {
        let message = read_message(&self.directories.message(uid, id));
        if !message.is_empty() || code == 0 {
            return message;
        }
        let record: Option<LifeRecord> = read_record(&self.directories.life(uid, id));
        match (record, parse_id(id)) {
            (Some(record), Some((name, life))) if record.message_from_log => {
                let folder = self.directories.logs(uid).join(name);
                read_log_end(&folder.join(format!("{life}.log")))
            }
            _ => message,
        }
    }

    /// Pods of which only logs, volumes or upper directories are left.
    fn look_for_leftovers(&self, pods: &mut BTreeMap<PodUid, ObservedPod>) {
        let run = &self.directories.run;
        let data = &self.directories.data;
        for folder in [run.join("logs"), data.join("volumes"), data.join("pods")] {
            for uid in names(&folder).iter().filter_map(|name| PodUid::parse(name)) {
                pods.entry(uid).or_insert_with(|| ObservedPod {
                    sandbox: Sandbox::Stopped,
                    containers: BTreeMap::new(),
                    files: None,
                });
            }
        }
    }

    fn image_state(&self, reference: &str) -> ImageState {
        match self.images.resolve(reference) {
            Ok(image) => ImageState::Present(image::puller::seen(&image)),
            Err(image::Error::Missing { .. }) => ImageState::Absent,
            Err(image::Error::Name(invalid)) => ImageState::InvalidName(format!(
                "couldn't parse image name {reference:?}: {invalid}"
            )),
            Err(error) => ImageState::Broken {
                reason: error.waiting_reason().into(),
                message: format!("image {reference:?}: {error}"),
            },
        }
    }
}

/// When a container started and ended. The distance of its end to now is settled when it is first
/// seen: a clock that is set later must neither end its back-off nor prolong it (set back, every
/// look would find that it ended just now).
fn moments(
    ended: &mut BTreeMap<(PodUid, String), u64>,
    key: (PodUid, String),
    exit: ExitRecord,
    now: Moment,
) -> (Moment, Moment) {
    let (from, to) = (exit.created_unix_ms, exit.finished_unix_ms);
    let finished = *ended.entry(key).or_insert_with(|| moment(to, now).boot_ms);
    let ran = to.saturating_sub(from).max(0) as u64;
    let started = finished.saturating_sub(ran);
    (Moment::new(started, from), Moment::new(finished, to))
}

/// The shim tells dates; back-off needs the clock that never jumps. The distance to now is taken from
/// the dates, as far as it can be true.
fn moment(unix_ms: i64, now: Moment) -> Moment {
    let ago = now.unix.0.saturating_sub(unix_ms).max(0) as u64;
    Moment::new(now.boot_ms.saturating_sub(ago), unix_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_the_clock_moves_no_end() {
        let exit = ExitRecord {
            code: 1,
            signal: 0,
            oom_killed: false,
            created_unix_ms: 90_000,
            finished_unix_ms: 100_000,
        };
        let mut ended = BTreeMap::new();
        let mut look = |boot_ms, unix_ms| {
            let key = (PodUid([1; 16]), "a-1".to_owned());
            let (started, finished) = moments(&mut ended, key, exit, Moment::new(boot_ms, unix_ms));
            assert_eq!((started.unix.0, finished.unix.0), (90_000, 100_000));
            (started.boot_ms, finished.boot_ms)
        };
        assert_eq!(look(50_000, 101_000), (39_000, 49_000));
        // Set back by half a minute, then forward by a year.
        assert_eq!(look(52_000, 73_000), (39_000, 49_000));
        assert_eq!(look(53_000, 31_536_000_000), (39_000, 49_000));
    }
}
