//! GET of one object and of lists: stored bytes, straight out.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bramble_api::convert;
use bramble_api::kind::Kind;
use bramble_api::status::Status;
use bramble_api::table;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, HeaderValue, VARY};
use http::{HeaderMap, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::conditions::{self, Selection, Wanted};
use super::meta::{Form, group_version, metadata_of};
use super::request::Info;
use super::respond::{self, Body, Broken};
use super::{Context, gzip};
use crate::object::now;
use crate::store::{Entry, Key, Page, Revision, Store};

/// Chunks of long answers; small enough to hold many, large enough to be few.
const CHUNK: usize = 32 * 1024;

/// The object, once it may be shown.
pub(crate) async fn read(store: &dyn Store, info: &Info) -> Result<Arc<Entry>, Status> {
    let entry = store.get(&info.key(info.name()));
    // A missing object may be a deletion that is not on disk yet.
    let shown_at = entry
        .as_ref()
        .map_or_else(|| store.revision(), |e| e.modified);
    store
        .settled(shown_at)
        .wait()
        .await
        .map_err(Status::internal)?;
    entry.ok_or_else(|| info.kind.not_found(info.name()))
}

pub(crate) async fn get(
    ctx: &Context,
    info: &Info,
    headers: &HeaderMap,
) -> Result<Response<Body>, Status> {
    let form = Form::negotiate(headers, &info.query)?;
    if let Wanted::At(revision) = conditions::wanted(&info.query)? {
        let current = ctx.store.revision();
        if revision > current {
            return Err(conditions::too_large(revision, current));
        }
    }
    let entry = read(&*ctx.store, info).await?;
    let zip = form == Form::Object
        && entry.json.len() >= gzip::THRESHOLD
        && gzip::accepted(headers)
        && !convert::is_foreign(info.kind);
    if !zip {
        return shown(info.kind, form, &entry.json, 200);
    }
    let mut response = respond::bytes(200, gzip::compressed(&entry.json));
    let out = response.headers_mut();
    out.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    out.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    Ok(response)
}

/// A stored object as `kind` shows it.
pub(crate) fn served(kind: &Kind, json: &[u8]) -> Result<Value, Status> {
    let mut object = serde_json::from_slice(json).map_err(Status::internal)?;
    convert::to_served(kind, &mut object);
    Ok(object)
}

/// An object in the form that the client wants.
pub(crate) fn shown(
    kind: &Kind,
    form: Form,
    json: &Bytes,
    code: u16,
) -> Result<Response<Body>, Status> {
    if form == Form::Object && !convert::is_foreign(kind) {
        return Ok(respond::bytes(code, json.clone()));
    }
    let object = serde_json::from_slice(json).map_err(Status::internal)?;
    Ok(respond::value(code, &form.of_object(kind, object, true)))
}

/// A page of a list, selected and ready to be shown.
pub(crate) struct Selected {
    pub(crate) revision: Revision,
    pub(crate) entries: Vec<Arc<Entry>>,
    next: Option<Key>,
    remaining: Option<usize>,
}

impl Selected {
    /// All of a list.
    pub(crate) fn whole(revision: Revision, entries: Vec<Arc<Entry>>) -> Self {
        Self {
            revision,
            entries,
            next: None,
            remaining: None,
        }
    }
}

/// Our `continue` token: like upstream's, opaque base64.
#[derive(Serialize, Deserialize)]
struct Continue {
    v: String,
    /// The revision of the first page; −1 for a list that goes on at the newest.
    rv: i64,
    ns: String,
    start: String,
}

const CONTINUE_VERSION: &str = "bramble.dev/v1";

impl Continue {
    fn encode(revision: Option<Revision>, namespace: &str, name: &str) -> String {
        let rv = revision.map_or(-1, |r| i64::try_from(r.0).unwrap_or(i64::MAX));
        let token = Self {
            v: CONTINUE_VERSION.into(),
            rv,
            ns: namespace.to_owned(),
            start: name.to_owned(),
        };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
    }

    /// Refusals are worded as in upstream's apiserver/pkg/storage/continue.go.
    fn decode(text: &str) -> Result<Self, Status> {
        let bad = |why: &dyn std::fmt::Display| {
            Status::bad_request(format!("continue key is not valid: {why}"))
        };
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|e| bad(&e))?;
        let token: Self = serde_json::from_slice(&bytes).map_err(|e| bad(&e))?;
        if token.v != CONTINUE_VERSION {
            let why = format!("server does not recognize this encoded version {}", token.v);
            return Err(bad(&why));
        }
        if token.rv == 0 || token.rv < -1 {
            let why = "incorrect encoded start resourceVersion (version bramble.dev/v1)";
            return Err(bad(&why));
        }
        Ok(token)
    }

    fn revision(&self) -> Option<Revision> {
        u64::try_from(self.rv).ok().map(Revision)
    }

    /// 410 for a token whose revision is gone, with one that goes on at the newest.
    fn expired(&self) -> Status {
        Status::expired(
            "The provided continue parameter is too old to display a consistent list result. You \
             can start a new list without the continue parameter, or use the continue token in \
             this response to retrieve the remainder of the results. Continuing with the provided \
             token results in an inconsistent list - objects that were created, modified, or \
             deleted between the time the first chunk was returned and now may show up in the \
             list.",
        )
        .with_continue(&Self::encode(None, &self.ns, &self.start))
    }
}

/// The entries that a list request is about, once they may be shown.
pub(crate) async fn select(ctx: &Context, info: &Info) -> Result<Selected, Status> {
    let query = &info.query;
    conditions::check_match(query, false)?;
    let limit = query
        .number("limit")?
        .filter(|&l| l > 0)
        .and_then(|l| usize::try_from(l).ok());
    let selection = Selection::parse(info.kind, query, info.name.as_deref())?;
    let mut page = Page {
        at: None,
        limit,
        from: None,
    };
    let wanted = conditions::wanted(query)?;
    let token = query.get("continue").map(Continue::decode).transpose()?;
    match (&token, wanted) {
        (Some(_), Wanted::At(_)) => {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        (Some(token), _) => {
            page.at = token.revision();
            page.from = Some(super::request::key(info.kind, &token.ns, &token.start));
        }
        (None, Wanted::At(revision)) => {
            let current = ctx.store.revision();
            if revision > current {
                return Err(conditions::too_large(revision, current));
            }
            let exact = match query.get("resourceVersionMatch") {
                Some(kind) => kind == "Exact",
                // Upstream's legacy rule for a limit with a version.
                None => limit.is_some(),
            };
            page.at = exact.then_some(revision);
        }
        (None, Wanted::Latest | Wanted::Any) => {}
    }
    let filtered = !selection.is_everything();
    if filtered {
        page.limit = None;
    }
    let listing = ctx.store.list(&info.scope(), &page);
    let listing = listing.map_err(|error| match (&token, &error) {
        (Some(token), crate::store::Error::Compacted { .. }) => token.expired(),
        // A token of another life of the store, or one that was made up.
        (Some(token), crate::store::Error::Future { .. }) => token.expired(),
        _ => conditions::revision_error(&error),
    })?;
    ctx.store
        .settled(listing.revision)
        .wait()
        .await
        .map_err(Status::internal)?;
    let mut selected = Selected {
        revision: listing.revision,
        entries: listing.entries,
        next: listing.next,
        remaining: Some(listing.remaining),
    };
    if filtered {
        selected.entries.retain(|entry| selection.matches(entry));
        selected.remaining = None;
        if let Some(limit) = limit.filter(|&limit| limit < selected.entries.len()) {
            selected.next = Some(selected.entries[limit].key.clone());
            selected.entries.truncate(limit);
        }
    }
    Ok(selected)
}

pub(crate) async fn list(
    ctx: &Context,
    info: &Info,
    headers: &HeaderMap,
) -> Result<Response<Body>, Status> {
    let form = Form::negotiate_list(headers, &info.query)?;
    let selected = select(ctx, info).await?;
    Ok(render(info.kind, form, selected, gzip::accepted(headers)))
}

/// Turns a page into an answer.
pub(crate) fn render(
    kind: &'static Kind,
    form: Form,
    selected: Selected,
    gzip: bool,
) -> Response<Body> {
    let size: usize = selected.entries.iter().map(|e| e.json.len()).sum();
    let mut chunks = Chunks {
        kind,
        form,
        type_of_items: format!(
            "{{\"kind\":\"{}\",\"apiVersion\":\"{}\",",
            kind.kind,
            kind.api_version()
        ),
        head: Some(head(kind, form, &selected)),
        entries: selected.entries.into_iter(),
        first: true,
        done: false,
    };
    // A short list is one chunk: with a length, without the overhead of a stream.
    let Some(first) = chunks.next() else {
        return respond::bytes(200, Bytes::new());
    };
    let gzip = gzip && size >= gzip::THRESHOLD;
    if chunks.done && !gzip {
        return respond::bytes(200, first);
    }
    let whole = std::iter::once(first).chain(chunks);
    let mut response = if gzip {
        let compressed = Compressed {
            chunks: whole,
            compressor: Some(gzip::Compressor::new()),
        };
        let mut response = respond::answer(200, respond::JSON, streamed(compressed));
        response
            .headers_mut()
            .insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        response
    } else {
        respond::answer(200, respond::JSON, streamed(whole))
    };
    response
        .headers_mut()
        .insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    response
}

fn streamed(chunks: impl Iterator<Item = Bytes> + Send + 'static) -> Body {
    respond::stream(futures_util::stream::iter(chunks.map(Ok::<_, Broken>)))
}

fn head(kind: &Kind, form: Form, selected: &Selected) -> String {
    let (list, version) = match form {
        Form::Object => (format!("{}List", kind.kind), kind.api_version()),
        Form::Metadata { beta } => (
            "PartialObjectMetadataList".into(),
            group_version(beta).into(),
        ),
        Form::Table { beta, .. } => ("Table".into(), group_version(beta).into()),
    };
    let mut head = format!(
        "{{\"kind\":\"{list}\",\"apiVersion\":\"{version}\",\"metadata\":{{\"resourceVersion\":\"{}\"",
        selected.revision
    );
    if let Some(next) = &selected.next {
        head.push_str(&format!(
            ",\"continue\":\"{}\"",
            Continue::encode(Some(selected.revision), &next.namespace, &next.name)
        ));
        if let Some(remaining) = selected.remaining {
            head.push_str(&format!(",\"remainingItemCount\":{remaining}"));
        }
    }
    head.push_str("},");
    if let Form::Table { .. } = form {
        head.push_str(&format!(
            "\"columnDefinitions\":{},\"rows\":[",
            table::column_definitions(kind)
        ));
    } else {
        head.push_str("\"items\":[");
    }
    head
}

/// The list as chunks: head, entries with commas between, end.
struct Chunks {
    kind: &'static Kind,
    form: Form,
    /// How the bytes of an item begin.
    type_of_items: String,
    head: Option<String>,
    entries: std::vec::IntoIter<Arc<Entry>>,
    first: bool,
    done: bool,
}

impl Iterator for Chunks {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.done {
            return None;
        }
        let mut chunk = self.head.take().unwrap_or_default().into_bytes();
        while chunk.len() < CHUNK {
            let Some(entry) = self.entries.next() else {
                chunk.extend_from_slice(b"]}\n");
                self.done = true;
                break;
            };
            if !std::mem::take(&mut self.first) {
                chunk.push(b',');
            }
            self.push(&entry, &mut chunk);
        }
        Some(chunk.into())
    }
}

impl Chunks {
    fn push(&self, entry: &Entry, chunk: &mut Vec<u8>) {
        if self.form == Form::Object && !convert::is_foreign(self.kind) {
            // As in upstream's typed lists, items don't repeat what the list says. Stored bytes
            // begin with it.
            match entry.json.strip_prefix(self.type_of_items.as_bytes()) {
                Some(rest) => {
                    chunk.push(b'{');
                    chunk.extend_from_slice(rest);
                }
                None => chunk.extend_from_slice(&entry.json),
            }
            return;
        }
        // What the store holds parses: it was written by us.
        let mut object: Value = serde_json::from_slice(&entry.json).unwrap_or_default();
        let item = match self.form {
            Form::Table { include, .. } => table::row_json(self.kind, object, now(), include),
            Form::Metadata { beta } => metadata_of(&object, beta),
            Form::Object => {
                convert::to_served(self.kind, &mut object);
                object
            }
        };
        chunk.extend_from_slice(item.to_string().as_bytes());
    }
}

struct Compressed<I> {
    chunks: I,
    compressor: Option<gzip::Compressor>,
}

impl<I: Iterator<Item = Bytes>> Iterator for Compressed<I> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        for chunk in self.chunks.by_ref() {
            let out = self.compressor.as_mut()?.push(&chunk);
            if !out.is_empty() {
                return Some(out);
            }
        }
        Some(self.compressor.take()?.finish())
    }
}
