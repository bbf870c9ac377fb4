//! `/metrics`: what the server does, as text for Prometheus. Names are upstream's where the meaning is.
//!
//! The state is a count of answers by verb, resource and code; all three come from fixed sets, so a
//! client can't make it grow. Everything else is read when somebody asks.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use bramble_api::kind;

use super::Context;
use super::request::Info;
use crate::store::{Page, Scope};

/// What a request is counted as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Label {
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    subresource: &'static str,
}

impl Label {
    pub(crate) fn of(info: &Info) -> Self {
        Self {
            verb: info.verb.as_str(),
            group: info.kind.group,
            resource: info.kind.plural,
            subresource: info.subresource.map_or("", |sub| sub.name),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Metrics {
    answers: Mutex<BTreeMap<(Label, u16), u64>>,
}

impl Metrics {
    pub(crate) fn count(&self, label: Label, code: u16) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        *answers.entry((label, code)).or_default() += 1;
    }
}

/// The text.
pub(crate) fn render(ctx: &Context) -> String {
    let mut out = String::new();
    family(
        &mut out,
        "apiserver_request_total",
        "counter",
        "Answers by verb, resource and code.",
    );
    let answers = ctx.metrics.answers.lock();
    for ((label, code), count) in answers.unwrap_or_else(PoisonError::into_inner).iter() {
        let Label {
            verb,
            group,
            resource,
            subresource,
        } = label;
        line(
            &mut out,
            format_args!(
                "apiserver_request_total{{verb={verb:?},group={group:?},resource={resource:?},\
                 subresource={subresource:?},code=\"{code}\"}} {count}"
            ),
        );
    }
    let limits = &ctx.limits;
    for (name, help, now) in [
        (
            "apiserver_current_inflight_requests",
            "Short requests under way.",
            limits.requests - ctx.requests.available_permits(),
        ),
        (
            "apiserver_longrunning_requests",
            "Watches and streams under way.",
            limits.watches - ctx.watches.available_permits(),
        ),
        (
            "bramble_apiserver_connections",
            "Connections whose client is known.",
            limits.connections - ctx.certified.available_permits(),
        ),
    ] {
        family(&mut out, name, "gauge", help);
        line(&mut out, format_args!("{name} {now}"));
    }
    family(
        &mut out,
        "apiserver_resource_objects",
        "gauge",
        "Objects that are stored.",
    );
    for kind in kind::stored() {
        let scope = Scope::all(kind.storage_group, kind.plural);
        let page = Page {
            limit: Some(0),
            ..Page::default()
        };
        let count = ctx.store.list(&scope, &page).map_or(0, |l| l.remaining);
        let (group, resource) = (kind.group, kind.plural);
        line(
            &mut out,
            format_args!(
                "apiserver_resource_objects{{group={group:?},resource={resource:?}}} {count}"
            ),
        );
    }
    let (committed, visible) = (ctx.store.revision().n(), ctx.store.visible().n());
    for (name, help, value) in [
        ("bramble_store_revision", "The newest write.", committed),
        (
            "bramble_store_visible_revision",
            "The newest write that is as durable as it must be.",
            visible,
        ),
    ] {
        family(&mut out, name, "gauge", help);
        line(&mut out, format_args!("{name} {value}"));
    }
    if let Some(bytes) = resident() {
        let name = "process_resident_memory_bytes";
        family(&mut out, name, "gauge", "Resident memory.");
        line(&mut out, format_args!("{name} {bytes}"));
    }
    out
}

fn family(out: &mut String, name: &str, kind: &str, help: &str) {
    line(
        out,
        format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"),
    );
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing into memory does not fail.
    let _ = writeln!(out, "{text}");
}

fn resident() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: usize = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024)
}
