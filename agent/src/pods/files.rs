//! Small files under the run directory.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest termination message, as upstream.
const MESSAGE_MAX: usize = 4096;
/// Longest message taken from a log, and most lines, as upstream.
const LOG_END_MAX: usize = 2048;
const LOG_LINES_MAX: usize = 80;
/// So much of a log is read for them: each line has a time of 36 bytes and two tags before it.
const LOG_END_READ: usize = 8 * 1024;

/// Makes a directory and those above it, for root only.
pub(super) fn make_dir(path: &Path, mode: u32) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
}

/// Writes a file by rename, so that it is there whole or not at all.
pub(super) fn write(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write;
    if let Some(parent) = path.parent() {
        make_dir(parent, 0o755)?;
    }
    let new = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(mode)
        .open(&new)?;
    file.write_all(bytes)?;
    fs::rename(&new, path)
}

/// Writes a value by rename.
pub(super) fn write_record<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    write(path, 0o600, &bramble_wire::encode(value))
}

/// A value written by [`write_record`]; `None` when it is not there or not whole.
pub(super) fn read_record<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let bytes = fs::read(path).ok()?;
    bramble_wire::decode(&bytes, "record").ok()
}

/// The end of a termination message file.
pub(super) fn read_message(path: &Path) -> String {
    String::from_utf8_lossy(&read_end(path, MESSAGE_MAX)).into_owned()
}

/// The end of a log in CRI's format, as upstream takes it for a termination message: what the last
/// 80 lines said, at most 2048 bytes of it.
pub(super) fn read_log_end(path: &Path) -> String {
    log_end(&read_end(path, LOG_END_READ))
}

fn log_end(bytes: &[u8]) -> String {
    let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    let mut said = Vec::new();
    for line in &lines[lines.len().saturating_sub(LOG_LINES_MAX)..] {
        // Time, stream, whether the line is whole (`F`), text.
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let (_, _, tag, text) = (parts.next(), parts.next(), parts.next(), parts.next());
        let (Some(tag), Some(text)) = (tag, text) else {
            continue;
        };
        match text.split_last() {
            Some((b'\n', text)) if tag == b"P" => said.extend_from_slice(text),
            _ => said.extend_from_slice(text),
        }
    }
    let cut = said.len().saturating_sub(LOG_END_MAX);
    String::from_utf8_lossy(&said[cut..]).into_owned()
}

/// The last bytes of a file; of one that can't be read none.
fn read_end(path: &Path, max: usize) -> Vec<u8> {
    use std::io::{Read, Seek, SeekFrom};
    let read = || -> io::Result<Vec<u8>> {
        let mut file = fs::File::open(path)?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(max as u64)))?;
        let mut bytes = Vec::new();
        file.take(max as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().unwrap_or_default()
}

/// Names in a directory; one that is not there has none.
pub(super) fn names(path: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(path) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_what_it_said() {
        let line =
            |tag: &str, text: &str| format!("2026-01-01T00:00:00.000000000Z stderr {tag} {text}\n");
        let log = line("F", "one") + &line("P", "two ") + &line("F", "parts") + &line("F", "");
        assert_eq!(log_end(log.as_bytes()), "one\ntwo parts\n\n");
        // A line cut at the beginning of what was read says nothing.
        assert_eq!(
            log_end(format!("00Z\n{log}").as_bytes()),
            "one\ntwo parts\n\n"
        );
        let many: String = (0..200).map(|n| line("F", &n.to_string())).collect();
        assert!(log_end(many.as_bytes()).starts_with("120\n121\n"));
        let long = line("F", &"x".repeat(5000)) + &line("F", "end");
        let end = log_end(long.as_bytes());
        assert!(end.len() == LOG_END_MAX && end.ends_with("x\nend\n"));
    }
}
