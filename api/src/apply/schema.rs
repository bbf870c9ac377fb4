//! The descriptor table as server-side apply sees it: what may have an owner of its own.

use super::set::{Element, Set};
use crate::facts::{Field, Merge, Message, Shape, Type};

/// What stands at a place of an object.
#[derive(Debug, Clone, Copy)]
pub(super) enum Schema {
    /// One value.
    Scalar(Type),
    /// Anything, owned as a whole.
    Any,
    /// Named fields.
    Message {
        of: &'static Message,
        atomic: bool,
    },
    /// Entries under free keys.
    Map {
        field: &'static Field,
        atomic: bool,
    },
    List {
        field: &'static Field,
        merge: Merge,
    },
    /// A list of texts as the value of a map.
    Texts,
}

impl Schema {
    pub(super) fn object(message: &'static Message) -> Self {
        Self::Message {
            of: message,
            atomic: false,
        }
    }

    /// Whether everything below has one owner.
    pub(super) fn is_atomic(self) -> bool {
        match self {
            Self::Scalar(_) | Self::Any | Self::Texts => true,
            Self::Message { atomic, .. } | Self::Map { atomic, .. } => atomic,
            Self::List { merge, .. } => matches!(merge, Merge::None | Merge::Atomic),
        }
    }

    /// What stands under a key of an object; `None` for a field that is not declared.
    pub(super) fn member(self, key: &str) -> Option<Self> {
        match self {
            Self::Message { of, .. } => {
                let field = of.field(key)?;
                let atomic = of.is_atomic_field(field);
                Some(match field.shape {
                    Shape::One => one(field, atomic),
                    Shape::List => Self::List {
                        field,
                        merge: of.list_type(field),
                    },
                    Shape::Map | Shape::MapOfLists => Self::Map { field, atomic },
                })
            }
            Self::Map { field, .. } if field.shape == Shape::MapOfLists => Some(Self::Texts),
            Self::Map { field, .. } => Some(element(field)),
            _ => Some(Self::Any),
        }
    }

    /// Whether a key is a declared field, which nobody owns apart from its content.
    pub(super) fn is_named(self, key: &str) -> bool {
        matches!(self, Self::Message { of, .. } if of.field(key).is_some())
    }

    /// What the items of a list are.
    pub(super) fn item(self) -> Self {
        match self {
            Self::List { field, .. } => element(field),
            Self::Texts => Self::Scalar(Type::Str),
            _ => Self::Any,
        }
    }

    fn below(self, element: &Element) -> Self {
        match (self, element) {
            (Self::Message { .. } | Self::Map { .. }, Element::Field(name)) => {
                self.member(name).unwrap_or(Self::Any)
            }
            (Self::List { .. }, Element::Key(_)) => self.item(),
            _ => Self::Any,
        }
    }

    /// The set with every named field that leads to a member: removing what is left of a field then
    /// removes the field.
    pub(super) fn with_named_fields(self, set: &Set) -> Set {
        let mut out = Set::default();
        for (element, member, below) in set.elements() {
            let named = matches!(element, Element::Field(name) if self.is_named(name));
            let member = member || (named && !below.is_empty());
            let below = self.below(element).with_named_fields(below);
            out.put(element.clone(), member, below);
        }
        out
    }

    /// The set as this schema would have written it: what has one owner as a whole is owned as a
    /// whole, also when a client or an older release listed its parts.
    pub(super) fn reconcile(self, set: &Set) -> Set {
        let mut out = Set::default();
        for (element, member, below) in set.elements() {
            let schema = self.below(element);
            // A field that the table lacks is kept as it is, and harms nobody.
            let known = matches!(
                schema,
                Self::Message { .. } | Self::Map { .. } | Self::List { .. }
            );
            if known && schema.is_atomic() && !below.is_empty() {
                out.put(element.clone(), true, Set::default());
            } else if known {
                out.put(element.clone(), member, schema.reconcile(below));
            } else {
                out.put(element.clone(), member, below.clone());
            }
        }
        out
    }
}

fn element(field: &'static Field) -> Schema {
    let atomic = field.ty.message().is_some_and(Message::is_atomic);
    one(field, atomic)
}

fn one(field: &'static Field, atomic: bool) -> Schema {
    match field.ty {
        Type::Any | Type::Raw | Type::FieldsV1 => Schema::Any,
        ty => match ty.message() {
            Some(of) => Schema::Message { of, atomic },
            None => Schema::Scalar(ty),
        },
    }
}
