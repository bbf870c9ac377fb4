//! Acting as somebody else: `kubectl --as`, `--as-group`, `--as-uid`, `--as-user-extra`.
//!
//! Source: `staging/src/k8s.io/apiserver/pkg/endpoints/filters/impersonation`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bramble_api::status::Status;
use bramble_controller_core::rbac::{Attributes, Resource, policy};
use http::HeaderMap;

use super::super::authn::{ANONYMOUS, AUTHENTICATED, Identity, UNAUTHENTICATED};
use super::super::{Context, authorize};

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
const AUTHENTICATION: &str = "authentication.k8s.io";
/// More things than that to become at once are a mistake; each is authorized by itself.
const MOST: usize = 256;

/// Whom a request acts for: who sent it, or whom its headers name if the sender may be that.
///
/// # Errors
/// Upstream's 403, or its 500 for headers that name no user.
pub(crate) fn acting<'a>(
    ctx: &Context,
    identity: &'a Identity,
    headers: &HeaderMap,
) -> Result<Cow<'a, Identity>, Status> {
    let mut names = headers.keys().map(http::HeaderName::as_str);
    if !names.any(|name| name.starts_with("impersonate-")) {
        return Ok(Cow::Borrowed(identity));
    }
    let wanted = Wanted::read(headers)?;
    let Some(name) = wanted.user else {
        return Err(Status::internal(format!(
            "requested {} without impersonating a user",
            wanted.shown()
        )));
    };
    let may = |group: &str, resource: &str, subresource: &str, namespace: &str, name: &str| {
        let target = Resource {
            group,
            resource,
            subresource,
            namespace,
            name,
        };
        authorize::check(
            ctx,
            identity,
            &Attributes::resource("impersonate", target),
            None,
        )
    };
    let account = account(&name);
    match account {
        Some((namespace, name)) => may("", "serviceaccounts", "", namespace, name)?,
        None => may("", "users", "", "", &name)?,
    }
    for group in &wanted.groups {
        may("", "groups", "", "", group)?;
    }
    for (key, value) in wanted
        .extra
        .iter()
        .flat_map(|(k, v)| v.iter().map(move |v| (k, v)))
    {
        may(AUTHENTICATION, "userextras", key, "", value)?;
    }
    if let Some(uid) = &wanted.uid {
        may(AUTHENTICATION, "uids", "", "", uid)?;
    }
    let mut groups = match account {
        Some((namespace, _)) if wanted.groups.is_empty() => vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
        ],
        _ => wanted.groups,
    };
    let has = |groups: &[String], group: &str| groups.iter().any(|g| g == group);
    if name == ANONYMOUS {
        if !has(&groups, UNAUTHENTICATED) {
            groups.push(UNAUTHENTICATED.to_owned());
        }
    } else if !has(&groups, AUTHENTICATED) && !has(&groups, UNAUTHENTICATED) {
        groups.push(AUTHENTICATED.to_owned());
    }
    tracing::info!(user = identity.user, acts_as = name, "impersonation");
    Ok(Cow::Owned(Identity {
        user: name,
        uid: wanted.uid.unwrap_or_default(),
        groups,
        extra: wanted.extra,
    }))
}

/// Namespace and name of a service account's user name.
fn account(user: &str) -> Option<(&str, &str)> {
    let rest = user.strip_prefix("system:serviceaccount:")?;
    let (namespace, name) = rest.split_once(':')?;
    let whole = policy::account(namespace, name) == user && !name.contains(':');
    (whole && !namespace.is_empty() && !name.is_empty()).then_some((namespace, name))
}

#[derive(Debug, Default)]
struct Wanted {
    user: Option<String>,
    groups: Vec<String>,
    uid: Option<String>,
    extra: BTreeMap<String, Vec<String>>,
}

impl Wanted {
    fn read(headers: &HeaderMap) -> Result<Self, Status> {
        let mut wanted = Self::default();
        for (n, (name, value)) in headers.iter().enumerate() {
            if !name.as_str().starts_with("impersonate-") {
                continue;
            }
            if n >= MOST {
                return Err(Status::bad_request("too many headers"));
            }
            let value = std::str::from_utf8(value.as_bytes())
                .map_err(|_| Status::bad_request(format!("header {name} is not text")))?
                .to_owned();
            match name.as_str() {
                USER if wanted.user.is_some() || value.is_empty() => {}
                USER => wanted.user = Some(value),
                GROUP => wanted.groups.push(value),
                UID if wanted.uid.is_some() || value.is_empty() => {}
                UID => wanted.uid = Some(value),
                other => {
                    let Some(key) = other.strip_prefix(EXTRA) else {
                        continue;
                    };
                    let key = unescaped(key);
                    wanted.extra.entry(key).or_default().push(value);
                }
            }
        }
        Ok(wanted)
    }

    /// As upstream lists it.
    fn shown(&self) -> String {
        let groups = self.groups.iter().map(|group| format!("Group {group:?}"));
        let uid = self.uid.iter().map(|uid| format!("UID {uid:?}"));
        let extra = self.extra.keys().map(|key| format!("UserExtra {key:?}"));
        let all: Vec<String> = groups.chain(uid).chain(extra).collect();
        format!("[{}]", all.join(" "))
    }
}

/// A key as it was before `%` made it fit for a header's name; one that is not escaped stays.
fn unescaped(key: &str) -> String {
    let mut out = Vec::with_capacity(key.len());
    let mut rest = key.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first != b'%' {
            out.push(*first);
            rest = tail;
            continue;
        }
        let digits = tail.get(..2).and_then(|d| std::str::from_utf8(d).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => out.push(byte),
            None => return key.to_owned(),
        }
        rest = &tail[2..];
    }
    String::from_utf8(out).unwrap_or_else(|_| key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_told_from_users() {
        let cases = [
            ("system:serviceaccount:ns:bot", Some(("ns", "bot"))),
            ("system:serviceaccount:ns", None),
            ("system:serviceaccount::bot", None),
            ("system:serviceaccount:ns:", None),
            ("system:serviceaccount:ns:a:b", None),
            ("ann", None),
        ];
        for (user, want) in cases {
            assert_eq!(account(user), want, "{user}");
        }
    }

    #[test]
    fn keys_are_unescaped() {
        let cases = [
            ("scopes", "scopes"),
            ("acme.com%2fproject", "acme.com/project"),
            ("100%", "100%"),
            ("a%zz", "a%zz"),
            ("%ff", "%ff"),
        ];
        for (key, want) in cases {
            assert_eq!(unescaped(key), want, "{key}");
        }
    }
}
