//! From a container of the document to what the runtime is told: arguments, environment, user,
//! rights. Nothing is left for the runtime to choose.

use std::fmt;

use bramble_wire::object::{Container, Pod, PodUid, Resources, Security};

use crate::desired::{Desired, Host};
use crate::env;
use crate::observed::Image;
use crate::oom;
use crate::volume::{self, MountInput};

/// Everything that the runtime needs to start a life of a container.
#[derive(Clone, PartialEq, Eq)]
pub struct ContainerInput {
    /// Pod.
    pub uid: PodUid,
    /// Container's name.
    pub name: String,
    /// Number of the life, from 1.
    pub life: u32,
    /// Runtime's id of the life, unique on the node.
    pub id: String,
    /// Image reference as written in the document.
    pub image: String,
    /// Digest of the image.
    pub image_id: String,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Names and values; each name once.
    pub env: Vec<(String, String)>,
    /// Working directory.
    pub cwd: String,
    /// Who it runs as.
    pub user: User,
    /// Rights; the users in it are settled in `user`.
    pub security: Security,
    /// Limits and requests.
    pub resources: Resources,
    /// Whom the kernel kills first ([`oom::score_adj`]).
    pub oom_score_adj: i32,
    /// Volumes.
    pub mounts: Vec<MountInput>,
    /// Where the termination message is read from.
    pub termination_message_path: String,
    /// The last lines of the log stand in for an empty message after a failure.
    pub termination_message_from_logs: bool,
    /// A terminal is wanted.
    pub tty: bool,
    /// Standard input is kept open for those who attach.
    pub stdin: bool,
    /// It is closed when the first who attached leaves.
    pub stdin_once: bool,
    /// Signal that asks it to end: the manifest's, the image's, or `SIGTERM`.
    pub stop_signal: String,
    /// Sees the processes of all containers of its pod.
    pub share_processes: bool,
    /// Sees the board's processes.
    pub host_pid: bool,
    /// Life of another container of the pod, by the runtime's name for it ([`Self::id`] without the
    /// pod), whose processes it sees.
    pub target: Option<(String, u32)>,
}

impl fmt::Debug for ContainerInput {
    /// Leaves the environment out: it may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContainerInput")
            .field("id", &self.id)
            .field("image", &self.image)
            .field("argv", &self.argv)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// Who a container runs as. Names are looked up in the image's own `/etc/passwd` and `/etc/group`
/// by the runtime.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    /// Number or name.
    pub user: String,
    /// Number or name; `None`: the user's primary group.
    pub group: Option<String>,
    /// Further groups.
    pub supplemental: Vec<u32>,
}

/// Why a container can't be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// `CreateContainerConfigError`: something that it refers to is missing.
    #[error(transparent)]
    Env(#[from] env::Error),
    /// `CreateContainerConfigError`: it must not run as root and would.
    #[error("{0}")]
    NonRoot(String),
    /// `CreateContainerConfigError`: a volume can't appear where it should.
    #[error("{0}")]
    Mount(String),
    /// `CreateContainerError`: neither the manifest nor the image names a program.
    #[error("no command specified")]
    NoCommand,
}

impl Error {
    /// The reason that Kubernetes shows for it.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Env(_) | Self::NonRoot(_) | Self::Mount(_) => "CreateContainerConfigError",
            Self::NoCommand => "CreateContainerError",
        }
    }
}

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Id of one life of a container.
pub fn life_id(uid: PodUid, container: &str, life: u32) -> String {
    format!("{uid}-{container}-{life}")
}

/// `name_namespace(uid)`, as Kubernetes' messages name a pod.
pub fn pod_text(pod: &Pod) -> String {
    format!("{}_{}({})", pod.name.name, pod.name.namespace, pod.uid)
}

/// Settles everything of one life of a container.
///
/// # Errors
/// [`Error`] with the text that a person sees.
pub fn compile(
    desired: &Desired,
    host: &Host,
    pod: &Pod,
    address: Option<[u8; 4]>,
    container: &Container,
    life: u32,
    image: &Image,
) -> Result<ContainerInput, Error> {
    let user = user(pod, container, image)?;
    let variables = env::resolve(desired, host, pod, address, container)?;
    let lookup = |name: &str| variables.get(name).cloned();
    let expand = |words: &[String]| -> Vec<String> {
        words.iter().map(|word| env::expand(word, lookup)).collect()
    };
    let argv = argv(image, expand(&container.command), expand(&container.args));
    if argv.is_empty() {
        return Err(Error::NoCommand);
    }
    let mut environment = Environment::default();
    environment.set("PATH", DEFAULT_PATH);
    environment.set("HOSTNAME", &pod.hostname);
    for line in &image.env {
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        environment.set(name, value);
    }
    for (name, value) in &variables {
        environment.set(name, value);
    }
    let cwd = [container.working_dir.as_deref(), Some(&image.working_dir)]
        .into_iter()
        .flatten()
        .find(|dir| !dir.is_empty())
        .unwrap_or("/")
        .to_owned();
    Ok(ContainerInput {
        uid: pod.uid,
        name: container.name.clone(),
        life,
        id: life_id(pod.uid, &container.name, life),
        image: container.image.clone(),
        image_id: image.id.clone(),
        argv,
        env: environment.0,
        cwd,
        user,
        security: container.security.clone(),
        resources: container.resources,
        oom_score_adj: oom::score_adj(pod, container, host.memory_bytes),
        mounts: volume::mounts(pod, container, &variables).map_err(Error::Mount)?,
        termination_message_path: container.termination_message_path.clone(),
        termination_message_from_logs: container.termination_message_from_logs,
        tty: container.tty,
        stdin: container.stdin,
        stdin_once: container.stdin_once,
        stop_signal: stop_signal(container, image),
        share_processes: pod.share_process_namespace,
        host_pid: pod.host_pid,
        target: None,
    })
}

fn stop_signal(container: &Container, image: &Image) -> String {
    let signals = [container.stop_signal.as_deref(), Some(&image.stop_signal)];
    let mut signals = signals.into_iter().flatten();
    signals
        .find(|signal| !signal.is_empty())
        .unwrap_or("SIGTERM")
        .to_owned()
}

/// A command in the manifest replaces the image's entrypoint and its arguments; arguments alone
/// replace only the image's.
fn argv(image: &Image, command: Vec<String>, args: Vec<String>) -> Vec<String> {
    match (command.is_empty(), args.is_empty()) {
        (false, _) => [command, args].concat(),
        (true, false) => [image.entrypoint.clone(), args].concat(),
        (true, true) => [image.entrypoint.clone(), image.cmd.clone()].concat(),
    }
}

fn user(pod: &Pod, container: &Container, image: &Image) -> Result<User, Error> {
    let security = &container.security;
    let (image_user, image_group) = match image.user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (image.user.as_str(), None),
    };
    let image_user = if image_user.is_empty() {
        "0"
    } else {
        image_user
    };
    if security.run_as_non_root {
        check_non_root(pod, container, image_user)?;
    }
    let group = match (security.run_as_group, security.run_as_user) {
        (Some(group), _) => Some(group.to_string()),
        (None, Some(_)) => None,
        (None, None) => image_group.map(str::to_owned),
    };
    Ok(User {
        user: security
            .run_as_user
            .map_or_else(|| image_user.to_owned(), |uid| uid.to_string()),
        group,
        supplemental: {
            let mut groups = security.supplemental_groups.clone();
            // The controller may have put it there already.
            groups.extend(pod.fs_group.filter(|group| !groups.contains(group)));
            groups
        },
    })
}

/// The texts are the kubelet's.
fn check_non_root(pod: &Pod, container: &Container, image_user: &str) -> Result<(), Error> {
    let whose = format!("(pod: {:?}, container: {})", pod_text(pod), container.name);
    let text = match (container.security.run_as_user, image_user.parse::<u32>()) {
        (Some(0), _) => format!("container's runAsUser breaks non-root policy {whose}"),
        (Some(_), _) => return Ok(()),
        (None, Ok(0)) => {
            format!("container has runAsNonRoot and image will run as root {whose}")
        }
        (None, Ok(_)) => return Ok(()),
        (None, Err(_)) => format!(
            "container has runAsNonRoot and image has non-numeric user ({image_user}), cannot verify user is non-root {whose}"
        ),
    };
    Err(Error::NonRoot(text))
}

/// Variables in which a later one of the same name replaces the earlier.
#[derive(Default)]
struct Environment(Vec<(String, String)>);

impl Environment {
    fn set(&mut self, name: &str, value: &str) {
        match self.0.iter_mut().find(|(old, _)| old == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.0.push((name.to_owned(), value.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests;
