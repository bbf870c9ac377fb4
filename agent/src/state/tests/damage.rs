//! Cells of the card that changed by themselves.

use std::fs;

use bramble_ledger::harness::Recorder;
use bramble_ledger::salvage;
use bramble_wire::document::{IndexEntry, digest};

use super::super::copy::Copy;
use super::super::damage::{is_damage, kept, make_room, trusted};
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
    digested(document)
}

fn digested(mut document: Document) -> Arc<Document> {
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
            let mut loader = Loader::salvaging(Some(&copy)).unwrap();
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
    assert!(documents_lost < refused, "{documents_lost} lost");
}

/// A byte of any frame but the first one's: the document of before counts.
#[test]
fn a_change_of_the_document_that_is_lost_leaves_the_one_before_it() {
    let disk = Recorder::new();
    // All of it in one segment, without a snapshot.
    let options = bramble_ledger::Options {
        segment_bytes: 16 << 10,
        compact_bytes: 1 << 20,
        ..SMALL
    };
    let (mut log, _) = Log::open_on(disk.clone(), options).unwrap();
    // Each change says one object, which no later one repeats.
    let with = |before: &Document, rev, object| {
        let mut next = Document::clone(&document(rev, &[object]));
        for (id, stored) in &before.objects {
            let place = next.objects.entry(id.clone());
            place.or_insert_with(|| stored.clone());
        }
        digested(next)
    };
    let first = whole(1, &[(1, "a"), (2, "b")]);
    let second = with(&first, 2, (2, "c"));
    let third = with(&second, 3, (3, "d"));
    for document in [&first, &second, &third] {
        let change = Change::Document(Arc::clone(document));
        log.commit(vec![change], Durability::Hard).unwrap();
    }
    drop(log);
    let files = disk.files();
    let mut found = [0; 3];
    for (name, bytes) in &files {
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
        for at in (64..=used).step_by(8) {
            let damaged = Recorder::with_files(&files);
            damaged.damage(name, at, 0x10);
            let mut loader = Loader::salvaging(None).unwrap();
            salvage(&damaged, |_, record| loader.visit(record)).unwrap();
            match loader.into_contents().document {
                Some(document) if document == first => found[0] += 1,
                Some(document) if document == second => found[1] += 1,
                Some(document) if document == third => found[2] += 1,
                other => assert_eq!(other, None, "{name} at {at}"),
            }
        }
    }
    assert!(found.iter().all(|times| *times > 0), "{found:?}");
}

/// The record of the board's own pods may be an older one than that of their ends.
#[test]
fn own_pods_that_ended_come_back_as_others() {
    let kept = own_pods();
    let uid = kept.pods().next().unwrap().1.uid;
    let mut contents = Contents {
        keys: Some(keys()),
        membership: Some(membership()),
        static_pods: Arc::new(kept.clone()),
        ..Contents::default()
    };
    let stays = trusted(contents.clone(), None).unwrap().static_pods;
    assert!(stays.counter > kept.counter);
    assert_eq!(stays.files, kept.files);
    contents.endings.note(uid);
    let left = trusted(contents, None).unwrap().static_pods;
    assert!(left.pods().all(|(_, pod)| pod.uid != uid));
}

#[test]
fn what_a_card_says_of_bad_cells_is_damage() {
    let error = |action, code| bramble_ledger::Error::Io {
        action,
        file: "a file".into(),
        source: std::io::Error::from_raw_os_error(code),
    };
    for code in [5, 74, 117] {
        for action in ["read", "open", "list", "sync"] {
            assert!(is_damage(&error(action, code)), "{action} {code}");
        }
    }
    assert!(!is_damage(&error("open", 13)));
    assert!(!is_damage(&error("write", 5)));
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
        boots_below: 2000,
        ..Copy::default()
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
        // What it says of pods is still to be judged.
        assert!(contents.salvaged);
        let settled = state.commit(vec![Change::Settled], Durability::Hard);
        settled.await.unwrap();
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

#[test]
fn of_the_log_and_the_copy_the_newer_keys_count() {
    let with = |identity, seed| Contents {
        keys: Some(Keys {
            identity: [seed; 32],
            ..keys()
        }),
        membership: Some(membership()),
        identity,
        ..Contents::default()
    };
    for (log, copy, wins) in [(3, 2, 1), (2, 3, 2), (2, 2, 2), (0, 2, 2)] {
        let copy = Copy::due(None, &with(copy, 2)).unwrap();
        let left = trusted(with(log, 1), Some(copy)).unwrap();
        assert_eq!(left.keys.unwrap().identity, [wins; 32], "{log}");
    }
    // Where the newer one lost them, the other does.
    let mut lost = with(3, 1);
    lost.keys = None;
    let copy = Copy::due(None, &with(2, 2)).unwrap();
    assert_eq!(
        trusted(lost, Some(copy)).unwrap().keys.unwrap().identity,
        [2; 32]
    );
}

#[tokio::test]
async fn every_writing_of_keys_and_membership_is_counted() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("state");
    let (state, contents) = reopen(lived(&directory).await, &directory);
    assert_eq!(contents.identity, 2);
    let (_state, contents) = reopen(state, &directory);
    assert_eq!(Copy::read(&directory).unwrap().identity, contents.identity);
}

/// Its records may be those of a release whose records mean something else.
#[tokio::test]
async fn a_damaged_log_of_which_nothing_says_who_wrote_it_is_left_as_it_is() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("state");
    closed(lived(&directory).await, &directory);
    let mut later = Copy::read(&directory).unwrap();
    (later.release, later.level) = ("99.0.0".into(), later.level + 1);
    later.write(&directory).unwrap();
    damage(&directory);
    let error = State::open(&directory).map(drop).unwrap_err();
    assert!(
        crate::error_chain(&error).contains("release 99.0.0"),
        "{error}"
    );
    // Nor with the name lost in both.
    fs::remove_file(directory.join("identity")).unwrap();
    let error = State::open(&directory).map(drop).unwrap_err();
    assert!(crate::error_chain(&error).contains("corrupt"), "{error}");
    assert!(kept(&directory).is_empty());
}

#[tokio::test]
async fn what_a_repair_left_that_was_cut_off_is_no_state_of_a_new_board() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("state");
    closed(lived(&directory).await, &directory);
    let fresh = root.path().join("state.salvaged");
    // One that was not whole, and one beside a log that is there.
    fs::rename(&directory, &fresh).unwrap();
    let (state, contents) = State::open(&directory).unwrap();
    assert_eq!((contents.keys, fresh.exists()), (None, false));
    closed(state, &directory);
    fs::create_dir(&fresh).unwrap();
    fs::write(fresh.join("salvaged"), "").unwrap();
    drop(State::open(&directory).unwrap());
    assert!(!fresh.exists());
}

#[test]
fn what_was_kept_gives_way_the_newest_first() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("state");
    for number in 1..=2 {
        fs::create_dir(root.path().join(format!("state.damaged-{number}"))).unwrap();
    }
    assert!(make_room(&directory));
    assert_eq!(kept(&directory), [root.path().join("state.damaged-1")]);
    assert!(make_room(&directory));
    assert!(!make_room(&directory));
}
