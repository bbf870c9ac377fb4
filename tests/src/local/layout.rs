//! Names, ports and addresses of a local cluster: chosen once so that they collide with nothing on
//! the host, kept in `cluster.json` so that a later start finds the same.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::command::run;

/// Everything of a local cluster outside its directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// `br` and five characters; part of every name. Also the name of the bridge between the boards.
    pub id: String,
    /// Address of the host on that bridge.
    pub host: Ipv4Addr,
    /// Port of the API.
    pub api_port: u16,
    /// Port of the broker.
    pub mqtt_port: u16,
    /// Range of all pods.
    pub pod_cidr: String,
    /// The boards.
    pub boards: Vec<Board>,
}

/// One board: a network namespace, a run directory and a cgroup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Board {
    /// Name of the node.
    pub node: String,
    /// Name of the network namespace.
    pub netns: String,
    /// Host's end of its link.
    pub link: String,
    /// Its address on the bridge.
    pub address: Ipv4Addr,
    /// Its `/run/bramble`.
    pub run_dir: String,
    /// Parent of its pods' cgroups.
    pub cgroup: String,
}

impl Layout {
    /// Reads the layout of an earlier start, or chooses one and writes it.
    ///
    /// # Errors
    /// When the stored one is for another number of boards, or nothing is free.
    pub fn load_or_choose(dir: &Path, boards: u8) -> Result<Self> {
        let path = dir.join("cluster.json");
        if let Ok(text) = std::fs::read_to_string(&path) {
            let layout: Self = serde_json::from_str(&text)
                .with_context(|| format!("{} is damaged: remove the folder", path.display()))?;
            ensure!(
                layout.boards.len() == usize::from(boards),
                "this cluster has {} boards, not {boards}: `./x down --purge` first",
                layout.boards.len()
            );
            return Ok(layout);
        }
        let layout = Self::choose(boards)?;
        std::fs::write(&path, serde_json::to_vec_pretty(&layout)?)
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(layout)
    }

    /// Reads the layout of an earlier start.
    ///
    /// # Errors
    /// When there is none.
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join("cluster.json");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("there is no cluster in {}", dir.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))
    }

    fn choose(boards: u8) -> Result<Self> {
        ensure!((1..=9).contains(&boards), "1 to 9 boards, not {boards}");
        // The process id makes two clusters that are chosen at the same moment differ.
        let seed = std::process::id();
        for attempt in 0..64u32 {
            let number = seed
                .wrapping_mul(31)
                .wrapping_add(attempt.wrapping_mul(7919));
            let id = format!("br{:05x}", number & 0xf_ffff);
            let third = (number >> 3) as u8;
            let pods = 64 + (number % 60) as u8;
            let lan = format!("10.201.{third}.0/24");
            let pod_cidr = format!("10.{pods}.0.0/16");
            let taken = link_exists(&id) || in_use(&lan)? || in_use(&pod_cidr)?;
            if taken || !reserve(&format!("lan-{third}")) || !reserve(&format!("pods-{pods}")) {
                continue;
            }
            let host = Ipv4Addr::new(10, 201, third, 1);
            let boards = (1..=boards).map(|n| Board::new(&id, n, host)).collect();
            // The host's address on the bridge does not exist yet; a port that is free on every
            // address is free there.
            let (api_port, mqtt_port) = (free_port(6443)?, free_port(8883)?);
            return Ok(Self {
                id,
                host,
                api_port,
                mqtt_port,
                pod_cidr,
                boards,
            });
        }
        bail!("found no free address range among 10.201.0.0/16 and 10.64.0.0/10")
    }

    /// Address of the API.
    pub fn api(&self) -> SocketAddr {
        (self.host, self.api_port).into()
    }

    /// Address of the broker.
    pub fn mqtt(&self) -> SocketAddr {
        (self.host, self.mqtt_port).into()
    }

    /// Parent of the boards' run directories.
    pub fn run_root(&self) -> String {
        format!("/run/bramble-{}", self.id)
    }
}

/// Takes a name for as long as this process lives, in its network namespace: what was chosen is seen in
/// use by others only when its cluster is up.
fn reserve(name: &str) -> bool {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixListener};
    SocketAddr::from_abstract_name(format!("bramble-test-{name}"))
        .and_then(|name| UnixListener::bind_addr(&name))
        .map(std::mem::forget)
        .is_ok()
}

impl Board {
    fn new(id: &str, number: u8, host: Ipv4Addr) -> Self {
        let [a, b, c, _] = host.octets();
        Self {
            node: format!("board-{number}"),
            netns: format!("{id}-n{number}"),
            link: format!("{id}n{number}"),
            address: Ipv4Addr::new(a, b, c, 10 + number),
            run_dir: format!("/run/bramble-{id}/n{number}"),
            cgroup: format!("bramble-{id}-n{number}"),
        }
    }
}

fn link_exists(name: &str) -> bool {
    Path::new("/sys/class/net").join(name).exists()
}

/// Whether a route of the host covers part of the range (a default route does not count).
fn in_use(range: &str) -> Result<bool> {
    let routes = run(Command::new("ip").args(["-4", "route", "show", "root", range]))?.success()?;
    let inside =
        run(Command::new("ip").args(["-4", "route", "show", "match", range]))?.success()?;
    let covers = inside
        .stdout
        .lines()
        .any(|line| !line.starts_with("default"));
    Ok(covers || !routes.stdout.trim().is_empty())
}

fn free_port(first: u16) -> Result<u16> {
    (first..first + 200)
        .find(|port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok())
        .with_context(|| format!("no port from {first} on is free"))
}
