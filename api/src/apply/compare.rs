//! What changed between two objects, as sets of fields.

use super::merge::{Error, is_empty};
use super::schema::Schema;
use super::set::{Element, Set};
use super::typed::{item_element, same};
use crate::facts::Merge;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Fields that differ; none is in two of the sets.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Comparison {
    pub(super) removed: Set,
    pub(super) modified: Set,
    pub(super) added: Set,
}

impl Comparison {
    /// Leaves out what is below the fields of a set.
    pub(super) fn without(self, reset: &Set) -> Self {
        if reset.is_empty() {
            return self;
        }
        Self {
            removed: self.removed.without(reset),
            modified: self.modified.without(reset),
            added: self.added.without(reset),
        }
    }
}

/// Compares two objects of a schema.
pub(super) fn compare(schema: Schema, old: &Value, new: &Value) -> Result<Comparison, Error> {
    let mut walk = Walk::default();
    walk.visit(schema, Some(old), Some(new))?;
    Ok(walk.out)
}

#[derive(Default)]
struct Walk {
    path: Vec<Element>,
    out: Comparison,
}

/// Items of a list by what tells them apart.
type Items<'a> = BTreeMap<Element, Vec<&'a Value>>;

fn first<'a>(items: &Items<'a>, element: &Element) -> Option<&'a Value> {
    items.get(element)?.first().copied()
}

impl Walk {
    fn path_to(&self, element: &Element) -> Vec<Element> {
        let mut path = self.path.clone();
        path.push(element.clone());
        path
    }

    fn visit(
        &mut self,
        schema: Schema,
        old: Option<&Value>,
        new: Option<&Value>,
    ) -> Result<(), Error> {
        let leaf = schema.is_atomic() || (is_empty(old) && is_empty(new));
        if !leaf {
            match schema {
                Schema::List { merge, .. } => self.list(schema, merge, old, new)?,
                _ => self.map(schema, old, new)?,
            }
        }
        match (old, new) {
            (None, Some(_)) => self.out.added.insert(&self.path),
            (Some(_), None) => self.out.removed.insert(&self.path),
            (Some(old), Some(new)) if leaf && !same(old, new) => {
                self.out.modified.insert(&self.path);
            }
            _ => {}
        }
        Ok(())
    }

    fn at(
        &mut self,
        element: Element,
        schema: Schema,
        old: Option<&Value>,
        new: Option<&Value>,
    ) -> Result<(), Error> {
        self.path.push(element);
        let result = self.visit(schema, old, new);
        self.path.pop();
        result
    }

    fn map(
        &mut self,
        schema: Schema,
        old: Option<&Value>,
        new: Option<&Value>,
    ) -> Result<(), Error> {
        let none = Map::new();
        let old = old.and_then(Value::as_object).unwrap_or(&none);
        let new = new.and_then(Value::as_object).unwrap_or(&none);
        let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for key in keys {
            let member = schema.member(key).unwrap_or(Schema::Any);
            self.at(Element::field(key), member, old.get(key), new.get(key))?;
        }
        Ok(())
    }

    fn list(
        &mut self,
        schema: Schema,
        merge: Merge,
        old: Option<&Value>,
        new: Option<&Value>,
    ) -> Result<(), Error> {
        let mut items: [Items<'_>; 2] = [Items::new(), Items::new()];
        for (side, list) in items.iter_mut().zip([old, new]) {
            let list = list.and_then(Value::as_array).into_iter().flatten();
            for (at, item) in list.enumerate() {
                let element =
                    item_element(schema, merge, item).map_err(|why| Error::Item { at, why })?;
                side.entry(element).or_default().push(item);
            }
        }
        let [old, new] = items;
        let elements: BTreeSet<&Element> = old.keys().chain(new.keys()).collect();
        for element in elements {
            let of = |side: &Items<'_>| side.get(element).map_or(0, Vec::len);
            match (of(&old), of(&new)) {
                (0 | 1, 0 | 1) => {
                    let (old, new) = (first(&old, element), first(&new, element));
                    self.at(element.clone(), schema.item(), old, new)?;
                }
                // Items that come twice count as one thing.
                (2.., 2..) => {
                    let (old, new) = (&old[element], &new[element]);
                    let equal =
                        old.len() == new.len() && old.iter().zip(new).all(|(a, b)| same(a, b));
                    if !equal {
                        self.out.modified.insert(&self.path_to(element));
                    }
                }
                (2.., _) => {
                    if let Some(new) = first(&new, element) {
                        self.at(element.clone(), schema.item(), None, Some(new))?;
                    }
                    self.out.removed.insert(&self.path_to(element));
                }
                (_, 2..) => {
                    if let Some(old) = first(&old, element) {
                        self.at(element.clone(), schema.item(), Some(old), None)?;
                    }
                    self.out.added.insert(&self.path_to(element));
                }
            }
        }
        Ok(())
    }
}
