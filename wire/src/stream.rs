//! Streams between the API and a container, through the broker: logs, exec, attach and port-forward.
//! A sender without credit stops reading its source, so neither
//! a broker's queue nor anybody's memory grows.

use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::envelope::Message;
use crate::message::Kind;
use crate::object::{ObjectId, PodUid};
use crate::version::Boot;

/// Opens a stream (`cmd/<id>/rq`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Only this boot may serve it: an open that was queued while the node was away is dropped.
    pub boot: Boot,
    /// Bytes the node may send before more credit comes; at most
    /// [`crate::limits::STREAM_CREDIT_MAX`]. With [`What::Forward`] each channel begins with so
    /// many, and it is at most [`crate::limits::CHANNEL_CREDIT_MAX`].
    pub credit: u32,
    /// What is wanted.
    pub what: What,
}

/// What a stream carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// A container's log. Output is channel [`channel::OUT`].
    Logs(Logs),
    /// A command in a running container.
    Exec(Exec),
    /// The streams of a running container itself.
    Attach(Attach),
    /// Connections to a port in the pod's network: channel numbers are chosen by the controller, one
    /// for each connection.
    Forward(Forward),
    /// The encoding of an [`Object`](crate::object::Object) as the node has it, a pod or a ConfigMap, on
    /// [`channel::OUT`]; nothing where it has none.
    Object(ObjectId),
}

/// Channels of a stream with several.
pub mod channel {
    /// Standard input (to the node).
    pub const IN: u16 = 0;
    /// Standard output.
    pub const OUT: u16 = 1;
    /// Standard error.
    pub const ERR: u16 = 2;
}

/// Options of `kubectl exec` (PodExecOptions).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// Which pod.
    pub pod: PodUid,
    /// Which container.
    pub container: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Channels that are wanted.
    pub stdio: Stdio,
}

/// Options of `kubectl attach` (PodAttachOptions).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// Which pod.
    pub pod: PodUid,
    /// Which container.
    pub container: String,
    /// Channels that are wanted.
    pub stdio: Stdio,
}

/// Which channels are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stdio {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error; with a terminal it comes on standard output.
    pub stderr: bool,
    /// With a terminal.
    pub tty: bool,
}

/// Options of `kubectl port-forward`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    /// Which pod.
    pub pod: PodUid,
    /// Ports that may be connected to.
    pub ports: Vec<u16>,
}

/// Options of `kubectl logs` (PodLogOptions).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logs {
    /// Which pod.
    pub pod: PodUid,
    /// Which container.
    pub container: String,
    /// Go on until the container ends.
    pub follow: bool,
    /// The life before the current one.
    pub previous: bool,
    /// Put RFC 3339 time stamps before lines.
    pub timestamps: bool,
    /// Last lines only.
    pub tail_lines: Option<u64>,
    /// Lines since, seconds of the Unix epoch.
    pub since_unix_s: Option<i64>,
    /// End after so many bytes; of a stream that goes on, after so many more.
    pub limit_bytes: Option<u64>,
    /// Go on where an earlier stream of the same log broke off; `tail_lines` counts no more then.
    pub resume: Option<Resume>,
}

/// Where a followed log goes on: after what its reader has. The node reads again from a cursor that it
/// gave, and leaves out what had been sent since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// [`Mark::cursor`].
    #[serde(with = "serde_bytes")]
    pub cursor: Vec<u8>,
    /// Bytes of output after the cursor that the reader has.
    pub skip: u64,
    /// The reader's last line is not whole: it is ended before what is there, when its rest is not.
    pub line_open: bool,
}

/// A place in a followed log to which its reader can come back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Bytes of the stream's output before it. Never more than were sent with it.
    pub offset: u64,
    /// The place, in the node's own words; at most [`crate::limits::CURSOR_MAX`] bytes. It holds for
    /// later starts of the agent too, and says which life of the container the log is of.
    #[serde(with = "serde_bytes")]
    pub cursor: Vec<u8>,
}

/// From the controller to the node (`cmd/<id>/in`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum In {
    /// So many more bytes may be sent in all, counted from the start of the stream (an absolute
    /// number, so that a lost or doubled message does no harm). It is repeated every 15 s, whatever
    /// else is said.
    Credit(u64),
    /// Nobody reads any more.
    Close,
    /// Bytes for a channel, at an offset from the start of that channel's input.
    Data {
        /// Which channel.
        channel: u16,
        /// Offset of the first byte.
        offset: u64,
        /// At most [`crate::limits::STREAM_FRAME_MAX`] bytes.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// No more input on a channel (half-close).
    End {
        /// Which channel.
        channel: u16,
        /// Offset at the end.
        offset: u64,
    },
    /// Size of the terminal.
    Resize {
        /// Columns.
        columns: u16,
        /// Rows.
        rows: u16,
    },
    /// Connect a new channel to a port ([`What::Forward`]).
    Connect {
        /// Number of the channel, not used before in this stream.
        channel: u16,
        /// One of [`Forward::ports`].
        port: u16,
    },
    /// So many more bytes of a channel's output may be sent in all ([`What::Forward`]; else
    /// [`In::Credit`] is for all channels together). It is repeated as [`In::Credit`] is.
    ChannelCredit {
        /// Which channel.
        channel: u16,
        /// An absolute number.
        credit: u64,
    },
    /// Nobody reads or writes a channel any more ([`What::Forward`]); nothing more is said of it.
    Disconnect {
        /// Which channel.
        channel: u16,
    },
}

/// From the node to the controller (`cmd/<id>/out`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Out {
    /// Bytes at an offset from the start of the stream.
    Data {
        /// Offset of the first byte.
        offset: u64,
        /// At most [`crate::limits::STREAM_FRAME_MAX`] bytes.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// The end.
    End {
        /// Offset at the end: how many bytes were sent in all, on every channel (0 with
        /// [`What::Forward`], whose channels have ends of their own).
        offset: u64,
        /// `None` when all is well, else what went wrong, for a person.
        error: Option<StreamError>,
    },
    /// So many bytes of input of a channel may be sent in all, counted from the channel's start.
    Credit {
        /// Which channel.
        channel: u16,
        /// An absolute number.
        credit: u64,
    },
    /// Bytes of a channel other than [`channel::OUT`], at an offset from the start of that channel.
    ChannelData {
        /// Which channel.
        channel: u16,
        /// Offset of the first byte.
        offset: u64,
        /// At most [`crate::limits::STREAM_FRAME_MAX`] bytes.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// A channel of [`What::Forward`] is closed.
    ChannelEnd {
        /// Which channel.
        channel: u16,
        /// Offset at the end.
        offset: u64,
        /// Why, when it is an error.
        error: Option<StreamError>,
    },
    /// The command ended ([`What::Exec`]), or the container did ([`What::Attach`]); [`Out::End`]
    /// follows. A command that ends without it counts as lost.
    Exit {
        /// Exit code; 128 + signal for a signal.
        code: i32,
    },
    /// What was asked for is there (everything but logs that are not followed): comes before
    /// everything else, unless the stream is refused by [`Out::End`].
    Ready,
    /// Output of a followed log, as [`Out::Data`], and where a later stream can go on. Without bytes
    /// it is where this stream begins to read.
    Log {
        /// Offset of the first byte.
        offset: u64,
        /// At most [`crate::limits::STREAM_FRAME_MAX`] bytes.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
        /// The newest place that the output has passed.
        mark: Mark,
    },
}

/// Why a stream ended early.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamError {
    /// No such pod or container here.
    NotFound(String),
    /// The request can't be served now (too many streams, container not started).
    Unavailable(String),
    /// Something broke.
    Failed(String),
    /// The node serves the stream no more, though its source may go on: the agent was started anew, or
    /// heard nothing of the controller.
    Lost(String),
}

impl Message for Open {
    const KIND: Kind = Kind::StreamOpen;
}
impl Message for In {
    const KIND: Kind = Kind::StreamIn;
}
impl Message for Out {
    const KIND: Kind = Kind::StreamOut;
}
