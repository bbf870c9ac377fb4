//! Tables: an object, and every line of what upstream says about it.

mod endpoints;
mod shares;

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
