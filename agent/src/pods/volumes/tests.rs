use std::os::unix::fs::{PermissionsExt, symlink};

use bramble_agent_core::volume::File;
use bramble_wire::object::HostPathKind;
use rustix::mount::mount_bind;

use super::*;

const UID: PodUid = PodUid([3; 16]);

struct Board {
    dir: tempfile::TempDir,
    directories: Directories,
}

impl Board {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let directories = Directories {
            run: dir.path().join("run"),
            data: dir.path().join("data"),
        };
        Self { dir, directories }
    }

    fn outside(&self) -> PathBuf {
        let path = self.dir.path().join("outside");
        fs::create_dir_all(path.join("sub")).unwrap();
        fs::write(path.join("sub/kept"), "kept").unwrap();
        path
    }

    fn mounts(&self) -> Vec<String> {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let own = self.dir.path().to_str().unwrap();
        let lines = table.lines().filter(|line| line.contains(own));
        lines.map(str::to_owned).collect()
    }

    fn ensure(&self, volumes: &[VolumeInput]) {
        ensure(&self.directories, UID, volumes).unwrap();
    }

    fn remove(&self) {
        remove(&self.directories, UID).unwrap();
        assert_eq!(self.mounts(), Vec::<String>::new());
        assert!(!self.directories.disk_volumes(UID).exists());
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        unmount_below(self.dir.path());
    }
}

fn volume(name: &str, content: Content) -> VolumeInput {
    VolumeInput {
        name: name.into(),
        content,
        group: Some(2000),
    }
}

fn empty(memory: bool) -> Content {
    Content::Empty {
        memory,
        size_limit_bytes: memory.then_some(1 << 20),
    }
}

fn files(secret: bool, text: &str) -> Content {
    Content::Files {
        secret,
        files: vec![File {
            path: "key".into(),
            mode: 0o400,
            owner: None,
            bytes: text.into(),
        }],
    }
}

fn mount(name: &str, place: Place, sub_path: &str) -> MountInput {
    MountInput {
        volume: name.into(),
        place,
        path: "/x".into(),
        sub_path: sub_path.into(),
        ..MountInput::default()
    }
}

fn all(text: &str) -> [VolumeInput; 4] {
    [
        volume("disk", empty(false)),
        volume("memory", empty(true)),
        volume("config", files(false, text)),
        volume("keys", files(true, text)),
    ]
}

#[test]
fn each_volume_is_where_it_belongs_and_all_goes() {
    let board = Board::new();
    board.ensure(&all("one"));
    let at = |name: &str, place| board.directories.place(UID, name, &place);
    let places = [
        at("disk", Place::Disk),
        at("memory", Place::Run),
        at("config", Place::Run),
        at("keys", Place::Secret),
    ];
    for path in &places {
        let data = fs::metadata(path).unwrap();
        assert_eq!(
            (data.mode() & 0o7777, data.gid()),
            (0o2777, 2000),
            "{}",
            path.display()
        );
    }
    // Nobody but containers reaches them.
    for path in &places {
        let parent = fs::metadata(path.parent().unwrap()).unwrap();
        assert_eq!(parent.permissions().mode() & 0o777, OURS);
    }
    let tmpfs = |path: &Path| rustix::fs::statfs(path).unwrap().f_type == 0x0102_1994;
    assert!(tmpfs(&places[1]) && tmpfs(&places[3]));
    let space = rustix::fs::statvfs(&places[1]).unwrap();
    assert_eq!(space.f_blocks * space.f_frsize, 1 << 20);
    fs::write(places[0].join("written"), "by a container").unwrap();
    fs::write(places[1].join("written"), "by a container").unwrap();
    // Another write leaves what containers wrote, and replaces what follows its objects.
    board.ensure(&all("two"));
    assert!(places[0].join("written").exists() && places[1].join("written").exists());
    for path in &places[2..] {
        assert_eq!(fs::read_to_string(path.join("key")).unwrap(), "two");
    }
    board.remove();
    board.remove();
}

#[test]
fn secrets_that_grow_have_room() {
    let board = Board::new();
    board.ensure(&all("one"));
    let large = "x".repeat(3 << 20);
    for round in 0..3 {
        board.ensure(&all(&format!("{large}{round}")));
    }
    let key = board
        .directories
        .place(UID, "keys", &Place::Secret)
        .join("key");
    assert_eq!(fs::metadata(key).unwrap().len(), (3 << 20) + 1);
    board.remove();
}

#[test]
fn a_crash_anywhere_is_mended_by_the_next_run() {
    let board = Board::new();
    let disk = board.directories.disk_volumes(UID);
    // An emptyDir that has no name yet, a mount point without a mount, a volume without links, a
    // target without its mount.
    fs::create_dir_all(disk.join(".disk.new/half")).unwrap();
    fs::create_dir_all(board.directories.run_volumes(UID).join("memory")).unwrap();
    fs::create_dir_all(board.directories.run_volumes(UID).join("config/..2020_1")).unwrap();
    fs::create_dir_all(board.directories.sub_paths(UID).join("c")).unwrap();
    fs::write(board.directories.sub_paths(UID).join("c/0"), "").unwrap();
    board.ensure(&all("one"));
    assert_eq!(fs::read_dir(&disk).unwrap().count(), 1);
    assert_eq!(fs::read_dir(disk.join("disk")).unwrap().count(), 0);
    let mounts = [mount("disk", Place::Disk, "a/b")];
    for _ in 0..2 {
        let binds = binds(&board.directories, UID, "c", &mounts).unwrap();
        fs::write(binds[0].source.join("file"), "x").unwrap();
        assert!(disk.join("disk/a/b/file").exists());
    }
    // Bound anew, not on top of each other.
    assert_eq!(
        board
            .mounts()
            .iter()
            .filter(|line| line.contains("/subpaths/"))
            .count(),
        1
    );
    board.remove();
}

/// An attacker's pod: links and mounts towards a path of the board wherever a pod can make them.
#[test]
fn paths_of_the_board_survive_whatever_the_pod_did() {
    let board = Board::new();
    let outside = board.outside();
    let path = outside.to_str().unwrap().to_owned();
    let host = volume(
        "host",
        Content::Host {
            path: path.clone(),
            kind: HostPathKind::Directory,
        },
    );
    let mut volumes = all("one").to_vec();
    volumes.push(host);
    board.ensure(&volumes);
    let here = Place::Board(path);
    let mounts = [
        mount("host", here.clone(), ""),
        mount("host", here.clone(), "sub"),
        mount("host", here, "sub/kept"),
        mount("disk", Place::Disk, "mine"),
    ];
    let bound = binds(&board.directories, UID, "c", &mounts).unwrap();
    assert_eq!(bound[0].source, outside);
    assert_eq!(
        fs::read_to_string(bound[1].source.join("kept")).unwrap(),
        "kept"
    );
    assert_eq!(fs::read_to_string(&bound[2].source).unwrap(), "kept");
    let disk = board.directories.place(UID, "disk", &Place::Disk);
    let memory = board.directories.place(UID, "memory", &Place::Run);
    symlink(&outside, disk.join("link")).unwrap();
    symlink(&outside, memory.join("link")).unwrap();
    // What a container with mounts in both directions can do.
    fs::create_dir(disk.join("point")).unwrap();
    mount_bind(&outside, disk.join("point")).unwrap();
    fs::create_dir(disk.join("point/sub/point")).unwrap();
    mount_bind(&outside, disk.join("point/sub/point")).unwrap();
    for (name, place, sub_path) in [
        ("disk", Place::Disk, "link"),
        ("memory", Place::Run, "link/sub"),
    ] {
        let mounts = [mount(name, place, sub_path)];
        assert!(matches!(
            binds(&board.directories, UID, "c", &mounts),
            Err(Failed::Config(_))
        ));
    }
    // The agent dies; the next one only finds what is on the board.
    board.remove();
    assert_eq!(
        fs::read_to_string(outside.join("sub/kept")).unwrap(),
        "kept"
    );
}

/// As a board's mounts are that systemd has made: what is done to a copy is done to the original.
#[test]
fn undoing_a_sub_path_leaves_the_boards_own_mounts_where_all_are_shared() {
    const INSIDE: &str = "BRAMBLE_TEST_ALL_IS_SHARED";
    if std::env::var_os(INSIDE).is_none() {
        // Of this process alone, and only then shared: the board's own are left out of it.
        let again = "mount --make-rshared / && exec \"$0\" --exact --nocapture \
            pods::volumes::tests::undoing_a_sub_path_leaves_the_boards_own_mounts_where_all_are_shared";
        let output = std::process::Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", again])
            .arg(std::env::current_exe().unwrap())
            .env(INSIDE, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}{errors}"
        );
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (root, run) = (dir.path().join("board"), dir.path().join("run"));
    let nested = root.join("sub/nested");
    fs::create_dir_all(&nested).unwrap();
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", &nested, "tmpfs", flags, None).unwrap();
    fs::write(nested.join("file"), "the board's").unwrap();
    let target = run.join("c/0");
    let opened = subpath::open(&root, "sub").unwrap();
    fs::create_dir_all(target.parent().unwrap()).unwrap();
    // Twice, as when a container starts again.
    for _ in 0..2 {
        subpath::bind(&opened, &target).unwrap();
        assert_eq!(
            fs::read(target.join("nested/file")).unwrap(),
            b"the board's"
        );
        assert_eq!(fs::read(nested.join("file")).unwrap(), b"the board's");
    }
    assert_eq!(unmount_below(&run), [""; 0]);
    assert!(!target.join("nested/file").exists());
    assert_eq!(fs::read(nested.join("file")).unwrap(), b"the board's");
    unmount_below(dir.path());
}
