//! A board in memory: carries actions out at once, records them, fails on command.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use bramble_agent_core::observed::{
    Exit, Image, ImageState, ObservedContainer, ObservedPod, Run, Sandbox,
};
use bramble_agent_core::plan::Action;
use bramble_agent_core::time::Moment;
use bramble_agent_core::volume;
use bramble_wire::object::PodUid;
use tokio::sync::watch;

use super::{Clock, Failed, Seen, World};

pub(super) struct FakeWorld {
    inner: Mutex<Inner>,
    changes: watch::Sender<u64>,
    clock: Clock,
}

#[derive(Default)]
struct Inner {
    pods: BTreeMap<PodUid, ObservedPod>,
    absent: BTreeSet<String>,
    done: Vec<String>,
    failing: Vec<(&'static str, Failed)>,
    idle: Option<&'static str>,
    hanging: BTreeMap<PodUid, watch::Receiver<bool>>,
}

impl FakeWorld {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            inner: Mutex::default(),
            changes: watch::Sender::new(0),
            clock,
        }
    }

    /// What was done since the last call.
    pub(super) fn done(&self) -> Vec<String> {
        std::mem::take(&mut self.inner.lock().unwrap().done)
    }

    /// How many actions of this name were begun and not yet asked for.
    pub(super) fn count(&self, name: &str) -> usize {
        let inner = self.inner.lock().unwrap();
        let of = |done: &&String| done.starts_with(name);
        inner.done.iter().filter(of).count()
    }

    /// The next action with this name fails.
    pub(super) fn fail(&self, name: &'static str, failed: Failed) {
        self.inner.lock().unwrap().failing.push((name, failed));
    }

    /// Actions with this name do nothing from now on.
    pub(super) fn without_effect(&self, name: &'static str) {
        self.inner.lock().unwrap().idle = Some(name);
    }

    /// Starting the sandbox of this pod takes until the sender says true.
    pub(super) fn hang(&self, uid: PodUid) -> watch::Sender<bool> {
        let (end, ended) = watch::channel(false);
        self.inner.lock().unwrap().hanging.insert(uid, ended);
        end
    }

    pub(super) fn without_image(&self, image: &str) {
        self.inner.lock().unwrap().absent.insert(image.to_owned());
    }

    pub(super) fn load(&self, image: &str) {
        self.inner.lock().unwrap().absent.remove(image);
        self.changed();
    }

    pub(super) fn exit(&self, uid: PodUid, container: &str, code: i32) {
        let now = (self.clock)();
        let mut inner = self.inner.lock().unwrap();
        let pod = inner.pods.get_mut(&uid).expect("pod");
        let seen = pod.containers.get_mut(container).expect("container");
        end(seen, code, now);
        drop(inner);
        self.changed();
    }

    pub(super) fn is_running(&self, uid: PodUid) -> bool {
        let inner = self.inner.lock().unwrap();
        inner.pods.get(&uid).is_some_and(|pod| {
            !pod.containers.is_empty()
                && (pod.containers.values()).all(|seen| matches!(seen.run, Run::Running { .. }))
        })
    }

    /// The board is switched off and on.
    pub(super) fn power_cut(&self) {
        self.inner.lock().unwrap().pods.clear();
    }

    fn changed(&self) {
        self.changes.send_modify(|n| *n += 1);
    }
}

fn end(seen: &mut ObservedContainer, code: i32, now: Moment) {
    if let Run::Running { started, .. } = seen.run {
        seen.run = Run::Exited(Exit {
            code,
            started,
            finished: now,
            ..Exit::default()
        });
    }
}

impl World for FakeWorld {
    async fn observe(&self, images: &BTreeSet<String>, _now: Moment) -> Seen {
        let inner = self.inner.lock().unwrap();
        let state = |image: &String| {
            if inner.absent.contains(image) {
                return ImageState::Absent;
            }
            ImageState::Present(Image {
                id: format!("sha256:{image}"),
                entrypoint: vec!["/run".into()],
                ..Image::default()
            })
        };
        Seen {
            pods: inner.pods.clone(),
            images: (images.iter().map(|image| (image.clone(), state(image)))).collect(),
            ..Seen::default()
        }
    }

    async fn execute(&self, action: Action) -> Result<(), Failed> {
        let uid = action.uid();
        let n = uid.0[0];
        let hanging = self.inner.lock().unwrap().hanging.get(&uid).cloned();
        if let (Some(mut ended), Action::StartSandbox(_)) = (hanging, &action) {
            self.inner.lock().unwrap().done.push(format!("hang {n}"));
            ended.wait_for(|ended| *ended).await.expect("it ends");
        }
        let now = (self.clock)();
        let mut inner = self.inner.lock().unwrap();
        let name = match &action {
            Action::StartSandbox(_) => "sandbox",
            Action::WriteVolumes { .. } => "volumes",
            Action::StartContainer(_) => "start",
            Action::StopContainers { .. } => "stop",
            Action::StopSandbox { .. } => "end",
            Action::RemovePod { .. } => "remove",
        };
        let failing = inner.failing.iter().position(|(which, _)| *which == name);
        if let Some(at) = failing {
            let (_, failed) = inner.failing.remove(at);
            inner.done.push(format!("{name} {n} failed"));
            return Err(failed);
        }
        let life = match &action {
            Action::StartContainer(input) => format!("#{}", input.life),
            _ => String::new(),
        };
        inner.done.push(format!("{name} {n}{life}"));
        if inner.idle == Some(name) {
            return Ok(());
        }
        match action {
            Action::StartSandbox(input) => {
                let pod = ObservedPod {
                    sandbox: Sandbox::Ready,
                    containers: BTreeMap::new(),
                    files: Some(volume::digest(&input.volumes)),
                };
                inner.pods.insert(uid, pod);
            }
            Action::WriteVolumes { volumes, .. } => {
                let pod = inner.pods.get_mut(&uid).expect("pod");
                pod.files = Some(volume::digest(&volumes));
            }
            Action::StartContainer(input) => {
                let run = Run::Running {
                    started: now,
                    stopping: None,
                    health: None,
                };
                let seen = ObservedContainer {
                    life: input.life,
                    id: input.id,
                    image: input.image,
                    image_id: input.image_id,
                    run,
                };
                let pod = inner.pods.get_mut(&uid).expect("pod");
                pod.containers.insert(input.name, seen);
            }
            Action::StopContainers { .. } => {
                let pod = inner.pods.get_mut(&uid).expect("pod");
                for seen in pod.containers.values_mut() {
                    end(seen, 143, now);
                }
            }
            Action::StopSandbox { .. } => {
                inner.pods.get_mut(&uid).expect("pod").sandbox = Sandbox::Stopped;
            }
            Action::RemovePod { .. } => {
                inner.pods.remove(&uid);
            }
        }
        Ok(())
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
