//! Rights of pods and containers.

use serde::Deserialize;

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
        /// `Always` (also when empty) or `OnRootMismatch`.
        fs_group_change_policy: String,
        /// Further groups.
        supplemental_groups: Vec<i64>,
        /// System calls.
        seccomp_profile: Option<SeccompProfile>,
        /// Kernel settings of its namespaces.
        sysctls: Vec<Sysctl>,
    }
}
view! {
    /// `seccompProfile`.
    SeccompProfile {
        /// `Unconfined`, `RuntimeDefault`, `Localhost`.
        #[serde(rename = "type")]
        kind: String,
        /// A file of the node.
        localhost_profile: String,
    }
}
view! {
    /// An entry of `sysctls`.
    Sysctl {
        /// Name, with dots or slashes.
        name: String,
        /// Value.
        value: String,
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
        /// System calls.
        seccomp_profile: Option<SeccompProfile>,
        /// `Default` (also when empty) or `Unmasked`.
        proc_mount: String,
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
