//! The program itself, with a document on disk and no controller or broker anywhere: needs root.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use bramble_agent::identity;
use bramble_agent::image::Store;
use bramble_agent::state::{Change, Membership, State};
use bramble_agent_core::plan::Durability;
use bramble_agent_core::session::Document;
use bramble_wire::local::{Ask, Reply, Request, SOCKET, Status, VERSION};
use bramble_wire::object::{Container, Object, ObjectId, ObjectName, Pod, PodUid, Security};
use rcgen::{CertificateParams, KeyPair};

use crate::support::archive::{docker, layer_of};
use crate::support::node;
use crate::support::{Board, NodeNamespace, eventually, program, uid};

const IMAGE: &str = "bramble.test/busybox:1";

fn document(uid: PodUid) -> Arc<Document> {
    let pod = Pod {
        uid,
        name: ObjectName {
            namespace: "default".into(),
            name: "p".into(),
        },
        hostname: "p".into(),
        containers: vec![Container {
            name: "c".into(),
            image: IMAGE.into(),
            command: [
                "/bin/sh",
                "-c",
                "trap 'exit 0' TERM; while :; do sleep 0.1; done",
            ]
            .map(str::to_owned)
            .to_vec(),
            working_dir: Some("/".into()),
            security: Security {
                run_as_user: Some(0),
                ..Security::default()
            },
            ..Container::default()
        }],
        ..Pod::default()
    };
    node::document(1, 8, [(ObjectId::Pod(uid), Object::Pod(pod))])
}

/// A board that joined and accepted a document in an earlier life.
async fn prepare(board: &Board, uid: PodUid) {
    let data = &board.options.data_dir;
    let certificate = CertificateParams::new(vec!["node-1".to_owned()])
        .and_then(|params| params.self_signed(&KeyPair::generate()?))
        .unwrap();
    let keys = identity::generate().unwrap();
    // A certificate for the node's own key, or TLS could not be set up.
    let der = rustls_pki_types::PrivatePkcs8KeyDer::from(keys.tls.clone());
    let own = KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_ECDSA_P256_SHA256);
    let own = CertificateParams::new(vec!["node-1".to_owned()])
        .and_then(|params| params.self_signed(&own?))
        .unwrap();
    let membership = Membership {
        cluster: "c1".into(),
        node: "node-1".into(),
        ca: certificate.der().to_vec(),
        certificate: own.der().to_vec(),
        controller: identity::signing_key(&keys).verifying_key().to_bytes(),
        // Nobody there.
        brokers: vec!["mqtts://127.0.0.1:9".into()],
        controller_host: "127.0.0.1".into(),
    };
    let (state, _) = State::open(&data.join("state")).unwrap();
    let changes = vec![
        Change::Keys(Box::new(keys)),
        Change::Membership(Box::new(membership)),
        Change::Document(document(uid)),
    ];
    state.commit(changes, Durability::Hard).await.unwrap();
    let archive = board.dir.join("busybox.tar");
    let layer = layer_of(&board.dir.join("root"));
    let architecture = bramble_agent::facts::architecture();
    fs::write(&archive, docker(IMAGE, &[layer], architecture)).unwrap();
    let store = Store::open(data, &program("bramble-agent")).unwrap();
    store.load(&archive).await.unwrap();
}

fn command(board: &Board, first: &[&str]) -> Command {
    let options = &board.options;
    let mut command = Command::new(program("bramble-agent"));
    command
        .args(first)
        .arg("--data-dir")
        .arg(&options.data_dir)
        .arg("--run-dir")
        .arg(&options.run_dir)
        .args(["--cgroup-parent", &options.cgroup_parent])
        .env("RUST_LOG", "bramble_agent=debug")
        .stdin(Stdio::null());
    command
}

/// Killed when the test is over, however it ends.
struct Agent(Child);

impl Agent {
    fn start(board: &Board) -> Self {
        // The programs that it looks for beside itself.
        for needed in ["bramble-shim", "bramble-oci"] {
            program(needed);
        }
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(board.dir.join("agent.log"))
            .unwrap();
        Self(command(board, &[]).stderr(log).spawn().unwrap())
    }

    fn signal(&mut self, signal: &str) -> std::process::ExitStatus {
        let pid = self.0.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(sent.success());
        self.0.wait().unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn status(run_dir: &Path) -> Result<Status, String> {
    let ask = || -> std::io::Result<Vec<u8>> {
        let mut stream = UnixStream::connect(run_dir.join(SOCKET))?;
        let body = bramble_wire::encode(&Ask {
            version: VERSION,
            request: Request::Status,
        });
        stream.write_all(&(body.len() as u32).to_le_bytes())?;
        stream.write_all(&body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(|error| error.to_string())?;
    let body = answer.get(4..).unwrap_or_default();
    match bramble_wire::decode::<Reply>(body, "reply") {
        Ok(Reply::Status(status)) => Ok(status),
        other => Err(format!("{other:?}")),
    }
}

async fn until_running(board: &Board) -> Status {
    eventually(|| async {
        let status = status(&board.options.run_dir)?;
        if status.pods_running == 1 {
            return Ok(status);
        }
        let log = fs::read_to_string(board.dir.join("agent.log")).unwrap_or_default();
        Err(format!("{status:?}\n{log}"))
    })
    .await
}

/// First process of the pod's container: pid and start time.
fn container(board: &Board, uid: PodUid) -> Vec<u8> {
    let dir = board.options.run_dir.join(format!("pods/{uid}/c/c-1"));
    fs::read(dir.join("pid")).expect("the first life of the container")
}

#[test]
fn a_board_with_nobody_to_talk_to_runs_its_pods_and_an_agent_comes_and_goes() {
    NodeNamespace::run(|| async {
        let board = Board::new();
        let uid = uid();
        prepare(&board, uid).await;
        let mut agent = Agent::start(&board);
        let seen = until_running(&board).await;
        assert_eq!((seen.node.as_str(), seen.connected), ("node-1", false));
        let first = container(&board, uid);

        let second = command(&board, &[]).output().unwrap();
        let error = String::from_utf8_lossy(&second.stderr).into_owned();
        assert!(error.contains("an agent is running on it"), "{error}");

        agent.signal("-KILL");
        let mut agent = Agent::start(&board);
        until_running(&board).await;
        assert_eq!(container(&board, uid), first);

        assert!(agent.signal("-TERM").success());
        let mut agent = Agent::start(&board);
        until_running(&board).await;
        assert_eq!(container(&board, uid), first);
        assert!(agent.signal("-TERM").success());

        let drained = command(&board, &["drain"]).output().unwrap();
        let error = String::from_utf8_lossy(&drained.stderr).into_owned();
        assert!(drained.status.success(), "{error}");
        let logs = board.options.log_dir(uid);
        assert_eq!(board.leaks(), [format!("file {}", logs.display())]);
        let bridge = Command::new(board.dir.join("root/bin/busybox"))
            .args(["ip", "link", "show", "bramble0"])
            .output();
        assert!(!bridge.unwrap().status.success(), "the bridge is left");

        let _agent = Agent::start(&board);
        until_running(&board).await;
    });
}

#[test]
fn a_board_that_has_not_joined_says_how() {
    let board = Board::new();
    let output = command(&board, &[]).output().unwrap();
    assert!(!output.status.success());
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("--join ADDR and BRAMBLE_TOKEN"), "{error}");
}

#[test]
fn a_chroot_is_no_place_for_containers() {
    let board = Board::new();
    let root = board.dir.join("chroot");
    fs::create_dir(&root).unwrap();
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c"])
        .arg(r#"mount --rbind / "$0" && exec chroot "$0" "$@""#)
        .arg(&root)
        .arg(program("bramble-agent"))
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("this is a chroot"), "{error}");
    assert!(!output.status.success());
}
