//! Pods and pod templates.

use super::{ALL_THREE, Rules, TYPE, honoured, inside, refused, warned};

const NO_DNS: &str = "there is no cluster DNS";
const VOLUMES: &str =
    "volumes are emptyDir, configMap, secret, hostPath, downwardAPI and projected";
const NOT_EPHEMERAL: &str = "an ephemeral container has none";
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

const SHARING: &str = "root_pods_share_what_they_say_with_their_board_and_among_their_containers";
const FILES: &str = "root_volumes_have_the_files_modes_and_sizes_that_were_asked_for";
const PATHS: &str = "root_paths_of_the_board_are_checked_and_survive_their_pods";
const IN_ORDER: &str = "root_init_containers_and_sidecars_begin_in_order_and_end_in_reverse";
const PROBED: &str = "root_probes_of_each_sort_say_who_is_ready";
const HOOKS: &str = "root_hooks_run_after_the_start_and_before_the_end";
const DEADLINE: &str = "root_a_deadline_ends_a_pod_and_ends_have_messages";
const ATTACHED: &str = "root_a_container_can_be_attached_to_and_run_for_a_moment";
const DEBUG: &str = "root_debug_containers_come_to_running_pods_and_stay";
const SPEAKS: &str = "root_pods_are_their_account_by_the_token_in_their_files";

/// Compiled for the node; what the node does with it has tests of its own.
const CONTAINERS: &str = "containers_of_every_kind_reach_the_node";
const HANDLERS: &str = "probes_and_hooks_reach_the_node";
const PROC: &str = "proc_is_shown_whole_only_where_it_is_asked_for";

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub(super) static RULES: &[Rules] = &[
    ("core.v1.Pod", &[TYPE, ALL_THREE]),
    ("core.v1.PodTemplateSpec", &[inside("metadata spec")]),
    (
        "core.v1.PodSpec",
        &[
            inside(
                "affinity containers ephemeralContainers hostAliases imagePullSecrets \
                 initContainers os readinessGates schedulingGates securityContext tolerations \
                 topologySpreadConstraints volumes",
            ),
            honoured(DEADLINE, "activeDeadlineSeconds"),
            honoured(SHARING, "hostIPC hostNetwork hostPID shareProcessNamespace"),
            honoured(RUNS, "hostname"),
            honoured(ENDS, "restartPolicy terminationGracePeriodSeconds"),
            honoured(PLACED, "nodeName nodeSelector"),
            honoured(QUEUED, "schedulerName"),
            honoured("priorities_come_from_classes", "priority priorityClassName"),
            honoured("the_fewest_and_least_important_go", "preemptionPolicy"),
            honoured(SPEAKS, "automountServiceAccountToken serviceAccountName"),
            honoured("a_pod_gets_name_secrets_and_token", "serviceAccount"),
            warned(NO_DNS, "dnsPolicy").fine(&["\"ClusterFirst\"", "\"Default\""]),
            warned(NO_DNS, "setHostnameAsFQDN").fine(&["false"]),
            warned(NO_DNS, "subdomain"),
            warned(
                "there are no variables about Services",
                "enableServiceLinks",
            )
            .fine(&["true", "false"]),
            refused(NO_DNS, "dnsConfig"),
            refused("set the containers' resources", "resources"),
            refused("pods share the board's users", "hostUsers").fine(&["true"]),
            refused(
                LATER,
                "evictionResponders hostnameOverride overhead resourceClaims runtimeClassName \
                 schedulingGroup",
            ),
        ],
    ),
    ("core.v1.HostAlias", &[honoured(SHARING, "hostnames ip")]),
    (
        "core.v1.LocalObjectReference",
        &[honoured(
            "root_images_are_pulled_with_the_pods_secrets",
            "name",
        )],
    ),
    (
        "core.v1.PodReadinessGate",
        &[honoured(
            "gates_and_the_sandbox_are_conditions",
            "conditionType",
        )],
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
            honoured(FILES, "fsGroup fsGroupChangePolicy"),
            inside("appArmorProfile seccompProfile sysctls"),
            warned("there is no SELinux", "seLinuxChangePolicy"),
            refused("groups are merged", "supplementalGroupsPolicy").fine(&["\"Merge\""]),
            refused(LATER, "seLinuxOptions windowsOptions"),
        ],
    ),
    (
        "core.v1.SeccompProfile",
        &[honoured(SHARING, "localhostProfile type")],
    ),
    (
        "core.v1.AppArmorProfile",
        &[
            refused("there is no AppArmor", "type").fine(&["\"Unconfined\""]),
            refused("there is no AppArmor", "localhostProfile"),
        ],
    ),
    ("core.v1.Sysctl", &[honoured(SHARING, "name value")]),
    (
        "core.v1.Container",
        &[
            honoured(RUNS, "args command image imagePullPolicy name workingDir"),
            inside(
                "env envFrom lifecycle livenessProbe ports readinessProbe resources \
                 securityContext startupProbe volumeMounts",
            ),
            honoured(ENDS, "terminationMessagePath"),
            honoured(IN_ORDER, "restartPolicy"),
            honoured(DEADLINE, "terminationMessagePolicy"),
            honoured(ATTACHED, "stdin tty"),
            honoured(CONTAINERS, "stdinOnce"),
            warned("containers are not resized", "resizePolicy"),
            refused("set the pod's restartPolicy", "restartPolicyRules"),
            refused(LATER, "volumeDevices"),
        ],
    ),
    (
        "core.v1.EphemeralContainer",
        &[
            honoured(
                DEBUG,
                "args command image imagePullPolicy name targetContainerName",
            ),
            honoured(
                CONTAINERS,
                "stdin stdinOnce terminationMessagePath terminationMessagePolicy tty workingDir",
            ),
            inside("env envFrom resources securityContext volumeMounts"),
            refused(
                NOT_EPHEMERAL,
                "lifecycle livenessProbe ports readinessProbe resizePolicy restartPolicy \
                 restartPolicyRules startupProbe",
            ),
            refused(LATER, "volumeDevices"),
        ],
    ),
    (
        "core.v1.Probe",
        &[
            inside("exec grpc httpGet tcpSocket"),
            honoured(
                PROBED,
                "failureThreshold initialDelaySeconds periodSeconds terminationGracePeriodSeconds \
                 timeoutSeconds",
            ),
            honoured("thresholds_count_results_in_a_row", "successThreshold"),
        ],
    ),
    (
        "core.v1.Lifecycle",
        &[inside("postStart preStop"), honoured(HOOKS, "stopSignal")],
    ),
    (
        "core.v1.LifecycleHandler",
        &[
            inside("exec httpGet sleep"),
            refused("upstream fails such a container", "tcpSocket"),
        ],
    ),
    ("core.v1.ExecAction", &[honoured(PROBED, "command")]),
    (
        "core.v1.HTTPGetAction",
        &[
            honoured(PROBED, "path port"),
            honoured(HANDLERS, "host scheme"),
            inside("httpHeaders"),
            refused(LATER, "protocol"),
        ],
    ),
    ("core.v1.HTTPHeader", &[honoured(PROBED, "name value")]),
    (
        "core.v1.TCPSocketAction",
        &[honoured(PROBED, "port"), honoured(HANDLERS, "host")],
    ),
    (
        "core.v1.GRPCAction",
        &[honoured(PROBED, "port service"), refused(LATER, "mode")],
    ),
    ("core.v1.SleepAction", &[honoured(HOOKS, "seconds")]),
    (
        "core.v1.EnvVar",
        &[honoured(RUNS, "name value"), inside("valueFrom")],
    ),
    (
        "core.v1.EnvVarSource",
        &[
            inside("configMapKeyRef fieldRef resourceFieldRef secretKeyRef"),
            refused(LATER, "fileKeyRef"),
        ],
    ),
    (
        "core.v1.ResourceFieldSelector",
        &[honoured(FILES, "containerName divisor resource")],
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
            // Validation has them only beside `hostNetwork`.
            honoured(SHARING, "hostIP hostPort"),
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
            inside("appArmorProfile capabilities seccompProfile"),
            honoured(PROC, "procMount"),
            refused(LATER, "seLinuxOptions windowsOptions"),
        ],
    ),
    ("core.v1.Capabilities", &[honoured(RIGHTS, "add drop")]),
    (
        "core.v1.Volume",
        &[
            honoured(RUNS, "name"),
            inside("configMap downwardAPI emptyDir hostPath projected secret"),
            refused(
                VOLUMES,
                "awsElasticBlockStore azureDisk azureFile cephfs cinder csi ephemeral fc \
                 flexVolume flocker gcePersistentDisk gitRepo glusterfs image iscsi nfs \
                 persistentVolumeClaim photonPersistentDisk portworxVolume quobyte rbd scaleIO \
                 storageos vsphereVolume",
            ),
        ],
    ),
    (
        "core.v1.HostPathVolumeSource",
        &[honoured(PATHS, "path type")],
    ),
    (
        "core.v1.DownwardAPIVolumeSource",
        &[
            honoured(FILES, "defaultMode"),
            inside("items"),
            refused(LATER, "defaultUser"),
        ],
    ),
    (
        "core.v1.DownwardAPIVolumeFile",
        &[
            honoured(FILES, "mode path"),
            inside("fieldRef resourceFieldRef"),
            refused(LATER, "user"),
        ],
    ),
    (
        "core.v1.ProjectedVolumeSource",
        &[
            honoured(FILES, "defaultMode"),
            inside("sources"),
            refused(LATER, "defaultUser"),
        ],
    ),
    (
        "core.v1.VolumeProjection",
        &[
            inside("configMap downwardAPI secret serviceAccountToken"),
            refused(LATER, "clusterTrustBundle podCertificate"),
        ],
    ),
    (
        "core.v1.ConfigMapProjection",
        &[honoured(FILES, "name optional"), inside("items")],
    ),
    (
        "core.v1.SecretProjection",
        &[honoured(FILES, "name optional"), inside("items")],
    ),
    ("core.v1.DownwardAPIProjection", &[inside("items")]),
    (
        "core.v1.ServiceAccountTokenProjection",
        &[
            honoured(FILES, "audience expirationSeconds path"),
            refused(LATER, "user"),
        ],
    ),
    (
        "core.v1.EmptyDirVolumeSource",
        &[
            honoured(RUNS, "medium"),
            honoured(
                "root_a_pod_over_the_limit_of_its_volume_is_evicted",
                "sizeLimit",
            ),
            refused(LATER, "mode"),
        ],
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
            honoured(
                "root_mounts_are_seen_on_the_other_side_where_that_was_asked_for",
                "mountPropagation",
            ),
            honoured(PATHS, "recursiveReadOnly"),
            honoured(FILES, "subPathExpr"),
            refused(LATER, "bindMountOptions"),
        ],
    ),
];
