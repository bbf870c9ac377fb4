//! Facts of the board, for the Node object.

use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;

use bramble_wire::report::NodeFacts;

/// Most pods of a node; its range of addresses holds 253.
const PODS: u32 = 110;

/// Reads the facts. `towards` is where the controller is: the source address of a packet to it is
/// the node's address. Nothing is sent.
pub fn observe(data_dir: &Path, towards: Option<SocketAddr>) -> NodeFacts {
    let kernel = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    NodeFacts {
        architecture: architecture().into(),
        kernel: text(kernel.release()),
        os_image: os_image(),
        machine_id: line("/etc/machine-id"),
        boot_id: line("/proc/sys/kernel/random/boot_id"),
        agent_version: concat!("v", env!("CARGO_PKG_VERSION")).into(),
        runtime_version: concat!("bramble://", env!("CARGO_PKG_VERSION")).into(),
        address: towards.and_then(source_address),
        hostname: text(kernel.nodename()),
        cpu_milli: std::thread::available_parallelism().map_or(1000, |n| n.get() as u64 * 1000),
        memory_bytes: memory_bytes(),
        pods: PODS,
        storage_bytes: rustix::fs::statvfs(data_dir)
            .map_or(0, |stat| stat.f_blocks.saturating_mul(stat.f_frsize)),
        ..NodeFacts::default()
    }
}

/// The name that Go, and so `kubernetes.io/arch`, has for it.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The address that packets to `towards` come from. Connecting a UDP socket sends nothing.
fn source_address(towards: SocketAddr) -> Option<[u8; 4]> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    socket.connect(towards).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(address) if !address.is_unspecified() => Some(address.octets()),
        _ => None,
    }
}

fn os_image() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map_or_else(|| "Linux".into(), |name| name.trim_matches('"').into())
}

fn memory_bytes() -> u64 {
    let table = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    table
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kib| kib * 1024)
}

fn line(path: &str) -> String {
    fs::read_to_string(path)
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_facts() {
        let towards = "127.0.0.1:1".parse().ok();
        let facts = observe(Path::new("/"), towards);
        assert_eq!(facts.address, Some([127, 0, 0, 1]));
        assert!(facts.memory_bytes > 1 << 20 && facts.storage_bytes > 0);
        assert!(facts.cpu_milli >= 1000 && !facts.kernel.is_empty());
        assert_eq!(observe(Path::new("/"), None).address, None);
    }
}
