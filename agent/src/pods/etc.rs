//! Files in `/etc` that every container gets, as the kubelet gives them: `hosts` (with the aliases of
//! the manifest), `hostname`, `resolv.conf`.
//!
//! In: names and addresses settled by the plan. Out: files in the pod's run directory, made with the
//! sandbox, bound into each container unless a volume of the manifest stands there.

use std::fs;
use std::io;
use std::path::Path;

use bramble_agent_core::plan::SandboxInput;

use super::files;

/// Every file, by its name in `/etc`.
pub(super) const FILES: [&str; 3] = ["hosts", "hostname", "resolv.conf"];

/// First lines of `/etc/hosts` upstream (`managedHostsFileContent`); programs look for the mark.
const MANAGED: &str = "# Kubernetes-managed hosts file.\n";
const MANAGED_HOST: &str = "# Kubernetes-managed hosts file (host network).\n";
const LOCAL: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\n\
    fe00::2\tip6-allrouters\n";

/// What the files of a pod say. Blocks.
pub(super) fn contents(input: &SandboxInput) -> [(&'static str, Vec<u8>); 3] {
    let board = match input.network {
        None => Some(fs::read_to_string("/etc/hosts").unwrap_or_default()),
        Some(_) => None,
    };
    let [for_hosts, for_hostname, for_resolver] = FILES;
    // The board's own resolver, until the node has one for its pods.
    let resolver = fs::read("/etc/resolv.conf").unwrap_or_default();
    [
        (for_hosts, hosts(input, board.as_deref()).into_bytes()),
        (for_hostname, format!("{}\n", input.hostname).into_bytes()),
        (for_resolver, resolver),
    ]
}

/// Writes them. Blocks.
pub(super) fn write(folder: &Path, contents: &[(&str, Vec<u8>)]) -> io::Result<()> {
    for (name, bytes) in contents {
        files::write(&folder.join(name), 0o644, bytes)?;
    }
    Ok(())
}

/// `/etc/hosts` of a pod; `board` is the board's own for a pod on its network.
fn hosts(input: &SandboxInput, board: Option<&str>) -> String {
    let mut text = match board {
        Some(board) => format!("{MANAGED_HOST}{board}"),
        None => format!("{MANAGED}{LOCAL}"),
    };
    if let Some(network) = input.network {
        let [a, b, c, d] = network.address;
        text += &format!("{a}.{b}.{c}.{d}\t{}\n", input.hostname);
    }
    if !input.host_aliases.is_empty() {
        text += "\n# Entries added by HostAliases.\n";
    }
    for (address, names) in &input.host_aliases {
        text += &format!("{address}\t{}\n", names.join("\t"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use bramble_agent_core::plan::PodNetwork;

    #[test]
    fn hosts_are_as_the_kubelet_writes_them() {
        let mut input = SandboxInput {
            hostname: "web".into(),
            network: Some(PodNetwork {
                address: [10, 42, 0, 7],
                prefix: 24,
                gateway: [10, 42, 0, 1],
            }),
            host_aliases: vec![
                ("1.2.3.4".into(), vec!["a".into(), "b".into()]),
                ("fd00::1".into(), vec!["c".into()]),
            ],
            ..SandboxInput::default()
        };
        assert_eq!(
            hosts(&input, None),
            "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n\
             ::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n\
             fe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n\
             10.42.0.7\tweb\n\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\nfd00::1\tc\n"
        );
        input.network = None;
        input.host_aliases.truncate(1);
        assert_eq!(
            hosts(&input, Some("127.0.0.1 localhost\n")),
            "# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n\
             \n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"
        );
        input.host_aliases.clear();
        assert_eq!(
            hosts(&input, Some("x\n")),
            "# Kubernetes-managed hosts file (host network).\nx\n"
        );
    }
}
