//! Files as text, for samples that are kept: a line each with name, size and content in hex, without the
//! zeroes at its end.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Files as lines of text.
#[must_use]
pub fn render(files: &BTreeMap<String, Vec<u8>>) -> String {
    let mut text = String::new();
    for (name, bytes) in files {
        let used = bytes.iter().rposition(|byte| *byte != 0);
        let used = used.map_or(0, |last| last + 1);
        let _ = write!(text, "{name} {} ", bytes.len());
        for byte in &bytes[..used] {
            let _ = write!(text, "{byte:02x}");
        }
        text.push('\n');
    }
    text
}

/// The files that lines of text stand for; `None` when one does not stand for a file.
#[must_use]
pub fn parse(text: &str) -> Option<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for line in text.lines() {
        let mut parts = line.split(' ');
        let (name, size, hex) = (parts.next()?, parts.next()?, parts.next()?);
        let digits = hex.as_bytes().chunks(2);
        let bytes = digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        let mut bytes = bytes.collect::<Option<Vec<u8>>>()?;
        bytes.resize(size.parse().ok()?, 0);
        files.insert(name.to_owned(), bytes);
    }
    Some(files)
}
