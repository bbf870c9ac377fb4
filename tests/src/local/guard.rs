//! A cluster for as long as a test runs.

use std::path::Path;

use anyhow::Result;

use super::{Cluster, Options};

/// A cluster of a test: taken down, and its directory removed, however the test ends.
#[derive(Debug)]
pub struct Guard {
    cluster: Option<Cluster>,
    _dir: tempfile::TempDir,
}

impl Guard {
    /// Starts a cluster of its own in a directory of its own, with the example images loaded.
    ///
    /// # Errors
    /// As [`Cluster::up`]; what was started is taken down again.
    pub fn start(boards: u8) -> Result<Self> {
        Self::start_in(boards, &std::env::temp_dir())
    }

    /// As [`Guard::start`], with everything that it keeps in a directory below this one.
    ///
    /// # Errors
    /// As [`Cluster::up`].
    pub fn start_in(boards: u8, parent: &Path) -> Result<Self> {
        let guard = Self::prepare_in(boards, parent)?;
        guard.up()?;
        guard.load_images()?;
        Ok(guard)
    }

    /// Loads the images of the tests onto every board.
    ///
    /// # Errors
    /// When one is missing or a board does not take it.
    pub fn load_images(&self) -> Result<()> {
        let images = crate::images()?;
        for name in ["hello-v1.tar", "hello-v2.tar", "busybox-1.tar"] {
            self.load_image(&images.join(name))?;
        }
        Ok(())
    }

    /// A cluster of its own that is not started yet.
    ///
    /// # Errors
    /// As [`Cluster::prepare`].
    pub fn prepare(boards: u8) -> Result<Self> {
        Self::prepare_in(boards, &std::env::temp_dir())
    }

    fn prepare_in(boards: u8, parent: &Path) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("bramble-test-")
            .tempdir_in(parent)?;
        let options = Options {
            dir: dir.path().to_owned(),
            programs: crate::programs()?,
            boards,
            kubectl: crate::kubectl()?,
        };
        Ok(Self {
            cluster: Some(Cluster::prepare(options)?),
            _dir: dir,
        })
    }
}

impl std::ops::Deref for Guard {
    type Target = Cluster;
    fn deref(&self) -> &Cluster {
        self.cluster.as_ref().expect("taken only in drop")
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(cluster) = self.cluster.take() else {
            return;
        };
        if std::thread::panicking() {
            for name in std::iter::once("controller").chain(
                cluster
                    .layout
                    .boards
                    .iter()
                    .map(|board| board.node.as_str()),
            ) {
                eprintln!("{}", cluster.log_tail(name));
            }
        }
        match cluster.down() {
            Ok(()) => {}
            Err(error) if std::thread::panicking() => eprintln!("taking down: {error:#}"),
            Err(error) => panic!("taking down: {error:#}"),
        }
    }
}
