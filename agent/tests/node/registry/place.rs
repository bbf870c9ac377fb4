//! Images made for a test, and the place they are pulled to.

use super::*;

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const SCHEMA2: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// An image as a registry has it.
#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) manifest: Vec<u8>,
    pub(crate) config: Vec<u8>,
    pub(crate) blobs: Vec<Vec<u8>>,
    pub(crate) layers: Vec<Vec<u8>>,
}

/// How a layer is packed.
pub(crate) type Pack = fn(&[u8]) -> Vec<u8>;

pub(crate) fn made(layers: Vec<Vec<u8>>, architecture: &str, pack: &[Pack]) -> Made {
    let config = config(&layers, architecture);
    let packed = layers.iter().zip(pack.iter().cycle());
    let blobs: Vec<Vec<u8>> = packed.map(|(layer, pack)| pack(layer)).collect();
    let describe = |bytes: &[u8]| json!({"mediaType": "application/octet-stream", "digest": sha(bytes), "size": bytes.len()});
    let descriptors: Vec<_> = blobs.iter().map(|b| describe(b)).collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": sha(&config), "size": config.len()},
        "layers": descriptors,
    });
    Made {
        manifest: manifest.to_string().into_bytes(),
        config,
        blobs,
        layers,
    }
}

pub(crate) fn plain(bytes: &[u8]) -> Vec<u8> {
    bytes.to_vec()
}

pub(crate) fn push(registry: &Registry, repository: &str, tag: &str, made: &Made) {
    push_blobs(registry, repository, made);
    registry.push_manifest(repository, tag, MANIFEST, &made.manifest);
}

pub(crate) fn push_blobs(registry: &Registry, repository: &str, made: &Made) {
    for bytes in made.blobs.iter().chain([&made.config]) {
        registry.push_blob(repository, &sha(bytes), bytes);
    }
}

/// Bytes that no compression makes smaller.
pub(crate) fn noise(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).max(1);
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// A store, and a file about registries.
pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.dir.path().join("images")
    }

    pub(crate) fn order(&self, reference: &str, file: &str) -> Order {
        Order {
            reference: reference.to_owned(),
            config_json: vec![],
            config: vec![],
            registries: registries(self.dir.path(), file),
            known: vec![],
            only_check: false,
            hurry: false,
            time_floor: 0,
        }
    }

    pub(crate) fn pull(&self, order: &Order) -> Result<Pulled, PullError> {
        self.pull_for("x86_64", order)
    }

    pub(crate) fn pull_for(&self, machine: &str, order: &Order) -> Result<Pulled, PullError> {
        match self.carry_out(machine, order, Limits::default())? {
            Outcome::Pulled(pulled) => Ok(*pulled),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn carry_out(
        &self,
        machine: &str,
        order: &Order,
        limits: Limits,
    ) -> Result<Outcome, PullError> {
        let result = pull(
            &self.store(),
            order,
            limits,
            &of_machine(machine),
            &mut |_| true,
        );
        let left = |folder: &str| names(&self.store().join(folder));
        assert_eq!(left("tmp"), [""; 0], "work in progress is left");
        if result.is_ok() {
            assert_eq!(left("partial"), [""; 0], "downloads are left");
        }
        result
    }

    pub(crate) fn read(&self, pulled: &Pulled, layer: usize, path: &str) -> Vec<u8> {
        let hex = pulled.image.diff_ids[layer].trim_start_matches("sha256:");
        let root = self.store().join("layers").join(&hex[..32]).join("fs");
        fs::read(root.join(path)).unwrap()
    }
}

pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Says that a registry speaks no TLS.
pub(crate) fn plain_http(address: impl std::fmt::Display) -> String {
    format!("[registry.\"{address}\"]\nplain-http = true\n")
}

pub(crate) fn login(location: &str, user: &str, password: &str) -> Vec<u8> {
    json!({"auths": {location: {"username": user, "password": password}}})
        .to_string()
        .into_bytes()
}
