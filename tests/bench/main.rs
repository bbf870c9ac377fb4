//! `./x bench`: memory of every process, how long a manifest takes to become a process beside
//! `crun run` of the same image, and what the API does with thousands of pods. Prints tables; every
//! figure in the documents comes from here.

mod api;
mod http;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bramble_tests::local::{Guard, run, wait_until};

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let (mut runs, mut pods, mut only) = (20, 5000, None);
    while let Some(name) = args.next() {
        let mut value = || args.next().with_context(|| format!("{name} needs a value"));
        match name.as_str() {
            "--runs" => runs = value()?.parse().context("--runs needs a number")?,
            "--pods" => pods = value()?.parse().context("--pods needs a number")?,
            "--only" => only = Some(value()?),
            _ => anyhow::bail!("usage: bramble-bench [--runs N] [--pods N] [--only node|api]"),
        }
    }
    let wanted = |part: &str| only.as_deref().is_none_or(|only| only == part);
    if wanted("node") {
        node(runs)?;
    }
    if wanted("api") {
        api::run(pods)?;
    }
    Ok(())
}

fn node(runs: usize) -> Result<()> {
    let cluster = Guard::start(1)?;
    println!("programs: {}", cluster.options().programs.display());
    memory(&cluster, "idle, no pods")?;
    writes(&cluster)?;
    starts(&cluster, runs)?;
    memory(&cluster, "with the pods of the runs")?;
    crun(runs)
}

/// RSS, PSS and private memory of every process of the cluster, in KiB.
fn memory(cluster: &Guard, when: &str) -> Result<()> {
    println!(
        "\nmemory in KiB, {when}\n{:>6} {:>8} {:>8} {:>8}  process",
        "pid", "rss", "pss", "private"
    );
    let own = format!("bramble-{}", cluster.layout.id);
    let dir = cluster.options().dir.display().to_string();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let program = command
            .split(' ')
            .next()
            .unwrap_or_default()
            .rsplit('/')
            .next()
            .unwrap_or("");
        let ours = command.contains(&own) || command.contains(&dir);
        if !program.starts_with("bramble-") || !ours || pid == std::process::id() {
            continue;
        }
        let Ok(smaps) = std::fs::read_to_string(entry.path().join("smaps_rollup")) else {
            continue;
        };
        let field = |name: &str| -> u64 {
            smaps
                .lines()
                .filter(|line| line.starts_with(name))
                .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
                .sum()
        };
        let private = field("Private_Dirty:") + field("Private_Clean:");
        println!(
            "{pid:>6} {:>8} {:>8} {private:>8}  {program}",
            field("Rss:"),
            field("Pss:")
        );
    }
    Ok(())
}

/// Bytes that controller and agent send to the disk in a quiet minute.
fn writes(cluster: &Guard) -> Result<()> {
    let read = |name: &str| -> Result<u64> {
        let pid = cluster
            .pid(name)
            .with_context(|| format!("{name} does not run"))?;
        let io = std::fs::read_to_string(format!("/proc/{pid}/io"))?;
        let line = io.lines().find(|line| line.starts_with("write_bytes:"));
        Ok(line
            .and_then(|line| line.split(' ').nth(1))
            .context("no write_bytes")?
            .parse()?)
    };
    let names = ["controller", "board-1"];
    let before = names
        .iter()
        .map(|name| read(name))
        .collect::<Result<Vec<_>>>()?;
    let begun = Instant::now();
    wait_until(Duration::from_secs(60), || {
        Ok(begun.elapsed() >= Duration::from_secs(60))
    })?;
    for (name, before) in names.iter().zip(before) {
        println!(
            "{name}: {} bytes written in 60 s idle",
            read(name)? - before
        );
    }
    Ok(())
}

fn starts(cluster: &Guard, runs: usize) -> Result<()> {
    let mut created = Vec::new();
    let mut kubectl = Vec::new();
    let mut ended = BTreeMap::new();
    for run in 0..runs {
        // The container's own argument tells it apart.
        let mark = format!("{}", 100_000 + run);
        let manifest = format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"bench-{run}"}},"spec":{{
            "containers":[{{"name":"c","image":"bramble.test/busybox:1","command":["sleep","{mark}"]}}]}}}}"#
        );
        let begun = Instant::now();
        let starter = std::thread::scope(|scope| -> Result<(Duration, Duration)> {
            let handle = scope.spawn(|| -> Result<Duration> {
                cluster
                    .kubectl_with_input(&["create", "-f", "-"], &manifest)?
                    .success()?;
                Ok(begun.elapsed())
            });
            let mut at = None;
            while at.is_none() && begun.elapsed() < Duration::from_secs(20) {
                at = sleeping(&mark).then(|| begun.elapsed());
                std::thread::sleep(Duration::from_millis(1)); // poll
            }
            let returned = handle.join().expect("the thread does not panic")?;
            Ok((at.context("the container did not start")?, returned))
        })?;
        created.push(starter.0);
        kubectl.push(starter.1);
        ended.insert(run, starter);
    }
    println!("\nkubectl create -> process in the container, {runs} runs");
    print("from the start of kubectl", &mut created.clone());
    print("kubectl itself, to its end", &mut kubectl.clone());
    let mut after: Vec<_> = created
        .iter()
        .zip(&kubectl)
        .map(|(at, end)| at.saturating_sub(*end))
        .collect();
    print("from the end of kubectl", &mut after);
    Ok(())
}

/// Whether a process `sleep MARK` runs.
fn sleeping(mark: &str) -> bool {
    let wanted = format!("sleep\0{mark}\0");
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| {
            std::fs::read(entry.path().join("cmdline")).is_ok_and(|text| text == wanted.as_bytes())
        })
}

fn print(what: &str, times: &mut [Duration]) {
    times.sort();
    let at =
        |part: f64| times[((times.len() - 1) as f64 * part).round() as usize].as_secs_f64() * 1e3;
    println!(
        "{what:<28} p50 {:7.1} ms  p90 {:7.1} ms  max {:7.1} ms",
        at(0.5),
        at(0.9),
        at(1.0)
    );
}

/// `crun run` of `true` in the same root file system. crun refuses a hybrid cgroup layout, so it
/// runs in a mount namespace without the unified hierarchy.
fn crun(runs: usize) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let script = r#"
set -e
cd "$1"; mkdir rootfs save
tar -C save -xf "$2/busybox-1.tar"
tar -C rootfs -xf save/*/layer.tar
crun spec
sed -i 's/"terminal": true/"terminal": false/; s/"sh"/"true"/' config.json
"#;
    let images = bramble_tests::images()?;
    run(Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(dir.path())
        .arg(&images))?
    .success()?;
    let mut times = Vec::new();
    for n in 0..runs {
        let begun = Instant::now();
        let line = format!(
            "if mountpoint -q /sys/fs/cgroup/unified; then umount -l /sys/fs/cgroup/unified; fi
            exec crun run --bundle {} bramble-bench-{}-{n}",
            dir.path().display(),
            std::process::id()
        );
        run(Command::new("unshare").args(["-m", "sh", "-c", &line]))?.success()?;
        times.push(begun.elapsed());
    }
    ensure!(Path::new("/usr/bin/crun").exists(), "crun is missing");
    print("crun run true, to its end", &mut times);
    Ok(())
}
