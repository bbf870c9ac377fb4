//! What admission decides: values in, a changed object, a refusal or warnings out.
//!
//! Each plugin of upstream that we have is a module; the sources named there are what its texts were
//! taken from. A plugin works on the JSON of the object, after its defaults were set, and is handed
//! the other objects that it looks at. A refusal is the text after `pods "x" is forbidden: `.
//!
//! | module | upstream's plugin |
//! |---|---|
//! | [`limits`] | LimitRanger |
//! | [`quota`] | ResourceQuota |
//! | [`security`] | PodSecurity |
//! | [`tolerations`] | DefaultTolerationSeconds |
//! | [`priority`] | Priority |
//! | [`account`] | ServiceAccount |
//! | [`service`] | the Service registry's allocation of addresses and ports |

pub mod account;
pub mod limits;
pub mod priority;
pub mod quota;
pub mod resources;
pub mod security;
pub mod service;
pub mod tolerations;

use serde_json::{Map, Value};

/// The text under a key; empty when there is none.
fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The items under a key; none when there is no list.
fn items<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value
        .get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The object's part under a key; null when there is none.
fn part<'a>(value: &'a Value, key: &str) -> &'a Value {
    value.get(key).unwrap_or(&Value::Null)
}

/// The object under `key`, made when it is missing or null. `None` when `value` is no object or has
/// something else there, which validation reports.
fn child<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Map<String, Value>> {
    let slot = value
        .as_object_mut()?
        .entry(key)
        .or_insert_with(|| Value::Object(Map::new()));
    if slot.is_null() {
        *slot = Value::Object(Map::new());
    }
    slot.as_object_mut()
}

/// `[a, b]` for several, `a` for one: how upstream shows an aggregate of errors.
fn aggregate(mut errors: Vec<String>) -> Result<(), String> {
    let mut seen = Vec::with_capacity(errors.len());
    errors.retain(|error| {
        let new = !seen.contains(error);
        if new {
            seen.push(error.clone());
        }
        new
    });
    match errors.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        many => Err(format!("[{}]", many.join(", "))),
    }
}
