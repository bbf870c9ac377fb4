//! Reading a request's body: bounded in size and in time.

use bramble_api::status::Status;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

use super::Limits;

/// The whole body.
pub(crate) async fn read(body: Incoming, limits: &Limits) -> Result<Bytes, Status> {
    let max = limits.body_bytes;
    let too_large = || Status::too_large(format!("Request entity too large: limit is {max}"));
    if body.size_hint().lower() > max as u64 {
        return Err(too_large());
    }
    let collect = async {
        let mut body = body;
        let mut whole = BytesMut::new();
        while let Some(frame) = body.frame().await {
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
        Ok(result) => result,
        Err(_) => Err(Status::timeout(
            "Timeout: request did not complete within the allotted timeout",
            0,
        )),
    }
}
