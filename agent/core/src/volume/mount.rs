//! Where volumes appear in a container: paths made absolute, `subPathExpr` expanded, read-only where
//! the volume is, parents before what lies below them.

use std::collections::BTreeMap;

use bramble_wire::object::{Container, Pod, Projection, Propagation, VolumeSource};

use crate::env;

/// One mount of a container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MountInput {
    /// The volume's name.
    pub volume: String,
    /// Where on the board it is.
    pub place: Place,
    /// Absolute path in the container.
    pub path: String,
    /// Relative path in the volume; empty is the volume itself.
    pub sub_path: String,
    /// Not writable.
    pub read_only: bool,
    /// Mounts below are read-only too.
    pub recursive_read_only: bool,
    /// Whether mounts made later are seen on the other side.
    pub propagation: Propagation,
}

/// Where a volume is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Place {
    /// In the data directory: an emptyDir.
    #[default]
    Disk,
    /// In the run directory: files and emptyDirs in memory.
    Run,
    /// In the pod's memory for secrets.
    Secret,
    /// A path of the board.
    Board(String),
}

/// Settles the mounts of a container. `variables` are those of its manifest.
///
/// # Errors
/// The kubelet's text (`CreateContainerConfigError`).
pub fn mounts(
    pod: &Pod,
    container: &Container,
    variables: &BTreeMap<String, String>,
) -> Result<Vec<MountInput>, String> {
    let mut mounts = Vec::new();
    for mount in &container.mounts {
        let volume = (pod.volumes.iter()).find(|volume| volume.name == mount.volume);
        let Some(volume) = volume else {
            return Err(format!(
                "cannot find volume {:?} to mount into container {:?}",
                mount.volume, container.name
            ));
        };
        let (place, follows) = place_of(&volume.source);
        let sub_path = match mount.sub_path_expr.as_str() {
            "" => mount.sub_path.clone(),
            expression => expand(expression, variables)?,
        };
        check_sub_path(&sub_path)?;
        let path = match mount.path.starts_with('/') {
            true => mount.path.clone(),
            false => format!("/{}", mount.path),
        };
        mounts.push(MountInput {
            volume: mount.volume.clone(),
            place,
            path,
            sub_path,
            read_only: mount.read_only || follows,
            recursive_read_only: mount.recursive_read_only,
            propagation: mount.propagation,
        });
    }
    // What lies below another mount would be hidden by it if it came first.
    mounts.sort_by_key(|mount| {
        mount
            .path
            .split('/')
            .filter(|part| !part.is_empty())
            .count()
    });
    Ok(mounts)
}

/// Where a volume is, and whether it follows its objects, so that containers can't write to it.
fn place_of(source: &VolumeSource) -> (Place, bool) {
    match source {
        VolumeSource::EmptyDir { memory: false, .. } => (Place::Disk, false),
        VolumeSource::EmptyDir { memory: true, .. } => (Place::Run, false),
        VolumeSource::HostPath { path, .. } => (Place::Board(path.clone()), false),
        VolumeSource::ConfigMap(_) | VolumeSource::DownwardApi { .. } => (Place::Run, true),
        VolumeSource::Secret(_) => (Place::Secret, true),
        VolumeSource::Projected { sources, .. } => {
            let secret = |source: &Projection| {
                matches!(source, Projection::Secret(_) | Projection::Token { .. })
            };
            let place = match sources.iter().any(secret) {
                true => Place::Secret,
                false => Place::Run,
            };
            (place, true)
        }
    }
}

/// `ExpandContainerVolumeMounts`: what is missing or empty is an error, not left as it stands.
fn expand(expression: &str, variables: &BTreeMap<String, String>) -> Result<String, String> {
    let missing = std::cell::RefCell::new(std::collections::BTreeSet::new());
    let expanded = env::expand(expression, |name| {
        let value = variables.get(name).filter(|value| !value.is_empty());
        if value.is_none() {
            missing.borrow_mut().insert(name.to_owned());
        }
        value.cloned()
    });
    let missing: Vec<String> = missing.into_inner().into_iter().collect();
    if missing.is_empty() {
        Ok(expanded)
    } else {
        Err(format!("missing value for {}", missing.join(", ")))
    }
}

fn check_sub_path(sub_path: &str) -> Result<(), String> {
    if sub_path.starts_with('/') {
        return Err(format!(
            "error SubPath `{sub_path}` must not be an absolute path"
        ));
    }
    if sub_path.split('/').any(|part| part == "..") {
        return Err(format!(
            "unable to provision SubPath `{sub_path}`: must not contain '..'"
        ));
    }
    Ok(())
}
