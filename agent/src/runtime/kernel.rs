//! The runtime on a real kernel: shims, overlays, cgroups.
//!
//! ```text
//! <run dir>/pods/<uid>/               see bramble_wire::shim::path; gone after a reboot
//! <run dir>/pods/<uid>/c/<id>/        bundle: config.json, rootfs (overlay), records of the shim
//! <run dir>/logs/<uid>/<container>/<attempt>.log
//! <data dir>/pods/<uid>/<id>/         upper and work directory of the overlay
//! ```
//!
//! Calls for one pod must not overlap; calls for different pods may.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use bramble_wire::object::PodUid;
use bramble_wire::shim::{
    ContainerRecord, ContainerState, Create, CreateWith, FailureKind, Reply, Request, ShimRecord,
    VERSION_SESSIONS, path,
};
use bramble_wire::stream::Stdio as Streams;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::timeout_at;

use super::bundle::{self, make_private_dir, remove_dir};
use super::cgroup::Cgroups;
use super::options::Options;
use super::process::{stop_process, wait_for_end};
use super::shims::{Shims, run_to_end};
use super::spec::{Console, ContainerConfig};
use super::turns::Turns;
use super::{
    ContainerFact, Error, ExecConfig, ObservedContainer, ObservedPod, PodConfig, PodHandle,
    Runtime, Session, disk, mounts, open,
};
use crate::threads;

/// A shim has this long to end after it was told to.
const SHUTDOWN: Duration = Duration::from_secs(20);

/// See the module.
#[derive(Debug)]
pub struct KernelRuntime {
    options: Options,
    cgroups: Cgroups,
    shims: Shims,
    turns: Turns,
    changes: watch::Sender<u64>,
}

impl KernelRuntime {
    /// Adopts every shim in the run directory. One that doesn't answer in time goes on being asked,
    /// see [`Shim::Silent`].
    ///
    /// # Errors
    /// When the directories can't be made or no cgroups are mounted.
    pub async fn open(options: Options) -> io::Result<Self> {
        for dir in [
            options.pods(),
            options.logs(),
            options.data_dir.join("pods"),
        ] {
            make_private_dir(&dir)?;
        }
        let cgroups = Cgroups::discover(&options.cgroup_parent)?;
        let changes = watch::Sender::new(0);
        Ok(Self {
            cgroups,
            shims: Shims::open(options.clone(), changes.clone()).await,
            turns: Turns::new(),
            changes,
            options,
        })
    }

    /// Options it was opened with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    fn handle(&self, pod: &PodConfig) -> PodHandle {
        let directory = self.options.pod_dir(pod.uid);
        let netns = (!pod.host_network).then(|| directory.join(path::NAMESPACES).join("net"));
        PodHandle { netns, directory }
    }

    /// Root file system and `config.json`.
    async fn prepare(&self, pod: PodUid, config: &ContainerConfig) -> Result<(), Error> {
        let (options, cgroups) = (self.options.clone(), self.cgroups.clone());
        let (id, config) = (config.id.clone(), config.clone());
        let work = move || bundle::prepare(&options, &cgroups, pod, &config);
        threads::run(work).await.unwrap_or_else(|source| {
            Err(Error::Prepare {
                id,
                what: "run",
                source,
            })
        })
    }

    fn bundle(&self, pod: PodUid, id: &str) -> PathBuf {
        bundle::directory(&self.options, pod, id)
    }

    /// The request that creates a container; an old shim knows nothing of consoles, signals and
    /// cgroups, and its containers have none.
    fn create(&self, pod: PodUid, config: &ContainerConfig, old: bool) -> Request {
        let uid = pod.to_string();
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let create = Create {
            id: config.id.clone(),
            log: text(config.log.clone()),
            oom_score_adj: config.oom_score_adj,
            oom_events: text(self.cgroups.oom_events(&uid, &config.id)),
            start: true,
        };
        if old {
            return Request::Create(create);
        }
        let kill = self.cgroups.kill_directories(&uid, &config.id);
        Request::CreateWith(CreateWith {
            create,
            terminal: config.console.tty,
            stdin: config.console.stdin,
            stdin_once: config.console.stdin_once,
            stop_signal: config.stop_signal,
            kill: kill.into_iter().map(text).collect(),
        })
    }

    /// Takes away what [`KernelRuntime::prepare`] made. Blocks while it removes files.
    async fn dismantle(&self, pod: PodUid, id: &str) -> Vec<String> {
        let (bundle, upper) = (self.bundle(pod, id), self.options.data(pod).join(id));
        blocking(move || {
            let mut errors = mounts::unmount_below(&bundle);
            for dir in [bundle, upper] {
                if let Err(error) = remove_dir(&dir) {
                    errors.push(format!("remove {}: {error}", dir.display()));
                }
            }
            errors
        })
        .await
    }

    /// Runs `bramble-oci` ourselves, for a pod whose shim is gone.
    async fn delete_without_shim(&self, pod: PodUid, id: &str) -> Vec<String> {
        let root = self.options.pod_dir(pod).join(path::OCI);
        let mut command = Command::new(&self.options.oci);
        command
            .args(["delete", "--id", id, "--root"])
            .arg(root)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null());
        match run_to_end(&mut command).await {
            Ok(output) if output.status.success() => Vec::new(),
            Ok(output) => vec![String::from_utf8_lossy(&output.stdout).trim().to_owned()],
            Err(error) => vec![format!("run {}: {error}", self.options.oci.display())],
        }
    }

    /// Ends everything of a pod, then removes these directories of it.
    async fn take_down(&self, pod: PodUid, dirs: Vec<PathBuf>) -> Result<(), Error> {
        let record: Option<ShimRecord> =
            disk::read_record(&self.options.pod_dir(pod).join(path::SHIM), "shim record");
        let client = match self.shims.client(pod) {
            Some(client) => Some(client),
            None => self.shims.adopt(pod).await.ok(),
        };
        if let Some(client) = client {
            // Whether it answers or not, its end is made sure of below.
            let _ = tokio::time::timeout(SHUTDOWN, client.ask(Request::Shutdown)).await;
        }
        self.shims.forget(pod);
        if let Some(ShimRecord { pid, start_time }) = record {
            wait_for_end(pid, start_time).await;
        }
        let uid = pod.to_string();
        let cgroups = self.cgroups.clone();
        let run = self.options.pod_dir(pod);
        let errors = blocking(move || {
            // First the processes, so that nothing keeps a mount busy.
            let mut errors = cgroups.remove_pod(&uid);
            errors.extend(mounts::unmount_below(&run));
            if errors.is_empty() {
                for dir in dirs {
                    if let Err(error) = remove_dir(&dir) {
                        errors.push(format!("remove {}: {error}", dir.display()));
                    }
                }
            }
            errors
        })
        .await;
        self.changes.send_modify(|n| *n += 1);
        clean(pod, errors)
    }
}

impl Runtime for KernelRuntime {
    async fn ensure_pod(&self, pod: &PodConfig) -> Result<PodHandle, Error> {
        if self.shims.client(pod.uid).is_some() || self.shims.adopt(pod.uid).await.is_ok() {
            return Ok(self.handle(pod));
        }
        // Never a second one beside it.
        if disk::living_shim(&self.options, pod.uid).is_some() {
            return Err(Error::ShimGone { pod: pod.uid });
        }
        // Containers without a parent can't be taken over; they must be deleted with their pod.
        if !disk::observe(&self.options, pod.uid).is_empty() {
            return Err(Error::ShimGone { pod: pod.uid });
        }
        self.shims.spawn(&self.cgroups, pod).await?;
        self.shims.adopt(pod.uid).await.map_err(|e| Error::Shim {
            pod: pod.uid,
            message: e.to_string(),
        })?;
        Ok(self.handle(pod))
    }

    async fn start_container(
        &self,
        pod: PodUid,
        config: &ContainerConfig,
    ) -> Result<ContainerRecord, Error> {
        let client = self.shims.client(pod).ok_or(Error::ShimGone { pod })?;
        if let Some(ContainerState::Running(record)) = client.containers().get(&config.id) {
            return Ok(*record);
        }
        let old = client.hello.version < VERSION_SESSIONS;
        let plain = ContainerConfig {
            console: Console::default(),
            ..config.clone()
        };
        let config = if old { &plain } else { config };
        if let Err(error) = self.prepare(pod, config).await {
            self.dismantle(pod, &config.id).await;
            return Err(error);
        }
        match client.ask(self.create(pod, config, old)).await {
            Ok(Reply::Running(record) | Reply::Created(record)) => Ok(record),
            Ok(Reply::Failed(failure)) => {
                // A runtime that died half-way leaves a process that waits for its start for ever.
                if matches!(failure.kind, FailureKind::Runtime | FailureKind::TimedOut) {
                    let left = self.delete_without_shim(pod, &config.id).await;
                    if !left.is_empty() {
                        tracing::warn!(%pod, container = config.id, ?left, "clean up after a failed start");
                    }
                }
                self.dismantle(pod, &config.id).await;
                Err(Error::from_failure(pod, failure))
            }
            Ok(_) | Err(_) => Err(Error::ShimGone { pod }),
        }
    }

    async fn stop_container(&self, pod: PodUid, id: &str, grace: Duration) -> Result<(), Error> {
        let grace_ms = u32::try_from(grace.as_millis()).unwrap_or(u32::MAX);
        if let Some(client) = self.shims.client(pod) {
            let stop = Request::Stop {
                id: id.to_owned(),
                grace_ms,
            };
            return match client.ask(stop).await {
                Ok(Reply::Failed(failure)) => Err(Error::from_failure(pod, failure)),
                Ok(_) => Ok(()),
                Err(_) => Err(Error::ShimGone { pod }),
            };
        }
        let file = self.bundle(pod, id).join(path::CONTAINER);
        if let Some(record) = disk::read_record::<ContainerRecord>(&file, "pid record") {
            stop_process(record, grace, self.changes.clone());
        }
        Ok(())
    }

    async fn exec(&self, pod: PodUid, id: &str, config: &ExecConfig) -> Result<Session, Error> {
        let client = self.shims.client(pod).ok_or(Error::ShimGone { pod })?;
        let (id, own) = (id.to_owned(), config.clone());
        let start = async move { open::exec(client, pod, &id, &own).await };
        let begun = self.turns.begin(pod, config.limit, start).await;
        let limit = config.limit.unwrap_or_default();
        let begun = begun.ok_or(Error::TooLate { limit })?;
        let started = async {
            let gone = |_| Err(Error::ShimGone { pod });
            begun.result.await.unwrap_or_else(gone)
        };
        let Some(limit) = config.limit else {
            return started.await;
        };
        let until = begun.since + limit;
        let late = move |_| Error::TooLate { limit };
        let session = timeout_at(until, started).await.map_err(late)??;
        let exit = session.exit;
        Ok(Session {
            exit: Box::pin(async move { timeout_at(until, exit).await.map_err(late)? }),
            ..session
        })
    }

    async fn attach(&self, pod: PodUid, id: &str, stdio: Streams) -> Result<Session, Error> {
        let client = self.shims.client(pod).ok_or(Error::ShimGone { pod })?;
        open::attach(client, pod, id, stdio).await
    }

    async fn delete_container(&self, pod: PodUid, id: &str) -> Result<(), Error> {
        let mut errors = Vec::new();
        match self.shims.client(pod) {
            Some(client) => match client.ask(Request::Delete { id: id.to_owned() }).await {
                Ok(Reply::Failed(failure)) => return Err(Error::from_failure(pod, failure)),
                Ok(_) => {}
                Err(_) => return Err(Error::ShimGone { pod }),
            },
            None if self.bundle(pod, id).exists() => {
                errors.extend(self.delete_without_shim(pod, id).await);
            }
            None => {}
        }
        errors.extend(self.dismantle(pod, id).await);
        clean(pod, errors)
    }

    async fn stop_pod(&self, pod: PodUid) -> Result<(), Error> {
        let dirs = vec![self.options.pod_dir(pod), self.options.data(pod)];
        self.take_down(pod, dirs).await
    }

    async fn delete_pod(&self, pod: PodUid) -> Result<(), Error> {
        let dirs = vec![
            self.options.pod_dir(pod),
            self.options.data(pod),
            self.options.log_dir(pod),
        ];
        self.take_down(pod, dirs).await
    }

    async fn observe(&self) -> Vec<ObservedPod> {
        let look = |uid| {
            let (shim, client) = self.shims.look(uid);
            let containers = match client {
                Some(client) => client.containers().into_iter().map(observed).collect(),
                None => disk::observe(&self.options, uid),
            };
            ObservedPod {
                uid,
                shim,
                containers,
            }
        };
        disk::pods(&self.options).into_iter().map(look).collect()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

fn observed((id, state): (String, ContainerState)) -> ObservedContainer {
    let state = match state {
        ContainerState::Creating => ContainerFact::Creating,
        ContainerState::Created(record) => ContainerFact::Created(record),
        ContainerState::Running(record) => ContainerFact::Running(record),
        ContainerState::Exited(exit) => ContainerFact::Exited(exit),
    };
    ObservedContainer { id, state }
}

fn clean(pod: PodUid, errors: Vec<String>) -> Result<(), Error> {
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Error::CleanUp { pod, errors })
    }
}

/// Runs work that blocks; a panic in it is an error like any other.
async fn blocking(work: impl FnOnce() -> Vec<String> + Send + 'static) -> Vec<String> {
    match threads::run(work).await {
        Ok(errors) => errors,
        Err(error) => vec![error.to_string()],
    }
}
