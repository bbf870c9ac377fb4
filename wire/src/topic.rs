//! The topic tree under `bramble/v1/<cluster>/`.
//!
//! A node may write `rpc/<boot>/rq`, `s/…` and `cmd/<id>/out` under its own name and read the rest
//! of it; nobody but the controller may touch two nodes' topics. Topics of sites come with the
//! network.

use core::fmt::{self, Write};
use serde::{Deserialize, Serialize};

use crate::name::{ClusterId, NodeName};
use crate::version::Boot;

/// Text of a topic: at most 192 bytes (both names of 63 with the longest fixed part fit).
pub type TopicText = heapless::String<192>;

/// Number of a stream on a node, drawn by the controller, not used twice in one controller boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StreamId(pub u64);

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A topic of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// `nodes/<n>/d/head`: the node's desired state changed ([`crate::message::Head`]).
    Head(NodeName),
    /// `nodes/<n>/rpc/<boot>/rq`: the node asks ([`crate::message::Request`]).
    Request(NodeName, Boot),
    /// `nodes/<n>/rpc/<boot>/rs`: the controller answers ([`crate::message::Response`]).
    Response(NodeName, Boot),
    /// `nodes/<n>/s/birth`: the agent is here ([`crate::message::Birth`]).
    Birth(NodeName),
    /// `nodes/<n>/s/life`: last will or good-bye ([`crate::message::Life`]).
    Life(NodeName),
    /// `nodes/<n>/s/sum`: digests ([`crate::message::Sum`]).
    Sum(NodeName),
    /// `nodes/<n>/s/report`: observed state ([`crate::message::Report`]).
    Report(NodeName),
    /// `nodes/<n>/cmd/<id>/rq`: open a stream ([`crate::stream::Open`]).
    StreamOpen(NodeName, StreamId),
    /// `nodes/<n>/cmd/<id>/in`: credit, input, close ([`crate::stream::In`]).
    StreamIn(NodeName, StreamId),
    /// `nodes/<n>/cmd/<id>/out`: output ([`crate::stream::Out`]).
    StreamOut(NodeName, StreamId),
    /// `c/state`, retained: who controls ([`crate::message::ControllerState`]).
    Controller,
}

impl Topic {
    /// The topic as text.
    pub fn text(&self, cluster: &ClusterId) -> TopicText {
        let mut out = TopicText::new();
        let written = match self {
            Self::Head(n) => write!(out, "bramble/v1/{cluster}/nodes/{n}/d/head"),
            Self::Request(n, b) => write!(out, "bramble/v1/{cluster}/nodes/{n}/rpc/{b}/rq"),
            Self::Response(n, b) => write!(out, "bramble/v1/{cluster}/nodes/{n}/rpc/{b}/rs"),
            Self::Birth(n) => write!(out, "bramble/v1/{cluster}/nodes/{n}/s/birth"),
            Self::Life(n) => write!(out, "bramble/v1/{cluster}/nodes/{n}/s/life"),
            Self::Sum(n) => write!(out, "bramble/v1/{cluster}/nodes/{n}/s/sum"),
            Self::Report(n) => write!(out, "bramble/v1/{cluster}/nodes/{n}/s/report"),
            Self::StreamOpen(n, i) => write!(out, "bramble/v1/{cluster}/nodes/{n}/cmd/{i}/rq"),
            Self::StreamIn(n, i) => write!(out, "bramble/v1/{cluster}/nodes/{n}/cmd/{i}/in"),
            Self::StreamOut(n, i) => write!(out, "bramble/v1/{cluster}/nodes/{n}/cmd/{i}/out"),
            Self::Controller => write!(out, "bramble/v1/{cluster}/c/state"),
        };
        written.expect("192 bytes hold two names of 63 and the longest fixed part");
        out
    }

    /// Parses a topic of this cluster; `None` for anything else.
    pub fn parse(cluster: &ClusterId, text: &str) -> Option<Self> {
        let rest = text
            .strip_prefix("bramble/v1/")?
            .strip_prefix(cluster.as_str())?;
        let rest = rest.strip_prefix('/')?;
        if rest == "c/state" {
            return Some(Self::Controller);
        }
        let (node, rest) = rest.strip_prefix("nodes/")?.split_once('/')?;
        let node = NodeName::new(node).ok()?;
        let (class, rest) = rest.split_once('/')?;
        match (class, rest) {
            ("d", "head") => Some(Self::Head(node)),
            ("s", "birth") => Some(Self::Birth(node)),
            ("s", "life") => Some(Self::Life(node)),
            ("s", "sum") => Some(Self::Sum(node)),
            ("s", "report") => Some(Self::Report(node)),
            ("rpc", rest) => {
                let (boot, way) = rest.split_once('/')?;
                let boot = Boot(number(boot)?);
                match way {
                    "rq" => Some(Self::Request(node, boot)),
                    "rs" => Some(Self::Response(node, boot)),
                    _ => None,
                }
            }
            ("cmd", rest) => {
                let (id, way) = rest.split_once('/')?;
                let id = StreamId(number(id)?);
                match way {
                    "rq" => Some(Self::StreamOpen(node, id)),
                    "in" => Some(Self::StreamIn(node, id)),
                    "out" => Some(Self::StreamOut(node, id)),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The node whose topic it is; `None` for `c/state`.
    pub fn node(&self) -> Option<&NodeName> {
        match self {
            Self::Head(n)
            | Self::Request(n, _)
            | Self::Response(n, _)
            | Self::Birth(n)
            | Self::Life(n)
            | Self::Sum(n)
            | Self::Report(n)
            | Self::StreamOpen(n, _)
            | Self::StreamIn(n, _)
            | Self::StreamOut(n, _) => Some(n),
            Self::Controller => None,
        }
    }

    /// Whether a node (its own topics only) may publish on it; the others it may read.
    pub fn node_publishes(&self) -> bool {
        match self {
            Self::Request(..)
            | Self::Birth(_)
            | Self::Life(_)
            | Self::Sum(_)
            | Self::Report(_)
            | Self::StreamOut(..) => true,
            Self::Head(_)
            | Self::Response(..)
            | Self::StreamOpen(..)
            | Self::StreamIn(..)
            | Self::Controller => false,
        }
    }
}

/// Filters that a node subscribes to. The same for every boot: a broker keeps them with the node's
/// session, and bounds how many it keeps. Answers to an earlier boot are dropped by their topic.
pub fn node_filters(cluster: &ClusterId, node: &NodeName) -> [TopicText; 5] {
    let filter = |rest: fmt::Arguments<'_>| {
        let mut out = TopicText::new();
        out.write_fmt(rest).expect("192 bytes hold every filter");
        out
    };
    [
        filter(format_args!("bramble/v1/{cluster}/nodes/{node}/d/+")),
        filter(format_args!("bramble/v1/{cluster}/nodes/{node}/rpc/+/rs")),
        filter(format_args!("bramble/v1/{cluster}/nodes/{node}/cmd/+/rq")),
        filter(format_args!("bramble/v1/{cluster}/nodes/{node}/cmd/+/in")),
        filter(format_args!("bramble/v1/{cluster}/c/state")),
    ]
}

/// Filters that the controller subscribes to.
pub fn controller_filters(cluster: &ClusterId) -> [TopicText; 4] {
    let filter = |rest: fmt::Arguments<'_>| {
        let mut out = TopicText::new();
        out.write_fmt(rest).expect("192 bytes hold every filter");
        out
    };
    [
        filter(format_args!("bramble/v1/{cluster}/nodes/+/s/+")),
        filter(format_args!("bramble/v1/{cluster}/nodes/+/rpc/+/rq")),
        filter(format_args!("bramble/v1/{cluster}/nodes/+/cmd/+/out")),
        // Another controller of the same identity would speak there.
        filter(format_args!("bramble/v1/{cluster}/c/state")),
    ]
}

/// A decimal number in its one form: no sign, no leading zero.
fn number(text: &str) -> Option<u64> {
    let canonical = !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_digit())
        && (text.len() == 1 || !text.starts_with('0'));
    if canonical { text.parse().ok() } else { None }
}
