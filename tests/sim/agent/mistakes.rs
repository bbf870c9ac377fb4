//! Mistakes made on purpose, for the oracle to find.

use bramble_wire::envelope::Message;
use bramble_wire::message::{Answer, Head, Response};

use super::*;

impl World {
    /// What a mutated agent takes a packet for.
    pub(super) fn mutated(&self, agent: &mut Agent, packet: Packet) -> Packet {
        match self.mutation {
            Some(Mutation::SkipNonce) if !packet.forged => self.without_nonce(agent, packet),
            Some(Mutation::SkipSignature) if packet.forged => self.without_signature(agent, packet),
            _ => packet,
        }
    }

    /// An agent that skips the nonce takes any answer for the one that it waits for.
    fn without_nonce(&self, agent: &mut Agent, mut packet: Packet) -> Packet {
        let Some(Topic::Response(node, boot)) = Topic::parse(&self.cluster, &packet.topic) else {
            return packet;
        };
        let opened = envelope::read_unverified::<Response>(&packet.payload);
        let Some(mut opened) = opened.filter(|_| boot == agent.config.boot) else {
            return packet;
        };
        let skipped = matches!(
            opened.message.answer,
            Answer::Index { .. } | Answer::Objects(_)
        );
        if !skipped || opened.message.nonce == agent.asked {
            return packet;
        }
        opened.message.nonce = agent.asked;
        let topic = Topic::Response(node, agent.config.boot);
        let sequence = ahead(agent, opened.sequence.boot);
        packet.payload = self.signed(agent, &topic, sequence, &opened.message);
        packet
    }

    /// An agent that skips the signature takes what the broker made up, if it can be read at all.
    fn without_signature(&self, agent: &mut Agent, mut packet: Packet) -> Packet {
        let Some(topic @ Topic::Head(_)) = Topic::parse(&self.cluster, &packet.topic) else {
            return packet;
        };
        if let Some(opened) = envelope::read_unverified::<Head>(&packet.payload) {
            let sequence = ahead(agent, opened.sequence.boot);
            packet.payload = self.signed(agent, &topic, sequence, &opened.message);
        }
        packet
    }

    fn signed<M: Message>(
        &self,
        agent: &Agent,
        topic: &Topic,
        sequence: Sequence,
        message: &M,
    ) -> Vec<u8> {
        let me = KeyId::of(&agent.config.identity.verifying_key());
        let topic = topic.text(&self.cluster);
        let key = self.controller.identity();
        envelope::sign(key, &topic, me, sequence, message).unwrap_or_default()
    }

    /// A document that lacks an object, if the agent makes that mistake.
    pub(super) fn halved(&self, document: Arc<Document>) -> Arc<Document> {
        if self.mutation != Some(Mutation::HalfDocument) {
            return document;
        }
        let mut half = Document::clone(&document);
        half.objects.pop_last();
        Arc::new(half)
    }
}

/// A sequence above all that were seen.
fn ahead(agent: &mut Agent, boot: Boot) -> Sequence {
    agent.forged_seq += 1;
    Sequence {
        boot,
        seq: u64::MAX / 2 + agent.forged_seq,
        epoch: 0,
    }
}
