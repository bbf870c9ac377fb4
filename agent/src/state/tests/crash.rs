//! Power cuts at every point of a board's life: what was acknowledged is there, and nothing half done.

use bramble_ledger::harness::{Depth, Image, Recorder, sweep};
use bramble_ledger::{Ledger, Media, Options};

use super::super::log::{Log, OPTIONS};
use super::release::{keys, membership, own_pods};
use super::*;

/// Deliberate mistakes.
pub(in super::super) enum Mutant {
    /// A batch is several.
    OneByOne,
    /// Acknowledged now, written with the next.
    Late(Vec<Record>),
    /// A snapshot that leaves something out.
    ForgetEndings,
}

impl Mutant {
    pub(in super::super) fn put<M: Media>(
        &mut self,
        ledger: &mut Ledger<M>,
        records: &[Record],
    ) -> Result<(), bramble_ledger::Error> {
        match self {
            Self::OneByOne => {
                (records.iter()).try_for_each(|record| ledger.commit([record.encode()]))
            }
            Self::Late(late) => {
                let before = std::mem::replace(late, records.to_vec());
                ledger.commit(before.iter().map(Record::encode))
            }
            Self::ForgetEndings => ledger.commit(records.iter().map(Record::encode)),
        }
    }
}

/// Small enough that a short life fills several segments.
pub(super) const SMALL: Options = Options {
    segment_bytes: 2048,
    compact_bytes: 4000,
    ..OPTIONS
};

/// A board's life: joining, documents with what is unclaimed, pods that come, end and are forgotten.
fn steps() -> Vec<Vec<Change>> {
    let pod = |n, memory: Option<PodMemory>| Change::Pod(uid(n), memory.map(Box::new));
    let gone = |n| PodMemory {
        gone: true,
        holds_address: false,
        ..memory(n)
    };
    let mut steps = vec![
        vec![Change::Keys(Box::new(keys()))],
        vec![Change::Membership(Box::new(membership()))],
        vec![Change::Static(Arc::new(own_pods()))],
    ];
    let body = "x".repeat(300);
    for n in 1..=9_u8 {
        let rev = u64::from(n);
        let mut document = Document::clone(&document(rev, &[(n, &body), (n + 1, "b"), (99, "c")]));
        if n % 3 == 0 {
            document.unclaimed = self::document(rev, &[(n - 1, "kept")]).objects.clone();
        }
        steps.push(vec![Change::Document(Arc::new(document))]);
        steps.push(vec![pod(n, Some(memory(n)))]);
        if n > 2 {
            steps.push(vec![
                pod(n - 1, Some(gone(n - 1))),
                Change::TimeFloor(i64::from(n)),
            ]);
            steps.push(vec![pod(n - 1, None)]);
        }
    }
    steps
}

/// Lives; after each acknowledgement what is on disk is noted under its mark.
fn live(disk: &Recorder, mutant: fn() -> Option<Mutant>) -> Vec<Contents> {
    let mut states = vec![Contents::default()];
    let open = |states: &mut Vec<Contents>| {
        let (mut log, contents) = Log::open_on(disk.clone(), SMALL).unwrap();
        log.mutant = mutant();
        states.push(contents);
        disk.mark(states.len() as u64 - 1);
        log
    };
    let mut log = open(&mut states);
    for (n, changes) in steps().into_iter().enumerate() {
        let weak = Change::Pod(uid(200), Some(Box::new(memory(n as u8))));
        log.commit(vec![weak], Durability::Ride).unwrap();
        log.commit(changes, Durability::Hard).unwrap();
        states.push(log.contents().clone());
        disk.mark(states.len() as u64 - 1);
        if n % 13 == 12 {
            drop(log);
            log = open(&mut states);
        }
    }
    states
}

/// A start finds what was acknowledged last, or that and all of what was under way, and can go on.
fn check(image: &Image, states: &[Contents]) -> Result<(), String> {
    let disk = image.disk();
    let (mut log, found) =
        Log::open_on(disk.clone(), SMALL).map_err(|error| crate::error_chain(&error))?;
    let may_be = |state: Option<&Contents>| {
        state.is_some_and(|state| {
            let boot = state.boot + 1;
            let state = state.clone();
            Contents { boot, ..state } == found
        })
    };
    let last = image.mark as usize;
    if !may_be(states.get(last)) && !may_be(states.get(last + 1)) {
        return Err(format!("neither state {last} nor the next: {found:?}"));
    }
    let change = Change::TimeFloor(i64::MAX);
    log.commit(vec![change], Durability::Hard)
        .map_err(|error| error.to_string())?;
    drop(log);
    let (_, again) = Log::open_on(disk, SMALL).map_err(|error| crate::error_chain(&error))?;
    let expected = Contents {
        boot: found.boot + 1,
        time_floor: i64::MAX,
        ..found
    };
    (again == expected)
        .then_some(())
        .ok_or_else(|| "another state after going on".into())
}

#[test]
fn every_power_cut_keeps_what_was_acknowledged() {
    let disk = Recorder::new();
    let states = live(&disk, || None);
    let depth = Depth {
        random: 4,
        stride: 1,
    };
    match sweep(&disk, depth, |image| check(image, &states)) {
        Ok(images) => assert!(images > 500, "only {images} images"),
        Err((image, error)) => {
            panic!("{error}, after call {}, kept {}", image.calls, image.kept)
        }
    }
    let snapshot = |name: &String| name.starts_with("snapshot");
    assert!(disk.files().keys().any(snapshot), "it was compacted");
    assert!(states.last().unwrap().endings.iter().count() > 4);
}

#[test]
fn mistakes_are_noticed() {
    let mutants: [fn() -> Option<Mutant>; 3] = [
        || Some(Mutant::OneByOne),
        || Some(Mutant::Late(Vec::new())),
        || Some(Mutant::ForgetEndings),
    ];
    let depth = Depth {
        random: 2,
        stride: 1,
    };
    for (n, mutant) in mutants.into_iter().enumerate() {
        let disk = Recorder::new();
        let states = live(&disk, mutant);
        let swept = sweep(&disk, depth, |image| check(image, &states));
        assert!(swept.is_err(), "mistake {n} was not noticed");
    }
    for dishonest in [Recorder::forget_data_syncs, Recorder::forget_dir_syncs] {
        let disk = Recorder::new();
        dishonest(&disk);
        let states = live(&disk, || None);
        assert!(sweep(&disk, depth, |image| check(image, &states)).is_err());
    }
}
