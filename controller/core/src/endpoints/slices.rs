//! EndpointSlices: as few writes as it takes to say what is wanted.

use std::collections::{BTreeMap, BTreeSet};

use bramble_api::kind::Kind;
use bramble_api::view::{Endpoint, EndpointPort, EndpointSlice, Labels, Metadata};
use serde_json::{Map, Value, json};

use super::{MANAGED_BY, SERVICE_NAME, label_patch};
use crate::action::{Action, Durability, Observed, Target, controller_reference};
use crate::kinds;

/// Most endpoints of a slice, as upstream.
pub(super) const SLICE_MAX: usize = 100;

/// Whose slices they are.
pub(super) struct Owner<'a> {
    pub(super) kind: &'static Kind,
    pub(super) metadata: &'a Metadata,
    pub(super) managed_by: &'static str,
    /// Besides those that say whose they are.
    pub(super) labels: Labels,
}

/// Endpoints that have their ports in common.
pub(super) struct Wanted {
    pub(super) address_type: &'static str,
    pub(super) ports: Vec<EndpointPort>,
    pub(super) endpoints: Vec<Endpoint>,
}

/// A slice that is there, on its way to what is wanted.
struct Draft<'a> {
    slice: &'a Observed<EndpointSlice>,
    endpoints: Vec<Endpoint>,
    changed: bool,
}

/// What it takes to get from the slices that are there to what is wanted. Those that somebody else
/// manages stay as they are.
pub(super) fn plan(
    owner: &Owner<'_>,
    wanted: Vec<Wanted>,
    slices: &[Observed<EndpointSlice>],
) -> Vec<Action> {
    let labels = labels(owner);
    let mut ours: Vec<&Observed<EndpointSlice>> = slices
        .iter()
        .filter(|slice| {
            let by = slice.metadata.labels.get(MANAGED_BY);
            by.is_some_and(|by| by == owner.managed_by) && !slice.metadata.is_deleting()
        })
        .collect();
    ours.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let mut actions = Vec::new();
    for group in wanted {
        let (fitting, others) = ours.into_iter().partition(|slice| fits(slice, &group));
        ours = others;
        plan_group(owner, &labels, group, fitting, &mut actions);
    }
    actions.extend(ours.into_iter().map(delete));
    actions
}

fn fits(slice: &EndpointSlice, group: &Wanted) -> bool {
    let mut ports = slice.ports.clone();
    ports.sort_unstable();
    slice.address_type == group.address_type && ports == group.ports
}

fn plan_group(
    owner: &Owner<'_>,
    labels: &Labels,
    group: Wanted,
    slices: Vec<&Observed<EndpointSlice>>,
    actions: &mut Vec<Action>,
) {
    let placeholder = group.endpoints.is_empty();
    let mut missing: BTreeMap<String, Endpoint> = group
        .endpoints
        .into_iter()
        .map(|e| (identity(&e), e))
        .collect();
    let mut drafts: Vec<Draft<'_>> = slices.into_iter().map(|s| draft(s, &mut missing)).collect();
    // Slices that are written anyway take newcomers first, then the fullest that have room.
    drafts.sort_by_key(|draft| (!draft.changed, usize::MAX - draft.endpoints.len()));
    let mut missing = missing.into_values();
    for draft in &mut drafts {
        let room = SLICE_MAX.saturating_sub(draft.endpoints.len());
        let before = draft.endpoints.len();
        draft.endpoints.extend(missing.by_ref().take(room));
        draft.changed |= draft.endpoints.len() != before;
    }
    let mut kept = false;
    for draft in drafts {
        if draft.endpoints.is_empty() && (kept || !placeholder) {
            actions.push(delete(draft.slice));
            continue;
        }
        kept = true;
        actions.extend(change(&draft, labels));
    }
    let rest: Vec<Endpoint> = missing.collect();
    for endpoints in rest.chunks(SLICE_MAX) {
        actions.push(create(
            owner,
            labels,
            group.address_type,
            &group.ports,
            endpoints,
        ));
    }
    if placeholder && !kept {
        actions.push(create(owner, labels, group.address_type, &group.ports, &[]));
    }
}

/// What stays of a slice; what it has is no longer missing.
fn draft<'a>(
    slice: &'a Observed<EndpointSlice>,
    missing: &mut BTreeMap<String, Endpoint>,
) -> Draft<'a> {
    let kept = slice.endpoints.iter();
    let endpoints: Vec<Endpoint> = kept.filter_map(|e| missing.remove(&identity(e))).collect();
    let set = |list: &[Endpoint]| list.iter().cloned().collect::<BTreeSet<_>>();
    let changed =
        endpoints.len() != slice.endpoints.len() || set(&endpoints) != set(&slice.endpoints);
    Draft {
        slice,
        endpoints,
        changed,
    }
}

/// Who an endpoint is: its pod, or its addresses where it has none.
fn identity(endpoint: &Endpoint) -> String {
    match &endpoint.target_ref {
        Some(target) if !target.uid.is_empty() => target.uid.clone(),
        _ => endpoint.addresses.join(","),
    }
}

fn labels(owner: &Owner<'_>) -> Labels {
    let mut labels = owner.labels.clone();
    labels.insert(SERVICE_NAME.into(), owner.metadata.name.clone());
    labels.insert(MANAGED_BY.into(), owner.managed_by.into());
    labels
}

fn change(draft: &Draft<'_>, labels: &Labels) -> Option<Action> {
    let mut patch = Map::new();
    if draft.changed {
        patch.insert("endpoints".into(), json!(draft.endpoints));
    }
    if let Some(labels) = label_patch(&draft.slice.metadata.labels, labels) {
        patch.insert("metadata".into(), json!({"labels": labels}));
    }
    (!patch.is_empty()).then(|| Action::Patch {
        target: Target::of(kinds::endpoint_slice(), &draft.slice.metadata),
        revision: draft.slice.revision,
        patch: Value::Object(patch),
        // Worked out again from the pods after a power cut.
        durability: Durability::Soft,
        note: None,
    })
}

fn create(
    owner: &Owner<'_>,
    labels: &Labels,
    address_type: &str,
    ports: &[EndpointPort],
    endpoints: &[Endpoint],
) -> Action {
    let namespace = &owner.metadata.namespace;
    Action::Create {
        kind: kinds::endpoint_slice(),
        namespace: namespace.clone(),
        object: json!({
            "kind": "EndpointSlice",
            "apiVersion": "discovery.k8s.io/v1",
            "metadata": {
                "generateName": format!("{}-", owner.metadata.name),
                "namespace": namespace,
                "labels": labels,
                "ownerReferences": [controller_reference(owner.kind, owner.metadata)],
            },
            "addressType": address_type,
            "endpoints": endpoints,
            "ports": ports,
        }),
        note: None,
    }
}

fn delete(slice: &Observed<EndpointSlice>) -> Action {
    Action::Delete {
        target: Target::of(kinds::endpoint_slice(), &slice.metadata),
        uid: slice.metadata.uid.clone(),
        told: None,
        note: None,
    }
}
