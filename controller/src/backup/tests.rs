//! What a backup must stand: writers while it is taken, damage, other files, and a power cut while it is
//! put in place.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::archive::{Reader, Writer};
use super::restore::{Step, in_steps};
use super::{Error, MANIFEST, Manifest, check, restore, take};
use crate::pki::{self, Pki};
use crate::store::{Body, Durability, Expect, Key, LedgerStore, Op, Settings, Store};

/// A controller's data directory, in use.
struct Controller {
    store: Arc<dyn Store>,
    pki: Pki,
}

impl Controller {
    fn start(data: &Path) -> Self {
        let options = pki::Options {
            data_dir: data.to_owned(),
            names: Vec::new(),
        };
        let pki = Pki::open(&options).unwrap();
        let store = LedgerStore::open(data.join("store"), Settings::default()).unwrap();
        Self {
            store: Arc::new(store),
            pki,
        }
    }

    async fn write(&self, names: &[&str], text: &str) {
        let op = |name: &&str| Op::Put {
            key: key(name),
            expect: Expect::Any,
            body: Body {
                json: text.as_bytes().to_vec(),
                revision_at: None,
            },
            durability: Durability::Hard,
        };
        let commit = self.store.commit(names.iter().map(op).collect());
        commit.unwrap().durable().await.unwrap();
    }

    fn text(&self, name: &str) -> Option<String> {
        let entry = self.store.get(&key(name))?;
        Some(String::from_utf8(entry.json.to_vec()).unwrap())
    }

    async fn back_up(&self, file: &Path) -> Manifest {
        let (manifest, pieces) = take(&self.store, &self.pki).await.unwrap();
        fs::write(file, pieces.collect::<Vec<_>>().concat()).unwrap();
        manifest
    }
}

fn key(name: &str) -> Key {
    Key::new("", "configmaps", "default", name)
}

/// A backup in which `a` says `saved`.
async fn saved(dir: &Path) -> (Manifest, PathBuf) {
    let controller = Controller::start(&dir.join("first"));
    controller.write(&["a"], "saved").await;
    let file = dir.join("backup.tar");
    (controller.back_up(&file).await, file)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_of_one_moment_whatever_is_written_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let controller = Arc::new(Controller::start(&dir.path().join("first")));
    let stop = Arc::new(AtomicBool::new(false));
    controller.write(&["left", "right"], "0").await;
    // Large enough for several pieces.
    let long = "x".repeat(100_000);
    for n in 0..8 {
        controller.write(&[&format!("large-{n}")], &long).await;
    }
    let writer = {
        let (controller, stop) = (controller.clone(), stop.clone());
        tokio::spawn(async move {
            let mut n = 0;
            while !stop.load(Ordering::Relaxed) {
                n += 1;
                controller.write(&["left", "right"], &n.to_string()).await;
            }
            n
        })
    };
    let mut last = 0;
    for round in 0..3 {
        let (manifest, mut pieces) = take(&controller.store, &controller.pki).await.unwrap();
        let mut bytes = pieces.next().unwrap();
        // The writer goes on between two pieces.
        let before = controller.text("left");
        while controller.text("left") == before {
            tokio::task::yield_now().await;
        }
        bytes.extend(pieces.flatten());
        let file = dir.path().join("backup.tar");
        fs::write(&file, bytes).unwrap();
        let to = dir.path().join(format!("other-{round}"));
        let restored = restore(&file, &to, false).await.unwrap();
        assert_eq!(restored.manifest, manifest);
        let other = Controller::start(&to);
        let (left, right) = (other.text("left").unwrap(), other.text("right").unwrap());
        assert_eq!(left, right);
        let now: u64 = left.parse().unwrap();
        assert!(now >= last, "{now} is older than {last}");
        last = now;
        assert_eq!(other.text("large-7").unwrap(), long);
        assert_eq!(other.pki.cluster, controller.pki.cluster);
        assert_eq!(other.pki.ca, controller.pki.ca);
        assert_eq!(other.pki.signing, controller.pki.signing);
    }
    stop.store(true, Ordering::Relaxed);
    assert!(writer.await.unwrap() > last);
}

#[tokio::test]
async fn a_restored_store_begins_an_epoch_that_no_power_cut_takes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (manifest, file) = saved(dir.path()).await;
    assert_eq!(check(&file).unwrap(), manifest);
    let to = dir.path().join("new/data");
    let restored = restore(&file, &to, false).await.unwrap();
    assert_eq!((restored.epoch, restored.aside), (2, None));
    let other = Controller::start(&to);
    assert_eq!(other.text("a").as_deref(), Some("saved"));
    assert_eq!(other.store.revision().epoch(), 2);
    assert!(other.store.revision().0 > manifest.revision);
    // What keys it holds is nobody else's to read.
    use std::os::unix::fs::PermissionsExt as _;
    for (path, mode) in [("", 0o700), ("pki", 0o700), ("pki/ca.key", 0o600)] {
        let found = fs::metadata(to.join(path)).unwrap().permissions().mode();
        assert_eq!(found & 0o777, mode, "{path}");
    }
}

/// An archive of two small entries.
fn small() -> Vec<u8> {
    let mut writer = Writer::new(1_800_000_000);
    let mut bytes = writer.entry("one", b"first");
    bytes.extend(writer.entry("two", &[7; 513]));
    bytes.extend(writer.finish());
    bytes
}

fn read(bytes: &[u8]) -> Result<Vec<String>, Error> {
    let mut reader = Reader::new(bytes);
    let mut names = Vec::new();
    while let Some(entry) = reader.next()? {
        names.push(entry.name);
    }
    Ok(names)
}

#[test]
fn no_byte_of_it_changes_unnoticed() {
    let whole = small();
    assert_eq!(read(&whole).unwrap(), ["one", "two"]);
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        assert!(read(&bytes).is_err(), "byte {at} was flipped");
        assert!(read(&whole[..at]).is_err(), "it ends at {at}");
    }
    let more = [whole.as_slice(), b"x"].concat();
    assert!(read(&more).is_err(), "something follows");
}

#[tokio::test]
async fn a_damaged_backup_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (_, file) = saved(dir.path()).await;
    let whole = fs::read(&file).unwrap();
    let to = dir.path().join("data");
    let (bad, mut refused) = (dir.path().join("bad.tar"), 0);
    for at in (0..whole.len()).step_by(211) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        for bytes in [&flipped[..], &whole[..at]] {
            fs::write(&bad, bytes).unwrap();
            let error = restore(&bad, &to, true).await.unwrap_err();
            let expected = matches!(error, Error::Damaged { .. } | Error::Foreign);
            assert!(expected, "byte {at}: {error}");
            refused += 1;
        }
    }
    assert!(refused > 50, "{refused}");
    assert!(!to.exists() && !dir.path().join("data.restoring").exists());
}

#[tokio::test]
async fn what_is_no_backup_or_a_later_ones_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (manifest, file) = saved(dir.path()).await;
    let refused = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        check(&file).unwrap_err().to_string()
    };
    for foreign in [&b""[..], b"hello", &[0; 4096], &small()] {
        let error = refused(foreign);
        assert!(error.contains("this is no backup"), "{error}");
    }
    let mut writer = Writer::new(0);
    let later = br#"{"format": 2, "version": "9.9.9", "more": true}"#;
    let mut bytes = writer.entry(MANIFEST, later);
    bytes.extend(writer.finish());
    let error = refused(&bytes);
    assert!(
        error.contains("format 2 (written by Bramble 9.9.9)"),
        "{error}"
    );

    let only = |entries: &[(&str, &[u8])]| {
        let mut writer = Writer::new(0);
        let mut bytes = writer.entry(MANIFEST, &serde_json::to_vec(&manifest).unwrap());
        for (name, content) in entries {
            bytes.extend(writer.entry(name, content));
        }
        bytes.extend(writer.finish());
        bytes
    };
    let keys: Vec<(String, &[u8])> = (pki::ROOTS.iter())
        .map(|name| (format!("pki/{name}"), &b"x"[..]))
        .collect();
    let keys: Vec<(&str, &[u8])> = keys.iter().map(|(n, c)| (n.as_str(), *c)).collect();
    for (entries, why) in [
        (vec![], "a key is missing"),
        (keys.clone(), "there are none"),
        (vec![keys[1]], "out of its place"),
        (vec![("../escape", &b""[..])], "out of its place"),
        (
            [&keys[..], &[("store/records-000002", b"")]].concat(),
            "out of its place",
        ),
        (
            [&keys[..], &[("store/records-000001", b"\x09\0\0\0x")]].concat(),
            "cut off",
        ),
        (
            [&keys[..], &[("store/records-000001", b"\x01\0\0\0\xfa")]].concat(),
            "not the records",
        ),
    ] {
        let error = refused(&only(&entries));
        assert!(error.contains(why), "{error} lacks {why:?}");
    }
}

#[tokio::test]
async fn a_running_controller_and_other_data_are_in_the_way() {
    let dir = tempfile::tempdir().unwrap();
    let (manifest, file) = saved(dir.path()).await;
    let there = dir.path().join("there");
    let running = Controller::start(&there);
    running.write(&["a"], "of another").await;
    let other = running.pki.cluster.as_str().to_owned();
    for force in [false, true] {
        let error = restore(&file, &there, force).await.unwrap_err();
        assert!(matches!(error, Error::Running(_)), "{error}");
    }
    drop(running);
    let error = restore(&file, &there, false).await.unwrap_err().to_string();
    for part in [&*other, &*manifest.cluster, "--force", "there.before-1"] {
        assert!(error.contains(part), "{error} lacks {part}");
    }
    let restored = restore(&file, &there, true).await.unwrap();
    let aside = restored.aside.unwrap();
    assert!(aside.ends_with("there.before-1"), "{aside:?}");
    let kept = Controller::start(&aside);
    assert_eq!(kept.text("a").as_deref(), Some("of another"));
    let now = Controller::start(&there);
    assert_eq!(now.text("a").as_deref(), Some("saved"));
    assert_eq!(now.pki.cluster.as_str(), manifest.cluster);
    drop((kept, now));

    // A store that can't be read any more is what one restores over.
    let store = there.join("store");
    for entry in fs::read_dir(&store).unwrap() {
        fs::write(entry.unwrap().path(), "nonsense").unwrap();
    }
    let restored = restore(&file, &there, true).await.unwrap();
    assert!(restored.aside.unwrap().ends_with("there.before-2"));

    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let restored = restore(&file, &empty, false).await.unwrap();
    assert_eq!(restored.aside, None);
    assert!(!dir.path().join("empty.restoring").exists());
}

#[tokio::test]
async fn a_cut_leaves_the_old_data_or_the_new_and_never_loses_the_old() {
    let steps = [
        Step::Checked,
        Step::Begun,
        Step::Written,
        Step::Raised,
        Step::Whole,
        Step::Exchanged,
        Step::Aside,
    ];
    let backups = tempfile::tempdir().unwrap();
    let (_, file) = saved(backups.path()).await;
    // Keys cost the most of it, and are not what this is about.
    let keys = backups.path().join("first/pki");
    for (number, cut) in steps.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let there = dir.path().join("data");
        fs::create_dir_all(there.join("pki")).unwrap();
        for key in fs::read_dir(&keys).unwrap() {
            let key = key.unwrap();
            fs::copy(key.path(), there.join("pki").join(key.file_name())).unwrap();
        }
        Controller::start(&there).write(&["a"], "old").await;
        let ends = |step| match step == cut {
            true => Err(Error::Foreign),
            false => Ok(()),
        };
        in_steps(&file, &there, true, ends).await.unwrap_err();
        let expected = if number < 5 { "old" } else { "saved" };
        let found = Controller::start(&there).text("a");
        assert_eq!(found.as_deref(), Some(expected), "after {cut:?}");

        restore(&file, &there, true).await.unwrap();
        let now = Controller::start(&there);
        assert_eq!(now.text("a").as_deref(), Some("saved"));
        assert!(now.store.revision().epoch() > 1);
        let neighbours = fs::read_dir(dir.path()).unwrap();
        let neighbours: Vec<PathBuf> = neighbours.map(|e| e.unwrap().path()).collect();
        let kept = (neighbours.iter().filter(|path| **path != there))
            .any(|path| Controller::start(path).text("a").as_deref() == Some("old"));
        assert!(
            kept,
            "after {cut:?} the old data is nowhere: {neighbours:?}"
        );
        assert!(!dir.path().join("data.restoring").exists());
    }
}

#[tokio::test]
async fn what_a_cut_left_before_its_mark_was_whole_is_cleared_away() {
    let dir = tempfile::tempdir().unwrap();
    let (_, file) = saved(dir.path()).await;
    let half = dir.path().join("data.restoring");
    fs::create_dir(&half).unwrap();
    fs::write(half.join("incomplete.new"), "").unwrap();
    let to = dir.path().join("data");
    assert_eq!(restore(&file, &to, false).await.unwrap().aside, None);
    let names = fs::read_dir(dir.path()).unwrap();
    let mut names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names.all(|name| !name.contains("before") && !name.contains("restoring")));
}
