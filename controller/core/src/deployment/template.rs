//! A pod template's identity: its hash, and equality without the hash label.

use serde_json::Value;

/// The label that tells the pods of one template from those of another.
pub const HASH_LABEL: &str = "pod-template-hash";

const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// Hash of a template, as text that fits a name. The same template gives the same text for ever; the
/// number of collisions so far gives another one.
pub fn hash(template: &Value, collisions: Option<i32>) -> String {
    let mut fnv = Fnv(0x811c_9dc5);
    fnv.value(template);
    if let Some(collisions) = collisions {
        fnv.bytes(&collisions.to_le_bytes());
    }
    let digits = fnv.0.to_string();
    digits
        .bytes()
        .map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()]))
        .collect()
}

/// FNV-1a over a value. Keys are visited in byte order, whatever the map's own order is.
struct Fnv(u32);

impl Fnv {
    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    }

    /// With its length first, so that neighbours can't run into each other.
    fn text(&mut self, text: &str) {
        self.bytes(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.bytes(text.as_bytes());
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.bytes(b"n"),
            Value::Bool(flag) => self.bytes(if *flag { b"t" } else { b"f" }),
            Value::Number(number) => {
                self.bytes(b"i");
                self.text(&number.to_string());
            }
            Value::String(text) => {
                self.bytes(b"s");
                self.text(text);
            }
            Value::Array(items) => {
                self.bytes(b"[");
                items.iter().for_each(|item| self.value(item));
                self.bytes(b"]");
            }
            Value::Object(map) => {
                self.bytes(b"{");
                let mut entries: Vec<_> = map.iter().collect();
                entries.sort_unstable_by_key(|entry| entry.0);
                for (key, value) in entries {
                    self.text(key);
                    self.value(value);
                }
                self.bytes(b"}");
            }
        }
    }
}

/// The template without the hash label, so that a ReplicaSet's can be compared with its Deployment's.
/// What is empty says the same as what is absent.
pub(super) fn without_hash(mut template: Value) -> Value {
    let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) else {
        return template;
    };
    metadata.remove("creationTimestamp");
    let mut empty = false;
    if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
        labels.remove(HASH_LABEL);
        empty = labels.is_empty();
    }
    if empty {
        metadata.remove("labels");
    }
    if metadata.is_empty()
        && let Some(template) = template.as_object_mut()
    {
        template.remove("metadata");
    }
    template
}
