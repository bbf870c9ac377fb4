//! Unclaimed pods that a person keeps: `/bramble/v1/standing/adopt`.
//!
//! Their nodes say what they are, and they are made again with the same UID, bound to the same node, so
//! that nothing is started or stopped. It is checked before that the document will say to the node just
//! what it has. Neither quota nor admission is asked: the pod runs already.

use std::time::Duration;

use bramble_api::admit;
use bramble_api::kind::{self, Kind};
use bramble_api::status::Status;
use bramble_api::view::FullPod;
use bramble_controller_core::document::{self, recover};
use bramble_wire::limits::BODY_MAX;
use bramble_wire::name::NodeName;
use bramble_wire::object::{Object, ObjectId, ObjectName, Pod};
use bramble_wire::standing::{ADOPT_MAX, Adopt, Adopted, AdoptedPod};
use bramble_wire::stream::What;
use bytes::Bytes;
use http::{Method, Response};
use serde_json::Value;

use super::Context;
use super::authn::Identity;
use super::bramble::{json, masters, parsed};
use super::recovery::{check_epoch, named};
use super::respond::Body;
use super::write::put;
use crate::nodelink::released;
use crate::nodelink::streams::Event;
use crate::object;
use crate::store::{Error as StoreError, Expect, Key, Op};

/// How long a node may take to send one object.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes unclaimed pods again; answered when that is on disk, with what became of each.
pub(crate) async fn adopt(
    ctx: &Context,
    identity: &Identity,
    method: &Method,
    body: &Bytes,
) -> Result<Response<Body>, Status> {
    // A node says what its pod is, and with it which Secrets and which account it gets.
    masters(identity, method, "POST", "adoptions")?;
    let wanted: Adopt = parsed(body)?;
    if wanted.pods.is_empty() || wanted.pods.len() > ADOPT_MAX {
        let count = wanted.pods.len();
        return Err(Status::bad_request(format!(
            "pods: from 1 to {ADOPT_MAX} are adopted at a time, not {count}"
        )));
    }
    let now = ctx.logs.standing();
    check_epoch(wanted.epoch, &now)?;
    let released = released::uids(&*ctx.store).map_err(Status::internal)?;
    let mut answer = Adopted::default();
    for (node, uid) in named(&wanted.pods, &now)? {
        let mut adopted = AdoptedPod {
            node: node.to_string(),
            uid: uid.to_string(),
            ..AdoptedPod::default()
        };
        let result = match released.contains(&uid) {
            true => Err("it was let go before (bramble release)".to_owned()),
            false => one(ctx, &node, ObjectId::Pod(uid), &mut adopted).await,
        };
        match result {
            Ok(()) => tracing::info!(
                by = identity.user, %node, pod = %uid, name = adopted.name, "an unclaimed pod is adopted"
            ),
            Err(why) => adopted.error = why,
        }
        answer.pods.push(adopted);
    }
    json(200, &answer)
}

async fn one(
    ctx: &Context,
    node: &NodeName,
    id: ObjectId,
    adopted: &mut AdoptedPod,
) -> Result<(), String> {
    let pod = match fetch(ctx, node, &id).await? {
        Some(Object::Pod(pod)) if ObjectId::Pod(pod.uid) == id => pod,
        _ => return Err("its node does not say what it is".to_owned()),
    };
    adopted.name = pod.name.to_string();
    adopted.service_account.clone_from(&pod.service_account);
    if pod.stop.is_some() {
        return Err("it is being stopped".to_owned());
    }
    let namespace = &pod.name.namespace;
    let mut ops = vec![namespace_stays(ctx, namespace)?];
    if !pod.service_account.is_empty()
        && !is_there(ctx, "serviceaccounts", namespace, &pod.service_account)
    {
        adopted
            .missing
            .push(format!("serviceaccount/{}", pod.service_account));
    }
    for named in recover::references(&pod) {
        match &named {
            ObjectId::ConfigMap(name) if !is_there(ctx, "configmaps", namespace, &name.name) => {
                match fetch(ctx, node, &named).await? {
                    Some(Object::ConfigMap(map)) if map.name == *name => {
                        ops.push(creation("configmaps", recover::config_map(&map), name, None)?.0);
                        adopted.config_maps.push(name.name.clone());
                    }
                    _ => adopted.missing.push(format!("configmap/{}", name.name)),
                }
            }
            ObjectId::Secret(name) => match is_there(ctx, "secrets", namespace, &name.name) {
                true => adopted.secrets.push(name.name.clone()),
                // Sealed to its node, which does not give it away.
                false => adopted.missing.push(format!("secret/{}", name.name)),
            },
            _ => {}
        }
    }
    let mut manifest = recover::pod(&pod, node.as_str());
    manifest["metadata"]["annotations"][recover::ADOPTED_FROM] = node.as_str().into();
    let (op, object) = creation("pods", manifest, &pod.name, Some(&pod))?;
    is_the_same(&pod, object)?;
    ops.insert(0, op);
    let commit = ctx
        .store
        .commit(ops)
        .map_err(|error| refused(&error, &pod.name))?;
    let durable = commit.durable().await;
    durable.map(drop).map_err(|error| error.to_string())
}

/// What a node has of an object; `None` when it has none.
async fn fetch(ctx: &Context, node: &NodeName, id: &ObjectId) -> Result<Option<Object>, String> {
    let read = async {
        let opened = ctx
            .logs
            .stream(node.as_str(), What::Object(id.clone()))
            .await;
        let (_input, mut reader) = opened.map_err(|status| status.message().to_owned())?;
        let mut body = Vec::new();
        while let Some(event) = reader.next().await {
            if let Event::Data { bytes, .. } = event.map_err(|error| error.to_string())? {
                body.extend_from_slice(&bytes);
            }
            if body.len() > BODY_MAX {
                return Err(format!("node {node} sends more than an object may have"));
            }
        }
        if body.is_empty() {
            return Ok(None);
        }
        let object = bramble_wire::decode::<Object>(&body, "object");
        object
            .map(Some)
            .map_err(|error| format!("node {node} sends an object that is none: {error}"))
    };
    let read = tokio::time::timeout(PATIENCE, read).await;
    read.map_err(|_| format!("node {node} does not answer"))?
}

fn kind_of(resource: &str) -> Result<&'static Kind, String> {
    kind::find("", "v1", resource).ok_or_else(|| format!("{resource} are not served"))
}

fn is_there(ctx: &Context, resource: &str, namespace: &str, name: &str) -> bool {
    ctx.store
        .get(&Key::new("", resource, namespace, name))
        .is_some()
}

/// The namespace is there, and stays while the pod is made.
fn namespace_stays(ctx: &Context, name: &str) -> Result<Op, String> {
    let key = Key::new("", "namespaces", "", name);
    let missing = || format!("its namespace is not there: kubectl create namespace {name}");
    let entry = ctx.store.get(&key).ok_or_else(missing)?;
    let namespace: Value =
        serde_json::from_slice(&entry.json).map_err(|error| error.to_string())?;
    if namespace.pointer("/metadata/deletionTimestamp").is_some() {
        return Err(format!("namespace {name} is being deleted"));
    }
    let expect = Expect::Revision(entry.modified);
    Ok(Op::Check { key, expect })
}

/// An object as it is stored, with everything that the API fills in, and its way into the store.
fn creation(
    resource: &str,
    mut object: Value,
    name: &ObjectName,
    pod: Option<&Pod>,
) -> Result<(Op, Value), String> {
    let kind = kind_of(resource)?;
    // No client may make a pod with them: they were added while it ran.
    let spec = object.get_mut("spec").and_then(Value::as_object_mut);
    let debug = spec.and_then(|spec| spec.remove("ephemeralContainers"));
    let uid = match pod {
        Some(pod) => pod.uid.to_string(),
        None => object::uid().map_err(|error| error.to_string())?,
    };
    let context = admit::Create {
        now: object::now(),
        uid: &uid,
        suffix: "",
        namespace: Some(&name.namespace),
    };
    admit::create(kind, &mut object, &context).map_err(|status| status.message().to_owned())?;
    if let Some(debug) = debug {
        object["spec"]["ephemeralContainers"] = debug;
    }
    let key = Key::new("", resource, name.namespace.as_str(), name.name.as_str());
    Ok((put(kind, key, &object, Expect::Absent), object))
}

/// The node is going to be told what it has, except for the annotations that say what happened.
fn is_the_same(pod: &Pod, object: Value) -> Result<(), String> {
    let full: FullPod = serde_json::from_value(object).map_err(|error| error.to_string())?;
    let mut told = document::compile_pod(&full).map_err(|error| error.to_string())?;
    told.annotations.clone_from(&pod.annotations);
    match told == *pod {
        true => Ok(()),
        false => Err("it can't be made again as it is; apply it again instead".to_owned()),
    }
}

fn refused(error: &StoreError, pod: &ObjectName) -> String {
    match error {
        StoreError::Exists(key) if &*key.name == pod.name.as_str() && &*key.resource == "pods" => {
            "the cluster has another pod of this name: delete that one, or let this one go"
                .to_owned()
        }
        StoreError::Exists(_) | StoreError::Conflict { .. } | StoreError::NotFound(_) => {
            "somebody changes its namespace or its ConfigMaps at this moment: try again".to_owned()
        }
        error => error.to_string(),
    }
}
