//! The state of the cluster in one screen.
//!
//! In: how the cluster stands, the nodes and pods of the API. Out: a [`Report`], shown as text or JSON. Working it out is
//! pure; a page of pods is reduced to counts and problems before the next one is asked for, so that
//! a large cluster needs no more memory here than a small one.

mod model;
mod problem;
mod render;
mod standing;

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use bramble_api::time::Timestamp;
use bramble_wire::standing::{STANDING_PATH, Standing};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::args::{Access, Output};
use crate::http::Client;
use crate::version::Server;
use crate::{client, now, output};
use model::{List, Node, Pod};
use problem::Problem;

/// Objects of a request.
const PAGE: usize = 500;

/// What is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    server: String,
    /// Bramble's version; empty when the server is none.
    version: String,
    kubernetes_version: String,
    nodes: Vec<NodeLine>,
    pods: PodCounts,
    unhealthy: Vec<Problem>,
    /// What waits for a person; absent when the server does not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    standing: Option<Standing>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeLine {
    name: String,
    ready: bool,
    /// As `kubectl get nodes` says it.
    status: String,
    version: String,
    address: String,
    /// Pods bound to it that have not ended.
    pods: usize,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct PodCounts {
    total: usize,
    by_phase: BTreeMap<String, usize>,
}

/// Carries out `bramble status`.
pub(crate) fn run(access: &Access, format: Output) -> Result<()> {
    let client = client(access)?;
    let server: Server = client.get("/version")?;
    let (version, kubernetes) = server.parts();
    let mut report = Report {
        server: client.server().to_string(),
        version: version.unwrap_or_default().to_owned(),
        kubernetes_version: kubernetes.to_owned(),
        // Not everybody may see it, and not every server has it.
        standing: client
            .get(STANDING_PATH)
            .inspect_err(|error| eprintln!("what waits for a person is not known: {error:#}"))
            .ok(),
        ..Report::default()
    };
    let now = now();
    each_page(&client, "/api/v1/nodes", |nodes| {
        report.add_nodes(nodes);
    })?;
    each_page(&client, "/api/v1/pods", |pods| {
        report.add_pods(pods, now);
    })?;
    output::print(&match format {
        Output::Text => {
            let standing = report.standing.as_ref();
            let first = standing.map(|standing| standing::text(standing, now));
            first.unwrap_or_default() + &render::text(&report)
        }
        Output::Json => format!("{}\n", serde_json::to_string_pretty(&report)?),
    })
}

/// Asks for a list in pages.
fn each_page<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    mut add: impl FnMut(&[T]),
) -> Result<()> {
    let mut from = String::new();
    loop {
        let list: List<T> = client.get(&format!("{path}?limit={PAGE}{from}"))?;
        add(&list.items);
        let next = list.metadata.next;
        if next.is_empty() {
            return Ok(());
        }
        let query = format!("&continue={}", escaped(&next));
        ensure!(query != from, "the server repeats a page of {path}");
        from = query;
    }
}

/// Percent-encoding of everything that is not plain.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

impl Report {
    fn add_nodes(&mut self, nodes: &[Node]) {
        for node in nodes {
            self.unhealthy.extend(problem::of_node(node));
            self.nodes.push(NodeLine {
                name: node.metadata.name.clone(),
                ready: node.is_ready(),
                status: node.status_text(),
                version: node.status.node_info.kubelet_version.clone(),
                address: node.address().to_owned(),
                pods: 0,
            });
        }
    }

    fn add_pods(&mut self, pods: &[Pod], now: Timestamp) {
        for pod in pods {
            self.pods.total += 1;
            let phase = pod.phase().to_owned();
            *self.pods.by_phase.entry(phase).or_default() += 1;
            self.unhealthy.extend(problem::of_pod(pod, now));
            let node = self
                .nodes
                .iter_mut()
                .find(|n| n.name == pod.spec.node_name && !pod.is_ended());
            if let Some(node) = node {
                node.pods += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests;
