//! Which credentials are for which image, by the kubelet's rules (`pkg/credentialprovider`): names
//! of hosts may hold wildcards, a path is a prefix, the most specific comes first.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::Deserialize;

/// What Docker Hub's credentials are stored under.
const HUB: &str = "index.docker.io";

/// Name and password; never logged.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").finish_non_exhaustive()
    }
}

impl Login {
    /// Value of an `Authorization` header.
    pub(super) fn basic(&self) -> String {
        let text = format!("{}:{}", self.user, self.password);
        format!("Basic {}", STANDARD.encode(text))
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    username: String,
    password: String,
    auth: String,
}

#[derive(Deserialize)]
struct ConfigJson {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

/// Logins by `host[/path]`.
#[derive(Debug, Default)]
pub(super) struct Keyring {
    entries: BTreeMap<String, Vec<Login>>,
}

impl Keyring {
    /// Adds the contents of a secret of type `kubernetes.io/dockerconfigjson`.
    ///
    /// # Errors
    /// What is wrong with it, without what it holds.
    pub(super) fn add_config_json(&mut self, json: &[u8]) -> Result<(), String> {
        let config: ConfigJson = serde_json::from_slice(json).map_err(position)?;
        self.add(config.auths)
    }

    /// Adds the contents of a secret of type `kubernetes.io/dockercfg`.
    ///
    /// # Errors
    /// What is wrong with it, without what it holds.
    pub(super) fn add_config(&mut self, json: &[u8]) -> Result<(), String> {
        self.add(serde_json::from_slice(json).map_err(position)?)
    }

    fn add(&mut self, entries: BTreeMap<String, Entry>) -> Result<(), String> {
        for (location, entry) in entries {
            let login = match entry.auth.as_str() {
                "" => Login {
                    user: entry.username,
                    password: entry.password,
                },
                auth => decode(auth).ok_or("an \"auth\" that is not base64 of user:password")?,
            };
            let rest = location
                .strip_prefix("https://")
                .or_else(|| location.strip_prefix("http://"))
                .unwrap_or(&location);
            let (host, path) = match rest.split_once('/') {
                Some((host, path)) => (host, path),
                None => (rest, ""),
            };
            // Versions of the registry's protocol mean the host.
            let path = path
                .strip_prefix("v1/")
                .or_else(|| path.strip_prefix("v2/"))
                .unwrap_or(path);
            if host.is_empty() {
                continue;
            }
            let key = match path {
                "" => host.to_owned(),
                path => format!("{host}/{path}"),
            };
            self.entries.entry(key).or_default().push(login);
        }
        Ok(())
    }

    /// Logins for a repository (`host/path`), the most promising first.
    pub(super) fn lookup(&self, repository: &str) -> Vec<Login> {
        let fits = |key: &String| matches(key, repository);
        let found = self.entries.iter().rev().filter(|(key, _)| fits(key));
        let mut logins: Vec<Login> = found.flat_map(|(_, logins)| logins.clone()).collect();
        if logins.is_empty() && repository.starts_with("docker.io/") {
            logins = self.entries.get(HUB).cloned().unwrap_or_default();
        }
        logins
    }
}

/// Where it is wrong, and not what stands there.
fn position(error: serde_json::Error) -> String {
    format!(
        "not a Docker configuration (line {}, column {})",
        error.line(),
        error.column()
    )
}

fn decode(auth: &str) -> Option<Login> {
    let auth = auth.trim();
    let bytes = match auth.ends_with('=') {
        true => STANDARD.decode(auth),
        false => STANDARD_NO_PAD.decode(auth),
    };
    let text = String::from_utf8(bytes.ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    // Some tools pad with zero bytes.
    let password = password.trim_end_matches('\0');
    Some(Login {
        user: user.to_owned(),
        password: password.to_owned(),
    })
}

/// `pattern` is `host[:port][/path]`; each part of the host may be a pattern of its own.
fn matches(pattern: &str, repository: &str) -> bool {
    let split = |text: &str| match text.split_once('/') {
        Some((host, path)) => (host.to_owned(), format!("/{path}")),
        None => (text.to_owned(), String::new()),
    };
    let ((pattern, prefix), (host, path)) = (split(pattern), split(repository));
    let port = |host: &str| match host.rsplit_once(':') {
        Some((host, port)) => (host.to_owned(), port.to_owned()),
        None => (host.to_owned(), String::new()),
    };
    let ((pattern, wanted), (host, port)) = (port(&pattern), port(&host));
    if wanted != port || !path.starts_with(&prefix) {
        return false;
    }
    let (patterns, parts): (Vec<_>, Vec<_>) =
        (pattern.split('.').collect(), host.split('.').collect());
    patterns.len() == parts.len()
        && patterns
            .iter()
            .zip(&parts)
            .all(|(pattern, part)| glob(pattern.as_bytes(), part.as_bytes()))
}

/// `*`, `?`; anything else means itself. Linear but for one star at a time.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(b'?') => {
                p += 1;
                t += 1;
            }
            Some(byte) if *byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keyring(entries: &[(&str, &str)]) -> Keyring {
        let auths: serde_json::Map<_, _> = entries
            .iter()
            .map(|(location, user)| {
                let auth = STANDARD.encode(format!("{user}:secret:{user}"));
                ((*location).to_owned(), serde_json::json!({ "auth": auth }))
            })
            .collect();
        let mut keyring = Keyring::default();
        let json = serde_json::json!({ "auths": auths, "credsStore": "x" });
        keyring
            .add_config_json(json.to_string().as_bytes())
            .unwrap();
        keyring
    }

    fn users(entries: &[(&str, &str)], repository: &str) -> String {
        let logins = keyring(entries).lookup(repository);
        let users: Vec<_> = logins.iter().map(|l| l.user.as_str()).collect();
        users.join(" ")
    }

    #[test]
    fn the_most_specific_login_comes_first() {
        let entries = [
            ("quay.io", "host"),
            ("quay.io/team", "team"),
            ("https://quay.io/team/app", "app"),
            ("*.lan:5000", "wild"),
            ("registry.lan", "no-port"),
            ("https://index.docker.io/v1/", "hub"),
            ("https://v2.io/v2/", "v2"),
        ];
        for (repository, expected) in [
            ("quay.io/team/app", "app team host"),
            ("quay.io/team/other", "team host"),
            ("quay.io/x", "host"),
            ("registry.lan:5000/x", "wild"),
            ("a.registry.lan:5000/x", ""),
            ("registry.lan/x", "no-port"),
            ("docker.io/library/busybox", "hub"),
            ("v2.io/x", "v2"),
            ("evil.io/quay.io/team", ""),
        ] {
            assert_eq!(users(&entries, repository), expected, "{repository}");
        }
    }

    #[test]
    fn logins_are_read_in_both_forms() {
        let mut keyring = Keyring::default();
        keyring
            .add_config(br#"{"a.b": {"username": "u", "password": "p", "email": "e"}}"#)
            .unwrap();
        let login = &keyring.lookup("a.b/c")[0];
        assert_eq!(login.basic(), "Basic dTpw");
        assert_eq!(format!("{login:?}"), "Login { .. }");
        let unpadded = br#"{"auths": {"x.y": {"auth": "dTpw"}}}"#;
        keyring.add_config_json(unpadded).unwrap();
        assert_eq!(keyring.lookup("x.y/c")[0].password, "p");
    }

    #[test]
    fn what_is_wrong_is_said_without_the_secret() {
        let mut keyring = Keyring::default();
        for json in [
            "{\"auths\": {\"a\": \"hunter2\"}}",
            "hunter2",
            "{\"auths\": {\"a\": {\"auth\": \"hunter2\"}}}",
        ] {
            let why = keyring.add_config_json(json.as_bytes()).unwrap_err();
            assert!(!why.contains("hunter2"), "{why}");
        }
    }

    proptest! {
        #[test]
        fn patterns_end(pattern in "[ab*?]{0,12}", text in "[ab]{0,20}") {
            // The plain definition, exponential and right.
            fn slow(pattern: &[u8], text: &[u8]) -> bool {
                match (pattern.split_first(), text.split_first()) {
                    (None, None) => true,
                    (Some((b'*', rest)), _) => {
                        slow(rest, text) || text.split_first().is_some_and(|(_, t)| slow(pattern, t))
                    }
                    (Some((b'?', rest)), Some((_, t))) => slow(rest, t),
                    (Some((p, rest)), Some((t, more))) => p == t && slow(rest, more),
                    _ => false,
                }
            }
            let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(glob(pattern, text), slow(pattern, text));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Keyring::default().add_config_json(&bytes);
            let _ = Keyring::default().add_config(&bytes);
        }
    }
}
