//! Our own paths below `/bramble/v1`: joining, the tokens for it, and certificates for people.

use bramble_api::status::{Cause, Status};
use bramble_api::time::Timestamp;
use bramble_wire::join::{CertificateCreated, CertificateRequest, TokenRequest};
use bytes::Bytes;
use http::header::HeaderValue;
use http::{Method, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Context;
use super::authn::{Identity, MASTERS};
use super::respond::{self, Body, Broken};
use crate::backup;
use crate::pki::Csr;

/// A join request holds five short fields; nobody without a token may send more.
pub(crate) const JOIN_BODY: usize = 32 * 1024;

/// A certificate's life when nothing is said: a year.
const DEFAULT_TTL: u64 = 365 * 86_400;
const MIN_TTL: u64 = 60;
/// Ten years.
const MAX_TTL: u64 = 3_650 * 86_400;
/// More is a mistake.
const MAX_GROUPS: usize = 64;

pub(crate) async fn join(ctx: &Context, body: &Bytes) -> Result<Response<Body>, Status> {
    json(200, &ctx.joiner.join(&parsed(body)?).await?)
}

pub(crate) async fn tokens(
    ctx: &Context,
    identity: &Identity,
    method: &Method,
    id: Option<&str>,
    body: &Bytes,
) -> Result<Response<Body>, Status> {
    match (method.as_str(), id) {
        ("GET", None) => json(200, &ctx.joiner.tokens()?),
        ("POST", None) => {
            let request = if body.is_empty() {
                TokenRequest::default()
            } else {
                parsed(body)?
            };
            // Who takes a node's name gets its pods, and their Secrets.
            if request.replaces.is_some() {
                masters(identity, method, "POST", "tokens")?;
            }
            json(201, &ctx.joiner.create_token(&request).await?)
        }
        ("DELETE", Some(id)) => {
            ctx.joiner.delete_token(id).await?;
            Ok(respond::status(&Status::deleted(
                "bramble.dev",
                "tokens",
                id,
                "",
            )))
        }
        _ => Err(Status::method_not_allowed(
            "bramble.dev",
            "tokens",
            method.as_str(),
        )),
    }
}

/// A backup of everything, secrets and keys among it: for those who may do everything anyway.
pub(crate) async fn backup(
    ctx: &Context,
    identity: &Identity,
    method: &Method,
) -> Result<Response<Body>, Status> {
    masters(identity, method, "GET", "backup")?;
    let permit = ctx.backups.clone().try_acquire_owned();
    let permit =
        permit.map_err(|_| Status::too_many_requests("Another backup is being taken.", 5))?;
    let taken = backup::take(&ctx.store, ctx.joiner.pki()).await;
    let (manifest, pieces) = taken.map_err(Status::internal)?;
    tracing::info!(
        by = identity.user,
        revision = manifest.revision,
        "a backup is taken"
    );
    let stopping = ctx.stopping.clone();
    let chunks = pieces.map(move |piece| {
        let _held = &permit;
        match stopping.is_stopping() {
            true => Err(Broken),
            false => Ok(Bytes::from(piece)),
        }
    });
    let tar = HeaderValue::from_static("application/x-tar");
    let body = respond::stream(futures_util::stream::iter(chunks));
    Ok(respond::answer(200, tar, body))
}

/// Only who may do everything, and only by this method.
pub(super) fn masters(
    identity: &Identity,
    method: &Method,
    wanted: &str,
    resource: &str,
) -> Result<(), Status> {
    if method.as_str() != wanted {
        let method = method.as_str();
        return Err(Status::method_not_allowed("bramble.dev", resource, method));
    }
    if !identity.is_in(MASTERS) {
        let why = format!("User {:?} is not in the group {MASTERS:?}", identity.user);
        return Err(Status::forbidden("bramble.dev", resource, "", &why));
    }
    Ok(())
}

/// A client certificate for a person. It can do whatever its groups may, until it ends: only who may
/// do everything anyway makes one.
pub(crate) fn certificates(
    ctx: &Context,
    identity: &Identity,
    method: &Method,
    body: &Bytes,
) -> Result<Response<Body>, Status> {
    masters(identity, method, "POST", "certificates")?;
    let request: CertificateRequest = parsed(body)?;
    let seconds = request.ttl_seconds.unwrap_or(DEFAULT_TTL);
    let mut causes = name_causes(&request);
    if !(MIN_TTL..=MAX_TTL).contains(&seconds) {
        let why = "must be between a minute and ten years";
        causes.push(Cause::invalid("ttlSeconds", &seconds.into(), why));
    }
    let csr = Csr::parse(&request.csr)
        .map_err(|e| causes.push(Cause::invalid("csr", &Value::Null, &e.to_string())));
    let (Ok(csr), true) = (csr, causes.is_empty()) else {
        let kind = "CertificateRequest";
        return Err(Status::invalid("bramble.dev", kind, &request.user, causes));
    };
    let until = ctx.clock.now() + seconds;
    let certificate = ctx
        .joiner
        .sign_user(&request.user, &request.groups, until, csr)?;
    tracing::info!(user = request.user, groups = ?request.groups, by = identity.user,
                   "made a client certificate");
    let expires = Timestamp::from_seconds(i64::try_from(until).unwrap_or(i64::MAX));
    let created = CertificateCreated {
        certificate,
        expires: expires.rfc3339(),
    };
    json(201, &created)
}

/// Names that certificates of people may carry: none of the system's, except that of its masters.
fn name_causes(request: &CertificateRequest) -> Vec<Cause> {
    let fine =
        |name: &str| !name.is_empty() && name.len() <= 253 && !name.chars().any(char::is_control);
    let mut causes = Vec::new();
    let mut check = |field: String, name: &str, allowed: &[&str]| {
        if !fine(name) {
            let why = "must be 1 to 253 characters, none of them control characters";
            causes.push(Cause::invalid(field, &name.into(), why));
        } else if name.starts_with("system:") && !allowed.contains(&name) {
            let why = "names that begin with \"system:\" belong to the cluster itself";
            causes.push(Cause::invalid(field, &name.into(), why));
        }
    };
    check("user".to_owned(), &request.user, &[]);
    for (at, group) in request.groups.iter().take(MAX_GROUPS + 1).enumerate() {
        check(format!("groups[{at}]"), group, &[MASTERS]);
    }
    if request.groups.len() > MAX_GROUPS {
        causes.push(Cause::too_many("groups", request.groups.len(), MAX_GROUPS));
    }
    causes
}

pub(super) fn parsed<T: DeserializeOwned>(body: &Bytes) -> Result<T, Status> {
    serde_json::from_slice(body).map_err(|e| Status::bad_request(format!("request body: {e}")))
}

pub(super) fn json(code: u16, value: &impl Serialize) -> Result<Response<Body>, Status> {
    serde_json::to_vec(value)
        .map(|bytes| respond::bytes(code, bytes))
        .map_err(Status::internal)
}
