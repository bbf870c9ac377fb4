//! The service-account tokens that a pod's volumes ask for.

use std::collections::BTreeSet;

use bramble_api::view;
use bramble_wire::object::{Pod, Projection, VolumeSource};

/// A token that a volume asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wanted {
    /// For whom; empty is the API.
    pub audience: String,
    /// How long it is to live, seconds.
    pub expiration_s: u64,
}

/// Upstream's default of `expirationSeconds`.
const DEFAULT_S: u64 = 3600;

pub(super) fn life(from: &view::TokenFile) -> u64 {
    from.expiration_seconds
        .and_then(|seconds| u64::try_from(seconds).ok())
        .filter(|seconds| *seconds > 0)
        .unwrap_or(DEFAULT_S)
}

/// What a pod's volumes ask for, each once.
pub fn wanted(pod: &Pod) -> BTreeSet<Wanted> {
    let sources = pod.volumes.iter().filter_map(|v| match &v.source {
        VolumeSource::Projected { sources, .. } => Some(sources),
        _ => None,
    });
    sources
        .flatten()
        .filter_map(|source| match source {
            Projection::Token {
                audience,
                expiration_s,
                ..
            } => Some(Wanted {
                audience: audience.clone(),
                expiration_s: *expiration_s,
            }),
            _ => None,
        })
        .collect()
}
