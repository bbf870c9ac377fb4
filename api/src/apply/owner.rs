//! Who owns what after a write: the heart of server-side apply.
//!
//! The steps and their order are those of structured-merge-diff (`merge.Updater`) and of
//! apimachinery's `managedfields`, so that the same requests lead to the same owners.

use super::Conflict;
use super::compare::{Comparison, compare};
use super::managed::{Id, Managers, Operation, Owned};
use super::merge::{Error, merge, remove};
use super::schema::Schema;
use super::set::{Element, Set};
use super::typed::{fields, item_element, same};
use serde_json::Value;
use std::collections::BTreeMap;

/// A path of named fields.
pub(super) fn path(names: &[&str]) -> Vec<Element> {
    names.iter().map(|name| Element::field(name)).collect()
}

pub(super) fn set_of(paths: &[&[&str]]) -> Set {
    let mut out = Set::default();
    for names in paths {
        out.insert(&path(names));
    }
    out
}

/// Metadata that belongs to the system and to no manager.
fn stripped() -> Set {
    set_of(&[
        &["apiVersion"],
        &["kind"],
        &["metadata"],
        &["metadata", "name"],
        &["metadata", "namespace"],
        &["metadata", "creationTimestamp"],
        &["metadata", "selfLink"],
        &["metadata", "uid"],
        &["metadata", "clusterName"],
        &["metadata", "generation"],
        &["metadata", "managedFields"],
        &["metadata", "resourceVersion"],
    ])
}

/// What of an object can be owned through the resource that is written.
#[derive(Debug, Clone)]
pub(super) enum Scope {
    /// Everything but these fields, which the write resets.
    Without(Set),
    /// These fields only.
    Only(Set),
}

impl Scope {
    pub(super) fn filter(&self, set: Set) -> Set {
        match self {
            Self::Without(reset) => set.without(reset),
            Self::Only(only) => set.intersection(only),
        }
    }

    fn comparison(&self, of: Comparison) -> Comparison {
        match self {
            Self::Without(reset) => of.without(reset),
            Self::Only(_) => Comparison {
                removed: self.filter(of.removed),
                modified: self.filter(of.modified),
                added: self.filter(of.added),
            },
        }
    }
}

/// Why an apply does not go through.
#[derive(Debug)]
pub(super) enum Failure {
    /// Others own what would change.
    Conflicts(Vec<Conflict>),
    /// The objects can't be merged.
    Merge(Error),
    /// They can't be compared.
    Compare(Error),
}

/// One write of an object.
pub(super) struct Write<'a> {
    pub(super) schema: Schema,
    pub(super) scope: Scope,
    pub(super) id: Id,
    pub(super) api_version: String,
    pub(super) now: String,
    /// The object as it would be stored, with defaults: what is the same then is no change and no
    /// reason for a conflict.
    pub(super) normalise: &'a dyn Fn(&Value) -> Value,
}

impl Write<'_> {
    /// Takes from every other manager what changed between two objects. What changed without force
    /// and belongs to others is a conflict.
    fn hand_over(
        &self,
        old: &Value,
        new: &Value,
        managers: &mut Managers,
        but: Option<&Id>,
        force: bool,
    ) -> Result<Comparison, Failure> {
        let compare = |new: &Value| {
            compare(self.schema, old, new)
                .map(|found| self.scope.comparison(found))
                .map_err(Failure::Compare)
        };
        let found = compare(new)?;
        let changed = found.modified.clone().union(&found.added);
        let others = |id: &Id| Some(id) != but;
        let mut conflicts: Vec<(Id, Set)> = managers
            .0
            .iter()
            .filter(|(id, _)| others(id))
            .map(|(id, owned)| (id.clone(), owned.fields.clone().intersection(&changed)))
            .filter(|(_, set)| !set.is_empty())
            .collect();
        if !force && !conflicts.is_empty() {
            let stored = compare(&(self.normalise)(new))?;
            let seen = stored.modified.union(&stored.added).union(&stored.removed);
            let unseen = changed.clone().difference(&seen);
            for (_, set) in &mut conflicts {
                *set = std::mem::take(set).difference(&unseen);
            }
            conflicts.retain(|(_, set)| !set.is_empty());
            if !conflicts.is_empty() {
                return Err(Failure::Conflicts(listed(&conflicts)));
            }
        }
        managers.0.retain(|id, owned| {
            if others(id) {
                let mut left = std::mem::take(&mut owned.fields);
                if let Some((_, set)) = conflicts.iter().find(|(of, _)| of == id) {
                    left = left.difference(set);
                }
                owned.fields = left.difference(&found.removed);
            }
            !owned.fields.is_empty()
        });
        Ok(found)
    }

    /// Ownership after a write that is no apply: who changed a field owns it.
    pub(super) fn update(
        &self,
        old: &Value,
        new: &Value,
        managers: &mut Managers,
    ) -> Result<(), Failure> {
        let found = self.hand_over(old, new, managers, None, true)?;
        let changed = found.modified.union(&found.added);
        let mine = self.scope.filter(changed).difference(&stripped());
        if !mine.is_empty() {
            let entry = managers.0.entry(self.id.clone()).or_default();
            *entry = Owned {
                fields: mine.union(&entry.fields),
                api_version: self.api_version.clone(),
                time: Some(self.now.clone()),
            };
        }
        managers.cap();
        Ok(())
    }

    /// Merges a configuration into the live object. Returns the new object.
    pub(super) fn apply(
        &self,
        live: &Value,
        config: &Value,
        managers: &mut Managers,
        force: bool,
    ) -> Result<Value, Failure> {
        let merged = merge(self.schema, live, config).map_err(Failure::Merge)?;
        let last = managers.0.remove(&self.id);
        let time = last.as_ref().and_then(|owned| owned.time.clone());
        let owned = Owned {
            fields: self.scope.filter(fields(self.schema, config)),
            api_version: self.api_version.clone(),
            time,
        };
        managers.0.insert(self.id.clone(), owned);
        let new = match last {
            Some(last) if !last.fields.is_empty() => self.prune(merged, &last.fields, managers),
            _ => merged,
        };
        self.hand_over(live, &new, managers, Some(&self.id), force)?;
        let changed = !same(live, &new);
        if let Some(owned) = managers.0.get_mut(&self.id) {
            owned.fields = std::mem::take(&mut owned.fields).difference(&stripped());
            // The time says when the manager last changed something.
            if changed || owned.time.is_none() {
                owned.time = Some(self.now.clone());
            }
            if owned.fields.is_empty() {
                managers.0.remove(&self.id);
            }
        }
        Ok(new)
    }

    /// Takes out what the manager applied last time and not this time, unless another owns it.
    fn prune(&self, merged: Value, last: &Set, managers: &Managers) -> Value {
        let schema = self.schema;
        let named = |set: &Set| schema.with_named_fields(set);
        let last = named(last);
        let pruned = remove(schema, &merged, &last);
        let owned = managers
            .0
            .values()
            .fold(Set::default(), |all, owned| all.union(&owned.fields));
        // First back in: what anybody owns, and what lies around it.
        let all = named(&fields(schema, &merged));
        let left = named(&fields(schema, &pruned));
        let gone = all.clone().difference(&left.union(&named(&owned)));
        let pruned = remove(schema, &merged, &gone);
        // Then what the manager never owned but lost with its parent.
        let left = named(&fields(schema, &pruned));
        let gone = all.difference(&left).intersection(&last);
        remove(schema, &merged, &spare(schema, &merged, &gone))
    }
}

/// Leaves maps and lists out of what is to be removed while something else is in them: keys and items
/// that our own controllers wrote are nobody's.
fn spare(schema: Schema, value: &Value, gone: &Set) -> Set {
    let mut out = Set::default();
    // The items by what tells them apart: looking for each among all would take minutes.
    let mut items: BTreeMap<Element, &Value> = BTreeMap::new();
    if let (Schema::List { merge, .. }, Value::Array(list), false) =
        (schema, value, gone.is_empty())
    {
        for item in list {
            if let Ok(element) = item_element(schema, merge, item) {
                items.entry(element).or_insert(item);
            }
        }
    }
    for (element, member, below) in gone.elements() {
        let (at, value) = match (element, value) {
            (Element::Field(name), Value::Object(map)) => {
                let at = schema.member(name).unwrap_or(Schema::Any);
                (at, map.get(name).unwrap_or(&Value::Null))
            }
            (element, Value::Array(_)) => {
                let Schema::List { .. } = schema else {
                    out.put(element.clone(), member, below.clone());
                    continue;
                };
                let item = items.get(element).copied();
                (schema.item(), item.unwrap_or(&Value::Null))
            }
            _ => (Schema::Any, &Value::Null),
        };
        let count = match (at, value) {
            (Schema::Map { .. }, Value::Object(map)) if !at.is_atomic() => map.len(),
            (Schema::List { .. }, Value::Array(items)) if !at.is_atomic() => items.len(),
            _ => 0,
        };
        let removed = below.elements().filter(|(_, member, _)| *member).count();
        let member = member && count <= removed;
        out.put(element.clone(), member, spare(at, value, below));
    }
    out
}

/// The set without the maps that nothing is left in.
fn without_emptied(set: &Set, before: &Set) -> Set {
    let mut out = Set::default();
    for (element, member, below) in set.elements() {
        let was = before.below(element);
        let member = member && !(below.is_empty() && was.is_some());
        let below = was.map_or_else(|| below.clone(), |was| without_emptied(below, was));
        out.put(element.clone(), member, below);
    }
    out
}

fn listed(conflicts: &[(Id, Set)]) -> Vec<Conflict> {
    conflicts
        .iter()
        .flat_map(|(id, set)| {
            set.paths().into_iter().map(|path| Conflict {
                manager: id.clone(),
                path,
            })
        })
        .collect()
}

/// Who owned what before the first apply: everything is one manager's by update, but for what a
/// client-side apply wrote, which its annotation tells.
pub(super) fn before_first_apply(
    write: &Write<'_>,
    live: &Value,
    client_side: Option<&Value>,
) -> Managers {
    let mut managers = Managers::default();
    let empty = Value::Object(serde_json::Map::new());
    let Ok(found) = compare(write.schema, &empty, live) else {
        return managers;
    };
    let mut rest = write
        .scope
        .filter(leaves(write.schema, &found.added))
        .difference(&stripped());
    let mut put = |manager: &str, fields: Set| {
        if fields.is_empty() {
            return;
        }
        let id = Id {
            manager: manager.to_owned(),
            operation: Operation::Update,
            api_version: write.api_version.clone(),
            subresource: write.id.subresource.clone(),
        };
        let owned = Owned {
            fields,
            api_version: write.api_version.clone(),
            time: Some(write.now.clone()),
        };
        managers.0.insert(id, owned);
    };
    if let Some(config) = client_side {
        let annotation = ["metadata", "annotations", super::LAST_APPLIED];
        let applied = write
            .scope
            .filter(unchanged(write.schema, config, live))
            .difference(&stripped())
            .union(&set_of(&[&annotation[..2], &annotation]));
        rest = without_emptied(&rest.clone().difference(&applied), &rest);
        put("kubectl-client-side-apply", applied);
    }
    put("before-first-apply", rest);
    managers
}

/// The fields of a configuration that the live object still has as they were.
pub(super) fn unchanged(schema: Schema, config: &Value, live: &Value) -> Set {
    let Ok(found) = compare(schema, config, live) else {
        return Set::default();
    };
    fields(schema, config)
        .difference(&found.modified)
        .difference(&found.added)
        .difference(&found.removed)
}

/// The set without messages and lists as such: what they contain is owned.
fn leaves(schema: Schema, set: &Set) -> Set {
    let mut out = Set::default();
    for (element, member, below) in set.elements() {
        let at = match element {
            Element::Field(name) => schema.member(name).unwrap_or(Schema::Any),
            _ => schema.item(),
        };
        let container = matches!(
            (element, at),
            (
                Element::Field(_),
                Schema::Message { .. } | Schema::List { .. }
            )
        );
        let member = member && (below.is_empty() || !container);
        out.put(element.clone(), member, leaves(at, below));
    }
    out
}
