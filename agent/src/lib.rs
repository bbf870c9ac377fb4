//! The node agent: one loop that makes the board what its document says.

pub mod brokers;
pub mod clock;
pub mod config;
pub mod events;
pub mod facts;
pub mod find;
pub mod hardware;
pub mod identity;
pub mod image;
pub mod join;
pub mod link;
pub mod local;
pub mod logs;
pub mod network;
mod notices;
pub mod pods;
mod probes;
pub mod reconcile;
pub mod root;
pub mod runtime;
pub mod state;
pub mod static_pods;
pub mod status;
pub mod streams;
mod threads;
mod tls;
mod tree;
pub mod usage;

/// An error with its causes, on one line. Where a text repeats its cause, it is left as it is.
pub(crate) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text += ": ";
            text += &more;
        }
        source = cause.source();
    }
    text
}
