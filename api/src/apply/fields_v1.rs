//! The JSON form of a set of fields, `fieldsV1`.
//!
//! | key | means |
//! |---|---|
//! | `f:name` | a field, or an entry of a map |
//! | `k:{"name":"a"}` | the item of a keyed list |
//! | `v:"a"` | the item of a set |
//! | `i:0` | the item at a place |
//! | `.` | the parent itself |

use super::set::{Element, Scalar, Set};
use serde_json::{Map, Value};

/// Why a `fieldsV1` can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not an object.
    #[error("a set of fields must be an object")]
    NotAnObject,
    /// A key without its letter and colon, or with a value that is no JSON.
    #[error("parsing key as path element: {0:?}")]
    Key(String),
}

/// Reads a set.
pub fn parse(value: &Value) -> Result<Set, Error> {
    let Value::Object(map) = value else {
        return Err(Error::NotAnObject);
    };
    subtree(map).map(|(set, _)| set)
}

/// The set below a node, and whether the node itself is a member: a leaf is.
fn subtree(map: &Map<String, Value>) -> Result<(Set, bool), Error> {
    let mut set = Set::default();
    let mut member = false;
    for (key, value) in map {
        if key == "." {
            member = true;
            continue;
        }
        // A kind of key from the future: what it leads to is left out.
        let Some(element) = element(key)? else {
            continue;
        };
        let Value::Object(inner) = value else {
            return Err(Error::NotAnObject);
        };
        let (below, is_member) = subtree(inner)?;
        set.put(element, is_member, below);
    }
    let member = member || set.is_empty();
    Ok((set, member))
}

fn element(key: &str) -> Result<Option<Element>, Error> {
    let wrong = || Error::Key(key.to_owned());
    let (letter, rest) = key.split_once(':').ok_or_else(wrong)?;
    let json = || serde_json::from_str::<Value>(rest).map_err(|_| wrong());
    Ok(Some(match letter {
        "f" => Element::field(rest),
        "v" => Element::Value(Scalar(json()?)),
        "k" => match json()? {
            Value::Object(map) => {
                let mut fields: Vec<(String, Scalar)> =
                    map.into_iter().map(|(k, v)| (k, Scalar(v))).collect();
                fields.sort();
                Element::Key(fields)
            }
            _ => return Err(wrong()),
        },
        "i" => Element::Index(rest.parse().map_err(|_| wrong())?),
        _ if letter.len() == 1 => return Ok(None),
        _ => return Err(wrong()),
    }))
}

/// Writes a set.
pub fn print(set: &Set) -> Value {
    Value::Object(map(set, false))
}

fn map(set: &Set, itself: bool) -> Map<String, Value> {
    let mut out = Map::new();
    if itself && !set.is_empty() {
        out.insert(".".into(), Value::Object(Map::new()));
    }
    for (element, member, below) in set.elements() {
        out.insert(name(element), Value::Object(map(below, member)));
    }
    out
}

fn name(element: &Element) -> String {
    match element {
        Element::Field(name) => format!("f:{name}"),
        Element::Key(fields) => {
            let map: Map<String, Value> = fields
                .iter()
                .map(|(name, value)| (name.clone(), value.0.clone()))
                .collect();
            format!("k:{}", Value::Object(map))
        }
        Element::Value(value) => format!("v:{}", value.0),
        Element::Index(at) => format!("i:{at}"),
    }
}
