//! Commands in real containers and clients attached to them: needs root, cgroups and overlayfs.
#![allow(missing_docs, clippy::unwrap_used)] // tests and their helpers

use std::time::{Duration, Instant};

use bramble_agent::runtime::{
    ContainerConfig, ContainerFact, Error, ExecConfig, KernelRuntime, Runtime, Session, User,
};
use bramble_wire::object::PodUid;
use bramble_wire::shim::{ContainerRecord, ExitRecord};
use bramble_wire::stream::Stdio;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Board, eventually, pod, uid};

const IDLE: &str = "trap 'exit 0' TERM; while true; do sleep 0.05; done";
const ALL: Stdio = Stdio {
    stdin: true,
    stdout: true,
    stderr: true,
    tty: false,
};
const TERMINAL: Stdio = Stdio { tty: true, ..ALL };
const OUTPUT: Stdio = Stdio {
    stdin: false,
    ..ALL
};

/// A pod with one container.
struct Fixture {
    board: Board,
    runtime: KernelRuntime,
    uid: PodUid,
    record: ContainerRecord,
}

impl Fixture {
    async fn new(script: &str, change: impl FnOnce(&mut ContainerConfig)) -> Self {
        let board = Board::new();
        let runtime = board.runtime().await;
        let uid = uid();
        runtime.ensure_pod(&pod(uid)).await.unwrap();
        let mut config = board.container(uid, "a-0", script);
        change(&mut config);
        let record = runtime.start_container(uid, &config).await.unwrap();
        Self {
            board,
            runtime,
            uid,
            record,
        }
    }

    async fn exec(&self, script: &str, stdio: Stdio) -> Session {
        let config = ExecConfig {
            argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            stdio,
            outlive: false,
            limit: None,
        };
        self.runtime.exec(self.uid, "a-0", &config).await.unwrap()
    }

    async fn output(&self, script: &str) -> (i32, String) {
        let (code, bytes) = self
            .exec(script, OUTPUT)
            .await
            .collect(1 << 20)
            .await
            .unwrap();
        (code, String::from_utf8(bytes).unwrap())
    }

    async fn attach(&self, stdio: Stdio) -> Session {
        self.runtime.attach(self.uid, "a-0", stdio).await.unwrap()
    }

    async fn wait_for_log(&self, text: &str) {
        eventually(|| async {
            let log = self.board.log(self.uid, "a-0");
            if log.contains(text) { Ok(()) } else { Err(log) }
        })
        .await;
    }

    async fn exit(&self) -> ExitRecord {
        eventually(|| async {
            let pods = self.runtime.observe().await;
            let fact = (pods.into_iter())
                .flat_map(|p| p.containers)
                .find(|c| c.id == "a-0");
            match fact.map(|f| f.state) {
                Some(ContainerFact::Exited(exit)) => Ok(exit),
                other => Err(format!("{other:?}")),
            }
        })
        .await
    }

    /// Processes of the container by the text of their command line.
    fn processes(&self, text: &str) -> Vec<String> {
        let own = std::fs::read_link(format!("/proc/{}/ns/pid", self.record.pid)).ok();
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        entries
            .filter(|e| {
                let line = std::fs::read(e.path().join("cmdline")).unwrap_or_default();
                let space = std::fs::read_link(e.path().join("ns/pid")).ok();
                String::from_utf8_lossy(&line).contains(text) && space.is_some() && space == own
            })
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .collect()
    }

    /// Waits until a process of the container waits for its output to be read.
    async fn held_up(&self, command: &str) {
        let waits =
            |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
        eventually(|| async {
            let found: Vec<_> = self
                .processes(command)
                .iter()
                .map(|pid| waits(pid))
                .collect();
            if found.iter().any(|place| place.ends_with("pipe_write")) {
                return Ok(());
            }
            Err(format!("{found:?}"))
        })
        .await;
    }

    async fn gone(&self, text: &str) {
        eventually(|| async {
            match self.processes(text).len() {
                0 => Ok(()),
                n => Err(format!("{n} processes with {text}")),
            }
        })
        .await;
    }

    async fn shim(&self) -> i32 {
        let path = format!("pods/{}/shim", self.uid);
        let bytes = std::fs::read(self.board.options.run_dir.join(path)).unwrap();
        let record: bramble_wire::shim::ShimRecord =
            bramble_wire::decode(&bytes, "shim record").unwrap();
        record.pid
    }

    async fn end(self) {
        self.runtime.delete_pod(self.uid).await.unwrap();
        assert_eq!(self.board.leaks(), Vec::<String>::new());
    }
}

async fn read_until(session: &mut Session, text: &str) -> String {
    let output = session.output.as_mut().unwrap();
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    let reading = async {
        while !String::from_utf8_lossy(&seen).contains(text) {
            let n = output.read(&mut buffer).await.unwrap();
            assert!(n > 0, "ended after {:?}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&buffer[..n]);
        }
    };
    let late = tokio::time::timeout(Duration::from_secs(20), reading).await;
    let seen = String::from_utf8_lossy(&seen).into_owned();
    assert!(late.is_ok(), "{seen:?}");
    seen
}

async fn write(session: &mut Session, text: &str) {
    let input = session.input.as_mut().unwrap();
    input.write_all(text.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn a_command_is_the_containers_own_but_for_its_argv() {
    let fixture = Fixture::new(IDLE, |c| {
        c.user = User {
            uid: 12,
            gid: 34,
            groups: vec![56],
        };
        c.env.push(("COLOUR".to_owned(), "red".to_owned()));
        c.working_dir = "/data".to_owned();
        c.oom_score_adj = 321;
    })
    .await;
    let script = "id -u; id -g; id -G; echo $COLOUR; pwd; hostname; readlink /proc/self/ns/pid; \
                  cat /proc/self/oom_score_adj; \
                  grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status; echo oops >&2; exit 7";
    let (code, text) = fixture.output(script).await;
    assert_eq!(code, 7, "{text}");
    for line in [
        "12", "34", "34 56", "red", "/data", "testpod", "321", "oops",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in {text}");
    }
    let of = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", fixture.record.pid));
    let status = of("status").unwrap();
    for line in text.lines().filter(|l| l.contains(":\t")) {
        assert!(
            status.lines().any(|l| l == line),
            "{line} is not the container's"
        );
    }
    let space = std::fs::read_link(format!("/proc/{}/ns/pid", fixture.record.pid)).unwrap();
    assert!(text.contains(space.to_str().unwrap()));
    // In its cgroups too, so that its limits are the container's.
    let mut session = fixture.exec("echo in; read end", ALL).await;
    read_until(&mut session, "in").await;
    let cgroups = std::fs::read_dir("/proc").unwrap().flatten().filter(|e| {
        let line = std::fs::read(e.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains("echo in; read end")
    });
    let own = of("cgroup").unwrap();
    let mut seen = 0;
    for process in cgroups {
        assert_eq!(
            std::fs::read_to_string(process.path().join("cgroup")).unwrap(),
            own
        );
        seen += 1;
    }
    assert_eq!(seen, 1);
    write(&mut session, "\n").await;
    assert_eq!(session.exit.await.unwrap(), 0);
    fixture.end().await;
}

/// Images that run as nobody in particular log to `/dev/stdout`, which is opened anew.
#[tokio::test]
async fn streams_belong_to_the_user_of_the_process() {
    let script = "echo out > /dev/stdout; echo err > /dev/stderr; trap 'exit 0' TERM; \
                  while true; do sleep 0.05; done";
    let fixture = Fixture::new(script, |c| c.user.uid = 1234).await;
    fixture.wait_for_log("stdout F out").await;
    fixture.wait_for_log("stderr F err").await;
    let (code, text) = fixture
        .output("echo one > /dev/stdout; echo two > /dev/stderr")
        .await;
    assert_eq!((code, text.len()), (0, 8), "{text}");
    let mut session = fixture
        .exec("echo three > /dev/tty; echo four > /dev/stdout", TERMINAL)
        .await;
    read_until(&mut session, "four").await;
    fixture.end().await;
}

#[tokio::test]
async fn input_ends_when_it_is_closed_and_both_outputs_are_apart() {
    let fixture = Fixture::new(IDLE, |_| {}).await;
    let mut session = fixture.exec("cat; echo done >&2", ALL).await;
    let mut input = session.input.take().unwrap();
    let mut output = session.output.take().unwrap();
    let bytes: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    let sent = bytes.clone();
    // Dropping the input is its end.
    tokio::spawn(async move { input.write_all(&sent).await });
    let mut seen = Vec::new();
    output.read_to_end(&mut seen).await.unwrap();
    assert!(seen == bytes);
    let mut errors = String::new();
    session
        .error
        .take()
        .unwrap()
        .read_to_string(&mut errors)
        .await
        .unwrap();
    assert_eq!(errors, "done\n");
    assert_eq!(session.exit.await.unwrap(), 0);
    fixture.end().await;
}

#[tokio::test]
async fn a_terminal_has_a_size_and_interrupts() {
    let fixture = Fixture::new(IDLE, |_| {}).await;
    let script = "trap 'busybox stty size; echo resized' WINCH; trap 'echo int; exit 130' INT; \
                  test -t 0 && test -t 1 && echo $TERM; echo ready; while true; do sleep 0.02; done";
    let mut session = fixture.exec(script, TERMINAL).await;
    let text = read_until(&mut session, "ready\r\n").await;
    assert!(text.contains("xterm\r\n"), "{text:?}");
    assert!(session.error.is_none());
    session.terminal.as_ref().unwrap().resize(93, 27);
    let text = read_until(&mut session, "resized\r\n").await;
    assert!(text.contains("27 93\r\n"), "{text:?}");
    write(&mut session, "\u{3}").await;
    read_until(&mut session, "int\r\n").await;
    assert_eq!((&mut session.exit).await.unwrap(), 130);
    // Everybody who held the terminal is gone: its output ends.
    let mut rest = String::new();
    session
        .output
        .take()
        .unwrap()
        .read_to_string(&mut rest)
        .await
        .unwrap();
    fixture.end().await;
}

#[tokio::test]
async fn failed_commands_say_why_and_leave_nothing_behind() {
    let fixture = Fixture::new(IDLE, |_| {}).await;
    let shim = fixture.shim().await;
    let fds = || {
        std::fs::read_dir(format!("/proc/{shim}/fd"))
            .unwrap()
            .count()
    };
    let children = || {
        let path = format!("/proc/{shim}/task/{shim}/children");
        std::fs::read_to_string(path)
            .unwrap()
            .split_whitespace()
            .count()
    };
    let (before, first) = (fds(), children());
    for (argv, want, text) in [
        (
            "nothere",
            127,
            "exec: \"nothere\": executable file not found in $PATH: unknown",
        ),
        (
            "/no/where",
            127,
            "exec: \"/no/where\": stat /no/where: no such file or directory: unknown",
        ),
        ("/data", 126, "exec: \"/data\": permission denied: unknown"),
    ] {
        for stdio in [ALL, TERMINAL, OUTPUT] {
            let config = ExecConfig {
                argv: vec![argv.to_owned()],
                stdio,
                outlive: false,
                limit: None,
            };
            let error = fixture
                .runtime
                .exec(fixture.uid, "a-0", &config)
                .await
                .unwrap_err();
            assert!(error.to_string().ends_with(text), "{error}");
            assert!(matches!(error, Error::Exec { code: Some(code), .. } if code == want));
        }
    }
    assert_eq!(
        fixture.output("echo still").await,
        (0, "still\n".to_owned())
    );
    eventually(|| async {
        match (fds(), children()) {
            now if now == (before, first) => Ok(()),
            now => Err(format!("{now:?}, before {:?}", (before, first))),
        }
    })
    .await;
    // A zombie in its namespace would keep the container from ending.
    fixture
        .runtime
        .stop_container(fixture.uid, "a-0", Duration::from_secs(10))
        .await
        .unwrap();
    assert_eq!(fixture.exit().await.code, 0);
    let config = ExecConfig::captured(vec!["/bin/true".to_owned()]);
    let error = fixture
        .runtime
        .exec(fixture.uid, "a-0", &config)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "failed to exec in container: container is in CONTAINER_EXITED state"
    );
    let error = fixture
        .runtime
        .attach(fixture.uid, "a-0", OUTPUT)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotRunning { .. }), "{error}");
    fixture.end().await;
}

#[tokio::test]
async fn a_command_ends_with_its_client_unless_it_is_to_outlive_it() {
    // The agent is a runtime of its own, so that it can die as by `kill -9`: nobody says good-bye.
    let agent = tokio::runtime::Runtime::new().unwrap();
    let life = agent.spawn(async {
        let fixture = Fixture::new(IDLE, |_| {}).await;
        // Whole, and though it ignores TERM.
        let stubborn =
            "trap '' TERM HUP; sleep 7771 & sleep 7771 & echo up; wait; wait; sleep 7771";
        let mut session = fixture.exec(stubborn, OUTPUT).await;
        read_until(&mut session, "up").await;
        assert!(fixture.processes("7771").len() >= 2);
        drop(session);
        fixture.gone("7771").await;
        let mut session = fixture.exec(stubborn, TERMINAL).await;
        read_until(&mut session, "up").await;
        let config = ExecConfig {
            argv: [
                "/bin/sh",
                "-c",
                "sleep 0.3; echo > /data/hook; sleep 7772; exit",
            ]
            .map(str::to_owned)
            .to_vec(),
            stdio: Stdio::default(),
            outlive: true,
            limit: None,
        };
        let hook = fixture
            .runtime
            .exec(fixture.uid, "a-0", &config)
            .await
            .unwrap();
        (fixture, session, hook)
    });
    let (old, session, hook) = life.await.unwrap();
    agent.shutdown_background();
    drop((session, hook));
    let fixture = Fixture {
        runtime: old.board.runtime().await,
        board: old.board,
        uid: old.uid,
        record: old.record,
    };
    fixture.gone("7771").await;
    eventually(|| async {
        match fixture.output("cat /data/hook").await {
            (0, _) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(fixture.processes("7772").len(), 2, "sh and its sleep");
    fixture.end().await;
}

#[tokio::test]
async fn clients_see_what_a_container_writes_from_now_on() {
    let fixture = Fixture::new(
        "echo before; while read line; do echo got $line; echo err $line >&2; done; echo eof; exit 3",
        |c| {
            c.console.stdin = true;
        },
    )
    .await;
    fixture.wait_for_log("before").await;
    let mut one = fixture.attach(ALL).await;
    let mut two = fixture.attach(OUTPUT).await;
    write(&mut one, "hello\n").await;
    assert_eq!(read_until(&mut one, "hello\n").await, "got hello\n");
    assert_eq!(read_until(&mut two, "hello\n").await, "got hello\n");
    let mut errors = [0; 10];
    one.error
        .as_mut()
        .unwrap()
        .read_exact(&mut errors)
        .await
        .unwrap();
    assert_eq!(&errors, b"err hello\n");
    // As upstream: the client's input ended, the client goes, the container's input stays open.
    drop(one.input.take());
    assert!(matches!(one.exit.await, Err(Error::Detached)));
    let mut one = fixture.attach(ALL).await;
    write(&mut one, "again\n").await;
    read_until(&mut one, "got again\n").await;
    read_until(&mut two, "got again\n").await;
    // An agent that is gone and comes back finds the input open.
    drop((one, two));
    let fixture = Fixture {
        runtime: fixture.board.runtime().await,
        ..fixture
    };
    let mut one = fixture.attach(ALL).await;
    write(&mut one, "adopted\n").await;
    read_until(&mut one, "got adopted\n").await;
    fixture
        .runtime
        .stop_container(fixture.uid, "a-0", Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(one.exit.await.unwrap(), 137);
    let log = fixture.board.log(fixture.uid, "a-0");
    for line in [
        "stdout F got hello",
        "stderr F err again",
        "stdout F got adopted",
    ] {
        assert!(log.contains(line), "{line}: {log}");
    }
    fixture.end().await;
}

#[tokio::test]
async fn input_that_is_open_once_ends_with_its_first_client_and_nothing_is_lost() {
    let fixture = Fixture::new("cat; echo end >&2; exit 5", |c| {
        c.console.stdin = true;
        c.console.stdin_once = true;
    })
    .await;
    let mut session = fixture.attach(ALL).await;
    let mut input = session.input.take().unwrap();
    let bytes = vec![b'x'; 2_000_000];
    let sent = bytes.clone();
    tokio::spawn(async move { input.write_all(&sent).await });
    let mut output = session.output.take().unwrap();
    // A slow reader holds the container up, as upstream, and misses nothing.
    fixture.held_up("cat").await;
    let mut seen = Vec::new();
    output.read_to_end(&mut seen).await.unwrap();
    assert_eq!(seen.len(), bytes.len());
    assert_eq!(session.exit.await.unwrap(), 5);
    fixture.exit().await;
    fixture.end().await;
}

#[tokio::test]
async fn a_containers_terminal_stays_when_clients_come_and_go() {
    let script = "test -t 0 && tty=yes; echo tty=$tty $TERM; \
                  while read line; do busybox stty size; echo got $line; done; exit 9";
    let fixture = Fixture::new(script, |c| {
        c.console.tty = true;
        c.console.stdin = true;
    })
    .await;
    fixture.wait_for_log("F tty=yes xterm").await;
    let mut session = fixture.attach(TERMINAL).await;
    session.terminal.as_ref().unwrap().resize(81, 31);
    write(&mut session, "one\n").await;
    let text = read_until(&mut session, "got one\r\n").await;
    assert!(text.contains("31 81\r\n"), "{text:?}");
    drop(session);
    let mut session = fixture.attach(TERMINAL).await;
    write(&mut session, "two\n").await;
    read_until(&mut session, "got two\r\n").await;
    // End of file, as a person types it.
    write(&mut session, "\u{4}").await;
    assert_eq!(session.exit.await.unwrap(), 9);
    assert_eq!(fixture.exit().await.code, 9);
    assert!(
        fixture
            .board
            .log(fixture.uid, "a-0")
            .contains("stdout F got two")
    );
    fixture.end().await;
}

#[tokio::test]
async fn a_client_that_stands_still_holds_no_container_up() {
    let script = "while [ ! -e /data/go ]; do sleep 0.02; done; \
                  yes 0123456789012345678901234567890123456789 | head -n 50000; echo the end; sleep 1000";
    let fixture = Fixture::new(script, |_| {}).await;
    let mut session = fixture.attach(OUTPUT).await;
    assert_eq!(fixture.output("echo > /data/go").await.0, 0);
    // Nobody reads, and the container gets on with it.
    fixture.wait_for_log("F the end").await;
    let text = read_until(&mut session, "the reader is too slow]\r\n").await;
    assert!(text.len() < 200_000, "{}", text.len());
    fixture.end().await;
}

#[tokio::test]
async fn a_stop_begins_with_the_containers_own_signal() {
    let script = "trap 'echo quit; exit 6' QUIT; trap 'echo term; exit 7' TERM; echo up; \
                  while true; do sleep 0.02; done";
    let fixture = Fixture::new(script, |c| c.stop_signal = libc_quit()).await;
    fixture.wait_for_log("up").await;
    let stop = fixture
        .runtime
        .stop_container(fixture.uid, "a-0", Duration::from_secs(20));
    stop.await.unwrap();
    assert_eq!(fixture.exit().await.code, 6);
    fixture.end().await;
}

fn libc_quit() -> i32 {
    bramble_agent::runtime::signal_number("SIGQUIT").unwrap()
}

#[tokio::test]
async fn a_fork_bomb_that_ignores_every_signal_is_killed_whole() {
    // Bounded by its own limit of processes; each one starts two more as long as it can.
    let script = "trap '' TERM HUP INT QUIT; bomb() { bomb & bomb & sleep 1000; }; echo up; bomb";
    let fixture = Fixture::new(script, |c| c.limits.pids = Some(100)).await;
    fixture.wait_for_log("up").await;
    let space = std::fs::read_link(format!("/proc/{}/ns/pid", fixture.record.pid)).unwrap();
    let all = || {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        entries
            .filter(|e| std::fs::read_link(e.path().join("ns/pid")).is_ok_and(|s| s == space))
            .count()
    };
    eventually(|| async {
        match all() {
            50.. => Ok(()),
            n => Err(format!("{n} processes")),
        }
    })
    .await;
    let start = Instant::now();
    let stop = fixture
        .runtime
        .stop_container(fixture.uid, "a-0", Duration::from_millis(100));
    stop.await.unwrap();
    assert_eq!(fixture.exit().await.signal, 9);
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(all(), 0);
    fixture.end().await;
}
