//! What every store does, whatever is under it.

mod watches;

use std::sync::Arc;

use bramble_ledger::harness::Recorder;

use crate::store::{
    Durability::{Hard, Memory, Soft},
    Error, Expect, Key, LedgerStore, Limits, MemoryStore, Op, Page, Revision, Scope, Settings,
    Store, Watcher,
    tests::{delete, describe, everything, hard, key, parse, pods, put, show, soon, value},
};

use watches::{
    a_slow_watcher_is_told, a_watch_from_a_list_misses_nothing,
    a_watch_has_no_gap_and_names_the_previous_value, a_watch_is_scoped, every_watcher_wakes_up,
    progress_moves_on_without_events,
};

/// Runs every test against every store.
macro_rules! suite {
    ($($test:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test] async fn $test() {
                super::$test(&|limits| std::sync::Arc::new(super::MemoryStore::new(limits))).await;
            })*
        }
        mod ledger {
            $(#[tokio::test] async fn $test() {
                super::$test(&|limits| super::on_ledger(limits)).await;
            })*
        }
    };
}

suite!(
    puts_are_read_back_with_their_revision,
    expectations_guard_every_write,
    a_commit_is_all_or_nothing,
    a_check_guards_another_objects_write,
    limits_are_enforced,
    lists_are_ordered_and_paged,
    a_page_continues_at_the_revision_of_the_first,
    revisions_outside_of_the_history_are_refused,
    a_watch_has_no_gap_and_names_the_previous_value,
    a_watch_is_scoped,
    a_slow_watcher_is_told,
    a_watch_from_a_list_misses_nothing,
    every_watcher_wakes_up,
    progress_moves_on_without_events,
    durable_resolves_for_every_class,
    an_epoch_is_raised_and_never_lowered,
    concurrent_writers_conflict_once,
);

type Make<'a> = &'a dyn Fn(Limits) -> Arc<dyn Store>;

fn on_ledger(limits: Limits) -> Arc<dyn Store> {
    let settings = Settings {
        limits,
        ..Settings::default()
    };
    Arc::new(LedgerStore::open_on(Recorder::new(), settings).unwrap())
}

fn make(store: Make<'_>) -> Arc<dyn Store> {
    store(Limits::default())
}

async fn commit(store: &Arc<dyn Store>, ops: Vec<Op>) -> Revision {
    soon(store.commit(ops).unwrap().durable()).await.unwrap()
}

async fn events(watcher: &mut Watcher, count: usize) -> Vec<String> {
    let mut events = Vec::new();
    for _ in 0..count {
        events.push(describe(&soon(watcher.next()).await.unwrap()));
    }
    assert_eq!(watcher.try_next(), Ok(None), "after {events:?}");
    events
}

async fn puts_are_read_back_with_their_revision(make_store: Make<'_>) {
    let store = make(make_store);
    let start = store.revision();
    assert!(start > Revision(0), "0 means something else to clients");
    let first = commit(&store, vec![hard("a", "one")]).await;
    assert_eq!(first, Revision(start.0 + 1));
    let entry = store.get(&key("a")).unwrap();
    assert_eq!((entry.created, entry.modified), (first, first));
    assert_eq!(parse(&entry), (first, "one".into()));
    let second = commit(&store, vec![hard("a", "two")]).await;
    let entry = store.get(&key("a")).unwrap();
    assert_eq!((entry.created, entry.modified), (first, second));
    assert_eq!(store.revision(), second);
    let gone = store.commit(vec![delete(key("a"), Hard)]).unwrap();
    assert_eq!(parse(&gone.entries[0]), (gone.revision, "two".into()));
    assert_eq!(store.get(&key("a")), None);
    assert_eq!(store.get(&Key::new("no", "such", "", "thing")), None);
}

async fn expectations_guard_every_write(make_store: Make<'_>) {
    let store = make(make_store);
    let write = |expect| {
        store
            .commit(vec![put(key("a"), expect, "x", Hard)])
            .map(|c| c.revision)
    };
    let remove = |expect| {
        let op = Op::Delete {
            key: key("a"),
            expect,
            durability: Hard,
        };
        store.commit(vec![op]).map(|c| c.revision)
    };
    let never = Expect::Revision(Revision(5));
    assert_eq!(write(never), Err(Error::NotFound(key("a"))));
    assert_eq!(remove(never), Err(Error::NotFound(key("a"))));
    assert_eq!(remove(Expect::Any), Err(Error::NotFound(key("a"))));
    let before = store.revision();
    let current = write(Expect::Absent).unwrap();
    assert_eq!(
        current,
        Revision(before.0 + 1),
        "refused writes take no revision"
    );
    assert_eq!(write(Expect::Absent), Err(Error::Exists(key("a"))));
    assert_eq!(remove(Expect::Absent), Err(Error::Exists(key("a"))));
    let conflict = Error::Conflict {
        key: key("a"),
        expected: Revision(5),
        current,
    };
    assert_eq!(write(never), Err(conflict.clone()));
    assert_eq!(remove(never), Err(conflict));
    let current = write(Expect::Revision(current)).unwrap();
    let current = write(Expect::Any)
        .map(|any| (any > current).then_some(any))
        .unwrap()
        .unwrap();
    remove(Expect::Revision(current)).unwrap();
    write(Expect::Absent).unwrap();
}

async fn a_commit_is_all_or_nothing(make_store: Make<'_>) {
    let store = make(make_store);
    commit(&store, vec![hard("taken", "x")]).await;
    let before = store.revision();
    let mut watcher = store.watch_pending(&pods(), before).unwrap();
    let ops = vec![
        hard("a", "1"),
        put(key("taken"), Expect::Absent, "y", Hard),
        hard("b", "1"),
    ];
    assert_eq!(store.commit(ops).unwrap_err(), Error::Exists(key("taken")));
    assert_eq!(
        store
            .commit(vec![hard("a", "1"), hard("a", "2")])
            .unwrap_err(),
        Error::Twice(key("a"))
    );
    assert_eq!(store.revision(), before);
    assert_eq!(everything(&*store), ["default/taken=x"]);
    let done = store.commit(vec![
        hard("a", "1"),
        hard("b", "1"),
        delete(key("taken"), Hard),
    ]);
    let done = done.unwrap();
    assert_eq!(
        (done.first.0, done.revision.0),
        (before.0 + 1, before.0 + 3)
    );
    assert_eq!(everything(&*store), ["default/a=1", "default/b=1"]);
    let expected = [
        "Added a=1 was None",
        "Added b=1 was None",
        "Deleted taken=x was Some(\"x\")",
    ];
    assert_eq!(events(&mut watcher, 3).await, expected);
}

async fn a_check_guards_another_objects_write(make_store: Make<'_>) {
    let store = make(make_store);
    let guard = commit(&store, vec![hard("guard", "1")]).await;
    let guarded = |expect, name: &str| {
        let check = Op::Check {
            key: key("guard"),
            expect,
        };
        let ops = vec![check, put(key(name), Expect::Absent, "x", Hard)];
        store.commit(ops).map(|c| (c.first, c.revision, c.entries))
    };
    let (first, last, entries) = guarded(Expect::Revision(guard), "a").unwrap();
    assert_eq!(
        (first, last),
        (Revision(guard.0 + 1), Revision(guard.0 + 1))
    );
    assert_eq!(entries.len(), 1, "a check is no write");
    assert_eq!(&*entries[0].key.name, "a");
    guarded(Expect::Any, "b").unwrap();
    assert_eq!(
        guarded(Expect::Absent, "c").unwrap_err(),
        Error::Exists(key("guard"))
    );
    let moved = commit(&store, vec![hard("guard", "2")]).await;
    let conflict = Error::Conflict {
        key: key("guard"),
        expected: guard,
        current: moved,
    };
    assert_eq!(guarded(Expect::Revision(guard), "c").unwrap_err(), conflict);
    commit(&store, vec![delete(key("guard"), Hard)]).await;
    assert_eq!(
        guarded(Expect::Revision(moved), "c").unwrap_err(),
        Error::NotFound(key("guard"))
    );
    guarded(Expect::Absent, "c").unwrap();
    let before = store.revision();
    let check = Op::Check {
        key: key("a"),
        expect: Expect::Any,
    };
    let alone = store.commit(vec![check]).unwrap();
    assert_eq!(alone.revision, before, "a check alone takes no revision");
    soon(alone.durable()).await.unwrap();
    let here = everything(&*store);
    assert_eq!(here, ["default/a=x", "default/b=x", "default/c=x"]);
}

async fn limits_are_enforced(make_store: Make<'_>) {
    let store = make_store(Limits {
        object_bytes: 200,
        commit_bytes: 600,
        ..Limits::default()
    });
    let long = "x".repeat(200);
    let error = store.commit(vec![hard("a", &long)]).unwrap_err();
    assert!(
        matches!(error, Error::TooLarge { limit: 200, .. }),
        "{error:?}"
    );
    let many = ["a", "b", "c", "d", "e"]
        .map(|name| hard(name, &long[..60]))
        .to_vec();
    let error = store.commit(many).unwrap_err();
    assert!(
        matches!(error, Error::TooLarge { limit: 600, .. }),
        "{error:?}"
    );
    assert_eq!(everything(&*store), Vec::<String>::new());
}

/// Pods in several namespaces, put in no particular order, and things that are not pods.
async fn populate(store: &Arc<dyn Store>) {
    for (namespace, name) in [
        ("b", "y"),
        ("a", "z"),
        ("c", "x"),
        ("b", "x"),
        ("a", "a"),
        ("b", "z"),
    ] {
        let pod = Key::new("", "pods", namespace, name);
        commit(store, vec![put(pod, Expect::Absent, "1", Hard)]).await;
    }
    for (group, resource) in [("", "nodes"), ("apps", "pods"), ("", "podss")] {
        let other = Key::new(group, resource, "b", "other");
        commit(store, vec![put(other, Expect::Absent, "1", Hard)]).await;
    }
}

async fn lists_are_ordered_and_paged(make_store: Make<'_>) {
    let store = make(make_store);
    populate(&store).await;
    let all = ["a/a=1", "a/z=1", "b/x=1", "b/y=1", "b/z=1", "c/x=1"];
    assert_eq!(everything(&*store), all);
    for limit in 1..8 {
        let (mut page, mut seen) = (
            Page {
                limit: Some(limit),
                ..Page::default()
            },
            Vec::new(),
        );
        loop {
            let listing = store.list(&pods(), &page).unwrap();
            seen.extend(show(&listing.entries));
            assert_eq!(listing.remaining, all.len() - seen.len());
            assert!(listing.entries.len() == limit || listing.next.is_none());
            page = Page {
                at: Some(listing.revision),
                from: listing.next,
                ..page
            };
            if page.from.is_none() {
                break;
            }
        }
        assert_eq!(seen, all, "by {limit}");
    }
    let scope = Scope::namespaced("", "pods", "b");
    let page = Page {
        limit: Some(2),
        ..Page::default()
    };
    let listing = store.list(&scope, &page).unwrap();
    assert_eq!(show(&listing.entries), ["b/x=1", "b/y=1"]);
    assert_eq!(
        (
            listing.next.clone().unwrap().name.as_ref(),
            listing.remaining
        ),
        ("z", 1)
    );
    let page = Page {
        from: listing.next,
        ..page
    };
    assert_eq!(show(&store.list(&scope, &page).unwrap().entries), ["b/z=1"]);
    let none = Scope::namespaced("", "pods", "nowhere");
    assert!(
        store
            .list(&none, &Page::default())
            .unwrap()
            .entries
            .is_empty()
    );
}

async fn a_page_continues_at_the_revision_of_the_first(make_store: Make<'_>) {
    let store = make(make_store);
    populate(&store).await;
    let first = store
        .list(
            &pods(),
            &Page {
                limit: Some(2),
                ..Page::default()
            },
        )
        .unwrap();
    let pod = |namespace: &str, name: &str| Key::new("", "pods", namespace, name);
    // One deleted, one changed twice, one new, one deleted and made again, behind the first page.
    commit(&store, vec![delete(pod("b", "x"), Hard)]).await;
    for value in ["2", "3"] {
        commit(&store, vec![put(pod("b", "y"), Expect::Any, value, Hard)]).await;
    }
    commit(
        &store,
        vec![put(pod("b", "aa"), Expect::Absent, "new", Hard)],
    )
    .await;
    commit(&store, vec![delete(pod("c", "x"), Hard)]).await;
    commit(
        &store,
        vec![put(pod("c", "x"), Expect::Absent, "new", Hard)],
    )
    .await;
    let page = Page {
        at: Some(first.revision),
        from: first.next,
        limit: None,
    };
    let rest = store.list(&pods(), &page).unwrap();
    assert_eq!(show(&rest.entries), ["b/x=1", "b/y=1", "b/z=1", "c/x=1"]);
    assert_eq!(rest.revision, first.revision);
    let now = ["a/a=1", "a/z=1", "b/aa=new", "b/y=3", "b/z=1", "c/x=new"];
    assert_eq!(everything(&*store), now);
}

async fn revisions_outside_of_the_history_are_refused(make_store: Make<'_>) {
    let store = make_store(Limits {
        history_events: 3,
        ..Limits::default()
    });
    let start = store.revision();
    for value in ["1", "2", "3", "4", "5"] {
        commit(&store, vec![hard("a", value)]).await;
    }
    let current = store.revision();
    let at = |revision| {
        store.list(
            &pods(),
            &Page {
                at: Some(revision),
                ..Page::default()
            },
        )
    };
    let watch = |revision| store.watch(&pods(), revision);
    let oldest = Revision(start.0 + 2);
    for requested in [Revision(1), start, Revision(start.0 + 1)] {
        let compacted = Error::Compacted { requested, oldest };
        assert_eq!(at(requested).unwrap_err(), compacted);
        assert_eq!(watch(requested).unwrap_err(), compacted);
    }
    assert_eq!(show(&at(oldest).unwrap().entries), ["default/a=2"]);
    assert_eq!(events(&mut watch(oldest).unwrap(), 3).await.len(), 3);
    let requested = Revision(current.0 + 1);
    assert_eq!(
        at(requested).unwrap_err(),
        Error::Future { requested, current }
    );
    assert_eq!(
        watch(requested).unwrap_err(),
        Error::Future { requested, current }
    );
    // Another resource's history is its own.
    store.watch(&Scope::all("", "nodes"), start).unwrap();
}

async fn durable_resolves_for_every_class(make_store: Make<'_>) {
    let store = make(make_store);
    for durability in [Memory, Soft, Hard, Memory] {
        let op = put(key("a"), Expect::Any, "1", durability);
        let commit = store.commit(vec![op]).unwrap();
        let settled = store.settled(commit.revision);
        let revision = soon(commit.durable()).await.unwrap();
        assert!(store.visible() >= revision);
        assert!(settled.is_settled());
        soon(settled.wait()).await.unwrap();
    }
}

async fn an_epoch_is_raised_and_never_lowered(make_store: Make<'_>) {
    let store = make(make_store);
    let mut watcher = store.watch(&pods(), store.revision()).unwrap();
    commit(&store, vec![hard("a", "1")]).await;
    let before = store.revision();
    let raised = soon(store.raise_epoch(7).unwrap().durable()).await.unwrap();
    assert!(raised > before);
    assert_eq!(raised.epoch(), 7);
    let after = commit(&store, vec![hard("a", "2")]).await;
    assert_eq!(after.epoch(), 7);
    for lower in [1, 6, 7] {
        let same = soon(store.raise_epoch(lower).unwrap().durable())
            .await
            .unwrap();
        assert_eq!(same, after);
    }
    let expected = ["Added a=1 was None", "Modified a=2 was Some(\"1\")"];
    assert_eq!(events(&mut watcher, 2).await, expected);
}

async fn concurrent_writers_conflict_once(make_store: Make<'_>) {
    let store = make(make_store);
    commit(&store, vec![hard("counter", "0")]).await;
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let store = store.clone();
            std::thread::spawn(move || {
                let mut done = 0;
                while done < 25 {
                    let entry = store.get(&key("counter")).unwrap();
                    let next: u32 = parse(&entry).1.parse::<u32>().unwrap() + 1;
                    let expect = Expect::Revision(entry.modified);
                    match store.commit(vec![put(key("counter"), expect, &next.to_string(), Hard)]) {
                        Ok(_) => done += 1,
                        Err(Error::Conflict { .. }) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        tokio::task::spawn_blocking(|| writer.join().unwrap())
            .await
            .unwrap();
    }
    assert_eq!(value(&*store, &key("counter")).unwrap(), "100");
}
