//! `metrics.k8s.io`: what nodes and pods use, for `kubectl top`.
//!
//! In: a request that may be answered, the newest measurements, and the stored nodes and pods, whose
//! labels a selector is about. Out: objects made for this answer, in any form that stored ones have.
//! Nothing here is stored or watched, as with upstream's metrics-server.

use std::sync::Arc;

use bramble_api::status::Status;
use bramble_api::time::Timestamp;
use bramble_api::view;
use bramble_wire::report::Amounts;
use http::{HeaderMap, Response};
use serde_json::{Value, json};

use super::conditions::Selection;
use super::meta::Form;
use super::request::{Info, Verb};
use super::respond::Body;
use super::{Context, gzip, list};
use crate::store::{Entry, Key, Revision};
use crate::usage::{NodeUsage, PodUsage};

/// Answers a get or a list.
pub(crate) async fn answer(
    ctx: &Context,
    info: &Info,
    headers: &HeaderMap,
) -> Result<Response<Body>, Status> {
    let mut entries = match info.kind.namespaced {
        true => pods(ctx, info.namespace.as_deref()),
        false => nodes(ctx),
    };
    let revision = ctx.store.revision();
    if info.verb == Verb::Get {
        let form = Form::negotiate(headers, &info.query)?;
        let found = entries
            .into_iter()
            .find(|entry| *entry.key.name == *info.name());
        let entry = found.ok_or_else(|| info.kind.not_found(info.name()))?;
        return list::shown(info.kind, form, &entry.json, 200);
    }
    let form = Form::negotiate_list(headers, &info.query)?;
    let selection = Selection::parse(info.kind, &info.query, None)?;
    if !selection.is_everything() {
        entries.retain(|entry| selection.matches(entry));
    }
    let selected = list::Selected::whole(revision, entries);
    Ok(list::render(
        info.kind,
        form,
        selected,
        gzip::accepted(headers),
    ))
}

fn nodes(ctx: &Context) -> Vec<Arc<Entry>> {
    let one = |(node, usage): (bramble_wire::name::NodeName, Arc<NodeUsage>)| {
        let key = Key::new("", "nodes", "", node.as_str());
        let object = stored(ctx, &key)?;
        let value = json!({
            "kind": "NodeMetrics",
            "apiVersion": "metrics.k8s.io/v1beta1",
            "metadata": metadata(&object),
            "timestamp": usage.at.rfc3339(),
            "window": window(usage.window_ms),
            "usage": amounts(usage.node),
        });
        Some(entry(key, &value))
    };
    ctx.usage.all().into_iter().filter_map(one).collect()
}

fn pods(ctx: &Context, namespace: Option<&str>) -> Vec<Arc<Entry>> {
    let one = |usage: &NodeUsage, pod: &PodUsage| {
        let object = stored(ctx, &pod.key)?;
        let containers = pod.containers.iter();
        let containers =
            containers.map(|(name, amount)| json!({"name": name, "usage": amounts(*amount)}));
        let value = json!({
            "kind": "PodMetrics",
            "apiVersion": "metrics.k8s.io/v1beta1",
            "metadata": metadata(&object),
            "timestamp": usage.at.rfc3339(),
            "window": window(usage.window_ms),
            "containers": containers.collect::<Vec<_>>(),
        });
        let same = object.metadata.uid == pod.uid.to_string();
        same.then(|| entry(pod.key.clone(), &value))
    };
    let mut entries = Vec::new();
    for (_, usage) in ctx.usage.all() {
        let here = usage.pods.iter();
        let here = here.filter(|pod| namespace.is_none_or(|name| name == &*pod.key.namespace));
        entries.extend(here.filter_map(|pod| one(&usage, pod)));
    }
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    entries
}

fn stored(ctx: &Context, key: &Key) -> Option<view::Object> {
    view::decode(&ctx.store.get(key)?.json).ok()
}

/// The name and labels of what was measured; it was made now.
fn metadata(object: &view::Object) -> Value {
    let of = &object.metadata;
    let mut metadata = json!({"name": of.name, "creationTimestamp": now().rfc3339()});
    if !of.namespace.is_empty() {
        metadata["namespace"] = of.namespace.as_str().into();
    }
    if !of.labels.is_empty() {
        metadata["labels"] = json!(of.labels);
    }
    metadata
}

/// As metrics-server writes them: billionths of a core, and Ki.
fn amounts(amounts: Amounts) -> Value {
    let memory = amounts.memory_bytes / 1024;
    json!({"cpu": format!("{}n", amounts.cpu_nano), "memory": format!("{memory}Ki")})
}

/// A duration as Go prints it.
fn window(ms: u32) -> String {
    match (ms / 1000, ms % 1000) {
        (seconds, 0) => format!("{seconds}s"),
        (seconds, ms) => {
            let digits = format!("{ms:03}");
            format!("{seconds}.{}s", digits.trim_end_matches('0'))
        }
    }
}

fn entry(key: Key, value: &Value) -> Arc<Entry> {
    Arc::new(Entry {
        key,
        json: value.to_string().into(),
        created: Revision(0),
        modified: Revision(0),
        revision_at: None,
    })
}

fn now() -> Timestamp {
    crate::object::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_as_upstream_writes_them() {
        let used = Amounts {
            cpu_nano: 12_345_678,
            memory_bytes: 5 * 1024 + 7,
        };
        assert_eq!(amounts(used), json!({"cpu": "12345678n", "memory": "5Ki"}));
        for (ms, text) in [
            (15_000, "15s"),
            (15_016, "15.016s"),
            (900, "0.9s"),
            (60_100, "60.1s"),
        ] {
            assert_eq!(window(ms), text);
        }
    }
}
