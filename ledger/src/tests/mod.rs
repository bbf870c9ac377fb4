//! Tests of the log over the harness.

mod crash;
mod damage;
mod disk;
mod format;
mod space;

use crate::{Error, Ledger, Media, Options, Origin};

/// Deliberate mistakes, to see that the harness finds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    None,
    /// Acknowledges a batch that was written but not synced.
    AckBeforeSync,
}

/// Small enough that a short run fills several segments.
const SMALL: Options = Options {
    segment_bytes: 1024,
    max_record: 700,
    max_batch: 2048,
    compact_bytes: 2000,
};

/// A caller of the ledger: its state is how many records it has ever appended.
struct Counter<M: Media> {
    ledger: Ledger<M>,
    count: u64,
}

impl<M: Media> Counter<M> {
    /// Opens, checking that records come back whole and in order.
    fn open(media: M) -> Result<Self, Error> {
        Self::open_with(media, SMALL)
    }

    fn open_with(media: M, options: Options) -> Result<Self, Error> {
        let mut count = 0;
        let mut padding = None;
        let ledger = Ledger::open_on(media, options, |origin, record| {
            let number = number(record).ok_or("not one of our records")?;
            match (origin, padding) {
                // A snapshot counts down from the state's size to 0, then names the state.
                (Origin::Snapshot, None) => padding = Some(number),
                (Origin::Snapshot, Some(1)) => {
                    padding = Some(0);
                    count = number;
                }
                (Origin::Snapshot, Some(left)) if number + 1 == left => padding = Some(number),
                (Origin::Log, None | Some(0)) if number == count + 1 => count = number,
                other => return Err(format!("{number} after {count}, {other:?}").into()),
            }
            Ok(())
        })?;
        Ok(Self { ledger, count })
    }

    /// Appends `records` as one batch.
    fn add(&mut self, records: u64) -> Result<(), Error> {
        for number in self.count + 1..=self.count + records {
            self.ledger.append(&record(number))?;
        }
        self.ledger.sync()?;
        self.count += records;
        Ok(())
    }

    fn compact(&mut self) -> Result<(), Error> {
        let padding = 5;
        let records = (1..=padding).rev().chain([self.count]).map(record);
        self.ledger.compact(records)
    }
}

/// A record with its number inside, and of a length and filling that depend on it.
fn record(number: u64) -> Vec<u8> {
    let length = [9, 40, 180, 600][number as usize % 4];
    let mut record = number.to_le_bytes().to_vec();
    record.resize(length, number as u8 | 1);
    record
}

fn number(bytes: &[u8]) -> Option<u64> {
    let number = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
    (record(number) == bytes).then_some(number)
}
