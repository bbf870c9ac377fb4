//! What hangs below an object and is not the object: eviction, finalize, and the way to the others.

use bramble_api::admit;
use bramble_api::decode;
use bramble_api::status::Status;
use bramble_controller_core::deletion;
use bytes::Bytes;
use http::{HeaderMap, Response};
use serde_json::{Value, json};

use super::list::read;
use super::options::Options;
use super::request::{Info, Verb};
use super::respond::{self, Body};
use super::write::{self, TRIES, commit, content_type, durability, put, store_error};
use super::{Context, binding, delete, logs, scale, token};
use crate::object;
use crate::store::{Error, Expect, Op};

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
            binding::bind(ctx, info, options, &binding).await
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

/// Sets a namespace's `spec.finalizers`; one that was deleted and has none left goes.
async fn finalize(
    ctx: &Context,
    info: &Info,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Response<Body>, Status> {
    let (wanted, options) = message(info, headers, body, "UpdateOptions")?;
    write::check_path(info, &wanted)?;
    let text = |pointer: &str| wanted.pointer(pointer).and_then(Value::as_str);
    let mut tries = TRIES;
    loop {
        tries -= 1;
        let entry = read(&*ctx.store, info).await?;
        let old: Value = serde_json::from_slice(&entry.json).map_err(Status::internal)?;
        let version = text("/metadata/resourceVersion").unwrap_or_default();
        if !version.is_empty() && old["metadata"]["resourceVersion"] != version {
            return Err(info.kind.conflict(info.name()));
        }
        let mut new = old.clone();
        let finalizers = wanted.pointer("/spec/finalizers").cloned();
        new["spec"]["finalizers"] = finalizers.unwrap_or_else(|| json!([]));
        if let Some(uid) = text("/metadata/uid") {
            new["metadata"]["uid"] = uid.into();
        }
        let context = admit::Update {
            now: object::now(),
            subresource: Some("finalize"),
        };
        admit::update(info.kind, &old, &mut new, &context)?;
        if options.dry_run {
            return write::answer(info, headers, 200, &new.to_string().into(), &[]);
        }
        let expect = Expect::Revision(entry.modified);
        let op = if deletion::is_finished(info.kind, &new) {
            Op::Delete {
                key: entry.key.clone(),
                expect,
                durability: durability(info.kind),
            }
        } else {
            put(info.kind, entry.key.clone(), &new, expect)
        };
        match commit(ctx, vec![op]).await {
            Ok(entries) => return write::answer(info, headers, 200, &entries[0].json, &[]),
            Err(Error::Conflict { .. }) if tries > 0 => {}
            Err(error) => return Err(store_error(info.kind, info.name(), &error)),
        }
    }
}
