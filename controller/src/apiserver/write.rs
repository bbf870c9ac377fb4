//! Update and patch: decode, admit, commit, and answer once it is durable. New objects are in
//! [`super::create`].

use std::sync::Arc;

use bramble_api::admit;
use bramble_api::apply::{self as owners, Sent};
use bramble_api::convert;
use bramble_api::decode::{self, FieldValidation};
use bramble_api::kind::Kind;
use bramble_api::metadata;
use bramble_api::patch;
use bramble_api::status::{Cause, Status};
use bramble_controller_core::deletion;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Response};
use serde_json::Value;

use super::admission::{Attributes, Mutated, Operation};
use super::create::{New, insert};
use super::list::{served, shown};
use super::meta::Form;
use super::options::Options;
use super::request::Info;
use super::respond::{self, Body};
use super::{Context, apply, rbac};
use crate::store::{self, Durability, Entry, Error, Expect, Key, Op};
use crate::{join, object};

/// How often a write without a revision of its own is tried again when others are faster.
pub(crate) const TRIES: usize = 8;

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
        Error::TooLarge { size, limit } => {
            Status::too_large(format!("limit is {limit}, object has {size}"))
        }
        Error::Busy => {
            Status::too_many_requests("the disk is slower than the writes; try again", 1)
        }
        other => Status::internal(other),
    }
}

/// The put of an object, its revision left to the store.
pub(crate) fn put(kind: &Kind, key: Key, object: &Value, expect: Expect) -> Op {
    let canonical = if convert::is_foreign(kind) {
        let mut object = object.clone();
        convert::to_stored(kind, &mut object);
        metadata::canonical(&object)
    } else {
        metadata::canonical(object)
    };
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
    mut ops: Vec<Op>,
) -> Result<Result<Vec<Arc<Entry>>, Error>, Status> {
    let committed = {
        let _turn = ctx.admission.turn();
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

/// Kinds that a PUT may create; upstream's `AllowCreateOnUpdate`.
fn creates_on_update(kind: &Kind) -> bool {
    matches!(
        kind.kind,
        "ClusterRole"
            | "ClusterRoleBinding"
            | "Endpoints"
            | "Event"
            | "Lease"
            | "LimitRange"
            | "Role"
            | "RoleBinding"
            | "Service"
    )
}

/// Kinds whose PUT must name the revision that it replaces; upstream's `AllowUnconditionalUpdate`.
fn needs_revision(kind: &Kind) -> bool {
    kind.kind == "Lease"
}

/// What turns the stored object into the new one.
pub(crate) enum Change<'a> {
    /// PUT.
    Replace(Value),
    /// PATCH of a content type.
    Patch { content_type: &'a str, patch: Value },
    /// PATCH with an apply configuration.
    Apply(apply::Configuration),
}

/// The patches we take, as 415 lists them.
const PATCHES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    apply::APPLY,
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
    // Configurations went another way.
    if content_type == apply::APPLY || !PATCHES.contains(&content_type) {
        return Err(Status::unsupported_media_type(&PATCHES));
    }
    super::list::read(&*ctx.store, info).await?;
    let patch = decode::plain_json(body)
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
    Form::negotiate(headers, &info.query)?;
    let options = Options::parse(&info.query, "UpdateOptions")?;
    let decoded = decode::body(content_type(headers), body, info.kind, options.validation)?;
    let name = info.name();
    check_path(info, &decoded.value)?;
    if info.subresource.is_none()
        && creates_on_update(info.kind)
        && ctx.store.get(&info.key(name)).is_none()
    {
        let uid = text(&decoded.value, "/metadata/uid");
        if !uid.is_empty() {
            return Err(other_uid(info.kind, name, uid, ""));
        }
        // Upstream does not compare the revision of what is not there.
        let mut value = decoded.value;
        if let Some(Value::Object(metadata)) = value.get_mut("metadata") {
            metadata.remove("resourceVersion");
        }
        let new = New::of(&value);
        return insert(ctx, info, headers, options, new, decoded.warnings).await;
    }
    let revision = text(&decoded.value, "/metadata/resourceVersion");
    if needs_revision(info.kind) && revision.is_empty() {
        let detail = "must be specified for an update";
        let cause = Cause::invalid("metadata.resourceVersion", &0.into(), detail);
        return Err(Status::invalid(
            info.kind.group,
            info.kind.plural,
            name,
            vec![cause],
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

/// An object that replaces another names the one on the URL.
pub(super) fn check_path(info: &Info, value: &Value) -> Result<(), Status> {
    let name = info.name();
    // Upstream's `checkName` (endpoints/handlers/rest.go).
    let said = text(value, "/metadata/name");
    if said.is_empty() {
        return Err(Status::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )));
    }
    if said != name {
        return Err(Status::bad_request(format!(
            "the name of the object ({said}) does not match the name on the URL ({name})"
        )));
    }
    let (said, is) = (
        text(value, "/metadata/namespace"),
        info.namespace.as_deref().unwrap_or_default(),
    );
    if !said.is_empty() && said != is {
        return Err(Status::bad_request(format!(
            "the namespace of the object ({said}) does not match the namespace on the request ({is})"
        )));
    }
    Ok(())
}

pub(crate) async fn patch(
    ctx: &Context,
    info: &Info,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Response<Body>, Status> {
    if apply::is_apply(headers) {
        return apply::apply(ctx, info, headers, body).await;
    }
    Form::negotiate(headers, &info.query)?;
    let options = Options::parse(&info.query, "PatchOptions")?;
    if info.query.get("force").is_some() {
        let cause = Cause::forbidden("force", "may not be specified for non-apply patch");
        return Err(Status::invalid(
            "meta.k8s.io",
            "PatchOptions",
            "",
            vec![cause],
        ));
    }
    let patch = parse_patch(ctx, info, headers, body).await?;
    change(ctx, info, headers, options, &patch, Vec::new()).await
}

pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

pub(crate) async fn change(
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
        let old = served(kind, &entry.json)?;
        let mut warnings = warnings.clone();
        let (mut new, applied) = match change {
            Change::Replace(value) => (value.clone(), None),
            Change::Patch {
                content_type,
                patch,
            } => {
                let value = patched(kind, content_type, &old, patch)?;
                let decoded = decode::check(kind, value, options.validation)?;
                warnings.extend(decoded.warnings);
                (decoded.value, None)
            }
            Change::Apply(configuration) => {
                let applied = configuration.merge(info, Some(&old))?;
                let decoded = decode::check(kind, applied.object, FieldValidation::Ignore)?;
                (decoded.value, Some(applied.managed_fields))
            }
        };
        let sent = Sent::take(&mut new);
        // A revision that the client names is compared each time, so trying again is safe.
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
        match applied {
            Some(managed_fields) => owners::set_managed_fields(&mut new, managed_fields),
            None => apply::track(info, headers, &old, &mut new, &sent),
        }
        if owners::is_same(&old, &new) {
            return answer(info, headers, 200, &entry.json, &warnings);
        }
        warnings.extend(ctx.admission.validate(&attributes, &new, Some(&old))?);
        rbac::admit(ctx, info, rbac::Operation::Update, Some(&new), Some(&old))?;
        if options.dry_run {
            ctx.admission.reserve(&attributes, &new, Some(&old))?;
            let json = new.to_string().into();
            return answer(info, headers, 200, &json, &warnings);
        }
        let expect = Expect::Revision(entry.modified);
        let ops = if deletion::is_finished(kind, &new) {
            let own = Op::Delete {
                key: entry.key.clone(),
                expect,
                durability: durability(kind),
            };
            let with_it = join::ends_with(&*ctx.store, &entry.key);
            std::iter::once(own).chain(with_it).collect()
        } else {
            vec![put(kind, entry.key.clone(), &new, expect)]
        };
        match commit_admitted(ctx, &attributes, &new, Some(&old), ops).await? {
            Ok(entries) => return answer(info, headers, 200, &entries[0].json, &warnings),
            Err(Error::Conflict { .. }) if tries > 0 => {}
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
        return Err(other_uid(kind, name, said, is));
    }
    Ok(())
}

/// 409: the object is not the one that is meant.
fn other_uid(kind: &Kind, name: &str, said: &str, is: &str) -> Status {
    let why = format!("Precondition failed: UID in precondition: {said}, UID in object meta: {is}");
    Status::conflict(kind.group, kind.plural, name, &why)
}
