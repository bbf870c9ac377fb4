//! Image archives for tests, good and bad.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

use std::io::Write as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

/// An entry of a layer; names are written as they are, however evil.
#[derive(Debug, Clone)]
pub struct Entry {
    pub name: String,
    pub kind: EntryType,
    pub link: String,
    pub data: Vec<u8>,
    pub mode: u32,
    /// Size in the header, when it shall lie.
    pub size: Option<u64>,
}

pub fn entry(name: &str, kind: EntryType, link: &str, data: &[u8]) -> Entry {
    let (name, link) = (name.to_owned(), link.to_owned());
    Entry {
        name,
        kind,
        link,
        data: data.to_vec(),
        mode: 0o755,
        size: None,
    }
}

pub fn file(name: &str, data: &[u8]) -> Entry {
    entry(name, EntryType::Regular, "", data)
}

pub fn dir(name: &str) -> Entry {
    entry(name, EntryType::Directory, "", b"")
}

pub fn symlink(name: &str, to: &str) -> Entry {
    entry(name, EntryType::Symlink, to, b"")
}

pub fn hard_link(name: &str, to: &str) -> Entry {
    entry(name, EntryType::Link, to, b"")
}

/// The tar of a layer, header by header: `tar::Builder` would refuse most of these names.
pub fn layer(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    for e in entries {
        let mut header = Header::new_gnu();
        let raw = header.as_old_mut();
        let put = |field: &mut [u8], text: &str| {
            let n = text.len().min(field.len());
            field[..n].copy_from_slice(&text.as_bytes()[..n]);
        };
        put(&mut raw.name, &e.name);
        put(&mut raw.linkname, &e.link);
        header.set_entry_type(e.kind);
        header.set_mode(e.mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_size(e.size.unwrap_or(e.data.len() as u64));
        header.set_cksum();
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(&e.data);
        out.resize(out.len().div_ceil(512) * 512, 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

pub fn sha(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

pub fn config(layers: &[Vec<u8>], architecture: &str) -> Vec<u8> {
    let diff_ids: Vec<_> = layers.iter().map(|l| sha(l)).collect();
    serde_json::json!({
        "architecture": architecture,
        "os": "linux",
        "config": {
            "Entrypoint": ["/bin/sh", "-c"],
            "Cmd": ["echo from the image"],
            "Env": ["PATH=/bin", "A=1"],
            "User": "web",
            "WorkingDir": "/work"
        },
        "rootfs": { "type": "layers", "diff_ids": diff_ids }
    })
    .to_string()
    .into_bytes()
}

fn members(list: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (name, data) in list {
        let mut header = Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, data.as_slice()).unwrap();
    }
    tar.into_inner().unwrap()
}

/// As `docker save` writes it, manifest last.
pub fn docker(reference: &str, layers: &[Vec<u8>], architecture: &str) -> Vec<u8> {
    let config = config(layers, architecture);
    let config_name = format!("{}.json", sha(&config).trim_start_matches("sha256:"));
    let mut list = vec![(config_name.clone(), config)];
    let mut names = Vec::new();
    for (n, layer) in layers.iter().enumerate() {
        names.push(format!("l{n}/layer.tar"));
        list.push((format!("l{n}/layer.tar"), layer.clone()));
    }
    let manifest =
        serde_json::json!([{ "Config": config_name, "RepoTags": [reference], "Layers": names }]);
    list.push((
        "manifest.json".to_owned(),
        manifest.to_string().into_bytes(),
    ));
    members(&list)
}

/// One platform of an OCI image: its architecture, variant and compressed layers.
pub struct Platform<'a> {
    pub architecture: &'a str,
    pub variant: &'a str,
    pub layers: Vec<Vec<u8>>,
    pub compress: fn(&[u8]) -> Vec<u8>,
}

/// An OCI layout with an index over platforms.
pub fn oci(reference: &str, platforms: &[Platform<'_>]) -> Vec<u8> {
    let mut list = vec![(
        "oci-layout".to_owned(),
        br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec(),
    )];
    let mut add = |bytes: Vec<u8>| {
        let digest = sha(&bytes);
        let size = bytes.len();
        list.push((format!("blobs/{}", digest.replace(':', "/")), bytes));
        serde_json::json!({ "digest": digest, "size": size })
    };
    let mut manifests = Vec::new();
    for p in platforms {
        let config = add(config(&p.layers, p.architecture));
        let layers: Vec<_> = p.layers.iter().map(|l| add((p.compress)(l))).collect();
        let manifest =
            serde_json::json!({ "schemaVersion": 2, "config": config, "layers": layers });
        let mut descriptor = add(manifest.to_string().into_bytes());
        descriptor["mediaType"] = "application/vnd.oci.image.manifest.v1+json".into();
        descriptor["platform"] = serde_json::json!({
            "os": "linux", "architecture": p.architecture, "variant": p.variant
        });
        manifests.push(descriptor);
    }
    let inner = serde_json::json!({ "schemaVersion": 2, "manifests": manifests });
    let mut descriptor = add(inner.to_string().into_bytes());
    descriptor["mediaType"] = "application/vnd.oci.image.index.v1+json".into();
    descriptor["annotations"] = serde_json::json!({ "io.containerd.image.name": reference });
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": [descriptor] });
    list.push(("index.json".to_owned(), index.to_string().into_bytes()));
    members(&list)
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

/// A layer made of a directory, as the busybox root.
pub fn layer_of(root: &Path) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    tar.follow_symlinks(false);
    tar.append_dir_all(".", root).unwrap();
    tar.into_inner().unwrap()
}
