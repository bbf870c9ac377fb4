//! Deletion at the edge: what a request asks for, preconditions, and the write. What a deletion does
//! to an object is [`bramble_controller_core::deletion`]'s; dependents are the garbage collector's.

use bramble_api::decode;
use bramble_api::kind::Kind;
use bramble_api::status::{Cause, Status};
use bramble_api::view::Condition;
use bramble_controller_core::conditions;
use bramble_controller_core::deletion::{self, Deletion, Propagation};
use bytes::Bytes;
use http::{HeaderMap, Response};
use serde_json::{Value, json};

use super::conditions::Selection;
use super::list::{read, render, select};
use super::meta::Form;
use super::options::dry_run_cause;
use super::request::Info;
use super::respond::{self, Body};
use super::write::{TRIES, answer, content_type, durability, put, store_error};
use super::{Context, gzip, rbac};
use crate::join;
use crate::object::now;
use crate::store::{Commit, Entry, Error, Expect, Op};

/// `DeleteOptions`, from the body or else the query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    deletion: deletion::Options,
    uid: Option<String>,
    resource_version: Option<String>,
    /// As it was said, for the code of the answer.
    orphan_dependents: Option<bool>,
    pub(crate) dry_run: bool,
}

impl Options {
    pub(crate) fn parse(info: &Info, headers: &HeaderMap, body: &Bytes) -> Result<Self, Status> {
        let query = &info.query;
        let mut value = decode::delete_options(content_type(headers), body)?;
        // As upstream: the query counts when there is no body.
        if body.is_empty() {
            if let Some(grace) = query.number("gracePeriodSeconds")? {
                value["gracePeriodSeconds"] = grace.into();
            }
            if query.get("orphanDependents").is_some() {
                value["orphanDependents"] = query.flag("orphanDependents").into();
            }
            if let Some(policy) = query.get("propagationPolicy") {
                value["propagationPolicy"] = policy.into();
            }
        }
        // A trial is never the real thing because it was asked for in the wrong place.
        let trials = query.all("dryRun").map(Value::from);
        let said = value.get("dryRun").and_then(Value::as_array);
        let trials: Vec<Value> = said.into_iter().flatten().cloned().chain(trials).collect();
        if !trials.is_empty() {
            value["dryRun"] = trials.into();
        }
        Self::from_value(&value)
    }

    /// From a `DeleteOptions` object, under the rules of upstream's `ValidateDeleteOptions`
    /// (apimachinery/pkg/apis/meta/v1/validation/validation.go).
    pub(crate) fn from_value(value: &Value) -> Result<Self, Status> {
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
        let orphan_dependents = value.get("orphanDependents").and_then(Value::as_bool);
        let policy = value.get("propagationPolicy").filter(|p| !p.is_null());
        let mut causes = Vec::new();
        if orphan_dependents.is_some()
            && let Some(policy) = policy
        {
            let detail = "orphanDependents and deletionPropagation cannot be both set";
            causes.push(Cause::invalid("propagationPolicy", policy, detail));
        }
        let propagation = match policy.map(|p| p.as_str().unwrap_or_default()) {
            None => None,
            Some("Background") => Some(Propagation::Background),
            Some("Foreground") => Some(Propagation::Foreground),
            Some("Orphan") => Some(Propagation::Orphan),
            Some(other) => {
                let supported = ["Foreground", "Background", "Orphan", "nil"];
                let other = Value::from(other);
                causes.push(Cause::not_supported(
                    "propagationPolicy",
                    &other,
                    &supported,
                ));
                None
            }
        };
        let trials = value.get("dryRun").and_then(Value::as_array);
        let trials: Vec<&str> = trials
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        causes.extend(dry_run_cause(&trials));
        if !causes.is_empty() {
            return Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", causes));
        }
        let propagation = propagation.or(orphan_dependents.map(|orphan| match orphan {
            true => Propagation::Orphan,
            false => Propagation::Background,
        }));
        Ok(Self {
            deletion: deletion::Options {
                grace: value.get("gracePeriodSeconds").and_then(Value::as_i64),
                propagation,
            },
            uid: text("/preconditions/uid").map(str::to_owned),
            resource_version: text("/preconditions/resourceVersion").map(str::to_owned),
            orphan_dependents,
            dry_run: !trials.is_empty(),
        })
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Kinds whose deletion answers with the object; upstream's `ReturnDeletedObject`.
fn answers_with_object(kind: &Kind) -> bool {
    matches!(
        kind.kind,
        "Pod" | "PodTemplate" | "ResourceQuota" | "Service" | "ServiceAccount"
    )
}

/// What became of an object.
pub(crate) enum Outcome {
    /// It is gone; its last state.
    Gone(Value),
    /// It stays for now, as these bytes.
    Stays(Bytes),
    /// It was being deleted already.
    Pending(Value),
}

pub(crate) async fn delete(
    ctx: &Context,
    info: &Info,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Response<Body>, Status> {
    Form::negotiate(headers, &info.query)?;
    let options = Options::parse(info, headers, body)?;
    let outcome = delete_one(ctx, info, &options, None).await?;
    let gone = matches!(outcome, Outcome::Gone(_));
    // Upstream (endpoints/handlers/delete.go) says "accepted" only to who asked for the cascade in
    // the old way.
    let code = match options.orphan_dependents {
        Some(false) if !gone => 202,
        _ => 200,
    };
    match outcome {
        Outcome::Stays(json) => answer(info, headers, code, &json, &[]),
        Outcome::Gone(object) | Outcome::Pending(object) if answers_with_object(info.kind) => {
            answer(info, headers, code, &object.to_string().into(), &[])
        }
        Outcome::Gone(object) | Outcome::Pending(object) => {
            let uid = text(&object, "/metadata/uid");
            let (group, resource) = (info.kind.group, info.kind.plural);
            let status = Status::deleted(group, resource, info.name(), uid);
            let mut response = respond::status(&status);
            if code == 202 {
                *response.status_mut() = http::StatusCode::ACCEPTED;
            }
            Ok(response)
        }
    }
}

/// Deletes one object, and waits until that is durable.
async fn delete_one(
    ctx: &Context,
    info: &Info,
    options: &Options,
    told: Option<&Condition>,
) -> Result<Outcome, Status> {
    let (outcome, commit) = begin(ctx, info, options, told).await?;
    durable(info, commit).await?;
    Ok(outcome)
}

async fn durable(info: &Info, commit: Option<Commit>) -> Result<(), Status> {
    let Some(commit) = commit else { return Ok(()) };
    let settled = commit.durable().await.map(drop);
    settled
        .map_err(|error| store_error(info.kind, info.name.as_deref().unwrap_or_default(), &error))
}

/// Deletes one object; whoever tells of it waits for the commit first. What stays for now says in its
/// status what it is told.
async fn begin(
    ctx: &Context,
    info: &Info,
    options: &Options,
    told: Option<&Condition>,
) -> Result<(Outcome, Option<Commit>), Status> {
    let kind = info.kind;
    let name = info.name();
    let mut tries = TRIES;
    loop {
        tries -= 1;
        let entry = read(&*ctx.store, info).await?;
        let object: Value = serde_json::from_slice(&entry.json).map_err(Status::internal)?;
        check(kind, name, &object, options)?;
        rbac::admit_deletion(ctx, info, &object)?;
        let mut said = object.clone();
        if let Some(told) = told {
            conditions::set_in(&mut said, told);
        }
        let decision = deletion::decide(kind, &said, &options.deletion, now());
        let expect = Expect::Revision(entry.modified);
        let ops = match &decision {
            Deletion::Pending => return Ok((Outcome::Pending(object), None)),
            Deletion::Mark(marked) if *marked == object => {
                return Ok((Outcome::Stays(entry.json.clone()), None));
            }
            Deletion::Mark(marked) if options.dry_run => {
                return Ok((Outcome::Stays(marked.to_string().into()), None));
            }
            Deletion::Remove if options.dry_run => return Ok((Outcome::Gone(object), None)),
            // A board that is to go is none from now on, whatever still holds its Node.
            Deletion::Mark(marked) => join::ends_with(&*ctx.store, &entry.key)
                .into_iter()
                .chain([put(kind, entry.key.clone(), marked, expect)])
                .collect(),
            Deletion::Remove => removal(ctx, kind, &entry),
        };
        let commit = match ctx.store.commit(ops) {
            Ok(commit) => commit,
            Err(Error::Conflict { .. }) if tries > 0 => continue,
            Err(error) => return Err(store_error(kind, name, &error)),
        };
        let outcome = match decision {
            // The own object is the last of the commit.
            Deletion::Mark(_) => match commit.entries.last() {
                Some(entry) => Outcome::Stays(entry.json.clone()),
                None => Outcome::Pending(object),
            },
            _ => Outcome::Gone(object),
        };
        return Ok((outcome, Some(commit)));
    }
}

/// Preconditions; upstream words them in `BeforeDelete` (apiserver/pkg/registry/rest/delete.go), for
/// namespaces in their own `Delete`.
fn check(kind: &Kind, name: &str, object: &Value, options: &Options) -> Result<(), Status> {
    let pairs = [
        (
            "UID",
            &options.uid,
            "/metadata/uid",
            "deleted and then recreated",
        ),
        (
            "ResourceVersion",
            &options.resource_version,
            "/metadata/resourceVersion",
            "modified",
        ),
    ];
    for (what, wanted, pointer, guess) in pairs {
        let is = text(object, pointer);
        let Some(wanted) = wanted.as_deref().filter(|wanted| *wanted != is) else {
            continue;
        };
        if kind.kind == "Namespace" {
            let why = format!(
                "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {is}"
            );
            return Err(Status::conflict(kind.group, kind.plural, name, &why));
        }
        let why = format!(
            "the {what} in the precondition ({wanted}) does not match the {what} in record ({is}). \
             The object might have been {guess}"
        );
        return Err(Status::conflict(kind.group, kind.kind, name, &why));
    }
    let protected = matches!(name, "default" | "kube-system" | "kube-public");
    if kind.kind == "Namespace" && protected {
        let why = "this namespace may not be deleted";
        return Err(Status::forbidden("", kind.plural, name, why));
    }
    let system = matches!(name, "system-cluster-critical" | "system-node-critical");
    if kind.kind == "PriorityClass" && system {
        let why = "this is a system priority class and cannot be deleted";
        return Err(Status::forbidden(kind.group, kind.plural, name, why));
    }
    Ok(())
}

/// The operations that remove an object, its own removal last.
fn removal(ctx: &Context, kind: &Kind, entry: &Entry) -> Vec<Op> {
    let mut ops = Vec::from_iter(join::ends_with(&*ctx.store, &entry.key));
    ops.push(Op::Delete {
        key: entry.key.clone(),
        expect: Expect::Revision(entry.modified),
        durability: durability(kind),
    });
    ops
}

/// Deletes everything that the selectors choose, and answers with what that was.
pub(crate) async fn delete_collection(
    ctx: &Context,
    info: &Info,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Response<Body>, Status> {
    let form = Form::negotiate_list(headers, &info.query)?;
    let options = Options::parse(info, headers, body)?;
    // Parsed first, so that a bad selector never deletes everything.
    Selection::parse(info.kind, &info.query, None)?;
    let selected = select(ctx, info).await?;
    // A commit is durable after all before it, so the last is waited for, and not each in turn.
    let mut last = None;
    for entry in &selected.entries {
        let namespaced = info.kind.namespaced;
        let one = Info {
            namespace: namespaced.then(|| entry.key.namespace.to_string()),
            name: Some(entry.key.name.to_string()),
            ..info.clone()
        };
        let mut begun = begin(ctx, &one, &options, None).await;
        if last.is_some() && begun.as_ref().is_err_and(|status| status.code() == 429) {
            // More is under way than the store holds for a slow disk.
            durable(info, last.take()).await?;
            begun = begin(ctx, &one, &options, None).await;
        }
        match begun {
            Ok((_, commit)) => last = commit.or(last),
            Err(status) if status.code() == 404 => {}
            Err(status) => {
                durable(info, last).await?;
                return Err(status);
            }
        }
    }
    durable(info, last).await?;
    Ok(render(info.kind, form, selected, gzip::accepted(headers)))
}

/// Deletes a pod because it is evicted; upstream answers with a `Status`.
pub(crate) async fn evict(ctx: &Context, info: &Info, eviction: &Value) -> Result<Status, Status> {
    let said = text(eviction, "/metadata/name");
    if !said.is_empty() && said != info.name() {
        return Err(Status::bad_request(format!(
            "name in URL does not match name in Eviction object: {:?} vs {said:?}",
            info.name()
        )));
    }
    let none = json!({});
    let mut options = Options::from_value(eviction.get("deleteOptions").unwrap_or(&none))?;
    let trials: Vec<&str> = info.query.all("dryRun").collect();
    if let Some(cause) = dry_run_cause(&trials) {
        return Err(Status::invalid(
            "meta.k8s.io",
            "CreateOptions",
            "",
            vec![cause],
        ));
    }
    options.dry_run |= !trials.is_empty();
    let why = "Eviction API: evicting";
    let told = conditions::disruption("EvictionByEvictionAPI", why, now());
    delete_one(ctx, info, &options, Some(&told)).await?;
    Ok(Status::created())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        let cases = [
            (json!({}), Ok(None)),
            (
                json!({"propagationPolicy": "Orphan"}),
                Ok(Some(Propagation::Orphan)),
            ),
            (
                json!({"propagationPolicy": "Foreground"}),
                Ok(Some(Propagation::Foreground)),
            ),
            (
                json!({"orphanDependents": true}),
                Ok(Some(Propagation::Orphan)),
            ),
            (
                json!({"orphanDependents": false}),
                Ok(Some(Propagation::Background)),
            ),
            (
                json!({"orphanDependents": false, "propagationPolicy": "Orphan"}),
                Err(
                    "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Invalid value: \
                     \"Orphan\": orphanDependents and deletionPropagation cannot be both set",
                ),
            ),
            (
                json!({"propagationPolicy": "Never", "dryRun": ["Some"]}),
                Err(
                    "DeleteOptions.meta.k8s.io \"\" is invalid: [propagationPolicy: Unsupported \
                     value: \"Never\": supported values: \"Foreground\", \"Background\", \
                     \"Orphan\", \"nil\", dryRun: Unsupported value: [\"Some\"]: supported values: \
                     \"All\"]",
                ),
            ),
        ];
        for (value, want) in cases {
            let got = Options::from_value(&value).map(|options| options.deletion.propagation);
            let got = got.as_ref().map_err(Status::message);
            assert_eq!(got, want.as_ref().map_err(|text| *text), "{value}");
        }
    }
}
