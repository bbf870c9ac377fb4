//! Server-side apply at the edge: requests with an apply configuration, and who owns what after
//! writes that are none.
//!
//! The decisions are [`bramble_api::apply`]'s. An apply is a change like any other
//! ([`super::write`]), but that it creates what is not there.

use bramble_api::apply::{self, Applied, Request, Sent};
use bramble_api::decode::{self, FieldValidation};
use bramble_api::status::{Cause, Status};
use bytes::Bytes;
use http::header::USER_AGENT;
use http::{HeaderMap, Response};
use serde_json::Value;

use super::Context;
use super::create::{self, New};
use super::meta::Form;
use super::options::Options;
use super::request::Info;
use super::respond::Body;
use super::write::{self, Change, TRIES};
use crate::object;

/// The media type of apply configurations.
pub(crate) const APPLY: &str = "application/apply-patch+yaml";
/// Longest name of a manager.
const MAX_MANAGER: usize = 128;

/// A decoded apply request.
#[derive(Debug)]
pub(crate) struct Configuration {
    config: Value,
    manager: String,
    force: bool,
    warnings: Vec<String>,
}

/// Whether the body of a patch is an apply configuration.
pub(crate) fn is_apply(headers: &HeaderMap) -> bool {
    let media = write::content_type(headers).unwrap_or_default();
    media.split(';').next().unwrap_or_default().trim() == APPLY
}

/// Upstream's `ValidatePatchOptions` and what it decodes.
pub(crate) fn parse(
    info: &Info,
    body: &Bytes,
    validation: FieldValidation,
) -> Result<Configuration, Status> {
    let Some(manager) = info.query.get("fieldManager") else {
        let cause = Cause::required("fieldManager", "is required for apply patch");
        let (group, kind) = ("meta.k8s.io", "PatchOptions");
        return Err(Status::invalid(group, kind, "", vec![cause]));
    };
    let (config, duplicates) = decode::configuration(body)?;
    let mut warnings: Vec<String> = duplicates
        .iter()
        .map(|path| format!("duplicate field \"{path}\""))
        .collect();
    match validation {
        FieldValidation::Strict if !warnings.is_empty() => {
            return Err(Status::bad_request(format!(
                "error strict decoding YAML: {}",
                warnings.join(", ")
            )));
        }
        FieldValidation::Ignore => warnings.clear(),
        _ => {}
    }
    Ok(Configuration {
        config,
        manager: manager.to_owned(),
        force: info.query.flag("force"),
        warnings,
    })
}

impl Configuration {
    /// Turned into one of the object itself, when it is a Scale.
    pub(crate) fn of_scale(mut self, info: &Info) -> Result<Self, Status> {
        self.config = apply::scale_config(info.kind, &self.config)?;
        check_name(info, &self.config, false)?;
        Ok(self)
    }

    /// Merges it into the object.
    pub(crate) fn merge(&self, info: &Info, live: Option<&Value>) -> Result<Applied, Status> {
        let request = Request {
            force: self.force,
            ..request(info, &self.manager)
        };
        apply::apply(&request, live, &self.config)
    }
}

fn request<'a>(info: &'a Info, manager: &'a str) -> Request<'a> {
    Request {
        kind: info.kind,
        subresource: info.subresource.map(|s| s.name),
        manager,
        force: false,
        now: object::now(),
    }
}

/// Changes the object, or creates it when it is not there.
pub(crate) async fn apply(
    ctx: &Context,
    info: &Info,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Response<Body>, Status> {
    Form::negotiate(headers, &info.query)?;
    let options = Options::parse(&info.query, "PatchOptions")?;
    let configuration = parse(info, body, options.validation)?;
    let key = info.key(info.name());
    let warnings = configuration.warnings.clone();
    let change = Change::Apply(configuration);
    let mut tries = TRIES;
    loop {
        tries -= 1;
        let is_there = ctx.store.get(&key).is_some();
        let result = if is_there || info.subresource.is_some() {
            write::change(ctx, info, headers, options, &change, warnings.clone()).await
        } else {
            create(ctx, info, headers, options, &change, warnings.clone()).await
        };
        match result {
            // It came or went in between.
            Err(status)
                if tries > 0
                    && info.subresource.is_none()
                    && ctx.store.get(&key).is_some() != is_there
                    && matches!(status.reason(), "AlreadyExists" | "NotFound") => {}
            result => return result,
        }
    }
}

async fn create(
    ctx: &Context,
    info: &Info,
    headers: &HeaderMap,
    options: Options,
    change: &Change<'_>,
    warnings: Vec<String>,
) -> Result<Response<Body>, Status> {
    let Change::Apply(configuration) = change else {
        return Err(Status::internal("not an apply"));
    };
    let Applied {
        object,
        managed_fields,
    } = configuration.merge(info, None)?;
    let uid = object.pointer("/metadata/uid").and_then(Value::as_str);
    if let Some(uid) = uid.filter(|uid| !uid.is_empty()) {
        let why = format!(
            "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
        );
        let (group, resource) = (info.kind.group, info.kind.plural);
        return Err(Status::conflict(group, resource, info.name(), &why));
    }
    check_name(info, &object, true)?;
    let decoded = decode::check(info.kind, object, FieldValidation::Ignore)?;
    let new = New {
        value: &decoded.value,
        managed_fields,
    };
    create::insert(ctx, info, headers, options, new, warnings).await
}

/// Upstream's `checkName`; a configuration of something that is there may leave its name out.
fn check_name(info: &Info, object: &Value, needed: bool) -> Result<(), Status> {
    let said = object.pointer("/metadata/name").and_then(Value::as_str);
    let (said, name) = (said.unwrap_or_default(), info.name());
    if said.is_empty() && needed {
        return Err(Status::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )));
    }
    if !said.is_empty() && said != name {
        return Err(Status::bad_request(format!(
            "the name of the object ({said}) does not match the name on the URL ({name})"
        )));
    }
    Ok(())
}

/// After a write that is no apply: moves ownership, when the object has owners.
pub(crate) fn track(info: &Info, headers: &HeaderMap, old: &Value, new: &mut Value, sent: &Sent) {
    let manager = match info.query.get("fieldManager") {
        Some(name) => name.to_owned(),
        None => from_user_agent(headers),
    };
    apply::update(&request(info, &manager), old, new, sent);
}

/// The name of the program, as upstream reads it.
fn from_user_agent(headers: &HeaderMap) -> String {
    let agent = headers.get(USER_AGENT).and_then(|v| v.to_str().ok());
    let name = agent.unwrap_or_default().split('/').next();
    // Header values are ASCII here.
    let printable = |c: &char| c.is_ascii_graphic() || *c == ' ';
    let name = name.unwrap_or_default().chars().filter(printable);
    name.take(MAX_MANAGER).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use http::header::CONTENT_TYPE;

    #[test]
    fn the_media_type_may_have_parameters() {
        for (value, want) in [
            (APPLY, true),
            ("application/apply-patch+yaml; charset=utf-8", true),
            ("application/apply-patch+cbor", false),
            ("application/merge-patch+json", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(value));
            assert_eq!(is_apply(&headers), want, "{value}");
        }
        assert!(!is_apply(&HeaderMap::new()));
    }

    #[test]
    fn programs_are_named_by_their_user_agent() {
        let long = format!("{}/1", "a".repeat(200));
        for (agent, want) in [
            ("kubectl/v1.37.1 (linux/amd64)", "kubectl"),
            ("Mozilla 5.0", "Mozilla 5.0"),
            ("/x", ""),
            (&long, &"a".repeat(128)),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(USER_AGENT, HeaderValue::from_str(agent).unwrap());
            assert_eq!(from_user_agent(&headers), want, "{agent}");
        }
    }
}
