//! Finds and clears what a board may leave outside its data directory: processes, mounts, cgroups,
//! the run directory. Only things that carry the cluster's own names are looked at.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::layout::{Board, Layout};
use super::wait_until;

/// Everything of the cluster that still exists outside its directory, a line each.
pub fn find(layout: &Layout) -> Vec<String> {
    let mut left = Vec::new();
    for board in &layout.boards {
        for (pid, name) in processes(board) {
            left.push(format!("process {pid} ({name}) of {}", board.node));
        }
        left.extend(
            mounts(&board.run_dir)
                .into_iter()
                .map(|at| format!("mount {at}")),
        );
        left.extend(
            cgroups(board)
                .into_iter()
                .map(|at| format!("cgroup {}", at.display())),
        );
        for (kind, at) in [
            ("directory", board.run_dir.clone()),
            ("namespace", format!("/run/netns/{}", board.netns)),
            ("link", format!("/sys/class/net/{}", board.link)),
        ] {
            if Path::new(&at).exists() {
                left.push(format!("{kind} {at}"));
            }
        }
    }
    if Path::new("/sys/class/net").join(&layout.id).exists() {
        left.push(format!("bridge {}", layout.id));
    }
    left
}

/// Kills and removes everything of a board except its data directory, its namespace and its link.
pub(super) fn clear_board(layout: &Layout, board: &Board) -> Result<()> {
    let gone = wait_until(Duration::from_secs(20), || {
        let alive = processes(board);
        for (pid, _) in &alive {
            let _ = std::process::Command::new("kill")
                .args(["-KILL", &pid.to_string()])
                .stderr(std::process::Stdio::null())
                .status();
        }
        Ok(alive.is_empty())
    })?;
    ensure!(
        gone,
        "processes of {} do not end: {:?}",
        board.node,
        processes(board)
    );
    for at in mounts(&board.run_dir).into_iter().rev() {
        let _ = std::process::Command::new("umount")
            .args(["-l", &at])
            .status();
    }
    // A cgroup can be removed only when the kernel has let go of its last process.
    wait_until(Duration::from_secs(10), || {
        for at in cgroups(board) {
            let _ = fs::remove_dir(at);
        }
        Ok(cgroups(board).is_empty())
    })?;
    if Path::new(&board.run_dir).exists() {
        let left = mounts(&board.run_dir);
        ensure!(
            left.is_empty(),
            "still mounted under {}: {left:?}",
            board.run_dir
        );
        fs::remove_dir_all(&board.run_dir)
            .with_context(|| format!("removing {}", board.run_dir))?;
    }
    let _ = layout;
    Ok(())
}

/// Processes in the board's network namespace, in its cgroups, or that name its run directory.
fn processes(board: &Board) -> Vec<(u32, String)> {
    let namespace = fs::metadata(Path::new("/run/netns").join(&board.netns)).ok();
    let run_dir = format!("{}/", board.run_dir);
    let mut out = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let dir = entry.path();
        if super::process::start_time(pid).is_none() {
            continue;
        }
        let in_namespace = namespace.as_ref().is_some_and(|ours| {
            use std::os::linux::fs::MetadataExt;
            fs::metadata(dir.join("ns/net"))
                .is_ok_and(|its| its.st_ino() == ours.st_ino() && its.st_dev() == ours.st_dev())
        });
        let in_cgroup = fs::read_to_string(dir.join("cgroup"))
            .is_ok_and(|text| text.lines().any(|line| in_cgroup(line, &board.cgroup)));
        let command = fs::read(dir.join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        // Only our own programs: a shell or an editor may well name the directory too.
        let program = command.split(' ').next().unwrap_or_default();
        let ours = program.contains("bramble-") && !program.contains("bramble-local");
        let named = ours
            && (command.contains(&run_dir) || command.contains(&format!("{} ", board.run_dir)));
        if in_namespace || in_cgroup || named {
            out.push((pid, command.trim().to_owned()));
        }
    }
    out
}

fn in_cgroup(line: &str, cgroup: &str) -> bool {
    let path = line.rsplit(':').next().unwrap_or_default();
    path.trim_start_matches('/').split('/').next() == Some(cgroup)
}

/// Mount points under a directory, outer ones first.
fn mounts(dir: &str) -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let prefix = format!("{dir}/");
    text.lines()
        .filter_map(|line| line.split(' ').nth(4))
        .filter(|at| at.starts_with(&prefix) || *at == dir)
        .map(str::to_owned)
        .collect()
}

/// Cgroup directories of a board in every hierarchy, inner ones first.
fn cgroups(board: &Board) -> Vec<PathBuf> {
    let mut roots = vec![PathBuf::from("/sys/fs/cgroup").join(&board.cgroup)];
    for entry in fs::read_dir("/sys/fs/cgroup")
        .into_iter()
        .flatten()
        .flatten()
    {
        roots.push(entry.path().join(&board.cgroup));
    }
    let mut out = Vec::new();
    for root in roots {
        collect_inner_first(&root, &mut out);
    }
    out
}

fn collect_inner_first(dir: &Path, out: &mut Vec<PathBuf>) {
    if !dir.is_dir() {
        return;
    }
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect_inner_first(&entry.path(), out);
        }
    }
    out.push(dir.to_owned());
}
