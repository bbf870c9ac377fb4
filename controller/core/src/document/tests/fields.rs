//! Every field of a manifest arrives in the wire's pod.

use bramble_wire::object::{
    Container, FieldFile, FieldSource, Handler, HostPathKind, HttpGet, KeyFile, KeyFiles, Mount,
    Port, PortRef, Probe, Propagation, Protocol, ResourceField, ResourceName, Seccomp,
};
use serde_json::{Value, json};

use super::super::tokens::{Wanted, wanted};
use super::*;

fn container(fields: Value) -> Container {
    let mut container = json!({"name": "c", "image": "i"});
    let map = container.as_object_mut().unwrap();
    map.extend(fields.as_object().unwrap().clone());
    compiled(json!({"containers": [container]}))
        .containers
        .remove(0)
}

#[test]
fn the_pods_own_settings_reach_the_node() {
    let pod = compiled(json!({
        "activeDeadlineSeconds": 90, "shareProcessNamespace": true, "hostPID": true,
        "hostIPC": true, "hostNetwork": true,
        "hostAliases": [{"ip": "10.0.0.9", "hostnames": ["a", "b.c"]}],
        "imagePullSecrets": [{"name": "r"}, {}],
        "securityContext": {"fsGroup": 7, "fsGroupChangePolicy": "OnRootMismatch",
            "sysctls": [{"name": "net.core.somaxconn", "value": "9"},
                {"name": "net/ipv4/conf/eth0.1/rp_filter", "value": "1"}]},
    }));
    assert_eq!(pod.active_deadline_s, Some(90));
    assert!(pod.share_process_namespace && pod.host_pid && pod.host_ipc && pod.host_network);
    let names = vec!["a".to_owned(), "b.c".to_owned()];
    assert_eq!(pod.host_aliases, [("10.0.0.9".to_owned(), names)]);
    assert_eq!(pod.pull_secrets, ["r"]);
    assert_eq!(
        (pod.fs_group, pod.fs_group_on_root_mismatch),
        (Some(7), true)
    );
    let sysctl = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        pod.sysctls,
        [
            sysctl("net.core.somaxconn", "9"),
            sysctl("net.ipv4.conf.eth0/1.rp_filter", "1"),
        ]
    );
}

#[test]
fn containers_of_every_kind_reach_the_node() {
    let pod = compiled(json!({
        "initContainers": [{"name": "i", "image": "i"},
            {"name": "s", "image": "i", "restartPolicy": "Always"}],
        "containers": [{"name": "c", "image": "i", "stdin": true, "stdinOnce": true, "tty": true,
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "ports": [{"name": "web", "containerPort": 80, "hostPort": 8080, "hostIP": "10.0.0.1"},
                {"containerPort": 53, "protocol": "UDP"}]}],
        "ephemeralContainers": [{"name": "e", "image": "i", "targetContainerName": "c",
            "command": ["a"], "args": ["b"], "imagePullPolicy": "Always", "workingDir": "/w",
            "terminationMessagePath": "/t"}],
    }));
    let sidecars: Vec<_> = pod.init_containers.iter().map(|c| c.sidecar).collect();
    assert_eq!(sidecars, [false, true]);
    let main = &pod.containers[0];
    assert!(main.stdin && main.stdin_once && main.tty && main.termination_message_from_logs);
    let port = |name: &str, port, protocol, host_port, host_ip: &str| Port {
        name: name.into(),
        port,
        protocol,
        host_port,
        host_ip: host_ip.into(),
    };
    assert_eq!(
        main.ports,
        [
            port("web", 80, Protocol::Tcp, 8080, "10.0.0.1"),
            port("", 53, Protocol::Udp, 0, ""),
        ]
    );
    let debug = &pod.ephemeral_containers[0];
    assert_eq!(
        (
            debug.target.as_deref(),
            &debug.command[..],
            &debug.args[..],
            debug.pull_policy,
            debug.working_dir.as_deref(),
            debug.termination_message_path.as_str(),
        ),
        (
            Some("c"),
            &["a".to_owned()][..],
            &["b".to_owned()][..],
            PullPolicy::Always,
            Some("/w"),
            "/t",
        )
    );
    assert_eq!(
        refused(json!({"containers": [{"name": "c", "restartPolicy": "Always"}]})),
        "restartPolicy of container \"c\" is not supported"
    );
}

#[test]
fn probes_and_hooks_reach_the_node() {
    let container = container(json!({
        "livenessProbe": {"exec": {"command": ["a", "b"]}},
        "readinessProbe": {
            "httpGet": {"host": "h", "port": "web", "path": "p?q", "scheme": "HTTPS",
                "httpHeaders": [{"name": "X", "value": "y"}]},
            "initialDelaySeconds": 1, "timeoutSeconds": 2, "periodSeconds": 3,
            "successThreshold": 4, "failureThreshold": 5, "terminationGracePeriodSeconds": 6},
        "startupProbe": {"tcpSocket": {"port": 80}},
        "lifecycle": {
            "postStart": {"httpGet": {"port": 80}},
            "preStop": {"sleep": {"seconds": 5}},
            "stopSignal": "SIGUSR1"},
    }));
    let probe = |handler| Probe {
        handler,
        initial_delay_s: 0,
        timeout_s: 1,
        period_s: 10,
        success_threshold: 1,
        failure_threshold: 3,
        termination_grace_s: None,
    };
    let get = HttpGet {
        host: "h".into(),
        port: PortRef::Name("web".into()),
        path: "/p?q".into(),
        https: true,
        headers: vec![("X".into(), "y".into())],
    };
    let plain = HttpGet {
        host: String::new(),
        port: PortRef::Number(80),
        path: "/".into(),
        https: false,
        headers: Vec::new(),
    };
    let exec = Handler::Exec(vec!["a".into(), "b".into()]);
    assert_eq!(container.liveness, Some(probe(exec)));
    assert_eq!(
        container.readiness,
        Some(Probe {
            handler: Handler::Http(get),
            initial_delay_s: 1,
            timeout_s: 2,
            period_s: 3,
            success_threshold: 4,
            failure_threshold: 5,
            termination_grace_s: Some(6),
        })
    );
    let tcp = Handler::Tcp {
        host: String::new(),
        port: PortRef::Number(80),
    };
    assert_eq!(container.startup, Some(probe(tcp)));
    assert_eq!(container.post_start, Some(Handler::Http(plain)));
    assert_eq!(container.pre_stop, Some(Handler::Sleep { seconds: 5 }));
    assert_eq!(container.stop_signal.as_deref(), Some("SIGUSR1"));
    for (probe, want) in [
        (json!({}), "a probe without one handler is not supported"),
        (
            json!({"exec": {}, "grpc": {"port": 1}}),
            "a probe without one handler is not supported",
        ),
        (json!({"grpc": {"port": 70000}}), "a port is out of range"),
    ] {
        let spec = json!({"containers": [{"name": "c", "livenessProbe": probe}]});
        assert_eq!(refused(spec), want);
    }
    let grpc = self::container(json!({"livenessProbe": {"grpc": {"port": 9, "service": "s"}}}));
    let health = Handler::Grpc {
        port: 9,
        service: "s".into(),
    };
    assert_eq!(grpc.liveness, Some(probe(health)));
}

#[test]
fn system_calls_are_filtered_as_the_container_says_or_else_its_pod() {
    let seccomp = |pod: Value, container: Value, privileged: bool| {
        let pod = compiled(json!({
            "securityContext": {"seccompProfile": pod},
            "containers": [{"name": "c", "securityContext":
                {"privileged": privileged, "seccompProfile": container}}],
        }));
        pod.containers[0].security.seccomp.clone()
    };
    let default = || json!({"type": "RuntimeDefault"});
    let local = || json!({"type": "Localhost", "localhostProfile": "a/b.json"});
    let none = Value::Null;
    for (pod, container, privileged, want) in [
        (none.clone(), none.clone(), false, Seccomp::Unconfined),
        (default(), none.clone(), false, Seccomp::RuntimeDefault),
        (none.clone(), default(), false, Seccomp::RuntimeDefault),
        (
            default(),
            local(),
            false,
            Seccomp::Localhost("a/b.json".into()),
        ),
        (default(), none.clone(), true, Seccomp::Unconfined),
        (
            default(),
            json!({"type": "Unconfined"}),
            false,
            Seccomp::Unconfined,
        ),
    ] {
        assert_eq!(seccomp(pod, container, privileged), want);
    }
    for path in ["", "/etc/passwd", "../x"] {
        let profile = json!({"type": "Localhost", "localhostProfile": path});
        let spec = json!({"containers": [{"securityContext": {"seccompProfile": profile}}]});
        let want = format!("seccompProfile \"Localhost\" \"{path}\" is not supported");
        assert_eq!(refused(spec), want);
    }
}

#[test]
fn proc_is_shown_whole_only_where_it_is_asked_for() {
    let shown = |proc_mount: &str| {
        container(json!({"securityContext": {"procMount": proc_mount}}))
            .security
            .proc_unmasked
    };
    assert_eq!(["", "Default", "Unmasked"].map(shown), [false, false, true]);
}

fn files(name: &str, optional: bool) -> KeyFiles {
    KeyFiles {
        name: name.into(),
        items: vec![KeyFile {
            key: "k".into(),
            path: "p".into(),
            mode: Some(0o600),
        }],
        default_mode: 0o400,
        optional,
    }
}

#[test]
fn volumes_of_every_kind_reach_the_node() {
    let items = json!([{"key": "k", "path": "p", "mode": 0o600}]);
    let limit = json!({"containerName": "c", "resource": "limits.memory", "divisor": "1Mi"});
    let pod = compiled(json!({"volumes": [
        {"name": "a", "hostPath": {"path": "/dev/null", "type": "CharDevice"}},
        {"name": "b", "downwardAPI": {"defaultMode": 0o440, "items": [
            {"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}},
            {"path": "m", "resourceFieldRef": limit, "mode": 0o444}]}},
        {"name": "c", "projected": {"defaultMode": 0o400, "sources": [
            {"configMap": {"name": "m", "items": items}},
            {"secret": {"name": "s", "items": items, "optional": true}},
            {"downwardAPI": {"items": [
                {"path": "a", "fieldRef": {"fieldPath": "metadata.annotations"}}]}},
            {"serviceAccountToken": {"path": "t", "audience": "vault", "expirationSeconds": 900}},
            {"serviceAccountToken": {"path": "u"}},
            {}]}},
    ]}));
    let field = |path: &str, value, mode| FieldFile {
        path: path.into(),
        value,
        mode,
    };
    let token = |audience: &str, expiration_s, path: &str| Projection::Token {
        audience: audience.into(),
        expiration_s,
        path: path.into(),
    };
    let memory = FieldSource::Resource(ResourceField {
        container: "c".into(),
        resource: ResourceName::Memory,
        limit: true,
        divisor_milli: 1000 << 20,
    });
    let annotations = FieldSource::Field(PodField::Annotations);
    let sources: Vec<_> = pod.volumes.into_iter().map(|v| v.source).collect();
    assert_eq!(
        sources,
        [
            VolumeSource::HostPath {
                path: "/dev/null".into(),
                kind: HostPathKind::CharDevice,
            },
            VolumeSource::DownwardApi {
                items: vec![
                    field("l", FieldSource::Field(PodField::Labels), None),
                    field("m", memory, Some(0o444)),
                ],
                default_mode: 0o440,
            },
            VolumeSource::Projected {
                sources: vec![
                    Projection::ConfigMap(files("m", false)),
                    Projection::Secret(files("s", true)),
                    Projection::DownwardApi(vec![field("a", annotations, None)]),
                    token("vault", 900, "t"),
                    token("", 3600, "u"),
                ],
                default_mode: 0o400,
            },
        ]
    );
    for (volume, want) in [
        (
            json!({"name": "v", "hostPath": {"path": "/", "type": "x"}}),
            "hostPath of type \"x\" is not supported",
        ),
        (
            json!({"name": "v", "hostPath": {"path": "/"}, "emptyDir": {}}),
            "source of volume \"v\" is not supported",
        ),
        (
            json!({"name": "v", "downwardAPI": {"items": [{"path": "p"}]}}),
            "source of file \"p\" is not supported",
        ),
    ] {
        assert_eq!(refused(json!({"volumes": [volume]})), want);
    }
}

#[test]
fn mounts_keep_what_they_say() {
    let container = container(json!({"volumeMounts": [
        {"name": "v", "mountPath": "/v", "subPathExpr": "$(A)/x", "readOnly": true,
            "recursiveReadOnly": "IfPossible", "mountPropagation": "None"},
        {"name": "w", "mountPath": "/w", "mountPropagation": "HostToContainer"},
        {"name": "w", "mountPath": "/x", "mountPropagation": "Bidirectional",
            "recursiveReadOnly": "Disabled"},
    ]}));
    assert_eq!(
        container.mounts[0],
        Mount {
            volume: "v".into(),
            path: "/v".into(),
            sub_path_expr: "$(A)/x".into(),
            read_only: true,
            recursive_read_only: true,
            ..Mount::default()
        }
    );
    let rest = container.mounts[1..].iter();
    let rest: Vec<_> = rest
        .map(|m| (m.propagation, m.recursive_read_only))
        .collect();
    assert_eq!(
        rest,
        [
            (Propagation::HostToContainer, false),
            (Propagation::Bidirectional, false),
        ]
    );
}

#[test]
fn amounts_and_addresses_reach_the_environment() {
    let resource = |resource: &str, divisor: &str| {
        let field = json!({"resource": resource, "divisor": divisor, "containerName": "d"});
        json!({"name": "A", "valueFrom": {"resourceFieldRef": field}})
    };
    let container = container(json!({"env": [
        resource("limits.cpu", "1m"),
        resource("requests.ephemeral-storage", "0"),
        {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "status.podIPs"}}},
        {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIPs"}}},
    ]}));
    let amount = |resource, limit, divisor_milli| {
        EnvValue::Resource(ResourceField {
            container: "d".into(),
            resource,
            limit,
            divisor_milli,
        })
    };
    let values: Vec<_> = container.env.into_iter().map(|e| e.value).collect();
    assert_eq!(
        values,
        [
            amount(ResourceName::Cpu, true, 1),
            amount(ResourceName::EphemeralStorage, false, 1000),
            EnvValue::Field(PodField::PodIps),
            EnvValue::Field(PodField::HostIps),
        ]
    );
    let labels = json!({"fieldRef": {"fieldPath": "metadata.labels"}});
    assert_eq!(
        refused(json!({"containers": [{"env": [{"name": "A", "valueFrom": labels}]}]})),
        "fieldPath \"metadata.labels\" is not supported",
        "that is for files"
    );
}

#[test]
fn everything_that_a_pod_names_is_referred_to() {
    let map = |name: &str| json!({"name": "c", "envFrom": [{"configMapRef": {"name": name}}]});
    let pod = compiled(json!({
        "imagePullSecrets": [{"name": "pull"}],
        "initContainers": [map("init")], "containers": [map("main")],
        "ephemeralContainers": [map("debug")],
        "volumes": [{"name": "v", "projected": {"sources": [
            {"configMap": {"name": "projected"}}, {"secret": {"name": "projected"}},
            {"serviceAccountToken": {"path": "a", "expirationSeconds": 3607}},
            {"serviceAccountToken": {"path": "b", "expirationSeconds": 3607}},
        ]}}],
    }));
    let mut references = BTreeSet::new();
    refer(&pod, &mut references);
    let names: Vec<_> = references.iter().map(ToString::to_string).collect();
    let tokens = format!("tokens/{UID}");
    assert_eq!(
        names,
        [
            "configmap/d/debug",
            "configmap/d/init",
            "configmap/d/main",
            "configmap/d/projected",
            "secret/d/projected",
            "secret/d/pull",
            tokens.as_str(),
        ]
    );
    let api = Wanted {
        audience: String::new(),
        expiration_s: 3607,
    };
    assert_eq!(wanted(&pod), BTreeSet::from([api]), "each once");
}
