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

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
/// Nor do all of them, when each file has its own.
const ONE_BY_ONE: Duration = Duration::from_secs(60);
/// What one of them could not read is tried again after so long: the board may have been short of memory.
const AGAIN: Duration = Duration::from_secs(600);

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
    /// Files that do not stand still for so long hold up no others.
    pub patience: Duration,
}

/// The board's own pods now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct View {
    /// What they are; on disk.
    pub kept: Arc<Kept>,
    /// What a person should know.
    pub notes: Vec<String>,
    /// The folder was read and understood since the agent started: what is not kept is not in it.
    pub sure: bool,
}

/// Follows the folder until the receivers are gone, beginning with what was kept.
pub async fn follow(options: Options, state: State, views: watch::Sender<Arc<View>>) {
    let kept = Arc::clone(&views.borrow().kept);
    let mut follower = Follower {
        kept,
        compiled: None,
        tried: String::new(),
        again: None,
        sure: false,
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
    /// What stood still of the folder when it was last compiled, and the names of what did not.
    compiled: Option<(Seen, BTreeSet<String>)>,
    /// The file that was last read by itself.
    tried: String,
    /// When what the compiler could not read is tried again.
    again: Option<Instant>,
    /// [`View::sure`].
    sure: bool,
}

impl Follower {
    async fn look(&mut self) {
        let Some((seen, moving)) = self.still().await else {
            return;
        };
        let due = self.again.is_some_and(|at| Instant::now() >= at);
        // What moves is not read, so that it differs as soon as it stands still.
        let looked = (seen.without(&moving), moving);
        if self.compiled.as_ref() == Some(&looked) && !due {
            return;
        }
        let moving = &looked.1;
        let (names, left) = seen.chosen(&self.kept, FILES_MAX);
        let mut notes: Vec<String> = left
            .iter()
            .map(|name| format!("static pods: {name}: there are more than {FILES_MAX} files"))
            .collect();
        let (moves, stands): (Vec<String>, Vec<String>) =
            (names.into_iter()).partition(|name| moving.contains(name));
        match self.compile_all(&stands).await {
            Ok((mut files, sure)) => {
                files.extend(moves.into_iter().map(|name| File {
                    name,
                    made: Err("it is written again and again".into()),
                }));
                let (kept, more) = self.kept.changed(files);
                notes.extend(more);
                match self.keep(kept).await {
                    Ok(()) => {
                        self.compiled = Some(looked);
                        self.sure |= notes.is_empty();
                        self.again = (!sure).then(|| Instant::now() + AGAIN);
                    }
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
        let sure = self.sure;
        self.views
            .send_replace(Arc::new(View { kept, notes, sure }));
    }

    /// The folder, as soon as two looks say the same of it, or when that takes too long: with the names of
    /// what does not stand still. `None` when it can't be read.
    async fn still(&self) -> Option<(Seen, BTreeSet<String>)> {
        let mut last = self.see().await?;
        let since = Instant::now();
        loop {
            let compiled = self.compiled.as_ref();
            if compiled.is_some_and(|(seen, moving)| moving.is_empty() && *seen == last) {
                return Some((last, BTreeSet::new()));
            }
            tokio::time::sleep(STILL).await;
            let now = self.see().await?;
            if now == last || since.elapsed() >= self.options.patience {
                return Some(now.with_moving(last));
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

    /// All files at once; where that fails, one by one, so that what one of them does to the compiler is its
    /// own trouble. Whether it would say the same again.
    async fn compile_all(&mut self, names: &[String]) -> Result<(Vec<File>, bool), String> {
        if names.is_empty() {
            return Ok((Vec::new(), true));
        }
        let why = match self.compile(names).await {
            Ok((files, _)) => return Ok((files, true)),
            Err(Trouble::Start(why)) => return Err(why),
            Err(Trouble::Work(why)) => why,
        };
        tracing::warn!("static pods: {why}; each file is read by itself");
        let end = Instant::now() + ONE_BY_ONE;
        let mut room = OUTPUT_MAX;
        let mut files = Vec::with_capacity(names.len());
        // Where there is no time for all of them, the next try goes on behind the last one of this.
        let first = names.iter().position(|name| *name > self.tried);
        let (before, behind) = names.split_at(first.unwrap_or(0));
        for name in behind.iter().chain(before) {
            let made = match Instant::now() < end {
                true => {
                    self.tried.clone_from(name);
                    self.compile(std::slice::from_ref(name)).await
                }
                false => Err(Trouble::Work("there was no time left to read it".into())),
            };
            let made = match made {
                Ok((_, size)) if size > room => {
                    Err("what the files make is too much with it".into())
                }
                Ok((mut made, size)) => {
                    room -= size;
                    made.pop()
                        .map_or_else(|| Err("nothing was made of it".into()), |file| file.made)
                }
                Err(Trouble::Start(why) | Trouble::Work(why)) => Err(why),
            };
            files.push(File {
                name: name.clone(),
                made,
            });
        }
        files.sort_by_key(|file| names.iter().position(|name| *name == file.name));
        Ok((files, false))
    }

    /// What the compiler says of these files, and how long that is.
    async fn compile(&self, names: &[String]) -> Result<(Vec<File>, usize), Trouble> {
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
            .map_err(|error| Trouble::Start(format!("start {program}: {error}")))?;
        let work = |why: String| Trouble::Work(format!("{program} {why}"));
        let mut output = Vec::new();
        let read = async {
            if let Some(stdout) = child.stdout.take() {
                let most = OUTPUT_MAX as u64 + 1;
                stdout.take(most).read_to_end(&mut output).await?;
            }
            child.wait().await
        };
        let ended = tokio::time::timeout(COMPILE, read).await;
        match ended.map_err(|_| work("took too long".into()))? {
            Ok(status) if status.success() => {}
            Ok(status) => return Err(work(format!("ended with {status}"))),
            Err(error) => return Err(work(format!("failed: {error}"))),
        }
        let files: Vec<File> = bramble_wire::decode(&output, "list of files")
            .map_err(|error| work(format!("failed: {error}")))?;
        let asked = files.len() == names.len()
            && files
                .iter()
                .zip(names)
                .all(|(file, name)| file.name == *name);
        match asked {
            true => Ok((files, output.len())),
            false => Err(work("answered another question".into())),
        }
    }
}

/// Why the compiler said nothing.
enum Trouble {
    /// It could not be started: nothing is known of any file.
    Start(String),
    /// It did not come to its end with these files.
    Work(String),
}
