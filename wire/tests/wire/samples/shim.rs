//! What agent and shim of version 2 say to each other: a shim outlives many an agent.

use bramble_wire::shim::{
    Answer, Ask, Attach, Attached, ContainerInfo, ContainerRecord, ContainerState, Create,
    CreateWith, Event, Exec, ExitRecord, Failure, FailureKind, Hello, OciReport, Reply, Request,
    SessionEnd, ShimRecord, Streams,
};

use super::check;

const STREAMS: Streams = Streams {
    stdin: true,
    stdout: true,
    stderr: false,
};

#[test]
fn every_ask_of_a_shim_loads() {
    let id = || "web-0".to_owned();
    let create = || Create {
        id: id(),
        log: "/l".to_owned(),
        oom_score_adj: -997,
        oom_events: "/o".to_owned(),
        start: true,
    };
    for (label, request) in [
        ("hello", Request::Hello { version: 2 }),
        ("state", Request::State),
        ("create", Request::Create(create())),
        ("start", Request::Start { id: id() }),
        (
            "signal",
            Request::Signal {
                id: id(),
                signal: 10,
            },
        ),
        (
            "stop",
            Request::Stop {
                id: id(),
                grace_ms: 30_000,
            },
        ),
        ("delete", Request::Delete { id: id() }),
        ("shutdown", Request::Shutdown),
        ("wait-events", Request::WaitEvents),
        (
            "create-with",
            Request::CreateWith(CreateWith {
                create: create(),
                terminal: true,
                stdin: true,
                stdin_once: true,
                stop_signal: 3,
                kill: vec!["/sys/fs/cgroup/c".to_owned()],
            }),
        ),
        (
            "exec",
            Request::Exec(Exec {
                id: id(),
                argv: vec!["sh".to_owned(), "-c".to_owned()],
                streams: STREAMS,
                terminal: true,
                outlive: true,
            }),
        ),
        (
            "attach",
            Request::Attach(Attach {
                id: id(),
                streams: STREAMS,
            }),
        ),
        ("end-input", Request::EndInput { session: 7 }),
        (
            "end-session",
            Request::EndSession {
                session: 7,
                grace_ms: 1_000,
            },
        ),
    ] {
        let ask = Ask { number: 3, request };
        check(&format!("shim-2-ask-{label}"), &ask);
    }
}

#[test]
fn every_answer_of_a_shim_loads() {
    let record = ContainerRecord {
        pid: 4_321,
        start_time: 99,
        created_unix_ms: 1_795_000_000_000,
    };
    let exit = ExitRecord {
        code: 137,
        signal: 9,
        oom_killed: true,
        created_unix_ms: 1_795_000_000_000,
        finished_unix_ms: 1_795_000_000_001,
    };
    let states = [
        ContainerState::Creating,
        ContainerState::Created(record),
        ContainerState::Running(record),
        ContainerState::Exited(exit),
    ];
    let info = |state| ContainerInfo {
        id: "web-0".to_owned(),
        state,
    };
    let failures = [
        FailureKind::NotFound,
        FailureKind::Exists,
        FailureKind::Invalid,
        FailureKind::CommandNotFound,
        FailureKind::CommandNotExecutable,
        FailureKind::WorkingDirectory,
        FailureKind::Runtime,
        FailureKind::TimedOut,
    ];
    let failure = |kind| Failure {
        kind,
        message: "no".to_owned(),
    };
    let shim = ShimRecord {
        pid: 1_234,
        start_time: 98,
    };
    let hello = Hello {
        version: 2,
        pod: "p".to_owned(),
        shim,
    };
    let attached = Attached {
        pid: 4_322,
        terminal: true,
        stdin: true,
    };
    let event = Event::Exited {
        id: "web-0".to_owned(),
        exit,
    };
    let mut all = vec![
        ("hello".to_owned(), Reply::Hello(hello)),
        ("state".to_owned(), Reply::State(states.map(info).to_vec())),
        ("created".to_owned(), Reply::Created(record)),
        ("running".to_owned(), Reply::Running(record)),
        ("done".to_owned(), Reply::Done),
        ("event".to_owned(), Reply::Event(event)),
        ("attached".to_owned(), Reply::Attached(attached)),
        (
            "exited".to_owned(),
            Reply::Ended(SessionEnd::Exited { code: 3 }),
        ),
        ("detached".to_owned(), Reply::Ended(SessionEnd::Detached)),
        ("too-slow".to_owned(), Reply::Ended(SessionEnd::TooSlow)),
    ];
    for (number, kind) in failures.into_iter().enumerate() {
        all.push((format!("failed-{number}"), Reply::Failed(failure(kind))));
    }
    for (label, reply) in all {
        check(
            &format!("shim-2-answer-{label}"),
            &Answer { number: 3, reply },
        );
    }
    let done = OciReport::Done {
        pid: 5,
        warnings: vec!["w".to_owned()],
    };
    check("oci-done", &done);
    check(
        "oci-failed",
        &OciReport::Failed(failure(FailureKind::Runtime)),
    );
}
