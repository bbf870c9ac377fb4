//! Logs of all pods together: a part of the run directory's file system, which is the board's memory.
//!
//! A shim bounds the log of each life of each container; how many there are nobody does. So now and
//! then, when the file system is not nearly empty anyway, they are added up, and what is over the
//! bound is taken away: first what was rotated, then the logs of lives that are over, the largest
//! first, and in the end logs that are being written begin anew.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;

use super::files::names;

/// The logs' part of the file system.
const PART: u64 = 4;

/// Looks, and takes away what is too much. Blocks.
pub(super) fn bound(logs: &Path) {
    let Ok(space) = statvfs(logs) else { return };
    let room = space.f_blocks / PART;
    if space.f_blocks - space.f_bfree > room {
        trim(logs, room.saturating_mul(space.f_frsize));
    }
}

/// In the order in which they go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Worth {
    Rotated,
    Over,
    Current,
}

struct Log {
    worth: Worth,
    bytes: u64,
    path: PathBuf,
}

fn trim(logs: &Path, bound: u64) {
    let mut all = Vec::new();
    for pod in names(logs) {
        for container in names(&logs.join(&pod)) {
            gather(&logs.join(&pod).join(container), &mut all);
        }
    }
    let mut bytes: u64 = all.iter().map(|log| log.bytes).sum();
    all.sort_by_key(|log| (log.worth, std::cmp::Reverse(log.bytes)));
    for log in all {
        if bytes <= bound {
            return;
        }
        tracing::info!(path = %log.path.display(), bytes = log.bytes, "the logs take too much memory");
        let gone = match log.worth {
            Worth::Rotated | Worth::Over => fs::remove_file(&log.path),
            // Whoever writes it appends, and goes on at the beginning.
            Worth::Current => fs::OpenOptions::new()
                .write(true)
                .open(&log.path)
                .and_then(|file| file.set_len(0)),
        };
        if gone.is_ok() {
            bytes -= log.bytes;
        }
    }
}

/// The logs of one container: `<life>.log` and, rotated, `<life>.log.<n>`.
fn gather(folder: &Path, all: &mut Vec<Log>) {
    let names = names(folder);
    let life = |name: &str| -> Option<u32> { name.split_once(".log")?.0.parse().ok() };
    let newest = names.iter().filter_map(|name| life(name)).max();
    for name in names {
        let path = folder.join(&name);
        let Ok(data) = fs::symlink_metadata(&path) else {
            continue;
        };
        let worth = match name.ends_with(".log") {
            false => Worth::Rotated,
            true if life(&name) == newest => Worth::Current,
            true => Worth::Over,
        };
        all.push(Log {
            worth,
            bytes: data.len(),
            path,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logs_of_all_pods_are_bounded_and_the_newest_go_last() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, bytes: usize| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, vec![b'x'; bytes]).unwrap();
        };
        for (path, bytes) in [
            ("p1/a/1.log", 300),
            ("p1/a/1.log.1", 1000),
            ("p1/a/2.log", 700),
            ("p1/a/2.log.1", 900),
            ("p2/b/0.log", 500),
        ] {
            write(path, bytes);
        }
        let left = |bound| {
            trim(dir.path(), bound);
            let mut all = Vec::new();
            for folder in ["p1/a", "p2/b"] {
                gather(&dir.path().join(folder), &mut all);
            }
            let name = |log: &Log| {
                let name = log.path.strip_prefix(dir.path()).unwrap();
                (name.to_string_lossy().into_owned(), log.bytes)
            };
            let mut all: Vec<_> = all.iter().map(name).collect();
            all.sort();
            all
        };
        let of = |list: &[(&str, u64)]| -> Vec<(String, u64)> {
            let own = list
                .iter()
                .map(|(name, bytes)| ((*name).to_owned(), *bytes));
            own.collect()
        };
        assert_eq!(left(3400).len(), 5);
        let rest = [
            ("p1/a/1.log", 300),
            ("p1/a/2.log", 700),
            ("p1/a/2.log.1", 900),
            ("p2/b/0.log", 500),
        ];
        assert_eq!(left(2400), of(&rest));
        let rest = [("p1/a/2.log", 700), ("p2/b/0.log", 500)];
        assert_eq!(left(1200), of(&rest));
        let rest = [("p1/a/2.log", 0), ("p2/b/0.log", 500)];
        assert_eq!(left(600), of(&rest));
    }
}
