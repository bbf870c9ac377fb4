//! Taking a backup while the controller runs.

use std::sync::Arc;

use super::archive::Writer;
use super::{Error, FORMAT, MANIFEST, Manifest, PKI, RECORDS};
use crate::object;
use crate::pki::Pki;
use crate::store::{Snapshot, Store};

/// Bytes of records in an entry, and so in memory at a time; a single object may be larger.
const PIECE: usize = 256 << 10;

/// A backup of now, as pieces of the file, each made when it is asked for. All of the state that it holds
/// is on disk before the first piece is there.
///
/// # Errors
/// [`Error`].
pub(crate) async fn take(
    store: &Arc<dyn Store>,
    pki: &Pki,
) -> Result<(Manifest, impl Iterator<Item = Vec<u8>> + Send + use<>), Error> {
    let snapshot = store.snapshot();
    store.settled(snapshot.revision()).wait().await?;
    let roots = pki.roots()?;
    let now = object::now();
    let manifest = Manifest {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        cluster: pki.cluster.as_str().to_owned(),
        epoch: snapshot.revision().epoch(),
        revision: snapshot.revision().0,
        time: now.rfc3339(),
    };
    let mut writer = Writer::new(u64::try_from(now.seconds).unwrap_or(0));
    let json = serde_json::to_vec(&manifest).map_err(|source| Error::Io {
        operation: "writing",
        path: MANIFEST.into(),
        source: source.into(),
    })?;
    let mut head = writer.entry(MANIFEST, &json);
    for (name, content) in roots {
        head.extend(writer.entry(&format!("{PKI}{name}"), &content));
    }
    let rest = Pieces {
        writer: Some(writer),
        snapshot,
        next: 0,
        number: 0,
    };
    Ok((manifest, std::iter::once(head).chain(rest)))
}

/// The records, in entries of about [`PIECE`] bytes, then the end.
struct Pieces {
    /// `None` after the end.
    writer: Option<Writer>,
    snapshot: Snapshot,
    /// The record that comes next.
    next: usize,
    number: u32,
}

impl Iterator for Pieces {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut piece = Vec::new();
        for record in self.snapshot.records_from(self.next) {
            let length = u32::try_from(record.len()).unwrap_or(u32::MAX);
            piece.extend(length.to_le_bytes());
            piece.extend(record);
            self.next += 1;
            if piece.len() >= PIECE {
                break;
            }
        }
        if piece.is_empty() {
            return self.writer.take().map(Writer::finish);
        }
        self.number += 1;
        let name = format!("{RECORDS}{:06}", self.number);
        Some(self.writer.as_mut()?.entry(&name, &piece))
    }
}
