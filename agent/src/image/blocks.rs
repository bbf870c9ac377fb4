//! The stream of an archive in whole blocks. Some tools (`umoci insert`) leave out what fills the last
//! block of the last file, and the end mark; every reader in use takes that, and so does this one. In
//! comes the stream, out come its bytes, then zeros to the end of the block; where the true end was is
//! told, so that a file that is cut is not taken for one that ends in zeros.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

const BLOCK: u64 = 512;

pub(super) struct Blocks<R> {
    inner: R,
    /// Bytes given out.
    given: u64,
    end: Rc<Cell<Option<u64>>>,
}

impl<R> Blocks<R> {
    pub(super) fn new(inner: R) -> Self {
        Self {
            inner,
            given: 0,
            end: Rc::default(),
        }
    }

    /// How many bytes there truly were, once the end was met.
    pub(super) fn end(&self) -> Rc<Cell<Option<u64>>> {
        Rc::clone(&self.end)
    }
}

impl<R: Read> Read for Blocks<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.end.get().is_none() && !buffer.is_empty() {
            let n = self.inner.read(buffer)?;
            self.given += n as u64;
            if n > 0 {
                return Ok(n);
            }
            self.end.set(Some(self.given));
        }
        let missing = (BLOCK - self.given % BLOCK) % BLOCK;
        let n = buffer.len().min(missing as usize);
        buffer[..n].fill(0);
        self.given += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use crate::image::Limits;
    use crate::image::layer::{Used, unpack};

    fn archive() -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, content) in [("first", [b'a'; 700]), ("last", [b'b'; 700])] {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            archive
                .append_data(&mut header, name, &content[..])
                .unwrap();
        }
        archive.into_inner().unwrap()
    }

    fn unpacked(bytes: &[u8]) -> Result<Vec<u8>, String> {
        let root = tempfile::tempdir().unwrap();
        let limits = Limits::default();
        unpack(bytes, root.path(), &limits, &mut Used::default()).map_err(|e| e.to_string())?;
        Ok(std::fs::read(root.path().join("last")).unwrap_or_default())
    }

    #[test]
    fn an_archive_may_end_with_the_last_byte_of_its_last_file() {
        let whole = archive();
        let content_ends = 512 + 1024 + 512 + 700;
        // Whole, without the mark of the end, and without what fills the block.
        for length in [
            whole.len(),
            512 + 1024 + 512 + 1024,
            content_ends + 1,
            content_ends,
        ] {
            assert_eq!(unpacked(&whole[..length]), Ok(vec![b'b'; 700]), "{length}");
        }
    }

    #[test]
    fn an_archive_that_ends_within_a_file_is_refused() {
        let whole = archive();
        for length in [
            512 + 1024 + 512 + 699,
            512 + 1024 + 512 + 512,
            512 + 1024 + 512 + 1,
        ] {
            let error = unpacked(&whole[..length]).unwrap_err();
            assert!(
                error.contains("last: the archive ends within it"),
                "{length}: {error}"
            );
        }
        let header = unpacked(&whole[..512 + 1024 + 200]).unwrap_err();
        assert!(header.contains("damaged tar archive"), "{header}");
    }
}
