//! A followed log outlives the stream that carries it: what its client has, and what becomes of it when
//! the stream breaks off. Pure.
//!
//! Counted are bytes: what the client has got, at which of them the node last told a place in the log, and
//! whether a line is open. From that follows what to ask of the next stream, so that the client gets each
//! byte once. A break is borne for [`PATIENCE`] in all, until something new comes.

use std::time::{Duration, Instant};

use bramble_wire::limits::CURSOR_MAX;
use bramble_wire::stream::{Logs, Mark, Resume, StreamError};

use super::streams::Error;

/// How long a client's connection is held while its node is away.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Pause before a node that is there is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// The longest wait for a node to come; its coming is told, so this only makes up for what was missed.
const AWAY_PAUSE: Duration = Duration::from_secs(5);

/// What to do when a stream has broken off, or could not be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// Open another, when a node comes or after so long.
    Again(Duration),
    /// The client has all that it wanted.
    Done,
    /// Tell the client.
    Fail(Error),
}

/// What is known of one client's log.
#[derive(Debug)]
pub(super) struct Follow {
    asked: Logs,
    /// Bytes that the client has.
    passed: u64,
    /// Of those, how many it had when the stream began.
    before: u64,
    /// Where the log can be gone on with; its offset counts the client's bytes, of all streams.
    mark: Option<Mark>,
    line_open: bool,
    /// The node has begun to serve the stream.
    served: bool,
    /// Since when the log is broken off.
    broken: Option<Instant>,
    /// When a stream was asked for at once, without a pause.
    hurried: Option<Instant>,
}

impl Follow {
    pub(super) fn new(asked: Logs) -> Self {
        Self {
            asked,
            passed: 0,
            before: 0,
            mark: None,
            line_open: false,
            served: false,
            broken: None,
            hurried: None,
        }
    }

    /// What to ask the node for now.
    pub(super) fn request(&self) -> Logs {
        let mut logs = self.asked.clone();
        logs.limit_bytes = logs
            .limit_bytes
            .map(|limit| limit.saturating_sub(self.passed));
        logs.resume = self.mark.as_ref().map(|mark| Resume {
            cursor: mark.cursor.clone(),
            skip: self.passed - mark.offset,
            line_open: self.line_open,
        });
        logs
    }

    /// The node serves the stream, though the log may have nothing new.
    pub(super) fn handle_ready(&mut self) {
        self.served = true;
    }

    /// The client gets bytes.
    pub(super) fn handle_bytes(&mut self, bytes: &[u8]) {
        self.passed += bytes.len() as u64;
        if let Some(last) = bytes.last() {
            self.line_open = *last != b'\n';
            self.broken = None;
        }
    }

    /// The stream is over, with everything of it passed on; `mark` is the last that it told.
    pub(super) fn handle_break(&mut self, error: Error, mark: Option<Mark>, now: Instant) -> Next {
        if let Some(mark) = mark.filter(|mark| mark.cursor.len() <= CURSOR_MAX) {
            let offset = self.before.saturating_add(mark.offset);
            // One beyond what came tells nothing of what the client has.
            if offset <= self.passed {
                self.mark = Some(Mark { offset, ..mark });
            }
        }
        self.before = self.passed;
        // A gap may be one again and again.
        if std::mem::take(&mut self.served) && error != Error::Gap {
            self.broken = None;
        }
        let lost = matches!(
            error,
            Error::Offline(_) | Error::Gap | Error::Node(StreamError::Lost(_))
        );
        // Where a follower goes on, others may have taken the places, or the old stream still does.
        let busy = matches!(
            error,
            Error::Busy(_) | Error::Node(StreamError::Unavailable(_))
        );
        if !(lost || busy && self.broken.is_some()) || !self.asked.follow {
            return Next::Fail(error);
        }
        if self
            .asked
            .limit_bytes
            .is_some_and(|limit| limit <= self.passed)
        {
            return Next::Done;
        }
        if self.mark.is_none() && self.passed > 0 {
            // Nothing says where the log would go on.
            return Next::Fail(error);
        }
        // A node that breaks off again and again is asked again with pauses.
        let rested = |at: Instant| now.saturating_duration_since(at) >= PAUSE;
        let first = self.broken.is_none() && self.hurried.is_none_or(rested);
        let until = *self.broken.get_or_insert(now) + PATIENCE;
        let left = until.saturating_duration_since(now);
        match &error {
            _ if left.is_zero() => Next::Fail(error),
            // It may have come already.
            _ if first => {
                self.hurried = Some(now);
                Next::Again(Duration::ZERO)
            }
            Error::Offline(_) => Next::Again(AWAY_PAUSE.min(left)),
            _ => Next::Again(PAUSE.min(left)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bramble_wire::name::NodeName;
    use bramble_wire::object::PodUid;

    fn asked() -> Logs {
        Logs {
            pod: PodUid([1; 16]),
            container: "c".into(),
            follow: true,
            previous: false,
            timestamps: true,
            tail_lines: Some(10),
            since_unix_s: Some(5),
            limit_bytes: None,
            resume: None,
        }
    }

    fn offline() -> Error {
        Error::Offline(NodeName::new("n1").unwrap())
    }

    fn mark(offset: u64, cursor: u8) -> Option<Mark> {
        let cursor = vec![cursor];
        Some(Mark { offset, cursor })
    }

    fn resume(cursor: u8, skip: u64, line_open: bool) -> Option<Resume> {
        Some(Resume {
            cursor: vec![cursor],
            skip,
            line_open,
        })
    }

    #[test]
    fn each_stream_goes_on_after_what_the_client_has() {
        let now = Instant::now();
        // Of one stream after another: what came, the last mark, and what the next is asked.
        type Step<'a> = (&'a str, Option<Mark>, Option<Resume>);
        let table: &[&[Step<'_>]] = &[
            // Nothing came: as at first, or from where the first would have begun.
            &[("", None, None)],
            &[("", mark(0, 1), resume(1, 0, false))],
            &[
                ("", mark(0, 1), resume(1, 0, false)),
                ("", None, resume(1, 0, false)),
            ],
            // Whole lines, and part of one.
            &[("one\ntwo\n", mark(8, 1), resume(1, 0, false))],
            &[("one\ntwo", mark(4, 1), resume(1, 3, true))],
            // The next stream counts from its own start; one without a mark leaves the old.
            &[
                ("one\ntwo", mark(4, 1), resume(1, 3, true)),
                ("x\nthree\nfo", mark(8, 2), resume(2, 2, true)),
            ],
            &[
                ("one\ntwo", mark(4, 1), resume(1, 3, true)),
                ("x", None, resume(1, 4, true)),
                ("y\n", None, resume(1, 6, false)),
            ],
            // A mark beyond what came, or one too long, is none.
            &[
                ("one\n", mark(4, 1), resume(1, 0, false)),
                ("two\n", mark(5, 2), resume(1, 4, false)),
                (
                    "six\n",
                    Some(Mark {
                        offset: 4,
                        cursor: vec![0; CURSOR_MAX + 1],
                    }),
                    resume(1, 8, false),
                ),
            ],
        ];
        for streams in table {
            let mut follow = Follow::new(asked());
            for (text, mark, resume) in *streams {
                // In pieces.
                for piece in text.as_bytes().chunks(3) {
                    follow.handle_bytes(piece);
                }
                let next = follow.handle_break(offline(), mark.clone(), now);
                assert!(matches!(next, Next::Again(_)), "{streams:?}: {next:?}");
                let resume = resume.clone();
                assert_eq!(follow.request(), Logs { resume, ..asked() }, "{streams:?}");
            }
        }
    }

    #[test]
    fn what_ends_a_stream_decides_what_becomes_of_its_client() {
        let node = |error: fn(String) -> StreamError| Error::Node(error("why".to_owned()));
        let busy = || Error::Busy(NodeName::new("n1").unwrap());
        // Ends, and whether another stream is opened after each.
        let again = |error: Error| (error, true);
        let over = |error: Error| (error, false);
        let table = [
            vec![again(offline()), again(offline())],
            vec![again(Error::Gap), again(Error::Gap)],
            vec![again(node(StreamError::Lost))],
            vec![over(node(StreamError::Failed))],
            vec![over(node(StreamError::NotFound))],
            vec![over(node(StreamError::Unavailable))],
            vec![over(busy())],
            vec![
                again(offline()),
                again(busy()),
                again(node(StreamError::Unavailable)),
            ],
            vec![again(offline()), over(node(StreamError::NotFound))],
        ];
        for ends in table {
            let mut follow = Follow::new(asked());
            for (error, goes_on) in &ends {
                let next = follow.handle_break(error.clone(), None, Instant::now());
                assert_eq!(
                    matches!(next, Next::Again(_)),
                    *goes_on,
                    "{ends:?}: {next:?}"
                );
            }
        }
        let follow = false;
        let mut follow = Follow::new(Logs { follow, ..asked() });
        let next = follow.handle_break(offline(), mark(0, 1), Instant::now());
        assert_eq!(
            next,
            Next::Fail(offline()),
            "what is not followed is not waited for"
        );
        let mut follow = Follow::new(asked());
        follow.handle_bytes(b"x");
        let next = follow.handle_break(offline(), None, Instant::now());
        assert_eq!(
            next,
            Next::Fail(offline()),
            "nobody knows where it would go on"
        );
    }

    #[test]
    fn a_break_is_borne_for_so_long_in_all_until_the_log_is_served_again() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let end = |follow: &mut Follow, error, seconds| {
            follow.handle_break(error, mark(0, 1), at(seconds))
        };
        let again = |seconds| Next::Again(Duration::from_secs(seconds));
        let mut follow = Follow::new(asked());
        assert_eq!(end(&mut follow, Error::Gap, 0), again(0));
        follow.handle_ready();
        assert_eq!(end(&mut follow, Error::Gap, 0), again(1));
        assert_eq!(end(&mut follow, offline(), 20), again(5));
        assert_eq!(end(&mut follow, offline(), 58), again(2));
        assert_eq!(end(&mut follow, offline(), 60), Next::Fail(offline()));
        // A node that begins and breaks off for ever is not asked as fast as it answers.
        let lost = || Error::Node(StreamError::Lost(String::new()));
        let mut follow = Follow::new(asked());
        for (seconds, pause) in [(0, 0), (0, 1), (0, 1), (1, 0), (1, 1)] {
            assert_eq!(end(&mut follow, lost(), seconds), again(pause));
            follow.handle_ready();
        }
        let news: [fn(&mut Follow); 2] = [Follow::handle_ready, |follow| follow.handle_bytes(b"x")];
        for news in news {
            let mut follow = Follow::new(asked());
            assert_eq!(end(&mut follow, offline(), 0), again(0));
            assert_eq!(end(&mut follow, offline(), 0), again(5));
            news(&mut follow);
            assert_eq!(end(&mut follow, offline(), 59), again(0));
            assert_eq!(end(&mut follow, offline(), 60), again(5));
            assert_eq!(end(&mut follow, offline(), 119), Next::Fail(offline()));
        }
    }

    #[test]
    fn the_limit_of_bytes_is_of_all_streams_together() {
        let limit_bytes = Some(5);
        let mut follow = Follow::new(Logs {
            limit_bytes,
            ..asked()
        });
        follow.handle_bytes(b"one\n");
        let next = follow.handle_break(offline(), mark(4, 1), Instant::now());
        assert_eq!(next, Next::Again(Duration::ZERO));
        assert_eq!(follow.request().limit_bytes, Some(1));
        follow.handle_bytes(b"t");
        let next = follow.handle_break(offline(), mark(0, 1), Instant::now());
        assert_eq!(next, Next::Done);
    }
}
