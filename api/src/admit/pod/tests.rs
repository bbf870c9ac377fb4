//! Validation of pods as tables: what is written, and upstream's words about it.

use crate::admit::tests::{container, created, kind, pod, refused, updated, with};
use crate::admit::{Update, update};
use crate::status::Status;
use crate::support::NOT_SUPPORTED;
use crate::time::Timestamp;
use serde_json::{Value, json};

/// A good pod's spec with `rest` over it.
fn spec(rest: Value) -> Value {
    let mut spec = container(json!({}));
    spec.as_object_mut()
        .unwrap()
        .extend(rest.as_object().unwrap().clone());
    spec
}

/// What is said of a pod whose spec has `rest`, without what this release refuses altogether.
#[track_caller]
fn said(rest: Value) -> Vec<String> {
    words(created("pods", pod(spec(rest))).err())
}

#[track_caller]
fn of_container(rest: Value) -> Vec<String> {
    words(created("pods", pod(container(rest))).err())
}

fn words(status: Option<Status>) -> Vec<String> {
    let causes = status
        .as_ref()
        .and_then(Status::details)
        .map(|d| d.causes.clone());
    causes
        .unwrap_or_default()
        .iter()
        .map(|c| format!("{}: {}", c.field, c.message))
        .filter(|text| !text.contains(NOT_SUPPORTED))
        .collect()
}

#[track_caller]
fn check(cases: &[(Value, &[&str])]) {
    for (rest, want) in cases {
        assert_eq!(said(rest.clone()), *want, "{rest}");
    }
}

#[track_caller]
fn check_container(cases: &[(Value, &[&str])]) {
    for (rest, want) in cases {
        assert_eq!(of_container(rest.clone()), *want, "{rest}");
    }
}

const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

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
    super::prepare(object.as_object_mut().unwrap());
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

#[test]
fn gates_names_and_numbers_in_upstreams_words() {
    check(&[
        (
            json!({"schedulingGates": [{"name": "a/b"}, {"name": "a/b"}]}),
            &["spec.schedulingGates[1]: Duplicate value: \"a/b\""],
        ),
        (
            json!({"schedulingGates": [{"name": "a/b"}], "nodeName": "n"}),
            &[
                "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared",
            ],
        ),
        (
            json!({"activeDeadlineSeconds": 0}),
            &[
                "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive",
            ],
        ),
        (
            json!({"preemptionPolicy": "Often"}),
            &[
                "spec.preemptionPolicy: Unsupported value: \"Often\": supported values: \"PreemptLowerPriority\", \"Never\"",
            ],
        ),
        (
            json!({"os": {"name": "beos"}}),
            &["spec.os: Unsupported value: \"beos\": supported values: \"linux\", \"windows\""],
        ),
        (
            json!({"dnsPolicy": "None"}),
            &["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"],
        ),
        (
            json!({"dnsConfig": {"nameservers": ["here"]}}),
            &[
                "spec.dnsConfig.nameservers[0]: Invalid value: \"here\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            ],
        ),
        (
            json!({"hostAliases": [{"ip": "::1", "hostnames": ["ok"]}, {"ip": "x"}]}),
            &[
                "spec.hostAliases[1].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            ],
        ),
        (
            json!({"hostUsers": false, "hostNetwork": true, "hostPID": true}),
            &[
                "spec.hostNetwork: Forbidden: when `pod.Spec.HostUsers` is false",
                "spec.HostPID: Forbidden: when `pod.Spec.HostUsers` is false",
            ],
        ),
        (
            json!({"ephemeralContainers": [{"name": "d", "image": "x"}]}),
            &["spec.ephemeralContainers: Forbidden: cannot be set on create"],
        ),
    ]);
    for key in [
        "serviceAccountName",
        "priorityClassName",
        "runtimeClassName",
    ] {
        let words = said(json!({key: "A"}));
        assert!(
            words[0].starts_with(&format!(
                "spec.{key}: Invalid value: \"A\": a lowercase RFC 1123 subdomain must"
            )),
            "{words:?}"
        );
    }
    let words = said(json!({"readinessGates": [{"conditionType": "-"}]}));
    assert!(words[0].starts_with(
        "spec.readinessGates[0].conditionType: Invalid value: \"-\": name part must consist of"
    ));
}

#[test]
fn probes_and_hooks_in_upstreams_words() {
    let at = "spec.containers[0]";
    let tcp = json!({"port": 80});
    for (rest, want) in [
        (
            json!({"livenessProbe": {}}),
            ".livenessProbe: Required value: must specify a handler type",
        ),
        (
            json!({"livenessProbe": {"exec": {}}}),
            ".livenessProbe.exec.command: Required value",
        ),
        (
            json!({"livenessProbe": {"exec": {"command": ["a"]}, "tcpSocket": tcp}}),
            ".livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type",
        ),
        (
            json!({"livenessProbe": {"tcpSocket": tcp, "successThreshold": 2}}),
            ".livenessProbe.successThreshold: Invalid value: 2: must be 1",
        ),
        (
            json!({"readinessProbe": {"tcpSocket": tcp, "terminationGracePeriodSeconds": 1}}),
            ".readinessProbe.terminationGracePeriodSeconds: Invalid value: 1: must not be set for readinessProbes",
        ),
        (
            json!({"startupProbe": {"tcpSocket": tcp, "periodSeconds": -1}}),
            ".startupProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            json!({"readinessProbe": {"httpGet": {"port": 0}}}),
            ".readinessProbe.httpGet.port: Invalid value: 0: must be between 1 and 65535, inclusive",
        ),
        (
            json!({"readinessProbe": {"httpGet": {"port": "web", "scheme": "FTP"}}}),
            ".readinessProbe.httpGet.scheme: Unsupported value: \"FTP\": supported values: \"HTTP\", \"HTTPS\"",
        ),
        (
            json!({"lifecycle": {"preStop": {"sleep": {"seconds": 31}}}}),
            ".lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)",
        ),
        (
            json!({"lifecycle": {"stopSignal": "SIGUSR1"}}),
            ".lifecycle.stopSignal: Forbidden: may not be set for containers with empty `spec.os.name`",
        ),
        (
            json!({"restartPolicy": "Always"}),
            ".restartPolicy: Forbidden: may not be set for non-init containers",
        ),
    ] {
        assert_eq!(
            of_container(rest.clone()),
            [format!("{at}{want}")],
            "{rest}"
        );
    }
}

#[test]
fn a_stop_signal_is_one_that_there_is() {
    let with = |signal: &str| {
        let mut spec = container(json!({"lifecycle": {"stopSignal": signal}}));
        spec["os"] = json!({"name": "linux"});
        words(created("pods", pod(spec)).err())
    };
    for fine in ["SIGUSR1", "SIGKILL", "SIGRTMIN+15", "SIGRTMAX-14"] {
        assert_eq!(with(fine), [""; 0], "{fine}");
    }
    for wrong in [
        "USR1",
        "9",
        "SIGRTMIN+16",
        "SIGRTMIN+01",
        "SIGRTMAX-0",
        "SIG",
    ] {
        let said = with(wrong);
        assert!(
            said[0].contains(".lifecycle.stopSignal: Unsupported value"),
            "{said:?}"
        );
    }
}

#[test]
fn ports_of_the_board_come_only_with_its_network() {
    let with = |host_network: bool, port: Value| {
        let mut spec = container(json!({"ports": [port]}));
        spec["hostNetwork"] = host_network.into();
        created("pods", pod(spec))
            .err()
            .map(|s| s.message().to_owned())
    };
    let declared = json!({"containerPort": 8080, "hostPort": 8080, "hostIP": "127.0.0.1"});
    assert_eq!(with(true, declared.clone()), None);
    let refused = with(false, declared).unwrap();
    for key in ["hostIP", "hostPort"] {
        let want = format!("spec.containers[0].ports[0].{key}: Forbidden: not supported");
        assert!(refused.contains(&want), "{refused}");
    }
}

#[test]
fn init_containers_in_upstreams_words() {
    let probe = json!({"tcpSocket": {"port": 1}});
    check(&[
        (
            json!({"initContainers": [{"name": "a", "image": "x"}]}),
            &["spec.initContainers[0].name: Duplicate value: \"a\""],
        ),
        (
            json!({"initContainers": [{"name": "i", "image": "x", "livenessProbe": probe}]}),
            &[
                "spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
            ],
        ),
        (
            json!({"initContainers": [{"name": "i", "image": "x", "restartPolicy": "Always", "livenessProbe": probe}]}),
            &[],
        ),
        (
            json!({"initContainers": [{"name": "i", "image": "x", "restartPolicy": "Never"}]}),
            &[
                "spec.initContainers[0].restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
            ],
        ),
    ]);
}

#[test]
fn environment_in_upstreams_words() {
    let path = "spec.containers[0].env[0].valueFrom";
    for (from, want) in [
        (
            json!({}),
            ": Invalid value: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        ),
        (
            json!({"secretKeyRef": {"name": "s", "key": ""}}),
            ".secretKeyRef.key: Required value",
        ),
        (
            json!({"fieldRef": {"fieldPath": "status.phase"}}),
            ".fieldRef.fieldPath: Unsupported value: \"status.phase\": supported values: \"metadata.name\", \"metadata.namespace\", \"metadata.uid\", \"spec.nodeName\", \"spec.serviceAccountName\", \"status.hostIP\", \"status.hostIPs\", \"status.podIP\", \"status.podIPs\"",
        ),
        (
            json!({"fieldRef": {"fieldPath": "spec.x['a']"}}),
            ".fieldRef.fieldPath: Invalid value: \"spec.x['a']\": error converting fieldPath: field label does not support subscript: spec.x['a']",
        ),
        (
            json!({"resourceFieldRef": {"resource": "limits.cpu", "divisor": "2"}}),
            ".resourceFieldRef.divisor: Invalid value: \"limits.cpu\": only divisor's values 1m and 1 are supported with the cpu resource",
        ),
    ] {
        let env = json!({"env": [{"name": "A", "valueFrom": from}]});
        assert_eq!(of_container(env), [format!("{path}{want}")], "{from}");
    }
    check_container(&[
        (
            json!({"env": [{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}),
            &[
                "spec.containers[0].env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty",
            ],
        ),
        (
            json!({"envFrom": [{"prefix": "A"}]}),
            &[
                "spec.containers[0].envFrom: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`",
            ],
        ),
    ]);
}

#[test]
fn ports_and_mounts_in_upstreams_words() {
    let volumes = json!([{"name": "v", "emptyDir": {}}]);
    let mounted = |mount: Value| {
        let mut spec = container(json!({"volumeMounts": [mount]}));
        spec["volumes"] = volumes.clone();
        words(created("pods", pod(spec)).err())
    };
    let path = "spec.containers[0].volumeMounts";
    for (rest, want) in [
        (json!({"mountPath": ""}), "[0].mountPath: Required value"),
        (
            json!({"subPath": "/etc"}),
            ".subPath: Invalid value: \"/etc\": must be a relative path",
        ),
        (
            json!({"subPath": "a/../b"}),
            ".subPath: Invalid value: \"a/../b\": must not contain '..'",
        ),
        (
            json!({"mountPropagation": "Bidirectional"}),
            ".mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers",
        ),
        (
            json!({"recursiveReadOnly": "Enabled"}),
            ".recursiveReadOnly: Forbidden: may only be specified when readOnly is true",
        ),
    ] {
        let mut mount = json!({"name": "v", "mountPath": "/v"});
        mount
            .as_object_mut()
            .unwrap()
            .extend(rest.as_object().unwrap().clone());
        assert_eq!(mounted(mount), [format!("{path}{want}")], "{rest}");
    }
    check_container(&[
        (
            json!({"ports": [{"containerPort": 1, "name": "a--b"}]}),
            &[
                "spec.containers[0].ports[0].name: Invalid value: \"a--b\": must not contain consecutive hyphens",
            ],
        ),
        (
            json!({"ports": [{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}]}),
            &["spec.containers[0].ports[1].name: Duplicate value: \"a\""],
        ),
        (
            json!({"ports": [{"containerPort": 1, "hostPort": 9}, {"containerPort": 2, "hostPort": 9}]}),
            &["spec.containers[0].ports[1].hostPort: Duplicate value: \"TCP//9\""],
        ),
        (
            json!({"ports": [{"containerPort": 1, "protocol": "ICMP"}]}),
            &[
                "spec.containers[0].ports[0].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
            ],
        ),
    ]);
    let mut host = container(json!({"ports": [{"containerPort": 1, "hostPort": 2}]}));
    host["hostNetwork"] = true.into();
    assert_eq!(
        words(created("pods", pod(host)).err()),
        [
            "spec.containers[0].ports[0].hostPort: Invalid value: 2: must match `containerPort` when `hostNetwork` is true"
        ]
    );
}

#[test]
fn resources_in_upstreams_words() {
    let path = "spec.containers[0].resources";
    let amounts = |set: &str, name: &str, amount: &str| {
        of_container(json!({"resources": {set: {name: amount}}}))
    };
    assert_eq!(
        amounts("requests", "cpu", "-1"),
        [format!(
            "{path}.requests[cpu]: Invalid value: \"-1\": must be greater than or equal to 0"
        )]
    );
    assert_eq!(
        amounts("requests", "gpu", "1")[..2],
        [
            format!(
                "{path}.requests[gpu]: Invalid value: \"gpu\": must be a standard resource type or fully qualified"
            ),
            format!(
                "{path}.requests[gpu]: Invalid value: \"gpu\": must be a standard resource for containers"
            ),
        ]
    );
    assert_eq!(
        amounts("requests", "example.com/gpu", "1500m"),
        [
            format!(
                "{path}.requests[example.com/gpu]: Invalid value: \"1500m\": must be an integer"
            ),
            format!(
                "{path}.limits: Required value: Limit must be set for non overcommitable resources"
            ),
        ]
    );
    assert_eq!(
        of_container(json!({"resources": {"requests": {"a.b/c": "1"}, "limits": {"a.b/c": "2"}}})),
        [format!(
            "{path}.requests: Invalid value: \"1\": must be equal to a.b/c limit of 2"
        )]
    );
    let (object, _) = created(
        "pods",
        pod(container(
            json!({"resources": {"requests": {"cpu": "0.0001"}}}),
        )),
    )
    .unwrap();
    assert_eq!(
        object["spec"]["containers"][0]["resources"]["requests"]["cpu"],
        "1m"
    );
}

#[test]
fn rights_in_upstreams_words() {
    let path = "spec.containers[0].securityContext";
    for (security, want) in [
        (
            json!({"runAsUser": -1}),
            ".runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
        ),
        (
            json!({"procMount": "Unmasked"}),
            ".procMount: Invalid value: \"Unmasked\": `hostUsers` must be false to use `Unmasked`",
        ),
        (
            json!({"seccompProfile": {"type": "Localhost"}}),
            ".seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost",
        ),
        (
            json!({"seccompProfile": {"type": "Some"}}),
            ".seccompProfile.type: Unsupported value: \"Some\": supported values: \"Localhost\", \"RuntimeDefault\", \"Unconfined\"",
        ),
        (
            json!({"appArmorProfile": {"type": "Unconfined", "localhostProfile": "x"}}),
            ".appArmorProfile.localhostProfile: Invalid value: \"x\": can only be set when AppArmor type is Localhost",
        ),
    ] {
        let rest = json!({"securityContext": security});
        assert_eq!(of_container(rest), [format!("{path}{want}")]);
    }
    let both = json!({"allowPrivilegeEscalation": false, "privileged": true});
    assert_eq!(
        of_container(json!({"securityContext": both})),
        [format!(
            "{path}: Invalid value: {both}: cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
        )]
    );
    let of_pod = |security: Value| said(json!({"securityContext": security}));
    assert_eq!(
        of_pod(json!({"sysctls": [
            {"name": "net/ipv4/tcp_rmem"}, {"name": "net.ipv4.tcp_wmem"},
            {"name": "net.ipv4.tcp_wmem"}, {"name": "vm.swappiness"}]})),
        [
            "spec.securityContext.sysctls[2].name: Duplicate value: \"net.ipv4.tcp_wmem\"",
            "spec.securityContext.sysctls[3].name: Forbidden: forbidden sysctl: \"vm.swappiness\" not allowlisted"
        ]
    );
    assert_eq!(
        of_pod(json!({"fsGroupChangePolicy": "Now"})),
        [
            "spec.securityContext.fsGroupChangePolicy: Unsupported value: \"Now\": supported values: \"Always\", \"OnRootMismatch\""
        ]
    );
    assert_eq!(
        of_pod(json!({"supplementalGroups": [1, -1]})),
        [
            "spec.securityContext.supplementalGroups[1]: Invalid value: -1: must be between 0 and 2147483647, inclusive"
        ]
    );
}

#[test]
fn volumes_in_upstreams_words() {
    let path = "spec.volumes[0]";
    for (source, want) in [
        (
            json!({"emptyDir": {}, "secret": {"secretName": "s"}}),
            ".secret: Forbidden: may not specify more than 1 volume type",
        ),
        (
            json!({"emptyDir": {"sizeLimit": "-1"}}),
            ".emptyDir.sizeLimit: Forbidden: SizeLimit field must be a valid resource quantity",
        ),
        (
            json!({"configMap": {"name": "c", "defaultMode": 512}}),
            ".configMap.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive",
        ),
        (
            json!({"configMap": {"name": "c", "items": [{"key": "k", "path": "..x"}]}}),
            ".configMap.items[0].path: Invalid value: \"..x\": must not start with '..'",
        ),
        (
            json!({"hostPath": {"path": "/a/../b"}}),
            ".hostPath.path: Invalid value: \"/a/../b\": must not contain '..'",
        ),
        (
            json!({"persistentVolumeClaim": {}}),
            ".persistentVolumeClaim.claimName: Required value",
        ),
        (
            json!({"downwardAPI": {"items": [{"path": "a"}]}}),
            ".downwardAPI.items[0]: Required value: one of fieldRef and resourceFieldRef is required",
        ),
        (
            json!({"projected": {"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 1}}]}}),
            ".projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes",
        ),
    ] {
        let mut volume = json!({"name": "v"});
        volume
            .as_object_mut()
            .unwrap()
            .extend(source.as_object().unwrap().clone());
        let words = said(json!({"volumes": [volume]}));
        assert_eq!(words, [format!("{path}{want}")], "{source}");
    }
}

#[test]
fn upstreams_warnings() {
    let warned = |spec: Value| -> Vec<String> {
        let template = json!({"metadata": {"annotations": {"scheduler.alpha.kubernetes.io/critical-pod": ""}}, "spec": spec});
        super::warnings(&template, "spec.template")
            .into_iter()
            .map(|w| w.text)
            .collect()
    };
    let critical = "spec.template.metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: non-functional in v1.16+; use the \"priorityClassName\" field instead";
    assert_eq!(warned(json!({})), [critical]);
    let at = "spec.template.spec";
    for (spec, want) in [
        (
            json!({"nodeSelector": {"beta.kubernetes.io/arch": "arm64"}}),
            ".nodeSelector[beta.kubernetes.io/arch]: deprecated since v1.14; use \"kubernetes.io/arch\" instead",
        ),
        (
            json!({"terminationGracePeriodSeconds": -1}),
            ".terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1",
        ),
        (
            json!({"containers": [{"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}, {"name": "A", "value": "3"}]}]}),
            ".containers[0].env[2]: hides previous definition of \"A\", which may be dropped when using apply",
        ),
        (
            json!({"containers": [{"resources": {"limits": {"memory": "100m"}}}]}),
            ".containers[0].resources.limits[memory]: fractional byte value \"100m\" is invalid, must be an integer",
        ),
        (
            json!({"containers": [{"ports": [{"containerPort": 80}]}, {"ports": [{"containerPort": 80, "protocol": "TCP"}]}]}),
            ".containers[1].ports[0]: duplicate port definition with spec.template.spec.containers[0].ports[0]",
        ),
        (
            json!({"imagePullSecrets": [{"name": "a"}, {"name": "a"}]}),
            ".imagePullSecrets[1].name: duplicate name \"a\"",
        ),
        (
            json!({"topologySpreadConstraints": [{"topologyKey": "z"}]}),
            ".topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod",
        ),
    ] {
        let words: Vec<String> = warned(spec).into_iter().filter(|w| w != critical).collect();
        assert_eq!(words, [format!("{at}{want}")]);
    }
}

#[test]
fn a_gated_pod_says_so_and_may_become_choosier() {
    let mut object = pod(spec(
        json!({"schedulingGates": [{"name": "a/b"}], "nodeSelector": {"a": "b"}}),
    ));
    super::prepare(object.as_object_mut().unwrap());
    assert_eq!(
        object["status"]["conditions"][0]["reason"],
        "SchedulingGated"
    );
    let change = |change: &dyn Fn(&mut Value)| {
        let mut new = object.clone();
        change(&mut new);
        let mut errors = crate::admit::errors::Errors::default();
        crate::admit::pod_update::validate(
            object.as_object().unwrap(),
            new.as_object().unwrap(),
            &mut errors,
        );
        words(errors.into_result(kind("pods"), "p").err())
    };
    let none: [&str; 0] = [];
    assert_eq!(change(&|p| p["spec"]["schedulingGates"] = json!([])), none);
    assert_eq!(
        change(&|p| p["spec"]["schedulingGates"] = json!([{"name": "c"}])),
        [
            "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'c'"
        ]
    );
    assert_eq!(
        change(&|p| p["spec"]["nodeSelector"]["c"] = "d".into()),
        none
    );
    assert_eq!(
        change(&|p| p["spec"]["nodeSelector"] = json!({"a": "c"})),
        [
            "spec.nodeSelector: Invalid value: {\"a\":\"c\"}: only additions to spec.nodeSelector are allowed (no mutations or deletions)"
        ]
    );
    let term = |terms: Value| json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}});
    assert_eq!(change(&|p| p["spec"]["affinity"] = term(json!([{}]))), none);
}

#[test]
fn a_pods_deadline_only_comes_nearer() {
    let with_deadline = |seconds: Value| {
        let mut spec = spec(json!({}));
        spec["activeDeadlineSeconds"] = seconds;
        json!({"spec": spec}).as_object().unwrap().clone()
    };
    let change = |from: Value, to: Value| {
        let mut errors = crate::admit::errors::Errors::default();
        crate::admit::pod_update::validate(&with_deadline(from), &with_deadline(to), &mut errors);
        words(errors.into_result(kind("pods"), "p").err())
    };
    let none: [&str; 0] = [];
    assert_eq!(change(json!(9), json!(8)), none);
    assert_eq!(
        change(json!(8), json!(9)),
        [
            "spec.activeDeadlineSeconds: Invalid value: 9: must be less than or equal to previous value"
        ]
    );
    assert_eq!(
        change(json!(8), Value::Null)[0],
        "spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value"
    );
}

#[test]
fn tolerations_are_only_added_but_their_seconds_may_change() {
    let tolerates = |seconds: i64| json!([{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}]);
    let object = || pod(spec(json!({"tolerations": tolerates(5)})));
    updated("pods", object(), |p| {
        p["spec"]["tolerations"] = tolerates(9)
    })
    .unwrap();
    let status = updated("pods", object(), |p| p["spec"]["tolerations"] = json!([])).unwrap_err();
    assert!(status.message().ends_with(
        "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"
    ));
}

#[test]
fn a_status_keeps_what_is_over() {
    let mut object = pod(spec(json!({"restartPolicy": "Never"})));
    object = created("pods", object).unwrap().0;
    object["status"] = json!({"phase": "Running", "qosClass": "BestEffort", "containerStatuses": [
        {"name": "a", "state": {"terminated": {"exitCode": 0}}}]});
    let change = |status: Value| {
        let mut new = with(object.clone(), "/status", status);
        let ctx = Update {
            now: Timestamp::default(),
            subresource: Some("status"),
        };
        update(kind("pods"), &object, &mut new, &ctx).map(|_| new)
    };
    let words = |status: Value| words(change(status).err());
    assert_eq!(
        words(json!({"containerStatuses": [{"name": "a", "state": {"running": {}}}]})),
        [
            "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"
        ]
    );
    assert_eq!(
        words(json!({"qosClass": "Guaranteed"})),
        ["status.qosClass: Invalid value: \"Guaranteed\": field is immutable"]
    );
    assert_eq!(
        words(json!({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}]})),
        [
            "status.podIPs: Invalid value: [{\"ip\":\"10.0.0.1\"},{\"ip\":\"10.0.0.2\"}]: may specify no more than one IP for each IP family"
        ]
    );
    assert_eq!(
        words(json!({"hostIP": "10.0.0.1", "hostIPs": [{"ip": "10.0.0.2"}]})),
        ["status.hostIPs[0].ip: Invalid value: \"10.0.0.2\": must be equal to `hostIP`"]
    );
    let new = change(json!({"phase": "Succeeded"})).unwrap();
    assert_eq!(new["status"]["qosClass"], "BestEffort");
}

#[test]
fn a_template_has_upstreams_paths() {
    let object = |pointer: &str, value: Value| {
        refused(
            "deployments",
            with(crate::admit::tests::deployment(), pointer, value),
        )
    };
    assert!(
        object(
            "/spec/template/metadata",
            json!({"labels": {"app": "web", "a b": "c"}})
        )
        .starts_with("spec.template.labels: Invalid value: \"a b\": name part must consist of")
    );
    assert!(
        object(
            "/spec/template/metadata/annotations",
            json!({"controller.kubernetes.io/pod-deletion-cost": "+1"})
        )
        .starts_with("spec.template.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: \"+1\": must be a 32bit integer")
    );
    assert!(
        object(
            "/spec/template/spec/ephemeralContainers",
            json!([{"name": "d", "image": "x"}])
        )
        .contains("spec.template.spec.ephemeralContainers: Forbidden: ephemeral containers not allowed in pod template")
    );
    assert!(
        object("/spec/template/spec/activeDeadlineSeconds", json!(5))
            .contains("spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported")
    );
    // Blanks around an image pass in a template, as upstream lets them.
    let mut deployment = crate::admit::tests::deployment();
    deployment["spec"]["template"]["spec"]["containers"][0]["image"] = " x".into();
    created("deployments", deployment).unwrap();
    assert_eq!(
        of_container(json!({"image": " x"})),
        [
            "spec.containers[0].image: Invalid value: \" x\": must not have leading or trailing whitespace"
        ]
    );
}

/// Far too much of anything is answered in time that grows with its size, not with its square.
#[test]
fn long_lists_take_linear_time() {
    let many = |make: &dyn Fn(usize) -> Value| (0..10_000).map(make).collect::<Value>();
    let started = std::time::Instant::now();
    let mut spec = container(json!({
        "env": many(&|n| json!({"name": format!("A{n}"), "value": "x"})),
        "volumeMounts": many(&|n| json!({"name": format!("v{n}"), "mountPath": format!("/{n}")})),
        "ports": many(&|n| json!({"containerPort": 80, "hostIP": format!("{n}"), "hostPort": n + 1})),
    }));
    spec["volumes"] = many(&|n| json!({"name": format!("v{n}")}));
    spec["tolerations"] = many(&|n| json!({"key": format!("k{n}"), "operator": "Exists"}));
    spec["topologySpreadConstraints"] = many(
        &|n| json!({"maxSkew": 1, "topologyKey": format!("k{n}"), "labelSelector": {}, "whenUnsatisfiable": "DoNotSchedule"}),
    );
    let object = pod(spec);
    let _ = created("pods", object.clone());
    let mut errors = crate::admit::errors::Errors::default();
    let mut changed = object.clone();
    changed["spec"]["nodeName"] = "n".into();
    crate::admit::pod_update::validate(
        object.as_object().unwrap(),
        changed.as_object().unwrap(),
        &mut errors,
    );
    // A square of these would take minutes.
    assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
}
