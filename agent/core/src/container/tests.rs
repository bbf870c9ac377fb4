use std::collections::BTreeMap;

use bramble_wire::object::{
    ConfigMap, EnvFrom, EnvFromSource, EnvValue, EnvVar, ObjectName, PodField,
};

use super::*;

fn name(name: &str) -> ObjectName {
    ObjectName {
        namespace: "ns".into(),
        name: name.into(),
    }
}

fn desired() -> Desired {
    let data = [("A", "1"), ("B", "2")].map(|(k, v)| (k.to_owned(), v.as_bytes().to_vec()));
    Desired {
        config_maps: [(
            name("m"),
            ConfigMap {
                name: name("m"),
                data: data.into(),
            },
        )]
        .into(),
        ..Desired::default()
    }
}

fn literal(name: &str, value: &str) -> EnvVar {
    EnvVar {
        name: name.into(),
        value: EnvValue::Literal(value.into()),
    }
}

fn check(change: impl FnOnce(&mut Container, &mut Image)) -> Result<ContainerInput, String> {
    let mut container = Container {
        name: "c".into(),
        security: Security {
            allow_privilege_escalation: true,
            ..Security::default()
        },
        ..Container::default()
    };
    let mut image = Image {
        entrypoint: vec!["/entry".into()],
        cmd: vec!["cmd".into()],
        env: vec!["PATH=/image".into(), "LANG=C".into()],
        ..Image::default()
    };
    change(&mut container, &mut image);
    let pod = Pod {
        uid: PodUid([0xab; 16]),
        name: name("p"),
        hostname: "p".into(),
        ..Pod::default()
    };
    let host = Host {
        name: "node-1".into(),
        address: Some([192, 0, 2, 7]),
        ..Host::default()
    };
    let address = Some([10, 42, 0, 9]);
    compile(&desired(), &host, &pod, address, &container, 1, &image)
        .map_err(|error| format!("{}: {error}", error.reason()))
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn command_and_args_combine_as_in_kubernetes() {
    let cases: [(&[&str], &[&str], &[&str]); 4] = [
        (&[], &[], &["/entry", "cmd"]),
        (&["run"], &[], &["run"]),
        (&[], &["arg"], &["/entry", "arg"]),
        (&["run"], &["arg"], &["run", "arg"]),
    ];
    for (command, args, expected) in cases {
        let input = check(|container, _| {
            container.command = words(command);
            container.args = words(args);
        });
        assert_eq!(input.expect("valid").argv, expected);
    }
    let none = check(|_, image| *image = Image::default());
    assert_eq!(
        none,
        Err("CreateContainerError: no command specified".into())
    );
}

#[test]
fn environment_and_references() {
    let input = check(|container, _| {
        container.env_from = vec![EnvFrom {
            prefix: "M_".into(),
            source: EnvFromSource::ConfigMap("m".into()),
            optional: false,
        }];
        container.env = vec![
            literal("M_B", "over"),
            literal("REF", "$(M_A)-$(M_B)-$(LATER)-$$(M_A)"),
            literal("LATER", "x"),
            EnvVar {
                name: "IP".into(),
                value: EnvValue::Field(PodField::PodIp),
            },
            EnvVar {
                name: "NODE".into(),
                value: EnvValue::Field(PodField::NodeName),
            },
            EnvVar {
                name: "LEFT_OUT".into(),
                value: EnvValue::ConfigMapKey {
                    name: "m".into(),
                    key: "none".into(),
                    optional: true,
                },
            },
            literal("LANG", "de"),
        ];
        container.args = words(&["$(IP):$(REF)", "$(PATH)"]);
    })
    .expect("valid");
    let env: BTreeMap<&str, &str> = (input.env.iter())
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(env.len(), input.env.len(), "each name once");
    let expected = [
        ("HOSTNAME", "p"),
        ("IP", "10.42.0.9"),
        ("LANG", "de"),
        ("LATER", "x"),
        ("M_A", "1"),
        ("M_B", "over"),
        ("NODE", "node-1"),
        ("PATH", "/image"),
        ("REF", "1-over-$(LATER)-$(M_A)"),
    ];
    assert_eq!(env, expected.into());
    // The image's own variables are not the manifest's to refer to.
    let argv = ["/entry", "10.42.0.9:1-over-$(LATER)-$(M_A)", "$(PATH)"];
    assert_eq!(input.argv, argv);
}

#[test]
fn what_is_missing_is_named_as_kubernetes_names_it() {
    let key = |name: &str, key: &str, secret: bool| {
        let (name, key) = (name.to_owned(), key.to_owned());
        check(|container, _| {
            let optional = false;
            let value = if secret {
                EnvValue::SecretKey {
                    name,
                    key,
                    optional,
                }
            } else {
                EnvValue::ConfigMapKey {
                    name,
                    key,
                    optional,
                }
            };
            let name = "V".into();
            container.env.push(EnvVar { name, value });
        })
        .expect_err("missing")
    };
    let cases = [
        (key("n", "k", false), "configmap \"n\" not found"),
        (key("n", "k", true), "secret \"n\" not found"),
        (
            key("m", "k", false),
            "couldn't find key k in ConfigMap ns/m",
        ),
    ];
    for (error, expected) in cases {
        assert_eq!(error, format!("CreateContainerConfigError: {expected}"));
    }
}

#[test]
fn users_are_merged_with_the_images() {
    let user = |user: Option<u32>, group: Option<u32>, image_user: &str| {
        let input = check(|container, image| {
            container.security.run_as_user = user;
            container.security.run_as_group = group;
            image.user = image_user.into();
        })
        .expect("valid");
        (input.user.user, input.user.group)
    };
    let some = |group: &str| Some(group.to_owned());
    assert_eq!(user(None, None, ""), ("0".into(), None));
    assert_eq!(user(None, None, "app:staff"), ("app".into(), some("staff")));
    assert_eq!(user(Some(7), None, "app:staff"), ("7".into(), None));
    assert_eq!(user(None, Some(8), "1:2"), ("1".into(), some("8")));
}

#[test]
fn root_is_refused_where_it_must_not_be() {
    let run = |user: Option<u32>, image_user: &str| {
        check(|container, image| {
            container.security.run_as_non_root = true;
            container.security.run_as_user = user;
            image.user = image_user.into();
        })
        .map(|_| ())
    };
    let whose = "(pod: \"p_ns(abababab-abab-abab-abab-abababababab)\", container: c)";
    let refused = |text: &str| Err(format!("CreateContainerConfigError: {text} {whose}"));
    assert_eq!(run(Some(1000), ""), Ok(()));
    assert_eq!(run(None, "1000:0"), Ok(()));
    assert_eq!(
        run(Some(0), "1000"),
        refused("container's runAsUser breaks non-root policy")
    );
    assert_eq!(
        run(None, ""),
        refused("container has runAsNonRoot and image will run as root")
    );
    assert_eq!(
        run(None, "app"),
        refused(
            "container has runAsNonRoot and image has non-numeric user (app), cannot verify user is non-root"
        )
    );
}
