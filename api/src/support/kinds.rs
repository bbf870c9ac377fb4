//! The list, for kinds beside pods and what runs pods.

use super::Rule;
use super::rules::{API_VERSION, KIND, METADATA, SPEC, STATUS, honoured, warned, whole};

const NO_TRAFFIC: &str = "objects are kept; traffic comes with the network";
const NO_BALANCER: &str = "there is no load balancer";

/// Message → rules of its fields.
pub(super) static RULES: &[(&str, &[Rule])] = &[
    (
        "io.k8s.api.core.v1.Service",
        &[API_VERSION, KIND, METADATA, SPEC, STATUS],
    ),
    (
        "io.k8s.api.core.v1.ServiceSpec",
        &[
            warned(
                "allocateLoadBalancerNodePorts",
                &["true", "false"],
                NO_BALANCER,
            ),
            honoured("clusterIP"),
            whole("clusterIPs"),
            warned("externalIPs", &[], NO_TRAFFIC),
            honoured("externalName"),
            warned("externalTrafficPolicy", &["\"Cluster\""], NO_TRAFFIC),
            warned("healthCheckNodePort", &["0"], NO_TRAFFIC),
            warned("internalTrafficPolicy", &["\"Cluster\""], NO_TRAFFIC),
            whole("ipFamilies"),
            honoured("ipFamilyPolicy"),
            warned("loadBalancerClass", &[], NO_BALANCER),
            warned("loadBalancerIP", &[], NO_BALANCER),
            warned("loadBalancerSourceRanges", &[], NO_BALANCER),
            whole("ports"),
            honoured("publishNotReadyAddresses"),
            honoured("selector"),
            warned("sessionAffinity", &["\"None\""], NO_TRAFFIC),
            warned("sessionAffinityConfig", &[], NO_TRAFFIC),
            warned("trafficDistribution", &[], NO_TRAFFIC),
            warned("type", &["\"ExternalName\""], NO_TRAFFIC),
        ],
    ),
    (
        "io.k8s.api.core.v1.Endpoints",
        &[API_VERSION, KIND, METADATA, whole("subsets")],
    ),
    (
        "io.k8s.api.core.v1.LimitRange",
        &[API_VERSION, KIND, METADATA, whole("spec")],
    ),
    (
        "io.k8s.api.core.v1.PodTemplate",
        &[API_VERSION, KIND, METADATA, honoured("template")],
    ),
    (
        "io.k8s.api.core.v1.ReplicationController",
        &[API_VERSION, KIND, METADATA, SPEC, STATUS],
    ),
    (
        "io.k8s.api.core.v1.ReplicationControllerSpec",
        &[
            honoured("minReadySeconds"),
            honoured("replicas"),
            honoured("selector"),
            honoured("template"),
        ],
    ),
    (
        "io.k8s.api.core.v1.ResourceQuota",
        &[API_VERSION, KIND, METADATA, whole("spec"), STATUS],
    ),
    (
        "io.k8s.api.core.v1.ServiceAccount",
        &[
            API_VERSION,
            KIND,
            METADATA,
            honoured("automountServiceAccountToken"),
            warned(
                "imagePullSecrets",
                &[],
                "container images are loaded on the node",
            ),
            whole("secrets"),
        ],
    ),
    (
        "io.k8s.api.apps.v1.ControllerRevision",
        &[
            API_VERSION,
            KIND,
            METADATA,
            whole("data"),
            honoured("revision"),
        ],
    ),
    (
        "io.k8s.api.events.v1.Event",
        &[
            API_VERSION,
            KIND,
            METADATA,
            honoured("action"),
            honoured("deprecatedCount"),
            honoured("deprecatedFirstTimestamp"),
            honoured("deprecatedLastTimestamp"),
            whole("deprecatedSource"),
            honoured("eventTime"),
            honoured("note"),
            honoured("reason"),
            whole("regarding"),
            whole("related"),
            honoured("reportingController"),
            honoured("reportingInstance"),
            whole("series"),
            honoured("type"),
        ],
    ),
    (
        "io.k8s.api.authentication.v1.TokenReview",
        &[API_VERSION, KIND, METADATA, whole("spec"), STATUS],
    ),
    (
        "io.k8s.api.authentication.v1.SelfSubjectReview",
        &[API_VERSION, KIND, METADATA, STATUS],
    ),
    (
        "io.k8s.api.authorization.v1.LocalSubjectAccessReview",
        &[API_VERSION, KIND, METADATA, whole("spec"), STATUS],
    ),
    (
        "io.k8s.api.authorization.v1.SelfSubjectAccessReview",
        &[API_VERSION, KIND, METADATA, whole("spec"), STATUS],
    ),
    (
        "io.k8s.api.authorization.v1.SelfSubjectRulesReview",
        &[API_VERSION, KIND, METADATA, whole("spec"), STATUS],
    ),
    (
        "io.k8s.api.authorization.v1.SubjectAccessReview",
        &[API_VERSION, KIND, METADATA, whole("spec"), STATUS],
    ),
    (
        "io.k8s.api.rbac.v1.ClusterRole",
        &[
            API_VERSION,
            KIND,
            METADATA,
            whole("aggregationRule"),
            whole("rules"),
        ],
    ),
    (
        "io.k8s.api.rbac.v1.ClusterRoleBinding",
        &[
            API_VERSION,
            KIND,
            METADATA,
            whole("roleRef"),
            whole("subjects"),
        ],
    ),
    (
        "io.k8s.api.rbac.v1.Role",
        &[API_VERSION, KIND, METADATA, whole("rules")],
    ),
    (
        "io.k8s.api.rbac.v1.RoleBinding",
        &[
            API_VERSION,
            KIND,
            METADATA,
            whole("roleRef"),
            whole("subjects"),
        ],
    ),
    (
        "io.k8s.api.scheduling.v1.PriorityClass",
        &[
            API_VERSION,
            KIND,
            METADATA,
            honoured("description"),
            honoured("globalDefault"),
            warned(
                "preemptionPolicy",
                &["\"Never\"", "\"PreemptLowerPriority\""],
                "pods are not preempted",
            ),
            honoured("value"),
        ],
    ),
    (
        "io.k8s.api.coordination.v1.Lease",
        &[API_VERSION, KIND, METADATA, whole("spec")],
    ),
    (
        "io.k8s.api.discovery.v1.EndpointSlice",
        &[
            API_VERSION,
            KIND,
            METADATA,
            honoured("addressType"),
            whole("endpoints"),
            whole("ports"),
        ],
    ),
];
