//! The life of a pod's containers: their order, their probes and hooks, how they end and start again.

use anyhow::{Context, Result, ensure};
use bramble_tests::local::{Cluster, Guard};
use serde_json::Value;

use crate::said::{container, ended, is, wait_for_event};
use crate::{get, text, wait_for};

fn ready(pod: &Value) -> bool {
    is(pod, "Ready", "True")
}

#[test]
fn root_init_containers_and_sidecars_begin_in_order_and_end_in_reverse() -> Result<()> {
    let cluster = Guard::start(1)?;
    cluster.apply(
        r#"
apiVersion: v1
kind: Pod
metadata: { name: order }
spec:
  terminationGracePeriodSeconds: 10
  volumes: [{ name: v, hostPath: { path: /tmp/bramble-e2e-order, type: DirectoryOrCreate } }]
  initContainers:
    - name: first
      image: bramble.test/busybox:1
      command: [sh, -c, 'echo first > /v/log']
      volumeMounts: [{ name: v, mountPath: /v }]
    - name: one
      image: bramble.test/busybox:1
      restartPolicy: Always
      command: [sh, -c, 'echo one >> /v/log; trap "echo one ends >> /v/log; exit" TERM; sleep 1; touch /up; while :; do sleep 0.1; done']
      startupProbe: { exec: { command: [test, -e, /up] }, periodSeconds: 1, failureThreshold: 30 }
      volumeMounts: [{ name: v, mountPath: /v }]
    - name: two
      image: bramble.test/busybox:1
      restartPolicy: Always
      command: [sh, -c, 'echo two >> /v/log; trap "echo two ends >> /v/log; exit" TERM; while :; do sleep 0.1; done']
      volumeMounts: [{ name: v, mountPath: /v }]
    - name: last
      image: bramble.test/busybox:1
      command: [sh, -c, 'echo last >> /v/log; until test -e /v/go; do sleep 0.1; done']
      volumeMounts: [{ name: v, mountPath: /v }]
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: [sh, -c, 'echo main >> /v/log; trap "echo main ends >> /v/log; exit" TERM; while :; do sleep 0.1; done']
      volumeMounts: [{ name: v, mountPath: /v }]
"#,
    )?;
    let folder = std::path::Path::new("/tmp/bramble-e2e-order");
    let _clean = Remove(folder);
    let waiting = wait_for(&cluster, "pod", "order", "to reach its last init", |pod| {
        !container(pod, "last")["state"]["running"].is_null()
    })?;
    ensure!(text(&waiting, "/status/phase") == "Pending", "{waiting:#}");
    ensure!(is(&waiting, "Initialized", "False"), "{waiting:#}");
    let main = container(&waiting, "main");
    ensure!(
        text(main, "/state/waiting/reason") == "PodInitializing",
        "{main:#}"
    );
    ensure!(container(&waiting, "one")["started"] == true, "{waiting:#}");
    std::fs::write(folder.join("go"), "")?;
    let running = wait_for(&cluster, "pod", "order", "to be ready", ready)?;
    ensure!(text(&running, "/status/phase") == "Running", "{running:#}");
    let first = container(&running, "first");
    ensure!(
        text(first, "/state/terminated/reason") == "Completed",
        "{first:#}"
    );
    cluster.kubectl(&["delete", "pod", "order"])?;
    let log = std::fs::read_to_string(folder.join("log"))?;
    ensure!(
        log == "first\none\ntwo\nlast\nmain\nmain ends\ntwo ends\none ends\n",
        "{log}"
    );
    Ok(())
}

/// Removes a directory of the machine at the end of a test.
struct Remove(&'static std::path::Path);

impl Drop for Remove {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.0);
    }
}

#[test]
fn root_a_job_like_pod_ends_although_its_sidecar_goes_on() -> Result<()> {
    let cluster = Guard::start(1)?;
    cluster.apply(
        r#"
apiVersion: v1
kind: Pod
metadata: { name: job }
spec:
  restartPolicy: OnFailure
  volumes: [{ name: v, emptyDir: {} }]
  initContainers:
    - name: side
      image: bramble.test/busybox:1
      restartPolicy: Always
      command: [sh, -c, 'test -e /v/once || { touch /v/once; exit 0; }; touch /v/back; trap exit TERM; while :; do sleep 0.1; done']
      volumeMounts: [{ name: v, mountPath: /v }]
    - name: flaky
      image: bramble.test/busybox:1
      command: [sh, -c, 'until test -e /v/back; do sleep 0.1; done; test -e /v/tried || { touch /v/tried; exit 5; }']
      volumeMounts: [{ name: v, mountPath: /v }]
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: [sh, -c, 'test -e /v/again || { touch /v/again; exit 3; }']
      volumeMounts: [{ name: v, mountPath: /v }]
---
apiVersion: v1
kind: Pod
metadata: { name: hopeless }
spec:
  restartPolicy: Never
  initContainers:
    - { name: bad, image: "bramble.test/busybox:1", command: [sh, -c, "exit 9"] }
  containers:
    - { name: main, image: "bramble.test/busybox:1", command: [sleep, "1000"] }
"#,
    )?;
    let job = wait_for(&cluster, "pod", "job", "to end", ended)?;
    ensure!(text(&job, "/status/phase") == "Succeeded", "{job:#}");
    for (name, restarts) in [("side", 1), ("flaky", 1), ("main", 1)] {
        let status = container(&job, name);
        ensure!(status["restartCount"] == restarts, "{status:#}");
        ensure!(!status["state"]["terminated"].is_null(), "{status:#}");
    }
    let hopeless = wait_for(&cluster, "pod", "hopeless", "to end", ended)?;
    ensure!(text(&hopeless, "/status/phase") == "Failed", "{hopeless:#}");
    let bad = container(&hopeless, "bad");
    ensure!(bad["state"]["terminated"]["exitCode"] == 9, "{bad:#}");
    Ok(())
}

#[test]
fn root_probes_of_each_sort_say_who_is_ready() -> Result<()> {
    let cluster = Guard::start(1)?;
    // The server of `grpc` says what one says over HTTP/2 that serves: settings, header fields, and
    // a message with status 1.
    cluster.apply(
        r#"
apiVersion: v1
kind: Pod
metadata: { name: probed }
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: http
      image: bramble.test/busybox:1
      command: [sh, -c, 'mkdir /www; echo hi > /www/index.html; exec httpd -f -p 8080 -h /www']
      ports: [{ name: web, containerPort: 8080 }]
      startupProbe: { httpGet: { port: web }, periodSeconds: 1, failureThreshold: 30 }
      readinessProbe: { httpGet: { port: web, path: /ready, httpHeaders: [{ name: X-Asks, value: us }] }, periodSeconds: 1 }
    - name: tcp
      image: bramble.test/busybox:1
      command: [nc, -ll, -p, "8081", -e, cat]
      readinessProbe: { tcpSocket: { port: 8081 }, periodSeconds: 1 }
    - name: grpc
      image: bramble.test/busybox:1
      command:
        - nc
        - -ll
        - -p
        - "8082"
        - -e
        - sh
        - -c
        - printf '\000\000\000\004\000\000\000\000\000\000\000\001\001\004\000\000\000\001\210\000\000\007\000\000\000\000\000\001\000\000\000\000\002\010\001'; sleep 1
      readinessProbe: { grpc: { port: 8082, service: s }, periodSeconds: 1 }
    - name: exec
      image: bramble.test/busybox:1
      command: [sleep, "1000"]
      readinessProbe: { exec: { command: [sh, -c, 'test -e /yes || { echo not yet; false; }'] }, periodSeconds: 1 }
"#,
    )?;
    let is_ready = |pod: &Value, name: &str| container(pod, name)["ready"] == true;
    let some = wait_for(&cluster, "pod", "probed", "to be ready in part", |pod| {
        let running = text(pod, "/status/phase") == "Running";
        running && is_ready(pod, "tcp") && is_ready(pod, "grpc")
    })?;
    ensure!(
        !is_ready(&some, "http") && !is_ready(&some, "exec"),
        "{some:#}"
    );
    let failed = "Readiness probe failed: HTTP probe failed with statuscode: 404";
    wait_for_event(&cluster, "probed", "Unhealthy", failed)?;
    wait_for_event(
        &cluster,
        "probed",
        "Unhealthy",
        "Readiness probe failed: not yet",
    )?;
    cluster.kubectl(&["exec", "probed", "-c", "http", "--", "touch", "/www/ready"])?;
    cluster.kubectl(&["exec", "probed", "-c", "exec", "--", "touch", "/yes"])?;
    let all = wait_for(&cluster, "pod", "probed", "to be ready", ready)?;
    // The agent may go and come: who was ready stays it, and nothing is started again.
    cluster.kill("board-1")?;
    cluster.start_agent(0)?;
    cluster.kubectl(&["exec", "probed", "-c", "exec", "--", "rm", "/yes"])?;
    let unready = |pod: &Value| container(pod, "exec")["ready"] == false;
    let after = wait_for(&cluster, "pod", "probed", "to be unready in part", unready)?;
    for name in ["http", "tcp", "grpc"] {
        let status = container(&after, name);
        ensure!(
            status["ready"] == true && status["restartCount"] == 0,
            "{status:#}"
        );
        ensure!(
            status["state"] == container(&all, name)["state"],
            "{status:#}"
        );
    }
    Ok(())
}

#[test]
fn root_who_fails_its_liveness_is_killed_and_started_again() -> Result<()> {
    let cluster = Guard::start(1)?;
    cluster.apply(
        r#"
apiVersion: v1
kind: Pod
metadata: { name: alive }
spec:
  terminationGracePeriodSeconds: 60
  containers:
    - name: main
      image: bramble.test/busybox:1
      # It does not heed TERM: the probe's grace holds, not the pod's.
      command: [sh, -c, 'trap "" TERM; while :; do sleep 0.1; done']
      livenessProbe:
        exec: { command: [sh, -c, 'echo no good; false'] }
        periodSeconds: 1
        failureThreshold: 2
        terminationGracePeriodSeconds: 1
    - name: slow
      image: bramble.test/busybox:1
      command: [sleep, "1000"]
      startupProbe:
        tcpSocket: { port: 1 }
        periodSeconds: 1
        failureThreshold: 1
        terminationGracePeriodSeconds: 1
    - name: hangs
      image: bramble.test/busybox:1
      command: [sleep, "1000"]
      livenessProbe: { exec: { command: [sleep, "1000"] }, initialDelaySeconds: 2, timeoutSeconds: 1, failureThreshold: 1000 }
"#,
    )?;
    let pod = wait_for(&cluster, "pod", "alive", "to restart", |pod| {
        container(pod, "main")["restartCount"] == 1 && container(pod, "slow")["restartCount"] == 1
    })?;
    let last = &container(&pod, "main")["lastState"]["terminated"];
    ensure!(last["exitCode"] == 137, "{last:#}");
    for (reason, message) in [
        ("Unhealthy", "Liveness probe failed: no good"),
        (
            "Killing",
            "Container main failed liveness probe, will be restarted",
        ),
        ("Unhealthy", "Startup probe failed: dial tcp"),
        (
            "Killing",
            "Container slow failed startup probe, will be restarted",
        ),
        (
            "Unhealthy",
            "Liveness probe failed: command timed out: \"sleep 1000\" timed out after 1s",
        ),
    ] {
        wait_for_event(&cluster, "alive", reason, message)?;
    }
    let pod = get(&cluster, "pod", "alive")?;
    ensure!(container(&pod, "hangs")["restartCount"] == 0, "{pod:#}");
    cluster.kubectl(&["delete", "pod", "alive", "--grace-period=0", "--force"])?;
    Ok(())
}

#[test]
fn root_hooks_run_after_the_start_and_before_the_end() -> Result<()> {
    let cluster = Guard::start(1)?;
    cluster.apply(
        r#"
apiVersion: v1
kind: Pod
metadata: { name: hooked }
spec:
  os: { name: linux }
  terminationGracePeriodSeconds: 10
  volumes: [{ name: v, emptyDir: {} }]
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: [sh, -c, 'trap "echo usr1 >> /v/log; exit" USR1; httpd -p 8080 -h /v; while :; do sleep 0.1; done']
      lifecycle:
        stopSignal: SIGUSR1
        postStart: { exec: { command: [sh, -c, 'echo post >> /v/log'] } }
        preStop: { exec: { command: [sh, -c, 'echo pre >> /v/log; sleep 1; echo pre done >> /v/log'] } }
      volumeMounts: [{ name: v, mountPath: /v }]
    - name: sleeps
      image: bramble.test/busybox:1
      command: [sleep, "1000"]
      lifecycle: { preStop: { sleep: { seconds: 1 } } }
---
apiVersion: v1
kind: Pod
metadata: { name: fails }
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: [sleep, "1000"]
      lifecycle:
        postStart: { exec: { command: [sh, -c, exit 4] } }
        preStop: { httpGet: { port: 9, path: /bye } }
"#,
    )?;
    // `stopSignal` needs the pod's system to be known.
    let pod = wait_for(&cluster, "pod", "hooked", "to be ready", ready)?;
    let follow = Follow::of(&cluster, &pod)?;
    cluster.kubectl(&["delete", "pod", "hooked"])?;
    let log = follow.end()?;
    ensure!(log == "post\npre\npre done\nusr1\n", "{log}");
    let again = |pod: &Value| container(pod, "main")["restartCount"] != 0;
    wait_for(&cluster, "pod", "fails", "to be started again", again)?;
    wait_for_event(
        &cluster,
        "fails",
        "FailedPostStartHook",
        "PostStartHook failed",
    )?;
    wait_for_event(&cluster, "fails", "FailedPreStopHook", "PreStopHook failed")?;
    wait_for_event(&cluster, "fails", "Killing", "FailedPostStartHook")?;
    Ok(())
}

/// A file of a pod's volume, held open: it can be read when the pod is gone.
struct Follow(std::fs::File);

impl Follow {
    fn of(cluster: &Cluster, pod: &Value) -> Result<Self> {
        let uid = text(pod, "/metadata/uid");
        let path = cluster.options().dir.join("board-1/volumes").join(uid);
        let path = path.join("v/log");
        let file = std::fs::File::open(&path).with_context(|| path.display().to_string())?;
        Ok(Self(file))
    }

    fn end(mut self) -> Result<String> {
        use std::io::Read as _;
        let mut text = String::new();
        self.0.read_to_string(&mut text)?;
        Ok(text)
    }
}

#[test]
fn root_a_deadline_ends_a_pod_and_ends_have_messages() -> Result<()> {
    let cluster = Guard::start(1)?;
    cluster.apply(
        r#"
apiVersion: v1
kind: Pod
metadata: { name: late }
spec:
  activeDeadlineSeconds: 3
  terminationGracePeriodSeconds: 1
  containers: [{ name: main, image: "bramble.test/busybox:1", command: [sleep, "1000"] }]
---
apiVersion: v1
kind: Pod
metadata: { name: says }
spec:
  restartPolicy: Never
  containers:
    - name: log
      image: bramble.test/busybox:1
      command: [sh, -c, 'echo why it failed; exit 1']
      terminationMessagePolicy: FallbackToLogsOnError
    - name: file
      image: bramble.test/busybox:1
      command: [sh, -c, 'echo a line; echo said >> /dev/end; exit 1']
      terminationMessagePath: /dev/end
      terminationMessagePolicy: FallbackToLogsOnError
    - name: well
      image: bramble.test/busybox:1
      command: [sh, -c, 'echo nothing is wrong']
      terminationMessagePolicy: FallbackToLogsOnError
"#,
    )?;
    let says = wait_for(&cluster, "pod", "says", "to end", ended)?;
    for (name, message) in [("log", "why it failed\n"), ("file", "said\n"), ("well", "")] {
        let status = container(&says, name);
        ensure!(
            text(status, "/state/terminated/message") == message,
            "{status:#}"
        );
    }
    let late = wait_for(&cluster, "pod", "late", "to end", ended)?;
    ensure!(text(&late, "/status/phase") == "Failed", "{late:#}");
    ensure!(
        text(&late, "/status/reason") == "DeadlineExceeded",
        "{late:#}"
    );
    let message = "Pod was active on the node longer than the specified deadline";
    ensure!(text(&late, "/status/message") == message, "{late:#}");
    Ok(())
}
