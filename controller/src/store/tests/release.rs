//! What earlier releases wrote is read, and what a later one may add is passed over.

use std::path::PathBuf;

use bramble_ledger::harness::{Recorder, sample};
use bramble_ledger::{Format, Ledger, SKIPPABLE};

use crate::store::{
    LedgerStore, Revision, Store,
    record::{FORMAT, Json, Object, Record, Write},
    tests::{everything, hard, open, small, soon},
};

/// A release that knows one kind more, and some that may be passed over.
const NEXT: Format = Format {
    release: "99.0.0",
    level: FORMAT.level,
    kinds: FORMAT.kinds + 1,
};

fn write(name: &str, modified: u64, value: Option<&str>) -> Vec<u8> {
    let modified = (1 << 40) + modified;
    let text = value.map(|value| {
        format!(r#"{{"metadata":{{"resourceVersion":"{modified}"}},"value":"{value}"}}"#)
    });
    let object = text.as_ref().map(|text| Object {
        created: 1 << 40,
        revision_at: text.find(&modified.to_string()).map(|at| at as u32),
        json: Json(text.as_bytes()),
    });
    let write = Write {
        group: "",
        resource: "pods",
        namespace: "default",
        name,
        modified,
        object,
    };
    Record::Commit(vec![write]).encode()
}

fn reserve(count: u64) -> Vec<u8> {
    Record::Reserve((1 << 40) + count).encode()
}

/// Every sort of record, in the snapshot and behind it.
fn live(disk: &Recorder) {
    let mut ledger = Ledger::open_on(disk.clone(), small().ledger, |_, _| Ok(())).unwrap();
    let named = FORMAT.record();
    ledger.commit([named.clone(), reserve(1000)]).unwrap();
    ledger.commit([write("a", 1, Some("1"))]).unwrap();
    ledger.commit([write("b", 2, Some("2"))]).unwrap();
    let snapshot = [
        named,
        Record::Snapshot((1 << 40) + 2).encode(),
        reserve(1000),
        write("a", 1, Some("1")),
        write("b", 2, Some("2")),
    ];
    ledger.compact(snapshot).unwrap();
    ledger.commit([write("a", 3, None), reserve(2000)]).unwrap();
    ledger.commit([write("c", 4, Some("3"))]).unwrap();
}

fn samples() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/compat/disk"))
}

#[test]
fn every_release_before_loads() {
    let mut releases = 0;
    for release in std::fs::read_dir(samples()).unwrap() {
        let path = release.unwrap().path().join("controller.txt");
        let text = std::fs::read_to_string(&path).unwrap();
        let disk = Recorder::with_files(&sample::parse(&text).expect("a sample"));
        let store = open(&disk);
        let at = (1 << 40) + 2;
        assert_eq!(
            store.get(&super::key("b")).unwrap().modified,
            Revision(at),
            "{}",
            path.display()
        );
        assert_eq!(everything(&store), ["default/b=2", "default/c=3"]);
        assert!(store.revision() > Revision((1 << 40) + 2000));
        releases += 1;
    }
    assert!(releases > 0);
}

/// `BRAMBLE_BLESS=1` makes the sample of this release; that of a release that was made never changes.
#[test]
fn the_format_is_that_of_its_sample() {
    let disk = Recorder::new();
    live(&disk);
    let text = sample::render(&disk.files());
    let path = samples().join(FORMAT.release).join("controller.txt");
    if std::env::var_os("BRAMBLE_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), text);
}

/// First bytes of the records that are on disk.
fn kinds(disk: &Recorder) -> Vec<u8> {
    let mut kinds = Vec::new();
    let copy = Recorder::with_files(&disk.files());
    Ledger::open_on(copy, small().ledger, |_, record| {
        kinds.push(record[0]);
        Ok(())
    })
    .unwrap();
    kinds
}

/// What the next release writes when it goes on with this disk.
fn next(disk: &Recorder, records: &[Vec<u8>]) {
    let mut ledger = Ledger::open_on(disk.clone(), small().ledger, |_, _| Ok(())).unwrap();
    ledger.commit([&[NEXT.record()], records].concat()).unwrap();
}

#[tokio::test]
async fn what_the_next_release_may_add_is_skipped() {
    let disk = Recorder::new();
    let store = open(&disk);
    let first = store.commit(vec![hard("a", "1")]).unwrap();
    soon(first.durable()).await.unwrap();
    drop(store);
    next(&disk, &[vec![SKIPPABLE, 1], vec![0xff]]);

    let store = open(&disk);
    assert_eq!(everything(&store), ["default/a=1"]);
    let second = store.commit(vec![hard("b", "2")]).unwrap();
    soon(second.durable()).await.unwrap();
    // Ends with the snapshot that was begun.
    drop(store);
    assert!(open(&disk).get(&super::key("b")).is_some());
    let found = kinds(&disk);
    assert!(found.iter().all(|kind| *kind < SKIPPABLE), "{found:x?}");

    // Up again.
    next(&disk, &[vec![SKIPPABLE, 1]]);
    assert_eq!(everything(&open(&disk)), ["default/a=1", "default/b=2"]);
}

#[test]
fn what_must_not_be_skipped_is_refused_and_stays() {
    let higher = Format {
        level: FORMAT.level + 1,
        ..NEXT
    };
    for (record, why) in [
        (vec![FORMAT.kinds, 1], "of kind"),
        (higher.record(), "in format"),
    ] {
        let disk = Recorder::new();
        live(&disk);
        next(&disk, &[record]);
        let files = disk.files();
        let error = LedgerStore::open_on(disk.clone(), small())
            .map(drop)
            .unwrap_err();
        let text = format!("{:#}", anyhow::Error::new(error));
        for part in [why, NEXT.release, FORMAT.release] {
            assert!(text.contains(part), "{text} lacks {part}");
        }
        assert_eq!(disk.files(), files);
    }
}
