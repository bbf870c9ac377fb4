//! Create, update and patch: decode, admit, commit, and answer once it is durable.

use std::sync::Arc;

use bramble_api::admit;
use bramble_api::decode::{self, FieldValidation};
use bramble_api::kind::Kind;
use bramble_api::metadata;
use bramble_api::patch;
use bramble_api::status::{Cause, Status};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Response};
use serde_json::Value;

use super::admission::{Attributes, Mutated, Operation};
use super::list::shown;
use super::meta::Form;
use super::request::{Info, Query};
use super::respond::{self, Body};
use super::{Context, delete};
use crate::object;
use crate::store::{self, Durability, Entry, Error, Expect, Key, Op};

/// How often a write without a revision of its own is tried again when others are faster.
pub(crate) const TRIES: usize = 5;

/// What every write may say in its query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) dry_run: bool,
    pub(crate) validation: FieldValidation,
}

impl Options {
    pub(crate) fn parse(query: &Query) -> Result<Self, Status> {
        if query.get("fieldManager").is_some_and(|m| m.len() > 128) {
            let cause = Cause::too_long("fieldManager", 128);
            return Err(Status::invalid(
                "meta.k8s.io",
                "PatchOptions",
                "",
                vec![cause],
            ));
        }
        Ok(Self {
            dry_run: dry_run(query.get("dryRun"))?,
            validation: FieldValidation::from_query(query.get("fieldValidation"))?,
        })
    }
}

pub(crate) fn dry_run(value: Option<&str>) -> Result<bool, Status> {
    match value {
        None => Ok(false),
        Some("All") => Ok(true),
        Some(other) => {
            let cause = Cause::not_supported("dryRun", &other.into(), &["All"]);
            Err(Status::invalid(
                "meta.k8s.io",
                "CreateOptions",
                "",
                vec![cause],
            ))
        }
    }
}

pub(crate) fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok())
}

/// Events come and go in memory; everything else that a client writes must survive.
pub(crate) fn durability(kind: &Kind) -> Durability {
    if kind.kind == "Event" {
        Durability::Memory
    } else {
        Durability::Hard
    }
}

/// What the store's refusal of a write is to a client.
pub(crate) fn store_error(kind: &Kind, name: &str, error: &Error) -> Status {
    match error {
        Error::Exists(_) => kind.already_exists(name),
        Error::NotFound(_) => kind.not_found(name),
        Error::Conflict { .. } => kind.conflict(name),
        Error::TooLarge { size, limit } => Status::too_large(format!(
            "Request entity too large: limit is {limit}, object has {size}"
        )),
        Error::Busy => {
            Status::too_many_requests("the disk is slower than the writes; try again", 1)
        }
        other => Status::internal(other),
    }
}

/// The put of an object, its revision left to the store.
pub(crate) fn put(kind: &Kind, key: Key, object: &Value, expect: Expect) -> Op {
    let canonical = metadata::canonical(object);
    let body = store::Body {
        json: canonical.bytes,
        revision_at: canonical.revision_at,
    };
    Op::Put {
        key,
        expect,
        body,
        durability: durability(kind),
    }
}

/// Commits one put and waits until it is durable. `Err` is the store's own error, since callers
/// try again after some of them.
pub(crate) async fn commit(ctx: &Context, ops: Vec<Op>) -> Result<Vec<Arc<Entry>>, Error> {
    let commit = ctx.store.commit(ops)?;
    let entries = commit.entries.clone();
    commit.durable().await?;
    Ok(entries)
}

/// Commits one admitted object, with what admission writes along with it, and waits until it is
/// durable. The object's entry is the first.
pub(crate) async fn commit_admitted(
    ctx: &Context,
    attributes: &Attributes<'_>,
    object: &Value,
    old: Option<&Value>,
    op: Op,
) -> Result<Result<Vec<Arc<Entry>>, Error>, Status> {
    let committed = {
        let _turn = ctx.admission.turn();
        let mut ops = vec![op];
        ops.extend(ctx.admission.reserve(attributes, object, old)?);
        ctx.store.commit(ops)
    };
    let commit = match committed {
        Ok(commit) => commit,
        Err(error) => return Ok(Err(error)),
    };
    let entries = commit.entries.clone();
    Ok(commit.durable().await.map(|_| entries))
}

/// An answer with an object and what the client should be warned about.
pub(crate) fn answer(
    info: &Info,
    headers: &HeaderMap,
    code: u16,
    json: &Bytes,
    warnings: &[String],
) -> Result<Response<Body>, Status> {
    let form = Form::negotiate(headers, &info.query)?;
    let mut response = shown(info.kind, form, json, code)?;
    respond::warn(&mut response, warnings);
    Ok(response)
}

/// 404 when the namespace is not there, 403 when it is going.
fn check_namespace(ctx: &Context, info: &Info, name: &str) -> Result<(), Status> {
    let Some(namespace) = &info.namespace else {
        return Ok(());
    };
    let key = Key::new("", "namespaces", "", namespace.as_str());
    let Some(entry) = ctx.store.get(&key) else {
        return Err(Status::not_found("", "namespaces", namespace));
    };
    let object: Value = serde_json::from_slice(&entry.json).map_err(Status::internal)?;
    if object.pointer("/metadata/deletionTimestamp").is_some() && info.kind.kind != "Event" {
        let why = format!(
            "unable to create new content in namespace {namespace} because it is being terminated"
        );
        return Err(Status::forbidden(
            info.kind.group,
            info.kind.plural,
            name,
            &why,
        ));
    }
    Ok(())
}

pub(crate) async fn create(
    ctx: &Context,
    info: &Info,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Response<Body>, Status> {
    let options = Options::parse(&info.query)?;
    let decoded = decode::body(content_type(headers), body, info.kind, options.validation)?;
    let said = decoded
        .value
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    check_namespace(ctx, info, said)?;
    let generated = said.is_empty();
    let mut warnings = decoded.warnings;
    let attributes = Attributes::of(info, Operation::Create, options.dry_run);
    ctx.admission.ready(&attributes, &decoded.value).await;
    let mut tries = TRIES;
    loop {
        tries -= 1;
        let mut object = decoded.value.clone();
        let mut mutated = Mutated::default();
        let uid = object::uid().map_err(Status::internal)?;
        let suffix = object::suffix().map_err(Status::internal)?;
        let context = admit::Create {
            now: object::now(),
            uid: &uid,
            suffix: &suffix,
            namespace: info.namespace.as_deref(),
        };
        let admitted = admit::create_with(info.kind, &mut object, &context, &mut |object| {
            mutated = ctx.admission.mutate(&attributes, object, None)?;
            Ok(())
        })?;
        let advice = ctx.admission.validate(&attributes, &object, None)?;
        let name = object
            .pointer("/metadata/name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let key = info.key(name);
        let result = if options.dry_run {
            match ctx.store.get(&key) {
                Some(_) => Err(Error::Exists(key)),
                None => {
                    ctx.admission.reserve(&attributes, &object, None)?;
                    Ok(metadata::canonical(&object).bytes.into())
                }
            }
        } else {
            let op = put(info.kind, key.clone(), &object, Expect::Absent);
            commit_admitted(ctx, &attributes, &object, None, op)
                .await?
                .map(|entries| entries[0].json.clone())
        };
        match result {
            Ok(json) => {
                warnings.extend(admitted.into_iter().map(|w| w.text));
                warnings.extend(mutated.warnings);
                warnings.extend(advice);
                return answer(info, headers, 201, &json, &warnings);
            }
            Err(Error::Exists(_)) if generated && tries > 0 => {}
            // What admission counted has moved meanwhile.
            Err(Error::Conflict { .. } | Error::NotFound(_)) if tries > 0 => {}
            Err(error) => return Err(store_error(info.kind, name, &error)),
        }
    }
}

/// What turns the stored object into the new one.
pub(crate) enum Change<'a> {
    /// PUT.
    Replace(Value),
    /// PATCH of a content type.
    Patch { content_type: &'a str, patch: Value },
}

/// The patches we take, as 415 lists them.
const PATCHES: [&str; 3] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// Decoded, a patch takes many times its length, so that is done for objects that are there only.
pub(crate) async fn parse_patch<'a>(
    ctx: &Context,
    info: &Info,
    headers: &'a HeaderMap,
    body: &Bytes,
) -> Result<Change<'a>, Status> {
    let content_type = content_type(headers).unwrap_or_default();
    let content_type = content_type.split(';').next().unwrap_or_default().trim();
    if !PATCHES.contains(&content_type) {
        return Err(Status::unsupported_media_type(&PATCHES));
    }
    super::list::read(&*ctx.store, info).await?;
    let patch = serde_json::from_slice(body)
        .map_err(|e| Status::bad_request(format!("error decoding patch: {e}")))?;
    Ok(Change::Patch {
        content_type,
        patch,
    })
}

/// Applies a patch to any object; lists merge by `kind`'s keys.
pub(crate) fn patched(
    kind: &Kind,
    content_type: &str,
    current: &Value,
    patch: &Value,
) -> Result<Value, Status> {
    match content_type {
        "application/json-patch+json" => patch::json(kind, current, patch),
        "application/merge-patch+json" => patch::merge(kind, current, patch),
        _ => patch::strategic(kind, current, patch),
    }
}

pub(crate) async fn update(
    ctx: &Context,
    info: &Info,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Response<Body>, Status> {
    let options = Options::parse(&info.query)?;
    let decoded = decode::body(content_type(headers), body, info.kind, options.validation)?;
    let name = info.name();
    let said = decoded
        .value
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if said != name {
        return Err(Status::bad_request(format!(
            "the name of the object ({said}) does not match the name on the URL ({name})"
        )));
    }
    let namespace = decoded
        .value
        .pointer("/metadata/namespace")
        .and_then(Value::as_str);
    let wrong = namespace.filter(|n| !n.is_empty() && Some(*n) != info.namespace.as_deref());
    if wrong.is_some() {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    change(
        ctx,
        info,
        headers,
        options,
        &Change::Replace(decoded.value),
        decoded.warnings,
    )
    .await
}

pub(crate) async fn patch(
    ctx: &Context,
    info: &Info,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Response<Body>, Status> {
    let options = Options::parse(&info.query)?;
    let patch = parse_patch(ctx, info, headers, body).await?;
    change(ctx, info, headers, options, &patch, Vec::new()).await
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

async fn change(
    ctx: &Context,
    info: &Info,
    headers: &HeaderMap,
    options: Options,
    change: &Change<'_>,
    warnings: Vec<String>,
) -> Result<Response<Body>, Status> {
    let kind = info.kind;
    let name = info.name();
    let attributes = Attributes::of(info, Operation::Update, options.dry_run);
    let mut tries = TRIES;
    loop {
        tries -= 1;
        let entry = super::list::read(&*ctx.store, info).await?;
        let old: Value = serde_json::from_slice(&entry.json).map_err(Status::internal)?;
        let mut warnings = warnings.clone();
        let (mut new, pinned) = match change {
            Change::Replace(value) => {
                let pinned = !text(value, "/metadata/resourceVersion").is_empty();
                (value.clone(), pinned)
            }
            Change::Patch {
                content_type,
                patch,
            } => {
                let value = patched(kind, content_type, &old, patch)?;
                let decoded = decode::check(kind, value, options.validation)?;
                warnings.extend(decoded.warnings);
                let pinned = patch.pointer("/metadata/resourceVersion").is_some();
                (decoded.value, pinned)
            }
        };
        check_identity(kind, name, &old, &new)?;
        let context = admit::Update {
            now: object::now(),
            subresource: info.subresource.map(|s| s.name),
        };
        let mut mutated = Mutated::default();
        let admitted = admit::update_with(kind, &old, &mut new, &context, &mut |new| {
            mutated = ctx.admission.mutate(&attributes, new, Some(&old))?;
            Ok(())
        })?;
        warnings.extend(admitted.into_iter().map(|w| w.text));
        warnings.extend(std::mem::take(&mut mutated.warnings));
        new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
        if new == old {
            return answer(info, headers, 200, &entry.json, &warnings);
        }
        warnings.extend(ctx.admission.validate(&attributes, &new, Some(&old))?);
        if options.dry_run {
            ctx.admission.reserve(&attributes, &new, Some(&old))?;
            let json = new.to_string().into();
            return answer(info, headers, 200, &json, &warnings);
        }
        let expect = Expect::Revision(entry.modified);
        let op = if delete::is_finished(kind, &new) {
            Op::Delete {
                key: entry.key.clone(),
                expect,
                durability: durability(kind),
            }
        } else {
            put(kind, entry.key.clone(), &new, expect)
        };
        match commit_admitted(ctx, &attributes, &new, Some(&old), op).await? {
            Ok(entries) => return answer(info, headers, 200, &entries[0].json, &warnings),
            Err(Error::Conflict { key, .. }) if (!pinned || key != entry.key) && tries > 0 => {}
            Err(error) => return Err(store_error(kind, name, &error)),
        }
    }
}

/// A change that names another revision or another object than the stored one is refused.
fn check_identity(kind: &Kind, name: &str, old: &Value, new: &Value) -> Result<(), Status> {
    let said = text(new, "/metadata/resourceVersion");
    if !said.is_empty() && said != text(old, "/metadata/resourceVersion") {
        return Err(kind.conflict(name));
    }
    let (said, is) = (text(new, "/metadata/uid"), text(old, "/metadata/uid"));
    if !said.is_empty() && said != is {
        let why =
            format!("Precondition failed: UID in precondition: {said}, UID in object meta: {is}");
        return Err(Status::conflict(kind.group, kind.plural, name, &why));
    }
    Ok(())
}
