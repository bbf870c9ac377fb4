//! A folder that is followed, with a compiler that says what the test wants.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use bramble_wire::manifest::Made;
use bramble_wire::object::{ObjectName, Pod, PodUid};

use super::*;

struct Folder {
    dir: tempfile::TempDir,
    views: watch::Receiver<Arc<View>>,
    task: tokio::task::JoinHandle<()>,
    state: State,
}

fn answer(files: &[(&str, u8)]) -> Vec<u8> {
    let file = |(name, key): &(&str, u8)| File {
        name: (*name).to_owned(),
        made: Ok(Made {
            pods: vec![Pod {
                uid: PodUid([*key; 16]),
                name: ObjectName {
                    namespace: "default".into(),
                    name: (*name).to_owned(),
                },
                ..Pod::default()
            }],
            ..Made::default()
        }),
    };
    bramble_wire::encode(&files.iter().map(file).collect::<Vec<_>>())
}

/// Files of the folder, by name and hash of their pod.
fn says(view: &View) -> Vec<(String, u8)> {
    let files = view.kept.files.iter();
    files
        .map(|(name, held)| (name.clone(), held.pods[0].0.0[0]))
        .collect()
}

impl Folder {
    /// `script` is the compiler; `$1` is the word, `$2` the folder, and the rest names.
    fn follow(script: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("pods")).unwrap();
        let compiler = dir.path().join("compiler");
        std::fs::write(
            &compiler,
            format!("#!/bin/sh\ncd {}\n{script}\n", dir.path().display()),
        )
        .unwrap();
        std::fs::set_permissions(&compiler, std::fs::Permissions::from_mode(0o755)).unwrap();
        let (state, contents) = State::open(&dir.path().join("state")).unwrap();
        let kept = contents.static_pods;
        let notes = Vec::new();
        let (sender, views) = watch::channel(Arc::new(View {
            kept,
            notes,
            sure: false,
        }));
        let options = Options {
            folder: dir.path().join("pods"),
            compiler,
            patience: Duration::from_secs(1),
        };
        let task = tokio::spawn(follow(options, state.clone(), sender));
        Self {
            dir,
            views,
            task,
            state,
        }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// Puts a file in place by its name, whole.
    fn put(&self, name: &str) {
        std::fs::write(self.path("new"), name).unwrap();
        std::fs::rename(self.path("new"), self.path("pods").join(name)).unwrap();
    }

    async fn until(&mut self, what: &str, wanted: impl Fn(&View) -> bool) -> Arc<View> {
        let limit = Duration::from_secs(50);
        let found = self.views.wait_for(|view| wanted(view));
        match tokio::time::timeout(limit, found).await {
            Ok(view) => Arc::clone(&view.expect("the follower goes on")),
            Err(_) => panic!("{what} did not come"),
        }
    }
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn files_come_change_and_go_and_what_is_kept_is_on_disk() {
    let mut folder = Folder::follow("cat answer");
    write(&folder.path("answer"), &answer(&[("a.yaml", 1)]));
    folder.put("a.yaml");
    let view = folder
        .until("a", |view| says(view) == [("a.yaml".into(), 1)])
        .await;
    let uid = view.kept.pods().next().unwrap().1.uid;

    // A compiler that fails changes nothing, and says so.
    write(&folder.path("answer"), b"nonsense");
    folder.put("b.yaml");
    let view = folder.until("a note", |view| !view.notes.is_empty()).await;
    assert_eq!(view.kept.pods().next().unwrap().1.uid, uid);

    write(
        &folder.path("answer"),
        &answer(&[("a.yaml", 1), ("b.yaml", 2)]),
    );
    folder.put("b.yaml");
    let both = [("a.yaml".to_owned(), 1), ("b.yaml".to_owned(), 2)];
    let view = folder.until("both", |view| says(view) == both).await;
    assert!(view.notes.is_empty());
    assert_eq!(view.kept.pods().next().unwrap().1.uid, uid);

    // A folder that is away ends nothing, and is seen when it is back; a file that is away ends.
    std::fs::rename(folder.path("pods"), folder.path("away")).unwrap();
    write(&folder.path("answer"), &answer(&[("b.yaml", 2)]));
    std::fs::remove_file(folder.path("away/a.yaml")).unwrap();
    std::fs::rename(folder.path("away"), folder.path("pods")).unwrap();
    let view = folder
        .until("b alone", |view| says(view) == both[1..])
        .await;

    folder.task.abort();
    let kept = Arc::clone(&view.kept);
    let Folder {
        dir,
        state,
        task,
        views,
    } = folder;
    let _ = task.await;
    drop((state, views));
    let again = loop {
        match State::open(&dir.path().join("state")) {
            Ok((_, contents)) => break contents,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    assert_eq!(again.static_pods, kept);
}

#[tokio::test]
async fn a_file_that_is_swapped_while_it_is_read_is_read_again() {
    let script = "if [ -e swap ]; then mv swap pods/a.yaml; cat first; else cat second; fi";
    let mut folder = Folder::follow(script);
    write(&folder.path("first"), &answer(&[("a.yaml", 1)]));
    write(&folder.path("second"), &answer(&[("a.yaml", 2)]));
    write(&folder.path("swap"), b"another");
    folder.put("a.yaml");
    folder
        .until("the second", |view| says(view) == [("a.yaml".into(), 2)])
        .await;
}

#[tokio::test]
async fn a_file_that_is_being_written_is_left_until_it_stands_still() {
    let mut folder = Folder::follow("cat pods/a.yaml >> read; cat answer");
    write(&folder.path("answer"), &answer(&[("a.yaml", 1)]));
    folder.put("first.txt");
    write(&folder.path("pods/a.yaml"), b"half");
    write(&folder.path("pods/a.yaml"), b"whole");
    folder
        .until("a", |view| says(view) == [("a.yaml".into(), 1)])
        .await;
    let read = std::fs::read_to_string(folder.path("read")).unwrap();
    assert!(read.ends_with("whole"), "{read}");
}

#[tokio::test]
async fn one_file_too_many_is_told_of() {
    let mut folder = Folder::follow("cat answer");
    let names: Vec<String> = (0..=FILES_MAX).map(|n| format!("{n:03}.yaml")).collect();
    let taken: Vec<(&str, u8)> = names[..FILES_MAX]
        .iter()
        .map(|name| (name.as_str(), 1))
        .collect();
    write(&folder.path("answer"), &answer(&taken));
    for name in &names {
        write(&folder.path("pods").join(name), b"x");
    }
    let view = folder
        .until("64", |view| view.kept.files.len() == FILES_MAX)
        .await;
    assert_eq!(
        view.notes,
        ["static pods: 064.yaml: there are more than 64 files"]
    );
}

/// A compiler that knows what to say of each file by itself, and is killed by what a file says.
const EACH: &str = r#"
shift 3
for name; do if grep -q crash "pods/$name"; then kill -9 $$; fi; done
if [ $# = 1 ]; then cat "answer-$1"; else cat answer; fi
"#;

#[tokio::test]
async fn a_file_that_crashes_the_compiler_holds_up_no_other() {
    let mut folder = Folder::follow(EACH);
    for (name, key) in [("a.yaml", 1), ("b.yaml", 2)] {
        write(
            &folder.path(&format!("answer-{name}")),
            &answer(&[(name, key)]),
        );
        folder.put(name);
    }
    let crash = |folder: &Folder, name: &str| {
        write(&folder.path("new"), b"crash");
        std::fs::rename(folder.path("new"), folder.path("pods").join(name)).unwrap();
    };
    crash(&folder, "bad.yaml");
    let both = [("a.yaml".to_owned(), 1), ("b.yaml".to_owned(), 2)];
    let wanted = |view: &View| {
        let told = |note: &String| note.starts_with("static pods: bad.yaml:");
        says(view) == both && view.notes.len() == 1 && view.notes.iter().all(told)
    };
    folder.until("the others", wanted).await;

    // Where it is one that was understood before, that stays.
    crash(&folder, "a.yaml");
    let wanted = |view: &View| says(view) == both && view.notes.len() == 2;
    folder.until("what a.yaml said", wanted).await;
}

#[tokio::test]
async fn a_file_that_is_written_without_a_pause_holds_up_no_other() {
    let mut folder = Folder::follow("cat answer");
    write(&folder.path("answer"), &answer(&[("a.yaml", 1)]));
    let path = folder.path("pods/moving.yaml");
    let moving = std::thread::spawn(move || {
        let mut text = String::new();
        while std::fs::write(&path, &text).is_ok() {
            text.push('x');
            std::thread::yield_now();
        }
    });
    folder.put("a.yaml");
    let wanted = |view: &View| {
        says(view) == [("a.yaml".into(), 1)]
            && view.notes == ["static pods: moving.yaml: it is written again and again"]
    };
    folder.until("a", wanted).await;
    // Not by removing the folder's files one by one: it would be made again meanwhile.
    std::fs::rename(folder.path("pods"), folder.path("away")).unwrap();
    moving.join().unwrap();
}

/// Between the last two looks at it, after which there is no patience left.
#[tokio::test(start_paused = true)]
async fn a_file_that_stops_moving_is_read() {
    let folder = Folder::follow("cat answer");
    folder.task.abort();
    write(&folder.path("answer"), &answer(&[("a.yaml", 1)]));
    folder.put("a.yaml");
    let kept = Arc::default();
    let view = View::default();
    let mut follower = Follower {
        options: Options {
            folder: folder.path("pods"),
            compiler: folder.path("compiler"),
            patience: Duration::ZERO,
        },
        state: folder.state.clone(),
        views: watch::channel(Arc::new(view)).0,
        kept,
        compiled: None,
        tried: String::new(),
        again: None,
        sure: false,
    };
    let writes = async {
        tokio::time::sleep(STILL / 2).await;
        folder.put("a.yaml");
        // The compiler takes real time.
        tokio::time::resume();
    };
    tokio::join!(follower.look(), writes);
    let view = Arc::clone(&follower.views.borrow());
    assert_eq!(says(&view), []);
    assert_eq!(
        view.notes,
        ["static pods: a.yaml: it is written again and again"]
    );
    follower.look().await;
    let view = Arc::clone(&follower.views.borrow());
    assert_eq!(says(&view), [("a.yaml".into(), 1)]);
    assert!(view.notes.is_empty() && view.sure);
}

#[tokio::test]
async fn where_there_was_no_time_for_all_the_next_try_begins_with_the_others() {
    let folder = Folder::follow(&format!("echo $4 >> tried\n{EACH}"));
    folder.task.abort();
    folder.put("a.yaml");
    folder.put("b.yaml");
    folder.put("c.yaml");
    for name in ["a.yaml", "b.yaml", "c.yaml"] {
        write(&folder.path("pods").join(name), b"crash");
    }
    let mut follower = Follower {
        options: Options {
            folder: folder.path("pods"),
            compiler: folder.path("compiler"),
            patience: Duration::ZERO,
        },
        state: folder.state.clone(),
        views: watch::channel(Arc::new(View::default())).0,
        kept: Arc::default(),
        compiled: None,
        tried: "a.yaml".into(),
        again: None,
        sure: false,
    };
    follower.look().await;
    let tried = std::fs::read_to_string(folder.path("tried")).unwrap();
    assert_eq!(
        tried.lines().skip(1).collect::<Vec<_>>(),
        ["b.yaml", "c.yaml", "a.yaml"]
    );
    let view = Arc::clone(&follower.views.borrow());
    assert!(
        view.notes[0].starts_with("static pods: a.yaml:"),
        "in their order"
    );
}
