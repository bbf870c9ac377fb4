//! Clients that want too much, or nothing, cost little.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::apiserver::{Limits, LogRequest, LogStream, NoLogs, PodLogs};
use crate::store::{MemoryStore, Page, Scope, Store};
use bramble_api::status::Status;

impl Cluster {
    pub(super) fn store_revision(&self) -> u64 {
        self.store.revision().0
    }

    /// The objects that tests write, each with its revision: what the server writes by itself while it
    /// starts (default roles) is none of it.
    pub(super) fn objects(&self) -> Vec<String> {
        let kinds = [
            ("", "configmaps"),
            ("", "pods"),
            ("", "namespaces"),
            ("apps", "deployments"),
        ];
        let scopes = kinds.map(|(group, plural)| Scope::all(group, plural));
        let lists = scopes.map(|scope| self.store.list(&scope, &Page::default()).unwrap());
        let entries = lists.iter().flat_map(|list| &list.entries);
        entries
            .map(|e| format!("{}@{}", e.key, e.modified))
            .collect()
    }
}

async fn limited(limits: Limits) -> Cluster {
    Cluster::with(MemoryStore::default(), limits, Arc::new(NoLogs)).await
}

#[tokio::test]
async fn large_bodies_are_413() {
    let cluster = limited(Limits {
        body_bytes: 10_000,
        ..Limits::default()
    })
    .await;
    let mut object = config_map("a");
    object["data"]["a"] = "x".repeat(20_000).into();
    let reply = cluster.post(CONFIG_MAPS, &object).await.expect(413);
    assert_eq!(reply.json()["reason"], "RequestEntityTooLarge");

    // Without a length, it is counted.
    let mut stream = cluster.connect_admin().await;
    let head =
        format!("POST {CONFIG_MAPS} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("2000\r\n{}\r\n", "x".repeat(0x2000));
    let answer = tokio::spawn(async move {
        for _ in 0..4 {
            // The server may close before it has read everything.
            let _ = stream.write_all(chunk.as_bytes()).await;
        }
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.map(|_| start)
    });
    assert_eq!(&answer.await.unwrap().unwrap(), b"HTTP/1.1 413");
}

/// A client that reads the answer only when it has sent everything still gets it.
#[tokio::test]
async fn a_body_that_is_really_sent_is_answered() {
    let cluster = Cluster::start().await;
    let body = vec![b'x'; 5 << 20];
    let head = |path: &str| {
        let length = body.len();
        format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n")
    };
    let admin = cluster.connect_admin().await;
    let nobody = cluster.connect(None).await;
    for (mut stream, code) in [(admin, 413), (nobody, 401)] {
        stream
            .write_all(head(CONFIG_MAPS).as_bytes())
            .await
            .unwrap();
        stream.write_all(&body).await.unwrap();
        stream.flush().await.unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&start), format!("HTTP/1.1 {code}"));
    }
}

#[tokio::test]
async fn a_missing_object_is_404_before_its_patch_is_read() {
    let cluster = Cluster::start().await;
    let kind = [("content-type", "application/json-patch+json")];
    for path in [
        format!("{CONFIG_MAPS}/a"),
        format!("{PODS}/a/status"),
        format!("{DEPLOYMENTS}/a/scale"),
    ] {
        let reply = cluster.send("PATCH", &path, &kind, "no JSON").await;
        assert_eq!(reply.code, 404, "{path}");
    }
    let other = [("content-type", "text/plain")];
    let path = format!("{CONFIG_MAPS}/a");
    cluster.send("PATCH", &path, &other, "").await.expect(415);
}

#[tokio::test]
async fn a_server_whose_disk_failed_is_not_ready() {
    let cluster = Cluster::start().await;
    for path in ["/readyz", "/livez", "/healthz"] {
        let reply = cluster.send_as(None, "GET", path, &[], "").await;
        assert_eq!((reply.code, &reply.body[..]), (200, &b"ok"[..]), "{path}");
    }
    cluster.store.fail();
    for path in ["/readyz", "/livez", "/healthz"] {
        let reply = cluster.send_as(None, "GET", path, &[], "").await;
        assert_eq!(reply.code, 500, "{path}");
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        assert!(
            text.contains("[-]etcd failed: reason withheld"),
            "{path}: {text}"
        );
    }
}

#[tokio::test]
async fn objects_larger_than_the_store_takes_are_413() {
    let cluster = Cluster::start().await;
    let mut object = config_map("a");
    object["data"] = json!({});
    object["metadata"]["annotations"] = json!({"a": "x".repeat(200_000)});
    let parts: serde_json::Map<String, Value> = (0..10)
        .map(|i| (format!("k{i}"), "x".repeat(104_857).into()))
        .collect();
    object["data"] = Value::Object(parts);
    let code = cluster.post(CONFIG_MAPS, &object).await.code;
    assert!(matches!(code, 413 | 422), "{code}");
}

#[tokio::test]
async fn huge_heads_are_431() {
    let cluster = Cluster::start().await;
    let value = "x".repeat(100_000);
    let mut stream = cluster.connect_admin().await;
    let head = format!("GET /version HTTP/1.1\r\nhost: x\r\na: {value}\r\n\r\n");
    let _ = stream.write_all(head.as_bytes()).await;
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 431");
}

#[tokio::test]
async fn slow_clients_are_cut_off() {
    let short = Duration::from_millis(200);
    let limits = Limits {
        handshake: short,
        header: short,
        body: short,
        ..Limits::default()
    };
    let cluster = limited(limits).await;
    let ended = |end: std::io::Result<usize>| matches!(end, Ok(0) | Err(_));

    let mut silent = cluster.connect_plain().await;
    assert!(ended(silent.read(&mut [0; 16]).await), "no TLS");

    let mut stream = cluster.connect_admin().await;
    stream
        .write_all(b"GET /version HTTP/1.1\r\nho")
        .await
        .unwrap();
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest))
        .await
        .expect("half a head ends");

    let mut stream = cluster.connect_admin().await;
    let head = format!("POST {CONFIG_MAPS} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{{");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 504");
}

#[tokio::test]
async fn one_watch_too_many_is_429() {
    let cluster = limited(Limits {
        watches: 1,
        ..Limits::default()
    })
    .await;
    let path = format!("{PODS}?watch=true");
    cluster.post(PODS, &pod("a")).await.expect(201);
    let mut events = cluster.watch(&path).await;
    assert_eq!(events.brief().await, "ADDED a");
    let refused = cluster.get(&path).await.expect(429);
    assert_eq!(refused.headers["retry-after"], "1");
    cluster.get(PODS).await.expect(200);
}

#[tokio::test]
async fn nothing_is_answered_before_it_is_durable() {
    let cluster = Cluster::with(MemoryStore::default(), Limits::default(), Arc::new(NoLogs)).await;
    let held = MemoryStore::held();
    let other = {
        let starting = tokio::spawn({
            let held = held.clone();
            async move { Cluster::with(held, Limits::default(), Arc::new(NoLogs)).await }
        });
        // The first namespaces wait for the disk as everything does.
        while !starting.is_finished() {
            held.release();
            tokio::task::yield_now().await;
        }
        starting.await.unwrap()
    };
    cluster.has_config_map("a").await;

    let revision = other.store_revision();
    let body = config_map("a");
    let write = other.post(CONFIG_MAPS, &body);
    tokio::pin!(write);
    loop {
        tokio::select! {
            biased;
            _ = &mut write => panic!("answered before the disk"),
            () = tokio::task::yield_now() => {}
        }
        if other.store_revision() > revision {
            break;
        }
    }
    let path = format!("{CONFIG_MAPS}/a");
    let read = other.get(&path);
    tokio::pin!(read);
    let early = tokio::time::timeout(Duration::from_millis(200), async {
        tokio::select! { _ = &mut write => (), _ = &mut read => () }
    });
    assert!(
        early.await.is_err(),
        "neither writer nor reader learns of it yet"
    );
    held.release();
    write.await.expect(201);
    read.await.expect(200);
}

struct Echo;

impl PodLogs for Echo {
    fn open(&self, request: LogRequest) -> BoxFuture<'static, Result<LogStream, Status>> {
        Box::pin(async move {
            let lines = [
                format!("{} {}\n", request.node, request.container),
                "end\n".into(),
            ];
            let chunks = lines.map(|line| Ok(bytes::Bytes::from(line)));
            Ok(Box::pin(futures_util::stream::iter(chunks)) as LogStream)
        })
    }
}

#[tokio::test]
async fn logs_are_relayed_as_text() {
    let cluster = Cluster::with(MemoryStore::default(), Limits::default(), Arc::new(Echo)).await;
    let mut bound = pod("p");
    bound["spec"]["nodeName"] = "pi-1".into();
    cluster.post(PODS, &bound).await.expect(201);
    let status = json!({"status": {"containerStatuses": [{
        "name": "c", "ready": true, "restartCount": 0, "image": "i:1", "imageID": "",
        "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}]}});
    cluster
        .patch(&format!("{PODS}/p/status"), "merge-patch", &status)
        .await
        .expect(200);
    let reply = cluster
        .get(&format!("{PODS}/p/log?follow=true&tailLines=5"))
        .await
        .expect(200);
    assert_eq!(reply.headers["content-type"], "text/plain");
    assert_eq!(&reply.body[..], b"pi-1 c\nend\n");
}
