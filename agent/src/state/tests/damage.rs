//! Cells of the card that changed by themselves.

use std::fs;

use bramble_ledger::harness::Recorder;
use bramble_ledger::salvage;
use bramble_wire::document::{IndexEntry, digest};

use super::super::copy::Copy;
use super::super::damage::{kept, trusted};
use super::super::log::{Loader, Log};
use super::crash::SMALL;
use super::release::{keys, membership, own_pods};
use super::*;

/// A document whose digest is its own.
fn whole(rev: u64, objects: &[(u8, &str)]) -> Arc<Document> {
    let mut document = Document::clone(&document(rev, objects));
    // One that never changes, so that a document is not written whole.
    let same = self::document(1, &[(9, "same")]).objects.clone();
    document.objects.extend(same);
    let entry = |(id, stored): (&ObjectId, &Stored)| IndexEntry {
        id: id.clone(),
        revision: stored.revision,
        hash: stored.hash,
    };
    let mut index: Vec<IndexEntry> = document.objects.iter().map(entry).collect();
    document.digest = digest(&mut index);
    Arc::new(document)
}

fn documents() -> [Arc<Document>; 3] {
    [
        whole(1, &[(1, "a"), (2, "b")]),
        whole(2, &[(1, "a"), (2, "c")]),
        whole(3, &[(2, "c"), (3, "d")]),
    ]
}

/// Every sort of record, before a snapshot and after it.
fn life() -> [Vec<Change>; 8] {
    let [first, second, third] = documents().map(Change::Document);
    let cleared = PodMemory {
        cleared: true,
        ..memory(5)
    };
    let pod = |n, memory: Option<PodMemory>| Change::Pod(uid(n), memory.map(Box::new));
    [
        vec![Change::Keys(Box::new(keys()))],
        vec![Change::Membership(Box::new(membership()))],
        vec![first],
        vec![pod(1, Some(cleared)), Change::TimeFloor(7)],
        vec![second],
        vec![pod(1, None), pod(2, Some(memory(6)))],
        vec![third],
        vec![Change::Static(Arc::new(own_pods()))],
    ]
}

#[test]
fn what_is_left_after_any_damage_is_believed_no_further_than_it_reaches() {
    let disk = Recorder::new();
    let (mut log, _) = Log::open_on(disk.clone(), SMALL).unwrap();
    for (n, changes) in life().into_iter().enumerate() {
        log.commit(changes, Durability::Hard).unwrap();
        if n == 4 {
            log.compact().unwrap();
        }
    }
    let before = log.contents().clone();
    drop(log);
    let copy = Copy::due(None, &before).unwrap();
    let (mut refused, mut documents_lost) = (0, 0);
    let files = disk.files();
    for (name, bytes) in &files {
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
        for at in (0..=used).step_by(11) {
            let damaged = Recorder::with_files(&files);
            damaged.damage(name, at, 0x10);
            if Log::open_on(Recorder::with_files(&damaged.files()), SMALL).is_ok() {
                continue;
            }
            refused += 1;
            let mut loader = Loader::salvaging();
            salvage(&damaged, |_, record| loader.visit(record)).unwrap();
            let left = trusted(loader.into_contents(), Some(copy.clone())).expect("a node");
            assert_eq!(
                (left.keys, left.membership),
                (before.keys.clone(), before.membership.clone())
            );
            assert!(left.boot > copy.boots_below && left.salvaged);
            assert!(left.pods.values().all(|pod| !pod.cleared));
            match &left.document {
                Some(document) => assert!(documents().contains(document), "{name} at {at}"),
                None => documents_lost += 1,
            }
        }
    }
    assert!(refused > 20, "{refused} refused");
    assert!(
        0 < documents_lost && documents_lost < refused,
        "{documents_lost} lost"
    );
}

#[test]
fn without_keys_there_is_no_node() {
    let contents = Contents {
        membership: Some(membership()),
        ..Contents::default()
    };
    assert_eq!(trusted(contents.clone(), None), None);
    let copy = Copy {
        keys: Some(keys()),
        membership: None,
        boots_below: 2000,
    };
    let found = trusted(contents, Some(copy)).unwrap();
    assert_eq!(found.keys, Some(keys()));
    assert!(found.boot > 2000);
}

/// Flips a byte in the first frame of the log, which others follow.
fn damage(directory: &Path) {
    let mut names: Vec<_> = (fs::read_dir(directory).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains("segment-"))
        .collect();
    names.sort();
    let mut bytes = fs::read(&names[0]).unwrap();
    bytes[64 + 20] ^= 1;
    fs::write(&names[0], bytes).unwrap();
}

async fn lived(directory: &Path) -> State {
    let (state, _) = State::open(directory).unwrap();
    for changes in life() {
        state.commit(changes, Durability::Hard).await.unwrap();
    }
    state
}

/// Waits for the thread of a state log to end.
fn closed(state: State, directory: &Path) {
    drop(reopen(state, directory));
    loop {
        match bramble_ledger::Disk::open(directory).map(|disk| bramble_ledger::Media::lock(&disk)) {
            Ok(Ok(_)) => return,
            _ => std::thread::yield_now(),
        }
    }
}

#[tokio::test]
async fn a_damaged_log_is_replaced_by_what_is_left_and_kept() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("state");
    closed(lived(&directory).await, &directory);
    for round in 1..=4 {
        damage(&directory);
        let (state, contents) = State::open(&directory).unwrap();
        assert!(contents.salvaged, "round {round}");
        assert_eq!(contents.keys, Some(keys()));
        assert_eq!(contents.membership, Some(membership()));
        assert!(contents.boot > 1 << 20);
        // Three at most.
        assert_eq!(kept(&directory).len(), round.min(3));
        // It is what it is until the controller says more, also for the next start.
        let (state, contents) = reopen(state, &directory);
        assert!(contents.salvaged);
        let change = Change::Document(whole(9, &[(1, "a")]));
        state.commit(vec![change], Durability::Hard).await.unwrap();
        let (state, contents) = reopen(state, &directory);
        assert!(!contents.salvaged);
        assert_eq!(contents.document, Some(whole(9, &[(1, "a")])));
        closed(state, &directory);
    }
}

#[tokio::test]
async fn a_repair_that_was_cut_off_is_finished() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("state");
    closed(lived(&directory).await, &directory);
    // Remains of one that did not get far.
    fs::create_dir(root.path().join("state.salvaged")).unwrap();
    fs::write(root.path().join("state.salvaged/segment-x"), "x").unwrap();
    damage(&directory);
    let (state, before) = State::open(&directory).unwrap();
    closed(state, &directory);
    // And one that was cut off between the two renames.
    fs::rename(&directory, root.path().join("state.salvaged")).unwrap();
    let (_state, after) = State::open(&directory).unwrap();
    assert_eq!(after.keys, before.keys);
    assert!(after.boot > before.boot);
}

/// All of a log damaged looks like a new one.
#[tokio::test]
async fn a_log_of_which_nothing_is_left_is_that_of_the_same_node() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("state");
    closed(lived(&directory).await, &directory);
    let path = directory.join("segment-0000000000000001");
    let mut bytes = fs::read(&path).unwrap();
    bytes[64..].fill(0);
    fs::write(&path, &bytes).unwrap();
    let (_state, contents) = State::open(&directory).unwrap();
    assert_eq!(contents.membership, Some(membership()));
    assert_eq!((contents.document, contents.salvaged), (None, true));
}

#[tokio::test]
async fn a_damaged_log_that_names_no_node_is_left_as_it_is() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("state");
    closed(lived(&directory).await, &directory);
    fs::remove_file(directory.join("identity")).unwrap();
    // The first frames have the keys.
    damage(&directory);
    let path = directory.join("segment-0000000000000001");
    let mut bytes = fs::read(&path).unwrap();
    bytes[64..400].fill(0x55);
    fs::write(&path, &bytes).unwrap();
    let error = State::open(&directory).map(drop).unwrap_err();
    assert!(crate::error_chain(&error).contains("corrupt"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
    assert!(kept(&directory).is_empty());
}
