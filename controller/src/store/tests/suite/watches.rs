//! Watches: without a gap, within their scope and their bounds.

use super::*;

pub(super) async fn a_watch_has_no_gap_and_names_the_previous_value(make_store: Make<'_>) {
    let store = make(make_store);
    let start = store.revision();
    let mut early = store.watch(&pods(), start).unwrap();
    commit(&store, vec![hard("a", "1")]).await;
    let middle = commit(&store, vec![hard("a", "2")]).await;
    commit(&store, vec![delete(key("a"), Hard)]).await;
    commit(&store, vec![hard("a", "3")]).await;
    let all = [
        "Added a=1 was None",
        "Modified a=2 was Some(\"1\")",
        "Deleted a=2 was Some(\"2\")",
        "Added a=3 was None",
    ];
    assert_eq!(events(&mut early, 4).await, all);
    assert_eq!(
        events(&mut store.watch(&pods(), start).unwrap(), 4).await,
        all
    );
    assert_eq!(
        events(&mut store.watch(&pods(), middle).unwrap(), 2).await,
        all[2..]
    );
    assert_eq!(
        events(&mut store.watch(&pods(), store.revision()).unwrap(), 0)
            .await
            .len(),
        0
    );
}

pub(super) async fn a_watch_is_scoped(make_store: Make<'_>) {
    let store = make(make_store);
    let mut watcher = store
        .watch(&Scope::namespaced("", "pods", "b"), store.revision())
        .unwrap();
    populate(&store).await;
    let expected = [
        "Added y=1 was None",
        "Added x=1 was None",
        "Added z=1 was None",
    ];
    assert_eq!(events(&mut watcher, 3).await, expected);
}

pub(super) async fn a_slow_watcher_is_told(make_store: Make<'_>) {
    for limits in [
        Limits {
            history_events: 10,
            ..Limits::default()
        },
        Limits {
            history_bytes: 2000,
            ..Limits::default()
        },
    ] {
        let store = make_store(limits);
        let mut slow = store.watch(&pods(), store.revision()).unwrap();
        commit(&store, vec![hard("a", "0")]).await;
        assert_eq!(events(&mut slow, 1).await.len(), 1);
        for number in 0..100 {
            commit(&store, vec![hard("a", &number.to_string())]).await;
        }
        let error = soon(slow.next()).await.unwrap_err();
        assert!(matches!(error, Error::Compacted { .. }), "{error:?}");
        assert!(slow.try_next().is_err(), "it stays so");
    }
}

/// A client that lists, then watches, ends up with what the store holds, whatever is written
/// meanwhile.
pub(super) async fn a_watch_from_a_list_misses_nothing(make_store: Make<'_>) {
    let store = make(make_store);
    let writer = {
        let store = store.clone();
        std::thread::spawn(move || {
            for round in 0..300_u32 {
                let name = format!("p{}", round % 17);
                let durability = [Hard, Soft, Memory][round as usize % 3];
                let exists = store.get(&key(&name)).is_some();
                let op = if exists && round % 5 == 0 {
                    delete(key(&name), durability)
                } else {
                    put(key(&name), Expect::Any, &round.to_string(), durability)
                };
                let _ = store.commit(vec![op]).unwrap();
            }
            store.revision()
        })
    };
    let listing = store.list(&pods(), &Page::default()).unwrap();
    let mut mirror = std::collections::BTreeMap::new();
    for entry in listing.entries {
        mirror.insert(entry.key.clone(), entry);
    }
    let mut watcher = store.watch(&pods(), listing.revision).unwrap();
    let mut seen = listing.revision;
    let last = tokio::task::spawn_blocking(|| writer.join().unwrap())
        .await
        .unwrap();
    while seen < last {
        let event = soon(watcher.next()).await.unwrap();
        assert!(event.revision > seen, "in order");
        seen = event.revision;
        let known = mirror.remove(&event.entry.key);
        assert_eq!(known, event.previous, "the previous value is what we had");
        if event.kind != crate::store::EventKind::Deleted {
            mirror.insert(event.entry.key.clone(), event.entry);
        }
    }
    let mirror: Vec<_> = mirror.into_values().collect();
    assert_eq!(show(&mirror), everything(&*store));
}

pub(super) async fn every_watcher_wakes_up(make_store: Make<'_>) {
    let store = make(make_store);
    let start = store.revision();
    let waiting: Vec<_> = (0..20)
        .map(|i| {
            let watch = if i % 2 == 0 {
                store.watch(&pods(), start)
            } else {
                store.watch_pending(&pods(), start)
            };
            let mut watcher = watch.unwrap();
            tokio::spawn(async move { watcher.next().await.unwrap().revision })
        })
        .collect();
    tokio::task::yield_now().await;
    let revision = commit(&store, vec![hard("a", "1")]).await;
    for task in waiting {
        assert_eq!(soon(task).await.unwrap(), revision);
    }
}

pub(super) async fn progress_moves_on_without_events(make_store: Make<'_>) {
    let store = make(make_store);
    let mut watcher = store
        .watch(&Scope::all("", "nodes"), store.revision())
        .unwrap();
    let pod = commit(&store, vec![hard("a", "1")]).await;
    assert_eq!(watcher.progress(), pod);
    let node = Key::new("", "nodes", "", "n");
    let node = commit(&store, vec![put(node, Expect::Any, "1", Hard)]).await;
    assert!(
        watcher.progress() < node,
        "not before the event is delivered"
    );
    assert_eq!(soon(watcher.next()).await.unwrap().revision, node);
    assert_eq!(watcher.progress(), node);
}
