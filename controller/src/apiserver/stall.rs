//! Clients that don't read.
//!
//! A watch holds a cursor and at most one chunk, so one that is not read costs little, but it costs
//! that for ever: the kernel on the other side keeps the connection alive. So a connection ends when
//! nothing of what was handed to it goes out for a while, whether the kernel takes no more
//! ([`Stalling`]) or the client's HTTP/2 windows don't ([`Handed`]).

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// A connection on which a write may not wait longer than so.
#[derive(Debug)]
pub(super) struct Stalling<S> {
    inner: S,
    limit: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> Stalling<S> {
    pub(super) fn new(inner: S, limit: Duration) -> Self {
        Self {
            inner,
            limit,
            waiting: None,
        }
    }

    /// Lets a write wait until the limit.
    fn limited<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<std::io::Result<T>>,
    ) -> Poll<std::io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let limit = self.limit;
        let waiting = self
            .waiting
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(waiting.as_mut().poll(cx));
        Poll::Ready(Err(Error::new(
            ErrorKind::TimedOut,
            "the client does not read",
        )))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stalling<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stalling<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.limited(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bytes);
        self.limited(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let done = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.limited(cx, done)
    }
}

/// What was handed to a connection, answer by answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Handed(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    next: u64,
    /// Answers whose last part nobody has come back from, by when it was taken.
    out: BTreeMap<u64, Option<Instant>>,
}

/// One answer, until it has been handed over whole or given up.
#[derive(Debug)]
pub(super) struct Answer {
    handed: Handed,
    id: u64,
}

impl Handed {
    pub(super) fn begin(&self) -> Answer {
        let mut table = self.table();
        let id = table.next;
        table.next += 1;
        table.out.insert(id, None);
        drop(table);
        Answer {
            handed: self.clone(),
            id,
        }
    }

    /// Resolves when a part of an answer was taken so long ago and the next one never asked for.
    pub(super) async fn stalled(&self, limit: Duration) {
        loop {
            tokio::time::sleep(limit / 2).await;
            let table = self.table();
            let mut taken = table.out.values().flatten();
            if taken.any(|at| at.elapsed() >= limit) {
                return;
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answer {
    /// A part was taken, or the connection waits for the next one.
    pub(super) fn taken(&self, part: bool) {
        let at = part.then(Instant::now);
        self.handed.table().out.insert(self.id, at);
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.handed.table().out.remove(&self.id);
    }
}
