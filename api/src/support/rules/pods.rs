//! Pods and pod templates.

use super::{ALL_THREE, Rules, TYPE, honoured, inside, kept_status, refused, warned};

const PROBES: &str = "probes are not run; a container counts as ready while it runs";
const NO_DNS: &str = "there is no cluster DNS";
const NO_TERMINAL: &str = "nothing can be attached";
const VOLUMES: &str = "volumes are emptyDir, configMap and secret";
const LATER: &str = "";

/// End to end: kubectl, the controller, a board, a container that tells what it sees.
const RUNS: &str = "root_a_container_gets_what_its_manifest_says";
const RIGHTS: &str = "root_processes_have_the_rights_of_the_manifest";
const ENDS: &str = "root_pods_end_as_their_manifest_says";
const PLACED: &str = "a_pod_goes_only_where_it_may";
const QUEUED: &str = "only_pods_of_this_scheduler_that_are_neither_bound_nor_ended_wait";
const BESIDE: &str = "required_affinity_keeps_a_pod_beside_others";
const SPREAD: &str = "pods_are_spread_as_their_constraints_say";
const WISHES: &str = "wishes_weigh_more_than_room";
const SUMMED: &str = "requests_are_summed_and_the_largest_init_container_counts";
const REPORTED: &str = "a_report_of_a_new_pod_gives_its_whole_status";

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub(super) static RULES: &[Rules] = &[
    ("core.v1.Pod", &[TYPE, ALL_THREE]),
    ("core.v1.PodTemplateSpec", &[inside("metadata spec")]),
    (
        "core.v1.PodSpec",
        &[
            inside(
                "affinity containers os schedulingGates securityContext tolerations \
                 topologySpreadConstraints volumes",
            ),
            honoured(RUNS, "hostname"),
            honoured(ENDS, "restartPolicy terminationGracePeriodSeconds"),
            honoured(PLACED, "nodeName nodeSelector"),
            honoured(QUEUED, "schedulerName"),
            honoured("priorities_come_from_classes", "priority priorityClassName"),
            honoured("the_fewest_and_least_important_go", "preemptionPolicy"),
            // Kept in step with `serviceAccountName`.
            warned(
                "pods have no identity towards the API",
                "serviceAccount serviceAccountName",
            )
            .fine(&["\"default\""]),
            warned("no token is mounted", "automountServiceAccountToken").fine(&["false"]),
            warned(NO_DNS, "dnsPolicy").fine(&["\"ClusterFirst\"", "\"Default\""]),
            warned(NO_DNS, "setHostnameAsFQDN").fine(&["false"]),
            warned(NO_DNS, "subdomain"),
            warned(
                "there are no variables about Services",
                "enableServiceLinks",
            )
            .fine(&["true", "false"]),
            warned(
                "container images are loaded on the node",
                "imagePullSecrets",
            ),
            refused(NO_DNS, "dnsConfig"),
            refused("set the containers' resources", "resources"),
            refused("pods share the board's users", "hostUsers").fine(&["true"]),
            refused(LATER, "hostIPC hostNetwork hostPID shareProcessNamespace").fine(&["false"]),
            refused(
                LATER,
                "activeDeadlineSeconds ephemeralContainers evictionResponders hostAliases \
                 hostnameOverride initContainers overhead readinessGates resourceClaims \
                 runtimeClassName schedulingGroup",
            ),
        ],
    ),
    ("core.v1.PodSchedulingGate", &[honoured(QUEUED, "name")]),
    (
        "core.v1.Affinity",
        &[inside("nodeAffinity podAffinity podAntiAffinity")],
    ),
    (
        "core.v1.NodeAffinity",
        &[inside(REQUIRED), inside(PREFERRED)],
    ),
    ("core.v1.NodeSelector", &[inside("nodeSelectorTerms")]),
    (
        "core.v1.NodeSelectorTerm",
        &[inside("matchExpressions matchFields")],
    ),
    (
        "core.v1.NodeSelectorRequirement",
        &[honoured(PLACED, "key operator values")],
    ),
    (
        "core.v1.PreferredSchedulingTerm",
        &[honoured(WISHES, "weight"), inside("preference")],
    ),
    (
        "core.v1.PodAffinity",
        &[inside(REQUIRED), inside(PREFERRED)],
    ),
    (
        "core.v1.PodAntiAffinity",
        &[inside(REQUIRED), inside(PREFERRED)],
    ),
    (
        "core.v1.WeightedPodAffinityTerm",
        &[honoured(WISHES, "weight"), inside("podAffinityTerm")],
    ),
    (
        "core.v1.PodAffinityTerm",
        &[
            inside("labelSelector namespaceSelector"),
            honoured(BESIDE, "namespaces topologyKey"),
            honoured(
                "label_keys_become_conditions",
                "matchLabelKeys mismatchLabelKeys",
            ),
        ],
    ),
    (
        "core.v1.TopologySpreadConstraint",
        &[
            inside("labelSelector"),
            honoured(
                SPREAD,
                "matchLabelKeys maxSkew minDomains nodeAffinityPolicy nodeTaintsPolicy \
                 topologyKey whenUnsatisfiable",
            ),
        ],
    ),
    (
        "core.v1.Toleration",
        &[
            honoured(PLACED, "effect key operator value"),
            honoured(
                "a_pod_is_marked_when_it_has_borne_the_taint_for_long_enough",
                "tolerationSeconds",
            ),
        ],
    ),
    (
        "core.v1.PodOS",
        &[refused("nodes run Linux", "name").fine(&["\"linux\""])],
    ),
    (
        "core.v1.PodSecurityContext",
        &[
            honoured(
                RIGHTS,
                "runAsGroup runAsNonRoot runAsUser supplementalGroups",
            ),
            inside("seccompProfile"),
            warned("volumes keep their groups", "fsGroupChangePolicy"),
            warned("there is no SELinux", "seLinuxChangePolicy"),
            refused("groups are merged", "supplementalGroupsPolicy").fine(&["\"Merge\""]),
            refused(
                LATER,
                "appArmorProfile fsGroup seLinuxOptions sysctls windowsOptions",
            ),
        ],
    ),
    (
        "core.v1.SeccompProfile",
        &[
            refused("system calls are not filtered", "type").fine(&["\"Unconfined\""]),
            refused("system calls are not filtered", "localhostProfile"),
        ],
    ),
    (
        "core.v1.Container",
        &[
            honoured(RUNS, "args command image imagePullPolicy name workingDir"),
            inside("env envFrom ports resources securityContext volumeMounts"),
            honoured(ENDS, "terminationMessagePath"),
            warned("only the file is read", "terminationMessagePolicy").fine(&["\"File\""]),
            warned(PROBES, "livenessProbe readinessProbe startupProbe"),
            warned(NO_TERMINAL, "stdin stdinOnce tty").fine(&["false"]),
            warned("containers are not resized", "resizePolicy"),
            refused(
                "set the pod's restartPolicy",
                "restartPolicy restartPolicyRules",
            ),
            refused(LATER, "lifecycle volumeDevices"),
        ],
    ),
    (
        "core.v1.EnvVar",
        &[honoured(RUNS, "name value"), inside("valueFrom")],
    ),
    (
        "core.v1.EnvVarSource",
        &[
            inside("configMapKeyRef fieldRef secretKeyRef"),
            refused(LATER, "fileKeyRef resourceFieldRef"),
        ],
    ),
    (
        "core.v1.ConfigMapKeySelector",
        &[honoured(RUNS, "key name optional")],
    ),
    (
        "core.v1.SecretKeySelector",
        &[honoured(RUNS, "key name optional")],
    ),
    (
        "core.v1.ObjectFieldSelector",
        &[honoured(RUNS, "apiVersion fieldPath")],
    ),
    (
        "core.v1.EnvFromSource",
        &[honoured(RUNS, "prefix"), inside("configMapRef secretRef")],
    ),
    (
        "core.v1.ConfigMapEnvSource",
        &[honoured(RUNS, "name optional")],
    ),
    (
        "core.v1.SecretEnvSource",
        &[honoured(RUNS, "name optional")],
    ),
    (
        "core.v1.ContainerPort",
        &[
            honoured(
                "ports_and_mounts_in_upstreams_words",
                "containerPort name protocol",
            ),
            refused("use the pod's address", "hostIP hostPort"),
        ],
    ),
    (
        "core.v1.ResourceRequirements",
        &[
            honoured(RUNS, "limits"),
            honoured(SUMMED, "requests"),
            refused(LATER, "claims"),
        ],
    ),
    (
        "core.v1.SecurityContext",
        &[
            honoured(
                RIGHTS,
                "allowPrivilegeEscalation privileged readOnlyRootFilesystem runAsGroup \
                 runAsNonRoot runAsUser",
            ),
            inside("capabilities seccompProfile"),
            refused(LATER, "procMount").fine(&["\"Default\""]),
            refused(LATER, "appArmorProfile seLinuxOptions windowsOptions"),
        ],
    ),
    ("core.v1.Capabilities", &[honoured(RIGHTS, "add drop")]),
    (
        "core.v1.Volume",
        &[
            honoured(RUNS, "name"),
            inside("configMap emptyDir secret"),
            refused(
                VOLUMES,
                "awsElasticBlockStore azureDisk azureFile cephfs cinder csi downwardAPI ephemeral \
                 fc flexVolume flocker gcePersistentDisk gitRepo glusterfs hostPath image iscsi \
                 nfs persistentVolumeClaim photonPersistentDisk portworxVolume projected quobyte \
                 rbd scaleIO storageos vsphereVolume",
            ),
        ],
    ),
    (
        "core.v1.EmptyDirVolumeSource",
        &[honoured(RUNS, "medium sizeLimit"), refused(LATER, "mode")],
    ),
    (
        "core.v1.ConfigMapVolumeSource",
        &[
            honoured(RUNS, "defaultMode name optional"),
            inside("items"),
            refused(LATER, "defaultUser"),
        ],
    ),
    (
        "core.v1.SecretVolumeSource",
        &[
            honoured(RUNS, "defaultMode optional secretName"),
            inside("items"),
            refused(LATER, "defaultUser"),
        ],
    ),
    (
        "core.v1.KeyToPath",
        &[honoured(RUNS, "key mode path"), refused(LATER, "user")],
    ),
    (
        "core.v1.VolumeMount",
        &[
            honoured(RUNS, "mountPath name readOnly subPath"),
            refused("mounts are private", "mountPropagation").fine(&["\"None\""]),
            refused(LATER, "recursiveReadOnly").fine(&["\"Disabled\""]),
            refused(LATER, "bindMountOptions subPathExpr"),
        ],
    ),
    (
        "core.v1.PodStatus",
        &[
            honoured(REPORTED, "hostIP phase podIP startTime"),
            inside("conditions containerStatuses hostIPs podIPs"),
            honoured("the_class_of_service_is_upstreams", "qosClass"),
            kept_status(
                "allocatedResources ephemeralContainerStatuses extendedResourceClaimStatus \
                 initContainerStatuses message nodeAllocatableResourceClaimStatuses \
                 nominatedNodeName observedGeneration reason resize resourceClaimStatuses \
                 resources volumeHealth",
            ),
        ],
    ),
    ("core.v1.HostIP", &[honoured(REPORTED, "ip")]),
    ("core.v1.PodIP", &[honoured(REPORTED, "ip")]),
    (
        "core.v1.PodCondition",
        &[
            honoured(
                "the_conditions_follow_the_phase_and_the_containers",
                "reason status type",
            ),
            honoured(
                "the_transition_time_moves_with_the_status_and_other_conditions_stay",
                "lastTransitionTime",
            ),
            kept_status("lastProbeTime message observedGeneration"),
        ],
    ),
    (
        "core.v1.ContainerStatus",
        &[
            honoured(
                REPORTED,
                "containerID image imageID name ready restartCount started",
            ),
            inside("lastState state"),
            kept_status(
                "allocatedResources allocatedResourcesStatus resources stopSignal user \
                 volumeMounts",
            ),
        ],
    ),
    (
        "core.v1.ContainerState",
        &[inside("running terminated waiting")],
    ),
    (
        "core.v1.ContainerStateRunning",
        &[honoured(REPORTED, "startedAt")],
    ),
    (
        "core.v1.ContainerStateTerminated",
        &[honoured(
            REPORTED,
            "containerID exitCode finishedAt message reason signal startedAt",
        )],
    ),
    (
        "core.v1.ContainerStateWaiting",
        &[honoured("a_waiting_container_says_why", "message reason")],
    ),
];
