//! Discovery: which kinds are served, in the aggregated and the legacy forms, and the version.

use serde_json::{Value, json};

/// Content type of the aggregated answers; clients compare it as a whole.
pub const AGGREGATED_V2: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// `/api` in aggregated form.
pub fn aggregated_api() -> Value {
    json!({})
}

/// `/apis` in aggregated form.
pub fn aggregated_apis() -> Value {
    json!({})
}

/// `/api` in legacy form (`APIVersions`). `server` is `host:port` as the client sees it.
pub fn api_versions(server: &str) -> Value {
    let _ = server;
    json!({})
}

/// `/apis` in legacy form (`APIGroupList`).
pub fn api_groups() -> Value {
    json!({})
}

/// `/apis/{group}` (`APIGroup`).
pub fn api_group(group: &str) -> Option<Value> {
    let _ = group;
    None
}

/// `/api/v1` and `/apis/{group}/{version}` (`APIResourceList`).
pub fn api_resources(group: &str, version: &str) -> Option<Value> {
    let _ = (group, version);
    None
}

/// `/version`.
pub fn version() -> Value {
    json!({})
}
