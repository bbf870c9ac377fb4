//! Shims outlive agents: this agent before a shim of protocol 1, and this shim before an agent of it.
//! Protocol 1 is written out in bytes here, so that nobody can change it by accident.
#![allow(missing_docs, clippy::unwrap_used)] // tests and their helpers

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command};
use std::sync::mpsc;
use std::time::Duration;

use bramble_agent::runtime::{ContainerFact, Error, ExecConfig, KernelRuntime, Runtime};
use bramble_wire::object::PodUid;
use bramble_wire::stream::Stdio;

use crate::support::{Board, eventually, pod, uid};

/// Bytes of protocol 1, by hand: numbers are varints, signed ones in zig-zag, texts have their length
/// before them.
#[derive(Default, Clone, Debug, PartialEq)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn n(mut self, mut n: u64) -> Self {
        while n >= 0x80 {
            self.0.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.0.push(n as u8);
        self
    }

    fn i(self, n: i64) -> Self {
        self.n(((n << 1) ^ (n >> 63)) as u64)
    }

    fn s(self, text: &str) -> Self {
        let mut with = self.n(text.len() as u64);
        with.0.extend_from_slice(text.as_bytes());
        with
    }
}

fn bytes() -> Bytes {
    Bytes::default()
}

fn send(stream: &mut UnixStream, body: &Bytes) {
    let mut frame = u32::try_from(body.0.len()).unwrap().to_le_bytes().to_vec();
    frame.extend_from_slice(&body.0);
    stream.write_all(&frame).unwrap();
}

/// `None` at the end.
fn receive(stream: &mut UnixStream) -> Option<Vec<u8>> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).ok()?;
    let mut body = vec![0; u32::from_le_bytes(head) as usize];
    stream.read_exact(&mut body).ok()?;
    Some(body)
}

/// A process that stands for the old shim: its record must name one that lives.
struct Stand(Child);

impl Stand {
    fn start_time(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        let rest = stat.rsplit_once(')').unwrap().1;
        rest.split_whitespace().nth(19).unwrap().parse().unwrap()
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The old shim: tells the test what it was asked, and answers what it is told to.
fn old_shim(listener: UnixListener, hello: Bytes, stand: Stand) -> mpsc::Receiver<Vec<u8>> {
    let (tell, asked) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut stand = Some(stand);
        while let Some(ask) = receive(&mut stream) {
            // Ask numbers stay below 128 here: one byte.
            let (number, request) = (u64::from(ask[0]), &ask[1..]);
            let answer = bytes().n(number);
            let answer = match request[0] {
                0 => Bytes([answer.0, hello.0.clone()].concat()),
                // State: one container `old-0`, running (2).
                1 => answer.n(1).n(1).s("old-0").n(2).i(4242).n(77).i(1000),
                // Create: running (3).
                2 => answer.n(3).i(4343).n(78).i(2000),
                7 => {
                    stand = None;
                    answer.n(4)
                }
                _ => answer.n(4),
            };
            send(&mut stream, &answer);
            if request[0] == 5 {
                // Stop: it ends. Event (6), Exited (0): code 143, signal 15, not OOM, two times.
                let event = bytes()
                    .n(0)
                    .n(6)
                    .n(0)
                    .s("old-0")
                    .i(143)
                    .i(15)
                    .n(0)
                    .i(1000)
                    .i(3000);
                send(&mut stream, &event);
            }
            if tell.send(request.to_vec()).is_err() {
                return;
            }
        }
        drop(stand);
    });
    asked
}

async fn fact(runtime: &KernelRuntime, uid: PodUid, id: &str) -> Option<ContainerFact> {
    let pods = runtime.observe().await;
    let containers = pods.into_iter().find(|p| p.uid == uid)?.containers;
    containers.into_iter().find(|c| c.id == id).map(|c| c.state)
}

#[tokio::test]
async fn a_shim_of_protocol_1_is_steered_as_ever() {
    let board = Board::new();
    let uid = uid();
    let dir = board.options.run_dir.join(format!("pods/{uid}"));
    std::fs::create_dir_all(dir.join("c/old-0")).unwrap();
    let stand = Stand(Command::new("sleep").arg("1000").spawn().unwrap());
    let (pid, start) = (i64::from(stand.0.id()), stand.start_time());
    std::fs::write(dir.join("shim"), bytes().i(pid).n(start).0).unwrap();
    let listener = UnixListener::bind(dir.join("shim.sock")).unwrap();
    let hello = bytes().n(0).n(1).s(&uid.to_string()).i(pid).n(start);
    let asked = old_shim(listener, hello, stand);
    let asked = || asked.recv_timeout(Duration::from_secs(20)).unwrap();

    let runtime = board.runtime().await;
    assert_eq!(asked(), [0, 2], "hello, with our version");
    assert_eq!(asked(), [8], "wants events");
    assert_eq!(asked(), [1], "state");
    let running = fact(&runtime, uid, "old-0").await;
    assert!(
        matches!(running, Some(ContainerFact::Running(r)) if r.pid == 4242),
        "{running:?}"
    );

    // What it can't do is refused here: it never hears of it.
    let config = ExecConfig::captured(vec!["true".to_owned()]);
    let refused = runtime.exec(uid, "old-0", &config).await.unwrap_err();
    assert!(matches!(refused, Error::Refused { .. }), "{refused}");
    assert!(
        runtime
            .attach(uid, "old-0", Stdio::default())
            .await
            .is_err()
    );

    // A new container in the old pod: created as the old shim knows it, without a terminal.
    std::fs::create_dir_all(dir.join("ns")).unwrap();
    let mut config = board.container(uid, "new-0", "true");
    config.console.tty = true;
    config.console.stdin = true;
    config.stop_signal = 3;
    let record = runtime.start_container(uid, &config).await.unwrap();
    assert_eq!(
        (record.pid, record.start_time, record.created_unix_ms),
        (4343, 78, 2000)
    );
    let log = config.log.to_str().unwrap();
    let create = bytes().n(2).s("new-0").s(log).i(0).0;
    let ask = asked();
    assert!(ask.starts_with(&create) && ask.ends_with(&[1]), "{ask:?}");
    let spec = std::fs::read_to_string(dir.join("c/new-0/config.json")).unwrap();
    assert!(spec.contains("\"terminal\":false"));

    runtime
        .stop_container(uid, "old-0", Duration::from_millis(1500))
        .await
        .unwrap();
    assert_eq!(asked(), bytes().n(5).s("old-0").n(1500).0);
    eventually(|| async {
        match fact(&runtime, uid, "old-0").await {
            Some(ContainerFact::Exited(e)) if (e.code, e.signal) == (143, 15) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    runtime.delete_container(uid, "old-0").await.unwrap();
    assert_eq!(asked(), bytes().n(6).s("old-0").0);
    runtime.delete_pod(uid).await.unwrap();
    assert_eq!(asked(), [7]);
    assert_eq!(board.leaks(), Vec::<String>::new());
}

#[tokio::test]
async fn an_agent_of_protocol_1_steers_this_shim_as_ever() {
    let board = Board::new();
    let runtime = board.runtime().await;
    let uid = uid();
    runtime.ensure_pod(&pod(uid)).await.unwrap();
    let config = board.container(
        uid,
        "a-0",
        "trap 'exit 3' TERM; echo up; while true; do sleep 0.02; done",
    );
    // Its bundle is there; the old agent asks for the container itself.
    runtime.start_container(uid, &config).await.unwrap();
    eventually(|| async {
        match board.log(uid, "a-0") {
            log if log.contains("up") => Ok(()),
            log => Err(log),
        }
    })
    .await;
    let socket = board.options.run_dir.join(format!("pods/{uid}/shim.sock"));
    let conversation = tokio::task::spawn_blocking(move || {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let mut ask = |body: Bytes| {
            send(&mut stream, &body);
            receive(&mut stream).unwrap()
        };
        let hello = ask(bytes().n(1).n(0).n(1));
        assert!(
            hello.starts_with(&bytes().n(1).n(0).n(1).s(&uid.to_string()).0),
            "{hello:?}"
        );
        assert_eq!(ask(bytes().n(2).n(8)), [2, 4]);
        let state = ask(bytes().n(3).n(1));
        assert!(
            state.starts_with(&bytes().n(3).n(1).n(1).s("a-0").n(2).0),
            "{state:?}"
        );
        assert_eq!(ask(bytes().n(4).n(5).s("a-0").n(20_000)), [4, 4]);
        let event = receive(&mut stream).unwrap();
        assert!(
            event.starts_with(&bytes().n(0).n(6).n(0).s("a-0").i(3).i(0).n(0).0),
            "{event:?}"
        );
    });
    conversation.await.unwrap();
    runtime.delete_pod(uid).await.unwrap();
    assert_eq!(board.leaks(), Vec::<String>::new());
}
