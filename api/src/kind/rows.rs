//! The rows, in the order of discovery: core first, then the groups as upstream ranks them.

use super::{Kind, Subresource};

const ALL: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];
const NO_COLLECTION: &[&str] = &[
    "create", "delete", "get", "list", "patch", "update", "watch",
];
const RW: &[&str] = &["get", "patch", "update"];
const CREATE: &[&str] = &["create"];
const GET: &[&str] = &["get"];
const UPDATE: &[&str] = &["update"];
const MEASURED: &[&str] = &["get", "list"];
const STREAM: &[&str] = &["create", "get"];

const fn below(
    name: &'static str,
    (group, kind): (&'static str, &'static str),
    message: &'static str,
    verbs: &'static [&'static str],
) -> Subresource {
    Subresource {
        name,
        group,
        version: "v1",
        kind,
        message,
        verbs,
    }
}

const SCALE: Subresource = below(
    "scale",
    ("autoscaling", "Scale"),
    "io.k8s.api.autoscaling.v1.Scale",
    RW,
);

/// A kind that is stored where it is served, in a namespace, with every verb.
const fn namespaced(
    group: &'static str,
    kind: &'static str,
    (plural, singular): (&'static str, &'static str),
    message: &'static str,
) -> Kind {
    Kind {
        kind,
        group,
        version: "v1",
        plural,
        singular,
        short_names: &[],
        categories: &[],
        namespaced: true,
        verbs: ALL,
        subresources: &[],
        message,
        storage_group: group,
        stored: true,
    }
}

/// The same outside of namespaces.
const fn cluster(
    group: &'static str,
    kind: &'static str,
    names: (&'static str, &'static str),
    message: &'static str,
) -> Kind {
    Kind {
        namespaced: false,
        ..namespaced(group, kind, names, message)
    }
}

/// A question: created, answered, never stored.
const fn review(
    group: &'static str,
    kind: &'static str,
    names: (&'static str, &'static str),
    message: &'static str,
) -> Kind {
    Kind {
        namespaced: false,
        verbs: CREATE,
        stored: false,
        ..namespaced(group, kind, names, message)
    }
}

/// What is measured: got and listed, never stored. Like metrics-server's, with nothing for one.
const fn measured(
    kind: &'static str,
    plural: &'static str,
    namespaced: bool,
    message: &'static str,
) -> Kind {
    Kind {
        namespaced,
        version: "v1beta1",
        verbs: MEASURED,
        stored: false,
        ..self::namespaced("metrics.k8s.io", kind, (plural, ""), message)
    }
}

const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";

/// Every served kind. The order is the order of discovery.
pub static KINDS: &[Kind] = &[
    Kind {
        short_names: &["cm"],
        ..namespaced(
            "",
            "ConfigMap",
            ("configmaps", "configmap"),
            "io.k8s.api.core.v1.ConfigMap",
        )
    },
    Kind {
        short_names: &["ep"],
        ..namespaced(
            "",
            "Endpoints",
            ("endpoints", "endpoints"),
            "io.k8s.api.core.v1.Endpoints",
        )
    },
    Kind {
        short_names: &["ev"],
        ..namespaced("", "Event", ("events", "event"), "io.k8s.api.core.v1.Event")
    },
    Kind {
        short_names: &["limits"],
        ..namespaced(
            "",
            "LimitRange",
            ("limitranges", "limitrange"),
            "io.k8s.api.core.v1.LimitRange",
        )
    },
    Kind {
        short_names: &["ns"],
        verbs: NO_COLLECTION,
        subresources: &[
            below(
                "finalize",
                ("", "Namespace"),
                "io.k8s.api.core.v1.Namespace",
                UPDATE,
            ),
            below(
                "status",
                ("", "Namespace"),
                "io.k8s.api.core.v1.Namespace",
                RW,
            ),
        ],
        ..cluster(
            "",
            "Namespace",
            ("namespaces", "namespace"),
            "io.k8s.api.core.v1.Namespace",
        )
    },
    Kind {
        short_names: &["no"],
        subresources: &[below("status", ("", "Node"), "io.k8s.api.core.v1.Node", RW)],
        ..cluster("", "Node", ("nodes", "node"), "io.k8s.api.core.v1.Node")
    },
    Kind {
        short_names: &["po"],
        categories: &["all"],
        subresources: &[
            below(
                "attach",
                ("", "PodAttachOptions"),
                "io.k8s.api.core.v1.Pod",
                STREAM,
            ),
            below(
                "binding",
                ("", "Binding"),
                "io.k8s.api.core.v1.Binding",
                CREATE,
            ),
            below(
                "ephemeralcontainers",
                ("", "Pod"),
                "io.k8s.api.core.v1.Pod",
                RW,
            ),
            below(
                "eviction",
                ("policy", "Eviction"),
                "io.k8s.api.policy.v1.Eviction",
                CREATE,
            ),
            below(
                "exec",
                ("", "PodExecOptions"),
                "io.k8s.api.core.v1.Pod",
                STREAM,
            ),
            below("log", ("", "Pod"), "io.k8s.api.core.v1.Pod", GET),
            below(
                "portforward",
                ("", "PodPortForwardOptions"),
                "io.k8s.api.core.v1.Pod",
                STREAM,
            ),
            below("status", ("", "Pod"), "io.k8s.api.core.v1.Pod", RW),
        ],
        ..namespaced("", "Pod", ("pods", "pod"), "io.k8s.api.core.v1.Pod")
    },
    namespaced(
        "",
        "PodTemplate",
        ("podtemplates", "podtemplate"),
        "io.k8s.api.core.v1.PodTemplate",
    ),
    Kind {
        short_names: &["rc"],
        categories: &["all"],
        subresources: &[
            SCALE,
            below(
                "status",
                ("", "ReplicationController"),
                "io.k8s.api.core.v1.ReplicationController",
                RW,
            ),
        ],
        ..namespaced(
            "",
            "ReplicationController",
            ("replicationcontrollers", "replicationcontroller"),
            "io.k8s.api.core.v1.ReplicationController",
        )
    },
    Kind {
        short_names: &["quota"],
        subresources: &[below(
            "status",
            ("", "ResourceQuota"),
            "io.k8s.api.core.v1.ResourceQuota",
            RW,
        )],
        ..namespaced(
            "",
            "ResourceQuota",
            ("resourcequotas", "resourcequota"),
            "io.k8s.api.core.v1.ResourceQuota",
        )
    },
    namespaced(
        "",
        "Secret",
        ("secrets", "secret"),
        "io.k8s.api.core.v1.Secret",
    ),
    Kind {
        short_names: &["sa"],
        subresources: &[below(
            "token",
            (AUTHENTICATION, "TokenRequest"),
            "io.k8s.api.authentication.v1.TokenRequest",
            CREATE,
        )],
        ..namespaced(
            "",
            "ServiceAccount",
            ("serviceaccounts", "serviceaccount"),
            "io.k8s.api.core.v1.ServiceAccount",
        )
    },
    Kind {
        short_names: &["svc"],
        categories: &["all"],
        subresources: &[below(
            "status",
            ("", "Service"),
            "io.k8s.api.core.v1.Service",
            RW,
        )],
        ..namespaced(
            "",
            "Service",
            ("services", "service"),
            "io.k8s.api.core.v1.Service",
        )
    },
    namespaced(
        "apps",
        "ControllerRevision",
        ("controllerrevisions", "controllerrevision"),
        "io.k8s.api.apps.v1.ControllerRevision",
    ),
    Kind {
        short_names: &["deploy"],
        categories: &["all"],
        subresources: &[
            SCALE,
            below(
                "status",
                ("apps", "Deployment"),
                "io.k8s.api.apps.v1.Deployment",
                RW,
            ),
        ],
        ..namespaced(
            "apps",
            "Deployment",
            ("deployments", "deployment"),
            "io.k8s.api.apps.v1.Deployment",
        )
    },
    Kind {
        short_names: &["rs"],
        categories: &["all"],
        subresources: &[
            SCALE,
            below(
                "status",
                ("apps", "ReplicaSet"),
                "io.k8s.api.apps.v1.ReplicaSet",
                RW,
            ),
        ],
        ..namespaced(
            "apps",
            "ReplicaSet",
            ("replicasets", "replicaset"),
            "io.k8s.api.apps.v1.ReplicaSet",
        )
    },
    Kind {
        short_names: &["ev"],
        storage_group: "",
        ..namespaced(
            "events.k8s.io",
            "Event",
            ("events", "event"),
            "io.k8s.api.events.v1.Event",
        )
    },
    review(
        AUTHENTICATION,
        "SelfSubjectReview",
        ("selfsubjectreviews", "selfsubjectreview"),
        "io.k8s.api.authentication.v1.SelfSubjectReview",
    ),
    review(
        AUTHENTICATION,
        "TokenReview",
        ("tokenreviews", "tokenreview"),
        "io.k8s.api.authentication.v1.TokenReview",
    ),
    Kind {
        namespaced: true,
        ..review(
            AUTHORIZATION,
            "LocalSubjectAccessReview",
            ("localsubjectaccessreviews", "localsubjectaccessreview"),
            "io.k8s.api.authorization.v1.LocalSubjectAccessReview",
        )
    },
    review(
        AUTHORIZATION,
        "SelfSubjectAccessReview",
        ("selfsubjectaccessreviews", "selfsubjectaccessreview"),
        "io.k8s.api.authorization.v1.SelfSubjectAccessReview",
    ),
    review(
        AUTHORIZATION,
        "SelfSubjectRulesReview",
        ("selfsubjectrulesreviews", "selfsubjectrulesreview"),
        "io.k8s.api.authorization.v1.SelfSubjectRulesReview",
    ),
    review(
        AUTHORIZATION,
        "SubjectAccessReview",
        ("subjectaccessreviews", "subjectaccessreview"),
        "io.k8s.api.authorization.v1.SubjectAccessReview",
    ),
    cluster(
        RBAC,
        "ClusterRoleBinding",
        ("clusterrolebindings", "clusterrolebinding"),
        "io.k8s.api.rbac.v1.ClusterRoleBinding",
    ),
    cluster(
        RBAC,
        "ClusterRole",
        ("clusterroles", "clusterrole"),
        "io.k8s.api.rbac.v1.ClusterRole",
    ),
    namespaced(
        RBAC,
        "RoleBinding",
        ("rolebindings", "rolebinding"),
        "io.k8s.api.rbac.v1.RoleBinding",
    ),
    namespaced(RBAC, "Role", ("roles", "role"), "io.k8s.api.rbac.v1.Role"),
    Kind {
        short_names: &["pc"],
        ..cluster(
            "scheduling.k8s.io",
            "PriorityClass",
            ("priorityclasses", "priorityclass"),
            "io.k8s.api.scheduling.v1.PriorityClass",
        )
    },
    namespaced(
        "coordination.k8s.io",
        "Lease",
        ("leases", "lease"),
        "io.k8s.api.coordination.v1.Lease",
    ),
    namespaced(
        "discovery.k8s.io",
        "EndpointSlice",
        ("endpointslices", "endpointslice"),
        "io.k8s.api.discovery.v1.EndpointSlice",
    ),
    measured(
        "NodeMetrics",
        "nodes",
        false,
        "io.k8s.metrics.pkg.apis.metrics.v1beta1.NodeMetrics",
    ),
    measured(
        "PodMetrics",
        "pods",
        true,
        "io.k8s.metrics.pkg.apis.metrics.v1beta1.PodMetrics",
    ),
];
