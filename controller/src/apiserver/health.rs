//! `/healthz`, `/livez` and `/readyz`, with upstream's texts (apiserver/pkg/server/healthz/healthz.go).
//!
//! A store that failed takes the process with it, so it is neither alive nor ready; a server that stops
//! is alive until it has. One that has yielded to another of its identity is alive and not ready.

use futures_util::FutureExt;
use http::Response;

use super::Context;
use super::request::Query;
use super::respond::{self, Body};

/// The checks behind a path. `etcd` is what upstream calls the store, and what probes ask for.
fn checks(path: &str) -> &'static [&'static str] {
    match path {
        "readyz" => &["ping", "log", "etcd", "identity", "shutdown"],
        _ => &["ping", "log", "etcd"],
    }
}

/// Answers a path below one of the three; nothing when there is no such check.
pub(crate) fn answer(ctx: &Context, segments: &[&str], query: &Query) -> Option<Response<Body>> {
    let (path, rest) = segments.split_first()?;
    match rest {
        [] => Some(all(ctx, path, query)),
        [one] if checks(path).contains(one) => Some(match failure(ctx, one) {
            None => respond::text(200, "ok"),
            Some(why) => respond::text(500, format!("internal server error: {why}\n")),
        }),
        _ => None,
    }
}

fn all(ctx: &Context, path: &str, query: &Query) -> Response<Body> {
    let mut excluded: Vec<&str> = query.all("exclude").collect();
    excluded.sort_unstable();
    excluded.dedup();
    let mut text = String::new();
    let mut failed = false;
    for check in checks(path) {
        if excluded.contains(check) {
            excluded.retain(|name| name != check);
            text.push_str(&format!("[+]{check} excluded: ok\n"));
        } else if failure(ctx, check).is_some() {
            failed = true;
            text.push_str(&format!("[-]{check} failed: reason withheld\n"));
        } else {
            text.push_str(&format!("[+]{check} ok\n"));
        }
    }
    if !excluded.is_empty() {
        let names: Vec<String> = excluded.iter().map(|name| format!("{name:?}")).collect();
        text.push_str(&format!(
            "warn: some health checks cannot be excluded: no matches for {}\n",
            names.join(",")
        ));
    }
    if failed {
        return respond::text(500, format!("{text}{path} check failed\n"));
    }
    if !query.has("verbose") {
        return respond::text(200, "ok");
    }
    respond::text(200, format!("{text}{path} check passed\n"))
}

/// Why a check fails.
fn failure(ctx: &Context, check: &str) -> Option<&'static str> {
    match check {
        "etcd" if ctx.store.failed().wait().now_or_never().is_some() => {
            Some("the store has failed")
        }
        "identity" if ctx.logs.standing().has_yielded() => {
            Some("another controller has this cluster's identity and goes on")
        }
        "shutdown" if *ctx.stopping.0.borrow() => Some("process is shutting down"),
        _ => None,
    }
}
