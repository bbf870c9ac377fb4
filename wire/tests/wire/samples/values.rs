//! What the stored samples say.

use std::collections::BTreeMap;

use bramble_wire::document::Digest;
use bramble_wire::message::Head;
use bramble_wire::object::{
    Container, EnvFrom, EnvFromSource, EnvValue, EnvVar, FieldFile, FieldSource, Handler,
    HostPathKind, HttpGet, KeyFile, KeyFiles, Mount, ObjectName, Pod, PodField, PodUid, Port,
    PortRef, Probe, Projection, Propagation, Protocol, PullPolicy, ResourceField, ResourceName,
    Resources, RestartPolicy, Seccomp, Security, Stop, Volume, VolumeSource,
};
use bramble_wire::report::{
    ContainerReport, ContainerState, NodeFacts, Phase, PodReport, Terminated, UnixMs,
};
use bramble_wire::version::{HistoryId, Nonce, Version};

pub(super) fn version() -> Version {
    Version {
        epoch: 2,
        term: 3,
        rev: 1_099_511_627_786,
    }
}

pub(super) fn head() -> Head {
    Head {
        version: version(),
        history: HistoryId([4; 16]),
        digest: Digest([5; 32]),
    }
}

pub(super) fn nonce() -> Nonce {
    Nonce([6; 16])
}

pub(super) fn name(name: &str) -> ObjectName {
    ObjectName {
        namespace: "default".into(),
        name: name.into(),
    }
}

pub(super) fn uid() -> PodUid {
    PodUid([7; 16])
}

pub(super) fn facts() -> NodeFacts {
    NodeFacts {
        architecture: "arm64".into(),
        kernel: "6.12.34".into(),
        os_image: "Debian GNU/Linux 12".into(),
        machine_id: "m".into(),
        boot_id: "b".into(),
        agent_version: "0.1.0".into(),
        runtime_version: "0.1.0".into(),
        address: Some([192, 168, 1, 20]),
        hostname: "board-1".into(),
        cpu_milli: 4_000,
        memory_bytes: 1 << 30,
        pods: 110,
        storage_bytes: 1 << 35,
        ..NodeFacts::default()
    }
}

pub(super) fn pod() -> Pod {
    let volume = |name: &str, source| Volume {
        name: name.into(),
        source,
    };
    let files = |name: &str| KeyFiles {
        name: name.into(),
        items: vec![KeyFile {
            key: "k".into(),
            path: "p/k".into(),
            mode: Some(0o400),
        }],
        default_mode: 0o644,
        optional: true,
    };
    let env = |name: &str, value| EnvVar {
        name: name.into(),
        value,
    };
    let key = || ("c".into(), "k".into(), true);
    let (config, config_key, optional) = key();
    let (secret, secret_key, _) = key();
    let fields = [
        PodField::Name,
        PodField::Namespace,
        PodField::Uid,
        PodField::Label("l".into()),
        PodField::Annotation("a".into()),
        PodField::NodeName,
        PodField::ServiceAccountName,
        PodField::PodIp,
        PodField::HostIp,
        PodField::PodIps,
        PodField::HostIps,
        PodField::Labels,
        PodField::Annotations,
    ];
    let mut variables = vec![
        env("A", EnvValue::Literal("$(B)".into())),
        env(
            "C",
            EnvValue::ConfigMapKey {
                name: config,
                key: config_key,
                optional,
            },
        ),
        env(
            "S",
            EnvValue::SecretKey {
                name: secret,
                key: secret_key,
                optional: false,
            },
        ),
    ];
    let amount = ResourceField {
        container: "main".into(),
        resource: ResourceName::EphemeralStorage,
        limit: true,
        divisor_milli: 1000,
    };
    variables.push(env("R", EnvValue::Resource(amount)));
    variables.extend(
        fields
            .into_iter()
            .map(|field| env("F", EnvValue::Field(field))),
    );
    let container = Container {
        name: "main".into(),
        image: "bramble.test/hello:v1".into(),
        pull_policy: PullPolicy::Never,
        command: vec!["sh".into()],
        args: vec!["-c".into()],
        working_dir: Some("/".into()),
        env_from: vec![
            EnvFrom {
                prefix: "P_".into(),
                source: EnvFromSource::ConfigMap("c".into()),
                optional: true,
            },
            EnvFrom {
                prefix: String::new(),
                source: EnvFromSource::Secret("s".into()),
                optional: false,
            },
        ],
        env: variables,
        resources: Resources {
            cpu_request_milli: Some(50),
            cpu_limit_milli: None,
            memory_request_bytes: Some(1 << 24),
            memory_limit_bytes: Some(1 << 26),
            ..Resources::default()
        },
        security: Security {
            run_as_user: Some(1000),
            run_as_group: Some(1001),
            run_as_non_root: true,
            supplemental_groups: vec![5],
            privileged: false,
            allow_privilege_escalation: true,
            read_only_root: true,
            capabilities_add: vec!["NET_ADMIN".into()],
            capabilities_drop: vec!["ALL".into()],
            seccomp: Seccomp::Localhost("a.json".into()),
            proc_unmasked: true,
        },
        mounts: vec![Mount {
            volume: "v".into(),
            path: "/v".into(),
            sub_path: "s".into(),
            read_only: true,
            sub_path_expr: "$(A)".into(),
            propagation: Propagation::Bidirectional,
            recursive_read_only: true,
        }],
        termination_message_path: "/dev/termination-log".into(),
        tty: false,
        stdin: true,
        stdin_once: true,
        sidecar: false,
        target: None,
        termination_message_from_logs: true,
        ports: vec![Port {
            name: "web".into(),
            port: 80,
            protocol: Protocol::Sctp,
            host_port: 8080,
            host_ip: "10.0.0.1".into(),
        }],
        liveness: Some(probe(Handler::Exec(vec!["true".into()]))),
        readiness: Some(probe(Handler::Http(HttpGet {
            host: "h".into(),
            port: PortRef::Name("web".into()),
            path: "/".into(),
            https: true,
            headers: vec![("Host".into(), "x".into())],
        }))),
        startup: Some(probe(Handler::Grpc {
            port: 9,
            service: "s".into(),
        })),
        post_start: Some(Handler::Tcp {
            host: String::new(),
            port: PortRef::Number(80),
        }),
        pre_stop: Some(Handler::Sleep { seconds: 5 }),
        stop_signal: Some("SIGUSR1".into()),
    };
    Pod {
        uid: uid(),
        name: name("hello"),
        labels: BTreeMap::from([("app".into(), "hello".into())]),
        annotations: BTreeMap::from([("a".into(), "b".into())]),
        hostname: "hello".into(),
        restart_policy: RestartPolicy::OnFailure,
        termination_grace_s: 30,
        stop: Some(Stop { grace_s: 5 }),
        host_network: false,
        service_account: "default".into(),
        containers: vec![container],
        volumes: vec![
            volume(
                "e",
                VolumeSource::EmptyDir {
                    memory: true,
                    size_limit_bytes: Some(1),
                },
            ),
            volume("c", VolumeSource::ConfigMap(files("c"))),
            volume("s", VolumeSource::Secret(files("s"))),
            volume(
                "h",
                VolumeSource::HostPath {
                    path: "/dev".into(),
                    kind: HostPathKind::BlockDevice,
                },
            ),
            volume(
                "d",
                VolumeSource::DownwardApi {
                    items: vec![field_file(FieldSource::Resource(amount_of_cpu()))],
                    default_mode: 0o444,
                },
            ),
            volume(
                "p",
                VolumeSource::Projected {
                    sources: vec![
                        Projection::ConfigMap(files("c")),
                        Projection::Secret(files("s")),
                        Projection::DownwardApi(vec![field_file(FieldSource::Field(
                            PodField::Labels,
                        ))]),
                        Projection::Token {
                            audience: "vault".into(),
                            expiration_s: 3607,
                            path: "token".into(),
                        },
                    ],
                    default_mode: 0o400,
                },
            ),
        ],
        init_containers: vec![Container {
            name: "init".into(),
            sidecar: true,
            ..Container::default()
        }],
        ephemeral_containers: vec![Container {
            name: "debug".into(),
            target: Some("main".into()),
            ..Container::default()
        }],
        active_deadline_s: Some(60),
        share_process_namespace: true,
        host_pid: true,
        host_ipc: true,
        sysctls: vec![("net.ipv4.tcp_rmem".into(), "1".into())],
        fs_group: Some(7),
        fs_group_on_root_mismatch: true,
        host_aliases: vec![("10.0.0.9".into(), vec!["a".into()])],
        pull_secrets: vec!["r".into()],
        once: true,
    }
}

fn probe(handler: Handler) -> Probe {
    Probe {
        handler,
        initial_delay_s: 1,
        timeout_s: 2,
        period_s: 3,
        success_threshold: 4,
        failure_threshold: 5,
        termination_grace_s: Some(6),
    }
}

fn amount_of_cpu() -> ResourceField {
    ResourceField {
        container: String::new(),
        resource: ResourceName::Cpu,
        limit: false,
        divisor_milli: 1,
    }
}

fn field_file(value: FieldSource) -> FieldFile {
    FieldFile {
        path: "f".into(),
        value,
        mode: Some(0o440),
    }
}

fn terminated() -> Terminated {
    Terminated {
        exit_code: 137,
        signal: 9,
        reason: "OOMKilled".into(),
        message: "m".into(),
        started: UnixMs(1),
        finished: UnixMs(2),
        container_id: "bramble://x".into(),
    }
}

pub(super) fn pod_report() -> PodReport {
    let container = |state, last| ContainerReport {
        name: "main".into(),
        state,
        last,
        restarts: 3,
        ready: true,
        started: true,
        image: "i".into(),
        image_id: "sha256:0".into(),
        container_id: "bramble://y".into(),
    };
    let waiting = ContainerState::Waiting {
        reason: "CrashLoopBackOff".into(),
        message: "m".into(),
    };
    PodReport {
        uid: uid(),
        phase: Phase::Running,
        reason: "r".into(),
        message: "m".into(),
        pod_ip: Some([10, 42, 0, 7]),
        started: UnixMs(1_700_000_000_000),
        containers: vec![
            container(
                ContainerState::Running { started: UnixMs(3) },
                Some(terminated()),
            ),
            container(waiting, None),
            container(ContainerState::Terminated(terminated()), None),
        ],
        unclaimed: true,
        name: Some(name("web")),
        ..PodReport::default()
    }
}
