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
use bramble_agent::local::{Local, bind, serve};
use bramble_link::tls::FloorClock;
use bramble_wire::local::{Ask, Reply, Request, Status, VERSION};
use tokio::sync::watch;

use crate::support::archive::{docker, file, layer};

struct Agent {
    dir: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
    _keep: watch::Sender<Status>,
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
        let status = watch::Sender::new(Status {
            node: "board-1".to_owned(),
            ..Status::default()
        });
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
            status: status.subscribe(),
            in_use: Arc::new(BTreeSet::new),
            puller,
        };
        let listener = bind(&dir.path().join("agent.sock")).unwrap();
        drop(guard);
        runtime.spawn(serve(listener, local));
        Self {
            dir,
            _runtime: runtime,
            _keep: status,
        }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("agent.sock")
    }

    fn ask(&self, version: u16, request: Request, archive: Option<&[u8]>) -> Reply {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        let body = bramble_wire::encode(&Ask { version, request });
        stream
            .write_all(&(body.len() as u32).to_le_bytes())
            .unwrap();
        stream.write_all(&body).unwrap();
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
    failed(agent.ask(9, Request::Status, None), "speaks version 1");
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
