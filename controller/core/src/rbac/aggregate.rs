//! The rules of ClusterRoles that are put together from others by label.

use std::collections::{BTreeMap, HashSet};

use bramble_api::selector::LabelSelector;
use serde::Deserialize;
use serde_json::Value;

use super::Rule;

/// What this needs to know of a ClusterRole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterRole {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its rules.
    pub rules: Vec<Rule>,
    /// `aggregationRule.clusterRoleSelectors`; `None` for an ordinary one.
    pub selectors: Option<Vec<Value>>,
}

impl ClusterRole {
    /// Out of an object; `None` when its rules don't read.
    #[must_use]
    pub fn read(object: &Value) -> Option<Self> {
        let text =
            |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
        let labels = object
            .pointer("/metadata/labels")
            .and_then(Value::as_object);
        let selectors = match object.get("aggregationRule") {
            None | Some(Value::Null) => None,
            Some(rule) => {
                let list = rule.get("clusterRoleSelectors").and_then(Value::as_array);
                Some(list.cloned().unwrap_or_default())
            }
        };
        Some(Self {
            labels: labels.into_iter().flatten().filter_map(text).collect(),
            rules: super::Role::deserialize(object).ok()?.rules,
            selectors,
        })
    }
}

/// The new rules of every role whose rules must change, by name. Roles may be put together from roles
/// that are put together themselves; all of them are brought up to date at once.
#[must_use]
pub fn plan_aggregation(roles: &BTreeMap<String, ClusterRole>) -> BTreeMap<String, Vec<Rule>> {
    let mut now = roles.clone();
    let mut changed = BTreeMap::new();
    // As deep as roles can be put together without going in circles.
    for _ in 0..=roles.len() {
        let mut settled = true;
        for name in roles.keys() {
            let Some(rules) = gathered(name, &now) else {
                continue;
            };
            let role = now.get_mut(name).expect("both maps have the same names");
            if !same(&role.rules, &rules) {
                role.rules.clone_from(&rules);
                changed.insert(name.clone(), rules);
                settled = false;
            }
        }
        if settled {
            break;
        }
    }
    changed.retain(|name, rules| !same(&roles[name].rules, rules));
    changed
}

/// The order of rules means nothing, and roles that gather each other must not take turns with it.
fn same(a: &[Rule], b: &[Rule]) -> bool {
    a == b || a.iter().collect::<HashSet<_>>() == b.iter().collect::<HashSet<_>>()
}

/// In the order of the selectors, then of the names, each rule once.
fn gathered(name: &str, roles: &BTreeMap<String, ClusterRole>) -> Option<Vec<Rule>> {
    let selectors = roles.get(name)?.selectors.as_ref()?;
    let (mut seen, mut out) = (HashSet::new(), Vec::new());
    for selector in selectors {
        // A selector that does not parse selects nothing; the others still do.
        let Ok(selector) = LabelSelector::from_object(selector) else {
            continue;
        };
        let selected = roles.iter().filter(|(other, role)| {
            let label = |key: &str| role.labels.get(key).map(String::as_str);
            other.as_str() != name && selector.matches_with(label)
        });
        for rule in selected.flat_map(|(_, role)| &role.rules) {
            if seen.insert(rule) {
                out.push(rule.clone());
            }
        }
    }
    Some(out)
}
