//! What the run directory says of pods and containers, and what `/proc` says to that.

use std::fs;
use std::path::Path;

use bramble_wire::object::PodUid;
use bramble_wire::shim::{ContainerRecord, ExitRecord, ShimRecord, path};

use super::options::Options;
use super::process::alive;
use super::{ContainerFact, ObservedContainer};

/// Pods that have a directory.
pub(super) fn pods(options: &Options) -> Vec<PodUid> {
    names(&options.pods())
        .iter()
        .filter_map(|n| PodUid::parse(n))
        .collect()
}

/// The pod's shim, if it lives.
pub(super) fn living_shim(options: &Options, pod: PodUid) -> Option<ShimRecord> {
    let file = options.pod_dir(pod).join(path::SHIM);
    let record: ShimRecord = read_record(&file, "shim record")?;
    alive(record.pid, record.start_time).then_some(record)
}

/// Containers of a pod whose shim does not answer.
pub(super) fn observe(options: &Options, pod: PodUid) -> Vec<ObservedContainer> {
    let dir = options.pod_dir(pod).join(path::CONTAINERS);
    let fact = |id: &str| {
        let own = dir.join(id);
        if let Some(exit) = read_record::<ExitRecord>(&own.join(path::EXIT), "exit record") {
            return ContainerFact::Exited(exit);
        }
        match read_record::<ContainerRecord>(&own.join(path::CONTAINER), "pid record") {
            Some(record) if alive(record.pid, record.start_time) => ContainerFact::Running(record),
            _ => ContainerFact::Unknown,
        }
    };
    let ids = names(&dir);
    ids.into_iter()
        .map(|id| ObservedContainer {
            state: fact(&id),
            id,
        })
        .collect()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut out: Vec<_> = entries
        .filter_map(|e| e.file_name().into_string().ok())
        .collect();
    out.sort();
    out
}

pub(super) fn read_record<T: serde::de::DeserializeOwned>(
    file: &Path,
    what: &'static str,
) -> Option<T> {
    bramble_wire::decode(&fs::read(file).ok()?, what).ok()
}
