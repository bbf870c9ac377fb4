//! Who gets how much, and who goes first.

use super::*;

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
