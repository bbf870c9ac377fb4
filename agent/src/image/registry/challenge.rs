//! What a registry asks for when it answers 401 (`WWW-Authenticate`, RFC 9110 §11 as far as
//! registries use it).

/// A way to prove oneself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// Name and password with each request.
    Basic,
    /// A token from elsewhere.
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

/// The challenges of a header's values that are understood, in their order.
pub(super) fn parse<'a>(values: impl IntoIterator<Item = &'a str>) -> Vec<Challenge> {
    let mut out = Vec::new();
    for value in values {
        for (scheme, params) in split(value) {
            let get = |name: &str| {
                let mut found = params.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
                found.next().map(|(_, value)| value.clone())
            };
            if scheme.eq_ignore_ascii_case("basic") {
                out.push(Challenge::Basic);
            } else if scheme.eq_ignore_ascii_case("bearer")
                && let Some(realm) = get("realm")
            {
                out.push(Challenge::Bearer {
                    realm,
                    service: get("service"),
                    scope: get("scope"),
                });
            }
        }
    }
    out
}

type Params = Vec<(String, String)>;

/// Schemes with their parameters. A comma separates both parameters and challenges; a word that no
/// `=` follows begins a challenge.
fn split(value: &str) -> Vec<(String, Params)> {
    let mut out: Vec<(String, Params)> = Vec::new();
    let mut rest = value;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return out;
        }
        let end = rest.find(|c: char| !token(c)).unwrap_or(rest.len());
        if end == 0 {
            // Nothing that we know; what was understood so far counts.
            return out;
        }
        let (word, after) = rest.split_at(end);
        let after_space = after.trim_start_matches([' ', '\t']);
        match after_space.strip_prefix('=') {
            Some(raw) if !out.is_empty() => {
                let (text, left) = read_value(raw.trim_start_matches([' ', '\t']));
                if let Some((_, params)) = out.last_mut() {
                    params.push((word.to_owned(), text));
                }
                rest = left;
            }
            Some(_) => return out,
            None => {
                out.push((word.to_owned(), Params::new()));
                rest = after;
            }
        }
    }
}

fn token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

/// A quoted string or a token, and what follows.
fn read_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return (value.to_owned(), rest);
    };
    let mut out = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (out, &quoted[at + 1..]),
            '\\' => out.extend(chars.next().map(|(_, c)| c)),
            c => out.push(c),
        }
    }
    (out, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        }
    }

    #[test]
    fn challenges_of_registries_are_read() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/busybox:pull""#;
        let expected = bearer(
            "https://auth.docker.io/token",
            Some("registry.docker.io"),
            Some("repository:library/busybox:pull"),
        );
        assert_eq!(parse([hub]), [expected]);
        assert_eq!(parse([r#"Basic realm="x, y""#]), [Challenge::Basic]);
        assert_eq!(
            parse([r#"Negotiate, bearer REALM = a , Basic realm="q\"x""#]),
            [bearer("a", None, None), Challenge::Basic]
        );
        assert_eq!(parse(["Bearer service=x"]), []);
        assert_eq!(parse(["", "=", "\"", "é", "realm=x"]), []);
        assert_eq!(parse([r#"Bearer realm="a"#]), [bearer("a", None, None)]);
    }

    proptest! {
        #[test]
        fn any_text_ends(text in ".{0,100}") {
            let _ = parse([text.as_str()]);
        }

        #[test]
        fn any_text_of_the_alphabet_ends(text in "[bB, =\"\\\\a]{0,60}") {
            let challenges = parse([text.as_str(), "Bearer realm=r"]);
            prop_assert_eq!(challenges.last(), Some(&bearer("r", None, None)));
        }
    }
}
