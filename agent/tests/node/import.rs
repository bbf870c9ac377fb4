//! Archives that appear, in a folder and on a stick (a loop device with a label). Needs root.
#![allow(missing_docs, clippy::unwrap_used)] // tests and their helpers

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bramble_agent::image::Store;
use bramble_agent::image::import::{watch_folder, watch_label};

use crate::support::archive::{docker, file, layer};
use crate::support::eventually;

fn store(dir: &Path) -> Arc<Store> {
    let program = Path::new(env!("CARGO_BIN_EXE_bramble-agent"));
    Arc::new(Store::open(&dir.join("data"), program).unwrap())
}

fn archive(name: &str) -> Vec<u8> {
    docker(name, &[layer(&[file("f", name.as_bytes())])], "amd64")
}

async fn until_here(store: &Store, name: &str) {
    let mut changes = store.changes();
    let wait = async {
        while store.resolve(name).is_err() {
            changes.changed().await.unwrap();
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), wait).await;
    waited.unwrap_or_else(|_| panic!("{name} did not come: {:?}", store.list()));
}

#[tokio::test]
async fn archives_in_a_folder_are_loaded_as_they_come() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("import");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("before.tar"), archive("before:1")).unwrap();
    std::fs::write(folder.join("other.txt"), archive("other:1")).unwrap();
    let store = store(dir.path());
    let watching = tokio::spawn(watch_folder(Arc::clone(&store), folder.clone()));
    until_here(&store, "before:1").await;
    // Bad at first, then mended under the same name.
    std::fs::write(folder.join("late.tar"), b"half an archive").unwrap();
    std::fs::write(folder.join("late.tar"), archive("late:1")).unwrap();
    until_here(&store, "late:1").await;
    let elsewhere = dir.path().join("x");
    std::fs::write(&elsewhere, archive("moved:1")).unwrap();
    std::fs::rename(&elsewhere, folder.join("moved.tar")).unwrap();
    until_here(&store, "moved:1").await;
    assert!(store.resolve("other:1").is_err());
    assert!(!watching.is_finished());
}

/// A stick: a file with a file system, as a block device.
struct Stick {
    device: String,
}

impl Stick {
    fn new(dir: &Path, content: &[(&str, Vec<u8>)]) -> Self {
        let root = dir.join("root");
        std::fs::create_dir(&root).unwrap();
        for (name, bytes) in content {
            std::fs::write(root.join(name), bytes).unwrap();
        }
        let image = dir.join("stick.img");
        let made = run(&["truncate", "-s", "8M", text(&image)])
            && run(&["mkfs.ext4", "-q", "-d", text(&root), text(&image)]);
        assert!(made);
        let out = Command::new("losetup")
            .args(["--find", "--show", "--read-only", text(&image)])
            .output()
            .unwrap();
        let device = String::from_utf8(out.stdout).unwrap().trim().to_owned();
        assert!(!device.is_empty(), "{:?}", String::from_utf8(out.stderr));
        Self { device }
    }
}

impl Drop for Stick {
    fn drop(&mut self) {
        run(&["losetup", "--detach", &self.device]);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn run(line: &[&str]) -> bool {
    let status = Command::new(line[0]).args(&line[1..]).status();
    status.is_ok_and(|status| status.success())
}

#[tokio::test]
async fn a_stick_with_the_label_is_read_and_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let content = [
        ("a.tar", archive("stick:1")),
        ("evil.tar", b"no archive".to_vec()),
        ("z.tar", archive("stick:2")),
    ];
    let stick = Stick::new(dir.path(), &content);
    let store = store(dir.path());
    // udev makes the folder with the first label.
    let by_label: PathBuf = dir.path().join("disk/by-label");
    let at = dir.path().join("mnt");
    let watching = watch_label(
        Arc::clone(&store),
        by_label.clone(),
        "BRAMBLE".to_owned(),
        at.clone(),
    );
    let watching = tokio::spawn(watching);
    tokio::task::yield_now().await;
    std::fs::create_dir_all(&by_label).unwrap();
    std::os::unix::fs::symlink(&stick.device, by_label.join("OTHER")).unwrap();
    std::os::unix::fs::symlink(&stick.device, by_label.join("BRAMBLE")).unwrap();
    until_here(&store, "stick:1").await;
    until_here(&store, "stick:2").await;
    eventually(|| async {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let mounted = mounts.contains(text(&at));
        (!mounted).then_some(()).ok_or(mounts)
    })
    .await;
    assert!(!watching.is_finished());
    let bad = watch_label(store, by_label, "../x".to_owned(), at).await;
    assert!(bad.is_err());
}
