//! A disk that fails, fills up, or takes its time.

use bramble_ledger::harness::{Call, Recorder};

use crate::store::{
    Durability::{Hard, Memory, Soft},
    Error, Expect, Key, MemoryStore, Store,
    tests::{delete, describe, everything, hard, key, open, pods, put, soon, value},
};

#[tokio::test]
async fn nothing_is_shown_before_it_is_durable() {
    let store = MemoryStore::held();
    let start = store.revision();
    let mut outside = store.watch(&pods(), start).unwrap();
    let mut inside = store.watch_pending(&pods(), start).unwrap();
    let first = store.commit(vec![hard("a", "1")]).unwrap();
    // Behind a hard write even a memory write has to wait: order is part of the promise.
    let second = store
        .commit(vec![put(key("b"), Expect::Any, "1", Memory)])
        .unwrap();
    assert_eq!(
        describe(&soon(inside.next()).await.unwrap()),
        "Added a=1 was None"
    );
    assert_eq!(
        describe(&soon(inside.next()).await.unwrap()),
        "Added b=1 was None"
    );
    assert_eq!(outside.try_next(), Ok(None));
    assert_eq!(outside.progress(), start);
    assert_eq!(store.visible(), start);
    assert!(!first.handle().is_settled() && !second.handle().is_settled());
    store.release();
    soon(first.durable()).await.unwrap();
    soon(second.durable()).await.unwrap();
    assert_eq!(
        describe(&soon(outside.next()).await.unwrap()),
        "Added a=1 was None"
    );
    assert_eq!(
        describe(&soon(outside.next()).await.unwrap()),
        "Added b=1 was None"
    );
    // With nothing hard before it, a memory or soft write is there at once.
    for durability in [Memory, Soft] {
        let commit = store
            .commit(vec![put(key("b"), Expect::Any, "2", durability)])
            .unwrap();
        assert!(commit.handle().is_settled());
        assert!(outside.try_next().unwrap().is_some());
    }
}

#[tokio::test]
async fn an_outside_watcher_at_a_pending_revision_waits_there() {
    let store = MemoryStore::held();
    let pending = store.commit(vec![hard("a", "1")]).unwrap();
    let mut watcher = store.watch(&pods(), pending.revision).unwrap();
    assert_eq!(watcher.try_next(), Ok(None));
    store.release();
    assert_eq!(
        watcher.try_next(),
        Ok(None),
        "it has that one from its list"
    );
    let _ = store.commit(vec![hard("a", "2")]).unwrap();
    store.release();
    assert_eq!(
        describe(&soon(watcher.next()).await.unwrap()),
        "Modified a=2 was Some(\"1\")"
    );
}

async fn has_failed(store: &dyn Store, pending: crate::store::Durable) {
    assert_eq!(soon(pending.wait()).await, Err(Error::Failed));
    assert_eq!(soon(store.failed().wait()).await, Err(Error::Failed));
    assert_eq!(
        store.commit(vec![hard("z", "1")]).unwrap_err(),
        Error::Failed
    );
    assert_eq!(store.raise_epoch(9).unwrap_err(), Error::Failed);
    assert_eq!(
        store.watch(&pods(), store.visible()).unwrap_err(),
        Error::Failed
    );
}

#[tokio::test]
async fn a_failed_sync_is_never_acknowledged() {
    let disk = Recorder::new();
    let store = open(&disk);
    let fine = soon(store.commit(vec![hard("a", "1")]).unwrap().durable())
        .await
        .unwrap();
    let mut outside = store.watch(&pods(), fine).unwrap();
    disk.fail_syncs();
    let lost = store.commit(vec![hard("a", "2")]).unwrap();
    has_failed(&store, lost.handle()).await;
    assert_eq!(soon(outside.next()).await, Err(Error::Failed));
    assert_eq!(store.visible(), fine);
    // What was durable before stays durable to whoever asks.
    soon(store.settled(fine).wait()).await.unwrap();
}

#[tokio::test]
async fn a_store_fails_on_command() {
    let store = MemoryStore::held();
    let pending = store.commit(vec![hard("a", "1")]).unwrap();
    store.fail();
    has_failed(&store, pending.handle()).await;
    store.release();
    assert!(!pending.handle().is_settled());
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_accepts_deletes() {
    let disk = Recorder::new();
    let store = open(&disk);
    // No segment can be added to those that are there.
    disk.set_space(Some(0));
    let mut count = 0;
    let refused = loop {
        match store.commit(vec![hard(&format!("p{count}"), &"x".repeat(200))]) {
            Ok(commit) => {
                soon(commit.durable()).await.unwrap();
                count += 1;
            }
            Err(Error::Busy) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, Error::Full);
    assert!(count > 2, "{count}");
    assert_eq!(everything(&store).len(), count, "the old state stands");
    let memory = put(key("event"), Expect::Any, "1", Memory);
    soon(store.commit(vec![memory]).unwrap().durable())
        .await
        .unwrap();
    soon(
        store
            .commit(vec![delete(key("p0"), Hard)])
            .unwrap()
            .durable(),
    )
    .await
    .unwrap();
    disk.set_space(None);
    // The refused attempt woke the writer up; it finds the space by itself.
    loop {
        match store.commit(vec![hard("late", "1")]) {
            Ok(commit) => break assert!(soon(commit.durable()).await.is_ok()),
            Err(Error::Full | Error::Busy) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
    drop(store);
    let store = open(&disk);
    assert_eq!(value(&store, &key("late")).unwrap(), "1");
    assert_eq!(everything(&store).len(), count);
}

#[tokio::test]
async fn a_full_memory_store_says_so() {
    let store = MemoryStore::held();
    store.fill(1000);
    assert_eq!(
        store.commit(vec![hard("a", &"x".repeat(950))]).unwrap_err(),
        Error::Full
    );
    let _ = store.commit(vec![hard("a", "1")]).unwrap();
}

fn writes(disk: &Recorder) -> usize {
    let marks = |call: &Call| !matches!(call, Call::Mark(_));
    disk.trace().iter().filter(|call| marks(call)).count()
}

#[tokio::test]
async fn heartbeats_and_soft_changes_write_nothing_by_themselves() {
    let disk = Recorder::new();
    let store = open(&disk);
    soon(store.commit(vec![hard("pod", "1")]).unwrap().durable())
        .await
        .unwrap();
    let before = writes(&disk);
    for beat in 0..500 {
        let lease = Key::new("coordination.k8s.io", "leases", "kube-node-lease", "node");
        let beat = put(lease, Expect::Any, &beat.to_string(), Memory);
        let status = put(key("pod"), Expect::Any, "status", Soft);
        soon(store.commit(vec![beat]).unwrap().durable())
            .await
            .unwrap();
        soon(store.commit(vec![status]).unwrap().durable())
            .await
            .unwrap();
    }
    assert_eq!(writes(&disk), before);
}

#[tokio::test]
async fn writes_that_arrive_together_share_a_sync() {
    let disk = Recorder::new();
    let store = open(&disk);
    let start = store.visible();
    let syncs = || {
        let trace = disk.trace();
        trace
            .iter()
            .filter(|call| matches!(call, Call::SyncData { .. }))
            .count()
    };
    let before = syncs();
    disk.hold_syncs();
    let first = store.commit(vec![hard("first", "1")]).unwrap();
    disk.wait_until_held();
    let later: Vec<_> = (0..6)
        .map(|i| store.commit(vec![hard(&format!("p{i}"), "1")]).unwrap())
        .collect();
    assert_eq!(store.visible(), start);
    assert_eq!(everything(&store).len(), 7, "inside, all of them are there");
    disk.release_syncs();
    soon(first.durable()).await.unwrap();
    for commit in later {
        soon(commit.durable()).await.unwrap();
    }
    assert_eq!(syncs() - before, 2);
}

#[tokio::test]
async fn too_much_waiting_for_the_disk_is_refused() {
    let disk = Recorder::new();
    let store = open(&disk);
    disk.hold_syncs();
    let mut accepted = Vec::new();
    let refused = loop {
        match store.commit(vec![hard(
            &format!("p{}", accepted.len()),
            &"x".repeat(300),
        )]) {
            Ok(commit) => accepted.push(commit),
            Err(error) => break error,
        }
    };
    assert_eq!(refused, Error::Busy);
    let count = accepted.len();
    assert!(count > 1);
    disk.release_syncs();
    for commit in accepted {
        soon(commit.durable()).await.unwrap();
    }
    drop(store);
    assert_eq!(
        everything(&open(&disk)).len(),
        count,
        "what was accepted was also written"
    );
}

#[tokio::test]
async fn a_soft_change_never_overtakes_a_later_hard_one() {
    let disk = Recorder::new();
    let store = open(&disk);
    for name in ["changed", "gone"] {
        let _ = store
            .commit(vec![put(key(name), Expect::Any, "soft", Soft)])
            .unwrap();
    }
    let ops = vec![hard("changed", "hard"), delete(key("gone"), Hard)];
    soon(store.commit(ops).unwrap().durable()).await.unwrap();
    let _ = store
        .commit(vec![put(key("changed"), Expect::Any, "later", Soft)])
        .unwrap();
    // Cut off here: the last soft change was never written.
    let cut = Recorder::with_files(&disk.files());
    assert_eq!(everything(&open(&cut)), ["default/changed=hard"]);
    drop(store);
    assert_eq!(everything(&open(&disk)), ["default/changed=later"]);
}

#[tokio::test]
async fn only_memory_is_forgotten_by_a_restart() {
    let disk = Recorder::new();
    let store = open(&disk);
    let write = |name: &str, value: &str, durability| {
        let _ = store
            .commit(vec![put(key(name), Expect::Any, value, durability)])
            .unwrap();
    };
    write("memory", "1", Memory);
    write("hard", "1", Hard);
    write("soft", "1", Soft);
    write("beat", "1", Hard);
    write("beat", "2", Memory);
    write("gone", "1", Hard);
    let _ = store.commit(vec![delete(key("gone"), Memory)]).unwrap();
    let last = store.revision();
    drop(store);
    let store = open(&disk);
    assert_eq!(
        everything(&store),
        ["default/beat=1", "default/hard=1", "default/soft=1"]
    );
    assert!(store.revision() > last);
    assert!(matches!(
        store.watch(&pods(), last),
        Err(Error::Compacted { .. })
    ));
}
