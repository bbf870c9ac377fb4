//! A person at a board, with no controller to ask.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use bramble_tests::local::{Cluster, Guard, wait_until};
use serde_json::Value;

use crate::{LIMIT, get, text};

/// One container that stays and one that ends over and over.
const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: shop-one }
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: [sh, -c, "echo first; echo open; exec sleep 100000"]
    - name: ends
      image: bramble.test/busybox:1
      command: [sh, -c, "echo life is short; exit 3"]
"#;

/// `bramble node COMMAND` of the first board.
fn node(cluster: &Cluster, args: &[&str]) -> Command {
    let mut command = Command::new(cluster.options().programs.join("bramble"));
    let socket = format!("{}/agent.sock", cluster.run_dir(0));
    command.arg("node").arg(args[0]).args(["--socket", &socket]);
    command.args(&args[1..]).stdin(Stdio::null());
    // Nothing but the socket may be needed.
    command.env_remove("KUBECONFIG").env("HOME", "/nonexistent");
    command
}

fn said(cluster: &Cluster, args: &[&str]) -> Result<String> {
    let out = node(cluster, args).output()?;
    let error = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "{args:?}: {error}");
    Ok(String::from_utf8(out.stdout)?)
}

fn status(cluster: &Cluster) -> Result<Value> {
    Ok(serde_json::from_str(&said(
        cluster,
        &["status", "-o", "json"],
    )?)?)
}

/// Waits until the board says so of itself.
fn wait_for_status(
    cluster: &Cluster,
    what: &str,
    condition: impl Fn(&Value) -> bool,
) -> Result<Value> {
    let mut last = Value::Null;
    let done = wait_until(LIMIT, || {
        if let Ok(now) = status(cluster) {
            last = now;
        }
        Ok(!last.is_null() && condition(&last))
    })?;
    ensure!(done, "waited for {what}; it is {last:#}");
    Ok(last)
}

/// A program that is killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn root_a_technician_without_a_controller_sees_and_enters_what_runs() -> Result<()> {
    let cluster = Guard::start(1)?;
    cluster.apply(POD)?;
    let alive = |status: &Value| {
        let main = "/pods/0/containers/0/state/running";
        let again = status
            .pointer("/pods/0/containers/1/restarts")
            .and_then(Value::as_u64);
        status.pointer(main).is_some() && again >= Some(1)
    };
    let before = wait_for_status(&cluster, "the pod to run", alive)?;
    ensure!(before["controller"]["connected"] == true, "{before:#}");
    let pod = get(&cluster, "pod", "shop-one")?;

    cluster.kill("controller")?;
    let away = |status: &Value| status["controller"]["connected"] == false;
    let alone = wait_for_status(&cluster, "the controller to be away", away)?;
    ensure!(alone["controller"]["everConnected"] == true, "{alone:#}");
    ensure!(
        alone["document"]["version"] == before["document"]["version"],
        "{alone:#}"
    );
    for (ours, theirs) in [
        ("/pods/0/uid", "/metadata/uid"),
        ("/pods/0/name", "/metadata/name"),
        ("/pods/0/namespace", "/metadata/namespace"),
        ("/pods/0/address", "/status/podIP"),
        (
            "/pods/0/containers/0/imageID",
            "/status/containerStatuses/1/imageID",
        ),
    ] {
        let (ours, theirs) = (text(&alone, ours), text(&pod, theirs));
        ensure!(
            !ours.is_empty() && theirs.ends_with(ours),
            "{ours:?} for {theirs:?}"
        );
    }
    let screen = said(&cluster, &["status"])?;
    ensure!(
        screen.contains("away for") && screen.contains("default/shop-one"),
        "{screen}"
    );

    logs(&cluster)?;
    commands(&cluster)?;

    // An agent that is started with nobody to talk to shows the same.
    cluster.kill("board-1")?;
    cluster.start_agent(0)?;
    let again = wait_for_status(&cluster, "the agent to be back", alive)?;
    ensure!(again["controller"]["everConnected"] == false, "{again:#}");
    ensure!(
        again["pods"][0]["uid"] == alone["pods"][0]["uid"],
        "{again:#}"
    );
    let started = "/pods/0/containers/0/state/running/startedAt";
    ensure!(
        again.pointer(started) == alone.pointer(started),
        "restarted: {again:#}"
    );
    Ok(())
}

fn logs(cluster: &Cluster) -> Result<()> {
    ensure!(said(cluster, &["logs", "shop", "-c", "main"])? == "first\nopen\n");
    ensure!(said(cluster, &["logs", "default/shop-one", "--tail", "1"])? == "open\n");
    ensure!(said(cluster, &["logs", "-p", "shop", "-c", "ends"])? == "life is short\n");
    let mut follow = node(cluster, &["logs", "-f", "shop", "-c", "main"]);
    let mut follow = Running(follow.stdout(Stdio::piped()).spawn()?);
    let mut lines = BufReader::new(follow.0.stdout.take().context("no pipe")?).lines();
    said(
        cluster,
        &["exec", "shop", "--", "sh", "-c", "echo more > /proc/1/fd/1"],
    )?;
    for wanted in ["first", "open", "more"] {
        let line = lines.next().context("the log ended")??;
        ensure!(line == wanted, "{line:?} for {wanted:?}");
    }
    let none = node(cluster, &["logs", "nothing"]).output()?;
    let why = String::from_utf8_lossy(&none.stderr).into_owned();
    ensure!(
        none.status.code() == Some(1) && why.contains("default/shop-one"),
        "{why}"
    );
    Ok(())
}

fn commands(cluster: &Cluster) -> Result<()> {
    let hostname = said(cluster, &["exec", "shop", "--", "hostname"])?;
    ensure!(hostname == "shop-one\n", "{hostname}");
    let code = node(cluster, &["exec", "shop", "--", "sh", "-c", "exit 42"]).status()?;
    ensure!(code.code() == Some(42), "{code}");
    let missing = node(cluster, &["exec", "shop", "--", "/no/such/program"]).output()?;
    ensure!(missing.status.code() == Some(1), "{missing:?}");
    let line = node(
        cluster,
        &["exec", "-it", "shop", "--", "sh", "-c", "'tty; exit 5'"],
    );
    let words = std::iter::once(line.get_program()).chain(line.get_args());
    let words: Vec<_> = words.map(std::ffi::OsStr::to_string_lossy).collect();
    let mut terminal = Command::new("script");
    terminal.args(["-qec", &words.join(" "), "/dev/null"]);
    let out = terminal.stdin(Stdio::null()).output()?;
    let shown = String::from_utf8_lossy(&out.stdout).into_owned();
    ensure!(
        out.status.code() == Some(5) && shown.contains("/dev/"),
        "{shown}: {}",
        out.status
    );
    // Far more input than there is credit for at once, and a half-close at its end.
    let mut count = node(cluster, &["exec", "-i", "shop", "--", "wc", "-c"]);
    let mut count = count.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut input = count.stdin.take().context("no pipe")?;
    input.write_all(&vec![b'x'; 1_000_000])?;
    drop(input);
    let out = count.wait_with_output()?;
    ensure!(
        String::from_utf8_lossy(&out.stdout).trim() == "1000000",
        "{out:?}"
    );
    Ok(())
}

/// A pod of the board's own: a counter of its starts in a folder of the board.
fn own(text: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: ConfigMap
metadata: {{ name: own }}
data: {{ text: "{text}" }}
---
apiVersion: v1
kind: Pod
metadata: {{ name: own }}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: bramble.test/busybox:1
      env: [{{ name: TEXT, valueFrom: {{ configMapKeyRef: {{ name: own, key: text }} }} }}]
      command: [sh, -c, "echo $TEXT; exec sleep 100000"]
"#
    )
}

/// The board's own pod of a file, when it runs.
fn own_running<'a>(status: &'a Value, file: &str) -> Option<&'a Value> {
    let mut pods = status["pods"].as_array()?.iter();
    let pod = pods.find(|pod| pod["file"] == file && pod["gone"] == false)?;
    pod.pointer("/containers/0/state/running").map(|_| pod)
}

#[test]
fn root_a_board_runs_its_own_pods_without_a_network() -> Result<()> {
    let cluster = Guard::start(1)?;
    cluster.kill("controller")?;
    let manifest = cluster.options().dir.join("kiosk.yaml");
    let apply = |text: &str| -> Result<String> {
        std::fs::write(&manifest, own(text))?;
        said(&cluster, &["apply", "-f", &manifest.display().to_string()])
    };
    ensure!(apply("one")?.contains("default/own"));
    let runs = |status: &Value| own_running(status, "kiosk.yaml").is_some();
    let first = wait_for_status(&cluster, "the pod to run", runs)?;
    let uid = |status: &Value| own_running(status, "kiosk.yaml").map(|pod| pod["uid"].clone());
    cluster.wait("the pod to say something", "board-1", || {
        Ok(said(&cluster, &["logs", "own"])? == "one\n")
    })?;

    // What is wrong is refused before it is in the folder; what gets in by another way harms no other.
    std::fs::write(&manifest, own("two").replace("image:", "imag:"))?;
    let bad = node(&cluster, &["apply", "-f", &manifest.display().to_string()]).output()?;
    ensure!(bad.status.code() == Some(1), "{bad:?}");
    let folder = cluster.static_pods("board-1");
    std::fs::write(folder.join("bad.yaml"), "kind: [")?;
    let noted = |status: &Value| {
        let notes = status["notes"].as_array().into_iter().flatten();
        notes
            .filter_map(Value::as_str)
            .any(|note| note.contains("bad.yaml"))
    };
    let seen = wait_for_status(&cluster, "a note on the bad file", noted)?;
    ensure!(uid(&seen) == uid(&first), "{seen:#}");

    // An agent that was killed finds it; after a power cut it is started again.
    cluster.kill("board-1")?;
    cluster.start_agent(0)?;
    let seen = wait_for_status(&cluster, "the pod to be found", runs)?;
    let started = "/containers/0/state/running/startedAt";
    let at = |status: &Value| {
        own_running(status, "kiosk.yaml").and_then(|pod| pod.pointer(started).cloned())
    };
    ensure!(
        uid(&seen) == uid(&first) && at(&seen) == at(&first),
        "{seen:#}"
    );
    cluster.power_cut(0)?;
    cluster.start_agent(0)?;
    let seen = wait_for_status(&cluster, "the pod after a reboot", runs)?;
    ensure!(uid(&seen) == uid(&first), "{seen:#}");

    // Another text is another pod, once the first has ended.
    let changed = own("two").replace("name: main", "name: changed");
    std::fs::write(&manifest, changed)?;
    said(&cluster, &["apply", "-f", &manifest.display().to_string()])?;
    let other = |status: &Value| uid(status).is_some_and(|now| Some(now) != uid(&first));
    wait_for_status(&cluster, "the other pod", other)?;

    // A controller that comes back leaves it alone.
    cluster.start_controller()?;
    let back = |status: &Value| status["controller"]["connected"] == true;
    let seen = wait_for_status(&cluster, "the controller to be back", back)?;
    ensure!(other(&seen), "{seen:#}");

    said(&cluster, &["delete", "kiosk"])?;
    let gone = |status: &Value| own_running(status, "kiosk.yaml").is_none();
    wait_for_status(&cluster, "the pod to end", gone)?;
    Ok(())
}
