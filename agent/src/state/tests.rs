mod crash;
mod damage;
mod release;

use bramble_agent_core::memory::{ContainerMemory, Ending, Life};
use bramble_agent_core::session::Stored;
use bramble_wire::document::{Digest, Hash};
use bramble_wire::object::{ObjectId, ObjectName};
use bramble_wire::version::{HardwareId, HistoryId, Version};
pub(super) use crash::Mutant;
use std::collections::BTreeMap;

use super::record::Record;
use super::*;

fn uid(n: u8) -> PodUid {
    PodUid([n; 16])
}

fn memory(address: u8) -> PodMemory {
    PodMemory {
        address: Some([10, 42, 0, address]),
        holds_address: true,
        ..PodMemory::default()
    }
}

fn document(rev: u64, objects: &[(u8, &str)]) -> Arc<Document> {
    let stored = |(n, body): &(u8, &str)| {
        let stored = Stored {
            revision: rev,
            hash: Hash([*n; 32]),
            body: body.as_bytes().into(),
        };
        (ObjectId::Pod(uid(*n)), stored)
    };
    Arc::new(Document {
        version: Version {
            epoch: 1,
            term: 1,
            rev,
        },
        history: HistoryId([7; 16]),
        digest: Digest([rev as u8; 32]),
        objects: objects.iter().map(stored).collect(),
        unclaimed: BTreeMap::new(),
    })
}

/// Ends the thread of a state log by dropping its last handle, and waits for it: the directory's
/// lock is free only then.
fn reopen(state: State, directory: &Path) -> (State, Contents) {
    drop(state);
    loop {
        match State::open(directory) {
            Ok(opened) => return opened,
            Err(OpenError::Ledger {
                source: bramble_ledger::Error::Locked,
                ..
            }) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (state, fresh) = State::open(directory.path()).unwrap();
    assert_eq!((fresh.boot, fresh.document), (1, None));
    let first = document(1, &[(1, "a"), (2, "b")]);
    let second = document(2, &[(2, "c"), (3, "d")]);
    for document in [first, Arc::clone(&second)] {
        let change = Change::Document(document);
        state.commit(vec![change], Durability::Hard).await.unwrap();
    }
    let pod = |n, memory| Change::Pod(uid(n), memory);
    let changes = vec![
        pod(1, Some(Box::new(memory(5)))),
        pod(2, Some(Box::new(memory(6)))),
        Change::TimeFloor(1_700_000_000),
    ];
    state.commit(changes, Durability::Ride).await.unwrap();
    let forget = vec![pod(2, None)];
    state.commit(forget, Durability::Hard).await.unwrap();
    let (_state, after) = reopen(state, directory.path());
    assert_eq!(after.boot, 2);
    assert_eq!(after.document, Some(second));
    assert_eq!(after.pods, [(uid(1), memory(5))].into());
    assert_eq!(after.time_floor, 1_700_000_000);
    let endings: Vec<&PodUid> = after.endings.iter().collect();
    assert_eq!(endings, [&uid(2)]);
}

#[tokio::test]
async fn weak_changes_are_written_when_the_agent_stops() {
    let directory = tempfile::tempdir().unwrap();
    let (state, _) = State::open(directory.path()).unwrap();
    let change = Change::Pod(uid(1), Some(Box::new(memory(5))));
    state.commit(vec![change], Durability::Ride).await.unwrap();
    let (_state, after) = reopen(state, directory.path());
    assert_eq!(after.pods, [(uid(1), memory(5))].into());
}

#[tokio::test]
async fn a_long_history_is_compacted_and_says_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let (state, _) = State::open(directory.path()).unwrap();
    for memory in [Some(Box::new(memory(5))), None] {
        let change = Change::Pod(uid(9), memory);
        state.commit(vec![change], Durability::Hard).await.unwrap();
    }
    let body = "x".repeat(20_000);
    for rev in 1..=80 {
        let change = Change::Document(document(rev, &[(1, &body), (rev as u8, "y")]));
        state.commit(vec![change], Durability::Hard).await.unwrap();
    }
    let size: u64 = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(size < 2 << 20, "{size} bytes for 20 kB of state");
    let (_state, after) = reopen(state, directory.path());
    assert_eq!(after.document, Some(document(80, &[(1, &body), (80, "y")])));
    assert!(after.endings.contains(&uid(9)));
}

/// Records of this release must load for ever: a change here needs a new variant instead.
#[test]
fn released_records_still_load() {
    let end = bramble_wire::report::Terminated {
        exit_code: 1,
        signal: 0,
        reason: "Error".into(),
        message: String::new(),
        started: Default::default(),
        finished: Default::default(),
        container_id: "i".into(),
    };
    let container = ContainerMemory {
        lives: 2,
        life: Life::Ended(end),
        previous: None,
        delay_ms: 10_000,
        image_id: "s".into(),
        ..ContainerMemory::default()
    };
    let pod = PodMemory {
        name: ObjectName {
            namespace: "n".into(),
            name: "p".into(),
        },
        ending: Some(Ending {
            grace_s: 3,
            since_boot_ms: 4,
        }),
        containers: [("c".to_owned(), container)].into(),
        ..memory(9)
    };
    let samples = [
        (Record::Boot(3), "0203"),
        (Record::TimeFloor(-1), "0301"),
        (
            Record::PodForgotten(uid(1)),
            "0801010101010101010101010101010101",
        ),
        (
            Record::Hardware(HardwareId([2; 16])),
            "0b02020202020202020202020202020202",
        ),
        (Record::Ended(uid(1)), "0901010101010101010101010101010101"),
        (Record::Pod(uid(1), pod), POD),
    ];
    for (record, hex) in samples {
        let bytes = record.encode();
        assert_eq!(hex::encode(&bytes), hex);
        assert_eq!(bramble_wire::decode(&bytes, "record"), Ok(record));
    }
}

const POD: &str = "0701010101010101010101010101010101016e0170000000010a2a0009010103040000000000000001016302\
                   020200054572726f72000000016900904e0173000000";
