//! Definitions: a message of the descriptor table as a schema, in the forms of OpenAPI v2 and v3.

use super::words;
use crate::facts::{self, Field, Flags, Merge, Message, Shape, Type};
use crate::kind::{KINDS, Kind};
use crate::support;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Which document a schema is written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V2,
    V3,
}

impl Version {
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::V2 => "#/definitions/",
            Self::V3 => "#/components/schemas/",
        }
    }
}

/// A schema, without the form of a document. It lives while one definition is written.
#[derive(Debug, Default)]
pub(super) struct Schema {
    /// Name of the definition that stands here; then only the description and extensions count.
    pub(super) reference: String,
    pub(super) ty: &'static str,
    pub(super) format: &'static str,
    /// v3 alone can say "either"; v2 has `ty`.
    pub(super) one_of: &'static [&'static str],
    pub(super) description: String,
    pub(super) required: Vec<&'static str>,
    pub(super) properties: Vec<(&'static str, Schema)>,
    pub(super) items: Option<Box<Schema>>,
    pub(super) values: Option<Box<Schema>>,
    pub(super) extensions: Vec<(&'static str, Value)>,
}

const MAP_TYPE: &str = "x-kubernetes-map-type";
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";

/// Definitions that are no messages: name, type, format, either.
const SCALARS: [(&str, &str, &str, &[&str]); 7] = [
    (
        "io.k8s.apimachinery.pkg.api.resource.Quantity",
        "string",
        "",
        &["string", "number"],
    ),
    (
        "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
        "string",
        "int-or-string",
        &["integer", "string"],
    ),
    (
        "io.k8s.apimachinery.pkg.apis.meta.v1.Time",
        "string",
        "date-time",
        &[],
    ),
    (
        "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
        "string",
        "date-time",
        &[],
    ),
    (
        "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
        "object",
        "",
        &[],
    ),
    (
        "io.k8s.apimachinery.pkg.apis.meta.v1.Patch",
        "object",
        "",
        &[],
    ),
    (
        "io.k8s.apimachinery.pkg.runtime.RawExtension",
        "object",
        "",
        &[],
    ),
];

/// Name of the definition of a kind's list.
pub(super) fn list_name(kind: &Kind) -> String {
    format!("{}List", kind.message)
}

/// Group, version and kind as the extension names them.
pub(super) fn gvk(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "version": version, "kind": kind})
}

/// Every definition that some kinds need, by name: the scalars, the messages that they reach, their
/// lists. Handed out one at a time.
pub(super) fn definitions(kinds: &[&'static Kind], mut each: impl FnMut(&str, Schema)) {
    for (name, ty, format, one_of) in SCALARS {
        let schema = Schema {
            ty,
            format,
            one_of,
            description: words::words(name, "").to_owned(),
            ..Schema::default()
        };
        each(name, schema);
    }
    for message in reachable(kinds) {
        each(message.name, of_message(message));
    }
    for kind in kinds.iter().filter(|kind| kind.verbs.contains(&"list")) {
        each(&list_name(kind), of_list(kind));
    }
}

/// The kinds' messages and all that they use.
fn reachable(kinds: &[&'static Kind]) -> Vec<&'static Message> {
    let bodies = kinds.iter().flat_map(|k| k.subresources.iter());
    let names = kinds
        .iter()
        .map(|k| k.message)
        .chain(bodies.map(|s| s.message));
    let mut queue: Vec<&'static Message> = names.filter_map(facts::message).collect();
    for name in ["DeleteOptions", "ListMeta", "Status"] {
        queue.extend(facts::message(&format!("{META}{name}")));
    }
    let mut seen = BTreeSet::new();
    while let Some(message) = queue.pop() {
        if seen.insert(message.name) {
            queue.extend(message.fields.iter().filter_map(|f| f.ty.message()));
        }
    }
    seen.into_iter().filter_map(facts::message).collect()
}

fn of_message(message: &'static Message) -> Schema {
    let required = message.fields.iter().filter(|f| f.flags.required());
    let properties = message
        .fields
        .iter()
        .map(|f| (f.name, property(message, f)));
    let mut out = Schema {
        ty: "object",
        description: words::words(message.name, "").to_owned(),
        required: required.map(|f| f.name).collect(),
        properties: properties.collect(),
        ..Schema::default()
    };
    let kinds = gvks(message);
    if !kinds.is_empty() {
        out.extensions
            .push(("x-kubernetes-group-version-kind", kinds.into()));
    }
    if message.is_atomic() {
        out.extensions.push((MAP_TYPE, "atomic".into()));
    }
    out
}

/// What a message is the body of, in every group.
fn gvks(message: &Message) -> Vec<Value> {
    let mut out: Vec<Value> = Vec::new();
    let mut add = |value: Value| {
        if !out.contains(&value) {
            out.push(value);
        }
    };
    for kind in KINDS {
        if kind.message == message.name {
            add(gvk(kind.group, kind.version, kind.kind));
        }
        for sub in kind.subresources.iter().filter(|sub| !sub.is_stream()) {
            if sub.message == message.name {
                add(gvk(sub.group, sub.version, sub.kind));
            }
        }
    }
    for name in ["DeleteOptions", "Status"] {
        if message.name.strip_prefix(META) == Some(name) {
            add(gvk("", "v1", name));
        }
    }
    out
}

fn of_list(kind: &'static Kind) -> Schema {
    let text = || Schema {
        ty: "string",
        ..Schema::default()
    };
    let items = Schema {
        ty: "array",
        items: Some(Box::new(refers(kind.message.to_owned()))),
        ..Schema::default()
    };
    Schema {
        ty: "object",
        description: format!("{}List is a list of {}s.", kind.kind, kind.kind),
        required: vec!["items"],
        properties: vec![
            ("apiVersion", text()),
            ("items", items),
            ("kind", text()),
            ("metadata", refers(format!("{META}ListMeta"))),
        ],
        extensions: vec![(
            "x-kubernetes-group-version-kind",
            json!([gvk(kind.group, kind.version, &format!("{}List", kind.kind))]),
        )],
        ..Schema::default()
    }
}

fn refers(reference: String) -> Schema {
    Schema {
        reference,
        ..Schema::default()
    }
}

fn property(message: &Message, field: &Field) -> Schema {
    let one = of_type(field.ty);
    let boxed = |schema: Schema| Some(Box::new(schema));
    let array = |items: Schema| Schema {
        ty: "array",
        items: boxed(items),
        ..Schema::default()
    };
    let map = |values: Schema| Schema {
        ty: "object",
        values: boxed(values),
        ..Schema::default()
    };
    let mut out = match field.shape {
        Shape::One => one,
        Shape::List => array(one),
        Shape::Map => map(one),
        Shape::MapOfLists => map(array(one)),
    };
    out.description = description(message, field);
    out.extensions.extend(merge(
        message.list_type(field),
        field.flags,
        field.merge_key(),
    ));
    if field.shape == Shape::Map && message.is_atomic_field(field) {
        out.extensions.push((MAP_TYPE, "atomic".into()));
    }
    out
}

/// What the field is for, and what this release does with it when that is not everything.
fn description(message: &Message, field: &Field) -> String {
    let words = words::words(message.name, field.name);
    let support = support::remark_for(message, field.name);
    let space = if words.is_empty() || support.is_empty() {
        ""
    } else {
        " "
    };
    format!("{words}{space}{support}")
}

fn of_type(ty: Type) -> Schema {
    let plain = |ty: &'static str, format: &'static str| Schema {
        ty,
        format,
        ..Schema::default()
    };
    let scalar = |at: usize| refers(SCALARS[at].0.to_owned());
    match ty {
        Type::Str => plain("string", ""),
        Type::Bool => plain("boolean", ""),
        Type::Int32 => plain("integer", "int32"),
        Type::Int64 => plain("integer", "int64"),
        Type::Double => plain("number", "double"),
        Type::Bytes => plain("string", "byte"),
        Type::Quantity => scalar(0),
        Type::IntOrString => scalar(1),
        Type::Time => scalar(2),
        Type::MicroTime => scalar(3),
        Type::FieldsV1 => scalar(4),
        Type::Raw => scalar(6),
        Type::Any => Schema {
            extensions: vec![("x-kubernetes-preserve-unknown-fields", true.into())],
            ..Schema::default()
        },
        Type::Msg(_) => refers(ty.message().map_or_else(String::new, |m| m.name.to_owned())),
    }
}

/// How a list merges, for server-side apply and for the older patch.
fn merge(
    merge: Merge,
    flags: Flags,
    patch_key: Option<&'static str>,
) -> Vec<(&'static str, Value)> {
    const TYPE: &str = "x-kubernetes-list-type";
    const STRATEGY: &str = "x-kubernetes-patch-strategy";
    let mut out: Vec<(&'static str, Value)> = Vec::new();
    match merge {
        Merge::None => {}
        Merge::Atomic => out.push((TYPE, "atomic".into())),
        Merge::Set => {
            return vec![(TYPE, "set".into()), (STRATEGY, "merge".into())];
        }
        Merge::Keys(keys) => {
            out.push((TYPE, "map".into()));
            out.push(("x-kubernetes-list-map-keys", json!(keys)));
        }
    }
    if let Some(key) = patch_key {
        out.push(("x-kubernetes-patch-merge-key", key.into()));
    }
    match (patch_key.is_some(), flags.retain_keys()) {
        (true, true) => out.push((STRATEGY, "merge,retainKeys".into())),
        (true, false) => out.push((STRATEGY, "merge".into())),
        (false, true) => out.push((STRATEGY, "retainKeys".into())),
        (false, false) => {}
    }
    out
}

impl Schema {
    /// The schema as it stands in a document.
    pub(super) fn to_json(&self, version: Version) -> Value {
        let mut out = Map::new();
        if !self.reference.is_empty() {
            let reference = json!(format!("{}{}", version.prefix(), self.reference));
            // Old readers of v3 pass over what stands beside a $ref.
            if version == Version::V3
                && (!self.description.is_empty() || !self.extensions.is_empty())
            {
                out.insert("allOf".into(), json!([{"$ref": reference}]));
            } else {
                out.insert("$ref".into(), reference);
            }
        } else if version == Version::V3 && !self.one_of.is_empty() {
            let either = self.one_of.iter().map(|ty| json!({"type": ty}));
            out.insert("oneOf".into(), either.collect());
        } else if !self.ty.is_empty() {
            out.insert("type".into(), self.ty.into());
        }
        if !self.format.is_empty() {
            out.insert("format".into(), self.format.into());
        }
        if !self.description.is_empty() {
            out.insert("description".into(), self.description.as_str().into());
        }
        if !self.required.is_empty() {
            out.insert("required".into(), json!(self.required));
        }
        if !self.properties.is_empty() {
            let properties: Map<String, Value> = self
                .properties
                .iter()
                .map(|(name, schema)| ((*name).to_owned(), schema.to_json(version)))
                .collect();
            out.insert("properties".into(), properties.into());
        }
        if let Some(items) = &self.items {
            out.insert("items".into(), items.to_json(version));
        }
        if let Some(values) = &self.values {
            out.insert("additionalProperties".into(), values.to_json(version));
        }
        for (name, value) in &self.extensions {
            out.insert((*name).into(), value.clone());
        }
        out.into()
    }
}
