//! Configuration, Services and what belongs to them, events, accounts, questions.

use super::{ALL_THREE, Rules, TYPE, honoured, inside, kept, kept_status, warned};

const NO_TRAFFIC: &str = "objects are kept; traffic comes with the network";
const NO_BALANCER: &str = "there is no load balancer";
const IMMUTABLE: &str = "immutable_things";
const TOKENS: &str = "a_token_is_somebody_until_its_account_is_gone";
const REVIEWED: &str = "reviews_say_who_may_what";
const MEASURED: &str = "what_is_used_is_served_as_metrics_server_does";
const ACTING: &str = "an_administrator_acts_as_others_and_nobody_else_does";

pub(super) static RULES: &[Rules] = &[
    (
        "core.v1.ConfigMap",
        &[
            TYPE,
            inside("metadata"),
            honoured(
                "a_document_holds_what_its_pods_name_and_says_what_they_miss",
                "binaryData data",
            ),
            honoured(IMMUTABLE, "immutable"),
        ],
    ),
    (
        "core.v1.Secret",
        &[
            TYPE,
            inside("metadata"),
            honoured("secrets", "data stringData"),
            honoured(IMMUTABLE, "immutable type"),
        ],
    ),
    ("core.v1.Service", &[TYPE, ALL_THREE]),
    (
        "core.v1.ServiceSpec",
        &[
            honoured(
                "a_service_gets_an_address_out_of_the_upper_part",
                "clusterIP clusterIPs",
            ),
            honoured("addresses_and_families", "ipFamilies ipFamilyPolicy"),
            honoured("types_and_policies", "externalName"),
            inside("ports"),
            honoured(
                "who_leaves_serves_still_but_takes_nothing_new",
                "publishNotReadyAddresses",
            ),
            honoured("a_service_leads_to_its_ready_pods", "selector"),
            warned(NO_BALANCER, "allocateLoadBalancerNodePorts").fine(&["true", "false"]),
            warned(
                NO_BALANCER,
                "loadBalancerClass loadBalancerIP loadBalancerSourceRanges",
            ),
            warned(NO_TRAFFIC, "externalTrafficPolicy internalTrafficPolicy")
                .fine(&["\"Cluster\""]),
            warned(NO_TRAFFIC, "healthCheckNodePort").fine(&["0"]),
            warned(NO_TRAFFIC, "sessionAffinity").fine(&["\"None\""]),
            warned(NO_TRAFFIC, "type").fine(&["\"ExternalName\""]),
            warned(
                NO_TRAFFIC,
                "externalIPs sessionAffinityConfig trafficDistribution",
            ),
        ],
    ),
    (
        "core.v1.ServicePort",
        &[
            honoured("names_and_ports", "name port protocol targetPort"),
            honoured("node_ports_are_given_out_once", "nodePort"),
            kept("appProtocol"),
        ],
    ),
    (
        "core.v1.ServiceStatus",
        &[kept_status("conditions loadBalancer")],
    ),
    ("core.v1.Endpoints", &[TYPE, inside("metadata subsets")]),
    (
        "core.v1.EndpointSubset",
        &[inside("addresses notReadyAddresses ports")],
    ),
    (
        "core.v1.EndpointAddress",
        &[kept("hostname ip nodeName targetRef")],
    ),
    (
        "core.v1.EndpointPort",
        &[kept("appProtocol name port protocol")],
    ),
    (
        "discovery.v1.EndpointSlice",
        &[
            TYPE,
            inside("endpoints metadata ports"),
            kept("addressType"),
        ],
    ),
    (
        "discovery.v1.Endpoint",
        &[kept(
            "addresses conditions deprecatedTopology hints hostname nodeName targetRef zone",
        )],
    ),
    (
        "discovery.v1.EndpointPort",
        &[kept("appProtocol name port protocol")],
    ),
    (
        "core.v1.ServiceAccount",
        &[
            TYPE,
            inside("metadata"),
            kept("automountServiceAccountToken secrets"),
            honoured("a_pod_gets_name_secrets_and_token", "imagePullSecrets"),
        ],
    ),
    (
        "core.v1.Event",
        &[
            TYPE,
            inside("metadata"),
            kept(
                "action count eventTime firstTimestamp involvedObject lastTimestamp message reason \
                 related reportingComponent reportingInstance series source type",
            ),
        ],
    ),
    (
        "events.v1.Event",
        &[
            TYPE,
            inside("metadata"),
            kept(
                "action deprecatedCount deprecatedFirstTimestamp deprecatedLastTimestamp \
                 deprecatedSource eventTime note reason regarding related reportingController \
                 reportingInstance series type",
            ),
        ],
    ),
    ("authentication.v1.TokenReview", &[TYPE, ALL_THREE]),
    (
        "authentication.v1.TokenReviewSpec",
        &[honoured(TOKENS, "audiences token")],
    ),
    (
        "authentication.v1.TokenReviewStatus",
        &[
            honoured(TOKENS, "audiences authenticated error"),
            inside("user"),
        ],
    ),
    (
        "authentication.v1.SelfSubjectReview",
        &[TYPE, inside("metadata status")],
    ),
    (
        "authentication.v1.SelfSubjectReviewStatus",
        &[inside("userInfo")],
    ),
    (
        "authentication.v1.UserInfo",
        &[honoured(ACTING, "extra groups uid username")],
    ),
    (
        "authorization.v1.LocalSubjectAccessReview",
        &[TYPE, ALL_THREE],
    ),
    (
        "authorization.v1.SelfSubjectAccessReview",
        &[TYPE, ALL_THREE],
    ),
    (
        "authorization.v1.SelfSubjectRulesReview",
        &[TYPE, ALL_THREE],
    ),
    ("authorization.v1.SubjectAccessReview", &[TYPE, ALL_THREE]),
    (
        "authorization.v1.SubjectAccessReviewSpec",
        &[honoured(
            REVIEWED,
            "extra groups nonResourceAttributes resourceAttributes uid user",
        )],
    ),
    (
        "authorization.v1.SelfSubjectAccessReviewSpec",
        &[honoured(
            REVIEWED,
            "nonResourceAttributes resourceAttributes",
        )],
    ),
    (
        "authorization.v1.SelfSubjectRulesReviewSpec",
        &[honoured(REVIEWED, "namespace")],
    ),
    (
        "authorization.v1.SubjectAccessReviewStatus",
        &[
            honoured(REVIEWED, "allowed reason"),
            warned("never set", "denied"),
            honoured(
                "a_review_says_which_selectors_it_left_out",
                "evaluationError",
            ),
        ],
    ),
    (
        "authorization.v1.SubjectRulesReviewStatus",
        &[
            honoured(REVIEWED, "incomplete nonResourceRules resourceRules"),
            honoured("missing_roles_are_told_by_a_review", "evaluationError"),
        ],
    ),
    (
        "metrics.v1beta1.NodeMetrics",
        &[
            honoured(super::TYPED, "apiVersion kind"),
            inside("metadata"),
            honoured(MEASURED, "timestamp usage window"),
        ],
    ),
    (
        "metrics.v1beta1.PodMetrics",
        &[
            honoured(super::TYPED, "apiVersion kind"),
            inside("containers metadata"),
            honoured(MEASURED, "timestamp window"),
        ],
    ),
    (
        "metrics.v1beta1.ContainerMetrics",
        &[honoured(MEASURED, "name usage")],
    ),
];
