//! The default roles and bindings, as data.

/// Where a role lives.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scope {
    Cluster,
    Namespace(&'static str),
}

impl Scope {
    pub(super) fn namespace(self) -> &'static str {
        match self {
            Self::Cluster => "",
            Self::Namespace(namespace) => namespace,
        }
    }
}

/// A rule.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) verbs: &'static [&'static str],
    pub(super) groups: &'static [&'static str],
    pub(super) resources: &'static [&'static str],
    pub(super) names: &'static [&'static str],
    pub(super) urls: &'static [&'static str],
}

/// A role.
#[derive(Debug)]
pub(super) struct Role {
    pub(super) scope: Scope,
    pub(super) name: &'static str,
    /// The role that gathers this one.
    pub(super) aggregate_to: &'static [&'static str],
    /// It is put together from the roles that are labelled for it.
    pub(super) aggregates: Option<&'static str>,
    pub(super) rules: &'static [Row],
}

/// A binding of the ClusterRole of the same name to groups.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) name: &'static str,
    pub(super) groups: &'static [&'static str],
}

const fn on(
    verbs: &'static [&'static str],
    group: &'static [&'static str],
    resources: &'static [&'static str],
) -> Row {
    Row {
        verbs,
        groups: group,
        resources,
        names: &[],
        urls: &[],
    }
}

const fn urls(urls: &'static [&'static str]) -> Row {
    Row {
        verbs: &["get"],
        groups: &[],
        resources: &[],
        names: &[],
        urls,
    }
}

const fn role(name: &'static str, rules: &'static [Row]) -> Role {
    Role {
        scope: Scope::Cluster,
        name,
        aggregate_to: &[],
        aggregates: None,
        rules,
    }
}

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "delete", "deletecollection", "patch", "update"];
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
const CREATE: &[&str] = &["create"];
const CHANGE: &[&str] = &["patch", "update"];
const CORE: &[&str] = &[""];
const APPS: &[&str] = &["apps"];
const AUTHENTICATION: &[&str] = &["authentication.k8s.io"];
const AUTHORIZATION: &[&str] = &["authorization.k8s.io"];
const AUTOSCALING: &[&str] = &["autoscaling"];
const BATCH: &[&str] = &["batch"];
const COORDINATION: &[&str] = &["coordination.k8s.io"];
const DISCOVERY: &[&str] = &["discovery.k8s.io"];
const EXTENSIONS: &[&str] = &["extensions"];
const NETWORKING: &[&str] = &["networking.k8s.io"];
const POLICY: &[&str] = &["policy"];
const RBAC: &[&str] = &["rbac.authorization.k8s.io"];
const STORAGE: &[&str] = &["storage.k8s.io"];

pub(super) static ROLES: &[Role] = &[
    Role {
        aggregates: Some("admin"),
        ..role("admin", &[])
    },
    role(
        "cluster-admin",
        &[
            on(&["*"], &["*"], &["*"]),
            Row {
                verbs: &["*"],
                ..urls(&["*"])
            },
        ],
    ),
    Role {
        aggregate_to: &["admin"],
        aggregates: Some("edit"),
        ..role("edit", &[])
    },
    Role {
        aggregate_to: &["edit"],
        aggregates: Some("view"),
        ..role("view", &[])
    },
    Role {
        aggregate_to: &["admin"],
        ..role(
            "system:aggregate-to-admin",
            &[
                on(CREATE, AUTHORIZATION, &["localsubjectaccessreviews"]),
                on(ALL, RBAC, &["rolebindings", "roles"]),
            ],
        )
    },
    Role {
        aggregate_to: &["edit"],
        ..role("system:aggregate-to-edit", EDIT)
    },
    Role {
        aggregate_to: &["view"],
        ..role("system:aggregate-to-view", VIEW)
    },
    // Of metrics-server's manifest, whose part is done here.
    Role {
        aggregate_to: &["admin", "edit", "view"],
        ..role(
            "system:aggregated-metrics-reader",
            &[on(READ, &["metrics.k8s.io"], &["nodes", "pods"])],
        )
    },
    role(
        "system:auth-delegator",
        &[
            on(CREATE, AUTHENTICATION, &["tokenreviews"]),
            on(CREATE, AUTHORIZATION, &["subjectaccessreviews"]),
        ],
    ),
    role(
        "system:basic-user",
        &[
            on(
                CREATE,
                AUTHORIZATION,
                &["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
            ),
            on(CREATE, AUTHENTICATION, &["selfsubjectreviews"]),
        ],
    ),
    role(
        "system:discovery",
        &[urls(&[
            "/api",
            "/api/*",
            "/apis",
            "/apis/*",
            "/healthz",
            "/livez",
            "/openapi",
            "/openapi/*",
            "/readyz",
            "/version",
            "/version/",
        ])],
    ),
    role(
        "system:monitoring",
        &[urls(&[
            "/healthz",
            "/healthz/*",
            "/livez",
            "/livez/*",
            "/metrics",
            "/metrics/slis",
            "/readyz",
            "/readyz/*",
        ])],
    ),
    role("system:node", NODE),
    role(
        "system:public-info-viewer",
        &[urls(&[
            "/healthz",
            "/livez",
            "/readyz",
            "/version",
            "/version/",
        ])],
    ),
    role(
        "system:service-account-issuer-discovery",
        &[urls(&[
            "/.well-known/openid-configuration",
            "/openid/v1/jwks",
        ])],
    ),
    Role {
        scope: Scope::Namespace("kube-system"),
        ..role(
            "extension-apiserver-authentication-reader",
            &[Row {
                names: &["extension-apiserver-authentication"],
                ..on(READ, CORE, &["configmaps"])
            }],
        )
    },
];

/// What an editor may do beyond looking.
const EDIT: &[Row] = &[
    on(
        READ,
        CORE,
        &[
            "pods/attach",
            "pods/exec",
            "pods/portforward",
            "pods/proxy",
            "secrets",
            "services/proxy",
        ],
    ),
    on(&["impersonate"], CORE, &["serviceaccounts"]),
    on(
        WRITE,
        CORE,
        &[
            "pods",
            "pods/attach",
            "pods/exec",
            "pods/portforward",
            "pods/proxy",
        ],
    ),
    on(CREATE, CORE, &["pods/eviction"]),
    on(
        WRITE,
        CORE,
        &[
            "configmaps",
            "events",
            "persistentvolumeclaims",
            "replicationcontrollers",
            "replicationcontrollers/scale",
            "secrets",
            "serviceaccounts",
            "services",
            "services/proxy",
        ],
    ),
    on(CREATE, CORE, &["serviceaccounts/token"]),
    on(
        WRITE,
        APPS,
        &[
            "daemonsets",
            "deployments",
            "deployments/rollback",
            "deployments/scale",
            "replicasets",
            "replicasets/scale",
            "statefulsets",
            "statefulsets/scale",
        ],
    ),
    on(WRITE, AUTOSCALING, &["horizontalpodautoscalers"]),
    on(WRITE, BATCH, &["cronjobs", "jobs"]),
    on(
        WRITE,
        EXTENSIONS,
        &[
            "daemonsets",
            "deployments",
            "deployments/rollback",
            "deployments/scale",
            "ingresses",
            "networkpolicies",
            "replicasets",
            "replicasets/scale",
            "replicationcontrollers/scale",
        ],
    ),
    on(WRITE, POLICY, &["poddisruptionbudgets"]),
    on(WRITE, NETWORKING, &["ingresses", "networkpolicies"]),
    on(ALL, COORDINATION, &["leases"]),
];

/// What everybody in a namespace may look at: no Secrets, no roles.
const VIEW: &[Row] = &[
    on(
        READ,
        CORE,
        &[
            "configmaps",
            "endpoints",
            "persistentvolumeclaims",
            "persistentvolumeclaims/status",
            "pods",
            "replicationcontrollers",
            "replicationcontrollers/scale",
            "serviceaccounts",
            "services",
            "services/status",
        ],
    ),
    on(
        READ,
        CORE,
        &[
            "bindings",
            "events",
            "limitranges",
            "namespaces/status",
            "pods/log",
            "pods/status",
            "replicationcontrollers/status",
            "resourcequotas",
            "resourcequotas/status",
        ],
    ),
    on(READ, CORE, &["namespaces"]),
    on(READ, DISCOVERY, &["endpointslices"]),
    on(
        READ,
        APPS,
        &[
            "controllerrevisions",
            "daemonsets",
            "daemonsets/status",
            "deployments",
            "deployments/scale",
            "deployments/status",
            "replicasets",
            "replicasets/scale",
            "replicasets/status",
            "statefulsets",
            "statefulsets/scale",
            "statefulsets/status",
        ],
    ),
    on(
        READ,
        AUTOSCALING,
        &[
            "horizontalpodautoscalers",
            "horizontalpodautoscalers/status",
        ],
    ),
    on(
        READ,
        BATCH,
        &["cronjobs", "cronjobs/status", "jobs", "jobs/status"],
    ),
    on(
        READ,
        EXTENSIONS,
        &[
            "daemonsets",
            "daemonsets/status",
            "deployments",
            "deployments/scale",
            "deployments/status",
            "ingresses",
            "ingresses/status",
            "networkpolicies",
            "replicasets",
            "replicasets/scale",
            "replicasets/status",
            "replicationcontrollers/scale",
        ],
    ),
    on(
        READ,
        POLICY,
        &["poddisruptionbudgets", "poddisruptionbudgets/status"],
    ),
    on(
        READ,
        NETWORKING,
        &["ingresses", "ingresses/status", "networkpolicies"],
    ),
];

/// Bound to nobody: the node authorizer applies it to each node, and narrows it.
const NODE: &[Row] = &[
    on(CREATE, AUTHENTICATION, &["tokenreviews"]),
    on(
        CREATE,
        AUTHORIZATION,
        &["localsubjectaccessreviews", "subjectaccessreviews"],
    ),
    on(READ, CORE, &["services"]),
    on(&["create", "get", "list", "watch"], CORE, &["nodes"]),
    on(CHANGE, CORE, &["nodes/status"]),
    on(CHANGE, CORE, &["nodes"]),
    on(&["create", "patch", "update"], CORE, &["events"]),
    on(READ, CORE, &["pods"]),
    on(&["create", "delete"], CORE, &["pods"]),
    on(CHANGE, CORE, &["pods/status"]),
    on(CREATE, CORE, &["pods/eviction"]),
    on(READ, CORE, &["configmaps", "secrets"]),
    on(
        &["get"],
        CORE,
        &["persistentvolumeclaims", "persistentvolumes"],
    ),
    on(&["get"], CORE, &["endpoints"]),
    on(
        &["create", "get", "list", "watch"],
        &["certificates.k8s.io"],
        &["certificatesigningrequests"],
    ),
    on(
        &["create", "delete", "get", "patch", "update"],
        COORDINATION,
        &["leases"],
    ),
    on(&["get"], STORAGE, &["volumeattachments"]),
    on(CREATE, CORE, &["serviceaccounts/token"]),
    on(
        &["get", "patch", "update"],
        CORE,
        &["persistentvolumeclaims/status"],
    ),
    on(READ, STORAGE, &["csidrivers"]),
    on(
        &["create", "delete", "get", "patch", "update"],
        STORAGE,
        &["csinodes"],
    ),
    on(READ, &["node.k8s.io"], &["runtimeclasses"]),
];

const AUTHENTICATED: &str = "system:authenticated";

pub(super) static BINDINGS: &[Binding] = &[
    Binding {
        name: "cluster-admin",
        groups: &[super::super::MASTERS],
    },
    Binding {
        name: "system:basic-user",
        groups: &[AUTHENTICATED],
    },
    Binding {
        name: "system:discovery",
        groups: &[AUTHENTICATED],
    },
    Binding {
        name: "system:monitoring",
        groups: &["system:monitoring"],
    },
    Binding {
        name: "system:node",
        groups: &[],
    },
    Binding {
        name: "system:public-info-viewer",
        groups: &[AUTHENTICATED, "system:unauthenticated"],
    },
    Binding {
        name: "system:service-account-issuer-discovery",
        groups: &["system:serviceaccounts"],
    },
];
