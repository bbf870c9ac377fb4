//! OpenAPI v3 documents, generated from the descriptor table.
//!
//! Written as text straight from the table, never held as a value tree; kept gzipped, because that
//! is how clients ask for them. What clients need from them: schemas with the merge keys (without
//! them `kubectl apply` silently sends wrong patches), which group, version and kind a schema is,
//! and that patch operations know `fieldValidation`.

mod words;

use crate::facts::{self, Field, Flags, Merge, Message, Shape, Type};
use crate::kind::{KINDS, Kind, group_versions};
use crate::support;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::sync::OnceLock;

/// One group-version's document.
#[derive(Debug)]
pub struct Document {
    /// Path below `/openapi/v3/`: `api/v1` or `apis/apps/v1`.
    pub path: String,
    /// Content hash, also the `?hash=` of the index and the `ETag`.
    pub hash: String,
    /// The document, gzipped.
    pub gzip: Vec<u8>,
}

fn documents() -> &'static [Document] {
    static DOCUMENTS: OnceLock<Vec<Document>> = OnceLock::new();
    DOCUMENTS.get_or_init(|| {
        group_versions()
            .into_iter()
            .map(|gv| Document::new(gv.0, gv.1))
            .collect()
    })
}

/// The index at `/openapi/v3`, JSON.
pub fn v3_index() -> Vec<u8> {
    let mut out = String::from("{\"paths\":{");
    for (at, document) in documents().iter().enumerate() {
        let comma = if at > 0 { "," } else { "" };
        let Document { path, hash, .. } = document;
        put(
            &mut out,
            format_args!(
                "{comma}\"{path}\":{{\"serverRelativeURL\":\"/openapi/v3/{path}?hash={hash}\"}}"
            ),
        );
    }
    out.push_str("}}");
    out.into_bytes()
}

/// The document at `/openapi/v3/{path}`, e.g. `apis/apps/v1`.
pub fn v3_document(path: &str) -> Option<&'static Document> {
    documents().iter().find(|d| d.path == path)
}

/// Content type of the OpenAPI v2 document in protobuf.
pub const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// The OpenAPI v2 document at `/openapi/v2` in protobuf: one without schemas.
///
/// Clients ask for it when v3 does not know a kind, or when they are older than v3. They skip what
/// it does not describe: an unknown kind gets its proper error, and old clients merge built-in kinds
/// by their own types. Without it both stop.
pub fn v2_protobuf() -> Vec<u8> {
    fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
        // Both are far below the 128 that fit one byte.
        out.extend([number << 3 | 2, u8::try_from(bytes.len()).unwrap_or(0)]);
        out.extend_from_slice(bytes);
    }
    let mut info = Vec::new();
    field(&mut info, 1, b"Kubernetes");
    field(
        &mut info,
        2,
        crate::discovery::KUBERNETES_VERSION.as_bytes(),
    );
    let mut out = Vec::new();
    field(&mut out, 1, b"2.0");
    field(&mut out, 2, &info);
    out
}

/// The same in JSON.
pub fn v2_json() -> Vec<u8> {
    format!(
        "{{\"swagger\":\"2.0\",\"info\":{{\"title\":\"Kubernetes\",\"version\":\"{}\"}},\"paths\":{{}},\"definitions\":{{}}}}",
        crate::discovery::KUBERNETES_VERSION
    )
    .into_bytes()
}

impl Document {
    fn new(group: &str, version: &str) -> Self {
        let path = if group.is_empty() {
            format!("api/{version}")
        } else {
            format!("apis/{group}/{version}")
        };
        let text = text(group, version);
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        // Writing into a vector cannot fail.
        let _ = encoder.write_all(text.as_bytes());
        let gzip = encoder.finish().unwrap_or_default();
        Self {
            path,
            hash: hash(text.as_bytes()),
            gzip,
        }
    }

    /// The document for a client that takes no gzip.
    pub fn plain(&self) -> Vec<u8> {
        let mut out = Vec::new();
        // Our own gzip, checked by a test; a failure would show as an empty document.
        let _ = flate2::read::GzDecoder::new(self.gzip.as_slice()).read_to_end(&mut out);
        out
    }
}

/// 128 bits of FNV-1a: only has to differ when the text does.
fn hash(bytes: &[u8]) -> String {
    let mut state = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128;
    for byte in bytes {
        state = (state ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    }
    format!("{state:032X}")
}

/// Formatting into a string cannot fail.
fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

fn text(group: &str, version: &str) -> String {
    let kinds: Vec<&'static Kind> = KINDS
        .iter()
        .filter(|k| k.group == group && k.version == version)
        .collect();
    let mut out = String::with_capacity(128 * 1024);
    put(
        &mut out,
        format_args!(
            "{{\"openapi\":\"3.0.0\",\"info\":{{\"title\":\"Kubernetes\",\"version\":\"{}\"}},\"paths\":{{",
            crate::discovery::KUBERNETES_VERSION
        ),
    );
    for (at, kind) in kinds.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        paths(&mut out, kind);
    }
    out.push_str("},\"components\":{\"schemas\":{");
    for (at, message) in reachable(&kinds).into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        schema(&mut out, message, &kinds);
    }
    out.push_str("}}}");
    out
}

/// The collection's POST and the object's PUT, PATCH, GET and DELETE.
fn paths(out: &mut String, kind: &Kind) {
    let base = match (kind.group, kind.namespaced) {
        ("", true) => format!(
            "/api/{}/namespaces/{{namespace}}/{}",
            kind.version, kind.plural
        ),
        ("", false) => format!("/api/{}/{}", kind.version, kind.plural),
        (group, true) => {
            format!(
                "/apis/{group}/{}/namespaces/{{namespace}}/{}",
                kind.version, kind.plural
            )
        }
        (group, false) => format!("/apis/{group}/{}/{}", kind.version, kind.plural),
    };
    put(out, format_args!("\"{base}\":{{"));
    operation(out, kind, "get", "list");
    out.push(',');
    operation(out, kind, "post", "post");
    put(out, format_args!("}},\"{base}/{{name}}\":{{"));
    for (at, method) in ["get", "put", "patch", "delete"].into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        operation(out, kind, method, method);
    }
    out.push('}');
}

fn operation(out: &mut String, kind: &Kind, method: &str, action: &str) {
    put(
        out,
        format_args!(
            "\"{method}\":{{\"x-kubernetes-action\":\"{action}\",\"x-kubernetes-group-version-kind\":{},\"parameters\":[",
            gvk(kind)
        ),
    );
    if matches!(method, "post" | "put" | "patch") {
        for (at, name) in ["dryRun", "fieldManager", "fieldValidation"]
            .into_iter()
            .enumerate()
        {
            let comma = if at > 0 { "," } else { "" };
            put(
                out,
                format_args!(
                    "{comma}{{\"name\":\"{name}\",\"in\":\"query\",\"schema\":{{\"type\":\"string\",\"uniqueItems\":true}}}}"
                ),
            );
        }
    }
    out.push(']');
    let reference = format!(
        "{{\"schema\":{{\"$ref\":\"#/components/schemas/{}\"}}}}",
        kind.message
    );
    match method {
        "post" | "put" => {
            put(
                out,
                format_args!(",\"requestBody\":{{\"content\":{{\"*/*\":{reference}}}}}"),
            );
        }
        "patch" => {
            out.push_str(",\"requestBody\":{\"content\":{");
            for (at, media) in [
                "json-patch+json",
                "merge-patch+json",
                "strategic-merge-patch+json",
            ]
            .into_iter()
            .enumerate()
            {
                let comma = if at > 0 { "," } else { "" };
                put(
                    out,
                    format_args!(
                        "{comma}\"application/{media}\":{{\"schema\":{{\"type\":\"object\"}}}}"
                    ),
                );
            }
            out.push_str("}}");
        }
        _ => {}
    }
    let content = if matches!(action, "list" | "delete") {
        String::new()
    } else {
        format!(",\"content\":{{\"application/json\":{reference}}}")
    };
    put(
        out,
        format_args!(",\"responses\":{{\"200\":{{\"description\":\"OK\"{content}}}}}}}"),
    );
}

fn gvk(kind: &Kind) -> String {
    format!(
        "{{\"group\":\"{}\",\"version\":\"{}\",\"kind\":\"{}\"}}",
        kind.group, kind.version, kind.kind
    )
}

/// The kinds' messages and all that they use, by name.
fn reachable(kinds: &[&'static Kind]) -> Vec<&'static Message> {
    let mut queue: Vec<&'static Message> = kinds
        .iter()
        .filter_map(|k| facts::message(k.message))
        .collect();
    let bodies = kinds.iter().flat_map(|k| k.subresources.iter());
    queue.extend(bodies.filter_map(|s| facts::message(s.message)));
    queue.extend(facts::message(
        "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions",
    ));
    let mut seen = BTreeSet::new();
    while let Some(message) = queue.pop() {
        if seen.insert(message.name) {
            queue.extend(message.fields.iter().filter_map(|f| f.ty.message()));
        }
    }
    seen.into_iter().filter_map(facts::message).collect()
}

fn schema(out: &mut String, message: &Message, kinds: &[&'static Kind]) {
    put(
        out,
        format_args!("\"{}\":{{\"type\":\"object\"", message.name),
    );
    let text = words::words(message.name, "");
    if !text.is_empty() {
        put(out, format_args!(",\"description\":\"{text}\""));
    }
    let required: Vec<String> = message
        .fields
        .iter()
        .filter(|f| f.flags.required())
        .map(|f| format!("\"{}\"", f.name))
        .collect();
    if !required.is_empty() {
        put(out, format_args!(",\"required\":[{}]", required.join(",")));
    }
    if !message.fields.is_empty() {
        out.push_str(",\"properties\":{");
        for (at, field) in message.fields.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            property(out, message, field);
        }
        out.push('}');
    }
    let own: Vec<String> = kinds
        .iter()
        .filter(|k| k.message == message.name)
        .map(|k| gvk(k))
        .collect();
    if !own.is_empty() {
        put(
            out,
            format_args!(",\"x-kubernetes-group-version-kind\":[{}]", own.join(",")),
        );
    }
    out.push('}');
}

fn property(out: &mut String, message: &Message, field: &Field) {
    put(out, format_args!("\"{}\":{{", field.name));
    match field.shape {
        Shape::One if let Type::Msg(_) = field.ty => {
            // Siblings of a $ref are ignored by old readers, so the reference stands in allOf.
            put(out, format_args!("\"allOf\":[{{{}}}]", one(field.ty)));
        }
        Shape::One => out.push_str(&one(field.ty)),
        Shape::List => {
            put(
                out,
                format_args!("\"type\":\"array\",\"items\":{{{}}}", one(field.ty)),
            );
        }
        Shape::Map => {
            put(
                out,
                format_args!(
                    "\"type\":\"object\",\"additionalProperties\":{{{}}}",
                    one(field.ty)
                ),
            );
        }
        Shape::MapOfLists => put(
            out,
            format_args!(
                "\"type\":\"object\",\"additionalProperties\":{{\"type\":\"array\",\"items\":{{{}}}}}",
                one(field.ty)
            ),
        ),
    }
    describe(out, message, field);
    merge(out, field.merge, field.flags, field.merge_key());
    out.push('}');
}

/// What the field is for, and what this release does with it when that is not everything.
fn describe(out: &mut String, message: &Message, field: &Field) {
    let words = words::words(message.name, field.name);
    let support = support::remark_for(message, field.name);
    if words.is_empty() && support.is_empty() {
        return;
    }
    let space = if words.is_empty() || support.is_empty() {
        ""
    } else {
        " "
    };
    let text = serde_json::Value::from(format!("{words}{space}{support}"));
    put(out, format_args!(",\"description\":{text}"));
}

fn merge(out: &mut String, merge: Merge, flags: Flags, patch_key: Option<&str>) {
    match merge {
        Merge::None => {}
        Merge::Atomic => out.push_str(",\"x-kubernetes-list-type\":\"atomic\""),
        Merge::Set => {
            out.push_str(
                ",\"x-kubernetes-list-type\":\"set\",\"x-kubernetes-patch-strategy\":\"merge\"",
            );
            return;
        }
        Merge::Keys(keys) => {
            let keys: Vec<String> = keys.iter().map(|k| format!("\"{k}\"")).collect();
            put(
                out,
                format_args!(
                    ",\"x-kubernetes-list-type\":\"map\",\"x-kubernetes-list-map-keys\":[{}]",
                    keys.join(",")
                ),
            );
        }
    }
    if let Some(key) = patch_key {
        put(
            out,
            format_args!(",\"x-kubernetes-patch-merge-key\":\"{key}\""),
        );
    }
    match (patch_key.is_some(), flags.retain_keys()) {
        (true, true) => out.push_str(",\"x-kubernetes-patch-strategy\":\"merge,retainKeys\""),
        (true, false) => out.push_str(",\"x-kubernetes-patch-strategy\":\"merge\""),
        (false, true) => out.push_str(",\"x-kubernetes-patch-strategy\":\"retainKeys\""),
        (false, false) => {}
    }
}

fn one(ty: Type) -> String {
    match ty {
        Type::Str => "\"type\":\"string\"".into(),
        Type::Bool => "\"type\":\"boolean\"".into(),
        Type::Int32 => "\"type\":\"integer\",\"format\":\"int32\"".into(),
        Type::Int64 => "\"type\":\"integer\",\"format\":\"int64\"".into(),
        Type::Double => "\"type\":\"number\",\"format\":\"double\"".into(),
        Type::Bytes => "\"type\":\"string\",\"format\":\"byte\"".into(),
        Type::Time | Type::MicroTime => "\"type\":\"string\",\"format\":\"date-time\"".into(),
        Type::Quantity => "\"oneOf\":[{\"type\":\"string\"},{\"type\":\"number\"}]".into(),
        Type::IntOrString => {
            "\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"string\"}],\"format\":\"int-or-string\""
                .into()
        }
        Type::Raw | Type::FieldsV1 => "\"type\":\"object\"".into(),
        Type::Any => "\"x-kubernetes-preserve-unknown-fields\":true".into(),
        Type::Msg(_) => ty.message().map_or_else(String::new, |message| {
            format!("\"$ref\":\"#/components/schemas/{}\"", message.name)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn document(path: &str) -> Value {
        serde_json::from_slice(&v3_document(path).unwrap().plain()).unwrap()
    }

    #[test]
    fn index_names_every_group_version_with_its_hash() {
        let index: Value = serde_json::from_slice(&v3_index()).unwrap();
        let paths = index["paths"].as_object().unwrap();
        assert_eq!(paths.len(), group_versions().len());
        for (path, entry) in paths {
            let hash = &v3_document(path).unwrap().hash;
            assert_eq!(
                entry["serverRelativeURL"],
                format!("/openapi/v3/{path}?hash={hash}")
            );
        }
        assert!(v3_document("apis/nope/v1").is_none());
    }

    #[test]
    fn documents_carry_what_apply_needs() {
        let core = document("api/v1");
        let schemas = &core["components"]["schemas"];
        let containers = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
        assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
        assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
        assert_eq!(
            containers["items"]["$ref"],
            "#/components/schemas/io.k8s.api.core.v1.Container"
        );
        let volumes = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["volumes"];
        assert_eq!(volumes["x-kubernetes-patch-strategy"], "merge,retainKeys");
        assert_eq!(
            schemas["io.k8s.api.core.v1.Pod"]["x-kubernetes-group-version-kind"],
            json!([{"group": "", "version": "v1", "kind": "Pod"}])
        );
        let patch = &core["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
        assert!(
            patch["parameters"]
                .as_array()
                .unwrap()
                .iter()
                .any(|p| p["name"] == "fieldValidation")
        );
        assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Pod");
        let spec = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"];
        assert_eq!(
            spec["hostNetwork"]["description"],
            "Refused: not supported by this release. Accepted: false."
        );
        assert_eq!(
            spec["containers"]["description"],
            "The containers, by name."
        );
        let apps = document("apis/apps/v1");
        let strategy = &apps["components"]["schemas"]["io.k8s.api.apps.v1.DeploymentSpec"]["properties"]
            ["strategy"];
        assert_eq!(strategy["x-kubernetes-patch-strategy"], "retainKeys");
    }

    #[test]
    fn every_reference_resolves() {
        fn references<'a>(value: &'a Value, out: &mut Vec<&'a str>) {
            match value {
                Value::Object(map) => {
                    out.extend(map.get("$ref").and_then(Value::as_str));
                    map.values().for_each(|v| references(v, out));
                }
                Value::Array(items) => items.iter().for_each(|v| references(v, out)),
                _ => {}
            }
        }
        for (group, version) in group_versions() {
            let path = if group.is_empty() {
                format!("api/{version}")
            } else {
                format!("apis/{group}/{version}")
            };
            let document = document(&path);
            let mut found = Vec::new();
            references(&document, &mut found);
            assert!(!found.is_empty());
            for reference in found {
                let name = reference.strip_prefix("#/components/schemas/").unwrap();
                assert!(
                    document["components"]["schemas"].get(name).is_some(),
                    "{reference}"
                );
            }
        }
    }

    #[test]
    fn documents_stay_small() {
        let total: usize = group_versions().len().min(documents().len());
        assert_eq!(total, documents().len());
        assert!(documents().iter().map(|d| d.gzip.len()).sum::<usize>() < 40_000);
    }
}
