//! Who may do what: role-based access control with upstream's semantics, and what nodes may do.
//!
//! In come Roles, ClusterRoles and their bindings, one object at a time ([`Policy`]), the user and
//! what they ask for ([`Attributes`]); out come a [`Decision`] with upstream's reason, the rules of a
//! user, or the rights that somebody tries to hand on without having them. Nothing here decodes JSON
//! while it decides, so a request costs a few look-ups.
//!
//! | module | decides |
//! |---|---|
//! | [`rule`] | whether one rule allows one request |
//! | [`policy`] | which rules a user has, and so whether they may |
//! | [`covers`] | whether some rules are contained in others (escalation) |
//! | [`aggregate`] | the rules of a ClusterRole with an `aggregationRule` |
//! | [`defaults`] | the roles that every cluster has, and how they are kept so |
//! | [`node`] | what a node may read and write, by what its pods refer to |
//! | [`restrict`] | what a node may not write into what it may write |
//!
//! Sources of behaviour and wording: `kubernetes/kubernetes` v1.37, `pkg/registry/rbac`,
//! `pkg/apis/rbac/v1/evaluation_helpers.go`, `plugin/pkg/auth/authorizer/{rbac,node}`,
//! `plugin/pkg/admission/noderestriction`.

pub mod aggregate;
pub mod covers;
pub mod defaults;
pub mod node;
pub mod policy;
pub mod restrict;
pub mod rule;

pub use policy::{Binding, Decision, Policy, Role, RoleRef, Subject};
pub use rule::{Attributes, Resource, Rule, Target, User};

/// The API group of roles and bindings.
pub const GROUP: &str = "rbac.authorization.k8s.io";
/// Its members may do everything.
pub const MASTERS: &str = "system:masters";

#[cfg(test)]
mod tests;
