//! Names of images: short forms become the full ones that Docker and Kubernetes mean by them.

/// Longest name of a repository with its host, as Docker has it.
const NAME_MAX: usize = 255;

/// Why a text names no image, in the words of Docker's parser, which Kubernetes shows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// No name at all.
    #[error("invalid reference format")]
    Format,
    /// Upper case in a repository.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    UpperCase(String),
    /// Too long.
    #[error("repository name must not be more than {NAME_MAX} characters")]
    TooLong,
}

/// A name of an image in full form.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// Registry, `docker.io` or `host:port`.
    pub host: String,
    /// Repository, `library/busybox`.
    pub path: String,
    /// Tag, unless a digest decides.
    pub tag: Option<String>,
    /// Digest of a manifest or index.
    pub digest: Option<String>,
}

impl Reference {
    /// Reads a name as Docker and Kubernetes mean it: without a host it is Docker Hub's, without a
    /// tag `latest`. A tag before a digest is dropped, as the digest decides.
    ///
    /// # Errors
    /// [`Invalid`] for what Docker would not accept.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        let slash = rest.rfind('/').map_or(0, |i| i + 1);
        let (name, tag) = match rest[slash..].rfind(':') {
            Some(i) => (&rest[..slash + i], Some(&rest[slash + i + 1..])),
            None => (rest, None),
        };
        let named_host = |first: &str| {
            first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|b| b.is_ascii_uppercase())
        };
        let (host, path) = match name.split_once('/') {
            // Docker Hub's old name.
            Some(("index.docker.io", path)) => ("docker.io", path),
            Some((first, path)) if named_host(first) => (first, path),
            _ => ("docker.io", name),
        };
        let path = if host == "docker.io" && !path.contains('/') {
            format!("library/{path}")
        } else {
            path.to_owned()
        };
        if !valid_host(host) || !path.to_ascii_lowercase().split('/').all(valid_component) {
            return Err(Invalid::Format);
        }
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(Invalid::UpperCase(path));
        }
        if host.len() + 1 + path.len() > NAME_MAX {
            return Err(Invalid::TooLong);
        }
        // A tag that is dropped must be one, too.
        if tag.is_some_and(|tag| !valid_tag(tag)) || digest.is_some_and(|d| !valid_digest(d)) {
            return Err(Invalid::Format);
        }
        Ok(Self {
            host: host.to_owned(),
            path,
            tag: match digest {
                Some(_) => None,
                None => Some(tag.unwrap_or("latest").to_owned()),
            },
            digest: digest.map(str::to_owned),
        })
    }

    /// Host and repository: what credentials are looked up by.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.host, self.path)
    }

    /// What a registry is asked for.
    pub fn version(&self) -> &str {
        let tag = || self.tag.as_deref().unwrap_or("latest");
        self.digest.as_deref().unwrap_or_else(tag)
    }

    /// The same repository at a digest.
    pub fn at(&self, digest: &str) -> Self {
        Self {
            tag: None,
            digest: Some(digest.to_owned()),
            ..self.clone()
        }
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.host, self.path)?;
        match (&self.digest, &self.tag) {
            (Some(digest), _) => write!(f, "@{digest}"),
            (None, Some(tag)) => write!(f, ":{tag}"),
            (None, None) => Ok(()),
        }
    }
}

/// Full form `host/path:tag` or `host/path@sha256:…`.
///
/// # Errors
/// [`Invalid`] for what Docker would not accept.
pub fn normalise(text: &str) -> Result<String, Invalid> {
    Ok(Reference::parse(text)?.to_string())
}

/// Name or address, and a port or none. Names with underscores are in use, IPv6 is in brackets.
fn valid_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let Some((address, port)) = rest.split_once(']') else {
                return false;
            };
            let hex = |b: u8| b.is_ascii_hexdigit() || b == b':';
            if address.is_empty() || !address.bytes().all(hex) {
                return false;
            }
            return port.is_empty() || port.strip_prefix(':').is_some_and(valid_port);
        }
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    let label = |label: &str| {
        let ok = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(ok)
    };
    name.split('.').all(label) && port.is_none_or(valid_port)
}

fn valid_port(port: &str) -> bool {
    port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// Letters and digits, with `.`, `_`, `__` or dashes between them.
fn valid_component(part: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let between =
        |run: &str| matches!(run, "" | "." | "_" | "__") || run.bytes().all(|b| b == b'-');
    part.starts_with(plain) && part.ends_with(plain) && part.split(plain).all(between)
}

fn valid_tag(tag: &str) -> bool {
    let ok = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    !tag.is_empty() && tag.len() <= 128 && !tag.starts_with(['.', '-']) && tag.bytes().all(ok)
}

/// `sha256:` and 64 lower-case hexadecimal digits: it also becomes a file name.
pub fn valid_digest(digest: &str) -> bool {
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    digest
        .strip_prefix("sha256:")
        .is_some_and(|h| h.len() == 64 && h.bytes().all(hex))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_become_full_ones() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, want) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("busybox:1.36", "docker.io/library/busybox:1.36"),
            ("me/tool", "docker.io/me/tool:latest"),
            ("bramble.test/hello:v1", "bramble.test/hello:v1"),
            ("localhost/x", "localhost/x:latest"),
            ("10.0.0.1:5000/a/b:c", "10.0.0.1:5000/a/b:c"),
            ("localhost:5000/x", "localhost:5000/x:latest"),
            (
                "index.docker.io/busybox",
                "docker.io/library/busybox:latest",
            ),
            ("[::1]:5000/x", "[::1]:5000/x:latest"),
            ("Host/x", "Host/x:latest"),
            (
                &format!("x:1@{digest}"),
                &format!("docker.io/library/x@{digest}"),
            ),
        ] {
            assert_eq!(normalise(text).as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_in_dockers_words() {
        for text in [
            "",
            "UPPER",
            "a b",
            "a:",
            "a:-x",
            "../a",
            "a//b",
            "/a",
            "a/",
            "a@sha256:12",
            "a@x",
            "x:1:2",
            "host:0/a",
            "host:99999/a",
            "-host.lan/a",
            "[::1/a",
            "a:-x@sha256:0000000000000000000000000000000000000000000000000000000000000000",
            "é",
        ] {
            assert!(normalise(text).is_err(), "{text:?}");
        }
        let why = |text: &str| normalise(text).unwrap_err().to_string();
        assert_eq!(why("a b"), "invalid reference format");
        assert_eq!(
            why("Upper"),
            "invalid reference format: repository name (library/Upper) must be lowercase"
        );
        assert_eq!(
            why(&"a".repeat(300)),
            "repository name must not be more than 255 characters"
        );
    }

    proptest::proptest! {
        #[test]
        fn a_full_name_means_itself(text in "[a-zA-Z0-9:/@._-]{0,40}") {
            if let Ok(full) = normalise(&text) {
                proptest::prop_assert_eq!(normalise(&full), Ok(full.clone()));
                // It becomes part of requests and messages: no space, no way up.
                proptest::prop_assert!(!full.split('/').any(|part| part.starts_with("..")));
                proptest::prop_assert!(full.is_ascii() && !full.contains(' '));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,80}") {
            let _ = normalise(&text);
        }
    }
}
