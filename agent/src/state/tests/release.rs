//! What earlier releases wrote is read, and what a later one may add is passed over.

use std::fmt::Write as _;
use std::path::PathBuf;

use bramble_ledger::harness::{Recorder, sample};
use bramble_ledger::{Format, Ledger, SKIPPABLE};
use bramble_wire::object::Pod;

use super::super::log::{Log, OPTIONS};
use super::super::record::FORMAT;
use super::*;
use crate::error_chain;
use crate::static_pods::Held;

/// A release that knows one kind more, and some that may be passed over.
const NEXT: Format = Format {
    release: "99.0.0",
    level: FORMAT.level,
    kinds: FORMAT.kinds + 1,
};

pub(super) fn keys() -> Keys {
    Keys {
        tls: vec![1, 2, 3],
        identity: [4; 32],
        sealing: [5; 32],
    }
}

pub(super) fn membership() -> Membership {
    Membership {
        cluster: "c1".into(),
        node: "pi-1".into(),
        ca: vec![1],
        certificate: vec![2],
        controller: [3; 32],
        brokers: vec!["mqtts://broker:8883".into()],
        controller_host: "host".into(),
    }
}

pub(super) fn own_pods() -> Kept {
    let pod = Pod {
        uid: PodUid::of_static([8; 16]),
        ..Pod::default()
    };
    let held = Held {
        pods: vec![(uid(8), pod)],
        ..Held::default()
    };
    Kept {
        counter: 2,
        files: [("kiosk.yaml".to_owned(), held)].into(),
    }
}

/// A life with every sort of record, in the snapshot and behind it.
fn live(disk: &Recorder) -> Contents {
    let (mut log, _) = Log::open_on(disk.clone(), OPTIONS).unwrap();
    let mut hard = |changes| log.commit(changes, Durability::Hard).unwrap();
    hard(vec![Change::Keys(Box::new(keys()))]);
    hard(vec![Change::Membership(Box::new(membership()))]);
    hard(vec![Change::Document(document(1, &[(1, "a"), (2, "b")]))]);
    let pod = |n, memory: Option<PodMemory>| Change::Pod(uid(n), memory.map(Box::new));
    hard(vec![
        pod(1, Some(memory(5))),
        pod(2, Some(memory(6))),
        Change::TimeFloor(1_700_000_000),
    ]);
    hard(vec![pod(2, None)]);
    hard(vec![Change::Static(Arc::new(own_pods()))]);
    hard(vec![Change::Hardware(HardwareId([6; 16]))]);
    log.compact().unwrap();
    let mut second = Document::clone(&document(2, &[(1, "c"), (3, "d")]));
    let lost = document(1, &[(4, "e")]).objects.clone();
    second.unclaimed = lost;
    let mut hard = |changes| log.commit(changes, Durability::Hard).unwrap();
    hard(vec![Change::Document(Arc::new(second))]);
    hard(vec![
        pod(3, Some(memory(7))),
        Change::TimeFloor(1_800_000_000),
    ]);
    hard(vec![pod(1, None), Change::Static(Arc::default())]);
    hard(vec![Change::Static(Arc::new(own_pods()))]);
    drop(log);
    Log::open_on(Recorder::with_files(&disk.files()), OPTIONS)
        .unwrap()
        .1
}

/// What a log says, in words that later releases have as well.
fn says(contents: &Contents) -> String {
    let mut text = String::new();
    let membership = contents.membership.as_ref().unwrap();
    let keys = contents.keys.as_ref().unwrap();
    let document = contents.document.as_ref().unwrap();
    let _ = writeln!(
        text,
        "= node {} of {}, key {}, start {}, floor {}",
        membership.node,
        membership.cluster,
        hex::encode(keys.identity),
        contents.boot,
        contents.time_floor
    );
    let _ = writeln!(text, "= document {} {}", document.version, document.digest);
    for (what, objects) in [("has", &document.objects), ("keeps", &document.unclaimed)] {
        for (id, stored) in objects {
            let body = String::from_utf8_lossy(&stored.body);
            let _ = writeln!(text, "= {what} {id} {} {body}", stored.revision);
        }
    }
    for (uid, memory) in &contents.pods {
        let address = memory.address.unwrap();
        let _ = writeln!(text, "= pod {uid} {address:?}");
    }
    for uid in contents.endings.iter() {
        let _ = writeln!(text, "= ended {uid}");
    }
    for (file, pod) in contents.static_pods.pods() {
        let _ = writeln!(text, "= {file} {}", pod.uid);
    }
    text
}

fn samples() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/compat/disk"))
}

#[test]
fn every_release_before_loads() {
    let mut releases = 0;
    for release in std::fs::read_dir(samples()).unwrap() {
        let path = release.unwrap().path().join("agent.txt");
        let text = std::fs::read_to_string(&path).unwrap();
        let (said, files): (Vec<&str>, Vec<&str>) =
            text.lines().partition(|line| line.starts_with('='));
        let files = sample::parse(&files.join("\n")).expect("a sample");
        let (_, contents) = Log::open_on(Recorder::with_files(&files), OPTIONS).unwrap();
        let found = says(&contents);
        assert_eq!(
            found.lines().collect::<Vec<_>>(),
            said,
            "{}",
            path.display()
        );
        releases += 1;
    }
    assert!(releases > 0);
}

/// `BRAMBLE_BLESS=1` makes the sample of this release; that of a release that was made never changes.
#[test]
fn the_format_is_that_of_its_sample() {
    let disk = Recorder::new();
    let contents = live(&disk);
    let text = sample::render(&disk.files()) + &says(&contents);
    let path = samples().join(FORMAT.release).join("agent.txt");
    if std::env::var_os("BRAMBLE_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), text);
}

/// Records as they are on disk.
fn raw(disk: &Recorder) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    let copy = Recorder::with_files(&disk.files());
    Ledger::open_on(copy, OPTIONS, |_, record| {
        records.push(record.to_vec());
        Ok(())
    })
    .unwrap();
    records
}

/// What the next release writes when it goes on with this disk.
fn next(disk: &Recorder, records: &[Vec<u8>]) {
    let mut ledger = Ledger::open_on(disk.clone(), OPTIONS, |_, _| Ok(())).unwrap();
    ledger.commit([&[NEXT.record()], records].concat()).unwrap();
}

#[test]
fn what_the_next_release_may_add_is_skipped() {
    let disk = Recorder::new();
    let before = live(&disk);
    let optional = vec![SKIPPABLE, 1, 2, 3];
    let floor = Record::TimeFloor(1_900_000_000).encode();
    next(&disk, &[optional.clone(), floor, vec![0xff]]);

    let (mut log, contents) = Log::open_on(disk.clone(), OPTIONS).unwrap();
    let expected = Contents {
        boot: contents.boot,
        time_floor: 1_900_000_000,
        ..before
    };
    assert_eq!(contents, expected);
    // It does not come back half true: the next release finds nothing of it.
    let records = raw(&disk);
    assert!(records.iter().all(|record| record[0] < SKIPPABLE));
    assert_eq!(records[0], FORMAT.record());
    let change = Change::TimeFloor(2_000_000_000);
    log.commit(vec![change], Durability::Hard).unwrap();
    drop(log);

    // Up again: nothing that was said meanwhile is lost, and this one names itself once.
    next(&disk, &[optional]);
    let (log, again) = Log::open_on(disk.clone(), OPTIONS).unwrap();
    drop(log);
    let expected = Contents {
        boot: again.boot,
        time_floor: 2_000_000_000,
        ..contents
    };
    assert_eq!(again, expected);
    let _ = Log::open_on(disk.clone(), OPTIONS).unwrap();
    let records = raw(&disk);
    let named = |record: &&Vec<u8>| **record == FORMAT.record();
    assert_eq!(records.iter().filter(named).count(), 1);
}

#[test]
fn what_must_not_be_skipped_is_refused_and_stays() {
    let unknown = vec![FORMAT.kinds, 1];
    let higher = Format {
        level: FORMAT.level + 1,
        ..NEXT
    };
    for (record, why) in [(unknown, "of kind"), (higher.record(), "in format")] {
        let disk = Recorder::new();
        live(&disk);
        next(&disk, &[record]);
        let files = disk.files();
        let error = Log::open_on(disk.clone(), OPTIONS).map(drop).unwrap_err();
        let text = error_chain(&error);
        for part in [why, NEXT.release, FORMAT.release] {
            assert!(text.contains(part), "{text} lacks {part}");
        }
        assert_eq!(disk.files(), files);
    }
}
