//! `pods/binding`: a scheduler says which node a pod goes to (`BindingREST` in
//! `pkg/registry/core/pod/storage/storage.go`).

use bramble_api::metadata;
use bramble_api::status::{Cause, Status};
use bramble_controller_core::conditions;
use http::Response;
use serde_json::{Value, json};

use super::Context;
use super::list::read;
use super::options::Options;
use super::request::Info;
use super::respond::{self, Body};
use super::write::{TRIES, commit, put, store_error};
use crate::object;
use crate::store::{Error, Expect};

/// Binds a pod to a node, once and for all.
pub(super) async fn bind(
    ctx: &Context,
    info: &Info,
    options: Options,
    binding: &Value,
) -> Result<Response<Body>, Status> {
    check(info, binding)?;
    let mut tries = TRIES;
    loop {
        tries -= 1;
        let entry = read(&*ctx.store, info).await?;
        let mut pod: Value = serde_json::from_slice(&entry.json).map_err(Status::internal)?;
        may_be_bound(info, binding, &pod)
            .map_err(|why| Status::conflict("", "pods/binding", info.name(), &why))?;
        assign(&mut pod, binding);
        if options.dry_run {
            return Ok(respond::status(&Status::created()));
        }
        let expect = Expect::Revision(entry.modified);
        let op = put(info.kind, entry.key.clone(), &pod, expect);
        match commit(ctx, vec![op]).await {
            Ok(_) => return Ok(respond::status(&Status::created())),
            // What the binding says of the pod is compared again.
            Err(Error::Conflict { .. }) if tries > 0 => {}
            Err(error) => return Err(store_error(info.kind, info.name(), &error)),
        }
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    let value = object.pointer(pointer).and_then(Value::as_str);
    value.unwrap_or_default()
}

/// What is wrong with the binding itself. Its labels and annotations become the pod's.
fn check(info: &Info, binding: &Value) -> Result<(), Status> {
    let name = text(binding, "/metadata/name");
    if !name.is_empty() && name != info.name() {
        return Err(Status::bad_request(
            "name in URL does not match name in Binding object",
        ));
    }
    let mut causes = Vec::new();
    let kind = text(binding, "/target/kind");
    if !matches!(kind, "" | "Node") {
        let supported = ["Node", "<empty>"];
        causes.push(Cause::not_supported(
            "target.kind",
            &kind.into(),
            &supported,
        ));
    }
    if text(binding, "/target/name").is_empty() {
        causes.push(Cause::required("target.name", ""));
    }
    for (of, path) in [
        ("annotations", "metadata.annotations"),
        ("labels", "metadata.labels"),
    ] {
        for (key, value) in binding["metadata"][of].as_object().into_iter().flatten() {
            let value = value.as_str().unwrap_or_default();
            let (mut wrong, mut why) =
                (key.as_str(), metadata::qualified_name(&key.to_lowercase()));
            if of == "labels" && why.is_empty() {
                (wrong, why) = (value, metadata::label_value(value));
            }
            let cause = |why: &String| Cause::invalid(path, &wrong.into(), why);
            causes.extend(why.iter().map(cause));
        }
    }
    if causes.is_empty() {
        Ok(())
    } else {
        Err(Status::invalid("", "Binding", info.name(), causes))
    }
}

/// Why this pod can't be bound, if so.
fn may_be_bound(info: &Info, binding: &Value, pod: &Value) -> Result<(), String> {
    let name = info.name();
    // A scheduler may say which pod it means.
    for (what, field) in [("UID", "uid"), ("ResourceVersion", "resourceVersion")] {
        let said = text(binding, &format!("/metadata/{field}"));
        let is = pod["metadata"][field].as_str().unwrap_or_default();
        if !said.is_empty() && said != is {
            return Err(format!(
                "Precondition failed: {what} in precondition: {said}, {what} in object meta: {is}"
            ));
        }
    }
    if pod.pointer("/metadata/deletionTimestamp").is_some() {
        return Err(format!(
            "pod {name} is being deleted, cannot be assigned to a host"
        ));
    }
    let node = text(pod, "/spec/nodeName");
    if !node.is_empty() {
        return Err(format!("pod {name} is already assigned to node {node:?}"));
    }
    let gates = pod.pointer("/spec/schedulingGates");
    if gates
        .and_then(Value::as_array)
        .is_some_and(|gates| !gates.is_empty())
    {
        return Err(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    Ok(())
}

fn assign(pod: &mut Value, binding: &Value) {
    pod["spec"]["nodeName"] = text(binding, "/target/name").into();
    for of in ["annotations", "labels"] {
        let Some(Value::Object(more)) = binding["metadata"].get(of) else {
            continue;
        };
        if !more.is_empty() && !pod["metadata"][of].is_object() {
            pod["metadata"][of] = json!({});
        }
        for (key, value) in more {
            pod["metadata"][of][key] = value.clone();
        }
    }
    if let Some(Value::Object(status)) = pod.get_mut("status") {
        // The room that was kept is taken.
        status.remove("nominatedNodeName");
    }
    let scheduled = conditions::now("PodScheduled", "True", "", "", object::now());
    conditions::set_in(pod, &scheduled);
}
