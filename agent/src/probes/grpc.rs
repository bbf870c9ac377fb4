//! `grpc.health.v1.Health/Check` over HTTP/2 in clear text, by hand.
//!
//! One request on one connection needs little of HTTP/2: the preface, header fields written as
//! literals, one message, and the frames of the answer. Compressed header fields of the answer are
//! not decoded: the message in the DATA frame says all that a probe asks, and an answer without one
//! is a failure whatever its status.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Tried, authority, connect};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PATH: &str = "/grpc.health.v1.Health/Check";
/// Largest frame that a peer may send us: the default, which we leave as it is.
const FRAME_MAX: usize = 16 * 1024;
/// Most bytes of an answer that are looked at.
const ANSWER_MAX: usize = 64 * 1024;
const STREAM: u32 = 1;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

/// The words are upstream's (`pkg/probe/grpc`).
pub(super) async fn probe(host: &str, port: u16, service: &str, limit: Duration) -> Tried {
    let address = authority(host, port);
    let within = format!("timeout: failed to connect service {address:?} within {limit:?}");
    let asking = async {
        match connect(host, port).await {
            Ok(stream) => ask(stream, &address, service).await,
            Err(why) => Err(format!("{within}: connection error: desc = {why:?}")),
        }
    };
    match timeout(limit, asking).await {
        Err(_) => Tried::failure(format!("{within}: context deadline exceeded")),
        Ok(Err(why)) => Tried::failure(why),
        Ok(Ok(1)) => Tried::success(""),
        Ok(Ok(status)) => {
            let name = match status {
                0 => "UNKNOWN",
                2 => "NOT_SERVING",
                3 => "SERVICE_UNKNOWN",
                _ => "UNRECOGNIZED",
            };
            Tried::failure(format!("service unhealthy (responded with {name:?})"))
        }
    }
}

/// Asks once; returns the status of the health protocol.
async fn ask(mut stream: TcpStream, authority: &str, service: &str) -> Result<u64, String> {
    let failed = |error: std::io::Error| format!("error: health rpc probe failed: {error}");
    let request = request(authority, service);
    stream.write_all(&request).await.map_err(failed)?;
    let mut message = Vec::new();
    let mut seen = 0;
    loop {
        let (kind, flags, id, payload) = frame(&mut stream).await?;
        seen += payload.len() + 9;
        if seen > ANSWER_MAX {
            return Err("error: health rpc probe failed: the answer is too long".into());
        }
        match (kind, id) {
            (SETTINGS, _) if flags & ACK == 0 => {
                let ack = header(SETTINGS, ACK, 0, 0);
                stream.write_all(&ack).await.map_err(failed)?;
            }
            (PING, _) if flags & ACK == 0 && payload.len() == 8 => {
                let mut pong = header(PING, ACK, 0, 8).to_vec();
                pong.extend_from_slice(&payload);
                stream.write_all(&pong).await.map_err(failed)?;
            }
            (DATA, STREAM) => {
                message.extend_from_slice(unpadded(flags, &payload)?);
                if let Some(status) = status_of(&message)? {
                    return Ok(status);
                }
                if flags & END_STREAM != 0 {
                    return Err(none());
                }
            }
            (HEADERS, STREAM) if flags & END_STREAM != 0 => return Err(none()),
            (RST_STREAM, STREAM) | (GOAWAY, _) => return Err(none()),
            _ => {}
        }
    }
}

/// Upstream's text for a server that has no such service, which is what such an answer means.
fn none() -> String {
    "error: this server does not implement the grpc health protocol (grpc.health.v1.Health)".into()
}

async fn frame(stream: &mut TcpStream) -> Result<(u8, u8, u32, Vec<u8>), String> {
    let failed = |error: std::io::Error| format!("error: health rpc probe failed: {error}");
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.map_err(failed)?;
    let [a, b, c, kind, flags, id @ ..] = head;
    let length = u32::from_be_bytes([0, a, b, c]) as usize;
    if length > FRAME_MAX {
        return Err("error: health rpc probe failed: it does not speak HTTP/2".into());
    }
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await.map_err(failed)?;
    Ok((kind, flags, u32::from_be_bytes(id) & 0x7fff_ffff, payload))
}

fn unpadded(flags: u8, payload: &[u8]) -> Result<&[u8], String> {
    if flags & PADDED == 0 {
        return Ok(payload);
    }
    let (padding, rest) = payload.split_first().ok_or_else(none)?;
    let end = rest.len().checked_sub(usize::from(*padding));
    Ok(&rest[..end.ok_or_else(none)?])
}

/// The status in a message of gRPC (a flag, a length, and `HealthCheckResponse{status = 1}`); `None`
/// while it is not whole.
fn status_of(message: &[u8]) -> Result<Option<u64>, String> {
    let Some((&[compressed, a, b, c, d], rest)) = message.split_first_chunk::<5>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if compressed != 0 || length > ANSWER_MAX {
        return Err("error: health rpc probe failed: the answer can't be read".into());
    }
    let Some(fields) = rest.get(..length) else {
        return Ok(None);
    };
    let (mut status, mut fields) = (0, fields);
    while !fields.is_empty() {
        let tag = varint(&mut fields).ok_or_else(none)?;
        match tag & 7 {
            0 => {
                let value = varint(&mut fields).ok_or_else(none)?;
                if tag >> 3 == 1 {
                    status = value;
                }
            }
            2 => {
                let length = varint(&mut fields).ok_or_else(none)?;
                let length = usize::try_from(length).map_err(|_| none())?;
                fields = fields.get(length..).ok_or_else(none)?;
            }
            1 => fields = fields.get(8..).ok_or_else(none)?,
            5 => fields = fields.get(4..).ok_or_else(none)?,
            _ => return Err(none()),
        }
    }
    Ok(Some(status))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn request(authority: &str, service: &str) -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", PATH),
        (":authority", authority),
        ("content-type", "application/grpc"),
        ("user-agent", "kube-probe/1.37"),
        ("te", "trailers"),
    ];
    let mut block = Vec::new();
    for (name, value) in fields {
        // A literal that is not indexed, with its name as text.
        block.push(0);
        string(&mut block, name);
        string(&mut block, value);
    }
    let mut body = Vec::new();
    if !service.is_empty() {
        // `HealthCheckRequest{service = 1}`.
        body.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            body.push(length as u8 & 0x7f | 0x80);
            length >>= 7;
        }
        body.push(length as u8);
        body.extend_from_slice(service.as_bytes());
    }
    let mut out = PREFACE.to_vec();
    out.extend_from_slice(&header(SETTINGS, 0, 0, 0));
    out.extend_from_slice(&header(HEADERS, END_HEADERS, STREAM, block.len()));
    out.extend_from_slice(&block);
    out.extend_from_slice(&header(DATA, END_STREAM, STREAM, body.len() + 5));
    out.push(0);
    out.extend_from_slice(&(body.len() as u32).to_be_bytes());
    out.extend_from_slice(&body);
    out
}

/// A string without Huffman's code; its length is an integer with a prefix of 7 bits.
fn string(block: &mut Vec<u8>, text: &str) {
    let mut length = text.len();
    if length < 0x7f {
        block.push(length as u8);
    } else {
        block.push(0x7f);
        length -= 0x7f;
        while length >= 0x80 {
            block.push(length as u8 & 0x7f | 0x80);
            length >>= 7;
        }
        block.push(length as u8);
    }
    block.extend_from_slice(text.as_bytes());
}

fn header(kind: u8, flags: u8, stream: u32, length: usize) -> [u8; 9] {
    let [_, a, b, c] = (length as u32).to_be_bytes();
    let [s, t, u, v] = stream.to_be_bytes();
    [a, b, c, kind, flags, s, t, u, v]
}
