//! What makes pods out of a template.

use super::{ALL_THREE, Rules, TYPE, honoured, inside, kept, kept_status};

const MADE: &str = "pods_are_made_until_there_are_enough";
const AVAILABLE: &str = "a_pod_is_available_after_it_was_ready_for_long_enough";
const CONTROLLER: &str = "a_replication_controller_keeps_its_pods";
const BOUNDS: &str = "bounds_round_as_upstream";
const THROUGH: &str = "a_rollout_that_is_through_says_so_in_upstreams_words";

pub(super) static RULES: &[Rules] = &[
    ("apps.v1.Deployment", &[TYPE, ALL_THREE]),
    (
        "apps.v1.DeploymentSpec",
        &[
            inside("selector strategy template"),
            honoured(
                "a_new_deployment_makes_one_replica_set",
                "minReadySeconds replicas",
            ),
            honoured("a_pause_stops_the_rollout_but_not_the_scaling", "paused"),
            honoured(
                "a_rollout_without_progress_times_out_and_recovers",
                "progressDeadlineSeconds",
            ),
            honoured("history_is_kept_up_to_its_limit", "revisionHistoryLimit"),
        ],
    ),
    (
        "apps.v1.DeploymentStrategy",
        &[
            honoured("recreate_waits_for_the_last_pod", "type"),
            inside("rollingUpdate"),
        ],
    ),
    (
        "apps.v1.RollingUpdateDeployment",
        &[honoured(BOUNDS, "maxSurge maxUnavailable")],
    ),
    (
        "apps.v1.DeploymentStatus",
        &[
            honoured(
                THROUGH,
                "availableReplicas observedGeneration readyReplicas replicas updatedReplicas",
            ),
            honoured("a_rolling_update_goes_step_by_step", "unavailableReplicas"),
            honoured(
                "a_name_that_is_taken_raises_the_collision_count",
                "collisionCount",
            ),
            inside("conditions"),
            kept_status("terminatingReplicas"),
        ],
    ),
    (
        "apps.v1.DeploymentCondition",
        &[
            honoured(THROUGH, "message reason status type"),
            honoured(
                "conditions_move_only_when_they_change",
                "lastTransitionTime lastUpdateTime",
            ),
        ],
    ),
    ("apps.v1.ReplicaSet", &[TYPE, ALL_THREE]),
    (
        "apps.v1.ReplicaSetSpec",
        &[
            inside("selector template"),
            honoured(MADE, "replicas"),
            honoured(AVAILABLE, "minReadySeconds"),
        ],
    ),
    (
        "apps.v1.ReplicaSetStatus",
        &[
            honoured(
                AVAILABLE,
                "availableReplicas fullyLabeledReplicas observedGeneration readyReplicas replicas",
            ),
            inside("conditions"),
            honoured(
                "those_that_go_are_counted_and_a_replication_controller_speaks_for_itself",
                "terminatingReplicas",
            ),
        ],
    ),
    (
        "apps.v1.ReplicaSetCondition",
        &[honoured(
            "a_failure_shows_until_it_is_over",
            "lastTransitionTime message reason status type",
        )],
    ),
    ("core.v1.ReplicationController", &[TYPE, ALL_THREE]),
    (
        "core.v1.ReplicationControllerSpec",
        &[
            inside("template"),
            honoured(CONTROLLER, "replicas selector"),
            kept("minReadySeconds"),
        ],
    ),
    (
        "core.v1.ReplicationControllerStatus",
        &[
            honoured(CONTROLLER, "readyReplicas replicas"),
            kept_status("availableReplicas conditions fullyLabeledReplicas observedGeneration"),
        ],
    ),
    ("core.v1.PodTemplate", &[TYPE, inside("metadata template")]),
    (
        "apps.v1.ControllerRevision",
        &[TYPE, inside("metadata"), kept("data revision")],
    ),
];
