//! One object under its schema: is it well formed, which fields does it have.

use super::schema::Schema;
use super::set::{Element, Scalar, Set};
use crate::facts::{Merge, Type};
use crate::quantity::Quantity;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Most problems that are named.
const MAX_PROBLEMS: usize = 100;

/// Why a list item has no place of its own, in upstream's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoElement {
    #[error("associative list with keys may not have a null element")]
    NullItem,
    #[error("associative list with keys may not have non-map elements")]
    NotAMap,
    #[error(
        "associative list with keys has an element that omits all key fields {0} (and doesn't have default values for any key fields)"
    )]
    NoKeys(String),
    #[error("associative list without keys has an element that's a map type")]
    MapInSet,
    #[error("not supported: associative list with lists as elements")]
    ListInSet,
    #[error("associative list without keys has an element that's an explicit null")]
    NullInSet,
}

/// The place of an item in a list that is not atomic.
pub(super) fn item_element(
    schema: Schema,
    merge: Merge,
    item: &Value,
) -> Result<Element, NoElement> {
    let Merge::Keys(keys) = merge else {
        return match item {
            Value::Object(_) => Err(NoElement::MapInSet),
            Value::Array(_) => Err(NoElement::ListInSet),
            Value::Null => Err(NoElement::NullInSet),
            scalar => Ok(Element::Value(Scalar(scalar.clone()))),
        };
    };
    let map = match item {
        Value::Object(map) => map,
        Value::Null => return Err(NoElement::NullItem),
        _ => return Err(NoElement::NotAMap),
    };
    let default = |key: &str| match schema.item() {
        Schema::Message { of, .. } => of.key_default(key).map(Value::from),
        _ => None,
    };
    let mut fields: Vec<(String, Scalar)> = keys
        .iter()
        .filter_map(|key| {
            let value = map.get(*key).cloned().or_else(|| default(key))?;
            Some(((*key).to_owned(), Scalar(value)))
        })
        .collect();
    if fields.is_empty() {
        let keys: Vec<String> = keys.iter().map(|k| format!("{k:?}")).collect();
        return Err(NoElement::NoKeys(format!("[{}]", keys.join(" "))));
    }
    fields.sort();
    Ok(Element::Key(fields))
}

/// Checks an object against its schema, and writes quantities in their canonical form, as they are
/// stored, so that equal amounts are equal. Returns what is wrong.
pub(super) fn validate(schema: Schema, value: &mut Value) -> Vec<String> {
    let mut out = Vec::new();
    check(schema, value, &mut String::new(), &mut out);
    out
}

/// Problems as upstream joins them.
pub(super) fn joined(problems: &[String]) -> String {
    match problems {
        [one] => one.clone(),
        many => format!("errors:\n  {}", many.join("\n  ")),
    }
}

fn check(schema: Schema, value: &mut Value, path: &mut String, out: &mut Vec<String>) {
    let mut wrong = |path: &str, text: &str| {
        if out.len() < MAX_PROBLEMS {
            out.push(format!("{path}: {text}"));
        }
    };
    match (schema, value) {
        (_, Value::Null) | (Schema::Any, _) => {}
        (Schema::Scalar(ty), value) => {
            if let Some(text) = scalar(ty, value) {
                wrong(path, &text);
            }
        }
        (Schema::Message { .. } | Schema::Map { .. }, Value::Object(map)) => {
            for (key, value) in map {
                let length = path.len();
                path.push('.');
                path.push_str(key);
                match schema.member(key) {
                    Some(member) => check(member, value, path, out),
                    None if out.len() < MAX_PROBLEMS => {
                        out.push(format!("{path}: field not declared in schema"));
                    }
                    None => {}
                }
                path.truncate(length);
            }
        }
        (Schema::Message { .. } | Schema::Map { .. }, other) => {
            wrong(path, &format!("expected map, got &{{{}}}", go(other)));
        }
        (Schema::List { .. } | Schema::Texts, Value::Array(items)) => {
            list(schema, items, path, out);
        }
        (Schema::List { .. } | Schema::Texts, other) => {
            wrong(path, &format!("expected list, got &{{{}}}", go(other)));
        }
    }
}

fn list(schema: Schema, items: &mut [Value], path: &mut String, out: &mut Vec<String>) {
    let merge = match schema {
        Schema::List { merge, .. } if !schema.is_atomic() => Some(merge),
        _ => None,
    };
    let mut seen = BTreeSet::new();
    for (at, item) in items.iter_mut().enumerate() {
        let element = match merge.map(|merge| item_element(schema, merge, item)) {
            None => Element::Index(i64::try_from(at).unwrap_or_default()),
            Some(Ok(element)) => {
                if seen.contains(&element) {
                    out.push(format!("{path}: duplicate entries for key {element}"));
                }
                seen.insert(element.clone());
                element
            }
            Some(Err(error)) => {
                out.push(format!("{path}: element {at}: {error}"));
                return;
            }
        };
        if out.len() >= MAX_PROBLEMS {
            return;
        }
        let length = path.len();
        path.push_str(&element.to_string());
        check(schema.item(), item, path, out);
        path.truncate(length);
    }
}

/// What is wrong with a single value.
fn scalar(ty: Type, value: &mut Value) -> Option<String> {
    match (ty, &mut *value) {
        (Type::Str | Type::Bytes, Value::String(_))
        | (Type::Bool, Value::Bool(_))
        | (Type::Int32 | Type::Int64 | Type::Double, Value::Number(_)) => None,
        (Type::Str | Type::Bytes, other) => Some(format!(
            "expected string, got &value.valueUnstructured{{Value:{}}}",
            go(other)
        )),
        (Type::Bool, other) => Some(format!("expected boolean, got &{{{}}}", go(other))),
        (Type::Int32 | Type::Int64 | Type::Double, other) => Some(format!(
            "expected numeric (int or float), got {}",
            go_type(other)
        )),
        (_, Value::Object(_) | Value::Array(_)) => {
            Some(format!("expected any scalar, got &{{{}}}", go(value)))
        }
        (Type::Quantity, _) => {
            let text = match &*value {
                Value::String(text) => Quantity::parse(text.trim()),
                other => Quantity::parse(&other.to_string()),
            };
            if let Ok(quantity) = text {
                *value = quantity.to_string().into();
            }
            None
        }
        _ => None,
    }
}

/// A value as Go prints it.
fn go(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let entries: Vec<String> = map
                .iter()
                .map(|(k, v)| format!("{k:?}:{}", go(v)))
                .collect();
            format!("map[string]interface {{}}{{{}}}", entries.join(", "))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(go).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        scalar => scalar.to_string(),
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// The fields that an object has.
pub(super) fn fields(schema: Schema, value: &Value) -> Set {
    let mut out = Set::default();
    collect(schema, value, &mut Vec::new(), &mut out);
    out
}

fn collect(schema: Schema, value: &Value, path: &mut Vec<Element>, out: &mut Set) {
    if schema.is_atomic() {
        out.insert(path);
        return;
    }
    match (schema, value) {
        (Schema::Message { .. } | Schema::Map { .. }, Value::Object(map)) => {
            for (key, value) in map {
                path.push(Element::field(key));
                if let Some(member) = schema.member(key) {
                    collect(member, value, path, out);
                }
                let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                if empty || !schema.is_named(key) {
                    out.insert(path);
                }
                path.pop();
            }
        }
        (Schema::List { merge, .. }, Value::Array(items)) => {
            items_of(schema, merge, items, path, out);
        }
        _ => {}
    }
}

fn items_of(schema: Schema, merge: Merge, items: &[Value], path: &mut Vec<Element>, out: &mut Set) {
    let elements: Vec<Option<Element>> = items
        .iter()
        .map(|item| item_element(schema, merge, item).ok())
        .collect();
    let mut seen = BTreeSet::new();
    let mut twice = BTreeSet::new();
    for element in elements.iter().flatten() {
        if !seen.insert(element) {
            twice.insert(element);
        }
    }
    for (element, item) in elements.iter().zip(items) {
        let Some(element) = element else { continue };
        path.push(element.clone());
        // What comes twice is owned as one thing.
        if !twice.contains(element) {
            collect(schema.item(), item, path, out);
        }
        out.insert(path);
        path.pop();
    }
}

/// Whether two values are the same; numbers are when they count the same.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, value)| b.get(key).is_some_and(|other| same(value, other)))
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Number(_), Value::Number(_)) => Scalar(a.clone()) == Scalar(b.clone()),
        _ => a == b,
    }
}
