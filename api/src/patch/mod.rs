//! Patches: JSON (RFC 6902), merge (RFC 7396) and strategic merge.
//!
//! Each takes the current object and a patch and returns the patched object, not yet checked:
//! the caller runs [`crate::decode::check`] and [`crate::admit::update`] on it.

mod strategic;

use crate::decode::{MAX_BODY, MAX_DEPTH};
use crate::facts;
use crate::kind::Kind;
use crate::status::Status;
use serde_json::Value;

/// Most operations in one JSON patch, as upstream.
pub const MAX_JSON_OPERATIONS: usize = 10_000;
/// Most operations that can make an object grow or deepen by more than the patch itself.
const MAX_COPIES: usize = 64;
/// Most items of lists that the operations of one JSON patch may move aside.
const MAX_MOVED: usize = 20_000_000;

/// Applies a JSON patch.
pub fn json(_kind: &Kind, current: &Value, patch: &Value) -> Result<Value, Status> {
    let operations: json_patch::Patch = serde_json::from_value(patch.clone())
        .map_err(|e| Status::bad_request(format!("error decoding patch: {e}")))?;
    if operations.len() > MAX_JSON_OPERATIONS {
        return Err(Status::too_large(format!(
            "The allowed maximum operations in a JSON patch is {MAX_JSON_OPERATIONS}, got {}",
            operations.len()
        )));
    }
    let mut out = current.clone();
    let (mut copies, mut moved) = (0, 0);
    for operation in operations.iter() {
        if operation.path().tokens().count() > MAX_DEPTH {
            return Err(Status::unprocessable());
        }
        // Each insertion into a list, and each removal, moves all that come after.
        let list = operation.path().as_str().rsplit_once('/');
        let list = list.and_then(|(list, _)| out.pointer(list)?.as_array());
        moved += list.map_or(0, Vec::len);
        if moved > MAX_MOVED {
            return Err(Status::too_large("the JSON patch moves too many items"));
        }
        json_patch::patch(&mut out, std::slice::from_ref(operation))
            .map_err(|_| Status::unprocessable())?;
        let copying = matches!(
            operation,
            json_patch::PatchOperation::Copy(_) | json_patch::PatchOperation::Move(_)
        );
        if copying {
            copies += 1;
            let mut left = MAX_BODY;
            if copies > MAX_COPIES || !fits(&out, MAX_DEPTH * 2, &mut left) {
                return Err(Status::too_large(
                    "the JSON patch makes the object too large",
                ));
            }
        }
    }
    Ok(out)
}

/// Whether a value is no deeper than `depth` and no larger than `left` (roughly, in bytes).
fn fits(value: &Value, depth: usize, left: &mut usize) -> bool {
    let own = value.as_str().map_or(1, |s| s.len() + 1);
    let Some(rest) = left.checked_sub(own) else {
        return false;
    };
    *left = rest;
    match value {
        Value::Array(items) => depth > 0 && items.iter().all(|v| fits(v, depth - 1, left)),
        Value::Object(map) => depth > 0 && map.values().all(|v| fits(v, depth - 1, left)),
        _ => true,
    }
}

/// Applies a merge patch.
pub fn merge(_kind: &Kind, current: &Value, patch: &Value) -> Result<Value, Status> {
    object(patch)?;
    let mut out = current.clone();
    json_patch::merge(&mut out, patch);
    Ok(out)
}

/// Applies a strategic merge patch, with the merge keys of the descriptor table.
pub fn strategic(kind: &Kind, current: &Value, patch: &Value) -> Result<Value, Status> {
    let message = facts::message(kind.message);
    strategic_with(message, current, patch)
}

/// The same for any message: subresource bodies such as `Scale`.
pub fn strategic_with(
    message: Option<&'static facts::Message>,
    current: &Value,
    patch: &Value,
) -> Result<Value, Status> {
    object(patch)?;
    let mut out = current.clone();
    strategic::merge(message, &mut out, patch.clone())
        .map_err(|e| Status::bad_request(e.to_string()))?;
    Ok(out)
}

fn object(patch: &Value) -> Result<(), Status> {
    if patch.is_object() {
        return Ok(());
    }
    Err(Status::bad_request(
        "error decoding patch: json: cannot unmarshal into Go value of type map[string]interface {}",
    ))
}

#[cfg(test)]
mod tests;
