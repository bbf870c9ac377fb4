//! The Kubernetes `Status` body: every answer that is not an object.
//!
//! Constructors carry upstream's reasons, codes and wording, because people search for the text and
//! kubectl and client libraries branch on `reason` and `details`.

mod cause;

use serde_json::{Map, Value, json};
use std::fmt;

pub use cause::{Cause, reason};

/// What the answer is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// Name of the object.
    pub name: String,
    /// API group.
    pub group: String,
    /// Resource (plural) or kind, as upstream does for this reason.
    pub kind: String,
    /// Uid of the object, for a deletion's answer.
    pub uid: String,
    /// What exactly is wrong.
    pub causes: Vec<Cause>,
    /// When to try again; 0 is unset.
    pub retry_after_seconds: u32,
}

/// A Kubernetes `Status`. It is also the error type of this crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    code: u16,
    reason: &'static str,
    message: String,
    details: Option<Box<Details>>,
    /// `metadata.continue`.
    next: Option<Box<str>>,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

/// `deployments.apps`, or `pods` for the core group.
fn qualified(group: &str, name: &str) -> String {
    if group.is_empty() {
        name.to_owned()
    } else {
        format!("{name}.{group}")
    }
}

impl Status {
    fn plain(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: None,
            next: None,
        }
    }

    fn about(
        code: u16,
        reason: &'static str,
        group: &str,
        kind: &str,
        name: &str,
        message: String,
    ) -> Self {
        let details = Details {
            name: name.into(),
            group: group.into(),
            kind: kind.into(),
            ..Default::default()
        };
        Self {
            code,
            reason,
            message,
            details: Some(Box::new(details)),
            next: None,
        }
    }

    /// The HTTP status code.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// Upstream's machine-readable reason; empty for success.
    pub fn reason(&self) -> &'static str {
        self.reason
    }

    /// The text a person reads.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What the answer is about, when it is about one object.
    pub fn details(&self) -> Option<&Details> {
        self.details.as_deref()
    }

    /// Sets `details.retryAfterSeconds` (the server also sends `Retry-After`).
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.details.get_or_insert_default().retry_after_seconds = seconds;
        self
    }

    /// 404 for an object: `deployments.apps "x" not found`.
    pub fn not_found(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {name:?} not found", qualified(group, resource));
        Self::about(404, "NotFound", group, resource, name, message)
    }

    /// 404 for a path that no resource answers.
    pub fn not_found_path() -> Self {
        let mut status = Self::plain(
            404,
            "NotFound",
            "the server could not find the requested resource",
        );
        status.details = Some(Box::default());
        status
    }

    /// Whether this is [`Status::not_found_path`].
    pub fn is_not_found_path(&self) -> bool {
        *self == Self::not_found_path()
    }

    /// 409: the object is there already.
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", qualified(group, resource));
        Self::about(409, "AlreadyExists", group, resource, name, message)
    }

    /// 409: no name that was drawn for `generateName` was free.
    pub fn generated_name_taken(group: &str, resource: &str, name: &str) -> Self {
        let message = format!(
            "{} {name:?} already exists, the server was not able to generate a unique name for the \
             object",
            qualified(group, resource)
        );
        Self::about(409, "AlreadyExists", group, resource, name, message).retry_after(1)
    }

    /// 409: `Operation cannot be fulfilled on …`.
    pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} {name:?}: {why}",
            qualified(group, resource)
        );
        Self::about(409, "Conflict", group, resource, name, message)
    }

    /// 409 with upstream's text for a stale `resourceVersion`.
    pub fn conflict_modified(group: &str, resource: &str, name: &str) -> Self {
        Self::conflict(
            group,
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 409: an apply would change what other managers own.
    pub fn apply_conflict(causes: Vec<Cause>, message: &str) -> Self {
        let mut status = Self::plain(409, "Conflict", message);
        status.details.get_or_insert_default().causes = causes;
        status
    }

    /// 500 without a reason: upstream's answer to an error that it did not foresee.
    pub fn unknown(message: impl Into<String>) -> Self {
        Self::plain(500, "", message)
    }

    /// 422: the object fails validation; the message aggregates the causes as upstream does.
    pub fn invalid(group: &str, kind: &str, name: &str, causes: Vec<Cause>) -> Self {
        let mut lines: Vec<String> = Vec::with_capacity(causes.len());
        for cause in &causes {
            let line = if cause.field.is_empty() {
                cause.message.clone()
            } else {
                format!("{}: {}", cause.field, cause.message)
            };
            // Upstream drops repeated messages from the aggregate but keeps every cause.
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        let list = match lines.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let message = if kind.is_empty() {
            format!("The request is invalid: {list}")
        } else {
            format!("{} {name:?} is invalid: {list}", qualified(group, kind))
        };
        let mut status = Self::about(422, "Invalid", group, kind, name, message);
        if let Some(details) = &mut status.details {
            details.causes = causes;
        }
        status
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::plain(400, "BadRequest", message)
    }

    /// 422 for a patch that does not apply, in upstream's few words.
    pub fn unprocessable() -> Self {
        let message = "the server rejected our request due to an error in our request";
        let mut status = Self::plain(422, "Invalid", message);
        status.details = Some(Box::default());
        status
    }

    /// 415.
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        Self::plain(
            415,
            "UnsupportedMediaType",
            format!(
                "the body of the request was in an unknown format - accepted media types include: {}",
                accepted.join(", ")
            ),
        )
    }

    /// 415 for a body that is packed in a way we don't unpack.
    pub fn unsupported_encoding(encoding: &str) -> Self {
        Self::plain(
            415,
            "UnsupportedMediaType",
            format!(
                "the body of the request was in an unknown format - content encoding {encoding:?} \
                 is not supported, accepted encodings include: gzip, identity"
            ),
        )
    }

    /// 406.
    pub fn not_acceptable(accepted: &[&str]) -> Self {
        Self::plain(
            406,
            "NotAcceptable",
            format!(
                "only the following media types are accepted: {}",
                accepted.join(", ")
            ),
        )
    }

    /// 405: the path is there, and this is not what is done to it.
    pub fn method_not_allowed_path() -> Self {
        let message = "the server does not allow this method on the requested resource";
        let mut status = Self::plain(405, "MethodNotAllowed", message);
        status.details = Some(Box::default());
        status
    }

    /// 405: the resource does not do this verb.
    pub fn method_not_allowed(group: &str, resource: &str, verb: &str) -> Self {
        let message = format!(
            "{verb} is not supported on resources of kind {:?}",
            qualified(group, resource)
        );
        Self::about(405, "MethodNotAllowed", group, resource, "", message)
    }

    /// 410: the requested revision is no longer kept.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::plain(410, "Expired", message)
    }

    /// With a token to go on with, as a list that has expired offers.
    #[must_use]
    pub fn with_continue(mut self, token: &str) -> Self {
        self.next = Some(token.into());
        self
    }

    /// 413. The message is what is too large, without upstream's words for that.
    pub fn too_large(message: impl Into<String>) -> Self {
        let message = format!("Request entity too large: {}", message.into());
        Self::plain(413, "RequestEntityTooLarge", message)
    }

    /// 403 for a user who may not do this.
    pub fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let message = if name.is_empty() {
            format!("{} is forbidden: {why}", qualified(group, resource))
        } else {
            format!(
                "{} {name:?} is forbidden: {why}",
                qualified(group, resource)
            )
        };
        Self::about(403, "Forbidden", group, resource, name, message)
    }

    /// 403: nothing new comes into a namespace that is going.
    pub fn namespace_terminating(group: &str, resource: &str, name: &str, namespace: &str) -> Self {
        let why = format!(
            "unable to create new content in namespace {namespace} because it is being terminated"
        );
        let mut status = Self::forbidden(group, resource, name, &why);
        status.details.get_or_insert_default().causes = vec![Cause::new(
            "NamespaceTerminating",
            "metadata.namespace",
            format!("namespace {namespace} is being terminated"),
        )];
        status
    }

    /// 403 for a path that is no resource: `forbidden: …`.
    pub fn forbidden_path(why: &str) -> Self {
        let mut status = Self::plain(403, "Forbidden", format!("forbidden: {why}"));
        status.details = Some(Box::default());
        status
    }

    /// 504 for a revision that was never issued; clients know it by its cause.
    pub fn too_large_resource_version(requested: u64, current: u64) -> Self {
        let message = format!("Too large resource version: {requested}, current: {current}");
        let mut status = Self::timeout(format!("Timeout: {message}"), 1);
        let cause = Cause::new(
            "ResourceVersionTooLarge",
            "",
            "Too large resource version".into(),
        );
        status.details.get_or_insert_default().causes = vec![cause];
        status
    }

    /// 401.
    pub fn unauthorized() -> Self {
        Self::plain(401, "Unauthorized", "Unauthorized")
    }

    /// 429.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        Self::plain(429, "TooManyRequests", message).retry_after(retry_after_seconds)
    }

    /// 503.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::plain(503, "ServiceUnavailable", message)
    }

    /// 504, also for a revision from the future: `Too large resource version: …`.
    pub fn timeout(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        Self::plain(504, "Timeout", message).retry_after(retry_after_seconds)
    }

    /// 500.
    pub fn internal(message: impl fmt::Display) -> Self {
        Self::plain(
            500,
            "InternalError",
            format!("Internal error occurred: {message}"),
        )
    }

    /// 200 after a deletion.
    pub fn deleted(group: &str, resource: &str, name: &str, uid: &str) -> Self {
        let mut status = Self::about(200, "", group, resource, name, String::new());
        if let Some(details) = &mut status.details {
            details.uid = uid.into();
        }
        status
    }

    /// 201 without an object, as the binding subresource answers.
    pub fn created() -> Self {
        Self::plain(201, "", "")
    }

    /// The JSON body.
    pub fn to_value(&self) -> Value {
        let mut body = Map::new();
        body.insert("kind".into(), "Status".into());
        body.insert("apiVersion".into(), "v1".into());
        let metadata = match &self.next {
            Some(token) => json!({"continue": token}),
            None => json!({}),
        };
        body.insert("metadata".into(), metadata);
        let outcome = if self.code < 400 {
            "Success"
        } else {
            "Failure"
        };
        body.insert("status".into(), outcome.into());
        if !self.message.is_empty() {
            body.insert("message".into(), self.message.as_str().into());
        }
        if !self.reason.is_empty() {
            body.insert("reason".into(), self.reason.into());
        }
        if let Some(details) = &self.details {
            body.insert("details".into(), details.to_value());
        }
        if self.code >= 400 || self.code == 201 {
            body.insert("code".into(), self.code.into());
        }
        Value::Object(body)
    }

    /// The JSON body as bytes.
    pub fn to_json(&self) -> Vec<u8> {
        self.to_value().to_string().into_bytes()
    }
}

impl Details {
    fn to_value(&self) -> Value {
        let mut map = Map::new();
        for (key, text) in [
            ("name", &self.name),
            ("group", &self.group),
            ("kind", &self.kind),
            ("uid", &self.uid),
        ] {
            if !text.is_empty() {
                map.insert(key.into(), text.as_str().into());
            }
        }
        if !self.causes.is_empty() {
            let causes = self
                .causes
                .iter()
                .map(|c| json!({"reason": c.reason, "message": c.message, "field": c.field}));
            map.insert("causes".into(), causes.collect());
        }
        if self.retry_after_seconds > 0 {
            map.insert("retryAfterSeconds".into(), self.retry_after_seconds.into());
        }
        Value::Object(map)
    }
}
