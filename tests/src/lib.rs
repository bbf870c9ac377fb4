//! End-to-end harness: real programs, real namespaces, the real kubectl.
//!
//! The programs are built beforehand (`./x test` and `./x up` do); nothing here calls cargo.

pub mod compat;
pub mod emulated;
pub mod local;
#[cfg(test)]
mod protocol;
#[cfg(test)]
mod shape;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

/// Folder of the built programs: `BRAMBLE_PROGRAMS`, else beside this program.
///
/// # Errors
/// When they are not there, with the command that builds them.
pub fn programs() -> Result<PathBuf> {
    let dir = match std::env::var_os("BRAMBLE_PROGRAMS") {
        Some(dir) => PathBuf::from(dir),
        None => {
            let mut dir = std::env::current_exe().context("finding this program")?;
            dir.pop();
            if dir.ends_with("deps") {
                dir.pop();
            }
            dir
        }
    };
    for name in [
        "bramble",
        "bramble-controller",
        "bramble-agent",
        "bramble-shim",
        "bramble-oci",
    ] {
        ensure!(
            dir.join(name).exists(),
            "{} is not built: run `cargo build --workspace --all-targets`",
            dir.join(name).display()
        );
    }
    Ok(dir)
}

/// Root of the repository.
pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map_or_else(PathBuf::new, std::path::Path::to_owned)
}

/// The real kubectl that `./x` installed: `BRAMBLE_KUBECTL`, else `.bramble/tools/kubectl`.
///
/// # Errors
/// When it is not there, with the command that installs it.
pub fn kubectl() -> Result<PathBuf> {
    let path = std::env::var_os("BRAMBLE_KUBECTL").map_or_else(
        || repository().join(".bramble/tools/kubectl"),
        PathBuf::from,
    );
    ensure!(
        path.exists(),
        "{} is missing: run `./x tools`",
        path.display()
    );
    Ok(path)
}

/// Folder of the image tars that `tests/images/make.sh` made: `BRAMBLE_IMAGES`, else
/// `.bramble/tools/images`.
///
/// # Errors
/// When it is not there, with the command that makes it.
pub fn images() -> Result<PathBuf> {
    let path = std::env::var_os("BRAMBLE_IMAGES")
        .map_or_else(|| repository().join(".bramble/tools/images"), PathBuf::from);
    ensure!(
        path.join("busybox-1.tar").exists(),
        "{} holds no images: run `./x tools`",
        path.display()
    );
    Ok(path)
}
