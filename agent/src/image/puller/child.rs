//! Running one job: the child, what it says, what that means.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bramble_agent_core::image::{Credentials, FailedKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdout, Command};

use super::super::reference::Reference;
use super::super::registry::{Order, Outcome, Progress, PullError, SAID_MAX, Said};
use super::job::{Key, Lane, Result as Ended, Told};
use super::{Options, Puller};

/// A registry that could not be reached is not asked again for so long where a copy will do.
const AWAY_MS: u64 = 30_000;
/// A check takes no longer than this.
const CHECK: Duration = Duration::from_secs(15);
/// The child says something at least this often; one that doesn't hangs.
const SILENCE: Duration = Duration::from_secs(30 * 60);
/// A pull that nobody wants is ended after this.
const ABANDONED: Duration = Duration::from_secs(10);
/// First word about a long pull, and the time between those that follow.
const FIRST_WORD: Duration = Duration::from_secs(30);
const WORDS: Duration = Duration::from_secs(120);

/// Which reason a failure is shown with. One that was not reached is a plain `ErrImagePull`, as
/// upstream.
pub(super) fn kind(error: &PullError) -> FailedKind {
    match error {
        PullError::Unavailable(_) => FailedKind::RegistryUnavailable,
        _ => FailedKind::Pull,
    }
}

/// An order to pull.
pub(super) fn order(
    options: &Options,
    reference: &Reference,
    config_json: Vec<Vec<u8>>,
    config: Vec<Vec<u8>>,
) -> Order {
    Order {
        reference: reference.to_string(),
        config_json,
        config,
        registries: options.registries.clone(),
        known: Vec::new(),
        only_check: false,
        hurry: false,
        time_floor: options.clock.now(),
    }
}

impl Puller {
    /// Carries out a job. `away`: its registry was not reached a moment ago.
    pub(super) async fn run(self: Arc<Self>, key: Key, lane: Lane, away: bool) {
        let Some((reference, order)) = self.order_of(&key, lane) else {
            return;
        };
        let began = Instant::now();
        let result = match away {
            true => Err(PullError::Unreachable(format!(
                "{}: it was not reached a moment ago either",
                reference.host
            ))),
            false => self.watched(&key, lane, &order).await,
        };
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let here = || self.store.resolve(&reference.to_string()).ok();
        let pulled = |id| Ended::Got {
            id,
            told: Told::Pulled { took_ms },
        };
        let ended = match result {
            Ok(Outcome::Differs) => Ok(Ended::Again),
            Ok(Outcome::Same) => match here() {
                Some(image) => Ok(pulled(image.id)),
                None => Ok(Ended::Again),
            },
            Ok(Outcome::Pulled(done)) => Ok(pulled(done.image.id)),
            // A node comes back without a network: what is here is what it had.
            Err(PullError::Unreachable(why)) => match here() {
                Some(image) => {
                    if !away {
                        let until = (self.now)().boot_ms + AWAY_MS;
                        self.lock().away.insert(reference.host.clone(), until);
                    }
                    Ok(Ended::Got {
                        id: image.id,
                        told: Told::Local { why },
                    })
                }
                None => Err(PullError::Unreachable(why)),
            },
            Err(error) => Err(error),
        };
        if matches!(ended, Err(PullError::Disk(_))) || lane == Lane::Pull {
            // One look is as good as many.
            let _ = self.full.try_send(());
        }
        self.finish(&key, ended);
    }

    fn order_of(&self, key: &Key, lane: Lane) -> Option<(Reference, Order)> {
        let state = self.lock();
        let job = state.jobs.get(key)?;
        let (mut json, mut config) = (Vec::new(), Vec::new());
        for one in &job.credentials {
            match one {
                Credentials::ConfigJson(bytes) => json.push(bytes.clone()),
                Credentials::Config(bytes) => config.push(bytes.clone()),
            }
        }
        let reference = job.reference.clone();
        let mut order = order(&self.options, &reference, json, config);
        if lane == Lane::Check {
            order.known = self.store.digests(&reference);
            order.only_check = true;
            order.hurry = true;
        }
        Some((reference, order))
    }

    /// Runs the child, unless nobody wants it any more or it takes too long.
    async fn watched(&self, key: &Key, lane: Lane, order: &Order) -> Result<Outcome, PullError> {
        let mut words = Instant::now() + FIRST_WORD;
        let listen = |progress: Progress| {
            if let Some(job) = self.lock().jobs.get_mut(key) {
                job.progress = progress;
            }
            if Instant::now() >= words {
                words = Instant::now() + WORDS;
                self.tell_progress(key, progress);
            }
        };
        let abandoned = async {
            let mut before = false;
            loop {
                tokio::time::sleep(ABANDONED).await;
                let now = self.lock().jobs.is_abandoned(key);
                if before && now {
                    return;
                }
                before = now;
            }
        };
        let work = self.carry_out(order, listen);
        tokio::select! {
            done = work => done,
            () = abandoned => Err(PullError::Io("nobody wants it any more".into())),
            () = tokio::time::sleep(CHECK), if lane == Lane::Check => {
                Err(PullError::Unreachable("no answer in time".into()))
            }
        }
    }

    fn tell_progress(&self, key: &Key, progress: Progress) {
        let state = self.lock();
        for waiter in state.jobs.get(key).iter().flat_map(|job| &job.waiters) {
            let message = format!(
                "Pulling image {:?}: {} of {} MB, {} of {} layers unpacked",
                waiter.image,
                progress.bytes / 1_000_000,
                progress.of.div_ceil(1_000_000),
                progress.layers,
                progress.of_layers
            );
            let (uid, container) = (waiter.uid, &waiter.container);
            self.events.tell(uid, container, false, "Pulling", &message);
        }
    }

    /// Runs a child with an order, and names what it brought.
    pub(super) async fn carry_out(
        &self,
        order: &Order,
        mut progress: impl FnMut(Progress),
    ) -> Result<Outcome, PullError> {
        // Until it has its name nobody must take it for rubbish.
        let _unpacking = match order.only_check {
            true => None,
            false => Some(self.store.unpacking().await),
        };
        let failed = |e: std::io::Error| PullError::Io(format!("run the child: {e}"));
        let mut child = Command::new(&self.store.program)
            .arg("pull")
            .arg(&self.store.root)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let _left = LeftBehind::of(&child, &self.store.root);
        let stdin = child.stdin.take();
        let stdout = child.stdout.take();
        let (Some(mut stdin), Some(mut stdout)) = (stdin, stdout) else {
            return Err(PullError::Io("run the child: no pipes".into()));
        };
        stdin
            .write_all(&bramble_wire::encode(order))
            .await
            .map_err(failed)?;
        drop(stdin);
        let result = loop {
            let said = tokio::time::timeout(SILENCE, read_said(&mut stdout)).await;
            match said {
                Ok(Some(Said::Progress(now))) => progress(now),
                Ok(Some(Said::Done(result))) => break *result,
                Ok(None) => {
                    // Out of memory, most likely: an image made to be.
                    let status = child.wait().await.map_err(failed)?;
                    let text = format!("the child ended without an answer ({status})");
                    return Err(PullError::Invalid(text));
                }
                Err(_) => return Err(PullError::Io("the child hangs".into())),
            }
        };
        child.wait().await.map_err(failed)?;
        if let Ok(Outcome::Pulled(pulled)) = &result {
            let named = self
                .store
                .register(std::slice::from_ref(&pulled.image))
                .await;
            named.map_err(|e| PullError::Io(crate::error_chain(&e)))?;
        }
        result
    }
}

async fn read_said(stdout: &mut ChildStdout) -> Option<Said> {
    let length = stdout.read_u32_le().await.ok()? as usize;
    if length > SAID_MAX {
        return None;
    }
    let mut body = vec![0; length];
    stdout.read_exact(&mut body).await.ok()?;
    bramble_wire::decode(&body, "answer of the child").ok()
}

/// Half a layer of a child that was killed.
struct LeftBehind(Option<std::path::PathBuf>);

impl LeftBehind {
    fn of(child: &Child, root: &std::path::Path) -> Self {
        Self(
            child
                .id()
                .map(|pid| root.join("tmp").join(format!("layer-{pid}"))),
        )
    }
}

impl Drop for LeftBehind {
    fn drop(&mut self) {
        let Some(path) = self.0.take().filter(|path| path.exists()) else {
            return;
        };
        // The child may take a moment to be dead; what remains then is removed at the next start.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                tokio::time::sleep(Duration::from_millis(200)).await;
                let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(path));
                let _ = removed.await;
            });
        }
    }
}
