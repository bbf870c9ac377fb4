//! Images from registries (OCI distribution specification), by a process of its own: the hidden
//! sub-command `bramble-agent pull`. Its memory goes back when it ends, and nothing that a registry
//! sends can harm the agent.
//!
//! In, on standard input: one [`Order`] with everything secret in it, never in arguments or the
//! environment. Out, on standard output: frames of [`Said`], the last one an answer. Layers end up in
//! the store exactly as those of archives do; unfinished downloads stay in `partial/` and are gone on
//! with by the next pull.
//!
//! ```text
//! order ─▶ config (endpoints) ─▶ client (auth) ─▶ manifest ─▶ download ─▶ layer ─▶ store
//!          keyring (logins)      http, url                    partial/
//! ```

mod challenge;
mod client;
mod config;
mod download;
mod http;
mod keyring;
mod pull;
mod url;

use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use super::Limits;
use super::child::{LoadError, Loaded, restrain};
use super::platform::{Platform, of_machine};

pub(super) use download::remove_partials;
pub use pull::pull;

/// Longest order.
const ORDER_MAX: u64 = 4 << 20;
/// Longest frame of an answer.
pub const SAID_MAX: usize = 8 << 20;

/// What is wanted.
#[derive(Clone, Serialize, Deserialize)]
pub struct Order {
    /// Name in full form.
    pub reference: String,
    /// Contents of secrets of type `kubernetes.io/dockerconfigjson`.
    pub config_json: Vec<Vec<u8>>,
    /// Contents of secrets of type `kubernetes.io/dockercfg`.
    pub config: Vec<Vec<u8>>,
    /// The board's file about registries.
    pub registries: PathBuf,
    /// Digests of the image on the board: if the name still means one of them, nothing is done.
    pub known: Vec<String>,
    /// Only says whether it is.
    pub only_check: bool,
    /// Gives up on a registry that does not answer within a moment.
    pub hurry: bool,
    /// No time before this, seconds of the Unix epoch.
    pub time_floor: u64,
}

impl std::fmt::Debug for Order {
    /// Without the credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Order")
            .field("reference", &self.reference)
            .field("known", &self.known)
            .field("only_check", &self.only_check)
            .finish_non_exhaustive()
    }
}

/// What the child says, a frame each: a `u32` length, little-endian, and as many bytes of postcard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Said {
    /// How far it is; now and then.
    Progress(Progress),
    /// The end.
    Done(Box<Result<Outcome, PullError>>),
}

/// How far a pull is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Bytes that have come, those of an earlier try included.
    pub bytes: u64,
    /// Bytes in all.
    pub of: u64,
    /// Layers that are unpacked.
    pub layers: u32,
    /// Layers in all, without those that were there.
    pub of_layers: u32,
}

/// What came of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The name still means what is known.
    Same,
    /// It means something else, or nothing was known; nothing was pulled, as only a check was wanted.
    Differs,
    /// It is in the store now.
    Pulled(Box<Pulled>),
}

/// An image that is in the store now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulled {
    /// The image with its names.
    pub image: Loaded,
    /// What the name stood for: digest of the manifest or index.
    pub digest: String,
    /// Bytes of its layers as the registry has them.
    pub compressed_bytes: u64,
}

/// Why an image was not pulled, for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum PullError {
    /// The registry could not be reached: no network, no such name, nobody there, or the line went
    /// dead and stayed so.
    #[error("{0}")]
    Unreachable(String),
    /// It answered that it can't serve just now.
    #[error("{0}")]
    Unavailable(String),
    /// It wants other credentials, or does not give this image to these.
    #[error("{0}")]
    Denied(String),
    /// It has no such image.
    #[error("{0}")]
    NotFound(String),
    /// It has nothing for this board.
    #[error("{0}")]
    Platform(String),
    /// What came is malformed, hostile or damaged; or the board's file about registries is.
    #[error("{0}")]
    Invalid(String),
    /// There is no room for it.
    #[error("{0}")]
    Disk(String),
    /// The board could not do it.
    #[error("{0}")]
    Io(String),
}

impl PullError {
    /// The same with words before it.
    pub(super) fn context(self, words: &str) -> Self {
        let add = |text: String| format!("{words}: {text}");
        match self {
            Self::Unreachable(text) => Self::Unreachable(add(text)),
            Self::Unavailable(text) => Self::Unavailable(add(text)),
            Self::Denied(text) => Self::Denied(add(text)),
            Self::NotFound(text) => Self::NotFound(add(text)),
            Self::Platform(text) => Self::Platform(add(text)),
            Self::Invalid(text) => Self::Invalid(add(text)),
            Self::Disk(text) => Self::Disk(add(text)),
            Self::Io(text) => Self::Io(add(text)),
        }
    }
}

impl From<LoadError> for PullError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Invalid(text) => Self::Invalid(text),
            LoadError::Platform(text) => Self::Platform(text),
            LoadError::Disk(text) => Self::Disk(text),
            LoadError::Io(text) => Self::Io(text),
        }
    }
}

impl From<super::manifest::Error> for PullError {
    fn from(error: super::manifest::Error) -> Self {
        match error {
            super::manifest::Error::Invalid(text) => Self::Invalid(text),
            super::manifest::Error::Platform(text) => Self::Platform(text),
        }
    }
}

/// Runs the sub-command: `pull <store>`, the order on standard input.
pub fn run(mut args: impl Iterator<Item = String>) -> ExitCode {
    let Some(store) = args.next() else {
        return ExitCode::from(2);
    };
    restrain();
    let mut bytes = Vec::new();
    if io::stdin().take(ORDER_MAX).read_to_end(&mut bytes).is_err() {
        return ExitCode::from(2);
    }
    let Ok(order) = bramble_wire::decode::<Order>(&bytes, "order") else {
        return ExitCode::from(2);
    };
    let mut out = io::stdout();
    let result = pull(
        Path::new(&store),
        &order,
        Limits::default(),
        &board(),
        &mut |progress| {
            // Nobody listens any more: the agent has ended or given up, and so does this.
            say(&mut out, &Said::Progress(progress)).is_ok()
        },
    );
    match say(&mut out, &Said::Done(Box::new(result))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// This board, in the words of images.
pub fn board() -> Platform {
    let uname = rustix::system::uname();
    of_machine(&uname.machine().to_string_lossy())
}

fn say(out: &mut impl Write, said: &Said) -> io::Result<()> {
    let body = bramble_wire::encode(said);
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(&body)?;
    out.flush()
}
