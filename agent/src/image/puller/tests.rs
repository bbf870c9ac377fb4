use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bramble_agent_core::image::Credentials;
use bramble_wire::report::PodEvent;

use super::super::child::Loaded;
use super::super::{ImageConfig, ImageId};
use super::*;

#[test]
fn durations_are_gos() {
    for (ms, expected) in [
        (0, "0s"),
        (393, "393ms"),
        (1_500, "1.5s"),
        (10_000, "10s"),
        (62_345, "1m2.345s"),
        (3_600_000, "1h0m0s"),
    ] {
        assert_eq!(job::go_duration(ms), expected);
    }
}

fn want(n: u8, image: &str, always: bool) -> Want {
    Want {
        uid: PodUid([n; 16]),
        container: "c".into(),
        life: 1,
        image: image.into(),
        always,
        hold: false,
        credentials: Vec::new(),
        missing: Vec::new(),
    }
}

fn jobs() -> Jobs {
    Jobs::default()
}

fn join(jobs: &mut Jobs, want: &Want, lane: Lane) -> Key {
    let reference = Reference::parse(&want.image).unwrap();
    let key = Key::of(&reference, &want.credentials);
    let waiter = Waiter {
        uid: want.uid,
        container: want.container.clone(),
        life: want.life,
        image: want.image.clone(),
        since: Moment::default(),
    };
    jobs.join(key.clone(), reference, want, waiter, lane);
    key
}

fn start(jobs: &mut Jobs, key: &Key) {
    jobs.started(key, tokio::spawn(async {}).abort_handle());
}

#[tokio::test]
async fn pulls_queue_and_one_image_is_pulled_once() {
    let mut jobs = jobs();
    let a = join(&mut jobs, &want(1, "a", false), Lane::Pull);
    let same = join(
        &mut jobs,
        &want(2, "docker.io/library/a:latest", false),
        Lane::Pull,
    );
    assert_eq!(a, same);
    let mut secret = want(3, "a", false);
    secret.credentials = vec![Credentials::Config(b"x".to_vec())];
    let other = join(&mut jobs, &secret, Lane::Pull);
    assert_ne!(a, other);
    let b = join(&mut jobs, &want(4, "b", false), Lane::Pull);
    let check = join(&mut jobs, &want(5, "d", true), Lane::Check);
    assert_eq!(jobs.get(&a).unwrap().waiters.len(), 2);
    assert_eq!(jobs.next(Lane::Pull, 1), Some(a.clone()));
    start(&mut jobs, &a);
    // One at a time; checks don't wait for it.
    assert_eq!(jobs.next(Lane::Pull, 1), None);
    assert_eq!(jobs.next(Lane::Check, 2), Some(check));
    // With more at a time: not the same image twice, whoever asks.
    assert_eq!(jobs.next(Lane::Pull, 2), Some(b));
    jobs.remove(&a);
    assert_eq!(jobs.next(Lane::Pull, 1), Some(other));
}

#[tokio::test]
async fn what_nobody_wants_leaves_the_queue() {
    let mut jobs = jobs();
    let a = join(&mut jobs, &want(1, "a", false), Lane::Pull);
    let b = join(&mut jobs, &want(2, "b", false), Lane::Pull);
    start(&mut jobs, &a);
    jobs.retain_waiters(|_| false);
    assert!(jobs.get(&b).is_none() && jobs.is_abandoned(&b));
    assert!(jobs.get(&a).is_some() && jobs.is_abandoned(&a));
    // Wanted again before it was given up.
    join(&mut jobs, &want(1, "a", false), Lane::Pull);
    assert!(!jobs.is_abandoned(&a));
}

/// A puller whose clock stands still, and a child that is a script.
struct Bench {
    dir: tempfile::TempDir,
    store: Arc<Store>,
    puller: Arc<Puller>,
    inbox: mpsc::Receiver<PodEvent>,
}

impl Bench {
    /// `program` stands for the agent's own: its sub-command `pull`.
    fn new(program: &std::path::Path, registries: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(dir.path(), program).unwrap());
        let (events, inbox) = Events::channel();
        let path = dir.path().join("registries.toml");
        std::fs::write(&path, registries).unwrap();
        let options = Options {
            registries: path,
            parallel: 1,
            clock: FloorClock::new(0),
        };
        let (puller, _) = Puller::new(Arc::clone(&store), events, options, crate::clock::now);
        Self {
            dir,
            store,
            puller,
            inbox,
        }
    }

    /// An image is here, pulled by a digest.
    async fn put(&self, name: &str, digest: char) -> ImageId {
        let reference = Reference::parse(name).unwrap();
        let digest = format!("sha256:{}", digest.to_string().repeat(64));
        let id = ImageId(format!("sha256:{}", "1".repeat(64)));
        let image = Loaded {
            id: id.clone(),
            references: vec![reference.to_string(), reference.at(&digest).to_string()],
            config: ImageConfig::default(),
            diff_ids: Vec::new(),
            size_bytes: 7,
        };
        self.store.register(&[image]).await.unwrap();
        id
    }

    async fn settle(&self, until: impl Fn(&Pulls) -> bool) -> Pulls {
        let mut changes = self.store.changes();
        let wait = async {
            loop {
                changes.mark_unchanged();
                let state = self.puller.state();
                if until(&state) {
                    return state;
                }
                changes.changed().await.unwrap();
            }
        };
        let state = tokio::time::timeout(Duration::from_secs(30), wait).await;
        state.unwrap_or_else(|_| panic!("{:?}", self.puller.state()))
    }

    fn told(&mut self) -> Vec<String> {
        let all = std::iter::from_fn(|| self.inbox.try_recv().ok());
        all.map(|event| format!("{} {}", event.reason, event.message))
            .collect()
    }
}

#[tokio::test]
async fn an_image_by_digest_is_not_asked_for_again() {
    let mut bench = Bench::new("/bin/false".as_ref(), "");
    let id = bench.put("host.lan/app:1", 'a').await;
    let name = format!("host.lan/app@sha256:{}", "a".repeat(64));
    bench
        .puller
        .want(vec![want(1, &name, true)], &BTreeSet::new());
    let state = bench.puller.state();
    let got = state.got.values().next().unwrap();
    assert_eq!((got.life, &got.image.id), (1, &id.0));
    assert_eq!(
        bench.told(),
        [format!(
            "Pulled Container image \"{name}\" already present on machine and can be accessed by the pod"
        )]
    );
    // Kept while somebody holds it or works with it, gone then.
    let held = Want {
        hold: true,
        ..want(1, &name, true)
    };
    bench.puller.want(vec![held], &BTreeSet::new());
    bench
        .puller
        .want(vec![], &BTreeSet::from([PodUid([1; 16])]));
    assert_eq!(bench.puller.state().got.len(), 1);
    bench.puller.want(vec![], &BTreeSet::new());
    assert_eq!(bench.puller.state(), Pulls::default());
}

#[tokio::test]
async fn a_child_that_dies_is_a_failure_that_backs_off() {
    let mut bench = Bench::new("/bin/false".as_ref(), "");
    let mut wanted = want(1, "host.lan/app:1", false);
    wanted.missing = vec!["key".into()];
    let again = wanted.clone();
    bench.puller.want(vec![wanted], &BTreeSet::new());
    let state = bench.settle(|state| !state.failed.is_empty()).await;
    let failed = state.failed.values().next().unwrap();
    assert_eq!(failed.count, 1);
    assert!(failed.message.contains("child"), "{}", failed.message);
    assert_eq!(
        bench.told(),
        [
            "Pulling Pulling image \"host.lan/app:1\"",
            "FailedToRetrieveImagePullSecret Unable to retrieve some image pull secrets (key); attempting to pull the image may not succeed.",
        ]
    );
    bench.puller.want(vec![again], &BTreeSet::new());
    let twice = bench
        .settle(|state| state.failed.values().any(|failed| failed.count == 2))
        .await;
    assert_eq!(twice.got.len(), 0);
    drop(bench.dir);
}

/// Answers so many requests, counts them, and is gone then.
fn registry(status: u16, digest: char, requests: usize) -> (SocketAddr, Arc<AtomicU32>) {
    let digest = format!("sha256:{}", digest.to_string().repeat(64));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for client in listener.incoming().take(requests) {
            let mut client = client.unwrap();
            let mut reader = BufReader::new(client.try_clone().unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap() > 0 {}
            counted.fetch_add(1, Ordering::SeqCst);
            let answer = format!(
                "HTTP/1.1 {status} X\r\nDocker-Content-Digest: {digest}\r\nContent-Length: 0\r\n\r\n"
            );
            let _ = client.write_all(answer.as_bytes());
        }
    });
    (address, count)
}

/// The agent's own program, when it has been built.
fn agent() -> std::path::PathBuf {
    let own = std::env::current_exe().unwrap();
    let program = own.ancestors().nth(2).unwrap().join("bramble-agent");
    assert!(program.exists(), "build bramble-agent first");
    program
}

#[tokio::test]
async fn always_asks_once_for_each_life_and_uses_the_copy_when_nobody_answers() {
    let (address, count) = registry(200, 'a', 9);
    let file = format!(
        "[registry.\"{address}\"]\nplain-http = true\n[registry.\"127.0.0.1:1\"]\nplain-http = true\n"
    );
    let mut bench = Bench::new(&agent(), &file);
    let name = format!("{address}/app:1");
    let id = bench.put(&name, 'a').await;
    bench
        .puller
        .want(vec![want(1, &name, true)], &BTreeSet::new());
    let state = bench.settle(|state| !state.got.is_empty()).await;
    assert_eq!(state.got.values().next().unwrap().image.id, id.0);
    assert_eq!(count.load(Ordering::SeqCst), 1);
    let told = bench.told();
    assert_eq!(told[0], format!("Pulling Pulling image \"{name}\""));
    assert!(
        told[1].starts_with(&format!("Pulled Successfully pulled image \"{name}\" in "))
            && told[1].ends_with("including waiting). Image size: 7 bytes."),
        "{told:?}"
    );
    // Nobody listens at port 1.
    let away = "127.0.0.1:1/app:1";
    bench.put(away, 'b').await;
    bench
        .puller
        .want(vec![want(2, away, true)], &BTreeSet::new());
    let second = |state: &Pulls| state.got.keys().any(|(uid, _)| *uid == PodUid([2; 16]));
    bench.settle(second).await;
    let told = bench.told();
    assert!(
        told.iter().any(|text| text.starts_with("RegistryUnreachable The registry of image \"127.0.0.1:1/app:1\" can't be reached, the copy on the node")),
        "{told:?}"
    );
    assert!(bench.puller.state().failed.is_empty());
}

#[tokio::test]
async fn who_was_refused_gets_no_copy_when_the_registry_is_gone() {
    let (address, _) = registry(403, 'a', 1);
    let file = format!("[registry.\"{address}\"]\nplain-http = true\n");
    let bench = Bench::new(&agent(), &file);
    let name = format!("{address}/app:1");
    bench.put(&name, 'a').await;
    for count in 1..=2 {
        let wants = vec![want(1, &name, true)];
        bench.puller.want(wants, &BTreeSet::new());
        let state = bench
            .settle(|state| state.failed.values().any(|failed| failed.count == count))
            .await;
        assert!(state.got.is_empty());
    }
    // Somebody else was never refused.
    let wants = vec![want(1, &name, true), want(2, &name, true)];
    bench.puller.want(wants, &BTreeSet::new());
    let state = bench.settle(|state| !state.got.is_empty()).await;
    assert_eq!(state.got.keys().next().unwrap().0, PodUid([2; 16]));
}
