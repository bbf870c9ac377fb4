//! A pod with everything that its node needs; decoded only while a document is compiled.

use serde::Deserialize;

use super::meta::Metadata;
use super::pod::{PodStatus, Resources};

macro_rules! view {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name { $($(#[$field_doc])* #[serde(deserialize_with = "super::nullable")] pub $field: $type,)* }
    };
}

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
        /// Service account.
        service_account_name: String,
        /// Rights of all containers.
        security_context: PodSecurity,
        /// Containers.
        containers: Vec<Container>,
        /// Init containers.
        init_containers: Vec<Container>,
        /// Volumes.
        volumes: Vec<Volume>,
    }
}
view! {
    /// `spec.securityContext`.
    PodSecurity {
        /// User.
        run_as_user: Option<i64>,
        /// Group.
        run_as_group: Option<i64>,
        /// Refuse user 0.
        run_as_non_root: Option<bool>,
        /// Group of volumes, and a further group of the processes.
        fs_group: Option<i64>,
        /// Further groups.
        supplemental_groups: Vec<i64>,
    }
}
view! {
    /// A container.
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
        /// A terminal.
        tty: bool,
    }
}
view! {
    /// An entry of `envFrom`.
    EnvFrom {
        /// Put before each key.
        prefix: String,
        /// A ConfigMap.
        config_map_ref: Option<NameRef>,
        /// A Secret.
        secret_ref: Option<NameRef>,
    }
}
view! {
    /// Name of an object in the pod's namespace.
    NameRef {
        /// Name.
        name: String,
        /// May be missing.
        optional: bool,
    }
}
view! {
    /// An entry of `env`.
    EnvVar {
        /// Name.
        name: String,
        /// Literal value.
        value: String,
        /// Where the value is.
        value_from: Option<EnvSource>,
    }
}
view! {
    /// `valueFrom`.
    EnvSource {
        /// Of a ConfigMap.
        config_map_key_ref: Option<KeyRef>,
        /// Of a Secret.
        secret_key_ref: Option<KeyRef>,
        /// Of the pod.
        field_ref: Option<FieldRef>,
    }
}
view! {
    /// A key of a ConfigMap or Secret.
    KeyRef {
        /// Name.
        name: String,
        /// Key.
        key: String,
        /// May be missing.
        optional: bool,
    }
}
view! {
    /// A field of the pod.
    FieldRef {
        /// Path.
        field_path: String,
    }
}
view! {
    /// `securityContext` of a container.
    ContainerSecurity {
        /// User.
        run_as_user: Option<i64>,
        /// Group.
        run_as_group: Option<i64>,
        /// Refuse user 0.
        run_as_non_root: Option<bool>,
        /// Everything allowed.
        privileged: bool,
        /// Whether a process may gain more rights.
        allow_privilege_escalation: Option<bool>,
        /// Root file system is read-only.
        read_only_root_filesystem: bool,
        /// Capabilities.
        capabilities: Capabilities,
    }
}
view! {
    /// Capabilities.
    Capabilities {
        /// Added.
        add: Vec<String>,
        /// Removed.
        drop: Vec<String>,
    }
}
view! {
    /// An entry of `volumeMounts`.
    VolumeMount {
        /// Volume.
        name: String,
        /// Path in the container.
        mount_path: String,
        /// Path in the volume.
        sub_path: String,
        /// Not writable.
        read_only: bool,
    }
}
view! {
    /// A volume.
    Volume {
        /// Name.
        name: String,
        /// Empty directory.
        empty_dir: Option<EmptyDir>,
        /// Of a ConfigMap.
        config_map: Option<VolumeKeys>,
        /// Of a Secret.
        secret: Option<VolumeSecret>,
    }
}
view! {
    /// `emptyDir`.
    EmptyDir {
        /// `Memory` or empty.
        medium: String,
        /// Limit.
        size_limit: Option<String>,
    }
}
view! {
    /// `configMap` of a volume.
    VolumeKeys {
        /// Name.
        name: String,
        /// Keys; empty: all.
        items: Vec<KeyToPath>,
        /// Mode of files; 0644 when absent.
        default_mode: Option<u32>,
        /// May be missing.
        optional: bool,
    }
}
view! {
    /// `secret` of a volume.
    VolumeSecret {
        /// Name.
        secret_name: String,
        /// Keys; empty: all.
        items: Vec<KeyToPath>,
        /// Mode of files; 0644 when absent.
        default_mode: Option<u32>,
        /// May be missing.
        optional: bool,
    }
}
view! {
    /// A key as a file.
    KeyToPath {
        /// Key.
        key: String,
        /// Path.
        path: String,
        /// Mode.
        mode: Option<u32>,
    }
}
