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

/// A second as RFC 3339 without fraction, as the lines of a log begin; they compare as text.
pub(crate) fn timestamp(unix_s: i64) -> String {
    let secs = unix_s.max(0);
    let (days, rest) = (secs / 86_400, secs % 86_400);
    // Days since 1970-01-01 to a date of the Gregorian calendar (Hinnant's algorithm).
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    let day = doy - (153 * mp + 2) / 5 + 1;
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}
