//! Makes room: images that nothing names and nothing runs of go when the disk is nearly full, the
//! ones unused for longest first.
//!
//! In: what is in use at this moment (the accepted document and what runs), how full the disk is,
//! a word that something was pulled. Out: images removed from the [`Store`]. What the document names
//! is never removed: a node must not need the network for what it was told to run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bramble_agent_core::time::Moment;
use tokio::sync::mpsc;

use super::store::{Error, Store};
use super::{ImageId, ImageInfo};

/// Time between two looks at the disk.
const INTERVAL: Duration = Duration::from_secs(300);

/// When to begin and where to stop, as the kubelet's flags of these names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    /// Per cent of the disk in use at which images are removed.
    pub high: u8,
    /// Per cent of the disk in use that is to be reached.
    pub low: u8,
    /// No image goes that has not been here for so long.
    pub min_age: Duration,
}

impl Default for Watermarks {
    fn default() -> Self {
        Self {
            high: 85,
            low: 80,
            min_age: Duration::from_secs(120),
        }
    }
}

/// Names every image that must stay, as of now.
pub type InUse = Arc<dyn Fn() -> BTreeSet<ImageId> + Send + Sync>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Age {
    first_ms: u64,
    last_ms: u64,
    /// It was pulled, so it can be pulled again; one that came in an archive may be nowhere else.
    pulled: bool,
}

/// See the module. Ends when nobody is left to say that something was pulled.
pub async fn run(
    store: Arc<Store>,
    in_use: InUse,
    watermarks: Watermarks,
    mut look: mpsc::Receiver<()>,
    now: fn() -> Moment,
) {
    let mut ages = BTreeMap::new();
    // Not before something has happened: by then what runs on the board has been looked at.
    loop {
        note(&mut ages, &store.list(), &in_use(), now().boot_ms);
        tokio::select! {
            word = look.recv() => {
                if word.is_none() {
                    return;
                }
            }
            () = tokio::time::sleep(INTERVAL) => {}
        }
        note(&mut ages, &store.list(), &in_use(), now().boot_ms);
        if let Err(error) = collect(&store, &in_use, watermarks, &ages, now().boot_ms).await {
            let error = crate::error_chain(&error);
            tracing::warn!(error, "images could not be removed");
        }
    }
}

/// Removes everything that is not in use, whatever the disk says; returns what went.
///
/// # Errors
/// [`Error`].
pub async fn prune(store: &Store, in_use: &InUse) -> Result<Vec<ImageInfo>, Error> {
    let used = in_use();
    let mut gone = store.list();
    gone.retain(|image| !used.contains(&image.id));
    let ids = gone.iter().map(|image| image.id.clone()).collect();
    store.remove_images(&ids).await?;
    store.drop_downloads().await?;
    Ok(gone)
}

fn note(
    ages: &mut BTreeMap<ImageId, Age>,
    images: &[ImageInfo],
    used: &BTreeSet<ImageId>,
    now: u64,
) {
    let here: BTreeSet<&ImageId> = images.iter().map(|image| &image.id).collect();
    ages.retain(|id, _| here.contains(id));
    for image in images {
        let age = ages.entry(image.id.clone()).or_insert(Age {
            first_ms: now,
            last_ms: 0,
            pulled: false,
        });
        age.pulled = image.references.iter().any(|name| name.contains('@'));
        if used.contains(&image.id) {
            age.last_ms = now;
        }
    }
}

/// Images that may go, in the order in which they do.
fn candidates(
    ages: &BTreeMap<ImageId, Age>,
    used: &BTreeSet<ImageId>,
    min_age: Duration,
    now: u64,
) -> Vec<ImageId> {
    let min_age = u64::try_from(min_age.as_millis()).unwrap_or(u64::MAX);
    let old = |age: &Age| now.saturating_sub(age.first_ms) >= min_age;
    let mut out: Vec<(&ImageId, &Age)> = (ages.iter())
        .filter(|(id, age)| !used.contains(*id) && old(age))
        .collect();
    out.sort_by_key(|(_, age)| (!age.pulled, age.last_ms, age.first_ms));
    out.into_iter().map(|(id, _)| id.clone()).collect()
}

async fn collect(
    store: &Store,
    in_use: &InUse,
    watermarks: Watermarks,
    ages: &BTreeMap<ImageId, Age>,
    now: u64,
) -> Result<(), Error> {
    let full = store.disk_use();
    if full < watermarks.high || watermarks.high >= 100 {
        return Ok(());
    }
    store.drop_downloads().await?;
    store.sweep().await?;
    // One at a time: layers are shared, so only the disk knows what an image's end has freed.
    for id in candidates(ages, &in_use(), watermarks.min_age, now) {
        if store.disk_use() <= watermarks.low {
            break;
        }
        // A document that came meanwhile counts.
        if in_use().contains(&id) {
            continue;
        }
        tracing::info!(image = %id, "removed to make room: nothing here uses it");
        store.remove_images(&BTreeSet::from([id])).await?;
    }
    let left = store.disk_use();
    if left >= watermarks.high {
        tracing::warn!(
            per_cent = left,
            "the disk stays nearly full: every image that is left is in use or new"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> ImageId {
        ImageId(name.to_owned())
    }

    fn image(name: &str) -> ImageInfo {
        // One that came in an archive has no digest.
        let at = if name == "loaded" { ":1" } else { "@sha256:0" };
        ImageInfo {
            id: id(name),
            references: vec![format!("host/{name}{at}")],
            size_bytes: 0,
        }
    }

    #[test]
    fn the_longest_unused_goes_first_and_what_is_used_or_new_stays() {
        let mut ages = BTreeMap::new();
        let images = ["a", "b", "c", "loaded"].map(image);
        let used = |names: &[&str]| names.iter().map(|name| id(name)).collect::<BTreeSet<_>>();
        note(&mut ages, &images, &used(&["a", "b", "c"]), 1_000);
        note(&mut ages, &images, &used(&["a"]), 2_000);
        let more = ["a", "b", "c", "loaded", "new"].map(image);
        note(&mut ages, &more, &used(&["c"]), 200_000);
        let order = |names: &[&str]| {
            let min = Duration::from_secs(120);
            candidates(&ages, &used(names), min, 200_000)
                .into_iter()
                .map(|id| id.0)
                .collect::<Vec<_>>()
        };
        assert_eq!(order(&["c"]), ["b", "a", "loaded"]);
        assert_eq!(order(&[]), ["b", "a", "c", "loaded"]);
        assert_eq!(order(&["a", "b", "c", "loaded", "new"]), [""; 0]);
        note(&mut ages, &images[..1], &used(&[]), 300_000);
        assert_eq!(ages.len(), 1);
    }
}
