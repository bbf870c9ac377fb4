//! A pod with everything that its node needs; decoded only while a document is compiled or a report
//! is taken in.

use serde::Deserialize;

use super::meta::Metadata;
use super::pod::{ContainerPort, PodStatus, Resources};

macro_rules! view {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name { $($(#[$field_doc])* #[serde(deserialize_with = "crate::view::nullable")] pub $field: $type,)* }
    };
}

mod env;
mod probe;
mod security;
mod volume;

pub use env::{EnvFrom, EnvSource, EnvVar, FieldRef, KeyRef, NameRef, ResourceFieldRef};
pub use probe::{
    ExecAction, GrpcAction, Handler, HttpGetAction, HttpHeader, Lifecycle, Probe, SleepAction,
    TcpAction,
};
pub use security::{Capabilities, ContainerSecurity, PodSecurity, SeccompProfile, Sysctl};
pub use volume::{
    DownwardApi, DownwardFile, EmptyDir, HostPath, KeyToPath, Projected, Projection, TokenFile,
    Volume, VolumeKeys, VolumeMount, VolumeSecret,
};

view! {
    /// A pod.
    FullPod {
        /// Metadata.
        metadata: Metadata,
        /// Spec.
        spec: FullSpec,
        /// Status.
        status: PodStatus,
    }
}
view! {
    /// `spec` of a pod.
    FullSpec {
        /// The node it is bound to.
        node_name: String,
        /// `Always`, `OnFailure`, `Never`.
        restart_policy: String,
        /// Seconds between TERM and KILL; 30 when absent.
        termination_grace_period_seconds: Option<i64>,
        /// Seconds after which it is ended.
        active_deadline_seconds: Option<i64>,
        /// Host name.
        hostname: String,
        /// The board's network.
        host_network: bool,
        /// The board's processes.
        #[serde(rename = "hostPID")]
        host_pid: bool,
        /// The board's IPC.
        #[serde(rename = "hostIPC")]
        host_ipc: bool,
        /// The containers see each other's processes.
        share_process_namespace: bool,
        /// Further lines of `/etc/hosts`.
        host_aliases: Vec<HostAlias>,
        /// Secrets for pulling images.
        image_pull_secrets: Vec<SecretName>,
        /// Service account.
        service_account_name: String,
        /// Rights of all containers.
        security_context: PodSecurity,
        /// Containers.
        containers: Vec<Container>,
        /// Init containers.
        init_containers: Vec<Container>,
        /// Containers that were added to the running pod.
        ephemeral_containers: Vec<Container>,
        /// Volumes.
        volumes: Vec<Volume>,
        /// Conditions without which it is not ready.
        readiness_gates: Vec<ReadinessGate>,
    }
}
view! {
    /// An entry of `hostAliases`.
    HostAlias {
        /// Address.
        ip: String,
        /// Names.
        hostnames: Vec<String>,
    }
}
view! {
    /// An entry of `imagePullSecrets`.
    SecretName {
        /// Name.
        name: String,
    }
}
view! {
    /// An entry of `readinessGates`.
    ReadinessGate {
        /// Type of the condition.
        condition_type: String,
    }
}
view! {
    /// A container of any kind. An ephemeral one has neither ports nor probes.
    Container {
        /// Name.
        name: String,
        /// Image.
        image: String,
        /// `Always`, `IfNotPresent`, `Never`.
        image_pull_policy: String,
        /// Entrypoint.
        command: Vec<String>,
        /// Arguments.
        args: Vec<String>,
        /// Working directory.
        working_dir: String,
        /// Whole maps as environment.
        env_from: Vec<EnvFrom>,
        /// Environment.
        env: Vec<EnvVar>,
        /// Requests and limits.
        resources: Resources,
        /// Rights.
        security_context: ContainerSecurity,
        /// Mounts.
        volume_mounts: Vec<VolumeMount>,
        /// Where its last words are read from.
        termination_message_path: String,
        /// `File`, or `FallbackToLogsOnError`.
        termination_message_policy: String,
        /// A terminal.
        tty: bool,
        /// Standard input stays open.
        stdin: bool,
        /// It is closed when the first client leaves.
        stdin_once: bool,
        /// Of an init container: `Always` makes it a sidecar.
        restart_policy: String,
        /// Declared ports.
        ports: Vec<ContainerPort>,
        /// Whether it lives.
        liveness_probe: Option<Probe>,
        /// Whether it serves.
        readiness_probe: Option<Probe>,
        /// Whether it is up.
        startup_probe: Option<Probe>,
        /// Hooks.
        lifecycle: Lifecycle,
        /// Of an ephemeral container: whose processes it sees.
        target_container_name: String,
    }
}
