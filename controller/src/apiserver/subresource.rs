//! What hangs below an object and is not the object: binding, eviction, finalize.

use bramble_api::decode;
use bramble_api::status::{Cause, Status};
use bramble_controller_core::deletion;
use bytes::Bytes;
use http::{HeaderMap, Response};
use serde_json::{Value, json};

use super::list::read;
use super::options::Options;
use super::request::{Info, Verb};
use super::respond::{self, Body};
use super::write::{self, commit, content_type, durability, put, store_error};
use super::{Context, delete, logs, scale, token};
use crate::object;
use crate::store::{Expect, Op};

pub(crate) async fn handle(
    ctx: &Context,
    info: &Info,
    name: &str,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Response<Body>, Status> {
    match (name, info.verb) {
        ("status" | "ephemeralcontainers", Verb::Get) => super::list::get(ctx, info, headers).await,
        ("status" | "ephemeralcontainers", Verb::Update) => {
            write::update(ctx, info, headers, body).await
        }
        ("status" | "ephemeralcontainers", Verb::Patch) => {
            write::patch(ctx, info, headers, body).await
        }
        ("scale", _) => scale::scale(ctx, info, headers, body).await,
        ("log", Verb::Get) => logs::log(ctx, info).await,
        ("binding", Verb::Create) => {
            let (binding, options) = message(info, headers, body, "CreateOptions")?;
            bind(ctx, info, options, &binding).await
        }
        ("eviction", Verb::Create) => {
            let (eviction, _) = message(info, headers, body, "CreateOptions")?;
            delete::evict(ctx, info, &eviction)
                .await
                .map(|status| respond::status(&status))
        }
        ("token", Verb::Create) => token::create(ctx, info, headers, body),
        ("finalize", Verb::Update) => finalize(ctx, info, headers, body).await,
        _ => Err(Status::method_not_allowed(
            info.kind.group,
            info.kind.plural,
            info.verb.as_str(),
        )),
    }
}

/// The body of a subresource with a kind of its own.
fn message(
    info: &Info,
    headers: &HeaderMap,
    body: &Bytes,
    what: &str,
) -> Result<(Value, Options), Status> {
    let sub = info.subresource.ok_or_else(Status::not_found_path)?;
    let options = Options::parse(&info.query, what)?;
    decode::message(content_type(headers), body, sub.into(), options.validation)
        .map(|decoded| (decoded.value, options))
}

/// Binds a pod to a node, once and for all.
async fn bind(
    ctx: &Context,
    info: &Info,
    options: Options,
    binding: &Value,
) -> Result<Response<Body>, Status> {
    let text = |pointer: &str| binding.pointer(pointer).and_then(Value::as_str);
    if text("/metadata/name").is_some_and(|name| !name.is_empty() && name != info.name()) {
        return Err(Status::bad_request(
            "name in URL does not match name in Binding object",
        ));
    }
    let node = binding
        .pointer("/target/name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if node.is_empty() {
        let cause = Cause::required("target.name", "");
        return Err(Status::invalid("", "Binding", info.name(), vec![cause]));
    }
    let entry = read(&*ctx.store, info).await?;
    let mut pod: Value = serde_json::from_slice(&entry.json).map_err(Status::internal)?;
    let conflict = |why: String| Status::conflict("", "pods/binding", info.name(), &why);
    // A scheduler may say which pod it means.
    for (what, field) in [("UID", "uid"), ("ResourceVersion", "resourceVersion")] {
        let said = text(&format!("/metadata/{field}")).unwrap_or_default();
        let is = pod["metadata"][field].as_str().unwrap_or_default();
        if !said.is_empty() && said != is {
            return Err(conflict(format!(
                "Precondition failed: {what} in precondition: {said}, {what} in object meta: {is}"
            )));
        }
    }
    if pod.pointer("/metadata/deletionTimestamp").is_some() {
        return Err(conflict(format!(
            "pod {} is being deleted, cannot be assigned to a host",
            info.name()
        )));
    }
    let bound = pod
        .pointer("/spec/nodeName")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !bound.is_empty() {
        return Err(conflict(format!(
            "pod {} is already assigned to node {bound:?}",
            info.name()
        )));
    }
    pod["spec"]["nodeName"] = node.into();
    let condition = json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null,
                           "lastTransitionTime": object::now().rfc3339()});
    match pod.pointer_mut("/status/conditions") {
        Some(Value::Array(conditions)) => {
            conditions.retain(|c| c["type"] != "PodScheduled");
            conditions.push(condition);
        }
        _ => pod["status"]["conditions"] = json!([condition]),
    }
    if options.dry_run {
        return Ok(respond::status(&Status::created()));
    }
    let op = put(
        info.kind,
        entry.key.clone(),
        &pod,
        Expect::Revision(entry.modified),
    );
    commit(ctx, vec![op])
        .await
        .map_err(|e| store_error(info.kind, info.name(), &e))?;
    Ok(respond::status(&Status::created()))
}

/// Sets a namespace's `spec.finalizers`; one that was deleted and has none left goes.
async fn finalize(
    ctx: &Context,
    info: &Info,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Response<Body>, Status> {
    let (wanted, options) = message(info, headers, body, "UpdateOptions")?;
    let entry = read(&*ctx.store, info).await?;
    let mut object: Value = serde_json::from_slice(&entry.json).map_err(Status::internal)?;
    let version = wanted
        .pointer("/metadata/resourceVersion")
        .and_then(Value::as_str);
    if version.is_some_and(|v| !v.is_empty() && object["metadata"]["resourceVersion"] != v) {
        return Err(info.kind.conflict(info.name()));
    }
    let finalizers = wanted
        .pointer("/spec/finalizers")
        .cloned()
        .unwrap_or_else(|| json!([]));
    object["spec"]["finalizers"] = finalizers;
    if options.dry_run {
        return write::answer(info, headers, 200, &object.to_string().into(), &[]);
    }
    let expect = Expect::Revision(entry.modified);
    let op = if deletion::is_finished(info.kind, &object) {
        Op::Delete {
            key: entry.key.clone(),
            expect,
            durability: durability(info.kind),
        }
    } else {
        put(info.kind, entry.key.clone(), &object, expect)
    };
    let entries = commit(ctx, vec![op])
        .await
        .map_err(|e| store_error(info.kind, info.name(), &e))?;
    write::answer(info, headers, 200, &entries[0].json, &[])
}
