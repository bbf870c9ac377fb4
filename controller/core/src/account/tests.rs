use super::*;

const CA: &str = "-----BEGIN CERTIFICATE-----\n";

fn metadata(json: Value) -> Metadata {
    serde_json::from_value(json).unwrap()
}

fn config_map(data: Value, annotated: bool) -> Observed<ConfigMap> {
    let annotations = match annotated {
        true => json!({DESCRIPTION: "x"}),
        false => json!({}),
    };
    let object = json!({"metadata": {"name": ROOT_CA, "namespace": "d", "annotations": annotations},
        "data": data});
    Observed {
        revision: 7,
        object: serde_json::from_value(object).unwrap(),
    }
}

#[track_caller]
fn check(namespace: Value, account: bool, root_ca: Option<&Observed<ConfigMap>>, want: &[&str]) {
    let namespace = metadata(namespace);
    let actions = equip(&Input {
        namespace: &namespace,
        account,
        root_ca,
        ca: CA,
    });
    let say = |action: &Action| match action {
        Action::Create { kind, object, .. } => {
            format!(
                "create {} {}",
                kind.kind,
                object["metadata"]["name"].as_str().unwrap()
            )
        }
        Action::Patch {
            revision, patch, ..
        } => format!("patch {revision} {}", patch["data"]),
        other => panic!("{other:?}"),
    };
    assert_eq!(actions.iter().map(say).collect::<Vec<_>>(), want);
}

#[test]
fn a_namespace_gets_its_account_and_the_ca_and_keeps_them() {
    let (account, ca) = (
        "create ServiceAccount default",
        "create ConfigMap kube-root-ca.crt",
    );
    let right = config_map(json!({"ca.crt": CA}), true);
    let d = || json!({"name": "d"});
    check(d(), false, None, &[account, ca]);
    check(d(), true, None, &[ca]);
    check(d(), false, Some(&right), &[account]);
    check(d(), true, Some(&right), &[]);
    let patch = r#"patch 7 {"ca.crt":"-----BEGIN CERTIFICATE-----\n"}"#;
    check(
        d(),
        true,
        Some(&config_map(json!({"ca.crt": "other"}), true)),
        &[patch],
    );
    check(
        d(),
        true,
        Some(&config_map(json!({"ca.crt": CA}), false)),
        &[patch],
    );
    let more = config_map(json!({"ca.crt": CA, "more": "x"}), true);
    let cleaned = r#"patch 7 {"ca.crt":"-----BEGIN CERTIFICATE-----\n","more":null}"#;
    check(d(), true, Some(&more), &[cleaned]);
    let ending = json!({"name": "d", "deletionTimestamp": "2026-01-01T00:00:00Z"});
    check(ending, false, None, &[]);
}
