//! A value against the descriptor table: unknown fields, types, and Go's idea of "absent".
//!
//! What upstream's round trip through Go structs does to an object is done here on the value
//! itself: nulls, empty texts, lists and maps and the zero values of plain (non-pointer) fields
//! disappear, quantities and times take their canonical form.

use super::{MAX_NAMED, Path};
use crate::facts::{Field, Message, Shape, Type};
use crate::quantity::Quantity;
use crate::time::Timestamp;
use base64::Engine as _;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// What was found beside the value.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Paths of fields that the table lacks; they are gone from the value.
    pub(super) unknown: Vec<String>,
    /// The first value of a wrong type, in Go's words.
    pub(super) wrong: Option<String>,
}

struct Checker {
    path: Path,
    report: Report,
}

/// Prunes and normalises `object` in place.
pub(super) fn check(message: &'static Message, object: &mut Value) -> Report {
    let mut checker = Checker {
        path: Path::default(),
        report: Report::default(),
    };
    match object {
        Value::Object(map) => checker.message(message, map),
        other => {
            let text = format!(
                "json: cannot unmarshal {} into Go value of type {}",
                json_kind(other),
                go_message(message)
            );
            checker.report.wrong = Some(text);
        }
    }
    checker.report
}

impl Checker {
    fn message(&mut self, message: &'static Message, map: &mut Map<String, Value>) {
        map.retain(|name, value| {
            self.path.push_key(name);
            let keep = match message.field(name) {
                None => {
                    if self.report.unknown.len() < MAX_NAMED {
                        self.report.unknown.push(self.path.to_string());
                    }
                    false
                }
                Some(field) => self.field(message, field, value),
            };
            self.path.pop();
            keep
        });
    }

    /// Normalises one field; false when it should go away.
    fn field(&mut self, message: &'static Message, field: &Field, value: &mut Value) -> bool {
        if value.is_null() {
            return false;
        }
        match (field.shape, &mut *value) {
            (Shape::One, _) => {
                self.value(message, field, value);
                !is_absent(field, value)
            }
            (Shape::List, Value::Array(items)) => {
                for (at, item) in items.iter_mut().enumerate() {
                    self.path.push_index(at);
                    self.item(message, field, item);
                    self.path.pop();
                }
                // An empty list of managers asks to forget them: `apply::Sent::Reset`.
                !items.is_empty()
                    || (field.name == "managedFields"
                        && self.path.to_string() == "metadata.managedFields")
            }
            // Go writes bytes as text; so a list of bytes never comes here.
            (Shape::Map, Value::Object(entries)) => {
                for (key, item) in entries.iter_mut() {
                    self.path.push_key(key);
                    self.item(message, field, item);
                    self.path.pop();
                }
                !entries.is_empty()
            }
            (Shape::MapOfLists, Value::Object(entries)) => {
                let lists = entries.values().all(|v| {
                    v.as_array()
                        .is_some_and(|items| items.iter().all(Value::is_string))
                });
                if !lists {
                    self.wrong(message, field, value);
                }
                true
            }
            _ => {
                self.wrong(message, field, value);
                true
            }
        }
    }

    /// An element of a list or map, where null is Go's zero value and nothing is dropped.
    fn item(&mut self, message: &'static Message, field: &Field, value: &mut Value) {
        if value.is_null() {
            *value = match field.ty {
                Type::Msg(_) => Value::Object(Map::new()),
                Type::Str | Type::Bytes => "".into(),
                Type::Bool => false.into(),
                Type::Int32 | Type::Int64 | Type::Double | Type::IntOrString => 0.into(),
                Type::Quantity => "0".into(),
                _ => Value::Null,
            };
            return;
        }
        self.value(message, field, value);
    }

    fn value(&mut self, message: &'static Message, field: &Field, value: &mut Value) {
        let fine = match field.ty {
            Type::Msg(_) => match (field.ty.message(), &mut *value) {
                (Some(inner), Value::Object(map)) => {
                    self.message(inner, map);
                    true
                }
                _ => false,
            },
            Type::Str => value.is_string(),
            Type::Bool => value.is_boolean(),
            Type::Int32 => integer(value).is_some_and(|n| i32::try_from(n).is_ok()),
            Type::Int64 => integer(value).is_some(),
            Type::Double => value.is_number(),
            Type::IntOrString => {
                value.is_string() || integer(value).is_some_and(|n| i32::try_from(n).is_ok())
            }
            Type::Any => true,
            Type::Raw | Type::FieldsV1 => value.is_object(),
            Type::Bytes => return self.bytes(message, field, value),
            Type::Time | Type::MicroTime => return self.time(message, field, value),
            Type::Quantity => return self.quantity(message, field, value),
        };
        if !fine {
            self.wrong(message, field, value);
        }
    }

    /// As Go reads base64: line ends are skipped (block texts in YAML bring one), stray last bits
    /// are ignored. What is stored is canonical.
    fn bytes(&mut self, message: &'static Message, field: &Field, value: &mut Value) {
        let Value::String(text) = value else {
            return self.wrong(message, field, value);
        };
        if text.contains(['\r', '\n']) {
            text.retain(|c| !matches!(c, '\r' | '\n'));
        }
        match LENIENT.decode(text.as_bytes()) {
            Ok(bytes) => *text = LENIENT.encode(bytes),
            Err(error) => {
                let at = match error {
                    base64::DecodeError::InvalidByte(at, _)
                    | base64::DecodeError::InvalidLastSymbol(at, _) => at,
                    _ => text.len(),
                };
                self.say(format!("illegal base64 data at input byte {at}"));
            }
        }
    }

    fn time(&mut self, message: &'static Message, field: &Field, value: &mut Value) {
        let Value::String(text) = value else {
            return self.wrong(message, field, value);
        };
        match Timestamp::parse(text) {
            Some(time) if field.ty == Type::Time => *text = time.rfc3339(),
            Some(time) => *text = time.rfc3339_micro(),
            None if text.is_empty() => {}
            None => {
                let text = format!(
                    "parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {text:?} as \"2006\""
                );
                self.say(text);
            }
        }
    }

    fn quantity(&mut self, message: &'static Message, field: &Field, value: &mut Value) {
        let text = match value {
            Value::String(text) => text.trim().to_owned(),
            Value::Number(number) => number.to_string(),
            _ => return self.wrong(message, field, value),
        };
        match Quantity::parse(&text) {
            Ok(quantity) => *value = quantity.to_string().into(),
            Err(error) => self.say(error.to_string()),
        }
    }

    fn say(&mut self, text: String) {
        self.report.wrong.get_or_insert(text);
    }

    /// Go's text for a value that does not fit its field.
    fn wrong(&mut self, message: &'static Message, field: &Field, value: &Value) {
        let found = match (value, field.ty) {
            (Value::Number(n), Type::Int32 | Type::Int64) => format!("number {n}"),
            _ => json_kind(value).to_owned(),
        };
        let ty = match field.shape {
            // Inside a list or map the element is at fault, unless the whole is not even a list.
            Shape::List if value.is_array() || !self.path.ends_in_element() => {
                format!("[]{}", go_type(field.ty))
            }
            Shape::Map | Shape::MapOfLists if self.path.is_field(field.name) => {
                format!("map[string]{}", go_type(field.ty))
            }
            _ => go_type(field.ty),
        };
        let text = format!(
            "json: cannot unmarshal {found} into Go struct field {}.{} of type {ty}",
            message.short(),
            self.path.without_indexes()
        );
        self.say(text);
    }
}

/// Whether Go's `omitempty` would leave the field out.
fn is_absent(field: &Field, value: &Value) -> bool {
    if field.flags.required() {
        return false;
    }
    match value {
        Value::String(text) => text.is_empty() && !field.flags.empty_matters(),
        _ if field.flags.pointer() || field.ty == Type::IntOrString || field.ty == Type::Any => {
            false
        }
        Value::Bool(on) => !on,
        Value::Number(number) => number.as_f64() == Some(0.0),
        _ => false,
    }
}

fn integer(value: &Value) -> Option<i64> {
    value.as_i64()
}

pub(super) fn json_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn go_message(message: &Message) -> String {
    let mut parts = message.name.rsplit('.');
    let (name, package) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    format!("{package}.{name}")
}

fn go_type(ty: Type) -> String {
    match ty {
        Type::Str => "string".into(),
        Type::Bool => "bool".into(),
        Type::Int32 => "int32".into(),
        Type::Int64 => "int64".into(),
        Type::Double => "float64".into(),
        Type::Bytes => "[]uint8".into(),
        Type::Time => "v1.Time".into(),
        Type::MicroTime => "v1.MicroTime".into(),
        Type::Quantity => "resource.Quantity".into(),
        Type::IntOrString => "intstr.IntOrString".into(),
        Type::Raw => "runtime.RawExtension".into(),
        Type::FieldsV1 => "v1.FieldsV1".into(),
        Type::Any => "interface {}".into(),
        Type::Msg(_) => ty.message().map_or_else(String::new, go_message),
    }
}
