//! Whether a document that the controller announces is to be believed. In: what the node holds and a head. Out: a
//! verdict. No state.

use bramble_wire::message::Head;

use super::document::Document;

/// What a head means to a node that holds `have`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// To be fetched.
    Newer,
    /// What the node holds.
    Same,
    /// From the past: not to be believed.
    Older,
    /// The same moment with another content, or another history: not to be believed.
    Conflict(&'static str),
}

pub(super) fn judge(have: Option<&Document>, head: &Head) -> Judgement {
    let Some(have) = have else {
        return Judgement::Newer;
    };
    let (mine, theirs) = (have.version, head.version);
    if theirs.epoch > mine.epoch {
        Judgement::Newer
    } else if theirs.epoch < mine.epoch {
        Judgement::Older
    } else if head.history != have.history {
        Judgement::Conflict("the epoch is the same and the history another")
    } else if theirs > mine {
        Judgement::Newer
    } else if theirs < mine {
        Judgement::Older
    } else if head.digest == have.digest {
        Judgement::Same
    } else {
        Judgement::Conflict("the version is the same and the content another")
    }
}
