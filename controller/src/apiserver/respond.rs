//! Answers: JSON objects, `Status` bodies, streams of stored bytes, warnings.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bramble_api::status::Status;
use bytes::Bytes;
use futures_util::Stream;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use serde_json::Value;

use super::stall::Answer;

/// Every answer's body.
pub(crate) type Body = UnsyncBoxBody<Bytes, Broken>;

/// A long answer that can't be finished: the connection is cut, so that the client sees that
/// something is missing.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off")]
pub(crate) struct Broken;

impl From<Infallible> for Broken {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A whole body.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(Broken::from).boxed_unsync()
}

/// A body out of a stream of chunks.
pub(crate) fn stream(chunks: impl Stream<Item = Result<Bytes, Broken>> + Send + 'static) -> Body {
    Chunks(Box::pin(chunks)).boxed_unsync()
}

struct Chunks(Pin<Box<dyn Stream<Item = Result<Bytes, Broken>> + Send>>);

impl hyper::body::Body for Chunks {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.0
            .as_mut()
            .poll_next(cx)
            .map(|item| item.map(|chunk| chunk.map(Frame::data)))
    }
}

/// A body that keeps something until it has been handed over, or given up, and tells how that goes.
pub(super) fn until_sent(body: Body, answer: Answer, kept: impl Send + Unpin + 'static) -> Body {
    let kept = Keeping {
        body,
        answer,
        _kept: kept,
    };
    kept.boxed_unsync()
}

struct Keeping<T> {
    body: Body,
    answer: Answer,
    _kept: T,
}

impl<T: Unpin> hyper::body::Body for Keeping<T> {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        self.answer.taken(frame.is_ready());
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

/// An answer of a code, content type and body.
pub(crate) fn answer(code: u16, content_type: HeaderValue, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// Stored or canonical bytes.
pub(crate) fn bytes(code: u16, bytes: impl Into<Bytes>) -> Response<Body> {
    answer(code, JSON, full(bytes))
}

/// A value.
pub(crate) fn value(code: u16, value: &Value) -> Response<Body> {
    bytes(code, value.to_string())
}

/// Plain text.
pub(crate) fn text(code: u16, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = answer(
        code,
        HeaderValue::from_static("text/plain; charset=utf-8"),
        full(text),
    );
    let nosniff = HeaderValue::from_static("nosniff");
    response
        .headers_mut()
        .insert(X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

/// A `Status`, with `Retry-After` where it says when to try again.
pub(crate) fn status(status: &Status) -> Response<Body> {
    let code = if status.code() == 0 {
        200
    } else {
        status.code()
    };
    if status.is_not_found_path() {
        // What no handler answers, upstream leaves to Go's own page.
        return text(code, "404 page not found\n");
    }
    let mut response = bytes(code, status.to_json());
    let retry = status.details().map_or(0, |d| d.retry_after_seconds);
    if retry > 0 && matches!(code, 429 | 503 | 504) {
        response.headers_mut().insert(RETRY_AFTER, retry.into());
    }
    response
}

/// Adds `Warning: 299 - "…"` headers, at most as many as clients show.
pub(crate) fn warn(response: &mut Response<Body>, warnings: &[String]) {
    const MOST: usize = 32;
    for text in warnings.iter().take(MOST) {
        let mut quoted = String::with_capacity(text.len() + 10);
        quoted.push_str("299 - \"");
        for c in text.chars().take(1024) {
            match c {
                '"' | '\\' => quoted.extend(['\\', c]),
                c if c.is_control() => quoted.push(' '),
                c => quoted.push(c),
            }
        }
        quoted.push('"');
        // Header values are bytes; text beyond ASCII goes as UTF-8, as upstream sends it.
        if let Ok(value) = HeaderValue::from_bytes(quoted.as_bytes()) {
            response.headers_mut().append(http::header::WARNING, value);
        }
    }
}
