//! Volumes of a pod on the board.
//!
//! In: volumes and mounts settled by the plan. Out: directories, files and memory file systems, and
//! what a container binds. Every step may be repeated: what a crash left half-made is completed or
//! cleaned by the next run, and nothing is ever removed through a mount ([`crate::tree`]).
//!
//! ```text
//! <run dir>/pods/<uid>/volumes/<name>             files of ConfigMaps and fields, memory volumes
//! <run dir>/pods/<uid>/secret/<name>              files of Secrets and tokens: one tmpfs of the pod
//! <run dir>/pods/<uid>/subpaths/<container>/<n>   what a mount with a sub-path binds
//! <data dir>/volumes/<uid>/<name>                 emptyDir on disk: survives a reboot
//! ```

mod hostpath;
pub(super) mod limits;
pub(super) mod memory;
mod ownership;
mod propagation;
mod subpath;
#[cfg(test)]
mod tests;
mod writer;

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bramble_agent_core::volume::{Content, Error, MountInput, Place, VolumeInput};
use bramble_wire::object::{PodUid, Propagation};

use self::ownership::Ownership;
use super::Directories;
use super::files::make_dir;
use crate::reconcile::Failed;
use crate::runtime::{BindMount, unmount_below};
use crate::tree;

/// Mode of what only we reach: containers get at volumes by their mounts alone.
const OURS: u32 = 0o700;
/// Mode of a volume's root, as upstream: who may write to it is for its files and mounts to say.
const ROOT: u32 = 0o777;
const SETGID: u32 = 0o2000;

impl Directories {
    fn run_volumes(&self, uid: PodUid) -> PathBuf {
        self.pod(uid).join("volumes")
    }

    fn secret_volumes(&self, uid: PodUid) -> PathBuf {
        self.pod(uid).join("secret")
    }

    fn sub_paths(&self, uid: PodUid) -> PathBuf {
        self.pod(uid).join("subpaths")
    }

    fn place(&self, uid: PodUid, volume: &str, place: &Place) -> PathBuf {
        match place {
            Place::Disk => self.disk_volumes(uid).join(volume),
            Place::Run => self.run_volumes(uid).join(volume),
            Place::Secret => self.secret_volumes(uid).join(volume),
            Place::Board(path) => PathBuf::from(path),
        }
    }
}

/// Makes the volumes of a pod and writes their files. Each is tried, whatever becomes of the others.
/// Blocks.
pub(super) fn ensure(
    directories: &Directories,
    uid: PodUid,
    volumes: &[VolumeInput],
) -> Result<(), Vec<Error>> {
    let failed = |volume: &VolumeInput, why: String| Error {
        volume: volume.name.clone(),
        why,
    };
    let secret =
        |volume: &&VolumeInput| matches!(volume.content, Content::Files { secret: true, .. });
    if let Some(first) = volumes.iter().find(secret) {
        let bytes = memory::size_of_files(volumes);
        let made = memory::ensure(&directories.secret_volumes(uid), bytes, OURS, None);
        made.map_err(|error| vec![failed(first, error.to_string())])?;
    }
    let errors: Vec<Error> = volumes
        .iter()
        .filter_map(|volume| {
            let made = ensure_one(directories, uid, volume);
            made.err().map(|why| failed(volume, why))
        })
        .collect();
    if !errors.is_empty() {
        return Err(errors);
    }
    limits::note(directories, uid, volumes).map_err(|error| {
        let first = volumes
            .first()
            .map(|volume| failed(volume, error.to_string()));
        first.into_iter().collect()
    })
}

fn ensure_one(directories: &Directories, uid: PodUid, volume: &VolumeInput) -> Result<(), String> {
    let at = |place| directories.place(uid, &volume.name, &place);
    let group = volume.group;
    let made = match &volume.content {
        Content::Host { path, kind } => return hostpath::ensure(path, *kind),
        Content::Empty { memory: false, .. } => ensure_disk(&at(Place::Disk), group),
        Content::Empty {
            memory: true,
            size_limit_bytes,
        } => memory::ensure(&at(Place::Run), *size_limit_bytes, ROOT, group),
        Content::Files { secret, files } => {
            let root = at(if *secret { Place::Secret } else { Place::Run });
            ensure_root(&root, group).and_then(|()| writer::write(&root, files, group))
        }
    };
    made.map_err(|error| error.to_string())
}

/// A directory that is there is whole: it gets its name last.
fn ensure_disk(path: &Path, group: Option<u32>) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = path.with_file_name(format!(".{name}.new"));
    tree::remove(&new)?;
    ensure_root(&new, group)?;
    fs::rename(&new, path)
}

fn ensure_root(path: &Path, group: Option<u32>) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        make_dir(parent, OURS)?;
    }
    if !path.exists() {
        fs::create_dir(path)?;
    }
    let ownership = Ownership {
        mode: mode(ROOT, group),
        user: None,
        group,
    };
    let data = fs::metadata(path)?;
    let same = data.mode() & 0o7777 == ownership.mode && group.is_none_or(|id| id == data.gid());
    // Programs watch these directories.
    if same {
        return Ok(());
    }
    ownership::set(path, &ownership)
}

/// What a group owns hands its group on.
fn mode(mode: u32, group: Option<u32>) -> u32 {
    match group {
        Some(_) => mode | SETGID | ownership::READ_WRITE,
        None => mode,
    }
}

/// What a container binds, in order; `container` is its name. Blocks.
///
/// # Errors
/// With the kubelet's text where the fault is in the manifest, with containerd's where the board
/// can't do it.
pub(super) fn binds(
    directories: &Directories,
    uid: PodUid,
    container: &str,
    mounts: &[MountInput],
) -> Result<Vec<BindMount>, Failed> {
    let mut out = Vec::new();
    for (number, mount) in mounts.iter().enumerate() {
        let root = directories.place(uid, &mount.volume, &mount.place);
        if let Place::Board(path) = &mount.place {
            make_missing(path).map_err(Failed::Other)?;
        }
        if mount.propagation != Propagation::None {
            let ours = !matches!(mount.place, Place::Board(_));
            propagation::ensure(&root, mount.propagation, ours).map_err(Failed::Other)?;
        }
        let source = if mount.sub_path.is_empty() {
            root
        } else {
            let target = directories.sub_paths(uid).join(container);
            let target = target.join(number.to_string());
            bind_sub_path(&root, mount, &target).map_err(|error| {
                // What exactly is wrong may say something of the board: only to the log.
                tracing::warn!(
                    pod = %uid, container, volume = mount.volume, sub_path = mount.sub_path, %error,
                    "a sub-path could not be prepared"
                );
                Failed::Config(format!(
                    "failed to prepare subPath for volumeMount {:?} of container {container:?}",
                    mount.volume
                ))
            })?;
            target
        };
        out.push(BindMount {
            source,
            destination: mount.path.clone(),
            read_only: mount.read_only,
            recursive_read_only: mount.recursive_read_only,
            propagation: mount.propagation,
        });
    }
    Ok(out)
}

fn bind_sub_path(root: &Path, mount: &MountInput, target: &Path) -> io::Result<()> {
    let opened = subpath::open(root, &mount.sub_path)?;
    if let Some(parent) = target.parent() {
        make_dir(parent, OURS)?;
    }
    subpath::bind(&opened, target)
}

/// Where nothing is, container runtimes make a directory.
fn make_missing(path: &str) -> Result<(), String> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => hostpath::make(Path::new(path))
            .map_err(|error| format!("failed to mkdir {path:?}: {error}")),
        Err(error) => Err(format!("failed to stat {path:?}: {error}")),
        Ok(_) => Ok(()),
    }
}

/// Takes away what is mounted for a pod, except by its containers. Files in memory are gone with it;
/// those on disk stay. A container that still uses something keeps it until it ends. Blocks.
pub(super) fn unmount(directories: &Directories, uid: PodUid) -> io::Result<()> {
    let mut errors = Vec::new();
    let run = [
        directories.sub_paths(uid),
        directories.secret_volumes(uid),
        directories.run_volumes(uid),
    ];
    for dir in run.iter().chain([&directories.disk_volumes(uid)]) {
        errors.extend(unmount_below(dir));
    }
    for dir in run {
        errors.extend(tree::remove(&dir).err().map(|error| error.to_string()));
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(io::Error::other(errors.join("; ")))
    }
}

/// Removes what volumes have on disk, after [`unmount`]. Blocks.
pub(super) fn remove(directories: &Directories, uid: PodUid) -> io::Result<()> {
    unmount(directories, uid)?;
    tree::remove(&directories.disk_volumes(uid))
}
