//! The list. A message appears when some served kind reaches it through honoured fields; names are
//! without `io.k8s.api.` or `io.k8s.apimachinery.pkg.apis.`. Fields share a rule where they share a
//! fate; each honoured one names the test that shows it.

mod cluster;
mod objects;
mod pod_status;
mod pods;
mod workloads;

use super::{Rule, Verdict};

type Rules = (&'static str, &'static [Rule]);

/// Every message with its rules.
pub(super) fn all() -> impl Iterator<Item = &'static Rules> {
    [
        META,
        pods::RULES,
        pod_status::RULES,
        workloads::RULES,
        cluster::RULES,
        objects::RULES,
    ]
    .into_iter()
    .flatten()
}

const fn rule(verdict: Verdict, note: &'static str, fields: &'static str) -> Rule {
    Rule {
        fields,
        verdict,
        fine: &[],
        note,
    }
}

/// Carried out, as a test shows; of a message, with everything in it.
const fn honoured(test: &'static str, fields: &'static str) -> Rule {
    rule(Verdict::Honoured(test), "", fields)
}

/// Messages whose own fields have rules.
const fn inside(fields: &'static str) -> Rule {
    rule(Verdict::Inside, "", fields)
}

/// Carried out by being there: stored, and served to whoever acts on it.
const fn kept(fields: &'static str) -> Rule {
    rule(Verdict::Honoured(KEPT), "kept for its readers", fields)
}

/// As [`kept`], of a status: nothing of this release writes it, others may.
const fn kept_status(fields: &'static str) -> Rule {
    rule(
        Verdict::Honoured(KEPT_STATUS),
        "kept for its readers; nothing here writes it",
        fields,
    )
}

const fn warned(note: &'static str, fields: &'static str) -> Rule {
    rule(Verdict::Warned, note, fields)
}

const fn refused(note: &'static str, fields: &'static str) -> Rule {
    rule(Verdict::Refused, note, fields)
}

impl Rule {
    const fn fine(mut self, values: &'static [&'static str]) -> Self {
        self.fine = values;
        self
    }
}

/// Takes its fields from this list.
pub(super) const KEPT: &str = "what_is_kept_comes_back_as_written";
/// Takes its fields from this list.
pub(super) const KEPT_STATUS: &str = "every_leaf_of_a_status_comes_back_as_written";
/// Takes its kinds from the list of kinds.
pub(super) const TYPED: &str = "every_kind_is_what_it_says";

/// `apiVersion` and `kind`, without which an object is not read.
const TYPE: Rule = honoured(TYPED, "apiVersion kind");
const META_AND_SPEC: Rule = inside("metadata spec");
const ALL_THREE: Rule = inside("metadata spec status");

const OWNERS: &str = "what_lost_all_its_owners_goes";

static META: &[Rules] = &[
    (
        "meta.v1.ObjectMeta",
        &[
            honoured("metadata_rules", "annotations"),
            honoured("lists_are_selected_paged_and_exact", "labels"),
            honoured("names_in_upstreams_words", "name generateName"),
            honoured(
                "a_pod_gets_upstreams_defaults",
                "creationTimestamp namespace uid",
            ),
            honoured("generation_counts_changes_of_the_spec", "generation"),
            honoured(
                "pods_that_run_are_given_time",
                "deletionGracePeriodSeconds deletionTimestamp",
            ),
            honoured(
                "preconditions_and_finalizers_hold_a_deletion_back",
                "finalizers resourceVersion",
            ),
            honoured(
                "the_first_apply_creates_and_owns_what_it_says",
                "managedFields",
            ),
            inside("ownerReferences"),
            warned("upstream ignores it as well", "selfLink"),
        ],
    ),
    (
        "meta.v1.OwnerReference",
        &[
            honoured(OWNERS, "apiVersion kind name uid"),
            honoured(
                "a_foreground_deletion_waits_for_the_dependents_that_block_it",
                "blockOwnerDeletion",
            ),
            honoured("orphans_are_adopted_and_strangers_let_go", "controller"),
        ],
    ),
    (
        "meta.v1.LabelSelector",
        &[
            honoured(SELECTORS, "matchLabels"),
            inside("matchExpressions"),
        ],
    ),
    (
        "meta.v1.LabelSelectorRequirement",
        &[honoured(SELECTORS, "key operator values")],
    ),
];

const SELECTORS: &str = "selector/label.rs::objects";
