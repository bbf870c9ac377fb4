//! The served kinds: one static row each, read by routing, discovery, decoding and tables.

mod rows;

use crate::status::Status;

pub use rows::KINDS;

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

impl Subresource {
    /// Whether its connections are upgraded (exec, attach, portforward): there is no body, and clients
    /// find nothing of it in the documents.
    pub fn is_stream(&self) -> bool {
        matches!(self.name, "attach" | "exec" | "portforward")
    }
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
    /// Whether objects are kept. The others are questions, which are created, answered and forgotten,
    /// or measurements, which are made when somebody asks for them.
    pub stored: bool,
}

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

/// The kinds that have objects, each once: where a kind is served from two groups, its home.
pub fn stored() -> impl Iterator<Item = &'static Kind> {
    KINDS.iter().filter(|kind| kind.is_home())
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

    /// Whether objects are stored, and in this row's form.
    pub fn is_home(&self) -> bool {
        self.stored && self.group == self.storage_group
    }

    /// Whether `metadata.generation` counts changes of the spec.
    pub fn has_generation(&self) -> bool {
        matches!(
            self.kind,
            "Deployment"
                | "EndpointSlice"
                | "Pod"
                | "PodTemplate"
                | "PriorityClass"
                | "ReplicaSet"
                | "ReplicationController"
        )
    }

    /// Whether the status may only be written through the `status` subresource.
    pub fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }
}
