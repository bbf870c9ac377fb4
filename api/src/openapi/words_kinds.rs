//! Texts for the kinds beside pods and what runs them.

/// Message, field (empty for the message itself), text.
pub(super) static WORDS: &[(&str, &str, &str)] = &[
    (
        "core.v1.Service",
        "",
        "A stable name and address for a set of pods.",
    ),
    (
        "core.v1.ServiceSpec",
        "clusterIP",
        "Virtual address; None for a headless Service. Given out by the cluster when empty; can't change.",
    ),
    (
        "core.v1.ServiceSpec",
        "externalName",
        "DNS name that an ExternalName Service stands for.",
    ),
    (
        "core.v1.ServiceSpec",
        "externalTrafficPolicy",
        "Cluster (default) or Local: whether outside traffic stays on the node that it reaches.",
    ),
    (
        "core.v1.ServiceSpec",
        "internalTrafficPolicy",
        "Cluster (default) or Local: whether traffic from a node stays on it.",
    ),
    (
        "core.v1.ServiceSpec",
        "ipFamilies",
        "Address families; this cluster has IPv4.",
    ),
    (
        "core.v1.ServiceSpec",
        "ipFamilyPolicy",
        "SingleStack (default), PreferDualStack or RequireDualStack.",
    ),
    (
        "core.v1.ServiceSpec",
        "ports",
        "Ports of the Service, and where they lead.",
    ),
    (
        "core.v1.ServiceSpec",
        "publishNotReadyAddresses",
        "Endpoints count as ready whether their pods are or not.",
    ),
    (
        "core.v1.ServiceSpec",
        "selector",
        "Labels of the pods behind it; without one somebody else writes the endpoints.",
    ),
    (
        "core.v1.ServiceSpec",
        "sessionAffinity",
        "None (default) or ClientIP: the same client reaches the same pod.",
    ),
    (
        "core.v1.ServiceSpec",
        "type",
        "ClusterIP (default), NodePort, LoadBalancer or ExternalName.",
    ),
    (
        "core.v1.ServicePort",
        "name",
        "Name of the port; needed when there are several.",
    ),
    (
        "core.v1.ServicePort",
        "nodePort",
        "Port on every node, for NodePort and LoadBalancer; given out by the cluster when empty.",
    ),
    ("core.v1.ServicePort", "port", "Port of the Service."),
    (
        "core.v1.ServicePort",
        "protocol",
        "TCP (default), UDP or SCTP.",
    ),
    (
        "core.v1.ServicePort",
        "targetPort",
        "Port of the pods, by number or name. Default: the same as port.",
    ),
    (
        "core.v1.Endpoints",
        "",
        "Addresses behind a Service, in the older form; see EndpointSlice.",
    ),
    (
        "discovery.v1.EndpointSlice",
        "",
        "Some of the addresses behind a Service.",
    ),
    (
        "discovery.v1.EndpointSlice",
        "addressType",
        "IPv4, IPv6 or FQDN; can't change.",
    ),
    (
        "discovery.v1.EndpointSlice",
        "endpoints",
        "The endpoints, at most 1000.",
    ),
    (
        "discovery.v1.EndpointSlice",
        "ports",
        "Ports of every endpoint in the slice.",
    ),
    (
        "core.v1.ServiceAccount",
        "",
        "An identity for the processes in pods.",
    ),
    (
        "core.v1.ServiceAccount",
        "automountServiceAccountToken",
        "Whether pods get a token of the account when they don't say.",
    ),
    (
        "core.v1.ReplicationController",
        "",
        "Keeps a number of identical pods running; Deployments do the same and more.",
    ),
    (
        "core.v1.PodTemplate",
        "",
        "A pod's description, kept for others to use.",
    ),
    (
        "core.v1.ResourceQuota",
        "",
        "Bounds what the objects of a namespace may use together.",
    ),
    (
        "core.v1.ResourceQuotaSpec",
        "hard",
        "The bound of each resource.",
    ),
    (
        "core.v1.ResourceQuotaSpec",
        "scopes",
        "Which pods count; can't change.",
    ),
    (
        "core.v1.ResourceQuotaSpec",
        "scopeSelector",
        "Which pods count, by scope and value.",
    ),
    (
        "core.v1.LimitRange",
        "",
        "Bounds and defaults for the resources of each pod or container in a namespace.",
    ),
    (
        "core.v1.LimitRangeItem",
        "default",
        "Limit of a container that has none.",
    ),
    (
        "core.v1.LimitRangeItem",
        "defaultRequest",
        "Request of a container that has none.",
    ),
    ("core.v1.LimitRangeItem", "max", "Most of each resource."),
    ("core.v1.LimitRangeItem", "min", "Least of each resource."),
    (
        "core.v1.LimitRangeItem",
        "type",
        "Pod, Container or PersistentVolumeClaim.",
    ),
    (
        "events.v1.Event",
        "",
        "Something that happened to an object; forgotten after a while.",
    ),
    ("events.v1.Event", "note", "What happened, for people."),
    ("events.v1.Event", "reason", "Why it was done, in one word."),
    ("events.v1.Event", "regarding", "What it happened to."),
    ("events.v1.Event", "reportingController", "Who says so."),
    (
        "events.v1.Event",
        "series",
        "How often it happened, when more than once.",
    ),
    (
        "apps.v1.ControllerRevision",
        "",
        "A state that a controller can go back to; its data can't change.",
    ),
    (
        "coordination.v1.Lease",
        "",
        "Who holds something, and until when.",
    ),
    (
        "coordination.v1.LeaseSpec",
        "holderIdentity",
        "Who holds it.",
    ),
    (
        "coordination.v1.LeaseSpec",
        "leaseDurationSeconds",
        "Seconds after renewTime when others may take it.",
    ),
    (
        "coordination.v1.LeaseSpec",
        "renewTime",
        "When the holder last renewed it.",
    ),
    (
        "scheduling.v1.PriorityClass",
        "",
        "A name for a pod priority.",
    ),
    (
        "scheduling.v1.PriorityClass",
        "globalDefault",
        "Pods that name no class get this one.",
    ),
    (
        "scheduling.v1.PriorityClass",
        "value",
        "The priority, at most 1000000000; higher goes first; can't change.",
    ),
    ("rbac.v1.Role", "", "Permissions in a namespace."),
    (
        "rbac.v1.ClusterRole",
        "",
        "Permissions in the whole cluster, or in a namespace by a RoleBinding.",
    ),
    (
        "rbac.v1.ClusterRole",
        "aggregationRule",
        "The rules are gathered from the ClusterRoles with these labels.",
    ),
    (
        "rbac.v1.RoleBinding",
        "",
        "Gives the permissions of a role in one namespace.",
    ),
    (
        "rbac.v1.RoleBinding",
        "roleRef",
        "The Role or ClusterRole; can't change.",
    ),
    ("rbac.v1.RoleBinding", "subjects", "Who gets them."),
    (
        "rbac.v1.ClusterRoleBinding",
        "",
        "Gives the permissions of a ClusterRole everywhere.",
    ),
    (
        "rbac.v1.ClusterRoleBinding",
        "roleRef",
        "The ClusterRole; can't change.",
    ),
    ("rbac.v1.ClusterRoleBinding", "subjects", "Who gets them."),
    (
        "rbac.v1.PolicyRule",
        "apiGroups",
        "Groups of the resources; core is the empty one, * is all.",
    ),
    (
        "rbac.v1.PolicyRule",
        "nonResourceURLs",
        "Paths that are no resources; in ClusterRoles only.",
    ),
    (
        "rbac.v1.PolicyRule",
        "resourceNames",
        "Only the objects with these names; all when empty.",
    ),
    (
        "rbac.v1.PolicyRule",
        "resources",
        "Resources and subresources, pods and pods/log; * is all.",
    ),
    (
        "rbac.v1.PolicyRule",
        "verbs",
        "get, list, watch, create, update, patch, delete and others; * is all.",
    ),
    (
        "authentication.v1.SelfSubjectReview",
        "",
        "Says who the caller is.",
    ),
    (
        "authentication.v1.TokenRequest",
        "",
        "Makes a token for a service account.",
    ),
    (
        "authentication.v1.TokenReview",
        "",
        "Says whose a token is.",
    ),
    (
        "authorization.v1.SelfSubjectAccessReview",
        "",
        "Says whether the caller may do something.",
    ),
    (
        "authorization.v1.SelfSubjectRulesReview",
        "",
        "Says what the caller may do in a namespace.",
    ),
    (
        "authorization.v1.SubjectAccessReview",
        "",
        "Says whether somebody may do something.",
    ),
    (
        "authorization.v1.LocalSubjectAccessReview",
        "",
        "Says whether somebody may do something in a namespace.",
    ),
];
