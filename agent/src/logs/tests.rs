use super::*;
use std::io::Write as _;

mod resume;

fn append(path: &Path, lines: &[&str]) {
    let mut file = File::options()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    for line in lines {
        writeln!(file, "{line}").unwrap();
    }
}

/// `n`th line of a log, one per second from 2026-01-01T00:00:00Z.
fn line(n: u32) -> String {
    format!("2026-01-01T00:00:{n:02}.000000001Z stdout F line {n}")
}

fn life(path: &Path) -> Log {
    let path = path.to_owned();
    Log { path, life: 1 }
}

async fn collect(log: &Path, options: Options) -> String {
    let (_keep, alive) = watch::channel(false);
    let mut pieces = spawn(life(log), options, alive);
    let mut out = Vec::new();
    while let Some(piece) = pieces.recv().await {
        out.extend(piece.unwrap().bytes);
    }
    String::from_utf8(out).unwrap()
}

/// Lines 0..30 over three files.
fn rotated() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("0.log");
    for (suffix, range) in [(".2", 0..10), (".1", 10..20), ("", 20..30)] {
        let path = PathBuf::from(format!("{}{suffix}", log.display()));
        for n in range {
            append(&path, &[&line(n)]);
        }
    }
    (dir, log)
}

fn lines(range: std::ops::Range<u32>) -> String {
    range.map(|n| format!("line {n}\n")).collect()
}

#[tokio::test]
async fn tail_since_and_limit_count_across_rotated_files() {
    let (_dir, log) = rotated();
    let new_year = 1_767_225_600;
    let base = Options::default();
    for (options, want) in [
        (base, lines(0..30)),
        (
            Options {
                tail_lines: Some(0),
                ..base
            },
            String::new(),
        ),
        (
            Options {
                tail_lines: Some(3),
                ..base
            },
            lines(27..30),
        ),
        (
            Options {
                tail_lines: Some(10),
                ..base
            },
            lines(20..30),
        ),
        (
            Options {
                tail_lines: Some(11),
                ..base
            },
            lines(19..30),
        ),
        (
            Options {
                tail_lines: Some(999),
                ..base
            },
            lines(0..30),
        ),
        (
            Options {
                since_unix_s: Some(new_year + 25),
                ..base
            },
            lines(25..30),
        ),
        (
            Options {
                limit_bytes: Some(10),
                ..base
            },
            "line 0\nlin".to_owned(),
        ),
        (
            Options {
                tail_lines: Some(1),
                timestamps: true,
                ..base
            },
            "2026-01-01T00:00:29.000000001Z line 29\n".to_owned(),
        ),
    ] {
        assert_eq!(collect(&log, options).await, want, "{options:?}");
    }
}

#[tokio::test]
async fn partial_lines_are_joined_and_half_lines_wait() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("0.log");
    append(
        &log,
        &[
            "T1 stdout P one ",
            "T2 stdout P two ",
            "T3 stdout F three",
            "garbage",
        ],
    );
    let mut file = File::options().append(true).open(&log).unwrap();
    file.write_all(b"T4 stdout F not finis").unwrap();
    let options = Options {
        timestamps: true,
        ..Options::default()
    };
    assert_eq!(collect(&log, options).await, "T1 one two three\n");
}

#[tokio::test]
async fn following_survives_rotation_and_ends_with_the_container() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("0.log");
    let (running, alive) = watch::channel(true);
    let options = Options {
        follow: true,
        ..Options::default()
    };
    // It may begin before the first line is written.
    let mut pieces = spawn(life(&log), options, alive);
    let mut got = String::new();
    let mut wait_for = async |text: &str| {
        while !got.ends_with(text) {
            got.push_str(&String::from_utf8(pieces.recv().await.unwrap().unwrap().bytes).unwrap());
        }
        got.clone()
    };
    append(&log, &[&line(0)]);
    wait_for("line 0\n").await;
    for n in 1..6 {
        append(&log, &[&line(n)]);
        fs::rename(&log, dir.path().join("0.log.1")).unwrap();
        append(&log, &[&line(n + 10)]);
        wait_for(&format!("line {n}\nline {}\n", n + 10)).await;
    }
    fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(&log)
        .unwrap();
    append(&log, &[&line(9)]);
    wait_for("line 9\n").await;
    append(&log, &[&line(20)]);
    running.send(false).unwrap();
    wait_for("line 20\n").await;
    assert!(pieces.recv().await.is_none());
}

#[tokio::test]
async fn a_reader_that_stalls_holds_up_its_stream_only() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("0.log");
    let long = format!("T stdout F {}", "x".repeat(10_000));
    append(&log, &vec![long.as_str(); 100]);
    let (_keep, alive) = watch::channel(false);
    let mut pieces = spawn(life(&log), Options::default(), alive);
    let mut total = 0;
    while let Some(piece) = pieces.recv().await {
        let piece = piece.unwrap().bytes;
        assert!(piece.len() <= STREAM_FRAME_MAX);
        assert!(pieces.len() <= QUEUE);
        total += piece.len();
    }
    assert_eq!(total, 100 * 10_001);
}

#[test]
fn the_current_and_the_previous_life_are_found() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("web")).unwrap();
    for name in ["2.log", "10.log", "10.log.1", "9.log", "x.log"] {
        fs::write(dir.path().join("web").join(name), "").unwrap();
    }
    let found = |container: &str, previous| {
        find(dir.path(), container, previous)
            .map(|log| log.path.file_name().unwrap().to_str().unwrap().to_owned())
    };
    assert_eq!(found("web", false).as_deref(), Some("10.log"));
    assert_eq!(found("web", true).as_deref(), Some("9.log"));
    for bad in ["", "db", "../web", "..", "a/b"] {
        assert_eq!(found(bad, false), None, "{bad:?}");
    }
    fs::write(dir.path().join("web/8.log.1"), "").unwrap();
    for (number, there) in [(10, true), (9, true), (8, true), (7, false)] {
        let log = of_life(dir.path(), "web", number);
        assert_eq!(log.is_some(), there, "{number}");
    }
}
