//! A disk that keeps what was synced, and after a power cut any prefix of what was not; unless it lies.

use std::collections::VecDeque;

use super::rng::Rng;

/// Number of a write, for waiting until it is synced.
pub type WriteId = u64;

/// The state of one process on disk: whole states, one for each write since the last sync.
#[derive(Debug, Clone)]
pub struct Disk<T> {
    durable: T,
    pending: VecDeque<(WriteId, T)>,
    last: WriteId,
    /// It acknowledges syncs and keeps nothing: what is really there.
    kept: Option<T>,
}

/// What a power cut took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Writes that were not synced.
    pub lost: usize,
    /// Writes that were acknowledged as synced, too.
    pub lied: bool,
}

impl<T: Clone> Disk<T> {
    /// A disk with this state on it.
    pub fn new(state: T) -> Self {
        Self {
            durable: state,
            pending: VecDeque::new(),
            last: 0,
            kept: None,
        }
    }

    /// What survives anything, as far as the disk says.
    pub fn durable(&self) -> &T {
        &self.durable
    }

    /// What a process reads: the page cache has writes that were not synced.
    pub fn newest(&self) -> &T {
        self.pending
            .back()
            .map_or(&self.durable, |(_, state)| state)
    }

    /// Writes without syncing.
    pub fn write(&mut self, state: T) -> WriteId {
        self.last += 1;
        self.pending.push_back((self.last, state));
        self.last
    }

    /// Number of the newest write.
    pub fn last(&self) -> WriteId {
        self.last
    }

    /// Whether there is something to lose.
    pub fn is_dirty(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Everything up to a write is on the disk.
    pub fn sync(&mut self, upto: WriteId) {
        while self.pending.front().is_some_and(|(id, _)| *id <= upto) {
            if let Some((_, state)) = self.pending.pop_front() {
                self.durable = state;
            }
        }
    }

    /// From now on, until the power fails, it keeps nothing and says that it does.
    pub fn lie(&mut self) {
        self.kept.get_or_insert_with(|| self.durable.clone());
    }

    /// It keeps everything after all.
    pub fn be_honest(&mut self) {
        self.kept = None;
    }

    /// The process ends without its last sync: of what was not synced, a prefix is there (the record
    /// that was being written is torn, and a torn tail is dropped). Returns how many writes were lost.
    pub fn fail(&mut self, rng: &mut Rng) -> usize {
        let keep = rng.index(self.pending.len() + 1);
        let lost = self.pending.len() - keep;
        if keep > 0 {
            self.durable = self.pending[keep - 1].1.clone();
        }
        self.pending.clear();
        lost
    }

    /// The power fails.
    pub fn power_cut(&mut self, rng: &mut Rng) -> Cut {
        let lost = self.fail(rng);
        let kept = self.kept.take();
        let lied = kept.is_some();
        if let Some(kept) = kept {
            self.durable = kept;
        }
        Cut { lost, lied }
    }

    /// A copy that is taken while the process writes: any prefix of what was not synced is in it.
    pub fn copy(&self, rng: &mut Rng) -> T {
        match rng.index(self.pending.len() + 1) {
            0 => self.durable.clone(),
            keep => self.pending[keep - 1].1.clone(),
        }
    }

    /// Replaces everything: another card in the slot.
    pub fn replace(&mut self, state: T) {
        self.durable = state;
        self.pending.clear();
        self.kept = None;
    }
}
