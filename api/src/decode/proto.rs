//! Protobuf bodies: the `k8s\0` envelope and a generic transcoder to JSON over the descriptor table.

use super::{MAX_DEPTH, MAX_VALUES};
use crate::facts::{self, Field, Message, Shape, Type};
use crate::time::Timestamp;
use base64::Engine as _;
use serde_json::{Map, Value, json};

/// Why bytes are not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    #[error(
        "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
    )]
    Prefix,
    #[error("unexpected EOF")]
    Truncated,
    #[error("proto: wrong wireType")]
    Wire,
    #[error("proto: invalid UTF-8")]
    Utf8,
    #[error("proto: message is nested too deeply")]
    Depth,
    #[error("proto: too many values")]
    Values,
    #[error("proto: embedded object is not JSON")]
    Embedded,
    #[error("proto: the body's own encoding is not supported")]
    Encoding,
}

/// One value on the wire.
#[derive(Debug, Clone, Copy)]
enum Wire<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Fixed64([u8; 8]),
    Fixed32,
}

impl<'a> Wire<'a> {
    fn bytes(self) -> Result<&'a [u8], Error> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(Error::Wire),
        }
    }

    fn text(self) -> Result<&'a str, Error> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Error::Utf8)
    }

    fn int(self) -> Result<i64, Error> {
        match self {
            Self::Varint(n) => Ok(n.cast_signed()),
            _ => Err(Error::Wire),
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn varint(&mut self) -> Result<u64, Error> {
        let mut out = 0_u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or(Error::Truncated)?;
            self.0 = rest;
            out |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(out);
            }
        }
        Err(Error::Wire)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(Error::Truncated)?;
        self.0 = rest;
        Ok(head)
    }

    fn next(&mut self) -> Result<Option<(u32, Wire<'a>)>, Error> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| Error::Wire)?;
        let wire = match tag & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(self.take(8)?.try_into().map_err(|_| Error::Truncated)?),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Error::Truncated)?;
                Wire::Bytes(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                Wire::Fixed32
            }
            _ => return Err(Error::Wire),
        };
        Ok(Some((number, wire)))
    }
}

/// A body: magic, `Unknown` (type, raw, encoding), the message in `raw`. Also returns where fields
/// stood that the table has no number for, if they held anything: a newer client's fields.
pub(super) fn envelope(bytes: &[u8], message: &str) -> Result<(Value, Vec<String>), Error> {
    let mut reader = Reader(bytes.strip_prefix(b"k8s\0").ok_or(Error::Prefix)?);
    let (mut api_version, mut kind, mut raw) = ("", "", &[][..]);
    while let Some((number, wire)) = reader.next()? {
        match number {
            1 => {
                let mut meta = Reader(wire.bytes()?);
                while let Some((number, wire)) = meta.next()? {
                    match number {
                        1 => api_version = wire.text()?,
                        2 => kind = wire.text()?,
                        _ => {}
                    }
                }
            }
            2 => raw = wire.bytes()?,
            3 | 4 if !wire.bytes()?.is_empty() => return Err(Error::Encoding),
            _ => {}
        }
    }
    let descriptor = facts::message(message).ok_or(Error::Encoding)?;
    let mut map = Map::new();
    let mut decoder = Decoder::default();
    decoder.message(descriptor, raw, &mut map)?;
    if !api_version.is_empty() {
        map.insert("apiVersion".into(), api_version.into());
    }
    if !kind.is_empty() {
        map.insert("kind".into(), kind.into());
    }
    Ok((Value::Object(map), decoder.dropped))
}

/// Most dropped fields that are named.
const MAX_DROPPED: usize = 10;

#[derive(Default)]
struct Decoder {
    depth: usize,
    values: usize,
    dropped: Vec<String>,
}

impl Decoder {
    /// Reads one message into a JSON object. Numbers that the table lacks are skipped, as Go does.
    fn message(
        &mut self,
        message: &'static Message,
        bytes: &[u8],
        out: &mut Map<String, Value>,
    ) -> Result<(), Error> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Error::Depth);
        }
        let mut reader = Reader(bytes);
        while let Some((number, wire)) = reader.next()? {
            let inline = message.inline.iter().find(|i| u32::from(i.0) == number);
            match (message.number(number), inline) {
                (Some(field), _) => self.put(field, wire, out)?,
                (None, Some((_, members))) => self.inline(message, members, wire, out)?,
                (None, None) => self.drop_field(message, number, wire),
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn inline(
        &mut self,
        message: &'static Message,
        members: &'static [(u16, &'static str)],
        wire: Wire<'_>,
        out: &mut Map<String, Value>,
    ) -> Result<(), Error> {
        let mut inner = Reader(wire.bytes()?);
        while let Some((number, wire)) = inner.next()? {
            let member = members.iter().find(|m| u32::from(m.0) == number);
            match member.and_then(|m| message.field(m.1)) {
                Some(field) => self.put(field, wire, out)?,
                None => self.drop_field(message, number, wire),
            }
        }
        Ok(())
    }

    /// Go writes zero values of plain fields, so only a field that holds something is worth a word.
    fn drop_field(&mut self, message: &Message, number: u32, wire: Wire<'_>) {
        let holds = match wire {
            Wire::Varint(n) => n != 0,
            Wire::Bytes(bytes) => !bytes.is_empty(),
            Wire::Fixed64(_) | Wire::Fixed32 => true,
        };
        if holds && self.dropped.len() < MAX_DROPPED {
            self.dropped
                .push(format!("field number {number} of {}", message.short()));
        }
    }

    fn put(
        &mut self,
        field: &Field,
        wire: Wire<'_>,
        out: &mut Map<String, Value>,
    ) -> Result<(), Error> {
        match field.shape {
            Shape::One => match self.value(field.ty, wire)? {
                // An unset time is an empty message.
                Value::Null => {}
                // A message may come in parts: later fields join the earlier ones.
                Value::Object(new) => match out.get_mut(field.name) {
                    Some(Value::Object(old)) => old.extend(new),
                    _ => drop(out.insert(field.name.into(), Value::Object(new))),
                },
                new => drop(out.insert(field.name.into(), new)),
            },
            Shape::List => {
                let list = out.entry(field.name).or_insert_with(|| json!([]));
                let Value::Array(items) = list else {
                    return Err(Error::Wire);
                };
                match (field.ty, wire) {
                    // Packed numbers.
                    (Type::Int32 | Type::Int64 | Type::Bool, Wire::Bytes(bytes)) => {
                        let mut packed = Reader(bytes);
                        while !packed.0.is_empty() {
                            let number = Wire::Varint(packed.varint()?);
                            items.push(self.value(field.ty, number)?);
                        }
                    }
                    _ => items.push(self.value(field.ty, wire)?),
                }
            }
            Shape::Map | Shape::MapOfLists => self.entry(field, wire, out)?,
        }
        Ok(())
    }

    fn entry(
        &mut self,
        field: &Field,
        wire: Wire<'_>,
        out: &mut Map<String, Value>,
    ) -> Result<(), Error> {
        let (mut key, mut item) = ("", None);
        let mut entry = Reader(wire.bytes()?);
        while let Some((number, wire)) = entry.next()? {
            match number {
                1 => key = wire.text()?,
                2 if field.shape == Shape::MapOfLists => item = Some(wrapped(wire)?),
                2 => item = Some(self.value(field.ty, wire)?),
                _ => {}
            }
        }
        let item = item.unwrap_or_else(|| match (field.shape, field.ty) {
            (Shape::MapOfLists, _) => json!([]),
            (_, Type::Msg(_)) => json!({}),
            (_, Type::Quantity) => "0".into(),
            _ => "".into(),
        });
        let map = out.entry(field.name).or_insert_with(|| json!({}));
        let Value::Object(map) = map else {
            return Err(Error::Wire);
        };
        map.insert(key.into(), item);
        Ok(())
    }

    fn value(&mut self, ty: Type, wire: Wire<'_>) -> Result<Value, Error> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(Error::Values);
        }
        Ok(match ty {
            Type::Str => wire.text()?.into(),
            Type::Bool => (wire.int()? != 0).into(),
            Type::Int32 | Type::Int64 => wire.int()?.into(),
            Type::Double => match wire {
                Wire::Fixed64(bytes) => f64::from_le_bytes(bytes).into(),
                _ => return Err(Error::Wire),
            },
            Type::Bytes => base64::engine::general_purpose::STANDARD
                .encode(wire.bytes()?)
                .into(),
            Type::Quantity => wrapped_text(wire)?.into(),
            Type::Time | Type::MicroTime => time(ty, wire)?,
            Type::IntOrString => int_or_string(wire)?,
            Type::Raw | Type::FieldsV1 | Type::Any => embedded(wire)?,
            Type::Msg(_) => {
                let mut map = Map::new();
                let message = ty.message().ok_or(Error::Wire)?;
                self.message(message, wire.bytes()?, &mut map)?;
                Value::Object(map)
            }
        })
    }
}

/// A list that protobuf wraps into a message of its own, since it has no map of lists.
fn wrapped(wire: Wire<'_>) -> Result<Value, Error> {
    let mut reader = Reader(wire.bytes()?);
    let mut items = Vec::new();
    while let Some((_, wire)) = reader.next()? {
        items.push(Value::from(wire.text()?));
    }
    Ok(Value::Array(items))
}

fn wrapped_text(wire: Wire<'_>) -> Result<&str, Error> {
    let mut reader = Reader(wire.bytes()?);
    let mut text = "0";
    while let Some((number, wire)) = reader.next()? {
        if number == 1 {
            text = wire.text()?;
        }
    }
    Ok(text)
}

fn time(ty: Type, wire: Wire<'_>) -> Result<Value, Error> {
    let mut reader = Reader(wire.bytes()?);
    let (mut seconds, mut nanos, mut set) = (0, 0, false);
    while let Some((number, wire)) = reader.next()? {
        set = true;
        match number {
            1 => seconds = wire.int()?,
            2 => nanos = wire.int()?,
            _ => {}
        }
    }
    // Years 0001 to 9999: what RFC 3339 can print; Go's zero time is the first of them.
    if !set || !(-62_135_596_799..=253_402_300_799).contains(&seconds) {
        return Ok(Value::Null);
    }
    let at = Timestamp {
        seconds,
        nanos: u32::try_from(nanos.clamp(0, 999_999_999)).unwrap_or(0),
    };
    Ok(if ty == Type::Time {
        at.rfc3339()
    } else {
        at.rfc3339_micro()
    }
    .into())
}

fn int_or_string(wire: Wire<'_>) -> Result<Value, Error> {
    let mut reader = Reader(wire.bytes()?);
    let (mut kind, mut int, mut text) = (0, 0, "");
    while let Some((number, wire)) = reader.next()? {
        match number {
            1 => kind = wire.int()?,
            2 => int = wire.int()?,
            3 => text = wire.text()?,
            _ => {}
        }
    }
    Ok(if kind == 1 { text.into() } else { int.into() })
}

/// `RawExtension` and its like hold JSON text in field 1.
fn embedded(wire: Wire<'_>) -> Result<Value, Error> {
    let mut reader = Reader(wire.bytes()?);
    let mut out = Value::Null;
    while let Some((number, wire)) = reader.next()? {
        if number == 1 {
            out = super::json::parse(wire.bytes()?)
                .map_err(|_| Error::Embedded)?
                .value;
        }
    }
    Ok(out)
}
