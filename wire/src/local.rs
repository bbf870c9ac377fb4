//! Protocol of the agent's local socket (`<run dir>/agent.sock`, mode 0600): what a person at the
//! board may ask, without a network.
//!
//! One request per connection. A frame is a little-endian `u32` length (at most [`FRAME_MAX`])
//! followed by that many bytes of postcard: the client sends an [`Ask`], the agent answers with one
//! [`Reply`] frame. For [`Request::ImageLoadStream`] the client sends the archive right after the
//! ask, in pieces of a `u32` length and as many bytes (at most [`PIECE_MAX`]), a length of 0 being
//! the end, and then reads the answer; an agent that gives up early answers and closes. To
//! [`Request::ImagePull`] any number of [`Reply::Progress`] comes before the answer; a client that
//! closes its connection ends the pull. To [`Request::Board`] a [`Reply::Pod`] for each pod comes before
//! the answer. Plain blocking reads and writes are enough for a client.
//!
//! [`Request::Logs`] and [`Request::Exec`] open a stream: from then on the client sends frames of
//! [`In`](crate::stream::In) and gets [`Reply::Out`] until its [`Out::End`](crate::stream::Out::End). Output
//! needs no credit, as the connection itself holds it back; input needs what
//! [`Out::Credit`](crate::stream::Out::Credit) gives. Closing the connection ends the stream.

use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::object::ObjectName;
use crate::report::{PodReport, UnixMs};
use crate::stream;

/// Newest version spoken by this build. The agent serves every one from 1 on and refuses a later one.
pub const VERSION: u16 = 2;

/// Largest frame body, in bytes.
pub const FRAME_MAX: usize = 1024 * 1024;

/// Largest piece of a streamed archive, in bytes.
pub const PIECE_MAX: usize = 64 * 1024;

/// Name of the socket in the run directory.
pub const SOCKET: &str = "agent.sock";

/// What the client sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// The version that the request needs. Stays the first field for ever.
    pub version: u16,
    /// What is wanted.
    pub request: Request,
}

impl Ask {
    /// Asks in the oldest version that knows the request, so that an older agent answers what it can.
    pub fn new(request: Request) -> Self {
        Self {
            version: request.since(),
            request,
        }
    }
}

/// Requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// How the agent is; answered by [`Reply::Status`].
    Status,
    /// Every image; answered by [`Reply::Images`].
    ImageList,
    /// Loads an archive that lies on the board; answered by [`Reply::Loaded`].
    ImageLoadPath {
        /// Absolute path.
        path: String,
    },
    /// Loads an archive that the client sends; answered by [`Reply::Loaded`].
    ImageLoadStream,
    /// Removes a name, and with its last name the image; answered by [`Reply::Done`].
    ImageRemove {
        /// Name in any form, or id.
        name: String,
    },
    /// Pulls an image from its registry; answered by [`Reply::Loaded`].
    ImagePull {
        /// Name in any form.
        name: String,
        /// Credentials.
        auth: Option<Auth>,
    },
    /// Removes every image that is not in use; answered by [`Reply::Pruned`].
    ImagePrune,
    /// What is known of an image; answered by [`Reply::Detail`].
    ImageInspect {
        /// Name in any form, or id.
        name: String,
    },
    /// How the board is as a node, and what it runs; answered by [`Reply::Pod`]s and [`Reply::Board`].
    Board,
    /// Opens a stream: a container's log. A `resume` is of no use here.
    Logs(stream::Logs),
    /// Opens a stream: a command in a running container.
    Exec(stream::Exec),
}

impl Request {
    /// The version that brought it.
    pub fn since(&self) -> u16 {
        match self {
            Self::Status
            | Self::ImageList
            | Self::ImageLoadPath { .. }
            | Self::ImageLoadStream
            | Self::ImageRemove { .. }
            | Self::ImagePull { .. }
            | Self::ImagePrune
            | Self::ImageInspect { .. } => 1,
            Self::Board | Self::Logs(_) | Self::Exec(_) => 2,
        }
    }
}

/// Credentials for registries: a Docker configuration (`{"auths": {…}}`). Never logged.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Auth(#[serde(with = "serde_bytes")] pub Vec<u8>);

impl core::fmt::Debug for Auth {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Auth")
    }
}

/// Answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Done.
    Done,
    /// To [`Request::Status`].
    Status(Status),
    /// To [`Request::ImageList`].
    Images(Vec<Image>),
    /// Images that the archive held and that are on the board now.
    Loaded(Vec<Image>),
    /// Not done, and why, for a person.
    Failed(String),
    /// How far it is; the answer is still to come.
    Progress(Progress),
    /// To [`Request::ImagePrune`]: what was removed.
    Pruned(Vec<Image>),
    /// To [`Request::ImageInspect`].
    Detail(Detail),
    /// One pod; the answer is still to come.
    Pod(Pod),
    /// To [`Request::Board`].
    Board(Board),
    /// Of a stream; [`Out::End`](crate::stream::Out::End) is the last.
    Out(stream::Out),
}

/// How far a pull is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Bytes that have come.
    pub bytes: u64,
    /// Bytes in all.
    pub of: u64,
    /// Layers that are unpacked.
    pub layers: u32,
    /// Layers in all, without those that were there.
    pub of_layers: u32,
}

/// What is known of an image.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Detail {
    /// Digest of its configuration, `sha256:…`.
    pub id: String,
    /// Names in full form.
    pub references: Vec<String>,
    /// Unpacked size, bytes.
    pub size_bytes: u64,
    /// The document names it, or something runs of it.
    pub in_use: bool,
    /// Digest of each layer's content and its unpacked size, lowest first.
    pub layers: Vec<(String, u64)>,
    /// The configuration, JSON as it came; empty when it is too long for an answer.
    pub config: String,
}

/// An image on the board.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Digest of its configuration, `sha256:…`.
    pub id: String,
    /// Names in full form.
    pub references: Vec<String>,
    /// Unpacked size, bytes.
    pub size_bytes: u64,
}

/// How the agent is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Status {
    /// Name of the node; empty before it has joined.
    pub node: String,
    /// Version of the agent.
    pub agent_version: String,
    /// The controller has been heard within the keep-alive.
    pub connected: bool,
    /// Version of the accepted document, empty when there is none.
    pub document: String,
    /// Pods of the document.
    pub pods_wanted: u32,
    /// Pods with at least one running container.
    pub pods_running: u32,
    /// What a person should know, a line each.
    pub notes: Vec<String>,
}

/// How the board is as a node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Board {
    /// Name of the node.
    pub node: String,
    /// Cluster that it has joined.
    pub cluster: String,
    /// Version of the agent.
    pub agent_version: String,
    /// How often the agent has been started.
    pub boot: u64,
    /// For how long this agent has been running, milliseconds.
    pub up_ms: u64,
    /// The controller.
    pub uplink: Uplink,
    /// Where a broker is looked for, best first.
    pub brokers: Vec<String>,
    /// Addresses of the board.
    pub addresses: Vec<[u8; 4]>,
    /// Version of the accepted document, empty when there is none.
    pub document: String,
    /// The document has been carried out.
    pub converged: bool,
    /// Folder of the board's own pods; empty when there is none.
    pub static_pods: String,
    /// The board's clock, which may be wrong.
    pub now: UnixMs,
    /// What a person should know, a line each.
    pub notes: Vec<String>,
}

/// Whether the controller is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Uplink {
    /// It has welcomed this node on the connection that stands.
    pub connected: bool,
    /// For how long it has been so, milliseconds.
    pub for_ms: u64,
    /// It has welcomed this node since the agent was started.
    pub ever: bool,
}

/// A pod on the board.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Pod {
    /// Namespace and name.
    pub name: ObjectName,
    /// Its state.
    pub report: PodReport,
    /// The file that says it, for a pod of the board's own.
    pub file: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn credentials_are_not_shown() {
        let request = Request::ImagePull {
            name: "a".to_string(),
            auth: Some(Auth(b"secret".to_vec())),
        };
        assert_eq!(
            alloc::format!("{request:?}"),
            r#"ImagePull { name: "a", auth: Some(Auth) }"#
        );
    }

    /// A client of this release must be understood, or refused by its version, for ever.
    #[test]
    fn version_1_bytes_are_stable() {
        let ask = Ask {
            version: 1,
            request: Request::ImageLoadPath {
                path: "/a".to_string(),
            },
        };
        assert_eq!(crate::encode(&ask), [1, 2, 2, b'/', b'a']);
        assert_eq!(
            crate::encode(&Reply::Failed("no".to_string())),
            [4, 2, b'n', b'o']
        );
        let prune = Ask {
            version: 1,
            request: Request::ImagePrune,
        };
        assert_eq!(crate::encode(&prune), [1, 6]);
    }

    #[test]
    fn version_2_bytes_are_stable() {
        let board = Ask::new(Request::Board);
        assert_eq!(crate::encode(&board), [2, 8]);
        let code = stream::Out::Exit { code: 1 };
        assert_eq!(crate::encode(&Reply::Out(code)), [10, 5, 2]);
    }

    #[test]
    fn what_an_old_agent_knows_is_asked_in_its_version() {
        assert_eq!(crate::encode(&Ask::new(Request::ImageList)), [1, 1]);
    }
}
