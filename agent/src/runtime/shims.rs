//! The shims of the board's pods: starting them, finding them again, being connected to them.
//!
//! In: pods. Out: a client of each pod's shim. A shim that lives and does not answer (a board that
//! swaps, one that is being looked at with a debugger) is neither lost nor started a second time: a
//! task of its own asks it again until it answers or is gone, and meanwhile it is silent.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bramble_wire::object::PodUid;
use bramble_wire::shim::{ShimRecord, path};
use tokio::process::Command;
use tokio::sync::watch;

use super::bundle::make_dir;
use super::cgroup::Cgroups;
use super::client::ShimClient;
use super::disk;
use super::options::Options;
use super::process::alive;
use super::{Error, PodConfig, Shim, sysctl};

/// A silent shim is asked again after this, at first and at last.
const ASK_AGAIN: Duration = Duration::from_secs(1);
const ASK_AGAIN_MAX: Duration = Duration::from_secs(30);

/// A program of ours that takes longer hangs, and is ended.
const PATIENCE: Duration = Duration::from_secs(60);

/// See the module. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Shims {
    options: Options,
    connected: Arc<Mutex<BTreeMap<PodUid, ShimClient>>>,
    /// Those that a task asks again.
    silent: Arc<Mutex<BTreeSet<PodUid>>>,
    changes: watch::Sender<u64>,
}

impl Shims {
    /// Connects to every shim in the run directory, to all at the same time.
    pub(super) async fn open(options: Options, changes: watch::Sender<u64>) -> Self {
        let this = Self {
            options,
            connected: Arc::default(),
            silent: Arc::default(),
            changes,
        };
        let adopting = disk::pods(&this.options).into_iter().map(|pod| {
            let this = &this;
            async move {
                if let Err(error) = this.adopt(pod).await {
                    tracing::warn!(%pod, %error, "shim not adopted");
                }
            }
        });
        futures_util::future::join_all(adopting).await;
        this
    }

    /// The connection to a pod's shim, if there is one.
    pub(super) fn client(&self, pod: PodUid) -> Option<ShimClient> {
        let connected = lock(&self.connected);
        connected.get(&pod).filter(|c| !c.gone()).cloned()
    }

    /// Ends the connection.
    pub(super) fn forget(&self, pod: PodUid) {
        lock(&self.connected).remove(&pod);
    }

    /// What is known of a pod's shim at this moment.
    pub(super) fn look(&self, pod: PodUid) -> (Shim, Option<ShimClient>) {
        if let Some(client) = self.client(pod) {
            return (Shim::Answers, Some(client));
        }
        let Some(record) = disk::living_shim(&self.options, pod) else {
            return (Shim::Gone, None);
        };
        if lock(&self.silent).insert(pod) {
            tokio::spawn(self.clone().ask_again(pod, record));
        }
        (Shim::Silent, None)
    }

    async fn ask_again(self, pod: PodUid, record: ShimRecord) {
        let mut pause = ASK_AGAIN;
        let mut told = false;
        while alive(record.pid, record.start_time) {
            match self.adopt(pod).await {
                Ok(_) => break,
                // It is just starting.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if !told => {
                    tracing::warn!(%pod, %error, "the shim lives and does not answer");
                    told = true;
                }
                Err(_) => {}
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(ASK_AGAIN_MAX);
        }
        lock(&self.silent).remove(&pod);
        self.changes.send_modify(|n| *n += 1);
    }

    /// Connects to a pod's shim and makes sure that it is the one that the pod's directory names. Of
    /// two connections the first stays: what was asked through it is known to it alone.
    pub(super) async fn adopt(&self, pod: PodUid) -> io::Result<ShimClient> {
        let dir = self.options.pod_dir(pod);
        let client = ShimClient::connect(&dir.join(path::SOCKET), self.changes.clone()).await?;
        let record = disk::living_shim(&self.options, pod)
            .ok_or_else(|| io::Error::other("the shim left no record"))?;
        let hello = &client.hello;
        if hello.pod != pod.to_string() || hello.shim != record {
            return Err(io::Error::other(
                "another shim answers than the one recorded",
            ));
        }
        let mut connected = lock(&self.connected);
        if let Some(first) = connected.get(&pod).filter(|c| !c.gone()) {
            return Ok(first.clone());
        }
        connected.insert(pod, client.clone());
        Ok(client)
    }

    /// Starts a pod's shim, once; waits until it serves its socket.
    pub(super) async fn spawn(&self, cgroups: &Cgroups, pod: &PodConfig) -> Result<(), Error> {
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
        for error in cgroups.ensure_pod(&pod.uid.to_string(), &pod.limits) {
            tracing::warn!(pod = %pod.uid, error, "a limit of the pod is not in force");
        }
        for procs in cgroups.ensure_shim(&pod.uid.to_string()) {
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
        let output = run_to_end(&mut command)
            .await
            .map_err(|e| failed(format!("run {}: {e}", self.options.shim.display())))?;
        if output.status.success() {
            return Ok(());
        }
        Err(failed(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        ))
    }
}

/// Runs one of our programs; one that takes too long is killed.
pub(super) async fn run_to_end(command: &mut Command) -> io::Result<Output> {
    let output = command.kill_on_drop(true).output();
    tokio::time::timeout(PATIENCE, output)
        .await
        .unwrap_or_else(|_| Err(io::Error::other(format!("no end within {PATIENCE:?}"))))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Entries are whole, whatever panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
