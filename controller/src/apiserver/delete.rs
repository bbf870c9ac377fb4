//! Deletion: preconditions, finalizers, the grace of pods, and what happens to dependents.

use bramble_api::decode;
use bramble_api::kind::{self, Kind};
use bramble_api::status::{Cause, Status};
use bytes::Bytes;
use http::{HeaderMap, Response};
use serde_json::{Value, json};

use super::conditions::Selection;
use super::list::{read, render, select};
use super::meta::Form;
use super::request::Info;
use super::respond::{self, Body};
use super::write::{TRIES, answer, commit, content_type, dry_run, durability, put, store_error};
use super::{Context, gzip};
use crate::join;
use crate::object::now;
use crate::store::{Durability, Entry, Error, Expect, Op, Page, Scope};

/// Upstream's default grace for pods, in seconds.
const DEFAULT_GRACE: i64 = 30;

/// `DeleteOptions`, from the body or else the query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    grace: Option<i64>,
    uid: Option<String>,
    resource_version: Option<String>,
    orphan: bool,
    foreground: bool,
    pub(crate) dry_run: bool,
}

impl Options {
    pub(crate) fn parse(info: &Info, headers: &HeaderMap, body: &Bytes) -> Result<Self, Status> {
        let value = decode::delete_options(content_type(headers), body)?;
        let mut options = Self::from_value(&value)?;
        // As upstream: the query counts when there is no body.
        if body.is_empty() {
            options.grace = info.query.number("gracePeriodSeconds")?;
            options.propagation(info.query.get("propagationPolicy"))?;
            options.dry_run = dry_run(info.query.get("dryRun"))?;
        } else if info.query.get("dryRun").is_some() {
            options.dry_run = dry_run(info.query.get("dryRun"))?;
        }
        options.checked()
    }

    /// From a `DeleteOptions` object.
    pub(crate) fn from_value(value: &Value) -> Result<Self, Status> {
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
        let mut options = Self {
            grace: value.get("gracePeriodSeconds").and_then(Value::as_i64),
            uid: text("/preconditions/uid").map(str::to_owned),
            resource_version: text("/preconditions/resourceVersion").map(str::to_owned),
            orphan: value
                .get("orphanDependents")
                .and_then(Value::as_bool)
                .unwrap_or(false),
            ..Self::default()
        };
        options.propagation(text("/propagationPolicy"))?;
        for value in value
            .get("dryRun")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            options.dry_run |= dry_run(value.as_str())?;
        }
        options.checked()
    }

    fn propagation(&mut self, policy: Option<&str>) -> Result<(), Status> {
        match policy {
            None | Some("" | "Background") => {}
            Some("Orphan") => self.orphan = true,
            Some("Foreground") => self.foreground = true,
            Some(other) => {
                let supported = ["Background", "Foreground", "Orphan"];
                let cause = Cause::not_supported("propagationPolicy", &other.into(), &supported);
                return Err(Status::invalid(
                    "meta.k8s.io",
                    "DeleteOptions",
                    "",
                    vec![cause],
                ));
            }
        }
        Ok(())
    }

    fn checked(self) -> Result<Self, Status> {
        // A negative grace means "at least a moment" upstream; 1 is what it does with it.
        Ok(Self {
            grace: self.grace.map(|g| if g < 0 { 1 } else { g }),
            ..self
        })
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn has_entries(object: &Value, pointer: &str) -> bool {
    object
        .pointer(pointer)
        .and_then(Value::as_array)
        .is_some_and(|list| !list.is_empty())
}

/// Whether a marked object has nothing left that keeps it.
pub(crate) fn is_finished(kind: &Kind, object: &Value) -> bool {
    let marked = !text(object, "/metadata/deletionTimestamp").is_empty();
    let graceful = kind.kind == "Pod"
        && object
            .pointer("/metadata/deletionGracePeriodSeconds")
            .and_then(Value::as_i64)
            != Some(0);
    marked && !graceful && !is_held(kind, object)
}

fn is_held(kind: &Kind, object: &Value) -> bool {
    has_entries(object, "/metadata/finalizers")
        || (kind.kind == "Namespace" && has_entries(object, "/spec/finalizers"))
}

/// What a deletion comes to.
#[derive(Debug, PartialEq)]
enum Step {
    /// It goes at once.
    Remove,
    /// It is marked, and goes when its node or its finalizers let go.
    Mark(Value),
    /// It was marked before and nothing changes.
    Wait,
}

fn decide(kind: &Kind, object: &Value, options: &Options) -> Step {
    let marked = !text(object, "/metadata/deletionTimestamp").is_empty();
    let grace = if kind.kind == "Pod" {
        pod_grace(object, options)
    } else {
        0
    };
    let before = object
        .pointer("/metadata/deletionGracePeriodSeconds")
        .and_then(Value::as_i64);
    let held = is_held(kind, object);
    if grace == 0 && !held {
        return Step::Remove;
    }
    // A second deletion may only shorten the grace.
    if marked && before.is_none_or(|before| grace >= before) {
        return Step::Wait;
    }
    let mut object = object.clone();
    let mut at = now();
    at.seconds += grace;
    object["metadata"]["deletionTimestamp"] = at.rfc3339().into();
    object["metadata"]["deletionGracePeriodSeconds"] = grace.into();
    if let Some(generation) = object
        .pointer("/metadata/generation")
        .and_then(Value::as_i64)
        && !marked
    {
        object["metadata"]["generation"] = (generation + 1).into();
    }
    if kind.kind == "Namespace" {
        object["status"]["phase"] = "Terminating".into();
    }
    Step::Mark(object)
}

/// A pod that no node runs, or that has ended, needs no grace.
fn pod_grace(object: &Value, options: &Options) -> i64 {
    let unbound = text(object, "/spec/nodeName").is_empty();
    let ended = matches!(text(object, "/status/phase"), "Succeeded" | "Failed");
    if unbound || ended {
        return 0;
    }
    let own = object
        .pointer("/spec/terminationGracePeriodSeconds")
        .and_then(Value::as_i64);
    options.grace.or(own).unwrap_or(DEFAULT_GRACE)
}

pub(crate) async fn delete(
    ctx: &Context,
    info: &Info,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Response<Body>, Status> {
    let options = Options::parse(info, headers, body)?;
    let (entry_json, object) = delete_one(ctx, info, &options).await?;
    let warnings: Vec<String> = options
        .foreground
        .then(|| "propagationPolicy Foreground is carried out as Background".to_owned())
        .into_iter()
        .collect();
    let gone = entry_json.is_none();
    if gone && info.kind.kind != "Pod" {
        let uid = text(&object, "/metadata/uid");
        let status = Status::deleted(info.kind.group, info.kind.plural, info.name(), uid);
        let mut response = respond::status(&status);
        respond::warn(&mut response, &warnings);
        return Ok(response);
    }
    let json = entry_json.unwrap_or_else(|| object.to_string().into());
    answer(info, headers, 200, &json, &warnings)
}

/// Deletes one object; the bytes are those of an object that stays for now.
pub(crate) async fn delete_one(
    ctx: &Context,
    info: &Info,
    options: &Options,
) -> Result<(Option<Bytes>, Value), Status> {
    let kind = info.kind;
    let name = info.name();
    let mut tries = TRIES;
    loop {
        tries -= 1;
        let entry = read(&*ctx.store, info).await?;
        let object: Value = serde_json::from_slice(&entry.json).map_err(Status::internal)?;
        check(kind, name, &object, options)?;
        let step = decide(kind, &object, options);
        let expect = Expect::Revision(entry.modified);
        let ops = match &step {
            Step::Wait => return Ok((Some(entry.json.clone()), object)),
            Step::Mark(marked) if options.dry_run => {
                return Ok((Some(marked.to_string().into()), object));
            }
            Step::Remove if options.dry_run => return Ok((None, object)),
            Step::Mark(marked) => vec![put(kind, entry.key.clone(), marked, expect)],
            Step::Remove => removal(ctx, kind, &entry, &object, options)?,
        };
        let done = match commit(ctx, ops).await {
            // The own object is the last of the commit.
            Ok(entries) => entries.last().map(|e| e.json.clone()),
            Err(Error::Conflict { .. }) if tries > 0 => continue,
            Err(error) => return Err(store_error(kind, name, &error)),
        };
        return Ok((done.filter(|_| step != Step::Remove), object));
    }
}

fn check(kind: &Kind, name: &str, object: &Value, options: &Options) -> Result<(), Status> {
    let pairs = [
        ("UID", &options.uid, "/metadata/uid"),
        (
            "ResourceVersion",
            &options.resource_version,
            "/metadata/resourceVersion",
        ),
    ];
    for (what, wanted, pointer) in pairs {
        let is = text(object, pointer);
        if let Some(wanted) = wanted.as_deref().filter(|w| *w != is) {
            let why = format!(
                "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {is}"
            );
            return Err(Status::conflict(kind.group, kind.plural, name, &why));
        }
    }
    let protected = matches!(name, "default" | "kube-system" | "kube-public");
    if kind.kind == "Namespace" && protected {
        return Err(Status::forbidden(
            "",
            kind.plural,
            name,
            "this namespace may not be deleted",
        ));
    }
    Ok(())
}

/// The operations that remove an object, its own removal last.
fn removal(
    ctx: &Context,
    kind: &Kind,
    entry: &Entry,
    object: &Value,
    options: &Options,
) -> Result<Vec<Op>, Status> {
    let mut ops = Vec::new();
    if options.orphan {
        ops = orphaned(ctx, entry, text(object, "/metadata/uid"))?;
    }
    if kind.kind == "Node" {
        // Removing the Node ends the board's membership: its keys open nothing any more.
        let key = join::node_key(&entry.key.name);
        if ctx.store.get(&key).is_some() {
            ops.push(Op::Delete {
                key,
                expect: Expect::Any,
                durability: Durability::Hard,
            });
        }
    }
    ops.push(Op::Delete {
        key: entry.key.clone(),
        expect: Expect::Revision(entry.modified),
        durability: durability(kind),
    });
    Ok(ops)
}

/// Takes the owner out of its dependents, so that the garbage collector leaves them alone.
fn orphaned(ctx: &Context, owner: &Entry, uid: &str) -> Result<Vec<Op>, Status> {
    let mut ops = Vec::new();
    for kind in kind::stored() {
        let scope = Scope {
            group: kind.storage_group.into(),
            resource: kind.plural.into(),
            namespace: kind.namespaced.then(|| owner.key.namespace.clone()),
        };
        let listing = ctx
            .store
            .list(&scope, &Page::default())
            .map_err(Status::internal)?;
        for entry in listing.entries {
            let mut object: Value =
                serde_json::from_slice(&entry.json).map_err(Status::internal)?;
            let Some(Value::Array(owners)) = object.pointer_mut("/metadata/ownerReferences") else {
                continue;
            };
            let before = owners.len();
            owners.retain(|reference| text(reference, "/uid") != uid);
            if owners.len() != before {
                ops.push(put(
                    kind,
                    entry.key.clone(),
                    &object,
                    Expect::Revision(entry.modified),
                ));
            }
        }
    }
    Ok(ops)
}

/// Deletes everything that the selectors choose, and answers with what that was.
pub(crate) async fn delete_collection(
    ctx: &Context,
    info: &Info,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Response<Body>, Status> {
    let form = Form::negotiate(headers, &info.query)?;
    let options = Options::parse(info, headers, body)?;
    // Parsed first, so that a bad selector never deletes everything.
    Selection::parse(info.kind, &info.query, None)?;
    let selected = select(ctx, info).await?;
    for entry in &selected.entries {
        let one = Info {
            namespace: info
                .kind
                .namespaced
                .then(|| entry.key.namespace.to_string()),
            name: Some(entry.key.name.to_string()),
            ..info.clone()
        };
        match delete_one(ctx, &one, &options).await {
            Ok(_) => {}
            Err(status) if status.code() == 404 => {}
            Err(status) => return Err(status),
        }
    }
    Ok(render(info.kind, form, selected, gzip::accepted(headers)))
}

/// Deletes a pod because it is evicted; upstream answers with a `Status`.
pub(crate) async fn evict(ctx: &Context, info: &Info, eviction: &Value) -> Result<Status, Status> {
    let options = match eviction.get("deleteOptions") {
        Some(value) => Options::from_value(value)?,
        None => Options::from_value(&json!({}))?,
    };
    delete_one(ctx, info, &options).await?;
    Ok(Status::created())
}
