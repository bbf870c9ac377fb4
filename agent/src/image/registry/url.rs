//! Addresses of registries: `http` and `https`, nothing else of the many things an URL can be.

/// An absolute address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url {
    /// TLS.
    pub(super) https: bool,
    /// Name or address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// Path and query, begins with `/`.
    pub(super) path: String,
}

impl Url {
    /// Reads an absolute address; `None` for anything that can't be asked.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let path = match path.starts_with('/') {
            true => path.to_owned(),
            false => format!("/{path}"),
        };
        // It goes into the first line of a request as it is. Names of users have no business here.
        if !path.bytes().all(|b| b.is_ascii_graphic()) || authority.contains('@') {
            return None;
        }
        let (host, port) = split_authority(authority)?;
        Some(Self {
            https,
            host,
            port: port.unwrap_or(if https { 443 } else { 80 }),
            path,
        })
    }

    /// An address of `host[:port]`.
    pub(super) fn of(https: bool, authority: &str, path: String) -> Option<Self> {
        let scheme = if https { "https" } else { "http" };
        Self::parse(&format!("{scheme}://{authority}{path}"))
    }

    /// What a `Location` means that came from here.
    pub(super) fn join(&self, location: &str) -> Option<Self> {
        if location.contains("://") {
            return Self::parse(location);
        }
        if let Some(rest) = location.strip_prefix("//") {
            let scheme = if self.https { "https" } else { "http" };
            return Self::parse(&format!("{scheme}://{rest}"));
        }
        if !location.starts_with('/') || !location.bytes().all(|b| b.is_ascii_graphic()) {
            return None;
        }
        Some(Self {
            path: location.to_owned(),
            ..self.clone()
        })
    }

    /// `host`, or `host:port` where the port is not the usual one.
    pub(super) fn authority(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match (self.https, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }

    /// The same server, by the same protocol.
    pub(super) fn same_origin(&self, other: &Self) -> bool {
        (self.https, self.port) == (other.https, other.port)
            && self.host.eq_ignore_ascii_case(&other.host)
    }
}

fn split_authority(authority: &str) -> Option<(String, Option<u16>)> {
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    let (host, rest) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, rest)
        }
        None => {
            let end = authority.find(':').unwrap_or(authority.len());
            let (host, rest) = authority.split_at(end);
            let ok = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
            if host.is_empty() || !host.bytes().all(ok) {
                return None;
            }
            (host, rest)
        }
    };
    let port = match rest.strip_prefix(':') {
        Some(text) => Some(port(text)?),
        None if rest.is_empty() => None,
        None => return None,
    };
    Some((host.to_owned(), port))
}

/// Text as a value in a query.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b':' => {
                out.push(byte.into());
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn show(url: Option<Url>) -> String {
        url.map_or("none".into(), |url| {
            let scheme = if url.https { "https" } else { "http" };
            format!("{scheme} {} {}", url.authority(), url.path)
        })
    }

    #[test]
    fn addresses_are_read() {
        for (text, expected) in [
            ("https://a.b/v2/", "https a.b /v2/"),
            ("HTTPS://a.b:443", "https a.b /"),
            ("http://a:5000?x=1", "http a:5000 /?x=1"),
            ("http://[::1]:5000/x#y", "http [::1]:5000 /x"),
            ("ftp://a/", "none"),
            ("http://u:p@a/", "none"),
            ("http:///x", "none"),
            ("http://a:0/", "none"),
            ("http://a b/", "none"),
            ("http://a/x y", "none"),
            ("http://a/x\r\nEvil: 1", "none"),
            ("a/b", "none"),
        ] {
            assert_eq!(show(Url::parse(text)), expected, "{text:?}");
        }
    }

    #[test]
    fn a_location_is_relative_to_where_it_came_from() {
        let from = Url::parse("https://a:5000/v2/x").unwrap();
        for (location, expected) in [
            ("/y?z", "https a:5000 /y?z"),
            ("//b/y", "https b /y"),
            ("http://b/y", "http b /y"),
            ("y", "none"),
            ("/y\r\n", "none"),
        ] {
            assert_eq!(show(from.join(location)), expected, "{location:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_safe_to_send(text in ".{0,60}") {
            for url in [Url::parse(&text), Url::parse(&format!("https://{text}"))].into_iter().flatten() {
                let line = format!("{}{}", url.authority(), url.path);
                prop_assert!(line.bytes().all(|b| b.is_ascii_graphic()), "{line:?}");
                let again = Url::of(url.https, &url.authority(), url.path.clone());
                prop_assert_eq!(again, Some(url));
            }
            prop_assert!(escape(&text).bytes().all(|b| b.is_ascii_graphic() && b != b'&'));
        }
    }
}
