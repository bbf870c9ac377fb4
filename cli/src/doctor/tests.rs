use std::fs;
use std::path::Path;

use super::board::{self, Cgroups};
use super::*;

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A Raspberry Pi as it comes: version 2, without the memory controller.
fn pi(root: &Path) {
    put(root, "proc/sys/kernel/osrelease", "6.12.34+rpt-rpi-v8\n");
    put(
        root,
        "proc/device-tree/model",
        "Raspberry Pi 4 Model B Rev 1.4\0",
    );
    put(root, "proc/self/status", "Name:\tx\nUid:\t0\t0\t0\t0\n");
    put(
        root,
        "proc/self/mountinfo",
        "22 1 179:2 / / rw - ext4 /dev/mmcblk0p2 rw\n30 22 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n\
         31 22 8:1 / /mnt/usb\\040disk rw - exfat /dev/sda1 rw\n",
    );
    put(
        root,
        "sys/fs/cgroup/cgroup.controllers",
        "cpuset cpu io pids\n",
    );
    put(
        root,
        "boot/firmware/cmdline.txt",
        "console=serial0,115200 root=PARTUUID=1-02 rootwait\n",
    );
    put(
        root,
        "lib/modules/6.12.34+rpt-rpi-v8/modules.dep",
        "kernel/fs/overlayfs/overlay.ko.xz:\nkernel/drivers/net/veth.ko.xz:\nkernel/net/bridge/br_netfilter.ko.xz:\n\
         kernel/net/netfilter/nf_tables.ko.xz:\nkernel/net/netfilter/nft_masq.ko.xz:\nkernel/drivers/net/vxlan/vxlan.ko.xz:\n",
    );
    put(
        root,
        "lib/modules/6.12.34+rpt-rpi-v8/modules.builtin",
        "kernel/net/bridge/bridge.ko\n",
    );
    put(
        root,
        "proc/sys/kernel/seccomp/actions_avail",
        "kill_process errno allow\n",
    );
    for kind in ["ipc", "mnt", "net", "pid", "uts", "user", "cgroup"] {
        put(root, &format!("proc/self/ns/{kind}"), "");
    }
    put(
        root,
        "proc/meminfo",
        "MemTotal:         467000 kB\nMemFree: 1 kB\n",
    );
    put(
        root,
        "proc/swaps",
        "Filename Type Size Used Priority\n/dev/zram0 partition 100000 0 100\n/var/swap file 204800 0 -2\n",
    );
}

fn found<'a>(found: &'a [Finding], what: &str) -> &'a Finding {
    found.iter().find(|f| f.what == what).unwrap()
}

#[test]
fn a_raspberry_pi_as_it_comes_lacks_the_memory_controller_and_is_told_the_line() {
    let root = tempfile::tempdir().unwrap();
    pi(root.path());
    let facts = board::look(root.path(), Path::new("/var/lib/bramble"));
    assert_eq!(facts.cgroups, Cgroups::V2);
    let all = findings(&facts);
    let memory = found(&all, "memory limits");
    assert_eq!((memory.level, memory.seen.as_str()), (Level::Wrong, "off"));
    assert_eq!(
        memory.mend,
        "sed -i '1s/$/ cgroup_enable=memory/' /boot/firmware/cmdline.txt\nand restart the board"
    );
    assert_eq!(
        found(&all, "kernel").seen,
        "Linux 6.12.34+rpt-rpi-v8 on Raspberry Pi 4 Model B Rev 1.4"
    );
    assert_eq!(found(&all, "wireguard").level, Level::Weak);
    for fine in [
        "rights",
        "kernel",
        "control groups",
        "processor limits",
        "overlay",
        "bridge",
        "br_netfilter",
        "memory",
        "data directory",
        "namespaces",
    ] {
        assert_eq!(
            found(&all, fine).level,
            Level::Fine,
            "{fine}: {:?}",
            found(&all, fine)
        );
    }
    assert_eq!(
        found(&all, "swap").seen,
        "200 MiB on a disk",
        "compressed memory is no wear"
    );
    let text = text(&all);
    assert!(
        text.contains("MISSING  memory limits: off\n         sed -i"),
        "{text}"
    );
}

/// The line is there and the board was not restarted: adding it again would not help.
#[test]
fn a_line_that_is_there_needs_a_restart_only() {
    let root = tempfile::tempdir().unwrap();
    pi(root.path());
    put(
        root.path(),
        "boot/firmware/cmdline.txt",
        "rootwait cgroup_enable=memory\n",
    );
    let all = findings(&board::look(root.path(), Path::new("/")));
    assert_eq!(
        found(&all, "memory limits").mend,
        "cgroup_enable=memory is in /boot/firmware/cmdline.txt: restart the board"
    );
}

#[test]
fn what_keeps_pods_from_running_is_told_from_what_is_weak() {
    let root = tempfile::tempdir().unwrap();
    pi(root.path());
    put(
        root.path(),
        "proc/self/status",
        "Uid:\t1000\t1000\t1000\t1000\n",
    );
    put(
        root.path(),
        "proc/self/mountinfo",
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n25 22 0:20 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
         31 22 8:1 / /mnt/usb\\040disk rw - exfat /dev/sda1 rw\n",
    );
    put(
        root.path(),
        "proc/cgroups",
        "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t0\t1\t0\npids\t3\t9\t1\n",
    );
    put(root.path(), "proc/sys/kernel/osrelease", "4.19.97\n");
    let all = findings(&board::look(
        root.path(),
        Path::new("/mnt/usb disk/bramble"),
    ));
    let level = |what| found(&all, what).level;
    assert_eq!(level("rights"), Level::Wrong);
    assert_eq!(level("kernel"), Level::Weak);
    assert_eq!(level("control groups"), Level::Weak);
    assert_eq!(level("memory limits"), Level::Wrong);
    assert_eq!(level("limits on processes"), Level::Fine);
    assert_eq!(
        level("data directory"),
        Level::Wrong,
        "exfat holds no overlay"
    );
    assert_eq!(level("overlay"), Level::Wrong, "no modules of this kernel");
    let json: serde_json::Value = serde_json::from_str(&json_text(&all)).unwrap();
    assert_eq!(json["findings"][0]["level"], "missing");
}

/// A kernel with everything built in and no folder of modules.
#[test]
fn a_kernel_without_lists_is_known_by_its_functions() {
    let root = tempfile::tempdir().unwrap();
    pi(root.path());
    fs::remove_dir_all(root.path().join("lib/modules")).unwrap();
    put(
        root.path(),
        "proc/kallsyms",
        "0000000000000000 t ovl_fill_super\n0000000000000000 t veth_newlink\n0000000000000000 t x_veth_newlink\n",
    );
    let facts = board::look(root.path(), Path::new("/"));
    assert_eq!(
        facts.modules.into_iter().collect::<Vec<_>>(),
        ["overlay", "veth"]
    );
}

/// What this machine has is seen at all.
#[test]
fn this_machine_is_looked_at() {
    let facts = board::look(Path::new("/"), Path::new("/"));
    assert!(!facts.kernel.is_empty());
    assert!(facts.memory_mib > 0);
    assert!(facts.namespaces.contains("net"));
    assert!(!facts.data_fs.is_empty());
}
