//! One stored sample of every message and object, in `tests/compat/wire-v1`: the bytes of a released
//! version must decode to the same value for ever. `BRAMBLE_BLESS=1` writes the samples of messages
//! that have none yet; an existing one is never overwritten.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;

use bramble_wire::document::{Digest, IndexEntry};
use bramble_wire::envelope::{self, KeyId, Message, Sequence};
use bramble_wire::message::{
    Answer, Ask, Birth, Body, ControllerState, Head, Life, ObjectBody, Report, Request, Response,
    Sum,
};
use bramble_wire::name::{ClusterId, NodeName};
use bramble_wire::object::{
    Cidr, ConfigMap, Container, EnvFrom, EnvFromSource, EnvValue, EnvVar, FieldFile, FieldSource,
    Handler, HostPathKind, HttpGet, KeyFile, KeyFiles, Mount, NodeConfig, Object, ObjectId,
    ObjectName, Pod, PodField, PodUid, Port, PortRef, Probe, Projection, Propagation, Protocol,
    PullPolicy, ResourceField, ResourceName, Resources, RestartPolicy, SealedSecret, Seccomp,
    SecretData, Security, Stop, Token, Tokens, Volume, VolumeSource,
};
use bramble_wire::report::{
    ContainerReport, ContainerState, NodeFacts, Phase, PodReport, Terminated, UnixMs,
};
use bramble_wire::seal::{self, Binding, SealingSecret};
use bramble_wire::stream::{self, In, Logs, Out, Stdio, StreamError, What};
use bramble_wire::version::{Boot, HistoryId, Nonce, Version};
use ed25519_dalek::SigningKey;
use serde::Serialize;
use serde::de::DeserializeOwned;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/compat/wire-v1")
}

fn stored(name: &str, bytes: &[u8]) -> Vec<u8> {
    let path = folder().join(format!("{name}.bin"));
    if !path.exists() && std::env::var_os("BRAMBLE_BLESS").is_some() {
        std::fs::create_dir_all(folder()).unwrap();
        std::fs::write(&path, bytes).unwrap();
    }
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The stored bytes mean `value`, and `value` is written as the stored bytes.
fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(name: &str, value: &T) {
    let now = bramble_wire::encode(value);
    let stored = stored(name, &now);
    let read: T = bramble_wire::decode(&stored, "sample").unwrap_or_else(|e| panic!("{name}: {e}"));
    assert_eq!(&read, value, "{name} means something else now");
    assert_eq!(stored, now, "{name} is written in another way now");
}

fn version() -> Version {
    Version {
        epoch: 2,
        term: 3,
        rev: 1_099_511_627_786,
    }
}

fn head() -> Head {
    Head {
        version: version(),
        history: HistoryId([4; 16]),
        digest: Digest([5; 32]),
    }
}

fn nonce() -> Nonce {
    Nonce([6; 16])
}

fn name(name: &str) -> ObjectName {
    ObjectName {
        namespace: "default".into(),
        name: name.into(),
    }
}

fn uid() -> PodUid {
    PodUid([7; 16])
}

fn facts() -> NodeFacts {
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

fn pod() -> Pod {
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

fn pod_report() -> PodReport {
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
        ..PodReport::default()
    }
}

#[test]
fn every_message_of_version_1_loads() {
    check("head", &head());
    for (label, ask) in [
        (
            "index",
            Ask::Index {
                version: Some(version()),
                from: 7,
            },
        ),
        (
            "objects",
            Ask::Objects {
                version: version(),
                ids: vec![ObjectId::Pod(uid())],
            },
        ),
        (
            "chunk",
            Ask::Chunk {
                version: version(),
                id: ObjectId::ConfigMap(name("c")),
                index: 2,
            },
        ),
    ] {
        check(
            &format!("request-{label}"),
            &Request {
                nonce: nonce(),
                ask,
            },
        );
    }
    let entry = IndexEntry::of(ObjectId::Secret(name("s")), 12, b"");
    let body = |body| ObjectBody {
        id: ObjectId::Pod(uid()),
        revision: 12,
        body,
    };
    for (label, answer) in [
        (
            "welcome",
            Answer::Welcome {
                session: nonce(),
                head: head(),
                unix_s: 1_800_000_000,
            },
        ),
        (
            "index",
            Answer::Index {
                head: head(),
                total: 9,
                from: 7,
                entries: vec![entry],
            },
        ),
        (
            "objects",
            Answer::Objects(vec![
                body(Body::Whole(vec![1, 2])),
                body(Body::Chunked { len: 70_000 }),
                body(Body::Missing),
            ]),
        ),
        (
            "chunk",
            Answer::Chunk {
                id: ObjectId::Node,
                revision: 1,
                index: 2,
                bytes: vec![3],
            },
        ),
        ("superseded", Answer::Superseded(head())),
        (
            "report-ack",
            Answer::ReportAck {
                number: 4,
                forget: vec![uid()],
            },
        ),
        ("announce", Answer::Announce),
    ] {
        check(
            &format!("response-{label}"),
            &Response {
                nonce: nonce(),
                answer,
            },
        );
    }
    check(
        "birth",
        &Birth {
            boot: Boot(8),
            connection: Nonce([9; 16]),
            nonce: nonce(),
            schemas: (1, 1),
            have: Some((version(), HistoryId([4; 16]))),
            digest: Digest([5; 32]),
            facts: facts(),
        },
    );
    check(
        "life-lost",
        &Life::Lost {
            boot: Boot(8),
            connection: nonce(),
        },
    );
    check(
        "life-bye",
        &Life::Bye {
            boot: Boot(8),
            connection: nonce(),
        },
    );
    check(
        "sum",
        &Sum {
            session: nonce(),
            accepted: Some(version()),
            digest: Digest([5; 32]),
            observed: Digest([6; 32]),
        },
    );
    check(
        "report",
        &Report {
            session: nonce(),
            number: 5,
            full: true,
            more: false,
            accepted: Some(version()),
            converged: None,
            pods: vec![pod_report()],
            facts: Some(facts()),
            first_event: 0,
            events: Vec::new(),
            usage: None,
            rejected: "because".into(),
        },
    );
    check(
        "controller-state",
        &ControllerState {
            epoch: 2,
            term: 3,
            boot: Boot(4),
            history: HistoryId([4; 16]),
            online: true,
        },
    );
    let logs = Logs {
        pod: uid(),
        container: "main".into(),
        follow: true,
        previous: true,
        timestamps: true,
        tail_lines: Some(10),
        since_unix_s: Some(-1),
        limit_bytes: Some(1),
    };
    check(
        "stream-open",
        &stream::Open {
            boot: Boot(8),
            credit: 65_536,
            what: What::Logs(logs),
        },
    );
    check("stream-in-credit", &In::Credit(100_000));
    check("stream-in-close", &In::Close);
    check(
        "stream-out-data",
        &Out::Data {
            offset: 9,
            bytes: vec![1],
        },
    );
    for (label, error) in [
        ("end", None),
        ("not-found", Some(StreamError::NotFound("p".into()))),
        ("unavailable", Some(StreamError::Unavailable("p".into()))),
        ("failed", Some(StreamError::Failed("p".into()))),
    ] {
        check(
            &format!("stream-out-{label}"),
            &Out::End { offset: 9, error },
        );
    }
}

#[test]
fn every_stream_of_version_1_loads() {
    let stdio = Stdio {
        stdin: true,
        stdout: true,
        stderr: false,
        tty: true,
    };
    let (pod, container) = (uid(), String::from("main"));
    let command = vec!["sh".into(), "-c".into()];
    for (label, what) in [
        (
            "exec",
            What::Exec(stream::Exec {
                pod,
                container: container.clone(),
                command,
                stdio,
            }),
        ),
        (
            "attach",
            What::Attach(stream::Attach {
                pod,
                container,
                stdio,
            }),
        ),
        (
            "forward",
            What::Forward(stream::Forward {
                pod,
                ports: vec![80],
            }),
        ),
    ] {
        let open = stream::Open {
            boot: Boot(8),
            credit: 16_384,
            what,
        };
        check(&format!("stream-open-{label}"), &open);
    }
    let (channel, offset, bytes) = (2, 9, vec![1, 2]);
    let data = In::Data {
        channel,
        offset,
        bytes: bytes.clone(),
    };
    for (label, input) in [
        ("data", data),
        ("end", In::End { channel, offset }),
        (
            "resize",
            In::Resize {
                columns: 101,
                rows: 40,
            },
        ),
        ("connect", In::Connect { channel, port: 80 }),
        (
            "channel-credit",
            In::ChannelCredit {
                channel,
                credit: 32_768,
            },
        ),
        ("disconnect", In::Disconnect { channel }),
    ] {
        check(&format!("stream-in-{label}"), &input);
    }
    let error = Some(StreamError::Failed("p".into()));
    for (label, out) in [
        (
            "credit",
            Out::Credit {
                channel,
                credit: 32_768,
            },
        ),
        (
            "channel-data",
            Out::ChannelData {
                channel,
                offset,
                bytes,
            },
        ),
        (
            "channel-end",
            Out::ChannelEnd {
                channel,
                offset,
                error,
            },
        ),
        ("exit", Out::Exit { code: 137 }),
        ("ready", Out::Ready),
    ] {
        check(&format!("stream-out-{label}"), &out);
    }
}

#[test]
fn every_object_of_version_1_loads() {
    let config = NodeConfig {
        pod_cidr: Cidr {
            address: [10, 42, 0, 0],
            prefix: 24,
        },
        service_cidr: Cidr {
            address: [10, 43, 0, 0],
            prefix: 16,
        },
        confirmed_epoch: 2,
    };
    check("object-node", &Object::Node(config));
    check("object-pod", &Object::Pod(pod()));
    let data = BTreeMap::from([("k".to_owned(), b"v".to_vec())]);
    let map = ConfigMap {
        name: name("c"),
        data: data.clone(),
    };
    check("object-configmap", &Object::ConfigMap(map));

    // A seal is opened, not compared: what was sealed then must open now.
    let (secret, public) = SealingSecret::from_seed(&[1; 32]);
    let (cluster, node) = (ClusterId::new("c1").unwrap(), NodeName::new("n1").unwrap());
    let id = ObjectId::Secret(name("s"));
    let binding = Binding {
        cluster: &cluster,
        node: &node,
        id: &id,
        revision: 12,
    };
    let plain = SecretData(data);
    let sealed = seal::seal(&public, binding, &bramble_wire::encode(&plain), &[2; 32]).unwrap();
    let object = Object::Secret(SealedSecret {
        name: name("s"),
        sealed,
    });
    let bytes = stored("object-secret", &bramble_wire::encode(&object));
    let Object::Secret(read) = bramble_wire::decode(&bytes, "sample").unwrap() else {
        panic!("object-secret is no Secret now");
    };
    let opened = seal::open(&secret, binding, &read.sealed).unwrap();
    assert_eq!(
        bramble_wire::decode::<SecretData>(&opened, "data").unwrap(),
        plain
    );

    let id = ObjectId::Tokens(uid());
    let binding = Binding { id: &id, ..binding };
    let plain = Tokens(vec![Token {
        audience: "vault".into(),
        expiration_s: 3607,
        token: "t".into(),
        expires_unix_s: 9,
    }]);
    let sealed = seal::seal(&public, binding, &bramble_wire::encode(&plain), &[2; 32]).unwrap();
    let bytes = stored(
        "object-tokens",
        &bramble_wire::encode(&Object::Tokens(sealed)),
    );
    let Object::Tokens(read) = bramble_wire::decode(&bytes, "sample").unwrap() else {
        panic!("object-tokens are no tokens now");
    };
    let opened = seal::open(&secret, binding, &read).unwrap();
    assert_eq!(
        bramble_wire::decode::<Tokens>(&opened, "tokens").unwrap(),
        plain
    );
}

#[test]
fn a_signed_packet_of_version_1_opens() {
    let key = SigningKey::from_bytes(&[3; 32]);
    let me = KeyId([4; 8]);
    let sequence = Sequence {
        epoch: 2,
        boot: Boot(4),
        seq: 5,
    };
    let topic = "bramble/v1/c1/nodes/n1/d/head";
    let now = envelope::sign(&key, topic, me, sequence, &head()).unwrap();
    let stored = stored("packet", &now);
    assert_eq!(stored, now, "Ed25519 signatures are deterministic");
    let opened = envelope::open::<Head>(&stored, topic, me, &key.verifying_key()).unwrap();
    assert_eq!((opened.message, opened.sequence), (head(), sequence));
}

#[test]
fn every_kind_keeps_its_number() {
    fn number<M: Message>() -> Vec<u8> {
        bramble_wire::encode(&M::KIND)
    }
    let numbers = [
        number::<Head>(),
        number::<Request>(),
        number::<Response>(),
        number::<Birth>(),
        number::<Life>(),
        number::<Sum>(),
        number::<Report>(),
        number::<stream::Open>(),
        number::<In>(),
        number::<Out>(),
        number::<ControllerState>(),
    ];
    let expected: Vec<_> = (0..11u8).map(|n| vec![n]).collect();
    assert_eq!(numbers.to_vec(), expected);
}
