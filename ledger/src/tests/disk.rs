//! The real file system.

use crate::{Disk, Error, Ledger, Options, tests::Counter};

#[test]
fn a_ledger_on_disk_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep/er");
    let open = || Counter::open(Disk::open(&path).unwrap());
    let mut counter = open().unwrap();
    for _ in 0..6 {
        counter.add(2).unwrap();
    }
    counter.compact().unwrap();
    counter.add(2).unwrap();
    assert!(matches!(open(), Err(Error::Locked)));
    drop(counter);
    assert_eq!(open().unwrap().count, 14);
}

#[test]
fn everything_is_for_the_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger");
    let mut ledger = Ledger::open(&path, Options::agent(), |_, _| Ok(())).unwrap();
    ledger.commit(["one", "two"]).unwrap();
    ledger.compact(["both"]).unwrap();
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    for entry in std::fs::read_dir(&path).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    drop(ledger);
    let mut found = Vec::new();
    Ledger::open(&path, Options::agent(), |origin, record| {
        found.push((origin, record.to_vec()));
        Ok(())
    })
    .unwrap();
    assert_eq!(found, [(crate::Origin::Snapshot, b"both".to_vec())]);
}

#[test]
fn a_record_that_the_caller_rejects_stops_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(directory.path(), Options::agent(), |_, _| Ok(())).unwrap();
    ledger.commit(["strange"]).unwrap();
    drop(ledger);
    let reject = |_, _: &[u8]| Err("what is this".into());
    let error = Ledger::open(directory.path(), Options::agent(), reject).unwrap_err();
    assert!(matches!(error, Error::Rejected { .. }), "{error:?}");
}
