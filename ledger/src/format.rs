//! Which release wrote a log, and what another release may make of it.
//!
//! A record's first byte is its kind. Kinds from [`SKIPPABLE`] on may be passed over by a release that does
//! not know them; all others it must know. So a release reads what a later one may add, and refuses what it
//! can't do without. The first record of every log and of every snapshot names the release that wrote what
//! follows; it is written again when another release goes on. Its own layout never changes:
//!
//! ```text
//! 7f │ level u16, little endian │ release, UTF-8
//! ```
//! A level that this release does not reach is refused as well: the meaning of a kind has changed.

/// Kinds from here on may be passed over.
pub const SKIPPABLE: u8 = 0x80;

/// The kind of the record that names a release.
const NAMES_RELEASE: u8 = 0x7f;

/// Longest name of a release.
const NAME_MAX: usize = 64;

/// What a release writes and reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// Its name.
    pub release: &'static str,
    /// The level that it writes, and the highest that it reads.
    pub level: u16,
    /// It knows the kinds below this one.
    pub kinds: u8,
}

impl Format {
    /// The record that comes before all others.
    #[must_use]
    pub fn record(&self) -> Vec<u8> {
        let mut record = vec![NAMES_RELEASE];
        record.extend(self.level.to_le_bytes());
        record.extend(self.release.as_bytes());
        record
    }
}

/// Why this release can't read a log. The log is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It begins otherwise.
    #[error("it does not say which release wrote it")]
    Unnamed,
    /// What names the release does not.
    #[error("the record that names its release is damaged")]
    Misnamed,
    /// A record of no bytes.
    #[error("a record is empty")]
    Empty,
    /// A later release, whose records mean something else.
    #[error(
        "release {writer} wrote it in format {level}, and this is release {own}, which reads up to \
         format {most}: start release {writer} or a later one"
    )]
    Level {
        /// Who wrote it.
        writer: String,
        /// In what.
        level: u16,
        /// This release.
        own: &'static str,
        /// The highest level that it reads.
        most: u16,
    },
    /// A later release, with records that this one can't do without.
    #[error(
        "release {writer} wrote a record of kind {kind}, which this release {own} does not know and must \
         not pass over: start release {writer} or a later one"
    )]
    Kind {
        /// Who wrote it.
        writer: String,
        /// Which.
        kind: u8,
        /// This release.
        own: &'static str,
    },
}

/// Stands between a log and its reader: hands on what this release knows.
#[derive(Debug)]
pub struct Gate {
    own: Format,
    /// Who wrote what comes, and at which level.
    writer: Option<(String, u16)>,
    /// What names the writer may come later, or not at all.
    nameless: bool,
    skipped: u64,
}

impl Gate {
    /// Before the first record.
    #[must_use]
    pub fn new(own: Format) -> Self {
        Self {
            own,
            writer: None,
            nameless: false,
            skipped: 0,
        }
    }

    /// Before the first record that is left of a damaged log, where the name may be among what was lost: who wrote
    /// last and at which level, as far as that is known from elsewhere. When nothing was read that names a writer
    /// ([`Gate::writer`]), what was handed on may have another meaning.
    ///
    /// # Errors
    /// [`Refused`], when that is one whose records mean something else.
    pub fn salvaging(own: Format, known: Option<(&str, u16)>) -> Result<Self, Refused> {
        let mut gate = Self {
            nameless: true,
            ..Self::new(own)
        };
        if let Some((name, level)) = known {
            gate.take(name, level)?;
        }
        Ok(gate)
    }

    /// The record, when it is for the reader; `None` when it is not, or may be passed over.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn pass<'r>(&mut self, record: &'r [u8]) -> Result<Option<&'r [u8]>, Refused> {
        let Some((&kind, rest)) = record.split_first() else {
            return Err(Refused::Empty);
        };
        if kind == NAMES_RELEASE {
            self.meet(rest)?;
            return Ok(None);
        }
        if self.writer.is_none() && !self.nameless {
            return Err(Refused::Unnamed);
        }
        if kind >= SKIPPABLE {
            self.skipped += 1;
            return Ok(None);
        }
        if kind >= self.own.kinds {
            return Err(Refused::Kind {
                writer: self.writer().unwrap_or("that is not known").into(),
                kind,
                own: self.own.release,
            });
        }
        Ok(Some(record))
    }

    /// What this release writes before anything else: its name, unless it wrote last.
    #[must_use]
    pub fn due(&self) -> Option<Vec<u8>> {
        let last = self.writer.as_ref();
        let own = last.is_some_and(|(name, level)| {
            (name.as_str(), *level) == (self.own.release, self.own.level)
        });
        (!own).then(|| self.own.record())
    }

    /// How many records were passed over. They are to be dropped by a snapshot: what this release
    /// changes from now on may be what they were about.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Who wrote last; `None` in a fresh log.
    #[must_use]
    pub fn writer(&self) -> Option<&str> {
        self.writer.as_ref().map(|(name, _)| name.as_str())
    }

    fn meet(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let (level, name) = bytes.split_first_chunk().ok_or(Refused::Misnamed)?;
        let level = u16::from_le_bytes(*level);
        let name = std::str::from_utf8(name).map_err(|_| Refused::Misnamed)?;
        if name.is_empty() || name.len() > NAME_MAX || name.contains(char::is_control) {
            return Err(Refused::Misnamed);
        }
        self.take(name, level)
    }

    fn take(&mut self, name: &str, level: u16) -> Result<(), Refused> {
        if level > self.own.level {
            return Err(Refused::Level {
                writer: name.to_owned(),
                level,
                own: self.own.release,
                most: self.own.level,
            });
        }
        self.writer = Some((name.to_owned(), level));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Format = Format {
        release: "0.2.0",
        level: 2,
        kinds: 3,
    };

    fn named(release: &str, level: u8) -> Vec<u8> {
        [&[0x7f, level, 0], release.as_bytes()].concat()
    }

    #[test]
    fn what_may_be_passed_over_is_and_nothing_else() {
        let mut gate = Gate::new(OWN);
        assert_eq!(gate.due(), Some(named("0.2.0", 2)), "a fresh log");
        assert_eq!(gate.pass(&[0, 1]), Err(Refused::Unnamed));
        assert_eq!(gate.pass(&[0x80]), Err(Refused::Unnamed));
        assert_eq!(gate.pass(&named("0.1.0", 1)), Ok(None));
        assert_eq!(gate.due(), Some(named("0.2.0", 2)), "an earlier release");
        assert_eq!(gate.pass(&[2, 9, 9]), Ok(Some(&[2, 9, 9][..])));
        assert_eq!(gate.pass(&named("0.2.0", 2)), Ok(None));
        assert_eq!(gate.due(), None);
        assert_eq!(gate.skipped(), 0);
        assert_eq!(gate.pass(&named("0.3.0", 2)), Ok(None));
        assert_eq!(gate.pass(&[0x80]), Ok(None));
        assert_eq!(gate.pass(&[0xff, 1]), Ok(None));
        assert_eq!(gate.skipped(), 2);
        assert_eq!(gate.writer(), Some("0.3.0"));
        assert_eq!(gate.pass(&[]), Err(Refused::Empty));
        let refused = gate.pass(&[3]).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "release 0.3.0 wrote a record of kind 3, which this release 0.2.0 does not know and must not \
             pass over: start release 0.3.0 or a later one"
        );
    }

    #[test]
    fn a_higher_level_is_refused_with_both_names() {
        let refused = Gate::new(OWN).pass(&named("1.0.0", 3)).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "release 1.0.0 wrote it in format 3, and this is release 0.2.0, which reads up to format 2: \
             start release 1.0.0 or a later one"
        );
    }

    #[test]
    fn what_is_left_needs_no_name_and_is_bounded_all_the_same() {
        let mut gate = Gate::salvaging(OWN, None).unwrap();
        assert_eq!(gate.pass(&[2, 9]), Ok(Some(&[2, 9][..])));
        assert_eq!(gate.pass(&[0x80]), Ok(None));
        assert!(matches!(gate.pass(&[3]), Err(Refused::Kind { .. })));
        assert!(gate.due().is_some());
        assert_eq!(gate.writer(), None, "nobody said whose records these are");
        assert_eq!(gate.pass(&named("0.1.0", 1)), Ok(None));
        assert_eq!(gate.writer(), Some("0.1.0"));
        let known = Gate::salvaging(OWN, Some(("0.2.0", 2))).unwrap();
        assert_eq!(known.writer(), Some("0.2.0"));
        let later = Gate::salvaging(OWN, Some(("1.0.0", 3))).unwrap_err();
        assert!(matches!(later, Refused::Level { level: 3, .. }));
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        let long = "x".repeat(65);
        for name in ["", "a\nb", long.as_str()] {
            assert_eq!(
                Gate::new(OWN).pass(&named(name, 1)),
                Err(Refused::Misnamed),
                "{name:?}"
            );
        }
        for bytes in [&[0x7f][..], &[0x7f, 1], &[0x7f, 1, 0, 0xff]] {
            assert_eq!(Gate::new(OWN).pass(bytes), Err(Refused::Misnamed));
        }
    }
}
