use std::collections::BTreeMap;

use bramble_wire::object::{PodField, PullPolicy, Resources, Token, Tokens};
use serde_json::{Value, json};

use super::*;

mod fields;

const UID: &str = "00000000-0000-4000-8000-000000000001";

/// ConfigMaps and Secrets by name in the namespace `d`.
#[derive(Default)]
struct Given {
    config_maps: BTreeMap<&'static str, Value>,
    secrets: BTreeMap<&'static str, Value>,
}

impl Configuration for Given {
    fn config_map(&self, name: &ObjectName) -> Option<Observed<view::ConfigMap>> {
        let found = self.config_maps.get(name.name.as_str())?;
        Some(Observed {
            revision: 5,
            object: serde_json::from_value(found.clone()).unwrap(),
        })
    }
    fn secret(&self, name: &ObjectName) -> Option<Observed<view::Secret>> {
        let found = self.secrets.get(name.name.as_str())?;
        Some(Observed {
            revision: 6,
            object: serde_json::from_value(found.clone()).unwrap(),
        })
    }
    fn tokens(&self, pod: &FullPod, wanted: &BTreeSet<Wanted>) -> Option<Compiled> {
        let token = |wanted: &Wanted| Token {
            audience: wanted.audience.clone(),
            expiration_s: wanted.expiration_s,
            token: format!("of {}", pod.spec.service_account_name),
            expires_unix_s: 9,
        };
        let made = Tokens(wanted.iter().map(token).collect());
        (pod.spec.service_account_name == "sa").then(|| Compiled::tokens(7, &made))
    }
}

fn pod(spec: Value) -> FullPod {
    let pod = json!({
        "metadata": {"name": "p", "namespace": "d", "uid": UID, "generation": 3,
            "labels": {"l": "1"},
            "annotations": {"a": "1", "kubectl.kubernetes.io/last-applied-configuration": "{}"}},
        "spec": spec,
    });
    serde_json::from_value(pod).unwrap()
}

fn compiled(spec: Value) -> Pod {
    compile_pod(&pod(spec)).unwrap()
}

fn refused(spec: Value) -> String {
    compile_pod(&pod(spec)).unwrap_err().to_string()
}

fn ids(document: &Document) -> Vec<String> {
    document.objects.keys().map(ToString::to_string).collect()
}

#[test]
fn a_pod_with_everything_that_this_release_carries_out() {
    let pod = compiled(json!({
        "restartPolicy": "OnFailure", "terminationGracePeriodSeconds": 7, "hostname": "h",
        "serviceAccountName": "sa",
        "securityContext": {"runAsUser": 5, "runAsGroup": 6, "fsGroup": 7, "supplementalGroups": [8]},
        "containers": [{
            "name": "c", "image": "i:1", "imagePullPolicy": "Never", "command": ["a"],
            "args": ["b"], "workingDir": "/w", "tty": true,
            "envFrom": [{"prefix": "P_", "configMapRef": {"name": "m", "optional": true}},
                {"secretRef": {"name": "s"}}],
            "env": [
                {"name": "A", "value": "1"},
                {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}},
                {"name": "C", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": true}}},
                {"name": "D", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['l']"}}},
                {"name": "E", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            ],
            "resources": {"requests": {"cpu": "100m", "memory": "1Mi", "ephemeral-storage": "1Gi"}, "limits": {"cpu": "1"}},
            "securityContext": {"runAsUser": 9, "readOnlyRootFilesystem": true,
                "allowPrivilegeEscalation": false,
                "capabilities": {"add": ["CAP_NET_ADMIN"], "drop": ["ALL"]}},
            "volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": true}],
        }],
        "volumes": [
            {"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "1Ki"}},
            {"name": "m", "configMap": {"name": "m", "items": [{"key": "k", "path": "p"}]}},
            {"name": "s", "secret": {"secretName": "s", "defaultMode": 256}},
        ],
    }));
    assert_eq!(pod.uid.to_string(), UID);
    assert_eq!((pod.hostname.as_str(), pod.termination_grace_s), ("h", 7));
    assert_eq!(pod.restart_policy, RestartPolicy::OnFailure);
    assert_eq!(pod.annotations, BTreeMap::from([("a".into(), "1".into())]));
    assert_eq!(pod.stop, None);
    let container = &pod.containers[0];
    assert_eq!(container.pull_policy, PullPolicy::Never);
    assert_eq!(
        container.env_from[0].source,
        EnvFromSource::ConfigMap("m".into())
    );
    assert!(container.env_from[0].optional && !container.env_from[1].optional);
    let values: Vec<_> = container.env.iter().map(|e| e.value.clone()).collect();
    let key = |name: &str| (name.to_owned(), "k".to_owned());
    assert_eq!(
        values,
        [
            EnvValue::Literal("1".into()),
            EnvValue::ConfigMapKey {
                name: key("m").0,
                key: key("m").1,
                optional: false
            },
            EnvValue::SecretKey {
                name: key("s").0,
                key: key("s").1,
                optional: true
            },
            EnvValue::Field(PodField::Label("l".into())),
            EnvValue::Field(PodField::PodIp),
        ]
    );
    assert_eq!(
        container.resources,
        Resources {
            cpu_request_milli: Some(100),
            cpu_limit_milli: Some(1000),
            memory_request_bytes: Some(1 << 20),
            memory_limit_bytes: None,
            storage_request_bytes: Some(1 << 30),
            storage_limit_bytes: None,
        }
    );
    let security = &container.security;
    assert_eq!(
        (security.run_as_user, security.run_as_group),
        (Some(9), Some(6))
    );
    assert_eq!(
        (pod.fs_group, &security.supplemental_groups[..]),
        (Some(7), &[8][..])
    );
    assert!(security.read_only_root && !security.allow_privilege_escalation);
    assert_eq!(security.capabilities_add, ["NET_ADMIN"]);
    let memory = VolumeSource::EmptyDir {
        memory: true,
        size_limit_bytes: Some(1024),
    };
    assert_eq!(pod.volumes[0].source, memory);
    assert!(matches!(&pod.volumes[2].source, VolumeSource::Secret(k) if k.default_mode == 0o400));
}

#[test]
fn defaults_are_upstreams() {
    let pod = compiled(json!({"containers": [{"name": "c", "image": "i"}]}));
    assert_eq!((pod.hostname.as_str(), pod.termination_grace_s), ("p", 30));
    assert_eq!(pod.restart_policy, RestartPolicy::Always);
    let container = &pod.containers[0];
    assert_eq!(container.pull_policy, PullPolicy::IfNotPresent);
    assert!(container.security.allow_privilege_escalation);
    assert_eq!(container.termination_message_path, "/dev/termination-log");
    let negative = compiled(json!({"terminationGracePeriodSeconds": -5,
        "containers": [{"name": "c", "image": "i"}]}));
    assert_eq!(negative.termination_grace_s, 1);
}

#[test]
fn what_can_not_be_carried_out_is_named() {
    for (spec, want) in [
        (
            json!({"volumes": [{"name": "v", "nfs": {}}]}),
            "source of volume \"v\" is not supported",
        ),
        (
            json!({"containers": [{"env": [{"name": "A", "valueFrom": {"fieldRef":
                {"fieldPath": "spec.x"}}}]}]}),
            "fieldPath \"spec.x\" is not supported",
        ),
        (
            json!({"containers": [{"securityContext": {"runAsUser": -1}}]}),
            "a user or group id is out of range",
        ),
        (
            json!({"containers": [{"env": [{"name": "A", "valueFrom": {}}]}]}),
            "valueFrom is not supported",
        ),
    ] {
        assert_eq!(refused(spec), want);
    }
}

#[test]
fn a_deletion_becomes_a_stop_with_its_grace() {
    let mut leaving = pod(json!({"terminationGracePeriodSeconds": 9}));
    leaving.metadata.deletion_timestamp = Some(Default::default());
    leaving.metadata.deletion_grace_period_seconds = Some(4);
    assert_eq!(
        compile_pod(&leaving).unwrap().stop,
        Some(Stop { grace_s: 4 })
    );
    leaving.metadata.deletion_grace_period_seconds = None;
    assert_eq!(
        compile_pod(&leaving).unwrap().stop,
        Some(Stop { grace_s: 9 })
    );
}

fn uses(name: &str, uid_end: u8) -> FullPod {
    let mut pod = pod(json!({"containers": [{"name": "c",
        "envFrom": [{"configMapRef": {"name": name}}, {"secretRef": {"name": name}}]}]}));
    pod.metadata.uid = format!("{}{uid_end}", &UID[..35]);
    pod.metadata.name = format!("p{uid_end}");
    pod
}

#[test]
fn a_document_holds_what_its_pods_name_and_says_what_they_miss() {
    let given = Given {
        config_maps: BTreeMap::from([
            (
                "a",
                json!({"data": {"k": "v"}, "binaryData": {"b": "AAE="}}),
            ),
            ("unused", json!({"data": {}})),
        ]),
        secrets: BTreeMap::from([("a", json!({"data": {"k": "djE="}}))]),
    };
    let pods = [uses("a", 1), uses("missing", 2)];
    let document = compile(&NodeConfig::default(), &pods, &given);
    let pod = |end: u8| format!("pod/{}{end}", &UID[..35]);
    assert_eq!(
        ids(&document),
        [
            "node".to_owned(),
            pod(1),
            pod(2),
            "configmap/d/a".into(),
            "secret/d/a".into()
        ]
    );
    assert!(document.left_out.is_empty());
    let named: Vec<_> = document
        .references
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        named,
        [
            "configmap/d/a",
            "configmap/d/missing",
            "secret/d/a",
            "secret/d/missing"
        ]
    );
    let map = &document.objects[&ObjectId::ConfigMap(ObjectName {
        namespace: "d".into(),
        name: "a".into(),
    })];
    let data = BTreeMap::from([
        ("b".to_owned(), vec![0, 1]),
        ("k".to_owned(), b"v".to_vec()),
    ]);
    let name = ObjectName {
        namespace: "d".into(),
        name: "a".into(),
    };
    assert_eq!(
        map,
        &Compiled::plain(5, &Object::ConfigMap(ConfigMap { name, data }))
    );
}

#[test]
fn a_bad_pod_does_not_hold_up_the_others() {
    let mut bad = uses("a", 1);
    bad.metadata.uid = "nonsense".into();
    let document = compile(
        &NodeConfig::default(),
        &[bad, uses("b", 2)],
        &Given::default(),
    );
    assert_eq!(document.objects.len(), 2, "the node and the good pod");
    let (name, error) = &document.left_out[0];
    assert_eq!(name.to_string(), "d/p1");
    assert_eq!(error, &Error::Uid("nonsense".into()));
}

#[test]
fn a_status_is_no_news_to_its_node_but_labels_are() {
    let document =
        |pod: &FullPod| compile(&NodeConfig::default(), [pod], &Given::default()).objects;
    let before = uses("a", 1);
    let mut after = before.clone();
    after.status.phase = "Running".into();
    assert_eq!(document(&before), document(&after));
    after.metadata.labels.insert("new".into(), "1".into());
    assert_ne!(document(&before), document(&after));
}

#[test]
fn tokens_go_with_a_pod_that_wants_some_and_runs() {
    let volume = json!({"name": "t", "projected": {"sources": [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}}]}});
    let mut pod = pod(json!({"serviceAccountName": "sa", "volumes": [volume]}));
    let holds = |pod: &FullPod| {
        let document = compile(&NodeConfig::default(), [pod], &Given::default());
        let uid = PodUid::parse(UID).unwrap();
        document.objects.get(&ObjectId::Tokens(uid)).cloned()
    };
    let made = Tokens(vec![Token {
        audience: String::new(),
        expiration_s: 3607,
        token: "of sa".into(),
        expires_unix_s: 9,
    }]);
    assert_eq!(holds(&pod), Some(Compiled::tokens(7, &made)));
    pod.status.phase = "Succeeded".into();
    assert_eq!(holds(&pod), None, "it has ended");
    pod.status.phase = "Running".into();
    pod.spec.service_account_name = "gone".into();
    assert_eq!(holds(&pod), None, "nobody to be");
}
