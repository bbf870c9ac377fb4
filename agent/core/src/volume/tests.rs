mod mounts;

use std::collections::BTreeMap;

use bramble_wire::object::{
    ConfigMap, Container, FieldFile, FieldSource, KeyFile, KeyFiles, Mount, ObjectName, PodField,
    PodUid, Projection, Propagation, ResourceField, ResourceName, Resources, SecretData, Security,
    Token, Tokens, Volume,
};

use super::*;
use crate::time::Moment;

const UID: PodUid = PodUid([9; 16]);

fn name(name: &str) -> ObjectName {
    ObjectName {
        namespace: "ns".into(),
        name: name.into(),
    }
}

fn data(pairs: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), value.as_bytes().to_vec());
    pairs.iter().map(own).collect()
}

fn desired() -> Desired {
    let mut desired = Desired::default();
    let map = ConfigMap {
        name: name("settings"),
        data: data(&[("a.conf", "A"), ("b.conf", "B")]),
    };
    desired.config_maps.insert(name("settings"), map);
    let secret = SecretData(data(&[
        ("password", "hunter2"),
        ("a.conf", "from the secret"),
    ]));
    desired.secrets.insert(name("keys"), Some(secret));
    desired.secrets.insert(name("closed"), None);
    desired
}

fn keys(of: &str) -> KeyFiles {
    KeyFiles {
        name: of.into(),
        items: Vec::new(),
        default_mode: 0o644,
        optional: false,
    }
}

fn token(audience: &str) -> Projection {
    Projection::Token {
        audience: audience.into(),
        expiration_s: 3607,
        path: format!("token{audience}"),
    }
}

fn projected(sources: Vec<Projection>) -> VolumeSource {
    VolumeSource::Projected {
        sources,
        default_mode: 0o644,
    }
}

fn pod(source: VolumeSource) -> Pod {
    Pod {
        uid: UID,
        name: name("p"),
        labels: [("tier".to_owned(), "web \"1\"".to_owned())].into(),
        service_account: "default".into(),
        containers: vec![Container {
            name: "main".into(),
            ..Container::default()
        }],
        volumes: vec![Volume {
            name: "v".into(),
            source,
        }],
        ..Pod::default()
    }
}

/// Path, mode, owner, text of each file.
type Seen = (String, u32, Option<u32>, String);

fn check_pod(desired: &Desired, pod: &Pod) -> Result<(bool, Vec<Seen>), String> {
    let host = Host {
        name: "node-1".into(),
        cpu_milli: 4000,
        memory_bytes: 512 << 20,
        ..Host::default()
    };
    let volumes = compile(desired, &host, pod, Some([10, 42, 0, 9]));
    if let Some(error) = volumes.errors.first() {
        return Err(error.to_string());
    }
    let Content::Files { secret, files } = volumes.inputs[0].content.clone() else {
        panic!("not files");
    };
    let seen = |file: File| {
        let text = String::from_utf8(file.bytes).unwrap();
        (file.path, file.mode, file.owner, text)
    };
    Ok((secret, files.into_iter().map(seen).collect()))
}

fn check(source: VolumeSource) -> Result<(bool, Vec<Seen>), String> {
    check_pod(&desired(), &pod(source))
}

fn file(path: &str, mode: u32, text: &str) -> Seen {
    (path.into(), mode, None, text.into())
}

#[test]
fn keys_become_files_with_their_modes() {
    let all = vec![file("a.conf", 0o644, "A"), file("b.conf", 0o644, "B")];
    assert_eq!(
        check(VolumeSource::ConfigMap(keys("settings"))),
        Ok((false, all))
    );
    let item = |key: &str, path: &str, mode| KeyFile {
        key: key.into(),
        path: path.into(),
        mode,
    };
    let mut some = keys("keys");
    some.default_mode = 0o400;
    some.items = vec![
        item("password", "db/pass", None),
        item("a.conf", "a", Some(0o440)),
    ];
    let expected = vec![
        file("a", 0o440, "from the secret"),
        file("db/pass", 0o400, "hunter2"),
    ];
    assert_eq!(check(VolumeSource::Secret(some)), Ok((true, expected)));
}

#[test]
fn what_is_missing_is_said_as_the_kubelet_does() {
    let optional = |mut keys: KeyFiles| {
        keys.optional = true;
        keys
    };
    let with = |mut keys: KeyFiles, key: &str, path: &str| {
        keys.items = vec![KeyFile {
            key: key.into(),
            path: path.into(),
            mode: None,
        }];
        keys
    };
    use VolumeSource::{ConfigMap, Secret};
    let cases = [
        (ConfigMap(keys("no")), "configmap \"no\" not found"),
        (Secret(keys("no")), "secret \"no\" not found"),
        (
            Secret(keys("closed")),
            "secret \"closed\" can't be opened by this node",
        ),
        (
            ConfigMap(with(keys("settings"), "x", "x")),
            "configmap references non-existent config key: x",
        ),
        (
            Secret(with(keys("keys"), "x", "x")),
            "references non-existent secret key: x",
        ),
        (
            ConfigMap(with(keys("settings"), "a.conf", "../x")),
            "path \"../x\" leaves the volume",
        ),
        (
            projected(vec![
                Projection::ConfigMap(keys("no")),
                Projection::Secret(keys("keys")),
                Projection::Secret(keys("nor")),
            ]),
            "[configmap \"no\" not found, secret \"nor\" not found]",
        ),
        (
            projected(vec![token("")]),
            "failed to fetch token: the controller has not sent it yet",
        ),
        (
            projected(vec![
                Projection::ConfigMap(with(keys("settings"), "a.conf", "x")),
                Projection::ConfigMap(with(keys("settings"), "b.conf", "x/y")),
            ]),
            "path \"x\" is both a file and a directory",
        ),
    ];
    for (source, why) in cases {
        let expected = format!("MountVolume.SetUp failed for volume \"v\" : {why}");
        assert_eq!(check(source), Err(expected));
    }
    assert_eq!(
        check(ConfigMap(optional(keys("no")))),
        Ok((false, Vec::new()))
    );
    let key = optional(with(keys("keys"), "x", "x"));
    assert_eq!(check(Secret(key)), Ok((true, Vec::new())));
    // One that can't be opened is there.
    assert!(check(Secret(optional(keys("closed")))).is_err());
}

#[test]
fn one_volume_never_holds_up_another() {
    let mut pod = pod(VolumeSource::ConfigMap(keys("no")));
    pod.volumes.push(Volume {
        name: "w".into(),
        source: VolumeSource::ConfigMap(keys("settings")),
    });
    let volumes = compile(&desired(), &Host::default(), &pod, None);
    assert_eq!(volumes.errors.len(), 1);
    assert_eq!(volumes.inputs[0].name, "w");
}

#[test]
fn several_sources_share_a_directory_and_the_later_wins() {
    let fields = vec![FieldFile {
        path: "labels".into(),
        value: FieldSource::Field(PodField::Labels),
        mode: Some(0o600),
    }];
    let sources = vec![
        Projection::ConfigMap(keys("settings")),
        Projection::Secret(keys("keys")),
        Projection::DownwardApi(fields),
    ];
    let expected = vec![
        file("a.conf", 0o644, "from the secret"),
        file("b.conf", 0o644, "B"),
        file("labels", 0o600, "tier=\"web \\\"1\\\"\""),
        file("password", 0o644, "hunter2"),
    ];
    assert_eq!(check(projected(sources)), Ok((true, expected)));
    // Without a secret in it it need not be in memory.
    let plain = check(projected(vec![Projection::ConfigMap(keys("settings"))]));
    assert!(!plain.unwrap().0);
}

#[test]
fn fields_and_amounts_become_files() {
    let item = |path: &str, value| FieldFile {
        path: path.into(),
        value,
        mode: None,
    };
    let resource = |container: &str, resource, divisor_milli| {
        FieldSource::Resource(ResourceField {
            container: container.into(),
            resource,
            limit: true,
            divisor_milli,
        })
    };
    let items = vec![
        item("name", FieldSource::Field(PodField::Name)),
        item("cpu", resource("main", ResourceName::Cpu, 1)),
        item("memory", resource("main", ResourceName::Memory, 1000 << 20)),
    ];
    let source = |items| VolumeSource::DownwardApi {
        items,
        default_mode: 0o644,
    };
    let expected = vec![
        file("cpu", 0o644, "4000"),
        file("memory", 0o644, "512"),
        file("name", 0o644, "p"),
    ];
    assert_eq!(check(source(items)), Ok((false, expected)));
    let missing = source(vec![item("x", resource("other", ResourceName::Cpu, 1))]);
    let text = "MountVolume.SetUp failed for volume \"v\" : container other not found";
    assert_eq!(check(missing), Err(text.to_owned()));
}

fn with_tokens(expires_unix_s: i64) -> Desired {
    let token = |audience: &str| Token {
        audience: audience.into(),
        expiration_s: 3607,
        token: format!("jwt{audience}"),
        expires_unix_s,
    };
    let mut desired = desired();
    let tokens = Tokens(vec![token(""), token("vault")]);
    desired.tokens.insert(UID, Some(tokens));
    desired
}

#[test]
fn tokens_belong_to_who_runs_the_pod() {
    let desired = with_tokens(1_000_000);
    let mut pod = pod(projected(vec![token(""), token("vault")]));
    let of = |pod: &Pod| {
        let (secret, files) = check_pod(&desired, pod).unwrap();
        assert!(secret);
        let shown = |(path, mode, owner, text): Seen| (path, text, mode, owner);
        files.into_iter().map(shown).collect::<Vec<_>>()
    };
    let both = |mode, owner| {
        vec![
            ("token".to_owned(), "jwt".to_owned(), mode, owner),
            ("tokenvault".to_owned(), "jwtvault".to_owned(), mode, owner),
        ]
    };
    assert_eq!(of(&pod), both(0o644, None));
    let user = |user| Container {
        security: Security {
            run_as_user: user,
            ..Security::default()
        },
        ..Container::default()
    };
    pod.containers = vec![user(Some(1000)), user(Some(1000))];
    assert_eq!(of(&pod), both(0o600, Some(1000)));
    pod.init_containers = vec![user(Some(1001))];
    assert_eq!(of(&pod), both(0o644, None));
    pod.init_containers = vec![user(None)];
    assert_eq!(of(&pod), both(0o644, None));
    pod.fs_group = Some(2000);
    assert_eq!(of(&pod), both(0o600, None));
    assert!(check_pod(&desired, &self::pod(projected(vec![token("other")]))).is_err());
}

#[test]
fn a_token_that_ends_is_told_in_time() {
    let pod = pod(projected(vec![token("vault")]));
    let at = |now_s: i64| {
        let now = Moment::new(5_000, now_s * 1000);
        let (condition, wake) = expiring(&with_tokens(10_000), &pod, now);
        (condition.map(|condition| condition.reason), wake)
    };
    // Near its end are the last 360 seconds of 3607.
    assert_eq!(at(6_000), (None, Some(5_000 + 4_000_000 - 360_700 + 1_000)));
    assert_eq!(
        at(9_700),
        (Some("TokenExpiring".into()), Some(5_000 + 301_000))
    );
    assert_eq!(at(10_000), (Some("TokenExpired".into()), None));
    let (told, _) = expiring(&with_tokens(10_000), &pod, Moment::new(0, 9_700_000));
    let message = told.map(|condition| condition.message).unwrap_or_default();
    assert!(
        message.contains("ends at 1970-01-01T02:46:40Z"),
        "{message}"
    );
    let none = expiring(&desired(), &pod, Moment::new(0, 0));
    assert_eq!(none, (None, None));
}

#[test]
fn memory_volumes_have_the_least_size_of_all() {
    let size = |node: u64, containers: &[Option<u64>], own| {
        let mut pod = pod(VolumeSource::EmptyDir {
            memory: true,
            size_limit_bytes: own,
        });
        let container = |limit: &Option<u64>| Container {
            resources: Resources {
                memory_limit_bytes: *limit,
                ..Resources::default()
            },
            ..Container::default()
        };
        pod.containers = containers.iter().map(container).collect();
        let host = Host {
            memory_bytes: node,
            ..Host::default()
        };
        match compile(&desired(), &host, &pod, None).inputs[0].content {
            Content::Empty {
                memory: true,
                size_limit_bytes,
            } => size_limit_bytes,
            _ => panic!("no memory volume"),
        }
    };
    assert_eq!(size(512, &[None], None), Some(512));
    assert_eq!(size(512, &[Some(100), Some(50)], None), Some(150));
    assert_eq!(size(512, &[Some(100), None], None), Some(512));
    assert_eq!(size(512, &[Some(100)], Some(64)), Some(64));
    assert_eq!(size(512, &[Some(100)], Some(4096)), Some(100));
    assert_eq!(size(0, &[None], None), None);
}

#[test]
fn quantities_are_as_short_as_can_be() {
    let cases = [
        (0, "0"),
        (1000, "1k"),
        (1024, "1Ki"),
        (10 << 20, "10Mi"),
        (10_000_000, "10M"),
        (1_000_000_000_000, "1T"),
        (1536, "1536"),
        (3 << 29, "1536Mi"),
    ];
    for (bytes, text) in cases {
        assert_eq!(quantity(bytes), text);
    }
}

#[test]
fn the_digest_changes_with_everything_that_is_written() {
    let volume = |files: Vec<File>| {
        digest(&[VolumeInput {
            name: "v".into(),
            content: Content::Files {
                secret: false,
                files,
            },
            group: None,
        }])
    };
    let file = File {
        path: "a".into(),
        mode: 0o644,
        owner: None,
        bytes: b"x".to_vec(),
    };
    let others = [
        File {
            path: "b".into(),
            ..file.clone()
        },
        File {
            mode: 0o600,
            ..file.clone()
        },
        File {
            owner: Some(1),
            ..file.clone()
        },
        File {
            bytes: b"y".to_vec(),
            ..file.clone()
        },
    ];
    let mut digests: std::collections::BTreeSet<[u8; 32]> =
        others.map(|file| volume(vec![file])).into();
    digests.extend([
        volume(vec![file.clone()]),
        volume(Vec::new()),
        volume(vec![file.clone(), file]),
    ]);
    assert_eq!(digests.len(), 7);
}
