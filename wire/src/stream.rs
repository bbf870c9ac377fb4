//! Streams between the API and a container, through the broker: logs now; exec, attach and
//! port-forward take the same frames. A sender without credit stops reading its source, so neither
//! a broker's queue nor anybody's memory grows.

use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::envelope::Message;
use crate::message::Kind;
use crate::object::PodUid;
use crate::version::Boot;

/// Opens a stream (`cmd/<id>/rq`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Only this boot may serve it: an open that was queued while the node was away is dropped.
    pub boot: Boot,
    /// Bytes the node may send before more credit comes; at most
    /// [`crate::limits::STREAM_CREDIT_MAX`].
    pub credit: u32,
    /// What is wanted.
    pub what: What,
}

/// What a stream carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// A container's log.
    Logs(Logs),
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
    /// End after so many bytes.
    pub limit_bytes: Option<u64>,
}

/// From the controller to the node (`cmd/<id>/in`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum In {
    /// So many more bytes may be sent in all, counted from the start of the stream (an absolute
    /// number, so that a lost or doubled message does no harm).
    Credit(u64),
    /// Nobody reads any more.
    Close,
}

/// From the node to the controller (`cmd/<id>/out`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Out {
    /// Bytes at an offset from the start of the stream.
    Data {
        /// Offset of the first byte.
        offset: u64,
        /// At most [`crate::limits::STREAM_FRAME_MAX`] bytes.
        bytes: Vec<u8>,
    },
    /// The end.
    End {
        /// Offset at the end.
        offset: u64,
        /// `None` when all is well, else what went wrong, for a person.
        error: Option<StreamError>,
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
