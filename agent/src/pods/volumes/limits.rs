//! What may not grow over its limit on disk: emptyDirs (`sizeLimit`), containers and pods
//! (`ephemeral-storage`: root file systems, logs, emptyDirs). The pod is evicted.
//!
//! Nothing but a look tells how much is in a directory. It is had seldom and cheaply: while the file
//! system has not changed nobody looks, while its growth can't have been enough neither, except once
//! a minute. Nothing is written. One look counts at most [`ENTRIES_MAX`] entries of a volume; a
//! volume with more is taken at what was counted.
//!
//! What is watched is in the pod's run directory, so an agent that starts again goes on watching.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bramble_agent_core::observed::Verdict;
use bramble_agent_core::volume::{Content, VolumeInput, quantity};
use bramble_agent_core::whole::Storage;
use bramble_wire::object::PodUid;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, openat2, statat, statvfs};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::pods::Directories;
use crate::pods::files::{names, read_record, write_record};
use crate::pods::observe::parse_id;

/// How often somebody looks whether to look.
pub(in crate::pods) const EVERY: Duration = Duration::from_secs(10);
/// After so many of those a changed volume is measured whatever its file system's growth says.
const ROUNDS_MAX: u32 = 6;
/// Most entries that one look counts.
const ENTRIES_MAX: u32 = 200_000;
/// The kubelet's reason.
const EVICTED: &str = "Evicted";

/// What is over its limit ends at once, whatever its pod asks for
/// (`immediateEvictionGracePeriodSeconds`).
const GRACE_S: u32 = 1;

/// A volume and its limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Bound {
    volume: String,
    limit_bytes: u64,
}

/// What is known of a volume since the last look.
#[derive(Debug, Clone, Copy)]
struct Known {
    bytes: u64,
    free_blocks: u64,
    free_files: u64,
    rounds: u32,
}

/// Keeps what is known between looks.
#[derive(Debug, Default)]
pub(in crate::pods) struct Limits {
    known: BTreeMap<(PodUid, String), Known>,
}

fn record(directories: &Directories, uid: PodUid) -> PathBuf {
    directories.pod(uid).join("limits")
}

fn storage_record(directories: &Directories, uid: PodUid) -> PathBuf {
    directories.pod(uid).join("storage")
}

/// Takes note of what a pod and its containers may use of the disk.
pub(in crate::pods) fn note_storage(
    directories: &Directories,
    uid: PodUid,
    storage: &Storage,
) -> io::Result<()> {
    if *storage == Storage::default() {
        return Ok(());
    }
    write_record(&storage_record(directories, uid), storage)
}

/// Takes note of the limits of a pod's volumes.
pub(super) fn note(
    directories: &Directories,
    uid: PodUid,
    volumes: &[VolumeInput],
) -> io::Result<()> {
    let bounds: Vec<Bound> = volumes
        .iter()
        .filter_map(|volume| match volume.content {
            Content::Empty {
                memory: false,
                size_limit_bytes: Some(limit_bytes),
            } if limit_bytes > 0 => Some(Bound {
                volume: volume.name.clone(),
                limit_bytes,
            }),
            _ => None,
        })
        .collect();
    if bounds.is_empty() {
        return Ok(());
    }
    write_record(&record(directories, uid), &bounds)
}

impl Limits {
    /// Looks at what may have grown too large. Returns the pods that have to go. Blocks.
    pub(in crate::pods) fn look(&mut self, directories: &Directories) -> BTreeMap<PodUid, Verdict> {
        let mut verdicts = BTreeMap::new();
        let mut seen = BTreeMap::new();
        let pods = names(&directories.run.join("pods"));
        for uid in pods.iter().filter_map(|name| PodUid::parse(name)) {
            for found in watched(directories, uid) {
                let key = (uid, found.name);
                let known = self.known.remove(&key);
                let Some(known) = look_at(&found.paths, found.limit_bytes, known) else {
                    continue;
                };
                if known.bytes > found.limit_bytes {
                    verdicts.entry(uid).or_insert(Verdict {
                        reason: EVICTED.into(),
                        message: found.message,
                        grace_s: Some(GRACE_S),
                    });
                }
                seen.insert(key, known);
            }
        }
        self.known = seen;
        verdicts
    }
}

/// Something that has a limit.
struct Watched {
    /// Unique in its pod.
    name: String,
    /// Directories; the first is on the file system whose growth tells when to look.
    paths: Vec<PathBuf>,
    limit_bytes: u64,
    /// The kubelet's text when it is over.
    message: String,
}

/// In the kubelet's order: its volumes, the pod, its containers.
fn watched(directories: &Directories, uid: PodUid) -> Vec<Watched> {
    let bounds: Vec<Bound> = read_record(&record(directories, uid)).unwrap_or_default();
    let volumes = bounds.into_iter().map(|bound| Watched {
        paths: vec![directories.disk_volumes(uid).join(&bound.volume)],
        limit_bytes: bound.limit_bytes,
        message: format!(
            "Usage of EmptyDir volume {:?} exceeds the limit {:?}. ",
            bound.volume,
            quantity(bound.limit_bytes)
        ),
        name: format!("volume {}", bound.volume),
    });
    let storage: Storage = read_record(&storage_record(directories, uid)).unwrap_or_default();
    let lives = directories.data.join("pods").join(uid.to_string());
    let logs = directories.logs(uid);
    let pod = storage.pod_bytes.map(|limit_bytes| Watched {
        name: "pod".to_owned(),
        paths: vec![lives.clone(), directories.disk_volumes(uid), logs.clone()],
        limit_bytes,
        message: format!(
            "Pod ephemeral local storage usage exceeds the total limit of containers {}. ",
            quantity(limit_bytes)
        ),
    });
    let containers = storage.containers.iter().map(|(name, limit_bytes)| {
        let of = |id: &String| parse_id(id).is_some_and(|(container, _)| container == name);
        let own = names(&lives).into_iter().filter(of);
        let own = own.map(|id| lives.join(id));
        Watched {
            paths: own.chain([logs.join(name)]).collect(),
            limit_bytes: *limit_bytes,
            message: format!(
                "Container {name} exceeded its local ephemeral storage limit {:?}. ",
                quantity(*limit_bytes)
            ),
            name: format!("container {name}"),
        }
    });
    volumes.chain(pod).chain(containers).collect()
}

/// `None` when it can't be told now.
fn look_at(paths: &[PathBuf], limit_bytes: u64, known: Option<Known>) -> Option<Known> {
    let space = statvfs(paths.first()?).ok()?;
    let (free_blocks, free_files) = (space.f_bfree, space.f_ffree);
    if let Some(known) = known {
        if (known.free_blocks, known.free_files) == (free_blocks, free_files) {
            return Some(known);
        }
        let grown = known.free_blocks.saturating_sub(free_blocks);
        let most = (known.bytes).saturating_add(grown.saturating_mul(space.f_frsize));
        if most <= limit_bytes && known.rounds < ROUNDS_MAX {
            let rounds = known.rounds + 1;
            return Some(Known { rounds, ..known });
        }
    }
    let mut bytes = 0;
    for path in paths {
        match measure(path, limit_bytes) {
            Ok(more) => bytes += more,
            Err(Errno::NOENT) => {}
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "it could not be measured");
                return known;
            }
        }
    }
    Some(Known {
        bytes,
        free_blocks,
        free_files,
        rounds: 0,
    })
}

/// Bytes that a directory takes on its disk, until they are more than `enough`. What is mounted below
/// and what links lead to does not count; a file of several names counts by its share.
fn measure(path: &Path, enough: u64) -> Result<u64, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(path, flags, Mode::empty())?;
    let open = |below: &Path| -> Result<OwnedFd, Errno> {
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
        openat2(&root, below, flags, Mode::empty(), how)
    };
    let mut bytes: u64 = 0;
    let mut left = ENTRIES_MAX;
    let mut folders = vec![PathBuf::from(".")];
    while let Some(folder) = folders.pop() {
        // A container renames and removes while we look; what is gone has gone.
        let Ok(opened) = open(&folder) else { continue };
        for entry in Dir::read_from(&opened)? {
            let Ok(entry) = entry else { break };
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let Ok(data) = statat(&opened, name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            let is_dir = FileType::from_raw_mode(data.st_mode) == FileType::Directory;
            let names = if is_dir {
                1
            } else {
                u64::from(data.st_nlink as u32).max(1)
            };
            let taken = u64::try_from(data.st_blocks)
                .unwrap_or(0)
                .saturating_mul(512);
            bytes = bytes.saturating_add(taken / names);
            left = left.saturating_sub(1);
            if bytes > enough || left == 0 {
                return Ok(bytes);
            }
            if is_dir {
                use std::os::unix::ffi::OsStrExt;
                folders.push(folder.join(std::ffi::OsStr::from_bytes(name.to_bytes())));
            }
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_grows_over_its_limit_is_told_as_the_kubelet_does() {
        let dir = tempfile::tempdir().unwrap();
        let directories = Directories {
            run: dir.path().join("run"),
            data: dir.path().join("data"),
        };
        let uid = PodUid([7; 16]);
        let empty = |name: &str, limit: Option<u64>| VolumeInput {
            name: name.into(),
            content: Content::Empty {
                memory: false,
                size_limit_bytes: limit,
            },
            group: None,
        };
        let volumes = [empty("small", Some(1 << 20)), empty("free", None)];
        super::super::ensure(&directories, uid, &volumes).unwrap();
        let of = |name: &str| directories.disk_volumes(uid).join(name);
        fs::write(of("free").join("x"), vec![1; 4 << 20]).unwrap();
        fs::create_dir(of("small").join("sub")).unwrap();
        fs::write(of("small").join("sub/a"), vec![1; 512 << 10]).unwrap();
        let mut limits = Limits::default();
        assert!(limits.look(&directories).is_empty());
        fs::write(of("small").join("b"), vec![1; 600 << 10]).unwrap();
        let verdict = limits.look(&directories).remove(&uid).unwrap();
        assert_eq!(verdict.reason, "Evicted");
        assert_eq!(
            verdict.message,
            "Usage of EmptyDir volume \"small\" exceeds the limit \"1Mi\". "
        );
        // Another agent knows it from the board alone.
        assert!(Limits::default().look(&directories).contains_key(&uid));
        fs::remove_file(of("small").join("b")).unwrap();
        assert!(Limits::default().look(&directories).is_empty());
    }

    #[test]
    fn a_pod_that_takes_more_of_the_disk_than_it_may_is_told_as_the_kubelet_does() {
        let dir = tempfile::tempdir().unwrap();
        let directories = Directories {
            run: dir.path().join("run"),
            data: dir.path().join("data"),
        };
        let (first, second) = (PodUid([1; 16]), PodUid([2; 16]));
        let storage = Storage {
            pod_bytes: Some(3 << 20),
            containers: vec![("a".into(), 1 << 20)],
        };
        for uid in [first, second] {
            note_storage(&directories, uid, &storage).unwrap();
        }
        let write = |path: PathBuf, kib: usize| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, vec![1; kib << 10]).unwrap();
        };
        let life = |uid: PodUid, id: &str| {
            let lives = directories.data.join("pods").join(uid.to_string());
            lives.join(id).join("upper/file")
        };
        write(life(first, "a-7"), 700);
        // Of another container, with a name that begins alike.
        write(life(first, "a-b-0"), 700);
        write(life(second, "b-0"), 1500);
        write(directories.disk_volumes(second).join("v/file"), 1000);
        assert!(Limits::default().look(&directories).is_empty());
        write(directories.logs(first).join("a/7.log"), 400);
        write(directories.logs(second).join("b/0.log"), 700);
        let verdicts = Limits::default().look(&directories);
        let message = |uid| &*verdicts[&uid].message;
        assert_eq!(
            message(first),
            "Container a exceeded its local ephemeral storage limit \"1Mi\". "
        );
        assert_eq!(
            message(second),
            "Pod ephemeral local storage usage exceeds the total limit of containers 3Mi. "
        );
    }

    #[test]
    fn links_and_mounts_lead_to_nothing_that_counts() {
        let dir = tempfile::tempdir().unwrap();
        let (volume, outside) = (dir.path().join("v"), dir.path().join("o"));
        fs::create_dir_all(volume.join("point")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("large"), vec![1; 4 << 20]).unwrap();
        std::os::unix::fs::symlink(&outside, volume.join("link")).unwrap();
        rustix::mount::mount_bind(&outside, volume.join("point")).unwrap();
        let bytes = measure(&volume, u64::MAX);
        rustix::mount::unmount(volume.join("point"), rustix::mount::UnmountFlags::DETACH).unwrap();
        assert!(bytes.unwrap() < 1 << 20);
        // Two names are one file.
        fs::write(volume.join("a"), vec![1; 1 << 20]).unwrap();
        fs::hard_link(volume.join("a"), volume.join("b")).unwrap();
        let bytes = measure(&volume, u64::MAX).unwrap();
        assert!((1 << 20..3 << 19).contains(&bytes), "{bytes}");
    }
}
