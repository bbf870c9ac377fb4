//! Between decoding and the store: defaults, validation, immutability, and what is not supported.
//!
//! `create` and `update` change the object in place into what will be stored and return the
//! warnings for the client. They never look at other objects.

use crate::kind::Kind;
use crate::status::Status;
use crate::time::Timestamp;
use serde_json::Value;

/// A text for a `Warning: 299 - "…"` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The text.
    pub text: String,
}

/// What a new object needs from outside.
#[derive(Debug, Clone, Copy)]
pub struct Create<'a> {
    /// Creation time.
    pub now: Timestamp,
    /// A fresh UUID.
    pub uid: &'a str,
    /// Five random characters out of `metadata::SUFFIX_ALPHABET`, for `generateName`.
    pub suffix: &'a str,
    /// Namespace of the request path; `None` for cluster-scoped kinds.
    pub namespace: Option<&'a str>,
}

/// What a change needs from outside.
#[derive(Debug, Clone, Copy)]
pub struct Update<'a> {
    /// Time of the change.
    pub now: Timestamp,
    /// `Some("status")` when the request came through that subresource.
    pub subresource: Option<&'a str>,
}

/// Makes a decoded object ready to be stored for the first time: name, uid, creation time,
/// generation, defaults, no status that the client may not set; or says what is wrong.
pub fn create(kind: &Kind, object: &mut Value, ctx: &Create<'_>) -> Result<Vec<Warning>, Status> {
    let _ = (kind, object, ctx);
    Err(Status::internal("admission is not built"))
}

/// Makes `new` ready to replace `old`: system-owned metadata is carried over, the generation moves
/// when the spec changed, and through `status` only the status (and labels, annotations) moves.
///
/// The caller compares `resourceVersion` first and skips the write when `new == old` afterwards.
pub fn update(
    kind: &Kind,
    old: &Value,
    new: &mut Value,
    ctx: &Update<'_>,
) -> Result<Vec<Warning>, Status> {
    let _ = (kind, old, new, ctx);
    Err(Status::internal("admission is not built"))
}
