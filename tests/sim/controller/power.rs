//! How the controller ends and comes back: killed, its power cut, its store restored or copied.

use bramble_wire::version::HistoryId;

use super::super::rng::Rng;
use super::super::stats::Fault;
use super::super::world::{Event, World};

impl World {
    /// The controller stops in one way or another, and starts again.
    pub fn stop_controller(&mut self, fault: Fault, rng: &mut Rng) {
        if self.controller.process.is_none() {
            return;
        }
        let backup = match fault {
            Fault::Restore | Fault::OldDisk => {
                let backups = &mut self.controller.backups;
                if backups.is_empty() {
                    return;
                }
                let chosen = rng.index(backups.len());
                backups.truncate(chosen + 1);
                backups.last().cloned()
            }
            Fault::RestoreAgain => match self.controller.restored.clone() {
                Some(restored) => Some(restored),
                None => return,
            },
            _ => None,
        };
        self.stats.fault(fault);
        self.note(|| fault.text().into());
        let controller = &mut self.controller;
        controller.process = None;
        controller.life += 1;
        if fault == Fault::ControllerPower {
            let cut = controller.disk.power_cut(rng);
            if cut.lost > 0 {
                self.stats.fault(Fault::ControllerLoss);
            }
            if cut.lied {
                self.stats.fault(Fault::Lie);
                self.note(|| "the controller's disk has kept nothing for a while".into());
                self.oracle_restored();
            }
        }
        if let Some(mut backup) = backup {
            let controller = &mut self.controller;
            controller.restored = (fault != Fault::OldDisk).then(|| backup.clone());
            if fault != Fault::OldDisk {
                backup.epoch += 1;
                backup.history = HistoryId(rng.bytes());
                backup.revision = backup.epoch << 40;
            }
            controller.disk.replace(backup);
            self.oracle_restored();
        }
        let orderly = matches!(fault, Fault::ControllerKill | Fault::RestartLoop);
        if orderly || rng.percent(50) {
            self.close(0);
        } else {
            self.vanish(0);
        }
        let delay = match fault {
            Fault::RestartLoop => rng.within(10, 1_500),
            _ => rng.within(500, 60_000),
        };
        self.after(delay, Event::Start(0));
    }

    /// A process could not write: it ends, and is started again.
    pub fn could_not_write(&mut self, client: usize, life: u32, mut rng: Rng) {
        if self.life(client) != life {
            return;
        }
        if client > 0 {
            return self.agent_could_not_write(client - 1, &mut rng);
        }
        self.note(|| "the controller could not write".into());
        self.controller.process = None;
        self.controller.life += 1;
        self.controller.disk.fail(&mut rng);
        self.close(0);
        let delay = rng.within(500, 20_000);
        self.after(delay, Event::Start(0));
    }

    /// The controller ends, and nobody starts it.
    pub fn end_controller(&mut self) {
        self.controller.process = None;
        self.controller.life += 1;
        self.close(0);
    }

    /// Somebody copies the store's folder while it is written to.
    pub fn copy_store(&mut self, rng: &mut Rng) {
        if self.controller.process.is_none() {
            return;
        }
        self.stats.fault(Fault::Copy);
        let copy = self.controller.disk.copy(rng);
        self.controller.backups.push(copy);
    }
}
