//! The board's own pods: manifests in a folder, run with or without a controller.
//!
//! In: changes of the folder, told by the kernel, and a look each minute. Out: [`View`]s, on disk before anybody
//! sees them. What a person wrote is read by a short-lived child (`bramble compile-pods`), so that nothing of
//! it stays in memory. A file that is being written is left until it stands still. A folder that can't be read
//! changes nothing: pods end when their file is removed, not when a disk fails.

mod folder;
mod kept;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bramble_agent_core::plan::Durability;
use bramble_wire::manifest::{FILES_MAX, File, OUTPUT_MAX};
use rustix::fs::inotify::WatchFlags;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::sync::watch;

use crate::notices::Notices;
use crate::state::{Change, State};
use folder::Seen;
pub use kept::{Held, Kept};

/// The folder is looked at so often whatever the kernel says.
const LOOK: Duration = Duration::from_secs(60);
/// A file counts when it has stood still for so long.
const STILL: Duration = Duration::from_millis(500);
/// The child takes no longer.
const COMPILE: Duration = Duration::from_secs(10);

/// What matters of the folder.
const CHANGES: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::ONLYDIR);

/// Where they come from.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder.
    pub folder: PathBuf,
    /// The program `bramble`.
    pub compiler: PathBuf,
}

/// The board's own pods now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct View {
    /// What they are; on disk.
    pub kept: Arc<Kept>,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// Follows the folder until the receivers are gone, beginning with what was kept.
pub async fn follow(options: Options, state: State, views: watch::Sender<Arc<View>>) {
    let kept = Arc::clone(&views.borrow().kept);
    let mut follower = Follower {
        kept,
        compiled: None,
        options,
        state,
        views,
    };
    while !follower.views.is_closed() {
        let notices = Notices::new().and_then(|notices| {
            watch_nearest(&notices, &follower.options.folder)?;
            Ok(notices)
        });
        // After the watch: what comes in between is not missed.
        follower.look().await;
        match notices {
            Ok(notices) => drop(tokio::time::timeout(LOOK, notices.next()).await),
            Err(_) => tokio::time::sleep(LOOK).await,
        }
    }
}

/// Watches the folder, or the one above it that exists, until the next is made in it.
fn watch_nearest(notices: &Notices, folder: &Path) -> io::Result<()> {
    let mut error = match notices.watch(folder, CHANGES) {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    let made = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
    for above in folder.ancestors().skip(1) {
        match notices.watch(above, made) {
            Ok(()) => return Ok(()),
            Err(other) => error = other,
        }
    }
    Err(error)
}

struct Follower {
    options: Options,
    state: State,
    views: watch::Sender<Arc<View>>,
    kept: Arc<Kept>,
    /// The folder as it was when it was last compiled.
    compiled: Option<Seen>,
}

impl Follower {
    async fn look(&mut self) {
        let Some(seen) = self.still().await else {
            return;
        };
        if self.compiled.as_ref() == Some(&seen) {
            return;
        }
        let (names, left) = seen.chosen(&self.kept, FILES_MAX);
        let mut notes: Vec<String> = left
            .iter()
            .map(|name| format!("static pods: {name}: there are more than {FILES_MAX} files"))
            .collect();
        let files = if names.is_empty() {
            Ok(Vec::new())
        } else {
            self.compile(&names).await
        };
        match files {
            Ok(files) => {
                let (kept, more) = self.kept.changed(files);
                notes.extend(more);
                match self.keep(kept).await {
                    Ok(()) => self.compiled = Some(seen),
                    Err(error) => notes.push(format!("static pods: {error}")),
                }
            }
            // Tried again at the next look.
            Err(why) => notes.push(format!("static pods: {why}")),
        }
        for note in &notes {
            tracing::warn!("{note}");
        }
        let kept = Arc::clone(&self.kept);
        self.views.send_replace(Arc::new(View { kept, notes }));
    }

    /// The folder, as soon as two looks say the same of it; `None` when it can't be read.
    async fn still(&self) -> Option<Seen> {
        let mut last = self.see().await?;
        loop {
            if self.compiled.as_ref() == Some(&last) {
                return Some(last);
            }
            tokio::time::sleep(STILL).await;
            let now = self.see().await?;
            if now == last {
                return Some(now);
            }
            last = now;
        }
    }

    async fn see(&self) -> Option<Seen> {
        let folder = self.options.folder.clone();
        let looked = tokio::task::spawn_blocking(move || Seen::of(&folder)).await;
        looked.ok()?.ok()
    }

    async fn keep(&mut self, kept: Kept) -> Result<(), crate::state::Error> {
        if *self.kept == kept {
            return Ok(());
        }
        let kept = Arc::new(kept);
        let change = Change::Static(Arc::clone(&kept));
        self.state.commit(vec![change], Durability::Hard).await?;
        self.kept = kept;
        Ok(())
    }

    async fn compile(&self, names: &[String]) -> Result<Vec<File>, String> {
        let program = self.options.compiler.display();
        let mut child = Command::new(&self.options.compiler)
            .arg("compile-pods")
            .arg("--")
            .arg(&self.options.folder)
            .args(names)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("start {program}: {error}"))?;
        let mut output = Vec::new();
        let read = async {
            if let Some(stdout) = child.stdout.take() {
                let most = OUTPUT_MAX as u64 + 1;
                stdout.take(most).read_to_end(&mut output).await?;
            }
            child.wait().await
        };
        let ended = tokio::time::timeout(COMPILE, read).await;
        match ended.map_err(|_| format!("{program} took too long"))? {
            Ok(status) if status.success() => {}
            Ok(status) => return Err(format!("{program} ended with {status}")),
            Err(error) => return Err(format!("{program}: {error}")),
        }
        let files: Vec<File> = bramble_wire::decode(&output, "list of files")
            .map_err(|error| format!("{program}: {error}"))?;
        let asked = files.len() == names.len()
            && files
                .iter()
                .zip(names)
                .all(|(file, name)| file.name == *name);
        if asked {
            Ok(files)
        } else {
            Err(format!("{program} answered another question"))
        }
    }
}
