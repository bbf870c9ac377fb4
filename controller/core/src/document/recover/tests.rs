use bramble_api::admit;
use bramble_api::kind::{KINDS, Kind};
use bramble_api::time::Timestamp;
use bramble_api::view::FullPod;
use bramble_wire::object::{
    FieldFile, FieldSource, HostPathKind, HttpGet, KeyFile, KeyFiles, Mount, ObjectName, PodUid,
    Projection, Propagation, Volume, VolumeSource,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::super::compile_pod;
use super::*;

fn kind() -> &'static Kind {
    KINDS.iter().find(|kind| kind.kind == "Pod").expect("pods")
}

/// As it is stored: with everything that the API fills in.
fn admitted(pod: &Pod) -> Value {
    let mut object = super::pod(pod, "pi-2");
    let debug = object["spec"]
        .as_object_mut()
        .unwrap()
        .remove("ephemeralContainers");
    let context = admit::Create {
        now: Timestamp::from_seconds(1_800_000_000),
        uid: &pod.uid.to_string(),
        suffix: "abcde",
        namespace: Some(&pod.name.namespace),
    };
    let admitted = admit::create(kind(), &mut object, &context);
    admitted.unwrap_or_else(|status| panic!("{status:?}\n{object:#}"));
    if let Some(debug) = debug {
        object["spec"]["ephemeralContainers"] = debug;
    }
    object
}

fn compiled(object: Value) -> Pod {
    let pod: FullPod = serde_json::from_value(object).unwrap();
    compile_pod(&pod).unwrap()
}

fn word() -> impl Strategy<Value = String> + Clone {
    "[a-z][a-z0-9]{0,8}"
}

fn path() -> impl Strategy<Value = String> + Clone {
    "/[a-z]{1,8}(/[a-z]{1,8})?"
}

fn id() -> impl Strategy<Value = u32> {
    0_u32..70_000
}

fn field() -> impl Strategy<Value = PodField> {
    prop_oneof![
        select(vec![
            PodField::Name,
            PodField::Namespace,
            PodField::Uid,
            PodField::NodeName,
            PodField::ServiceAccountName,
            PodField::PodIp,
            PodField::HostIp,
            PodField::PodIps,
            PodField::HostIps,
        ]),
        word().prop_map(PodField::Label),
        word().prop_map(PodField::Annotation),
    ]
}

/// Of the container `c0`, which every pod has.
fn resource_field() -> impl Strategy<Value = ResourceField> {
    let cpu = (any::<bool>(), select(vec![1_u64, 1000]));
    let bytes = (
        any::<bool>(),
        any::<bool>(),
        select(vec![1000_u64, 1_000_000, 1_024_000, 1_048_576_000]),
    );
    let field = |limit, resource, divisor_milli| ResourceField {
        container: "c0".into(),
        resource,
        limit,
        divisor_milli,
    };
    prop_oneof![
        cpu.prop_map(move |(limit, divisor)| field(limit, ResourceName::Cpu, divisor)),
        bytes.prop_map(move |(limit, memory, divisor)| {
            let resource = match memory {
                true => ResourceName::Memory,
                false => ResourceName::EphemeralStorage,
            };
            field(limit, resource, divisor)
        }),
    ]
}

fn key_files() -> impl Strategy<Value = KeyFiles> {
    let items = btree_map(word(), (word(), option::of(0_u32..0o1000)), 0..3);
    (word(), items, 0_u32..0o1000, any::<bool>()).prop_map(
        |(name, items, default_mode, optional)| KeyFiles {
            name,
            items: (items.into_iter())
                .map(|(path, (key, mode))| KeyFile { key, path, mode })
                .collect(),
            default_mode,
            optional,
        },
    )
}

fn files() -> impl Strategy<Value = Vec<FieldFile>> {
    // Some fields are for the environment only, and others for files only.
    let field = prop_oneof![
        select(vec![
            PodField::Name,
            PodField::Namespace,
            PodField::Uid,
            PodField::Labels,
            PodField::Annotations,
        ]),
        word().prop_map(PodField::Label),
        word().prop_map(PodField::Annotation),
    ];
    let value = prop_oneof![
        field.prop_map(FieldSource::Field),
        resource_field().prop_map(FieldSource::Resource),
    ];
    btree_map(word(), (value, option::of(0_u32..0o1000)), 0..3).prop_map(|files| {
        let file = |(path, (value, mode))| FieldFile { path, value, mode };
        files.into_iter().map(file).collect()
    })
}

fn projection(mode: u32) -> impl Strategy<Value = Projection> {
    let of = move |mut files: KeyFiles| {
        files.default_mode = mode;
        files
    };
    let token = (word(), 600_u64..100_000, word()).prop_map(|(audience, expiration_s, path)| {
        Projection::Token {
            audience,
            expiration_s,
            path,
        }
    });
    prop_oneof![
        key_files().prop_map(move |files| Projection::ConfigMap(of(files))),
        key_files().prop_map(move |files| Projection::Secret(of(files))),
        files().prop_map(Projection::DownwardApi),
        token,
    ]
}

fn source() -> impl Strategy<Value = VolumeSource> {
    use HostPathKind::*;
    let kinds = vec![
        Any,
        DirectoryOrCreate,
        Directory,
        FileOrCreate,
        File,
        Socket,
        CharDevice,
        BlockDevice,
    ];
    prop_oneof![
        (any::<bool>(), option::of(1_u64..1 << 40)).prop_map(|(memory, size_limit_bytes)| {
            VolumeSource::EmptyDir {
                memory,
                size_limit_bytes,
            }
        }),
        key_files().prop_map(VolumeSource::ConfigMap),
        key_files().prop_map(VolumeSource::Secret),
        (path(), select(kinds)).prop_map(|(path, kind)| VolumeSource::HostPath { path, kind }),
        (files(), 0_u32..0o1000).prop_map(|(items, default_mode)| VolumeSource::DownwardApi {
            items,
            default_mode
        }),
        (0_u32..0o1000).prop_flat_map(|default_mode| {
            vec(projection(default_mode), 0..3).prop_map(move |sources| VolumeSource::Projected {
                sources,
                default_mode,
            })
        }),
    ]
}

fn env() -> impl Strategy<Value = EnvValue> {
    let key = || (word(), word(), any::<bool>());
    prop_oneof![
        "[ -~]{0,12}".prop_map(EnvValue::Literal),
        key().prop_map(|(name, key, optional)| EnvValue::ConfigMapKey {
            name,
            key,
            optional
        }),
        key().prop_map(|(name, key, optional)| EnvValue::SecretKey {
            name,
            key,
            optional
        }),
        field().prop_map(EnvValue::Field),
        resource_field().prop_map(EnvValue::Resource),
    ]
}

fn env_from() -> impl Strategy<Value = EnvFrom> {
    let source = prop_oneof![
        word().prop_map(EnvFromSource::ConfigMap),
        word().prop_map(EnvFromSource::Secret),
    ];
    ("[A-Z]{0,3}", source, any::<bool>()).prop_map(|(prefix, source, optional)| EnvFrom {
        prefix,
        source,
        optional,
    })
}

/// Requests within limits: the API fills in requests that are missing.
fn resources() -> impl Strategy<Value = Resources> {
    let pair = |most: u64| {
        (option::of(1..most), option::of(1..most)).prop_map(|(a, b)| match (a, b) {
            (Some(a), Some(b)) => (Some(a.min(b)), Some(a.max(b))),
            (request, _) => (request, None),
        })
    };
    (pair(100_000), pair(1 << 40), pair(1 << 40)).prop_map(|(cpu, memory, storage)| Resources {
        cpu_request_milli: cpu.0,
        cpu_limit_milli: cpu.1,
        memory_request_bytes: memory.0,
        memory_limit_bytes: memory.1,
        storage_request_bytes: storage.0,
        storage_limit_bytes: storage.1,
    })
}

fn security(groups: Vec<u32>) -> impl Strategy<Value = Security> {
    let seccomp = prop_oneof![
        Just(Seccomp::Unconfined),
        Just(Seccomp::RuntimeDefault),
        word().prop_map(Seccomp::Localhost),
    ];
    let capabilities = || vec(select(vec!["ALL", "NET_ADMIN", "SYS_TIME"]), 0..2);
    let ids = (option::of(id()), option::of(id()));
    (
        ids,
        any::<[bool; 5]>(),
        capabilities(),
        capabilities(),
        seccomp,
    )
        .prop_map(move |(ids, flags, add, drop, seccomp)| {
            let privileged = flags[1];
            let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
            Security {
                run_as_user: ids.0,
                run_as_group: ids.1,
                run_as_non_root: flags[0] && ids.0 != Some(0),
                supplemental_groups: groups.clone(),
                privileged,
                allow_privilege_escalation: flags[2] || privileged || add.contains(&"SYS_ADMIN"),
                read_only_root: flags[3],
                capabilities_add: owned(add),
                capabilities_drop: owned(drop),
                // Nothing of a privileged container is filtered.
                seccomp: if privileged {
                    Seccomp::Unconfined
                } else {
                    seccomp
                },
                proc_unmasked: false,
            }
        })
}

fn http() -> impl Strategy<Value = HttpGet> {
    let headers = vec(("[A-Z][a-z]{1,5}", "[a-z]{0,5}"), 0..2);
    let port = (1_u16..).prop_map(PortRef::Number);
    (word(), port, path(), any::<bool>(), headers).prop_map(|(host, port, path, https, headers)| {
        HttpGet {
            host,
            port,
            path,
            https,
            headers,
        }
    })
}

fn probe(liveness: bool) -> impl Strategy<Value = Probe> {
    let handler = prop_oneof![
        vec(word(), 1..3).prop_map(Handler::Exec),
        http().prop_map(Handler::Http),
        (word(), 1_u16..).prop_map(|(host, port)| Handler::Tcp {
            host,
            port: PortRef::Number(port)
        }),
        word().prop_map(|name| Handler::Tcp {
            host: String::new(),
            port: PortRef::Name(name)
        }),
        (1_u16.., word()).prop_map(|(port, service)| Handler::Grpc { port, service }),
    ];
    let numbers = (0_u32..100, 1_u32..100, 1_u32..100, 1_u32..9, 1_u32..9);
    (handler, numbers, option::of(1_u32..60)).prop_map(move |(handler, n, grace)| Probe {
        handler,
        initial_delay_s: n.0,
        timeout_s: n.1,
        period_s: n.2,
        success_threshold: if liveness { 1 } else { n.3 },
        failure_threshold: n.4,
        termination_grace_s: grace.filter(|_| liveness),
    })
}

fn hook() -> impl Strategy<Value = Handler> {
    prop_oneof![
        vec(word(), 1..3).prop_map(Handler::Exec),
        http().prop_map(Handler::Http),
        (1_u32..5).prop_map(|seconds| Handler::Sleep { seconds }),
    ]
}

fn port() -> impl Strategy<Value = Port> {
    let protocol = select(vec![Protocol::Tcp, Protocol::Udp, Protocol::Sctp]);
    (1_u16.., protocol).prop_map(|(port, protocol)| Port {
        name: String::new(),
        port,
        protocol,
        host_port: 0,
        host_ip: String::new(),
    })
}

/// A container of any list; what only some may have is taken away there.
fn container(groups: Vec<u32>) -> impl Strategy<Value = Container> {
    let words = || vec(word(), 0..3);
    let policy = select(vec![
        PullPolicy::Always,
        PullPolicy::IfNotPresent,
        PullPolicy::Never,
    ]);
    let text = (word(), policy, words(), words(), option::of(path()));
    let environment = (vec(env_from(), 0..3), btree_map("[A-Z]{1,4}", env(), 0..4));
    let rights = (resources(), security(groups), any::<[bool; 4]>());
    let probes = (
        option::of(probe(true)),
        option::of(probe(false)),
        option::of(probe(true)),
    );
    let hooks = (option::of(hook()), option::of(hook()), any::<bool>());
    (
        text,
        environment,
        rights,
        vec(port(), 0..2),
        probes,
        hooks,
        path(),
    )
        .prop_map(
            |(text, environment, rights, mut ports, probes, hooks, message)| {
                ports.dedup_by_key(|port| (port.port, port.protocol));
                let flags = rights.2;
                Container {
                    name: "c0".into(),
                    image: text.0,
                    pull_policy: text.1,
                    command: text.2,
                    args: text.3,
                    working_dir: text.4,
                    env_from: environment.0,
                    env: (environment.1.into_iter())
                        .map(|(name, value)| EnvVar { name, value })
                        .collect(),
                    resources: rights.0,
                    security: rights.1,
                    mounts: Vec::new(),
                    termination_message_path: message,
                    tty: flags[0],
                    stdin: flags[1],
                    stdin_once: flags[1] && flags[2],
                    sidecar: false,
                    target: None,
                    termination_message_from_logs: flags[3],
                    ports,
                    liveness: probes.0,
                    readiness: probes.1,
                    startup: probes.2,
                    post_start: hooks.0,
                    pre_stop: hooks.1,
                    stop_signal: hooks.2.then(|| "SIGUSR1".to_owned()),
                }
            },
        )
}

fn mount(volume: usize) -> impl Strategy<Value = Mount> {
    (0_u8..4, word(), any::<[bool; 2]>()).prop_map(move |(sort, word, flags)| Mount {
        volume: format!("v{volume}"),
        path: format!("/m{volume}"),
        sub_path: if sort == 1 {
            word.clone()
        } else {
            String::new()
        },
        sub_path_expr: if sort == 2 { word } else { String::new() },
        read_only: flags[0],
        propagation: match sort {
            3 if !flags[0] => Propagation::HostToContainer,
            _ => Propagation::None,
        },
        recursive_read_only: flags[0] && flags[1],
    })
}

fn containers() -> impl Strategy<Value = (Vec<Container>, Vec<Container>, Vec<Container>)> {
    vec(id(), 0..2).prop_flat_map(|groups| {
        let of = || container(groups.clone());
        let mains = vec(of(), 1..3);
        let inits = vec((of(), any::<bool>()), 0..2);
        let debug = vec(of(), 0..2);
        (mains, inits, debug).prop_map(|(mut mains, inits, mut debug)| {
            for (at, main) in mains.iter_mut().enumerate() {
                main.name = format!("c{at}");
            }
            let init = |(at, (mut init, sidecar)): (usize, (Container, bool))| {
                init.name = format!("i{at}");
                init.sidecar = sidecar;
                if !sidecar {
                    (init.liveness, init.readiness, init.startup) = (None, None, None);
                    (init.post_start, init.pre_stop) = (None, None);
                    init.stop_signal = None;
                }
                init
            };
            let inits = inits.into_iter().enumerate().map(init).collect();
            for (at, debug) in debug.iter_mut().enumerate() {
                debug.name = format!("e{at}");
                debug.target = Some("c0".into());
                (debug.liveness, debug.readiness, debug.startup) = (None, None, None);
                (debug.post_start, debug.pre_stop, debug.stop_signal) = (None, None, None);
                debug.ports.clear();
                debug.resources = Resources::default();
            }
            (mains, inits, debug)
        })
    })
}

fn any_pod() -> impl Strategy<Value = Pod> {
    let labels = || btree_map(word(), word(), 0..3);
    let names = (word(), word(), option::of(word()), labels(), labels());
    let policy = select(vec![
        RestartPolicy::Always,
        RestartPolicy::OnFailure,
        RestartPolicy::Never,
    ]);
    let numbers = (policy, 1_u32..100, option::of(1_u32..100), option::of(id()));
    let volumes = vec(source(), 0..4).prop_flat_map(|sources| {
        let mounts: Vec<_> = (0..sources.len()).map(mount).collect();
        (Just(sources), mounts)
    });
    let more = (vec(word(), 0..2), any::<[bool; 4]>(), any::<[u8; 16]>());
    let parts = (names, numbers, containers(), volumes, more);
    parts.prop_map(
        |(names, numbers, lists, (sources, mounts), (secrets, flags, uid))| {
            let (mut containers, init_containers, ephemeral_containers) = lists;
            containers[0].mounts = mounts;
            let once = flags[0];
            let mut annotations = names.4;
            if once {
                annotations.insert(ONCE.into(), "true".into());
            }
            let hostname = names.2.unwrap_or_else(|| names.1.clone());
            let volume = |(at, source)| Volume {
                name: format!("v{at}"),
                source,
            };
            Pod {
                uid: PodUid(uid),
                name: ObjectName {
                    namespace: names.0,
                    name: names.1,
                },
                labels: names.3,
                annotations,
                hostname,
                restart_policy: numbers.0,
                termination_grace_s: numbers.1.max(5),
                stop: None,
                host_network: false,
                service_account: "robot".into(),
                containers,
                volumes: sources.into_iter().enumerate().map(volume).collect(),
                init_containers,
                ephemeral_containers,
                active_deadline_s: numbers.2,
                share_process_namespace: flags[1],
                host_pid: flags[2] && !flags[1],
                host_ipc: flags[3],
                sysctls: vec![("net.ipv4.tcp_syncookies".into(), "1".into())],
                fs_group: numbers.3,
                fs_group_on_root_mismatch: numbers.3.is_some(),
                host_aliases: vec![("10.0.0.9".into(), vec!["a".into(), "b.c".into()])],
                pull_secrets: secrets,
                once,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// So its node finds nothing to do, and nothing is started again.
    #[test]
    fn a_recovered_pod_compiles_to_what_its_node_has(pod in any_pod()) {
        prop_assert_eq!(&compiled(super::pod(&pod, "pi-2")), &pod);
        prop_assert_eq!(&compiled(admitted(&pod)), &pod);
    }
}

#[test]
fn a_pod_of_a_stateful_set_stays_one_that_must_not_run_twice() {
    let pod = Pod {
        name: ObjectName {
            namespace: "shop".into(),
            name: "db-0".into(),
        },
        hostname: "db-0".into(),
        once: true,
        ..Pod::default()
    };
    let object = super::pod(&pod, "pi-2");
    assert_eq!(object["metadata"]["annotations"][ONCE], "true");
    assert_eq!(object["spec"]["nodeName"], "pi-2");
    assert!(compiled(object).once);
}

#[test]
fn a_config_map_is_made_again_with_every_byte() {
    let map = ConfigMap {
        name: ObjectName {
            namespace: "shop".into(),
            name: "web".into(),
        },
        data: [
            ("text".to_owned(), "grüße\n".as_bytes().to_vec()),
            ("bytes".to_owned(), vec![0, 0xff, 1]),
        ]
        .into(),
    };
    let object = config_map(&map);
    let view: bramble_api::view::ConfigMap = serde_json::from_value(object.clone()).unwrap();
    assert_eq!(view.bytes(), map.data);
    assert_eq!(object["binaryData"]["bytes"], "AP8B");
    assert_eq!(object["metadata"]["namespace"], "shop");
}
