//! Reads what [`super::findings`] decides on. Every file may be missing: then the fact is.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

/// How control groups are mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Cgroups {
    /// One hierarchy, version 2.
    V2,
    /// Version 1, with or without an empty version 2 beside it.
    V1,
    /// Not mounted.
    #[default]
    None,
}

/// What is known of the board.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    /// The caller is root.
    pub(crate) root: bool,
    /// Kernel release.
    pub(crate) kernel: String,
    /// Model by the device tree; empty on a PC.
    pub(crate) model: String,
    /// How control groups are mounted.
    pub(crate) cgroups: Cgroups,
    /// Their controllers.
    pub(crate) controllers: BTreeSet<String>,
    /// File with the kernel's command line, and the line, where a boot loader reads it from a file.
    pub(crate) command_line: Option<(PathBuf, String)>,
    /// What of [`MODULES`] is loaded, built in or can be loaded.
    pub(crate) modules: BTreeSet<&'static str>,
    /// The kernel filters system calls.
    pub(crate) seccomp: bool,
    /// Kinds of namespaces.
    pub(crate) namespaces: BTreeSet<String>,
    /// Memory, MiB.
    pub(crate) memory_mib: u64,
    /// Swap on a disk (not compressed memory), MiB.
    pub(crate) swap_mib: u64,
    /// Type of the file system that holds the data directory.
    pub(crate) data_fs: String,
    /// Seconds of the Unix epoch by the board's clock.
    pub(crate) unix_s: u64,
    /// Programs of a release that are not beside this one.
    pub(crate) programs_missing: Vec<&'static str>,
}

/// A function of each of [`MODULES`]: a kernel without a list of what is built in still has its symbols.
const SYMBOLS: [(&str, &str); 8] = [
    ("overlay", "ovl_fill_super"),
    ("veth", "veth_newlink"),
    ("bridge", "br_add_if"),
    ("br_netfilter", "br_nf_pre_routing"),
    ("nf_tables", "nft_do_chain"),
    ("nft_masq", "nft_masq_init"),
    ("vxlan", "vxlan_xmit"),
    ("wireguard", "wg_xmit"),
];

/// Parts of the kernel that a node uses. Some boards have them built in.
pub(crate) const MODULES: [&str; 8] = [
    "overlay",
    "veth",
    "bridge",
    "br_netfilter",
    "nf_tables",
    "nft_masq",
    "vxlan",
    "wireguard",
];

/// Programs of a release.
const PROGRAMS: [&str; 3] = ["bramble-agent", "bramble-shim", "bramble-oci"];
/// Largest file read whole, bytes; larger ones are cut.
const FILE_MAX: usize = 4 << 20;

/// Looks at the board below `root`.
pub(crate) fn look(root: &Path, data_dir: &Path) -> Facts {
    let at = |path: &str| root.join(path.trim_start_matches('/'));
    let text = |path: &str| read(&at(path));
    let kernel = text("/proc/sys/kernel/osrelease").trim().to_owned();
    let mounts = text("/proc/self/mountinfo");
    let (cgroups, controllers) = cgroups(&text, &mounts);
    let memory = text("/proc/meminfo");
    let kib = |name: &str| {
        let line = memory.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Facts {
        root: text("/proc/self/status")
            .lines()
            .find_map(|line| line.strip_prefix("Uid:"))
            .and_then(|ids| ids.split_whitespace().nth(1))
            == Some("0"),
        modules: modules(&at, &kernel),
        kernel,
        model: text("/proc/device-tree/model")
            .trim_end_matches('\0')
            .to_owned(),
        cgroups,
        controllers,
        command_line: ["/boot/firmware/cmdline.txt", "/boot/cmdline.txt"]
            .into_iter()
            .find(|path| at(path).is_file())
            .map(|path| (PathBuf::from(path), text(path).trim().to_owned())),
        seccomp: at("/proc/sys/kernel/seccomp/actions_avail").exists(),
        namespaces: names(&at("/proc/self/ns")).collect(),
        memory_mib: kib("MemTotal:").unwrap_or(0) / 1024,
        swap_mib: disk_swap_kib(&text("/proc/swaps")) / 1024,
        data_fs: file_system(&mounts, data_dir),
        unix_s: std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
        programs_missing: programs_missing(),
    }
}

fn read(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes[..bytes.len().min(FILE_MAX)]).into_owned()
}

fn names(folder: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
}

/// cgroups(7): version 2 alone is mounted on `/sys/fs/cgroup` itself.
fn cgroups(text: &dyn Fn(&str) -> String, mounts: &str) -> (Cgroups, BTreeSet<String>) {
    let words = |text: String| text.split_whitespace().map(str::to_owned).collect();
    let v2 = mounts
        .lines()
        .any(|line| line.contains(" /sys/fs/cgroup ") && line.contains(" - cgroup2 "));
    if v2 {
        return (
            Cgroups::V2,
            words(text("/sys/fs/cgroup/cgroup.controllers")),
        );
    }
    if !mounts.contains(" - cgroup ") {
        return (Cgroups::None, BTreeSet::new());
    }
    // Name, hierarchy, number of cgroups, enabled.
    let enabled = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields.get(3) == Some(&"1")).then(|| fields[0].to_owned())
    };
    let table = text("/proc/cgroups");
    (Cgroups::V1, table.lines().filter_map(enabled).collect())
}

/// Loaded, built in, or a file that can be loaded.
fn modules(at: &dyn Fn(&str) -> PathBuf, kernel: &str) -> BTreeSet<&'static str> {
    let lists = [
        at(&format!("/lib/modules/{kernel}/modules.builtin")),
        at(&format!("/lib/modules/{kernel}/modules.dep")),
    ];
    let lists = lists.map(|path| read(&path));
    let loaded: BTreeSet<String> = names(&at("/sys/module")).collect();
    let systems = read(&at("/proc/filesystems"));
    let built_in = match lists.iter().all(String::is_empty) {
        true => functions(&at("/proc/kallsyms")),
        false => BTreeSet::new(),
    };
    let there = |name: &&str| {
        // The kernel takes `-` and `_` as the same.
        let files = [
            format!("/{name}.ko"),
            format!("/{}.ko", name.replace('_', "-")),
        ];
        loaded.contains(*name)
            || built_in.contains(*name)
            || systems
                .lines()
                .any(|line| line.ends_with(&format!("\t{name}")))
            || lists
                .iter()
                .any(|list| files.iter().any(|file| list.contains(file.as_str())))
    };
    MODULES.into_iter().filter(there).collect()
}

/// Which of [`SYMBOLS`] the kernel has (address, type, name, and the module in brackets).
fn functions(symbols: &Path) -> BTreeSet<&'static str> {
    let Ok(file) = fs::File::open(symbols) else {
        return BTreeSet::new();
    };
    let lines = BufReader::new(file).lines().map_while(Result::ok);
    let known = |line: String| {
        let name = line.split_whitespace().nth(2)?;
        let found = SYMBOLS.iter().find(|(_, symbol)| *symbol == name)?;
        Some(found.0)
    };
    lines.filter_map(known).collect()
}

/// Compressed memory (zram) wears no card and needs none.
fn disk_swap_kib(swaps: &str) -> u64 {
    let size = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let disk = !fields.first()?.contains("zram");
        disk.then(|| fields.get(2)?.parse::<u64>().ok()).flatten()
    };
    swaps.lines().skip(1).filter_map(size).sum()
}

/// The type of what is mounted deepest above a path (proc(5), mountinfo).
fn file_system(mounts: &str, path: &Path) -> String {
    let fields = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let point = left.split(' ').nth(4)?.replace("\\040", " ");
        let kind = right.split(' ').next()?.to_owned();
        path.starts_with(&point).then_some((point.len(), kind))
    };
    let deepest = mounts
        .lines()
        .filter_map(fields)
        .max_by_key(|(length, _)| *length);
    deepest.map(|(_, kind)| kind).unwrap_or_default()
}

fn programs_missing() -> Vec<&'static str> {
    let own = std::env::current_exe().unwrap_or_default();
    let folder = own.parent().unwrap_or(Path::new("/"));
    let missing = |name: &&str| !folder.join(name).exists();
    PROGRAMS.into_iter().filter(missing).collect()
}
