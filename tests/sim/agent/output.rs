//! What an agent's session wants done, and what the oracle sees of it first.

use bramble_agent_core::session::Output;
use bramble_wire::clock::Millis;
use bramble_wire::envelope;
use bramble_wire::message::{self, Ask};
use bramble_wire::publish::Publish;
use bramble_wire::topic::Topic;

use super::super::Mutation;
use super::super::stats::Invariant;
use super::super::world::{Event, World};
use super::{Agent, Waiter};

impl World {
    pub(super) fn agent_output(&mut self, number: usize, agent: &mut Agent, output: Output) {
        match output {
            Output::Publish(publish) => {
                self.agent_says(number, agent, &publish);
                self.publish(number + 1, &publish);
            }
            Output::Persist(document) => {
                let document = self.halved(document);
                self.check_document(number, &document);
                if self.mutation == Some(Mutation::AcceptOlder) {
                    self.nodes[number].past.push(document.clone());
                }
                agent.state.document = Some(document.clone());
                let write = self.nodes[number].disk.write(agent.state.clone());
                if self.mutation == Some(Mutation::ActBeforePersist) {
                    if let Some(session) = &mut agent.session {
                        session.handle_persisted(document.version, Millis(self.now));
                    }
                    agent.dirty = true;
                }
                agent
                    .waiters
                    .push((write, Waiter::Document(document.version)));
                self.sync_agent(number, write);
            }
            Output::Forget(pods) => {
                self.check_forgotten(number, &pods);
                for uid in &pods {
                    if let Some(pod) = agent.state.memory.get_mut(uid) {
                        pod.acknowledged = true;
                    }
                }
                self.write_lazily(number, agent);
                agent.dirty = true;
            }
            Output::TimeFloor { .. } | Output::StreamOpen(..) | Output::StreamIn(..) => {}
        }
    }

    pub(super) fn write_lazily(&mut self, number: usize, agent: &Agent) {
        let node = &mut self.nodes[number];
        let write = node.disk.write(agent.state.clone());
        let life = node.life;
        let delay = self.rng.disk[number + 1].within(500, 5_000);
        if self.wrote(number + 1, delay) {
            self.after(delay, Event::Synced(number + 1, life, write));
        }
    }

    /// What an agent says is looked at before it leaves.
    fn agent_says(&mut self, number: usize, agent: &mut Agent, publish: &Publish) {
        match &publish.topic {
            Topic::Report(_) => {
                self.nodes[number].reports += 1;
                let opened = envelope::read_unverified::<message::Report>(&publish.payload);
                let pods = opened.map(|opened| opened.message.pods).unwrap_or_default();
                for pod in pods.iter().filter(|pod| pod.gone) {
                    let uid = pod.uid;
                    let memory = &self.nodes[number].disk.durable().memory;
                    let holds = memory.get(&uid).is_some_and(|pod| pod.gone);
                    self.check(Invariant::EndingDurable, holds, || {
                        format!("node {number} says {uid} is gone, its disk does not")
                    });
                    self.oracle.said_gone.insert((number, uid));
                }
            }
            Topic::Request(..) => {
                let opened = envelope::read_unverified::<message::Request>(&publish.payload);
                let Some(request) = opened.map(|opened| opened.message) else {
                    return;
                };
                agent.asked = request.nonce;
                if let Ask::Index { from: 0, .. } = request.ask {
                    self.oracle.index_asked(number);
                }
            }
            _ => {}
        }
    }
}
