//! Fields of a pod as the downward API says them, in environment variables ([`crate::env`]) and in
//! files ([`crate::volume`]).

use std::collections::BTreeMap;

use bramble_wire::object::{Pod, PodField};

use crate::desired::Host;

/// A field of a pod, as text. Labels and annotations as a whole exist as files only.
pub(crate) fn of_pod(host: &Host, pod: &Pod, address: Option<[u8; 4]>, field: &PodField) -> String {
    match field {
        PodField::Name => pod.name.name.clone(),
        PodField::Namespace => pod.name.namespace.clone(),
        PodField::Uid => pod.uid.to_string(),
        PodField::Label(key) => pod.labels.get(key).cloned().unwrap_or_default(),
        PodField::Annotation(key) => pod.annotations.get(key).cloned().unwrap_or_default(),
        PodField::NodeName => host.name.clone(),
        PodField::ServiceAccountName => pod.service_account.clone(),
        PodField::PodIp | PodField::PodIps => address.map(dotted).unwrap_or_default(),
        PodField::HostIp | PodField::HostIps => host.address.map(dotted).unwrap_or_default(),
        PodField::Labels => lines(&pod.labels),
        PodField::Annotations => lines(&pod.annotations),
    }
}

/// `key="value"` lines in order of the keys, values as Go's `%q` writes them
/// (`fieldpath.FormatMap`).
fn lines(map: &BTreeMap<String, String>) -> String {
    let lines: Vec<String> = map
        .iter()
        .map(|(key, value)| format!("{key}={}", quoted(value)))
        .collect();
    lines.join("\n")
}

/// A text as Go's `strconv.Quote` writes it.
fn quoted(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        let known = match c {
            '"' => "\\\"",
            '\\' => "\\\\",
            '\u{7}' => "\\a",
            '\u{8}' => "\\b",
            '\u{c}' => "\\f",
            '\n' => "\\n",
            '\r' => "\\r",
            '\t' => "\\t",
            '\u{b}' => "\\v",
            _ => "",
        };
        let code = u32::from(c);
        // Writing to a string can't fail.
        let _ = match c {
            _ if !known.is_empty() => write!(out, "{known}"),
            _ if is_printable(c) => write!(out, "{c}"),
            _ if c < ' ' || c == '\u{7f}' => write!(out, "\\x{code:02x}"),
            _ if code < 0x1_0000 => write!(out, "\\u{code:04x}"),
            _ => write!(out, "\\U{code:08x}"),
        };
    }
    out.push('"');
    out
}

/// Go's `strconv.IsPrint`: letters, marks, numbers, punctuation, symbols and the blank. The standard
/// library's escaping has the same table; behind a letter it leaves marks alone.
fn is_printable(c: char) -> bool {
    if c == '\'' {
        return true;
    }
    let mut pair = ['a', c].iter().collect::<String>();
    let before = pair.len();
    pair = pair.escape_debug().collect();
    pair.len() == before
}

pub(crate) fn dotted([a, b, c, d]: [u8; 4]) -> String {
    format!("{a}.{b}.{c}.{d}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_as_go_does() {
        let cases = [
            ("", r#""""#),
            ("plain", r#""plain""#),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("line\nnext\ttab\r", r#""line\nnext\ttab\r""#),
            ("\u{7}\u{8}\u{c}\u{b}", r#""\a\b\f\v""#),
            ("\u{1}\u{1f}\u{7f}", r#""\x01\x1f\x7f""#),
            ("é ü 世界 🦔", r#""é ü 世界 🦔""#),
            ("e\u{301}", "\"e\u{301}\""),
            (
                "\u{a0}\u{200b}\u{2028}\u{feff}",
                r#""\u00a0\u200b\u2028\ufeff""#,
            ),
            ("\u{e0001}", r#""\U000e0001""#),
            ("'", r#""'""#),
        ];
        for (text, expected) in cases {
            assert_eq!(quoted(text), expected, "{text:?}");
        }
    }

    #[test]
    fn maps_are_lines_in_order_of_their_keys() {
        let map = [("b", "2"), ("a", "1 \"x\""), ("c", "")];
        let map = map.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(lines(&map.into()), "a=\"1 \\\"x\\\"\"\nb=\"2\"\nc=\"\"");
        assert_eq!(lines(&BTreeMap::new()), "");
    }
}
