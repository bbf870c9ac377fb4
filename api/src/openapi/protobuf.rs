//! The v2 document as the protobuf message `openapi.v2.Document`, which is how clients before 1.25
//! read it. The numbers are those of gnostic's `openapiv2/OpenAPIv2.proto`.
//!
//! An encoder for exactly this message: every field here is text, a nested message or a truth value.

use super::operation::{Body, Operation, Path};
use super::schema::Schema;
use serde_json::Value;

/// A message under construction.
#[derive(Debug, Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: usize) {
        while value >= 0x80 {
            // The low seven bits, and that more follow.
            self.0.push(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
            value >>= 7;
        }
        self.0.push(u8::try_from(value).unwrap_or(0));
    }

    fn bytes(&mut self, number: usize, bytes: &[u8]) {
        self.varint(number << 3 | 2);
        self.varint(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    /// Text; what is empty is left out, as the format has it.
    pub(super) fn text(&mut self, number: usize, text: &str) {
        if !text.is_empty() {
            self.bytes(number, text.as_bytes());
        }
    }

    fn truth(&mut self, number: usize, on: bool) {
        if on {
            self.varint(number << 3);
            self.varint(1);
        }
    }

    pub(super) fn message(&mut self, number: usize, message: &Self) {
        self.bytes(number, &message.0);
    }

    /// An entry of a map, which this format writes as a list of pairs.
    pub(super) fn named(&mut self, number: usize, name: &str, value: &Self) {
        let mut pair = Self::default();
        pair.text(1, name);
        pair.message(2, value);
        self.message(number, &pair);
    }

    /// A vendor extension: its value is YAML, which JSON is.
    fn extension(&mut self, number: usize, name: &str, value: &Value) {
        let mut any = Self::default();
        any.text(2, &value.to_string());
        self.named(number, name, &any);
    }

    /// The bytes.
    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// A message with one nested message.
fn wrapped(number: usize, message: &Message) -> Message {
    let mut out = Message::default();
    out.message(number, message);
    out
}

fn reference(name: &str) -> Message {
    let mut out = Message::default();
    out.text(1, &format!("#/definitions/{name}"));
    out
}

pub(super) fn schema(schema: &Schema) -> Message {
    let mut out = if schema.reference.is_empty() {
        Message::default()
    } else {
        reference(&schema.reference)
    };
    out.text(2, schema.format);
    out.text(4, &schema.description);
    for name in &schema.required {
        out.text(19, name);
    }
    if let Some(values) = &schema.values {
        out.message(21, &wrapped(1, &self::schema(values)));
    }
    if !schema.ty.is_empty() {
        let mut ty = Message::default();
        ty.text(1, schema.ty);
        out.message(22, &ty);
    }
    if let Some(items) = &schema.items {
        out.message(23, &wrapped(1, &self::schema(items)));
    }
    if !schema.properties.is_empty() {
        let mut properties = Message::default();
        for (name, property) in &schema.properties {
            properties.named(1, name, &self::schema(property));
        }
        out.message(25, &properties);
    }
    for (name, value) in &schema.extensions {
        out.extension(31, name, value);
    }
    out
}

pub(super) fn path(path: &Path) -> Message {
    let mut out = Message::default();
    for operation in &path.operations {
        let number = match operation.method {
            "get" => 2,
            "put" => 3,
            "post" => 4,
            "delete" => 5,
            _ => 8,
        };
        out.message(number, &self::operation(operation));
    }
    for name in &path.variables {
        let mut variable = Message::default();
        variable.truth(1, true);
        variable.text(2, "path");
        variable.text(4, name);
        variable.text(5, "string");
        variable.truth(19, true);
        // Item → parameter → not in the body → in the path.
        let item = wrapped(1, &wrapped(2, &wrapped(4, &variable)));
        out.message(9, &item);
    }
    out
}

fn operation(operation: &Operation) -> Message {
    let mut out = Message::default();
    out.text(1, &operation.tag);
    out.text(3, &operation.description);
    out.text(5, &operation.id);
    out.text(6, "application/json");
    for media in operation.body.media() {
        out.text(7, media);
    }
    for (name, ty) in operation.parameters {
        let mut parameter = Message::default();
        parameter.text(2, "query");
        parameter.text(4, name);
        parameter.text(6, ty);
        parameter.truth(20, true);
        out.message(8, &wrapped(1, &wrapped(2, &wrapped(3, &parameter))));
    }
    if let Some(name) = operation.body.definition() {
        let mut body = Message::default();
        body.text(2, "body");
        body.text(3, "body");
        body.truth(4, operation.body != Body::Options);
        body.message(5, &reference(name));
        out.message(8, &wrapped(1, &wrapped(1, &body)));
    }
    let mut response = Message::default();
    response.text(1, "OK");
    response.message(2, &wrapped(1, &reference(&operation.answer)));
    let mut responses = Message::default();
    responses.named(1, "200", &wrapped(1, &response));
    out.message(9, &responses);
    out.text(10, "https");
    out.extension(13, "x-kubernetes-action", &operation.action.into());
    out.extension(13, "x-kubernetes-group-version-kind", &operation.gvk);
    out
}
