//! How the cluster stands after its store was set back: what a person has to know and to decide, and
//! what waits for it.
//!
//! In: who the members are, what they report, epochs. Out: a [`Standing`] on a watch channel
//! ([`NodeLink::standing`](super::NodeLink::standing)), a new one whenever it changes. The task of the
//! node link owns the [`Board`] that it is made of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bramble_api::time::Timestamp;
use bramble_controller_core::nodelink::Report;
use bramble_wire::message::ControllerState;
use bramble_wire::name::NodeName;
use bramble_wire::object::{ObjectName, PodUid};
use bramble_wire::report::{Phase, PodReport, UnixMs};
use bramble_wire::version::{Boot, HardwareId};
use tokio::sync::watch;

use super::control::Control;
use crate::object;

/// Nodes that are named; more are counted.
const WAITING_MAX: usize = 256;
/// Refused boards that are named.
const DUPLICATES_MAX: usize = 256;
/// Unclaimed pods that are named; more are counted.
const UNCLAIMED_MAX: usize = 4096;

/// How the cluster stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// The epoch; it rises when the store may have been set back.
    pub epoch: u64,
    /// The newest epoch of which a person has confirmed the difference.
    pub confirmed: u64,
    /// Members that have not reported everything that they run since the epoch began, or since this
    /// process started: the first of them by name.
    pub waiting_for: Vec<NodeName>,
    /// How many they are.
    pub waiting: usize,
    /// Pods that run although the store does not have them, by node; not more than a few thousand.
    pub unclaimed: Arc<Vec<Unclaimed>>,
    /// How many they are.
    pub unclaimed_total: usize,
    /// The epoch rose so often that two controllers may have this identity: it does not rise again
    /// before a person confirms it.
    pub braked: bool,
    /// Another controller of this identity that was heard since this one started.
    pub rival: Option<Rival>,
    /// Boards that are refused because another one has their node's identity and is there, by node; not
    /// more than a few hundred.
    pub duplicates: Arc<Vec<Duplicate>>,
    /// Every member has reported, a person has confirmed the epoch, and nothing is unclaimed: what the
    /// store does not have runs nowhere. False until the members are known.
    pub clear: bool,
}

/// A pod that runs although the store does not have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unclaimed {
    /// Where.
    pub node: NodeName,
    /// Which.
    pub uid: PodUid,
    /// What it was called.
    pub name: Option<ObjectName>,
    /// Images of its containers.
    pub images: Vec<String>,
    /// How it is.
    pub phase: Phase,
    /// When its node first saw it, by the node's clock.
    pub since: UnixMs,
}

/// Another controller of this cluster's identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rival {
    /// It is the one that goes on.
    pub goes_on: bool,
    /// Its epoch.
    pub epoch: u64,
    /// Its start.
    pub boot: Boot,
    /// When it was heard last.
    pub last: Timestamp,
}

/// A board that is refused because another one has its node's identity and is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duplicate {
    /// The node that both say they are.
    pub node: NodeName,
    /// Which board it is, where its hardware says so.
    pub hardware: Option<HardwareId>,
    /// When it was refused last.
    pub last: Timestamp,
    /// How often it was.
    pub times: u64,
}

impl Standing {
    /// Whether another controller of this identity goes on, and this one only answers what is asked.
    pub fn has_yielded(&self) -> bool {
        self.rival.as_ref().is_some_and(|rival| rival.goes_on)
    }

    /// Whether nothing may be reclaimed, nor anything decided from what is missing: the store was set
    /// back, and neither has every node told what it runs nor a person confirmed the difference.
    pub fn is_in_doubt(&self) -> bool {
        self.confirmed < self.epoch && self.waiting > 0
    }

    /// [`Standing::is_in_doubt`], in words for the pod that waits for it.
    pub fn doubt(&self) -> Option<String> {
        if !self.is_in_doubt() {
            return None;
        }
        let first: Vec<&str> = (self.waiting_for.iter().take(3))
            .map(NodeName::as_str)
            .collect();
        let more = match self.waiting - first.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let nodes = first.join(", ");
        Some(format!(
            "the store was set back, and another copy of this pod may run on a node that has not \
             reported since: {nodes}{more}"
        ))
    }
}

/// What a [`Standing`] is made of.
#[derive(Debug)]
pub(super) struct Board {
    unclaimed: BTreeMap<NodeName, BTreeMap<PodUid, Unclaimed>>,
    shown: Arc<Vec<Unclaimed>>,
    total: usize,
    braked: bool,
    duplicates: Arc<Vec<Duplicate>>,
    rival: Option<Rival>,
    /// Something may have changed since it was published.
    changed: bool,
    published: watch::Sender<Arc<Standing>>,
}

impl Board {
    pub(super) fn new(control: &Control) -> Board {
        let standing = Standing {
            epoch: control.epoch,
            confirmed: control.confirmed,
            // Until the members are known nobody has spoken.
            waiting: usize::from(control.confirmed < control.epoch),
            ..Standing::default()
        };
        Board {
            unclaimed: BTreeMap::new(),
            shown: Arc::default(),
            total: 0,
            braked: false,
            duplicates: Arc::default(),
            rival: None,
            changed: false,
            published: watch::Sender::new(Arc::new(standing)),
        }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<Standing>> {
        self.published.subscribe()
    }

    /// Members, epochs, or who has reported may have changed.
    pub(super) fn touch(&mut self) {
        self.changed = true;
    }

    /// The epoch does not rise any more by itself, or may again.
    pub(super) fn set_braked(&mut self, braked: bool) {
        self.changed = true;
        self.braked = braked;
    }

    /// A board with this identity was refused; `None`: no other has it any more.
    pub(super) fn set_duplicate(&mut self, node: &NodeName, refused: Option<Option<HardwareId>>) {
        self.changed = true;
        let duplicates = Arc::make_mut(&mut self.duplicates);
        let known = duplicates.iter().position(|other| other.node == *node);
        let before = known.map(|at| duplicates.remove(at));
        if let Some(hardware) = refused.filter(|_| duplicates.len() < DUPLICATES_MAX) {
            let duplicate = Duplicate {
                node: node.clone(),
                hardware,
                last: object::now(),
                times: before.map_or(0, |before| before.times) + 1,
            };
            let at = duplicates.partition_point(|other| other.node < *node);
            duplicates.insert(at, duplicate);
        }
    }

    /// Another controller of this identity was heard; whether that is news.
    pub(super) fn set_rival(&mut self, theirs: &ControllerState, goes_on: bool) -> bool {
        self.changed = true;
        let rival = Rival {
            goes_on,
            epoch: theirs.epoch,
            boot: theirs.boot,
            last: object::now(),
        };
        let before = self.rival.replace(rival);
        before.is_none_or(|before| (before.goes_on, before.boot) != (goes_on, theirs.boot))
    }

    pub(super) fn has_duplicate(&self, node: &NodeName) -> bool {
        self.duplicates.iter().any(|other| other.node == *node)
    }

    /// A node's report; `stored` says which pods the store has there. Also what a node does not name as
    /// unclaimed counts, until it is gone: it may be stopping because a person confirmed that.
    pub(super) fn handle_report(&mut self, report: &Report, stored: impl Fn(&PodUid) -> bool) {
        self.changed = true;
        let known = self.unclaimed.entry(report.node.clone()).or_default();
        let mut differs = false;
        for pod in &report.pods {
            // A board's own pods are in no store, and nobody's to let go.
            let foreign = !pod.uid.is_static() && (pod.unclaimed || !stored(&pod.uid));
            // A node that says more than it may can't make this grow: what is there holds things up already.
            let room = known.len() < UNCLAIMED_MAX || known.contains_key(&pod.uid);
            if !pod.gone && foreign {
                if !room {
                    continue;
                }
                let unclaimed = unclaimed(&report.node, pod);
                differs |= known.insert(pod.uid, unclaimed.clone()).as_ref() != Some(&unclaimed);
            } else {
                differs |= known.remove(&pod.uid).is_some();
            }
        }
        if let Some(all) = &report.all {
            let before = known.len();
            known.retain(|uid, _| all.contains(uid));
            differs |= known.len() != before;
        }
        if known.is_empty() {
            self.unclaimed.remove(&report.node);
        }
        if differs {
            self.show();
        }
    }

    /// A node is no member any more.
    pub(super) fn forget(&mut self, node: &NodeName) {
        self.set_duplicate(node, None);
        if self.unclaimed.remove(node).is_some() {
            self.show();
        }
    }

    fn show(&mut self) {
        let all = || self.unclaimed.values().flat_map(BTreeMap::values);
        self.total = all().count();
        self.shown = Arc::new(all().take(UNCLAIMED_MAX).cloned().collect());
    }

    /// Publishes what has changed, and returns whether it is clear.
    pub(super) fn publish(&mut self, control: &Control, unheard: &BTreeSet<NodeName>) -> bool {
        if !std::mem::take(&mut self.changed) {
            return self.published.borrow().clear;
        }
        let (epoch, confirmed) = (control.epoch, control.confirmed);
        let standing = Standing {
            epoch,
            confirmed,
            waiting_for: unheard.iter().take(WAITING_MAX).cloned().collect(),
            waiting: unheard.len(),
            unclaimed: Arc::clone(&self.shown),
            unclaimed_total: self.total,
            braked: self.braked,
            duplicates: Arc::clone(&self.duplicates),
            rival: self.rival.clone(),
            clear: confirmed >= epoch
                && unheard.is_empty()
                && self.total == 0
                && !self.rival.as_ref().is_some_and(|rival| rival.goes_on),
        };
        let clear = standing.clear;
        self.published.send_if_modified(|before| {
            let differs = **before != standing;
            if differs {
                *before = Arc::new(standing);
            }
            differs
        });
        clear
    }
}

fn unclaimed(node: &NodeName, pod: &PodReport) -> Unclaimed {
    Unclaimed {
        node: node.clone(),
        uid: pod.uid,
        name: pod.name.clone(),
        images: pod.containers.iter().map(|c| c.image.clone()).collect(),
        phase: pod.phase,
        since: pod.started,
    }
}

#[cfg(test)]
mod tests {
    use bramble_wire::version::HistoryId;

    use super::*;

    fn control(epoch: u64, confirmed: u64) -> Control {
        Control {
            boot: Boot(1),
            term: 1,
            epoch,
            history: HistoryId::default(),
            confirmed,
        }
    }

    fn node(name: &str) -> NodeName {
        NodeName::new(name).unwrap()
    }

    fn uid(number: u8) -> PodUid {
        PodUid([number; 16])
    }

    /// Pods, and whether they are gone.
    fn report(of: &str, pods: &[(u8, bool)], all: Option<&[u8]>) -> Report {
        let pod = |(number, gone): &(u8, bool)| PodReport {
            uid: uid(*number),
            gone: *gone,
            ..PodReport::default()
        };
        Report {
            node: node(of),
            number: 1,
            hard: false,
            pods: pods.iter().map(pod).collect(),
            all: all.map(|all| all.iter().map(|number| uid(*number)).collect()),
            accepted: None,
            converged: None,
            rejected: String::new(),
            events: Vec::new(),
            usage: None,
        }
    }

    #[test]
    fn refused_boards_are_named_once_for_each_node() {
        let mut board = Board::new(&control(2, 2));
        let standing = board.subscribe();
        let (first, other) = (Some(HardwareId([1; 16])), None);
        for (of, refused) in [("b", first), ("a", first), ("b", other)] {
            board.set_duplicate(&node(of), Some(refused));
        }
        board.publish(&control(2, 2), &BTreeSet::new());
        let shown = |standing: &Standing| -> Vec<(String, u64)> {
            let duplicates = standing.duplicates.iter();
            duplicates.map(|d| (d.node.to_string(), d.times)).collect()
        };
        let two = [("a".to_owned(), 1), ("b".to_owned(), 2)];
        assert_eq!(shown(&standing.borrow()), two);
        assert_eq!(standing.borrow().duplicates[1].hardware, other);
        board.set_duplicate(&node("a"), None);
        board.forget(&node("b"));
        board.publish(&control(2, 2), &BTreeSet::new());
        assert_eq!(shown(&standing.borrow()), []);
    }

    #[test]
    fn a_boards_own_pods_wait_for_nobody() {
        let mut board = Board::new(&control(2, 2));
        let standing = board.subscribe();
        let mut said = report("a", &[(1, false)], None);
        said.pods[0].uid = PodUid::of_static([7; 16]);
        for (own, clear) in [(said, true), (report("a", &[(1, false)], None), false)] {
            board.handle_report(&own, |_| false);
            board.publish(&control(2, 2), &BTreeSet::new());
            assert_eq!(standing.borrow().clear, clear);
        }
    }

    #[test]
    fn the_standing_is_clear_when_all_have_spoken_and_nothing_is_unclaimed() {
        let mut board = Board::new(&control(2, 2));
        let standing = board.subscribe();
        assert!(!standing.borrow().clear, "the members are not known yet");
        let mut unheard = BTreeSet::from([node("a"), node("b")]);
        let check = |board: &mut Board, control: &Control, unheard: &BTreeSet<NodeName>| {
            board.touch();
            board.publish(control, unheard);
            let standing = standing.borrow();
            let uids: Vec<u8> = standing.unclaimed.iter().map(|pod| pod.uid.0[0]).collect();
            assert_eq!(standing.waiting, unheard.len());
            (standing.clear, standing.is_in_doubt(), uids)
        };
        let settled = control(2, 2);
        assert_eq!(
            check(&mut board, &settled, &unheard),
            (false, false, vec![])
        );
        let risen = control(3, 2);
        assert_eq!(check(&mut board, &risen, &unheard), (false, true, vec![]));
        let why = board.subscribe().borrow().doubt().unwrap();
        assert!(why.ends_with("reported since: a, b"), "{why}");

        let stored = |of: &PodUid| *of == uid(2);
        let pods = [(1, false), (2, false), (3, false), (4, true)];
        board.handle_report(&report("a", &pods, None), stored);
        unheard.clear();
        assert_eq!(
            check(&mut board, &risen, &unheard),
            (false, false, vec![1, 3])
        );
        board.handle_report(&report("a", &[(1, true)], None), stored);
        board.handle_report(&report("b", &[(9, false)], None), stored);
        assert_eq!(
            check(&mut board, &control(3, 3), &unheard),
            (false, false, vec![3, 9])
        );
        board.handle_report(&report("a", &[], Some(&[1, 2])), stored);
        board.forget(&node("b"));
        assert_eq!(check(&mut board, &risen, &unheard), (false, false, vec![]));
        assert_eq!(
            check(&mut board, &control(3, 3), &unheard),
            (true, false, vec![])
        );
    }
}
