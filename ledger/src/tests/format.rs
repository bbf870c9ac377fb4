//! A stored sample of the format on disk: it must load for ever.

use std::collections::BTreeMap;

use crate::{Ledger, Origin, harness::Recorder, tests::SMALL};

/// File name and content in hex, with the zeroes at the end left out.
const SAMPLE: &str = include_str!("../../samples/v1.txt");

fn sample() -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for line in SAMPLE.lines() {
        let (name, hex) = line.split_once(' ').unwrap();
        let digits = hex
            .as_bytes()
            .chunks(2)
            .map(|pair| std::str::from_utf8(pair).unwrap());
        let mut bytes: Vec<u8> = digits
            .map(|pair| u8::from_str_radix(pair, 16).unwrap())
            .collect();
        if name.starts_with("segment") {
            bytes.resize(SMALL.segment_bytes, 0);
        }
        files.insert(name.to_owned(), bytes);
    }
    files
}

fn render(files: &BTreeMap<String, Vec<u8>>) -> String {
    let mut text = String::new();
    for (name, bytes) in files.iter().filter(|(name, _)| name.contains('-')) {
        let used = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        let used = if name.starts_with("segment") {
            used
        } else {
            bytes.len()
        };
        let hex: String = bytes[..used]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        text += &format!("{name} {hex}\n");
    }
    text
}

#[test]
fn the_first_format_loads() {
    let mut found = Vec::new();
    Ledger::open_on(Recorder::with_files(&sample()), SMALL, |origin, record| {
        found.push((origin, String::from_utf8_lossy(record).into_owned()));
        Ok(())
    })
    .unwrap();
    let expected = [
        (Origin::Snapshot, "first"),
        (Origin::Snapshot, "second"),
        (Origin::Log, "third"),
        (Origin::Log, ""),
        (Origin::Log, "fifth"),
    ];
    assert_eq!(
        found,
        expected.map(|(origin, record)| (origin, record.to_owned()))
    );
}

#[test]
fn the_format_is_still_the_first() {
    let disk = Recorder::new();
    let mut ledger = Ledger::open_on(disk.clone(), SMALL, |_, _| Ok(())).unwrap();
    ledger.commit(["first", "second"]).unwrap();
    ledger.compact(["first", "second"]).unwrap();
    ledger.commit(["third", ""]).unwrap();
    ledger.commit(["fifth"]).unwrap();
    let rendered = render(&disk.files());
    assert_eq!(
        rendered, SAMPLE,
        "a new format needs a new version and a new sample:\n{rendered}"
    );
}
