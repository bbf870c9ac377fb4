//! Power cuts at every point of a run that appends, rotates, compacts, dies and comes back.

use crate::{
    Error,
    harness::{Depth, Image, Recorder, sweep},
    tests::{Counter, Mutant},
};

/// What happens, in order.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A batch of so many records.
    Add(u64),
    Prepare,
    Compact,
    /// The process is killed at the so-manieth call from here, which comes while adding, and a new
    /// one opens what the kernel remembers.
    KilledWhileAdding(usize),
    KilledWhileCompacting(usize),
    Reopen,
}

use Step::{Add, Compact, KilledWhileAdding, KilledWhileCompacting, Prepare, Reopen};

/// Runs steps. Everything acknowledged is marked; so is what a start recovered, because the caller
/// acts on that just the same.
fn run(disk: &Recorder, steps: &[Step], mutant: Mutant) {
    let open = || {
        let mut counter = Counter::open(disk.clone()).unwrap();
        counter.ledger.mutant = mutant;
        disk.mark(counter.count);
        counter
    };
    let mut counter = open();
    for step in steps {
        match *step {
            Add(records) => counter.add(records).unwrap(),
            Prepare => counter.ledger.prepare().unwrap(),
            Compact => counter.compact().unwrap(),
            KilledWhileAdding(calls) => {
                disk.kill_after(calls);
                let _ = counter.add(2);
            }
            KilledWhileCompacting(calls) => {
                disk.kill_after(calls);
                let _ = counter.compact();
            }
            Reopen => {}
        }
        if matches!(
            step,
            KilledWhileAdding(_) | KilledWhileCompacting(_) | Reopen
        ) {
            drop(counter);
            disk.restart();
            counter = open();
        }
        disk.mark(counter.count);
    }
}

/// A start from the image finds all that was acknowledged and nothing half done, and can go on.
fn check(image: &Image) -> Result<(), String> {
    let acknowledged = image.mark;
    let mut counter = Counter::open(image.disk()).map_err(|e| format!("{e:?}"))?;
    if counter.count < acknowledged {
        return Err(format!(
            "{acknowledged} acknowledged, {} found",
            counter.count
        ));
    }
    let disk = image.disk();
    drop(counter);
    counter = Counter::open(disk.clone()).map_err(|e| format!("again: {e:?}"))?;
    let count = counter.count + 1;
    counter.add(1).map_err(|e| format!("add: {e:?}"))?;
    drop(counter);
    let counter = Counter::open(disk).map_err(|e| format!("after adding: {e:?}"))?;
    if counter.count != count {
        return Err(format!("{count} added, {} found", counter.count));
    }
    Ok(())
}

fn survives(steps: &[Step]) -> usize {
    let disk = Recorder::new();
    run(&disk, steps, Mutant::None);
    match sweep(&disk, Depth::default(), check) {
        Ok(images) => images,
        Err((image, error)) => panic!(
            "{error}\nafter call {} of {steps:?}: {:?}\nkept {}",
            image.calls,
            image.calls.checked_sub(1).map(|last| kind(&disk, last)),
            image.kept,
        ),
    }
}

fn kind(disk: &Recorder, call: usize) -> String {
    let mut text = format!("{:?}", disk.trace()[call]);
    text.truncate(120);
    text
}

const LIFE: &[Step] = &[
    Add(1),
    Add(3),
    Prepare,
    Add(1),
    Add(2),
    Reopen,
    Add(2),
    Compact,
    Add(1),
    Add(4),
    Add(2),
    Compact,
    Reopen,
    Compact,
    Add(3),
    Add(3),
    Prepare,
    Compact,
    Add(1),
    Add(7),
    Add(6),
    Add(1),
    Compact,
    Add(8),
    Reopen,
    Add(5),
    Add(3),
];

#[test]
fn every_power_cut_keeps_what_was_acknowledged() {
    let images = survives(LIFE);
    assert!(
        images > 1_500,
        "only {images} images: the harness has lost its teeth"
    );
}

#[test]
fn a_killed_process_then_a_power_cut() {
    for calls in 0..6 {
        survives(&[
            Add(1),
            KilledWhileAdding(calls),
            Add(1),
            KilledWhileAdding(1),
            Add(2),
        ]);
        survives(&[
            Add(3),
            Add(3),
            KilledWhileCompacting(calls * 2),
            Add(1),
            Compact,
            Add(1),
        ]);
    }
}

#[test]
fn a_power_cut_while_recovering_from_a_power_cut() {
    let disk = Recorder::new();
    run(
        &disk,
        &[Add(2), Add(3), Compact, Add(2), Prepare, Add(3)],
        Mutant::None,
    );
    let depth = Depth {
        random: 2,
        stride: 3,
    };
    let mut nested = 0;
    let result = sweep(&disk, depth, |image| {
        nested += 1;
        // Every so-manieth image is enough; they differ little.
        if nested % 13 != 0 {
            return Ok(());
        }
        let second = image.disk();
        let mut counter = Counter::open(second.clone()).map_err(|e| format!("{e:?}"))?;
        second.mark(counter.count);
        counter.add(2).map_err(|e| format!("{e:?}"))?;
        second.mark(counter.count);
        // Before the first acknowledgement of the second life, the first life's holds.
        let first = image.mark;
        sweep(&second, depth, |image| {
            check(&Image {
                mark: image.mark.max(first),
                ..image.clone()
            })
        })
        .map(|_| ())
        .map_err(|(image, error)| format!("second cut, call {}: {error}", image.calls))
    });
    result
        .map_err(|(image, error)| format!("first cut, call {}: {error}", image.calls))
        .unwrap();
}

/// The harness is worth something only if it notices mistakes.
fn is_caught(steps: &[Step], mutant: Mutant, dishonest: impl Fn(&Recorder)) -> String {
    let disk = Recorder::new();
    dishonest(&disk);
    run(&disk, steps, mutant);
    match sweep(&disk, Depth::default(), check) {
        Ok(images) => panic!("not noticed in {images} images"),
        Err((_, error)) => error,
    }
}

#[test]
fn the_harness_notices_an_acknowledgement_before_the_sync() {
    let error = is_caught(&[Add(1), Add(1)], Mutant::AckBeforeSync, |_| {});
    assert!(error.contains("acknowledged"), "{error}");
}

#[test]
fn the_harness_notices_syncs_that_are_left_out() {
    is_caught(LIFE, Mutant::None, Recorder::forget_data_syncs);
    is_caught(LIFE, Mutant::None, Recorder::forget_dir_syncs);
}

#[test]
fn a_failed_sync_ends_the_ledger() {
    let disk = Recorder::new();
    let mut counter = Counter::open(disk.clone()).unwrap();
    counter.add(1).unwrap();
    disk.fail_syncs();
    let error = counter.add(1).unwrap_err();
    assert!(
        matches!(error, Error::Failed { source: Some(_) }),
        "{error:?}"
    );
    assert!(error.is_fatal());
    // Even when the disk claims to be well again: what it dropped is unknown.
    disk.restart();
    let calls = disk.trace().len();
    assert!(matches!(
        counter.add(1),
        Err(Error::Failed { source: None })
    ));
    assert!(matches!(
        counter.ledger.prepare(),
        Err(Error::Failed { .. })
    ));
    assert_eq!(disk.trace().len(), calls, "a failed ledger writes nothing");
}

#[test]
fn idle_and_reopened_ledgers_write_nothing() {
    let disk = Recorder::new();
    let mut counter = Counter::open(disk.clone()).unwrap();
    counter.add(2).unwrap();
    counter.ledger.prepare().unwrap();
    let writes = |disk: &Recorder| {
        use crate::harness::Call;
        let changes = |call: &Call| !matches!(call, Call::SyncData { .. } | Call::SyncDir);
        disk.trace().iter().filter(|call| changes(call)).count()
    };
    let before = writes(&disk);
    counter.ledger.sync().unwrap();
    counter.ledger.prepare().unwrap();
    drop(counter);
    let counter = Counter::open(disk.clone()).unwrap();
    assert_eq!(counter.count, 2);
    assert_eq!(writes(&disk), before);
}
