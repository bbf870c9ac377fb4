//! Merging an apply configuration into the live object, and taking fields out of an object.

use super::schema::Schema;
use super::set::{Element, Set};
use super::typed::{NoElement, item_element};
use crate::facts::Merge;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Why two objects can't be merged or compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    #[error("element {at}: {why}")]
    Item { at: usize, why: NoElement },
    #[error("duplicate entries for key {0}")]
    Duplicate(Element),
}

/// Merges `config` into `live`: maps by key, lists by their keys, everything else is replaced.
pub(super) fn merge(schema: Schema, live: &Value, config: &Value) -> Result<Value, Error> {
    both(schema, Some(live), Some(config)).map(Option::unwrap_or_default)
}

/// Whether nothing is in a value that has parts; what has none counts as empty too.
pub(super) fn is_empty(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        _ => true,
    }
}

fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn both(
    schema: Schema,
    left: Option<&Value>,
    right: Option<&Value>,
) -> Result<Option<Value>, Error> {
    // Two empty sides are a leaf: that keeps the difference between empty and null.
    if schema.is_atomic() || (is_empty(left) && is_empty(right)) {
        return Ok(right.or(left).cloned());
    }
    match schema {
        Schema::List { merge, .. } => {
            let out = Lists::new(schema, merge, items(left), items(right))?.merge()?;
            Ok((!out.is_empty()).then_some(Value::Array(out)))
        }
        _ => {
            let none = Map::new();
            let left = left.and_then(Value::as_object).unwrap_or(&none);
            let right = right.and_then(Value::as_object).unwrap_or(&none);
            let keys: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            let mut out = Map::new();
            for key in keys {
                let member = schema.member(key).unwrap_or(Schema::Any);
                if let Some(value) = both(member, left.get(key), right.get(key))? {
                    out.insert(key.clone(), value);
                }
            }
            Ok((!out.is_empty()).then_some(Value::Object(out)))
        }
    }
}

/// Two lists with keys. The order follows the configuration for what it lists, and the live list
/// for the rest, interleaved as they stood.
struct Lists<'a> {
    schema: Schema,
    left: Vec<(Element, &'a Value)>,
    right: Vec<(Element, &'a Value)>,
    /// The live items; null for one that is there twice, which then is not merged with the new one.
    live: BTreeMap<Element, &'a Value>,
    wanted: BTreeMap<Element, &'a Value>,
}

impl<'a> Lists<'a> {
    fn new(
        schema: Schema,
        merge: Merge,
        left: &'a [Value],
        right: &'a [Value],
    ) -> Result<Self, Error> {
        let index = |items: &'a [Value]| -> Result<Vec<(Element, &'a Value)>, Error> {
            let each = items.iter().enumerate();
            each.map(|(at, item)| {
                item_element(schema, merge, item)
                    .map(|element| (element, item))
                    .map_err(|why| Error::Item { at, why })
            })
            .collect()
        };
        let (left, right) = (index(left)?, index(right)?);
        let mut live = BTreeMap::new();
        for (element, item) in &left {
            live.entry(element.clone())
                .and_modify(|twice| *twice = &Value::Null)
                .or_insert(*item);
        }
        let mut wanted = BTreeMap::new();
        for (element, item) in &right {
            if wanted.insert(element.clone(), *item).is_some() {
                return Err(Error::Duplicate(element.clone()));
            }
        }
        Ok(Self {
            schema,
            left,
            right,
            live,
            wanted,
        })
    }

    fn merge(self) -> Result<Vec<Value>, Error> {
        let mut shared: VecDeque<&Element> = self
            .right
            .iter()
            .map(|(element, _)| element)
            .filter(|element| self.live.contains_key(*element))
            .collect();
        let mut next = shared.pop_front();
        let mut merged: BTreeSet<&Element> = BTreeSet::new();
        let mut out = Vec::with_capacity(self.left.len().max(self.right.len()));
        let (mut l, mut r) = (0, 0);
        while l < self.left.len() || r < self.right.len() {
            let left = self.left.get(l);
            let right = self.right.get(r);
            if let (Some((ours, _)), Some((theirs, _))) = (left, right) {
                if ours == theirs {
                    merged.insert(theirs);
                    out.extend(self.item(theirs)?);
                    (l, r) = (l + 1, r + 1);
                    next = shared.pop_front();
                    continue;
                }
                // Shared, but its turn comes later.
                if self.wanted.contains_key(ours) && next.is_some_and(|next| next != ours) {
                    l += 1;
                    continue;
                }
            }
            if let Some((ours, item)) = left {
                if !self.wanted.contains_key(ours) {
                    out.extend(both(self.schema.item(), Some(item), None)?);
                    l += 1;
                    continue;
                }
                if merged.contains(ours) {
                    l += 1;
                }
            }
            if let Some((theirs, _)) = right {
                merged.insert(theirs);
                out.extend(self.item(theirs)?);
                r += 1;
                if next == Some(theirs) {
                    next = shared.pop_front();
                }
            }
        }
        Ok(out)
    }

    fn item(&self, element: &Element) -> Result<Option<Value>, Error> {
        let (live, wanted) = (self.live.get(element), self.wanted.get(element));
        both(self.schema.item(), live.copied(), wanted.copied())
    }
}

/// The object without the fields of a set.
pub(super) fn remove(schema: Schema, value: &Value, set: &Set) -> Value {
    if set.is_empty() {
        return value.clone();
    }
    match (schema, value) {
        (Schema::Scalar(_) | Schema::Any, value) => value.clone(),
        (_, value) if schema.is_atomic() || is_empty(Some(value)) => Value::Null,
        (Schema::Message { .. } | Schema::Map { .. }, Value::Object(map)) => {
            let mut out = Map::new();
            for (key, value) in map {
                let element = Element::field(key);
                if set.is_member(&element) {
                    continue;
                }
                let value = match set.below(&element) {
                    Some(below) => remove(schema.member(key).unwrap_or(Schema::Any), value, below),
                    None => value.clone(),
                };
                out.insert(key.clone(), value);
            }
            if out.is_empty() {
                Value::Null
            } else {
                Value::Object(out)
            }
        }
        (Schema::List { merge, .. }, Value::Array(items)) => {
            let kept = |item: &Value| {
                let Ok(element) = item_element(schema, merge, item) else {
                    return Some(item.clone());
                };
                if set.is_member(&element) {
                    return None;
                }
                Some(match set.below(&element) {
                    Some(below) => remove(schema.item(), item, below),
                    None => item.clone(),
                })
            };
            let out: Vec<Value> = items.iter().filter_map(kept).collect();
            if out.is_empty() {
                Value::Null
            } else {
                Value::Array(out)
            }
        }
        (_, other) => other.clone(),
    }
}
