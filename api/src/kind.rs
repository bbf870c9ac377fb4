//! The served kinds: one static row each, read by routing, discovery, decoding and tables.

use crate::status::Status;

/// A resource below an object, such as `pods/log`.
#[derive(Debug, PartialEq, Eq)]
pub struct Subresource {
    /// Path segment.
    pub name: &'static str,
    /// Group of the body's kind; usually the parent's.
    pub group: &'static str,
    /// Version of the body's kind.
    pub version: &'static str,
    /// Kind of the body.
    pub kind: &'static str,
    /// Full name of the body's message in the descriptor table.
    pub message: &'static str,
    /// Verbs, sorted.
    pub verbs: &'static [&'static str],
}

/// A served kind in one version.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// `Deployment`.
    pub kind: &'static str,
    /// API group; empty for core.
    pub group: &'static str,
    /// API version, `v1`.
    pub version: &'static str,
    /// Resource name in paths, `deployments`.
    pub plural: &'static str,
    /// Name kubectl shows and accepts, `deployment`.
    pub singular: &'static str,
    /// Abbreviations, `deploy`.
    pub short_names: &'static [&'static str],
    /// Discovery categories, `all`.
    pub categories: &'static [&'static str],
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Verbs, sorted.
    pub verbs: &'static [&'static str],
    /// Subresources.
    pub subresources: &'static [Subresource],
    /// Full name of the message in the descriptor table, `io.k8s.api.apps.v1.Deployment`.
    pub message: &'static str,
    /// Group under which objects are stored: a kind served from two groups has one home.
    pub storage_group: &'static str,
}

const ALL_VERBS: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];
const NAMESPACE_VERBS: &[&str] = &[
    "create", "delete", "get", "list", "patch", "update", "watch",
];
const RW: &[&str] = &["get", "patch", "update"];
const CREATE: &[&str] = &["create"];
const GET: &[&str] = &["get"];

const fn status_of(group: &'static str, kind: &'static str, message: &'static str) -> Subresource {
    Subresource {
        name: "status",
        group,
        version: "v1",
        kind,
        message,
        verbs: RW,
    }
}

const SCALE: Subresource = Subresource {
    name: "scale",
    group: "autoscaling",
    version: "v1",
    kind: "Scale",
    message: "io.k8s.api.autoscaling.v1.Scale",
    verbs: RW,
};

/// Every served kind. The order is the order of discovery.
pub static KINDS: &[Kind] = &[
    Kind {
        kind: "ConfigMap",
        group: "",
        version: "v1",
        plural: "configmaps",
        singular: "configmap",
        short_names: &["cm"],
        categories: &[],
        namespaced: true,
        verbs: ALL_VERBS,
        subresources: &[],
        message: "io.k8s.api.core.v1.ConfigMap",
        storage_group: "",
    },
    Kind {
        kind: "Event",
        group: "",
        version: "v1",
        plural: "events",
        singular: "event",
        short_names: &["ev"],
        categories: &[],
        namespaced: true,
        verbs: ALL_VERBS,
        subresources: &[],
        message: "io.k8s.api.core.v1.Event",
        storage_group: "",
    },
    Kind {
        kind: "Namespace",
        group: "",
        version: "v1",
        plural: "namespaces",
        singular: "namespace",
        short_names: &["ns"],
        categories: &[],
        namespaced: false,
        verbs: NAMESPACE_VERBS,
        subresources: &[
            Subresource {
                name: "finalize",
                group: "",
                version: "v1",
                kind: "Namespace",
                message: "io.k8s.api.core.v1.Namespace",
                verbs: &["update"],
            },
            status_of("", "Namespace", "io.k8s.api.core.v1.Namespace"),
        ],
        message: "io.k8s.api.core.v1.Namespace",
        storage_group: "",
    },
    Kind {
        kind: "Node",
        group: "",
        version: "v1",
        plural: "nodes",
        singular: "node",
        short_names: &["no"],
        categories: &[],
        namespaced: false,
        verbs: ALL_VERBS,
        subresources: &[status_of("", "Node", "io.k8s.api.core.v1.Node")],
        message: "io.k8s.api.core.v1.Node",
        storage_group: "",
    },
    Kind {
        kind: "Pod",
        group: "",
        version: "v1",
        plural: "pods",
        singular: "pod",
        short_names: &["po"],
        categories: &["all"],
        namespaced: true,
        verbs: ALL_VERBS,
        subresources: &[
            Subresource {
                name: "binding",
                group: "",
                version: "v1",
                kind: "Binding",
                message: "io.k8s.api.core.v1.Binding",
                verbs: CREATE,
            },
            Subresource {
                name: "eviction",
                group: "policy",
                version: "v1",
                kind: "Eviction",
                message: "io.k8s.api.policy.v1.Eviction",
                verbs: CREATE,
            },
            Subresource {
                name: "log",
                group: "",
                version: "v1",
                kind: "Pod",
                message: "io.k8s.api.core.v1.Pod",
                verbs: GET,
            },
            status_of("", "Pod", "io.k8s.api.core.v1.Pod"),
        ],
        message: "io.k8s.api.core.v1.Pod",
        storage_group: "",
    },
    Kind {
        kind: "Secret",
        group: "",
        version: "v1",
        plural: "secrets",
        singular: "secret",
        short_names: &[],
        categories: &[],
        namespaced: true,
        verbs: ALL_VERBS,
        subresources: &[],
        message: "io.k8s.api.core.v1.Secret",
        storage_group: "",
    },
    Kind {
        kind: "Deployment",
        group: "apps",
        version: "v1",
        plural: "deployments",
        singular: "deployment",
        short_names: &["deploy"],
        categories: &["all"],
        namespaced: true,
        verbs: ALL_VERBS,
        subresources: &[
            SCALE,
            status_of("apps", "Deployment", "io.k8s.api.apps.v1.Deployment"),
        ],
        message: "io.k8s.api.apps.v1.Deployment",
        storage_group: "apps",
    },
    Kind {
        kind: "ReplicaSet",
        group: "apps",
        version: "v1",
        plural: "replicasets",
        singular: "replicaset",
        short_names: &["rs"],
        categories: &["all"],
        namespaced: true,
        verbs: ALL_VERBS,
        subresources: &[
            SCALE,
            status_of("apps", "ReplicaSet", "io.k8s.api.apps.v1.ReplicaSet"),
        ],
        message: "io.k8s.api.apps.v1.ReplicaSet",
        storage_group: "apps",
    },
];

/// The kind behind a resource name of a group and version.
pub fn find(group: &str, version: &str, resource: &str) -> Option<&'static Kind> {
    KINDS
        .iter()
        .find(|k| k.group == group && k.version == version && k.plural == resource)
}

/// The kind of an object that says what it is.
pub fn find_kind(group: &str, version: &str, kind: &str) -> Option<&'static Kind> {
    KINDS
        .iter()
        .find(|k| k.group == group && k.version == version && k.kind == kind)
}

/// Group and version out of `apps/v1` or `v1`.
pub fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// `apps/v1`, or `v1` for core.
pub fn join_api_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

/// The served group-versions, core first, each once.
pub fn group_versions() -> Vec<(&'static str, &'static str)> {
    let mut out: Vec<(&str, &str)> = Vec::new();
    for kind in KINDS {
        if !out.contains(&(kind.group, kind.version)) {
            out.push((kind.group, kind.version));
        }
    }
    out
}

impl Kind {
    /// `apps/v1`.
    pub fn api_version(&self) -> String {
        join_api_version(self.group, self.version)
    }

    /// A subresource by its path segment.
    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        let subresources: &'static [Subresource] = self.subresources;
        subresources.iter().find(|s| s.name == name)
    }

    /// 404 for an object of this kind.
    pub fn not_found(&self, name: &str) -> Status {
        Status::not_found(self.group, self.plural, name)
    }

    /// 409 for a name that is taken.
    pub fn already_exists(&self, name: &str) -> Status {
        Status::already_exists(self.group, self.plural, name)
    }

    /// 409 for a stale `resourceVersion`.
    pub fn conflict(&self, name: &str) -> Status {
        Status::conflict_modified(self.group, self.plural, name)
    }

    /// 422 with its causes.
    pub fn invalid(&self, name: &str, causes: Vec<crate::status::Cause>) -> Status {
        Status::invalid(self.group, self.kind, name, causes)
    }

    /// Whether `metadata.generation` counts changes of the spec.
    pub fn has_generation(&self) -> bool {
        matches!(self.kind, "Deployment" | "ReplicaSet" | "Pod")
    }

    /// Whether the status may only be written through the `status` subresource.
    pub fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }
}
