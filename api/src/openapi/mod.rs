//! OpenAPI documents, generated from the descriptor table: v3 for each group-version, v2 for all.
//!
//! What clients need from them: schemas with the merge keys (without them `kubectl apply` silently
//! sends wrong patches), which group, version and kind a schema is, and that patch operations know
//! `dryRun` and `fieldValidation`. Each document is made when it is first asked for, written straight
//! into a compressor, one definition at a time, and kept only gzipped, because that is how clients
//! ask for it.

mod operation;
mod protobuf;
mod schema;
#[cfg(test)]
mod tests;
mod words;
mod words_kinds;

use crate::discovery::KUBERNETES_VERSION;
use crate::kind::{KINDS, Kind, group_versions};
use flate2::Compression;
use flate2::write::GzEncoder;
use schema::Version;
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::sync::OnceLock;

/// A document.
#[derive(Debug)]
pub struct Document {
    /// Path below `/openapi/v3/`: `api/v1` or `apis/apps/v1`; empty for v2.
    pub path: String,
    /// Content hash, also the `?hash=` of the index and the `ETag`.
    pub hash: String,
    /// The document, gzipped.
    pub gzip: Vec<u8>,
}

/// Content type of the OpenAPI v2 document in protobuf.
pub const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// The index names the hash of each, so all of v3 is made at once.
fn documents() -> &'static [Document] {
    static DOCUMENTS: OnceLock<Vec<Document>> = OnceLock::new();
    DOCUMENTS.get_or_init(|| {
        let all = group_versions().into_iter();
        all.map(|(group, version)| v3(group, version)).collect()
    })
}

/// The index at `/openapi/v3`, JSON.
pub fn v3_index() -> Vec<u8> {
    let paths: serde_json::Map<String, Value> = documents()
        .iter()
        .map(|Document { path, hash, .. }| {
            let url = format!("/openapi/v3/{path}?hash={hash}");
            (path.clone(), json!({"serverRelativeURL": url}))
        })
        .collect();
    json!({"paths": paths}).to_string().into_bytes()
}

/// The document at `/openapi/v3/{path}`, e.g. `apis/apps/v1`.
pub fn v3_document(path: &str) -> Option<&'static Document> {
    documents().iter().find(|d| d.path == path)
}

/// The document at `/openapi/v2` in JSON: all groups in one.
pub fn v2_json() -> &'static Document {
    static DOCUMENT: OnceLock<Document> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        let kinds: Vec<&'static Kind> = KINDS.iter().collect();
        let mut out = Writer::new();
        out.text("{\"swagger\":\"2.0\",");
        out.head();
        out.paths(&kinds, Version::V2);
        out.text("},\"definitions\":{");
        out.definitions(&kinds, Version::V2);
        out.text("}}");
        out.finish(String::new())
    })
}

/// The same in protobuf. Clients older than v3 read nothing else, and those that are not ask for it
/// when v3 does not know a kind.
pub fn v2_protobuf() -> &'static Document {
    static DOCUMENT: OnceLock<Document> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        let kinds: Vec<&'static Kind> = KINDS.iter().collect();
        let mut info = protobuf::Message::default();
        info.text(1, "Kubernetes");
        info.text(2, KUBERNETES_VERSION);
        let mut paths = protobuf::Message::default();
        for path in kinds.iter().flat_map(|kind| operation::paths(kind)) {
            paths.named(2, &path.path, &protobuf::path(&path));
        }
        let mut definitions = protobuf::Message::default();
        schema::definitions(&kinds, |name, schema| {
            definitions.named(1, name, &protobuf::schema(&schema));
        });
        let mut document = protobuf::Message::default();
        document.text(1, "2.0");
        document.message(2, &info);
        document.message(8, &paths);
        drop(paths);
        document.message(9, &definitions);
        drop(definitions);
        let mut out = Writer::new();
        out.bytes(&document.finish());
        out.finish(String::new())
    })
}

/// Where a group-version is served, without the first slash.
fn root(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("api/{version}")
    } else {
        format!("apis/{group}/{version}")
    }
}

fn v3(group: &str, version: &str) -> Document {
    let kinds: Vec<&'static Kind> = KINDS
        .iter()
        .filter(|k| k.group == group && k.version == version)
        .collect();
    let mut out = Writer::new();
    out.text("{\"openapi\":\"3.0.0\",");
    out.head();
    out.paths(&kinds, Version::V3);
    out.text("},\"components\":{\"schemas\":{");
    out.definitions(&kinds, Version::V3);
    out.text("}}}");
    out.finish(root(group, version))
}

impl Document {
    /// The document for a client that takes no gzip.
    pub fn plain(&self) -> Vec<u8> {
        let mut out = Vec::new();
        // Our own gzip, checked by a test; a failure would show as an empty document.
        let _ = flate2::read::GzDecoder::new(self.gzip.as_slice()).read_to_end(&mut out);
        out
    }
}

/// Compresses and hashes what is written.
struct Writer {
    encoder: GzEncoder<Vec<u8>>,
    /// 128 bits of FNV-1a: only has to differ when the text does.
    hash: u128,
}

impl Writer {
    fn new() -> Self {
        Self {
            encoder: GzEncoder::new(Vec::new(), Compression::best()),
            hash: 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d,
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u128::from(*byte))
                .wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
        // Writing into a vector cannot fail.
        let _ = self.encoder.write_all(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn entry(&mut self, first: &mut bool, name: &str, value: &Value) {
        let comma = if std::mem::take(first) { "" } else { "," };
        self.text(&format!("{comma}{}:{value}", Value::from(name)));
    }

    fn head(&mut self) {
        let info = json!({"title": "Kubernetes", "version": KUBERNETES_VERSION});
        self.text(&format!("\"info\":{info},\"paths\":{{"));
    }

    fn paths(&mut self, kinds: &[&'static Kind], version: Version) {
        let mut first = true;
        for path in kinds.iter().flat_map(|kind| operation::paths(kind)) {
            self.entry(&mut first, &path.path, &path.to_json(version));
        }
    }

    fn definitions(&mut self, kinds: &[&'static Kind], version: Version) {
        let mut first = true;
        schema::definitions(kinds, |name, schema| {
            self.entry(&mut first, name, &schema.to_json(version));
        });
    }

    fn finish(self, path: String) -> Document {
        let mut gzip = self.encoder.finish().unwrap_or_default();
        gzip.shrink_to_fit();
        Document {
            path,
            hash: format!("{:032X}", self.hash),
            gzip,
        }
    }
}
