//! The descriptor table: for each Kubernetes message its fields, protobuf numbers, types, merge keys.
//!
//! `table.rs` is data written by `api/tools/facts`. Strict checks, pruning, protobuf decoding,
//! strategic merge, server-side apply and the OpenAPI documents all read it through the few functions
//! here.

mod granularity;
#[rustfmt::skip]
mod table;

/// What a single value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// Text.
    Str,
    /// Truth value.
    Bool,
    /// 32-bit integer.
    Int32,
    /// 64-bit integer.
    Int64,
    /// Floating point.
    Double,
    /// Bytes, base64 in JSON.
    Bytes,
    /// RFC 3339, seconds.
    Time,
    /// RFC 3339 with microseconds.
    MicroTime,
    /// Quantity: text, or a number on input.
    Quantity,
    /// Integer or text.
    IntOrString,
    /// An embedded object of any kind.
    Raw,
    /// The set of fields of a managed-fields entry: any object.
    FieldsV1,
    /// Any JSON.
    Any,
    /// A message, by its place in the table.
    Msg(u16),
}

/// How values of a field are arranged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A single value.
    One,
    /// A list.
    List,
    /// A map with text keys.
    Map,
    /// A map of lists.
    MapOfLists,
}

/// How lists merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// Not a list.
    None,
    /// Replaced whole.
    Atomic,
    /// A set of scalars.
    Set,
    /// Items with these keys.
    Keys(&'static [&'static str]),
}

/// Facts that are yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    /// The object is invalid without the field.
    pub fn required(self) -> bool {
        self.0 & 1 != 0
    }

    /// Upstream declares a pointer: zero and false differ from absent.
    pub fn pointer(self) -> bool {
        self.0 & 2 != 0
    }

    /// Patch strategy `retainKeys`.
    pub fn retain_keys(self) -> bool {
        self.0 & 4 != 0
    }

    /// Keyed for server-side apply only; strategic merge replaces the list.
    pub fn atomic_in_strategic_merge(self) -> bool {
        self.0 & 8 != 0
    }

    /// Empty text differs from absent.
    pub fn empty_matters(self) -> bool {
        self.0 & 16 != 0
    }
}

/// A field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// JSON name.
    pub name: &'static str,
    /// Protobuf number; 0 when the field has none here (inlined, or newer than the numbers known).
    pub number: u16,
    /// Arrangement.
    pub shape: Shape,
    /// Type of one value.
    pub ty: Type,
    /// Facts that are yes or no.
    pub flags: Flags,
    /// How a list merges.
    pub merge: Merge,
}

/// A nested protobuf message whose fields JSON writes among the parent's: outer number, then inner
/// number and the parent's JSON name for each.
type Inline = (u16, &'static [(u16, &'static str)]);

/// A message.
#[derive(Debug)]
pub struct Message {
    /// Full name, `io.k8s.api.core.v1.Pod`.
    pub name: &'static str,
    /// Fields, sorted by JSON name.
    pub fields: &'static [Field],
    /// Inlined nested messages.
    pub inline: &'static [Inline],
}

/// Every message, sorted by name.
pub fn messages() -> &'static [Message] {
    table::MESSAGES
}

/// A message by its full name.
pub fn message(name: &str) -> Option<&'static Message> {
    let at = table::MESSAGES
        .binary_search_by(|m| m.name.cmp(name))
        .ok()?;
    table::MESSAGES.get(at)
}

impl Type {
    /// The message behind `Msg`.
    pub fn message(self) -> Option<&'static Message> {
        match self {
            Self::Msg(at) => table::MESSAGES.get(usize::from(at)),
            _ => None,
        }
    }
}

impl Message {
    /// The last segment of the name, as Go calls the type.
    pub fn short(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }

    /// A field by its JSON name.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        let fields: &'static [Field] = self.fields;
        fields
            .binary_search_by(|f| f.name.cmp(name))
            .ok()
            .map(|at| &fields[at])
    }

    /// A field by its protobuf number.
    pub fn number(&self, number: u32) -> Option<&'static Field> {
        let fields: &'static [Field] = self.fields;
        fields
            .iter()
            .find(|f| f.number != 0 && u32::from(f.number) == number)
    }
}

impl Field {
    /// The key by which strategic merge pairs list items, when it merges them at all.
    pub fn merge_key(&self) -> Option<&'static str> {
        match self.merge {
            Merge::Keys(keys) if !self.flags.atomic_in_strategic_merge() => keys.first().copied(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_fields_are_sorted_so_that_lookups_find_them() {
        for (at, message) in messages().iter().enumerate() {
            assert!(std::ptr::eq(
                super::message(message.name).unwrap(),
                &messages()[at]
            ));
            for field in message.fields {
                assert_eq!(message.field(field.name), Some(field), "{}", message.name);
                if let Type::Msg(_) = field.ty {
                    assert!(field.ty.message().is_some());
                }
            }
        }
    }

    #[test]
    fn protobuf_numbers_are_unique_within_a_message() {
        for message in messages() {
            let mut numbers: Vec<u16> = message.fields.iter().map(|f| f.number).collect();
            numbers.extend(message.inline.iter().map(|i| i.0));
            numbers.retain(|n| *n != 0);
            numbers.sort_unstable();
            assert!(numbers.windows(2).all(|w| w[0] != w[1]), "{}", message.name);
        }
    }

    #[test]
    fn every_served_kind_and_subresource_has_its_message() {
        for kind in crate::kind::KINDS {
            assert!(message(kind.message).is_some(), "{}", kind.kind);
            for sub in kind.subresources {
                assert!(
                    message(sub.message).is_some(),
                    "{}/{}",
                    kind.plural,
                    sub.name
                );
            }
        }
    }

    #[test]
    fn merge_keys_that_client_side_apply_depends_on() {
        let key = |m: &str, f: &str| message(m).unwrap().field(f).unwrap().merge_key();
        let core = "io.k8s.api.core.v1.";
        for (m, f, want) in [
            ("PodSpec", "containers", Some("name")),
            ("PodSpec", "initContainers", Some("name")),
            ("PodSpec", "volumes", Some("name")),
            ("PodSpec", "tolerations", None),
            ("PodSpec", "hostAliases", Some("ip")),
            ("PodSpec", "topologySpreadConstraints", Some("topologyKey")),
            ("Container", "env", Some("name")),
            ("Container", "envFrom", None),
            ("Container", "ports", Some("containerPort")),
            ("Container", "volumeMounts", Some("mountPath")),
            ("Container", "volumeDevices", Some("devicePath")),
            ("ResourceRequirements", "claims", None),
            ("ServiceSpec", "ports", Some("port")),
            ("PodStatus", "conditions", Some("type")),
        ] {
            assert_eq!(key(&format!("{core}{m}"), f), want, "{m}.{f}");
        }
        assert!(
            message("io.k8s.api.core.v1.PodSpec")
                .unwrap()
                .field("volumes")
                .unwrap()
                .flags
                .retain_keys()
        );
    }
}
