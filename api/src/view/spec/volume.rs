//! Volumes and where they appear.

use serde::Deserialize;

use super::env::{FieldRef, ResourceFieldRef};

view! {
    /// An entry of `volumeMounts`.
    VolumeMount {
        /// Volume.
        name: String,
        /// Path in the container.
        mount_path: String,
        /// Path in the volume.
        sub_path: String,
        /// Path in the volume, with variables.
        sub_path_expr: String,
        /// Not writable.
        read_only: bool,
        /// `Disabled` (also when empty), `IfPossible`, `Enabled`.
        recursive_read_only: String,
        /// `None` (also when empty), `HostToContainer`, `Bidirectional`.
        mount_propagation: String,
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
        /// Of the board.
        host_path: Option<HostPath>,
        /// Fields of the pod.
        #[serde(rename = "downwardAPI")]
        downward_api: Option<DownwardApi>,
        /// Several of these in one.
        projected: Option<Projected>,
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
    /// `hostPath`.
    HostPath {
        /// Path.
        path: String,
        /// What must be there or is made.
        #[serde(rename = "type")]
        kind: String,
    }
}
view! {
    /// `configMap` of a volume or of a projection.
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
view! {
    /// `downwardAPI` of a volume or of a projection.
    DownwardApi {
        /// Files.
        items: Vec<DownwardFile>,
        /// Mode of files; 0644 when absent.
        default_mode: Option<u32>,
    }
}
view! {
    /// A field as a file.
    DownwardFile {
        /// Path.
        path: String,
        /// Of the pod.
        field_ref: Option<FieldRef>,
        /// Of a container's amounts.
        resource_field_ref: Option<ResourceFieldRef>,
        /// Mode.
        mode: Option<u32>,
    }
}
view! {
    /// `projected`.
    Projected {
        /// Sources in order.
        sources: Vec<Projection>,
        /// Mode of files; 0644 when absent.
        default_mode: Option<u32>,
    }
}
view! {
    /// A source of a projected volume; one of these.
    Projection {
        /// A ConfigMap.
        config_map: Option<VolumeKeys>,
        /// A Secret; it is named as a ConfigMap is here.
        secret: Option<VolumeKeys>,
        /// Fields of the pod.
        #[serde(rename = "downwardAPI")]
        downward_api: Option<DownwardApi>,
        /// A token of the pod's account.
        service_account_token: Option<TokenFile>,
    }
}
view! {
    /// `serviceAccountToken`.
    TokenFile {
        /// For whom; empty is the API.
        audience: String,
        /// Seconds; 3600 when absent.
        expiration_seconds: Option<i64>,
        /// Path.
        path: String,
    }
}
