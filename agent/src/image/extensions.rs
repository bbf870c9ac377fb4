//! The stream of an archive whose extension headers are bounded. In comes the stream, out come the same
//! bytes, or an error before a header (a long name, attributes in pax's way) that no tool writes so
//! large: whoever reads the archive keeps such a header whole in memory.

use std::io::{self, Read};

const BLOCK: usize = 512;
/// The kernel's longest path is 4 KiB; pax has extended attributes as well, each of 64 KiB at most.
const MAX: u64 = 1 << 20;
/// Where in a header its size is, its kind, whether the map of a sparse file goes on in the next block,
/// and where that says so.
const SIZE: std::ops::Range<usize> = 124..136;
const KIND: usize = 156;
const GOES_ON: usize = 482;
const MAP_GOES_ON: usize = 504;

/// See the module.
pub(super) struct Extensions<R> {
    inner: R,
    header: Vec<u8>,
    /// Bytes until the next header.
    skip: u64,
    /// The map of a sparse file goes on in the next block.
    sparse: bool,
}

impl<R> Extensions<R> {
    pub(super) fn new(inner: R) -> Self {
        Self {
            inner,
            header: Vec::with_capacity(BLOCK),
            skip: 0,
            sparse: false,
        }
    }

    fn look(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let n = self.skip.min(bytes.len() as u64);
                self.skip -= n;
                bytes = &bytes[n as usize..];
                continue;
            }
            let n = bytes.len().min(BLOCK - self.header.len());
            self.header.extend_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            if self.header.len() == BLOCK {
                self.block()?;
                self.header.clear();
            }
        }
        Ok(())
    }

    /// A header, or a further block of the map of a sparse file, whose content follows the last.
    fn block(&mut self) -> io::Result<()> {
        if self.sparse {
            self.sparse = self.header[MAP_GOES_ON] != 0;
            return Ok(());
        }
        let size = number(&self.header[SIZE]);
        let kind = self.header[KIND];
        if matches!(kind, b'L' | b'K' | b'x' | b'X' | b'g') && size > MAX {
            let text = format!("an extension header of {size} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        self.sparse = kind == b'S' && self.header[GOES_ON] != 0;
        self.skip = size.saturating_add(BLOCK as u64 - 1) / BLOCK as u64 * BLOCK as u64;
        Ok(())
    }
}

/// Octal digits, or for large numbers the bytes themselves.
fn number(field: &[u8]) -> u64 {
    if field[0] & 0x80 != 0 {
        return (field[4..].iter()).fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    }
    let digits = field.iter().skip_while(|byte| **byte == b' ');
    digits
        .take_while(|byte| (b'0'..=b'7').contains(byte))
        .fold(0, |sum, digit| sum << 3 | u64::from(digit - b'0'))
}

impl<R: Read> Read for Extensions<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.look(&buffer[..n])?;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tar::{Archive, Builder, EntryType, Header};

    fn extension(kind: EntryType, size: u64) -> Header {
        let mut header = Header::new_gnu();
        header.set_path("././@LongLink").unwrap();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_cksum();
        header
    }

    fn first(archive: impl Read) -> io::Result<()> {
        let mut archive = Archive::new(Extensions::new(archive));
        let first = archive.entries()?.next().expect("an entry");
        first.map(drop)
    }

    #[test]
    fn extension_headers_that_nobody_writes_are_refused_before_they_are_read() {
        for kind in [
            EntryType::GNULongName,
            EntryType::GNULongLink,
            EntryType::XHeader,
        ] {
            for size in [MAX + 1, 5 << 30, 20 << 30] {
                let header = extension(kind, size);
                // Never so much memory as it asks for.
                let archive = header.as_bytes().chain(io::repeat(b'a')).take(16 << 20);
                let error = first(archive).unwrap_err();
                assert!(error.to_string().contains("extension header"), "{error}");
            }
        }
    }

    #[test]
    fn long_names_behind_files_of_any_length_are_read() {
        let long = "d/".repeat(200) + "name";
        let mut builder = Builder::new(Vec::new());
        for length in [0, 1, 511, 512, 513, 100_000] {
            let mut header = Header::new_gnu();
            header.set_size(length);
            header.set_mode(0o644);
            // What looks like a header with a large extension is content.
            let like = extension(EntryType::GNULongName, 1 << 30);
            let content = like.as_bytes().iter().copied().cycle();
            let content: Vec<u8> = content.take(length as usize).collect();
            builder
                .append_data(&mut header, &long, &content[..])
                .unwrap();
        }
        let bytes = builder.into_inner().unwrap();
        let mut archive = Archive::new(Extensions::new(&bytes[..]));
        let names = (archive.entries().unwrap()).map(|entry| {
            entry
                .unwrap()
                .path()
                .unwrap()
                .to_string_lossy()
                .into_owned()
        });
        assert_eq!(names.collect::<Vec<_>>(), vec![long; 6]);
    }
}
