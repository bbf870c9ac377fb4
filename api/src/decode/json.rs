//! JSON text to a value, noting keys that come twice in one object.

use super::{MAX_DEPTH, MAX_NAMED, MAX_VALUES, Path};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// A parsed text.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) value: Value,
    /// Paths of repeated keys, in order; the last value of each counts, as in Go.
    pub(super) duplicates: Vec<String>,
    /// Further texts for the client.
    pub(super) notices: Vec<String>,
}

pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, serde_json::Error> {
    let mut state = State {
        path: Path::default(),
        depth: 0,
        values: 0,
        duplicates: Vec::new(),
    };
    let mut input = serde_json::Deserializer::from_slice(bytes);
    let value = Seed(&mut state).deserialize(&mut input)?;
    input.end()?;
    Ok(Parsed {
        value,
        duplicates: state.duplicates,
        ..Parsed::default()
    })
}

struct State {
    path: Path,
    depth: usize,
    values: usize,
    duplicates: Vec<String>,
}

struct Seed<'a>(&'a mut State);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Value, D::Error> {
        self.0.values += 1;
        if self.0.values > MAX_VALUES {
            return Err(serde::de::Error::custom("too many values"));
        }
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(Number::from_f64(v).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        self.0.descend::<A::Error>()?;
        let mut out = Vec::new();
        loop {
            self.0.path.push_index(out.len());
            let next = seq.next_element_seed(Seed(self.0));
            self.0.path.pop();
            match next? {
                Some(value) => out.push(value),
                None => break,
            }
        }
        self.0.depth -= 1;
        Ok(Value::Array(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        self.0.descend::<A::Error>()?;
        let mut out = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            self.0.path.push_key(&key);
            if out.contains_key(&key) && self.0.duplicates.len() < MAX_NAMED {
                self.0.duplicates.push(self.0.path.to_string());
            }
            let value = map.next_value_seed(Seed(self.0));
            self.0.path.pop();
            out.insert(key, value?);
        }
        self.0.depth -= 1;
        Ok(Value::Object(out))
    }
}

impl State {
    fn descend<E: serde::de::Error>(&mut self) -> Result<(), E> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(E::custom("exceeded max depth"));
        }
        Ok(())
    }
}
