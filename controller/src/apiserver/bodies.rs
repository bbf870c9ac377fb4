//! Reading a request's body: bounded in size and in time.

use std::time::Duration;

use bramble_api::status::Status;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::runtime::Handle;

use super::{Limits, gzip};

/// What is still taken of a body that nobody wants, before the connection is closed.
const DRAIN_BYTES: usize = 8 * 1024 * 1024;
/// How long it is taken.
const DRAIN: Duration = Duration::from_secs(2);

/// The body of a request.
///
/// Closing a connection while its client still writes loses the answer: the kernel resets it, and
/// clients report that instead of our refusal. So what is left over is read and thrown away for a
/// moment, while the answer is on its way.
#[derive(Debug)]
pub(crate) struct Arriving(Option<Incoming>);

impl From<Incoming> for Arriving {
    fn from(body: Incoming) -> Self {
        Self(Some(body))
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let left = self.0.take().filter(|body| !body.is_end_stream());
        if let (Some(body), Ok(runtime)) = (left, Handle::try_current()) {
            // It ends with the connection, if that goes first.
            runtime.spawn(tokio::time::timeout(DRAIN, drain(body)));
        }
    }
}

async fn drain(mut body: Incoming) {
    let mut left = DRAIN_BYTES;
    while let Some(Ok(frame)) = body.frame().await {
        let size = frame.data_ref().map_or(0, Bytes::len);
        let Some(rest) = left.checked_sub(size) else {
            return;
        };
        left = rest;
    }
}

/// The whole body, unpacked.
pub(crate) async fn read(
    mut body: Arriving,
    headers: &HeaderMap,
    limits: &Limits,
) -> Result<Bytes, Status> {
    let max = limits.body_bytes;
    let encoding = headers.get(CONTENT_ENCODING);
    let encoding = encoding.map_or("identity", |v| v.to_str().unwrap_or("?"));
    if !matches!(encoding, "identity" | "gzip") {
        return Err(Status::unsupported_encoding(encoding));
    }
    let too_large = || Status::too_large(format!("limit is {max}"));
    let Some(incoming) = &mut body.0 else {
        return Ok(Bytes::new());
    };
    if incoming.size_hint().lower() > max as u64 {
        return Err(too_large());
    }
    let collect = async {
        let mut whole = BytesMut::new();
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(|e| Status::bad_request(format!("reading the body: {e}")))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if whole.len() + data.len() > max {
                return Err(too_large());
            }
            whole.extend_from_slice(&data);
        }
        Ok(whole.freeze())
    };
    match tokio::time::timeout(limits.body, collect).await {
        Ok(result) => decoded(result?, encoding, max),
        Err(_) => Err(Status::timeout(
            "Timeout: request did not complete within the allotted timeout",
            0,
        )),
    }
}

fn decoded(body: Bytes, encoding: &str, max: usize) -> Result<Bytes, Status> {
    match encoding {
        "gzip" => gzip::unpacked(&body, max),
        _ => Ok(body),
    }
}
