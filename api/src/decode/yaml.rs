//! YAML to the same value that JSON would give, as Go's converter reads it (YAML 1.1 scalars).
//!
//! One document. Aliases and merge keys (`<<`) are expanded as that converter does, within a bound of
//! their own: they are how a few bytes become gigabytes.

use super::json::Parsed;
use super::{MAX_BODY, MAX_DEPTH, MAX_NAMED, MAX_VALUES, Path};
use saphyr_parser::{Event, Parser, ScalarStyle, Tag};
use serde_json::{Map, Number, Value};
use std::collections::HashMap;

/// Most values that are kept under anchors and that aliases stand for, together.
const MAX_ALIASED: usize = 20_000;
/// Most bytes of their texts.
const MAX_ALIASED_BYTES: usize = MAX_BODY;

/// A collection that is still open.
enum Open {
    List(Vec<Value>),
    Map {
        entries: Map<String, Value>,
        key: Option<Key>,
    },
}

enum Key {
    Name(String),
    /// `<<`: what follows is put into the map.
    Merge,
}

pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "invalid UTF-8".to_owned())?;
    let mut builder = Builder::default();
    let mut documents = 0;
    let mut events = 0;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|e| e.to_string())?;
        events += 1;
        // A value is one event, or two when it opens and closes; a key is one more.
        if events > MAX_VALUES * 2 {
            return Err("too many values".into());
        }
        match event {
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    return Err("more than one document".into());
                }
            }
            Event::Alias(anchor) => builder
                .alias(anchor)
                .map_err(|why| format!("line {}: {why}", span.start.line()))?,
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && !is_text(tag.as_deref());
                let value = if plain {
                    resolve(&text)
                } else {
                    Value::from(text.as_ref())
                };
                builder.keep(anchor, &value)?;
                builder.scalar(value, &text, plain)?;
            }
            Event::SequenceStart(anchor, _) => {
                builder.open(Open::List(Vec::new()), anchor)?;
            }
            Event::MappingStart(anchor, _) => {
                let map = Open::Map {
                    entries: Map::new(),
                    key: None,
                };
                builder.open(map, anchor)?;
            }
            Event::SequenceEnd | Event::MappingEnd => builder.close()?,
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
    }
    Ok(Parsed {
        value: builder.done.unwrap_or_default(),
        duplicates: builder.duplicates,
        ..Parsed::default()
    })
}

fn is_text(tag: Option<&Tag>) -> bool {
    tag.is_some_and(|t| t.is_yaml_core_schema() && matches!(t.suffix.as_str(), "str" | "binary"))
}

/// What a value costs.
#[derive(Clone, Copy, Default)]
struct Weight {
    values: usize,
    bytes: usize,
    depth: usize,
}

impl Weight {
    fn of(value: &Value) -> Self {
        let inside = |sum: Self, value: &Value| {
            let one = Self::of(value);
            Self {
                values: sum.values + one.values,
                bytes: sum.bytes + one.bytes,
                depth: sum.depth.max(one.depth),
            }
        };
        let (inner, own) = match value {
            Value::Array(items) => (items.iter().fold(Self::default(), inside), 0),
            Value::Object(entries) => (
                entries.values().fold(Self::default(), inside),
                entries.keys().map(String::len).sum(),
            ),
            Value::String(text) => (Self::default(), text.len()),
            _ => {
                return Self {
                    values: 1,
                    ..Self::default()
                };
            }
        };
        let nested = usize::from(value.is_array() || value.is_object());
        Self {
            values: inner.values + 1,
            bytes: inner.bytes + own,
            depth: inner.depth + nested,
        }
    }
}

#[derive(Default)]
struct Builder {
    /// With the anchor of each; 0 is none.
    open: Vec<(Open, usize)>,
    path: Path,
    duplicates: Vec<String>,
    done: Option<Value>,
    kept: HashMap<usize, (Value, Weight)>,
    /// Of what is kept and what stands for aliases.
    aliased: Weight,
}

impl Builder {
    fn open(&mut self, collection: Open, anchor: usize) -> Result<(), String> {
        if self.open.len() >= MAX_DEPTH {
            return Err("exceeded max depth".into());
        }
        if let Some((Open::Map { key: None, .. }, _)) = self.open.last() {
            return Err("a key must be a scalar".into());
        }
        if let Some((Open::List(items), _)) = self.open.last() {
            self.path.push_index(items.len());
        }
        self.open.push((collection, anchor));
        Ok(())
    }

    fn close(&mut self) -> Result<(), String> {
        let (value, anchor) = match self.open.pop() {
            Some((Open::List(items), anchor)) => (Value::Array(items), anchor),
            Some((Open::Map { entries, key: None }, anchor)) => (Value::Object(entries), anchor),
            _ => return Err("unexpected end of a collection".into()),
        };
        if let Some((Open::List(_), _)) = self.open.last() {
            self.path.pop();
        }
        self.keep(anchor, &value)?;
        self.value(value)
    }

    /// Keeps a value for the aliases of its anchor.
    fn keep(&mut self, anchor: usize, value: &Value) -> Result<(), String> {
        if anchor == 0 {
            return Ok(());
        }
        let weight = Weight::of(value);
        self.charge(weight)?;
        self.kept.insert(anchor, (value.clone(), weight));
        Ok(())
    }

    fn charge(&mut self, weight: Weight) -> Result<(), String> {
        self.aliased.values += weight.values;
        self.aliased.bytes += weight.bytes;
        if self.aliased.values > MAX_ALIASED || self.aliased.bytes > MAX_ALIASED_BYTES {
            return Err("document contains excessive aliasing".into());
        }
        Ok(())
    }

    fn alias(&mut self, anchor: usize) -> Result<(), String> {
        let Some((_, weight)) = self.kept.get(&anchor) else {
            return Err("an anchor's value contains itself".into());
        };
        let weight = *weight;
        if self.open.len() + weight.depth > MAX_DEPTH {
            return Err("exceeded max depth".into());
        }
        self.charge(weight)?;
        let value = self.kept[&anchor].0.clone();
        match (self.open.last(), &value) {
            (Some((Open::Map { key: None, .. }, _)), Value::Array(_) | Value::Object(_)) => {
                Err("a key must be a scalar".into())
            }
            (Some((Open::Map { key: None, .. }, _)), _) => {
                let raw = match &value {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                self.scalar(value, &raw, false)
            }
            _ => self.value(value),
        }
    }

    /// A scalar is a key where one is due; `raw` is its text.
    fn scalar(&mut self, value: Value, raw: &str, plain: bool) -> Result<(), String> {
        let Some((Open::Map { entries, key }, _)) = self.open.last_mut() else {
            return self.value(value);
        };
        if key.is_some() {
            return self.value(value);
        }
        if plain && raw == "<<" {
            self.path.push_key(raw);
            *key = Some(Key::Merge);
            return Ok(());
        }
        let name = match &value {
            Value::String(text) => text.clone(),
            Value::Null => "null".into(),
            Value::Bool(on) => on.to_string(),
            _ => raw.to_owned(),
        };
        self.path.push_key(&name);
        if entries.contains_key(&name) && self.duplicates.len() < MAX_NAMED {
            self.duplicates.push(self.path.to_string());
        }
        *key = Some(Key::Name(name));
        Ok(())
    }

    fn value(&mut self, value: Value) -> Result<(), String> {
        match self.open.last_mut() {
            Some((Open::List(items), _)) => items.push(value),
            Some((Open::Map { entries, key }, _)) => {
                let Some(key) = key.take() else { return Ok(()) };
                self.path.pop();
                match key {
                    Key::Name(name) => drop(entries.insert(name, value)),
                    Key::Merge => merge(entries, value)?,
                }
            }
            None => self.done = Some(value),
        }
        Ok(())
    }
}

/// Puts a map, or maps of which the first counts most, into another. What came before gives way, as
/// in Go's converter.
fn merge(entries: &mut Map<String, Value>, value: Value) -> Result<(), String> {
    let maps = match value {
        Value::Object(map) => vec![Value::Object(map)],
        Value::Array(maps) => maps,
        _ => Vec::from([Value::Null]),
    };
    for map in maps.into_iter().rev() {
        let Value::Object(map) = map else {
            return Err("map merge requires map or sequence of maps as the value".into());
        };
        entries.extend(map);
    }
    Ok(())
}

/// What a plain scalar means in YAML 1.1, which Go's converter speaks.
fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return true.into();
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return false.into();
        }
        _ => {}
    }
    let starts_number = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    if starts_number {
        if let Some(int) = integer(&text.replace('_', "")) {
            return int;
        }
        let is_float = text
            .chars()
            .all(|c| c.is_ascii_digit() || "+-.eE_".contains(c))
            && text.contains(|c: char| c.is_ascii_digit());
        if is_float
            && let Ok(float) = text.replace('_', "").parse::<f64>()
            && let Some(number) = Number::from_f64(float)
        {
            return Value::Number(number);
        }
    }
    text.into()
}

fn integer(text: &str) -> Option<Value> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o', ..] => (8, &digits[2..]),
        [b'0', b'b', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    if negative {
        return 0_i64.checked_sub_unsigned(magnitude).map(Value::from);
    }
    Some(magnitude.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(text: &str, want: Value) {
        assert_eq!(parse(text.as_bytes()).unwrap().value, want, "{text}");
    }

    #[test]
    fn scalars_as_go_reads_them() {
        check(
            "a: 0644\nb: 0x10\nc: yes\nd: 'yes'\ne: ~\nf: 1.5\ng: 1e3\nh: 1Gi\ni: -7\nj: 1.2.3\nk: \"1\"\nl: !!str 5\n8080: x\ntrue: y",
            json!({"a": 420, "b": 16, "c": true, "d": "yes", "e": null, "f": 1.5, "g": 1000.0, "h": "1Gi",
                   "i": -7, "j": "1.2.3", "k": "1", "l": "5", "8080": "x", "true": true}),
        );
        check(
            "- a\n- b: [1, {c: d}]\n",
            json!(["a", {"b": [1, {"c": "d"}]}]),
        );
        check("", Value::Null);
        check("t: |\n  one\n  two\n", json!({"t": "one\ntwo\n"}));
    }

    #[test]
    fn bombs_and_bad_texts_are_refused() {
        for bad in [
            "a: &x [*x]",
            "a: *x",
            "<<: 1",
            "<<: [{a: 1}, 2]",
            "? &x [1]\n: a\n? *x\n: b",
            "a: [",
            "---\na: 1\n---\nb: 2\n",
            "? [a]\n: b",
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(parse("[".repeat(100_000).as_bytes()).is_err());
        let deep = format!(
            "{}{}",
            "{a: ".repeat(MAX_DEPTH + 1),
            "}".repeat(MAX_DEPTH + 1)
        );
        assert_eq!(parse(deep.as_bytes()).unwrap_err(), "exceeded max depth");
    }

    #[test]
    fn aliases_stand_for_what_has_their_anchor() {
        check(
            "a: &x [1, {b: &y 0x10}]\nc: *x\nd: *y\n&k e: 1\nf: *k\ng: {*y : 1, *k : 2}\n",
            json!({"a": [1, {"b": 16}], "c": [1, {"b": 16}], "d": 16, "e": 1, "f": "e",
                "g": {"16": 1, "e": 2}}),
        );
        // The last one of a name counts.
        check("[&x 1, *x, &x 2, *x]", json!([1, 1, 2, 2]));
        check(
            "base: &b {a: 1, b: 2}\nother: &o {b: 3, c: 4}\none: {<<: *b, a: 9}\n\
             two: {<<: [*b, *o], d: 5}\nlate: {a: 9, <<: *b}\ntext: {'<<': 1}\n",
            json!({"base": {"a": 1, "b": 2}, "other": {"b": 3, "c": 4},
                "one": {"a": 9, "b": 2}, "two": {"a": 1, "b": 2, "c": 4, "d": 5},
                "late": {"a": 1, "b": 2}, "text": {"<<": 1}}),
        );
    }

    #[test]
    fn aliases_that_grow_are_refused() {
        // A billion laughs, in lists, in maps that merge, and as one long text.
        let grown = |line: &dyn Fn(usize) -> String| -> String { (0..9).map(line).collect() };
        let refused = |text: &str| {
            let why = parse(text.as_bytes()).unwrap_err();
            assert!(
                why.ends_with("document contains excessive aliasing"),
                "{why}"
            );
        };
        let list = |n: usize| match n {
            0 => "l0: &l0 [x, x, x, x, x, x, x, x, x]\n".to_owned(),
            n => format!(
                "l{n}: &l{n} [{}]\n",
                vec![format!("*l{}", n - 1); 9].join(", ")
            ),
        };
        refused(&grown(&list));
        let text = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), "*a,".repeat(40));
        refused(&text);
        // Many anchors around the same values keep each a copy.
        let around: String = (0..90).map(|n| format!("&a{n} [")).collect();
        let values = vec!["1"; 1000].join(", ");
        refused(&format!("{around}{values}{}", "]".repeat(90)));
        // What stands for an alias counts for the depth.
        let half = MAX_DEPTH / 2 + 1;
        let deep = format!(
            "a: &a {}{}\nb: {}*a{}\n",
            "[".repeat(half),
            "]".repeat(half),
            "[".repeat(half),
            "]".repeat(half)
        );
        let why = parse(deep.as_bytes()).unwrap_err();
        assert!(why.ends_with("exceeded max depth"), "{why}");
    }

    #[test]
    fn duplicates_carry_their_path() {
        let parsed = parse(b"spec:\n  l:\n  - a: 1\n    a: 2\n  l: []\n").unwrap();
        assert_eq!(parsed.duplicates, ["spec.l[0].a", "spec.l"]);
    }
}
