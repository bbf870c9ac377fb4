//! ResourceQuota: what objects use of a namespace's quotas, and whether one more fits.
//!
//! What a quota has used stands in its status. Whoever creates an object writes the new status in the
//! same transaction ([`check`]); what goes is counted anew by the quota controller ([`usage`]).
//!
//! Sources: upstream's `staging/src/k8s.io/apiserver/pkg/admission/plugin/resourcequota/controller.go`
//! and `pkg/quota/v1/evaluator/core`.

mod measure;
mod scope;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bramble_api::quantity::Quantity;
use bramble_api::time::Timestamp;
use serde_json::Value;

use super::resources::{Amounts, add, amounts, shown, to_value};
use super::{part, text};

pub use measure::{Subject, missing};

/// What is done to an object, as far as quotas care.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// It is new.
    Create,
    /// It replaces this one.
    Update(&'a Value),
}

/// What becomes of the quotas of a namespace: the new `status` of each that changes, by its place in
/// the list.
pub type Charged = BTreeMap<usize, Value>;

/// Whether quotas ever count writes of this resource.
#[must_use]
pub fn counts(subject: Subject<'_>, change: Change<'_>) -> bool {
    match change {
        // Upstream's list of resources that come and go too quickly, or are no objects.
        Change::Create => !matches!(subject.resource, "events" | "bindings"),
        Change::Update(_) => {
            subject.group.is_empty()
                && matches!(subject.resource, "services" | "persistentvolumeclaims")
        }
    }
}

/// Whether an object fits into all quotas of its namespace, and what they have used with it.
///
/// Each quota comes with `status.hard` and `status.used`; see [`is_current`].
///
/// # Errors
/// The refusal of the first quota that says no.
pub fn check(
    quotas: &[&Value],
    subject: Subject<'_>,
    object: &Value,
    change: Change<'_>,
    now: Timestamp,
) -> Result<Charged, String> {
    let mut interested = Vec::new();
    for (at, quota) in quotas.iter().enumerate() {
        let hard = amounts(part(part(quota, "status"), "hard"));
        let relevant: Vec<&str> = hard
            .keys()
            .map(String::as_str)
            .filter(|name| subject.is_measured_by(name))
            .collect();
        if relevant.is_empty() || !scope::matches(quota, subject, object) {
            continue;
        }
        let name = text(part(quota, "metadata"), "name");
        missing(subject, object, &relevant)
            .map_err(|why| format!("failed quota: {name}: {why}"))?;
        let used = amounts(part(part(quota, "status"), "used"));
        if relevant.iter().any(|name| !used.contains_key(*name)) {
            let names = relevant.join(",");
            return Err(format!(
                "status unknown for quota: {name}, resources: {names}"
            ));
        }
        interested.push((at, name, hard, used));
    }
    if interested.is_empty() {
        return Ok(Charged::new());
    }
    let whole = subject.usage(object, now);
    let negative: Vec<&str> = whole
        .iter()
        .filter(|(_, amount)| amount.is_negative())
        .map(|(name, _)| name.as_str())
        .collect();
    if !negative.is_empty() {
        let names = negative.join(",");
        return Err(format!("quota usage is negative for resource(s): {names}"));
    }
    let mut charged = Charged::new();
    for (at, name, hard, used) in interested {
        let requested = match change {
            Change::Update(old) if scope::matches(quotas[at], subject, old) => {
                more(&whole, &subject.usage(old, now))
            }
            Change::Update(_) | Change::Create => whole.clone(),
        };
        let requested: Amounts = requested
            .into_iter()
            .filter(|(name, amount)| !amount.is_zero() && hard.contains_key(name))
            .collect();
        if requested.is_empty() {
            continue;
        }
        let mut total = used.clone();
        add(&mut total, &requested);
        let exceeded = |resource: &String| {
            let (total, hard) = (total.get(resource), hard.get(resource));
            total.zip(hard).is_some_and(|(total, hard)| total > hard)
        };
        let over = |list: &Amounts| {
            let entries = list
                .iter()
                .filter(|(name, _)| requested.contains_key(*name));
            let over: Amounts = entries
                .filter(|(name, _)| exceeded(name))
                .map(|(name, amount)| (name.clone(), *amount))
                .collect();
            shown(&over)
        };
        if requested.keys().any(exceeded) {
            return Err(format!(
                "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
                over(&requested),
                over(&used),
                over(&hard)
            ));
        }
        charged.insert(at, status(&hard, &total));
    }
    Ok(charged)
}

/// What the new object uses beyond the old one, nothing less than zero.
fn more(new: &Amounts, old: &Amounts) -> Amounts {
    let entries = new.iter().map(|(name, amount)| {
        let rest = match old.get(name) {
            Some(before) if before >= amount => Quantity::from_count(0),
            Some(before) => *amount - *before,
            None => *amount,
        };
        (name.clone(), rest)
    });
    entries.collect()
}

/// Whether a quota's status belongs to its spec; before that, it must be counted first.
#[must_use]
pub fn is_current(quota: &Value) -> bool {
    let hard = amounts(part(part(quota, "spec"), "hard"));
    let status = part(quota, "status");
    let (known, used) = (amounts(part(status, "hard")), part(status, "used"));
    known == hard && hard.keys().all(|name| used.get(name).is_some())
}

/// Counts what a quota limits anew: the `status` it should have. `objects` are those of its namespace,
/// of every resource that [`measured`] names at least.
pub fn usage<'a>(
    quota: &Value,
    objects: impl IntoIterator<Item = (Subject<'a>, &'a Value)>,
    now: Timestamp,
) -> Value {
    let hard = amounts(part(part(quota, "spec"), "hard"));
    let mut used: Amounts = hard
        .keys()
        .map(|name| (name.clone(), Quantity::from_count(0)))
        .collect();
    for (subject, object) in objects {
        if !scope::matches(quota, subject, object) {
            continue;
        }
        let own = subject.usage(object, now);
        let own: Amounts = own
            .into_iter()
            .filter(|(name, _)| hard.contains_key(name))
            .collect();
        add(&mut used, &own);
    }
    status(&hard, &used)
}

/// Whether a change leaves what quotas count as it was.
#[must_use]
pub fn is_same(subject: Subject<'_>, old: &Value, new: &Value, now: Timestamp) -> bool {
    subject.usage(old, now) == subject.usage(new, now) && scope::is_same(old, new)
}

/// Whether a quota has to do with objects of a resource.
#[must_use]
pub fn measured(quota: &Value, subject: Subject<'_>) -> bool {
    let hard = part(part(quota, "spec"), "hard").as_object();
    hard.is_some_and(|hard| hard.keys().any(|name| subject.is_measured_by(name)))
}

fn status(hard: &Amounts, used: &Amounts) -> Value {
    serde_json::json!({"hard": to_value(hard), "used": to_value(used)})
}
