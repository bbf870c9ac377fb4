//! Boards that are alone for a long time: what they write and keep must not grow with it.

use std::collections::BTreeMap;

use bramble_wire::object::{PodUid, RestartPolicy};

use super::rng::Rng;
use super::stats::Fault;
use super::world::World;
use super::{Options, Violation};

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

/// What one day cost a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Day {
    /// Bytes of records for the state log.
    pub bytes: u64,
    /// Writes that were waited for.
    pub hard: u64,
    /// Bytes of the state at the end of the day.
    pub state: usize,
    /// Messages that wait for the link at the end of the day.
    pub waiting: usize,
}

/// What came of it.
#[derive(Debug)]
pub struct Alone {
    /// By day, of all nodes together.
    pub days: Vec<Day>,
    /// Pods on the nodes.
    pub pods: usize,
    /// Pods that ran all the time, with their lives when the controller came back and when
    /// everything had converged.
    pub steady: BTreeMap<PodUid, (u32, u32)>,
    /// Most reports that a node sent from the return until everything had converged.
    pub reports: u64,
    /// The first invariant that did not hold.
    pub violation: Option<Violation>,
    /// What had not arrived in the end.
    pub missing: Option<String>,
}

impl Alone {
    /// Bytes written on an ordinary one of thirty days, from one on: days on which a board loses its
    /// power cost more.
    pub fn bytes_a_day(&self, from: usize) -> u64 {
        let mut bytes: Vec<u64> = self.days[from..from + 30]
            .iter()
            .map(|day| day.bytes)
            .collect();
        bytes.sort_unstable();
        bytes[15]
    }
}

/// Two nodes with twenty pods lose controller and broker after five minutes; so many days later both
/// are back.
pub fn alone(seed: u64, days: u64) -> Alone {
    let options = Options {
        seed,
        only: "links,nodes=2".parse().expect("as --only takes it"),
        ..Options::default()
    };
    let mut world = World::new(&options);
    world.begin();
    pass(&mut world, MINUTE_MS);
    deploy(&mut world);
    pass(&mut world, 4 * MINUTE_MS);
    world.note(|| "alone".into());
    world.broker_down(true);
    world.end_controller();
    let mut rng = Rng::of(seed, "alone", 0);
    let days = (0..days).map(|_| day(&mut world, &mut rng)).collect();
    // What is off is on again.
    pass(&mut world, HOUR_MS);
    let before = lives(&world);
    let sent: Vec<u64> = world.nodes.iter().map(|node| node.reports).collect();
    world.heal();
    let mut missing = Some(String::new());
    for _ in 0..240 {
        pass(&mut world, 10_000);
        missing = world.missing();
        if missing.is_none() || world.violation.is_some() {
            break;
        }
    }
    let after = lives(&world);
    let both = before.into_iter().filter_map(|(uid, life)| {
        let steady = !world.oracle.lives.contains_key(&uid);
        steady.then(|| (uid, (life, after.get(&uid).copied().unwrap_or_default())))
    });
    let reports = world.nodes.iter().zip(sent);
    Alone {
        days,
        pods: world
            .nodes
            .iter()
            .map(|node| node.disk.newest().memory.len())
            .sum(),
        steady: both.collect(),
        reports: reports
            .map(|(node, sent)| node.reports - sent)
            .max()
            .unwrap_or_default(),
        violation: world.violation,
        missing,
    }
}

fn pass(world: &mut World, ms: u64) {
    let until = world.now + ms;
    while world.violation.is_none() && world.step(until) {}
}

fn deploy(world: &mut World) {
    use RestartPolicy::{Always, Never, OnFailure};
    world.deploy("steady", Always, 9, Some(((400 * DAY_MS, 500 * DAY_MS), 0)));
    world.deploy("crash", Always, 2, Some(((6 * HOUR_MS, 12 * HOUR_MS), 1)));
    world.deploy("loop", OnFailure, 1, Some(((MINUTE_MS, DAY_MS), 1)));
    world.deploy(
        "liveness",
        Always,
        4,
        Some(((12 * HOUR_MS, 36 * HOUR_MS), 137)),
    );
    world.deploy("job", Never, 3, Some(((1_000, 90_000), 0)));
    world.deploy("again", OnFailure, 1, Some(((1_000, 20_000), 0)));
}

/// A day; on every third one of the boards loses its power or is restarted, and clocks are set.
fn day(world: &mut World, rng: &mut Rng) -> Day {
    let written = |world: &World| {
        let each = world.nodes.iter().map(|node| node.written);
        each.fold((0, 0), |(b, h), (bytes, hard)| (b + bytes, h + hard))
    };
    let began = written(world);
    let node = rng.index(world.nodes.len());
    let noon = rng.within(HOUR_MS, 20 * HOUR_MS);
    pass(world, noon);
    match rng.index(9) {
        0 => world.reboot(node, Fault::Reboot, rng),
        1 => world.reboot(node, Fault::NodePower, rng),
        2 => world.kill_agent(node, Fault::AgentKill, rng),
        3 => world.clock_jump(node, rng),
        _ => {}
    }
    pass(world, DAY_MS - noon);
    let ended = written(world);
    let clients = 0..=world.nodes.len();
    Day {
        bytes: ended.0 - began.0,
        hard: ended.1 - began.1,
        state: world.nodes.iter().map(|node| node.state_len()).sum(),
        waiting: clients.map(|client| world.waiting(client)).sum(),
    }
}

/// The newest life of every pod that runs.
fn lives(world: &World) -> BTreeMap<PodUid, u32> {
    let pods = world.nodes.iter().flat_map(|node| &node.kernel);
    pods.filter_map(|(uid, pod)| {
        let life = pod
            .containers
            .values()
            .map(|container| container.life)
            .max();
        life.map(|life| (*uid, life))
    })
    .collect()
}
