//! YAML to the same value that JSON would give, as Go's converter reads it (YAML 1.1 scalars).
//!
//! One document. Aliases are refused: they are how a few bytes become gigabytes, and no client
//! sends them (kubectl expands them before it asks).

use super::json::Parsed;
use super::{MAX_DEPTH, MAX_NAMED, MAX_VALUES, Path};
use saphyr_parser::{Event, Parser, ScalarStyle, Tag};
use serde_json::{Map, Number, Value};

/// A collection that is still open.
enum Open {
    List(Vec<Value>),
    Map {
        entries: Map<String, Value>,
        key: Option<String>,
    },
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
            Event::Alias(_) => {
                return Err(format!(
                    "line {}: aliases are not supported",
                    span.start.line()
                ));
            }
            Event::Scalar(text, style, _, tag) => {
                let plain = style == ScalarStyle::Plain && !is_text(tag.as_deref());
                builder.scalar(
                    if plain {
                        resolve(&text)
                    } else {
                        Value::from(text.as_ref())
                    },
                    &text,
                )?;
            }
            Event::SequenceStart(..) => builder.open(Open::List(Vec::new()))?,
            Event::MappingStart(..) => builder.open(Open::Map {
                entries: Map::new(),
                key: None,
            })?,
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

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    path: Path,
    duplicates: Vec<String>,
    done: Option<Value>,
}

impl Builder {
    fn open(&mut self, collection: Open) -> Result<(), String> {
        if self.open.len() >= MAX_DEPTH {
            return Err("exceeded max depth".into());
        }
        if let Some(Open::Map { key: None, .. }) = self.open.last() {
            return Err("a key must be a scalar".into());
        }
        if let Some(Open::List(items)) = self.open.last() {
            self.path.push_index(items.len());
        }
        self.open.push(collection);
        Ok(())
    }

    fn close(&mut self) -> Result<(), String> {
        let value = match self.open.pop() {
            Some(Open::List(items)) => Value::Array(items),
            Some(Open::Map { entries, key: None }) => Value::Object(entries),
            _ => return Err("unexpected end of a collection".into()),
        };
        if let Some(Open::List(_)) = self.open.last() {
            self.path.pop();
        }
        self.value(value);
        Ok(())
    }

    /// A scalar is a key where one is due; `raw` is its text.
    fn scalar(&mut self, value: Value, raw: &str) -> Result<(), String> {
        if let Some(Open::Map {
            entries,
            key: key @ None,
        }) = self.open.last_mut()
        {
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
            *key = Some(name);
            return Ok(());
        }
        self.value(value);
        Ok(())
    }

    fn value(&mut self, value: Value) {
        match self.open.last_mut() {
            Some(Open::List(items)) => items.push(value),
            Some(Open::Map { entries, key }) => {
                if let Some(key) = key.take() {
                    self.path.pop();
                    entries.insert(key, value);
                }
            }
            None => self.done = Some(value),
        }
    }
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
            "a: &x [1]\nb: *x",
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
    fn duplicates_carry_their_path() {
        let parsed = parse(b"spec:\n  l:\n  - a: 1\n    a: 2\n  l: []\n").unwrap();
        assert_eq!(parsed.duplicates, ["spec.l[0].a", "spec.l"]);
    }
}
