//! The list. A message appears when some served kind reaches it through honoured fields.

use super::{Rule, Verdict};

pub(super) const fn honoured(field: &'static str) -> Rule {
    Rule {
        field,
        verdict: Verdict::Honoured,
        fine: &[],
        note: "",
    }
}

pub(super) const fn whole(field: &'static str) -> Rule {
    Rule {
        field,
        verdict: Verdict::Whole,
        fine: &[],
        note: "",
    }
}

pub(super) const fn warned(
    field: &'static str,
    fine: &'static [&'static str],
    note: &'static str,
) -> Rule {
    Rule {
        field,
        verdict: Verdict::Warned,
        fine,
        note,
    }
}

const fn refused(field: &'static str, fine: &'static [&'static str], note: &'static str) -> Rule {
    Rule {
        field,
        verdict: Verdict::Refused,
        fine,
        note,
    }
}

pub(super) const API_VERSION: Rule = honoured("apiVersion");
pub(super) const KIND: Rule = honoured("kind");
pub(super) const METADATA: Rule = honoured("metadata");
pub(super) const SPEC: Rule = honoured("spec");
pub(super) const STATUS: Rule = whole("status");

const PROBES: &str = "probes are not run; a container counts as ready while it runs";
const NO_DNS: &str = "there is no cluster DNS";
const NO_EVICTION: &str = "running pods are not evicted by taints";
const VOLUMES: &str = "volumes are emptyDir, configMap and secret";

/// Message → rules of its fields.
pub(super) static RULES: &[(&str, &[Rule])] = &[
    (
        "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta",
        &[
            honoured("annotations"),
            honoured("creationTimestamp"),
            honoured("deletionGracePeriodSeconds"),
            honoured("deletionTimestamp"),
            honoured("finalizers"),
            honoured("generateName"),
            honoured("generation"),
            honoured("labels"),
            warned("managedFields", &[], "there is no server-side apply"),
            honoured("name"),
            honoured("namespace"),
            whole("ownerReferences"),
            honoured("resourceVersion"),
            warned("selfLink", &[], ""),
            honoured("uid"),
        ],
    ),
    (
        "io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector",
        &[honoured("matchLabels"), whole("matchExpressions")],
    ),
    (
        "io.k8s.api.core.v1.ConfigMap",
        &[
            API_VERSION,
            KIND,
            METADATA,
            honoured("binaryData"),
            honoured("data"),
            honoured("immutable"),
        ],
    ),
    (
        "io.k8s.api.core.v1.Secret",
        &[
            API_VERSION,
            KIND,
            METADATA,
            honoured("data"),
            honoured("immutable"),
            honoured("stringData"),
            honoured("type"),
        ],
    ),
    (
        "io.k8s.api.core.v1.Event",
        &[
            API_VERSION,
            KIND,
            METADATA,
            honoured("action"),
            honoured("count"),
            honoured("eventTime"),
            honoured("firstTimestamp"),
            whole("involvedObject"),
            honoured("lastTimestamp"),
            honoured("message"),
            honoured("reason"),
            whole("related"),
            honoured("reportingComponent"),
            honoured("reportingInstance"),
            whole("series"),
            whole("source"),
            honoured("type"),
        ],
    ),
    (
        "io.k8s.api.core.v1.Namespace",
        &[API_VERSION, KIND, METADATA, SPEC, STATUS],
    ),
    (
        "io.k8s.api.core.v1.NamespaceSpec",
        &[honoured("finalizers")],
    ),
    (
        "io.k8s.api.core.v1.Node",
        &[API_VERSION, KIND, METADATA, SPEC, STATUS],
    ),
    (
        "io.k8s.api.core.v1.NodeSpec",
        &[
            warned("configSource", &[], ""),
            warned("externalID", &[], ""),
            honoured("podCIDR"),
            honoured("podCIDRs"),
            warned("podPreemptionPolicy", &[], "pods are not preempted"),
            honoured("providerID"),
            honoured("taints"),
            honoured("unschedulable"),
        ],
    ),
    (
        "io.k8s.api.core.v1.Taint",
        &[
            honoured("effect"),
            honoured("key"),
            honoured("timeAdded"),
            honoured("value"),
        ],
    ),
    (
        "io.k8s.api.apps.v1.Deployment",
        &[API_VERSION, KIND, METADATA, SPEC, STATUS],
    ),
    (
        "io.k8s.api.apps.v1.DeploymentSpec",
        &[
            honoured("minReadySeconds"),
            honoured("paused"),
            honoured("progressDeadlineSeconds"),
            honoured("replicas"),
            honoured("revisionHistoryLimit"),
            honoured("selector"),
            whole("strategy"),
            honoured("template"),
        ],
    ),
    (
        "io.k8s.api.apps.v1.ReplicaSet",
        &[API_VERSION, KIND, METADATA, SPEC, STATUS],
    ),
    (
        "io.k8s.api.apps.v1.ReplicaSetSpec",
        &[
            honoured("minReadySeconds"),
            honoured("replicas"),
            honoured("selector"),
            honoured("template"),
        ],
    ),
    ("io.k8s.api.core.v1.PodTemplateSpec", &[METADATA, SPEC]),
    (
        "io.k8s.api.core.v1.Pod",
        &[API_VERSION, KIND, METADATA, SPEC, STATUS],
    ),
    (
        "io.k8s.api.core.v1.PodSpec",
        &[
            refused("activeDeadlineSeconds", &[], ""),
            refused("affinity", &[], "use nodeSelector"),
            warned(
                "automountServiceAccountToken",
                &["false"],
                "no token is mounted",
            ),
            honoured("containers"),
            refused("dnsConfig", &[], NO_DNS),
            warned("dnsPolicy", &["\"ClusterFirst\"", "\"Default\""], NO_DNS),
            warned("enableServiceLinks", &["true", "false"], ""),
            refused("ephemeralContainers", &[], ""),
            refused("evictionResponders", &[], ""),
            refused("hostAliases", &[], ""),
            refused("hostIPC", &["false"], ""),
            refused("hostNetwork", &["false"], ""),
            refused("hostPID", &["false"], ""),
            refused("hostUsers", &["true"], ""),
            honoured("hostname"),
            refused("hostnameOverride", &[], ""),
            warned(
                "imagePullSecrets",
                &[],
                "container images are loaded on the node",
            ),
            refused("initContainers", &[], ""),
            honoured("nodeName"),
            honoured("nodeSelector"),
            honoured("os"),
            refused("overhead", &[], ""),
            warned(
                "preemptionPolicy",
                &["\"PreemptLowerPriority\""],
                "pods are not preempted",
            ),
            warned("priority", &["0"], "pods have no priority"),
            warned("priorityClassName", &[], "pods have no priority"),
            refused("readinessGates", &[], ""),
            refused("resourceClaims", &[], ""),
            refused("resources", &[], "set the containers' resources"),
            honoured("restartPolicy"),
            refused("runtimeClassName", &[], ""),
            refused("schedulerName", &["\"default-scheduler\""], ""),
            refused("schedulingGates", &[], ""),
            refused("schedulingGroup", &[], ""),
            honoured("securityContext"),
            warned(
                "serviceAccount",
                &["\"default\""],
                "pods have no identity towards the API",
            ),
            warned(
                "serviceAccountName",
                &["\"default\""],
                "pods have no identity towards the API",
            ),
            warned("setHostnameAsFQDN", &["false"], NO_DNS),
            refused("shareProcessNamespace", &["false"], ""),
            warned("subdomain", &[], NO_DNS),
            honoured("terminationGracePeriodSeconds"),
            honoured("tolerations"),
            refused("topologySpreadConstraints", &[], "use nodeSelector"),
            honoured("volumes"),
        ],
    ),
    (
        "io.k8s.api.core.v1.Toleration",
        &[
            honoured("effect"),
            honoured("key"),
            honoured("operator"),
            warned("tolerationSeconds", &[], NO_EVICTION),
            honoured("value"),
        ],
    ),
    (
        "io.k8s.api.core.v1.PodOS",
        &[refused("name", &["\"linux\""], "nodes run Linux")],
    ),
    (
        "io.k8s.api.core.v1.PodSecurityContext",
        &[
            refused("appArmorProfile", &[], ""),
            refused("fsGroup", &[], ""),
            warned("fsGroupChangePolicy", &[], ""),
            honoured("runAsGroup"),
            honoured("runAsNonRoot"),
            honoured("runAsUser"),
            warned("seLinuxChangePolicy", &[], ""),
            refused("seLinuxOptions", &[], ""),
            honoured("seccompProfile"),
            honoured("supplementalGroups"),
            refused("supplementalGroupsPolicy", &["\"Merge\""], ""),
            refused("sysctls", &[], ""),
            refused("windowsOptions", &[], ""),
        ],
    ),
    (
        "io.k8s.api.core.v1.SeccompProfile",
        &[
            refused("localhostProfile", &[], ""),
            refused("type", &["\"Unconfined\""], "system calls are not filtered"),
        ],
    ),
    (
        "io.k8s.api.core.v1.Container",
        &[
            honoured("args"),
            honoured("command"),
            honoured("env"),
            honoured("envFrom"),
            honoured("image"),
            honoured("imagePullPolicy"),
            refused("lifecycle", &[], ""),
            warned("livenessProbe", &[], PROBES),
            honoured("name"),
            honoured("ports"),
            warned("readinessProbe", &[], PROBES),
            warned("resizePolicy", &[], ""),
            honoured("resources"),
            refused("restartPolicy", &[], "set the pod's restartPolicy"),
            refused("restartPolicyRules", &[], ""),
            honoured("securityContext"),
            warned("startupProbe", &[], PROBES),
            warned("stdin", &["false"], "nothing can be attached"),
            warned("stdinOnce", &["false"], "nothing can be attached"),
            honoured("terminationMessagePath"),
            warned("terminationMessagePolicy", &["\"File\""], ""),
            warned("tty", &["false"], "nothing can be attached"),
            refused("volumeDevices", &[], ""),
            honoured("volumeMounts"),
            honoured("workingDir"),
        ],
    ),
    (
        "io.k8s.api.core.v1.EnvVar",
        &[honoured("name"), honoured("value"), honoured("valueFrom")],
    ),
    (
        "io.k8s.api.core.v1.EnvVarSource",
        &[
            honoured("configMapKeyRef"),
            honoured("fieldRef"),
            refused("fileKeyRef", &[], ""),
            refused("resourceFieldRef", &[], ""),
            honoured("secretKeyRef"),
        ],
    ),
    (
        "io.k8s.api.core.v1.ConfigMapKeySelector",
        &[honoured("key"), honoured("name"), honoured("optional")],
    ),
    (
        "io.k8s.api.core.v1.SecretKeySelector",
        &[honoured("key"), honoured("name"), honoured("optional")],
    ),
    (
        "io.k8s.api.core.v1.ObjectFieldSelector",
        &[honoured("apiVersion"), honoured("fieldPath")],
    ),
    (
        "io.k8s.api.core.v1.EnvFromSource",
        &[
            honoured("configMapRef"),
            honoured("prefix"),
            honoured("secretRef"),
        ],
    ),
    (
        "io.k8s.api.core.v1.ConfigMapEnvSource",
        &[honoured("name"), honoured("optional")],
    ),
    (
        "io.k8s.api.core.v1.SecretEnvSource",
        &[honoured("name"), honoured("optional")],
    ),
    (
        "io.k8s.api.core.v1.ContainerPort",
        &[
            honoured("containerPort"),
            refused("hostIP", &[], ""),
            refused("hostPort", &[], "use the pod's address"),
            honoured("name"),
            honoured("protocol"),
        ],
    ),
    (
        "io.k8s.api.core.v1.ResourceRequirements",
        &[
            refused("claims", &[], ""),
            honoured("limits"),
            honoured("requests"),
        ],
    ),
    (
        "io.k8s.api.core.v1.SecurityContext",
        &[
            honoured("allowPrivilegeEscalation"),
            refused("appArmorProfile", &[], ""),
            whole("capabilities"),
            honoured("privileged"),
            refused("procMount", &["\"Default\""], ""),
            honoured("readOnlyRootFilesystem"),
            honoured("runAsGroup"),
            honoured("runAsNonRoot"),
            honoured("runAsUser"),
            refused("seLinuxOptions", &[], ""),
            honoured("seccompProfile"),
            refused("windowsOptions", &[], ""),
        ],
    ),
    (
        "io.k8s.api.core.v1.Volume",
        &[
            refused("awsElasticBlockStore", &[], VOLUMES),
            refused("azureDisk", &[], VOLUMES),
            refused("azureFile", &[], VOLUMES),
            refused("cephfs", &[], VOLUMES),
            refused("cinder", &[], VOLUMES),
            honoured("configMap"),
            refused("csi", &[], VOLUMES),
            refused("downwardAPI", &[], VOLUMES),
            honoured("emptyDir"),
            refused("ephemeral", &[], VOLUMES),
            refused("fc", &[], VOLUMES),
            refused("flexVolume", &[], VOLUMES),
            refused("flocker", &[], VOLUMES),
            refused("gcePersistentDisk", &[], VOLUMES),
            refused("gitRepo", &[], VOLUMES),
            refused("glusterfs", &[], VOLUMES),
            refused("hostPath", &[], VOLUMES),
            refused("image", &[], VOLUMES),
            refused("iscsi", &[], VOLUMES),
            honoured("name"),
            refused("nfs", &[], VOLUMES),
            refused("persistentVolumeClaim", &[], VOLUMES),
            refused("photonPersistentDisk", &[], VOLUMES),
            refused("portworxVolume", &[], VOLUMES),
            refused("projected", &[], VOLUMES),
            refused("quobyte", &[], VOLUMES),
            refused("rbd", &[], VOLUMES),
            refused("scaleIO", &[], VOLUMES),
            honoured("secret"),
            refused("storageos", &[], VOLUMES),
            refused("vsphereVolume", &[], VOLUMES),
        ],
    ),
    (
        "io.k8s.api.core.v1.EmptyDirVolumeSource",
        &[
            honoured("medium"),
            refused("mode", &[], ""),
            honoured("sizeLimit"),
        ],
    ),
    (
        "io.k8s.api.core.v1.ConfigMapVolumeSource",
        &[
            honoured("defaultMode"),
            refused("defaultUser", &[], ""),
            honoured("items"),
            honoured("name"),
            honoured("optional"),
        ],
    ),
    (
        "io.k8s.api.core.v1.SecretVolumeSource",
        &[
            honoured("defaultMode"),
            refused("defaultUser", &[], ""),
            honoured("items"),
            honoured("optional"),
            honoured("secretName"),
        ],
    ),
    (
        "io.k8s.api.core.v1.KeyToPath",
        &[
            honoured("key"),
            honoured("mode"),
            honoured("path"),
            refused("user", &[], ""),
        ],
    ),
    (
        "io.k8s.api.core.v1.VolumeMount",
        &[
            refused("bindMountOptions", &[], ""),
            honoured("mountPath"),
            refused("mountPropagation", &["\"None\""], ""),
            honoured("name"),
            honoured("readOnly"),
            refused("recursiveReadOnly", &["\"Disabled\""], ""),
            honoured("subPath"),
            refused("subPathExpr", &[], ""),
        ],
    ),
];
