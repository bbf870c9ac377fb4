//! Whether somebody has every right that a role would hand on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::rule::{Words, has, path_covers, quoted};
use super::{Rule, User};

/// Words that are compared before we give up. A role of a megabyte can name more combinations of groups,
/// resources and verbs than anybody can compare, and so can the writer's own.
const BUDGET: usize = 20_000_000;
/// Most missing rights that are told.
const MOST: usize = 10_000;

/// Why a role may not be handed on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// These rights are missing.
    #[error(
        "user {user:?} (groups={groups}) is attempting to grant RBAC permissions not currently \
         held:\n{missing}"
    )]
    Missing {
        /// The user.
        user: String,
        /// Their groups.
        groups: String,
        /// What they lack, a rule a line.
        missing: String,
    },
    /// The comparison would take too long.
    #[error("the rules name too many combinations of groups, resources, names and verbs")]
    TooMany,
}

/// Whether the user, having the rules `own`, may hand on `wanted`. `unresolved` is what could not be
/// found of their own rules.
///
/// # Errors
/// [`Error`] when not.
pub fn confirm(
    user: User<'_>,
    own: &[&Rule],
    unresolved: Option<&str>,
    wanted: &[Rule],
) -> Result<(), Error> {
    let missing = missing(own, wanted)?;
    if missing.is_empty() {
        return Ok(());
    }
    let lines: BTreeSet<String> = compact(missing).iter().map(Rule::to_string).collect();
    let mut missing = lines.into_iter().collect::<Vec<_>>().join("\n");
    if let Some(errors) = unresolved {
        missing.push_str(&format!("; resolution errors: [{errors}]"));
    }
    Err(Error::Missing {
        user: user.name.to_owned(),
        groups: quoted(user.groups.iter().map(String::as_str)),
        missing,
    })
}

/// The parts of `wanted` that no rule of `own` contains, each a single right.
fn missing(own: &[&Rule], wanted: &[Rule]) -> Result<Vec<Rule>, Error> {
    let mut budget = BUDGET;
    let mut spend = |cost: usize| {
        budget = budget.checked_sub(cost).ok_or(Error::TooMany)?;
        Ok::<_, Error>(())
    };
    let each: usize = own.iter().map(|owner| words(owner)).sum();
    let mut out = Vec::new();
    for rule in wanted {
        // Most rules are contained in one, and are not taken apart.
        for owner in own {
            spend(comparisons(owner, rule))?;
        }
        let whole = own.iter().any(|owner| covers(owner, rule));
        if whole && (rule.resources.is_empty() || rule.urls.is_empty()) {
            continue;
        }
        spend(combinations(rule).saturating_mul(each.max(1)))?;
        for part in break_down(rule) {
            if own.iter().any(|owner| covers(owner, &part)) {
                continue;
            }
            if out.len() == MOST {
                return Err(Error::TooMany);
            }
            out.push(part);
        }
    }
    Ok(out)
}

fn lists(rule: &Rule) -> [&Words; 5] {
    [
        &rule.verbs,
        &rule.api_groups,
        &rule.resources,
        &rule.resource_names,
        &rule.urls,
    ]
}

fn words(rule: &Rule) -> usize {
    lists(rule).iter().map(|words| words.len()).sum()
}

/// What [`covers`] may have to compare.
fn comparisons(owner: &Rule, wanted: &Rule) -> usize {
    let pairs = lists(owner).into_iter().zip(lists(wanted));
    pairs.fold(0, |sum: usize, (a, b)| {
        sum.saturating_add(a.len().saturating_mul(b.len()))
    })
}

fn combinations(rule: &Rule) -> usize {
    let objects = [
        rule.api_groups.len(),
        rule.resources.len(),
        rule.resource_names.len().max(1),
    ];
    let objects = objects.iter().fold(1usize, |n, m| n.saturating_mul(*m));
    let all = objects.saturating_add(rule.urls.len());
    all.saturating_mul(rule.verbs.len())
}

/// A rule as single rights, one at a time.
fn break_down(rule: &Rule) -> impl Iterator<Item = Rule> {
    let one = |word: &Arc<str>| vec![word.clone()];
    let objects = rule.api_groups.iter().flat_map(move |group| {
        let resources = rule.resources.iter();
        resources.flat_map(move |resource| {
            rule.verbs.iter().flat_map(move |verb| {
                let right = Rule {
                    verbs: one(verb),
                    api_groups: one(group),
                    resources: one(resource),
                    ..Rule::default()
                };
                let bare = rule.resource_names.is_empty().then(|| right.clone());
                let named = rule.resource_names.iter().map(move |name| Rule {
                    resource_names: one(name),
                    ..right.clone()
                });
                bare.into_iter().chain(named)
            })
        })
    });
    let paths = rule.urls.iter().flat_map(move |url| {
        rule.verbs.iter().map(move |verb| Rule {
            verbs: one(verb),
            urls: one(url),
            ..Rule::default()
        })
    });
    objects.chain(paths)
}

fn has_all(set: &Words, wanted: &Words) -> bool {
    has(set, "*") || wanted.iter().all(|word| has(set, word))
}

fn covers(owner: &Rule, wanted: &Rule) -> bool {
    let resources = has_all(&owner.resources, &wanted.resources)
        || wanted.resources.iter().all(|resource| {
            has(&owner.resources, resource)
                || resource
                    .split_once('/')
                    .is_some_and(|(_, sub)| has(&owner.resources, &format!("*/{sub}")))
        });
    let names = owner.resource_names.is_empty()
        || (!wanted.resource_names.is_empty()
            && wanted
                .resource_names
                .iter()
                .all(|name| has(&owner.resource_names, name)));
    let urls = wanted
        .urls
        .iter()
        .all(|url| owner.urls.iter().any(|own| path_covers(own, url)));
    has_all(&owner.verbs, &wanted.verbs)
        && has_all(&owner.api_groups, &wanted.api_groups)
        && resources
        && names
        && urls
}

/// Puts the verbs of single rights on one resource together, as upstream's message does.
fn compact(rules: Vec<Rule>) -> Vec<Rule> {
    let mut simple: BTreeMap<(Arc<str>, Arc<str>), Rule> = BTreeMap::new();
    let mut out = Vec::new();
    for rule in rules {
        match (rule.api_groups.as_slice(), rule.resources.as_slice()) {
            ([group], [resource]) if rule.resource_names.is_empty() && rule.urls.is_empty() => {
                let key = (group.clone(), resource.clone());
                match simple.get_mut(&key) {
                    Some(known) => known.verbs.extend(rule.verbs),
                    None => {
                        simple.insert(key, rule);
                    }
                }
            }
            _ => out.push(rule),
        }
    }
    out.extend(simple.into_values());
    out
}

/// The rules that must be added to `own` for it to contain `wanted`: whole ones where nothing of them
/// is there, or where they are too many rights to compare.
#[must_use]
pub fn uncovered(own: &[&Rule], wanted: &[Rule]) -> Vec<Rule> {
    let lacking = |rule: &Rule| match missing(own, std::slice::from_ref(rule)) {
        Ok(parts) if parts.len() < combinations(rule) => compact(parts),
        _ => vec![rule.clone()],
    };
    wanted.iter().flat_map(lacking).collect()
}

/// Whether `own` contains everything, as only a cluster administrator's rules do.
#[must_use]
pub fn is_everything(own: &[&Rule]) -> bool {
    let all = |words: &mut Words| words.push("*".into());
    let (mut objects, mut paths) = (Rule::default(), Rule::default());
    all(&mut objects.verbs);
    all(&mut objects.api_groups);
    all(&mut objects.resources);
    all(&mut paths.verbs);
    all(&mut paths.urls);
    [objects, paths]
        .iter()
        .all(|wanted| own.iter().any(|owner| covers(owner, wanted)))
}
