//! Small typed views of stored objects: only the fields that a controller reads.
//!
//! In come the canonical bytes of a stored object, out come a few strings and numbers. A view is
//! what an informer keeps for each object, so a field belongs here only when a controller reads it.
//! Writing goes through the object's JSON, never through a view: a view has forgotten the rest.

mod config;
mod meta;
mod node;
mod pod;
mod service;
mod spec;
mod workload;

pub use config::{ConfigMap, Secret};
pub use meta::{
    Condition, Labels, Metadata, Namespace, NamespaceSpec, NamespaceStatus, Object, OwnerReference,
    Requirement, Selector,
};
pub use node::{Node, NodeAddress, NodeInfo, NodeSpec, NodeStatus, Taint};
pub use pod::{
    Affinity, AffinityTerm, ContainerPort, ContainerStatus, ContainerSummary, NodeAffinity,
    NodeTerms, Pod, PodAffinity, PodSpec, PodStatus, PodTerm, PreferredNode, PreferredPod,
    RefusedImage, ResourceList, Resources, SchedulingGate, SpreadConstraint, Toleration,
};
pub use service::{
    Endpoint, EndpointAddress, EndpointConditions, EndpointPort, EndpointSlice, Endpoints,
    ObjectReference, PortRef, Service, ServicePort, ServiceSpec, Subset,
};
pub use spec::{
    Capabilities, Container, ContainerSecurity, DownwardApi, DownwardFile, EmptyDir, EnvFrom,
    EnvSource, EnvVar, ExecAction, FieldRef, FullPod, FullSpec, GrpcAction, Handler, HostAlias,
    HostPath, HttpGetAction, HttpHeader, KeyRef, KeyToPath, Lifecycle, NameRef, PodSecurity, Probe,
    Projected, Projection, ReadinessGate, ResourceFieldRef, SeccompProfile, SecretName,
    SleepAction, Sysctl, TcpAction, TokenFile, Volume, VolumeKeys, VolumeMount, VolumeSecret,
};
pub use workload::{
    Deployment, DeploymentSpec, DeploymentStatus, IntOrPercent, ReplicaSet, ReplicaSetSpec,
    ReplicaSetStatus, ReplicationController, RollingUpdate, Strategy, Template,
};

/// Reads a view from the stored bytes.
///
/// # Errors
/// What serde says; an object that the API server admitted decodes.
pub fn decode<'a, T: serde::Deserialize<'a>>(json: &'a [u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(json)
}

/// RFC 3339 text to a time stamp; `null` and unreadable text are none.
pub(crate) fn time<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<crate::time::Timestamp>, D::Error> {
    let text: Option<String> = serde::Deserialize::deserialize(deserializer)?;
    Ok(text.as_deref().and_then(crate::time::Timestamp::parse))
}

/// `null` reads as the empty value.
pub(crate) fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + serde::Deserialize<'de>,
{
    let value: Option<T> = serde::Deserialize::deserialize(deserializer)?;
    Ok(value.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_view_takes_what_it_needs_and_ignores_the_rest() {
        let json = br#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","namespace":"d","uid":"u",
            "creationTimestamp":"2026-01-01T00:00:01Z","labels":null,"managedFields":[{}]},
            "spec":{"containers":[{"name":"c","image":"i","resources":{"requests":{"cpu":"100m","memory":"1Gi"}}}],
            "nodeName":"n","unknown":1},"status":{"phase":"Running"}}"#;
        let pod: Pod = decode(json).unwrap();
        assert_eq!(
            (pod.metadata.name.as_str(), pod.spec.node_name.as_str()),
            ("a", "n")
        );
        assert_eq!(
            pod.spec.containers[0].resources.requests.milli("cpu"),
            Some(100)
        );
        assert_eq!(
            pod.metadata.creation_timestamp.unwrap().seconds,
            1_767_225_601
        );
        let full: FullPod = decode(json).unwrap();
        assert_eq!(full.spec.containers[0].image, "i");
    }

    #[test]
    fn selectors_match_as_upstream() {
        let selector = |json: &str| serde_json::from_str::<Selector>(json).unwrap();
        let labels = Labels::from([("a".into(), "1".into())]);
        for (json, want) in [
            ("{}", true),
            (r#"{"matchLabels":{"a":"1"}}"#, true),
            (r#"{"matchLabels":{"a":"2"}}"#, false),
            (
                r#"{"matchExpressions":[{"key":"a","operator":"In","values":["1","2"]}]}"#,
                true,
            ),
            (
                r#"{"matchExpressions":[{"key":"a","operator":"NotIn","values":["1"]}]}"#,
                false,
            ),
            (
                r#"{"matchExpressions":[{"key":"b","operator":"NotIn","values":["1"]}]}"#,
                true,
            ),
            (
                r#"{"matchExpressions":[{"key":"b","operator":"Exists"}]}"#,
                false,
            ),
            (
                r#"{"matchExpressions":[{"key":"b","operator":"DoesNotExist"}]}"#,
                true,
            ),
            (
                r#"{"matchExpressions":[{"key":"b","operator":"Gt","values":["1"]}]}"#,
                false,
            ),
        ] {
            assert_eq!(selector(json).matches(&labels), want, "{json}");
        }
    }

    #[test]
    fn percentages_round_as_asked() {
        for (value, total, up, want) in [
            (IntOrPercent::Int(3), 10, true, 3),
            (IntOrPercent::Percent(25), 10, true, 3),
            (IntOrPercent::Percent(25), 10, false, 2),
            (IntOrPercent::Percent(0), 10, true, 0),
            (IntOrPercent::Percent(100), 7, false, 7),
        ] {
            assert_eq!(value.of(total, up), want, "{value:?} of {total}");
        }
        let parse = |json: &str| serde_json::from_str::<IntOrPercent>(json).ok();
        assert_eq!(parse("\"25%\""), Some(IntOrPercent::Percent(25)));
        assert_eq!(parse("2"), Some(IntOrPercent::Int(2)));
        assert_eq!(parse("\"x\""), None);
    }
}
