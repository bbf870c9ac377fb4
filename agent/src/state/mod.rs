//! What the board must not forget: keys, membership, the accepted document, pods' addresses and
//! endings. Postcard records in a ledger; nothing is acted on before it is on disk.
//!
//! In: [`Change`]s with a [`Durability`]. Out, at start: [`Contents`]. One thread owns the ledger
//! (a sync blocks); everybody else holds a cheap [`State`].

mod contents;
mod copy;
mod damage;
mod log;
mod record;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use bramble_agent_core::memory::PodMemory;
use bramble_agent_core::plan::Durability;
use bramble_agent_core::session::Document;
use bramble_wire::object::PodUid;
use bramble_wire::version::HardwareId;
use tokio::sync::oneshot;

use crate::static_pods::Kept;
pub use contents::Contents;
pub use damage::kept as damaged;
pub use record::{Keys, Membership};

/// Name of the state log's directory in the data directory.
pub const FOLDER: &str = "state";

/// Commands that wait for the thread; the senders wait when it is full.
const QUEUE: usize = 32;
const STACK: usize = 256 * 1024;

/// Something to remember.
#[derive(Debug, Clone)]
pub enum Change {
    /// The board's own keys; made once.
    Keys(Box<Keys>),
    /// What the join gave.
    Membership(Box<Membership>),
    /// Number of this start of the agent.
    Boot(u64),
    /// The document that was accepted; always [`Durability::Hard`].
    Document(Arc<Document>),
    /// What is remembered of a pod; `None` forgets it.
    Pod(PodUid, Option<Box<PodMemory>>),
    /// No clock may show an earlier time (seconds of the Unix epoch).
    TimeFloor(i64),
    /// The board's own pods; always [`Durability::Hard`].
    Static(Arc<Kept>),
    /// Which board the card is in.
    Hardware(HardwareId),
    /// What was left of a damaged log was confirmed, and what it leaves open of pods is decided.
    Settled,
}

/// Why nothing was remembered.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No room; what is on disk stands, and it may be tried again.
    #[error("the state log could not be written: {0}")]
    Refused(String),
    /// The disk failed: the agent must end (its containers go on).
    #[error("the state log failed: {0}")]
    Failed(String),
}

/// A state log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The ledger.
    #[error("open the state log in {path}")]
    Ledger {
        /// Where.
        path: String,
        /// Why.
        #[source]
        source: bramble_ledger::Error,
    },
    /// No thread for it.
    #[error("start the state log's thread")]
    Thread(#[source] std::io::Error),
}

/// Handle of the state log.
#[derive(Debug, Clone)]
pub struct State {
    commands: SyncSender<Command>,
}

#[derive(Debug)]
enum Command {
    Commit {
        changes: Vec<Change>,
        durability: Durability,
        done: oneshot::Sender<Result<(), Error>>,
    },
}

impl State {
    /// Opens the state log of a data directory, reads it, and counts this start of the agent.
    ///
    /// # Errors
    /// [`OpenError`]. Of a damaged log that is kept what is intact, if that says who the board is
    /// ([`Contents::salvaged`]).
    pub fn open(directory: &Path) -> Result<(Self, Contents), OpenError> {
        let (log, contents) = damage::open(directory).map_err(|source| OpenError::Ledger {
            path: directory.display().to_string(),
            source,
        })?;
        let (commands, inbox) = sync_channel(QUEUE);
        std::thread::Builder::new()
            .name("state".into())
            .stack_size(STACK)
            .spawn(move || log.run(&inbox))
            .map_err(OpenError::Thread)?;
        Ok((Self { commands }, contents))
    }

    /// Remembers; with [`Durability::Hard`], returning is the word that it is on disk. The weaker
    /// ones return at once.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn commit(&self, changes: Vec<Change>, durability: Durability) -> Result<(), Error> {
        if changes.is_empty() && durability < Durability::Hard {
            return Ok(());
        }
        let (done, answer) = oneshot::channel();
        let command = Command::Commit {
            changes,
            durability,
            done,
        };
        let gone = || Error::Failed("its thread has ended".into());
        self.send(command).await.map_err(|()| gone())?;
        answer.await.map_err(|_| gone())?
    }

    async fn send(&self, command: Command) -> Result<(), ()> {
        use std::sync::mpsc::TrySendError;
        let command = match self.commands.try_send(command) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Disconnected(_)) => return Err(()),
            Err(TrySendError::Full(command)) => command,
        };
        // The disk is slow: wait for it off the async thread.
        let commands = self.commands.clone();
        let sent = tokio::task::spawn_blocking(move || commands.send(command).map_err(drop));
        sent.await.unwrap_or(Err(()))
    }
}

/// What a state log says whose last handle was dropped: its directory is free when its thread has ended.
#[cfg(test)]
pub(crate) fn read(directory: &Path) -> Contents {
    loop {
        match State::open(directory) {
            Ok((_, contents)) => return contents,
            Err(OpenError::Ledger {
                source: bramble_ledger::Error::Locked,
                ..
            }) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

#[cfg(test)]
mod tests;
