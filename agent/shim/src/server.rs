//! Connections of the agent: frames in, frames out, nothing that blocks and nothing without bound.

use std::fs;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use bramble_wire::shim::{
    self, Answer, Ask, CONNECTIONS_MAX, Reply, Request, Split, frame, split_frame,
};

use crate::fds;

/// Answers waiting for a peer that doesn't read; at the limit it is cut off.
const OUT_MAX: usize = 4 * shim::FRAME_MAX;

/// Descriptors that came before their ask was whole; a peer that sends more is cut off.
const FDS_MAX: usize = 16;

/// One agent connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: u64,
    pub(crate) stream: UnixStream,
    /// Has asked for events.
    pub(crate) events: bool,
    input: Vec<u8>,
    fds: Vec<OwnedFd>,
    output: Vec<u8>,
    dead: bool,
}

/// An ask and the descriptors that belong to it.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) ask: Ask,
    pub(crate) fds: Vec<OwnedFd>,
}

impl Connection {
    pub(crate) fn wants_write(&self) -> bool {
        !self.output.is_empty()
    }
}

/// The listening socket and its connections.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) listener: UnixListener,
    pub(crate) connections: Vec<Connection>,
    next_id: u64,
}

impl Server {
    /// Binds the socket, replacing that of a dead predecessor.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let old = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
        let listener = UnixListener::bind(path);
        rustix::process::umask(old);
        let listener = listener?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            connections: Vec::new(),
            next_id: 1,
        })
    }

    /// Accepts who waits.
    pub(crate) fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            if self.connections.len() >= CONNECTIONS_MAX || stream.set_nonblocking(true).is_err() {
                continue;
            }
            let (input, fds, output) = (Vec::new(), Vec::new(), Vec::new());
            let id = self.next_id;
            self.next_id += 1;
            self.connections.push(Connection {
                id,
                stream,
                events: false,
                input,
                fds,
                output,
                dead: false,
            });
        }
    }

    /// Reads from a connection; returns the asks that are complete.
    pub(crate) fn read(&mut self, id: u64) -> Vec<Asked> {
        let mut asks = Vec::new();
        let Some(connection) = self.connections.iter_mut().find(|c| c.id == id) else {
            return asks;
        };
        let mut buffer = [0; 2048];
        loop {
            match fds::receive(&connection.stream, &mut buffer, &mut connection.fds) {
                Ok(0) => {
                    connection.dead = true;
                    break;
                }
                Ok(n) => connection.input.extend_from_slice(&buffer[..n]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    connection.dead = true;
                    break;
                }
            }
            if connection.input.len() > shim::FRAME_MAX + 4 {
                break;
            }
            if connection.fds.len() > FDS_MAX {
                connection.dead = true;
                break;
            }
        }
        let mut taken = 0;
        loop {
            match split_frame::<Ask>(&connection.input[taken..], "ask") {
                Ok(Split::Frame(ask, used)) => {
                    taken += used;
                    let wanted = descriptors(&ask.request).min(connection.fds.len());
                    let fds = connection.fds.drain(..wanted).collect();
                    asks.push(Asked { ask, fds });
                }
                Ok(Split::More) => break,
                Err(_) => {
                    connection.dead = true;
                    break;
                }
            }
        }
        connection.input.drain(..taken);
        if connection.input.is_empty() {
            connection.input = Vec::new();
        }
        asks
    }

    /// Answers an ask; the asker may be gone, which is its own affair.
    pub(crate) fn answer(&mut self, id: u64, number: u32, reply: Reply) {
        if let Some(connection) = self.connections.iter_mut().find(|c| c.id == id) {
            push(connection, &Answer { number, reply });
        }
    }

    /// Tells everybody who asked for events.
    pub(crate) fn publish(&mut self, event: &shim::Event) {
        for connection in self.connections.iter_mut().filter(|c| c.events) {
            push(
                connection,
                &Answer {
                    number: 0,
                    reply: Reply::Event(event.clone()),
                },
            );
        }
    }

    /// Writes what can be written, forgets connections that are gone and names them.
    pub(crate) fn flush(&mut self) -> Vec<u64> {
        for connection in &mut self.connections {
            while !connection.output.is_empty() {
                match connection.stream.write(&connection.output) {
                    Ok(n) => drop(connection.output.drain(..n)),
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => {
                        connection.dead = true;
                        break;
                    }
                }
            }
            if connection.output.is_empty() {
                connection.output = Vec::new();
            }
        }
        let gone = |c: &Connection| c.dead.then_some(c.id);
        let closed = self.connections.iter().filter_map(gone).collect();
        self.connections.retain(|c| !c.dead);
        closed
    }
}

/// How many descriptors come with a request.
fn descriptors(request: &Request) -> usize {
    match request {
        Request::Exec(exec) => exec.streams.count(),
        Request::Attach(attach) => attach.streams.count(),
        _ => 0,
    }
}

fn push(connection: &mut Connection, answer: &Answer) {
    connection.output.extend_from_slice(&frame(answer));
    if connection.output.len() > OUT_MAX {
        connection.dead = true;
    }
}
