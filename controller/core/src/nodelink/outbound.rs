//! What is due to nodes, within the limits.

use bramble_wire::chunk;
use bramble_wire::clock::Millis;
use bramble_wire::document::IndexEntry;
use bramble_wire::envelope::{self, KeyId, Message, Sequence};
use bramble_wire::limits::{CHUNK_SIZE, RESPONSE_MAX};
use bramble_wire::message::{
    Answer, Ask, Body, ControllerState, Head, ObjectBody, Request, Response,
};
use bramble_wire::name::NodeName;
use bramble_wire::object::ObjectId;
use bramble_wire::publish::{Delivery, Publish};
use bramble_wire::stream;
use bramble_wire::topic::{StreamId, Topic};
use bramble_wire::version::{Boot, Nonce};

use super::node::Node;
use super::{NodeLink, Output};

impl NodeLink {
    /// The next thing to do; `None` when nothing more is due or allowed at this time.
    pub fn poll(&mut self, now: Millis) -> Option<Output> {
        if let Some(event) = self.events.pop_front() {
            return Some(Output::Event(event));
        }
        if self.may_speak()
            && let Some(state) = self.poll_state()
        {
            return Some(Output::Publish(state));
        }
        if !self.may_send() {
            return None;
        }
        let publish = self
            .poll_reply()
            .or_else(|| self.poll_head(now))
            .or_else(|| self.poll_answer(now))?;
        Some(Output::Publish(publish))
    }

    fn may_speak(&self) -> bool {
        self.link_up && self.raising.is_none()
    }

    fn may_send(&self) -> bool {
        self.may_speak() && !self.rival.yielded
    }

    /// When something that waits may be sent.
    pub(super) fn next_sending(&self, now: Millis) -> Option<Millis> {
        if !self.events.is_empty() {
            return Some(now);
        }
        if self.may_speak() && self.state_due {
            return Some(now);
        }
        if !self.may_send() {
            return None;
        }
        if !self.reply_queue.is_empty() {
            return Some(now);
        }
        let heads = (!self.head_queue.is_empty()).then(|| self.heads.opens(now));
        let answers = self.answer_queue.front().map(|name| {
            let bytes = self.bytes.opens(now);
            let full = self.nodes.get(name).is_some_and(|node| self.is_full(node));
            if full {
                bytes.max(self.full.opens(now))
            } else {
                bytes
            }
        });
        [heads, answers]
            .into_iter()
            .flatten()
            .min()
            .map(|due| due.max(now))
    }

    pub(super) fn queue_head(&mut self, name: &NodeName) {
        self.queue(name, |node| node.slots.head = true);
    }

    pub(super) fn queue_welcome(&mut self, name: &NodeName) {
        self.queue(name, |node| node.slots.welcome = true);
    }

    fn queue(&mut self, name: &NodeName, set: impl FnOnce(&mut Node)) {
        if let Some(node) = self.nodes.get_mut(name) {
            set(node);
            if !std::mem::replace(&mut node.slots.in_heads, true) {
                self.head_queue.push_back(name.clone());
            }
        }
    }

    pub(super) fn queue_answer(&mut self, name: &NodeName) {
        if let Some(node) = self.nodes.get_mut(name)
            && !std::mem::replace(&mut node.slots.in_answers, true)
        {
            self.answer_queue.push_back(name.clone());
        }
    }

    pub(super) fn queue_reply(&mut self, name: &NodeName) {
        if let Some(node) = self.nodes.get_mut(name)
            && !std::mem::replace(&mut node.slots.in_replies, true)
        {
            self.reply_queue.push_back(name.clone());
        }
    }

    fn poll_state(&mut self) -> Option<Publish> {
        if !std::mem::take(&mut self.state_due) {
            return None;
        }
        self.seq += 1;
        Some(self.state(!self.rival.yielded, self.seq))
    }

    /// The last will of our link, and what is to be published before it is closed on purpose: nobody
    /// controls.
    pub fn offline(&self) -> Publish {
        self.state(false, 0)
    }

    pub(super) fn state_of(&self, online: bool) -> ControllerState {
        let config = &self.config;
        ControllerState {
            epoch: config.epoch,
            term: config.term,
            boot: config.boot,
            history: config.history,
            online,
            instance: self.instance,
            heard: self.rival.heard,
        }
    }

    fn state(&self, online: bool, seq: u64) -> Publish {
        let (config, state) = (&self.config, self.state_of(online));
        let sequence = Sequence {
            epoch: config.epoch,
            boot: config.boot,
            seq,
        };
        let topic = Topic::Controller;
        let text = topic.text(&config.cluster);
        let payload = envelope::sign(&config.identity, &text, KeyId::ANY, sequence, &state)
            .expect("a controller state is far smaller than a packet");
        Publish {
            topic,
            payload,
            delivery: Delivery::Retained,
        }
    }

    fn poll_reply(&mut self) -> Option<Publish> {
        while let Some(name) = self.reply_queue.pop_front() {
            let node = self.nodes.get_mut(&name)?;
            node.slots.in_replies = false;
            if let Some((boot, nonce, challenge)) = node.slots.refuse.take() {
                if node.slots.ack.is_some() || node.slots.announce.is_some() {
                    node.slots.in_replies = true;
                    self.reply_queue.push_back(name.clone());
                }
                return self.respond(&name, boot, nonce, Answer::Refused { challenge });
            }
            let announce = node.slots.announce.take();
            if announce.is_some() && node.slots.ack.is_some() {
                node.slots.in_replies = true;
                self.reply_queue.push_back(name.clone());
            }
            if let Some((boot, nonce)) = announce {
                return self.respond(&name, boot, nonce, Answer::Announce);
            }
            if let Some(ack) = self.nodes.get_mut(&name)?.slots.ack.take() {
                let answer = Answer::ReportAck {
                    number: ack.number,
                    forget: ack.forget,
                };
                return self.respond(&name, ack.boot, ack.session, answer);
            }
        }
        None
    }

    fn poll_head(&mut self, now: Millis) -> Option<Publish> {
        while !self.head_queue.is_empty() && self.heads.is_open(now) {
            let name = self.head_queue.pop_front()?;
            let Some(node) = self.nodes.get_mut(&name) else {
                continue;
            };
            node.slots.in_heads = false;
            let (welcome, head) = (node.slots.welcome, node.slots.head);
            (node.slots.welcome, node.slots.head) = (false, false);
            let publish = match (welcome, head) {
                (true, _) => self.welcome(&name),
                (false, true) => self.head(&name),
                (false, false) => None,
            };
            if let Some(publish) = publish {
                self.heads.take(1);
                self.counters.heads += 1;
                self.head_sent(&name, now);
                return Some(publish);
            }
        }
        None
    }

    fn welcome(&mut self, name: &NodeName) -> Option<Publish> {
        let unix_s = self.unix_s;
        let head = self.head_of(self.nodes.get(name)?)?;
        let candidate = self.nodes.get_mut(name)?.candidate.as_mut()?;
        candidate.welcomed = true;
        let (boot, nonce, session) = (
            candidate.birth.boot,
            candidate.birth.nonce,
            candidate.session,
        );
        self.respond(
            name,
            boot,
            nonce,
            Answer::Welcome {
                session,
                head,
                unix_s,
            },
        )
    }

    fn head(&mut self, name: &NodeName) -> Option<Publish> {
        let head: Head = self.head_of(self.nodes.get(name)?)?;
        self.sign(name, Topic::Head(name.clone()), Delivery::State, &head)
    }

    fn poll_answer(&mut self, now: Millis) -> Option<Publish> {
        while self.bytes.is_open(now) {
            let node = self.nodes.get(self.answer_queue.front()?);
            let full = node.is_some_and(|node| self.is_full(node));
            if full && !self.full.is_open(now) {
                return None;
            }
            let name = self.answer_queue.pop_front()?;
            let Some(node) = self.nodes.get_mut(&name) else {
                continue;
            };
            node.slots.in_answers = false;
            let Some((boot, request)) = node.slots.request.take() else {
                continue;
            };
            let nonce = request.nonce;
            let Some(answer) = self.answer(&name, request) else {
                continue;
            };
            if let Some(node) = self.nodes.get_mut(&name) {
                // It asks: it has heard.
                node.head_attempt = 0;
            }
            self.head_sent(&name, now);
            let Some(publish) = self.respond(&name, boot, nonce, answer) else {
                continue;
            };
            if full {
                self.full.take(1);
            }
            self.bytes.take(publish.payload.len() as u64);
            self.counters.answers += 1;
            self.counters.answer_bytes += publish.payload.len() as u64;
            return Some(publish);
        }
        None
    }

    /// Whether the node's request begins the pull of a whole document.
    fn is_full(&self, node: &Node) -> bool {
        let begins = |request: &Request| matches!(request.ask, Ask::Index { from: 0, .. });
        let held = match (&node.session, &node.candidate) {
            (None, Some(candidate)) => candidate.birth.have.map(|(version, _)| version),
            _ => node.accepted,
        };
        held.is_none_or(|version| version.epoch < self.config.epoch)
            && node
                .slots
                .request
                .as_ref()
                .is_some_and(|(_, request)| begins(request))
    }

    fn answer(&self, name: &NodeName, request: Request) -> Option<Answer> {
        let node = self.nodes.get(name)?;
        let document = node.document.as_ref()?;
        let head = self.head_of(node)?;
        let asked = match &request.ask {
            Ask::Index { version, .. } => version.unwrap_or(node.version),
            Ask::Objects { version, .. } | Ask::Chunk { version, .. } => *version,
        };
        if asked != node.version {
            return Some(Answer::Superseded(head));
        }
        Some(match request.ask {
            Ask::Index { from, .. } => {
                let total = document.index.len() as u32;
                let entries = page(&document.index, from as usize);
                Answer::Index {
                    head,
                    total,
                    from,
                    entries,
                    cleared: self.cleared && self.all_confirmed(),
                }
            }
            Ask::Objects { ids, .. } => self.objects(name, node, ids),
            Ask::Chunk { id, index, .. } => self.chunk(name, node, id, index),
        })
    }

    fn body(
        &self,
        name: &NodeName,
        node: &Node,
        id: &ObjectId,
    ) -> Option<(u64, std::sync::Arc<[u8]>)> {
        let object = node.document.as_ref()?.objects.get(id)?;
        let body = self.sealer.body(name, &node.keys.sealing, id, object)?;
        Some((object.revision, body))
    }

    fn objects(&self, name: &NodeName, node: &Node, ids: Vec<ObjectId>) -> Answer {
        let mut bodies = Vec::new();
        let mut bytes = 0;
        for id in ids {
            let (revision, body) = match self.body(name, node, &id) {
                Some((revision, body)) if body.len() > CHUNK_SIZE => (
                    revision,
                    Body::Chunked {
                        len: body.len() as u32,
                    },
                ),
                Some((revision, body)) => (revision, Body::Whole(body.to_vec())),
                None => (0, Body::Missing),
            };
            if let Body::Whole(body) = &body {
                bytes += body.len();
            }
            if bytes > RESPONSE_MAX {
                break;
            }
            bodies.push(ObjectBody { id, revision, body });
        }
        Answer::Objects(bodies)
    }

    fn chunk(&self, name: &NodeName, node: &Node, id: ObjectId, index: u32) -> Answer {
        let found = self.body(name, node, &id);
        let piece = found.as_ref().and_then(|(revision, body)| {
            chunk::chunk(body, index).map(|piece| (*revision, piece.to_vec()))
        });
        match piece {
            Some((revision, bytes)) => Answer::Chunk {
                id,
                revision,
                index,
                bytes,
            },
            None => Answer::Objects(vec![ObjectBody {
                id,
                revision: 0,
                body: Body::Missing,
            }]),
        }
    }

    fn respond(
        &mut self,
        name: &NodeName,
        boot: Boot,
        nonce: Nonce,
        answer: Answer,
    ) -> Option<Publish> {
        let topic = Topic::Response(name.clone(), boot);
        self.sign(name, topic, Delivery::Message, &Response { nonce, answer })
    }

    fn sign<M: Message>(
        &mut self,
        name: &NodeName,
        topic: Topic,
        delivery: Delivery,
        message: &M,
    ) -> Option<Publish> {
        let config = &self.config;
        let node = self.nodes.get_mut(name)?;
        node.seq += 1;
        let sequence = Sequence {
            epoch: config.epoch,
            boot: config.boot,
            seq: node.seq,
        };
        let text = topic.text(&config.cluster);
        let payload = envelope::sign(&config.identity, &text, node.key, sequence, message).ok()?;
        Some(Publish {
            topic,
            payload,
            delivery,
        })
    }

    /// Opens a stream on a node; `None` when the node is not there. `open.boot` is filled in.
    pub fn stream_open(
        &mut self,
        node: &NodeName,
        id: StreamId,
        open: stream::Open,
    ) -> Option<Publish> {
        let boot = self.nodes.get(node)?.session.as_ref()?.boot;
        let open = stream::Open { boot, ..open };
        self.sign(
            node,
            Topic::StreamOpen(node.clone(), id),
            Delivery::Message,
            &open,
        )
    }

    /// Credit for a stream, or its end; `None` when the node is not known.
    pub fn stream_in(
        &mut self,
        node: &NodeName,
        id: StreamId,
        message: &stream::In,
    ) -> Option<Publish> {
        self.sign(
            node,
            Topic::StreamIn(node.clone(), id),
            Delivery::Message,
            message,
        )
    }
}

/// As many entries from `from` on as fit into a response.
fn page(index: &[IndexEntry], from: usize) -> Vec<IndexEntry> {
    let mut bytes = 0;
    let rest = index.get(from..).unwrap_or_default();
    let fits = |entry: &&IndexEntry| {
        bytes += bramble_wire::encode(*entry).len();
        bytes <= RESPONSE_MAX
    };
    rest.iter().take_while(fits).cloned().collect()
}
