//! Readiness gates: a pod whose own conditions are set by others becomes ready, or stops to be, without
//! a word from its node.
//!
//! In: a pod that changed. Out: its Ready condition in the store, when that is not what its containers
//! and its gates say. No state.

use bramble_controller_core::status;

use super::reports::{self, Error};
use crate::object;
use crate::store::{Entry, Store};

/// How a pod with gates names them.
const FIELD: &[u8] = b"\"readinessGates\":[";

/// Sets the Ready condition of a pod that has gates. A race is no error: the other write is a change
/// too, and is looked at in its turn.
pub(super) fn look(store: &dyn Store, entry: &Entry) -> Result<(), Error> {
    if !entry.json.windows(FIELD.len()).any(|part| part == FIELD) {
        return Ok(());
    }
    let decode_error = |source| Error::Decode {
        key: entry.key.clone(),
        source,
    };
    let pod = serde_json::from_slice(&entry.json).map_err(decode_error)?;
    let action = status::gates(&pod, entry.modified.0, object::now()).map_err(decode_error)?;
    let Some(action) = action else {
        return Ok(());
    };
    let Some(op) = reports::op(entry, &pod, &action)? else {
        return Ok(());
    };
    match store.commit(vec![op]) {
        Err(error) if !reports::is_race(&error) => Err(error.into()),
        _ => Ok(()),
    }
}
