//! Carrying out actions. Each may be repeated, and "already so" is success.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bramble_agent_core::container::ContainerInput;
use bramble_agent_core::plan::{Action, SandboxInput};
use bramble_agent_core::volume::{self, VolumeInput};
use bramble_wire::object::PodUid;
use bramble_wire::shim::FailureKind;

use super::observe::{LifeRecord, id_of, parse_id};
use super::{Board, Network, etc, files, lent, volumes};
use crate::reconcile::Failed;
use crate::runtime::cgroup::OVERHEAD_BYTES;
use crate::runtime::{
    self, BindMount, Console, ContainerConfig, Limits, PodConfig, Processes, Rights, Runtime, User,
};
use crate::{error_chain, threads};

pub(super) type Result<T = (), E = Failed> = std::result::Result<T, E>;

impl<R: Runtime, N: Network> Board<R, N> {
    pub(super) async fn carry_out(&self, action: Action) -> Result {
        match action {
            Action::StartSandbox(input) => self.start_sandbox(input).await,
            Action::WriteVolumes { uid, volumes } => {
                let digest = self.write_volumes(uid, volumes).await?;
                self.blocking(move |board| files::write_record(&board.ready(uid), &digest))
                    .await
            }
            Action::StartContainer(input) => self.start_container(*input).await,
            Action::StopContainers { uid, containers } => {
                let mut failed = None;
                for stop in containers {
                    // One that can't be told holds up no other.
                    failed = self.stop(uid, stop).await.err().or(failed);
                }
                failed.map_or(Ok(()), Err)
            }
            Action::StopSandbox { uid, last } => {
                self.stop_sandbox(uid).await?;
                match last {
                    true => {
                        self.blocking(move |board| volumes::remove(board, uid))
                            .await
                    }
                    false => Ok(()),
                }
            }
            Action::RemovePod { uid } => self.remove(uid).await,
        }
    }

    async fn start_sandbox(&self, input: SandboxInput) -> Result {
        let uid = input.uid;
        let config = PodConfig {
            uid,
            hostname: input.hostname.clone(),
            host_network: input.network.is_none(),
            host_ipc: input.host_ipc,
            share_processes: input.share_process_namespace,
            sysctls: input.sysctls.clone(),
            limits: Limits {
                cpu_request_milli: input.resources.cpu_request_milli,
                // Where it counts every container has its own; here it would slow down their start.
                cpu_limit_milli: None,
                memory_bytes: (input.resources.memory_limit_bytes)
                    .map(|bytes| bytes.saturating_add(OVERHEAD_BYTES)),
                pids: None,
            },
        };
        // First, as upstream: a pod that waits for a volume has nothing else.
        let volumes = input.volumes.clone();
        let digest = self.write_volumes(uid, volumes).await?;
        let handle = self.runtime.ensure_pod(&config).await.map_err(other)?;
        if let (Some(network), Some(netns)) = (input.network, &handle.netns) {
            let attached = self.network.attach(uid, netns, network).await;
            attached.map_err(Failed::Other)?;
            let address = network.address;
            self.blocking(move |board| files::write_record(&board.address(uid), &address))
                .await?;
        }
        self.blocking(move |board| {
            volumes::limits::note_storage(board, uid, &input.storage)?;
            let files = etc::contents(&input);
            lent::ensure(board, uid, files.iter().map(|(_, text)| text.len() as u64))?;
            etc::write(&board.etc(uid), &files)
        })
        .await?;
        // Last: only a sandbox with everything is ready.
        self.blocking(move |board| files::write_record(&board.ready(uid), &digest))
            .await
    }

    async fn write_volumes(&self, uid: PodUid, volumes: Vec<VolumeInput>) -> Result<[u8; 32]> {
        let digest = volume::digest(&volumes);
        let made = self
            .blocking(move |board| Ok(volumes::ensure(board, uid, &volumes)))
            .await?;
        let Err(errors) = made else { return Ok(digest) };
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        for text in &texts {
            self.tell(uid, "", true, "FailedMount", text);
        }
        Err(Failed::Other(texts.join("; ")))
    }

    async fn start_container(&self, input: ContainerInput) -> Result {
        let uid = input.uid;
        let id = id_of(&input.name, input.life);
        self.remove_lives(uid, &input.name, &id).await?;
        let (name, life) = (input.name.clone(), input.life);
        self.blocking(move |board| remove_old_logs(&board.logs(uid).join(name), life))
            .await?;
        let name = input.name.clone();
        if let Some(puller) = self.puller.get() {
            puller.tell_present(uid, &name, life, &input.image);
        }
        let config = self.config_of(input, &id).await?;
        match self.runtime.start_container(uid, &config).await {
            Ok(_) => {
                self.tell(uid, &name, false, "Created", "Container created");
                self.tell(uid, &name, false, "Started", "Container started");
                Ok(())
            }
            Err(runtime::Error::Start {
                kind:
                    FailureKind::CommandNotFound
                    | FailureKind::CommandNotExecutable
                    | FailureKind::WorkingDirectory,
                message,
            }) => Err(Failed::Start(message)),
            Err(error) => Err(other(error)),
        }
    }

    /// Removes what is left of earlier lives, except their logs.
    async fn remove_lives(&self, uid: PodUid, container: &str, but: &str) -> Result {
        let pods = self.runtime.observe().await;
        let ids = (pods.iter().filter(|pod| pod.uid == uid))
            .flat_map(|pod| &pod.containers)
            .map(|fact| &fact.id)
            .filter(|id| *id != but && parse_id(id).is_some_and(|(name, _)| name == container));
        for id in ids {
            self.runtime
                .delete_container(uid, id)
                .await
                .map_err(other)?;
            self.stopping().remove(&(uid, id.clone()));
            self.healths().remove(&(uid, id.clone()));
            self.ended().remove(&(uid, id.clone()));
            let id = id.clone();
            self.blocking(move |board| {
                let paths = [
                    board.life(uid, &id),
                    board.message(uid, &id),
                    board.health(uid, &id),
                ];
                for path in paths {
                    match std::fs::remove_file(path) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                        _ => {}
                    }
                }
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    async fn config_of(&self, input: ContainerInput, id: &str) -> Result<ContainerConfig> {
        let uid = input.uid;
        let image = self.images.resolve(&input.image_id).map_err(other)?;
        let user_text = match &input.user.group {
            Some(group) => format!("{}:{group}", input.user.user),
            None => input.user.user.clone(),
        };
        let layers = image.layers.clone();
        let user = threads::run(move || image.resolve_user(&user_text));
        let mut user: User = user.await.map_err(other)?.map_err(other)?;
        user.groups.extend(&input.user.supplemental);
        let own = id.to_owned();
        let (name, wanted) = (input.name.clone(), input.mounts.clone());
        let binds = self
            .blocking(move |board| Ok(volumes::binds(board, uid, &name, &wanted)))
            .await??;
        let message_path = input.termination_message_path.clone();
        let record = LifeRecord {
            image: input.image.clone(),
            image_id: input.image_id.clone(),
            message_from_log: input.termination_message_from_logs,
        };
        let mounts = self.blocking(move |board| {
            files::write_record(&board.life(uid, &own), &record)?;
            let mut mounts = binds;
            for name in etc::FILES {
                let destination = format!("/etc/{name}");
                // A volume of the manifest may stand where one of ours would.
                if mounts.iter().all(|mount| mount.destination != destination) {
                    mounts.push(BindMount {
                        source: board.etc(uid).join(name),
                        destination,
                        ..BindMount::default()
                    });
                }
            }
            if !message_path.is_empty() {
                let message = board.message(uid, &own);
                files::write(&message, 0o666, b"")?;
                std::fs::set_permissions(&message, std::fs::Permissions::from_mode(0o666))?;
                mounts.push(BindMount {
                    source: message,
                    destination: message_path,
                    ..BindMount::default()
                });
            }
            Ok(mounts)
        });
        Ok(ContainerConfig {
            id: id.to_owned(),
            layers,
            args: input.argv,
            env: input.env,
            working_dir: input.cwd,
            user,
            limits: Limits {
                cpu_request_milli: input.resources.cpu_request_milli,
                cpu_limit_milli: input.resources.cpu_limit_milli,
                memory_bytes: input.resources.memory_limit_bytes,
                pids: None,
            },
            rights: Rights::from(&input.security),
            processes: match &input.target {
                Some((target, life)) => Processes::Of(id_of(target, *life)),
                None if input.host_pid => Processes::Host,
                None if input.share_processes => Processes::Pod,
                None => Processes::Own,
            },
            mounts: mounts.await?,
            log: self
                .directories
                .logs(uid)
                .join(&input.name)
                .join(format!("{}.log", input.life)),
            oom_score_adj: input.oom_score_adj,
            console: Console {
                tty: input.tty,
                stdin: input.stdin,
                stdin_once: input.stdin_once,
            },
            // What is no signal is none of the kernel's either: TERM, as containerd.
            stop_signal: runtime::signal_number(&input.stop_signal).unwrap_or_default(),
        })
    }

    /// Ends a pod's processes and takes it off the network; logs and volumes on disk stay.
    pub(super) async fn stop_sandbox(&self, uid: PodUid) -> Result {
        // From here on it is not ready, whatever fails below.
        self.blocking(move |board| match std::fs::remove_file(board.ready(uid)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
        .await?;
        self.network.detach(uid).await.map_err(Failed::Other)?;
        self.runtime.stop_pod(uid).await.map_err(other)?;
        self.blocking(move |board| volumes::unmount(board, uid))
            .await?;
        self.changed();
        Ok(())
    }

    async fn remove(&self, uid: PodUid) -> Result {
        self.stop_sandbox(uid).await?;
        self.runtime.delete_pod(uid).await.map_err(other)?;
        self.blocking(move |board| volumes::remove(board, uid))
            .await?;
        self.changed();
        Ok(())
    }

    /// Work on files, off the async thread. Files of the board may be among them, which may not
    /// answer.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&super::Directories) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let directories = self.directories.clone();
        threads::run(move || work(&directories))
            .await
            .map_err(other)?
            .map_err(other)
    }
}

/// Removes the logs of lives before the last one: only the present and the previous can be asked
/// for, and a container that keeps crashing must not fill the board's memory.
fn remove_old_logs(folder: &Path, life: u32) -> io::Result<()> {
    for name in files::names(folder) {
        let of = name.split_once(".log").and_then(|(n, _)| n.parse().ok());
        if of.is_some_and(|of: u32| of.saturating_add(1) < life) {
            std::fs::remove_file(folder.join(name))?;
        }
    }
    Ok(())
}

/// A failure that is tried again, with everything below it.
pub(super) fn other(error: impl std::error::Error) -> Failed {
    Failed::Other(error_chain(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crashing_container_keeps_two_logs() {
        let directory = tempfile::tempdir().unwrap();
        let old = ["1.log", "8.log", "8.log.1", "9.log", "9.log.1", "other"];
        for name in old {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        remove_old_logs(directory.path(), 10).unwrap();
        let mut left = files::names(directory.path());
        left.sort();
        assert_eq!(left, ["9.log", "9.log.1", "other"]);
        remove_old_logs(&directory.path().join("missing"), 10).unwrap();
    }
}
