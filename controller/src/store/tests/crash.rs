//! Power cuts under the store: what was acknowledged is there, whole commits only, and no revision
//! that anybody saw is ever issued again.

use std::collections::BTreeMap;

use bramble_ledger::harness::{Depth, Image, Recorder, sweep};

use crate::store::{
    Commit,
    Durability::{Hard, Memory, Soft},
    Error, Expect, LedgerStore, Op, OpenError, Recovered, Revision, Settings, Store,
    tests::{delete, hard, key, open, put, small, soon, value},
};

/// What was true outside when a mark was made.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Rounds whose hard commit was acknowledged.
    rounds: u64,
    /// The newest revision that was shown.
    revision: Revision,
    /// The newest hard change that was acknowledged.
    hard: Revision,
}

/// Hard commits of two objects that change together and one that comes and goes; soft and memory
/// writes between.
fn round(number: u64) -> Vec<Vec<Op>> {
    let text = number.to_string();
    let mut pair = vec![hard("left", &text), hard("right", &text)];
    pair.push(match number % 2 {
        1 => put(key("odd"), Expect::Absent, &text, Hard),
        _ => delete(key("odd"), Hard),
    });
    let soft = put(key("soft"), Expect::Any, &text, Soft);
    let heartbeat = put(key("left"), Expect::Any, &text, Memory);
    vec![vec![soft], pair, vec![heartbeat]]
}

/// Rounds in bursts, so that commits share syncs and snapshots meet commits that are pending.
async fn live(disk: &Recorder, settings: Settings, bursts: u64) -> BTreeMap<u64, Seen> {
    let open = || LedgerStore::open_on(disk.clone(), settings).unwrap();
    let mut seen = BTreeMap::from([(0, Seen::default())]);
    let mut store = open();
    let mut number = 0;
    for burst in 1..=bursts {
        let mut last = store.settled(store.visible());
        for _ in 0..burst % 4 {
            number += 1;
            for ops in round(number) {
                last = commit(&store, ops).await.handle();
            }
        }
        soon(last.wait()).await.unwrap();
        let revision = store.visible();
        seen.insert(
            burst,
            Seen {
                rounds: number,
                revision,
                hard: store.hard(),
            },
        );
        disk.mark(burst);
        if burst % 15 == 0 {
            drop(store);
            store = open();
        }
    }
    seen
}

/// Commits as soon as the tiny disk has room.
async fn commit(store: &LedgerStore, ops: Vec<Op>) -> Commit {
    loop {
        match store.commit(ops.clone()) {
            Err(Error::Busy) => tokio::task::yield_now().await,
            other => return other.unwrap(),
        }
    }
}

fn check(image: &Image, seen: &BTreeMap<u64, Seen>) -> Result<(), String> {
    let store = LedgerStore::open_on(image.disk(), small())
        .map_err(|error| format!("{error}: {:?}", std::error::Error::source(&error)))?;
    let seen = seen[&image.mark];
    let found = |name| value(&store, &key(name)).map_or(0, |text| text.parse::<u64>().unwrap());
    let (left, right, odd) = (found("left"), found("right"), found("odd"));
    if left < seen.rounds {
        return Err(format!(
            "round {} was acknowledged, {left} found",
            seen.rounds
        ));
    }
    if left != right || odd != if left % 2 == 1 { left } else { 0 } {
        return Err(format!(
            "half a commit: left {left} right {right} odd {odd}"
        ));
    }
    if store.revision() <= seen.revision {
        return Err(format!(
            "revision {} was seen, now at {}",
            seen.revision,
            store.revision()
        ));
    }
    // Whoever was told of a hard change does not take this store for an older copy.
    let Recovered { top, start } = store.recovered();
    if top < seen.hard || start <= seen.revision {
        return Err(format!(
            "{} was acknowledged and {} shown; top {top}, start {start}",
            seen.hard, seen.revision
        ));
    }
    let newest = ["left", "right", "odd", "soft"].map(|name| store.get(&key(name)));
    if newest
        .iter()
        .flatten()
        .any(|entry| entry.modified >= store.revision())
    {
        return Err("an object is newer than the store".into());
    }
    let next = store
        .commit(vec![hard("left", "0")])
        .map_err(|error| error.to_string())?;
    if next.first <= seen.revision {
        return Err(format!("revision {} is issued again", next.first));
    }
    Ok(())
}

#[tokio::test]
async fn acknowledged_commits_survive_every_power_cut() {
    let disk = Recorder::new();
    let seen = live(&disk, small(), 40).await;
    let depth = Depth {
        random: 4,
        stride: 1,
    };
    match sweep(&disk, depth, |image| check(image, &seen)) {
        Ok(images) => assert!(images > 500, "only {images} images"),
        Err((image, error)) => {
            panic!("{error}, after call {}, kept {}", image.calls, image.kept)
        }
    }
    let compacted = |call: &bramble_ledger::harness::Call| matches!(call, bramble_ledger::harness::Call::Rename { to, .. } if to.starts_with("snapshot"));
    let snapshots = disk.trace().iter().filter(|call| compacted(call)).count();
    assert!(snapshots > 1, "the run is too short to compact");
}

/// What is shown runs ahead of the disk with every soft write; a copy lacks what came after it.
#[tokio::test]
async fn an_older_copy_is_known_by_the_hard_changes_that_it_lacks() {
    let disk = Recorder::new();
    let store = open(&disk);
    let first = soon(store.commit(vec![hard("a", "1")]).unwrap().durable()).await;
    assert_eq!(store.hard(), first.unwrap());
    for number in 0..3 {
        let soft = put(key("soft"), Expect::Any, &number.to_string(), Soft);
        let _ = store.commit(vec![soft]).unwrap();
    }
    assert!(store.visible() > store.hard());
    let copied = store.visible();
    let last = soon(store.commit(vec![hard("b", "1")]).unwrap().durable()).await;
    let last = last.unwrap();
    assert_eq!(store.hard(), last);
    drop(store);

    let copies = [(); 4].map(|()| Recorder::with_files(&disk.files()));
    let starts = copies.map(|copy| open(&copy).recovered().start);
    assert!(
        starts.iter().any(|start| *start != starts[0]),
        "lives of copies begin elsewhere: {starts:?}"
    );
    let Recovered { top, start } = open(&disk).recovered();
    assert!(top >= last && start > top, "{top} {start} {last}");
    assert!(last > copied, "so a copy of that moment has an earlier top");
}

#[tokio::test]
async fn the_sweep_notices_a_disk_that_does_not_sync() {
    let disk = Recorder::new();
    disk.forget_data_syncs();
    let seen = live(&disk, small(), 4).await;
    assert!(sweep(&disk, Depth::default(), |image| check(image, &seen)).is_err());
}

#[tokio::test]
async fn the_sweep_notices_an_acknowledgement_before_the_write() {
    let disk = Recorder::new();
    let seen = live(
        &disk,
        Settings {
            late: true,
            ..small()
        },
        4,
    )
    .await;
    let (_, error) = sweep(&disk, Depth::default(), |image| check(image, &seen)).unwrap_err();
    assert!(error.contains("was acknowledged"), "{error}");
}

#[tokio::test]
async fn revisions_grow_over_restarts_and_epochs() {
    let disk = Recorder::new();
    let mut last = Revision(0);
    for epoch in [1, 1, 4, 4, 5] {
        let store = open(&disk);
        assert!(store.revision() > last);
        soon(store.raise_epoch(epoch).unwrap().durable())
            .await
            .unwrap();
        last = soon(store.commit(vec![hard("a", "1")]).unwrap().durable())
            .await
            .unwrap();
        assert_eq!(last.epoch(), epoch);
    }
    assert_eq!(open(&disk).revision().epoch(), 5);
}

#[tokio::test]
async fn a_store_on_a_real_disk_comes_back_and_is_held_by_one_process() {
    let directory = tempfile::tempdir().unwrap();
    let open = || LedgerStore::open(directory.path(), small());
    let store = open().unwrap();
    for number in 1..=20 {
        for ops in round(number) {
            let pending = commit(&store, ops).await;
            // As a server does: whoever waits may be another task.
            soon(tokio::spawn(pending.durable()))
                .await
                .unwrap()
                .unwrap();
        }
    }
    assert!(matches!(
        open(),
        Err(OpenError::Ledger(bramble_ledger::Error::Locked))
    ));
    drop(store);
    assert_eq!(value(&open().unwrap(), &key("left")).unwrap(), "20");
}
