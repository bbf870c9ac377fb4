//! What a pod's status says.

use super::{Rules, honoured, inside, kept_status};

const REPORTED: &str = "a_report_of_a_new_pod_gives_its_whole_status";

pub(super) static RULES: &[Rules] = &[
    (
        "core.v1.PodStatus",
        &[
            honoured(REPORTED, "hostIP phase podIP startTime"),
            honoured(
                "root_a_deadline_ends_a_pod_and_ends_have_messages",
                "message reason",
            ),
            inside("conditions containerStatuses hostIPs podIPs"),
            honoured("the_class_of_service_is_upstreams", "qosClass"),
            honoured(
                "a_sidecar_counts_for_readiness_and_every_list_has_its_statuses",
                "ephemeralContainerStatuses initContainerStatuses",
            ),
            kept_status(
                "allocatedResources extendedResourceClaimStatus \
                 nodeAllocatableResourceClaimStatuses \
                 nominatedNodeName observedGeneration resize resourceClaimStatuses \
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
            honoured("gates_and_the_sandbox_are_conditions", "message"),
            kept_status("lastProbeTime observedGeneration"),
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
            honoured(
                "what_a_container_may_use_is_said",
                "allocatedResources resources",
            ),
            kept_status("allocatedResourcesStatus stopSignal user volumeMounts"),
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
