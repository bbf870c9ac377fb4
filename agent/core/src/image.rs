//! The image of a container: ready, on its way, or why not.
//!
//! In: what the board has, what pulls came to ([`Pulls`]), the container's pull policy. Out: a
//! [`Step`] for one life of one container. Pulls go on beside the loop: the planner only says which
//! ones it wants ([`Want`], the whole list at each pass), and the edge starts what is new, drops what
//! nobody wants any more, and owns what became of them. Reasons and messages are the kubelet's
//! (`pkg/kubelet/images/image_manager.go`).

use std::collections::BTreeMap;
use std::fmt;

use bramble_wire::object::{Container, ObjectName, Pod, PodUid, PullPolicy};

use crate::desired::Desired;
use crate::observed::{Image, ImageState};
use crate::time::Moment;

/// Delay after the first failed pull; doubles up to [`BACK_OFF_MAX_MS`].
pub const BACK_OFF_FIRST_MS: u64 = 10_000;
/// Longest delay between two pulls of a container's image.
pub const BACK_OFF_MAX_MS: u64 = 300_000;
/// For so long a failed pull is shown as such before it is shown as a back-off. The kubelet's next
/// look at the pod, which turns one into the other, comes within such a time.
pub const FAILED_SHOWN_MS: u64 = 5_000;

/// Keys of secrets that hold credentials, as `kubectl create secret docker-registry` makes them and
/// as it once did.
const CONFIG_JSON_KEY: &str = ".dockerconfigjson";
const CONFIG_KEY: &str = ".dockercfg";

/// What pulls came to, as long as somebody wants them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pulls {
    /// Images that were got for a life, by pod and container.
    pub got: BTreeMap<(PodUid, String), Got>,
    /// What failed last, by pod and image as written in the document.
    pub failed: BTreeMap<(PodUid, String), Failed>,
}

/// An image got for one life of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    /// Number of the life.
    pub life: u32,
    /// Name that it was got by.
    pub name: String,
    /// The image.
    pub image: Image,
}

/// A failed pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// Of which kind.
    pub kind: FailedKind,
    /// For a person.
    pub message: String,
    /// When.
    pub at: Moment,
    /// How often in a row.
    pub count: u32,
}

/// Kinds of failed pulls that have reasons of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailedKind {
    /// The registry answered that it can't serve just now, or could not be reached.
    RegistryUnavailable,
    /// Anything else.
    Pull,
}

impl Failed {
    /// When to try again ([`Moment::boot_ms`]).
    pub fn retry_at(&self) -> u64 {
        let doublings = self.count.saturating_sub(1).min(16);
        let delay = (BACK_OFF_FIRST_MS << doublings).min(BACK_OFF_MAX_MS);
        self.at.boot_ms.saturating_add(delay)
    }

    /// Reason and message of the failure itself.
    fn shown(&self, image: &str) -> (&'static str, String) {
        match self.kind {
            FailedKind::Pull => ("ErrImagePull", self.message.clone()),
            FailedKind::RegistryUnavailable => (
                "RegistryUnavailable",
                format!(
                    "image pull failed for {image} because the registry is unavailable: {}",
                    self.message
                ),
            ),
        }
    }

    /// Reason and message at some moment.
    fn shown_at(&self, image: &str, now: Moment) -> (&'static str, String) {
        let (reason, message) = self.shown(image);
        if now.boot_ms < self.at.boot_ms.saturating_add(FAILED_SHOWN_MS) {
            return (reason, message);
        }
        (
            "ImagePullBackOff",
            format!("Back-off pulling image {image:?}: {reason}: {message}"),
        )
    }
}

/// An image that a life of a container needs.
#[derive(Clone, PartialEq, Eq)]
pub struct Want {
    /// Pod.
    pub uid: PodUid,
    /// Container.
    pub container: String,
    /// Number of the life.
    pub life: u32,
    /// Name as written in the document.
    pub image: String,
    /// The name's digest is asked for anew, although an image of that name is there.
    pub always: bool,
    /// Only keeps what became of it: it is there, or in back-off.
    pub hold: bool,
    /// Credentials, in the order of the pod's pull secrets.
    pub credentials: Vec<Credentials>,
    /// Pull secrets that are not there, or hold no credentials.
    pub missing: Vec<String>,
}

impl fmt::Debug for Want {
    /// Without the credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Want")
            .field("uid", &self.uid)
            .field("container", &self.container)
            .field("life", &self.life)
            .field("image", &self.image)
            .field("always", &self.always)
            .field("hold", &self.hold)
            .finish_non_exhaustive()
    }
}

/// Contents of one pull secret; read by the process that pulls, and by nothing else.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// `kubernetes.io/dockerconfigjson`: `{"auths": {…}}`.
    ConfigJson(Vec<u8>),
    /// `kubernetes.io/dockercfg`: the inner map alone.
    Config(Vec<u8>),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

/// What a life of a container needs of its image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It is there.
    Ready {
        /// The image.
        image: Image,
        /// Keeps the result of a pull until the life has begun.
        hold: Option<Want>,
    },
    /// Not yet.
    Wait {
        /// CamelCase, as Kubernetes shows it.
        reason: String,
        /// For a person; may be empty.
        message: String,
        /// When to look again ([`Moment::boot_ms`]).
        wake: Option<u64>,
        /// What would help.
        want: Option<Want>,
    },
}

fn wait(reason: &str, message: impl Into<String>) -> Step {
    Step::Wait {
        reason: reason.into(),
        message: message.into(),
        wake: None,
        want: None,
    }
}

/// Decides about the image of one life of a container.
pub fn step(
    desired: &Desired,
    state: Option<&ImageState>,
    pulls: &Pulls,
    pod: &Pod,
    container: &Container,
    life: u32,
    now: Moment,
) -> Step {
    let name = &container.image;
    let policy = container.pull_policy;
    match state.unwrap_or(&ImageState::Absent) {
        ImageState::InvalidName(why) => {
            return wait(
                "InvalidImageName",
                format!("Failed to apply default image tag {name:?}: {why}"),
            );
        }
        ImageState::Broken { reason, message } if policy == PullPolicy::Never => {
            return wait(reason, message.clone());
        }
        ImageState::Loading => {
            return wait("ContainerCreating", format!("loading image {name:?}"));
        }
        ImageState::Present(image) if policy != PullPolicy::Always => {
            return Step::Ready {
                image: image.clone(),
                hold: None,
            };
        }
        ImageState::Absent if policy == PullPolicy::Never => {
            return wait(
                "ErrImageNeverPull",
                format!("Container image {name:?} is not present with pull policy of Never"),
            );
        }
        ImageState::Present(_) | ImageState::Absent | ImageState::Broken { .. } => {}
    }
    let mut want = want(desired, pod, container, life);
    let got = pulls.got.get(&(pod.uid, container.name.clone()));
    if let Some(got) = got
        && got.life == life
        && got.name == *name
    {
        want.hold = true;
        return Step::Ready {
            image: got.image.clone(),
            hold: Some(want),
        };
    }
    let failed = pulls.failed.get(&(pod.uid, name.clone()));
    let wake = failed.and_then(|failed| {
        let times = [failed.at.boot_ms + FAILED_SHOWN_MS, failed.retry_at()];
        times.into_iter().find(|at| now.boot_ms < *at)
    });
    want.hold = failed.is_some_and(|failed| now.boot_ms < failed.retry_at());
    let (reason, message) = match (failed, state) {
        // An archive with it was refused; what is wrong with that one, a person can mend.
        (failed, Some(ImageState::Broken { reason, message })) => {
            let pull = failed.map(|failed| failed.shown(name).1);
            let pull = pull.map_or_else(String::new, |why| format!("; pulling it: {why}"));
            (reason.as_str(), format!("{message}{pull}"))
        }
        (Some(failed), _) => failed.shown_at(name, now),
        (None, _) => ("ContainerCreating", String::new()),
    };
    Step::Wait {
        reason: reason.to_owned(),
        message,
        wake,
        want: Some(want),
    }
}

fn want(desired: &Desired, pod: &Pod, container: &Container, life: u32) -> Want {
    let mut credentials = Vec::new();
    let mut missing = Vec::new();
    for name in &pod.pull_secrets {
        let key = ObjectName {
            namespace: pod.name.namespace.clone(),
            name: name.clone(),
        };
        match desired.secrets.get(&key).and_then(Option::as_ref) {
            // One that holds something else is passed over, as upstream does.
            Some(data) => credentials.extend(
                (data.0.get(CONFIG_JSON_KEY).cloned())
                    .map(Credentials::ConfigJson)
                    .or_else(|| data.0.get(CONFIG_KEY).cloned().map(Credentials::Config)),
            ),
            None => missing.push(name.clone()),
        }
    }
    Want {
        uid: pod.uid,
        container: container.name.clone(),
        life,
        image: container.image.clone(),
        always: container.pull_policy == PullPolicy::Always,
        hold: false,
        credentials,
        missing,
    }
}

#[cfg(test)]
mod tests;
