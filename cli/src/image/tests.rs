use super::*;
use bramble_wire::local::{Ask, FRAME_MAX};
use std::io::Write as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread::JoinHandle;

/// An agent that serves one connection by a script.
struct Fake {
    _dir: tempfile::TempDir,
    socket: PathBuf,
    thread: JoinHandle<(Ask, Vec<u8>)>,
}

fn frame(stream: &mut UnixStream) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// Reads the question, the archive if one is to come, and answers. `patience`: pieces it reads
/// before it gives up.
fn fake(reply: Vec<u8>, patience: usize) -> Fake {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let ask: Ask = bramble_wire::decode(&frame(&mut stream), "ask").unwrap();
        let mut archive = Vec::new();
        if ask.request == Request::ImageLoadStream {
            for _ in 0..patience {
                let piece = frame(&mut stream);
                if piece.is_empty() {
                    break;
                }
                archive.extend(piece);
            }
        }
        let length = u32::try_from(reply.len()).unwrap();
        stream.write_all(&length.to_le_bytes()).unwrap();
        stream.write_all(&reply).unwrap();
        (ask, archive)
    });
    Fake {
        _dir: dir,
        socket,
        thread,
    }
}

fn answering(reply: &Reply) -> Fake {
    fake(bramble_wire::encode(reply), usize::MAX)
}

fn hello() -> Image {
    Image {
        id: "sha256:abc".into(),
        references: vec![
            "bramble.test/hello:v1".into(),
            "bramble.test/hello:new".into(),
        ],
        size_bytes: 1_234_567,
    }
}

#[test]
fn a_file_is_loaded_by_its_path() {
    let agent = answering(&Reply::Loaded(vec![hello()]));
    let file = agent._dir.path().join("x.tar");
    std::fs::write(&file, "tar").unwrap();
    let path = std::fs::canonicalize(&file).unwrap();
    let reply = load_file(&file, &agent.socket).unwrap();
    assert_eq!(reply, Reply::Loaded(vec![hello()]));
    let (ask, _) = agent.thread.join().unwrap();
    let path = path.to_str().unwrap().to_owned();
    assert_eq!(ask.request, Request::ImageLoadPath { path });
}

#[test]
fn a_stream_arrives_whole() {
    let agent = answering(&Reply::Loaded(vec![]));
    let archive: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    Agent::connect(&agent.socket)
        .unwrap()
        .send(archive.as_slice())
        .unwrap();
    assert_eq!(agent.thread.join().unwrap().1, archive);
}

#[test]
fn a_refusal_in_the_middle_of_a_stream_is_heard() {
    let refusal = Reply::Failed("layer 3 leads outside".into());
    let agent = fake(bramble_wire::encode(&refusal), 2);
    let error = Agent::connect(&agent.socket)
        .unwrap()
        .send(std::io::repeat(7).take(64 << 20))
        .unwrap_err();
    assert_eq!(error.to_string(), "layer 3 leads outside");
}

#[test]
fn what_goes_wrong_says_what_to_do() {
    let ask = |agent: &Fake| {
        let error = Agent::connect(&agent.socket)
            .and_then(|agent| agent.ask(Request::ImageList))
            .unwrap_err();
        format!("{error:#}")
    };
    let garbage = ask(&fake(vec![200, 1], 0));
    assert!(garbage.contains("do the versions"), "{garbage}");
    let large = ask(&fake(vec![0; FRAME_MAX + 1], 0));
    assert!(large.contains("too large"), "{large}");
    let gone = Agent::connect(Path::new("/nonexistent/agent.sock"))
        .err()
        .unwrap();
    assert!(
        gone.to_string().contains("is bramble-agent running"),
        "{gone}"
    );
    let directory = load_file(Path::new("/"), Path::new("/nonexistent")).unwrap_err();
    assert!(format!("{directory:#}").contains("is a directory"));
}

#[test]
fn removing_what_is_not_there_is_said() {
    let remove_with = |after: Vec<Image>| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let thread = std::thread::spawn(move || {
            let answers = [
                Reply::Images(vec![hello()]),
                Reply::Done,
                Reply::Images(after),
            ];
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                frame(&mut stream);
                let body = bramble_wire::encode(&answer);
                let length = u32::try_from(body.len()).unwrap();
                stream.write_all(&length.to_le_bytes()).unwrap();
                stream.write_all(&body).unwrap();
            }
        });
        let result = remove("hello:v1", &path);
        thread.join().unwrap();
        result.map_err(|e| e.to_string())
    };
    assert_eq!(remove_with(vec![]), Ok(()));
    let error = remove_with(vec![hello()]).unwrap_err();
    assert!(error.starts_with("no image hello:v1"), "{error}");
}

#[test]
fn a_pull_says_how_far_it_is_and_sends_its_credentials() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let ask: Ask = bramble_wire::decode(&frame(&mut stream), "ask").unwrap();
        let progress = Progress {
            bytes: 1_000,
            of: 2_000_000,
            layers: 1,
            of_layers: 3,
        };
        assert_eq!(
            how_far(&progress),
            "1.0 kB of 2.0 MB, 1 of 3 layers unpacked"
        );
        for answer in [Reply::Progress(progress), Reply::Loaded(vec![hello()])] {
            let body = bramble_wire::encode(&answer);
            let length = u32::try_from(body.len()).unwrap();
            stream.write_all(&length.to_le_bytes()).unwrap();
            stream.write_all(&body).unwrap();
        }
        ask.request
    });
    let auth = dir.path().join("config.json");
    std::fs::write(&auth, "{}").unwrap();
    pull("hello:v1", Some(&auth), &path).unwrap();
    let asked = Request::ImagePull {
        name: "hello:v1".into(),
        auth: Some(Auth(b"{}".to_vec())),
    };
    assert_eq!(thread.join().unwrap(), asked);
}

#[test]
fn an_image_is_inspected_as_json() {
    let detail = Detail {
        id: "sha256:abc".into(),
        references: vec!["a:1".into()],
        size_bytes: 5,
        in_use: true,
        layers: vec![("sha256:l".into(), 5)],
        config: r#"{"architecture":"arm64"}"#.into(),
    };
    let value: serde_json::Value = serde_json::from_str(&detail_json(&detail).unwrap()).unwrap();
    assert_eq!(value["config"]["architecture"], "arm64");
    assert_eq!(value["layers"][0]["diffId"], "sha256:l");
    assert_eq!((&value["size"], &value["inUse"]), (&5.into(), &true.into()));
}

#[test]
fn images_are_shown_by_name() {
    let by_digest = Image {
        references: vec!["a:1".into(), "a@sha256:0".into()],
        ..hello()
    };
    assert!(!list(&[by_digest]).contains('@'));
    let nameless = Image {
        references: vec![],
        ..hello()
    };
    assert_eq!(
        list(&[hello(), nameless]),
        "\
NAME                     ID           SIZE
<none>                   sha256:abc   1.2 MB
bramble.test/hello:new   sha256:abc   1.2 MB
bramble.test/hello:v1    sha256:abc   1.2 MB
"
    );
    assert_eq!(
        done("loaded", &[hello()]),
        "loaded bramble.test/hello:v1, bramble.test/hello:new  sha256:abc  1.2 MB\n"
    );
}

#[test]
fn sizes_are_short() {
    for (bytes, want) in [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (99_999, "99.9 kB"),
        (123_456, "123 kB"),
        (5_600_000_000, "5.6 GB"),
        (u64::MAX, "1844674 TB"),
    ] {
        assert_eq!(size(bytes), want);
    }
}
