//! Volumes and where they appear, as in a manifest.

use bramble_wire::object::{
    FieldFile, FieldSource, HostPathKind, KeyFile, KeyFiles, Mount, Projection, Propagation,
    Volume, VolumeSource,
};
use serde_json::{Value, json};

use super::{field, flag, list, object, resource, text, when};

pub(super) fn mount(from: &Mount) -> Value {
    let propagation = match from.propagation {
        Propagation::None => "",
        Propagation::HostToContainer => "HostToContainer",
        Propagation::Bidirectional => "Bidirectional",
    };
    object([
        ("name", text(&from.volume)),
        ("mountPath", text(&from.path)),
        ("subPath", text(&from.sub_path)),
        ("subPathExpr", text(&from.sub_path_expr)),
        ("readOnly", flag(from.read_only)),
        ("mountPropagation", text(propagation)),
        (
            "recursiveReadOnly",
            when(from.recursive_read_only, "Enabled"),
        ),
    ])
}

pub(super) fn volume(from: &Volume) -> Value {
    let (kind, source) = match &from.source {
        VolumeSource::EmptyDir {
            memory,
            size_limit_bytes,
        } => {
            let limit = size_limit_bytes.map_or(Value::Null, |bytes| bytes.to_string().into());
            let source = object([("medium", when(*memory, "Memory")), ("sizeLimit", limit)]);
            ("emptyDir", source)
        }
        VolumeSource::ConfigMap(files) => ("configMap", keys(files, "name", true)),
        VolumeSource::Secret(files) => ("secret", keys(files, "secretName", true)),
        VolumeSource::HostPath { path, kind } => {
            let source = object([("path", text(path)), ("type", text(host_path(*kind)))]);
            ("hostPath", source)
        }
        VolumeSource::DownwardApi {
            items,
            default_mode,
        } => {
            let source = object([
                ("items", list(items.iter().map(file))),
                ("defaultMode", json!(default_mode)),
            ]);
            ("downwardAPI", source)
        }
        VolumeSource::Projected {
            sources,
            default_mode,
        } => {
            let sources: Vec<Value> = sources.iter().map(projection).collect();
            (
                "projected",
                json!({"sources": sources, "defaultMode": default_mode}),
            )
        }
    };
    object([("name", text(&from.name)), (kind, source)])
}

fn host_path(kind: HostPathKind) -> &'static str {
    match kind {
        HostPathKind::Any => "",
        HostPathKind::DirectoryOrCreate => "DirectoryOrCreate",
        HostPathKind::Directory => "Directory",
        HostPathKind::FileOrCreate => "FileOrCreate",
        HostPathKind::File => "File",
        HostPathKind::Socket => "Socket",
        HostPathKind::CharDevice => "CharDevice",
        HostPathKind::BlockDevice => "BlockDevice",
    }
}

/// Keys as files; a source of a projection has no mode of its own.
fn keys(from: &KeyFiles, name: &str, mode: bool) -> Value {
    let item = |item: &KeyFile| {
        object([
            ("key", text(&item.key)),
            ("path", text(&item.path)),
            ("mode", json!(item.mode)),
        ])
    };
    object([
        (name, text(&from.name)),
        ("items", list(from.items.iter().map(item))),
        (
            "defaultMode",
            if mode {
                json!(from.default_mode)
            } else {
                Value::Null
            },
        ),
        ("optional", flag(from.optional)),
    ])
}

fn file(from: &FieldFile) -> Value {
    let (kind, source) = match &from.value {
        FieldSource::Field(of) => ("fieldRef", field(of)),
        FieldSource::Resource(of) => ("resourceFieldRef", resource(of)),
    };
    object([
        ("path", text(&from.path)),
        (kind, source),
        ("mode", json!(from.mode)),
    ])
}

fn projection(from: &Projection) -> Value {
    match from {
        Projection::ConfigMap(files) => json!({"configMap": keys(files, "name", false)}),
        Projection::Secret(files) => json!({"secret": keys(files, "name", false)}),
        Projection::DownwardApi(items) => {
            let items: Vec<Value> = items.iter().map(file).collect();
            json!({"downwardAPI": {"items": items}})
        }
        Projection::Token {
            audience,
            expiration_s,
            path,
        } => json!({
            "serviceAccountToken": object([
                ("audience", text(audience)),
                ("expirationSeconds", json!(expiration_s)),
                ("path", text(path)),
            ])
        }),
    }
}
