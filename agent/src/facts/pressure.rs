//! Whether the board runs short of memory, disk or processes.
//!
//! In: readings, every few seconds. Out: the conditions of the Node, with the kubelet's reasons. Pure
//! but for [`Readings::take`]: the clock is an argument. A pressure begins at once and ends when it
//! was not seen for [`CALM_MS`], as the kubelet's `eviction-pressure-transition-period` has it, so
//! that a board on the edge does not tell of it every minute.

use std::fs;
use std::path::Path;

use bramble_wire::report::Condition;

/// How long a pressure must not have been seen.
const CALM_MS: u64 = 5 * 60_000;
/// Memory that must be available: the kubelet's 100 MiB, or this part of a small board's.
const MEMORY_MIN: u64 = 100 << 20;
const MEMORY_PART: u64 = 12;
/// Disk that must be available: the kubelet's tenth, but of a large disk no more than this.
const DISK_MIN: u64 = 2 << 30;

/// What the board has and has left; 0 in all means that it is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Readings {
    /// Memory, bytes.
    pub memory: u64,
    /// Memory that can be had without swapping, bytes.
    pub memory_left: u64,
    /// File system of the data directory, bytes.
    pub disk: u64,
    /// What is left of it to others than root.
    pub disk_left: u64,
    /// Its inodes.
    pub inodes: u64,
    /// Those left.
    pub inodes_left: u64,
    /// Most processes and threads.
    pub tasks: u64,
    /// How many more there may be.
    pub tasks_left: u64,
}

impl Readings {
    /// Reads them; what can't be read is not known.
    pub fn take(data_dir: &Path) -> Self {
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let disk = rustix::fs::statvfs(data_dir).ok();
        let disk = |of: fn(&rustix::fs::StatVfs) -> u64| disk.as_ref().map_or(0, of);
        let number =
            |path: &str| -> Option<u64> { fs::read_to_string(path).ok()?.trim().parse().ok() };
        let most = [
            number("/proc/sys/kernel/pid_max"),
            number("/proc/sys/kernel/threads-max"),
        ];
        let tasks = most.into_iter().flatten().min().unwrap_or(0);
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Self {
            memory: meminfo(&memory, "MemTotal"),
            memory_left: meminfo(&memory, "MemAvailable"),
            disk: disk(|stat| stat.f_blocks.saturating_mul(stat.f_frsize)),
            disk_left: disk(|stat| stat.f_bavail.saturating_mul(stat.f_frsize)),
            inodes: disk(|stat| stat.f_files),
            inodes_left: disk(|stat| stat.f_favail),
            tasks,
            tasks_left: tasks.saturating_sub(running_tasks(&load)),
        }
    }

    fn lacks_memory(&self) -> bool {
        let least = MEMORY_MIN.min(self.memory / MEMORY_PART);
        self.memory > 0 && self.memory_left < least
    }

    fn lacks_disk(&self) -> bool {
        let bytes = self.disk > 0 && self.disk_left < (self.disk / 10).min(DISK_MIN);
        // File systems without a fixed number of inodes say 0.
        bytes || (self.inodes > 0 && self.inodes_left < self.inodes / 20)
    }

    fn lacks_tasks(&self) -> bool {
        self.tasks > 0 && self.tasks_left < self.tasks / 20
    }
}

/// A value of `/proc/meminfo`, bytes; 0 when it is not there.
pub(crate) fn meminfo(table: &str, name: &str) -> u64 {
    let value = |line: &str| {
        let rest = line.strip_prefix(name)?.strip_prefix(':')?;
        rest.split_whitespace().next()?.parse::<u64>().ok()
    };
    table.lines().find_map(value).map_or(0, |kib| kib * 1024)
}

/// The fourth field of `/proc/loadavg`, `2/345`, has all tasks behind the stroke.
fn running_tasks(load: &str) -> u64 {
    let field = load.split_whitespace().nth(3);
    let all = field.and_then(|field| field.split_once('/')?.1.parse().ok());
    all.unwrap_or(0)
}

/// A pressure that is on, or was seen a while ago.
#[derive(Debug, Default)]
struct Level {
    seen_ms: Option<u64>,
}

impl Level {
    fn observe(&mut self, lacks: bool, now_ms: u64) -> bool {
        if lacks {
            self.seen_ms = Some(now_ms);
        }
        if self
            .seen_ms
            .is_some_and(|seen| now_ms.saturating_sub(seen) >= CALM_MS)
        {
            self.seen_ms = None;
        }
        self.seen_ms.is_some()
    }
}

/// The pressures of a board.
#[derive(Debug, Default)]
pub struct Pressure {
    memory: Level,
    disk: Level,
    tasks: Level,
}

impl Pressure {
    /// The conditions after these readings.
    pub fn observe(&mut self, readings: &Readings, now_ms: u64) -> Vec<Condition> {
        let memory = self.memory.observe(readings.lacks_memory(), now_ms);
        let disk = self.disk.observe(readings.lacks_disk(), now_ms);
        let tasks = self.tasks.observe(readings.lacks_tasks(), now_ms);
        let condition = |kind: &str, is: bool, yes: (&str, &str), no: (&str, &str)| {
            let (reason, message) = if is { yes } else { no };
            Condition {
                kind: kind.into(),
                status: Some(is),
                reason: reason.into(),
                message: message.into(),
            }
        };
        vec![
            condition(
                "MemoryPressure",
                memory,
                (
                    "KubeletHasInsufficientMemory",
                    "kubelet has insufficient memory available",
                ),
                (
                    "KubeletHasSufficientMemory",
                    "kubelet has sufficient memory available",
                ),
            ),
            condition(
                "DiskPressure",
                disk,
                ("KubeletHasDiskPressure", "kubelet has disk pressure"),
                ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            ),
            condition(
                "PIDPressure",
                tasks,
                (
                    "KubeletHasInsufficientPID",
                    "kubelet has insufficient PID available",
                ),
                (
                    "KubeletHasSufficientPID",
                    "kubelet has sufficient PID available",
                ),
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn calm() -> Readings {
        Readings {
            memory: 480 * MIB,
            memory_left: 100 * MIB,
            disk: 1000,
            disk_left: 500,
            inodes: 1000,
            inodes_left: 500,
            tasks: 4000,
            tasks_left: 3800,
        }
    }

    /// The kinds that are on.
    fn on(pressure: &mut Pressure, readings: Readings, now_ms: u64) -> Vec<String> {
        let conditions = pressure.observe(&readings, now_ms);
        assert_eq!(conditions.len(), 3);
        let on = conditions.into_iter().filter(|c| c.status == Some(true));
        on.map(|condition| condition.kind).collect()
    }

    #[test]
    fn each_has_its_threshold() {
        let none: [&str; 0] = [];
        for (change, want) in [
            ((|_| {}) as fn(&mut Readings), &none[..]),
            (|r| r.memory_left = 41 * MIB, &none),
            (|r| r.memory_left = 39 * MIB, &["MemoryPressure"]),
            // A large board keeps 100 MiB, not a twelfth.
            (|r| (r.memory, r.memory_left) = (8 << 30, 120 * MIB), &none),
            (
                |r| (r.memory, r.memory_left) = (8 << 30, 90 * MIB),
                &["MemoryPressure"],
            ),
            (|r| r.disk_left = 99, &["DiskPressure"]),
            (|r| r.inodes_left = 49, &["DiskPressure"]),
            (|r| (r.inodes, r.inodes_left) = (0, 0), &none),
            (|r| r.tasks_left = 199, &["PIDPressure"]),
            // Nothing is known.
            (|r| *r = Readings::default(), &none),
        ] {
            let mut readings = calm();
            change(&mut readings);
            assert_eq!(
                on(&mut Pressure::default(), readings, 0),
                want,
                "{readings:?}"
            );
        }
    }

    #[test]
    fn it_ends_when_it_was_not_seen_for_a_while() {
        let mut pressure = Pressure::default();
        let short = Readings {
            memory_left: MIB,
            ..calm()
        };
        assert_eq!(on(&mut pressure, short, 1000), ["MemoryPressure"]);
        assert_eq!(on(&mut pressure, calm(), 200_000), ["MemoryPressure"]);
        // Seen again: the time starts anew.
        assert_eq!(on(&mut pressure, short, 250_000), ["MemoryPressure"]);
        assert_eq!(on(&mut pressure, calm(), 500_000), ["MemoryPressure"]);
        assert!(on(&mut pressure, calm(), 250_000 + CALM_MS).is_empty());
    }

    #[test]
    fn tables_are_read() {
        assert_eq!(
            meminfo("MemTotal:  10 kB\nMemAvailable: 3 kB\n", "MemAvailable"),
            3072
        );
        assert_eq!(meminfo("", "MemTotal"), 0);
        assert_eq!(running_tasks("0.1 0.2 0.3 2/345 999\n"), 345);
        let readings = Readings::take(Path::new("/"));
        assert!(readings.memory_left > 0 && readings.memory_left < readings.memory);
        assert!(readings.disk_left > 0 && readings.tasks_left > 0);
    }
}
