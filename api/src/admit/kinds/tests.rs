//! Tables: an object, and every line of what upstream says about it.

use super::super::{Create, Update, create, update};
use crate::kind::{KINDS, Kind};
use crate::status::Status;
use crate::time::Timestamp;
use serde_json::{Value, json};

/// The row of a resource; `events` is core's unless it is asked for as `events.k8s.io`.
pub(super) fn kind(resource: &str) -> &'static Kind {
    let (resource, group) = match resource {
        "events.k8s.io" => ("events", Some("events.k8s.io")),
        other => (other, None),
    };
    let wanted = |k: &&Kind| k.plural == resource && group.is_none_or(|group| k.group == group);
    KINDS.iter().find(wanted).unwrap()
}

fn lines(status: &Status) -> Vec<String> {
    let causes = status.details().map_or(&[][..], |d| &d.causes);
    let line = |c: &crate::status::Cause| format!("{}: {}", c.field, c.message);
    causes.iter().map(line).collect()
}

/// The object as it would be stored, or what is wrong with it.
pub(super) fn created(resource: &str, mut object: Value) -> Result<Value, Vec<String>> {
    let kind = kind(resource);
    if object["metadata"].get("name").is_none() {
        object["metadata"]["name"] = "x".into();
    }
    let ctx = Create {
        now: Timestamp::parse("2026-01-01T00:00:00Z").unwrap(),
        uid: "0a1b2c3d-0000-4000-8000-000000000000",
        suffix: "x2x4z",
        namespace: kind.namespaced.then_some("default"),
    };
    create(kind, &mut object, &ctx).map_err(|s| lines(&s))?;
    Ok(object)
}

pub(super) fn updated(
    resource: &str,
    object: Value,
    change: impl Fn(&mut Value),
) -> Result<Value, Vec<String>> {
    through(resource, object, None, change)
}

fn through(
    resource: &str,
    object: Value,
    subresource: Option<&str>,
    change: impl Fn(&mut Value),
) -> Result<Value, Vec<String>> {
    let old = created(resource, object).unwrap();
    let mut new = old.clone();
    change(&mut new);
    let ctx = Update {
        now: Timestamp::default(),
        subresource,
    };
    update(kind(resource), &old, &mut new, &ctx).map_err(|s| lines(&s))?;
    Ok(new)
}

/// Each object has exactly these errors.
pub(super) fn check(resource: &str, cases: &[(Value, &[&str])]) {
    for (object, want) in cases {
        let got = created(resource, object.clone()).err().unwrap_or_default();
        assert_eq!(got, *want, "{resource} {object}");
    }
}

#[test]
fn endpoints() {
    let subset = |subset: Value| json!({"subsets": [subset]});
    check(
        "endpoints",
        &[
            (json!({}), &[]),
            (
                subset(json!({"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]})),
                &[],
            ),
            (
                subset(json!({"ports": [{"port": 80}]})),
                &["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"],
            ),
            (
                subset(
                    json!({"notReadyAddresses": [{"ip": "x", "hostname": "A", "nodeName": "N_"}]}),
                ),
                &[
                    "subsets[0].notReadyAddresses[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                    "subsets[0].notReadyAddresses[0].hostname: Invalid value: \"A\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
                    "subsets[0].notReadyAddresses[0].nodeName: Invalid value: \"N_\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
                ],
            ),
            (
                subset(
                    json!({"addresses": [{"ip": "127.0.0.1"}, {"ip": "169.254.1.1"}, {"ip": "224.0.0.1"}, {"ip": "0.0.0.0"}]}),
                ),
                &[
                    "subsets[0].addresses[0].ip: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
                    "subsets[0].addresses[1].ip: Invalid value: \"169.254.1.1\": may not be in the link-local range (169.254.0.0/16, fe80::/10)",
                    "subsets[0].addresses[2].ip: Invalid value: \"224.0.0.1\": may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)",
                    "subsets[0].addresses[3].ip: Invalid value: \"0.0.0.0\": may not be unspecified (0.0.0.0)",
                ],
            ),
            (
                subset(
                    json!({"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 0}, {"name": "a", "port": 80, "protocol": "ICMP"}]}),
                ),
                &[
                    "subsets[0].ports[0].name: Required value",
                    "subsets[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                    "subsets[0].ports[1].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
                ],
            ),
        ],
    );
    let made = created(
        "endpoints",
        subset(json!({"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]})),
    )
    .unwrap();
    assert_eq!(made["subsets"][0]["ports"][0]["protocol"], "TCP");
}

#[test]
fn endpoint_slices() {
    let slice = |kind: &str, addresses: Value| json!({"addressType": kind, "endpoints": [{"addresses": addresses}]});
    check(
        "endpointslices",
        &[
            (slice("IPv4", json!(["10.0.0.1"])), &[]),
            (slice("FQDN", json!(["a.example.com"])), &[]),
            (json!({"endpoints": []}), &["addressType: Required value"]),
            (
                slice("IP", json!(["10.0.0.1"])),
                &[
                    "addressType: Unsupported value: \"IP\": supported values: \"FQDN\", \"IPv4\", \"IPv6\"",
                ],
            ),
            (
                slice("IPv4", json!([])),
                &["endpoints[0].addresses: Required value: must contain at least 1 address"],
            ),
            (
                slice("IPv4", json!(["::1"])),
                &[
                    "endpoints[0].addresses[0]: Invalid value: \"::1\": must be a valid IPv4 address",
                ],
            ),
            (
                slice("IPv6", json!(["fe80::1"])),
                &[
                    "endpoints[0].addresses[0]: Invalid value: \"fe80::1\": may not be in the link-local range (169.254.0.0/16, fe80::/10)",
                ],
            ),
            (
                slice("FQDN", json!(["local"])),
                &[
                    "endpoints[0].addresses[0]: Invalid value: \"local\": should be a domain with at least two segments separated by dots",
                ],
            ),
            (
                json!({"addressType": "IPv4", "endpoints": [], "ports": [{"port": 1}, {"port": 2}]}),
                &["ports[1].name: Duplicate value: \"\""],
            ),
            (
                json!({"addressType": "IPv4", "endpoints": [{"addresses": vec!["10.0.0.1"; 101]}]}),
                &["endpoints[0].addresses: Too many: 101: must have at most 100 items"],
            ),
        ],
    );
    let made = created("endpointslices", slice("IPv4", json!(["10.0.0.1"]))).unwrap();
    assert_eq!(made["metadata"]["generation"], 1);
    let changed = updated("endpointslices", slice("IPv4", json!(["10.0.0.1"])), |s| {
        s["endpoints"][0]["addresses"][0] = "10.0.0.2".into();
    });
    assert_eq!(changed.unwrap()["metadata"]["generation"], 2);
    let wrong = updated("endpointslices", slice("IPv4", json!(["10.0.0.1"])), |s| {
        s["addressType"] = "FQDN".into();
        s["endpoints"] = json!([]);
    });
    assert_eq!(
        wrong.unwrap_err(),
        ["addressType: Invalid value: \"FQDN\": field is immutable"]
    );
}

#[test]
fn leases() {
    check(
        "leases",
        &[
            (
                json!({"spec": {"holderIdentity": "a", "leaseDurationSeconds": 40, "renewTime": "2026-01-01T00:00:00.000000Z"}}),
                &[],
            ),
            (
                json!({"spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1}}),
                &[
                    "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
                    "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
                ],
            ),
            (
                json!({"spec": {"preferredHolder": "a"}}),
                &[
                    "spec.preferredHolder: Forbidden: may only be specified if `strategy` is defined",
                ],
            ),
            (
                json!({"spec": {"strategy": "Any"}}),
                &[
                    "spec.strategy.strategy: Unsupported value: \"Any\": supported values: \"OldestEmulationVersion\"",
                ],
            ),
        ],
    );
}

#[test]
fn priority_classes() {
    let class = |name: &str, value: i64| json!({"metadata": {"name": name}, "value": value});
    check(
        "priorityclasses",
        &[
            (class("high", 1_000_000_000), &[]),
            (class("system-node-critical", 2_000_001_000), &[]),
            (
                class("high", 1_000_000_001),
                &[
                    "value: Forbidden: maximum allowed value of a user defined priority is 1000000000",
                ],
            ),
            (
                class("system-mine", 1),
                &[
                    "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: system-mine is not a known system priority class",
                ],
            ),
            (
                class("system-cluster-critical", 1),
                &[
                    "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: value of system-cluster-critical PriorityClass must be 2000000000",
                ],
            ),
            (
                json!({"value": 1, "preemptionPolicy": "Maybe"}),
                &[
                    "preemptionPolicy: Unsupported value: \"Maybe\": supported values: \"PreemptLowerPriority\", \"Never\"",
                ],
            ),
        ],
    );
    let made = created("priorityclasses", class("high", 1)).unwrap();
    assert_eq!(made["preemptionPolicy"], "PreemptLowerPriority");
    let wrong = updated("priorityclasses", class("high", 1), |c| {
        c["value"] = 2.into();
        c["preemptionPolicy"] = "Never".into();
    });
    assert_eq!(
        wrong.unwrap_err(),
        [
            "value: Forbidden: may not be changed in an update.",
            "preemptionPolicy: Invalid value: \"Never\": field is immutable"
        ]
    );
}

#[test]
fn controller_revisions() {
    check(
        "controllerrevisions",
        &[
            (json!({"data": {"a": 1}, "revision": 1}), &[]),
            (
                json!({"revision": -1}),
                &[
                    "data: Required value: data is mandatory",
                    "revision: Invalid value: -1: must be greater than or equal to 0",
                ],
            ),
        ],
    );
    let wrong = updated(
        "controllerrevisions",
        json!({"data": {"a": 1}, "revision": 1}),
        |r| {
            r["data"]["a"] = 2.into();
            r["revision"] = 2.into();
        },
    );
    assert_eq!(
        wrong.unwrap_err(),
        ["data: Invalid value: {\"a\":2}: field is immutable"]
    );
}

fn template(labels: Value) -> Value {
    json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": "x:1"}]}})
}

#[test]
fn replication_controllers() {
    let rc = |spec: Value| json!({"spec": spec});
    check(
        "replicationcontrollers",
        &[
            (rc(json!({"template": template(json!({"a": "b"}))})), &[]),
            (
                rc(json!({})),
                &[
                    "spec.selector: Required value",
                    "spec.template: Required value",
                ],
            ),
            (
                rc(
                    json!({"selector": {"a": "c"}, "replicas": -1, "minReadySeconds": -1, "template": template(json!({"a": "b"}))}),
                ),
                &[
                    "spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0",
                    "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
                    "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`",
                ],
            ),
        ],
    );
    let plain = rc(json!({"template": template(json!({"a": "b"}))}));
    let made = created("replicationcontrollers", plain).unwrap();
    assert_eq!(made["spec"]["replicas"], 1);
    assert_eq!(made["spec"]["selector"], json!({"a": "b"}));
    assert_eq!(made["metadata"]["labels"], json!({"a": "b"}));
    assert_eq!(made["metadata"]["generation"], 1);
    assert_eq!(made["spec"]["template"]["spec"]["restartPolicy"], "Always");
}

#[test]
fn pod_templates() {
    let made = created("podtemplates", json!({"template": template(json!({}))})).unwrap();
    assert_eq!(made["template"]["spec"]["dnsPolicy"], "ClusterFirst");
    let wrong = created(
        "podtemplates",
        json!({"template": template(json!({"-": "b"}))}),
    );
    let wrong = wrong.unwrap_err();
    assert_eq!(wrong.len(), 1);
    assert!(wrong[0].starts_with("template.labels: Invalid value: \"-\": name part must"));
}

#[test]
fn quotas() {
    let quota = |spec: Value| json!({"spec": spec});
    check(
        "resourcequotas",
        &[
            (
                quota(
                    json!({"hard": {"pods": "10", "cpu": "4", "requests.memory": "1Gi", "count/deployments.apps": "2", "requests.example.com/gpu": "1"}}),
                ),
                &[],
            ),
            (
                quota(json!({"hard": {"pods": "1"}, "scopes": ["BestEffort"]})),
                &[],
            ),
            (
                quota(json!({"hard": {"pods": "1.5", "cpu": "-1"}})),
                &[
                    "spec.hard[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
                    "spec.hard[pods]: Invalid value: \"1.5\": must be an integer",
                ],
            ),
            (
                quota(json!({"hard": {"cores": "1", "storage": "1"}})),
                &[
                    "spec.hard[cores]: Invalid value: \"cores\": must be a standard resource type or fully qualified",
                    "spec.hard[cores]: Invalid value: \"cores\": must be a standard resource for quota",
                    "spec.hard[storage]: Invalid value: \"storage\": must be a standard resource for quota",
                ],
            ),
            (
                quota(
                    json!({"hard": {"cpu": "1"}, "scopes": ["BestEffort", "NotBestEffort", "Some"]}),
                ),
                &[
                    "spec.scopes: Invalid value: [\"BestEffort\",\"NotBestEffort\",\"Some\"]: unsupported scope applied to resource",
                    "spec.scopes: Invalid value: [\"BestEffort\",\"NotBestEffort\",\"Some\"]: unsupported scope",
                    "spec.scopes: Invalid value: [\"BestEffort\",\"NotBestEffort\",\"Some\"]: conflicting scopes",
                ],
            ),
            (
                quota(
                    json!({"hard": {"pods": "1"}, "scopeSelector": {"matchExpressions": [
                    {"scopeName": "PriorityClass", "operator": "In"},
                    {"scopeName": "Terminating", "operator": "In", "values": ["a"]},
                    {"scopeName": "PriorityClass", "operator": "Exists", "values": ["a"]},
                    {"scopeName": "PriorityClass", "operator": "Is"}]}}),
                ),
                &[
                    "spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
                    "spec.scopeSelector.matchExpressions.operator: Invalid value: \"In\": must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity",
                    "spec.scopeSelector.matchExpressions.values: Invalid value: [\"a\"]: must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
                    "spec.scopeSelector.matchExpressions.operator: Invalid value: \"Is\": not a valid selector operator",
                ],
            ),
        ],
    );
    let pods = quota(json!({"hard": {"pods": "1"}}));
    let wrong = updated("resourcequotas", pods.clone(), |q| {
        q["spec"]["scopes"] = json!(["BestEffort"]);
    });
    assert_eq!(
        wrong.unwrap_err(),
        ["spec.scopes: Invalid value: [\"BestEffort\"]: field is immutable"]
    );
    let wrong = through("resourcequotas", pods, Some("status"), |q| {
        q["status"] = json!({"used": {"pods": "-1"}});
    });
    assert_eq!(
        wrong.unwrap_err(),
        ["status.used[pods]: Invalid value: \"-1\": must be greater than or equal to 0"]
    );
}

#[test]
fn limit_ranges() {
    let range = |item: Value| json!({"spec": {"limits": [item]}});
    check(
        "limitranges",
        &[
            (
                range(
                    json!({"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "100m"}, "maxLimitRequestRatio": {"cpu": "4"}}),
                ),
                &[],
            ),
            (
                range(json!({"type": "Pod", "default": {"cpu": "1"}, "max": {"storage": "1"}})),
                &[
                    "spec.limits[0].max[storage]: Invalid value: \"storage\": must be a standard resource for containers",
                    "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'",
                ],
            ),
            (
                range(json!({"type": "PersistentVolumeClaim", "max": {"cpu": "1"}})),
                &[
                    "spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was provided",
                ],
            ),
            (
                range(
                    json!({"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}, "default": {"cpu": "1"}, "defaultRequest": {"cpu": "3"}}),
                ),
                &[
                    "spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1",
                    "spec.limits[0].defaultRequest[cpu]: Invalid value: \"3\": default request value 3 is greater than max value 1",
                    "spec.limits[0].defaultRequest[cpu]: Invalid value: \"3\": default request value 3 is greater than default limit value 1",
                    "spec.limits[0].default[cpu]: Invalid value: \"2\": min value 2 is greater than default value 1",
                ],
            ),
            (
                range(
                    json!({"type": "Pod", "min": {"cpu": "1"}, "max": {"cpu": "2"}, "maxLimitRequestRatio": {"cpu": "3", "memory": "500m"}}),
                ),
                &[
                    "spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"3\": ratio 3 is greater than max/min = 2.000000",
                    "spec.limits[0].maxLimitRequestRatio[memory]: Invalid value: \"500m\": ratio 500m is less than 1",
                ],
            ),
            (
                json!({"spec": {"limits": [{"type": "Box"}, {"type": "Pod"}, {"type": "Pod"}]}}),
                &[
                    "spec.limits[0].type: Invalid value: \"Box\": must be a standard limit type or fully qualified",
                    "spec.limits[2].type: Duplicate value: \"Pod\"",
                ],
            ),
        ],
    );
    let made = created(
        "limitranges",
        range(json!({"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"}})),
    )
    .unwrap();
    let item = &made["spec"]["limits"][0];
    assert_eq!(item["default"], json!({"cpu": "2"}));
    assert_eq!(item["defaultRequest"], json!({"cpu": "2", "memory": "1Mi"}));
}

#[test]
fn roles() {
    let role = |rule: Value| json!({"metadata": {"name": "system:a"}, "rules": [rule]});
    check(
        "roles",
        &[
            (
                role(json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]})),
                &[],
            ),
            (
                role(json!({})),
                &[
                    "rules[0].verbs: Required value: verbs must contain at least one value",
                    "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
                    "rules[0].resources: Required value: resource rules must supply at least one resource",
                ],
            ),
            (
                role(json!({"verbs": ["get"], "nonResourceURLs": ["/a"], "resources": ["pods"]})),
                &[
                    "rules[0].nonResourceURLs: Invalid value: [\"/a\"]: namespaced rules cannot apply to non-resource URLs",
                    "rules[0].nonResourceURLs: Invalid value: [\"/a\"]: rules cannot apply to both regular resources and non-resource URLs",
                ],
            ),
            (
                json!({"metadata": {"name": "a/b%"}}),
                &[
                    "metadata.name: Invalid value: \"a/b%\": may not contain '/'",
                    "metadata.name: Invalid value: \"a/b%\": may not contain '%'",
                ],
            ),
        ],
    );
    check(
        "clusterroles",
        &[(
            role(json!({"verbs": ["get"], "nonResourceURLs": ["/a"]})),
            &[],
        )],
    );
}

#[test]
fn role_bindings() {
    let binding = |role: Value, subjects: Value| json!({"roleRef": role, "subjects": subjects});
    let role = json!({"kind": "ClusterRole", "name": "view"});
    check(
        "rolebindings",
        &[
            (
                binding(
                    role.clone(),
                    json!([{"kind": "User", "name": "jo"}, {"kind": "ServiceAccount", "name": "a"}]),
                ),
                &[],
            ),
            (
                binding(
                    json!({"kind": "Thing", "name": "", "apiGroup": "x"}),
                    json!([]),
                ),
                &[
                    "roleRef.apiGroup: Unsupported value: \"x\": supported values: \"rbac.authorization.k8s.io\"",
                    "roleRef.kind: Unsupported value: \"Thing\": supported values: \"Role\", \"ClusterRole\"",
                    "roleRef.name: Required value",
                ],
            ),
            (
                binding(
                    role.clone(),
                    json!([{"kind": "Robot", "name": ""}, {"kind": "Group", "name": "", "apiGroup": "x"}]),
                ),
                &[
                    "subjects[0].name: Required value",
                    "subjects[0].kind: Unsupported value: \"Robot\": supported values: \"ServiceAccount\", \"User\", \"Group\"",
                    "subjects[1].name: Required value",
                    "subjects[1].name: Invalid value: \"\": group name cannot be empty",
                    "subjects[1].apiGroup: Unsupported value: \"x\": supported values: \"rbac.authorization.k8s.io\"",
                ],
            ),
        ],
    );
    check(
        "clusterrolebindings",
        &[(
            binding(
                json!({"kind": "Role", "name": "r"}),
                json!([{"kind": "ServiceAccount", "name": "a", "apiGroup": "x"}]),
            ),
            &[
                "roleRef.kind: Unsupported value: \"Role\": supported values: \"ClusterRole\"",
                "subjects[0].apiGroup: Unsupported value: \"x\": supported values: \"\"",
                "subjects[0].namespace: Required value",
            ],
        )],
    );
    let made = created(
        "rolebindings",
        binding(role.clone(), json!([{"kind": "Group", "name": "g"}])),
    )
    .unwrap();
    assert_eq!(made["roleRef"]["apiGroup"], "rbac.authorization.k8s.io");
    assert_eq!(made["subjects"][0]["apiGroup"], "rbac.authorization.k8s.io");
    let wrong = updated("rolebindings", binding(role, json!([])), |b| {
        b["roleRef"]["name"] = "edit".into();
    });
    assert_eq!(
        wrong.unwrap_err(),
        [
            "roleRef: Invalid value: {\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"ClusterRole\",\"name\":\"edit\"}: cannot change roleRef"
        ]
    );
}

#[test]
fn events() {
    check(
        "events",
        &[
            (
                json!({"involvedObject": {"namespace": "default"}, "metadata": {"name": "Any:name"}}),
                &[],
            ),
            (json!({"involvedObject": {}}), &[]),
            (
                json!({"involvedObject": {"namespace": "other"}}),
                &[
                    "involvedObject.namespace: Invalid value: \"other\": does not match event.namespace",
                ],
            ),
            (
                json!({"involvedObject": {"namespace": "default"}, "eventTime": "2026-01-01T00:00:00.000000Z", "reason": "r".repeat(129)}),
                &[
                    "reportingController: Required value",
                    "reportingController: Invalid value: \"\": name part must be non-empty",
                    "reportingController: Invalid value: \"\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
                    "reportingInstance: Required value",
                    "action: Required value",
                    "reason: Invalid value: \"\": can have at most 128 characters",
                ],
            ),
        ],
    );
    let event = json!({"regarding": {"namespace": "default"}, "eventTime": "2026-01-01T00:00:00.000000Z", "type": "Normal",
        "reportingController": "c", "reportingInstance": "i", "action": "a", "reason": "r", "note": "n"});
    let with = |key: &str, value: Value| {
        let mut event = event.clone();
        event[key] = value;
        event
    };
    check(
        "events.k8s.io",
        &[
            (event.clone(), &[]),
            (
                with("note", "n".repeat(1025).into()),
                &["message: Invalid value: \"\": can have at most 1024 characters"],
            ),
            (
                with("type", "Odd".into()),
                &["type: Invalid value: \"\": has invalid value: Odd"],
            ),
            (
                with("deprecatedCount", 1.into()),
                &["count: Invalid value: \"\": needs to be unset"],
            ),
            (
                with("series", json!({"count": 1})),
                &[
                    "series.count: Invalid value: \"\": should be at least 2",
                    "series.lastObservedTime: Required value",
                ],
            ),
        ],
    );
    let wrong = updated("events.k8s.io", event.clone(), |e| {
        e["note"] = "m".into();
        e["series"] = json!({"count": 2, "lastObservedTime": "2026-01-01T00:00:00.000000Z"});
    });
    assert_eq!(
        wrong.unwrap_err(),
        ["message: Invalid value: \"m\": field is immutable"]
    );
    let fine = updated("events.k8s.io", event, |e| {
        e["series"] = json!({"count": 2, "lastObservedTime": "2026-01-01T00:00:00.000000Z"});
    });
    assert_eq!(fine.unwrap()["series"]["count"], 2);
}

#[test]
fn secrets_by_type() {
    let secret = |kind: &str, data: Value| json!({"type": kind, "stringData": data});
    let broken = created(
        "secrets",
        secret(
            "kubernetes.io/dockerconfigjson",
            json!({".dockerconfigjson": "x"}),
        ),
    );
    assert!(
        broken.unwrap_err()[0].starts_with(
            "data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\": "
        )
    );
    check(
        "secrets",
        &[
            (
                secret(
                    "kubernetes.io/dockerconfigjson",
                    json!({".dockerconfigjson": "{}"}),
                ),
                &[],
            ),
            (
                secret("kubernetes.io/dockerconfigjson", json!({})),
                &["data[.dockerconfigjson]: Required value"],
            ),
            (
                secret("kubernetes.io/dockercfg", json!({})),
                &["data[.dockercfg]: Required value"],
            ),
            (
                secret("kubernetes.io/tls", json!({})),
                &[
                    "data[tls.crt]: Required value",
                    "data[tls.key]: Required value",
                ],
            ),
            (
                secret("kubernetes.io/basic-auth", json!({})),
                &[
                    "data[username]: Required value",
                    "data[password]: Required value",
                ],
            ),
            (
                secret("kubernetes.io/basic-auth", json!({"username": ""})),
                &[],
            ),
            (
                secret("kubernetes.io/ssh-auth", json!({"ssh-privatekey": ""})),
                &["data[ssh-privatekey]: Required value"],
            ),
            (
                secret("kubernetes.io/service-account-token", json!({})),
                &["metadata.annotations[kubernetes.io/service-account.name]: Required value"],
            ),
            (
                json!({"type": "kubernetes.io/service-account-token", "metadata": {"annotations": {"kubernetes.io/service-account.name": "a"}}}),
                &[],
            ),
        ],
    );
}

#[test]
fn nodes() {
    let taint = json!({"key": "a", "effect": "NoSchedule"});
    check(
        "nodes",
        &[
            (
                json!({"spec": {"podCIDRs": ["10.0.0.0/24"], "podCIDR": "10.0.0.0/24", "taints": [taint]}}),
                &[],
            ),
            (
                json!({"spec": {"taints": [taint, taint]}}),
                &[
                    "metadata.taints[1]: Duplicate value: {\"effect\":\"NoSchedule\",\"key\":\"a\"}: taints must be unique by key and effect pair",
                ],
            ),
            (
                json!({"spec": {"podCIDRs": ["10.0.0.0/24", "10.0.0.0/33"]}}),
                &[
                    "spec.podCIDRs[1]: Invalid value: \"10.0.0.0/33\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
                    "spec.podCIDRs: Invalid value: [\"10.0.0.0/24\",\"10.0.0.0/33\"]: may specify no more than one CIDR for each IP family",
                ],
            ),
        ],
    );
}
