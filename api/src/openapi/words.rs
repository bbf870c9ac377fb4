//! What `kubectl explain` says, in our own words, for what people look up most.

/// Message, field (empty for the message itself), text.
static WORDS: &[(&str, &str, &str)] = &[
    (
        "apps.v1.Deployment",
        "",
        "Keeps a number of identical pods running and replaces them step by step when the template changes.",
    ),
    (
        "apps.v1.DeploymentSpec",
        "minReadySeconds",
        "Seconds a new pod must stay ready before it counts as available. Default 0.",
    ),
    (
        "apps.v1.DeploymentSpec",
        "paused",
        "Changes of the template start no rollout while this is true.",
    ),
    (
        "apps.v1.DeploymentSpec",
        "progressDeadlineSeconds",
        "Seconds without progress after which a rollout is reported as failed. Default 600.",
    ),
    (
        "apps.v1.DeploymentSpec",
        "replicas",
        "Number of pods wanted. Default 1.",
    ),
    (
        "apps.v1.DeploymentSpec",
        "revisionHistoryLimit",
        "Old ReplicaSets kept for a rollback. Default 10.",
    ),
    (
        "apps.v1.DeploymentSpec",
        "selector",
        "Which pods are counted; must match the template's labels and can't change.",
    ),
    (
        "apps.v1.DeploymentSpec",
        "strategy",
        "How old pods are replaced.",
    ),
    ("apps.v1.DeploymentSpec", "template", "The pod to make."),
    (
        "apps.v1.DeploymentStrategy",
        "rollingUpdate",
        "Limits of a rolling update.",
    ),
    (
        "apps.v1.DeploymentStrategy",
        "type",
        "RollingUpdate (default) or Recreate.",
    ),
    (
        "apps.v1.ReplicaSet",
        "",
        "Keeps a number of identical pods running; usually made by a Deployment.",
    ),
    (
        "apps.v1.RollingUpdateDeployment",
        "maxSurge",
        "Pods above the wanted number during an update: a number or a percentage. Default 25%.",
    ),
    (
        "apps.v1.RollingUpdateDeployment",
        "maxUnavailable",
        "Pods that may be missing during an update: a number or a percentage. Default 25%.",
    ),
    (
        "core.v1.ConfigMap",
        "",
        "Configuration as keys and texts, for pods to read.",
    ),
    (
        "core.v1.ConfigMap",
        "binaryData",
        "Keys with bytes, in base64.",
    ),
    ("core.v1.ConfigMap", "data", "Keys with text."),
    (
        "core.v1.ConfigMap",
        "immutable",
        "When true the data can't change any more.",
    ),
    (
        "core.v1.Container",
        "args",
        "Arguments; without them the container image's own are used.",
    ),
    (
        "core.v1.Container",
        "command",
        "Program to run instead of the container image's entrypoint.",
    ),
    (
        "core.v1.Container",
        "env",
        "Environment variables, by name.",
    ),
    (
        "core.v1.Container",
        "envFrom",
        "ConfigMaps and Secrets whose keys become environment variables.",
    ),
    ("core.v1.Container", "image", "Name of the container image."),
    (
        "core.v1.Container",
        "imagePullPolicy",
        "Always, IfNotPresent or Never.",
    ),
    ("core.v1.Container", "name", "Name, unique in the pod."),
    (
        "core.v1.Container",
        "ports",
        "Ports that the container listens on; for information.",
    ),
    (
        "core.v1.Container",
        "resources",
        "Processor and memory: what is reserved and what is the limit.",
    ),
    (
        "core.v1.Container",
        "securityContext",
        "Rights of the container; they win over the pod's.",
    ),
    (
        "core.v1.Container",
        "terminationMessagePath",
        "File whose text is reported when the container ends.",
    ),
    (
        "core.v1.Container",
        "volumeMounts",
        "Where the pod's volumes appear.",
    ),
    (
        "core.v1.Container",
        "workingDir",
        "Working directory instead of the container image's.",
    ),
    (
        "core.v1.EmptyDirVolumeSource",
        "medium",
        "Memory, or empty for the node's disk.",
    ),
    (
        "core.v1.EmptyDirVolumeSource",
        "sizeLimit",
        "Limit of a directory in memory.",
    ),
    ("core.v1.Event", "", "Something that happened to an object."),
    ("core.v1.Namespace", "", "A space of names for objects."),
    ("core.v1.Node", "", "A board that runs pods."),
    (
        "core.v1.NodeSpec",
        "podCIDR",
        "Range of the node's pod addresses.",
    ),
    (
        "core.v1.NodeSpec",
        "taints",
        "Keeps pods away that do not tolerate them.",
    ),
    (
        "core.v1.NodeSpec",
        "unschedulable",
        "No new pods when true (kubectl cordon).",
    ),
    (
        "core.v1.Pod",
        "",
        "Containers that run together on one node and share its address.",
    ),
    ("core.v1.PodSpec", "containers", "The containers, by name."),
    (
        "core.v1.PodSpec",
        "hostname",
        "Host name; default is the pod's name.",
    ),
    (
        "core.v1.PodSpec",
        "nodeName",
        "Node that runs the pod; the scheduler sets it when it is empty.",
    ),
    (
        "core.v1.PodSpec",
        "nodeSelector",
        "Labels that the node must have.",
    ),
    (
        "core.v1.PodSpec",
        "restartPolicy",
        "Always (default), OnFailure or Never.",
    ),
    (
        "core.v1.PodSpec",
        "securityContext",
        "Rights of all containers.",
    ),
    (
        "core.v1.PodSpec",
        "terminationGracePeriodSeconds",
        "Seconds between the request to stop and the kill. Default 30.",
    ),
    (
        "core.v1.PodSpec",
        "tolerations",
        "Taints that the pod bears.",
    ),
    (
        "core.v1.PodSpec",
        "volumes",
        "Directories and files for the containers, by name.",
    ),
    (
        "core.v1.ResourceRequirements",
        "limits",
        "Most that the container gets, e.g. cpu: 500m, memory: 64Mi.",
    ),
    (
        "core.v1.ResourceRequirements",
        "requests",
        "What the scheduler reserves; default is the limit.",
    ),
    (
        "core.v1.Secret",
        "",
        "Confidential data as keys and bytes, for pods to read.",
    ),
    ("core.v1.Secret", "data", "Keys with bytes, in base64."),
    (
        "core.v1.Secret",
        "stringData",
        "Keys with text; joined into data when written.",
    ),
    (
        "core.v1.Secret",
        "type",
        "What kind of secret; default Opaque.",
    ),
    (
        "core.v1.SecurityContext",
        "allowPrivilegeEscalation",
        "Whether a process may gain more rights than its parent.",
    ),
    (
        "core.v1.SecurityContext",
        "capabilities",
        "Linux capabilities to add and drop.",
    ),
    (
        "core.v1.SecurityContext",
        "privileged",
        "All rights of the node.",
    ),
    (
        "core.v1.SecurityContext",
        "readOnlyRootFilesystem",
        "The container can't write outside its volumes.",
    ),
    (
        "core.v1.SecurityContext",
        "runAsNonRoot",
        "The container is not started as user 0.",
    ),
    (
        "core.v1.SecurityContext",
        "runAsUser",
        "User id instead of the container image's.",
    ),
    (
        "core.v1.Volume",
        "configMap",
        "Keys of a ConfigMap as files.",
    ),
    (
        "core.v1.Volume",
        "emptyDir",
        "An empty directory that goes away with the pod.",
    ),
    (
        "core.v1.Volume",
        "secret",
        "Keys of a Secret as files in memory.",
    ),
    ("core.v1.VolumeMount", "mountPath", "Path in the container."),
    ("core.v1.VolumeMount", "name", "Name of the volume."),
    (
        "core.v1.VolumeMount",
        "readOnly",
        "The container can't write there.",
    ),
    (
        "core.v1.VolumeMount",
        "subPath",
        "Path inside the volume; default its root.",
    ),
    (
        "meta.v1.LabelSelector",
        "matchLabels",
        "Labels with the values that they must have.",
    ),
    (
        "meta.v1.ObjectMeta",
        "annotations",
        "Texts for tools; not for selecting.",
    ),
    (
        "meta.v1.ObjectMeta",
        "finalizers",
        "Who has to finish something before the object goes away.",
    ),
    (
        "meta.v1.ObjectMeta",
        "generateName",
        "Start of a name that the server completes.",
    ),
    (
        "meta.v1.ObjectMeta",
        "labels",
        "Short texts for selecting objects.",
    ),
    (
        "meta.v1.ObjectMeta",
        "name",
        "Name, unique for the kind in its namespace.",
    ),
    (
        "meta.v1.ObjectMeta",
        "namespace",
        "Namespace of the object.",
    ),
    (
        "meta.v1.ObjectMeta",
        "ownerReferences",
        "Objects that this one depends on; it goes away with them.",
    ),
];

fn all() -> impl Iterator<Item = &'static (&'static str, &'static str, &'static str)> {
    WORDS.iter().chain(super::words_kinds::WORDS)
}

/// The text for a field, or for a message when `field` is empty.
pub(super) fn words(message: &str, field: &str) -> &'static str {
    all()
        .find(|(name, at, _)| *at == field && message.ends_with(name))
        .map_or("", |(_, _, text)| text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts;

    #[test]
    fn every_text_is_about_something_that_exists() {
        for (name, field, text) in all() {
            let message = facts::messages().iter().find(|m| m.name.ends_with(name));
            let message = message.unwrap_or_else(|| panic!("{name}"));
            assert!(
                field.is_empty() || message.field(field).is_some(),
                "{name}.{field}"
            );
            assert_eq!(words(message.name, field), *text);
            assert!(!text.contains(['"', '\\']), "{text}: would need escaping");
        }
    }
}
