//! Joins the two sides and writes the Rust table.

use crate::openapi::{Field, Merge, Messages, Of, Shape};
use crate::overlay::{EMPTY_MATTERS, PACKAGES, POINTERS, RETAIN_KEYS, SMP_ATOMIC};
use crate::pb::{Numbers, squash};
use anyhow::{Context as _, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

pub(crate) fn table(messages: &Messages, numbers: &Numbers) -> Result<String> {
    let chosen = reachable(messages);
    let index: BTreeMap<&str, usize> = chosen
        .iter()
        .enumerate()
        .map(|(i, name)| (name.as_str(), i))
        .collect();
    let mut out = String::from(
        "// Written by api/tools/facts out of k8s-openapi and k8s-pb; `cargo run` there rewrites it.\n\
         // m(message, fields, messages that JSON inlines); f(JSON name, protobuf number, shape, type, flags, merge).\n\
         \n\
         use super::{Field, Flags, Merge, Message, Shape::*, Type::*};\n\n\
         const fn m(name: &'static str, fields: &'static [Field], inline: &'static [super::Inline]) -> Message {\n    Message { name, fields, inline }\n}\n\
         const fn f(name: &'static str, number: u16, shape: super::Shape, ty: super::Type, flags: u8, merge: Merge) -> Field {\n    Field { name, number, shape, ty, flags: Flags(flags), merge }\n}\n\
         const N: Merge = Merge::None;\nconst A: Merge = Merge::Atomic;\nconst S: Merge = Merge::Set;\n\n\
         pub(super) static MESSAGES: &[Message] = &[\n",
    );
    for name in &chosen {
        message(&mut out, name, &messages[name.as_str()], numbers, &index)
            .with_context(|| name.clone())?;
    }
    // `k8s.io/metrics` is in neither crate. Its names sort behind all others, so that places stay.
    let meta = index["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"].to_string();
    let own = include_str!("metrics.txt").replace("{meta}", &meta);
    out.push_str(&own.replace("{container}", &chosen.len().to_string()));
    out.push_str("];\n");
    Ok(out)
}

/// The messages of the chosen packages and all that they use.
fn reachable(messages: &Messages) -> BTreeSet<String> {
    let wanted = |n: &str| PACKAGES.iter().any(|p| n.starts_with(p)) && !n.ends_with("List");
    let mut queue: Vec<&str> = messages
        .keys()
        .map(String::as_str)
        .filter(|n| wanted(n))
        .collect();
    let mut seen = BTreeSet::new();
    while let Some(name) = queue.pop() {
        if !messages.contains_key(name) || !seen.insert(name.to_owned()) {
            continue;
        }
        for field in &messages[name] {
            if let Of::Message(of) = &field.of {
                queue.push(of);
            }
        }
    }
    seen
}

fn message(
    out: &mut String,
    name: &str,
    fields: &[Field],
    numbers: &Numbers,
    index: &BTreeMap<&str, usize>,
) -> Result<()> {
    let empty = Vec::new();
    let pb = numbers.get(&name.to_lowercase()).unwrap_or(&empty);
    let known: BTreeSet<String> = fields.iter().map(|f| squash(&f.json)).collect();
    // A message that protobuf nests and JSON does not name is written inline in JSON: its members
    // are the parent's own JSON fields.
    let mut inline = Vec::new();
    for nested in pb.iter().filter(|p| !known.contains(&p.squashed)) {
        let Some(members) = nested.message.as_deref().and_then(|m| numbers.get(m)) else {
            continue;
        };
        let members: Vec<String> = members
            .iter()
            .filter_map(|m| {
                let field = fields.iter().find(|f| squash(&f.json) == m.squashed)?;
                Some(format!("({}, {:?})", m.number, field.json))
            })
            .collect();
        if !members.is_empty() {
            inline.push(format!("({}, &[{}])", nested.number, members.join(", ")));
        }
    }
    writeln!(out, "m({name:?}, &[")?;
    for field in fields {
        let number = pb
            .iter()
            .find(|p| p.squashed == squash(&field.json))
            .map_or(0, |p| p.number);
        let ty = match &field.of {
            Of::Scalar(scalar) => (*scalar).to_owned(),
            // A definition without properties is free-form.
            Of::Message(of) => index
                .get(of.as_str())
                .map_or_else(|| "Any".to_owned(), |i| format!("Msg({i})")),
        };
        let shape = match field.shape {
            Shape::One => "One",
            Shape::List => "List",
            Shape::Map => "Map",
            Shape::MapOfLists => "MapOfLists",
        };
        let flag = |on: bool, bit: u8| if on { bit } else { 0 };
        let flags = flag(field.required, 1)
            | flag(is_pointer(name, &field.json), 2)
            | flag(RETAIN_KEYS.contains(&(name, &field.json)), 4)
            | flag(SMP_ATOMIC.contains(&(name, &field.json)), 8)
            | flag(EMPTY_MATTERS.contains(&field.json.as_str()), 16);
        let merge = match &field.merge {
            Merge::None => "N".to_owned(),
            Merge::Atomic => "A".to_owned(),
            Merge::Set => "S".to_owned(),
            Merge::Keys(keys) => format!("Merge::Keys(&{keys:?})"),
        };
        writeln!(
            out,
            "  f({:?}, {number}, {shape}, {ty}, {flags}, {merge}),",
            field.json
        )?;
    }
    writeln!(out, "], &[{}]),", inline.join(", "))?;
    Ok(())
}

/// A status counts with plain numbers where a spec asks with pointers.
fn is_pointer(message: &str, field: &str) -> bool {
    POINTERS.contains(&field) && !(message.ends_with("Status") && field == "replicas")
}
