//! Reads an image archive (`docker save` or OCI layout): what is in it, and each layer's bytes.
//!
//! The archive is a file that can be read at any place: both formats put the manifest anywhere.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Component, Path};

use serde::Deserialize;
use tar::{Archive, EntryType};

use super::content::{LayerReader, compression};
use super::manifest::{self, Descriptor, Index, Manifest, digest};
use super::platform::Platform;
use super::{ImageConfig, Limits, reference};

/// Why an archive was not read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The archive is at fault.
    #[error("{0}")]
    Invalid(String),
    /// The archive is in order but has nothing for this board.
    #[error("{0}")]
    Platform(String),
    /// It could not be read.
    #[error("read the archive")]
    Io(#[from] io::Error),
}

pub(super) fn invalid(text: impl Into<String>) -> Error {
    Error::Invalid(text.into())
}

/// An image found in an archive.
#[derive(Debug)]
pub struct Found {
    /// Names in full form.
    pub references: Vec<String>,
    /// Digest of the configuration.
    pub id: String,
    /// The configuration, as it is.
    pub config_json: Vec<u8>,
    /// What matters of it.
    pub config: ImageConfig,
    /// Layers, lowest first.
    pub layers: Vec<FoundLayer>,
}

/// A layer found in an archive.
#[derive(Debug)]
pub struct FoundLayer {
    /// Member that holds it.
    pub member: String,
    /// Digest of the member, when the archive says one.
    pub digest: Option<String>,
    /// Digest of the uncompressed tar.
    pub diff_id: String,
}

/// An archive and where its members lie.
#[derive(Debug)]
pub struct ImageArchive {
    file: File,
    members: BTreeMap<String, Member>,
    limits: Limits,
}

#[derive(Debug, Clone)]
enum Member {
    Data { offset: u64, size: u64 },
    Link(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerManifest {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl ImageArchive {
    /// Notes where every member lies.
    ///
    /// # Errors
    /// When it is no tar archive, or has too many members.
    pub fn open(mut file: File, limits: Limits) -> Result<Self, Error> {
        let mut magic = [0; 4];
        let length = file.read(&mut magic)?;
        if let Some(kind) = compression(&magic[..length]) {
            return Err(invalid(format!(
                "the archive itself is compressed ({kind}); decompress it first"
            )));
        }
        file.rewind()?;
        let mut members = BTreeMap::new();
        let damaged = |e: io::Error| invalid(format!("not an image archive: {e}"));
        let mut archive = Archive::new(&mut file);
        for (count, entry) in archive.entries_with_seek().map_err(damaged)?.enumerate() {
            let entry = entry.map_err(damaged)?;
            if count >= limits.members {
                return Err(invalid(format!(
                    "more than {} members in the archive",
                    limits.members
                )));
            }
            let Some(name) = member_name(&entry.path().map_err(damaged)?) else {
                continue;
            };
            match entry.header().entry_type() {
                EntryType::Regular | EntryType::Continuous => {
                    let (offset, size) = (entry.raw_file_position(), entry.size());
                    members.insert(name, Member::Data { offset, size });
                }
                // Old versions of Docker link a layer that occurs twice.
                EntryType::Symlink | EntryType::Link => {
                    let target = entry.link_name().map_err(damaged)?.unwrap_or_default();
                    let folder = Path::new(&name).parent().unwrap_or(Path::new(""));
                    let from = if entry.header().entry_type() == EntryType::Link {
                        Path::new("")
                    } else {
                        folder
                    };
                    if let Some(target) = member_name(&from.join(target)) {
                        members.insert(name, Member::Link(target));
                    }
                }
                _ => {}
            }
        }
        Ok(Self {
            file,
            members,
            limits,
        })
    }

    /// Images that run on `board`.
    ///
    /// # Errors
    /// When the archive holds no image, a malformed one, or none for the board.
    pub fn images(&mut self, board: &Platform) -> Result<Vec<Found>, Error> {
        if self.members.contains_key("manifest.json") {
            self.docker_images(board)
        } else if self.members.contains_key("index.json") {
            self.oci_images(board)
        } else {
            Err(invalid(
                "neither manifest.json nor index.json in the archive",
            ))
        }
    }

    fn docker_images(&mut self, board: &Platform) -> Result<Vec<Found>, Error> {
        let manifests: Vec<DockerManifest> = self.json("manifest.json", None)?;
        self.check_count(manifests.len())?;
        let mut out = Vec::new();
        for manifest in manifests {
            let names = manifest.repo_tags.unwrap_or_default();
            let config = clean(&manifest.config)?;
            let members = manifest.layers.iter().map(|l| clean(l).map(|m| (m, None)));
            let members = members.collect::<Result<Vec<_>, _>>()?;
            out.push(self.found(names, &config, None, members, board)?);
        }
        Ok(out)
    }

    fn oci_images(&mut self, board: &Platform) -> Result<Vec<Found>, Error> {
        let index: Index = self.json("index.json", None)?;
        self.check_count(index.manifests.len())?;
        let mut out = Vec::new();
        let mut misfits = Vec::new();
        for descriptor in &index.manifests {
            if descriptor.is_attestation() {
                continue;
            }
            let names = [
                "io.containerd.image.name",
                "org.opencontainers.image.ref.name",
            ];
            let name = names
                .iter()
                .find_map(|n| descriptor.annotations.get(*n))
                .cloned();
            let manifest = match self.choose(descriptor, board, 0) {
                Ok(digest) => digest,
                Err(Error::Platform(text)) => {
                    misfits.push(text);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let manifest: Manifest = self.json(&blob(&manifest)?, Some(&manifest))?;
            let config = manifest.config.digest;
            let members = manifest
                .layers
                .into_iter()
                .map(|l| Ok((blob(&l.digest)?, Some(l.digest))));
            let members = members.collect::<Result<Vec<_>, Error>>()?;
            match self.found(
                name.into_iter().collect(),
                &blob(&config)?,
                Some(config),
                members,
                board,
            ) {
                Ok(found) => out.push(found),
                Err(Error::Platform(text)) => misfits.push(text),
                Err(error) => return Err(error),
            }
        }
        match (out.is_empty(), misfits.is_empty()) {
            (false, _) => Ok(out),
            (true, false) => Err(Error::Platform(misfits.join("; "))),
            (true, true) => Err(invalid("no image in index.json")),
        }
    }

    /// Digest of the manifest that suits the board best, below an index if need be.
    fn choose(
        &mut self,
        descriptor: &Descriptor,
        board: &Platform,
        depth: u32,
    ) -> Result<String, Error> {
        if !descriptor.is_index() {
            return Ok(descriptor.digest.clone());
        }
        if depth > 2 {
            return Err(invalid("indexes nested too deeply"));
        }
        let inner: Index = self.json(&blob(&descriptor.digest)?, Some(&descriptor.digest))?;
        self.check_count(inner.manifests.len())?;
        // An archive of a multi-platform image often holds the blobs of one platform only.
        let here = |d: &Descriptor| blob(&d.digest).is_ok_and(|b| self.members.contains_key(&b));
        let held = Index {
            manifests: inner
                .manifests
                .iter()
                .filter(|d| here(d))
                .cloned()
                .collect(),
        };
        let best = match held.choose(board) {
            Ok(fit) => fit.first().copied().cloned(),
            Err(_) => None,
        };
        match best {
            Some(best) => self.choose(&best, board, depth + 1),
            None => {
                let fit = inner.choose(board)?;
                Err(invalid(format!(
                    "the archive lacks {} of the image",
                    fit.first().map_or("a part", |d| d.digest.as_str())
                )))
            }
        }
    }

    fn found(
        &mut self,
        names: Vec<String>,
        config_member: &str,
        config_digest: Option<String>,
        members: Vec<(String, Option<String>)>,
        board: &Platform,
    ) -> Result<Found, Error> {
        let config_json = self.bytes(config_member)?;
        let id = digest(&config_json);
        if config_digest.is_some_and(|want| want != id) {
            return Err(invalid(format!(
                "{config_member} does not have the digest of its name"
            )));
        }
        let (config, diff_ids) = manifest::configuration(
            config_member,
            &config_json,
            members.len(),
            board,
            &self.limits,
        )?;
        let references = names.iter().map(|n| reference::normalise(n));
        let references = references
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| invalid(e.to_string()))?;
        let layers = members.into_iter().zip(diff_ids);
        let layers = layers.map(|((member, digest), diff_id)| FoundLayer {
            member,
            digest,
            diff_id,
        });
        Ok(Found {
            references,
            id,
            config_json,
            config,
            layers: layers.collect(),
        })
    }

    fn check_count(&self, count: usize) -> Result<(), Error> {
        if count > self.limits.images {
            return Err(invalid(format!(
                "more than {} images in the archive",
                self.limits.images
            )));
        }
        Ok(())
    }

    /// The uncompressed bytes of a layer, hashed on the way.
    ///
    /// # Errors
    /// When the member is missing or can't be read.
    pub fn layer(&self, layer: &FoundLayer) -> Result<LayerReader, Error> {
        let (offset, size) = self.locate(&layer.member)?;
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(LayerReader::new(
            file.take(size),
            self.limits.stream_bytes(),
        )?)
    }

    fn locate(&self, name: &str) -> Result<(u64, u64), Error> {
        let mut name = name;
        for _ in 0..8 {
            match self.members.get(name) {
                Some(Member::Data { offset, size }) => return Ok((*offset, *size)),
                Some(Member::Link(target)) => name = target,
                None => break,
            }
        }
        Err(invalid(format!("{name} is not in the archive")))
    }

    fn bytes(&mut self, name: &str) -> Result<Vec<u8>, Error> {
        let (offset, size) = self.locate(name)?;
        if size > self.limits.json_bytes {
            return Err(invalid(format!(
                "{name} has {size} bytes, at most {} allowed",
                self.limits.json_bytes
            )));
        }
        self.file.seek(SeekFrom::Start(offset))?;
        let mut out = Vec::new();
        (&mut self.file).take(size).read_to_end(&mut out)?;
        Ok(out)
    }

    fn json<T: serde::de::DeserializeOwned>(
        &mut self,
        name: &str,
        want: Option<&str>,
    ) -> Result<T, Error> {
        let bytes = self.bytes(name)?;
        if want.is_some_and(|want| want != digest(&bytes)) {
            return Err(invalid(format!(
                "{name} does not have the digest of its name"
            )));
        }
        Ok(manifest::parse(name, &bytes)?)
    }
}

impl From<manifest::Error> for Error {
    fn from(error: manifest::Error) -> Self {
        match error {
            manifest::Error::Invalid(text) => Self::Invalid(text),
            manifest::Error::Platform(text) => Self::Platform(text),
        }
    }
}

fn blob(digest: &str) -> Result<String, Error> {
    if !reference::valid_digest(digest) {
        return Err(invalid(format!("{digest:?} is no digest")));
    }
    Ok(format!("blobs/{}", digest.replace(':', "/")))
}

fn clean(name: &str) -> Result<String, Error> {
    member_name(Path::new(name)).ok_or_else(|| invalid(format!("bad member name {name:?}")))
}

/// A name as a key; `..` is resolved in the name itself. Nothing is ever opened by it.
fn member_name(path: &Path) -> Option<String> {
    let mut out: Vec<&str> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => out.push(name.to_str()?),
            Component::ParentDir => drop(out.pop()?),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    (!out.is_empty()).then(|| out.join("/"))
}
