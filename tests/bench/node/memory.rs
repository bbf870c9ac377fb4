//! Memory of a cluster's processes, from `/proc/PID/smaps_rollup`: those of the board by its control
//! groups, so that none is forgotten, the agent and the controller by their pids.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Result;
use bramble_tests::local::Cluster;

/// Sums that budgets are about, KiB.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) agent_rss_kib: u64,
    pub(crate) controller_rss_kib: u64,
    /// What they hold together: pages of their program count once, as they are there once.
    pub(crate) shims_pss_kib: u64,
}

#[derive(Debug, Default)]
struct Sum {
    count: u64,
    rss: u64,
    pss: u64,
    private: u64,
}

/// Prints and returns what the cluster's processes hold.
pub(crate) fn memory(cluster: &Cluster, when: &str) -> Result<Seen> {
    let group = format!("/{}/", cluster.layout.boards[0].cgroup);
    let agent = cluster.pid("board-1");
    let controller = cluster.pid("controller");
    let mut sums: BTreeMap<&str, Sum> = BTreeMap::new();
    for pid in pids() {
        let kind = if Some(pid) == controller {
            "controller"
        } else if Some(pid) == agent {
            "agent"
        } else {
            let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            if !groups.contains(&group) {
                continue;
            }
            if program(pid) == "bramble-shim" {
                "shims"
            } else {
                "containers"
            }
        };
        let Ok(smaps) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else {
            continue;
        };
        let field = |name: &str| field(&smaps, name);
        let sum = sums.entry(kind).or_default();
        sum.count += 1;
        sum.rss += field("Rss:");
        sum.pss += field("Pss:");
        sum.private += field("Private_Dirty:") + field("Private_Clean:");
    }
    println!(
        "\nmemory in KiB, {when}\n{:<12} {:>5} {:>9} {:>9} {:>9}",
        "", "count", "rss", "pss", "private"
    );
    let mut node = Sum::default();
    for (kind, sum) in &sums {
        println!(
            "{kind:<12} {:>5} {:>9} {:>9} {:>9}",
            sum.count, sum.rss, sum.pss, sum.private
        );
        if *kind != "controller" {
            node.count += sum.count;
            node.rss += sum.rss;
            node.pss += sum.pss;
            node.private += sum.private;
        }
    }
    println!(
        "{:<12} {:>5} {:>9} {:>9} {:>9}",
        "the node", node.count, node.rss, node.pss, node.private
    );
    let rss = |kind: &str| sums.get(kind).map_or(0, |sum| sum.rss);
    Ok(Seen {
        agent_rss_kib: rss("agent"),
        controller_rss_kib: rss("controller"),
        shims_pss_kib: sums.get("shims").map_or(0, |sum| sum.pss),
    })
}

/// Largest peak of all shims, KiB.
pub(crate) fn shims_peak_kib() -> u64 {
    let peak = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        (program(pid) == "bramble-shim").then(|| field(&status, "VmHWM:"))
    };
    pids().filter_map(peak).max().unwrap_or(0)
}

fn program(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm"))
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn field(text: &str, name: &str) -> u64 {
    let lines = text.lines().filter(|line| line.starts_with(name));
    lines
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .sum()
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}
