//! The `scale` subresource: `spec.replicas` of any kind that has it, as `autoscaling/v1` Scale.

use bramble_api::admit;
use bramble_api::apply::{self as owners, Sent};
use bramble_api::decode;
use bramble_api::status::{Cause, Status};
use bytes::Bytes;
use http::{HeaderMap, Response};
use serde_json::{Value, json};

use super::list::read;
use super::options::Options;
use super::request::{Info, Verb};
use super::respond::{self, Body};
use super::write::{Change, TRIES, commit, content_type, parse_patch, patched, put, store_error};
use super::{Context, apply};
use crate::object;
use crate::store::{Error, Expect};

pub(crate) async fn scale(
    ctx: &Context,
    info: &Info,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Response<Body>, Status> {
    if info.verb == Verb::Get {
        let entry = read(&*ctx.store, info).await?;
        let object = serde_json::from_slice(&entry.json).map_err(Status::internal)?;
        return Ok(respond::value(200, &scale_of(&object)));
    }
    let what = if info.verb == Verb::Patch {
        "PatchOptions"
    } else {
        "UpdateOptions"
    };
    let options = Options::parse(&info.query, what)?;
    let change = if apply::is_apply(headers) && info.verb == Verb::Patch {
        Change::Apply(apply::parse(info, body, options.validation)?.of_scale(info)?)
    } else if info.verb == Verb::Patch {
        parse_patch(ctx, info, headers, body).await?
    } else {
        let sub = info.subresource.ok_or_else(Status::not_found_path)?;
        let decoded = decode::message(content_type(headers), body, sub.into(), options.validation)?;
        Change::Replace(decoded.value)
    };
    write(ctx, info, headers, options, &change).await
}

async fn write(
    ctx: &Context,
    info: &Info,
    headers: &HeaderMap,
    options: Options,
    change: &Change<'_>,
) -> Result<Response<Body>, Status> {
    let mut tries = TRIES;
    loop {
        tries -= 1;
        let entry = read(&*ctx.store, info).await?;
        let old: Value = serde_json::from_slice(&entry.json).map_err(Status::internal)?;
        let current = scale_of(&old);
        let (wanted, applied) = match change {
            Change::Replace(value) => (value.clone(), None),
            Change::Patch {
                content_type,
                patch,
            } => (patched(info.kind, content_type, &current, patch)?, None),
            Change::Apply(configuration) => {
                let applied = configuration.merge(info, Some(&old))?;
                (scale_of(&applied.object), Some(applied.managed_fields))
            }
        };
        let version = wanted
            .pointer("/metadata/resourceVersion")
            .and_then(Value::as_str);
        if version.is_some_and(|v| !v.is_empty() && current["metadata"]["resourceVersion"] != v) {
            return Err(info.kind.conflict(info.name()));
        }
        let mut new = old.clone();
        new["spec"]["replicas"] = replicas(info, &wanted)?.into();
        let context = admit::Update {
            now: object::now(),
            subresource: Some("scale"),
        };
        admit::update(info.kind, &old, &mut new, &context)?;
        match applied {
            Some(managed_fields) => owners::set_managed_fields(&mut new, managed_fields),
            None => apply::track(info, headers, &old, &mut new, &Sent::Nothing),
        }
        if owners::is_same(&old, &new) || options.dry_run {
            return Ok(respond::value(200, &scale_of(&new)));
        }
        let op = put(
            info.kind,
            entry.key.clone(),
            &new,
            Expect::Revision(entry.modified),
        );
        match commit(ctx, vec![op]).await {
            Ok(entries) => {
                let object = serde_json::from_slice(&entries[0].json).map_err(Status::internal)?;
                return Ok(respond::value(200, &scale_of(&object)));
            }
            Err(Error::Conflict { .. }) if tries > 0 => {}
            Err(error) => return Err(store_error(info.kind, info.name(), &error)),
        }
    }
}

fn replicas(info: &Info, scale: &Value) -> Result<i64, Status> {
    let value = scale
        .pointer("/spec/replicas")
        .cloned()
        .unwrap_or_else(|| 0.into());
    let cause = match value.as_i64() {
        Some(count) if (0..=i64::from(i32::MAX)).contains(&count) => return Ok(count),
        Some(_) => Cause::invalid(
            "spec.replicas",
            &value,
            "must be greater than or equal to 0",
        ),
        None => Cause::invalid("spec.replicas", &value, "must be an integer"),
    };
    Err(Status::invalid(
        "autoscaling",
        "Scale",
        info.name(),
        vec![cause],
    ))
}

fn scale_of(object: &Value) -> Value {
    let mut metadata = json!({});
    for field in [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
    ] {
        if let Some(value) = object.pointer(&format!("/metadata/{field}")) {
            metadata[field] = value.clone();
        }
    }
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": {"replicas": number("/spec/replicas")},
        "status": {"replicas": number("/status/replicas"), "selector": selector_text(object.pointer("/spec/selector"))},
    })
}

/// A selector in the form of a `labelSelector` parameter: what autoscalers count pods by. Without
/// `matchLabels` and `matchExpressions` it is the plain map of a ReplicationController.
fn selector_text(selector: Option<&Value>) -> String {
    let Some(selector) = selector.and_then(Value::as_object) else {
        return String::new();
    };
    let full = selector.contains_key("matchLabels") || selector.contains_key("matchExpressions");
    let labels = if full {
        selector.get("matchLabels").and_then(Value::as_object)
    } else {
        Some(selector)
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut terms: Vec<(String, String)> = labels
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), format!("{key}={}", text(value))))
        .collect();
    let expressions = selector.get("matchExpressions").and_then(Value::as_array);
    for expression in expressions.into_iter().flatten() {
        let key = text(&expression["key"]);
        let values = expression["values"].as_array();
        let mut values: Vec<String> = values.into_iter().flatten().map(text).collect();
        values.sort();
        let values = values.join(",");
        let term = match expression["operator"].as_str() {
            Some("In") => format!("{key} in ({values})"),
            Some("NotIn") => format!("{key} notin ({values})"),
            Some("DoesNotExist") => format!("!{key}"),
            _ => key.clone(),
        };
        terms.push((key, term));
    }
    terms.sort();
    let terms: Vec<String> = terms.into_iter().map(|(_, term)| term).collect();
    terms.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_as_upstream_prints_them() {
        for (selector, want) in [
            (json!({"matchLabels": {"b": "2", "a": "1"}}), "a=1,b=2"),
            (
                json!({"matchLabels": {"b": "2"}, "matchExpressions": [
                    {"key": "a", "operator": "In", "values": ["y", "x"]},
                    {"key": "c", "operator": "NotIn", "values": ["z"]},
                    {"key": "d", "operator": "Exists"},
                    {"key": "e", "operator": "DoesNotExist"}]}),
                "a in (x,y),b=2,c notin (z),d,!e",
            ),
            (json!({"app": "x"}), "app=x"),
            (json!({}), ""),
        ] {
            assert_eq!(selector_text(Some(&selector)), want);
        }
    }
}
