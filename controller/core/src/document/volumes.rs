//! Volumes and where they appear, for the wire.

use bramble_api::quantity::Quantity;
use bramble_api::view;
use bramble_wire::object::{
    FieldFile, FieldSource, HostPathKind, KeyFile, KeyFiles, Mount, Projection, Propagation,
    Volume, VolumeSource,
};

use super::{Error, env, tokens};

/// Mode of files where nothing is said.
const MODE: u32 = 0o644;

pub(super) fn all(from: &[view::Volume]) -> Result<Vec<Volume>, Error> {
    from.iter().map(volume).collect()
}

fn volume(from: &view::Volume) -> Result<Volume, Error> {
    let mut sources = [
        from.empty_dir.as_ref().map(empty_dir),
        from.config_map.as_ref().map(|map| {
            let files = keys(&map.name, &map.items, map.default_mode, map.optional);
            Ok(VolumeSource::ConfigMap(files))
        }),
        from.secret.as_ref().map(|secret| {
            let (name, mode) = (&secret.secret_name, secret.default_mode);
            let files = keys(name, &secret.items, mode, secret.optional);
            Ok(VolumeSource::Secret(files))
        }),
        from.host_path.as_ref().map(host_path),
        from.downward_api.as_ref().map(|downward| {
            Ok(VolumeSource::DownwardApi {
                items: fields(&downward.items)?,
                default_mode: downward.default_mode.unwrap_or(MODE),
            })
        }),
        from.projected.as_ref().map(projected),
    ]
    .into_iter()
    .flatten();
    let source = match (sources.next(), sources.next()) {
        (Some(source), None) => source?,
        _ => {
            let what = format!("source of volume \"{}\"", from.name);
            return Err(Error::Unsupported(what));
        }
    };
    Ok(Volume {
        name: from.name.clone(),
        source,
    })
}

fn keys(name: &str, items: &[view::KeyToPath], mode: Option<u32>, optional: bool) -> KeyFiles {
    let item = |i: &view::KeyToPath| KeyFile {
        key: i.key.clone(),
        path: i.path.clone(),
        mode: i.mode,
    };
    KeyFiles {
        name: name.to_owned(),
        items: items.iter().map(item).collect(),
        default_mode: mode.unwrap_or(MODE),
        optional,
    }
}

fn empty_dir(from: &view::EmptyDir) -> Result<VolumeSource, Error> {
    let limit = from.size_limit.as_deref().map(Quantity::parse).transpose();
    let limit = limit.map_err(|_| Error::Range("emptyDir.sizeLimit"))?;
    // Nothing is no limit, as upstream.
    let limit = limit.map(|q| u64::try_from(q.value()).unwrap_or(0));
    Ok(VolumeSource::EmptyDir {
        memory: from.medium == "Memory",
        size_limit_bytes: limit.filter(|bytes| *bytes > 0),
    })
}

fn host_path(from: &view::HostPath) -> Result<VolumeSource, Error> {
    let kind = match from.kind.as_str() {
        "" => HostPathKind::Any,
        "DirectoryOrCreate" => HostPathKind::DirectoryOrCreate,
        "Directory" => HostPathKind::Directory,
        "FileOrCreate" => HostPathKind::FileOrCreate,
        "File" => HostPathKind::File,
        "Socket" => HostPathKind::Socket,
        "CharDevice" => HostPathKind::CharDevice,
        "BlockDevice" => HostPathKind::BlockDevice,
        other => return Err(Error::Unsupported(format!("hostPath of type \"{other}\""))),
    };
    // Upstream hands a relative path to the runtime, which looks for it below `/`.
    let path = match from.path.as_str() {
        path if path.starts_with('/') => path.to_owned(),
        path => format!("/{path}"),
    };
    Ok(VolumeSource::HostPath { path, kind })
}

fn fields(from: &[view::DownwardFile]) -> Result<Vec<FieldFile>, Error> {
    let file = |from: &view::DownwardFile| {
        let value = match (&from.field_ref, &from.resource_field_ref) {
            (Some(field), None) => FieldSource::Field(env::field(field, true)?),
            (None, Some(resource)) => FieldSource::Resource(env::resource(resource)?),
            _ => {
                let what = format!("source of file \"{}\"", from.path);
                return Err(Error::Unsupported(what));
            }
        };
        Ok(FieldFile {
            path: from.path.clone(),
            value,
            mode: from.mode,
        })
    };
    from.iter().map(file).collect()
}

fn projected(from: &view::Projected) -> Result<VolumeSource, Error> {
    let mode = from.default_mode.unwrap_or(MODE);
    let sources = from.sources.iter().map(|source| projection(source, mode));
    // An entry without anything in it is none, as upstream.
    let sources = sources.filter_map(Result::transpose);
    Ok(VolumeSource::Projected {
        sources: sources.collect::<Result<_, _>>()?,
        default_mode: mode,
    })
}

fn projection(from: &view::Projection, mode: u32) -> Result<Option<Projection>, Error> {
    let of = |from: &view::VolumeKeys| keys(&from.name, &from.items, Some(mode), from.optional);
    let mut sources = [
        from.config_map
            .as_ref()
            .map(|map| Ok(Projection::ConfigMap(of(map)))),
        from.secret
            .as_ref()
            .map(|secret| Ok(Projection::Secret(of(secret)))),
        from.downward_api
            .as_ref()
            .map(|downward| fields(&downward.items).map(Projection::DownwardApi)),
        from.service_account_token.as_ref().map(|token| {
            Ok(Projection::Token {
                audience: token.audience.clone(),
                expiration_s: tokens::life(token),
                path: token.path.clone(),
            })
        }),
    ]
    .into_iter()
    .flatten();
    match (sources.next(), sources.next()) {
        (None, _) => Ok(None),
        (Some(source), None) => source.map(Some),
        _ => Err(Error::Unsupported("a projection of several sources".into())),
    }
}

pub(super) fn mounts(from: &[view::VolumeMount]) -> Result<Vec<Mount>, Error> {
    from.iter().map(mount).collect()
}

fn mount(from: &view::VolumeMount) -> Result<Mount, Error> {
    let unknown = |field: &str, value: &str| {
        Error::Unsupported(format!("{field} \"{value}\" of mount \"{}\"", from.name))
    };
    Ok(Mount {
        volume: from.name.clone(),
        path: from.mount_path.clone(),
        sub_path: from.sub_path.clone(),
        sub_path_expr: from.sub_path_expr.clone(),
        read_only: from.read_only,
        propagation: match from.mount_propagation.as_str() {
            "" | "None" => Propagation::None,
            "HostToContainer" => Propagation::HostToContainer,
            "Bidirectional" => Propagation::Bidirectional,
            other => return Err(unknown("mountPropagation", other)),
        },
        // Every kernel that we run on can do it, so `IfPossible` is `Enabled`.
        recursive_read_only: match from.recursive_read_only.as_str() {
            "" | "Disabled" => false,
            "IfPossible" | "Enabled" => true,
            other => return Err(unknown("recursiveReadOnly", other)),
        },
    })
}
