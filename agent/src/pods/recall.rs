//! What the board itself still knows of its pods, for a state log that has lost some.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bramble_agent_core::memory::{Memory, PodMemory};
use bramble_wire::object::PodUid;

use super::Directories;
use super::files::{names, read_record};
use crate::clock;

/// Grace of a pod of which nothing is known but that it is there.
const GRACE_S: u32 = 30;

/// Adds the addresses of pods that are there, so that they keep them and nobody else has them: neither a pod that
/// is remembered with one and is not there, nor one to come. Returns what changed, to be put on disk.
pub fn recall(run: &Path, memory: &mut Memory) -> BTreeSet<PodUid> {
    let directories = Directories {
        run: run.to_owned(),
        data: Default::default(),
    };
    let names = names(&run.join("pods"));
    let uids = names.iter().filter_map(|name| PodUid::parse(name));
    let there: BTreeMap<PodUid, [u8; 4]> = uids
        .filter_map(|uid| Some((uid, read_record(&directories.address(uid))?)))
        .collect();
    let mut changed = BTreeSet::new();
    let taken: BTreeSet<[u8; 4]> = there.values().copied().collect();
    for (uid, pod) in memory.iter_mut() {
        let elsewhere = pod.address.is_some_and(|address| taken.contains(&address));
        if pod.holds_address && elsewhere && !there.contains_key(uid) {
            pod.holds_address = false;
            changed.insert(*uid);
        }
    }
    for (uid, address) in there {
        let known = memory.get(&uid);
        if known.is_some_and(|pod| pod.holds_address && pod.address == Some(address)) {
            continue;
        }
        let now = clock::now();
        let pod = memory.entry(uid).or_insert_with(|| PodMemory {
            first_seen: now.unix,
            first_seen_boot_ms: now.boot_ms,
            grace_s: GRACE_S,
            ..PodMemory::default()
        });
        pod.address = Some(address);
        pod.holds_address = true;
        changed.insert(uid);
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::super::files::write_record;
    use super::*;

    #[test]
    fn pods_that_are_there_keep_their_addresses() {
        let run = tempfile::tempdir().unwrap();
        let directories = Directories {
            run: run.path().to_owned(),
            data: Default::default(),
        };
        let uid = |n| PodUid([n; 16]);
        for n in [1, 2] {
            write_record(&directories.address(uid(n)), &[10, 42, 0, n]).unwrap();
        }
        write_record(&directories.ready(uid(3)), &[0_u8; 32]).unwrap();
        let known = |n| PodMemory {
            address: Some([10, 42, 0, n]),
            holds_address: true,
            ..PodMemory::default()
        };
        // What runs has what the board says; 4 has not been told that 1 came after it.
        let mut memory: Memory =
            [(uid(2), known(9)), (uid(4), known(1)), (uid(5), known(5))].into();
        let changed = recall(run.path(), &mut memory);
        assert_eq!(changed, [uid(1), uid(2), uid(4)].into());
        assert!(recall(run.path(), &mut memory).is_empty());
        let found: Vec<_> = (memory.iter())
            .map(|(uid, pod)| (uid.0[0], pod.address.unwrap()[3], pod.holds_address))
            .collect();
        assert_eq!(
            found,
            [(1, 1, true), (2, 2, true), (4, 1, false), (5, 5, true)]
        );
    }
}
