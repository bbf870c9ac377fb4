//! Streams over a fake board.

use std::path::Path;

use bramble_wire::report::{ContainerState, PodReport};
use bramble_wire::stream::{Exec, Forward, Logs, Resume};

use super::*;

fn request(container: &str) -> Open {
    Open {
        boot: Default::default(),
        credit: 10,
        what: What::Logs(Logs {
            pod: PodUid([1; 16]),
            container: container.into(),
            follow: false,
            previous: false,
            timestamps: false,
            tail_lines: None,
            since_unix_s: None,
            limit_bytes: None,
            resume: None,
        }),
    }
}

/// A board with log files, and commands that say what they read.
struct Fake(PathBuf);

impl Pods for Fake {
    fn exec(
        &self,
        _: PodUid,
        id: String,
        config: ExecConfig,
    ) -> BoxFuture<'static, Result<Session, Error>> {
        assert_eq!(id, "c.1");
        Box::pin(async move {
            if config.argv == ["missing"] {
                let (code, message) = (Some(127), "no such command".to_owned());
                return Err(Error::Exec { code, message });
            }
            let (input, mut read) = tokio::io::duplex(16);
            let (mut write, output) = tokio::io::duplex(16);
            let (done, exit) = tokio::sync::oneshot::channel();
            tokio::spawn(async move {
                tokio::io::copy(&mut read, &mut write).await.unwrap();
                done.send(7).unwrap();
                // Something left behind keeps the output open.
                std::future::pending::<()>().await;
                drop(write);
            });
            Ok(Session {
                input: Some(Box::new(input)),
                output: Some(Box::new(output)),
                error: None,
                terminal: None,
                exit: Box::pin(async { Ok(exit.await.unwrap()) }),
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

fn streams(directory: &Path) -> (Streams, mpsc::Receiver<Frame>, watch::Sender<Observation>) {
    let (sender, observations) = watch::channel(Observation::default());
    let pods = Arc::new(Fake(directory.to_owned()));
    let (streams, frames) = Streams::new(pods, observations, watch::channel(None).1);
    // The loop has looked, and saw nothing.
    sender.send_replace(Observation::default());
    (streams, frames, sender)
}

fn observed(state: ContainerState) -> Observation {
    let container = ContainerReport {
        name: "c".into(),
        state,
        last: None,
        restarts: 0,
        ready: true,
        started: true,
        image: String::new(),
        image_id: String::new(),
        container_id: format!("{}-c.1", PodUid([1; 16])),
    };
    let report = PodReport {
        uid: PodUid([1; 16]),
        containers: vec![container],
        ..PodReport::default()
    };
    let mut observation = Observation::default();
    observation.pods.insert(report.uid, report);
    observation
}

fn exec(command: &str) -> Open {
    let stdio = Stdio {
        stdin: true,
        stdout: true,
        ..Stdio::default()
    };
    Open {
        boot: Default::default(),
        credit: 10,
        what: What::Exec(Exec {
            pod: PodUid([1; 16]),
            container: "c".into(),
            command: vec![command.into()],
            stdio,
        }),
    }
}

fn running() -> ContainerState {
    let started = Default::default();
    ContainerState::Running { started }
}

#[tokio::test]
async fn a_command_gets_its_input_and_its_end_and_its_code_comes_last() {
    let (mut streams, mut frames, observed_by) = streams(Path::new("/nowhere"));
    observed_by.send_replace(observed(running()));
    let id = StreamId(1);
    streams.open(id, exec("cat"));
    assert_eq!(frames.recv().await.unwrap().out, Out::Ready);
    let (channel, credit) = (channel::IN, u64::from(STREAM_CREDIT_MAX));
    let given = frames.recv().await.unwrap().out;
    assert_eq!(given, Out::Credit { channel, credit });
    let text = b"hello, this is more than a pipe holds and more than the credit".to_vec();
    let end = text.len() as u64;
    let (offset, bytes) = (0, text.clone());
    streams.handle_in(
        id,
        In::Data {
            channel,
            offset,
            bytes,
        },
    );
    let offset = end;
    streams.handle_in(id, In::End { channel, offset });
    let mut seen = Vec::new();
    let mut code = None;
    loop {
        match frames.recv().await.unwrap().out {
            Out::Data { bytes, .. } => {
                seen.extend(bytes);
                streams.handle_in(id, In::Credit(seen.len() as u64 + 10));
            }
            Out::Exit { code: exit } => code = Some(exit),
            Out::End { offset, error } => {
                assert_eq!((offset, error), (end, None));
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((seen, code), (text, Some(7)));
}

#[tokio::test]
async fn commands_that_can_not_be_say_so() {
    let (mut streams, mut frames, observed_by) = streams(Path::new("/nowhere"));
    let id = StreamId(1);
    streams.open(id, exec("cat"));
    let error = Some(StreamError::NotFound("container not found (\"c\")".into()));
    let refused = frames.recv().await.unwrap().out;
    assert_eq!(refused, Out::End { offset: 0, error });
    observed_by.send_replace(observed(running()));
    streams.open(id, exec("missing"));
    assert_eq!(frames.recv().await.unwrap().out, Out::Ready);
    let error = Some(StreamError::Failed("no such command".into()));
    let refused = frames.recv().await.unwrap().out;
    assert_eq!(refused, Out::End { offset: 0, error });
}

#[tokio::test(start_paused = true)]
async fn a_silent_controller_ends_a_stream_and_one_that_forgot_is_told() {
    let (mut streams, mut frames, observed_by) = streams(Path::new("/nowhere"));
    observed_by.send_replace(observed(running()));
    let id = StreamId(1);
    streams.open(id, exec("cat"));
    for _ in 0..2 {
        frames.recv().await.unwrap();
    }
    tokio::time::advance(SILENCE - Duration::from_secs(1)).await;
    streams.handle_in(id, In::Credit(1));
    tokio::time::advance(SILENCE - Duration::from_secs(1)).await;
    // Nothing but what is said again.
    while let Ok(frame) = frames.try_recv() {
        assert!(matches!(frame.out, Out::Credit { .. }), "{:?}", frame.out);
    }
    for expected in [id, StreamId(2)] {
        streams.handle_in(StreamId(2), In::Close);
        if expected != id {
            streams.handle_in(expected, In::Credit(1));
        }
        let mut frame = frames.recv().await.unwrap();
        while matches!(frame.out, Out::Credit { .. }) {
            frame = frames.recv().await.unwrap();
        }
        assert_eq!(frame.id, expected);
        assert!(matches!(
            frame.out,
            Out::End {
                error: Some(StreamError::Lost(_)),
                ..
            }
        ));
    }
}

#[tokio::test]
async fn connections_are_carried_both_ways() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (mut streams, mut frames, observed_by) = streams(Path::new("/nowhere"));
    observed_by.send_replace(observed(running()));
    let (id, pod) = (StreamId(1), PodUid([1; 16]));
    let open = Open {
        boot: Default::default(),
        credit: 4,
        what: What::Forward(Forward {
            pod,
            ports: Vec::new(),
        }),
    };
    streams.open(id, open);
    assert_eq!(frames.recv().await.unwrap().out, Out::Ready);
    let channel = 5;
    streams.handle_in(id, In::Connect { channel, port });
    let (mut pod_end, _) = listener.accept().await.unwrap();
    assert!(matches!(
        frames.recv().await.unwrap().out,
        Out::Credit { channel: 5, .. }
    ));
    let (offset, bytes) = (0, b"ping".to_vec());
    streams.handle_in(
        id,
        In::Data {
            channel,
            offset,
            bytes,
        },
    );
    streams.handle_in(id, In::End { channel, offset: 4 });
    let mut got = String::new();
    pod_end.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "ping");
    pod_end.write_all(b"answer").await.unwrap();
    drop(pod_end);
    let mut seen = Vec::new();
    loop {
        match frames.recv().await.unwrap().out {
            Out::ChannelData { offset, bytes, .. } => {
                assert_eq!(offset, seen.len() as u64);
                seen.extend(bytes);
                if seen.len() == 4 {
                    let credit = 100;
                    streams.handle_in(id, In::ChannelCredit { channel, credit });
                }
            }
            Out::ChannelEnd { offset, error, .. } => {
                assert_eq!((offset, error), (6, None));
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, b"answer");
    drop(listener);
    streams.handle_in(id, In::Connect { channel: 6, port });
    match frames.recv().await.unwrap().out {
        Out::ChannelEnd {
            channel: 6,
            error: Some(StreamError::Failed(why)),
            ..
        } => assert!(why.contains("connection refused"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn nothing_is_sent_beyond_the_credit() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("c");
    std::fs::create_dir(&folder).unwrap();
    let line = "2026-01-02T03:04:05.000000000Z stdout F 0123456789abcdef\n";
    std::fs::write(folder.join("1.log"), line.repeat(2)).unwrap();
    let (mut streams, mut frames, _keep) = streams(directory.path());
    let id = StreamId(7);
    streams.open(id, request("c"));
    let mut text = Vec::new();
    let mut credit = 10;
    loop {
        match frames.recv().await.expect("a frame").out {
            Out::Data { offset, bytes } => {
                assert_eq!(offset, text.len() as u64);
                text.extend(bytes);
                assert!(text.len() as u64 <= credit);
                if text.len() as u64 == credit {
                    credit += 7;
                    streams.handle_in(id, In::Credit(credit));
                    // An older number takes nothing back.
                    streams.handle_in(id, In::Credit(1));
                }
            }
            Out::End { offset, error } => {
                assert_eq!((offset, error), (34, None));
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(text, b"0123456789abcdef\n0123456789abcdef\n");
}

/// What comes of a followed log until it has so many bytes, or ends; the text, the newest cursor and what
/// came after it, and the end.
async fn follow(
    frames: &mut mpsc::Receiver<Frame>,
    until: usize,
) -> (String, Resume, Option<Option<StreamError>>) {
    assert_eq!(frames.recv().await.unwrap().out, Out::Ready);
    let (mut text, mut mark, mut end) = (Vec::new(), None, None);
    while text.len() < until && end.is_none() {
        match frames.recv().await.unwrap().out {
            Out::Data { bytes, .. } => text.extend(bytes),
            Out::Log {
                offset,
                bytes,
                mark: newest,
            } => {
                assert_eq!(offset, text.len() as u64);
                text.extend(bytes);
                assert!(newest.offset <= text.len() as u64);
                mark = Some(newest);
            }
            Out::End { error, .. } => end = Some(error),
            other => panic!("{other:?}"),
        }
    }
    let mark = mark.expect("a mark");
    let resume = Resume {
        cursor: mark.cursor,
        skip: text.len() as u64 - mark.offset,
        line_open: text.last().is_some_and(|last| *last != b'\n'),
    };
    (String::from_utf8(text).unwrap(), resume, end)
}

#[tokio::test]
async fn a_follower_goes_on_with_another_agent_and_ends_with_its_life() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("c");
    std::fs::create_dir(&folder).unwrap();
    let line = |n: u32| format!("2026-01-02T03:04:0{n}.000000000Z stdout F line {n}\n");
    let write = |life: u32, text: String| {
        std::fs::write(folder.join(format!("{life}.log")), text).unwrap();
    };
    let wanted = |resume: Option<Resume>| {
        let mut open = request("c");
        let What::Logs(logs) = &mut open.what else {
            unreachable!()
        };
        (logs.follow, logs.resume) = (true, resume);
        open.credit = 10;
        open
    };
    write(1, line(1) + &line(2));
    let (mut streams, mut frames, observed_by) = streams(directory.path());
    observed_by.send_replace(observed(running()));
    streams.open(StreamId(1), wanted(None));
    let (text, resume, end) = follow(&mut frames, 10).await;
    assert_eq!(
        (&*text, end),
        ("line 1\nlin", None),
        "as much as there is credit for"
    );
    drop(streams);

    // Another agent: it has not looked yet. Then the container runs for a second time.
    let (sender, observations) = watch::channel(Observation::default());
    let pods = Arc::new(Fake(directory.path().to_owned()));
    let (mut streams, mut frames) = Streams::new(pods, observations, watch::channel(None).1);
    write(1, line(1) + &line(2) + &line(3));
    write(2, line(4));
    streams.open(StreamId(2), wanted(Some(resume.clone())));
    tokio::task::yield_now().await;
    assert!(frames.try_recv().is_err(), "nobody knows yet what runs");
    let mut second = observed(running());
    second.pods.get_mut(&PodUid([1; 16])).unwrap().containers[0].restarts = 1;
    sender.send_replace(second);
    streams.handle_in(StreamId(2), In::Credit(100));
    let (text, _, end) = follow(&mut frames, usize::MAX).await;
    assert_eq!((&*text, end), ("e 2\nline 3\n", Some(None)));

    // What is there no more, and what nobody understands, is said.
    std::fs::remove_file(folder.join("1.log")).unwrap();
    let cursor = b"?".to_vec();
    let odd = Resume {
        cursor,
        ..resume.clone()
    };
    for resume in [resume, odd] {
        streams.open(StreamId(3), wanted(Some(resume)));
        let refused = frames.recv().await.unwrap().out;
        assert!(
            matches!(refused, Out::End { error: Some(_), .. }),
            "{refused:?}"
        );
    }
}

#[test]
fn a_life_goes_on_until_its_end_is_known() {
    use bramble_wire::report::Terminated;
    let ended = |life| Terminated {
        container_id: bramble_agent_core::container::life_id(PodUid([1; 16]), "c", life),
        ..Terminated::default()
    };
    let waiting = || ContainerState::Waiting {
        reason: "CrashLoopBackOff".into(),
        message: String::new(),
    };
    let What::Logs(request) = request("c").what else {
        unreachable!()
    };
    // The state, the end of the life before, restarts; whether life 2 goes on.
    let table = [
        (running(), Some(1), 1, true),
        (running(), Some(2), 2, false),
        (waiting(), Some(1), 1, true),
        (waiting(), Some(2), 1, false),
        (ContainerState::Terminated(ended(2)), Some(1), 1, false),
    ];
    for (state, last, restarts, wanted) in table {
        let mut observation = observed(state.clone());
        let pod = observation.pods.get_mut(&PodUid([1; 16])).unwrap();
        pod.containers[0].last = last.map(ended);
        pod.containers[0].restarts = restarts;
        let goes_on = logs::goes_on(&observation, &request, 2);
        assert_eq!(goes_on, wanted, "{state:?} {last:?} {restarts}");
    }
    assert!(!logs::goes_on(&Observation::default(), &request, 2));
}

#[tokio::test]
async fn what_is_not_there_and_what_is_too_much_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let (mut streams, mut frames, _keep) = streams(directory.path());
    for n in 0..=STREAMS_MAX as u64 {
        streams.open(StreamId(n), request("../c"));
    }
    let mut unavailable = 0;
    for _ in 0..=STREAMS_MAX {
        match frames.recv().await.expect("a frame").out {
            Out::End {
                error: Some(StreamError::NotFound(_)),
                ..
            } => {}
            Out::End {
                error: Some(StreamError::Unavailable(_)),
                ..
            } => unavailable += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(unavailable, 1);
}
