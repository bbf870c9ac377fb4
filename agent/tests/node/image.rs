//! Image archives, good and hostile, through the real unpacker: needs root for owners and whiteouts.
#![allow(missing_docs, clippy::unwrap_used)] // tests and their helpers

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use bramble_agent::image::child::{LoadError, Report, load};
use bramble_agent::image::platform::of_machine;
use bramble_agent::image::{Error, Limits, Store};
use tar::EntryType;

use crate::support::archive::{
    Entry, Platform, dir, docker, entry, file, gzip, hard_link, layer, oci, symlink, zstd,
};

/// A store inside a directory whose other content must never change.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("outside")).unwrap();
        fs::write(dir.path().join("outside/secret"), "untouched").unwrap();
        Self { dir }
    }

    fn store(&self) -> PathBuf {
        self.dir.path().join("data/images")
    }

    fn write(&self, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join("archive.tar");
        fs::write(&path, bytes).unwrap();
        path
    }

    fn load(&self, bytes: &[u8]) -> Report {
        self.load_limited(bytes, Limits::default())
    }

    fn load_limited(&self, bytes: &[u8], limits: Limits) -> Report {
        let report = load(
            &self.store(),
            &self.write(bytes),
            limits,
            &of_machine("x86_64"),
        );
        self.check();
        report
    }

    fn load_layer(&self, entries: &[Entry]) -> Result<PathBuf, LoadError> {
        let bytes = layer(entries);
        let loaded = self.load(&docker("test:1", std::slice::from_ref(&bytes), "amd64"))?;
        let id = loaded[0].diff_ids[0]
            .trim_start_matches("sha256:")
            .to_owned();
        Ok(self.store().join("layers").join(&id[..32]).join("fs"))
    }

    /// Nothing outside the store has changed, and no half layer is in it.
    fn check(&self) {
        let names: BTreeSet<_> = fs::read_dir(self.dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        assert!(
            names
                .iter()
                .all(|n| ["archive.tar", "data", "outside"].contains(&n.as_str())),
            "{names:?}"
        );
        let outside: Vec<_> = fs::read_dir(self.dir.path().join("outside"))
            .unwrap()
            .collect();
        assert_eq!(outside.len(), 1);
        assert_eq!(
            fs::read_to_string(self.dir.path().join("outside/secret")).unwrap(),
            "untouched"
        );
        assert_eq!(
            fs::metadata(self.dir.path().join("outside/secret"))
                .unwrap()
                .nlink(),
            1
        );
        let tmp = fs::read_dir(self.store().join("tmp"))
            .into_iter()
            .flatten()
            .count();
        assert_eq!(tmp, 0, "work in progress left");
    }
}

#[test]
fn a_layer_is_unpacked_with_its_rights_links_and_whiteouts() {
    let place = Place::new();
    let mut suid = file("bin/tool", b"#!");
    suid.mode = 0o4755;
    let root = place
        .load_layer(&[
            dir("bin/"),
            suid,
            hard_link("bin/twin", "bin/tool"),
            symlink("sbin", "/bin"),
            // Through an absolute link, inside the image.
            file("sbin/extra", b"x"),
            file("etc/.wh.gone", b""),
            dir("srv/"),
            file("srv/.wh..wh..opq", b""),
            file("srv/new", b"n"),
            entry("run/fifo", EntryType::Fifo, "", b""),
        ])
        .unwrap();
    let tool = fs::symlink_metadata(root.join("bin/tool")).unwrap();
    assert_eq!((tool.mode() & 0o7777, tool.nlink()), (0o4755, 2));
    assert_eq!(tool.mtime(), 1_000_000_000);
    assert_eq!(fs::read_link(root.join("sbin")).unwrap(), Path::new("/bin"));
    assert_eq!(fs::read(root.join("bin/extra")).unwrap(), b"x");
    let gone = fs::symlink_metadata(root.join("etc/gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    let mut opaque = [0; 4];
    let n = rustix::fs::getxattr(root.join("srv"), "trusted.overlay.opaque", &mut opaque).unwrap();
    assert_eq!(&opaque[..n], b"y");
}

#[test]
fn hostile_layers_are_refused_and_write_nothing_outside() {
    let up = "../".repeat(12);
    let cases: Vec<(&str, Vec<Entry>)> = vec![
        ("leads out", vec![file("../../outside/evil", b"x")]),
        ("leads out", vec![file("a/../../b", b"x")]),
        ("leads out", vec![hard_link("a", "../../outside/secret")]),
        ("not in the layer", vec![hard_link("a", "/etc/passwd")]),
        (
            "not in the layer",
            vec![
                symlink("l", &format!("{up}etc")),
                hard_link("a", "l/passwd"),
            ],
        ),
        ("itself", vec![hard_link("a", "a")]),
        ("no file", vec![dir("d"), hard_link("a", "d")]),
        (
            "device nodes",
            vec![entry("dev/sda", EntryType::Block, "", b"")],
        ),
        (
            "device nodes",
            vec![entry("null", EntryType::Char, "", b"")],
        ),
        ("whiteout without a name", vec![file(".wh.", b"")]),
        ("whiteout without a name", vec![file("a/.wh...", b"")]),
        ("whiteout without a name", vec![file("a/.wh..", b"")]),
        ("not empty", vec![file("d/x", b"x"), file("d", b"x")]),
        ("without a target", vec![symlink("l", "")]),
        (
            "more than",
            vec![Entry {
                size: Some(1 << 60),
                ..file("big", b"x")
            }],
        ),
    ];
    for (want, entries) in cases {
        let place = Place::new();
        match place.load_layer(&entries) {
            Err(LoadError::Invalid(text)) => assert!(text.contains(want), "{want}: {text}"),
            // A small disk holds less than a hostile image may have.
            Err(LoadError::Disk(text)) if want == "more than" => {
                assert!(text.contains("No space left"), "{text}");
            }
            other => panic!("{want}: {other:?}"),
        }
    }
}

#[test]
fn links_that_point_out_of_the_image_lead_nowhere_else() {
    let place = Place::new();
    let outside = place.dir.path().join("outside");
    let up = format!("{}{}", "../".repeat(12), outside.display());
    for target in [outside.to_str().unwrap(), up.trim_start_matches('/')] {
        // Writing through the link makes the path inside the image, or fails; `check` sees to it
        // that nothing reaches the real one.
        let _ = place.load_layer(&[symlink("l", target), file("l/evil", b"x")]);
        let _ = place.load_layer(&[symlink("l", target), dir("l"), file("l/evil", b"y")]);
        let _ = place.load_layer(&[symlink("l", &format!("{target}/secret")), file("l", b"z")]);
    }
}

#[test]
fn bombs_meet_their_bounds() {
    let place = Place::new();
    let limits = Limits {
        unpacked_bytes: 1 << 20,
        entries: 100,
        ..Limits::default()
    };
    let zeros = layer(&[file("big", &vec![0; 2 << 20])]);
    let many: Vec<_> = (0..101).map(|n| file(&format!("f{n}"), b"")).collect();
    // A stream of nothing: no files, only padding.
    let mut padding = layer(&[file("f", b"x")]);
    padding.resize(8 << 20, 0);
    for (bytes, want) in [
        (zeros, "more than 1048576"),
        (layer(&many), "entries"),
        (padding, "more than is allowed"),
    ] {
        let platform = Platform {
            architecture: "amd64",
            variant: "",
            layers: vec![bytes],
            compress: gzip,
        };
        match place.load_limited(&oci("bomb:1", &[platform]), limits) {
            Err(LoadError::Invalid(text)) => assert!(text.contains(want), "{want}: {text}"),
            other => panic!("{want}: {other:?}"),
        }
    }
}

#[test]
fn archives_that_are_none_are_refused_with_a_reason() {
    let place = Place::new();
    let good = docker("a:1", &[layer(&[file("f", b"x")])], "amd64");
    let wrong_digest = {
        let mut bytes = good.clone();
        let at = bytes
            .windows(12)
            .position(|w| w == b"l0/layer.tar")
            .unwrap();
        // The file's one byte: header of the layer's member, header of the file in it.
        bytes[at + 1024] = b'y';
        bytes
    };
    for (bytes, want) in [
        (b"hello".to_vec(), "not an image archive"),
        (vec![0; 10_240], "neither manifest.json nor index.json"),
        (gzip(&good), "compressed"),
        (good[..good.len() / 3].to_vec(), ""),
        (wrong_digest, "content is"),
    ] {
        match place.load(&bytes) {
            Err(LoadError::Invalid(text)) => assert!(text.contains(want), "{want}: {text}"),
            other => panic!("{want}: {other:?}"),
        }
    }
    match place.load(&docker("a:1", &[layer(&[])], "arm64")) {
        Err(LoadError::Platform(text)) => {
            assert_eq!(
                text,
                "the image is for linux/arm64, this board is linux/amd64"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_index_gives_each_board_its_variant() {
    let place = Place::new();
    let of = |what: &str| vec![layer(&[file("which", what.as_bytes())])];
    let platform = |architecture, variant, compress, what| Platform {
        architecture,
        variant,
        layers: of(what),
        compress,
    };
    let archive = oci(
        "bramble.test/multi:1",
        &[
            platform("amd64", "", gzip as fn(&[u8]) -> Vec<u8>, "amd64"),
            platform("arm", "v6", zstd, "v6"),
            platform("arm", "v7", zstd, "v7"),
            platform("arm64", "v8", <[u8]>::to_vec, "arm64"),
        ],
    );
    for (machine, want) in [
        ("x86_64", "amd64"),
        ("armv7l", "v7"),
        ("armv6l", "v6"),
        ("aarch64", "arm64"),
    ] {
        let path = place.write(&archive);
        let loaded = load(
            &place.store(),
            &path,
            Limits::default(),
            &of_machine(machine),
        )
        .unwrap();
        let hex = loaded[0].diff_ids[0].trim_start_matches("sha256:");
        let which = place
            .store()
            .join("layers")
            .join(&hex[..32])
            .join("fs/which");
        assert_eq!(fs::read_to_string(which).unwrap(), want);
        assert_eq!(loaded[0].references, ["bramble.test/multi:1"]);
    }
}

fn store(place: &Place) -> Store {
    Store::open(
        &place.dir.path().join("data"),
        Path::new(env!("CARGO_BIN_EXE_bramble-agent")),
    )
    .unwrap()
}

#[tokio::test]
async fn the_store_remembers_names_and_removes_what_nobody_needs() {
    let place = Place::new();
    let passwd = layer(&[file("etc/passwd", b"web:x:33:34::/:/bin/sh\n")]);
    let shared = layer(&[dir("work/"), file("shared", b"s")]);
    let one = docker("one:1", &[passwd.clone(), shared.clone()], "amd64");
    let two = docker("two:1", &[shared], "amd64");
    {
        let store = store(&place);
        store.load(&place.write(&one)).await.unwrap();
        store.load_stream(two.as_slice()).await.unwrap();
        place.check();
    }
    // A crash in the middle of an unpack, and a new start.
    fs::create_dir_all(place.store().join("tmp/layer-1/fs")).unwrap();
    let store = store(&place);
    place.check();
    let image = store.resolve("docker.io/library/one:1").unwrap();
    assert_eq!(image.config.entrypoint, ["/bin/sh", "-c"]);
    assert_eq!(image.config.working_dir, "/work");
    assert_eq!(
        (image.user().unwrap().uid, image.user().unwrap().gid),
        (33, 34)
    );
    assert_eq!(store.resolve(&image.id.0).unwrap().layers, image.layers);
    assert_eq!(store.list().len(), 2);
    let in_use = BTreeSet::from([image.id.clone()]);
    assert!(matches!(
        store.remove("one:1", &in_use).await,
        Err(Error::InUse(_))
    ));
    store.remove("one:1", &BTreeSet::new()).await.unwrap();
    store.remove("one:1", &BTreeSet::new()).await.unwrap();
    assert!(!image.layers[0].exists() && image.layers[1].exists());
    store.resolve("two:1").unwrap();
}

#[tokio::test]
async fn an_image_that_is_not_to_be_had_has_a_reason() {
    let place = Place::new();
    let store = store(&place);
    let error = store.resolve("hello:v1").unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
    let error = store.resolve("Not A Name").unwrap_err();
    assert_eq!(error.to_string(), "invalid reference format");
    let bad = place.write(&docker("a:1", &[layer(&[file("../x", b"")])], "amd64"));
    let error = store.load(&bad).await.unwrap_err();
    assert_eq!(error.waiting_reason(), "InvalidImage");
    let error = store.resolve("a:1").unwrap_err();
    assert_eq!(error.waiting_reason(), "InvalidImage");
    assert_eq!(store.list(), []);
}

mod random {
    use super::*;
    use proptest::prelude::*;

    fn name() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            4 => "[a-c]",
            1 => Just("..".to_owned()),
            1 => Just(".".to_owned()),
            1 => Just(String::new()),
            1 => Just("outside".to_owned()),
            1 => "\\.wh\\.[a-c]",
            1 => Just(".wh..wh..opq".to_owned()),
            1 => Just("x".repeat(60)),
        ];
        (prop::collection::vec(part, 1..4), any::<bool>()).prop_map(|(parts, absolute)| {
            format!("{}{}", if absolute { "/" } else { "" }, parts.join("/"))
        })
    }

    fn entries() -> impl Strategy<Value = Vec<Entry>> {
        let kind = prop::sample::select(vec![
            EntryType::Regular,
            EntryType::Regular,
            EntryType::Directory,
            EntryType::Directory,
            EntryType::Symlink,
            EntryType::Symlink,
            EntryType::Link,
            EntryType::Fifo,
        ]);
        let one = (name(), kind, name(), prop::bool::weighted(0.3)).prop_map(|(n, k, l, up)| {
            let link = if up {
                format!("{}{l}", "../".repeat(6))
            } else {
                l
            };
            let data: &[u8] = if k == EntryType::Regular {
                b"evil"
            } else {
                b""
            };
            entry(&n, k, &link, data)
        });
        prop::collection::vec(one, 1..10)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

        #[test]
        fn no_layer_whatsoever_writes_outside(entries in entries()) {
            let place = Place::new();
            let _ = place.load_layer(&entries);
        }

        #[test]
        fn no_damage_to_an_archive_panics(at in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8), cut in any::<prop::sample::Index>()) {
            let platform = Platform {
                architecture: "amd64",
                variant: "",
                layers: vec![layer(&[file("f", b"data"), symlink("l", "f")])],
                compress: gzip,
            };
            let mut bytes = oci("a:1", &[platform]);
            for (index, value) in at {
                let index = index.index(bytes.len());
                bytes[index] = value;
            }
            if cut.index(3) == 0 {
                bytes.truncate(cut.index(bytes.len()));
            }
            let place = Place::new();
            let _ = place.load(&bytes);
        }
    }
}
