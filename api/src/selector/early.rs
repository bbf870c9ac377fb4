//! Labels out of an object's bytes, without reading the rest: a list by labels looks at every object
//! of its kind, and most of an object comes after its metadata.
//!
//! In: JSON. Out: its labels, or nothing when the bytes are not as we write them; then they are to be
//! parsed as a whole.

use serde::Deserializer as _;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};
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
            while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                labels.0.push((key, map.next_value()?));
            }
            *self.found = Some(labels);
            return Err(A::Error::custom("found"));
        };
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn get(json: &str, key: &str) -> Option<Option<String>> {
        let labels = Labels::of(json.as_bytes());
        labels.map(|labels| labels.get(key).map(str::to_owned))
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
