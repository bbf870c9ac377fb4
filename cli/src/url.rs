//! Addresses of controllers: `https://HOST[:PORT][/PATH]`, parsed once.

use std::fmt;
use std::str::FromStr;

/// Port of an address without one: where controllers listen unless told otherwise.
const DEFAULT_PORT: u16 = 6443;

/// An address of a controller's API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    /// Name or address, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Prefix of all paths: empty, or `/something` without a slash at its end.
    pub(crate) path: String,
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text, DEFAULT_PORT)
    }
}

impl Url {
    /// As written in a kubeconfig, where no port means that of HTTPS.
    pub(crate) fn of_kubeconfig(text: &str) -> Result<Self, String> {
        Self::parse(text, 443)
    }

    fn parse(text: &str, default_port: u16) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not an address like https://192.168.1.10:6443");
        let rest = match text.split_once("://") {
            Some(("https", rest)) => rest,
            Some(_) => return Err(format!("{text:?} must begin with https://")),
            None => text,
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let (host, port) = match authority.strip_prefix('[') {
            Some(inner) => {
                let (host, tail) = inner.split_once(']').ok_or_else(wrong)?;
                host.parse::<std::net::Ipv6Addr>().map_err(|_| wrong())?;
                match tail.strip_prefix(':') {
                    Some(port) => (host, Some(port)),
                    None if tail.is_empty() => (host, None),
                    None => return Err(wrong()),
                }
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let port = match port {
            Some(port) => port.parse().map_err(|_| wrong())?,
            None => default_port,
        };
        let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':');
        if host.is_empty() || !host.bytes().all(fine) || port == 0 {
            return Err(wrong());
        }
        // These go into request lines and files, so nothing but the plain characters of a path.
        let path = path.trim_end_matches('/');
        if !path
            .bytes()
            .all(|b| fine(b) || matches!(b, b'/' | b'%' | b'~'))
        {
            return Err(wrong());
        }
        Ok(Self {
            host: host.to_owned(),
            port,
            path: path.to_owned(),
        })
    }

    /// `host:port`, as in a Host header.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}{}", self.authority(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_every_usual_form() {
        for (text, want) in [
            ("https://10.0.0.1:6443", "https://10.0.0.1:6443"),
            ("https://10.0.0.1:6443/", "https://10.0.0.1:6443"),
            ("https://pi.lan", "https://pi.lan:6443"),
            ("pi.lan", "https://pi.lan:6443"),
            ("pi.lan:7443", "https://pi.lan:7443"),
            ("https://[fd00::1]:6443", "https://[fd00::1]:6443"),
            ("https://[::1]", "https://[::1]:6443"),
            ("https://proxy/k8s/c1/", "https://proxy:6443/k8s/c1"),
        ] {
            assert_eq!(text.parse::<Url>().unwrap().to_string(), want, "{text}");
        }
        let url = Url::of_kubeconfig("https://api.example").unwrap();
        assert_eq!(url.port, 443);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "https://",
            "http://10.0.0.1:6443",
            "https://10.0.0.1:x",
            "https://10.0.0.1:0",
            "https://10.0.0.1:70000",
            "https://fd00::1:6443",
            "https://[fd00::1",
            "https://[pi]:1",
            "https://[::1]x",
            "https://a b",
            "https://a\r\nx: y",
            "https://a/b c",
            "https://user@host",
        ] {
            assert!(text.parse::<Url>().is_err(), "{text:?}");
        }
    }
}
