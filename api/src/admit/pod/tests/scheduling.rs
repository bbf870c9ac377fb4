//! Where a pod may go.

use super::*;

#[test]
fn node_affinity_in_upstreams_words() {
    let required = |term: Value| json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}});
    let path = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
    let expression = |e: Value| said(required(json!({"matchExpressions": [e]})));
    assert_eq!(
        said(
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}}})
        ),
        [format!(
            "{path}: Required value: must have at least one node selector term"
        )]
    );
    let first = format!("{path}[0].matchExpressions[0]");
    for (sent, want) in [
        (
            json!({"key": "a", "operator": "In"}),
            ".values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
        ),
        (
            json!({"key": "a", "operator": "Exists", "values": ["1"]}),
            ".values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        ),
        (
            json!({"key": "a", "operator": "Gt", "values": ["1", "2"]}),
            ".values: Required value: must be specified single value when `operator` is 'Lt' or 'Gt'",
        ),
        (
            json!({"key": "a", "operator": "Near"}),
            ".operator: Invalid value: \"Near\": not a valid selector operator",
        ),
    ] {
        assert_eq!(expression(sent), [format!("{first}{want}")]);
    }
    assert_eq!(
        expression(json!({"key": "a", "operator": "In", "values": ["-"]})),
        [format!(
            "{first}.values[0]: Invalid value: \"-\": {LABEL_VALUE}"
        )]
    );
    let field = |e: Value| said(required(json!({"matchFields": [e]})));
    let first = format!("{path}[0].matchFields[0]");
    assert_eq!(
        field(json!({"key": "metadata.uid", "operator": "In", "values": ["a"]})),
        [format!(
            "{first}.key: Invalid value: \"metadata.uid\": not a valid field selector key"
        )]
    );
    assert_eq!(
        field(json!({"key": "metadata.name", "operator": "In", "values": ["a", "b"]})),
        [format!(
            "{first}.values: Required value: must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
        )]
    );
    let preferred = |weight: i64| {
        said(
            json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": weight, "preference": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["-"]}]}}]}}}),
        )
    };
    assert_eq!(preferred(100), [""; 0]);
    assert_eq!(
        preferred(101),
        [
            "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 101: must be in the range 1-100"
        ]
    );
}

#[test]
fn pod_affinity_in_upstreams_words() {
    let path = "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0]";
    let term = |term: Value| {
        said(
            json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}),
        )
    };
    let app = json!({"matchLabels": {"app": "a"}});
    assert_eq!(
        term(json!({"labelSelector": app, "topologyKey": "kubernetes.io/hostname"})),
        [""; 0]
    );
    let missing = term(json!({"labelSelector": app}));
    assert_eq!(
        missing[0],
        format!("{path}.topologyKey: Required value: can not be empty")
    );
    assert!(missing[1].starts_with(&format!(
        "{path}.topologyKey: Invalid value: \"\": name part must be non-empty"
    )));
    assert!(
        term(json!({"labelSelector": app, "topologyKey": "z", "namespaces": ["A"]}))[0]
            .starts_with(&format!(
                "{path}.namespace: Invalid value: \"A\": a lowercase RFC 1123 label must"
            ))
    );
    assert_eq!(
        term(json!({"topologyKey": "z", "matchLabelKeys": ["a"]})),
        [format!(
            "{path}.matchLabelKeys: Forbidden: must not be specified when labelSelector is not set"
        )]
    );
    assert_eq!(
        term(json!({"labelSelector": app, "topologyKey": "z",
            "matchLabelKeys": ["v"], "mismatchLabelKeys": ["v"]})),
        [format!(
            "{path}.matchLabelKeys[0]: Invalid value: \"v\": exists in both matchLabelKeys and mismatchLabelKeys"
        )]
    );
    let bad = json!({"matchExpressions": [{"key": "a", "operator": "In"}]});
    for key in ["labelSelector", "namespaceSelector"] {
        assert_eq!(
            term(json!({"topologyKey": "z", key: bad})),
            [format!(
                "{path}.{key}.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"
            )]
        );
    }
    let weighted = json!({"affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"podAffinityTerm": {"topologyKey": "z"}}]}}});
    assert_eq!(
        said(weighted),
        [
            "spec.affinity.podAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 0: must be in the range 1-100"
        ]
    );
}

/// The values behind label keys are written into the selectors when the pod is made.
#[test]
fn label_keys_become_conditions() {
    let mut object = pod(
        json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "z", "labelSelector": {}, "matchLabelKeys": ["v", "gone"], "mismatchLabelKeys": ["t"]}]}}}),
    );
    object["metadata"]["labels"] = json!({"v": "1", "t": "x"});
    super::super::prepare(object.as_object_mut().unwrap());
    let selector = object.pointer(
        "/spec/affinity/podAffinity/requiredDuringSchedulingIgnoredDuringExecution/0/labelSelector",
    );
    assert_eq!(
        selector.unwrap(),
        &json!({"matchExpressions": [
            {"key": "v", "operator": "In", "values": ["1"]},
            {"key": "t", "operator": "NotIn", "values": ["x"]}]})
    );
}

#[test]
fn topology_spread_in_upstreams_words() {
    let path = "spec.topologySpreadConstraints[0]";
    let one = |rest: Value| {
        let mut constraint = json!({"maxSkew": 1, "topologyKey": "z", "labelSelector": {}, "whenUnsatisfiable": "ScheduleAnyway"});
        constraint
            .as_object_mut()
            .unwrap()
            .extend(rest.as_object().unwrap().clone());
        said(json!({"topologySpreadConstraints": [constraint]}))
    };
    assert_eq!(one(json!({})), [""; 0]);
    for (rest, want) in [
        (
            json!({"maxSkew": 0}),
            ".maxSkew: Invalid value: 0: must be greater than zero",
        ),
        (
            json!({"topologyKey": ""}),
            ".topologyKey: Required value: can not be empty",
        ),
        (
            json!({"whenUnsatisfiable": "Never"}),
            ".whenUnsatisfiable: Unsupported value: \"Never\": supported values: \"DoNotSchedule\", \"ScheduleAnyway\"",
        ),
        (
            json!({"minDomains": 2}),
            ".minDomains: Invalid value: 2: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway",
        ),
        (
            json!({"nodeTaintsPolicy": "Maybe"}),
            ".nodeTaintsPolicy: Unsupported value: \"Maybe\": supported values: \"Honor\", \"Ignore\"",
        ),
        (
            json!({"labelSelector": {"matchLabels": {"v": "1"}}, "matchLabelKeys": ["v"]}),
            ".matchLabelKeys[0]: Invalid value: \"v\": exists in both matchLabelKeys and labelSelector",
        ),
    ] {
        assert_eq!(one(rest), [format!("{path}{want}")]);
    }
    let twice = json!({"maxSkew": 1, "topologyKey": "z", "labelSelector": {}, "whenUnsatisfiable": "DoNotSchedule"});
    assert_eq!(
        said(json!({"topologySpreadConstraints": [twice, twice]})),
        [format!(
            "{path}.{{topologyKey, whenUnsatisfiable}}: Duplicate value: \"{{z, DoNotSchedule}}\""
        )]
    );
}

#[test]
fn tolerations_in_upstreams_words() {
    let one = |t: Value| said(json!({"tolerations": [t]}));
    assert_eq!(
        one(
            json!({"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5})
        ),
        [""; 0]
    );
    for (sent, want) in [
        (
            json!({"operator": "Equal"}),
            "operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
        ),
        (
            json!({"key": "a", "operator": "Exists", "tolerationSeconds": 5}),
            "effect: Invalid value: \"\": effect must be 'NoExecute' when `tolerationSeconds` is set",
        ),
        (
            json!({"key": "a", "operator": "Exists", "value": "b"}),
            "operator: Invalid value: \"b\": value must be empty when `operator` is 'Exists'",
        ),
        (
            json!({"key": "a", "operator": "Is"}),
            "operator: Unsupported value: \"Is\": supported values: \"Equal\", \"Exists\"",
        ),
        (
            json!({"key": "a", "effect": "Go"}),
            "effect: Unsupported value: \"Go\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
        ),
    ] {
        assert_eq!(one(sent), [format!("spec.tolerations[0].{want}")]);
    }
}
