//! This board as a node, for a person at it: everything comes from the agent's socket, so it works with no
//! network and no controller.

pub(crate) mod exec;
pub(crate) mod logs;
pub(crate) mod own;
mod select;
pub(crate) mod status;
#[cfg(test)]
mod tests;

use std::path::Path;

use anyhow::{Result, anyhow};
use bramble_wire::local::{Board, Pod, Reply, Request};
use bramble_wire::stream::StreamError;

use crate::agent::{self, Agent};
use crate::output::plain;

/// The board, and every pod that the agent knows of.
fn board(socket: &Path) -> Result<(Board, Vec<Pod>)> {
    match Agent::connect(socket)?.ask_with_pods(Request::Board)? {
        (pods, Reply::Board(board)) => Ok((board, pods)),
        (_, other) => Err(agent::unexpected(&other)),
    }
}

/// Why a stream ended early, in the agent's words.
fn ended(error: &StreamError) -> anyhow::Error {
    let (StreamError::NotFound(why)
    | StreamError::Unavailable(why)
    | StreamError::Failed(why)
    | StreamError::Lost(why)) = error;
    anyhow!("{}", plain(why))
}
