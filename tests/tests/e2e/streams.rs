//! Exec, attach, cp, port-forward and logs, as the real kubectl has them.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use bramble_tests::local::{Cluster, Guard, http_get, wait_until};

use crate::said::succeeded;
use crate::{LIMIT, wait_for};

/// A container that stays, with a web server on the pod's loopback address only.
const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: one, labels: { app: one } }
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: [sh, -c, "mkdir -p /tmp/www; echo inside > /tmp/www/index.html; exec httpd -f -p 127.0.0.1:8080 -h /tmp/www"]
---
apiVersion: v1
kind: Service
metadata: { name: one }
spec: { selector: { app: one }, ports: [{ port: 80, targetPort: 8080 }] }
"#;

fn start() -> Result<Guard> {
    let cluster = Guard::start(1)?;
    cluster.apply(POD)?;
    cluster.kubectl(&["wait", "pod/one", "--for=condition=Ready", "--timeout=60s"])?;
    Ok(cluster)
}

/// kubectl as a program that goes on; killed when dropped.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    fn start(cluster: &Cluster, args: &[&str]) -> Result<Self> {
        let child = kubectl(cluster)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        Ok(Self(child))
    }

    /// The next bytes that it prints.
    fn read_exact(&mut self, bytes: &mut [u8]) -> Result<()> {
        let stdout = self.0.stdout.as_mut().context("no pipe")?;
        Ok(stdout.read_exact(bytes)?)
    }

    /// The port of this machine that it forwards, as its first line says.
    fn forwarded(&mut self) -> Result<u16> {
        let mut line = String::new();
        let stdout = self.0.stdout.as_mut().context("no pipe")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let port = line
            .strip_prefix("Forwarding from 127.0.0.1:")
            .and_then(|rest| rest.split_once(' '))
            .with_context(|| format!("kubectl printed {line:?}"))?;
        Ok(port.0.parse()?)
    }

    /// Exit code, when it ends in time, and what it printed as errors.
    pub(crate) fn end(mut self) -> Result<(i32, String)> {
        let mut code = None;
        let ended = wait_until(LIMIT, || {
            code = self.0.try_wait()?;
            Ok(code.is_some())
        })?;
        ensure!(ended, "kubectl did not end");
        let mut errors = String::new();
        let stderr = self.0.stderr.as_mut().context("no pipe")?;
        stderr.read_to_string(&mut errors)?;
        Ok((code.and_then(|c| c.code()).unwrap_or(-1), errors))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a pod that does nothing but end.
fn run_to_end(cluster: &Cluster, name: &str) -> Result<()> {
    let image = "--image=bramble.test/busybox:1";
    cluster.kubectl(&["run", name, image, "--restart=Never", "--", "true"])?;
    wait_for(cluster, "pod", name, "to end", succeeded)?;
    Ok(())
}

pub(crate) fn kubectl(cluster: &Cluster) -> Command {
    let options = cluster.options();
    let mut command = Command::new(&options.kubectl);
    let config = options.dir.join("controller/admin.kubeconfig");
    command.env("KUBECONFIG", config);
    command.env("KUBECACHEDIR", options.dir.join("kubectl-cache"));
    command
}

/// A shell line with `kubectl` on its path, in this cluster.
fn shell(cluster: &Cluster, line: &str) -> Result<(i32, String)> {
    let folder = cluster.options().kubectl.parent().context("no folder")?;
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("timeout")
        .args(["60", "sh", "-c", line])
        .env("PATH", format!("{}:{path}", folder.display()))
        .env(
            "KUBECONFIG",
            cluster.options().dir.join("controller/admin.kubeconfig"),
        )
        .current_dir(&cluster.options().dir)
        .stdin(Stdio::null())
        .output()?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Ok((output.status.code().unwrap_or(-1), text))
}

fn expect(cluster: &Cluster, line: &str, code: i32, wanted: &str) -> Result<()> {
    let (got, printed) = shell(cluster, line)?;
    ensure!(
        got == code && printed.contains(wanted),
        "`{line}` ended with {got}, not {code}, and printed {printed:?}, not {wanted:?}"
    );
    Ok(())
}

/// Resident memory of a process.
fn resident_kb(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(number.context("no VmRSS")?.parse()?)
}

#[test]
fn root_exec_has_input_outputs_exit_codes_and_a_terminal() -> Result<()> {
    let cluster = start()?;
    let exec = |what: &str| format!("kubectl exec one -- {what}");
    expect(&cluster, &exec("echo out"), 0, "out\n")?;
    let both = cluster.kubectl_any(&[
        "exec",
        "one",
        "--",
        "sh",
        "-c",
        "echo o; echo e >&2; exit 3",
    ])?;
    ensure!(both.code == 3 && both.stdout == "o\n", "{both:?}");
    ensure!(
        both.stderr == "e\ncommand terminated with exit code 3\n",
        "{both:?}"
    );
    expect(&cluster, "echo x | kubectl exec -i one -- cat", 0, "x\n")?;
    let line = "head -c 300000 /dev/zero | kubectl exec -i one -- wc -c";
    expect(&cluster, line, 0, "300000\n")?;
    // The command ends though the input does not.
    expect(
        &cluster,
        "sleep 30 | kubectl exec -i one -- echo done & wait $!",
        0,
        "done",
    )?;
    expect(&cluster, &exec("sh -c 'kill -9 $$'"), 137, "exit code 137")?;
    expect(
        &cluster,
        &exec("/no/such"),
        1,
        "error executing command in container",
    )?;
    expect(
        &cluster,
        "kubectl exec one -c other -- true",
        1,
        "container other is not valid for pod one",
    )?;
    // What the command leaves behind does not hold kubectl up.
    expect(&cluster, &exec("sh -c 'sleep 100 & echo left'"), 0, "left")?;

    let terminal = |inner: &str| format!("script -qec \"{inner}\" /dev/null < /dev/null");
    let size =
        terminal("stty rows 40 cols 101; kubectl exec -it one -- sh -c 'sleep 0.5; stty size'");
    expect(&cluster, &size, 0, "40 101")?;
    expect(
        &cluster,
        &terminal("kubectl exec -it one -- sh -c 'tty; exit 5'"),
        5,
        "/dev/pts/",
    )?;

    run_to_end(&cluster, "ended")?;
    expect(
        &cluster,
        "kubectl exec ended -- true",
        1,
        "cannot exec into a container in a completed pod",
    )
}

#[test]
fn root_files_are_copied_both_ways_unharmed() -> Result<()> {
    let cluster = start()?;
    let line = "head -c 6000000 /dev/urandom > a && kubectl cp a one:/tmp/a && \
                kubectl cp one:/tmp/a b && cmp a b && kubectl exec one -- sha256sum /tmp/a && sha256sum a";
    let (code, printed) = shell(&cluster, line)?;
    ensure!(code == 0, "{printed}");
    let sums: Vec<&str> = printed
        .lines()
        .filter_map(|line| line.split_once("  "))
        .map(|(sum, _)| sum)
        .collect();
    ensure!(sums.len() == 2 && sums[0] == sums[1], "{printed}");
    // Many files and a folder.
    let line = "mkdir -p d/e && for n in 1 2 3 4 5; do echo $n > d/e/$n; done && \
                kubectl cp d one:/tmp/d && kubectl cp one:/tmp/d back && diff -r d back && echo same";
    expect(&cluster, line, 0, "same")
}

#[test]
fn root_a_client_that_does_not_read_costs_nothing_but_its_own_stream() -> Result<()> {
    let cluster = start()?;
    let pids = || -> Result<[u32; 2]> {
        let of = |name: &str| {
            cluster
                .pid(name)
                .with_context(|| format!("{name} does not run"))
        };
        Ok([of("controller")?, of("board-1")?])
    };
    let before = pids()?.map(resident_kb);
    let mut stalled = Vec::new();
    for _ in 0..4 {
        let mut one = Running::start(&cluster, &["exec", "one", "--", "cat", "/dev/zero"])?;
        let mut first = [0];
        one.read_exact(&mut first)?;
        stalled.push(one);
    }
    expect(
        &cluster,
        "kubectl exec one -- true",
        1,
        "already serves 4 streams",
    )?;
    // The loop goes on: another pod starts and ends meanwhile.
    run_to_end(&cluster, "other")?;
    for (before, (now, name)) in before.into_iter().zip(
        pids()?
            .map(resident_kb)
            .into_iter()
            .zip(["controller", "agent"]),
    ) {
        let (before, now) = (before?, now?);
        ensure!(
            now < before + 8 * 1024,
            "the {name} has grown from {before} to {now} KiB"
        );
    }
    // Clients that vanish free their streams.
    drop(stalled);
    let freed = wait_until(LIMIT, || {
        Ok(shell(&cluster, "kubectl exec one -- true")?.0 == 0)
    })?;
    ensure!(freed, "no stream was freed");
    Ok(())
}

#[test]
fn root_ports_of_a_pods_loopback_address_are_forwarded() -> Result<()> {
    let cluster = start()?;
    for what in ["pod/one", "svc/one"] {
        let port = if what == "svc/one" { ":80" } else { ":8080" };
        let mut forward = Running::start(&cluster, &["port-forward", what, port])?;
        let port = forward.forwarded()?;
        // Several at once, and one after another.
        let asks: Vec<_> = (0..8)
            .map(|_| std::thread::spawn(move || http_get(Ipv4Addr::LOCALHOST, port)))
            .collect();
        for ask in asks {
            let body = ask.join().map_err(|_| anyhow::anyhow!("asking failed"))??;
            ensure!(body == "inside\n", "{body:?}");
        }
        for _ in 0..8 {
            ensure!(http_get(Ipv4Addr::LOCALHOST, port)? == "inside\n");
        }
    }
    let mut forward = Running::start(&cluster, &["port-forward", "pod/one", ":9"])?;
    let port = forward.forwarded()?;
    ensure!(
        http_get(Ipv4Addr::LOCALHOST, port).is_err(),
        "nothing listens there"
    );
    let mut errors = BufReader::new(forward.0.stderr.take().context("no pipe")?).lines();
    let said = errors.next().context("kubectl said nothing")??;
    ensure!(
        said.contains("error forwarding port 9 to pod one") && said.contains("connection refused"),
        "{said}"
    );
    Ok(())
}

#[test]
fn root_streams_end_with_their_agent_and_their_node() -> Result<()> {
    let cluster = start()?;
    let begin = || -> Result<Running> {
        let mut one = Running::start(
            &cluster,
            &["exec", "one", "--", "sh", "-c", "echo up; sleep 1000"],
        )?;
        let mut first = [0; 3];
        one.read_exact(&mut first)?;
        Ok(one)
    };
    let running = begin()?;
    cluster.kill("board-1")?;
    let (code, errors) = running.end()?;
    ensure!(
        code == 1 && errors.contains("is not connected"),
        "{code} {errors}"
    );
    for what in [
        "kubectl exec one -- true",
        "kubectl logs one",
        "kubectl attach one",
    ] {
        expect(&cluster, what, 1, "node board-1 is not connected")?;
    }
    cluster.start_agent(0)?;
    let back = wait_until(LIMIT, || {
        Ok(shell(&cluster, "kubectl exec one -- true")?.0 == 0)
    })?;
    ensure!(back, "the agent that came back serves nothing");
    // The same container: nothing was restarted.
    let pod = wait_for(&cluster, "pod", "one", "to be there", |_| true)?;
    ensure!(
        pod["status"]["containerStatuses"][0]["restartCount"] == 0,
        "{pod:#}"
    );

    let running = begin()?;
    cluster.kubectl(&["delete", "pod", "one", "--wait=false"])?;
    let (code, errors) = running.end()?;
    ensure!(code == 137, "{code} {errors}");
    Ok(())
}

#[test]
fn root_a_container_can_be_attached_to_and_run_for_a_moment() -> Result<()> {
    let cluster = Guard::start(1)?;
    let run = "kubectl run t --rm -i --image=bramble.test/busybox:1 --restart=Never -- sh -c 'read a; echo got $a; exit 4'";
    let (code, printed) = shell(&cluster, &format!("echo word | {run}"))?;
    ensure!(
        code == 4 && printed.contains("got word"),
        "{code} {printed}"
    );
    ensure!(printed.contains("pod \"t\" deleted"), "{printed}");

    cluster.apply(
        r#"
apiVersion: v1
kind: Pod
metadata: { name: talks }
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: bramble.test/busybox:1
      stdin: true
      tty: true
      command: [sh, -c, "stty size; while read line; do [ $line = end ] && exit 0; echo heard $line; done"]
"#,
    )?;
    cluster.kubectl(&[
        "wait",
        "pod/talks",
        "--for=condition=Ready",
        "--timeout=60s",
    ])?;
    let line =
        "(sleep 1; echo one; sleep 1; echo end) | script -qec 'kubectl attach -it talks' /dev/null";
    expect(&cluster, line, 0, "heard one")?;
    wait_for(&cluster, "pod", "talks", "to end", succeeded)?;
    Ok(())
}

#[test]
fn root_logs_of_every_life_and_every_container() -> Result<()> {
    let cluster = Guard::start(1)?;
    cluster.apply(
        r#"
apiVersion: v1
kind: Pod
metadata: { name: talks, labels: { app: talks } }
spec:
  terminationGracePeriodSeconds: 0
  initContainers:
    - { name: first, image: "bramble.test/busybox:1", command: [echo, from first] }
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: [sh, -c, "if [ -e /data/once ]; then echo life two; sleep 1000; fi; touch /data/once; for n in 1 2 3; do echo line $n; done; exit 1"]
      volumeMounts: [{ name: data, mountPath: /data }]
    - { name: side, image: "bramble.test/busybox:1", command: [sh, -c, "echo from side; sleep 1000"] }
  volumes: [{ name: data, emptyDir: {} }]
"#,
    )?;
    wait_for(
        &cluster,
        "pod",
        "talks",
        "to be in its second life",
        |pod| {
            let status = pod["status"]["containerStatuses"].as_array();
            status.is_some_and(|list| {
                list.iter()
                    .any(|s| s["restartCount"] == 1 && s["state"]["running"].is_object())
            })
        },
    )?;
    let logs = |args: &[&str]| -> Result<String> {
        let mut all = vec!["logs", "talks"];
        all.extend(args);
        Ok(cluster.kubectl(&all)?.stdout)
    };
    let second = wait_until(LIMIT, || Ok(logs(&["-c", "main"])? == "life two\n"))?;
    ensure!(second, "{}", logs(&["-c", "main"])?);
    let previous = logs(&["-c", "main", "--previous"])?;
    ensure!(previous == "line 1\nline 2\nline 3\n", "{previous:?}");
    let tail = logs(&["-c", "main", "-p", "--tail=1"])?;
    ensure!(tail == "line 3\n", "{tail:?}");
    let bytes = logs(&["-c", "main", "-p", "--limit-bytes=8"])?;
    ensure!(bytes == "line 1\nl", "{bytes:?}");
    ensure!(logs(&["-c", "first"])? == "from first\n");
    let stamped = logs(&["-c", "side", "--timestamps"])?;
    let (time, rest) = stamped.split_once(' ').context("no time stamp")?;
    ensure!(
        rest == "from side\n" && time.len() == 30 && time.ends_with('Z'),
        "{stamped:?}"
    );
    ensure!(logs(&["-c", "side", "--since-time=2999-01-01T00:00:00Z"])?.is_empty());
    ensure!(logs(&["-c", "side", "--since=1h"])? == "from side\n");
    let all = logs(&["--all-containers", "--prefix"])?;
    for wanted in [
        "[pod/talks/first] from first",
        "[pod/talks/main] life two",
        "[pod/talks/side] from side",
    ] {
        ensure!(all.contains(wanted), "{all}");
    }
    let none = cluster.kubectl_any(&["logs", "talks", "-c", "side", "-p"])?;
    ensure!(
        none.stderr
            .contains("previous terminated container \"side\" in pod \"talks\" not found"),
        "{none:?}"
    );
    // A follower hears the rest and ends with the container.
    let mut follower = Running::start(&cluster, &["logs", "-f", "talks", "-c", "side"])?;
    let mut line = [0; 10];
    follower.read_exact(&mut line)?;
    cluster.kubectl(&["delete", "pod", "talks", "--wait=false"])?;
    match follower.end()? {
        (0, _) => Ok(()),
        (code, errors) => bail!("the follower ended with {code}: {errors}"),
    }
}
