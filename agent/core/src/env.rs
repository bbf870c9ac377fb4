//! A container's environment: `envFrom`, `env`, references, and `$(NAME)` in values, command and
//! arguments, all as Kubernetes does it.

use std::collections::BTreeMap;

use bramble_wire::object::{
    Container, EnvFromSource, EnvValue, ObjectName, Pod, ResourceField, ResourceName, Resources,
    SecretData,
};

use crate::desired::{Desired, Host};
use crate::field;

/// Why an environment can't be made yet; the texts are Kubernetes' own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No such ConfigMap in the document.
    #[error("configmap \"{0}\" not found")]
    ConfigMap(String),
    /// No such Secret in the document.
    #[error("secret \"{0}\" not found")]
    Secret(String),
    /// The Secret is there and this node can't open it.
    #[error("secret \"{0}\" can't be opened by this node")]
    Sealed(String),
    /// No such key in the ConfigMap.
    #[error("couldn't find key {key} in ConfigMap {object}")]
    ConfigMapKey {
        /// Key.
        key: String,
        /// Namespace and name.
        object: ObjectName,
    },
    /// No such key in the Secret.
    #[error("couldn't find key {key} in Secret {object}")]
    SecretKey {
        /// Key.
        key: String,
        /// Namespace and name.
        object: ObjectName,
    },
    /// A `resourceFieldRef` names a container that the pod does not have.
    #[error("container {0} not found")]
    Container(String),
}

/// The variables that the manifest gives a container.
///
/// # Errors
/// [`Error`] when something that is not optional is missing.
pub fn resolve(
    desired: &Desired,
    host: &Host,
    pod: &Pod,
    address: Option<[u8; 4]>,
    container: &Container,
) -> Result<BTreeMap<String, String>, Error> {
    let mut variables = BTreeMap::new();
    for from in &container.env_from {
        let data = match &from.source {
            EnvFromSource::ConfigMap(name) => config_map(desired, pod, name),
            EnvFromSource::Secret(name) => secret(desired, pod, name),
        };
        match data {
            Ok(data) => variables.extend(
                data.iter()
                    .map(|(key, value)| (format!("{}{key}", from.prefix), text(value))),
            ),
            Err(Error::ConfigMap(_) | Error::Secret(_)) if from.optional => {}
            Err(error) => return Err(error),
        }
    }
    for variable in &container.env {
        let value = match &variable.value {
            EnvValue::Literal(value) => Some(expand(value, |name| variables.get(name).cloned())),
            EnvValue::ConfigMapKey {
                name,
                key,
                optional,
            } => key_of(
                config_map(desired, pod, name),
                key,
                *optional,
                |object| Error::ConfigMapKey {
                    key: key.clone(),
                    object: named(pod, object),
                },
                name,
            )?,
            EnvValue::SecretKey {
                name,
                key,
                optional,
            } => key_of(
                secret(desired, pod, name),
                key,
                *optional,
                |object| Error::SecretKey {
                    key: key.clone(),
                    object: named(pod, object),
                },
                name,
            )?,
            EnvValue::Field(field) => Some(field::of_pod(host, pod, address, field)),
            EnvValue::Resource(field) => Some(resource_of(host, pod, container, field)?),
        };
        if let Some(value) = value {
            variables.insert(variable.name.clone(), value);
        }
    }
    Ok(variables)
}

/// Replaces `$(NAME)` where the name is known; `$$` is a dollar sign. What can't be replaced stays
/// as written.
pub fn expand(input: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(input.len());
    let mut rest = input;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|r| r.split_once(')')) {
            match lookup(name) {
                Some(value) => out.push_str(&value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

/// Data of a ConfigMap of the pod's namespace.
pub(crate) fn config_map<'a>(
    desired: &'a Desired,
    pod: &Pod,
    name: &str,
) -> Result<&'a BTreeMap<String, Vec<u8>>, Error> {
    desired
        .config_maps
        .get(&named(pod, name))
        .map(|map| &map.data)
        .ok_or_else(|| Error::ConfigMap(name.into()))
}

/// Data of a Secret of the pod's namespace.
pub(crate) fn secret<'a>(
    desired: &'a Desired,
    pod: &Pod,
    name: &str,
) -> Result<&'a BTreeMap<String, Vec<u8>>, Error> {
    match desired.secrets.get(&named(pod, name)) {
        Some(Some(SecretData(data))) => Ok(data),
        Some(None) => Err(Error::Sealed(name.into())),
        None => Err(Error::Secret(name.into())),
    }
}

fn key_of(
    data: Result<&BTreeMap<String, Vec<u8>>, Error>,
    key: &str,
    optional: bool,
    missing: impl FnOnce(&str) -> Error,
    name: &str,
) -> Result<Option<String>, Error> {
    match data {
        Ok(data) => match data.get(key) {
            Some(value) => Ok(Some(text(value))),
            None if optional => Ok(None),
            None => Err(missing(name)),
        },
        Err(Error::ConfigMap(_) | Error::Secret(_)) if optional => Ok(None),
        Err(error) => Err(error),
    }
}

/// A request or limit as `resourceFieldRef` says it; `container` is the one that asks. A limit that
/// is not set is what the node has to give, a request that is not set is 0.
///
/// # Errors
/// [`Error::Container`].
pub fn resource_of(
    host: &Host,
    pod: &Pod,
    container: &Container,
    field: &ResourceField,
) -> Result<String, Error> {
    let named = |named: &&Container| named.name == field.container;
    let of = match field.container.as_str() {
        "" => container,
        name => (pod.all_containers().find(named)).ok_or_else(|| Error::Container(name.into()))?,
    };
    let Resources {
        cpu_request_milli,
        cpu_limit_milli,
        memory_request_bytes,
        memory_limit_bytes,
        storage_request_bytes,
        storage_limit_bytes,
    } = of.resources;
    let thousandths = |bytes: Option<u64>| bytes.map(|bytes| u128::from(bytes) * 1000);
    let (request, limit, all) = match field.resource {
        ResourceName::Cpu => (
            cpu_request_milli.map(u128::from),
            cpu_limit_milli.map(u128::from),
            u128::from(host.cpu_milli),
        ),
        ResourceName::Memory => (
            thousandths(memory_request_bytes),
            thousandths(memory_limit_bytes),
            u128::from(host.memory_bytes) * 1000,
        ),
        ResourceName::EphemeralStorage => (
            thousandths(storage_request_bytes),
            thousandths(storage_limit_bytes),
            u128::from(host.storage_bytes) * 1000,
        ),
    };
    let amount = match field.limit {
        true => limit.filter(|limit| *limit > 0).unwrap_or(all),
        false => request.unwrap_or(0),
    };
    Ok(amount
        .div_ceil(u128::from(field.divisor_milli.max(1)))
        .to_string())
}

fn named(pod: &Pod, name: &str) -> ObjectName {
    ObjectName {
        namespace: pod.name.namespace.clone(),
        name: name.into(),
    }
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expansion_follows_kubernetes() {
        let lookup = |name: &str| match name {
            "VAR_A" => Some("A".to_owned()),
            "VAR_EMPTY" => Some(String::new()),
            "VAR_REF" => Some("$(VAR_A)".to_owned()),
            _ => None,
        };
        // From the table of k8s.io/kubernetes/third_party/forked/golang/expansion.
        let cases = [
            ("$(VAR_A)", "A"),
            ("___$(VAR_A)___", "___A___"),
            ("$(VAR_A)-1", "A-1"),
            ("$(VAR_A)_$(VAR_A)_$(VAR_EMPTY)", "A_A_"),
            ("$$(VAR_A)_$(VAR_A)", "$(VAR_A)_A"),
            ("f000-$$VAR_A", "f000-$VAR_A"),
            ("$(VAR_REF)", "$(VAR_A)"),
            ("$?_$(VAR_A)", "$?_A"),
            ("$(VAR_C)", "$(VAR_C)"),
            ("$$$$(VAR_A)", "$$(VAR_A)"),
            ("$$$(VAR_A)", "$A"),
            ("foo$$$$$(VAR_A)", "foo$$A"),
            ("$(", "$("),
            ("$VAR_A)", "$VAR_A)"),
            ("${VAR_A}", "${VAR_A}"),
            ("$()", "$()"),
            ("foo$", "foo$"),
            ("$)", "$)"),
            ("", ""),
            ("ü$(VAR_A)ü", "üAü"),
        ];
        for (input, expected) in cases {
            assert_eq!(expand(input, lookup), expected, "{input}");
        }
    }
}
