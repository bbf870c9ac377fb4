//! Pulls of the agent: what pods want, one child for each, in a queue.
//!
//! In: the planner's whole list of wants at each pass ([`Puller::want`]), and people's through the
//! local socket ([`Puller::pull_now`]). Out: what became of them ([`Puller::state`]), the kubelet's
//! events, images in the [`Store`]. The list is level, not edge: what nobody wants any more is
//! dropped, a running pull after a while. Nothing here waits on behalf of the loop.
//!
//! ```text
//! want ─▶ job (one for each image and its credentials)
//!           │ a copy is here (policy Always)          │ none is here
//!           ▼                                         ▼
//!         check: still the same digest? ── no ──▶   pull ─▶ store ─▶ got
//!           ├─ yes ─▶ got                             └─▶ failed (back-off is the planner's)
//!           └─ registry not reached ─▶ got, the copy that is here
//! ```

mod child;
mod job;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bramble_agent_core::image::{Failed, Got, Pulls, Want};
use bramble_agent_core::time::Moment;
use bramble_link::tls::FloorClock;
use bramble_wire::object::PodUid;
use tokio::sync::mpsc;

use super::reference::Reference;
use super::registry::{Outcome, Progress, PullError};
use super::store::{Error, Store};
use crate::events::Events;
use job::{Job, Jobs, Key, Lane, Waiter};

/// Checks of digests at the same time; they are a request each.
const CHECKS: usize = 2;

/// What a puller is made with.
#[derive(Debug, Clone)]
pub struct Options {
    /// The board's file about registries.
    pub registries: PathBuf,
    /// Pulls at the same time.
    pub parallel: usize,
    /// Time for TLS.
    pub clock: Arc<FloorClock>,
}

/// See the module.
#[derive(Debug)]
pub struct Puller {
    store: Arc<Store>,
    events: Events,
    options: Options,
    now: fn() -> Moment,
    state: Mutex<State>,
    /// Somebody should see to the disk: how full it is may have changed.
    full: mpsc::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    pulls: Pulls,
    jobs: Jobs,
    /// Who was refused an image by its registry: no copy does for them later.
    denied: BTreeSet<(PodUid, String)>,
    /// Registries that could not be reached, and until when they are not asked where a copy will do.
    away: BTreeMap<String, u64>,
}

impl Puller {
    /// A puller, and where it says that the disk should be seen to.
    pub fn new(
        store: Arc<Store>,
        events: Events,
        options: Options,
        now: fn() -> Moment,
    ) -> (Arc<Self>, mpsc::Receiver<()>) {
        let (full, look) = mpsc::channel(1);
        let puller = Self {
            store,
            events,
            options,
            now,
            state: Mutex::default(),
            full,
        };
        (Arc::new(puller), look)
    }

    /// What pulls came to.
    pub fn state(&self) -> Pulls {
        self.lock().pulls.clone()
    }

    /// Takes note of everything that is wanted; pods in `busy` stay as they are.
    pub fn want(self: &Arc<Self>, wants: Vec<Want>, busy: &BTreeSet<PodUid>) {
        let mut state = self.lock();
        forget(&mut state, &wants, busy);
        for want in wants.into_iter().filter(|want| !want.hold) {
            self.enqueue(&mut state, want);
        }
        self.start_more(&mut state);
    }

    /// Pulls for a person; `auth` is a Docker configuration. Says how far it is.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn pull_now(
        self: &Arc<Self>,
        name: &str,
        auth: Option<Vec<u8>>,
        progress: impl FnMut(Progress) + Send,
    ) -> Result<super::child::Loaded, Error> {
        let reference = Reference::parse(name)?;
        let order = child::order(
            &self.options,
            &reference,
            auth.into_iter().collect(),
            vec![],
        );
        let pulled = self
            .carry_out(&order, progress)
            .await
            .map_err(Error::Pull)?;
        match pulled {
            Outcome::Pulled(pulled) => Ok(pulled.image),
            Outcome::Same | Outcome::Differs => Err(Error::Missing {
                reference: reference.to_string(),
            }),
        }
    }

    /// A container's image was here when its life began.
    pub fn tell_present(&self, uid: PodUid, container: &str, life: u32, image: &str) {
        let key = (uid, container.to_owned());
        let got = self.lock().pulls.got.get(&key).map(|got| got.life);
        if got != Some(life) {
            self.tell_as_present(uid, container, image);
        }
    }

    fn tell_as_present(&self, uid: PodUid, container: &str, image: &str) {
        let message = format!(
            "Container image {image:?} already present on machine and can be accessed by the pod"
        );
        self.events.tell(uid, container, false, "Pulled", &message);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What it holds is only ever replaced entry by entry.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enqueue(&self, state: &mut State, want: Want) {
        let place = (want.uid, want.container.clone());
        if (state.pulls.got.get(&place))
            .is_some_and(|got| got.life == want.life && got.name == want.image)
        {
            return;
        }
        let Ok(reference) = Reference::parse(&want.image) else {
            // The planner says so by itself.
            return;
        };
        let here = self.store.resolve(&want.image).ok();
        // A digest means the same for ever: there is nothing to ask.
        if let Some(image) = here.as_ref().filter(|_| reference.digest.is_some()) {
            self.tell_as_present(want.uid, &want.container, &want.image);
            state.pulls.got.insert(place, got(&want, image));
            self.store.notify();
            return;
        }
        let key = Key::of(&reference, &want.credentials);
        let waiter = Waiter {
            uid: want.uid,
            container: want.container.clone(),
            life: want.life,
            image: want.image.clone(),
            since: (self.now)(),
        };
        let lane = if here.is_some() {
            Lane::Check
        } else {
            Lane::Pull
        };
        if !state.jobs.join(key, reference, &want, waiter, lane) {
            return;
        }
        let message = format!("Pulling image {:?}", want.image);
        self.events
            .tell(want.uid, &want.container, false, "Pulling", &message);
        if !want.missing.is_empty() {
            let message = format!(
                "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                want.missing.join(", ")
            );
            let reason = "FailedToRetrieveImagePullSecret";
            self.events.tell(want.uid, "", true, reason, &message);
        }
    }

    /// Starts what may run now.
    fn start_more(self: &Arc<Self>, state: &mut State) {
        let limits = [
            (Lane::Check, CHECKS),
            (Lane::Pull, self.options.parallel.max(1)),
        ];
        for (lane, most) in limits {
            while let Some(key) = state.jobs.next(lane, most) {
                let me = Arc::clone(self);
                let away = state.jobs.get(&key).and_then(|job| {
                    let until = state.away.get(&job.reference.host)?;
                    (lane == Lane::Check && (self.now)().boot_ms < *until).then_some(())
                });
                let run = key.clone();
                let task = tokio::spawn(async move { me.run(run, lane, away.is_some()).await });
                state.jobs.started(&key, task.abort_handle());
            }
        }
    }

    /// The end of a job, one way or the other.
    fn finish(self: &Arc<Self>, key: &Key, result: Result<job::Result, PullError>) {
        let now = (self.now)();
        let mut state = self.lock();
        let Some(job) = state.jobs.remove(key) else {
            return;
        };
        match result {
            Ok(job::Result::Got { id, told }) => self.give(&mut state, &job, &id, &told, now),
            Ok(job::Result::Again) => state.jobs.again(key.clone(), job),
            Err(error) => fail(&mut state, &job.waiters, &error, now),
        }
        self.start_more(&mut state);
        drop(state);
        self.store.notify();
    }

    fn give(
        &self,
        state: &mut State,
        job: &Job,
        id: &super::ImageId,
        told: &job::Told,
        now: Moment,
    ) {
        let Ok(image) = self.store.resolve(&id.0) else {
            // Removed in the same moment: it is wanted anew.
            return;
        };
        for waiter in &job.waiters {
            let (uid, container) = (waiter.uid, waiter.container.as_str());
            let asked = (uid, waiter.image.clone());
            match told {
                job::Told::Local { why } if state.denied.contains(&asked) => {
                    let error = PullError::Unreachable(why.clone());
                    fail(state, std::slice::from_ref(waiter), &error, now);
                    continue;
                }
                job::Told::Pulled { .. } => {
                    state.denied.remove(&asked);
                }
                job::Told::Local { .. } => {}
            }
            match told {
                job::Told::Pulled { took_ms } => {
                    let waited = now.boot_ms.saturating_sub(waiter.since.boot_ms);
                    let size = self.store.size(id);
                    let message = format!(
                        "Successfully pulled image {:?} in {} ({} including waiting). Image size: {size} bytes.",
                        waiter.image,
                        job::go_duration(*took_ms),
                        job::go_duration(waited.max(*took_ms))
                    );
                    self.events.tell(uid, container, false, "Pulled", &message);
                }
                job::Told::Local { why } => {
                    let message = format!(
                        "The registry of image {:?} can't be reached, the copy on the node ({id}) is used: {why}",
                        waiter.image
                    );
                    self.events
                        .tell(uid, container, true, "RegistryUnreachable", &message);
                }
            }
            let place = (uid, waiter.container.clone());
            state.pulls.failed.remove(&(uid, waiter.image.clone()));
            let got = Got {
                life: waiter.life,
                name: waiter.image.clone(),
                image: seen(&image),
            };
            state.pulls.got.insert(place, got);
        }
    }
}

/// What nobody wants any more.
fn forget(state: &mut State, wants: &[Want], busy: &BTreeSet<PodUid>) {
    let lives: BTreeSet<(PodUid, &str, u32)> = (wants.iter())
        .map(|want| (want.uid, want.container.as_str(), want.life))
        .collect();
    let images: BTreeSet<(PodUid, &str)> = (wants.iter())
        .map(|want| (want.uid, want.image.as_str()))
        .collect();
    state.pulls.got.retain(|(uid, container), got| {
        busy.contains(uid) || lives.contains(&(*uid, container.as_str(), got.life))
    });
    state
        .pulls
        .failed
        .retain(|(uid, image), _| busy.contains(uid) || images.contains(&(*uid, image.as_str())));
    state.jobs.retain_waiters(|waiter| {
        busy.contains(&waiter.uid)
            || lives.contains(&(waiter.uid, waiter.container.as_str(), waiter.life))
    });
}

fn got(want: &Want, image: &super::Image) -> Got {
    Got {
        life: want.life,
        name: want.image.clone(),
        image: seen(image),
    }
}

/// An image as the planner knows it.
pub fn seen(image: &super::Image) -> bramble_agent_core::observed::Image {
    let config = image.config.clone();
    bramble_agent_core::observed::Image {
        id: image.id.0.clone(),
        entrypoint: config.entrypoint,
        cmd: config.cmd,
        env: config.env,
        working_dir: config.working_dir,
        user: config.user,
        stop_signal: config.stop_signal,
    }
}

fn fail(state: &mut State, waiters: &[Waiter], error: &PullError, now: Moment) {
    let mut done = BTreeSet::new();
    for waiter in waiters {
        let place = (waiter.uid, waiter.image.clone());
        // Two containers of a pod with one image failed once.
        if !done.insert(place.clone()) {
            continue;
        }
        tracing::warn!(pod = %waiter.uid, image = waiter.image, %error, "not pulled");
        if let PullError::Denied(_) = error {
            state.denied.insert(place.clone());
        }
        let before = state
            .pulls
            .failed
            .get(&place)
            .map_or(0, |failed| failed.count);
        let failed = Failed {
            kind: child::kind(error),
            message: error.to_string(),
            at: now,
            count: before.saturating_add(1),
        };
        state.pulls.failed.insert(place, failed);
    }
}
