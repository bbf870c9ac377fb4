//! The kinds that controllers write, looked up once.

use std::sync::LazyLock;

use bramble_api::kind::{self, Kind};

fn served(group: &str, resource: &str) -> &'static Kind {
    kind::find(group, "v1", resource).expect("the api crate serves every kind that controllers use")
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $group:literal $resource:literal;)*) => {
        $($(#[$doc])* pub fn $name() -> &'static Kind {
            static KIND: LazyLock<&'static Kind> = LazyLock::new(|| served($group, $resource));
            *KIND
        })*
    };
}

kinds! {
    /// Pods.
    pod = "" "pods";
    /// Nodes.
    node = "" "nodes";
    /// Namespaces.
    namespace = "" "namespaces";
    /// Events.
    event = "" "events";
    /// ConfigMaps.
    config_map = "" "configmaps";
    /// Secrets.
    secret = "" "secrets";
    /// ServiceAccounts.
    service_account = "" "serviceaccounts";
    /// Services.
    service = "" "services";
    /// Endpoints.
    endpoints = "" "endpoints";
    /// ReplicationControllers.
    replication_controller = "" "replicationcontrollers";
    /// ResourceQuotas.
    resource_quota = "" "resourcequotas";
    /// ReplicaSets.
    replica_set = "apps" "replicasets";
    /// Deployments.
    deployment = "apps" "deployments";
    /// EndpointSlices.
    endpoint_slice = "discovery.k8s.io" "endpointslices";
    /// Leases.
    lease = "coordination.k8s.io" "leases";
    /// ClusterRoles.
    cluster_role = "rbac.authorization.k8s.io" "clusterroles";
}
