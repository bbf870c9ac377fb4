//! The loop on a real kernel, with documents as if accepted and nobody to talk to: needs root.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use bramble_agent::clock;
use bramble_wire::object::{
    ConfigMap, EnvFrom, EnvFromSource, EnvValue, EnvVar, KeyFiles, Mount, Object, ObjectId,
    PodField, RestartPolicy, SealedSecret, SecretData, Stop, Volume, VolumeSource,
};
use bramble_wire::report::{ContainerState, Phase, PodReport};
use bramble_wire::seal::{SealingSecret, seal};

use crate::support::archive::{docker, file, layer};
use crate::support::node::{Node, binding, container, is_running, name, pod, pod_object};
use crate::support::{NodeNamespace, eventually, uid};

/// `statfs` of a file system in memory.
const TMPFS_MAGIC: rustix::fs::FsWord = 0x0102_1994;

/// Process ids of everything in a pod's cgroup, by a mark in the environment.
fn processes(mark: &str) -> Vec<i32> {
    let mut pids: Vec<i32> = (fs::read_dir("/proc").unwrap().flatten())
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let environ = fs::read(entry.path().join("environ")).ok()?;
            String::from_utf8_lossy(&environ)
                .contains(mark)
                .then_some(pid)
        })
        .collect();
    pids.sort_unstable();
    pids
}

#[test]
fn a_pod_gets_its_address_environment_configuration_and_secrets() {
    NodeNamespace::run(|| async {
        let mut node = Node::new().await;
        let uid = uid();
        let mut pod = pod(
            uid,
            "echo env $FROM_CONFIG $PREFIX_password $IP $GREETING; cat /etc/conf/key; \
             cat /etc/secret/password; echo; hostname; cat /etc/hosts; ip addr show eth0; \
             echo written > /data/file; cat /data/file; echo why > /dev/termination-log; \
             echo ready; trap 'exit 3' TERM; while :; do sleep 0.1; done",
        );
        let files = |name: &str, path: &str, secret| {
            let keys = KeyFiles {
                name: name.into(),
                items: Vec::new(),
                default_mode: 0o644,
                optional: false,
            };
            let source = if secret {
                VolumeSource::Secret(keys)
            } else {
                VolumeSource::ConfigMap(keys)
            };
            let volume = Volume {
                name: name.into(),
                source,
            };
            let mount = Mount {
                volume: name.into(),
                path: path.into(),
                read_only: true,
                ..Mount::default()
            };
            (volume, mount)
        };
        let empty = Volume {
            name: "data".into(),
            source: VolumeSource::EmptyDir {
                memory: false,
                size_limit_bytes: None,
            },
        };
        let data = Mount {
            volume: "data".into(),
            path: "/data".into(),
            ..Mount::default()
        };
        let (conf, conf_mount) = files("conf", "/etc/conf", false);
        let (secret, secret_mount) = files("secret", "/etc/secret", true);
        pod.volumes = vec![conf, secret, empty];
        pod.containers[0].mounts = vec![conf_mount, secret_mount, data];
        let variable = |name: &str, value| EnvVar {
            name: name.into(),
            value,
        };
        pod.containers[0].env = vec![
            variable(
                "FROM_CONFIG",
                EnvValue::ConfigMapKey {
                    name: "conf".into(),
                    key: "key".into(),
                    optional: false,
                },
            ),
            variable("IP", EnvValue::Field(PodField::PodIp)),
            variable("GREETING", EnvValue::Literal("hello-$(IP)".into())),
        ];
        pod.containers[0].env_from = vec![EnvFrom {
            prefix: "PREFIX_".into(),
            source: EnvFromSource::Secret("secret".into()),
            optional: false,
        }];
        // First without the ConfigMap: it waits and says for what.
        node.accept(vec![pod_object(pod.clone())]).await;
        let waiting = |report: &PodReport| {
            matches!(&container(report).state, ContainerState::Waiting { message, .. }
                if message.contains("configmap \"conf\" not found"))
        };
        node.until("told what is missing", uid, waiting).await;

        let conf_id = ObjectId::ConfigMap(name("conf"));
        let conf = ConfigMap {
            name: name("conf"),
            data: [("key".to_owned(), b"configured\n".to_vec())].into(),
        };
        let secret_id = ObjectId::Secret(name("secret"));
        let plain = SecretData([("password".to_owned(), b"s3cret".to_vec())].into());
        let (_, public) = SealingSecret::from_seed(&[9; 32]);
        let bound = binding(&secret_id, 1);
        let sealed = seal(
            &public,
            bound.as_binding(),
            &bramble_wire::encode(&plain),
            &[1; 32],
        );
        let secret = SealedSecret {
            name: name("secret"),
            sealed: sealed.unwrap(),
        };
        let mut objects = vec![
            pod_object(pod.clone()),
            (conf_id.clone(), Object::ConfigMap(conf)),
            (secret_id, Object::Secret(secret)),
        ];
        node.accept(objects.clone()).await;
        let report = node.until("running", uid, is_running).await;
        assert_eq!(report.phase, Phase::Running);
        let [a, b, c, d] = report.pod_ip.expect("an address");
        let ip = format!("{a}.{b}.{c}.{d}");
        assert!(ip.starts_with("10.42.7."), "{ip}");
        let log = node.until_logged(uid, 1, "ready").await;
        for expected in [
            format!("env configured s3cret {ip} hello-{ip}"),
            "configured".into(),
            "s3cret".into(),
            format!("{ip}\tp"),
            format!("inet {ip}/24"),
            "written".into(),
        ] {
            assert!(log.contains(&expected), "{expected} in {log}");
        }

        // Secrets are never on a disk.
        let volumes = node.board.options.run_dir.join(format!("pods/{uid}"));
        let kind = rustix::fs::statfs(volumes.join("secret")).unwrap().f_type;
        assert_eq!(kind, TMPFS_MAGIC);

        // A changed ConfigMap reaches the file without a restart.
        let conf = ConfigMap {
            name: name("conf"),
            data: [("key".to_owned(), b"changed\n".to_vec())].into(),
        };
        objects[1] = (conf_id, Object::ConfigMap(conf));
        node.accept(objects.clone()).await;
        let file = node
            .board
            .options
            .run_dir
            .join(format!("pods/{uid}/volumes/conf/key"));
        eventually(|| async {
            let text = fs::read_to_string(&file).unwrap_or_default();
            if text == "changed\n" {
                Ok(())
            } else {
                Err(text)
            }
        })
        .await;

        // It ends by itself on TERM, says why, and leaves nothing.
        pod.stop = Some(Stop { grace_s: 20 });
        objects[0] = pod_object(pod);
        node.accept(objects).await;
        let report = node.until("gone", uid, |report| report.gone).await;
        let ContainerState::Terminated(end) = &container(&report).state else {
            panic!("{report:?}");
        };
        assert_eq!((end.exit_code, end.message.as_str()), (3, "why\n"));
        assert_eq!(report.phase, Phase::Failed);
        assert_eq!(node.board.leaks(), [""; 0]);
        assert!(
            !node
                .board
                .options
                .data_dir
                .join(format!("volumes/{uid}"))
                .exists()
        );
    });
}

#[test]
fn exit_codes_restarts_and_back_off() {
    NodeNamespace::run(|| async {
        let mut node = Node::new().await;
        let (looping, once, broken) = (uid(), uid(), uid());
        let mut never = pod(once, "exit 7");
        never.restart_policy = RestartPolicy::Never;
        let mut no_such = pod(broken, "");
        no_such.restart_policy = RestartPolicy::Never;
        no_such.containers[0].command = vec!["/no/such/program".into()];
        node.accept(vec![
            pod_object(pod(looping, "exit 5")),
            pod_object(never),
            pod_object(no_such),
        ])
        .await;
        let report = node
            .until("in back-off", looping, |report| {
                matches!(&container(report).state, ContainerState::Waiting { reason, .. }
                    if reason == "CrashLoopBackOff")
            })
            .await;
        assert_eq!(container(&report).restarts, 1);
        let last = container(&report).last.as_ref().expect("an end");
        assert_eq!((last.exit_code, last.reason.as_str()), (5, "Error"));
        let failed = |report: &PodReport| report.phase == Phase::Failed;
        for (uid, code, reason) in [(once, 7, "Error"), (broken, 128, "StartError")] {
            let report = node.until("failed", uid, failed).await;
            let ContainerState::Terminated(end) = &container(&report).state else {
                panic!("{report:?}");
            };
            assert_eq!(
                (end.exit_code, end.reason.as_str()),
                (code, reason),
                "{end:?}"
            );
        }
        node.accept(Vec::new()).await;
        for uid in [looping, once, broken] {
            node.until("gone", uid, |report| report.gone).await;
        }
        assert_eq!(node.board.leaks(), [""; 0]);
    });
}

#[test]
fn a_hostile_image_is_a_reason_on_the_pod_and_nothing_more() {
    NodeNamespace::run(|| async {
        let mut node = Node::new().await;
        let escape = node.board.dir.join("escaped");
        let evil = format!("../../../../../../../..{}", escape.display());
        let archive = node.board.dir.join("hostile.tar");
        let layers = [layer(&[file(&evil, b"x")])];
        let architecture = bramble_agent::facts::architecture();
        let name = "bramble.test/hostile:1";
        fs::write(&archive, docker(name, &layers, architecture)).unwrap();
        let (hostile, good) = (uid(), uid());
        let mut bad = pod(hostile, "true");
        bad.containers[0].image = name.into();
        node.accept(vec![
            pod_object(bad),
            pod_object(pod(good, "while :; do sleep 0.2; done")),
        ])
        .await;
        let waits = |reason: &'static str, text: &'static str| {
            move |report: &PodReport| {
                matches!(&container(report).state, ContainerState::Waiting { reason: is, message }
                    if is == reason && message.contains(text))
            }
        };
        let absent = waits("ContainerCreating", "");
        node.until("told that it is not there", hostile, absent)
            .await;
        assert!(node.agent().images.load(&archive).await.is_err());
        let refused = waits("InvalidImage", "bramble.test/hostile:1");
        node.until("told what is wrong with it", hostile, refused)
            .await;
        node.until("running", good, is_running).await;
        assert!(!escape.exists());
    });
}

#[test]
fn a_killed_agent_changes_nothing_and_a_power_cut_loses_nothing() {
    NodeNamespace::run(|| async {
        let mut node = Node::new().await;
        let uid = uid();
        let mark = format!("MARK_OF={uid}");
        let mut wanted = pod(uid, "while :; do sleep 0.2; done");
        wanted.containers[0].env = vec![EnvVar {
            name: "MARK_OF".into(),
            value: EnvValue::Literal(uid.to_string()),
        }];
        node.accept(vec![pod_object(wanted)]).await;
        let before = node.until("running", uid, is_running).await;
        // Running is said when its process is made; a moment later it is the program.
        let pid = eventually(|| async {
            let first = processes(&mark).first().copied();
            first.ok_or_else(|| "no process".to_owned())
        })
        .await;

        node.kill_agent().await;
        assert!(processes(&mark).contains(&pid));
        node.start().await;
        let after = node.until("running", uid, is_running).await;
        assert_eq!(after.pod_ip, before.pod_ip);
        assert_eq!(container(&after).restarts, 0);
        assert_eq!(container(&after).image_id, container(&before).image_id);
        assert!(processes(&mark).contains(&pid));

        node.power_cut().await;
        assert_eq!(processes(&mark), [0; 0]);
        node.start().await;
        let back = node.until("running again", uid, is_running).await;
        assert_eq!(back.pod_ip, before.pod_ip);
        assert_eq!(back.started, before.started);
        let ip = Ipv4Addr::from(back.pod_ip.expect("an address"));
        let busybox = node.board.dir.join("root/bin/busybox");
        let ping = Command::new(busybox)
            .args(["ping", "-c1", "-W2", &ip.to_string()])
            .output();
        assert!(ping.unwrap().status.success(), "{ip} does not answer");

        node.accept(Vec::new()).await;
        node.until("gone", uid, |report| report.gone).await;
        assert_eq!(node.board.leaks(), [""; 0]);
    });
}

#[test]
fn clearing_a_board_leaves_its_data_only() {
    NodeNamespace::run(|| async {
        let mut node = Node::new().await;
        let uid = uid();
        node.accept(vec![pod_object(pod(uid, "while :; do sleep 0.2; done"))])
            .await;
        node.until("running", uid, is_running).await;
        let world = Arc::clone(&node.agent().world);
        node.kill_agent().await;
        assert_eq!(world.clear(clock::now()).await, [""; 0]);
        world.network().remove().await.unwrap();
        drop(world);
        let logs: PathBuf = node.board.options.log_dir(uid);
        let left = node.board.leaks();
        assert_eq!(left, [format!("file {}", logs.display())]);
        node.start().await;
        node.until("running again", uid, is_running).await;
    });
}
