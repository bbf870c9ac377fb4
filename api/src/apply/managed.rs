//! `metadata.managedFields`: who owns which fields, by what operation, since when.

use super::fields_v1;
use super::set::Set;
use crate::time::Timestamp;
use serde_json::{Map, Value};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

/// Most managers by update; the oldest are joined, as upstream.
const MAX_UPDATERS: usize = 10;
/// Who owns what the joined ones owned.
const ANCIENT: &str = "ancient-changes";

/// How fields came to be owned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Server-side apply.
    Apply,
    /// Any other write.
    Update,
}

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// What tells managers apart. An applier is the same in every version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    /// The name that the client gave.
    pub manager: String,
    /// How it writes.
    pub operation: Operation,
    /// The version it writes in; empty for appliers.
    pub api_version: String,
    /// The subresource it writes through; empty for the object itself.
    pub subresource: String,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.manager)?;
        if !self.subresource.is_empty() {
            write!(f, " with subresource {:?}", self.subresource)?;
        }
        if self.operation == Operation::Update {
            write!(f, " using {}", self.api_version)?;
        }
        Ok(())
    }
}

/// What a manager owns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) fields: Set,
    pub(super) api_version: String,
    pub(super) time: Option<String>,
}

/// Every manager of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Managers(pub(super) BTreeMap<Id, Owned>);

/// Why managed fields can't be read, in upstream's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    #[error("managedFields must be a list of objects")]
    Shape,
    #[error("operation must be `Apply` or `Update`")]
    Operation,
    #[error("apiVersion must not be empty")]
    ApiVersion,
    #[error("missing fieldsType in managed fields entry {0}")]
    NoType(usize),
    #[error("invalid fieldsType {1:?} in managed fields entry {0}")]
    Type(usize, String),
    #[error("error decoding set")]
    Fields(#[from] fields_v1::Error),
}

fn text<'a>(entry: &'a Map<String, Value>, key: &str) -> &'a str {
    entry.get(key).and_then(Value::as_str).unwrap_or_default()
}

impl Managers {
    /// Reads the list; nothing there is nobody.
    pub(super) fn decode(list: Option<&Value>) -> Result<Self, Error> {
        let mut out = BTreeMap::new();
        let list = match list {
            None | Some(Value::Null) => return Ok(Self::default()),
            Some(Value::Array(list)) => list,
            Some(_) => return Err(Error::Shape),
        };
        for (at, entry) in list.iter().enumerate() {
            let entry = entry.as_object().ok_or(Error::Shape)?;
            let operation = match text(entry, "operation") {
                "Apply" => Operation::Apply,
                "Update" => Operation::Update,
                _ => return Err(Error::Operation),
            };
            let api_version = text(entry, "apiVersion").to_owned();
            if api_version.is_empty() {
                return Err(Error::ApiVersion);
            }
            match text(entry, "fieldsType") {
                "FieldsV1" => {}
                "" => return Err(Error::NoType(at)),
                other => return Err(Error::Type(at, other.to_owned())),
            }
            let fields = match entry.get("fieldsV1") {
                None | Some(Value::Null) => Set::default(),
                Some(fields) => fields_v1::parse(fields)?,
            };
            let id = Id {
                manager: text(entry, "manager").to_owned(),
                operation,
                api_version: match operation {
                    Operation::Apply => String::new(),
                    Operation::Update => api_version.clone(),
                },
                subresource: text(entry, "subresource").to_owned(),
            };
            let time = entry
                .get("time")
                .and_then(Value::as_str)
                .and_then(Timestamp::parse)
                .map(Timestamp::rfc3339);
            let owned = Owned {
                fields,
                api_version,
                time,
            };
            out.insert(id, owned);
        }
        Ok(Self(out))
    }

    /// Writes the list, appliers first, each group from the oldest on; `None` when nobody owns
    /// anything.
    pub(super) fn encode(&self) -> Option<Value> {
        if self.0.is_empty() {
            return None;
        }
        let mut entries: Vec<(&Id, &Owned)> = self.0.iter().collect();
        entries.sort_by(|(a, left), (b, right)| {
            a.operation
                .cmp(&b.operation)
                .then_with(|| older(left, right))
                .then_with(|| a.manager.cmp(&b.manager))
                .then_with(|| left.api_version.cmp(&right.api_version))
                .then_with(|| a.subresource.cmp(&b.subresource))
        });
        Some(
            entries
                .into_iter()
                .map(|(id, owned)| entry(id, owned))
                .collect(),
        )
    }

    /// Joins the oldest managers by update until there are few enough.
    pub(super) fn cap(&mut self) {
        let mut updaters: Vec<(Id, Owned)> = self
            .0
            .iter()
            .filter(|(id, _)| id.operation == Operation::Update)
            .map(|(id, owned)| (id.clone(), owned.clone()))
            .collect();
        let mut count = updaters.len();
        if count <= MAX_UPDATERS {
            return;
        }
        updaters.sort_by(|(a, left), (b, right)| older(left, right).then_with(|| a.cmp(b)));
        // The first of a version is joined only when a second comes: alone it would win nothing.
        let mut first: BTreeMap<String, Id> = BTreeMap::new();
        for (id, owned) in updaters {
            if count <= MAX_UPDATERS {
                return;
            }
            let Some(before) = first.get(&owned.api_version) else {
                first.insert(owned.api_version.clone(), id);
                continue;
            };
            let bucket = Id {
                manager: ANCIENT.to_owned(),
                operation: Operation::Update,
                api_version: owned.api_version.clone(),
                subresource: String::new(),
            };
            self.0.remove(&id);
            let joined = self.0.remove(&bucket).or_else(|| self.0.remove(before));
            let joined = joined.unwrap_or_default();
            self.0.insert(
                bucket,
                Owned {
                    fields: joined.fields.union(&owned.fields),
                    ..owned
                },
            );
            count -= 1;
        }
    }
}

fn older(a: &Owned, b: &Owned) -> Ordering {
    // Canonical texts of UTC times sort as the times do; none is the oldest.
    a.time.cmp(&b.time)
}

fn entry(id: &Id, owned: &Owned) -> Value {
    let mut out = Map::new();
    let mut put = |key: &str, value: &str| {
        if !value.is_empty() {
            out.insert(key.to_owned(), value.into());
        }
    };
    put("manager", &id.manager);
    put("operation", id.operation.as_str());
    put("apiVersion", &owned.api_version);
    put("time", owned.time.as_deref().unwrap_or_default());
    put("fieldsType", "FieldsV1");
    put("subresource", &id.subresource);
    out.insert("fieldsV1".into(), fields_v1::print(&owned.fields));
    Value::Object(out)
}

/// Whether two lists say the same but for the times.
pub(super) fn same_but_times(a: Option<&Value>, b: Option<&Value>) -> bool {
    let without = |list: Option<&Value>| -> Option<Vec<Map<String, Value>>> {
        let mut entries: Vec<Map<String, Value>> = list?
            .as_array()?
            .iter()
            .filter_map(|entry| entry.as_object().cloned())
            .collect();
        entries
            .iter_mut()
            .for_each(|entry| drop(entry.remove("time")));
        entries.sort_by_key(|entry| Value::Object(entry.clone()).to_string());
        Some(entries)
    };
    without(a) == without(b)
}
