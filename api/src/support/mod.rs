//! What this release does with each field: honoured, warned about or refused.
//!
//! `rules.rs` lists every field of every message that a served kind can reach; a test walks the
//! descriptor table and fails on one that is not listed. `docs/compatibility.md` is written from
//! the same list. At run time a field without a rule is refused: silence is not an option.

mod kinds;
mod rules;
#[cfg(test)]
mod tests;

use crate::admit::Warning;
use crate::decode::Path;
use crate::facts::{self, Message, Shape};
use crate::kind::Kind;
use crate::status::Cause;
use serde_json::Value;

/// What happens to a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Carried out; for a message, its own fields have rules.
    Honoured,
    /// Carried out, with everything in it.
    Whole,
    /// Stored, not carried out; the client is told.
    Warned,
    /// Not accepted: ignoring it would break or endanger the workload.
    Refused,
}

/// One field's rule.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// JSON name.
    pub field: &'static str,
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

fn all() -> impl Iterator<Item = &'static (&'static str, &'static [Rule])> {
    rules::RULES.iter().chain(kinds::RULES)
}

fn rule(message: &Message, field: &str) -> Option<&'static Rule> {
    all()
        .find(|(name, _)| *name == message.name)
        .and_then(|(_, rules)| rules.iter().find(|r| r.field == field))
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
        for (name, value) in map {
            self.path.push_key(name);
            match rule(message, name) {
                Some(rule) => self.field(message, rule, value),
                None => self.refuse(""),
            }
            self.path.pop();
        }
    }

    fn field(&mut self, message: &'static Message, rule: &Rule, value: &Value) {
        match rule.verdict {
            Verdict::Whole => {}
            Verdict::Honoured => self.descend(message, rule.field, value),
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
        Verdict::Honoured | Verdict::Whole => return String::new(),
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Path in the schema; lists as `[]`.
    pub path: String,
    /// What happens; `None` is a gap in the rules.
    pub verdict: Option<Verdict>,
    /// Values that are fine, and the note, for people.
    pub remark: String,
}

/// Every leaf of a kind's schema. A message that is honoured whole, warned about or refused is one
/// line, since its fields share the fate.
pub fn leaves(kind: &Kind) -> Vec<Leaf> {
    let mut out = Vec::new();
    if let Some(message) = facts::message(kind.message) {
        walk(message, "", &mut out);
    }
    out
}

fn walk(message: &'static Message, prefix: &str, out: &mut Vec<Leaf>) {
    for field in message.fields {
        let dot = if prefix.is_empty() { "" } else { "." };
        let brackets = if field.shape == Shape::List { "[]" } else { "" };
        let path = format!("{prefix}{dot}{}{brackets}", field.name);
        let rule = rule(message, field.name);
        match (rule.map(|r| r.verdict), field.ty.message()) {
            (Some(Verdict::Honoured), Some(inner)) => walk(inner, &path, out),
            (verdict, _) => {
                let remark = rule.map(remark).unwrap_or_default();
                out.push(Leaf {
                    path,
                    verdict,
                    remark,
                });
            }
        }
    }
}

fn remark(rule: &'static Rule) -> String {
    let fine = rule
        .fine
        .iter()
        .map(|f| format!("`{f}`"))
        .collect::<Vec<_>>()
        .join(", ");
    match (fine.is_empty(), rule.note.is_empty()) {
        (true, _) => rule.note.to_owned(),
        (false, true) => format!("{fine} accepted"),
        (false, false) => format!("{fine} accepted; {}", rule.note),
    }
}

/// Number of scalar leaves below a path's message: for the totals of the compatibility table.
pub fn scalar_leaves(kind: &Kind) -> [usize; 3] {
    let mut totals = [0; 3];
    if let Some(message) = facts::message(kind.message) {
        count(message, None, 0, &mut totals);
    }
    totals
}

fn count(
    message: &'static Message,
    inherited: Option<Verdict>,
    depth: usize,
    totals: &mut [usize; 3],
) {
    // No served schema is recursive; the bound keeps a future one from hanging a test.
    if depth > 20 {
        return;
    }
    for field in message.fields {
        let verdict = match inherited {
            Some(verdict) => verdict,
            None => rule(message, field.name).map_or(Verdict::Refused, |r| r.verdict),
        };
        match field.ty.message() {
            Some(inner) => {
                let pass_on = (verdict != Verdict::Honoured).then_some(verdict);
                count(inner, pass_on, depth + 1, totals);
            }
            None => {
                let at = match verdict {
                    Verdict::Honoured | Verdict::Whole => 0,
                    Verdict::Warned => 1,
                    Verdict::Refused => 2,
                };
                totals[at] += 1;
            }
        }
    }
}
