//! A container's environment.

use serde::Deserialize;

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
        /// Of a container's amounts.
        resource_field_ref: Option<ResourceFieldRef>,
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
    /// A request or limit of a container.
    ResourceFieldRef {
        /// Which container; empty is the one that asks.
        container_name: String,
        /// `limits.cpu` and the like.
        resource: String,
        /// Unit; empty and `0` are one.
        divisor: String,
    }
}
