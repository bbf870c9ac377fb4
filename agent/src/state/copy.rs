//! A second copy of what the board can't be without: its keys and its membership, a number that no start of
//! the agent has reached, and who wrote the log.
//!
//! It stands beside the ledger's files and is written by rename, after the ledger: when keys or membership
//! change, when another release goes on, and once in half of [`STEP`] starts. It is read only when the ledger is damaged.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::contents::Contents;
use super::record::{FORMAT, Keys, Membership};

const NAME: &str = "identity";
/// Bytes of the checksum before it.
const SUM: usize = 16;
/// Larger than any.
const SIZE_MAX: u64 = 1 << 20;
/// How many starts one writing is good for.
const STEP: u64 = 1024;

/// The copy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Copy {
    pub(super) keys: Option<Keys>,
    pub(super) membership: Option<Membership>,
    /// How often keys and membership were written ([`Contents::identity`]).
    pub(super) identity: u64,
    /// No start has had this number.
    pub(super) boots_below: u64,
    /// Which release wrote the log beside it, and in which format.
    pub(super) release: String,
    pub(super) level: u16,
}

impl Copy {
    /// As it is in a directory; `None` when it is not there or not whole.
    pub(super) fn read(directory: &Path) -> Option<Self> {
        let path = directory.join(NAME);
        let size = fs::metadata(&path).ok()?.len();
        let bytes = (size <= SIZE_MAX).then(|| fs::read(&path))?.ok()?;
        let (sum, bytes) = bytes.split_at_checked(SUM)?;
        let whole = blake3::hash(bytes).as_bytes()[..SUM] == *sum;
        whole.then(|| bramble_wire::decode(bytes, "identity").ok())?
    }

    /// What to write, if the one that is there does not do for these contents.
    pub(super) fn due(there: Option<&Self>, contents: &Contents) -> Option<Self> {
        let below = there.map_or(0, |there| there.boots_below);
        let new = Self {
            keys: contents.keys.clone(),
            membership: contents.membership.clone(),
            identity: contents.identity,
            release: FORMAT.release.into(),
            level: FORMAT.level,
            boots_below: match contents.boot.saturating_add(STEP / 2) < below {
                true => below,
                false => contents.boot.saturating_add(STEP),
            },
        };
        (there != Some(&new)).then_some(new)
    }

    /// Puts it into a directory, durably.
    pub(super) fn write(&self, directory: &Path) -> io::Result<()> {
        let bytes = bramble_wire::encode(self);
        let new = directory.join("identity.new");
        let mut file = fs::OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(&blake3::hash(&bytes).as_bytes()[..SUM])?;
        file.write_all(&bytes)?;
        file.sync_data()?;
        fs::rename(&new, directory.join(NAME))?;
        fs::File::open(directory)?.sync_all()
    }
}
