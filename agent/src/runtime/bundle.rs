//! The bundle of one life of a container: root file system and `config.json`. Blocks on the disk,
//! so it runs off the async thread.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use bramble_wire::object::PodUid;
use bramble_wire::shim::{ContainerRecord, path};

use super::cgroup::Cgroups;
use super::options::Options;
use super::spec::{ContainerConfig, Processes, Surroundings, runtime_spec};
use super::{Error, devices, mounts, process, seccomp};

/// Where a container's bundle is.
pub(super) fn directory(options: &Options, pod: PodUid, id: &str) -> PathBuf {
    options.pod_dir(pod).join(path::CONTAINERS).join(id)
}

/// Makes the root file system and `config.json`.
pub(super) fn prepare(
    options: &Options,
    cgroups: &Cgroups,
    pod: PodUid,
    config: &ContainerConfig,
) -> Result<(), Error> {
    let bundle = directory(options, pod, &config.id);
    let upper = options.data(pod).join(&config.id);
    let step = |what: &'static str| {
        let id = config.id.clone();
        move |source| Error::Prepare { id, what, source }
    };
    mounts::unmount_all(&bundle.join("rootfs")).map_err(step("unmount an old root"))?;
    remove_dir(&upper).map_err(step("empty the upper directory"))?;
    make_dir(&bundle).map_err(step("make the bundle"))?;
    make_dir(&upper).map_err(step("make the upper directory"))?;
    let rootfs = bundle.join("rootfs");
    mounts::mount_overlay(
        &config.layers,
        &upper.join("upper"),
        &upper.join("work"),
        &rootfs,
    )
    .map_err(step("mount the root file system"))?;
    crate::image::rooted::ensure_dir(&rootfs, Path::new(&config.working_dir))
        .map_err(step("make the working directory"))?;
    if let Some(parent) = config.log.parent() {
        make_dir(parent).map_err(step("make the log directory"))?;
    }
    // A container that has said nothing has an empty log, not a missing one.
    fs::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&config.log)
        .map_err(step("make the log"))?;
    let uid = pod.to_string();
    let namespaces = options.pod_dir(pod).join(path::NAMESPACES);
    let seccomp = match seccomp::wanted(&config.rights) {
        seccomp::Wanted::File(name) => {
            let profile = seccomp::read(&options.data_dir.join("seccomp"), name);
            Some(profile.map_err(step("find what it may do"))?)
        }
        _ => None,
    };
    let devices = if config.rights.privileged {
        devices::of_the_board()
    } else {
        Vec::new()
    };
    let processes =
        processes(options, pod, config).map_err(step("find its processes' namespace"))?;
    let around = Surroundings {
        host_network: !namespaces.join("net").exists(),
        host_ipc: !namespaces.join("ipc").exists(),
        processes,
        devices,
        seccomp,
        namespaces,
        cgroup: cgroups.container_path(&uid, &config.id),
        cgroup_v2: cgroups.v2_only(),
        memory_controlled: cgroups.controls("memory"),
        rootfs,
        grantable: process::own_capabilities(),
    };
    let spec = runtime_spec(config, &around).to_string();
    // The environment in it may hold secrets.
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(bundle.join("config.json"))
        .and_then(|mut file| file.write_all(spec.as_bytes()))
        .map_err(step("write config.json"))
}

/// The process namespace to join, if any.
fn processes(
    options: &Options,
    pod: PodUid,
    config: &ContainerConfig,
) -> io::Result<Option<PathBuf>> {
    match &config.processes {
        Processes::Own | Processes::Host => Ok(None),
        Processes::Pod => {
            let file = options.pod_dir(pod).join(path::NAMESPACES).join("pid");
            let missing = || io::Error::other("the pod has none that could be shared");
            file.exists().then_some(Some(file)).ok_or_else(missing)
        }
        Processes::Of(id) => {
            let record = fs::read(directory(options, pod, id).join(path::CONTAINER))?;
            let record: ContainerRecord =
                bramble_wire::decode(&record, "pid record").map_err(io::Error::other)?;
            if !process::alive(record.pid, record.start_time) {
                return Err(io::Error::other(format!("container {id} does not run")));
            }
            Ok(Some(format!("/proc/{}/ns/pid", record.pid).into()))
        }
    }
}

pub(super) fn make_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(dir)
}

/// Makes a directory that nobody but root looks into: below it are secrets, logs and root file
/// systems with set-user-id programs.
pub(super) fn make_private_dir(dir: &Path) -> io::Result<()> {
    make_dir(dir)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
}

pub(super) fn remove_dir(dir: &Path) -> io::Result<()> {
    crate::tree::remove(dir)
}
