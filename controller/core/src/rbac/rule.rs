//! One rule and one request.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

/// Words of a rule. Most repeat from rule to rule, so a [`super::Policy`] shares them.
pub type Words = Vec<Arc<str>>;

/// What somebody may do: `verbs` on `resources` of `apiGroups`, or on paths that are no resources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    /// `get`, `list`, …, or `*`.
    #[serde(deserialize_with = "nullable")]
    pub verbs: Words,
    /// Groups; `""` is the core group, `*` all of them.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Words,
    /// `pods`, `pods/log`, `*/scale`, `*`.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub resources: Words,
    /// Only these objects; none for all.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Words,
    /// `/healthz`, `/api/*`, `*`.
    #[serde(
        rename = "nonResourceURLs",
        deserialize_with = "nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub urls: Words,
}

/// `null` reads as the empty value.
pub(super) fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    let value: Option<T> = Deserialize::deserialize(deserializer)?;
    Ok(value.unwrap_or_default())
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct User<'a> {
    /// Name.
    pub name: &'a str,
    /// Groups.
    pub groups: &'a [String],
}

impl User<'_> {
    /// Whether the user is in a group.
    #[must_use]
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes<'a> {
    /// `get`, `list`, …; for a path the method in lower case.
    pub verb: &'a str,
    /// On what.
    pub target: Target<'a>,
}

/// What the verb is applied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// Objects.
    Resource(Resource<'a>),
    /// A path that is no resource.
    Path(&'a str),
}

/// Objects of a resource; empty text stands for "none" or "all".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resource<'a> {
    /// API group.
    pub group: &'a str,
    /// Plural resource name.
    pub resource: &'a str,
    /// Subresource.
    pub subresource: &'a str,
    /// Namespace.
    pub namespace: &'a str,
    /// Name.
    pub name: &'a str,
}

impl<'a> Attributes<'a> {
    /// A verb on objects.
    #[must_use]
    pub fn resource(verb: &'a str, resource: Resource<'a>) -> Self {
        Self {
            verb,
            target: Target::Resource(resource),
        }
    }

    /// A verb on a path.
    #[must_use]
    pub fn path(verb: &'a str, path: &'a str) -> Self {
        Self {
            verb,
            target: Target::Path(path),
        }
    }

    /// The namespace of the request; empty without one.
    #[must_use]
    pub fn namespace(&self) -> &'a str {
        match self.target {
            Target::Resource(resource) => resource.namespace,
            Target::Path(_) => "",
        }
    }

    /// Upstream's words of a refusal: `User "x" cannot list resource "pods" in API group "" in the
    /// namespace "y"`.
    #[must_use]
    pub fn refusal(&self, user: &str) -> String {
        let verb = self.verb;
        match &self.target {
            Target::Path(path) => format!("User {user:?} cannot {verb} path {path:?}"),
            Target::Resource(r) => {
                let slash = if r.subresource.is_empty() { "" } else { "/" };
                let shown = format!("{}{slash}{}", r.resource, r.subresource);
                let scope = if r.namespace.is_empty() {
                    "at the cluster scope".to_owned()
                } else {
                    format!("in the namespace {:?}", r.namespace)
                };
                let group = r.group;
                format!(
                    "User {user:?} cannot {verb} resource {shown:?} in API group {group:?} {scope}"
                )
            }
        }
    }
}

pub(super) fn has(words: &[Arc<str>], word: &str) -> bool {
    words.iter().any(|w| **w == *word)
}

fn has_or_all(words: &[Arc<str>], word: &str) -> bool {
    words.iter().any(|w| **w == *"*" || **w == *word)
}

/// Whether a rule's path stands for another: itself, or a prefix that ends in `*`.
pub(super) fn path_covers(pattern: &str, path: &str) -> bool {
    pattern == path || (pattern.ends_with('*') && path.starts_with(pattern.trim_end_matches('*')))
}

impl Rule {
    /// Whether it allows the request.
    #[must_use]
    pub fn allows(&self, attributes: &Attributes<'_>) -> bool {
        if !has_or_all(&self.verbs, attributes.verb) {
            return false;
        }
        match &attributes.target {
            Target::Path(path) => self.urls.iter().any(|url| path_covers(url, path)),
            Target::Resource(r) => {
                has_or_all(&self.api_groups, r.group)
                    && self.has_resource(r.resource, r.subresource)
                    && (self.resource_names.is_empty() || has(&self.resource_names, r.name))
            }
        }
    }

    fn has_resource(&self, resource: &str, sub: &str) -> bool {
        self.resources.iter().any(|allowed| match &**allowed {
            "*" => true,
            allowed if sub.is_empty() => allowed == resource,
            allowed => allowed
                .split_once('/')
                .is_some_and(|(r, s)| s == sub && (r == "*" || r == resource)),
        })
    }

    pub(super) fn words_mut(&mut self) -> impl Iterator<Item = &mut Arc<str>> {
        self.verbs
            .iter_mut()
            .chain(&mut self.api_groups)
            .chain(&mut self.resources)
            .chain(&mut self.resource_names)
            .chain(&mut self.urls)
    }
}

/// As upstream shows a rule in its messages: `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.urls),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ];
        f.write_char('{')?;
        let said = parts.iter().filter(|(_, words)| !words.is_empty());
        for (n, (name, words)) in said.enumerate() {
            let comma = if n > 0 { ", " } else { "" };
            write!(f, "{comma}{name}:{}", quoted(words.iter().map(|w| &**w)))?;
        }
        f.write_char('}')
    }
}

/// Go's `%q` of a list: `["a" "b"]`.
#[must_use]
pub fn quoted<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.map(|word| format!("{word:?}")).collect();
    format!("[{}]", words.join(" "))
}
