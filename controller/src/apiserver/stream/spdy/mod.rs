//! SPDY/3.1 as Kubernetes' clients speak it: streams within a connection that they open and both
//! ends close. No flow control (the clients have none), no priorities, no pushed streams.
//!
//! [`Decoder`] turns bytes into frames; the data of a frame is passed on as it arrives. [`Encoder`]
//! makes the frames that a server sends. Neither does any I/O.

mod headers;

use bytes::{BufMut as _, Bytes, BytesMut};

use headers::{Deflater, Inflater};

/// Largest control frame. Header blocks of these clients have some hundred bytes.
const CONTROL_MAX: usize = 16 * 1024;
/// Version 3, with the bit that marks control frames.
const VERSION: u16 = 0x8003;
const FLAG_FIN: u8 = 1;

/// The other end speaks no SPDY/3.1 that we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unusable SPDY frame: {0}")]
pub(super) struct Broken(&'static str);

/// What the other end says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// A new stream.
    Open {
        id: u32,
        /// Names are in lower case.
        headers: Vec<(String, String)>,
        /// It carries nothing from the other end.
        fin: bool,
    },
    /// Data of a stream, or only its end.
    Data { id: u32, bytes: Bytes, fin: bool },
    /// A stream is given up.
    Reset { id: u32 },
    /// Wants the same back.
    Ping(u32),
    /// The other end opens no more streams.
    GoAway,
}

/// Bytes to frames.
pub(super) struct Decoder {
    buffer: BytesMut,
    inflater: Inflater,
    /// The data frame that is under way.
    data: Option<Data>,
}

struct Data {
    id: u32,
    left: usize,
    fin: bool,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self {
            buffer: BytesMut::new(),
            inflater: Inflater::new(),
            data: None,
        }
    }

    /// More bytes have arrived.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame, as far as it has arrived.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, Broken> {
        loop {
            if let Some(data) = self.data.take() {
                return Ok(self.data(data));
            }
            let Some(head) = self.buffer.first_chunk::<8>() else {
                return Ok(None);
            };
            let first = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
            let flags = head[4];
            let length = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
            if first >> 31 == 0 {
                let _ = self.buffer.split_to(8);
                let (id, left, fin) = (first, length, flags & FLAG_FIN != 0);
                // An empty frame says something only at the end.
                if left > 0 || fin {
                    self.data = Some(Data { id, left, fin });
                }
                continue;
            }
            if (first >> 16) as u16 != VERSION {
                return Err(Broken("another version"));
            }
            if length > CONTROL_MAX {
                return Err(Broken("a control frame that is too large"));
            }
            if self.buffer.len() < 8 + length {
                return Ok(None);
            }
            let frame = self.buffer.split_to(8 + length);
            if let Some(frame) = self.control(first as u16, flags, &frame[8..])? {
                return Ok(Some(frame));
            }
        }
    }

    fn data(&mut self, data: Data) -> Option<Frame> {
        let Data { id, left, fin } = data;
        let here = left.min(self.buffer.len());
        if here == 0 && left > 0 {
            self.data = Some(data);
            return None;
        }
        let bytes = self.buffer.split_to(here).freeze();
        if here < left {
            let left = left - here;
            self.data = Some(Data { id, left, fin });
            return Some(Frame::Data {
                id,
                bytes,
                fin: false,
            });
        }
        Some(Frame::Data { id, bytes, fin })
    }

    fn control(&mut self, kind: u16, flags: u8, body: &[u8]) -> Result<Option<Frame>, Broken> {
        const SYN_STREAM: u16 = 1;
        const SYN_REPLY: u16 = 2;
        const RST_STREAM: u16 = 3;
        const PING: u16 = 6;
        const GOAWAY: u16 = 7;
        const HEADERS: u16 = 8;
        let number = || {
            let bytes = body.first_chunk::<4>();
            let bytes = bytes.ok_or(Broken("a control frame that is too short"))?;
            Ok(u32::from_be_bytes(*bytes))
        };
        let block = |from: usize| {
            body.get(from..)
                .ok_or(Broken("a control frame that is too short"))
        };
        Ok(match kind {
            SYN_STREAM => {
                let headers = self.inflater.block(block(10)?)?;
                let (id, fin) = (number()? & 0x7fff_ffff, flags & FLAG_FIN != 0);
                Some(Frame::Open { id, headers, fin })
            }
            // Not for us, but part of the one compressed stream.
            SYN_REPLY | HEADERS => {
                self.inflater.block(block(4)?)?;
                None
            }
            RST_STREAM => Some(Frame::Reset {
                id: number()? & 0x7fff_ffff,
            }),
            PING => Some(Frame::Ping(number()?)),
            GOAWAY => Some(Frame::GoAway),
            // Settings, windows: nothing that we keep to.
            _ => None,
        })
    }
}

/// Frames to bytes.
pub(super) struct Encoder(Deflater);

impl Encoder {
    pub(super) fn new() -> Self {
        Self(Deflater::new())
    }

    /// Accepts a stream.
    pub(super) fn reply(&mut self, id: u32) -> Result<Bytes, Broken> {
        let block = self.0.empty()?;
        Ok(control(2, &[&id.to_be_bytes(), &block]))
    }
}

/// Data of a stream, at most 16 MiB.
pub(super) fn data(id: u32, bytes: &[u8], fin: bool) -> Bytes {
    let mut frame = BytesMut::with_capacity(8 + bytes.len());
    frame.put_u32(id);
    put_length(&mut frame, u8::from(fin) * FLAG_FIN, bytes.len());
    frame.extend_from_slice(bytes);
    frame.freeze()
}

/// Gives up a stream (CANCEL).
pub(super) fn reset(id: u32) -> Bytes {
    control(3, &[&id.to_be_bytes(), &5u32.to_be_bytes()])
}

/// Answers a ping.
pub(super) fn pong(id: u32) -> Bytes {
    control(6, &[&id.to_be_bytes()])
}

/// No more streams.
pub(super) fn go_away(last: u32) -> Bytes {
    control(7, &[&last.to_be_bytes(), &0u32.to_be_bytes()])
}

fn control(kind: u16, parts: &[&[u8]]) -> Bytes {
    let length = parts.iter().map(|part| part.len()).sum();
    let mut frame = BytesMut::with_capacity(8 + length);
    frame.put_u16(VERSION);
    frame.put_u16(kind);
    put_length(&mut frame, 0, length);
    for part in parts {
        frame.extend_from_slice(part);
    }
    frame.freeze()
}

/// Flags, and the length in 24 bits.
fn put_length(frame: &mut BytesMut, flags: u8, length: usize) {
    let length = u32::try_from(length).unwrap_or(u32::MAX) & 0x00ff_ffff;
    frame.put_u32(u32::from(flags) << 24 | length);
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A client's SYN_STREAM.
    pub(in super::super) struct Client(Deflater);

    impl Client {
        pub(in super::super) fn new() -> Self {
            Self(Deflater::new())
        }

        pub(in super::super) fn open(&mut self, id: u32, headers: &[(&str, &str)]) -> Bytes {
            let block = self.0.block(headers);
            control(1, &[&id.to_be_bytes(), &[0; 6], &block])
        }
    }

    fn frames(decoder: &mut Decoder, bytes: &[u8]) -> Vec<Frame> {
        decoder.feed(bytes);
        std::iter::from_fn(|| decoder.next().unwrap()).collect()
    }

    #[test]
    fn frames_arrive_in_any_pieces() {
        let mut client = Client::new();
        let mut bytes = Vec::new();
        bytes.extend(client.open(1, &[("streamType", "error")]));
        bytes.extend(client.open(3, &[("streamType", "data")]));
        bytes.extend(pong(7));
        bytes.extend(data(3, b"hello", true));
        bytes.extend(data(1, b"", true));
        bytes.extend(reset(3));
        bytes.extend(go_away(3));
        for size in [1, 2, 7, 1000] {
            let mut decoder = Decoder::new();
            let mut text = Vec::new();
            let mut kinds = String::new();
            for piece in bytes.chunks(size) {
                for frame in frames(&mut decoder, piece) {
                    match frame {
                        Frame::Open { id, headers, fin } => {
                            assert!(!fin);
                            kinds.push_str(&format!("open {id} {} ", headers[0].1));
                            assert_eq!(headers[0].0, "streamtype");
                        }
                        Frame::Data { id, bytes, fin } => {
                            text.extend_from_slice(&bytes);
                            if fin {
                                kinds.push_str(&format!("end {id} "));
                            }
                        }
                        Frame::Reset { id } => kinds.push_str(&format!("reset {id} ")),
                        Frame::Ping(id) => kinds.push_str(&format!("ping {id} ")),
                        Frame::GoAway => kinds.push_str("goaway"),
                    }
                }
            }
            assert_eq!(text, b"hello");
            let want = "open 1 error open 3 data ping 7 end 3 end 1 reset 3 goaway";
            assert_eq!(kinds, want, "pieces of {size}");
        }
    }

    #[test]
    fn a_reply_is_read_by_a_client() {
        let (mut encoder, mut inflater) = (Encoder::new(), Inflater::new());
        for id in [1, 3, 5] {
            let reply = encoder.reply(id).unwrap();
            assert_eq!(reply[..4], [0x80, 3, 0, 2]);
            assert_eq!(inflater.block(&reply[12..]).unwrap(), []);
        }
    }

    #[test]
    fn nonsense_ends_the_connection() {
        for bytes in [
            &[0x80, 2, 0, 1, 0, 0, 0, 0][..],
            &[0x80, 3, 0, 1, 0, 0xff, 0, 0],
            &[0x80, 3, 0, 1, 0, 0, 0, 0],
            &[0x80, 3, 0, 6, 0, 0, 0, 2, 1, 1],
        ] {
            let mut decoder = Decoder::new();
            decoder.feed(bytes);
            assert!(decoder.next().is_err(), "{bytes:?}");
        }
    }
}
