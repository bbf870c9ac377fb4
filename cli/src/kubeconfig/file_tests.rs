use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::kubeconfig::{Credentials, Names};

fn config(context: &str, user: &str, ca: &str) -> Kubeconfig {
    Kubeconfig {
        path: PathBuf::from("in"),
        names: Names {
            context: context.into(),
            cluster: "bramble".into(),
            user: user.into(),
            namespace: None,
        },
        server: "https://10.0.0.1:6443".parse().unwrap(),
        tls_server_name: None,
        ca: ca.as_bytes().to_vec(),
        credentials: Credentials::Token(format!("token-of-{user}")),
    }
}

fn target(path: &Path, merge: bool, force: bool) -> anyhow::Result<Option<Target>> {
    Target::of(&KubeconfigArgs {
        output: Some(path.to_owned()),
        merge,
        force,
        ..KubeconfigArgs::default()
    })
}

fn contexts(path: &Path) -> (Vec<String>, String) {
    let text = fs::read(path).unwrap();
    let file = bramble_api::decode::untyped(Some("application/yaml"), &text).unwrap();
    let names = file["contexts"].as_array().unwrap().iter();
    let names = names.map(|c| c["name"].as_str().unwrap().to_owned());
    let current = file["current-context"].as_str().unwrap().to_owned();
    (names.collect(), current)
}

#[test]
fn a_file_that_is_there_is_not_replaced_unasked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/config");
    let first = target(&path, false, false).unwrap().unwrap();
    write(&first, &config("a@bramble", "a", "CA")).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let refused = target(&path, false, false).unwrap_err().to_string();
    assert!(
        refused.contains("--merge") && refused.contains("--force"),
        "{refused}"
    );
    let forced = target(&path, false, true).unwrap().unwrap();
    write(&forced, &config("b@bramble", "b", "CA")).unwrap();
    assert_eq!(
        contexts(&path),
        (vec!["b@bramble".into()], "b@bramble".into())
    );
    // Nothing is left beside it.
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    assert_eq!(target(Path::new("-"), false, false).unwrap(), None);
    assert!(target(Path::new("-"), true, false).is_err());
}

#[test]
fn merging_keeps_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config");
    let old = "apiVersion: v1\nkind: Config\ncurrent-context: work\n\
               clusters:\n- name: work\n  cluster: {server: 'https://w:1', insecure-skip-tls-verify: true}\n\
               users:\n- name: me\n  user:\n    exec: {command: helper, args: [a, '#b']}\n\
               contexts:\n- name: work\n  context: {cluster: work, user: me}\nextra: kept\n";
    fs::write(&path, old).unwrap();
    let merge = |config: &Kubeconfig, force| {
        let target = target(&path, true, force).unwrap().unwrap();
        write(&target, config)
    };
    merge(&config("a@bramble", "a", "CA"), false).unwrap();
    merge(&config("b@bramble", "b", "CA"), false).unwrap();
    let names = ["work", "a@bramble", "b@bramble"]
        .map(str::to_owned)
        .to_vec();
    assert_eq!(contexts(&path), (names.clone(), "work".into()));
    let text = fs::read_to_string(&path).unwrap();
    for kept in [
        "helper",
        "\"#b\"",
        "extra: kept",
        "insecure-skip-tls-verify: true",
    ] {
        assert!(text.contains(kept), "{kept}\n{text}");
    }

    // Another cluster of the same name, and another user, are not replaced unasked.
    let error = merge(&config("a@bramble", "a", "OTHER"), false).unwrap_err();
    assert!(
        format!("{error:#}").contains("another cluster \"bramble\""),
        "{error:#}"
    );
    let mut fresh = config("a@bramble", "a", "CA");
    fresh.credentials = Credentials::Token("fresh".into());
    let error = merge(&fresh, false).unwrap_err();
    assert!(
        format!("{error:#}").contains("another user \"a\""),
        "{error:#}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    merge(&fresh, true).unwrap();
    assert_eq!(contexts(&path).0, names);
    assert!(fs::read_to_string(&path).unwrap().contains("token: fresh"));
}

#[test]
fn what_is_no_kubeconfig_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config");
    for text in ["- a\n", "clusters: 5\n", "a: [\n"] {
        fs::write(&path, text).unwrap();
        let target = target(&path, true, true).unwrap().unwrap();
        write(&target, &config("a", "a", "CA")).unwrap_err();
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}
