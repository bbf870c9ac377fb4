use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread::JoinHandle;

use bramble_wire::local::{Ask, Uplink};
use bramble_wire::object::{ObjectName, PodUid};
use bramble_wire::report::{ContainerReport, ContainerState, Phase, PodReport, Terminated, UnixMs};
use bramble_wire::stream::Out;

use super::*;
use crate::args::{NodeExec, PodName, Socket};

fn container(name: &str, state: ContainerState) -> ContainerReport {
    ContainerReport {
        name: name.into(),
        ready: matches!(state, ContainerState::Running { .. }),
        state,
        last: None,
        restarts: 2,
        started: true,
        image: "shop:v7".into(),
        image_id: "sha256:0123456789abcdef".into(),
        container_id: "i".into(),
    }
}

fn running() -> ContainerState {
    ContainerState::Running {
        started: UnixMs(1_000_000_000_000),
    }
}

fn pod(uid: u8, name: &str, containers: Vec<ContainerReport>) -> Pod {
    let (namespace, name) = name.split_once('/').unwrap();
    Pod {
        name: ObjectName {
            namespace: namespace.into(),
            name: name.into(),
        },
        report: PodReport {
            uid: PodUid([uid; 16]),
            phase: Phase::Running,
            pod_ip: Some([10, 42, 0, uid]),
            started: UnixMs(i64::from(uid)),
            containers,
            ..PodReport::default()
        },
        file: None,
    }
}

fn alone() -> Board {
    Board {
        node: "pi-2".into(),
        cluster: "home".into(),
        agent_version: "0.1.0".into(),
        boot: 7,
        up_ms: 90_000,
        uplink: Uplink {
            connected: false,
            for_ms: 7_200_000,
            ever: true,
        },
        brokers: vec!["mqtts://10.0.0.1:8883".into()],
        addresses: vec![[10, 0, 0, 2], [10, 1, 0, 2]],
        document: "1.1.9".into(),
        converged: true,
        static_pods: "/etc/bramble/pods".into(),
        now: UnixMs(1_000_000_060_000),
        notes: vec!["pod shop/job-x container c: CrashLoopBackOff \u{1b}[2J".into()],
    }
}

#[test]
fn a_board_alone_shows_what_it_runs() {
    let done = ContainerState::Terminated(Terminated {
        exit_code: 1,
        reason: "Error".into(),
        finished: UnixMs(1_000_000_055_000),
        ..Terminated::default()
    });
    let mut lost = pod(2, "shop/job-x", vec![container("c", done)]);
    lost.report.unclaimed = true;
    let mut gone = pod(3, "shop/old", vec![]);
    gone.report.gone = true;
    let pods = [
        pod(1, "shop/web-7d5-x2", vec![container("web", running())]),
        lost,
        gone,
    ];
    assert_eq!(
        status::text(&alone(), &pods),
        "\
Node        pi-2 of cluster home
Agent       agent 0.1.0, started 90s ago, start 7
Addresses   10.0.0.2, 10.1.0.2
Controller  away for 120m; looked for at mqtts://10.0.0.1:8883
Document    1.1.9, carried out

POD                      CONTAINER   STATE       READY   RESTARTS   ADDRESS     SINCE   IMAGE
shop/web-7d5-x2          web         Running     yes     2          10.42.0.1   60s     shop:v7 (0123456789ab)
shop/job-x (unclaimed)   c           Error (1)   no      2          10.42.0.2   5s      shop:v7 (0123456789ab)

- pod shop/job-x container c: CrashLoopBackOff  [2J
"
    );
    let json = status::as_json(&alone(), &pods);
    assert_eq!(json["controller"]["connected"], false);
    assert_eq!(
        json["pods"][0]["containers"][0]["imageID"],
        "sha256:0123456789abcdef"
    );
    assert_eq!(
        json["pods"][1]["containers"][0]["state"]["terminated"]["exitCode"],
        1
    );
}

#[test]
fn a_board_that_has_not_joined_says_so() {
    let text = status::text(&Board::default(), &[]);
    assert!(text.contains("has not joined a cluster"), "{text}");
    assert!(!text.contains("Controller"), "{text}");
}

#[test]
fn a_pod_is_meant_by_how_its_name_begins_when_no_other_begins_so() {
    let mut ended = pod(5, "shop/gone-1", vec![]);
    ended.report.gone = true;
    let pods = [
        pod(1, "shop/web-a", vec![]),
        pod(2, "shop/web-b", vec![]),
        pod(3, "test/web-a", vec![]),
        pod(4, "shop/web", vec![]),
        pod(6, "shop/same", vec![]),
        pod(7, "shop/same", vec![]),
        ended,
    ];
    for (wanted, expected) in [
        ("web", Ok(4)),
        ("shop/web-a", Ok(1)),
        ("pod/web-b", Ok(2)),
        ("test/w", Ok(3)),
        ("same", Ok(7)),
        ("web-a", Err("web-a could be any of shop/web-a, test/web-a")),
        (
            "gone",
            Err("no pod gone on this board; there are shop/web-a"),
        ),
        ("else/w", Err("there is none at all")),
    ] {
        let wanted: PodName = wanted.parse().unwrap();
        match (select::pod(&pods, &wanted), expected) {
            (Ok(found), Ok(number)) => assert_eq!(found.report.uid.0[0], number, "{wanted}"),
            (Err(error), Err(text)) => {
                assert!(error.to_string().contains(text), "{wanted}: {error}");
            }
            (other, _) => panic!("{wanted}: {other:?}"),
        }
    }
    for bad in ["", "/", "a/", "/a", "a/b/c"] {
        assert!(bad.parse::<PodName>().is_err(), "{bad:?}");
    }
}

#[test]
fn the_first_container_is_meant_unless_another_is_named() {
    let pod = pod(
        1,
        "shop/web",
        vec![container("a", running()), container("b", running())],
    );
    let (first, others) = select::container(&pod, None).unwrap();
    assert_eq!((first.name.as_str(), others), ("a", true));
    assert_eq!(select::container(&pod, Some("b")).unwrap().0.name, "b");
    let error = select::container(&pod, Some("c")).unwrap_err();
    assert!(error.to_string().contains("there are a, b"), "{error}");
}

fn read(stream: &mut UnixStream) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

fn answer(stream: &mut UnixStream, reply: &Reply) {
    let bytes = bramble_wire::encode(reply);
    let length = u32::try_from(bytes.len()).unwrap();
    stream.write_all(&length.to_le_bytes()).unwrap();
    stream.write_all(&bytes).unwrap();
}

/// An agent with one pod, whose next connection is served by `script`.
fn agent(
    script: impl FnOnce(Request, &mut UnixStream) + Send + 'static,
) -> (tempfile::TempDir, PathBuf, JoinHandle<()>) {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    let thread = std::thread::spawn(move || {
        let (mut first, _) = listener.accept().unwrap();
        let ask: Ask = bramble_wire::decode(&read(&mut first), "ask").unwrap();
        assert_eq!((ask.version, ask.request), (2, Request::Board));
        let known = pod(1, "shop/web", vec![container("web", running())]);
        answer(&mut first, &Reply::Pod(known));
        answer(&mut first, &Reply::Board(alone()));
        let (mut second, _) = listener.accept().unwrap();
        let ask: Ask = bramble_wire::decode(&read(&mut second), "ask").unwrap();
        script(ask.request, &mut second);
    });
    (dir, socket, thread)
}

fn exec(socket: PathBuf) -> NodeExec {
    NodeExec {
        pod: "w".parse().unwrap(),
        container: None,
        stdin: false,
        tty: false,
        socket: Socket { socket },
        command: vec!["false".into()],
    }
}

#[test]
fn the_code_of_a_command_is_the_programs_own() {
    let (_dir, socket, thread) = agent(|request, stream| {
        let Request::Exec(exec) = request else {
            panic!("{request:?}")
        };
        assert_eq!(
            (exec.pod, exec.container.as_str()),
            (PodUid([1; 16]), "web")
        );
        let end = Out::End {
            offset: 0,
            error: None,
        };
        for out in [Out::Ready, Out::Exit { code: 42 }, end] {
            answer(stream, &Reply::Out(out));
        }
    });
    let error = exec::run(&exec(socket)).unwrap_err();
    thread.join().unwrap();
    let exited = error.downcast_ref::<exec::Exited>().unwrap();
    assert_eq!(exited.to_string(), "the command ended with exit code 42");
}

#[test]
fn a_stream_that_breaks_off_is_no_success() {
    for outs in [
        vec![Out::Ready],
        vec![
            Out::Ready,
            Out::End {
                offset: 0,
                error: None,
            },
        ],
    ] {
        let (_dir, socket, thread) = agent(move |_, stream| {
            for out in outs {
                answer(stream, &Reply::Out(out));
            }
        });
        assert!(exec::run(&exec(socket)).is_err());
        thread.join().unwrap();
    }
}

#[test]
fn an_agent_of_before_says_what_it_speaks() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    let old = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        read(&mut stream);
        let why = "this agent speaks version 1 of the local protocol";
        answer(&mut stream, &Reply::Failed(why.into()));
    });
    let error = board(&socket).unwrap_err();
    assert!(error.to_string().contains("speaks version 1"), "{error}");
    old.join().unwrap();
}
