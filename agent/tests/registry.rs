//! Pulls from Debian's `docker-registry` and from servers that mean no good. Needs root, as the
//! unpacker does, and `docker-registry` (`./x tools`).
#![allow(missing_docs, clippy::unwrap_used)] // tests and their helpers

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bramble_agent::image::Limits;
use bramble_agent::image::platform::of_machine;
use bramble_agent::image::registry::{Order, Outcome, Progress, PullError, Pulled, pull};
use serde_json::json;

use support::archive::{Entry, config, dir, file, gzip, layer, sha, zstd};
use support::registry::{Cutter, PASSWORD, Registry, Scripted, Setup, USER, answer, registries};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const SCHEMA2: &str = "application/vnd.docker.distribution.manifest.v2+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// An image as a registry has it.
#[derive(Clone)]
struct Made {
    manifest: Vec<u8>,
    config: Vec<u8>,
    blobs: Vec<Vec<u8>>,
    layers: Vec<Vec<u8>>,
}

/// How a layer is packed.
type Pack = fn(&[u8]) -> Vec<u8>;

fn made(layers: Vec<Vec<u8>>, architecture: &str, pack: &[Pack]) -> Made {
    let config = config(&layers, architecture);
    let packed = layers.iter().zip(pack.iter().cycle());
    let blobs: Vec<Vec<u8>> = packed.map(|(layer, pack)| pack(layer)).collect();
    let describe = |bytes: &[u8]| json!({"mediaType": "application/octet-stream", "digest": sha(bytes), "size": bytes.len()});
    let descriptors: Vec<_> = blobs.iter().map(|b| describe(b)).collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": sha(&config), "size": config.len()},
        "layers": descriptors,
    });
    Made {
        manifest: manifest.to_string().into_bytes(),
        config,
        blobs,
        layers,
    }
}

fn plain(bytes: &[u8]) -> Vec<u8> {
    bytes.to_vec()
}

fn push(registry: &Registry, repository: &str, tag: &str, made: &Made) {
    push_blobs(registry, repository, made);
    registry.push_manifest(repository, tag, MANIFEST, &made.manifest);
}

fn push_blobs(registry: &Registry, repository: &str, made: &Made) {
    for bytes in made.blobs.iter().chain([&made.config]) {
        registry.push_blob(repository, &sha(bytes), bytes);
    }
}

/// Bytes that no compression makes smaller.
fn noise(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).max(1);
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// A store, and a file about registries.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn store(&self) -> PathBuf {
        self.dir.path().join("images")
    }

    fn order(&self, reference: &str, file: &str) -> Order {
        Order {
            reference: reference.to_owned(),
            config_json: vec![],
            config: vec![],
            registries: registries(self.dir.path(), file),
            known: vec![],
            only_check: false,
            hurry: false,
            time_floor: 0,
        }
    }

    fn pull(&self, order: &Order) -> Result<Pulled, PullError> {
        self.pull_for("x86_64", order)
    }

    fn pull_for(&self, machine: &str, order: &Order) -> Result<Pulled, PullError> {
        match self.carry_out(machine, order, Limits::default())? {
            Outcome::Pulled(pulled) => Ok(*pulled),
            other => panic!("{other:?}"),
        }
    }

    fn carry_out(
        &self,
        machine: &str,
        order: &Order,
        limits: Limits,
    ) -> Result<Outcome, PullError> {
        let result = pull(
            &self.store(),
            order,
            limits,
            &of_machine(machine),
            &mut |_| true,
        );
        let left = |folder: &str| names(&self.store().join(folder));
        assert_eq!(left("tmp"), [""; 0], "work in progress is left");
        if result.is_ok() {
            assert_eq!(left("partial"), [""; 0], "downloads are left");
        }
        result
    }

    fn read(&self, pulled: &Pulled, layer: usize, path: &str) -> Vec<u8> {
        let hex = pulled.image.diff_ids[layer].trim_start_matches("sha256:");
        let root = self.store().join("layers").join(&hex[..32]).join("fs");
        fs::read(root.join(path)).unwrap()
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Says that a registry speaks no TLS.
fn plain_http(address: impl std::fmt::Display) -> String {
    format!("[registry.\"{address}\"]\nplain-http = true\n")
}

fn login(location: &str, user: &str, password: &str) -> Vec<u8> {
    json!({"auths": {location: {"username": user, "password": password}}})
        .to_string()
        .into_bytes()
}

#[test]
fn tags_digests_and_every_compression() {
    let (place, storage) = (Place::new(), tempfile::tempdir().unwrap());
    let registry = Registry::start(storage.path(), &Setup::default());
    let at = registry.address;
    let layers = vec![
        layer(&[dir("etc/"), file("etc/a", b"one"), file("etc/gone", b"x")]),
        layer(&[file("etc/.wh.gone", b""), file("b", b"two")]),
        layer(&[file("c", b"three")]),
    ];
    let image = made(layers, "amd64", &[gzip, zstd, plain]);
    push(&registry, "team/app", "v1", &image);
    let pulled = place
        .pull(&place.order(&format!("{at}/team/app:v1"), &plain_http(at)))
        .unwrap();
    assert_eq!(pulled.digest, sha(&image.manifest));
    assert_eq!(pulled.image.id.0, sha(&image.config));
    assert_eq!(
        pulled.image.references,
        [
            format!("{at}/team/app:v1"),
            format!("{at}/team/app@{}", pulled.digest)
        ]
    );
    assert_eq!(place.read(&pulled, 0, "etc/a"), b"one");
    assert_eq!(place.read(&pulled, 1, "b"), b"two");
    assert_eq!(place.read(&pulled, 2, "c"), b"three");
    assert_eq!(pulled.image.config.entrypoint, ["/bin/sh", "-c"]);

    // By digest; all layers are here.
    let by_digest = place.order(&pulled.image.references[1], &plain_http(at));
    assert_eq!(place.pull(&by_digest).unwrap().image.id, pulled.image.id);
    // The name still means what is known; then it does not.
    let mut check = place.order(&pulled.image.references[0], &plain_http(at));
    check.known = vec![sha(b"another"), pulled.digest];
    check.only_check = true;
    let limits = Limits::default();
    let outcome = |place: &Place| place.carry_out("x86_64", &check, limits);
    assert_eq!(outcome(&place), Ok(Outcome::Same));
    let next = made(vec![layer(&[file("d", b"four")])], "amd64", &[gzip]);
    push(&registry, "team/app", "v1", &next);
    assert_eq!(outcome(&place), Ok(Outcome::Differs));
    let missing = place.order(&format!("{at}/team/app:v9"), &plain_http(at));
    let error = place.pull(&missing).unwrap_err();
    assert!(
        matches!(&error, PullError::NotFound(text) if text.contains("failed to resolve reference") && text.contains("not found")),
        "{error:?}"
    );
}

#[test]
fn a_board_gets_its_own_variant_and_others_are_named() {
    let (place, storage) = (Place::new(), tempfile::tempdir().unwrap());
    let registry = Registry::start(storage.path(), &Setup::default());
    let at = registry.address;
    let variant = |name: &str, architecture: &str| {
        let layers = vec![layer(&[file("which", name.as_bytes())])];
        made(layers, architecture, &[gzip])
    };
    let push_index = |tag: &str, media_type: &str, platforms: &[(&str, &str)]| {
        let mut manifests = Vec::new();
        for (architecture, variant_name) in platforms {
            let image = variant(&format!("{architecture}/{variant_name}"), architecture);
            push_blobs(&registry, "many", &image);
            let digest = sha(&image.manifest);
            registry.push_manifest("many", &digest, MANIFEST, &image.manifest);
            manifests.push(json!({
                "mediaType": MANIFEST, "digest": digest, "size": image.manifest.len(),
                "platform": {"os": "linux", "architecture": architecture, "variant": variant_name},
            }));
        }
        let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests});
        registry.push_manifest("many", tag, media_type, index.to_string().as_bytes());
    };
    push_index(
        "all",
        INDEX,
        &[("amd64", ""), ("arm", "v6"), ("arm", "v7"), ("arm64", "v8")],
    );
    push_index("arm", LIST, &[("arm", "v6"), ("arm", "v7")]);
    let order = |tag: &str| place.order(&format!("{at}/many:{tag}"), &plain_http(at));
    for (machine, tag, expected) in [
        ("x86_64", "all", "amd64/"),
        ("aarch64", "all", "arm64/v8"),
        ("armv7l", "all", "arm/v7"),
        ("armv6l", "all", "arm/v6"),
        ("aarch64", "arm", "arm/v7"),
    ] {
        let pulled = place.pull_for(machine, &order(tag)).unwrap();
        let which = place.read(&pulled, 0, "which");
        assert_eq!(String::from_utf8(which).unwrap(), expected, "{machine}");
    }
    let error = place.pull_for("x86_64", &order("arm")).unwrap_err();
    assert_eq!(
        error,
        PullError::Platform(format!(
            "failed to pull and unpack image \"{at}/many:arm\": the image is for linux/arm/v6, linux/arm/v7, this board is linux/amd64"
        ))
    );
    // One manifest without an index, of Docker's kind, for another processor.
    let mut image = variant("only", "arm64");
    let manifest = String::from_utf8(image.manifest).unwrap();
    image.manifest = manifest.replace(MANIFEST, SCHEMA2).into_bytes();
    push_blobs(&registry, "one", &image);
    registry.push_manifest("one", "1", SCHEMA2, &image.manifest);
    let one = place.order(&format!("{at}/one:1"), &plain_http(at));
    let error = place.pull_for("x86_64", &one).unwrap_err().to_string();
    assert!(
        error.ends_with("the image is for linux/arm64, this board is linux/amd64"),
        "{error}"
    );
    place.pull_for("aarch64", &one).unwrap();
}

#[test]
fn tls_is_believed_only_as_the_board_says() {
    let (place, storage) = (Place::new(), tempfile::tempdir().unwrap());
    let (ca, tls) = certificates();
    let setup = Setup {
        tls: Some(tls.clone()),
        ..Setup::default()
    };
    let secure = Registry::start(storage.path(), &setup);
    let elsewhere = Setup {
        host: Some("127.0.0.2".to_owned()),
        tls: Some(tls),
        ..Setup::default()
    };
    let elsewhere = Registry::start(storage.path(), &elsewhere);
    let open = Registry::start(storage.path(), &Setup::default());
    let image = made(vec![layer(&[file("f", b"x")])], "amd64", &[gzip]);
    push(&open, "app", "1", &image);
    let name = secure.address.to_string();
    let reference = format!("{name}/app:1");
    let ca_file = place.dir.path().join("ca.pem");
    fs::write(&ca_file, ca).unwrap();
    let section = |line: String| format!("[registry.{name:?}]\n{line}\n");
    let unknown = place.pull(&place.order(&reference, "")).unwrap_err();
    assert!(
        matches!(&unknown, PullError::Invalid(text) if text.contains("UnknownIssuer")),
        "{unknown:?}"
    );
    let with_ca = section(format!("ca = {ca_file:?}"));
    place.pull(&place.order(&reference, &with_ca)).unwrap();
    let skip = section("insecure-skip-verify = true".into());
    Place::new().pull(&place.order(&reference, &skip)).unwrap();
    // The right authority for the wrong name.
    let name = elsewhere.address.to_string();
    let order = format!("[registry.{name:?}]\nca = {ca_file:?}\n");
    let error = place.pull(&place.order(&format!("{name}/app:1"), &order));
    let error = error.unwrap_err();
    assert!(
        matches!(&error, PullError::Invalid(text) if text.contains("NotValidForName")),
        "{error:?}"
    );
    // One that speaks no TLS is not spoken to without.
    let plain = place.order(&format!("{}/app:1", open.address), "");
    let error = place.pull(&plain).unwrap_err();
    assert!(matches!(error, PullError::Invalid(_)), "{error:?}");
}

/// An authority, and a chain and key of 127.0.0.1.
fn certificates() -> (String, (String, String)) {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &ca).unwrap();
    (ca.pem(), (leaf.pem(), key.serialize_pem()))
}

#[test]
fn basic_auth_takes_the_login_that_fits_best() {
    let (place, storage) = (Place::new(), tempfile::tempdir().unwrap());
    let setup = Setup {
        auth: true,
        ..Setup::default()
    };
    let guarded = Registry::start(storage.path(), &setup);
    let open = Registry::start(storage.path(), &Setup::default());
    let image = made(vec![layer(&[file("f", b"x")])], "amd64", &[gzip]);
    push(&open, "team/app", "1", &image);
    let at = guarded.address;
    let mut order = place.order(&format!("{at}/team/app:1"), &plain_http(at));
    let denied = |order: &Order| {
        let error = place.pull(order).unwrap_err();
        assert!(matches!(error, PullError::Denied(_)), "{error:?}");
        error.to_string()
    };
    assert!(denied(&order).contains("no basic auth credentials"));
    order.config_json = vec![login(&at.to_string(), USER, "wrong")];
    assert!(denied(&order).contains("pull access denied"));
    order.config_json = vec![login("elsewhere.lan", USER, PASSWORD)];
    denied(&order);
    // The more specific one is asked first, the other when that is refused.
    order.config_json = vec![
        login(&format!("{at}/team/app"), USER, "old"),
        login(&format!("http://{at}/v2/"), USER, PASSWORD),
    ];
    place.pull(&order).unwrap();
    order.config_json = vec![];
    order.config = vec![
        json!({at.to_string(): {"username": USER, "password": PASSWORD}})
            .to_string()
            .into_bytes(),
    ];
    place.pull(&order).unwrap();
    order.config_json = vec![b"{\"auths\": 1}".to_vec()];
    let error = place.pull(&order).unwrap_err().to_string();
    assert!(error.contains("a pull secret is unusable"), "{error}");
}

#[test]
fn a_cut_download_goes_on_where_it_ended() {
    let (place, storage) = (Place::new(), tempfile::tempdir().unwrap());
    let registry = Registry::start(storage.path(), &Setup::default());
    let content = noise(600_000, 1);
    let image = made(vec![layer(&[file("f", &content)])], "amd64", &[plain]);
    push(&registry, "app", "1", &image);
    let cutter = Cutter::start(registry.address, 200_000);
    let at = cutter.address;
    let order = place.order(&format!("{at}/app:1"), &plain_http(at));
    let pulled = place.pull(&order).unwrap();
    assert_eq!(place.read(&pulled, 0, "f"), content);
    // Nothing came twice, but for what was on its way when a connection was cut.
    let went = cutter.bytes.load(Ordering::SeqCst);
    assert!((600_000..900_000).contains(&went), "{went}");

    // What came stays when a pull ends, here because nobody wants it any more.
    let content = noise(3_000_000, 2);
    let image = made(vec![layer(&[file("g", &content)])], "amd64", &[plain]);
    push(&registry, "app", "2", &image);
    let store = place.store();
    let half = store.join("partial");
    let order = place.order(&format!("{at}/app:2"), &plain_http(at));
    cutter.after.store(1_000_000, Ordering::SeqCst);
    let digest = sha(&image.blobs[0]);
    let hex = digest.trim_start_matches("sha256:");
    fs::create_dir_all(&half).unwrap();
    fs::write(half.join(hex), &image.blobs[0][..2_500_000]).unwrap();
    cutter.bytes.store(0, Ordering::SeqCst);
    let pulled = place.pull(&order).unwrap();
    assert_eq!(place.read(&pulled, 0, "g"), content);
    let went = cutter.bytes.load(Ordering::SeqCst);
    assert!(went < 700_000, "{went}");
}

#[test]
fn damage_on_the_board_is_found_and_mended() {
    let (place, storage) = (Place::new(), tempfile::tempdir().unwrap());
    let registry = Registry::start(storage.path(), &Setup::default());
    let image = made(vec![layer(&[file("f", b"right")])], "amd64", &[gzip]);
    push(&registry, "app", "1", &image);
    let at = registry.address;
    let digest = sha(&image.blobs[0]);
    let partial = place.store().join("partial");
    fs::create_dir_all(&partial).unwrap();
    // As long as it should be, shorter, and longer; all wrong.
    for wrong in [image.blobs[0].len(), 10, 100_000] {
        let path = partial.join(digest.trim_start_matches("sha256:"));
        fs::write(&path, vec![7; wrong]).unwrap();
        let order = place.order(&format!("{at}/app:1"), &plain_http(at));
        let pulled = place.pull(&order).unwrap();
        assert_eq!(place.read(&pulled, 0, "f"), b"right");
        fs::remove_dir_all(place.store().join("layers")).unwrap();
    }
}

#[test]
fn mirrors_come_first_and_the_registry_stands_in() {
    let (place, storage) = (Place::new(), tempfile::tempdir().unwrap());
    let mirror = Registry::start(storage.path(), &Setup::default());
    let image = made(vec![layer(&[file("f", b"x")])], "amd64", &[gzip]);
    push(&mirror, "library/app", "1", &image);
    let own_storage = tempfile::tempdir().unwrap();
    let own = Registry::start(own_storage.path(), &Setup::default());
    push(&own, "library/only-here", "1", &image);
    let file = format!(
        "{}mirrors = [\"http://{}\"]\n",
        plain_http(own.address),
        mirror.address
    );
    let at = own.address;
    let order = |name: &str| place.order(&format!("{at}/library/{name}:1"), &file);
    place.pull(&order("app")).unwrap();
    place.pull(&order("only-here")).unwrap();
    let error = place.pull(&order("nowhere")).unwrap_err();
    assert!(
        matches!(&error, PullError::NotFound(text) if text.contains(&format!("(mirror {}", mirror.address))),
        "{error:?}"
    );
    // Without a network nothing is had, and that is told apart.
    drop((own, mirror));
    let error = place.pull(&order("app")).unwrap_err();
    assert!(
        matches!(&error, PullError::Unreachable(text) if text.contains("connection refused") || text.contains("Connection refused")),
        "{error:?}"
    );
}

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
        vec![support::archive::hard_link("a", "/etc/passwd")],
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
