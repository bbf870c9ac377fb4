//! The roles and bindings of a cluster, indexed by who they concern.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use serde::Deserialize;

use super::rule::nullable;
use super::{Attributes, MASTERS, Rule, User};

/// A Role or ClusterRole, as stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Role {
    /// What it allows.
    #[serde(deserialize_with = "nullable")]
    pub rules: Vec<Rule>,
}

/// A RoleBinding or ClusterRoleBinding, as stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Binding {
    /// Who has the role.
    #[serde(deserialize_with = "nullable")]
    pub subjects: Vec<Subject>,
    /// The role.
    #[serde(deserialize_with = "nullable")]
    pub role_ref: RoleRef,
}

/// Who a binding concerns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Subject {
    /// `User`, `Group` or `ServiceAccount`.
    #[serde(deserialize_with = "nullable")]
    pub kind: String,
    /// Name.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// Of a service account.
    #[serde(deserialize_with = "nullable")]
    pub namespace: String,
}

/// The role of a binding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RoleRef {
    /// API group.
    #[serde(deserialize_with = "nullable")]
    pub api_group: String,
    /// `Role` or `ClusterRole`.
    #[serde(deserialize_with = "nullable")]
    pub kind: String,
    /// Name.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
}

/// May they?
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Yes.
    pub allowed: bool,
    /// By which binding, or what was missing on the way; may be empty.
    pub reason: String,
}

/// Why the rules behind a reference can't be had.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Error {
    /// There is no such role.
    #[error("{kind}.rbac.authorization.k8s.io {name:?} not found")]
    NotFound {
        /// `role` or `clusterrole`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A reference to something else.
    #[error("unsupported role reference kind: {0:?}")]
    Unsupported(String),
}

/// More missing roles than these aren't told one by one.
const REASONS: usize = 16;

/// Bindings by whom they concern.
type Index = HashMap<Box<str>, BTreeSet<Arc<str>>>;
/// The rules of roles by name.
type Rules = HashMap<Box<str>, Arc<[Rule]>>;

/// Everything that [`Policy`] knows of one scope's bindings: of a namespace, or of the cluster.
#[derive(Debug, Default)]
struct Bindings {
    all: BTreeMap<Arc<str>, Binding>,
    users: Index,
    groups: Index,
}

/// The user name of a service account.
#[must_use]
pub fn account(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

impl Bindings {
    /// The index entry that leads from a subject to a binding.
    fn index(&mut self, subject: &Subject, namespace: &str) -> Option<(&mut Index, Box<str>)> {
        match subject.kind.as_str() {
            "User" => Some((&mut self.users, subject.name.as_str().into())),
            "Group" => Some((&mut self.groups, subject.name.as_str().into())),
            "ServiceAccount" => {
                let own = subject.namespace.as_str();
                let namespace = if own.is_empty() { namespace } else { own };
                let named = !namespace.is_empty();
                named.then(|| (&mut self.users, account(namespace, &subject.name).into()))
            }
            _ => None,
        }
    }

    fn set(&mut self, namespace: &str, name: &str, binding: Option<Binding>) {
        let name: Arc<str> = name.into();
        if let Some(old) = self.all.remove(&name) {
            for subject in &old.subjects {
                if let Some((index, key)) = self.index(subject, namespace)
                    && let Some(names) = index.get_mut(&key)
                {
                    names.remove(&name);
                    if names.is_empty() {
                        index.remove(&key);
                    }
                }
            }
        }
        let Some(binding) = binding else { return };
        for subject in &binding.subjects {
            if let Some((index, key)) = self.index(subject, namespace) {
                index.entry(key).or_default().insert(name.clone());
            }
        }
        self.all.insert(name, binding);
    }

    /// The bindings that concern a user, by name, each once.
    fn of(&self, user: User<'_>) -> Vec<(&Arc<str>, &Binding)> {
        let by_group = user.groups.iter().map(|g| self.groups.get(g.as_str()));
        let found = std::iter::once(self.users.get(user.name)).chain(by_group);
        let mut names: Vec<&Arc<str>> = found.flatten().flatten().collect();
        names.sort_unstable();
        names.dedup();
        names
            .into_iter()
            .filter_map(|name| self.all.get_key_value(name))
            .collect()
    }
}

/// Whether a subject of a binding is the user.
fn applies(subject: &Subject, user: User<'_>, namespace: &str) -> bool {
    match subject.kind.as_str() {
        "User" => subject.name == user.name,
        "Group" => user.is_in(&subject.name),
        "ServiceAccount" => {
            let own = subject.namespace.as_str();
            let namespace = if own.is_empty() { namespace } else { own };
            !namespace.is_empty() && account(namespace, &subject.name) == user.name
        }
        _ => false,
    }
}

fn describe(name: &str, namespace: &str, binding: &Binding, user: User<'_>) -> String {
    let role = &binding.role_ref;
    let what = if namespace.is_empty() {
        format!("ClusterRoleBinding {name:?}")
    } else {
        format!("RoleBinding {:?}", format!("{name}/{namespace}"))
    };
    let subject = binding
        .subjects
        .iter()
        .find(|s| applies(s, user, namespace));
    let to = subject.map_or_else(String::new, |subject| {
        let own = subject.namespace.as_str();
        let name = match subject.kind.as_str() {
            // Name first, as upstream has it.
            "ServiceAccount" if own.is_empty() => format!("{}/{namespace}", subject.name),
            "ServiceAccount" => format!("{}/{own}", subject.name),
            _ => subject.name.clone(),
        };
        format!("{} {name:?}", subject.kind)
    });
    format!("{what} of {} {:?} to {to}", role.kind, role.name)
}

/// The roles and bindings of a cluster.
#[derive(Debug, Default)]
pub struct Policy {
    cluster_roles: Rules,
    /// By namespace and name.
    roles: HashMap<Box<str>, Rules>,
    cluster: Bindings,
    namespaces: HashMap<Box<str>, Bindings>,
    words: HashSet<Arc<str>>,
    /// Words after the last clean-up; they are looked through when there are twice as many.
    clean: usize,
}

impl Policy {
    /// A ClusterRole as it is now; `None` when it is gone.
    pub fn set_cluster_role(&mut self, name: &str, role: Option<Role>) {
        match role.map(|role| self.shared(role)) {
            Some(rules) => self.cluster_roles.insert(name.into(), rules),
            None => self.cluster_roles.remove(name),
        };
        self.clean_up();
    }

    /// The same for a Role.
    pub fn set_role(&mut self, namespace: &str, name: &str, role: Option<Role>) {
        if let Some(role) = role {
            let rules = self.shared(role);
            let roles = self.roles.entry(namespace.into()).or_default();
            roles.insert(name.into(), rules);
        } else if let Some(roles) = self.roles.get_mut(namespace) {
            roles.remove(name);
            if roles.is_empty() {
                self.roles.remove(namespace);
            }
        }
        self.clean_up();
    }

    /// The same for a ClusterRoleBinding.
    pub fn set_cluster_binding(&mut self, name: &str, binding: Option<Binding>) {
        self.cluster.set("", name, binding);
    }

    /// The same for a RoleBinding.
    pub fn set_binding(&mut self, namespace: &str, name: &str, binding: Option<Binding>) {
        if binding.is_none() && !self.namespaces.contains_key(namespace) {
            return;
        }
        let bindings = self.namespaces.entry(namespace.into()).or_default();
        bindings.set(namespace, name, binding);
        if bindings.all.is_empty() {
            self.namespaces.remove(namespace);
        }
    }

    /// Rules whose words are the ones that are there already.
    fn shared(&mut self, mut role: Role) -> Arc<[Rule]> {
        for word in role.rules.iter_mut().flat_map(Rule::words_mut) {
            match self.words.get(word) {
                Some(known) => *word = known.clone(),
                None => {
                    self.words.insert(word.clone());
                }
            }
        }
        role.rules.into()
    }

    fn clean_up(&mut self) {
        if self.words.len() > 2 * self.clean.max(512) {
            self.words.retain(|word| Arc::strong_count(word) > 1);
            self.clean = self.words.len();
        }
    }

    /// The rules behind a binding's reference. `namespace` is the binding's.
    ///
    /// # Errors
    /// [`Error`] when there is no such role.
    pub fn rules_of(&self, role: &RoleRef, namespace: &str) -> Result<&Arc<[Rule]>, Error> {
        let (kind, found) = match role.kind.as_str() {
            "ClusterRole" => ("clusterrole", self.cluster_roles.get(role.name.as_str())),
            "Role" => {
                let roles = self.roles.get(namespace);
                ("role", roles.and_then(|r| r.get(role.name.as_str())))
            }
            other => return Err(Error::Unsupported(other.to_owned())),
        };
        found.ok_or_else(|| Error::NotFound {
            kind,
            name: role.name.clone(),
        })
    }

    /// Bindings of the cluster, then those of the namespace, with the rules they give.
    fn grants<'a, 'u>(
        &'a self,
        user: User<'u>,
        namespace: &'u str,
    ) -> impl Iterator<Item = (Grant<'a, 'u>, Result<&'a Arc<[Rule]>, Error>)> + use<'a, 'u> {
        let local = (!namespace.is_empty()).then(|| self.namespaces.get(namespace));
        let scopes = [("", Some(&self.cluster)), (namespace, local.flatten())];
        scopes.into_iter().flat_map(move |(namespace, bindings)| {
            let found = bindings.map(|bindings| bindings.of(user));
            found.into_iter().flatten().map(move |(name, binding)| {
                let grant = Grant {
                    name,
                    namespace,
                    binding,
                };
                (grant, self.rules_of(&binding.role_ref, namespace))
            })
        })
    }

    /// Whether the user may. Members of `system:masters` always may.
    #[must_use]
    pub fn decide(&self, user: User<'_>, attributes: &Attributes<'_>) -> Decision {
        if user.is_in(MASTERS) {
            return Decision {
                allowed: true,
                reason: String::new(),
            };
        }
        let mut errors = BTreeSet::new();
        for (grant, rules) in self.grants(user, attributes.namespace()) {
            match rules {
                Ok(rules) if rules.iter().any(|rule| rule.allows(attributes)) => {
                    let by = describe(grant.name, grant.namespace, grant.binding, user);
                    return Decision {
                        allowed: true,
                        reason: format!("RBAC: allowed by {by}"),
                    };
                }
                Ok(_) => {}
                Err(error) => {
                    errors.insert(error);
                }
            }
        }
        let reason = aggregate(&errors).map(|text| format!("RBAC: {text}"));
        Decision {
            allowed: false,
            reason: reason.unwrap_or_default(),
        }
    }

    /// As [`Policy::decide`], when only the answer counts.
    #[must_use]
    pub fn allows(&self, user: User<'_>, attributes: &Attributes<'_>) -> bool {
        user.is_in(MASTERS)
            || self
                .grants(user, attributes.namespace())
                .filter_map(|(_, rules)| rules.ok())
                .any(|rules| rules.iter().any(|rule| rule.allows(attributes)))
    }

    /// Every rule that the user has in a namespace (or, without one, in the cluster), and what could
    /// not be found on the way.
    #[must_use]
    pub fn rules_for(&self, user: User<'_>, namespace: &str) -> (Vec<&Rule>, Option<String>) {
        let (mut found, mut errors) = (Vec::new(), BTreeSet::new());
        for (_, rules) in self.grants(user, namespace) {
            match rules {
                Ok(rules) => found.extend(rules.iter()),
                Err(error) => {
                    errors.insert(error);
                }
            }
        }
        (found, aggregate(&errors))
    }
}

/// A binding that concerns the user.
struct Grant<'a, 'u> {
    name: &'a str,
    namespace: &'u str,
    binding: &'a Binding,
}

/// Upstream's text of several errors.
fn aggregate(errors: &BTreeSet<Error>) -> Option<String> {
    let texts: Vec<String> = errors.iter().take(REASONS).map(Error::to_string).collect();
    match texts.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        many => Some(format!("[{}]", many.join(", "))),
    }
}
