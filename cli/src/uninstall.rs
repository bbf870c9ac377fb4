//! `bramble uninstall`: takes Bramble off a machine. The services are stopped and switched off, the
//! agent's own `drain` ends pods in order, and with `--purge` the data goes. The programs themselves are
//! the package's (or the person's who copied them) to remove, and the last line says how.
//!
//! Every step may find nothing to do; one that fails does not stop the others, and is told at the end.

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
/// What ends with a reboot.
const RUN: &str = "/run/bramble";

/// Takes Bramble off this machine.
pub(crate) fn run(args: &Uninstall) -> Result<()> {
    if args.purge && !args.yes {
        confirm()?;
    }
    let mut failures = Vec::new();
    let mut note = |result: Result<()>| {
        if let Err(error) = result {
            failures.push(format!("{error:#}"));
        }
    };
    for service in SERVICES {
        note(stop(service));
    }
    note(drain());
    note(remove(RUN));
    if args.purge {
        note(remove(DATA));
    }
    if !failures.is_empty() {
        bail!("left behind:\n  {}", failures.join("\n  "));
    }
    let kept = if args.purge {
        ""
    } else {
        "Data is kept in /var/lib/bramble.\n"
    };
    output::print(&format!(
        "Bramble is off this machine.\n{kept}The programs go with: apt remove bramble\n"
    ))
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
fn drain() -> Result<()> {
    if !Path::new(RUN).exists() {
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

/// Removes a folder and nothing that is mounted below it: a volume's own data is not ours.
fn remove(folder: &str) -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let below = |line: &&str| {
        let point = line.split(' ').nth(4).unwrap_or_default();
        point != folder && point.starts_with(&format!("{folder}/"))
    };
    if let Some(line) = mounts.lines().find(below) {
        let point = line.split(' ').nth(4).unwrap_or_default();
        bail!("{point} is mounted: umount it, then run this again");
    }
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {folder}"))
        }
        _ => Ok(()),
    }
}
