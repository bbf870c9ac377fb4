//! Questions that are posted as objects and answered at once; nothing of them is stored.

use bramble_api::status::Status;
use serde_json::Value;

use super::authn::Identity;
use super::request::Info;
use super::{Context, rbac, token};

/// Answers the question in `object`, which `identity` asks.
pub(crate) async fn create(
    ctx: &Context,
    identity: &Identity,
    info: &Info,
    object: Value,
) -> Result<Value, Status> {
    match info.kind.kind {
        "TokenReview" => token::review(ctx, object),
        "SelfSubjectReview" => Ok(token::review_self(identity, object)),
        "SelfSubjectAccessReview"
        | "SelfSubjectRulesReview"
        | "SubjectAccessReview"
        | "LocalSubjectAccessReview" => rbac::review(ctx, identity, info, object),
        other => Err(Status::internal(format!("{other} has no answer"))),
    }
}
