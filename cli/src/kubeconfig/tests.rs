use super::*;

/// The form that the controller writes.
const ADMIN_FILE: &str = "\
apiVersion: v1
kind: Config
clusters:
- name: bramble
  cluster:
    server: https://10.0.0.1:6443
    certificate-authority-data: Q0E=
users:
- name: kubernetes-admin
  user:
    client-certificate-data: Q0VSVA==
    client-key-data: S0VZ
contexts:
- name: bramble
  context:
    cluster: bramble
    user: kubernetes-admin
current-context: bramble
preferences: {}
# cluster id: cabc
";

fn check(text: &str) -> Result<Kubeconfig, String> {
    parse(text.as_bytes(), Path::new("/x/config"), None).map_err(|e| format!("{e:#}"))
}

#[test]
fn the_controllers_own_is_read() {
    let config = check(ADMIN_FILE).unwrap();
    assert_eq!(config.server.to_string(), "https://10.0.0.1:6443");
    assert_eq!(config.ca, b"CA");
    assert_eq!(
        config.credentials,
        Credentials::Certificate {
            chain: b"CERT".to_vec(),
            key: b"KEY".to_vec()
        }
    );
}

#[test]
fn json_is_a_kubeconfig_too() {
    let json = r#"{"clusters":[{"name":"c","cluster":{"server":"https://h","certificate-authority-data":"Q0E="}}],
        "users":[{"name":"u","user":{"token":"t0ken"}}],
        "contexts":[{"name":"x","context":{"cluster":"c","user":"u","namespace":"n"}}],"current-context":"x"}"#;
    let config = check(json).unwrap();
    assert_eq!(config.server.port, 443);
    assert_eq!(config.credentials, Credentials::Token("t0ken".into()));
}

#[test]
fn what_can_not_be_used_says_why() {
    let change = |from: &str, to: &str| {
        assert!(ADMIN_FILE.contains(from), "{from}");
        ADMIN_FILE.replace(from, to)
    };
    for (text, want) in [
        (String::new(), "is empty"),
        ("just text".into(), "no kubeconfig"),
        ("a: [".into(), "not YAML"),
        ("clusters: 5\n".into(), "not a kubeconfig"),
        (
            "clusters: null\ncontexts: null\nusers: null\ncurrent-context: \"\"\n".into(),
            "no current context; choose one with --context",
        ),
        (
            change("current-context: bramble", "current-context: other"),
            "no context \"other\"; it has: bramble",
        ),
        (
            change("    cluster: bramble", "    cluster: c2"),
            "no cluster \"c2\"",
        ),
        (
            change("    user: kubernetes-admin", "    user: u2"),
            "no user \"u2\"",
        ),
        (
            change("https://10.0.0.1", "http://10.0.0.1"),
            "must begin with https://",
        ),
        (
            change("Q0E=", "a$b"),
            "certificate-authority-data is not base64",
        ),
        (
            change("    certificate-authority-data: Q0E=\n", ""),
            "only servers of a known CA are trusted",
        ),
        (
            change(
                "certificate-authority-data: Q0E=",
                "insecure-skip-tls-verify: true",
            ),
            "insecure-skip-tls-verify is not supported",
        ),
        (
            change("certificate-authority-data: Q0E=", "proxy-url: http://p"),
            "proxy-url is not supported",
        ),
        (
            change("    client-key-data: S0VZ\n", ""),
            "a client certificate without its key",
        ),
        (
            change("    client-certificate-data: Q0VSVA==\n", ""),
            "a client key without its certificate",
        ),
        (
            change(
                "    client-certificate-data: Q0VSVA==\n    client-key-data: S0VZ\n",
                "    exec: {command: aws}\n",
            ),
            "exec plugins are not supported",
        ),
        (
            change(
                "    client-certificate-data: Q0VSVA==\n    client-key-data: S0VZ\n",
                "    token: \"a\\r\\nb: c\"\n",
            ),
            "not one word",
        ),
        (
            change("client-key-data: S0VZ", "client-key: gone.pem"),
            "reading /x/gone.pem",
        ),
    ] {
        let error = check(&text).expect_err(&text);
        assert!(error.contains(want), "{error}\nlacks {want:?} for\n{text}");
        assert!(error.starts_with("kubeconfig /x/config: "), "{error}");
    }
}

#[test]
fn files_are_found_beside_the_kubeconfig() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [("ca.pem", "CA"), ("c.pem", "CERT"), ("k.pem", "KEY")] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let text = ADMIN_FILE
        .replace(
            "certificate-authority-data: Q0E=",
            "certificate-authority: ca.pem",
        )
        .replace(
            "client-certificate-data: Q0VSVA==",
            "client-certificate: c.pem",
        )
        .replace("client-key-data: S0VZ", "client-key: k.pem");
    let path = dir.path().join("config");
    let config = parse(text.as_bytes(), &path, None).unwrap();
    let embedded = check(ADMIN_FILE).unwrap();
    assert_eq!(config.render(), embedded.render());
}

#[test]
fn printing_and_reading_again_gives_the_same() {
    let with_name = ADMIN_FILE
        .replace("    server:", "    tls-server-name: pi\n    server:")
        .replace("    user: kub", "    namespace: ns\n    user: kub");
    for text in [ADMIN_FILE, &with_name] {
        let config = check(text).unwrap();
        assert_eq!(check(&config.render()).unwrap(), config);
        let other: Url = "https://pi.lan:7443".parse().unwrap();
        let moved = check(
            &Kubeconfig {
                server: other.clone(),
                ..config.clone()
            }
            .render(),
        )
        .unwrap();
        assert_eq!(
            moved,
            Kubeconfig {
                server: other,
                ..config
            }
        );
    }
}

#[test]
fn another_context_can_be_chosen() {
    let two = format!(
        "{}- name: second\n  context: {{cluster: bramble, user: kubernetes-admin}}\n",
        ADMIN_FILE
            .split_once("current-context")
            .map(|(head, _)| head)
            .unwrap()
    );
    let config = parse(two.as_bytes(), Path::new("x"), Some("second")).unwrap();
    assert_eq!(config.names.context, "second");
}

#[test]
fn the_right_file_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    };
    let (admin, a, b) = (file("admin", "x"), file("a", "x"), file("b", "x"));
    let home = file("home/.kube/config", "x");
    let empty = file("other/.kube/config", "");
    let list = |paths: &[&Path]| std::env::join_paths(paths).ok();
    let gone = dir.path().join("gone");
    let places = |explicit: Option<&Path>, variable: Option<OsString>, home: &Path| Places {
        explicit: explicit.map(Path::to_owned),
        variable,
        home: home.ancestors().nth(2).map(Path::to_owned),
        admin: admin.clone(),
    };

    let found = |places: Places| places.find(Prefer::Home).map_err(|e| e.to_string());
    assert_eq!(
        found(places(Some(&gone), list(&[&a]), &home)),
        Ok(gone.clone())
    );
    assert_eq!(found(places(None, list(&[&gone, &b, &a]), &home)), Ok(b));
    assert_eq!(
        found(places(None, Some("".into()), &home)),
        Ok(home.clone())
    );
    assert_eq!(found(places(None, None, &empty)), Ok(admin.clone()));
    assert_eq!(
        places(None, None, &home).find(Prefer::Controller).unwrap(),
        admin
    );
    let error = found(places(None, list(&[&gone]), &home)).unwrap_err();
    assert!(error.contains("no file of KUBECONFIG"), "{error}");
    let nothing = Places {
        admin: gone,
        ..Places::default()
    };
    assert!(found(nothing).unwrap_err().contains("--kubeconfig"));
}

#[test]
fn secrets_stay_out_of_debug_output() {
    let text = format!("{:?}", check(ADMIN_FILE).unwrap().credentials);
    assert_eq!(text, "Certificate(..)");
}
