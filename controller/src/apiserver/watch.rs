//! Watches: a stream of events, one JSON object a line.
//!
//! A watch holds a cursor into the store's history and at most one chunk. It pulls only when the
//! client reads, so a slow client costs nothing but, in the end, its own 410.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bramble_api::convert;
use bramble_api::kind::Kind;
use bramble_api::status::Status;
use bytes::Bytes;
use http::{HeaderMap, Response};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::conditions::{self, Selection, Wanted};
use super::meta::Form;
use super::request::Info;
use super::respond::{self, Body, Broken};
use super::shares::Share;
use super::{Context, Stopping};
use crate::pki::random;
use crate::store::{Entry, Error, Event, EventKind, Page, Revision, Watcher};

const CHUNK: usize = 32 * 1024;
/// Upstream's shortest watch; the longest is twice that.
const MIN_TIMEOUT: u64 = 1800;
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

pub(crate) async fn watch(
    ctx: &Context,
    info: &Info,
    headers: &HeaderMap,
) -> Result<Response<Body>, Status> {
    let permit = ctx.watches.take(&info.identity).ok_or_else(busy)?;
    let form = Form::negotiate_watch(headers, &info.query)?;
    let query = &info.query;
    conditions::check_match(query, true)?;
    let selection = Selection::parse(info.kind, query, info.name.as_deref())?;
    let bookmarks = query.flag("allowWatchBookmarks");
    let timeout = timeout(query.number("timeoutSeconds")?)?;
    let send_initial = query
        .get("sendInitialEvents")
        .map(|_| query.flag("sendInitialEvents"));
    let start = start(ctx, info, send_initial).await?;

    let now = Instant::now();
    let stream = Stream {
        kind: info.kind,
        form,
        selection,
        initial: start.initial.into(),
        // The mark after the initial state is a bookmark, so it must be wanted as one.
        initial_end: (send_initial == Some(true) && bookmarks).then_some(start.revision),
        watcher: start.watcher,
        sent_head: false,
        bookmarks,
        bookmark_every: ctx.limits.bookmark,
        next_bookmark: now + ctx.limits.bookmark,
        deadline: now + timeout,
        stopping: ctx.stopping.clone(),
        done: false,
        _permit: permit,
    };
    let chunks = futures_util::stream::unfold(stream, |mut stream| async move {
        stream.next_chunk().await.map(|chunk| (chunk, stream))
    });
    Ok(respond::answer(200, respond::JSON, respond::stream(chunks)))
}

pub(crate) fn busy() -> Status {
    Status::too_many_requests("Too many requests, please try again later.", 1)
}

fn timeout(asked: Option<i64>) -> Result<Duration, Status> {
    if let Some(seconds) = asked.filter(|&s| s > 0) {
        return Ok(Duration::from_secs(seconds.unsigned_abs()));
    }
    // Spread, so that watches opened together do not all come back together.
    let jitter = u64::from(u16::from_le_bytes(random().map_err(Status::internal)?));
    Ok(Duration::from_secs(MIN_TIMEOUT + jitter % MIN_TIMEOUT))
}

struct Start {
    revision: Revision,
    initial: Vec<Arc<Entry>>,
    /// The error is sent as an event, as upstream does for a revision that is gone.
    watcher: Result<Watcher, Status>,
}

async fn start(ctx: &Context, info: &Info, send_initial: Option<bool>) -> Result<Start, Status> {
    let wanted = conditions::wanted(&info.query)?;
    let scope = info.scope();
    if let Wanted::At(revision) = wanted {
        let current = ctx.store.revision();
        if revision > current {
            return Err(conditions::too_large(revision, current));
        }
        if send_initial != Some(true) {
            let watcher = ctx
                .store
                .watch(&scope, revision)
                .map_err(|e| conditions::revision_error(&e));
            return Ok(Start {
                revision,
                initial: Vec::new(),
                watcher,
            });
        }
    }
    let page = Page::default();
    let listing = ctx
        .store
        .list(&scope, &page)
        .map_err(|e| conditions::revision_error(&e))?;
    ctx.store
        .settled(listing.revision)
        .wait()
        .await
        .map_err(Status::internal)?;
    let watcher = ctx
        .store
        .watch(&scope, listing.revision)
        .map_err(|e| conditions::revision_error(&e));
    let initial = if send_initial == Some(false) {
        Vec::new()
    } else {
        listing.entries
    };
    Ok(Start {
        revision: listing.revision,
        initial,
        watcher,
    })
}

struct Stream {
    kind: &'static Kind,
    form: Form,
    selection: Selection,
    initial: VecDeque<Arc<Entry>>,
    initial_end: Option<Revision>,
    watcher: Result<Watcher, Status>,
    sent_head: bool,
    bookmarks: bool,
    bookmark_every: Duration,
    next_bookmark: Instant,
    deadline: Instant,
    stopping: Stopping,
    done: bool,
    _permit: Share,
}

impl Stream {
    async fn next_chunk(&mut self) -> Option<Result<Bytes, Broken>> {
        if self.done {
            return None;
        }
        let mut chunk = Vec::new();
        while chunk.len() < CHUNK {
            let Some(entry) = self.initial.pop_front() else {
                break;
            };
            if self.selection.matches(&entry) {
                self.push_entry("ADDED", &entry, &mut chunk);
            }
        }
        if self.initial.is_empty()
            && let Some(revision) = self.initial_end.take()
        {
            self.push_bookmark(revision, true, &mut chunk);
        }
        if !chunk.is_empty() {
            return Some(Ok(chunk.into()));
        }
        self.wait(&mut chunk).await;
        (!chunk.is_empty()).then(|| Ok(chunk.into()))
    }

    /// Waits until there is something to say; an empty chunk is the end.
    async fn wait(&mut self, chunk: &mut Vec<u8>) {
        while chunk.is_empty() && !self.done {
            let watcher = match &mut self.watcher {
                Ok(watcher) => watcher,
                Err(status) => {
                    push_error(status, chunk);
                    self.done = true;
                    return;
                }
            };
            enum Wake {
                Event(Box<Result<Event, Error>>),
                Bookmark,
                End,
                Stop,
            }
            let wake = tokio::select! {
                event = watcher.next() => Wake::Event(Box::new(event)),
                () = tokio::time::sleep_until(self.next_bookmark) => Wake::Bookmark,
                () = tokio::time::sleep_until(self.deadline) => Wake::End,
                () = self.stopping.wait() => Wake::Stop,
            };
            match wake {
                Wake::Event(event) => self.take(*event, chunk),
                Wake::Bookmark => self.bookmark(chunk),
                Wake::End => {
                    self.bookmark(chunk);
                    self.done = true;
                }
                Wake::Stop => self.done = true,
            }
        }
    }

    fn take(&mut self, event: Result<Event, Error>, chunk: &mut Vec<u8>) {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            match event {
                Ok(event) => self.push_event(&event, chunk),
                Err(error) => {
                    push_error(&conditions::revision_error(&error), chunk);
                    self.done = true;
                    return;
                }
            }
            if chunk.len() < CHUNK
                && let Ok(watcher) = &mut self.watcher
            {
                next = watcher.try_next().transpose();
            }
        }
    }

    fn bookmark(&mut self, chunk: &mut Vec<u8>) {
        self.next_bookmark = Instant::now() + self.bookmark_every;
        if self.bookmarks
            && let Ok(watcher) = &mut self.watcher
        {
            let revision = watcher.progress();
            self.push_bookmark(revision, false, chunk);
        }
    }

    fn push_event(&mut self, event: &Event, chunk: &mut Vec<u8>) {
        if self.selection.is_everything() {
            let name = match event.kind {
                EventKind::Added => "ADDED",
                EventKind::Modified => "MODIFIED",
                EventKind::Deleted => "DELETED",
            };
            return self.push_entry(name, &event.entry, chunk);
        }
        let before = event
            .previous
            .as_ref()
            .is_some_and(|e| self.selection.matches(e));
        let after = event.kind != EventKind::Deleted && self.selection.matches(&event.entry);
        match (before, after) {
            (false, false) => {}
            (false, true) => self.push_entry("ADDED", &event.entry, chunk),
            (true, true) => self.push_entry("MODIFIED", &event.entry, chunk),
            (true, false) if event.kind == EventKind::Deleted => {
                self.push_entry("DELETED", &event.entry, chunk);
            }
            // It left the selection: what the client knew of it is gone, as of this revision.
            (true, false) => {
                let previous = event.previous.as_ref().unwrap_or(&event.entry);
                let mut object: Value = serde_json::from_slice(&previous.json).unwrap_or_default();
                object["metadata"]["resourceVersion"] = event.revision.to_string().into();
                self.push_value("DELETED", object, chunk);
            }
        }
    }

    fn push_entry(&mut self, name: &str, entry: &Entry, chunk: &mut Vec<u8>) {
        if self.form == Form::Object && !convert::is_foreign(self.kind) {
            push_line(name, &entry.json, chunk);
        } else {
            let object = serde_json::from_slice(&entry.json).unwrap_or_default();
            self.push_value(name, object, chunk);
        }
    }

    fn push_value(&mut self, name: &str, object: Value, chunk: &mut Vec<u8>) {
        let head = !std::mem::replace(&mut self.sent_head, true);
        let object = self.form.of_object(self.kind, object, head);
        push_line(name, object.to_string().as_bytes(), chunk);
    }

    fn push_bookmark(&mut self, revision: Revision, initial_end: bool, chunk: &mut Vec<u8>) {
        let mut object = json!({
            "kind": self.kind.kind, "apiVersion": self.kind.api_version(),
            "metadata": {"resourceVersion": revision.to_string(), "creationTimestamp": null},
        });
        if initial_end {
            object["metadata"]["annotations"] = json!({INITIAL_EVENTS_END: "true"});
        }
        self.push_value("BOOKMARK", object, chunk);
    }
}

fn push_error(status: &Status, chunk: &mut Vec<u8>) {
    push_line("ERROR", &status.to_json(), chunk);
}

fn push_line(name: &str, object: &[u8], chunk: &mut Vec<u8>) {
    chunk.extend_from_slice(b"{\"type\":\"");
    chunk.extend_from_slice(name.as_bytes());
    chunk.extend_from_slice(b"\",\"object\":");
    chunk.extend_from_slice(object);
    chunk.extend_from_slice(b"}\n");
}
