//! Followers whose stream breaks off, at any byte, and another that goes on.

use super::*;
use bramble_wire::stream::Mark;

/// What a reader holds of its streams, as the controller counts it.
#[derive(Default)]
struct Reader {
    text: Vec<u8>,
    /// Of [`Reader::text`]; the place is told as bytes.
    mark: Option<Mark>,
}

impl Reader {
    fn resume(&self) -> Option<Resume> {
        let mark = self.mark.as_ref()?;
        Some(Resume {
            place: Place::of_cursor(&mark.cursor).unwrap(),
            skip: self.text.len() as u64 - mark.offset,
            line_open: self.text.last().is_some_and(|last| *last != b'\n'),
        })
    }

    /// Reads a stream until `until` bytes came of it, which may be in the middle of a piece, or to its end.
    async fn read(&mut self, log: &Path, options: Options, until: usize) {
        let (_keep, alive) = watch::channel(false);
        let resume = self.resume();
        let options = Options {
            follow: true,
            resume,
            ..options
        };
        let mut pieces = spawn(life(log), options, alive);
        let before = self.text.len();
        while let Some(piece) = pieces.recv().await {
            let piece = piece.unwrap();
            let room = before + until - self.text.len();
            let lost = piece.bytes.len() > room;
            self.text
                .extend(&piece.bytes[..piece.bytes.len().min(room)]);
            if lost {
                // So is its mark, which came with the last byte.
                return;
            }
            if let Some(mark) = piece.mark {
                let offset = before as u64 + mark.offset;
                assert!(offset <= self.text.len() as u64);
                self.mark = Some(Mark { offset, ..mark });
            }
        }
    }

    fn text(&self) -> &str {
        str::from_utf8(&self.text).unwrap()
    }
}

fn options(lines: Option<u64>, timestamps: bool) -> Options {
    Options {
        tail_lines: lines,
        timestamps,
        ..Options::default()
    }
}

/// Lines with the same time, whole ones, parts, empty ones and what is none.
fn every_sort(log: &Path) {
    let part =
        |tag: &str, text: &str| format!("2026-01-01T00:00:00.000000001Z stdout {tag} {text}");
    append(
        log,
        &[
            &part("F", "one"),
            &part("F", "one"),
            &part("P", "begins "),
            &part("P", "goes on "),
            &part("F", "ends"),
            &part("F", ""),
            "garbage",
            &part("F", &"long".repeat(STREAM_FRAME_MAX)),
            &part("F", "last"),
        ],
    );
}

#[tokio::test]
async fn a_stream_that_breaks_off_at_any_byte_goes_on_at_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("1.log");
    every_sort(&log);
    let bases = [
        options(None, false),
        options(None, true),
        options(Some(3), true),
        Options {
            since_unix_s: Some(0),
            limit_bytes: Some(STREAM_FRAME_MAX as u64 * 2),
            ..options(Some(8), false)
        },
    ];
    for base in bases {
        let whole = collect(&log, base).await;
        let near = |n: usize| n.saturating_sub(2)..n + 3;
        let cuts = (0..150)
            .chain(near(STREAM_FRAME_MAX))
            .chain(near(2 * STREAM_FRAME_MAX))
            .chain(near(whole.len()));
        for cut in cuts {
            let mut reader = Reader::default();
            // Twice: the second stream breaks off too, soon.
            reader.read(&log, base, cut).await;
            let had = reader.text.len() as u64;
            let limit = |had: u64| base.limit_bytes.map(|limit| limit - had);
            let (limit_bytes, at) = (limit(had), cut % 7);
            let again = Options {
                limit_bytes,
                ..base
            };
            if reader.mark.is_some() {
                reader.read(&log, again, at).await;
            }
            let limit_bytes = limit(reader.text.len() as u64);
            let last = Options {
                limit_bytes,
                ..base
            };
            reader.read(&log, last, usize::MAX / 2).await;
            assert_eq!(reader.text(), whole, "{cut} {base:?}");
        }
    }
}

#[tokio::test]
async fn a_reader_of_the_last_lines_goes_on_with_all_that_came_since() {
    for old in [0, 3] {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("1.log");
        (0..old).for_each(|n| append(&log, &[&line(n)]));
        let mut reader = Reader::default();
        reader
            .read(&log, options(Some(0), false), usize::MAX / 2)
            .await;
        assert_eq!(reader.text(), "");
        (3..9).for_each(|n| append(&log, &[&line(n)]));
        reader
            .read(&log, options(Some(0), false), usize::MAX / 2)
            .await;
        assert_eq!(reader.text(), lines(3..9), "{old}");
    }
}

#[tokio::test]
async fn a_rotation_in_between_loses_only_what_is_there_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("1.log");
    let older = dir.path().join("1.log.1");
    // After how many rotations the reader comes back, and what it has then, having had half of line 1.
    let table = [
        (0, lines(0..3)),
        (1, lines(0..4)),
        (2, format!("{}li\n{}", lines(0..1), lines(3..5))),
        (3, format!("{}li\n{}", lines(0..1), lines(4..6))),
    ];
    for (rotations, wanted) in table {
        let _ = fs::remove_file(&older);
        let _ = fs::remove_file(&log);
        (0..3).for_each(|n| append(&log, &[&line(n)]));
        let mut reader = Reader::default();
        reader.read(&log, options(None, false), 0).await;
        reader.read(&log, options(None, false), 9).await;
        assert_eq!(reader.text(), "line 0\nli");
        for n in 0..rotations {
            // As the shim does, with one predecessor. Inodes of removed files may come again.
            fs::rename(&log, &older).unwrap();
            append(&log, &[&line(3 + n)]);
        }
        reader
            .read(&log, options(None, false), usize::MAX / 2)
            .await;
        assert_eq!(reader.text(), wanted, "{rotations}");
    }
}

/// What a reader has of the second file does not count as of the first, which is there no more.
#[tokio::test]
async fn a_break_after_a_change_of_files_doubles_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("1.log");
    let older = |n: u32| dir.path().join(format!("1.log.{n}"));
    (0..3).for_each(|n| append(&log, &[&line(n)]));
    fs::rename(&log, older(1)).unwrap();
    (3..6).for_each(|n| append(&log, &[&line(n)]));
    let mut reader = Reader::default();
    // The piece of the second file is cut, and its place is lost with it.
    reader.read(&log, options(None, false), 3 * 7 + 9).await;
    assert_eq!(reader.text(), lines(0..4) + "li");
    fs::remove_file(older(1)).unwrap();
    fs::rename(&log, older(1)).unwrap();
    (6..8).for_each(|n| append(&log, &[&line(n)]));
    reader
        .read(&log, options(None, false), usize::MAX / 2)
        .await;
    assert_eq!(reader.text(), lines(0..8));
}

#[tokio::test]
async fn a_log_that_was_emptied_in_between_is_read_from_its_start() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("1.log");
    for later in [5..6, 5..20] {
        let _ = fs::remove_file(&log);
        (0..5).for_each(|n| append(&log, &[&line(n)]));
        let mut reader = Reader::default();
        reader
            .read(&log, options(None, false), usize::MAX / 2)
            .await;
        fs::write(&log, "").unwrap();
        later.clone().for_each(|n| append(&log, &[&line(n)]));
        reader
            .read(&log, options(None, false), usize::MAX / 2)
            .await;
        assert_eq!(reader.text(), lines(0..5) + &lines(later));
    }
}

#[test]
fn a_cursor_is_short_and_another_is_refused() {
    let file = FileId::of(&tempfile::tempfile().unwrap()).unwrap();
    let place = Place {
        life: u32::MAX,
        file: Some(file),
        offset: u64::MAX,
        line_open: true,
    };
    assert!(place.cursor().len() <= bramble_wire::limits::CURSOR_MAX);
    assert_eq!(Place::of_cursor(&place.cursor()), Some(place));
    for bad in [&[][..], &[1], &[0], &[0, 1, 0, 2], b"no cursor"] {
        assert_eq!(Place::of_cursor(bad), None, "{bad:?}");
    }
}
