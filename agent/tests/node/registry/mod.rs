//! Pulls from Debian's `docker-registry` and from servers that mean no good. Needs root, as the
//! unpacker does, and `docker-registry` (`./x tools`).
#![allow(missing_docs, clippy::unwrap_used)] // tests and their helpers

mod hostile;
mod place;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bramble_agent::image::Limits;
use bramble_agent::image::platform::of_machine;
use bramble_agent::image::registry::{Order, Outcome, Progress, PullError, Pulled, pull};
use serde_json::json;

use crate::support::archive::{Entry, config, dir, file, gzip, layer, sha, zstd};
use crate::support::registry::{
    Cutter, PASSWORD, Registry, Scripted, Setup, USER, answer, registries,
};
use place::{
    INDEX, LIST, MANIFEST, Made, Place, SCHEMA2, login, made, names, noise, plain, plain_http,
    push, push_blobs,
};

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
        matches!(&error, PullError::Invalid(text) if text.contains("not valid for name \"127.0.0.2\"")),
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
