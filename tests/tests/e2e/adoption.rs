//! The agent is killed at any moment, again and again; containers, logs, exit codes and standard input
//! are not. `./x adoption` does it 200 times.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bramble_tests::local::{Cluster, Guard};
use serde_json::Value;

use crate::said::ended;
use crate::{get, list, name, text, wait_for};

/// How often the agent is killed, unless `BRAMBLE_ADOPTION_ROUNDS` says otherwise.
const ROUNDS: u32 = 8;

/// Pods that end by themselves exist this many rounds.
const KEPT: u32 = 4;

const STEADY: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: steady }
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: writer
      image: bramble.test/busybox:1
      command: [sh, -c, "n=0; while true; do n=$((n+1)); echo line $n; sleep 0.05; done"]
    - name: listener
      image: bramble.test/busybox:1
      stdin: true
      command: [sh, -c, "while read line; do echo got $line; done; echo input ended"]
"#;

/// A process of a container: the number, and when it started.
type Process = (u32, u64);

/// Processes in cgroups of the cluster that are children of a shim, by container id.
fn processes(cluster: &Cluster) -> Result<BTreeMap<String, Process>> {
    let mark = format!("bramble-{}-", cluster.layout.id);
    let mut out = BTreeMap::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        let read =
            |file: &str| std::fs::read_to_string(entry.path().join(file)).unwrap_or_default();
        let cgroup = read("cgroup");
        // In hierarchies without a controller it stays where its shim is.
        let own = |l: &&str| l.contains(&mark) && !l.ends_with("/shim");
        let Some(own) = cgroup.lines().find(own) else {
            continue;
        };
        // First in its namespace: `NSpid: <outside> 1`.
        let status = read("status");
        let first = (status.lines())
            .filter_map(|l| l.strip_prefix("NSpid:"))
            .any(|l| l.split_whitespace().nth(1) == Some("1"));
        let stat = read("stat");
        let fields: Vec<_> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        if !first || fields.first() == Some(&"Z") {
            continue;
        }
        let start = fields.get(19).context("no start time")?.parse()?;
        let id = own.rsplit('/').next().unwrap_or_default();
        out.insert(id.to_owned(), (pid, start));
    }
    Ok(out)
}

/// The two containers of the steady pod.
fn steady(cluster: &Cluster) -> Result<BTreeMap<String, Process>> {
    let mut all = processes(cluster)?;
    all.retain(|id, _| id.starts_with("writer-") || id.starts_with("listener-"));
    Ok(all)
}

/// Log files of a pod on its board: `<container>/<life>.log`.
fn lives(cluster: &Cluster, uid: &str) -> BTreeSet<PathBuf> {
    let root = Path::new(cluster.run_dir(0)).join("logs").join(uid);
    let files = |dir: &Path| {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|e| e.path()).collect::<Vec<_>>()
    };
    files(&root).iter().flat_map(|dir| files(dir)).collect()
}

/// A pod that does something for a moment and ends with a code of its own.
fn once(round: u32) -> (String, i64, String) {
    let (name, code) = (format!("once-{round}"), i64::from(round % 7));
    let manifest = format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{ name: {name}, labels: {{ churn: once }} }}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: [sh, -c, "echo begin {name}; sleep 0.{pause}; echo end {name}; exit {code}"]
"#,
        pause = round % 9
    );
    (name, code, manifest)
}

/// The pod ended as it should, having lived once, and its log is whole.
fn check_once(cluster: &Cluster, round: u32) -> Result<()> {
    let (name, code, _) = once(round);
    let pod = wait_for(cluster, "pod", &name, "to end", ended)?;
    let status = &pod["status"]["containerStatuses"][0];
    let end = &status["state"]["terminated"];
    ensure!(
        end["exitCode"] == code && status["restartCount"] == 0,
        "{name}: {status:#}"
    );
    let files = lives(cluster, text(&pod, "/metadata/uid"));
    ensure!(files.len() == 1, "{name} lived more than once: {files:?}");
    let log = std::fs::read_to_string(files.iter().next().context("no log")?)?;
    let lines: Vec<_> = log
        .lines()
        .filter_map(|l| l.splitn(4, ' ').nth(3))
        .collect();
    ensure!(
        lines == [format!("begin {name}"), format!("end {name}")],
        "{name}: {log}"
    );
    Ok(())
}

/// Numbers of the writer's lines in its current log files, oldest first: without a gap.
fn check_writer(cluster: &Cluster, uid: &str) -> Result<u64> {
    let files = lives(cluster, uid);
    let mut of: Vec<_> = (files.iter())
        .filter(|f| f.parent().is_some_and(|d| d.ends_with("writer")))
        .collect();
    // `<life>.log` and `<life>.log.1` are of one life.
    let lives: BTreeSet<_> = (of.iter())
        .filter_map(|f| f.file_name()?.to_str()?.split('.').next())
        .collect();
    ensure!(lives.len() == 1, "the writer was started again: {of:?}");
    // The rotated one is older.
    of.sort_by_key(|f| std::cmp::Reverse(f.to_string_lossy().len()));
    let mut last = 0;
    for file in of {
        for line in std::fs::read_to_string(file)?.lines() {
            let number: u64 = line.rsplit(' ').next().unwrap_or_default().parse()?;
            ensure!(last == 0 || number == last + 1, "{last}, then {number}");
            last = number;
        }
    }
    Ok(last)
}

#[test]
fn root_an_agent_that_is_killed_over_and_over_loses_no_container_log_or_exit_code() -> Result<()> {
    let rounds = match std::env::var("BRAMBLE_ADOPTION_ROUNDS") {
        Ok(text) => text.parse().context("BRAMBLE_ADOPTION_ROUNDS")?,
        Err(_) => ROUNDS,
    };
    let cluster = Guard::start(1)?;
    cluster.apply(STEADY)?;
    let running = |pod: &Value| {
        let statuses = pod["status"]["containerStatuses"].as_array();
        statuses.is_some_and(|all| {
            all.len() == 2 && all.iter().all(|s| s["state"]["running"].is_object())
        })
    };
    let pod = wait_for(&cluster, "pod", "steady", "to run", running)?;
    let uid = text(&pod, "/metadata/uid").to_owned();
    let before = steady(&cluster)?;
    ensure!(before.len() == 2, "{before:?}");
    let (mut lines, mut checked, mut random) = (0, 0, 0x9e37_79b9_u32);
    for round in 0..rounds {
        let (_, _, manifest) = once(round);
        cluster.apply(&manifest)?;
        // Any moment of the pod's making, life and end: the pause stands for no condition, it is drawn.
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        std::thread::sleep(Duration::from_millis(u64::from(random >> 16) % 500));
        cluster.kill("board-1")?;
        ensure!(
            steady(&cluster)? == before,
            "round {round}: containers go on without their agent"
        );
        cluster.start_agent(0)?;
        if round >= KEPT {
            check_once(&cluster, checked).with_context(|| format!("round {round}"))?;
            let gone = ["delete", "pod", &once(checked).0, "--wait=false"];
            cluster.kubectl(&gone)?;
            checked += 1;
        }
        let now = check_writer(&cluster, &uid).with_context(|| format!("round {round}"))?;
        ensure!(now > lines, "round {round}: the writer's log stands still");
        lines = now;
    }
    for round in checked..rounds {
        check_once(&cluster, round)?;
    }
    ensure!(steady(&cluster)? == before, "a container was started again");
    let pod = get(&cluster, "pod", "steady")?;
    for status in pod["status"]["containerStatuses"]
        .as_array()
        .into_iter()
        .flatten()
    {
        ensure!(status["restartCount"] == 0, "{status:#}");
    }
    check_listener(&cluster, &uid)?;
    // What was deleted on the way is gone from the board as well.
    cluster.kubectl(&["delete", "pods", "-l", "churn=once", "--wait=false"])?;
    cluster.wait("the churn to leave the board", "board-1", || {
        let left: Vec<_> = list(&cluster, &["pods"])?
            .iter()
            .map(|p| name(p).to_owned())
            .collect();
        let shims = std::fs::read_dir(Path::new(cluster.run_dir(0)).join("pods"))?.count();
        Ok(left == ["steady"] && shims == 1)
    })
}

/// Its input is still open: whoever the agent is by now, it did not end.
fn check_listener(cluster: &Cluster, uid: &str) -> Result<()> {
    let files = lives(cluster, uid);
    let mut logs = files
        .iter()
        .filter(|f| f.to_string_lossy().contains("/listener/"));
    ensure!(
        logs.all(|f| std::fs::read_to_string(f).is_ok_and(|log| log.is_empty())),
        "the listener's input ended"
    );
    Ok(())
}
