//! Followed logs while agents come and go, as the real kubectl has them.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use bramble_tests::local::{Cluster, Guard, wait_until};

use crate::streams::{Running, kubectl};
use crate::{LIMIT, get, text};

/// Counts until it is told to end, by a file on the board. Every twentieth line is longer than one of the log
/// file may be.
fn counter(flags: &Path) -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{ name: counter }}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: bramble.test/busybox:1
      command:
        - sh
        - -c
        - |
          long=$(head -c 20000 /dev/zero | tr '\0' x)
          n=0
          while [ ! -e /flags/end ]; do
            n=$((n+1))
            case $n in *00|*20|*40|*60|*80) echo line $n $long;; *) echo line $n;; esac
            usleep 100000
          done
          echo end
      volumeMounts: [{{ name: flags, mountPath: /flags }}]
  volumes: [{{ name: flags, hostPath: {{ path: {}, type: Directory }} }}]
"#,
        flags.display()
    )
}

/// A client that writes what it gets into a file.
struct Follower {
    running: Running,
    file: PathBuf,
}

impl Follower {
    fn start(cluster: &Cluster, name: &str, args: &[&str]) -> Result<Self> {
        let file = cluster.options().dir.join(name);
        let child = kubectl(cluster)
            .args(["logs", "-f", "counter"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&file)?)
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let running = Running(child);
        Ok(Self { running, file })
    }

    fn lines(&self) -> Result<Vec<String>> {
        let text = std::fs::read_to_string(&self.file)?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// The number in its newest whole line.
    fn newest(&self) -> Result<u64> {
        let text = std::fs::read_to_string(&self.file)?;
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        Ok(whole.lines().last().map_or(0, number))
    }
}

/// Of a line of the counter, with or without a time before it; 0 when it is none.
fn number(line: &str) -> u64 {
    let rest = line.split_once("line ").map_or("", |(_, rest)| rest);
    let word = rest.split(' ').next().unwrap_or_default();
    word.parse().unwrap_or(0)
}

#[test]
fn root_a_followed_log_goes_on_though_its_agent_is_killed_and_ends_with_its_container() -> Result<()>
{
    let cluster = Guard::start(1)?;
    let flags = cluster.options().dir.join("flags");
    std::fs::create_dir(&flags)?;
    cluster.apply(&counter(&flags))?;
    cluster.kubectl(&[
        "wait",
        "pod/counter",
        "--for=condition=Ready",
        "--timeout=60s",
    ])?;
    let followers = [
        Follower::start(&cluster, "all", &[])?,
        Follower::start(&cluster, "stamped", &["--timestamps", "--tail=3"])?,
        Follower::start(&cluster, "since", &["--since=1s"])?,
    ];
    // On the board, where nobody has to ask the agent.
    let pod = get(&cluster, "pod", "counter")?;
    let log = Path::new(cluster.run_dir(0))
        .join("logs")
        .join(text(&pod, "/metadata/uid"))
        .join("main/1.log");
    let written = || -> Result<String> { Ok(std::fs::read_to_string(&log)?) };
    let newest = || Ok::<_, anyhow::Error>(written()?.lines().map(number).max().unwrap_or(0));
    let all_beyond = |line: u64| -> Result<()> {
        let mut seen = Vec::new();
        let beyond = wait_until(LIMIT, || {
            seen = followers
                .iter()
                .map(Follower::newest)
                .collect::<Result<_>>()?;
            Ok(seen.iter().all(|seen| *seen > line))
        })?;
        ensure!(
            beyond,
            "followers stand still at {seen:?}, the log had {line}; {}",
            cluster.log_tail("controller")
        );
        Ok(())
    };
    all_beyond(newest()?)?;
    for round in 0..2 {
        cluster.kill("board-1")?;
        let line = newest()?;
        let away = wait_until(LIMIT, || Ok(newest()? > line + 15))?;
        ensure!(away, "round {round}: the container does not go on");
        cluster.start_agent(0)?;
        all_beyond(newest()?)?;
    }
    // The container ends while nobody looks.
    cluster.kill("board-1")?;
    std::fs::write(flags.join("end"), "")?;
    ensure!(wait_until(LIMIT, || Ok(written()?.ends_with(" end\n")))?);
    let last = newest()?;
    cluster.start_agent(0)?;
    for follower in followers {
        let lines = follower.lines()?;
        let Follower { running, file } = follower;
        let (code, errors) = running.end()?;
        ensure!(
            code == 0,
            "{}: {code} {errors}, had {}",
            file.display(),
            lines.len()
        );
        check_count(&std::fs::read_to_string(&file)?, last)
            .with_context(|| file.display().to_string())?;
    }
    Ok(())
}

/// Each number once and in order up to the last, each line whole, and the end.
fn check_count(text: &str, last: u64) -> Result<()> {
    let mut lines: Vec<&str> = text.lines().collect();
    let end = lines.pop().context("nothing")?;
    ensure!(
        end == "end" || end.ends_with("Z end"),
        "{end:?} and not the end"
    );
    let mut next = number(lines.first().context("no lines")?);
    for line in lines {
        ensure!(number(line) == next, "{next} is missing: {line:.60}");
        let long = line.len() > 20_000 && line.ends_with("xxx");
        ensure!(
            long == next.is_multiple_of(20),
            "not whole: {line:.60}, {}",
            line.len()
        );
        next += 1;
    }
    ensure!(next == last + 1, "ends after {}, not {last}", next - 1);
    Ok(())
}
