//! Sets of fields: paths of names, list keys, list values and indexes, as a tree.
//!
//! A place can be a member, or only lead to members, or both: who owns an item of a list by its key
//! need not own its fields. The algebra is upstream's (`fieldpath.Set` of structured-merge-diff).

use serde_json::Value;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

/// A value in a path, ordered: numbers, then texts, then truth values, then anything else.
#[derive(Debug, Clone)]
pub struct Scalar(pub Value);

impl Scalar {
    /// Numbers are equal when they count the same: `1` and `1.0`.
    fn number(number: &serde_json::Number) -> (f64, i128) {
        let int = number
            .as_i64()
            .map(i128::from)
            .or_else(|| number.as_u64().map(i128::from));
        let float = number.as_f64().unwrap_or_default() + 0.0;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "whole numbers of this size only; beyond them every float is its own"
        )]
        let exact = int.unwrap_or_else(|| {
            if float.fract() == 0.0 && float.abs() < 1e30 {
                float as i128
            } else {
                i128::MIN
            }
        });
        (float, exact)
    }

    fn rank(&self) -> u8 {
        match self.0 {
            Value::Number(_) => 0,
            Value::String(_) => 1,
            Value::Bool(_) => 2,
            Value::Array(_) => 3,
            Value::Object(_) => 4,
            Value::Null => 5,
        }
    }
}

impl Ord for Scalar {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Value::Number(a), Value::Number(b)) => {
                let (a, b) = (Self::number(a), Self::number(b));
                a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))
            }
            (Value::String(a), Value::String(b)) => a.cmp(b),
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (a, b) if self.rank() == other.rank() => a.to_string().cmp(&b.to_string()),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Scalar {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scalar {}

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    /// A field of a message, or a key of a map.
    Field(String),
    /// The list item with these key fields, sorted by name.
    Key(Vec<(String, Scalar)>),
    /// The list item with this value.
    Value(Scalar),
    /// The list item at this place.
    Index(i64),
}

impl Element {
    /// A named field.
    pub fn field(name: &str) -> Self {
        Self::Field(name.to_owned())
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(fields) => {
                let fields: Vec<String> = fields
                    .iter()
                    .map(|(name, value)| format!("{name}={}", value.0))
                    .collect();
                write!(f, "[{}]", fields.join(","))
            }
            Self::Value(value) => write!(f, "[={}]", value.0),
            Self::Index(at) => write!(f, "[{at}]"),
        }
    }
}

/// A path as people read it: `.spec.containers[name="a"].image`.
pub fn show(path: &[Element]) -> String {
    path.iter().map(ToString::to_string).collect()
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Node {
    member: bool,
    below: Set,
}

/// A set of fields. No node leads nowhere: an empty set is equal to `Set::default()`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Set(BTreeMap<Element, Node>);

impl Set {
    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many fields are in it.
    pub fn len(&self) -> usize {
        self.0
            .values()
            .map(|node| usize::from(node.member) + node.below.len())
            .sum()
    }

    /// Adds a field; its parents do not come with it. The whole object is nobody's.
    pub fn insert(&mut self, path: &[Element]) {
        let Some((last, parents)) = path.split_last() else {
            return;
        };
        let mut set = self;
        for element in parents {
            set = &mut set.0.entry(element.clone()).or_default().below;
        }
        set.0.entry(last.clone()).or_default().member = true;
    }

    /// Adds what a parsed subtree says about one element.
    pub(super) fn put(&mut self, element: Element, member: bool, below: Set) {
        if !member && below.is_empty() {
            return;
        }
        let node = self.0.entry(element).or_default();
        node.member |= member;
        node.below = std::mem::take(&mut node.below).union(&below);
    }

    /// Whether the field is in it.
    pub fn has(&self, path: &[Element]) -> bool {
        let Some((last, parents)) = path.split_last() else {
            return false;
        };
        let mut set = self;
        for element in parents {
            match set.0.get(element) {
                Some(node) => set = &node.below,
                None => return false,
            }
        }
        set.is_member(last)
    }

    /// Whether this element is in it, as a path of one.
    pub(super) fn is_member(&self, element: &Element) -> bool {
        self.0.get(element).is_some_and(|node| node.member)
    }

    /// What lies below an element.
    pub(super) fn below(&self, element: &Element) -> Option<&Set> {
        self.0
            .get(element)
            .map(|node| &node.below)
            .filter(|set| !set.is_empty())
    }

    /// Each element with whether it is a member, and what lies below it.
    pub(super) fn elements(&self) -> impl Iterator<Item = (&Element, bool, &Set)> {
        self.0.iter().map(|(e, node)| (e, node.member, &node.below))
    }

    /// What is in either.
    #[must_use]
    pub fn union(mut self, other: &Self) -> Self {
        for (element, node) in &other.0 {
            match self.0.get_mut(element) {
                Some(own) => {
                    own.member |= node.member;
                    own.below = std::mem::take(&mut own.below).union(&node.below);
                }
                None => drop(self.0.insert(element.clone(), node.clone())),
            }
        }
        self
    }

    fn keep(mut self, mut change: impl FnMut(&Element, &mut Node)) -> Self {
        self.0.retain(|element, node| {
            change(element, node);
            node.member || !node.below.is_empty()
        });
        self
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(self, other: &Self) -> Self {
        self.keep(|element, node| match other.0.get(element) {
            Some(theirs) => {
                node.member &= theirs.member;
                node.below = std::mem::take(&mut node.below).intersection(&theirs.below);
            }
            None => *node = Node::default(),
        })
    }

    /// What is in this and not in the other, each field for itself: children stay when a parent goes.
    #[must_use]
    pub fn difference(self, other: &Self) -> Self {
        self.keep(|element, node| {
            if let Some(theirs) = other.0.get(element) {
                node.member &= !theirs.member;
                node.below = std::mem::take(&mut node.below).difference(&theirs.below);
            }
        })
    }

    /// What is in this and not in the other nor below what is in the other.
    #[must_use]
    pub fn without(self, other: &Self) -> Self {
        self.keep(|element, node| match other.0.get(element) {
            Some(theirs) if theirs.member => *node = Node::default(),
            Some(theirs) => {
                node.below = std::mem::take(&mut node.below).without(&theirs.below);
            }
            None => {}
        })
    }

    /// Every path, parents before children, the members of a level before what is below them.
    pub fn paths(&self) -> Vec<Vec<Element>> {
        let mut out = Vec::new();
        self.collect(&mut Vec::new(), &mut out);
        out
    }

    fn collect(&self, prefix: &mut Vec<Element>, out: &mut Vec<Vec<Element>>) {
        for (element, _) in self.0.iter().filter(|(_, node)| node.member) {
            let mut path = prefix.clone();
            path.push(element.clone());
            out.push(path);
        }
        for (element, node) in &self.0 {
            prefix.push(element.clone());
            node.below.collect(prefix, out);
            prefix.pop();
        }
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths: Vec<String> = self.paths().iter().map(|path| show(path)).collect();
        f.write_str(&paths.join("\n"))
    }
}
