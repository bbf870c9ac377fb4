//! Who may do what, at the edge: an index of roles and bindings that follows the store, and the
//! questions that requests put to it.
//!
//! In: an [`Identity`] and what it asks for. Out: [`bramble_controller_core::rbac`]'s decisions. The
//! [`Index`] owns the only state: what the store holds, decoded once for each change.

mod bootstrap;
mod escalation;
mod impersonate;
mod index;
mod nodes;
mod reviews;
mod selectors;
#[cfg(test)]
mod speed;

use std::sync::Arc;

use bramble_api::status::Status;
pub(crate) use bramble_controller_core::rbac::restrict::Operation;
use bramble_controller_core::rbac::{Attributes, Decision, MASTERS, Rule, User, node};
use serde_json::Value;

pub(crate) use bootstrap::ensure_roles;
pub(crate) use impersonate::acting;
pub(crate) use reviews::review;

use super::Context;
use super::authn::Identity;
use super::request::Info;
use crate::store::{self, Store};
use index::Index;

/// Authorization of everything that comes through the API.
#[derive(Debug)]
pub(crate) struct Rbac {
    index: Index,
}

/// The rules of a user, for `kubectl auth can-i --list`.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    pub(crate) rules: Vec<Rule>,
    /// Some rights do not come from rules.
    pub(crate) incomplete: bool,
    pub(crate) error: Option<String>,
}

pub(super) fn user(identity: &Identity) -> User<'_> {
    User {
        name: &identity.user,
        groups: &identity.groups,
    }
}

impl Rbac {
    /// Reads the roles and bindings of the store; it answers from then on.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn open(store: Arc<dyn Store>) -> Result<Self, store::Error> {
        Ok(Self {
            index: Index::open(store)?,
        })
    }

    /// Whether they may, and by what or why not. `selected` is the node whose pods a list is of.
    pub(crate) fn decide(
        &self,
        identity: &Identity,
        attributes: &Attributes<'_>,
        selected: Option<&str>,
    ) -> Decision {
        let user = user(identity);
        if user.is_in(MASTERS) {
            return Decision {
                allowed: true,
                reason: String::new(),
            };
        }
        let refused = node::node_of(user).map(|name| {
            self.index
                .with_graph(|graph| node::decide(graph, name, attributes, selected))
        });
        let why_not = match refused {
            Some(Ok(())) => {
                return Decision {
                    allowed: true,
                    reason: String::new(),
                };
            }
            Some(Err(why)) => why,
            None => String::new(),
        };
        let decision = self.index.with(|policy| policy.decide(user, attributes));
        if decision.allowed || why_not.is_empty() {
            return decision;
        }
        let reasons = [why_not, decision.reason];
        let said: Vec<String> = reasons.into_iter().filter(|r| !r.is_empty()).collect();
        Decision {
            allowed: false,
            reason: said.join("\n"),
        }
    }

    /// As [`Rbac::decide`], when only the answer counts.
    pub(crate) fn allows(
        &self,
        identity: &Identity,
        attributes: &Attributes<'_>,
        selected: Option<&str>,
    ) -> bool {
        let user = user(identity);
        user.is_in(MASTERS)
            || self.index.with(|policy| policy.allows(user, attributes))
            || (node::node_of(user).is_some()
                && self.decide(identity, attributes, selected).allowed)
    }

    /// Every rule of a user in a namespace.
    pub(crate) fn rules_for(&self, identity: &Identity, namespace: &str) -> Rules {
        let user = user(identity);
        let (rules, error) = self.index.with(|policy| {
            let (rules, error) = policy.rules_for(user, namespace);
            (rules.into_iter().cloned().collect(), error)
        });
        let incomplete = node::node_of(user).is_some();
        let error = if incomplete {
            let node = "node authorizer does not support user rule resolution".to_owned();
            Some(error.map_or(node.clone(), |error| format!("[{node}, {error}]")))
        } else {
            error
        };
        Rules {
            rules,
            incomplete,
            error,
        }
    }
}

/// The same before an object is deleted or, by way of its subresource, evicted.
///
/// # Errors
/// Upstream's 403.
pub(crate) fn admit_deletion(ctx: &Context, info: &Info, object: &Value) -> Result<(), Status> {
    let operation = match info.subresource {
        Some(_) => Operation::Create,
        None => Operation::Delete,
    };
    admit(ctx, info, operation, None, Some(object))
}

/// The same before a token is made: a node asks for those of its own pods.
///
/// # Errors
/// Upstream's 403 or 404.
pub(crate) fn admit_token(ctx: &Context, info: &Info, wish: &Value) -> Result<(), Status> {
    nodes::token(ctx, info, wish)
}

/// The last look at a write before it is stored: nobody hands on rights they don't have, and a node
/// writes only what is a node's. `new` is the object as it will be, or the body of a subresource;
/// `old` the stored one.
///
/// # Errors
/// Upstream's 403.
pub(crate) fn admit(
    ctx: &Context,
    info: &Info,
    operation: Operation,
    new: Option<&Value>,
    old: Option<&Value>,
) -> Result<(), Status> {
    nodes::restrict(info, operation, new, old)?;
    match new {
        Some(new) if info.subresource.is_none() => escalation::check(ctx, info, new, old),
        _ => Ok(()),
    }
}
