//! What crosses MQTT between the controller and its agents, and what crosses the sockets on a node.
//!
//! In come Rust values of the two cores; out go bounded byte strings, and back again. The crate
//! holds no state, reads no clock and draws no random number: nonces and seeds are arguments.
//!
//! | module | what |
//! |---|---|
//! | [`name`] | names that appear in topics, validated once |
//! | [`topic`] | the topic tree under `bramble/v1/<cluster>/` |
//! | [`version`] | `(epoch, term, rev)` of a node's desired state |
//! | [`object`] | the objects of a node's document |
//! | [`document`] | index, digest and completeness of a document |
//! | [`message`] | the messages on the topics |
//! | [`report`] | what a node says of its pods |
//! | [`envelope`] | signature, recipient and replay protection around every message |
//! | [`seal`] | secrets, readable by one node only |
//! | [`chunk`] | objects larger than a packet |
//! | [`stream`] | logs (later exec, attach, port-forward) with credit |
//! | [`publish`] | what the protocol machines hand to the link |
//! | [`clock`], [`random`] | time and randomness as arguments of the protocol machines |
//! | [`join`] | how a board becomes a node: token and JSON bodies |
//! | [`standing`] | what a person decides after a restore, as JSON |
//! | [`manifest`] | what a board's own manifests say, from the child that read them |
//! | [`limits`] | every bound in one place |
#![no_std]

extern crate alloc;

pub mod chunk;
pub mod clock;
pub mod document;
pub mod envelope;
pub mod join;
pub mod limits;
pub mod local;
pub mod manifest;
pub mod message;
pub mod name;
pub mod object;
pub mod publish;
pub mod random;
pub mod report;
pub mod seal;
pub mod shim;
pub mod standing;
pub mod stream;
pub mod topic;
pub mod version;

use alloc::vec::Vec;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use ed25519_dalek::{SigningKey, VerifyingKey};

/// A byte string was not a value of the expected type, or had bytes left over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {what}")]
pub struct DecodeError {
    /// The type that was expected.
    pub what: &'static str,
}

/// Encodes a value with postcard.
///
/// # Panics
/// Never for the types of this crate: postcard fails only on types without a known length.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_allocvec(value).expect("wire types always have a known length")
}

/// Decodes a whole byte string; bytes left over are an error, so that a value has one meaning.
///
/// # Errors
/// [`DecodeError`] naming the expected type.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], what: &'static str) -> Result<T, DecodeError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        _ => Err(DecodeError { what }),
    }
}
