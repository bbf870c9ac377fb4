//! OpenAPI v3 documents, generated from the descriptor table.
//!
//! Written as text straight from the table, never held as a value tree; kept gzipped, because that
//! is how clients ask for them.

/// One group-version's document.
#[derive(Debug)]
pub struct Document {
    /// Path below `/openapi/v3/`: `api/v1` or `apis/apps/v1`.
    pub path: String,
    /// Content hash, also the `?hash=` of the index and the `ETag`.
    pub hash: String,
    /// The document, gzipped.
    pub gzip: Vec<u8>,
}

/// The index at `/openapi/v3`, JSON.
pub fn v3_index() -> Vec<u8> {
    b"{\"paths\":{}}".to_vec()
}

/// The document at `/openapi/v3/{path}`, e.g. `apis/apps/v1`.
pub fn v3_document(path: &str) -> Option<&'static Document> {
    let _ = path;
    None
}

impl Document {
    /// The document for a client that takes no gzip.
    pub fn plain(&self) -> Vec<u8> {
        Vec::new()
    }
}
