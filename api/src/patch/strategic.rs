//! Strategic merge: lists merge by key, directives in the patch say the rest.
//!
//! | directive | meaning |
//! |---|---|
//! | `$patch: replace` in an object | the object is replaced by the patch |
//! | `$patch: delete` in an object or list item | it goes away |
//! | `{$patch: replace}` as a list item | the list is replaced by the patch's other items |
//! | `$setElementOrder/x` | the order of the items of `x` that the client knows |
//! | `$deleteFromPrimitiveList/x` | these scalars leave `x` |
//! | `$retainKeys` | every other key of this object goes away |
//!
//! Item order follows upstream: the client's items in the client's order, items only the server has
//! in the server's order, interleaved as they stood.

use crate::facts::{Field, Merge, Message, Shape};
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};

/// Why a patch can't be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    #[error("unknown patch type found: {0}")]
    Directive(String),
    #[error("delete patch type with no merge key defined")]
    DeleteWithoutKey,
    #[error("map: {item} does not contain declared merge key: {key}")]
    MissingKey { key: &'static str, item: String },
    #[error("{0} must be a list")]
    NotAList(String),
    #[error("$retainKeys does not contain all keys of the patch: {0}")]
    RetainKeys(String),
}

type Object = Map<String, Value>;

const PATCH: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE: &str = "$deleteFromPrimitiveList/";

/// Merges `patch` into `original`. Without a message, maps merge and lists are replaced.
pub(super) fn merge(
    message: Option<&'static Message>,
    original: &mut Value,
    patch: Value,
) -> Result<(), Error> {
    let Value::Object(patch) = patch else {
        *original = patch;
        return Ok(());
    };
    if !original.is_object() {
        *original = Value::Object(Map::new());
    }
    if let Value::Object(map) = original {
        merge_map(message, map, patch)?;
    }
    Ok(())
}

fn merge_map(
    message: Option<&'static Message>,
    original: &mut Object,
    mut patch: Object,
) -> Result<(), Error> {
    if let Some(directive) = patch.remove(PATCH) {
        match directive.as_str() {
            Some("replace") => {
                *original = without_directives(patch);
                return Ok(());
            }
            Some("delete") => {
                original.clear();
                return Ok(());
            }
            Some("merge") => {}
            _ => return Err(Error::Directive(directive.to_string())),
        }
    }
    retain_keys(original, &mut patch)?;
    set_element_orders(message, original, &mut patch)?;
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix(DELETE) {
            let Value::Array(gone) = value else {
                return Err(Error::NotAList(key));
            };
            if let Some(Value::Array(items)) = original.get_mut(list) {
                let gone: HashSet<String> = gone.iter().map(Value::to_string).collect();
                items.retain(|item| !gone.contains(&item.to_string()));
            }
            continue;
        }
        merge_field(message, original, key, value)?;
    }
    Ok(())
}

fn merge_field(
    message: Option<&'static Message>,
    original: &mut Object,
    key: String,
    value: Value,
) -> Result<(), Error> {
    if value.is_null() {
        original.remove(&key);
        return Ok(());
    }
    let field = message.and_then(|m| m.field(&key));
    match (original.get_mut(&key), value) {
        (Some(Value::Object(old)), Value::Object(new)) => match field {
            Some(field) if field.shape == Shape::Map => merge_entries(field, old, new),
            _ => merge_map(field.and_then(|f| f.ty.message()), old, new),
        },
        (Some(Value::Array(old)), Value::Array(new)) => {
            let merged = merge_list(field, std::mem::take(old), new)?;
            *old = merged;
            Ok(())
        }
        (_, value) => {
            original.insert(key, clean(value));
            Ok(())
        }
    }
}

/// A map whose keys are the user's: entries merge, and if they are messages, by their schema.
fn merge_entries(field: &Field, original: &mut Object, mut patch: Object) -> Result<(), Error> {
    match patch.remove(PATCH).as_ref().map(Value::as_str) {
        None | Some(Some("merge")) => {}
        Some(Some("replace")) => {
            *original = without_directives(patch);
            return Ok(());
        }
        Some(Some("delete")) => {
            original.clear();
            return Ok(());
        }
        Some(other) => return Err(Error::Directive(format!("{other:?}"))),
    }
    for (key, value) in patch {
        match (original.get_mut(&key), value) {
            (_, Value::Null) => drop(original.remove(&key)),
            (Some(old @ Value::Object(_)), new @ Value::Object(_)) => {
                merge(field.ty.message(), old, new)?;
            }
            (_, new) => drop(original.insert(key, clean(new))),
        }
    }
    Ok(())
}

fn retain_keys(original: &mut Object, patch: &mut Object) -> Result<(), Error> {
    let Some(list) = patch.remove(RETAIN) else {
        return Ok(());
    };
    let Value::Array(keep) = list else {
        return Err(Error::NotAList(RETAIN.into()));
    };
    let keep: HashSet<&str> = keep.iter().filter_map(Value::as_str).collect();
    let kept = |key: &str| keep.contains(key);
    if let Some((key, _)) = patch
        .iter()
        .find(|(key, value)| !value.is_null() && !key.starts_with('$') && !kept(key))
    {
        return Err(Error::RetainKeys(key.clone()));
    }
    original.retain(|key, _| kept(key));
    Ok(())
}

/// Carries out every `$setElementOrder/x` and takes the directive and `x` out of the patch.
fn set_element_orders(
    message: Option<&'static Message>,
    original: &mut Object,
    patch: &mut Object,
) -> Result<(), Error> {
    let directives: Vec<String> = patch
        .keys()
        .filter(|k| k.starts_with(ORDER))
        .cloned()
        .collect();
    for directive in directives {
        let order = match patch.remove(&directive) {
            Some(Value::Array(order)) => order,
            _ => return Err(Error::NotAList(directive)),
        };
        let key = &directive[ORDER.len()..];
        let field = message.and_then(|m| m.field(key));
        if patch.get(key).is_some_and(Value::is_null) {
            continue;
        }
        let changes = patch.remove(key);
        let server = match original.get(key) {
            Some(Value::Array(items)) => Some(items.clone()),
            _ => None,
        };
        let merged = match (server.clone(), changes) {
            (None, None) => continue,
            (Some(items), None) => items,
            (None, Some(changes)) => match clean(changes) {
                Value::Array(items) => items,
                _ => return Err(Error::NotAList(key.to_owned())),
            },
            (Some(items), Some(Value::Array(changes))) => merge_list(field, items, changes)?,
            (Some(_), Some(_)) => return Err(Error::NotAList(key.to_owned())),
        };
        let pairing = Pairing(field.and_then(Field::merge_key));
        let ordered = pairing.ordered(merged, &order, &server.unwrap_or_default());
        original.insert(key.to_owned(), Value::Array(ordered));
    }
    Ok(())
}

/// How items of two lists are known to be the same: by a key, or by being equal.
#[derive(Clone, Copy)]
struct Pairing(Option<&'static str>);

impl Pairing {
    /// What tells an item from others; `None` for one without the key.
    fn id(self, item: &Value) -> Option<String> {
        match self.0 {
            Some(key) => item.get(key).map(Value::to_string),
            None => Some(item.to_string()),
        }
    }

    /// The first place of each item: a patch may hold hundreds of thousands, and looking for each
    /// among all others would take minutes.
    fn places(self, list: &[Value]) -> HashMap<String, usize> {
        let mut places = HashMap::with_capacity(list.len());
        for (at, item) in list.iter().enumerate() {
            if let Some(id) = self.id(item) {
                places.entry(id).or_insert(at);
            }
        }
        places
    }

    /// The client's items in its order, the server's own in theirs, interleaved as they stood.
    fn ordered(self, merged: Vec<Value>, client: &[Value], server: &[Value]) -> Vec<Value> {
        let (client, server) = (self.places(client), self.places(server));
        let (mut known, mut others) = (Vec::new(), Vec::new());
        for item in merged {
            let id = self.id(&item);
            let place = |places: &HashMap<String, usize>| places.get(id.as_ref()?).copied();
            let (mine, theirs) = (place(&client), place(&server));
            match mine {
                Some(mine) => known.push((mine, theirs, item)),
                None => others.push((theirs, item)),
            }
        }
        known.sort_by_key(|(mine, ..)| *mine);
        // What neither has placed comes last: a sort panics at an order that contradicts itself.
        others.sort_by_key(|(theirs, _)| theirs.unwrap_or(usize::MAX));
        let mut out = Vec::with_capacity(known.len() + others.len());
        let (mut known, mut others) = (known.into_iter().peekable(), others.into_iter().peekable());
        loop {
            let client_first = match (known.peek(), others.peek()) {
                (None, None) => return out,
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (Some((_, a, _)), Some((b, _))) => {
                    matches!((a, b), (Some(a), Some(b)) if a < b)
                }
            };
            out.extend(if client_first {
                known.next().map(|(_, _, item)| item)
            } else {
                others.next().map(|(_, item)| item)
            });
        }
    }
}

fn merge_list(
    field: Option<&'static Field>,
    original: Vec<Value>,
    patch: Vec<Value>,
) -> Result<Vec<Value>, Error> {
    match field {
        Some(field) if field.merge == Merge::Set => {
            let mut merged = original.clone();
            let mut known: HashSet<String> = original.iter().map(Value::to_string).collect();
            for item in &patch {
                if known.insert(item.to_string()) {
                    merged.push(item.clone());
                }
            }
            Ok(Pairing(None).ordered(merged, &patch, &original))
        }
        Some(field) => match field.merge_key() {
            Some(key) => merge_keyed(field, key, original, patch),
            None => replace_list(patch),
        },
        None => replace_list(patch),
    }
}

/// An atomic list: the patch's items, less those that only carry a directive.
fn replace_list(patch: Vec<Value>) -> Result<Vec<Value>, Error> {
    if patch
        .iter()
        .any(|item| item.get(PATCH).and_then(Value::as_str) == Some("delete"))
    {
        return Err(Error::DeleteWithoutKey);
    }
    Ok(patch
        .into_iter()
        .filter(|item| item.get(PATCH).is_none())
        .collect())
}

fn merge_keyed(
    field: &Field,
    key: &'static str,
    original: Vec<Value>,
    patch: Vec<Value>,
) -> Result<Vec<Value>, Error> {
    let pairing = Pairing(Some(key));
    let mut merged = original.clone();
    let mut changes = Vec::with_capacity(patch.len());
    let mut gone = HashSet::new();
    let mut replace = false;
    for mut item in patch {
        let directive = match &mut item {
            Value::Object(map) => map.remove(PATCH),
            _ => None,
        };
        match directive.as_ref().map(Value::as_str) {
            None | Some(Some("merge")) => changes.push(item),
            Some(Some("replace")) => {
                replace = true;
                // `{$patch: replace}` alone is only the directive.
                if item.as_object().is_some_and(|map| !map.is_empty()) {
                    changes.push(item);
                }
            }
            Some(Some("delete")) => {
                has_key(key, &item)?;
                gone.extend(pairing.id(&item));
            }
            Some(other) => return Err(Error::Directive(format!("{other:?}"))),
        }
    }
    if replace {
        return Ok(changes.into_iter().map(clean).collect());
    }
    merged.retain(|old| pairing.id(old).is_none_or(|id| !gone.contains(&id)));
    let mut places = pairing.places(&merged);
    for item in &changes {
        has_key(key, item)?;
        let id = pairing.id(item).unwrap_or_default();
        match places.get(&id) {
            Some(at) => merge(field.ty.message(), &mut merged[*at], item.clone())?,
            None => {
                places.insert(id, merged.len());
                merged.push(clean(item.clone()));
            }
        }
    }
    Ok(pairing.ordered(merged, &changes, &original))
}

fn has_key(key: &'static str, item: &Value) -> Result<(), Error> {
    match item.get(key) {
        Some(value) if !value.is_null() => Ok(()),
        _ => Err(Error::MissingKey {
            key,
            item: item.to_string(),
        }),
    }
}

/// A value that is new to the object: directives and nulls in it mean nothing and go away.
fn clean(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(without_directives(map)),
        Value::Array(items) => Value::Array(
            items
                .into_iter()
                .filter(|item| item.get(PATCH).is_none())
                .map(clean)
                .collect(),
        ),
        other => other,
    }
}

fn without_directives(map: Object) -> Object {
    map.into_iter()
        .filter(|(key, value)| {
            let directive =
                key == PATCH || key == RETAIN || key.starts_with(ORDER) || key.starts_with(DELETE);
            !directive && !value.is_null()
        })
        .map(|(key, value)| (key, clean(value)))
        .collect()
}
