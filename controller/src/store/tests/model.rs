//! Random lives compared with a model that is too simple to be wrong.

use std::collections::BTreeMap;

use bramble_ledger::harness::Recorder;
use proptest::prelude::*;

use crate::store::{
    Durability, Expect, Key, MemoryStore, Page, Revision, Scope, Store,
    tests::{delete, open, pods, put, show},
};

#[derive(Clone, Debug)]
enum Step {
    Put {
        namespace: u8,
        name: u8,
        value: u16,
        durability: Durability,
    },
    Delete {
        namespace: u8,
        name: u8,
    },
    Restart,
}

fn durability() -> impl Strategy<Value = Durability> {
    prop_oneof![
        3 => Just(Durability::Hard),
        1 => Just(Durability::Soft),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let put = (0..3_u8, 0..5_u8, any::<u16>(), durability()).prop_map(
        |(namespace, name, value, durability)| Step::Put {
            namespace,
            name,
            value,
            durability,
        },
    );
    let delete = (0..3_u8, 0..5_u8).prop_map(|(namespace, name)| Step::Delete { namespace, name });
    prop::collection::vec(
        prop_oneof![12 => put, 6 => delete, 1 => Just(Step::Restart)],
        0..60,
    )
}

fn pod(namespace: u8, name: u8) -> Key {
    Key::new("", "pods", format!("n{namespace}"), format!("p{name}"))
}

type Model = BTreeMap<Key, String>;

fn render(model: &Model) -> Vec<String> {
    model
        .iter()
        .map(|(key, value)| format!("{}/{}={value}", key.namespace, key.name))
        .collect()
}

/// Every state since the last restart can still be listed, whole and by namespace and in pages.
fn history_is_right(store: &dyn Store, history: &BTreeMap<Revision, Model>, limit: usize) {
    for (revision, model) in history {
        let page = Page {
            at: Some(*revision),
            ..Page::default()
        };
        assert_eq!(
            show(&store.list(&pods(), &page).unwrap().entries),
            render(model)
        );
        let only = |key: &Key| key.namespace.as_ref() == "n1";
        let some = model.iter().filter(|(key, _)| only(key));
        let some = some
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let scope = Scope::namespaced("", "pods", "n1");
        assert_eq!(
            show(&store.list(&scope, &page).unwrap().entries),
            render(&some)
        );
        let (mut paged, mut from) = (Vec::new(), None);
        loop {
            let page = Page {
                at: Some(*revision),
                limit: Some(limit),
                from,
            };
            let listing = store.list(&pods(), &page).unwrap();
            paged.extend(show(&listing.entries));
            assert_eq!(listing.remaining, model.len() - paged.len());
            from = listing.next;
            if from.is_none() {
                break;
            }
        }
        assert_eq!(paged, render(model));
    }
}

fn run(steps: &[Step], mut store: Box<dyn Store>, restart: impl Fn() -> Option<Box<dyn Store>>) {
    let mut model = Model::new();
    let mut history = BTreeMap::from([(store.revision(), model.clone())]);
    for step in steps {
        match step {
            Step::Put {
                namespace,
                name,
                value,
                durability,
            } => {
                let key = pod(*namespace, *name);
                let op = put(key.clone(), Expect::Any, &value.to_string(), *durability);
                loop {
                    match store.commit(vec![op.clone()]) {
                        Ok(_) => break,
                        // The writer has fallen behind on its tiny disk.
                        Err(crate::store::Error::Busy) => std::thread::yield_now(),
                        Err(error) => panic!("{error}"),
                    }
                }
                model.insert(key, value.to_string());
            }
            Step::Delete { namespace, name } => {
                let key = pod(*namespace, *name);
                let op = delete(key.clone(), Durability::Hard);
                let found = loop {
                    match store.commit(vec![op.clone()]) {
                        Err(crate::store::Error::Busy) => std::thread::yield_now(),
                        other => break other.is_ok(),
                    }
                };
                assert_eq!(found, model.remove(&key).is_some());
            }
            Step::Restart => {
                let before = store.revision();
                drop(std::mem::replace(
                    &mut store,
                    Box::new(MemoryStore::default()),
                ));
                match restart() {
                    Some(restarted) => store = restarted,
                    None => return,
                }
                assert!(store.revision() > before);
                history.clear();
            }
        }
        history.insert(store.revision(), model.clone());
    }
    history_is_right(&*store, &history, 1 + steps.len() % 4);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_memory_store_matches_the_model(steps in steps()) {
        run(&steps, Box::new(MemoryStore::default()), || None);
    }

    #[test]
    fn a_ledger_store_matches_the_model_over_restarts(steps in steps()) {
        let disk = Recorder::new();
        run(&steps, Box::new(open(&disk)), || Some(Box::new(open(&disk))));
    }
}
