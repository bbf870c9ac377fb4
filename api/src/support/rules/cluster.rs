//! Nodes, namespaces, and what rules over them.

use super::{ALL_THREE, META_AND_SPEC, Rules, TYPE, honoured, inside, kept, kept_status, warned};

const PLACED: &str = "a_pod_goes_only_where_it_may";
const PRIORITIES: &str = "priorities_come_from_classes";
const JOINED: &str = "a_node_is_ready_while_it_answers_and_tainted_while_it_does_not";

pub(super) static RULES: &[Rules] = &[
    ("core.v1.Namespace", &[TYPE, ALL_THREE]),
    (
        "core.v1.NamespaceSpec",
        &[honoured("a_namespace_waits_for_its_content", "finalizers")],
    ),
    (
        "core.v1.NamespaceStatus",
        &[
            honoured("status_is_not_the_clients_on_creation", "phase"),
            honoured("it_says_what_keeps_it", "conditions"),
        ],
    ),
    ("core.v1.Node", &[TYPE, ALL_THREE]),
    (
        "core.v1.NodeSpec",
        &[
            honoured(PLACED, "unschedulable"),
            inside("taints"),
            honoured("kinds/tests.rs::nodes", "podCIDR podCIDRs"),
            kept("providerID"),
            warned("removed upstream as well", "configSource externalID"),
            warned("pods are not preempted", "podPreemptionPolicy"),
        ],
    ),
    (
        "core.v1.Taint",
        &[
            honoured(PLACED, "effect key value"),
            honoured(JOINED, "timeAdded"),
        ],
    ),
    (
        "core.v1.NodeStatus",
        &[
            honoured(JOINED, "allocatable capacity"),
            inside("addresses conditions nodeInfo"),
            honoured("pods_may_use_what_the_board_does_not_keep", "images"),
            kept_status(
                "config daemonEndpoints declaredFeatures features phase runtimeHandlers \
                 volumesAttached volumesInUse",
            ),
        ],
    ),
    ("core.v1.NodeAddress", &[honoured(JOINED, "address type")]),
    (
        "core.v1.NodeCondition",
        &[honoured(
            JOINED,
            "lastHeartbeatTime lastTransitionTime message reason status type",
        )],
    ),
    (
        "core.v1.NodeSystemInfo",
        &[
            honoured(
                JOINED,
                "architecture bootID containerRuntimeVersion kernelVersion kubeProxyVersion \
                 kubeletVersion machineID operatingSystem osImage systemUUID",
            ),
            kept_status("runningInUserNamespace swap"),
        ],
    ),
    ("core.v1.LimitRange", &[TYPE, META_AND_SPEC]),
    ("core.v1.LimitRangeSpec", &[inside("limits")]),
    (
        "core.v1.LimitRangeItem",
        &[
            honoured("containers_get_defaults", "default defaultRequest"),
            honoured("bounds_of_containers", "max maxLimitRequestRatio min type"),
        ],
    ),
    ("core.v1.ResourceQuota", &[TYPE, ALL_THREE]),
    (
        "core.v1.ResourceQuotaSpec",
        &[
            honoured("the_last_place_and_one_too_many", "hard"),
            honoured("scopes", "scopeSelector scopes"),
        ],
    ),
    (
        "core.v1.ResourceQuotaStatus",
        &[honoured("usage_is_counted_anew", "hard used")],
    ),
    (
        "scheduling.v1.PriorityClass",
        &[
            TYPE,
            inside("metadata"),
            kept("description"),
            honoured(PRIORITIES, "globalDefault preemptionPolicy value"),
        ],
    ),
    ("coordination.v1.Lease", &[TYPE, META_AND_SPEC]),
    (
        "coordination.v1.LeaseSpec",
        &[kept(
            "acquireTime holderIdentity leaseDurationSeconds leaseTransitions preferredHolder \
             renewTime strategy",
        )],
    ),
    (
        "rbac.v1.ClusterRole",
        &[TYPE, inside("aggregationRule metadata rules")],
    ),
    (
        "rbac.v1.AggregationRule",
        &[honoured(
            "aggregated_roles_gather_by_label_through_each_other",
            "clusterRoleSelectors",
        )],
    ),
    (
        "rbac.v1.PolicyRule",
        &[honoured(
            "a_rule_allows_what_upstream_says",
            "apiGroups nonResourceURLs resourceNames resources verbs",
        )],
    ),
    ("rbac.v1.Role", &[TYPE, inside("metadata rules")]),
    (
        "rbac.v1.ClusterRoleBinding",
        &[TYPE, inside("metadata roleRef subjects")],
    ),
    (
        "rbac.v1.RoleBinding",
        &[TYPE, inside("metadata roleRef subjects")],
    ),
    (
        "rbac.v1.RoleRef",
        &[
            honoured(BOUND, "kind name"),
            honoured("kinds/tests.rs::role_bindings", "apiGroup"),
        ],
    ),
    (
        "rbac.v1.Subject",
        &[
            honoured(BOUND, "kind name namespace"),
            honoured("kinds/tests.rs::role_bindings", "apiGroup"),
        ],
    ),
];

const BOUND: &str = "bindings_give_roles_to_users_groups_and_accounts";
