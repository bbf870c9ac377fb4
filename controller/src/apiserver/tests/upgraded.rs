//! Upgraded connections count as connections.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use bramble_api::status::Status;
use bramble_wire::name::NodeName;
use bramble_wire::stream::What;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::strangers::{closed, few};
use super::tokens::account;
use super::*;
use crate::apiserver::{LogRequest, LogStream, NoLogs, NodeStream, PodLogs};
use crate::nodelink::streams::Streams;
use crate::store::MemoryStore;

/// A node whose commands say nothing and never end.
struct Silent(Mutex<Streams>);

impl PodLogs for Silent {
    fn open(&self, request: LogRequest) -> BoxFuture<'static, Result<LogStream, Status>> {
        NoLogs.open(request)
    }

    fn stream(&self, node: &str, _what: What) -> BoxFuture<'static, Result<NodeStream, Status>> {
        let node = NodeName::new(node).unwrap();
        let opened = self.0.lock().unwrap().open(&node, false, Instant::now());
        let (_, writer, reader) = opened.unwrap();
        Box::pin(async move { Ok((writer, reader)) })
    }
}

/// A stream of somebody with a token.
async fn exec(cluster: &Cluster, token: &str) -> TlsStream<TcpStream> {
    let mut stream = cluster.connect(None).await;
    let request = format!(
        "GET {PODS}/a/exec?command=a&stdout=1 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
         connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         sec-websocket-protocol: v4.channel.k8s.io\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    stream
}

#[tokio::test]
async fn an_upgraded_connection_goes_when_another_takes_its_place_and_idle_ones_go_first() {
    let node = Silent(Mutex::new(Streams::new(1, Arc::default())));
    let cluster = Cluster::with(MemoryStore::default(), few(), Arc::new(node)).await;
    let cluster = account(cluster).await;
    let binding = json!({
        "kind": "ClusterRoleBinding", "apiVersion": "rbac.authorization.k8s.io/v1",
        "metadata": {"name": "ci"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                    "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "ci", "namespace": "default"}],
    });
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    cluster.post(bindings, &binding).await.expect(201);
    cluster.post(PODS, &pod("a")).await.expect(201);
    let binding = json!({"target": {"kind": "Node", "name": "n1"}});
    let bound = cluster.post(&format!("{PODS}/a/binding"), &binding).await;
    bound.expect(201);
    let token = cluster.plain_token().await;
    // While all seats of the known are taken, who has a token goes on as a stranger.
    let mut seats = Vec::new();
    while seats.len() < 2 {
        let mut seat = cluster.connect_admin().await;
        let request = b"GET /version HTTP/1.1\r\nhost: x\r\n\r\n";
        // One that was refused may still be counted from before.
        if seat.write_all(request).await.is_ok() && seat.read_u8().await.is_ok() {
            seats.push(seat);
        }
    }
    let mut first = exec(&cluster, &token).await;
    let mut silent = cluster.connect_plain().await;
    let _newcomer = cluster.connect_plain().await;
    closed(&mut silent).await;
    // Now there is none that is idle but newcomers.
    let _second = exec(&cluster, &token).await;
    let _third = cluster.connect_plain().await;
    closed(&mut first).await;
}
