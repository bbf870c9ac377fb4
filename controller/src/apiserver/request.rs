//! What a request asks for, out of its method, path and query.

use std::sync::Arc;

use bramble_api::kind::{self, Kind, Subresource};
use bramble_api::status::Status;
use http::Method;

use super::authn::Identity;

/// Decoded query parameters, in order; repeats are kept, the first counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        let pair = |part: &str| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            (unescape(key, true), unescape(value, true))
        };
        Self(
            text.split('&')
                .filter(|p| !p.is_empty())
                .map(pair)
                .collect(),
        )
    }

    /// The parameter, when it is there and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(k, _)| k == name)?;
        (!value.is_empty()).then_some(value.as_str())
    }

    /// Every value of a parameter that is not empty.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self
            .0
            .iter()
            .filter(move |(k, v)| k == name && !v.is_empty());
        named.map(|(_, value)| value.as_str())
    }

    /// Every value of a parameter, empty ones too.
    pub(crate) fn every<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.0.iter().filter(move |(k, _)| k == name);
        named.map(|(_, value)| value.as_str())
    }

    /// Whether the parameter is there at all.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(k, _)| k == name)
    }

    /// As upstream: absent, `false` and `0` are false, everything else is true.
    pub(crate) fn flag(&self, name: &str) -> bool {
        match self.0.iter().find(|(k, _)| k == name) {
            None => false,
            Some((_, value)) => !matches!(value.as_str(), "false" | "0" | "False" | "FALSE" | "f"),
        }
    }

    /// A number, or 400 as upstream's conversion of parameters answers.
    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>, Status> {
        self.get(name)
            .map(|text| {
                text.parse::<i64>().map_err(|_| {
                    Status::bad_request(format!(
                        "unable to decode query parameter {name}: strconv.ParseInt: parsing {text:?}: \
                         invalid syntax"
                    ))
                })
            })
            .transpose()
    }
}

fn unescape(text: &str, plus: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%')
            .then(|| {
                text.get(at + 1..at + 3)
                    .and_then(|h| u8::from_str_radix(h, 16).ok())
            })
            .flatten();
        match escaped {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(if plus && bytes[at] == b'+' {
                    b' '
                } else {
                    bytes[at]
                });
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// What is done to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

impl Verb {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }
}

/// A request for a resource.
#[derive(Clone, Debug)]
pub(crate) struct Info {
    /// Who asks; nobody known until it is said.
    pub(crate) identity: Arc<Identity>,
    pub(crate) verb: Verb,
    pub(crate) kind: &'static Kind,
    /// `None`: cluster-scoped, or all namespaces.
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<&'static Subresource>,
    pub(crate) query: Query,
}

impl Info {
    /// The name in the path; the routing guarantees it wherever it is called.
    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    pub(crate) fn key(&self, name: &str) -> crate::store::Key {
        let namespace = self.namespace.as_deref().unwrap_or_default();
        key(self.kind, namespace, name)
    }

    pub(crate) fn scope(&self) -> crate::store::Scope {
        crate::store::Scope {
            group: self.kind.storage_group.into(),
            resource: self.kind.plural.into(),
            namespace: self.namespace.as_deref().map(Into::into),
        }
    }
}

/// Where an object of a kind is stored.
pub(crate) fn key(kind: &Kind, namespace: &str, name: &str) -> crate::store::Key {
    crate::store::Key::new(kind.storage_group, kind.plural, namespace, name)
}

/// The segments of a path, decoded; `None` when one is empty in the middle or not plain.
pub(crate) fn segments(path: &str) -> Vec<String> {
    path.split('/')
        .filter(|s| !s.is_empty())
        .map(|s| unescape(s, false))
        .collect()
}

/// Parses a path below `/api/v1` or `/apis/{group}/{version}`. `rest` is what comes after it.
pub(crate) fn parse(
    method: &Method,
    group: &str,
    version: &str,
    rest: &[String],
    query: Query,
) -> Result<Info, Status> {
    let parts: Vec<&str> = rest.iter().map(String::as_str).collect();
    // `watch/` is the old way to ask for a watch.
    let (old_watch, parts) = match parts.as_slice() {
        ["watch", rest @ ..] if !rest.is_empty() => (true, rest),
        all => (false, all),
    };
    // `namespaces/x/pods/…` is in a namespace; `namespaces/x` and its subresources are not.
    let in_namespace = |sub: &str| {
        let kind = kind::find("", "v1", "namespaces");
        !(group.is_empty() && kind.is_some_and(|k| k.subresource(sub).is_some()))
    };
    let (namespace, parts) = match parts {
        ["namespaces", namespace, resource, rest @ ..] if in_namespace(resource) => {
            let mut parts = vec![*resource];
            parts.extend_from_slice(rest);
            (Some((*namespace).to_owned()), parts)
        }
        all => (None, all.to_vec()),
    };
    let [resource, rest @ ..] = parts.as_slice() else {
        return Err(Status::not_found_path());
    };
    let kind = kind::find(group, version, resource).ok_or_else(Status::not_found_path)?;
    let (name, subresource) = match rest {
        [] => (None, None),
        [name] => (Some((*name).to_owned()), None),
        [name, sub] => {
            let sub = kind.subresource(sub).ok_or_else(Status::not_found_path)?;
            (Some((*name).to_owned()), Some(sub))
        }
        _ => return Err(Status::not_found_path()),
    };
    let misplaced = if kind.namespaced {
        namespace.is_none() && name.is_some()
    } else {
        namespace.is_some()
    };
    if misplaced {
        return Err(Status::not_found_path());
    }
    let verb = verb(method, name.is_some(), old_watch, query.flag("watch"))
        .ok_or_else(Status::method_not_allowed_path)?;
    let allowed = subresource.map_or(kind.verbs, |s| s.verbs);
    if !allowed.contains(&verb.as_str())
        || (verb == Verb::Create && kind.namespaced && namespace.is_none())
    {
        return Err(Status::method_not_allowed_path());
    }
    Ok(Info {
        identity: Arc::new(Identity::anonymous()),
        verb,
        kind,
        namespace,
        name,
        subresource,
        query,
    })
}

fn verb(method: &Method, named: bool, old_watch: bool, watch: bool) -> Option<Verb> {
    Some(match (method.as_str(), named) {
        ("GET", _) if old_watch => Verb::Watch,
        // Of an object with a name, `watch` is no parameter.
        ("GET", true) => Verb::Get,
        ("GET", false) if watch => Verb::Watch,
        ("GET", false) => Verb::List,
        ("POST", _) => Verb::Create,
        ("PUT", true) => Verb::Update,
        ("PATCH", true) => Verb::Patch,
        ("DELETE", true) => Verb::Delete,
        ("DELETE", false) => Verb::DeleteCollection,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(method: &str, path: &str, query: &str) -> Result<String, u16> {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let parts = segments(path);
        let (group, version, rest) = match parts[0].as_str() {
            "api" => ("", parts[1].as_str(), &parts[2..]),
            _ => (parts[1].as_str(), parts[2].as_str(), &parts[3..]),
        };
        let info =
            parse(&method, group, version, rest, Query::parse(query)).map_err(|s| s.code())?;
        Ok(format!(
            "{} {} ns={} name={} sub={}",
            info.verb.as_str(),
            info.kind.plural,
            info.namespace.as_deref().unwrap_or("-"),
            info.name.as_deref().unwrap_or("-"),
            info.subresource.map_or("-", |s| s.name)
        ))
    }

    #[test]
    fn paths_become_requests() {
        let cases: &[(&str, &str, &str, Result<&str, u16>)] = &[
            ("GET", "/api/v1/pods", "", Ok("list pods ns=- name=- sub=-")),
            (
                "GET",
                "/api/v1/pods",
                "watch=true",
                Ok("watch pods ns=- name=- sub=-"),
            ),
            (
                "GET",
                "/api/v1/pods",
                "watch=0",
                Ok("list pods ns=- name=- sub=-"),
            ),
            (
                "GET",
                "/api/v1/watch/pods",
                "",
                Ok("watch pods ns=- name=- sub=-"),
            ),
            (
                "GET",
                "/api/v1/watch/namespaces/a/pods/b",
                "",
                Ok("watch pods ns=a name=b sub=-"),
            ),
            (
                "GET",
                "/api/v1/namespaces/a/pods/b",
                "watch=true",
                Ok("get pods ns=a name=b sub=-"),
            ),
            ("HEAD", "/api/v1/namespaces/a/pods/b", "", Err(405)),
            ("OPTIONS", "/api/v1/pods", "", Err(405)),
            (
                "GET",
                "/api/v1/namespaces/a/pods/b",
                "",
                Ok("get pods ns=a name=b sub=-"),
            ),
            (
                "GET",
                "/api/v1/namespaces/a/pods/b/log",
                "",
                Ok("get pods ns=a name=b sub=log"),
            ),
            (
                "POST",
                "/api/v1/namespaces/a/pods/b/binding",
                "",
                Ok("create pods ns=a name=b sub=binding"),
            ),
            (
                "GET",
                "/api/v1/namespaces/a",
                "",
                Ok("get namespaces ns=- name=a sub=-"),
            ),
            (
                "PUT",
                "/api/v1/namespaces/a/finalize",
                "",
                Ok("update namespaces ns=- name=a sub=finalize"),
            ),
            (
                "PATCH",
                "/api/v1/namespaces/a/status",
                "",
                Ok("patch namespaces ns=- name=a sub=status"),
            ),
            (
                "DELETE",
                "/apis/apps/v1/namespaces/a/deployments",
                "",
                Ok("deletecollection deployments ns=a name=- sub=-"),
            ),
            (
                "PATCH",
                "/apis/apps/v1/namespaces/a/deployments/b/scale",
                "",
                Ok("patch deployments ns=a name=b sub=scale"),
            ),
            ("GET", "/api/v1/namespaces/a/nodes", "", Err(404)),
            ("GET", "/api/v1/pods/b", "", Err(404)),
            ("GET", "/api/v1/nope", "", Err(404)),
            (
                "GET",
                "/api/v1/namespaces/a/pods/b/exec",
                "",
                Ok("get pods ns=a name=b sub=exec"),
            ),
            (
                "POST",
                "/api/v1/namespaces/a/pods/b/portforward",
                "",
                Ok("create pods ns=a name=b sub=portforward"),
            ),
            ("PUT", "/api/v1/namespaces/a/pods/b/attach", "", Err(405)),
            ("GET", "/api/v1/namespaces/a/pods/b/log/x", "", Err(404)),
            ("POST", "/api/v1/pods", "", Err(405)),
            ("PUT", "/api/v1/namespaces/a/pods", "", Err(405)),
            ("PATCH", "/api/v1/namespaces/a/pods/b/log", "", Err(405)),
            ("TRACE", "/api/v1/namespaces/a/pods/b", "", Err(405)),
            ("DELETE", "/api/v1/namespaces", "", Err(405)),
        ];
        for (method, path, query, want) in cases {
            let got = parsed(method, path, query);
            assert_eq!(
                got.as_deref().map_err(|e| *e),
                want.as_ref().copied().map_err(|e| *e),
                "{method} {path}?{query}"
            );
        }
    }

    #[test]
    fn queries_are_unescaped() {
        let query = Query::parse("labelSelector=a%3Db%2Cc%21%3Dd&limit=5&x=a+b&bad=%zz&e=&watch");
        assert_eq!(query.get("labelSelector"), Some("a=b,c!=d"));
        assert_eq!(query.get("x"), Some("a b"));
        assert_eq!(query.get("bad"), Some("%zz"));
        assert_eq!(query.get("e"), None);
        assert!(query.flag("watch"));
        assert_eq!(query.number("limit"), Ok(Some(5)));
        assert_eq!(query.number("x").unwrap_err().code(), 400);
    }
}
