//! Jobs and their queue. Pure book-keeping; who runs them is the puller's business.

use std::collections::BTreeMap;

use bramble_agent_core::image::{Credentials, Want};
use bramble_agent_core::time::Moment;
use bramble_wire::object::PodUid;
use tokio::task::AbortHandle;

use super::super::ImageId;
use super::super::reference::Reference;
use super::super::registry::Progress;

/// An image and the credentials it is asked for with: who has others must prove them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    image: String,
    credentials: [u8; 32],
}

impl Key {
    pub(super) fn of(reference: &Reference, credentials: &[Credentials]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for one in credentials {
            let (kind, bytes) = match one {
                Credentials::ConfigJson(bytes) => (b"j", bytes),
                Credentials::Config(bytes) => (b"c", bytes),
            };
            hasher.update(kind);
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        }
        Self {
            image: reference.to_string(),
            credentials: *hasher.finalize().as_bytes(),
        }
    }
}

/// Checks don't wait for pulls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// A copy is here: asks whether it is still the right one.
    Check,
    /// Brings it.
    Pull,
}

/// A life of a container that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waiter {
    pub(super) uid: PodUid,
    pub(super) container: String,
    pub(super) life: u32,
    /// Name as written in the document.
    pub(super) image: String,
    pub(super) since: Moment,
}

/// What came of a job.
#[derive(Debug)]
pub(super) enum Result {
    /// This image.
    Got { id: ImageId, told: Told },
    /// The check found that it has to be pulled.
    Again,
}

/// How it was got.
#[derive(Debug)]
pub(super) enum Told {
    Pulled { took_ms: u64 },
    Local { why: String },
}

#[derive(Debug)]
pub(super) struct Job {
    pub(super) reference: Reference,
    pub(super) credentials: Vec<Credentials>,
    pub(super) waiters: Vec<Waiter>,
    pub(super) progress: Progress,
    lane: Lane,
    /// Place in the queue.
    number: u64,
    task: Option<AbortHandle>,
    /// Passes that found nobody waiting.
    unwanted: bool,
}

/// All jobs.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    jobs: BTreeMap<Key, Job>,
    number: u64,
}

impl Jobs {
    pub(super) fn get(&self, key: &Key) -> Option<&Job> {
        self.jobs.get(key)
    }

    pub(super) fn get_mut(&mut self, key: &Key) -> Option<&mut Job> {
        self.jobs.get_mut(key)
    }

    pub(super) fn remove(&mut self, key: &Key) -> Option<Job> {
        self.jobs.remove(key)
    }

    /// Adds a waiter, making the job if need be; false when it waits already.
    pub(super) fn join(
        &mut self,
        key: Key,
        reference: Reference,
        want: &Want,
        waiter: Waiter,
        lane: Lane,
    ) -> bool {
        self.number += 1;
        let number = self.number;
        let job = self.jobs.entry(key).or_insert_with(|| Job {
            reference,
            credentials: want.credentials.clone(),
            waiters: Vec::new(),
            progress: Progress::default(),
            lane,
            number,
            task: None,
            unwanted: false,
        });
        job.unwanted = false;
        let same = |other: &Waiter| {
            (other.uid, &other.container, other.life)
                == (waiter.uid, &waiter.container, waiter.life)
        };
        if job.waiters.iter().any(same) {
            return false;
        }
        job.waiters.push(waiter);
        true
    }

    /// Puts a checked job into the queue of pulls, unless nobody waits any more.
    pub(super) fn again(&mut self, key: Key, job: Job) {
        if !job.waiters.is_empty() {
            let job = Job {
                lane: Lane::Pull,
                task: None,
                ..job
            };
            self.jobs.insert(key, job);
        }
    }

    /// Keeps the waiters that are still there. A job that waits in the queue for nobody goes; one
    /// that runs is left to `abandoned`.
    pub(super) fn retain_waiters(&mut self, keep: impl Fn(&Waiter) -> bool) {
        self.jobs.retain(|_, job| {
            job.waiters.retain(&keep);
            job.unwanted = job.waiters.is_empty();
            !job.unwanted || job.task.is_some()
        });
    }

    /// Nobody wants it; a running job asks now and then.
    pub(super) fn is_abandoned(&self, key: &Key) -> bool {
        self.jobs.get(key).is_none_or(|job| job.unwanted)
    }

    /// The job that may start now in a lane of so many; of one image only one at a time.
    pub(super) fn next(&self, lane: Lane, most: usize) -> Option<Key> {
        let running = |job: &&Job| job.task.is_some();
        let busy = self
            .jobs
            .values()
            .filter(running)
            .filter(|job| job.lane == lane);
        if busy.count() >= most {
            return None;
        }
        let same = |job: &Job| {
            let mut running = self.jobs.values().filter(running);
            running.any(|other| other.reference == job.reference)
        };
        let ready = self.jobs.iter().filter(|(_, job)| {
            job.task.is_none() && job.lane == lane && !job.waiters.is_empty() && !same(job)
        });
        let first = ready.min_by_key(|(_, job)| job.number);
        first.map(|(key, _)| key.clone())
    }

    pub(super) fn started(&mut self, key: &Key, task: AbortHandle) {
        if let Some(job) = self.jobs.get_mut(key) {
            job.task = Some(task);
        }
    }
}

impl Drop for Jobs {
    /// Children end with the tasks.
    fn drop(&mut self) {
        for job in self.jobs.values() {
            if let Some(task) = &job.task {
                task.abort();
            }
        }
    }
}

/// A duration as Go, and so the kubelet, writes it: `393ms`, `1.5s`, `1m2.345s`.
pub(super) fn go_duration(ms: u64) -> String {
    if ms == 0 {
        return "0s".to_owned();
    }
    if ms < 1000 {
        return format!("{ms}ms");
    }
    let (seconds, rest) = (ms / 1000, ms % 1000);
    let mut out = String::new();
    if seconds >= 3600 {
        out.push_str(&format!("{}h", seconds / 3600));
    }
    if seconds >= 60 {
        out.push_str(&format!("{}m", seconds / 60 % 60));
    }
    let fraction = format!("{rest:03}");
    match fraction.trim_end_matches('0') {
        "" => out.push_str(&format!("{}s", seconds % 60)),
        fraction => out.push_str(&format!("{}.{fraction}s", seconds % 60)),
    }
    out
}
