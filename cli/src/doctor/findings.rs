//! From what is known of a board to what it lacks. Pure: values in, findings out.

use super::board::{Cgroups, Facts, MODULES};

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// As it should be.
    Fine,
    /// Something does not work, or not well.
    Weak,
    /// Pods can't run.
    Wrong,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// What.
    pub(crate) what: &'static str,
    /// How much it matters.
    pub(crate) level: Level,
    /// What is the case.
    pub(crate) seen: String,
    /// What to do; empty when nothing is to be done.
    pub(crate) mend: String,
}

/// 2020-01-01, before which no board has been set up.
const CLOCK_SET: u64 = 1_577_836_800;
/// Memory below which pods have hardly any room beside the system, MiB.
const MEMORY_LOW: u64 = 240;

/// Everything that was looked at, in the order in which it should be mended.
pub(crate) fn findings(facts: &Facts) -> Vec<Finding> {
    let mut out = vec![
        rights(facts),
        programs(facts),
        kernel(facts),
        cgroups(facts),
        controller(facts, "memory", "memory limits", Level::Wrong),
        controller(facts, "pids", "limits on processes", Level::Wrong),
        controller(facts, "cpu", "processor limits", Level::Wrong),
        controller(facts, "cpuset", "pinning to processors", Level::Weak),
        namespaces(facts),
        seccomp(facts),
    ];
    out.extend(MODULES.map(|name| module(facts, name)));
    out.extend([memory(facts), swap(facts), data(facts), clock(facts)]);
    out
}

fn finding(
    what: &'static str,
    level: Level,
    seen: impl Into<String>,
    mend: impl Into<String>,
) -> Finding {
    let mend = if level == Level::Fine {
        String::new()
    } else {
        mend.into()
    };
    Finding {
        what,
        level,
        seen: seen.into(),
        mend,
    }
}

fn when(holds: bool, otherwise: Level) -> Level {
    if holds { Level::Fine } else { otherwise }
}

fn rights(facts: &Facts) -> Finding {
    let seen = if facts.root { "root" } else { "not root" };
    finding(
        "rights",
        when(facts.root, Level::Wrong),
        seen,
        "sudo bramble node doctor; the agent runs as root",
    )
}

fn programs(facts: &Facts) -> Finding {
    let missing = facts.programs_missing.join(", ");
    let seen = match missing.as_str() {
        "" => "all here".to_owned(),
        missing => format!("not beside this one: {missing}"),
    };
    let level = when(missing.is_empty(), Level::Wrong);
    finding(
        "programs",
        level,
        seen,
        "put all programs of a release into one folder",
    )
}

/// 5.10: the oldest that Debian and the boards' makers still mend, and the oldest we run on.
fn kernel(facts: &Facts) -> Finding {
    let mut numbers = facts
        .kernel
        .split(['.', '-', '+'])
        .map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let level = when(version >= (5, 10), Level::Weak);
    let seen = match facts.model.as_str() {
        "" => format!("Linux {}", facts.kernel),
        model => format!("Linux {} on {model}", facts.kernel),
    };
    finding(
        "kernel",
        level,
        seen,
        "older than 5.10, on which nothing is tested: update the system",
    )
}

fn cgroups(facts: &Facts) -> Finding {
    let (level, seen) = match facts.cgroups {
        Cgroups::V2 => (Level::Fine, "version 2"),
        Cgroups::V1 => (Level::Weak, "version 1: works, is for development only"),
        Cgroups::None => (Level::Wrong, "not mounted"),
    };
    let mend = match facts.cgroups {
        Cgroups::V1 => "add `systemd.unified_cgroup_hierarchy=1` to the kernel's command line",
        _ => "mount -t cgroup2 cgroup2 /sys/fs/cgroup",
    };
    finding("control groups", level, seen, mend)
}

/// The memory controller is off by default on Raspberry Pis: their firmware passes
/// `cgroup_disable=memory`.
fn controller(facts: &Facts, name: &'static str, what: &'static str, otherwise: Level) -> Finding {
    let there = facts.controllers.contains(name);
    let seen = if there { "on" } else { "off" };
    let words = match name {
        "memory" => "cgroup_enable=memory",
        "cpuset" => "cgroup_enable=cpuset",
        _ => "",
    };
    let mend = match (&facts.command_line, words) {
        (_, "") => format!(
            "the kernel lacks the {name} controller: install the kernel of the board's maker or of Debian"
        ),
        (Some((file, line)), words) if line.split(' ').any(|word| word == words) => {
            format!("{words} is in {}: restart the board", file.display())
        }
        (Some((file, _)), words) => format!(
            "sed -i '1s/$/ {words}/' {}\nand restart the board",
            file.display()
        ),
        (None, words) => {
            format!("add `{words}` to the kernel's command line and restart the board")
        }
    };
    finding(what, when(there, otherwise), seen, mend)
}

fn namespaces(facts: &Facts) -> Finding {
    let missing: Vec<&str> = ["ipc", "mnt", "net", "pid", "uts"]
        .into_iter()
        .filter(|kind| !facts.namespaces.contains(*kind))
        .collect();
    let seen = match missing.as_slice() {
        [] => "all kinds".to_owned(),
        missing => format!("without {}", missing.join(", ")),
    };
    let mend = "install the kernel of the board's maker or of Debian";
    finding(
        "namespaces",
        when(missing.is_empty(), Level::Wrong),
        seen,
        mend,
    )
}

fn seccomp(facts: &Facts) -> Finding {
    let seen = if facts.seccomp { "on" } else { "off" };
    let mend = "pods that ask for a seccomp profile do not start: install a kernel with CONFIG_SECCOMP_FILTER";
    finding(
        "filters of system calls",
        when(facts.seccomp, Level::Weak),
        seen,
        mend,
    )
}

fn module(facts: &Facts, name: &'static str) -> Finding {
    let there = facts.modules.contains(name);
    let (level, without) = match name {
        "overlay" => (Level::Wrong, "images can't be mounted"),
        "veth" | "bridge" => (Level::Wrong, "pods have no network"),
        "br_netfilter" | "nf_tables" | "nft_masq" => {
            (Level::Weak, "Services and the way out of pods do not work")
        }
        "vxlan" => (
            Level::Weak,
            "pods of nodes behind other routers can't be reached",
        ),
        _ => (Level::Weak, "links between nodes can't be encrypted"),
    };
    let seen = if there {
        "there".to_owned()
    } else {
        format!("missing: {without}")
    };
    let mend = format!(
        "modprobe {name} says why; else install the modules of Linux {} (Raspberry Pi OS and Debian have \
         them in the kernel's package)",
        facts.kernel
    );
    finding(name, when(there, level), seen, mend)
}

fn memory(facts: &Facts) -> Finding {
    let level = when(facts.memory_mib >= MEMORY_LOW, Level::Weak);
    let seen = format!("{} MiB", facts.memory_mib);
    finding(
        "memory",
        level,
        seen,
        "too little for more than a few small pods",
    )
}

fn swap(facts: &Facts) -> Finding {
    let level = when(facts.swap_mib == 0, Level::Weak);
    let seen = match facts.swap_mib {
        0 => "none on a disk".to_owned(),
        mib => format!("{mib} MiB on a disk"),
    };
    let mend = "wears the card out and hides memory limits: systemctl disable --now dphys-swapfile, or swapoff -a and \
                take it out of /etc/fstab";
    finding("swap", level, seen, mend)
}

/// overlayfs can't have its upper directory on these (kernel documentation, filesystems/overlayfs).
fn data(facts: &Facts) -> Finding {
    let unfit = [
        "overlay", "nfs", "nfs4", "cifs", "vfat", "exfat", "ntfs3", "fuse",
    ];
    let level = when(!unfit.contains(&facts.data_fs.as_str()), Level::Wrong);
    let seen = match facts.data_fs.as_str() {
        "" => "unknown file system",
        kind => kind,
    };
    let mend = "containers can't have their file systems on it: use ext4, btrfs, xfs or f2fs, or another --data-dir";
    finding("data directory", level, seen, mend)
}

fn clock(facts: &Facts) -> Finding {
    let level = when(facts.unix_s >= CLOCK_SET, Level::Weak);
    let seen = if level == Level::Fine {
        "set"
    } else {
        "not set"
    };
    let mend = "the node joins and runs without it; time stamps and CronJobs are wrong until it is: apt install chrony";
    finding("clock", level, seen, mend)
}
