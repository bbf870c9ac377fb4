//! Which objects and which revisions a request is about: selectors and `resourceVersion` rules.

use bramble_api::kind::Kind;
use bramble_api::selector::{FieldSelector, LabelSelector, Labels};
use bramble_api::status::{Cause, Status};
use serde_json::Value;

use super::request::Query;
use crate::store::{Entry, Error, Revision};

/// Label and field selector of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    labels: LabelSelector,
    fields: FieldSelector,
    /// `metadata.name=x`, which is checked without parsing the object.
    name: Option<String>,
}

impl Selection {
    pub(crate) fn parse(kind: &Kind, query: &Query, name: Option<&str>) -> Result<Self, Status> {
        let labels = query
            .get("labelSelector")
            .map(LabelSelector::parse)
            .transpose()?;
        let fields = query
            .get("fieldSelector")
            .map(|t| FieldSelector::parse(kind, t))
            .transpose()?;
        let fields = fields.unwrap_or_default();
        let exact = name
            .or_else(|| fields.exact("metadata.name"))
            .map(str::to_owned);
        Ok(Self {
            labels: labels.unwrap_or_default(),
            fields,
            name: exact,
        })
    }

    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty() && self.name.is_none()
    }

    pub(crate) fn matches(&self, entry: &Entry) -> bool {
        if self
            .name
            .as_deref()
            .is_some_and(|name| name != &*entry.key.name)
        {
            return false;
        }
        // Most objects are passed over by their labels, which come early in them.
        let labels = || match Labels::of(&entry.json) {
            Some(labels) => self.labels.matches_with(|key| labels.get(key)),
            None => serde_json::from_slice::<Value>(&entry.json)
                .is_ok_and(|object| self.labels.matches(&object)),
        };
        (self.labels.is_empty() || labels()) && self.fields.matches(&entry.json)
    }
}

/// A `resourceVersion` parameter: absent, `0`, or a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Latest,
    Any,
    At(Revision),
}

/// Parses `resourceVersion`.
pub(crate) fn wanted(query: &Query) -> Result<Wanted, Status> {
    let Some(text) = query.get("resourceVersion") else {
        return Ok(Wanted::Latest);
    };
    match text.parse::<Revision>() {
        Ok(Revision(0)) => Ok(Wanted::Any),
        Ok(revision) => Ok(Wanted::At(revision)),
        Err(_) => Err(Status::invalid(
            "",
            "",
            "",
            vec![Cause::invalid(
                "resourceVersion",
                &text.into(),
                &format!("strconv.ParseUint: parsing {text:?}: invalid syntax"),
            )],
        )),
    }
}

/// 422 for options that don't fit each other.
pub(crate) fn bad_options(causes: Vec<Cause>) -> Status {
    Status::invalid("meta.k8s.io", "ListOptions", "", causes)
}

/// Checks `resourceVersionMatch` against its neighbours, as upstream's `ValidateListOptions`
/// (apimachinery/pkg/apis/meta/internalversion/validation/validation.go).
pub(crate) fn check_match(query: &Query, watch: bool) -> Result<(), Status> {
    let kind = query.get("resourceVersionMatch");
    let initial = query.get("sendInitialEvents").is_some();
    let mut causes = Vec::new();
    let mut forbid = |field: &str, detail: &str| causes.push(Cause::forbidden(field, detail));
    let field = "resourceVersionMatch";
    if watch {
        if initial && kind != Some("NotOlderThan") {
            forbid(
                field,
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            );
        }
        if !initial && kind.is_some() {
            forbid(
                field,
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            );
        }
    } else {
        if kind.is_some() && query.get("resourceVersion").is_none() {
            forbid(
                field,
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            );
        }
        if kind == Some("Exact") && query.get("resourceVersion") == Some("0") {
            forbid(
                field,
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            );
        }
        if initial {
            forbid(
                "sendInitialEvents",
                "sendInitialEvents is forbidden for list",
            );
        }
    }
    if kind.is_some() && query.get("continue").is_some() {
        forbid(
            field,
            "resourceVersionMatch is forbidden when continue is provided",
        );
    }
    let supported: &[&str] = if watch {
        &["NotOlderThan"]
    } else {
        &["Exact", "NotOlderThan", ""]
    };
    if let Some(other) = kind.filter(|kind| !supported.contains(kind)) {
        causes.push(Cause::not_supported(field, &other.into(), supported));
    }
    if causes.is_empty() {
        return Ok(());
    }
    Err(bad_options(causes))
}

/// What a store's refusal of a revision is to a client.
pub(crate) fn revision_error(error: &Error) -> Status {
    match error {
        Error::Compacted { requested, oldest } => {
            Status::expired(format!("too old resource version: {requested} ({oldest})"))
        }
        Error::Future { requested, current } => too_large(*requested, *current),
        other => Status::internal(other),
    }
}

/// 504 for a revision from the future, which clients know by its cause.
pub(crate) fn too_large(requested: Revision, current: Revision) -> Status {
    Status::too_large_resource_version(requested.0, current.0)
}
