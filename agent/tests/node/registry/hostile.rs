//! Registries that answer what no registry should, and boards that are full.

use super::*;

/// A registry with one image; `twist` may answer instead.
fn scripted(
    image: &Made,
    twist: impl Fn(&str, &str, &str) -> Option<Vec<u8>> + Send + Sync + 'static,
) -> Scripted {
    let image = image.clone();
    Scripted::start(Box::new(move |method, path, head| {
        if let Some(answer) = twist(method, path, head) {
            return answer;
        }
        if path.contains("/manifests/") {
            let digest = sha(&image.manifest);
            let headers = [
                ("Content-Type", MANIFEST),
                ("Docker-Content-Digest", digest.as_str()),
            ];
            return answer(200, &headers, &image.manifest);
        }
        let mut blobs = image.blobs.iter().chain([&image.config]);
        match blobs.find(|blob| path.ends_with(&sha(blob))) {
            Some(blob) => answer(200, &[], blob),
            None => answer(404, &[], b""),
        }
    }))
}

fn small() -> Made {
    made(vec![layer(&[file("f", b"x")])], "amd64", &[gzip])
}

fn try_pull(server: &Scripted, limits: Limits) -> (Place, Result<Outcome, PullError>) {
    let place = Place::new();
    let at = server.address;
    let mut order = place.order(&format!("{at}/app:1"), &plain_http(at));
    order.config_json = vec![login(&at.to_string(), USER, PASSWORD)];
    let result = place.carry_out("x86_64", &order, limits);
    (place, result)
}

#[test]
fn tokens_are_fetched_where_the_registry_says() {
    let image = small();
    let server = scripted(&image, |_, path, head| {
        let authority = head.lines().find_map(|l| l.strip_prefix("Host: "))?;
        if path.starts_with("/token") {
            let ok = path == "/token?service=reg%20istry&scope=repository:app:pull"
                && head.contains("Authorization: Basic YWxpOm9wZW4gc2VzYW1l\r\n");
            return Some(match ok {
                true => answer(200, &[], br#"{"access_token": "T0ken", "expires_in": 300}"#),
                false => answer(
                    403,
                    &[],
                    br#"{"errors":[{"code":"DENIED","message":"no"}]}"#,
                ),
            });
        }
        if head.contains("Authorization: Bearer T0ken\r\n") {
            return None;
        }
        let challenge = format!(
            "Bearer realm=\"http://{authority}/token\",service=\"reg istry\",scope=\"repository:app:pull\""
        );
        Some(answer(401, &[("WWW-Authenticate", &challenge)], b"{}"))
    });
    let (_place, result) = try_pull(&server, Limits::default());
    result.unwrap();
    let seen = server.seen.lock().unwrap();
    let tokens = seen.iter().filter(|head| head.contains("/token")).count();
    assert_eq!(tokens, 1, "one token is enough for a pull");
}

#[test]
fn secrets_do_not_follow_a_redirect() {
    let image = small();
    let store = {
        let image = image.clone();
        Scripted::start(Box::new(move |_, _, head| {
            match head.to_lowercase().contains("authorization") {
                true => answer(400, &[], b""),
                false => answer(200, &[], &image.blobs[0]),
            }
        }))
    };
    let (to, layer) = (store.address, sha(&image.blobs[0]));
    let server = scripted(&image, move |_, path, head| {
        if !head.contains("Authorization: Basic ") {
            return Some(answer(401, &[("WWW-Authenticate", "Basic realm=x")], b""));
        }
        path.ends_with(&layer)
            .then(|| answer(307, &[("Location", &format!("http://{to}/x?sig=1"))], b""))
    });
    let (_place, result) = try_pull(&server, Limits::default());
    result.unwrap();
    assert_eq!(store.seen.lock().unwrap().len(), 1);
    let circle = scripted(&image, |_, path, _| {
        Some(answer(302, &[("Location", path)], b""))
    });
    let error = try_pull(&circle, Limits::default()).1.unwrap_err();
    assert!(error.to_string().contains("too many redirects"), "{error}");
}

#[test]
fn what_a_hostile_registry_sends_is_refused() {
    type Twist = Box<dyn Fn(&str, &str, &str) -> Option<Vec<u8>> + Send + Sync>;
    let image = small();
    let (blob, config) = (image.blobs[0].clone(), image.config.clone());
    let on = |part: String, answer: Vec<u8>| -> Twist {
        Box::new(move |_, path, _| path.ends_with(&part).then(|| answer.clone()))
    };
    let mut wrong = blob.clone();
    wrong[20] ^= 1;
    let mut longer = blob.clone();
    longer.extend([0; 500]);
    let manifest = String::from_utf8(image.manifest.clone()).unwrap();
    let no_size = manifest.replace(&format!(",\"size\":{}", blob.len()), "");
    let lying = manifest.replace(
        &format!("\"size\":{}", blob.len()),
        "\"size\":18446744073709551615",
    );
    let escape = manifest.replace(&sha(&blob), "sha256:../../../../etc/passwd");
    let cases: Vec<(Twist, &str)> = vec![
        (on(sha(&blob), answer(200, &[], &wrong)), "has the digest"),
        (on(sha(&blob), answer(200, &[], &longer)), "longer than"),
        (on(sha(&config), answer(200, &[], b"{}")), "has the digest"),
        (
            on(
                "/1".into(),
                answer(200, &[("Docker-Content-Digest", &sha(b"x"))], b"{}"),
            ),
            "has the digest",
        ),
        (
            on("/1".into(), answer(200, &[], no_size.as_bytes())),
            "says no size",
        ),
        (
            on("/1".into(), answer(200, &[], lying.as_bytes())),
            "allowed",
        ),
        (
            on("/1".into(), answer(200, &[], escape.as_bytes())),
            "is no digest",
        ),
        (
            on("/1".into(), answer(200, &[], b"{\"schemaVersion\": 1}")),
            "schema version 1",
        ),
        (on("/1".into(), answer(200, &[], b"[]")), "manifest"),
        (
            on("/1".into(), answer(418, &[], b"tea")),
            "unexpected status 418",
        ),
        (on("/1".into(), b"SSH-2.0-x\r\n\r\n".to_vec()), "not HTTP"),
        (
            on(
                "/1".into(),
                answer(
                    401,
                    &[("WWW-Authenticate", "Bearer realm=\"ftp://x/\"")],
                    b"",
                ),
            ),
            "not an address",
        ),
    ];
    for (twist, expected) in cases {
        let server = scripted(&image, twist);
        let (place, result) = try_pull(&server, Limits::default());
        let error = result.unwrap_err();
        assert!(
            matches!(&error, PullError::Invalid(text) if text.contains(expected)),
            "{expected}: {error:?}"
        );
        assert_eq!(names(&place.store().join("layers")), [""; 0]);
        assert_eq!(names(&place.store().join("partial")), [""; 0]);
    }
    // The registry's own words are shown, without what a terminal would obey.
    let busy = br#"{"errors":[{"code":"TOOMANYREQUESTS","message":"later\u001b[31m"}]}"#;
    for (status, expected) in [
        (503, "unexpected status 503: TOOMANYREQUESTS later[31m"),
        (429, "too many requests (429): TOOMANYREQUESTS later[31m"),
    ] {
        let server = scripted(&image, move |_, _, _| Some(answer(status, &[], busy)));
        let error = try_pull(&server, Limits::default()).1.unwrap_err();
        assert!(
            matches!(&error, PullError::Unavailable(text) if text.ends_with(expected)),
            "{error:?}"
        );
    }
}

#[test]
fn bombs_and_escapes_are_bounded_and_leave_nothing() {
    let bomb = vec![layer(&[file("zeros", &vec![0; 5_000_000])])];
    let limits = Limits {
        unpacked_bytes: 1_000_000,
        ..Limits::default()
    };
    let evil: Vec<Vec<Entry>> = vec![
        vec![file("../../evil", b"x")],
        vec![crate::support::archive::hard_link("a", "/etc/passwd")],
    ];
    let mut cases = vec![(bomb, "unpacks to more than 1000000 bytes")];
    cases.extend(evil.iter().map(|entries| (vec![layer(entries)], "")));
    for (layers, expected) in cases {
        let image = made(layers, "amd64", &[gzip]);
        let server = scripted(&image, |_, _, _| None);
        let (place, result) = try_pull(&server, limits);
        let error = result.unwrap_err();
        assert!(
            matches!(&error, PullError::Invalid(text) if text.contains(expected)),
            "{error:?}"
        );
        for folder in ["layers", "partial", "tmp"] {
            assert_eq!(names(&place.store().join(folder)), [""; 0], "{folder}");
        }
    }
    // What the configuration says of a layer's content counts, too.
    let mut image = small();
    let other = layer(&[file("f", b"y")]);
    image.blobs = vec![gzip(&other)];
    let manifest = String::from_utf8(image.manifest).unwrap();
    let old = gzip(&image.layers[0]);
    image.manifest = manifest
        .replace(&sha(&old), &sha(&image.blobs[0]))
        .replace(
            &format!("\"size\":{}", old.len()),
            &format!("\"size\":{}", image.blobs[0].len()),
        )
        .into_bytes();
    let server = scripted(&image, |_, _, _| None);
    let error = try_pull(&server, limits).1.unwrap_err().to_string();
    assert!(error.contains("content is sha256:"), "{error}");
}

#[test]
fn a_full_disk_is_told_apart_and_cleaned() {
    let small_disk = Tmpfs::mount("72m");
    let content = noise(12_000_000, 3);
    let image = made(vec![layer(&[file("f", &content)])], "amd64", &[gzip]);
    let server = scripted(&image, |_, _, _| None);
    let place = Place::new();
    let at = server.address;
    let order = place.order(&format!("{at}/app:1"), &plain_http(at));
    let store = small_disk.path.join("images");
    let pull_there = |limits: Limits| {
        let board = of_machine("x86_64");
        pull(&store, &order, limits, &board, &mut |_: Progress| true).unwrap_err()
    };
    let error = pull_there(Limits::default());
    assert!(
        matches!(&error, PullError::Disk(text) if text.contains("no space left on device")),
        "{error:?}"
    );
    // Little to download, much to unpack.
    let zeros = vec![0; 20_000_000];
    let image = made(vec![layer(&[file("zeros", &zeros)])], "amd64", &[gzip]);
    let server = scripted(&image, |_, _, _| None);
    let at = server.address;
    let order = place.order(&format!("{at}/app:1"), &plain_http(at));
    let board = of_machine("x86_64");
    let result = pull(&store, &order, Limits::default(), &board, &mut |_| true);
    assert!(matches!(result, Err(PullError::Disk(_))), "{result:?}");
    for folder in ["layers", "partial", "tmp"] {
        assert_eq!(names(&store.join(folder)), [""; 0], "{folder}");
    }
}

/// A small disk in memory.
struct Tmpfs {
    path: PathBuf,
    _dir: tempfile::TempDir,
}

impl Tmpfs {
    fn mount(size: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        fs::create_dir(&path).unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"]);
        assert!(mount.arg(&path).status().unwrap().success());
        Self { path, _dir: dir }
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.path, rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn a_server_that_says_nothing_is_given_up_soon_where_a_copy_is_here() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = silent.local_addr().unwrap();
    let place = Place::new();
    let mut order = place.order(&format!("{at}/app:1"), &plain_http(at));
    order.hurry = true;
    let began = std::time::Instant::now();
    let error = place.pull(&order).unwrap_err();
    assert!(matches!(error, PullError::Unreachable(_)), "{error:?}");
    assert!(began.elapsed().as_secs() < 10);
    let _keep = Arc::new(silent);
}
