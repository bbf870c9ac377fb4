//! Volumes that are files: which there are, with which bytes, modes and owners.

use std::collections::BTreeMap;

use bramble_wire::object::{
    Container, FieldFile, FieldSource, KeyFiles, Pod, Projection, VolumeSource,
};

use super::{Content, File};
use crate::desired::{Desired, Host};
use crate::env;
use crate::field;

/// Mode of a token that somebody in particular may read; `fsGroup` makes it 0640.
const TOKEN_MODE: u32 = 0o600;

/// Where the bytes come from.
pub(super) struct Around<'a> {
    pub(super) desired: &'a Desired,
    pub(super) host: &'a Host,
    pub(super) pod: &'a Pod,
    pub(super) address: Option<[u8; 4]>,
}

/// Files by path: on the same path the later one wins.
type Files = BTreeMap<String, File>;

/// Settles a volume of files.
///
/// # Errors
/// The text for a person.
pub(super) fn compile(around: &Around<'_>, source: &VolumeSource) -> Result<Content, String> {
    let mut files = Files::new();
    let mut secret = false;
    match source {
        VolumeSource::ConfigMap(keys) => around.config_map(keys, &mut files)?,
        VolumeSource::Secret(keys) => {
            secret = true;
            around.secret(keys, &mut files)?;
        }
        VolumeSource::DownwardApi {
            items,
            default_mode,
        } => around.fields(items, *default_mode, &mut files)?,
        VolumeSource::Projected {
            sources,
            default_mode,
        } => {
            secret = sources
                .iter()
                .any(|source| matches!(source, Projection::Secret(_) | Projection::Token { .. }));
            around.project(sources, *default_mode, &mut files)?;
        }
        VolumeSource::EmptyDir { .. } | VolumeSource::HostPath { .. } => {}
    }
    check_paths(&files)?;
    Ok(Content::Files {
        secret,
        files: files.into_values().collect(),
    })
}

impl Around<'_> {
    /// Every source is tried; the failures are told together, as upstream.
    fn project(
        &self,
        sources: &[Projection],
        default_mode: u32,
        files: &mut Files,
    ) -> Result<(), String> {
        let mut errors: Vec<String> = Vec::new();
        for source in sources {
            let result = match source {
                Projection::ConfigMap(keys) => self.config_map(keys, files),
                Projection::Secret(keys) => self.secret(keys, files),
                Projection::DownwardApi(items) => self.fields(items, default_mode, files),
                Projection::Token {
                    audience,
                    expiration_s,
                    path,
                } => self.token(audience, *expiration_s).map(|token| {
                    let owner = user_of(self.pod);
                    let anyones = owner.is_none() && self.pod.fs_group.is_none();
                    let file = File {
                        path: path.clone(),
                        mode: if anyones { default_mode } else { TOKEN_MODE },
                        owner,
                        bytes: token,
                    };
                    files.insert(path.clone(), file);
                }),
            };
            if let Err(error) = result
                && !errors.contains(&error)
            {
                errors.push(error);
            }
        }
        match errors.as_slice() {
            [] => Ok(()),
            [one] => Err(one.clone()),
            several => Err(format!("[{}]", several.join(", "))),
        }
    }

    fn config_map(&self, keys: &KeyFiles, files: &mut Files) -> Result<(), String> {
        let data = env::config_map(self.desired, self.pod, &keys.name);
        self.keys(
            data,
            keys,
            "configmap references non-existent config key",
            files,
        )
    }

    fn secret(&self, keys: &KeyFiles, files: &mut Files) -> Result<(), String> {
        let data = env::secret(self.desired, self.pod, &keys.name);
        self.keys(data, keys, "references non-existent secret key", files)
    }

    fn keys(
        &self,
        data: Result<&BTreeMap<String, Vec<u8>>, env::Error>,
        keys: &KeyFiles,
        missing: &str,
        files: &mut Files,
    ) -> Result<(), String> {
        let data = match data {
            Ok(data) => data,
            Err(env::Error::ConfigMap(_) | env::Error::Secret(_)) if keys.optional => {
                return Ok(());
            }
            Err(error) => return Err(error.to_string()),
        };
        let mut add = |path: &str, mode: Option<u32>, bytes: &[u8]| {
            let file = File {
                path: path.to_owned(),
                mode: mode.unwrap_or(keys.default_mode),
                owner: None,
                bytes: bytes.to_vec(),
            };
            files.insert(path.to_owned(), file);
        };
        if keys.items.is_empty() {
            for (key, bytes) in data {
                add(key, None, bytes);
            }
        }
        for item in &keys.items {
            match data.get(&item.key) {
                Some(bytes) => add(&item.path, item.mode, bytes),
                None if keys.optional => {}
                None => return Err(format!("{missing}: {}", item.key)),
            }
        }
        Ok(())
    }

    fn fields(
        &self,
        items: &[FieldFile],
        default_mode: u32,
        files: &mut Files,
    ) -> Result<(), String> {
        for item in items {
            let text = match &item.value {
                FieldSource::Field(field) => {
                    field::of_pod(self.host, self.pod, self.address, field)
                }
                FieldSource::Resource(resource) => {
                    // The API sees to it that a file names its container.
                    let nobody = Container::default();
                    env::resource_of(self.host, self.pod, &nobody, resource)
                        .map_err(|error| error.to_string())?
                }
            };
            let file = File {
                path: item.path.clone(),
                mode: item.mode.unwrap_or(default_mode),
                owner: None,
                bytes: text.into_bytes(),
            };
            files.insert(item.path.clone(), file);
        }
        Ok(())
    }

    /// The last token that the controller gave for this audience and lifetime, also when it has
    /// ended: a node that is alone has no better one.
    fn token(&self, audience: &str, expiration_s: u64) -> Result<Vec<u8>, String> {
        let why = match self.desired.tokens.get(&self.pod.uid) {
            None => "the controller has not sent it yet",
            Some(None) => "it can't be opened by this node",
            Some(Some(tokens)) => {
                let token = tokens
                    .0
                    .iter()
                    .find(|token| token.audience == audience && token.expiration_s == expiration_s);
                match token {
                    Some(token) => return Ok(token.token.clone().into_bytes()),
                    None => "the controller has not sent it yet",
                }
            }
        };
        let of = if audience.is_empty() {
            String::new()
        } else {
            format!(" for audience {audience:?}")
        };
        Err(format!("failed to fetch token{of}: {why}"))
    }
}

/// The user that tokens of a pod belong to: the one that all of its containers run as, if there is
/// one (`FsUserFrom`).
fn user_of(pod: &Pod) -> Option<u32> {
    let mut users = (pod.init_containers.iter())
        .chain(&pod.containers)
        .map(|container| container.security.run_as_user);
    let first = users.next()??;
    users.all(|user| user == Some(first)).then_some(first)
}

/// The controller checks it too; a path that leaves the volume would write into the board, and a
/// file where another one needs a directory can't be written.
fn check_paths(files: &Files) -> Result<(), String> {
    for path in files.keys() {
        if !is_inside(path) {
            return Err(format!("path {path:?} leaves the volume"));
        }
        let above = path.match_indices('/').map(|(at, _)| &path[..at]);
        for folder in above {
            if files.contains_key(folder) {
                return Err(format!("path {folder:?} is both a file and a directory"));
            }
        }
    }
    Ok(())
}

/// Names that begin with two dots are the writer's own.
fn is_inside(path: &str) -> bool {
    !path.is_empty()
        && !path.starts_with("..")
        && !path.starts_with('/')
        && path
            .split('/')
            .all(|part| !part.is_empty() && part != ".." && part != ".")
}
