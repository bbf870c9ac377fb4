//! What the node link says, and what the controller does about it.

use super::*;

impl World {
    pub(super) fn link_event(&mut self, process: &mut Process, event: LinkEvent) {
        match event {
            LinkEvent::Report(report) => self.report(process, report),
            LinkEvent::Presence { node, presence } => {
                let Some(number) = self.node_number(&node) else {
                    return;
                };
                self.note(|| format!("node {number} is {presence:?}"));
                match presence {
                    Presence::Ready => process.away.remove(&number),
                    _ => process.away.insert(number, self.now),
                };
            }
            LinkEvent::RaiseEpoch {
                epoch,
                history,
                seen,
                ..
            } => {
                self.note(|| format!("unknown future {seen}"));
                if self.mutation == Some(Mutation::IgnoreFuture) {
                    return;
                }
                if self.mutation == Some(Mutation::ConfirmByItself) {
                    process.store.confirmed_epoch = epoch;
                }
                if self.mutation == Some(Mutation::RaiseUnrecorded) {
                    if let Some(link) = &mut process.link {
                        link.handle_epoch(epoch, history, Millis(self.now));
                    }
                    return;
                }
                process.store.epoch = epoch;
                process.store.history = history;
                process.store.revision = process.store.revision.max(epoch << 40);
                self.commit(process, Some(Waiter::Epoch(epoch, history)));
            }
            LinkEvent::Braked { .. } => process.braked = true,
            // They do not change here, so it is a new session.
            LinkEvent::Facts { node, .. } => {
                if let Some(number) = self.node_number(&node) {
                    process.told.remove(&number);
                }
            }
            LinkEvent::Reconnected(_)
            | LinkEvent::StreamOut { .. }
            | LinkEvent::Duplicate { .. }
            | LinkEvent::Alone(_)
            | LinkEvent::Rival { .. }
            | LinkEvent::Board { .. }
            | LinkEvent::Dropped { .. } => {}
        }
    }

    pub(super) fn report(&mut self, process: &mut Process, report: Report) {
        let Some(number) = self.node_number(&report.node) else {
            return;
        };
        for event in &report.events {
            let told = process.told.entry(number).or_default();
            let new = told.insert(event.message.clone());
            self.check(Invariant::ToldOnce, new, || {
                format!("node {number} told {} twice", event.message)
            });
        }
        let mut gone = Vec::new();
        for pod in &report.pods {
            let strays = process.strays.entry(number).or_default();
            if !pod.gone && !process.store.pods.contains_key(&pod.uid) {
                strays.insert(pod.uid);
            } else {
                strays.remove(&pod.uid);
            }
            process.phases.insert(pod.uid, pod.phase);
            if pod.gone {
                gone.push(pod.uid);
                process.phases.remove(&pod.uid);
            }
            let Some(object) = process.store.pods.get_mut(&pod.uid) else {
                continue;
            };
            if object.node != number {
                continue;
            }
            if pod.gone {
                process.store.pods.remove(&pod.uid);
                process.store.next();
            } else if matches!(pod.phase, Phase::Succeeded | Phase::Failed)
                && object.ended.is_none()
            {
                object.ended = Some(pod.phase);
                process.store.next();
            }
        }
        if let Some(all) = &report.all {
            let strays = process.strays.entry(number).or_default();
            strays.retain(|uid| all.contains(uid));
        }
        if report.hard {
            if self.mutation == Some(Mutation::AckBeforeDurable) {
                self.acknowledge(process, number, report.number, gone);
                self.commit(process, None);
                return;
            }
            self.commit(process, Some(Waiter::Report(number, report.number, gone)));
        } else {
            self.acknowledge(process, number, report.number, gone);
        }
    }

    /// The report is taken: what it ended is on disk.
    pub(super) fn acknowledge(
        &mut self,
        process: &mut Process,
        number: usize,
        report: u64,
        gone: Vec<PodUid>,
    ) {
        let durable = &self.controller.disk.durable().pods;
        if !gone.is_empty() {
            let there = gone.iter().find(|uid| durable.contains_key(uid)).copied();
            self.check(Invariant::AckDurable, there.is_none(), || {
                format!("{there:?} is acknowledged as gone, its object is still on disk")
            });
        }
        let name = self.nodes[number].name.clone();
        if let Some(link) = &mut process.link {
            link.handle_durable(&name, report, gone, Millis(self.now));
        }
    }
}
