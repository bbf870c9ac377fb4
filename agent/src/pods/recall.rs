//! What the board itself still knows of its pods, for a state log that has lost some.

use std::path::Path;

use bramble_agent_core::memory::{Memory, PodMemory};
use bramble_wire::object::PodUid;

use super::Directories;
use super::files::{names, read_record};
use crate::clock;

/// Grace of a pod of which nothing is known but that it is there.
const GRACE_S: u32 = 30;

/// Adds the addresses of pods that are there and not remembered, so that they keep them and nobody else
/// gets them.
pub fn recall(run: &Path, memory: &mut Memory) {
    let directories = Directories {
        run: run.to_owned(),
        data: Default::default(),
    };
    let names = names(&run.join("pods"));
    for uid in names.iter().filter_map(|name| PodUid::parse(name)) {
        let known = memory.get(&uid).is_some_and(|pod| pod.holds_address);
        let Some(address) = read_record(&directories.address(uid)).filter(|_| !known) else {
            continue;
        };
        let now = clock::now();
        let pod = memory.entry(uid).or_insert_with(|| PodMemory {
            first_seen: now.unix,
            first_seen_boot_ms: now.boot_ms,
            grace_s: GRACE_S,
            ..PodMemory::default()
        });
        pod.address = Some(address);
        pod.holds_address = true;
    }
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
        let known = PodMemory {
            address: Some([10, 42, 0, 9]),
            holds_address: true,
            ..PodMemory::default()
        };
        let mut memory: Memory = [(uid(2), known)].into();
        recall(run.path(), &mut memory);
        let found: Vec<_> = (memory.iter())
            .map(|(uid, pod)| (uid.0[0], pod.address.unwrap()[3], pod.holds_address))
            .collect();
        assert_eq!(found, [(1, 1, true), (2, 9, true)]);
    }
}
