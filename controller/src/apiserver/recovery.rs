//! What a person is told and decides after the store was set back: `/bramble/v1/standing`.

use std::collections::BTreeSet;

use bramble_api::status::Status;
use bramble_api::time::Timestamp;
use bramble_wire::name::NodeName;
use bramble_wire::object::PodUid;
use bramble_wire::report::Phase;
use bramble_wire::standing::{
    Duplicate, Release, Released, ReleasedPod, Rival, Standing, Unclaimed,
};
use bytes::Bytes;
use http::{Method, Response};
use serde_json::Value;

use super::Context;
use super::authn::Identity;
use super::bramble::{json, parsed};
use super::respond::Body;
use crate::nodelink::control::{CONFIRMED, CONFIRMED_ON};
use crate::nodelink::released;
use crate::nodelink::standing;
use crate::object;
use crate::store::{Durability, Error as StoreError, Expect, Key};

/// Writes against an object that somebody else changes at the same time.
const TRIES: usize = 5;

/// How the cluster stands.
pub(crate) fn standing(ctx: &Context, method: &Method) -> Result<Response<Body>, Status> {
    if method != Method::GET {
        return Err(not_allowed(method));
    }
    let released = released::uids(&*ctx.store).map_err(Status::internal)?;
    let now = ctx.logs.standing();
    let standing = Standing {
        epoch: now.epoch,
        confirmed: now.confirmed,
        waiting_for: now.waiting_for.iter().map(ToString::to_string).collect(),
        waiting: now.waiting,
        unclaimed: (now.unclaimed.iter())
            .map(|pod| unclaimed(pod, released.contains(&pod.uid)))
            .collect(),
        unclaimed_total: now.unclaimed_total,
        braked: now.braked,
        strangers: ctx.joiner.keys().strangers(),
        rival: now.rival.as_ref().map(rival),
        duplicates: now.duplicates.iter().map(duplicate).collect(),
    };
    json(200, &standing)
}

fn rival(other: &standing::Rival) -> Rival {
    Rival {
        goes_on: other.goes_on,
        epoch: other.epoch,
        boot: other.boot.0,
        last_seen: other.last.rfc3339(),
    }
}

fn duplicate(board: &standing::Duplicate) -> Duplicate {
    Duplicate {
        node: board.node.to_string(),
        hardware: board.hardware.map_or_else(String::new, |id| id.to_string()),
        last_seen: board.last.rfc3339(),
        times: board.times,
    }
}

fn unclaimed(pod: &standing::Unclaimed, released: bool) -> Unclaimed {
    let name = pod.name.clone().unwrap_or_default();
    let phase = match pod.phase {
        Phase::Pending => "Pending",
        Phase::Running => "Running",
        Phase::Succeeded => "Succeeded",
        Phase::Failed => "Failed",
    };
    Unclaimed {
        node: pod.node.to_string(),
        uid: pod.uid.to_string(),
        namespace: name.namespace,
        name: name.name,
        images: pod.images.clone(),
        phase: phase.to_owned(),
        since: Timestamp::from_seconds(pod.since.0.div_euclid(1000)).rfc3339(),
        released,
    }
}

/// Lets unclaimed pods go; answered when that is on disk.
pub(crate) async fn release(
    ctx: &Context,
    identity: &Identity,
    method: &Method,
    body: &Bytes,
) -> Result<Response<Body>, Status> {
    if method != Method::POST {
        return Err(not_allowed(method));
    }
    let wanted: Release = parsed(body)?;
    if wanted.all != wanted.pods.is_empty() {
        return Err(Status::bad_request("release either pods or all of them"));
    }
    let now = ctx.logs.standing();
    check_epoch(wanted.epoch, &now)?;
    if wanted.all {
        confirm(ctx, now.epoch).await?;
        tracing::info!(
            by = identity.user,
            epoch = now.epoch,
            "all unclaimed pods are released"
        );
        let pods = now.unclaimed_total;
        return json(200, &Released { pods });
    }
    let pods = named(&wanted.pods, &now)?;
    let commit = released::release(&*ctx.store, &pods).map_err(|error| match error {
        released::Error::TooMany(_) => Status::bad_request(error.to_string()),
        error => Status::internal(error),
    })?;
    commit.durable().await.map_err(Status::internal)?;
    for (node, pod) in &pods {
        tracing::info!(by = identity.user, %node, %pod, "an unclaimed pod is released");
    }
    json(200, &Released { pods: pods.len() })
}

/// Who decides has looked at this epoch.
pub(super) fn check_epoch(looked_at: u64, now: &standing::Standing) -> Result<(), Status> {
    if looked_at == now.epoch {
        return Ok(());
    }
    let why = format!(
        "the epoch is {} and not {looked_at}: look again at what is unclaimed (bramble status)",
        now.epoch
    );
    Err(Status::conflict(
        "bramble.dev",
        "epochs",
        &looked_at.to_string(),
        &why,
    ))
}

/// The pods that are meant: only what is unclaimed now.
pub(super) fn named(
    wanted: &[ReleasedPod],
    now: &standing::Standing,
) -> Result<BTreeSet<(NodeName, PodUid)>, Status> {
    let known = |pod: &standing::Unclaimed, node: &str, uid: &PodUid| {
        pod.node.as_str() == node && pod.uid == *uid
    };
    let find = |node: &str, uid: &str| {
        let uid = PodUid::parse(uid)?;
        let pod = now.unclaimed.iter().find(|pod| known(pod, node, &uid))?;
        Some((pod.node.clone(), pod.uid))
    };
    let pods = wanted.iter().map(|pod| {
        find(&pod.node, &pod.uid).ok_or_else(|| {
            let name = format!("{}/{}", pod.node, pod.uid);
            Status::not_found("bramble.dev", "unclaimed", &name)
        })
    });
    pods.collect()
}

/// Says on the namespace that carries it that a person confirms the epoch.
async fn confirm(ctx: &Context, epoch: u64) -> Result<(), Status> {
    let key = Key::new("", "namespaces", "", CONFIRMED_ON);
    for attempt in 1.. {
        let entry = ctx.store.get(&key);
        let entry = entry.ok_or_else(|| Status::not_found("", "namespaces", CONFIRMED_ON))?;
        let mut namespace: Value = serde_json::from_slice(&entry.json).map_err(Status::internal)?;
        let annotations = &mut namespace["metadata"]["annotations"];
        if !annotations.is_object() {
            *annotations = Value::Object(serde_json::Map::new());
        }
        annotations[CONFIRMED] = epoch.to_string().into();
        let expect = Expect::Revision(entry.modified);
        let put = object::put(key.clone(), &namespace, expect, Durability::Hard);
        match ctx.store.commit(vec![put]) {
            Ok(commit) => return commit.durable().await.map(drop).map_err(Status::internal),
            Err(StoreError::Conflict { .. }) if attempt < TRIES => {}
            Err(error) => return Err(Status::internal(error)),
        }
    }
    unreachable!("the last attempt returns")
}

fn not_allowed(method: &Method) -> Status {
    Status::method_not_allowed("bramble.dev", "standing", method.as_str())
}
