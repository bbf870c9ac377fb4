//! One order: asks mirrors and registry in turn, with each login that fits, and brings what is
//! missing. Downloads run beside unpacking: one at a time on a small board, two on a larger one.

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use bramble_link::tls::FloorClock;

use super::client::{Client, HURRIED, PATIENT};
use super::config::{Endpoint, Registries};
use super::download::{Blob, Shared, clean, disk, fetch};
use super::http::Response;
use super::keyring::{Keyring, Login};
use super::{Order, Outcome, Progress, PullError, Pulled};
use crate::image::archive::FoundLayer;
use crate::image::child::{
    Loaded, RESERVE, ensure_layer, layer_dir, layer_size, make_folders, write_durably,
};
use crate::image::content::LayerReader;
use crate::image::layer::Used;
use crate::image::manifest::{
    Descriptor, Document, MANIFEST_TYPES, Manifest, configuration, digest, document,
};
use crate::image::platform::Platform;
use crate::image::reference::{Reference, valid_digest};
use crate::image::{ImageConfig, ImageId, Limits};

/// From this much memory two layers are downloaded at a time.
const TWO_FROM: u64 = 1 << 30;
/// Time between two words about progress.
const PROGRESS: Duration = Duration::from_secs(1);

/// Hears how far it is; false ends the pull.
type Listener<'a> = dyn FnMut(Progress) -> bool + 'a;

/// Carries out an order.
///
/// # Errors
/// [`PullError`]; layers that were complete by then stay in the store, unnamed.
pub fn pull(
    store: &Path,
    order: &Order,
    limits: Limits,
    board: &Platform,
    listener: &mut Listener<'_>,
) -> Result<Outcome, PullError> {
    let image =
        Reference::parse(&order.reference).map_err(|e| PullError::Invalid(e.to_string()))?;
    let registries = Registries::read(&order.registries).map_err(PullError::Invalid)?;
    let keyring = keyring(order)?;
    let clock = FloorClock::new(order.time_floor);
    make_folders(store)?;
    clean(store);
    let mut puller = Puller {
        store,
        order,
        image: &image,
        limits,
        board,
        listener,
    };
    let mut mirrors = String::new();
    for endpoint in registries.endpoints(&image) {
        let name = endpoint.name.clone();
        let mirror = endpoint.mirror_of.is_some();
        let error = match puller.try_endpoint(endpoint, &keyring, &clock) {
            Ok(outcome) => return Ok(outcome),
            Err(error) => error,
        };
        match error {
            // The same wherever it comes from.
            PullError::Disk(_) | PullError::Platform(_) => return Err(error),
            error if mirror => mirrors.push_str(&format!(" (mirror {name}: {error})")),
            error if mirrors.is_empty() => return Err(error),
            error => return Err(error.context(mirrors.trim_start())),
        }
    }
    Err(PullError::Invalid(format!(
        "{image}: no place to ask for it"
    )))
}

fn keyring(order: &Order) -> Result<Keyring, PullError> {
    let mut keyring = Keyring::default();
    let bad = |why: String| PullError::Invalid(format!("a pull secret is unusable: {why}"));
    for json in &order.config_json {
        keyring.add_config_json(json).map_err(bad)?;
    }
    for json in &order.config {
        keyring.add_config(json).map_err(bad)?;
    }
    Ok(keyring)
}

struct Puller<'a, 'b> {
    store: &'a Path,
    order: &'a Order,
    image: &'a Reference,
    limits: Limits,
    board: &'a Platform,
    listener: &'a mut Listener<'b>,
}

/// A document with its digest.
struct Named {
    digest: String,
    document: Document,
}

impl Puller<'_, '_> {
    fn try_endpoint(
        &mut self,
        endpoint: Endpoint,
        keyring: &Keyring,
        clock: &Arc<FloorClock>,
    ) -> Result<Outcome, PullError> {
        // A mirror gets the logins that name the mirror, and never those of the registry.
        let repository = match &endpoint.mirror_of {
            Some(_) => format!("{}/{}", endpoint.name, self.image.path),
            None => self.image.repository(),
        };
        let logins = keyring.lookup(&repository);
        let mut attempts: Vec<Option<Login>> = logins.into_iter().map(Some).collect();
        if attempts.is_empty() {
            attempts.push(None);
        }
        let tls = endpoint.tls(clock).map_err(PullError::Invalid)?;
        let patience = if self.order.hurry { HURRIED } else { PATIENT };
        let mut client = Client::new(endpoint, tls, patience);
        let mut last = None;
        for login in attempts {
            client = client.with_login(login);
            match self.attempt(&client) {
                Err(error @ PullError::Denied(_)) => last = Some(error),
                other => return other,
            }
        }
        Err(last.unwrap_or_else(|| PullError::Denied("no credentials".into())))
    }

    fn attempt(&mut self, client: &Client) -> Result<Outcome, PullError> {
        let resolving = format!("failed to resolve reference \"{}\"", self.image);
        let is_known = |digest: &String| self.order.known.contains(digest);
        if !self.order.known.is_empty() {
            match head(client, self.image.version()) {
                Ok(now) if now.as_ref().is_some_and(is_known) => return Ok(Outcome::Same),
                // It may not know the method; the document itself tells.
                Ok(_) | Err(PullError::Invalid(_)) => {}
                Err(error) => return Err(error.context(&resolving)),
            }
        }
        let top = self
            .manifest(client, self.image.version())
            .map_err(|e| e.context(&resolving))?;
        if is_known(&top.digest) {
            return Ok(Outcome::Same);
        }
        if self.order.only_check {
            return Ok(Outcome::Differs);
        }
        let pulling = format!("failed to pull and unpack image \"{}\"", self.image);
        let pulled = self.bring(client, top).map_err(|e| e.context(&pulling))?;
        Ok(Outcome::Pulled(Box::new(pulled)))
    }

    /// Asks for a manifest or index by tag or digest.
    fn manifest(&self, client: &Client, version: &str) -> Result<Named, PullError> {
        let accept = MANIFEST_TYPES.join(", ");
        let what = format!("manifests/{version}");
        let response = client.ask("GET", &what, &[("Accept", accept.as_str())])?;
        let media_type = response.header("content-type").unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().to_owned();
        let claimed = claimed_digest(&response);
        let bytes = response
            .read_all(self.limits.json_bytes)
            .map_err(|e| PullError::Unreachable(format!("manifest {version}: {e}")))?;
        let found = digest(&bytes);
        let wanted = match valid_digest(version) {
            true => Some(version.to_owned()),
            false => claimed,
        };
        if let Some(wanted) = wanted.filter(|wanted| *wanted != found) {
            return Err(PullError::Invalid(format!(
                "manifest {wanted}: what the registry sends has the digest {found}"
            )));
        }
        Ok(Named {
            digest: found,
            document: document(&bytes, &media_type, &self.limits)?,
        })
    }

    fn bring(&mut self, client: &Client, top: Named) -> Result<Pulled, PullError> {
        let digest = top.digest;
        let manifest = self.choose(client, top.document, 0)?;
        let json = self.small_blob(client, &manifest.config)?;
        let what = "configuration";
        let (config, diff_ids) =
            configuration(what, &json, manifest.layers.len(), self.board, &self.limits)?;
        let compressed_bytes = manifest.layers.iter().filter_map(|l| l.size).sum();
        let size_bytes = self.layers(client, &manifest, &diff_ids)?;
        self.finish(
            digest,
            compressed_bytes,
            &manifest,
            &json,
            config,
            diff_ids,
            size_bytes,
        )
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "everything that is known of an image, once"
    )]
    fn finish(
        &self,
        digest: String,
        compressed_bytes: u64,
        manifest: &Manifest,
        json: &[u8],
        config: ImageConfig,
        diff_ids: Vec<String>,
        size_bytes: u64,
    ) -> Result<Pulled, PullError> {
        let id = &manifest.config.digest;
        let blob = self.store.join("blobs").join(id.replace(':', "/"));
        write_durably(&blob, json).map_err(|e| disk(&blob, &e))?;
        let mut references = vec![self.image.to_string()];
        let by_digest = self.image.at(&digest).to_string();
        if !references.contains(&by_digest) {
            references.push(by_digest);
        }
        Ok(Pulled {
            image: Loaded {
                id: ImageId(id.clone()),
                references,
                config,
                diff_ids,
                size_bytes,
            },
            digest,
            compressed_bytes,
        })
    }

    fn choose(
        &self,
        client: &Client,
        document: Document,
        depth: u32,
    ) -> Result<Manifest, PullError> {
        let index = match document {
            Document::Manifest(manifest) => return Ok(manifest),
            Document::Index(_) if depth > 2 => {
                return Err(PullError::Invalid("indexes nested too deeply".into()));
            }
            Document::Index(index) => index,
        };
        let Some(best) = index.choose(self.board)?.into_iter().next() else {
            return Err(PullError::Invalid("an empty index".into()));
        };
        if !valid_digest(&best.digest) {
            return Err(PullError::Invalid(format!(
                "{:?} is no digest",
                best.digest
            )));
        }
        let inner = self.manifest(client, &best.digest)?;
        self.choose(client, inner.document, depth + 1)
    }

    fn small_blob(&self, client: &Client, descriptor: &Descriptor) -> Result<Vec<u8>, PullError> {
        let what = format!("blobs/{}", descriptor.digest);
        let response = client.ask("GET", &what, &[])?;
        let bytes = response
            .read_all(self.limits.json_bytes)
            .map_err(|e| PullError::Unreachable(format!("{what}: {e}")))?;
        match digest(&bytes) {
            found if found == descriptor.digest => Ok(bytes),
            found => Err(PullError::Invalid(format!(
                "{}: what the registry sends has the digest {found}",
                descriptor.digest
            ))),
        }
    }

    /// Brings every layer that is missing; returns the size of all.
    fn layers(
        &mut self,
        client: &Client,
        manifest: &Manifest,
        diff_ids: &[String],
    ) -> Result<u64, PullError> {
        let mut missing: Vec<(&Descriptor, &String)> = Vec::new();
        for (descriptor, diff_id) in manifest.layers.iter().zip(diff_ids) {
            let here = layer_size(&layer_dir(self.store, diff_id)).is_some();
            if !here && !missing.iter().any(|(_, other)| *other == diff_id) {
                missing.push((descriptor, diff_id));
            }
        }
        let of = missing.iter().filter_map(|(d, _)| d.size).sum();
        self.check_room(of)?;
        let shared = Shared::default();
        let queue = Mutex::new(missing.iter());
        let mut used = Used::default();
        let progress = |layers: usize| Progress {
            bytes: shared.bytes.load(Ordering::Relaxed),
            of,
            layers: u32::try_from(layers).unwrap_or(u32::MAX),
            of_layers: u32::try_from(missing.len()).unwrap_or(u32::MAX),
        };
        let (sender, receiver) = mpsc::sync_channel(1);
        std::thread::scope(|scope| {
            for _ in 0..parallel().min(missing.len()) {
                let (sender, queue, shared) = (sender.clone(), &queue, &shared);
                let store = self.store;
                scope.spawn(move || download_all(client, store, queue, shared, &sender));
            }
            drop(sender);
            let result = self.unpack_all(missing.len(), &receiver, &mut used, &progress);
            if result.is_err() {
                shared.stop.store(true, Ordering::Relaxed);
                // Whoever waits to hand over something finds that nobody takes it.
                drop(receiver);
            }
            result
        })?;
        let sizes = diff_ids
            .iter()
            .map(|d| layer_size(&layer_dir(self.store, d)));
        Ok(sizes.map(Option::unwrap_or_default).sum())
    }

    fn unpack_all(
        &mut self,
        count: usize,
        receiver: &mpsc::Receiver<Downloaded>,
        used: &mut Used,
        progress: &dyn Fn(usize) -> Progress,
    ) -> Result<(), PullError> {
        let mut done = 0;
        let mut said = Instant::now();
        while done < count {
            match receiver.recv_timeout(PROGRESS) {
                Ok(Downloaded { layer, blob }) => {
                    self.unpack(&layer, blob?, used)?;
                    done += 1;
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Err(PullError::Io("the downloads ended".into()));
                }
            }
            if said.elapsed() >= PROGRESS || done == count {
                said = Instant::now();
                if !(self.listener)(progress(done)) {
                    return Err(PullError::Io("nobody wants it any more".into()));
                }
            }
        }
        Ok(())
    }

    fn unpack(&self, layer: &FoundLayer, blob: Blob, used: &mut Used) -> Result<(), PullError> {
        use std::io::{Read as _, Seek as _};
        let mut limits = self.limits;
        limits.fit(self.store, used);
        let mut file = blob.file.try_clone().map_err(|e| disk(&blob.path, &e))?;
        file.rewind().map_err(|e| disk(&blob.path, &e))?;
        let open = || {
            let reader = LayerReader::new(file.take(blob.size), limits.stream_bytes());
            reader.map_err(|e| crate::image::child::LoadError::Io(format!("read a layer: {e}")))
        };
        let result = ensure_layer(self.store, layer, &limits, used, open);
        // Right or wrong: the next try must not find it again.
        blob.remove();
        result?;
        Ok(())
    }

    /// Refuses early what can't fit.
    fn check_room(&self, bytes: u64) -> Result<(), PullError> {
        if bytes > self.limits.unpacked_bytes {
            return Err(PullError::Invalid(format!(
                "layers of {bytes} bytes, at most {} are allowed",
                self.limits.unpacked_bytes
            )));
        }
        let Ok(stat) = rustix::fs::statvfs(self.store) else {
            return Ok(());
        };
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        match bytes.saturating_add(RESERVE) > free {
            true => Err(PullError::Disk(format!(
                "no space left on device: {} MB to download, {} MB free, of which {} MB are kept",
                bytes >> 20,
                free >> 20,
                RESERVE >> 20
            ))),
            false => Ok(()),
        }
    }
}

/// A layer, downloaded or not.
struct Downloaded {
    layer: FoundLayer,
    blob: Result<Blob, PullError>,
}

fn download_all(
    client: &Client,
    store: &Path,
    queue: &Mutex<std::slice::Iter<'_, (&Descriptor, &String)>>,
    shared: &Shared,
    sender: &mpsc::SyncSender<Downloaded>,
) {
    loop {
        let next = match queue.lock() {
            Ok(mut queue) => queue.next(),
            Err(_) => None,
        };
        let Some((descriptor, diff_id)) = next else {
            return;
        };
        let blob = fetch(client, store, descriptor, shared);
        let failed = blob.is_err();
        let layer = FoundLayer {
            member: format!("layer {}", descriptor.digest),
            digest: Some(descriptor.digest.clone()),
            diff_id: (*diff_id).clone(),
        };
        if sender.send(Downloaded { layer, blob }).is_err() || failed {
            return;
        }
    }
}

/// The digest that a name stands for now, if the registry says so without sending the document.
fn head(client: &Client, version: &str) -> Result<Option<String>, PullError> {
    let accept = MANIFEST_TYPES.join(", ");
    let what = format!("manifests/{version}");
    let response = client.ask("HEAD", &what, &[("Accept", accept.as_str())])?;
    Ok(claimed_digest(&response))
}

fn claimed_digest(response: &Response) -> Option<String> {
    let claimed = response.header("docker-content-digest")?;
    valid_digest(claimed).then(|| claimed.to_owned())
}

/// Downloads at the same time, by the board's memory.
fn parallel() -> usize {
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = info.lines().find_map(|line| {
        let kib = line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?;
        kib.parse::<u64>().ok()
    });
    match total.unwrap_or(0) * 1024 {
        bytes if bytes >= TWO_FROM => 2,
        _ => 1,
    }
}
