//! A full disk, and limits.

use crate::{
    Error, Options,
    harness::Recorder,
    tests::{Counter, SMALL, record},
};

#[test]
fn a_full_disk_is_a_clean_error_and_space_makes_it_go_on() {
    for hidden in [false, true] {
        let disk = Recorder::new();
        if hidden {
            disk.hide_full();
        }
        runs_full(&disk);
    }
}

fn runs_full(disk: &Recorder) {
    let mut counter = Counter::open(disk.clone()).unwrap();
    // One segment fits, a second one does not.
    disk.set_space(Some(1500));
    let mut refused = None;
    while refused.is_none() {
        refused = counter.add(1).err();
    }
    assert!(matches!(refused, Some(Error::Full)), "{refused:?}");
    assert!(!Error::Full.is_fatal());
    let count = counter.count;
    assert!(count > 1);
    // What does not need a new segment still goes through.
    assert!(matches!(counter.compact(), Err(Error::Full)));
    assert!(matches!(counter.ledger.prepare(), Err(Error::Full)));
    assert!(
        !disk.files().contains_key("spare.new"),
        "what the attempt took is given back"
    );
    drop(counter);
    let mut counter = Counter::open(disk.clone()).unwrap();
    assert_eq!(counter.count, count, "the old state stands");
    disk.set_space(None);
    counter.add(3).unwrap();
    counter.compact().unwrap();
    drop(counter);
    assert_eq!(Counter::open(disk.clone()).unwrap().count, count + 3);
}

#[test]
fn a_snapshot_that_does_not_fit_costs_nothing_but_itself() {
    let disk = Recorder::new();
    let mut counter = Counter::open(disk.clone()).unwrap();
    counter.add(3).unwrap();
    counter.ledger.prepare().unwrap();
    // The next segment is there; the snapshot has no room.
    disk.set_space(Some(2048 + 100));
    assert!(matches!(counter.compact(), Err(Error::Full)));
    assert!(
        !disk.files().contains_key("snapshot.new"),
        "its bytes are given back"
    );
    counter.add(1).unwrap();
    drop(counter);
    disk.set_space(None);
    let mut counter = Counter::open(disk.clone()).unwrap();
    assert_eq!(counter.count, 4);
    counter.compact().unwrap();
    assert_eq!(counter.ledger.log_bytes(), 0);
}

#[test]
fn room_is_a_promise_once_prepared() {
    let disk = Recorder::new();
    let mut counter = Counter::open(disk.clone()).unwrap();
    for _ in 0..20 {
        counter.ledger.prepare().unwrap();
        disk.set_space(Some(0));
        let room = counter.ledger.room();
        assert!(room >= 600, "{room}");
        while counter.ledger.room() > 600 + 4 {
            let before = counter.ledger.room();
            counter.add(1).unwrap();
            if counter.ledger.room() >= before {
                break;
            }
        }
        disk.set_space(None);
    }
}

#[test]
fn disk_use_is_bounded_by_compaction() {
    let disk = Recorder::new();
    let mut counter = Counter::open(disk.clone()).unwrap();
    let mut compactions = 0;
    for _ in 0..60 {
        counter.add(2).unwrap();
        if counter.ledger.wants_compaction() {
            counter.compact().unwrap();
            compactions += 1;
        }
        let used: usize = disk.files().values().map(Vec::len).sum();
        assert!(
            used < 10_000,
            "{used} bytes after {} records",
            counter.count
        );
    }
    assert!(compactions > 3, "{compactions}");
    drop(counter);
    assert_eq!(Counter::open(disk).unwrap().count, 120);
}

#[test]
fn what_is_too_large_is_refused_before_it_is_staged() {
    let mut counter = Counter::open(Recorder::new()).unwrap();
    let large = vec![1; SMALL.max_record + 1];
    let error = counter.ledger.append(&large).unwrap_err();
    assert!(
        matches!(
            error,
            Error::TooLarge {
                size: 701,
                limit: 700
            }
        ),
        "{error:?}"
    );
    let mut staged = 0;
    while counter.ledger.append(&record(3)).is_ok() {
        staged += 1;
    }
    assert_eq!(staged, 3);
    assert!(matches!(
        counter.ledger.commit([large]),
        Err(Error::TooLarge { .. })
    ));
    counter.ledger.sync().unwrap();
    assert_eq!(
        counter.ledger.log_bytes(),
        0,
        "a refused commit leaves nothing staged"
    );
}

#[test]
fn a_record_larger_than_a_segment_gets_its_own() {
    let disk = Recorder::new();
    let options = Options {
        segment_bytes: 512,
        ..SMALL
    };
    let mut counter = Counter::open_with(disk.clone(), options).unwrap();
    counter.add(8).unwrap();
    counter.add(1).unwrap();
    drop(counter);
    let mut counter = Counter::open_with(disk.clone(), options).unwrap();
    assert_eq!(counter.count, 9);
    counter.compact().unwrap();
    drop(counter);
    assert_eq!(Counter::open_with(disk, options).unwrap().count, 9);
}

#[test]
fn compaction_can_run_while_appending_goes_on() {
    let disk = Recorder::new();
    let mut counter = Counter::open(disk.clone()).unwrap();
    counter.add(3).unwrap();
    let mut compaction = counter.ledger.begin_compaction().unwrap();
    for number in [1, 3] {
        compaction.append(&record(number)).unwrap();
    }
    counter.add(3).unwrap();
    counter.add(3).unwrap();
    let finished = std::thread::spawn(|| compaction.finish())
        .join()
        .unwrap()
        .unwrap();
    let before = counter.ledger.log_bytes();
    counter.ledger.finish_compaction(finished).unwrap();
    assert!(counter.ledger.log_bytes() < before);
    counter.add(1).unwrap();
    drop(counter);
    assert_eq!(Counter::open(disk).unwrap().count, 10);
}
