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

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bramble_wire::object::PodUid;
use bramble_wire::shim::{
    ContainerRecord, ContainerState, Create, CreateWith, ExitRecord, FailureKind, Reply, Request,
    ShimRecord, VERSION_SESSIONS, path,
};
use bramble_wire::stream::Stdio as Streams;
use tokio::process::Command;
use tokio::sync::{Semaphore, watch};

use super::bundle::{self, make_dir, make_private_dir, remove_dir};
use super::cgroup::Cgroups;
use super::client::ShimClient;
use super::options::Options;
use super::process::{alive, stop_process, wait_for_end};
use super::spec::{Console, ContainerConfig};
use super::{
    ContainerFact, Error, ExecConfig, ObservedContainer, ObservedPod, PodConfig, PodHandle,
    Runtime, Session, mounts, open, sysctl,
};

/// A shim has this long to end after it was told to.
const SHUTDOWN: Duration = Duration::from_secs(20);

/// Commands that are being started at once; more wait for their turn.
const EXECS_AT_ONCE: usize = 4;

/// See the module.
#[derive(Debug)]
pub struct KernelRuntime {
    options: Options,
    cgroups: Cgroups,
    shims: Mutex<BTreeMap<PodUid, ShimClient>>,
    /// Pods whose shim lives and did not answer when it was asked again.
    mute: Mutex<BTreeSet<PodUid>>,
    changes: watch::Sender<u64>,
    exec_turns: Semaphore,
}

impl KernelRuntime {
    /// Adopts every shim in the run directory. One that doesn't answer is left for
    /// [`Runtime::observe`] to report.
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
        let this = Self {
            options,
            cgroups,
            shims: Mutex::default(),
            mute: Mutex::default(),
            changes,
            exec_turns: Semaphore::new(EXECS_AT_ONCE),
        };
        for pod in this.pods_on_disk() {
            if let Err(error) = this.adopt(pod).await {
                tracing::warn!(%pod, %error, "shim not adopted");
            }
        }
        Ok(this)
    }

    /// Options it was opened with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    fn client(&self, pod: PodUid) -> Option<ShimClient> {
        let shims = lock(&self.shims);
        shims.get(&pod).filter(|c| !c.gone()).cloned()
    }

    fn forget(&self, pod: PodUid) -> Option<ShimClient> {
        lock(&self.shims).remove(&pod)
    }

    fn pods_on_disk(&self) -> Vec<PodUid> {
        names(&self.options.pods())
            .iter()
            .filter_map(|n| PodUid::parse(n))
            .collect()
    }

    /// Connects to a pod's shim and makes sure that it is the one that the pod's directory names.
    async fn adopt(&self, pod: PodUid) -> io::Result<ShimClient> {
        let dir = self.options.pod_dir(pod);
        let client = ShimClient::connect(&dir.join(path::SOCKET), self.changes.clone()).await?;
        let record: ShimRecord = read_record(&dir.join(path::SHIM), "shim record")
            .ok_or_else(|| io::Error::other("the shim left no record"))?;
        let hello = &client.hello;
        if hello.pod != pod.to_string()
            || hello.shim != record
            || !alive(record.pid, record.start_time)
        {
            return Err(io::Error::other(
                "another shim answers than the one recorded",
            ));
        }
        lock(&self.shims).insert(pod, client.clone());
        lock(&self.mute).remove(&pod);
        Ok(client)
    }

    /// A shim that lives but lost its connection, or did not answer in time at the agent's start, is
    /// asked once more before its pod is given up: its containers are well.
    async fn adopt_again(&self, pod: PodUid) -> Option<ShimClient> {
        let record = self.options.pod_dir(pod).join(path::SHIM);
        let record: ShimRecord = read_record(&record, "shim record")?;
        if !alive(record.pid, record.start_time) || lock(&self.mute).contains(&pod) {
            return None;
        }
        match self.adopt(pod).await {
            Ok(client) => Some(client),
            // It is just starting.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(%pod, %error, "the shim lives and does not answer");
                lock(&self.mute).insert(pod);
                None
            }
        }
    }

    async fn spawn_shim(&self, pod: &PodConfig) -> Result<(), Error> {
        let dir = self.options.pod_dir(pod.uid);
        let failed = |message: String| Error::Shim {
            pod: pod.uid,
            message,
        };
        make_dir(&dir).map_err(|e| failed(format!("make {}: {e}", dir.display())))?;
        let mut command = Command::new(&self.options.shim);
        command
            .arg("--pod-dir")
            .arg(&dir)
            .arg("--pod")
            .arg(pod.uid.to_string());
        command
            .arg("--hostname")
            .arg(&pod.hostname)
            .arg("--oci")
            .arg(&self.options.oci);
        command
            .arg("--log-bytes")
            .arg(self.options.log_bytes.to_string());
        command
            .arg("--log-files")
            .arg(self.options.log_files.to_string());
        for error in self.cgroups.ensure_pod(&pod.uid.to_string(), &pod.limits) {
            tracing::warn!(pod = %pod.uid, error, "a limit of the pod is not in force");
        }
        for procs in self.cgroups.ensure_shim(&pod.uid.to_string()) {
            command.arg("--cgroup-procs").arg(procs);
        }
        for (flag, wanted) in [
            ("--host-network", pod.host_network),
            ("--host-ipc", pod.host_ipc),
            ("--share-processes", pod.share_processes),
        ] {
            if wanted {
                command.arg(flag);
            }
        }
        let sysctls = sysctl::of(pod).map_err(|e| failed(e.to_string()))?;
        for (flag, name, value) in sysctls {
            command.arg(flag).arg(format!("{name}={value}"));
        }
        command
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let output = command
            .output()
            .await
            .map_err(|e| failed(format!("run {}: {e}", self.options.shim.display())))?;
        if output.status.success() {
            return Ok(());
        }
        Err(failed(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        ))
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
        let done = tokio::task::spawn_blocking(work).await;
        done.unwrap_or_else(|panic| {
            Err(Error::Prepare {
                id,
                what: "run",
                source: io::Error::other(panic),
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

    /// The pod's shim is gone: what it wrote and what `/proc` says.
    fn observe_disk(&self, pod: PodUid) -> Vec<ObservedContainer> {
        let dir = self.options.pod_dir(pod).join(path::CONTAINERS);
        let fact = |id: &str| {
            let own = dir.join(id);
            if let Some(exit) = read_record::<ExitRecord>(&own.join(path::EXIT), "exit record") {
                return ContainerFact::Exited(exit);
            }
            match read_record::<ContainerRecord>(&own.join(path::CONTAINER), "pid record") {
                Some(record) if alive(record.pid, record.start_time) => {
                    ContainerFact::Running(record)
                }
                _ => ContainerFact::Unknown,
            }
        };
        let ids = names(&dir);
        ids.into_iter()
            .map(|id| ObservedContainer {
                state: fact(&id),
                id,
            })
            .collect()
    }

    /// Runs `bramble-oci` ourselves, for a pod whose shim is gone.
    async fn delete_without_shim(&self, pod: PodUid, id: &str) -> Vec<String> {
        let root = self.options.pod_dir(pod).join(path::OCI);
        let output = Command::new(&self.options.oci)
            .args(["delete", "--id", id, "--root"])
            .arg(root)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .output()
            .await;
        match output {
            Ok(output) if output.status.success() => Vec::new(),
            Ok(output) => vec![String::from_utf8_lossy(&output.stdout).trim().to_owned()],
            Err(error) => vec![format!("run {}: {error}", self.options.oci.display())],
        }
    }

    /// Ends everything of a pod, then removes these directories of it.
    async fn take_down(&self, pod: PodUid, dirs: Vec<PathBuf>) -> Result<(), Error> {
        let record: Option<ShimRecord> =
            read_record(&self.options.pod_dir(pod).join(path::SHIM), "shim record");
        let client = match self.client(pod) {
            Some(client) => Some(client),
            None => self.adopt(pod).await.ok(),
        };
        if let Some(client) = client {
            // Whether it answers or not, its end is made sure of below.
            let _ = tokio::time::timeout(SHUTDOWN, client.ask(Request::Shutdown)).await;
        }
        self.forget(pod);
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
        if self.client(pod.uid).is_some() || self.adopt(pod.uid).await.is_ok() {
            return Ok(self.handle(pod));
        }
        // Containers without a parent can't be taken over; they must be deleted with their pod.
        if !self.observe_disk(pod.uid).is_empty() {
            return Err(Error::ShimGone { pod: pod.uid });
        }
        self.spawn_shim(pod).await?;
        self.adopt(pod.uid).await.map_err(|e| Error::Shim {
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
        let client = self.client(pod).ok_or(Error::ShimGone { pod })?;
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
        if let Some(client) = self.client(pod) {
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
        if let Some(record) = read_record::<ContainerRecord>(&file, "pid record") {
            stop_process(record, grace, self.changes.clone());
        }
        Ok(())
    }

    async fn exec(&self, pod: PodUid, id: &str, config: &ExecConfig) -> Result<Session, Error> {
        let client = self.client(pod).ok_or(Error::ShimGone { pod })?;
        // Each start costs a helper of some megabytes for a moment.
        let _turn = self.exec_turns.acquire().await;
        open::exec(client, pod, id, config).await
    }

    async fn attach(&self, pod: PodUid, id: &str, stdio: Streams) -> Result<Session, Error> {
        let client = self.client(pod).ok_or(Error::ShimGone { pod })?;
        open::attach(client, pod, id, stdio).await
    }

    async fn delete_container(&self, pod: PodUid, id: &str) -> Result<(), Error> {
        let mut errors = Vec::new();
        match self.client(pod) {
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
        let mut out = Vec::new();
        let pods = self.pods_on_disk();
        lock(&self.mute).retain(|pod| pods.contains(pod));
        for pod in pods {
            let client = match self.client(pod) {
                Some(client) => Some(client),
                None => self.adopt_again(pod).await,
            };
            let (shim, containers) = match client {
                Some(client) => (
                    true,
                    client.containers().into_iter().map(observed).collect(),
                ),
                None => (false, self.observe_disk(pod)),
            };
            out.push(ObservedPod {
                uid: pod,
                shim,
                containers,
            });
        }
        out
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Entries are whole, whatever panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
    match tokio::task::spawn_blocking(work).await {
        Ok(errors) => errors,
        Err(error) => vec![error.to_string()],
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut out: Vec<_> = entries
        .filter_map(|e| e.file_name().into_string().ok())
        .collect();
    out.sort();
    out
}

fn read_record<T: serde::de::DeserializeOwned>(file: &Path, what: &'static str) -> Option<T> {
    bramble_wire::decode(&fs::read(file).ok()?, what).ok()
}
