//! `bramble uninstall`: takes Bramble off a machine. The services are stopped and switched off, the
//! agent's own `drain` ends pods in order, and with `--purge` the data goes. The programs themselves are
//! the package's (or the person's who copied them) to remove, and the last line says how.
//!
//! Every step may find nothing to do. As long as a service runs or a pod is left, nothing is removed: both
//! still use the data.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::args::Uninstall;
use crate::output;
use crate::sibling;

/// Names of the services that a package installs.
const SERVICES: [&str; 2] = ["bramble-agent.service", "bramble-controller.service"];
/// All data of a machine.
const DATA: &str = "/var/lib/bramble";
/// What is mounted where.
const MOUNTS: &str = "/proc/self/mountinfo";
/// What ends with a reboot.
const RUN: &str = "/run/bramble";

/// What a machine has of Bramble, besides the programs.
struct Folders<'a> {
    run: &'a Path,
    data: &'a Path,
}

/// Takes Bramble off this machine.
pub(crate) fn run(args: &Uninstall) -> Result<()> {
    if args.purge && !args.yes {
        confirm()?;
    }
    let folders = Folders {
        run: Path::new(RUN),
        data: Path::new(DATA),
    };
    // In this order: an agent that runs would not let its pods go.
    let mut ended: Vec<Result<()>> = SERVICES.into_iter().map(stop).collect();
    ended.push(drain(folders.run));
    take_off(ended, &folders, args.purge)?;
    let kept = if args.purge {
        ""
    } else {
        "Data is kept in /var/lib/bramble.\n"
    };
    output::print(&format!(
        "Bramble is off this machine.\n{kept}The programs go with: apt remove bramble\n"
    ))
}

/// Removes the folders, when everything that uses them has ended.
fn take_off(ended: Vec<Result<()>>, folders: &Folders<'_>, purge: bool) -> Result<()> {
    let failures = ended.into_iter().filter_map(Result::err);
    let failures: Vec<String> = failures.map(|error| format!("{error:#}")).collect();
    if !failures.is_empty() {
        bail!("nothing was removed:\n  {}", failures.join("\n  "));
    }
    let wanted = [Some(folders.run), purge.then_some(folders.data)];
    let wanted: Vec<&Path> = wanted.into_iter().flatten().collect();
    // All are looked at before the first one goes.
    let mounts = std::fs::read_to_string(MOUNTS).with_context(|| format!("reading {MOUNTS}"))?;
    for folder in &wanted {
        nothing_below(&mounts, folder)?;
    }
    wanted.into_iter().try_for_each(remove)
}

/// Data can't be had back: a person says so, and a script says `--yes`.
fn confirm() -> Result<()> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        bail!("--purge removes all data of this machine; say --yes to do that without being asked");
    }
    eprint!(
        "This removes every key, image and volume of this machine ({DATA}). Type yes to go on: "
    );
    std::io::stderr().flush()?;
    let mut answer = String::new();
    input.lock().read_line(&mut answer)?;
    if answer.trim() != "yes" {
        bail!("nothing was removed");
    }
    Ok(())
}

/// A machine without systemd, or without the service, has nothing to stop.
fn stop(service: &str) -> Result<()> {
    let known = Command::new("systemctl").args(["cat", service]).output();
    if !known.is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    let output = Command::new("systemctl")
        .args(["disable", "--now", service])
        .output()
        .context("running systemctl")?;
    if !output.status.success() {
        bail!(
            "systemctl disable --now {service}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// Without an agent's run directory no pod was left.
fn drain(run: &Path) -> Result<()> {
    if !run.exists() {
        return Ok(());
    }
    let output = Command::new(sibling::find("bramble-agent")?)
        .arg("drain")
        .output()
        .context("running bramble-agent drain")?;
    if !output.status.success() {
        bail!(
            "ending the pods: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// What is mounted below a folder is a volume's own data, or somebody else's, and not ours.
fn nothing_below(mounts: &str, folder: &Path) -> Result<()> {
    // Lines of proc_pid_mountinfo(5); the fifth field is where. It has no line without one.
    let points = mounts.lines().map(|line| line.split(' ').nth(4));
    for point in points {
        let point =
            Path::new(point.with_context(|| format!("{MOUNTS} has a line of another form"))?);
        if point != folder && point.starts_with(folder) {
            bail!(
                "nothing was removed: {} is mounted: umount it, then run this again",
                point.display()
            );
        }
    }
    Ok(())
}

fn remove(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", folder.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn nothing_goes_while_something_runs() {
        let dir = tempfile::tempdir().unwrap();
        let (run, data) = (dir.path().join("run"), dir.path().join("data"));
        let folders = Folders {
            run: &run,
            data: &data,
        };
        let there = || [run.exists(), data.exists()];
        for folder in [&run, &data] {
            std::fs::create_dir_all(folder.join("pods")).unwrap();
        }
        let failed = vec![Ok(()), Err(anyhow!("a pod is left"))];
        let error = take_off(failed, &folders, true).unwrap_err();
        assert!(error.to_string().contains("a pod is left"), "{error}");
        assert_eq!(there(), [true, true]);
        take_off(vec![Ok(())], &folders, false).unwrap();
        assert_eq!(there(), [false, true]);
        // Again, with nothing left of the first.
        take_off(vec![Ok(())], &folders, true).unwrap();
        assert_eq!(there(), [false, false]);
    }

    #[test]
    fn what_is_mounted_below_is_spared() {
        let mounts = "22 1 254:0 / / rw - ext4 /dev/vda rw\n\
                      23 22 254:1 / /var/lib/bramble rw - ext4 /dev/vdb rw\n\
                      24 22 0:5 / /var/lib/bramble-other/x rw - tmpfs none rw\n";
        let data = Path::new(DATA);
        nothing_below(mounts, data).unwrap();
        let more =
            format!("{mounts}25 23 0:9 / /var/lib/bramble/agent/volumes/a rw - nfs server rw\n");
        let error = nothing_below(&more, data).unwrap_err().to_string();
        assert!(error.contains("/volumes/a is mounted"), "{error}");
        // What can't be read is no proof of nothing.
        assert!(nothing_below("nonsense\n", data).is_err());
    }
}
