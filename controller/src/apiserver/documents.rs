//! Discovery and OpenAPI documents: the same for everybody, so each carries a tag, and who has it
//! already is told so.
//!
//! Upstream: `ServeHTTPWithETag` (apiserver/pkg/endpoints/discovery/aggregated/etag.go) and
//! kube-openapi's handlers.

use std::sync::OnceLock;

use bramble_api::status::Status;
use bramble_api::{discovery, openapi};
use bytes::Bytes;
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_ENCODING, ETAG, HeaderValue, IF_NONE_MATCH, LOCATION, VARY,
};
use http::{HeaderMap, Response};

use super::gzip;
use super::request::Query;
use super::respond::{self, Body};

/// A document that stays the same while the program runs.
struct Document {
    body: Bytes,
    tag: String,
}

impl Document {
    fn new(body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let tag = blake3::hash(&body).to_hex().to_uppercase();
        Self { body, tag }
    }
}

/// `/api` or `/apis` in the form that names everything at once.
pub(crate) fn aggregated(groups: bool, headers: &HeaderMap) -> Response<Body> {
    static DOCUMENTS: OnceLock<[Document; 2]> = OnceLock::new();
    let documents = DOCUMENTS.get_or_init(|| {
        [discovery::aggregated_api(), discovery::aggregated_apis()]
            .map(|value| Document::new(value.to_string()))
    });
    let document = &documents[usize::from(groups)];
    tagged(
        headers,
        HeaderValue::from_static(discovery::AGGREGATED_V2),
        "public",
        &document.tag,
        || (document.body.clone(), false),
    )
}

/// `/openapi/v3`.
pub(crate) fn openapi_index(headers: &HeaderMap) -> Response<Body> {
    static INDEX: OnceLock<Document> = OnceLock::new();
    let index = INDEX.get_or_init(|| Document::new(openapi::v3_index()));
    tagged(headers, respond::JSON, "public", &index.tag, || {
        (index.body.clone(), false)
    })
}

/// `/openapi/v3/…`. The index names each with its hash; behind that, a document never changes.
pub(crate) fn openapi_v3(
    path: &str,
    query: &Query,
    headers: &HeaderMap,
) -> Result<Response<Body>, Status> {
    let document = openapi::v3_document(path).ok_or_else(Status::not_found_path)?;
    let cache = match query.get("hash") {
        None => "public",
        Some(hash) if hash == document.hash => "public, immutable",
        Some(_) => {
            let location = format!("/openapi/v3/{path}?hash={}", document.hash);
            let mut response = respond::text(301, Bytes::new());
            if let Ok(location) = HeaderValue::from_str(&location) {
                response.headers_mut().insert(LOCATION, location);
            }
            return Ok(response);
        }
    };
    Ok(generated(document, respond::JSON, cache, headers))
}

/// `/openapi/v2`, which old clients ask for in protobuf.
pub(crate) fn openapi_v2(headers: &HeaderMap) -> Response<Body> {
    let accept = headers.get(ACCEPT).and_then(|v| v.to_str().ok());
    if accept.is_some_and(|a| a.contains("proto-openapi.spec.v2")) {
        let content_type = HeaderValue::from_static(openapi::V2_PROTOBUF);
        generated(openapi::v2_protobuf(), content_type, "public", headers)
    } else {
        generated(openapi::v2_json(), respond::JSON, "public", headers)
    }
}

/// A document that is kept gzipped.
fn generated(
    document: &'static openapi::Document,
    content_type: HeaderValue,
    cache: &'static str,
    headers: &HeaderMap,
) -> Response<Body> {
    let zipped = gzip::accepted(headers);
    tagged(headers, content_type, cache, &document.hash, || {
        if zipped {
            (Bytes::from_static(&document.gzip), true)
        } else {
            (document.plain().into(), false)
        }
    })
}

/// An answer with a tag: 304 for who has it. `body` also says whether it is compressed already.
fn tagged(
    headers: &HeaderMap,
    content_type: HeaderValue,
    cache: &'static str,
    tag: &str,
    body: impl FnOnce() -> (Bytes, bool),
) -> Response<Body> {
    let quoted = format!("\"{tag}\"");
    let known = headers.get_all(IF_NONE_MATCH).iter().any(|value| {
        let mut tags = value.to_str().unwrap_or_default().split(',').map(str::trim);
        tags.any(|known| known == "*" || known.trim_start_matches("W/") == quoted)
    });
    let mut response = if known {
        respond::answer(304, content_type, respond::full(Bytes::new()))
    } else {
        let (bytes, zipped) = body();
        let zip = !zipped && bytes.len() >= gzip::THRESHOLD && gzip::accepted(headers);
        let bytes = if zip { gzip::compressed(&bytes) } else { bytes };
        let mut response = respond::answer(200, content_type, respond::full(bytes));
        if zip || zipped {
            let gzip = HeaderValue::from_static("gzip");
            response.headers_mut().insert(CONTENT_ENCODING, gzip);
        }
        response
    };
    let out = response.headers_mut();
    out.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    out.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    if let Ok(tag) = HeaderValue::from_str(&quoted) {
        out.insert(ETAG, tag);
    }
    response
}
