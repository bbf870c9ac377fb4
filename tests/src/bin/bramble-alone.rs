//! `./x alone`: a board with pods of every unruly sort, whose controller is away for as long as is said.
//! Memory and flash must stay flat; what happened meanwhile must be told when the controller is back.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bramble_tests::local::{Cluster, Guard, Tmpfs, wait_until};
use serde_json::Value;

const USAGE: &str = "\
Usage: bramble-alone [SECONDS]

  Takes the controller of a board with ten pods away for SECONDS (3600) and looks at what its agent and its
  shims hold and write. Exit code 1 when something grows, or when the return shows another story.";

/// Between two looks; a short run looks more often.
const LOOK: Duration = Duration::from_secs(10);
/// How much more the agent and the shims may hold in the last quarter of the time than in the second.
const GROWTH_KIB: u64 = 512;
/// What the agent may write in an hour: its state log is written anew at most once, into a fresh segment.
const WRITES_PER_HOUR: u64 = 384 << 10;
/// What it may write for each restart: the end and the next beginning, in a page or two of their own each.
const WRITES_PER_RESTART: u64 = 20 << 10;
/// All logs of a board with ten pods.
const LOGS_MAX: u64 = 64 << 20;

/// Three that go on, one that ends after a moment, one that writes 1 MB a second, one whose probe fails, one
/// that fills its memory, one with a token, one that runs once, one with a sidecar.
const PODS: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: { name: steady }
spec:
  replicas: 3
  selector: { matchLabels: { app: steady } }
  template:
    metadata: { labels: { app: steady } }
    spec: { terminationGracePeriodSeconds: 0, containers: [{ name: main, image: "bramble.test/hello:v1" }] }
---
apiVersion: v1
kind: Pod
metadata: { name: crash }
spec:
  terminationGracePeriodSeconds: 0
  containers: [{ name: main, image: "bramble.test/busybox:1", command: [sh, -c, "echo begins; sleep 1; exit 7"] }]
---
apiVersion: v1
kind: Pod
metadata: { name: flood }
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: [sh, -c, "while :; do yes 0123456789012345678901234567890123456789 | head -c 100000; sleep 0.1; done"]
---
apiVersion: v1
kind: Pod
metadata: { name: sick }
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: [sleep, "100000"]
      livenessProbe: { exec: { command: ["false"] }, periodSeconds: 2, failureThreshold: 3 }
---
apiVersion: v1
kind: Pod
metadata: { name: greedy }
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: [sh, -c, "dd if=/dev/zero of=/data/fill bs=64k; sleep 100000"]
      volumeMounts: [{ name: work, mountPath: /data }]
  volumes: [{ name: work, emptyDir: { medium: Memory, sizeLimit: 4Mi } }]
---
apiVersion: v1
kind: Pod
metadata: { name: token }
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: [sleep, "100000"]
      volumeMounts: [{ name: token, mountPath: /token }]
  volumes: [{ name: token, projected: { sources: [{ serviceAccountToken: { path: token, expirationSeconds: 600 } }] } }]
---
apiVersion: v1
kind: Pod
metadata: { name: once }
spec:
  restartPolicy: Never
  containers: [{ name: main, image: "bramble.test/busybox:1", command: ["true"] }]
---
apiVersion: v1
kind: Pod
metadata: { name: side }
spec:
  terminationGracePeriodSeconds: 0
  initContainers: [{ name: side, image: "bramble.test/busybox:1", restartPolicy: Always, command: [sleep, "100000"] }]
  containers: [{ name: main, image: "bramble.test/busybox:1", command: [sleep, "100000"] }]
"#;

fn main() -> ExitCode {
    let seconds = match std::env::args().nth(1).as_deref() {
        None => Ok(3600),
        Some(text) => text.parse(),
    };
    let Ok(seconds) = seconds else {
        eprintln!("{USAGE}");
        return ExitCode::FAILURE;
    };
    match run(seconds) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bramble-alone: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// One look at the board.
#[derive(Debug, Clone, Copy, Default)]
struct Look {
    agent_kib: u64,
    shims_kib: u64,
    written: u64,
    state: u64,
    logs: u64,
}

fn run(seconds: u64) -> Result<()> {
    let _memory;
    let cluster = Guard::prepare(1)?;
    // As on a board: what is below /run is no flash.
    _memory = Tmpfs::mount(Path::new(&cluster.layout.run_root()), 256)?;
    cluster.up()?;
    cluster.load_images()?;
    cluster.apply(PODS)?;
    cluster.kubectl(&["rollout", "status", "deployment/steady", "--timeout=60s"])?;
    for pod in ["flood", "token", "side"] {
        let name = format!("pod/{pod}");
        cluster.kubectl(&["wait", "--for=condition=Ready", &name, "--timeout=60s"])?;
    }
    wait_for_pod(&cluster, "once", "to succeed", |pod| {
        pod["status"]["phase"] == "Succeeded"
    })?;
    wait_for_pod(&cluster, "crash", "to end once", |pod| restarts(pod) >= 1)?;
    let steady = steady(&cluster)?;
    ensure!(steady.len() == 3, "{steady:?}");
    let restarts_before = all_restarts(&cluster)?;

    cluster.kill("controller")?;
    let looks = watch(&cluster, Duration::from_secs(seconds))?;
    ensure!(
        self::steady(&cluster)? == steady,
        "a steady pod's process changed while alone"
    );

    cluster.start_controller()?;
    let lives = lives(&cluster);
    told(&cluster, &lives)?;
    ensure!(
        self::steady(&cluster)? == steady,
        "the return started a pod again"
    );
    let ends: u64 = all_restarts(&cluster)?
        .iter()
        .map(|(pod, now)| now.saturating_sub(*restarts_before.get(pod).unwrap_or(&0)))
        .sum();
    judge(&looks, seconds, ends)
}

fn watch(cluster: &Cluster, time: Duration) -> Result<Vec<Look>> {
    let pause = LOOK.min(time / 40);
    let (begun, mut due) = (Instant::now(), Instant::now());
    let mut looks = Vec::new();
    println!(
        "{:>8} {:>10} {:>10} {:>10} {:>10} {:>10}",
        "s", "agent KiB", "shims KiB", "written", "state", "logs"
    );
    let mut shown = 0;
    wait_until(time + Duration::from_secs(60), || {
        if Instant::now() >= due {
            due += pause;
            let look = look(cluster)?;
            looks.push(look);
            // Some twenty lines, however long it takes.
            let part = begun.elapsed().as_secs_f64() / time.as_secs_f64() * 20.0;
            if part >= f64::from(shown) {
                shown = part as u32 + 1;
                println!(
                    "{:>8} {:>10} {:>10} {:>10} {:>10} {:>10}",
                    begun.elapsed().as_secs(),
                    look.agent_kib,
                    look.shims_kib,
                    look.written,
                    look.state,
                    look.logs
                );
            }
        }
        Ok(begun.elapsed() >= time)
    })?;
    Ok(looks)
}

fn look(cluster: &Cluster) -> Result<Look> {
    let agent = cluster.pid("board-1").context("the agent ended")?;
    let io = fs::read_to_string(format!("/proc/{agent}/io"))?;
    let written = io
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "));
    let group = format!("/{}/", cluster.layout.boards[0].cgroup);
    let mut shims_kib = 0;
    for pid in pids() {
        let read =
            |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        if read("comm").trim() == "bramble-shim" && read("cgroup").contains(&group) {
            shims_kib += kib(&read("smaps_rollup"), "Pss:");
        }
    }
    let run = Path::new(cluster.run_dir(0));
    let state = cluster.options().dir.join("board-1/state");
    Ok(Look {
        agent_kib: kib(
            &fs::read_to_string(format!("/proc/{agent}/smaps_rollup"))?,
            "Rss:",
        ),
        shims_kib,
        written: written.context("no write_bytes")?.parse()?,
        state: size(&state),
        logs: size(&run.join("logs")),
    })
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn kib(text: &str, name: &str) -> u64 {
    let lines = text.lines().filter(|line| line.starts_with(name));
    lines
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .sum()
}

/// Bytes of all files below a path; what goes meanwhile counts as nothing.
fn size(path: &Path) -> u64 {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            entries.map(|entry| size(&entry.path())).sum()
        }
        Ok(meta) => meta.len(),
        Err(_) => 0,
    }
}

/// Processes of the steady pods' web servers, with their start times.
fn steady(cluster: &Cluster) -> Result<BTreeMap<u32, String>> {
    let mark = format!("/{}/", cluster.layout.boards[0].cgroup);
    let mut out = BTreeMap::new();
    for pid in pids() {
        let read =
            |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        if read("cgroup").contains(&mark) && read("cmdline").contains("httpd") {
            let stat = read("stat");
            let fields = stat.rsplit(')').next().unwrap_or_default();
            let start = fields.split_whitespace().nth(19).context("no start time")?;
            out.insert(pid, start.to_owned());
        }
    }
    Ok(out)
}

fn pod(cluster: &Cluster, name: &str) -> Result<Value> {
    let out = cluster.kubectl(&["get", "pod", name, "-o", "json"])?;
    Ok(serde_json::from_str(&out.stdout)?)
}

fn wait_for_pod(
    cluster: &Cluster,
    name: &str,
    what: &str,
    holds: impl Fn(&Value) -> bool,
) -> Result<Value> {
    let mut last = Value::Null;
    let done = wait_until(Duration::from_secs(90), || {
        if let Ok(value) = pod(cluster, name) {
            last = value;
        }
        Ok(!last.is_null() && holds(&last))
    })?;
    ensure!(done, "waited for {name} {what}; it is {last:#}");
    Ok(last)
}

fn restarts(pod: &Value) -> u64 {
    pod["status"]["containerStatuses"][0]["restartCount"]
        .as_u64()
        .unwrap_or(0)
}

fn all_restarts(cluster: &Cluster) -> Result<BTreeMap<String, u64>> {
    let out = cluster.kubectl(&["get", "pods", "-o", "json"])?;
    let list: Value = serde_json::from_str(&out.stdout)?;
    let of = |pod: &Value| (pod["metadata"]["name"].to_string(), restarts(pod));
    Ok(list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(of)
        .collect())
}

/// The number of each pod's newest log file on the board: lives of its first container so far.
fn lives(cluster: &Cluster) -> BTreeMap<String, u64> {
    let mut out = BTreeMap::new();
    let logs = Path::new(cluster.run_dir(0)).join("logs");
    for entry in fs::read_dir(logs).into_iter().flatten().flatten() {
        let files = fs::read_dir(entry.path().join("main"))
            .into_iter()
            .flatten()
            .flatten();
        let number = |name: &str| name.split('.').next()?.parse::<u64>().ok();
        let newest = files
            .filter_map(|file| number(file.file_name().to_str()?))
            .max();
        if let (Some(newest), Some(uid)) = (newest, entry.file_name().to_str()) {
            out.insert(uid.to_owned(), newest);
        }
    }
    out
}

/// What happened is told: as many restarts as there were lives, how the last one ended, events.
fn told(cluster: &Cluster, lives: &BTreeMap<String, u64>) -> Result<()> {
    let uid = |pod: &Value| {
        pod["metadata"]["uid"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    for name in ["crash", "sick"] {
        let found = wait_for_pod(cluster, name, "to tell of its restarts", |pod| {
            lives
                .get(&uid(pod))
                .is_some_and(|lives| restarts(pod) + 1 >= *lives)
        })?;
        ensure!(restarts(&found) >= 1, "{name} never restarted: {found:#}");
    }
    let crash = pod(cluster, "crash")?;
    let status = &crash["status"]["containerStatuses"][0];
    let ended = [&status["lastState"], &status["state"]]
        .iter()
        .any(|state| state["terminated"]["exitCode"] == 7);
    ensure!(ended, "the crash's exit code: {status:#}");
    let of = "involvedObject.name=crash";
    let heard = wait_until(Duration::from_secs(60), || {
        let events = cluster.kubectl(&["get", "events", "--field-selector", of, "-o", "name"])?;
        Ok(!events.stdout.is_empty())
    })?;
    ensure!(heard, "no event about the crash");
    Ok(())
}

/// Whether memory and flash stayed flat.
fn judge(looks: &[Look], seconds: u64, ends: u64) -> Result<()> {
    ensure!(looks.len() >= 8, "{} looks are too few", looks.len());
    let quarter = looks.len() / 4;
    // What was in use at the parting is given back in the first quarter.
    let (second, last) = (
        &looks[quarter..2 * quarter],
        &looks[looks.len() - quarter..],
    );
    let mut wrong = Vec::new();
    type Figure = fn(&Look) -> u64;
    let figures: [(&str, Figure); 2] = [
        ("agent", |look| look.agent_kib),
        ("shims", |look| look.shims_kib),
    ];
    for (what, of) in figures {
        let mean = |looks: &[Look]| looks.iter().map(of).sum::<u64>() / looks.len() as u64;
        let (before, after) = (mean(second), mean(last));
        println!("{what}: {before} KiB in the second quarter, {after} KiB in the last");
        if after > before + GROWTH_KIB {
            wrong.push(format!("{what} grew from {before} to {after} KiB"));
        }
    }
    let written = looks[looks.len() - 1].written - looks[0].written;
    let may = WRITES_PER_HOUR * seconds.div_ceil(3600) + WRITES_PER_RESTART * ends;
    println!("the agent wrote {written} bytes in {seconds} s with {ends} restarts; at most {may}");
    if written > may {
        wrong.push(format!("the agent wrote {written} bytes, more than {may}"));
    }
    let logs = looks.iter().map(|look| look.logs).max().unwrap_or_default();
    if logs > LOGS_MAX {
        wrong.push(format!("the logs took {logs} bytes"));
    }
    let state = (looks[quarter].state, looks[looks.len() - 1].state);
    if state.1 > state.0 {
        wrong.push(format!(
            "the state log grew from {} to {} bytes",
            state.0, state.1
        ));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("{}", wrong.join("; "))
}
