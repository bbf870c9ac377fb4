//! Bytes that changed by themselves.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::{
    Error, Options, Salvaged,
    harness::Recorder,
    salvage,
    tests::{Counter, SMALL, number},
};

fn written(batches: &[u64], compact_after: Option<usize>) -> (Recorder, u64) {
    let disk = Recorder::new();
    let mut counter = Counter::open(disk.clone()).unwrap();
    for (i, batch) in batches.iter().enumerate() {
        counter.add(*batch).unwrap();
        if compact_after == Some(i) {
            counter.compact().unwrap();
        }
    }
    (disk, counter.count)
}

fn reopen(files: &BTreeMap<String, Vec<u8>>) -> Result<u64, Error> {
    Counter::open(Recorder::with_files(files)).map(|counter| counter.count)
}

#[test]
fn a_damaged_frame_with_intact_ones_behind_is_corruption() {
    let (disk, _) = written(&[1, 1, 1], None);
    disk.damage("segment-0000000000000001", 64 + 20, 1);
    let files = disk.files();
    let error = reopen(&files).unwrap_err();
    assert!(
        matches!(&error, Error::Corrupt { offset: 64, .. }),
        "{error:?}"
    );
    assert!(error.is_fatal());
    // Reported, not repaired.
    let again = Recorder::with_files(&files);
    let _ = Counter::open(again.clone());
    assert_eq!(again.files(), files);
}

#[test]
fn a_missing_segment_or_snapshot_is_corruption() {
    // Enough for three segments after the snapshot.
    let (disk, count) = written(&[3, 1, 3, 3, 3, 3, 3], Some(0));
    let files = disk.files();
    assert_eq!(reopen(&files).unwrap(), count);
    let live: Vec<&String> = files.keys().filter(|name| name.contains('-')).collect();
    assert!(live.len() >= 4, "{live:?}");
    let newest = live
        .iter()
        .filter(|name| name.starts_with("segment"))
        .max()
        .unwrap();
    for lost in live.iter().filter(|name| name != &newest) {
        let mut files = files.clone();
        files.remove(*lost);
        assert!(
            matches!(reopen(&files), Err(Error::Corrupt { .. })),
            "without {lost}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// One damaged byte anywhere: reported, or without effect, or the very last batch is taken for
    /// a torn one, which no format can tell apart.
    #[test]
    fn any_damaged_byte_loses_at_most_the_last_batch(
        at in any::<prop::sample::Index>(),
        with in 1_u8..,
        compact_after in prop::option::of(0_usize..6),
    ) {
        let batches = [1, 2, 1, 3, 2, 1];
        let (disk, count) = written(&batches, compact_after);
        let files = disk.files();
        let total: usize = files.values().map(Vec::len).sum();
        let mut at = at.index(total);
        for (name, bytes) in &files {
            if at < bytes.len() {
                disk.damage(name, at, with);
                break;
            }
            at -= bytes.len();
        }
        match reopen(&disk.files()) {
            Ok(found) => prop_assert!(found == count || found == count - 1, "{found} of {count}"),
            Err(error) => prop_assert!(matches!(error, Error::Corrupt { .. }), "{error:?}"),
        }
    }

    /// Whatever a file holds, reading it ends, without a panic and without a huge allocation.
    #[test]
    fn arbitrary_bytes_behind_an_intact_header_are_read(
        bytes in prop::collection::vec(any::<u8>(), 0..2000),
        at in 64_usize..1000,
    ) {
        let (disk, _) = written(&[1], None);
        let mut files = disk.files();
        let segment = files.get_mut("segment-0000000000000001").unwrap();
        let end = (at + bytes.len()).min(segment.len());
        segment[at..end].copy_from_slice(&bytes[..end - at]);
        let _ = reopen(&files);
    }
}

/// What is still there of a damaged disk, by number.
fn salvaged(disk: &Recorder) -> (Vec<u64>, Salvaged) {
    let mut numbers = Vec::new();
    let before = disk.files();
    let found = salvage(disk, |_, record| {
        numbers.push(number(record).ok_or("not one of our records")?);
        Ok(())
    });
    assert_eq!(disk.files(), before, "nothing is changed");
    (numbers, found.unwrap())
}

#[test]
fn everything_is_salvaged_but_the_frame_that_is_damaged() {
    let (disk, _) = written(&[1, 1, 1], None);
    assert_eq!(salvaged(&disk).0, [1, 2, 3]);
    disk.damage("segment-0000000000000001", 64 + 20, 1);
    let (numbers, found) = salvaged(&disk);
    assert_eq!(numbers, [2, 3]);
    assert_eq!(found.damaged, [("segment-0000000000000001".to_owned(), 64)]);
    assert_eq!(found.frames, 2);
    // A snapshot that lost its beginning, and a segment its header.
    let (disk, count) = written(&[3, 1, 3, 3, 3, 3, 3], Some(0));
    let whole = salvaged(&disk).0;
    assert_eq!(whole.last(), Some(&count));
    let names: Vec<String> = disk.files().into_keys().collect();
    let segments = names.iter().filter(|name| name.starts_with("segment"));
    let middle = segments.clone().nth(1).unwrap();
    disk.damage(middle, 3, 1);
    let (rest, found) = salvaged(&disk);
    assert!(rest.len() < whole.len() && rest.last() == whole.last());
    assert_eq!(found.damaged, [(middle.clone(), 0)]);
    let snapshot = names
        .iter()
        .find(|name| name.starts_with("snapshot"))
        .unwrap();
    disk.damage(snapshot, 64 + 20, 1);
    let (rest, found) = salvaged(&disk);
    assert_eq!(rest.last(), whole.last());
    assert!(found.damaged.contains(&(snapshot.clone(), 64)), "{found:?}");
}

/// Cards fail by sectors that can't be read; the kernel reads pages.
#[test]
fn everything_is_salvaged_but_what_stands_in_a_page_that_can_not_be_read() {
    const PAGE: u64 = 4096;
    let options = Options {
        segment_bytes: 64 << 10,
        ..SMALL
    };
    let disk = Recorder::new();
    let mut counter = Counter::open_with(disk.clone(), options).unwrap();
    for _ in 0..200 {
        counter.add(1).unwrap();
    }
    let count = counter.count;
    drop(counter);
    let name = "segment-0000000000000001";
    let files = disk.files();
    let used = files[name].iter().rposition(|byte| *byte != 0).unwrap() as u64;
    assert!(used > 5 * PAGE, "{used}");
    for page in (PAGE..used).step_by(PAGE as usize) {
        let disk = Recorder::with_files(&files);
        disk.fail_reads(name, page..page + PAGE);
        let (numbers, found) = salvaged(&disk);
        assert!(numbers.is_sorted(), "{numbers:?}");
        let lost = count - numbers.len() as u64;
        // The shortest frames are of 32 bytes, four in a row of 904.
        assert!(
            0 < lost && lost <= 4 * (PAGE / 904 + 2),
            "{page}: {lost} lost"
        );
        if page + PAGE < used {
            assert_eq!(numbers.last(), Some(&count), "what stands behind {page}");
            assert_eq!(found.damaged.len(), 1);
        }
    }
}
