//! Tokens over the API: TokenRequest makes one, TokenReview says whose one is, and SelfSubjectReview
//! says who asks.
//!
//! Defaults, order of the checks and messages are upstream's
//! (`k8s.io/kubernetes/pkg/registry/core/serviceaccount/storage/token.go`,
//! `pkg/registry/authentication/tokenreview/storage.go`).

use bramble_api::decode;
use bramble_api::status::{Cause, Status};
use bramble_api::time::Timestamp;
use bytes::Bytes;
use http::{HeaderMap, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::authn::Identity;
use super::options::Options;
use super::request::Info;
use super::respond::{self, Body};
use super::write::content_type;
use super::{Context, rbac};
use crate::object;
use crate::tokens::{API_AUDIENCES, Bound, DEFAULT_SECONDS, Minter as _, Request};

/// Where a wish for a token says something.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    audiences: Option<Vec<String>>,
    expiration_seconds: Option<i64>,
    bound_object_ref: Option<Reference>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Reference {
    kind: String,
    api_version: String,
    name: String,
    uid: String,
}

/// POST of `serviceaccounts/NAME/token`. A token is not stored, so a dry run is answered like any other
/// request, as upstream: whoever may ask with one may ask without.
pub(crate) fn create(
    ctx: &Context,
    info: &Info,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Response<Body>, Status> {
    let sub = info.subresource.ok_or_else(Status::not_found_path)?;
    let options = Options::parse(&info.query, "CreateOptions")?;
    let decoded = decode::message(content_type(headers), body, sub.into(), options.validation)?;
    let mut wish = decoded.value;
    let namespace = info.namespace.as_deref().unwrap_or_default();
    check_names(&wish, namespace, info.name())?;
    rbac::admit_token(ctx, info, &wish)?;
    let spec: Spec = match wish.get("spec") {
        None | Some(Value::Null) => Spec::default(),
        Some(spec) => Deserialize::deserialize(spec).map_err(|e| {
            let cause = Cause::invalid("spec", &Value::Null, &e.to_string());
            Status::invalid(sub.group, sub.kind, "", vec![cause])
        })?,
    };
    let reference = spec.bound_object_ref.as_ref();
    let minted = ctx.tokens.mint(&Request {
        namespace,
        account: info.name(),
        audiences: spec.audiences.as_deref().unwrap_or_default(),
        seconds: spec.expiration_seconds.unwrap_or(DEFAULT_SECONDS),
        bound: reference.map(|reference| Bound {
            api_version: &reference.api_version,
            kind: &reference.kind,
            name: &reference.name,
            uid: &reference.uid,
        }),
    })?;
    let metadata = &mut wish["metadata"];
    metadata["name"] = info.name().into();
    metadata["namespace"] = namespace.into();
    metadata["creationTimestamp"] = object::now().rfc3339().into();
    let spec = &mut wish["spec"];
    spec["audiences"] = json!(minted.audiences);
    spec["expirationSeconds"] = minted.seconds.into();
    if reference.is_none() {
        spec["boundObjectRef"] = Value::Null;
    }
    let expires = Timestamp::from_seconds(i64::try_from(minted.expires).unwrap_or(i64::MAX));
    wish["status"] = json!({"token": minted.token, "expirationTimestamp": expires.rfc3339()});
    let mut response = respond::value(201, &wish);
    respond::warn(&mut response, &[decoded.warnings, minted.warnings].concat());
    Ok(response)
}

/// A body may name what its path names, and nothing else.
fn check_names(wish: &Value, namespace: &str, name: &str) -> Result<(), Status> {
    let said = |field: &str| wish["metadata"][field].as_str().unwrap_or_default();
    let differs = |said: &str, is: &str| !said.is_empty() && said != is;
    if differs(said("name"), name) {
        let text = said("name");
        return Err(Status::bad_request(format!(
            "the name of the object ({text}) does not match the name on the URL ({name})"
        )));
    }
    if differs(said("namespace"), namespace) {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

/// Whose token it is, for somebody who was shown it.
pub(super) fn review(ctx: &Context, mut review: Value) -> Result<Value, Status> {
    let token = review["spec"]["token"].as_str().unwrap_or_default();
    if token.is_empty() {
        return Err(Status::bad_request(
            "token is required for TokenReview in authentication",
        ));
    }
    let asked: Vec<String> = match review["spec"]["audiences"].as_array() {
        Some(list) if !list.is_empty() => list
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        _ => API_AUDIENCES.iter().map(|&a| a.to_owned()).collect(),
    };
    review["status"] = match ctx.tokens.authenticate(token.trim(), &asked) {
        Ok(verified) => json!({
            "authenticated": true,
            "user": user(&verified.identity),
            "audiences": verified.audiences,
        }),
        Err(why) => json!({"user": {}, "error": why.to_string()}),
    };
    stamp(&mut review);
    Ok(review)
}

/// Who asks: `kubectl auth whoami`.
pub(super) fn review_self(identity: &Identity, mut review: Value) -> Value {
    review["status"] = json!({"userInfo": user(identity)});
    stamp(&mut review);
    review
}

fn stamp(review: &mut Value) {
    review["metadata"]["creationTimestamp"] = object::now().rfc3339().into();
}

/// As `authentication.k8s.io/v1` UserInfo, without what is empty.
fn user(identity: &Identity) -> Value {
    let mut user = json!({"username": identity.user});
    if !identity.uid.is_empty() {
        user["uid"] = identity.uid.as_str().into();
    }
    if !identity.groups.is_empty() {
        user["groups"] = json!(identity.groups);
    }
    if !identity.extra.is_empty() {
        user["extra"] = json!(identity.extra);
    }
    user
}
