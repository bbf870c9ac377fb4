//! The loop against a board in memory and a real state log. Time stands still unless a test lets it
//! pass ([`Board::pass_time`]).

use bramble_agent_core::session::Stored;
use bramble_wire::document::{Digest, Hash};
use bramble_wire::object::{
    Cidr, Container, NodeConfig, Object, Pod, PullPolicy, RestartPolicy, Stop,
};
use bramble_wire::report::{ContainerState, Phase, PodReport};
use bramble_wire::version::HistoryId;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::fake::FakeWorld;
use super::*;

struct Board {
    directory: TempDir,
    world: Arc<FakeWorld>,
    clock: Clock,
    rev: u64,
    /// The next start is one after damage.
    salvaged: bool,
    agent: Option<Agent>,
    /// While it runs tokio does not advance its clock by itself; when it ends by itself, the test
    /// has taken too long. Ended by dropping the other end.
    still: JoinHandle<()>,
    _still: std::sync::mpsc::Sender<()>,
}

/// What lives as long as the process does.
struct Agent {
    document: watch::Sender<Option<Arc<Document>>>,
    forget: mpsc::Sender<Vec<PodUid>>,
    confirmed: watch::Sender<bool>,
    observations: watch::Receiver<Observation>,
    state: State,
    task: JoinHandle<Result<(), state::Error>>,
    _facts: watch::Sender<NodeFacts>,
}

fn uid(n: u8) -> PodUid {
    PodUid([n; 16])
}

fn pod(n: u8) -> Pod {
    Pod {
        uid: uid(n),
        termination_grace_s: 1,
        containers: vec![Container {
            name: "c".into(),
            image: format!("image-{n}"),
            ..Container::default()
        }],
        ..Pod::default()
    }
}

fn document(rev: u64, pods: &[Pod]) -> Arc<Document> {
    let node = NodeConfig {
        pod_cidr: Cidr {
            address: [10, 42, 0, 0],
            prefix: 24,
        },
        ..NodeConfig::default()
    };
    let pods = (pods.iter()).map(|pod| (ObjectId::Pod(pod.uid), Object::Pod(pod.clone())));
    let objects = pods.chain([(ObjectId::Node, Object::Node(node))]);
    Arc::new(Document {
        version: Version {
            epoch: 1,
            term: 1,
            rev,
        },
        history: HistoryId::default(),
        digest: Digest::default(),
        objects: objects
            .map(|(id, object)| {
                let stored = Stored {
                    revision: rev,
                    hash: Hash::default(),
                    body: bramble_wire::encode(&object).into(),
                };
                (id, stored)
            })
            .collect(),
        unclaimed: BTreeMap::new(),
    })
}

impl Board {
    fn new() -> Self {
        let begin = tokio::time::Instant::now();
        let clock: Clock = Arc::new(move || {
            let ms = begin.elapsed().as_millis() as u64;
            Moment::new(1_000_000 + ms, 1_700_000_000_000 + ms as i64)
        });
        let (keep, kept) = std::sync::mpsc::channel::<()>();
        let still = tokio::task::spawn_blocking(move || {
            let _ = kept.recv_timeout(Duration::from_secs(30));
        });
        Self {
            still,
            _still: keep,
            directory: tempfile::tempdir().unwrap(),
            world: Arc::new(FakeWorld::new(Arc::clone(&clock))),
            clock,
            rev: 0,
            salvaged: false,
            agent: None,
        }
    }

    /// Starts the agent, with what is on disk.
    async fn start(&mut self) {
        let (state, contents) = loop {
            match State::open(self.directory.path()) {
                Ok(opened) => break opened,
                // The thread of the life before is on its way out.
                Err(state::OpenError::Ledger {
                    source: bramble_ledger::Error::Locked,
                    ..
                }) => std::thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        };
        let (document, documents) = watch::channel(contents.document);
        let (forget, forgotten) = mpsc::channel(1);
        let (confirm, confirmed) = watch::channel(false);
        let (facts_sender, facts) = watch::channel(NodeFacts::default());
        let (sender, observations) = watch::channel(Observation::default());
        let around = Surroundings {
            world: Arc::clone(&self.world),
            events: Events::channel().0,
            state: state.clone(),
            clock: Arc::clone(&self.clock),
            opener: Box::new(|_, _, _| None),
            node_name: "node".into(),
            salvaged: self.salvaged,
        };
        let inputs = Inputs {
            static_pods: watch::channel(Default::default()).1,
            document: documents,
            forget: forgotten,
            cleared: watch::channel(None).1,
            confirmed,
            facts,
        };
        let task = tokio::spawn(run(around, contents.pods, contents.endings, inputs, sender));
        self.agent = Some(Agent {
            document,
            forget,
            confirmed: confirm,
            observations,
            state,
            task,
            _facts: facts_sender,
        });
    }

    /// As kill -9: nothing is said and nothing more is written.
    async fn kill(&mut self) {
        let agent = self.agent.take().expect("an agent");
        agent.task.abort();
        let _ = agent.task.await;
    }

    /// The state is damaged: a document is all that is left of it.
    async fn lose_all_but(&mut self, document: Arc<Document>) {
        self.directory = tempfile::tempdir().unwrap();
        self.salvaged = true;
        let (state, _) = State::open(self.directory.path()).unwrap();
        let change = Change::Document(document);
        state.commit(vec![change], Durability::Hard).await.unwrap();
    }

    async fn accept(&mut self, pods: &[Pod]) {
        self.rev += 1;
        let document = document(self.rev, pods);
        let agent = self.agent.as_ref().expect("an agent");
        let change = Change::Document(Arc::clone(&document));
        agent
            .state
            .commit(vec![change], Durability::Hard)
            .await
            .unwrap();
        agent.document.send_replace(Some(document));
        agent.confirmed.send_replace(true);
    }

    /// Waits for an observation.
    async fn until(&mut self, what: &str, wanted: impl Fn(&Observation) -> bool) -> Observation {
        let agent = self.agent.as_mut().expect("an agent");
        tokio::select! {
            seen = agent.observations.wait_for(|seen| wanted(seen)) => {
                return seen.expect("the loop runs").clone();
            }
            _ = &mut self.still => {}
        }
        let last = agent.observations.borrow().clone();
        panic!("never {what}: {last:#?}; done {:?}", self.world.done());
    }

    async fn pass_time(&self, ms: u64) {
        tokio::time::advance(Duration::from_millis(ms)).await;
    }

    async fn until_converged(&mut self) -> Observation {
        let rev = self.rev;
        self.until("converged", |seen| {
            seen.converged.is_some_and(|version| version.rev == rev)
        })
        .await
    }
}

fn pod_of(seen: &Observation, n: u8) -> &PodReport {
    &seen.pods[&uid(n)]
}

#[tokio::test(start_paused = true)]
async fn pods_come_up_stop_and_are_forgotten() {
    let mut board = Board::new();
    board.start().await;
    board.accept(&[pod(1), pod(2)]).await;
    let seen = board.until_converged().await;
    assert_eq!(pod_of(&seen, 1).phase, Phase::Running);
    assert_ne!(pod_of(&seen, 1).pod_ip, pod_of(&seen, 2).pod_ip);
    let mut done = board.world.done();
    done.sort();
    assert_eq!(done, ["sandbox 1", "sandbox 2", "start 1#1", "start 2#1"]);

    let mut stopping = pod(1);
    stopping.stop = Some(Stop { grace_s: 0 });
    board.accept(&[stopping, pod(2)]).await;
    let seen = board.until("gone", |seen| pod_of(seen, 1).gone).await;
    assert_eq!(pod_of(&seen, 2).phase, Phase::Running);
    assert_eq!(board.world.done(), ["stop 1", "remove 1"]);

    board.accept(&[pod(2)]).await;
    let forget = board.agent.as_ref().unwrap().forget.clone();
    forget.send(vec![uid(1)]).await.unwrap();
    let seen = board
        .until("forgotten", |seen| !seen.pods.contains_key(&uid(1)))
        .await;
    assert!(seen.pods.contains_key(&uid(2)));
}

#[tokio::test(start_paused = true)]
async fn a_killed_agent_finds_everything_as_it_was() {
    let mut board = Board::new();
    board.start().await;
    board.accept(&[pod(1)]).await;
    let before = board.until_converged().await;
    board.world.done();
    board.kill().await;
    board.start().await;
    let after = board.until_converged().await;
    assert_eq!(board.world.done(), [""; 0]);
    assert_eq!(after.pods, before.pods);
}

#[tokio::test(start_paused = true)]
async fn after_a_power_cut_the_same_pods_come_back_from_the_disk_alone() {
    let mut board = Board::new();
    board.start().await;
    board.accept(&[pod(1)]).await;
    let before = board.until_converged().await;
    board.kill().await;
    board.world.power_cut();
    board.world.done();
    board.start().await;
    let after = board.until_converged().await;
    assert_eq!(pod_of(&after, 1).pod_ip, pod_of(&before, 1).pod_ip);
    assert!(board.world.is_running(uid(1)));
}

#[tokio::test(start_paused = true)]
async fn after_damage_what_runs_goes_on_and_what_may_have_ended_is_not_started() {
    let mut board = Board::new();
    board.start().await;
    board.accept(&[pod(3)]).await;
    board.until_converged().await;
    board.kill().await;
    board.world.done();
    // A document from before pod 3, and nothing of how its pods fared.
    let never = |n| Pod {
        restart_policy: RestartPolicy::Never,
        ..pod(n)
    };
    board.lose_all_but(document(0, &[pod(1), never(2)])).await;
    board.start().await;
    let failed = |seen: &Observation| {
        seen.pods.contains_key(&uid(2))
            && pod_of(seen, 2).phase == Phase::Failed
            && pod_of(seen, 2).reason == "StateLost"
    };
    let runs = |seen: &Observation, n| {
        seen.pods.contains_key(&uid(n)) && pod_of(seen, n).phase == Phase::Running
    };
    let both = |seen: &Observation| failed(seen) && runs(seen, 1);
    board.until("pod 1 runs and pod 2 has failed", both).await;
    assert_eq!(board.world.done(), ["sandbox 1", "start 1#1"]);
    assert!(board.world.is_running(uid(3)));

    // A document from the controller says which pods there are, and one that it has not confirmed does not.
    let newer = document(1, &[pod(1), never(2), never(4)]);
    let documents = board.agent.as_ref().unwrap().document.clone();
    documents.send_replace(Some(newer));
    let judged = |seen: &Observation| {
        seen.pods.contains_key(&uid(4)) && pod_of(seen, 4).phase == Phase::Failed
    };
    board.until("pod 4 is judged", judged).await;
    assert!(board.world.is_running(uid(3)));
    let confirmed = board.agent.as_ref().unwrap().confirmed.clone();
    confirmed.send_replace(true);
    let gone = |seen: &Observation| seen.pods.get(&uid(3)).is_none_or(|pod| pod.gone);
    board.until("pod 3 has ended", gone).await;

    // The doubt is over, also for the next start, and what comes now is new.
    board.rev = 1;
    board.accept(&[pod(1), never(2), never(5)]).await;
    board.until_converged().await;
    assert!(!board.world.is_running(uid(2)) && !board.world.is_running(uid(4)));
    assert!(board.world.is_running(uid(5)));
    board.kill().await;
    assert!(!state::read(board.directory.path()).salvaged);
}

/// What was left is the newest: the controller has nothing to send, and says so.
#[tokio::test(start_paused = true)]
async fn a_doubt_ends_when_the_controller_has_nothing_newer() {
    let mut board = Board::new();
    board.start().await;
    board.accept(&[pod(1), pod(3)]).await;
    board.until_converged().await;
    board.kill().await;
    let held = document(1, &[pod(1)]);
    board.lose_all_but(held).await;
    board.start().await;
    let runs = |seen: &Observation| {
        seen.pods.contains_key(&uid(1)) && pod_of(seen, 1).phase == Phase::Running
    };
    board.until("pod 1 runs", runs).await;
    assert!(board.world.is_running(uid(3)));
    let confirmed = board.agent.as_ref().unwrap().confirmed.clone();
    confirmed.send_replace(true);
    let world = Arc::clone(&board.world);
    let ended = |_: &Observation| !world.is_running(uid(3));
    board.until("pod 3 has ended", ended).await;
    assert!(board.world.is_running(uid(1)));
}

#[tokio::test(start_paused = true)]
async fn a_crash_loop_backs_off_and_says_so() {
    let mut board = Board::new();
    board.start().await;
    board.accept(&[pod(1)]).await;
    board.until_converged().await;
    board.world.exit(uid(1), "c", 1);
    let restarts = |seen: &Observation| pod_of(seen, 1).containers[0].restarts;
    board.until("restarted", |seen| restarts(seen) == 1).await;
    let world = Arc::clone(&board.world);
    board.until("running", |_| world.is_running(uid(1))).await;
    board.world.exit(uid(1), "c", 1);
    let waiting = |seen: &Observation| {
        matches!(
            &pod_of(seen, 1).containers[0].state,
            ContainerState::Waiting { reason, .. } if reason == "CrashLoopBackOff"
        )
    };
    let seen = board.until("in back-off", waiting).await;
    let last = pod_of(&seen, 1).containers[0].last.as_ref().unwrap();
    assert_eq!(last.exit_code, 1);
    board.pass_time(9_999).await;
    // A pass in between decides nothing.
    board.world.load("nothing");
    tokio::task::yield_now().await;
    assert!(!board.world.is_running(uid(1)));
    board.pass_time(1).await;
    board
        .until("restarted again", |seen| restarts(seen) == 2)
        .await;
}

#[tokio::test(start_paused = true)]
async fn failures_of_one_pod_hold_up_no_other() {
    let mut board = Board::new();
    board.start().await;
    board.world.fail("sandbox", Failed::Other("no room".into()));
    board.world.without_image("image-2");
    let mut second = pod(2);
    second.containers[0].pull_policy = PullPolicy::Never;
    board.accept(&[pod(1), second, pod(3)]).await;
    let waits = |seen: &Observation, n: u8, text: &str| {
        seen.pods.contains_key(&uid(n))
            && matches!(
                &pod_of(seen, n).containers[0].state,
                ContainerState::Waiting { message, .. } if message.contains(text)
            )
    };
    board
        .until("told of the image", |seen| {
            waits(seen, 2, "pull policy of Never")
        })
        .await;
    board.pass_time(500).await;
    board
        .until("the others running", |seen| {
            [1, 3]
                .iter()
                .all(|n| pod_of(seen, *n).phase == Phase::Running)
        })
        .await;
    board.world.load("image-2");
    board.until_converged().await;
    assert!(board.world.is_running(uid(2)));
}

#[tokio::test(start_paused = true)]
async fn a_program_that_can_not_start_ends_a_pod_that_must_not_restart() {
    let mut board = Board::new();
    board.start().await;
    let failed = Failed::Start("exec: \"/nope\": no such file".into());
    board.world.fail("start", failed);
    let mut never = pod(1);
    never.restart_policy = RestartPolicy::Never;
    board.accept(&[never]).await;
    let seen = board.until_converged().await;
    assert_eq!(pod_of(&seen, 1).phase, Phase::Failed);
    let ContainerState::Terminated(end) = &pod_of(&seen, 1).containers[0].state else {
        panic!("{seen:?}");
    };
    assert_eq!((end.exit_code, end.reason.as_str()), (128, "StartError"));
    assert_eq!(board.world.done(), ["sandbox 1", "start 1 failed", "end 1"]);
}

/// A pod that may run only once does not run again after a power cut at the worst moment: it had
/// begun and nobody saw it end.
#[tokio::test(start_paused = true)]
async fn what_must_not_run_twice_does_not() {
    let mut board = Board::new();
    board.start().await;
    let mut never = pod(1);
    never.restart_policy = RestartPolicy::Never;
    board.accept(&[never]).await;
    board.until_converged().await;
    board.kill().await;
    board.world.power_cut();
    board.world.done();
    board.start().await;
    let seen = board.until_converged().await;
    assert_eq!(pod_of(&seen, 1).phase, Phase::Failed);
    assert_eq!(board.world.done(), [""; 0]);
}

/// An action that does nothing is not repeated without a pause.
#[tokio::test(start_paused = true)]
async fn what_has_no_effect_waits_like_a_failure() {
    let mut board = Board::new();
    board.world.without_effect("sandbox");
    board.start().await;
    board.accept(&[pod(1)]).await;
    let seen = |seen: &Observation| {
        seen.pods.contains_key(&uid(1))
            && matches!(
                &pod_of(seen, 1).containers[0].state,
                ContainerState::Waiting { message, .. } if message.contains("no effect")
            )
    };
    board.until("told", seen).await;
    assert_eq!(board.world.done().len(), 6);
}

/// Nobody knows whether such a start will ever end; it is under way, and not begun a second time.
#[tokio::test(start_paused = true)]
async fn starts_that_hang_hold_up_no_other_pod() {
    let mut board = Board::new();
    board.start().await;
    let ends: Vec<_> = (1..=8).map(|n| board.world.hang(uid(n))).collect();
    let pods: Vec<Pod> = (1..=9).map(pod).collect();
    board.accept(&pods).await;
    let running = |n: u8| {
        move |seen: &Observation| {
            seen.pods.get(&uid(n)).map(|pod| pod.phase) == Some(Phase::Running)
        }
    };
    // Four, and the four after them.
    for begun in [4, 8] {
        while board.world.count("hang") < begun {
            tokio::task::yield_now().await;
        }
        board.pass_time(START_HOLD.as_millis() as u64).await;
    }
    board.until("the ninth running", running(9)).await;
    for _ in 0..3 {
        board.pass_time(60_000).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(board.world.count("hang"), 8, "each began once");
    for end in &ends {
        end.send_replace(true);
    }
    board.until_converged().await;
    assert!((1..=9).all(|n| board.world.is_running(uid(n))));
}
