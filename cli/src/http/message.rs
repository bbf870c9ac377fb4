//! Reading an HTTP/1.1 answer: bounded, and whole or an error.

use std::io::{BufRead, BufReader, Read, Write};

use anyhow::{Context as _, Result, bail, ensure};

/// All header lines together.
const HEAD_MAX: usize = 64 * 1024;
/// A page of a list, generously.
const BODY_MAX: usize = 64 << 20;

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: Vec<u8>,
}

enum Length {
    Known(u64),
    Chunked,
    UntilEnd,
}

/// Reads one answer; the connection is not used again.
pub(super) fn read(stream: impl Read) -> Result<Answer> {
    let mut input = BufReader::new(stream);
    let (code, length) = last_head(&mut input)?;
    let mut body = Vec::new();
    copy(&mut input, code, &length, BODY_MAX as u64, &mut body)?;
    Ok(Answer { code, body })
}

/// Reads one answer, which may be of any length, into `out`. What is not a good answer is returned.
pub(super) fn download(stream: impl Read, out: &mut impl Write) -> Result<Option<Answer>> {
    let mut input = BufReader::new(stream);
    let (code, length) = last_head(&mut input)?;
    if code == 200 {
        copy(&mut input, code, &length, u64::MAX, out)?;
        return Ok(None);
    }
    let mut body = Vec::new();
    copy(&mut input, code, &length, BODY_MAX as u64, &mut body)?;
    Ok(Some(Answer { code, body }))
}

/// The head of the answer; 100 Continue and the like come before.
fn last_head(input: &mut impl BufRead) -> Result<(u16, Length)> {
    let mut budget = HEAD_MAX;
    loop {
        let head = head(input, &mut budget)?;
        if !(100..200).contains(&head.0) {
            return Ok(head);
        }
    }
}

/// Copies a whole body of at most `most` bytes.
fn copy(
    input: &mut impl BufRead,
    code: u16,
    length: &Length,
    most: u64,
    out: &mut impl Write,
) -> Result<()> {
    match length {
        _ if matches!(code, 204 | 304) => Ok(()),
        Length::Known(length) => exactly(input, *length, most, out),
        Length::Chunked => chunks(input, most, out),
        Length::UntilEnd => until_end(input, most, out),
    }
}

fn head(input: &mut impl BufRead, budget: &mut usize) -> Result<(u16, Length)> {
    let first = line(input, budget)?;
    let code = first
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1))
        .and_then(|code| code.parse().ok())
        .context("the answer is not HTTP/1.1")?;
    let mut length = Length::UntilEnd;
    loop {
        let line = line(input, budget)?;
        if line.is_empty() {
            return Ok((code, length));
        }
        let (name, value) = line
            .split_once(':')
            .context("a header of the answer is malformed")?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("transfer-encoding") {
            ensure!(
                value.eq_ignore_ascii_case("chunked"),
                "unknown transfer encoding {value:?}"
            );
            length = Length::Chunked;
        } else if name.eq_ignore_ascii_case("content-length") && !matches!(length, Length::Chunked)
        {
            length = Length::Known(value.parse().context("Content-Length is no number")?);
        }
    }
}

/// A line without its end, at most what is left of the budget.
fn line(input: &mut impl BufRead, budget: &mut usize) -> Result<String> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(*budget)?;
    input.take(limit).read_until(b'\n', &mut bytes)?;
    *budget -= bytes.len();
    if bytes.pop() != Some(b'\n') {
        ensure!(*budget > 0, "the answer's header is too long");
        bail!("the connection ended inside of the answer");
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    String::from_utf8(bytes).context("the answer's header is not text")
}

fn exactly(input: &mut impl Read, length: u64, most: u64, out: &mut impl Write) -> Result<()> {
    ensure!(length <= most, "the answer is too large");
    // Grows with what comes: an announced length reserves nothing.
    let read = std::io::copy(&mut input.take(length), out)?;
    ensure!(read == length, "the connection ended inside of the answer");
    Ok(())
}

fn until_end(input: &mut impl Read, most: u64, out: &mut impl Write) -> Result<()> {
    // TLS tells a closed stream from one that was cut, so an end is the end.
    let read = std::io::copy(&mut input.take(most.saturating_add(1)), out)?;
    ensure!(read <= most, "the answer is too large");
    Ok(())
}

fn chunks(input: &mut impl BufRead, most: u64, out: &mut impl Write) -> Result<()> {
    let mut left = most;
    loop {
        let mut budget = 1024;
        let size = line(input, &mut budget)?;
        let digits = size.split(';').next().unwrap_or_default().trim();
        ensure!(
            !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit()),
            "the length of a chunk is no number"
        );
        let size = u64::from_str_radix(digits, 16).context("the length of a chunk is too large")?;
        ensure!(size <= left, "the answer is too large");
        left -= size;
        if size == 0 {
            // Trailers are of no interest, and the connection ends here.
            return Ok(());
        }
        exactly(input, size, size, out)?;
        let mut end = Vec::new();
        exactly(input, 2, 2, &mut end)?;
        ensure!(end == *b"\r\n", "a chunk is longer than it says");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<(u16, String), String> {
        read(text.as_bytes())
            .map(|a| (a.code, String::from_utf8_lossy(&a.body).into_owned()))
            .map_err(|e| format!("{e:#}"))
    }

    #[test]
    fn every_way_to_say_the_length() {
        for (text, want) in [
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi and more",
                (200, "hi"),
            ),
            ("HTTP/1.1 200 OK\r\n\r\nto the end", (200, "to the end")),
            (
                "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n1\r\nd\r\n0\r\n\r\n",
                (201, "abcd"),
            ),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
                (404, ""),
            ),
            ("HTTP/1.1 204 No Content\r\n\r\n", (204, "")),
            ("HTTP/1.0 200 OK\ncontent-length: 1\n\nx", (200, "x")),
        ] {
            assert_eq!(check(text), Ok((want.0, want.1.to_owned())), "{text:?}");
        }
    }

    #[test]
    fn a_download_is_whole_or_an_error_and_no_refusal_is_written() {
        let get = |text: &str| {
            let mut out = Vec::new();
            let answer = download(text.as_bytes(), &mut out).map_err(|e| e.to_string());
            (answer, String::from_utf8(out).unwrap())
        };
        let good = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        assert_eq!(get(good), (Ok(None), "abc".to_owned()));
        let (answer, _) = get(&good[..good.len() - 8]);
        assert!(answer.unwrap_err().contains("ended inside"));
        let (answer, out) = get("HTTP/1.1 429 Busy\r\ncontent-length: 2\r\n\r\nno");
        assert_eq!((answer.unwrap().unwrap().code, &*out), (429, ""));
    }

    #[test]
    fn what_is_cut_or_wrong_is_an_error() {
        let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(HEAD_MAX));
        for (text, want) in [
            ("", "ended inside"),
            ("SSH-2.0-OpenSSH\r\n", "not HTTP/1.1"),
            ("HTTP/1.1 ok\r\n\r\n", "not HTTP/1.1"),
            ("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "malformed"),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhi",
                "ended inside",
            ),
            ("HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", "no number"),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n",
                "too large",
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
                "unknown transfer",
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n+1\r\na\r\n0\r\n\r\n",
                "no number",
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
                "ended inside",
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc\r\n",
                "longer",
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
                "too large",
            ),
            (&long, "too long"),
        ] {
            let error = check(text).expect_err(text);
            assert!(
                error.contains(want),
                "{error} lacks {want:?} for {text:.80}"
            );
        }
    }
}
