//! Mistakes made on purpose, for the oracle to find.

use super::*;

impl World {
    /// An agent that skips the nonce takes any answer for the one that it waits for.
    pub(super) fn mutated(&self, agent: &mut Agent, mut packet: Packet) -> Packet {
        if self.mutation != Some(Mutation::SkipNonce) || packet.forged {
            return packet;
        }
        let Some(Topic::Response(node, boot)) = Topic::parse(&self.cluster, &packet.topic) else {
            return packet;
        };
        let opened = envelope::read_unverified::<message::Response>(&packet.payload);
        let Some(mut opened) = opened.filter(|_| boot == agent.config.boot) else {
            return packet;
        };
        let skipped = matches!(
            opened.message.answer,
            message::Answer::Index { .. } | message::Answer::Objects(_)
        );
        if !skipped || opened.message.nonce == agent.asked {
            return packet;
        }
        opened.message.nonce = agent.asked;
        agent.forged_seq += 1;
        let boot = opened.sequence.boot;
        let sequence = Sequence {
            boot,
            seq: u64::MAX / 2 + agent.forged_seq,
            epoch: 0,
        };
        let me = KeyId::of(&agent.config.identity.verifying_key());
        let topic = Topic::Response(node, agent.config.boot).text(&self.cluster);
        let key = self.controller.identity();
        if let Ok(payload) = envelope::sign(key, &topic, me, sequence, &opened.message) {
            packet.payload = payload;
        }
        packet
    }
}
