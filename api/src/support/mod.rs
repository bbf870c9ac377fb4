//! What this release does with each field: honoured, warned about or refused.
//!
//! `rules.rs` lists every field of every message that a served kind can reach, and for each
//! honoured one the test that shows it; tests walk the descriptor table and fail on a field that is
//! not listed and on a test that is not there. `docs/compatibility.md` is written from the same
//! list. At run time a field without a rule is refused: silence is not an option.

#[cfg(test)]
mod document;
#[cfg(test)]
mod kept;
mod rules;
#[cfg(test)]
mod tests;

use crate::admit::Warning;
use crate::decode::Path;
use crate::facts::{self, Message, Shape};
use crate::kind::Kind;
use crate::status::Cause;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::LazyLock;

/// What happens to a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A message whose own fields have rules.
    Inside,
    /// Carried out, as the named test shows; of a message, with everything in it.
    Honoured(&'static str),
    /// Stored, not carried out; the client is told.
    Warned,
    /// Not accepted: ignoring it would break or endanger the workload.
    Refused,
}

/// What happens to some fields of a message.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// JSON names, between blanks.
    pub fields: &'static str,
    /// What happens.
    pub verdict: Verdict,
    /// JSON texts of values that are fine all the same: they ask for what happens anyway.
    pub fine: &'static [&'static str],
    /// What a person should know.
    pub note: &'static str,
}

/// Most fields that are named in one answer.
const MAX_NAMED: usize = 100;

/// The text of every refusal; a script may look for it.
pub const NOT_SUPPORTED: &str = "not supported by this release";

type Fields = HashMap<&'static str, &'static Rule>;

/// The list by message and field.
static INDEX: LazyLock<HashMap<&'static str, Fields>> = LazyLock::new(|| {
    let fields = |rules: &'static [Rule]| -> Fields {
        let named = |rule: &'static Rule| rule.fields.split_whitespace().map(move |f| (f, rule));
        rules.iter().flat_map(named).collect()
    };
    rules::all()
        .map(|(message, rules)| (*message, fields(rules)))
        .collect()
});

/// A message's name as the list has it.
fn brief(message: &Message) -> &'static str {
    let name = message.name;
    name.strip_prefix("io.k8s.api.")
        .or_else(|| name.strip_prefix("io.k8s.apimachinery.pkg.apis."))
        .or_else(|| name.strip_prefix("io.k8s.metrics.pkg.apis."))
        .unwrap_or(name)
}

fn rule(message: &Message, field: &str) -> Option<&'static Rule> {
    INDEX.get(brief(message))?.get(field).copied()
}

/// Warnings and refusals for an object, by field path.
pub fn review(kind: &Kind, object: &Value) -> (Vec<Warning>, Vec<Cause>) {
    let mut review = Review::default();
    if let Some(message) = facts::message(kind.message) {
        review.message(message, object);
    }
    (review.warnings, review.refusals)
}

#[derive(Default)]
struct Review {
    path: Path,
    warnings: Vec<Warning>,
    refusals: Vec<Cause>,
}

impl Review {
    fn message(&mut self, message: &'static Message, value: &Value) {
        let Value::Object(map) = value else { return };
        let rules = INDEX.get(brief(message));
        for (name, value) in map {
            self.path.push_key(name);
            match rules.and_then(|rules| rules.get(name.as_str())) {
                Some(rule) => self.field(message, name, rule, value),
                None => self.refuse(""),
            }
            self.path.pop();
        }
    }

    fn field(&mut self, message: &'static Message, name: &str, rule: &Rule, value: &Value) {
        match rule.verdict {
            Verdict::Honoured(_) => {}
            Verdict::Inside => self.descend(message, name, value),
            _ if rule.fine.iter().any(|fine| is(value, fine)) => {}
            Verdict::Warned => {
                let text = match rule.note {
                    "" => format!("{}: {NOT_SUPPORTED}", self.path),
                    note => format!("{}: {NOT_SUPPORTED}: {note}", self.path),
                };
                if self.warnings.len() < MAX_NAMED {
                    self.warnings.push(Warning { text });
                }
            }
            Verdict::Refused => self.refuse(rule.note),
        }
    }

    fn refuse(&mut self, note: &str) {
        let detail = match note {
            "" => NOT_SUPPORTED.to_owned(),
            note => format!("{NOT_SUPPORTED}: {note}"),
        };
        if self.refusals.len() >= MAX_NAMED {
            return;
        }
        self.refusals
            .push(Cause::forbidden(self.path.to_string(), &detail));
    }

    fn descend(&mut self, message: &'static Message, name: &str, value: &Value) {
        let Some(field) = message.field(name) else {
            return;
        };
        let Some(inner) = field.ty.message() else {
            return;
        };
        match (field.shape, value) {
            (Shape::List, Value::Array(items)) => {
                for (at, item) in items.iter().enumerate() {
                    self.path.push_index(at);
                    self.message(inner, item);
                    self.path.pop();
                }
            }
            (Shape::Map, Value::Object(entries)) => {
                for (key, item) in entries {
                    self.path.push_key(key);
                    self.message(inner, item);
                    self.path.pop();
                }
            }
            _ => self.message(inner, value),
        }
    }
}

/// Whether a value is what a JSON text says, without parsing for the common scalars.
fn is(value: &Value, text: &str) -> bool {
    match value {
        Value::String(s) => text
            .strip_prefix('"')
            .and_then(|t| t.strip_suffix('"'))
            .is_some_and(|t| t == s),
        Value::Bool(on) => text == if *on { "true" } else { "false" },
        Value::Number(number) => text.parse() == Ok(number.as_i64().unwrap_or(i64::MIN)),
        _ => false,
    }
}

/// A sentence for `kubectl explain` about a field that is not simply honoured; else empty.
pub(crate) fn remark_for(message: &Message, field: &str) -> String {
    let Some(rule) = rule(message, field) else {
        return String::new();
    };
    let head = match rule.verdict {
        Verdict::Inside | Verdict::Honoured(_) => return String::new(),
        Verdict::Warned => "Stored, not carried out",
        Verdict::Refused => "Refused",
    };
    let mut out = format!("{head}: {NOT_SUPPORTED}");
    if !rule.note.is_empty() {
        out.push_str("; ");
        out.push_str(rule.note);
    }
    out.push('.');
    if !rule.fine.is_empty() {
        out.push_str(&format!(" Accepted: {}.", rule.fine.join(", ")));
    }
    out
}

/// One line of the compatibility table.
#[derive(Debug, Clone, Copy)]
pub struct Leaf<'a> {
    /// Path in the schema; lists as `[]`.
    pub path: &'a str,
    /// What happens; `None` is a gap in the rules.
    pub rule: Option<&'static Rule>,
    /// How many fields without fields of their own share this fate.
    pub scalars: usize,
}

/// Every leaf of a kind's schema. A message that is honoured whole, warned about or refused is one
/// line, since its fields share the fate.
pub fn leaves(kind: &Kind, visit: &mut dyn FnMut(Leaf<'_>)) {
    if let Some(message) = facts::message(kind.message) {
        walk(message, "", visit);
    }
}

fn walk(message: &'static Message, prefix: &str, visit: &mut dyn FnMut(Leaf<'_>)) {
    for field in message.fields {
        let dot = if prefix.is_empty() { "" } else { "." };
        let brackets = if field.shape == Shape::List { "[]" } else { "" };
        let path = format!("{prefix}{dot}{}{brackets}", field.name);
        let rule = rule(message, field.name);
        match (rule.map(|r| r.verdict), field.ty.message()) {
            (Some(Verdict::Inside), Some(inner)) => walk(inner, &path, visit),
            (_, inner) => visit(Leaf {
                path: &path,
                rule,
                scalars: inner.map_or(1, |inner| scalars(inner, 0)),
            }),
        }
    }
}

/// Fields of a message and what is in it that have no fields of their own.
fn scalars(message: &'static Message, depth: usize) -> usize {
    // No served schema is recursive; the bound keeps a future one from hanging a test.
    if depth > 20 {
        return 0;
    }
    let below = |f: &facts::Field| f.ty.message().map_or(1, |inner| scalars(inner, depth + 1));
    message.fields.iter().map(below).sum()
}

/// Scalar fields of a kind that are honoured, warned about and refused.
pub fn totals(kind: &Kind) -> [usize; 3] {
    let mut totals = [0; 3];
    leaves(kind, &mut |leaf| {
        let at = match leaf.rule.map(|r| r.verdict) {
            Some(Verdict::Honoured(_) | Verdict::Inside) => 0,
            Some(Verdict::Warned) => 1,
            Some(Verdict::Refused) | None => 2,
        };
        totals[at] += leaf.scalars;
    });
    totals
}
