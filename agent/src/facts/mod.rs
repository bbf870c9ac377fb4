//! Facts of the board, for the Node object.
//!
//! In: the board, looked at now and then, and its images when they change. Out: [`NodeFacts`] on a
//! watch channel, sent only when something in them changed; nothing in them moves by itself. One
//! task owns the looking ([`follow`]).

mod addresses;
pub mod hardware;
pub mod pressure;

use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bramble_wire::limits::NODE_IMAGES_MAX;
use bramble_wire::report::{Condition, NodeFacts, NodeImage};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock;
use crate::image::{ImageInfo, Store, platform};
use crate::state;
pub use addresses::own as own_addresses;
use pressure::{Pressure, Readings, meminfo};

/// Most pods of a node; its range of addresses holds 253.
const PODS: u32 = 110;
/// How often all of the board is looked at again.
const INTERVAL: Duration = Duration::from_secs(300);
/// Half of the first pause while the board has no address; doubles up to [`INTERVAL`].
const FIRST: Duration = Duration::from_secs(2);
/// How often memory, disk and processes are.
const PRESSURE_INTERVAL: Duration = Duration::from_secs(15);
/// Changes of images gather for so long.
const IMAGES_GATHER: Duration = Duration::from_secs(2);
/// Most names of an image that are told, as upstream.
const NAMES_MAX: usize = 5;

/// What is kept for the board itself: the system, the agent, the page cache of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reserved {
    /// Processor, thousandths of a core; `None`: a tenth of a core.
    pub cpu_milli: Option<u64>,
    /// Memory, bytes; `None`: an eighth, from 48 to 256 MiB (60 MiB of a board with 480).
    pub memory_bytes: Option<u64>,
    /// Disk, bytes; `None`: a tenth, at most 2 GiB.
    pub storage_bytes: Option<u64>,
}

impl Reserved {
    fn fill(&self, facts: &mut NodeFacts) {
        const MIB: u64 = 1 << 20;
        let memory = (facts.memory_bytes / 8).clamp(48 * MIB, 256 * MIB);
        let storage = (facts.storage_bytes / 10).min(2048 * MIB);
        let cpu = self.cpu_milli.unwrap_or(100);
        facts.reserved_cpu_milli = cpu.min(facts.cpu_milli);
        facts.reserved_memory_bytes = (self.memory_bytes.unwrap_or(memory)).min(facts.memory_bytes);
        facts.reserved_storage_bytes =
            (self.storage_bytes.unwrap_or(storage)).min(facts.storage_bytes);
    }
}

/// Where to look.
#[derive(Debug, Clone)]
pub struct Board {
    /// Its file system is the node's.
    pub data_dir: PathBuf,
    /// The pods' bridge: its address is no address of the board.
    pub bridge: String,
    /// What is kept.
    pub reserved: Reserved,
    /// Who the board is where there is no `/etc/machine-id`.
    pub own_id: String,
}

/// Reads what needs no network and no task. `towards` is where the controller is: the source address
/// of a packet to it is the node's address. Nothing is sent.
pub fn observe(board: &Board, towards: Option<SocketAddr>) -> NodeFacts {
    let kernel = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let machine_id = Some(line("/etc/machine-id")).filter(|id| !id.is_empty());
    let mut facts = NodeFacts {
        architecture: architecture().into(),
        kernel: text(kernel.release()),
        os_image: os_image(),
        machine_id: machine_id.unwrap_or_else(|| board.own_id.clone()),
        boot_id: line("/proc/sys/kernel/random/boot_id"),
        agent_version: concat!("v", env!("CARGO_PKG_VERSION")).into(),
        runtime_version: concat!("bramble://", env!("CARGO_PKG_VERSION")).into(),
        address: towards.and_then(source_address),
        hostname: text(kernel.nodename()),
        cpu_milli: std::thread::available_parallelism().map_or(1000, |n| n.get() as u64 * 1000),
        memory_bytes: meminfo(&memory, "MemTotal"),
        pods: PODS,
        storage_bytes: rustix::fs::statvfs(&board.data_dir)
            .map_or(0, |stat| stat.f_blocks.saturating_mul(stat.f_frsize)),
        platforms: platform::runs_on(&platform::of_machine(&text(kernel.machine()))),
        ..NodeFacts::default()
    };
    board.reserved.fill(&mut facts);
    facts
}

/// What [`follow`] looks at.
pub struct Sources {
    /// The board.
    pub board: Board,
    /// Where the controller is, when that is known; asked anew each time.
    pub towards: Box<dyn Fn() -> Option<SocketAddr> + Send + Sync>,
    /// Images of the board.
    pub images: Arc<Store>,
}

/// Looks at the facts for as long as the agent runs.
pub async fn follow(sources: Sources, sender: watch::Sender<NodeFacts>) {
    let Sources {
        board,
        towards,
        images,
    } = sources;
    let towards: Arc<dyn Fn() -> Option<SocketAddr> + Send + Sync> = towards.into();
    let mut changes = images.changes();
    let mut pressure = Pressure::default();
    let mut pause = FIRST;
    let mut whole_due = Instant::now();
    let mut images_changed = true;
    loop {
        let data_dir = board.data_dir.clone();
        let look = move || (Readings::take(&data_dir), damaged(&data_dir));
        let looked = tokio::task::spawn_blocking(look).await.ok();
        let (readings, damaged) = looked.unzip();
        let mut conditions = pressure.observe(&readings.unwrap_or_default(), clock::boot_ms());
        conditions.push(network());
        conditions.extend(damaged);
        let mut whole = None;
        if whole_due <= Instant::now() {
            let (towards, look_at) = (Arc::clone(&towards), board.clone());
            let look = move || observe(&look_at, towards());
            if let Ok(mut facts) = tokio::task::spawn_blocking(look).await {
                facts.addresses = addresses::own(&board.bridge).await;
                // A board without a network asks for the name ever more seldom.
                pause = match facts.address.is_some() {
                    true => INTERVAL,
                    false => (pause * 2).min(INTERVAL),
                };
                whole = Some(facts);
            }
            whole_due = Instant::now() + pause;
        }
        let images = std::mem::take(&mut images_changed).then(|| largest(images.list()));
        sender.send_if_modified(|old| {
            let mut new = whole.unwrap_or_else(|| old.clone());
            new.images = images.unwrap_or_else(|| old.images.clone());
            new.conditions = conditions;
            // Without a network the last address is the best guess.
            new.address = new.address.or(old.address);
            lead(&mut new);
            let changed = *old != new;
            *old = new;
            changed
        });
        let next = whole_due.min(Instant::now() + PRESSURE_INTERVAL);
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            Ok(()) = changes.changed() => {
                tokio::time::sleep(IMAGES_GATHER).await;
                changes.mark_unchanged();
                images_changed = true;
            }
        }
    }
}

/// The node's address is the first of its addresses.
fn lead(facts: &mut NodeFacts) {
    if let Some(address) = facts.address {
        facts.addresses.retain(|other| *other != address);
        facts.addresses.insert(0, address);
    }
}

/// Nobody else sets the node's network up: it is there when its first pod needs it.
fn network() -> Condition {
    Condition {
        kind: "NetworkUnavailable".into(),
        status: Some(false),
        reason: "BrambleNetworkReady".into(),
        message: "the node connects its pods itself".into(),
    }
}

/// Whether the state log was damaged and nobody has looked at what is kept of it.
fn damaged(data_dir: &Path) -> Condition {
    let kept = state::damaged(&data_dir.join(state::FOLDER));
    let (reason, message) = match kept.last() {
        Some(last) => (
            "StateWasDamaged",
            format!(
                "the agent's state could not be read whole and it goes on with what could: look at the \
                 card, then remove {}",
                last.display()
            ),
        ),
        None => ("StateIsWhole", "the agent's state was read whole".into()),
    };
    Condition {
        kind: "StateDamaged".into(),
        status: Some(!kept.is_empty()),
        reason: reason.into(),
        message,
    }
}

/// The largest images, as upstream tells of them.
fn largest(mut list: Vec<ImageInfo>) -> Vec<NodeImage> {
    list.sort_by(|a, b| (b.size_bytes, &a.id.0).cmp(&(a.size_bytes, &b.id.0)));
    list.truncate(NODE_IMAGES_MAX);
    let image = |info: ImageInfo| {
        let mut names = info.references;
        if names.is_empty() {
            names.push(info.id.0);
        }
        names.truncate(NAMES_MAX);
        NodeImage {
            names,
            size_bytes: info.size_bytes,
        }
    };
    list.into_iter().map(image).collect()
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

fn line(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path)
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::ImageId;

    const MIB: u64 = 1 << 20;

    fn board() -> Board {
        Board {
            data_dir: "/".into(),
            bridge: "bramble0".into(),
            reserved: Reserved::default(),
            own_id: "own".into(),
        }
    }

    #[test]
    fn this_machine_has_facts() {
        let towards = "127.0.0.1:1".parse().ok();
        let facts = observe(&board(), towards);
        assert_eq!(facts.address, Some([127, 0, 0, 1]));
        assert!(facts.memory_bytes > MIB && facts.storage_bytes > 0);
        assert!(facts.cpu_milli >= 1000 && !facts.kernel.is_empty());
        assert!(!facts.machine_id.is_empty() && !facts.boot_id.is_empty());
        assert!(!facts.platforms.is_empty());
        assert_eq!(observe(&board(), None).address, None);
        assert_eq!(observe(&board(), towards), facts, "nothing moves by itself");
    }

    #[test]
    fn a_small_board_keeps_little_for_itself() {
        let kept = |reserved: Reserved, memory_mib: u64, storage_mib: u64| {
            let mut facts = NodeFacts {
                cpu_milli: 1000,
                memory_bytes: memory_mib * MIB,
                storage_bytes: storage_mib * MIB,
                ..NodeFacts::default()
            };
            reserved.fill(&mut facts);
            (
                facts.reserved_cpu_milli,
                facts.reserved_memory_bytes / MIB,
                facts.reserved_storage_bytes / MIB,
            )
        };
        let none = Reserved::default();
        assert_eq!(kept(none, 480, 8000), (100, 60, 800));
        assert_eq!(kept(none, 256, 1000), (100, 48, 100));
        assert_eq!(kept(none, 8000, 64_000), (100, 256, 2048));
        let flags = Reserved {
            cpu_milli: Some(5000),
            memory_bytes: Some(0),
            storage_bytes: Some(7 * MIB),
        };
        assert_eq!(kept(flags, 480, 8000), (1000, 0, 7));
    }

    #[test]
    fn the_largest_images_are_told_by_a_few_names() {
        let image = |n: u64, names: usize| ImageInfo {
            id: ImageId(format!("sha256:{n:03}")),
            references: (0..names).map(|i| format!("r{i}")).collect(),
            size_bytes: n,
        };
        let told = largest(
            (0..60)
                .map(|n| image(n, if n == 59 { 9 } else { 0 }))
                .collect(),
        );
        assert_eq!(told.len(), NODE_IMAGES_MAX);
        assert_eq!((told[0].size_bytes, told[0].names.len()), (59, NAMES_MAX));
        assert_eq!(told[1].names, ["sha256:058"]);
    }

    #[test]
    fn the_address_towards_the_controller_leads() {
        let mut facts = NodeFacts {
            address: Some([10, 0, 0, 2]),
            addresses: vec![[10, 0, 0, 1], [10, 0, 0, 2]],
            ..NodeFacts::default()
        };
        lead(&mut facts);
        assert_eq!(facts.addresses, [[10, 0, 0, 2], [10, 0, 0, 1]]);
    }
}
