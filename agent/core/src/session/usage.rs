//! What containers use: told only when it changed enough to mean something, and within an allowance.
//!
//! In: a measurement, every few seconds. Out: the newest one for a report, when a person who looks at
//! `kubectl top` would see another number, and when the allowance has room: a link that is paid for by
//! the byte carries at most [`BURST`] at once and [`PER_HOUR`] an hour of it. Only the newest is kept.

use std::collections::BTreeMap;

use bramble_wire::clock::Millis;
use bramble_wire::object::PodUid;
use bramble_wire::report::{Amounts, Usage};

/// Bytes that may be sent at once.
const BURST: u64 = 16 * 1024;
/// Bytes that may be sent in an hour, and so 96 KiB a day: what an idle node costs an hour stays below 20 kB with it.
const PER_HOUR: u64 = 4 * 1024;
/// Largest measurement in a report, in bytes; of a larger one the pods that use least are left out.
const BYTES_MAX: usize = 12 * 1024;
/// What an envelope adds to a report.
const OVERHEAD: u64 = 300;
const HOUR_MS: u64 = 3_600_000;

/// A change of this many is none.
const CPU_NANO: u64 = 10_000_000;
const MEMORY: u64 = 2 << 20;
/// The same for the board, where something always moves.
const NODE_CPU_NANO: u64 = 50_000_000;
const NODE_MEMORY: u64 = 16 << 20;

#[derive(Debug, Default)]
pub(super) struct Meter {
    now: Option<Usage>,
    /// What the controller has.
    told: Option<Usage>,
    /// Bytes that were sent beyond the allowance's pace, as of a moment.
    spent: u64,
    at: Millis,
}

impl Meter {
    /// The newest measurement.
    pub(super) fn offer(&mut self, mut usage: Usage) {
        let mut bytes = bramble_wire::encode(&usage).len();
        if bytes > BYTES_MAX {
            let used = |pod: &bramble_wire::report::PodUsage| {
                let amounts = pod
                    .containers
                    .iter()
                    .map(|(_, a)| a.cpu_nano + a.memory_bytes);
                std::cmp::Reverse(amounts.sum::<u64>())
            };
            usage.pods.sort_by_key(used);
            while bytes > BYTES_MAX {
                let Some(pod) = usage.pods.pop() else { break };
                bytes -= bramble_wire::encode(&pod).len();
            }
        }
        self.now = Some(usage);
    }

    /// When the newest may be told; never while it says nothing new.
    pub(super) fn due(&self, now: Millis) -> Millis {
        let Some(usage) = self.now.as_ref().filter(|usage| self.is_news(usage)) else {
            return Millis::NEVER;
        };
        let over = (self.spent_at(now) + cost(usage)).saturating_sub(BURST);
        now + over.saturating_mul(HOUR_MS).div_ceil(PER_HOUR)
    }

    /// The newest, for a report that is sent now; its bytes are spent.
    pub(super) fn take(&mut self, now: Millis) -> Option<Usage> {
        if self.due(now) > now {
            return None;
        }
        let usage = self.now.clone()?;
        self.spent = self.spent_at(now) + cost(&usage);
        self.at = now;
        Some(usage)
    }

    /// The controller has this one.
    pub(super) fn told(&mut self, usage: Usage) {
        self.told = Some(usage);
    }

    /// Nobody has any: a new session. What was spent stays spent.
    pub(super) fn forget(&mut self) {
        self.told = None;
    }

    fn spent_at(&self, now: Millis) -> u64 {
        let earned = now.since(self.at).saturating_mul(PER_HOUR) / HOUR_MS;
        self.spent.saturating_sub(earned)
    }

    fn is_news(&self, usage: &Usage) -> bool {
        let Some(told) = &self.told else { return true };
        let by_name = |usage: &Usage| -> BTreeMap<(PodUid, String), Amounts> {
            let pods = usage.pods.iter();
            let all = pods.flat_map(|pod| pod.containers.iter().map(|c| (pod.uid, c.clone())));
            all.map(|(uid, (name, amounts))| ((uid, name), amounts))
                .collect()
        };
        let before = by_name(told);
        moved(told.node, usage.node, NODE_CPU_NANO, NODE_MEMORY)
            || (by_name(usage).iter()).any(|(container, amounts)| match before.get(container) {
                Some(before) => moved(*before, *amounts, CPU_NANO, MEMORY),
                None => true,
            })
    }
}

fn cost(usage: &Usage) -> u64 {
    OVERHEAD + bramble_wire::encode(usage).len() as u64
}

/// A fifth of the processor time or a tenth of the memory, unless that is next to nothing.
fn moved(before: Amounts, after: Amounts, cpu_nano: u64, memory: u64) -> bool {
    let cpu = before.cpu_nano.abs_diff(after.cpu_nano);
    let bytes = before.memory_bytes.abs_diff(after.memory_bytes);
    cpu > cpu_nano.max(before.cpu_nano / 5) || bytes > memory.max(before.memory_bytes / 10)
}

#[cfg(test)]
mod tests {
    use bramble_wire::report::PodUsage;

    use super::*;

    const MIB: u64 = 1 << 20;

    /// A board with a container `c` in each of some pods, in milli-cores and MiB.
    fn usage(pods: &[(u8, u64, u64)]) -> Usage {
        let amounts = |cpu: u64, memory: u64| Amounts {
            cpu_nano: cpu * 1_000_000,
            memory_bytes: memory * MIB,
        };
        Usage {
            node: amounts(100, 100),
            pods: (pods.iter())
                .map(|(uid, cpu, memory)| PodUsage {
                    uid: PodUid([*uid; 16]),
                    containers: vec![("c".into(), amounts(*cpu, *memory))],
                })
                .collect(),
            ..Usage::default()
        }
    }

    #[test]
    fn only_what_a_person_would_see_is_news() {
        let before = usage(&[(1, 5, 10), (2, 200, 100)]);
        for (after, news) in [
            (before.clone(), false),
            // Small ones may move by a little, large ones by a part.
            (usage(&[(1, 14, 11), (2, 230, 109)]), false),
            (usage(&[(1, 16, 10), (2, 200, 100)]), true),
            (usage(&[(1, 5, 13), (2, 200, 100)]), true),
            (usage(&[(1, 5, 10), (2, 250, 100)]), true),
            (usage(&[(1, 5, 10), (2, 200, 111)]), true),
            // A new container is; that one is gone shows without.
            (usage(&[(1, 5, 10), (2, 200, 100), (3, 0, 0)]), true),
            (usage(&[(1, 5, 10)]), false),
            (
                Usage {
                    node: Amounts {
                        cpu_nano: 151_000_000,
                        ..before.node
                    },
                    ..before.clone()
                },
                true,
            ),
        ] {
            let mut meter = Meter::default();
            meter.told(before.clone());
            meter.offer(after.clone());
            let now = Millis(1000);
            assert_eq!(meter.take(now).is_some(), news, "{after:?}");
        }
        let mut meter = Meter::default();
        meter.told(before.clone());
        meter.forget();
        meter.offer(before);
        assert!(
            meter.take(Millis(0)).is_some(),
            "a new session knows nothing"
        );
    }

    #[test]
    fn a_board_whose_usage_always_moves_costs_a_bounded_number_of_bytes() {
        let mut meter = Meter::default();
        let mut bytes = 0;
        for second in (0..24 * 3600).step_by(15) {
            let now = Millis(second * 1000);
            let cpu = if second % 30 == 0 { 10 } else { 900 };
            meter.offer(usage(&[(1, cpu, 10), (2, cpu, 20)]));
            if let Some(sent) = meter.take(now) {
                bytes += cost(&sent);
                meter.told(sent);
            }
        }
        let most = BURST + 24 * PER_HOUR;
        assert!(bytes <= most && bytes > most / 2, "{bytes} of {most}");
    }

    #[test]
    fn it_says_when_there_is_room_again() {
        let mut meter = Meter {
            spent: BURST,
            ..Meter::default()
        };
        meter.offer(usage(&[(1, 5, 10)]));
        let now = Millis(0);
        let due = meter.due(now);
        assert!(due > now && meter.take(now).is_none());
        assert!(meter.take(due).is_some());
    }

    #[test]
    fn a_large_measurement_is_cut_where_least_is_used() {
        let long = "n".repeat(63);
        let mut large = usage(&[]);
        large.pods = (0..400_u16)
            .map(|n| PodUsage {
                uid: PodUid([n as u8; 16]),
                containers: vec![(
                    long.clone(),
                    Amounts {
                        cpu_nano: u64::from(n),
                        memory_bytes: 0,
                    },
                )],
            })
            .collect();
        let mut meter = Meter::default();
        meter.offer(large);
        let kept = meter.take(Millis(0)).unwrap();
        assert!(bramble_wire::encode(&kept).len() <= BYTES_MAX);
        assert_eq!(kept.pods[0].containers[0].1.cpu_nano, 399);
    }
}
