//! A container's environment, and what is said of the pod in it or in files, for the wire.

use bramble_api::quantity::Quantity;
use bramble_api::view;
use bramble_wire::object::{
    EnvFrom, EnvFromSource, EnvValue, EnvVar, PodField, ResourceField, ResourceName,
};

use super::Error;

pub(super) fn from_maps(from: &[view::EnvFrom]) -> Result<Vec<EnvFrom>, Error> {
    let entry = |from: &view::EnvFrom| {
        let (source, optional) = match (&from.config_map_ref, &from.secret_ref) {
            (Some(map), None) => (EnvFromSource::ConfigMap(map.name.clone()), map.optional),
            (None, Some(secret)) => (EnvFromSource::Secret(secret.name.clone()), secret.optional),
            _ => return Err(Error::Unsupported("envFrom without one source".into())),
        };
        Ok(EnvFrom {
            prefix: from.prefix.clone(),
            source,
            optional,
        })
    };
    from.iter().map(entry).collect()
}

pub(super) fn variables(from: &[view::EnvVar]) -> Result<Vec<EnvVar>, Error> {
    let entry = |from: &view::EnvVar| {
        let value = match &from.value_from {
            None => EnvValue::Literal(from.value.clone()),
            Some(source) => elsewhere(source)?,
        };
        Ok(EnvVar {
            name: from.name.clone(),
            value,
        })
    };
    from.iter().map(entry).collect()
}

fn elsewhere(from: &view::EnvSource) -> Result<EnvValue, Error> {
    let of = |key: &view::KeyRef| (key.name.clone(), key.key.clone(), key.optional);
    if let Some((name, key, optional)) = from.config_map_key_ref.as_ref().map(of) {
        return Ok(EnvValue::ConfigMapKey {
            name,
            key,
            optional,
        });
    }
    if let Some((name, key, optional)) = from.secret_key_ref.as_ref().map(of) {
        return Ok(EnvValue::SecretKey {
            name,
            key,
            optional,
        });
    }
    if let Some(from) = &from.field_ref {
        return field(from, false).map(EnvValue::Field);
    }
    let Some(from) = &from.resource_field_ref else {
        return Err(Error::Unsupported("valueFrom".into()));
    };
    resource(from).map(EnvValue::Resource)
}

/// A field of the pod; all labels or annotations at once are for files.
pub(super) fn field(from: &view::FieldRef, file: bool) -> Result<PodField, Error> {
    let path = from.field_path.as_str();
    let quoted = |kind: &str| {
        path.strip_prefix(kind)?
            .strip_prefix("['")?
            .strip_suffix("']")
    };
    Ok(match path {
        "metadata.name" => PodField::Name,
        "metadata.namespace" => PodField::Namespace,
        "metadata.uid" => PodField::Uid,
        "metadata.labels" if file => PodField::Labels,
        "metadata.annotations" if file => PodField::Annotations,
        "spec.nodeName" => PodField::NodeName,
        "spec.serviceAccountName" => PodField::ServiceAccountName,
        "status.podIP" => PodField::PodIp,
        "status.podIPs" => PodField::PodIps,
        "status.hostIP" => PodField::HostIp,
        "status.hostIPs" => PodField::HostIps,
        _ => match (quoted("metadata.labels"), quoted("metadata.annotations")) {
            (Some(key), _) => PodField::Label(key.to_owned()),
            (_, Some(key)) => PodField::Annotation(key.to_owned()),
            _ => return Err(Error::Unsupported(format!("fieldPath \"{path}\""))),
        },
    })
}

/// A request or limit, in units of one where nothing or `0` is said, as upstream.
pub(super) fn resource(from: &view::ResourceFieldRef) -> Result<ResourceField, Error> {
    let path = from.resource.as_str();
    let unknown = || Error::Unsupported(format!("resource \"{path}\""));
    let (set, name) = path.split_once('.').ok_or_else(unknown)?;
    let limit = match set {
        "limits" => true,
        "requests" => false,
        _ => return Err(unknown()),
    };
    let resource = match name {
        "cpu" => ResourceName::Cpu,
        "memory" => ResourceName::Memory,
        "ephemeral-storage" => ResourceName::EphemeralStorage,
        _ => return Err(unknown()),
    };
    let divisor = match from.divisor.as_str() {
        "" => 0,
        text => {
            let parsed = Quantity::parse(text).map_err(|_| Error::Range("a divisor"))?;
            u64::try_from(parsed.milli()).map_err(|_| Error::Range("a divisor"))?
        }
    };
    Ok(ResourceField {
        container: from.container_name.clone(),
        resource,
        limit,
        divisor_milli: if divisor == 0 { 1000 } else { divisor },
    })
}
