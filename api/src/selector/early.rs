//! Labels and fields out of an object's bytes, without making anything of the rest: a list by a
//! selector looks at every object of its kind. Labels come early in an object, and nothing after them
//! is read.
//!
//! In: JSON. Out: its labels, or nothing when the bytes are not as we write them; then they are to be
//! parsed as a whole. Or an object with nothing but the fields that were asked for.

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer as _};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt;

/// Labels, in the order in which they were written.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Labels<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Labels<'a> {
    /// The labels of an object.
    pub fn of(json: &'a [u8]) -> Option<Self> {
        let mut found = None;
        let mut parser = serde_json::Deserializer::from_slice(json);
        let place = Below {
            path: &["metadata", "labels"],
            found: &mut found,
        };
        match parser.deserialize_any(place) {
            // It was read to the end: there are none.
            Ok(()) => found.or(Some(Self::default())),
            // Reading stops with an error, also when it has what it looked for.
            Err(_) => found,
        }
    }

    /// The value of a label.
    pub fn get(&self, key: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == key);
        found.map(|(_, value)| value.as_ref())
    }
}

/// Looks for a path of keys, and stops there.
struct Below<'f, 'a> {
    path: &'static [&'static str],
    found: &'f mut Option<Labels<'a>>,
}

impl<'de> DeserializeSeed<'de> for Below<'_, 'de> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Below<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    /// `null` is as good as nothing.
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((wanted, rest)) = self.path.split_first() else {
            let mut labels = Labels::default();
            while let Some((Text(key), Text(value))) = map.next_entry()? {
                labels.0.push((key, value));
            }
            *self.found = Some(labels);
            return Err(A::Error::custom("found"));
        };
        while let Some(Text(key)) = map.next_key::<Text<'de>>()? {
            if key == *wanted {
                let below = Below {
                    path: rest,
                    found: self.found,
                };
                map.next_value_seed(below)?;
                // It is not there: what follows does not matter.
                *self.found = Some(Labels::default());
                return Err(A::Error::custom("found"));
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

/// A string of the object, borrowed from its bytes unless it has escapes: most are only looked at.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The object with the fields at `paths` (keys with dots between them) and nothing else; `None` when it
/// can't be read to its end.
pub(super) fn fields(json: &[u8], paths: Vec<&str>) -> Option<Value> {
    let mut parser = serde_json::Deserializer::from_slice(json);
    let object = Fields(paths).deserialize(&mut parser).ok()?;
    parser.end().ok()?;
    Some(object)
}

struct Fields<'p>(Vec<&'p str>);

impl<'de> DeserializeSeed<'de> for Fields<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// Nothing is below what is no object.
impl<'de> Visitor<'de> for Fields<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut found = Map::new();
        while let Some(Text(key)) = map.next_key::<Text<'de>>()? {
            let below = |path: &&str| match path.split_once('.') {
                Some((first, _)) => first == key,
                None => *path == key,
            };
            let wanted: Vec<&str> = self.0.iter().copied().filter(below).collect();
            let value = if wanted.is_empty() {
                map.next_value::<IgnoredAny>()?;
                continue;
            } else if wanted.contains(&&*key) {
                map.next_value()?
            } else {
                let rest = wanted
                    .iter()
                    .filter_map(|path| Some(path.split_once('.')?.1));
                map.next_value_seed(Fields(rest.collect()))?
            };
            found.insert(key.into_owned(), value);
        }
        Ok(Value::Object(found))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Null)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_str<E>(self, _: &str) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_are_read_and_nothing_is_made_of_the_rest() {
        let object = json!({
            "kind": "Pod", "metadata": {"name": "a", "x": [1, {"y": null}]},
            "spec": {"nodeName": "n", "deep": {"nodeName": "no", "flag": true}, "list": ["n"]},
            "status": "none", "type": 1.5,
        });
        for (paths, want) in [
            (vec![], json!({})),
            (vec!["spec.nodeName"], json!({"spec": {"nodeName": "n"}})),
            (
                vec!["spec.deep.flag", "spec.nodeName", "type"],
                json!({"spec": {"nodeName": "n", "deep": {"flag": true}}, "type": 1.5}),
            ),
            (
                vec!["spec.deep.flag", "spec.deep"],
                json!({"spec": {"deep": object["spec"]["deep"]}}),
            ),
            (
                vec![
                    "status.phase",
                    "spec.list.x",
                    "spec.deep.flag.x",
                    "type.x",
                    "none",
                ],
                json!({"status": null, "spec": {"list": null, "deep": {"flag": null}}, "type": null}),
            ),
        ] {
            let bytes = object.to_string();
            assert_eq!(
                fields(bytes.as_bytes(), paths.clone()),
                Some(want),
                "{paths:?}"
            );
            let cut = &bytes[..bytes.len() - 1];
            assert_eq!(fields(cut.as_bytes(), paths), None);
            assert_eq!(fields(format!("{bytes}x").as_bytes(), vec![]), None);
        }
    }

    fn get(json: &str, key: &str) -> Option<Option<String>> {
        let labels = Labels::of(json.as_bytes());
        labels.map(|labels| labels.get(key).map(str::to_owned))
    }

    #[test]
    fn strings_are_borrowed_unless_they_have_escapes() {
        for (json, borrowed) in [(r#""metadata""#, true), (r#""m\u0065tadata""#, false)] {
            let Text(text) = serde_json::from_str(json).unwrap();
            assert_eq!(text, "metadata");
            assert_eq!(matches!(text, Cow::Borrowed(_)), borrowed, "{json}");
        }
    }

    #[test]
    fn labels_are_found_and_nothing_after_them_is_read() {
        let some = |value: &str| Some(Some(value.to_owned()));
        for (json, want) in [
            (
                r#"{"kind":"Pod","metadata":{"name":"a","labels":{"x":"1","a":"b"}},"spec":"#,
                some("b"),
            ),
            (r#"{"metadata":{"labels":{"a":"\u0062"}}"#, some("b")),
            (r#"{"metadata":{"labels":{"x":"1"}}"#, Some(None)),
            (
                r#"{"metadata":{"labels":null,"name":"a"},"spec":"#,
                Some(None),
            ),
            (
                r#"{"metadata":{"name":"a"},"spec":{"labels":{"a":"no"}}"#,
                Some(None),
            ),
            (
                r#"{"spec":{"metadata":{"labels":{"a":"no"}}},"metadata":{"labels":{"a":"b"}}}"#,
                some("b"),
            ),
            (r#"{"kind":"Pod"}"#, Some(None)),
        ] {
            assert_eq!(get(json, "a"), want, "{json}");
        }
        for json in [
            "",
            "{",
            r#"{"metadata":{"labels":{"a":5}}}"#,
            r#"{"metadata":[]}"#,
            "null x",
        ] {
            let labels = Labels::of(json.as_bytes());
            assert!(
                labels.is_none_or(|labels| labels.get("a").is_none()),
                "{json}"
            );
        }
    }
}
