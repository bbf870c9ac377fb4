//! Names of images: short forms become the full ones that Docker and Kubernetes mean by them.

/// Why a text names no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("couldn't parse image name {0:?}")]
pub struct Invalid(pub String);

/// Full form `host/path:tag` or `host/path@sha256:…` (a tag before a digest is dropped, as the
/// digest decides).
///
/// # Errors
/// [`Invalid`] for what Docker would not accept.
pub fn normalise(text: &str) -> Result<String, Invalid> {
    let invalid = || Invalid(text.to_owned());
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    let slash = rest.rfind('/').map_or(0, |i| i + 1);
    let (name, tag) = match rest[slash..].rfind(':') {
        Some(i) => (&rest[..slash + i], Some(&rest[slash + i + 1..])),
        None => (rest, None),
    };
    let (host, path) = match name.split_once('/') {
        Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => (first, path),
        _ => ("docker.io", name),
    };
    let path = if host == "docker.io" && !path.contains('/') {
        format!("library/{path}")
    } else {
        path.to_owned()
    };
    let host_ok = host
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b".-:".contains(&b));
    let host_ok = host_ok && host.as_bytes()[0].is_ascii_alphanumeric();
    if !host_ok || text.len() > 512 || !path.split('/').all(valid_component) {
        return Err(invalid());
    }
    match (digest, tag) {
        (Some(digest), _) if valid_digest(digest) => Ok(format!("{host}/{path}@{digest}")),
        (None, Some(tag)) if valid_tag(tag) => Ok(format!("{host}/{path}:{tag}")),
        (None, None) => Ok(format!("{host}/{path}:latest")),
        _ => Err(invalid()),
    }
}

fn valid_component(part: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    edge(part.bytes().next()) && edge(part.bytes().last()) && part.bytes().all(inner)
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
                &format!("x:1@{digest}"),
                &format!("docker.io/library/x@{digest}"),
            ),
        ] {
            assert_eq!(normalise(text).as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
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
            "é",
        ] {
            assert!(normalise(text).is_err(), "{text:?}");
        }
    }
}
