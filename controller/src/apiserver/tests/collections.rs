//! Deleting many at once.

use std::sync::Arc;

use super::*;
use crate::apiserver::{Limits, NoLogs};
use crate::store::{Key, MemoryStore, Store};

/// Runs something on a cluster whose disk answers as long as that takes.
async fn released<T: Send + 'static>(
    disk: &MemoryStore,
    what: impl Future<Output = T> + Send + 'static,
) -> T {
    let running = tokio::spawn(what);
    while !running.is_finished() {
        disk.release();
        tokio::task::yield_now().await;
    }
    running.await.unwrap()
}

#[tokio::test]
async fn a_collection_waits_for_the_disk_once() {
    let disk = MemoryStore::held();
    let started = Cluster::with(disk.clone(), Limits::default(), Arc::new(NoLogs));
    let cluster = Arc::new(released(&disk, started).await);
    let names = ["a", "b", "c"];
    for name in names {
        let cluster = cluster.clone();
        let posted = async move { cluster.post(CONFIG_MAPS, &config_map(name)).await.code };
        assert_eq!(released(&disk, posted).await, 201);
    }
    let deleting = tokio::spawn({
        let cluster = cluster.clone();
        async move { cluster.delete(CONFIG_MAPS, &json!({})).await }
    });
    let key = |name: &str| Key::new("", "configmaps", "default", name);
    let gone = || names.iter().all(|name| disk.get(&key(name)).is_none());
    // All of them go while the disk is silent …
    let in_time = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !gone() {
        assert!(
            std::time::Instant::now() < in_time,
            "it waits for the first"
        );
        tokio::task::yield_now().await;
    }
    // … and nobody is told before it has spoken.
    assert!(!deleting.is_finished());
    disk.release();
    let reply = deleting.await.unwrap().expect(200);
    assert_eq!(reply.json()["items"].as_array().unwrap().len(), 3);
}
