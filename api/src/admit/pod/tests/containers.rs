//! What runs in a pod.

use super::*;

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
