//! Our own paths below `/bramble/v1`: joining, and the tokens for it.

use bramble_api::status::Status;
use bramble_wire::join::TokenRequest;
use bytes::Bytes;
use http::{Method, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Context;
use super::respond::{self, Body};

/// A join request holds five short fields; nobody without a token may send more.
pub(crate) const JOIN_BODY: usize = 32 * 1024;

pub(crate) async fn join(ctx: &Context, body: &Bytes) -> Result<Response<Body>, Status> {
    json(200, &ctx.joiner.join(&parsed(body)?).await?)
}

pub(crate) async fn tokens(
    ctx: &Context,
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

fn parsed<T: DeserializeOwned>(body: &Bytes) -> Result<T, Status> {
    serde_json::from_slice(body).map_err(|e| Status::bad_request(format!("request body: {e}")))
}

fn json(code: u16, value: &impl Serialize) -> Result<Response<Body>, Status> {
    serde_json::to_vec(value)
        .map(|bytes| respond::bytes(code, bytes))
        .map_err(Status::internal)
}
