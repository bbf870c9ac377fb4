//! Reading an HTTP/1.1 answer: bounded, and whole or an error.

use std::io::{BufRead, BufReader, Read};

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
    Known(usize),
    Chunked,
    UntilEnd,
}

/// Reads one answer; the connection is not used again.
pub(super) fn read(stream: impl Read) -> Result<Answer> {
    let mut input = BufReader::new(stream);
    let mut budget = HEAD_MAX;
    loop {
        let (code, length) = head(&mut input, &mut budget)?;
        // 100 Continue and the like come before the answer.
        if !(100..200).contains(&code) {
            let body = match length {
                _ if matches!(code, 204 | 304) => Vec::new(),
                Length::Known(length) => exactly(&mut input, length)?,
                Length::Chunked => chunks(&mut input)?,
                Length::UntilEnd => until_end(&mut input)?,
            };
            return Ok(Answer { code, body });
        }
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

fn exactly(input: &mut impl Read, length: usize) -> Result<Vec<u8>> {
    ensure!(length <= BODY_MAX, "the answer is too large");
    let mut body = Vec::new();
    // Grows with what comes: an announced length reserves nothing.
    let read = input.take(u64::try_from(length)?).read_to_end(&mut body)?;
    ensure!(read == length, "the connection ended inside of the answer");
    Ok(body)
}

fn until_end(input: &mut impl Read) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    // TLS tells a closed stream from one that was cut, so an end is the end.
    input
        .take(u64::try_from(BODY_MAX)? + 1)
        .read_to_end(&mut body)?;
    ensure!(body.len() <= BODY_MAX, "the answer is too large");
    Ok(body)
}

fn chunks(input: &mut impl BufRead) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut budget = 1024;
        let size = line(input, &mut budget)?;
        let digits = size.split(';').next().unwrap_or_default().trim();
        ensure!(
            !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit()),
            "the length of a chunk is no number"
        );
        let size =
            usize::from_str_radix(digits, 16).context("the length of a chunk is too large")?;
        ensure!(size <= BODY_MAX - body.len(), "the answer is too large");
        if size == 0 {
            // Trailers are of no interest, and the connection ends here.
            return Ok(body);
        }
        body.extend(exactly(input, size)?);
        ensure!(
            exactly(input, 2)? == *b"\r\n",
            "a chunk is longer than it says"
        );
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
