//! Where the last lines of a log begin, and time stamps as its lines carry them.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

/// Read backwards in pieces of this size.
const BLOCK: u64 = 8 * 1024;

/// Drops files and seeks in the first that stays, so that `lines` lines are left to read.
pub(super) fn seek(files: &mut Vec<File>, mut lines: u64) -> io::Result<()> {
    for index in (0..files.len()).rev() {
        match last_lines(&mut files[index], lines)? {
            Found::Offset(offset) => {
                files[index].seek(SeekFrom::Start(offset))?;
                files.drain(..index);
                return Ok(());
            }
            Found::Fewer(here) => {
                files[index].seek(SeekFrom::Start(0))?;
                lines -= here;
            }
        }
    }
    Ok(())
}

enum Found {
    /// The wanted lines begin here.
    Offset(u64),
    /// The whole file has only so many.
    Fewer(u64),
}

fn last_lines(file: &mut File, lines: u64) -> io::Result<Found> {
    let end = file.metadata()?.len();
    if lines == 0 {
        return Ok(Found::Offset(end));
    }
    let mut position = end;
    let mut count = 0;
    let mut block = vec![0; BLOCK as usize];
    while position > 0 {
        let start = position.saturating_sub(BLOCK);
        let block = &mut block[..(position - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(block)?;
        for (i, byte) in block.iter().enumerate().rev() {
            if *byte == b'\n' {
                // The end of the line before the wanted ones.
                if count == lines {
                    return Ok(Found::Offset(start + i as u64 + 1));
                }
                count += 1;
            }
        }
        position = start;
    }
    if count == lines {
        Ok(Found::Offset(0))
    } else {
        Ok(Found::Fewer(count))
    }
}
