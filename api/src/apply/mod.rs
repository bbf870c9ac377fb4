//! Server-side apply: fields have owners.
//!
//! In come the live object and what a client applies or wrote; out go the merged object and its
//! `metadata.managedFields`. A client that applies says only what it has an opinion about. What it
//! said before and no longer says goes away unless somebody else owns it; what somebody else owns
//! with another value is a conflict, until the client forces it.
//!
//! An object that was never applied has no managed fields, and none are tracked for it: they would
//! be a fifth of a small board's memory. The first apply writes down who owned what until then
//! (upstream's `before-first-apply`; what `kubectl apply` wrote is told apart by its annotation).
//! From then on every write through the API moves ownership. What the controllers in this process
//! write is nobody's.
//!
//! The rules are structured-merge-diff's and apimachinery's `managedfields`, over the descriptor
//! table ([`crate::facts`]). Everything here is pure; the time is an argument.

mod compare;
mod fields_v1;
mod managed;
mod merge;
mod owner;
mod schema;
mod set;
#[cfg(test)]
mod tests;
mod typed;

pub use fields_v1::{parse as parse_fields, print as print_fields};
pub use managed::{Id, Operation};
pub use set::{Element, Scalar, Set, show};

use crate::decode::{self, FieldValidation};
use crate::facts;
use crate::kind::{Kind, find_kind, split_api_version};
use crate::status::{Cause, Status};
use crate::time::Timestamp;
use managed::Managers;
use owner::{Failure, Scope, Write, set_of};
use schema::Schema;
use serde_json::{Map, Value, json};

/// Where `kubectl apply` keeps what it applied.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The manager whose conflicts with its own client-side past are no conflicts, and for whom the
/// annotation is kept up to date.
const KUBECTL: &str = "kubectl";
/// Largest total of annotations; the kept-up annotation gives way.
const MAX_ANNOTATIONS: usize = 256 * 1024;

/// Who writes what.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Kind of the object.
    pub kind: &'static Kind,
    /// `Some("status")`, `Some("scale")`: the subresource that is written through.
    pub subresource: Option<&'a str>,
    /// The manager's name.
    pub manager: &'a str,
    /// Take over what others own.
    pub force: bool,
    /// Time of the write.
    pub now: Timestamp,
}

/// A field that another manager owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Its owner.
    pub manager: Id,
    /// Where it is.
    pub path: Vec<Element>,
}

/// The outcome of an apply.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The merged object, without managed fields, not yet checked nor defaulted.
    pub object: Value,
    /// What `metadata.managedFields` becomes.
    pub managed_fields: Option<Value>,
}

/// What a client sent as `metadata.managedFields` in a write that is no apply.
#[derive(Debug, Clone, PartialEq)]
pub enum Sent {
    /// Nothing: the live ones stay.
    Nothing,
    /// An empty list or one empty entry: forget who owns what.
    Reset,
    /// Other ones.
    Entries(Value),
}

impl Sent {
    /// Takes the managed fields out of an object that a client sent.
    pub fn take(object: &mut Value) -> Self {
        let list = object
            .get_mut("metadata")
            .and_then(Value::as_object_mut)
            .and_then(|metadata| metadata.remove("managedFields"));
        match list {
            None | Some(Value::Null) => Self::Nothing,
            Some(Value::Array(list)) => match list.as_slice() {
                [] => Self::Reset,
                [Value::Object(only)] if only.is_empty() => Self::Reset,
                _ => Self::Entries(Value::Array(list)),
            },
            Some(other) => Self::Entries(other),
        }
    }
}

fn live_managers(object: &Value) -> Option<&Value> {
    object.pointer("/metadata/managedFields")
}

/// Sets `metadata.managedFields`.
pub fn set_managed_fields(object: &mut Value, list: Option<Value>) {
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        match list {
            Some(list) => drop(metadata.insert("managedFields".into(), list)),
            None => drop(metadata.remove("managedFields")),
        }
    }
}

/// Whether two objects are the same but for the times of their managers: then nothing is written.
pub fn is_same(old: &Value, new: &Value) -> bool {
    if old == new {
        return true;
    }
    if live_managers(old).is_none() || live_managers(new).is_none() {
        return false;
    }
    if !managed::same_but_times(live_managers(old), live_managers(new)) {
        return false;
    }
    without_managed(old) == without_managed(new)
}

fn without_managed(object: &Value) -> Value {
    let mut object = object.clone();
    set_managed_fields(&mut object, None);
    object
}

fn scope(kind: &Kind, message: &facts::Message, subresource: Option<&str>) -> Scope {
    match subresource {
        Some("scale") => Scope::Only(set_of(&[&["spec", "replicas"]])),
        // Only the status, labels and annotations move.
        Some(_) => {
            let fields = message.fields.iter().map(|field| field.name);
            let reset: Vec<&str> = fields
                .filter(|name| !matches!(*name, "apiVersion" | "kind" | "metadata" | "status"))
                .collect();
            let mut paths: Vec<Vec<&str>> = reset.into_iter().map(|name| vec![name]).collect();
            for name in ["ownerReferences", "finalizers", "deletionTimestamp"] {
                paths.push(vec!["metadata", name]);
            }
            let paths: Vec<&[&str]> = paths.iter().map(Vec::as_slice).collect();
            Scope::Without(set_of(&paths))
        }
        None if kind.kind == "Namespace" => Scope::Without(set_of(&[&["status"], &["spec"]])),
        None if kind.has_status() => Scope::Without(set_of(&[&["status"]])),
        None => Scope::Without(Set::default()),
    }
}

impl Request<'_> {
    fn write<'f>(
        &self,
        operation: Operation,
        normalise: &'f dyn Fn(&Value) -> Value,
    ) -> Result<Write<'f>, Status> {
        let message = facts::message(self.kind.message)
            .ok_or_else(|| Status::internal(format!("no descriptor for {}", self.kind.message)))?;
        let api_version = self.kind.api_version();
        let manager = match self.manager {
            "" => "unknown",
            name => name,
        };
        Ok(Write {
            schema: Schema::object(message),
            scope: scope(self.kind, message, self.subresource),
            id: Id {
                manager: manager.to_owned(),
                operation,
                api_version: match operation {
                    Operation::Apply => String::new(),
                    Operation::Update => api_version.clone(),
                },
                subresource: self.subresource.unwrap_or_default().to_owned(),
            },
            api_version,
            now: self.now.rfc3339(),
            normalise,
        })
    }

    /// Those who wrote in a version that is gone are forgotten.
    fn current(&self, schema: Schema, mut managers: Managers) -> Managers {
        managers.0.retain(|_, owned| {
            let (group, version) = split_api_version(&owned.api_version);
            find_kind(group, version, self.kind.kind).is_some()
        });
        for owned in managers.0.values_mut() {
            owned.fields = schema.reconcile(&owned.fields);
        }
        managers
    }
}

/// How upstream names an object in an error.
fn named((api_version, kind): (&str, &str), object: &Value) -> String {
    let text = |pointer: &str| {
        let text = object.pointer(pointer).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
    format!("{namespace}/{name}; {}", gvk(api_version, kind))
}

/// A group, version and kind as Go prints them.
fn gvk(api_version: &str, kind: &str) -> String {
    let (group, version) = split_api_version(api_version);
    format!("{group}/{version}, Kind={kind}")
}

/// A configuration says what it is about.
fn expect_type(wanted: (&str, &str), config: &Value) -> Result<(), Status> {
    let text = |key: &str| config.get(key).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if (api_version, kind) == wanted {
        return Ok(());
    }
    let found = gvk(api_version, kind);
    Err(Status::bad_request(format!("invalid object type: {found}")))
}

/// A configuration that fits its schema, with its quantities as they are stored.
fn checked(schema: Schema, of: (&str, &str), config: &Value) -> Result<Value, Status> {
    let mut config = config.clone();
    let problems = typed::validate(schema, &mut config);
    if problems.is_empty() {
        return Ok(config);
    }
    Err(Status::unknown(format!(
        "failed to create typed patch object ({}): {}",
        named(of, &config),
        typed::joined(&problems)
    )))
}

/// Applies a configuration to an object, or to nothing when it is not there yet.
pub fn apply(
    request: &Request<'_>,
    live: Option<&Value>,
    config: &Value,
) -> Result<Applied, Status> {
    let kind = request.kind;
    let api_version = kind.api_version();
    expect_type((&api_version, kind.kind), config)?;
    if live_managers(config).is_some_and(|list| !list.is_null()) {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let normalise = |object: &Value| defaulted(kind, object);
    let write = request.write(Operation::Apply, &normalise)?;
    let typed = checked(write.schema, (&api_version, kind.kind), config)?;
    let mut managers = Managers::decode(live.and_then(live_managers)).unwrap_or_default();
    let old = live.map_or_else(|| Value::Object(Map::new()), without_managed);
    let client_side = match request.subresource {
        None => live.and_then(|live| last_applied(kind, live)),
        Some(_) => None,
    };
    if live.is_some() && managers.0.is_empty() {
        let defaulted = client_side.as_ref().map(|config| defaulted(kind, config));
        managers = owner::before_first_apply(&write, &old, defaulted.as_ref());
    }
    managers = request.current(write.schema, managers);
    let mut after = managers.clone();
    let mut result = write.apply(&old, &typed, &mut after, request.force);
    if let (KUBECTL, Some(past), Err(Failure::Conflicts(conflicts))) =
        (request.manager, &client_side, &mut result)
    {
        // What kubectl wrote client-side and nobody changed since is its own.
        let own = owner::unchanged(write.schema, past, &old);
        conflicts.retain(|conflict| !own.has(&conflict.path));
        if conflicts.is_empty() {
            after = managers;
            result = write.apply(&old, &typed, &mut after, true);
        }
    }
    let mut object = result.map_err(|failure| refused(&failure))?;
    if request.manager == KUBECTL && request.subresource.is_none() {
        keep_last_applied(&mut object, config);
    }
    Ok(Applied {
        object,
        managed_fields: after.encode(),
    })
}

/// What is owned after a write that is no apply; sets `metadata.managedFields` of the new object.
/// An object that was never applied is left alone.
pub fn update(request: &Request<'_>, old: &Value, new: &mut Value, sent: &Sent) {
    let before = live_managers(old).cloned();
    let sent = match request.subresource {
        None => sent,
        Some(_) => &Sent::Nothing,
    };
    if before.is_none() && !matches!(sent, Sent::Entries(_)) {
        return set_managed_fields(new, None);
    }
    let list = match sent {
        Sent::Reset => None,
        Sent::Nothing => after_update(request, old, new, before.as_ref()).unwrap_or(before),
        // A list that can't be read or names nobody is as none: clients that do not understand
        // managed fields must not lose them.
        Sent::Entries(list) => after_update(request, old, new, Some(list))
            .filter(Option::is_some)
            .or_else(|| after_update(request, old, new, before.as_ref()))
            .unwrap_or(before),
    };
    set_managed_fields(new, list);
}

/// `None` when the list or the objects can't be read.
fn after_update(
    request: &Request<'_>,
    old: &Value,
    new: &Value,
    list: Option<&Value>,
) -> Option<Option<Value>> {
    let normalise = |object: &Value| object.clone();
    let write = request.write(Operation::Update, &normalise).ok()?;
    let managers = Managers::decode(list).ok()?;
    if managers.0.is_empty() {
        return Some(None);
    }
    let mut managers = request.current(write.schema, managers);
    let (old, new) = (without_managed(old), without_managed(new));
    write.update(&old, &new, &mut managers).ok()?;
    Some(managers.encode())
}

/// What a configuration of the `scale` subresource says about the object itself.
pub fn scale_config(kind: &Kind, config: &Value) -> Result<Value, Status> {
    const SCALE: (&str, &str) = ("autoscaling/v1", "Scale");
    expect_type(SCALE, config)?;
    let message = facts::message("io.k8s.api.autoscaling.v1.Scale")
        .ok_or_else(|| Status::internal("no descriptor for Scale"))?;
    checked(Schema::object(message), SCALE, config)?;
    let mut out = json!({"apiVersion": kind.api_version(), "kind": kind.kind});
    for key in ["metadata", "spec"] {
        if let Some(value) = config.get(key) {
            out[key] = value.clone();
        }
    }
    Ok(out)
}

fn last_applied(kind: &Kind, live: &Value) -> Option<Value> {
    let annotations = live.pointer("/metadata/annotations")?;
    let config: Value = serde_json::from_str(annotations.get(LAST_APPLIED)?.as_str()?).ok()?;
    let version = config.get("apiVersion").and_then(Value::as_str);
    (version == Some(&kind.api_version())).then_some(config)
}

/// A configuration or object as it is stored.
fn defaulted(kind: &Kind, config: &Value) -> Value {
    let Ok(decoded) = decode::check(kind, config.clone(), FieldValidation::Ignore) else {
        return config.clone();
    };
    let mut config = decoded.value;
    if let Some(map) = config.as_object_mut() {
        crate::admit::defaulted(kind, map);
    }
    config
}

/// Keeps the annotation of client-side apply in step, so that one can go back to it.
fn keep_last_applied(object: &mut Value, config: &Value) {
    let annotations = object.pointer_mut("/metadata/annotations");
    let Some(annotations) = annotations.and_then(Value::as_object_mut) else {
        return;
    };
    let set = annotations.get(LAST_APPLIED).and_then(Value::as_str);
    if set.is_none_or(str::is_empty) {
        return;
    }
    let mut config = config.clone();
    if let Some(own) = config.pointer_mut("/metadata/annotations") {
        own.as_object_mut().and_then(|own| own.remove(LAST_APPLIED));
    }
    // As Go writes JSON for people who may read it in a page.
    let text = config
        .to_string()
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026");
    annotations.insert(LAST_APPLIED.into(), format!("{text}\n").into());
    let size: usize = annotations
        .iter()
        .map(|(key, value)| key.len() + value.as_str().map_or(0, str::len))
        .sum();
    if size > MAX_ANNOTATIONS {
        annotations.remove(LAST_APPLIED);
    }
}

fn refused(failure: &Failure) -> Status {
    match failure {
        Failure::Merge(error) => Status::unknown(format!("failed to merge config: {error}")),
        Failure::Compare(error) => Status::unknown(format!("failed to compare objects: {error}")),
        Failure::Conflicts(conflicts) => {
            let causes = conflicts
                .iter()
                .map(|c| Cause::manager_conflict(show(&c.path), &c.manager.to_string()))
                .collect();
            Status::apply_conflict(causes, &conflict_text(conflicts))
        }
    }
}

fn conflict_text(conflicts: &[Conflict]) -> String {
    if let [one] = conflicts {
        return format!(
            "Apply failed with 1 conflict: conflict with {}: {}",
            one.manager,
            show(&one.path)
        );
    }
    let mut lines: Vec<String> = Vec::new();
    let mut last = None;
    for conflict in conflicts {
        if last != Some(&conflict.manager) {
            lines.push(format!("conflicts with {}:", conflict.manager));
            last = Some(&conflict.manager);
        }
        lines.push(format!("- {}", show(&conflict.path)));
    }
    format!(
        "Apply failed with {} conflicts: {}",
        conflicts.len(),
        lines.join("\n")
    )
}
