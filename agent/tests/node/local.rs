//! The local socket, as a blocking client without a runtime sees it.
#![allow(missing_docs, clippy::unwrap_used)] // tests and their helpers

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bramble_agent::events::Events;
use bramble_agent::image::Store;
use bramble_agent::image::puller::{Options, Puller};
use bramble_agent::local::{Local, View, bind, serve};
use bramble_agent::runtime::{Error, ExecConfig, Session};
use bramble_agent::streams::{self, Pods};
use bramble_agent_core::session::Observation;
use bramble_link::tls::FloorClock;
use bramble_wire::limits::STREAMS_MAX;
use bramble_wire::local::{Ask, Board, Pod, Reply, Request, Status, VERSION};
use bramble_wire::object::{ObjectName, PodUid};
use bramble_wire::report::{ContainerReport, ContainerState, PodReport};
use bramble_wire::stream::{Exec, In, Logs, Out, Stdio, StreamError, channel};
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::support::archive::{docker, file, layer};

const POD: PodUid = PodUid([1; 16]);

/// A board with one pod, in which every command is `cat`.
#[derive(Clone)]
struct Fake(PathBuf);

impl View for Fake {
    fn status(&self) -> Status {
        Status {
            node: "board-1".to_owned(),
            ..Status::default()
        }
    }

    fn board(&self) -> Board {
        Board {
            node: "board-1".to_owned(),
            ..Board::default()
        }
    }

    fn pods(&self) -> Vec<Pod> {
        let name = ObjectName {
            namespace: "shop".to_owned(),
            name: "web".to_owned(),
        };
        let report = PodReport {
            uid: POD,
            ..PodReport::default()
        };
        let file = None;
        vec![Pod { name, report, file }]
    }
}

impl Pods for Fake {
    fn exec(
        &self,
        _: PodUid,
        _: String,
        _: ExecConfig,
    ) -> BoxFuture<'static, Result<Session, Error>> {
        Box::pin(async {
            let (input, mut read) = tokio::io::duplex(16);
            let (mut write, output) = tokio::io::duplex(16);
            let copied = tokio::spawn(async move {
                tokio::io::copy(&mut read, &mut write).await.unwrap();
                7
            });
            Ok(Session {
                input: Some(Box::new(input)),
                output: Some(Box::new(output)),
                error: None,
                terminal: None,
                exit: Box::pin(async { Ok(copied.await.unwrap()) }),
            })
        })
    }

    fn attach(
        &self,
        pod: PodUid,
        _: String,
        _: Stdio,
    ) -> BoxFuture<'static, Result<Session, Error>> {
        Box::pin(async move { Err(Error::ShimGone { pod }) })
    }

    fn log_dir(&self, _: PodUid) -> PathBuf {
        self.0.clone()
    }

    fn network_namespace(&self, _: PodUid) -> Option<PathBuf> {
        None
    }
}

fn running() -> Observation {
    let container = ContainerReport {
        name: "c".into(),
        state: ContainerState::Running {
            started: Default::default(),
        },
        last: None,
        restarts: 0,
        ready: true,
        started: true,
        image: String::new(),
        image_id: String::new(),
        container_id: format!("{POD}-c.1"),
    };
    let report = PodReport {
        uid: POD,
        containers: vec![container],
        ..PodReport::default()
    };
    let mut observation = Observation::default();
    observation.pods.insert(POD, report);
    observation
}

struct Agent {
    dir: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
    _keep: watch::Sender<Observation>,
}

impl Agent {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_bramble-agent"));
        let images = Arc::new(Store::open(&dir.path().join("data"), program).unwrap());
        let fake = Fake(dir.path().join("logs"));
        let (keep, observations) = watch::channel(Observation::default());
        keep.send_replace(running());
        let guard = runtime.enter();
        let (puller, _look) = Puller::new(
            Arc::clone(&images),
            Events::channel().0,
            Options {
                registries: dir.path().join("registries.toml"),
                parallel: 1,
                clock: FloorClock::new(0),
            },
            bramble_agent::clock::now,
        );
        let local = Local {
            images,
            view: Arc::new(fake.clone()),
            streams: streams::Local::new(Arc::new(fake), observations),
            in_use: Arc::new(BTreeSet::new),
            puller,
        };
        let listener = bind(&dir.path().join("agent.sock")).unwrap();
        drop(guard);
        runtime.spawn(serve(listener, local));
        Self {
            dir,
            _runtime: runtime,
            _keep: keep,
        }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("agent.sock")
    }

    fn open(&self, version: u16, request: Request) -> UnixStream {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        write(
            &mut stream,
            &bramble_wire::encode(&Ask { version, request }),
        );
        stream
    }

    fn stream(&self, request: Request) -> UnixStream {
        self.open(VERSION, request)
    }

    fn ask(&self, version: u16, request: Request, archive: Option<&[u8]>) -> Reply {
        let mut stream = self.open(version, request);
        if let Some(bytes) = archive {
            for piece in bytes.chunks(10_000).chain([&[][..]]) {
                stream
                    .write_all(&(piece.len() as u32).to_le_bytes())
                    .unwrap();
                stream.write_all(piece).unwrap();
            }
        }
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(
            u32::from_le_bytes(answer[..4].try_into().unwrap()) as usize,
            answer.len() - 4
        );
        bramble_wire::decode(&answer[4..], "reply").unwrap()
    }
}

fn write(stream: &mut UnixStream, body: &[u8]) {
    let length = u32::try_from(body.len()).unwrap();
    stream.write_all(&length.to_le_bytes()).unwrap();
    stream.write_all(body).unwrap();
}

fn say(stream: &mut UnixStream, frame: &In) {
    write(stream, &bramble_wire::encode(frame));
}

fn hear(stream: &mut UnixStream) -> Reply {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut body = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut body).unwrap();
    bramble_wire::decode(&body, "reply").unwrap()
}

/// What comes of a stream until its end.
fn hear_all(stream: &mut UnixStream) -> Vec<Out> {
    let mut outs = Vec::new();
    loop {
        match hear(stream) {
            Reply::Out(out @ Out::End { .. }) => {
                outs.push(out);
                return outs;
            }
            Reply::Out(out) => outs.push(out),
            other => panic!("{other:?}"),
        }
    }
}

fn exec() -> Request {
    Request::Exec(Exec {
        pod: POD,
        container: "c".to_owned(),
        command: vec!["cat".to_owned()],
        stdio: Stdio {
            stdin: true,
            stdout: true,
            ..Stdio::default()
        },
    })
}

fn follow() -> Request {
    Request::Logs(Logs {
        pod: POD,
        container: "c".to_owned(),
        follow: true,
        previous: false,
        timestamps: false,
        tail_lines: None,
        since_unix_s: None,
        limit_bytes: None,
        resume: None,
    })
}

#[test]
fn the_board_is_told_with_its_pods() {
    let agent = Agent::new();
    let mut stream = agent.stream(Request::Board);
    match (hear(&mut stream), hear(&mut stream)) {
        (Reply::Pod(pod), Reply::Board(board)) => {
            assert_eq!(pod.name.to_string(), "shop/web");
            assert_eq!(board.node, "board-1");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_command_reads_what_the_client_sends_and_its_code_comes_back() {
    let agent = Agent::new();
    let mut stream = agent.stream(exec());
    assert_eq!(hear(&mut stream), Reply::Out(Out::Ready));
    let Reply::Out(Out::Credit { credit, .. }) = hear(&mut stream) else {
        panic!("no credit")
    };
    assert!(credit >= 5);
    let (channel, offset) = (channel::IN, 0);
    let bytes = b"hello".to_vec();
    say(
        &mut stream,
        &In::Data {
            channel,
            offset,
            bytes,
        },
    );
    say(&mut stream, &In::End { channel, offset: 5 });
    let outs = hear_all(&mut stream);
    let mut text = Vec::new();
    for out in &outs {
        if let Out::Data { bytes, .. } = out {
            text.extend_from_slice(bytes);
        }
    }
    assert_eq!(text, b"hello");
    assert!(outs.contains(&Out::Exit { code: 7 }), "{outs:?}");
}

#[test]
fn clients_that_stay_leave_room_for_others() {
    let agent = Agent::new();
    let logs = agent.dir.path().join("logs/c");
    std::fs::create_dir_all(&logs).unwrap();
    std::fs::write(logs.join("1.log"), "2026-01-01T00:00:00Z stdout F here\n").unwrap();
    let mut followers: Vec<UnixStream> = (0..STREAMS_MAX).map(|_| agent.stream(follow())).collect();
    for follower in &mut followers {
        assert_eq!(hear(follower), Reply::Out(Out::Ready));
    }
    let outs = hear_all(&mut agent.stream(follow()));
    match outs.as_slice() {
        [
            Out::End {
                error: Some(StreamError::Unavailable(why)),
                ..
            },
        ] => {
            assert!(why.contains("4 streams"), "{why}");
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        agent.ask(1, Request::Status, None),
        Reply::Status(_)
    ));
    // One that goes makes room again.
    drop(followers.pop());
    loop {
        let mut again = agent.stream(follow());
        if hear(&mut again) == Reply::Out(Out::Ready) {
            return;
        }
    }
}

#[test]
fn a_client_that_breaks_the_protocol_loses_its_stream_and_nothing_else() {
    let agent = Agent::new();
    let too_long = (u32::MAX).to_le_bytes().to_vec();
    let junk = [&4_u32.to_le_bytes()[..], &[255; 4]].concat();
    let half = [&9_u32.to_le_bytes()[..], &[0; 2]].concat();
    for bytes in [too_long, junk, half] {
        let mut stream = agent.stream(exec());
        assert_eq!(hear(&mut stream), Reply::Out(Out::Ready));
        stream.write_all(&bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        // Closed, with or without what was on its way.
        let _ = stream.read_to_end(&mut rest);
        let end = bramble_wire::encode(&Reply::Out(Out::Exit { code: 7 }));
        assert!(
            !rest.windows(end.len()).any(|part| part == end),
            "{bytes:?}"
        );
    }
    // More than there is credit for: the command reads an end.
    let mut stream = agent.stream(exec());
    let bytes = vec![1; 8 * 1024];
    for offset in (0..20).map(|n| n * 8 * 1024) {
        let frame = In::Data {
            channel: channel::IN,
            offset,
            bytes: bytes.clone(),
        };
        let mut body = bramble_wire::encode(&frame);
        let length = u32::try_from(body.len()).unwrap().to_le_bytes();
        body.splice(0..0, length);
        // Its end may come before we are done.
        if stream.write_all(&body).is_err() {
            break;
        }
    }
    assert!(hear_all(&mut stream).contains(&Out::Exit { code: 7 }));
    assert!(matches!(
        agent.ask(VERSION, Request::Status, None),
        Reply::Status(_)
    ));
}

#[test]
fn images_are_loaded_listed_and_removed() {
    let agent = Agent::new();
    let mode = std::fs::metadata(agent.socket())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    match agent.ask(VERSION, Request::Status, None) {
        Reply::Status(status) => assert_eq!(status.node, "board-1"),
        other => panic!("{other:?}"),
    }
    let one = docker("one:1", &[layer(&[file("f", &[7; 300_000])])], "amd64");
    let path = agent.dir.path().join("one.tar");
    std::fs::write(&path, &one).unwrap();
    let by_path = Request::ImageLoadPath {
        path: path.to_str().unwrap().to_owned(),
    };
    assert!(matches!(
        agent.ask(VERSION, by_path, None),
        Reply::Loaded(_)
    ));
    let two = docker("two:1", &[layer(&[file("g", &[8; 300_000])])], "amd64");
    match agent.ask(VERSION, Request::ImageLoadStream, Some(&two)) {
        Reply::Loaded(images) => {
            assert_eq!(images[0].references, ["docker.io/library/two:1"]);
            assert_eq!(images[0].size_bytes, 300_000);
        }
        other => panic!("{other:?}"),
    }
    match agent.ask(VERSION, Request::ImageList, None) {
        Reply::Images(images) => assert_eq!(images.len(), 2),
        other => panic!("{other:?}"),
    }
    let remove = Request::ImageRemove {
        name: "one:1".to_owned(),
    };
    assert_eq!(agent.ask(VERSION, remove, None), Reply::Done);
}

#[test]
fn bad_requests_get_an_answer_too() {
    let agent = Agent::new();
    let failed = |reply: Reply, want: &str| match reply {
        Reply::Failed(text) => assert!(text.contains(want), "{text}"),
        other => panic!("{other:?}"),
    };
    failed(agent.ask(9, Request::Status, None), "speaks version 1 to 2");
    failed(agent.ask(0, Request::Status, None), "speaks version 1 to 2");
    failed(agent.ask(1, Request::Board, None), "not a valid request");
    let relative = Request::ImageLoadPath {
        path: "x.tar".to_owned(),
    };
    failed(agent.ask(VERSION, relative, None), "absolute");
    // Refused only after it was sent whole: the client must see the reason, not a broken pipe.
    failed(
        agent.ask(VERSION, Request::ImageLoadStream, Some(&[1; 1_000_000])),
        "load the archive that was sent: invalid image",
    );
    let fifo = agent.dir.path().join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    let path = fifo.to_str().unwrap().to_owned();
    failed(
        agent.ask(VERSION, Request::ImageLoadPath { path }, None),
        "is not a file",
    );
    let mut stream = UnixStream::connect(agent.socket()).unwrap();
    stream.write_all(&u32::MAX.to_le_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.is_empty());
}
