//! Manifests, indexes and configurations of images (OCI image specification 1.1, Docker schema 2),
//! wherever they come from: bytes in, checked values out. Everything here was written by a stranger.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use super::platform::{Platform, suits};
use super::{ImageConfig, Limits, reference};

/// Media types of manifests that are understood, as a registry is asked for them.
pub(super) const MANIFEST_TYPES: [&str; 4] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

/// Why a document of an image is no good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is malformed, or hostile.
    #[error("{0}")]
    Invalid(String),
    /// It is in order but has nothing for this board.
    #[error("{0}")]
    Platform(String),
}

fn invalid(text: impl Into<String>) -> Error {
    Error::Invalid(text.into())
}

/// Points to some bytes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) digest: String,
    /// Bytes; archives of old tools say none.
    #[serde(default)]
    pub(super) size: Option<u64>,
    pub(super) platform: Option<Platform>,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// Points to another index.
    pub(super) fn is_index(&self) -> bool {
        is_index(&self.media_type)
    }

    /// Signatures and attestations sit beside images and have no platform to run on.
    pub(super) fn is_attestation(&self) -> bool {
        let unknown = |platform: &Platform| platform.architecture == "unknown";
        self.platform.as_ref().is_some_and(unknown)
    }
}

pub(super) fn is_index(media_type: &str) -> bool {
    matches!(
        media_type,
        "application/vnd.oci.image.index.v1+json"
            | "application/vnd.docker.distribution.manifest.list.v2+json"
    )
}

/// Several manifests under one name.
#[derive(Debug, Deserialize)]
pub(super) struct Index {
    #[serde(default)]
    pub(super) manifests: Vec<Descriptor>,
}

impl Index {
    /// The manifests that run on the board, best first.
    ///
    /// # Errors
    /// [`Error::Platform`] with what is offered.
    pub(super) fn choose(&self, board: &Platform) -> Result<Vec<&Descriptor>, Error> {
        let score = |d: &Descriptor| suits(&d.platform.clone().unwrap_or_default(), board);
        let images = self.manifests.iter().filter(|d| !d.is_attestation());
        let mut fit: Vec<_> = images.filter_map(|d| Some((score(d)?, d))).collect();
        if fit.is_empty() {
            let offered = self.manifests.iter().filter(|d| !d.is_attestation());
            let offered = offered.filter_map(|d| d.platform.as_ref());
            let offered: Vec<_> = offered.take(16).map(Platform::to_string).collect();
            return Err(Error::Platform(mismatch(&offered.join(", "), board)));
        }
        // A stable sort: of two that suit alike the first one counts.
        fit.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
        Ok(fit.into_iter().map(|(_, descriptor)| descriptor).collect())
    }
}

/// One image.
#[derive(Debug, Deserialize)]
pub(super) struct Manifest {
    pub(super) config: Descriptor,
    pub(super) layers: Vec<Descriptor>,
}

/// What a registry may answer when asked for a manifest.
#[derive(Debug)]
pub(super) enum Document {
    /// Several.
    Index(Index),
    /// One.
    Manifest(Manifest),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    schema_version: Option<u32>,
    #[serde(default)]
    media_type: String,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
}

/// Reads an index or a manifest. The document's own media type counts before the one that came with
/// it, so that one can't be passed off as the other.
///
/// # Errors
/// [`Error::Invalid`].
pub(super) fn document(bytes: &[u8], media_type: &str, limits: &Limits) -> Result<Document, Error> {
    let kind: Kind = parse("manifest", bytes)?;
    if kind.schema_version == Some(1) {
        return Err(invalid(
            "the manifest has schema version 1, which nothing makes any more; push the image again",
        ));
    }
    let index = match kind.media_type.as_str() {
        "" => is_index(media_type) || kind.manifests.is_some(),
        own => is_index(own),
    };
    if index {
        let index: Index = parse("index", bytes)?;
        return match index.manifests.len() {
            n if n > limits.members => Err(invalid(format!("an index of {n} manifests"))),
            _ => Ok(Document::Index(index)),
        };
    }
    let manifest: Manifest = parse("manifest", bytes)?;
    if manifest.layers.len() > limits.layers {
        return Err(invalid(format!(
            "{} layers, at most {} allowed",
            manifest.layers.len(),
            limits.layers
        )));
    }
    for descriptor in manifest.layers.iter().chain([&manifest.config]) {
        check_digest(&descriptor.digest)?;
    }
    Ok(Document::Manifest(manifest))
}

#[derive(Deserialize)]
struct Configuration {
    #[serde(flatten)]
    platform: Platform,
    #[serde(default)]
    config: Option<ContainerPart>,
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct ContainerPart {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    user: Option<String>,
    working_dir: Option<String>,
    stop_signal: Option<String>,
}

/// Reads a configuration for an image of `layers` layers: what matters of it, and the digests of the
/// layers' contents.
///
/// # Errors
/// [`Error`], also when the image is for another platform.
pub(super) fn configuration(
    what: &str,
    json: &[u8],
    layers: usize,
    board: &Platform,
    limits: &Limits,
) -> Result<(ImageConfig, Vec<String>), Error> {
    let parsed: Configuration = parse(what, json)?;
    // Many arm configurations name no variant; the index, if any, has chosen already.
    let mut platform = parsed.platform;
    if platform.variant.is_empty() && platform.architecture == board.architecture {
        platform.variant.clone_from(&board.variant);
    }
    if suits(&platform, board).is_none() {
        return Err(Error::Platform(mismatch(&platform.to_string(), board)));
    }
    let diff_ids = parsed.rootfs.diff_ids;
    if diff_ids.len() != layers || layers > limits.layers {
        return Err(invalid(format!(
            "{layers} layers in the manifest, {} in the configuration, at most {} allowed",
            diff_ids.len(),
            limits.layers
        )));
    }
    for diff_id in &diff_ids {
        check_digest(diff_id)?;
    }
    let part = parsed.config.unwrap_or_default();
    let config = ImageConfig {
        entrypoint: part.entrypoint.unwrap_or_default(),
        cmd: part.cmd.unwrap_or_default(),
        env: part.env.unwrap_or_default(),
        user: part.user.unwrap_or_default(),
        working_dir: part.working_dir.unwrap_or_default(),
        stop_signal: part.stop_signal.unwrap_or_default(),
    };
    Ok((config, diff_ids))
}

fn check_digest(digest: &str) -> Result<(), Error> {
    match reference::valid_digest(digest) {
        true => Ok(()),
        false => Err(invalid(format!("{digest:?} is no digest"))),
    }
}

/// Reads JSON; what is wrong with it names the document.
pub(super) fn parse<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|e| invalid(format!("{name}: {e}")))
}

/// Names both sides.
pub(super) fn mismatch(offered: &str, board: &Platform) -> String {
    let offered = match offered {
        "" => "no platform that it names",
        offered => offered,
    };
    format!("the image is for {offered}, this board is {board}")
}

/// `sha256:…` of some bytes.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::platform::of_machine;
    use proptest::prelude::*;

    fn sha(byte: char) -> String {
        format!("sha256:{}", byte.to_string().repeat(64))
    }

    fn index(platforms: &[(&str, char)]) -> Index {
        let manifests: Vec<_> = platforms
            .iter()
            .map(|(platform, byte)| {
                let mut parts = platform.split('/');
                let mut next = || parts.next().unwrap_or_default().to_owned();
                serde_json::json!({
                    "mediaType": MANIFEST_TYPES[0], "digest": sha(*byte), "size": 1,
                    "platform": {"os": next(), "architecture": next(), "variant": next()},
                })
            })
            .collect();
        let json = serde_json::json!({"schemaVersion": 2, "manifests": manifests}).to_string();
        match document(json.as_bytes(), "", &Limits::default()).unwrap() {
            Document::Index(index) => index,
            Document::Manifest(_) => panic!("a manifest"),
        }
    }

    #[test]
    fn a_board_gets_the_best_variant_that_it_runs() {
        let many = [
            ("linux/amd64", 'a'),
            ("unknown/unknown", 'b'),
            ("linux/arm/v6", 'c'),
            ("linux/arm/v7", 'd'),
            ("linux/arm64/v8", 'e'),
            ("linux/arm/v5", 'f'),
        ];
        let no_arm64 = [
            ("linux/amd64", 'a'),
            ("linux/arm/v6", 'c'),
            ("linux/arm/v7", 'd'),
        ];
        let choose = |platforms: &[(&str, char)], machine: &str| {
            let index = index(platforms);
            let chosen = index
                .choose(&of_machine(machine))
                .map_err(|e| e.to_string());
            chosen.map(|chosen| chosen[0].digest[7..8].to_owned())
        };
        for (platforms, machine, expected) in [
            (&many[..], "x86_64", "a"),
            (&many, "aarch64", "e"),
            (&many, "armv7l", "d"),
            (&many, "armv6l", "c"),
            (&no_arm64, "aarch64", "d"),
            (&no_arm64[..2], "aarch64", "c"),
        ] {
            assert_eq!(choose(platforms, machine).unwrap(), expected, "{machine}");
        }
        assert_eq!(
            choose(&many[..2], "armv7l").unwrap_err(),
            "the image is for linux/amd64, this board is linux/arm/v7"
        );
    }

    #[test]
    fn a_document_is_what_it_says_itself() {
        let read = |json: serde_json::Value, media_type: &str| {
            let read = document(json.to_string().as_bytes(), media_type, &Limits::default());
            match read {
                Ok(Document::Index(_)) => "index".to_owned(),
                Ok(Document::Manifest(_)) => "manifest".to_owned(),
                Err(error) => error.to_string(),
            }
        };
        let config = serde_json::json!({"digest": sha('a'), "size": 1});
        let image = |media_type: &str| serde_json::json!({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": []});
        assert_eq!(read(image(""), MANIFEST_TYPES[0]), "manifest");
        assert_eq!(
            read(image(MANIFEST_TYPES[1]), MANIFEST_TYPES[2]),
            "manifest"
        );
        let list = |media_type: &str| serde_json::json!({"mediaType": media_type, "manifests": []});
        assert_eq!(read(list(""), ""), "index");
        assert_eq!(read(list(MANIFEST_TYPES[3]), MANIFEST_TYPES[0]), "index");
        assert!(read(serde_json::json!({"schemaVersion": 1}), "").contains("schema version 1"));
        let evil = serde_json::json!({"config": {"digest": "../../x"}, "layers": []});
        assert_eq!(read(evil, ""), r#""../../x" is no digest"#);
        assert!(read(serde_json::json!([]), "").contains("manifest"));
    }

    #[test]
    fn a_configuration_for_another_processor_names_both() {
        let json = br#"{"os":"linux","architecture":"arm64","rootfs":{"diff_ids":[]}}"#;
        let board = of_machine("x86_64");
        let error = configuration("c", json, 0, &board, &Limits::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the image is for linux/arm64, this board is linux/amd64"
        );
        let board = of_machine("aarch64");
        assert!(configuration("c", json, 0, &board, &Limits::default()).is_ok());
        assert!(configuration("c", json, 1, &board, &Limits::default()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = document(&bytes, "", &Limits::default());
            let _ = configuration("c", &bytes, 1, &of_machine("armv7l"), &Limits::default());
        }

        #[test]
        fn a_damaged_manifest_is_read_or_refused(at in 0usize..400, byte in any::<u8>()) {
            let mut json = serde_json::json!({
                "schemaVersion": 2, "mediaType": MANIFEST_TYPES[0],
                "config": {"digest": sha('a'), "size": 1},
                "layers": [{"digest": sha('b'), "size": 2}, {"digest": sha('c'), "size": u64::MAX}],
            }).to_string().into_bytes();
            if let Some(place) = json.get_mut(at) {
                *place = byte;
            }
            if let Ok(Document::Manifest(manifest)) = document(&json, "", &Limits::default()) {
                // Whatever it says, its digests are safe file names.
                for descriptor in manifest.layers.iter().chain([&manifest.config]) {
                    prop_assert!(reference::valid_digest(&descriptor.digest));
                }
            }
        }
    }
}
