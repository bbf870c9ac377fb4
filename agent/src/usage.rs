//! What the board and its containers use, from the cgroups of the kernel, v1 or v2.
//!
//! In: which containers run, every [`INTERVAL`] while a controller listens. Out: the newest
//! measurement on a watch channel, whether it is worth telling or not: the session decides that.
//! Processor time is the difference between two looks, so a container is measured from the second
//! look on. Memory is the working set, as upstream's: what is charged, less file pages that could be
//! dropped. One task owns the [`Sampler`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;
use std::time::Duration;

use bramble_agent_core::session::Observation;
use bramble_agent_core::time::Moment;
use bramble_wire::object::PodUid;
use bramble_wire::report::{Amounts, ContainerState, PodUsage, Usage};
use tokio::sync::watch;

use crate::clock;
use crate::facts::pressure::meminfo;
use crate::runtime::cgroup::Cgroups;

/// Between two looks.
pub const INTERVAL: Duration = Duration::from_secs(15);
/// From the first look at a container to the second: whoever starts one looks at it soon.
const SOON: Duration = Duration::from_secs(2);
/// Looks that are closer together say nothing of the processor.
const WINDOW_MIN_MS: u64 = 1_000;
/// The kernel counts the board's processor time in hundredths of a second.
const TICK_NANO: u64 = 10_000_000;

/// A container that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Its pod.
    pub uid: PodUid,
    /// Its name.
    pub name: String,
    /// The id of this life, as it is reported.
    pub id: String,
}

/// Processor time up to a moment.
#[derive(Debug, Clone, Copy)]
struct Spent {
    nano: u64,
    at_ms: u64,
}

impl Spent {
    /// Billionths of a core since an earlier look.
    fn rate(self, before: Self) -> u64 {
        let window = self.at_ms.saturating_sub(before.at_ms).max(1);
        let nano = u128::from(self.nano.saturating_sub(before.nano));
        u64::try_from(nano * 1000 / u128::from(window)).unwrap_or(u64::MAX)
    }
}

/// Measures; remembers the last look at each container that runs.
#[derive(Debug)]
pub struct Sampler {
    cgroups: Cgroups,
    board: Option<Spent>,
    containers: HashMap<String, Spent>,
    /// Something was looked at for the first time.
    fresh: bool,
}

impl Sampler {
    /// Of the containers in these cgroups.
    pub fn new(cgroups: Cgroups) -> Self {
        Self {
            cgroups,
            board: None,
            containers: HashMap::new(),
            fresh: false,
        }
    }

    /// Looks. None when there is nothing to compare with, or the last look was a moment ago.
    pub fn sample(&mut self, running: &[Running], now: Moment) -> Option<Usage> {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let board = Spent {
            nano: busy_nano(&stat),
            at_ms: now.boot_ms,
        };
        let before = self.board;
        if before.is_some_and(|before| now.boot_ms - before.at_ms < WINDOW_MIN_MS) {
            return None;
        }
        self.board = Some(board);
        self.fresh = before.is_none();
        let mut pods: BTreeMap<PodUid, Vec<(String, Amounts)>> = BTreeMap::new();
        let mut seen = HashMap::new();
        for container in running {
            let Some((nano, memory_bytes)) = self.read(container) else {
                continue;
            };
            let spent = Spent {
                nano,
                at_ms: now.boot_ms,
            };
            if let Some(before) = self.containers.get(&container.id) {
                let amounts = Amounts {
                    cpu_nano: spent.rate(*before),
                    memory_bytes,
                };
                let pod = pods.entry(container.uid).or_default();
                pod.push((container.name.clone(), amounts));
            }
            self.fresh |= !self.containers.contains_key(&container.id);
            seen.insert(container.id.clone(), spent);
        }
        self.containers = seen;
        let before = before?;
        let window_ms = now.boot_ms - before.at_ms;
        let table = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let pods = pods.into_iter();
        Some(Usage {
            at: now.unix,
            window_ms: u32::try_from(window_ms).unwrap_or(u32::MAX),
            node: Amounts {
                cpu_nano: board.rate(before),
                memory_bytes: board_memory(&table),
            },
            pods: pods
                .map(|(uid, containers)| PodUsage { uid, containers })
                .collect(),
        })
    }

    fn read(&self, container: &Running) -> Option<(u64, u64)> {
        let uid = container.uid.to_string();
        // What is reported is the runtime's id behind the pod's; cgroups have only the former.
        let id = container.id.strip_prefix(&format!("{uid}-"));
        let id = id.unwrap_or(&container.id);
        let dir = |controller: &str| self.cgroups.of_container(controller, &uid, id);
        Some((cpu_nano(&dir("cpuacct")?)?, working_set(&dir("memory")?)?))
    }
}

/// Processor time of a cgroup.
fn cpu_nano(dir: &Path) -> Option<u64> {
    if let Ok(text) = fs::read_to_string(dir.join("cpu.stat"))
        && let Some(us) = value(&text, "usage_usec")
    {
        return Some(us.saturating_mul(1000));
    }
    number(&dir.join("cpuacct.usage"))
}

/// Memory of a cgroup, less what is only kept because nobody wants the room.
fn working_set(dir: &Path) -> Option<u64> {
    let stat = fs::read_to_string(dir.join("memory.stat")).ok()?;
    let (charged, droppable) = match number(&dir.join("memory.current")) {
        Some(charged) => (charged, value(&stat, "inactive_file")),
        None => (
            number(&dir.join("memory.usage_in_bytes"))?,
            value(&stat, "total_inactive_file"),
        ),
    };
    Some(charged.saturating_sub(droppable.unwrap_or(0)))
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// A line `name value`.
fn value(table: &str, name: &str) -> Option<u64> {
    let line = |line: &str| {
        line.strip_prefix(name)?
            .strip_prefix(' ')?
            .trim()
            .parse()
            .ok()
    };
    table.lines().find_map(line)
}

/// Of the first line of `/proc/stat`: everything but idle, waiting for the disk, and guests, which
/// are in the time of users already.
fn busy_nano(stat: &str) -> u64 {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "));
    let fields = line.unwrap_or_default().split_whitespace();
    let fields = fields.map(|field| field.parse::<u64>().unwrap_or(0));
    let busy = fields
        .enumerate()
        .filter(|(at, _)| matches!(at, 0..=2 | 5..=7));
    busy.map(|(_, ticks)| ticks)
        .sum::<u64>()
        .saturating_mul(TICK_NANO)
}

/// The board's working set, as of the root cgroup.
fn board_memory(table: &str) -> u64 {
    let of = |name: &str| meminfo(table, name);
    let charged = of("MemTotal").saturating_sub(of("MemFree"));
    charged.saturating_sub(of("Inactive(file)"))
}

/// What runs, by the newest observation.
fn running(observation: &Observation) -> Vec<Running> {
    let mut list = Vec::new();
    for (uid, pod) in &observation.pods {
        let all = pod.init_containers.iter().chain(&pod.containers);
        for container in all.chain(&pod.ephemeral_containers) {
            let runs = matches!(container.state, ContainerState::Running { .. });
            if runs && !container.container_id.is_empty() {
                list.push(Running {
                    uid: *uid,
                    name: container.name.clone(),
                    id: container.container_id.clone(),
                });
            }
        }
    }
    list
}

/// Measures for as long as the agent runs, while a controller listens.
pub async fn follow(
    mut sampler: Sampler,
    mut observations: watch::Receiver<Observation>,
    mut welcomed: watch::Receiver<bool>,
    sender: watch::Sender<Option<Usage>>,
) {
    loop {
        if welcomed.wait_for(|welcomed| *welcomed).await.is_err() {
            return;
        }
        let list = running(&observations.borrow_and_update());
        let seen: BTreeSet<String> = list.iter().map(|one| one.id.clone()).collect();
        let look = tokio::task::spawn_blocking(move || {
            let usage = sampler.sample(&list, clock::now());
            (sampler, usage)
        });
        let Ok((back, usage)) = look.await else {
            return;
        };
        sampler = back;
        if usage.is_some() {
            sender.send_replace(usage);
        }
        if sampler.fresh {
            tokio::time::sleep(SOON).await;
            continue;
        }
        let new = async {
            while observations.changed().await.is_ok() {
                let list = running(&observations.borrow_and_update());
                if list.iter().any(|container| !seen.contains(&container.id)) {
                    return;
                }
            }
            std::future::pending().await
        };
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = new => tokio::time::sleep(SOON).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use bramble_wire::report::UnixMs;

    use super::*;

    fn cgroup(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    #[test]
    fn both_kinds_of_cgroups_are_read() {
        let v2 = cgroup(&[
            ("cpu.stat", "usage_usec 1500\nuser_usec 1000\n"),
            ("memory.current", "5000\n"),
            (
                "memory.stat",
                "anon 100\ninactive_file 2000\nactive_file 9\n",
            ),
        ]);
        assert_eq!(cpu_nano(v2.path()), Some(1_500_000));
        assert_eq!(working_set(v2.path()), Some(3000));
        let v1 = cgroup(&[
            // The processor's own statistics of v1 have another form.
            ("cpu.stat", "nr_periods 0\n"),
            ("cpuacct.usage", "77\n"),
            ("memory.usage_in_bytes", "5000\n"),
            ("memory.stat", "inactive_file 1\ntotal_inactive_file 6000\n"),
        ]);
        assert_eq!(cpu_nano(v1.path()), Some(77));
        assert_eq!(working_set(v1.path()), Some(0), "never below nothing");
        assert_eq!(cpu_nano(Path::new("/nowhere")), None);
        assert_eq!(working_set(Path::new("/nowhere")), None);
    }

    #[test]
    fn the_rate_is_over_the_time_between_two_looks() {
        let before = Spent {
            nano: 1_000_000_000,
            at_ms: 10_000,
        };
        let after = Spent {
            nano: 4_000_000_000,
            at_ms: 25_000,
        };
        assert_eq!(after.rate(before), 200_000_000);
        // A counter that went back is no usage.
        assert_eq!(before.rate(after), 0);
    }

    #[test]
    fn the_board_is_busy_without_idling() {
        let stat = "cpu  1 2 4 1000 5000 8 16 32 64 128\ncpu0 9 9 9\n";
        assert_eq!(busy_nano(stat), 63 * TICK_NANO);
        let table = "MemTotal: 100 kB\nMemFree: 40 kB\nInactive(file): 20 kB\n";
        assert_eq!(board_memory(table), 40 * 1024);
        assert_eq!((busy_nano(""), board_memory("")), (0, 0));
    }

    #[test]
    fn this_board_is_measured_at_the_second_look() {
        let mut sampler = Sampler::new(Cgroups::discover("none").unwrap());
        let gone = Running {
            uid: PodUid([1; 16]),
            name: "c".into(),
            id: "gone".into(),
        };
        let at = |ms: u64| Moment::new(ms, 0);
        let list = std::slice::from_ref(&gone);
        assert_eq!(sampler.sample(list, at(1_000)), None);
        assert_eq!(sampler.sample(list, at(1_500)), None, "too soon");
        let usage = sampler.sample(list, at(16_000)).unwrap();
        assert_eq!((usage.window_ms, usage.at), (15_000, UnixMs(0)));
        assert!(usage.node.memory_bytes > 1 << 20 && usage.pods.is_empty());
    }
}
