//! Streams: opened for the API, and what is due to their nodes.

use std::time::Instant;

use bramble_wire::limits::{CHANNEL_CREDIT_MAX, STREAM_CREDIT_MAX};
use bramble_wire::name::NodeName;
use bramble_wire::stream::{In, Open, What};
use bramble_wire::version::Boot;
use tokio::sync::oneshot;

use super::super::streams::{self, Reader, Writer};
use super::{BATCH, Task};

impl Task {
    pub(super) fn open_stream(
        &mut self,
        node: NodeName,
        what: What,
        reply: oneshot::Sender<Result<(Writer, Reader), streams::Error>>,
    ) {
        // What is sent without a connection is lost, and the node would never answer.
        if self.leaving.contains_key(&node) || !self.parts.link.is_online() {
            let _ = reply.send(Err(streams::Error::Offline(node)));
            return;
        }
        let forward = matches!(what, What::Forward(_));
        let opened = self.streams.open(&node, forward, Instant::now());
        let opened = opened.and_then(|(id, writer, reader)| {
            let credit = if forward {
                CHANNEL_CREDIT_MAX
            } else {
                STREAM_CREDIT_MAX
            };
            let boot = Boot(0);
            let open = Open { boot, credit, what };
            match self.parts.machine.stream_open(&node, id, open) {
                Some(publish) => {
                    self.publish(publish);
                    Ok((writer, reader))
                }
                None => {
                    self.streams.fail(id, streams::Error::Offline(node.clone()));
                    Err(streams::Error::Offline(node))
                }
            }
        });
        // A client that went away drops the reader, which closes the stream.
        let _ = reply.send(opened);
    }

    /// Nodes that are still there serve the streams that ended with our connection: they have only so
    /// many places.
    pub(super) fn close_orphans(&mut self) {
        for (node, id) in self.streams.take_orphans() {
            if let Some(publish) = self.parts.machine.stream_in(&node, id, &In::Close) {
                self.publish(publish);
            }
        }
    }

    pub(super) fn write_streams(&mut self) {
        let room = if self.parts.link.has_room() { BATCH } else { 0 };
        for (node, id, message) in self.streams.due(Instant::now(), room) {
            if let Some(publish) = self.parts.machine.stream_in(&node, id, &message) {
                self.publish(publish);
            }
        }
    }
}
