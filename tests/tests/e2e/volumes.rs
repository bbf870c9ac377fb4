//! Volumes of the node, end to end: what a process finds in them, what changes while it runs, what
//! is said when one can't be had, and what survives the pod.

mod paths;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bramble_tests::local::{Cluster, Guard, wait_until};

use crate::said::{ended, running, wait_for_event};
use crate::{LIMIT, get, text, wait_for};

/// What the only container of a pod printed before it ended well.
fn told(cluster: &Cluster, pod: &str) -> Result<String> {
    let object = wait_for(cluster, "pod", pod, "to end", ended)?;
    let out = cluster.kubectl(&["logs", pod])?.stdout;
    let well = text(&object, "/status/phase") == "Succeeded";
    ensure!(well, "{pod} failed: {:#}\n{out}", object["status"]);
    Ok(out)
}

fn has_lines(out: &str, lines: &[&str]) -> Result<()> {
    for line in lines {
        ensure!(
            out.lines().any(|l| l == *line),
            "no line {line:?} in\n{out}"
        );
    }
    Ok(())
}

/// Waits until a pod's log has a line.
fn logged(cluster: &Cluster, pod: &str, line: &str) -> Result<()> {
    let mut out = String::new();
    let done = wait_until(LIMIT, || {
        out = cluster.kubectl_any(&["logs", pod])?.stdout;
        Ok(out.lines().any(|l| l == line))
    })?;
    ensure!(done, "waited for {line:?} in the log of {pod}:\n{out}");
    Ok(())
}

/// A directory of the board, with what is mounted below it taken away at the end.
struct BoardDir(PathBuf);

impl BoardDir {
    fn new(cluster: &Cluster, name: &str) -> Result<Self> {
        let path = cluster.options().dir.join(name);
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    fn yaml(&self, manifest: &str) -> String {
        manifest.replace("@DIR", &self.0.display().to_string())
    }

    fn read(&self, name: &str) -> Result<String> {
        let path = self.0.join(name);
        fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    }
}

impl Drop for BoardDir {
    fn drop(&mut self) {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let points = table.lines().filter_map(|line| line.split(' ').nth(4));
        let mut points: Vec<&str> = points
            .filter(|p| Path::new(p).starts_with(&self.0))
            .collect();
        points.sort_unstable();
        for point in points.iter().rev() {
            let _ = std::process::Command::new("umount")
                .args(["-l", point])
                .status();
        }
    }
}

fn sh(line: &str) -> Result<()> {
    let status = std::process::Command::new("sh")
        .args(["-c", line])
        .status()?;
    ensure!(status.success(), "`{line}` failed");
    Ok(())
}

/// Mounts of the board below its clusters' directories.
fn mounts(cluster: &Cluster, of: &str) -> Result<usize> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let dir = cluster.options().dir.display().to_string();
    let run = cluster.run_dir(0);
    let ours = |line: &&str| (line.contains(&dir) || line.contains(run)) && line.contains(of);
    Ok(table.lines().filter(ours).count())
}

const CHANGING: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: { name: settings }
data: { color: red, gone: soon }
---
apiVersion: v1
kind: Secret
metadata: { name: door }
stringData: { key: one }
---
apiVersion: v1
kind: Pod
metadata: { name: watcher, labels: { stage: first } }
spec:
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: [sh, -c, 'trap exit TERM; while :; do
          echo "now $(cat /c/color) $(cat /s/key) $(grep stage /d/labels) $(cat /p/all/color) $(cat /single)";
          echo "keys $(ls /c | tr "\n" " ")"; sleep 0.3; done']
      volumeMounts:
        - { name: c, mountPath: /c }
        - { name: s, mountPath: /s }
        - { name: d, mountPath: /d }
        - { name: p, mountPath: /p }
        - { name: c, mountPath: /single, subPath: color }
  volumes:
    - { name: c, configMap: { name: settings } }
    - { name: s, secret: { secretName: door } }
    - { name: d, downwardAPI: { items: [{ path: labels, fieldRef: { fieldPath: metadata.labels } }] } }
    - name: p
      projected:
        sources:
          - configMap: { name: settings, items: [{ key: color, path: all/color }] }
          - secret: { name: door }
"#;

#[test]
fn root_updates_reach_running_containers_but_not_through_a_sub_path() -> Result<()> {
    let cluster = Guard::start(1)?;
    cluster.apply(CHANGING)?;
    logged(&cluster, "watcher", r#"now red one stage="first" red red"#)?;
    logged(&cluster, "watcher", "keys color gone ")?;
    // Secrets are never on the board's disk, and have a memory file system of a certain size.
    ensure!(
        mounts(&cluster, "/secret ")? == 1,
        "no memory for the secrets"
    );
    cluster.apply(
        r#"
apiVersion: v1
kind: ConfigMap
metadata: { name: settings }
data: { color: blue, fresh: "1" }
"#,
    )?;
    logged(&cluster, "watcher", "keys color fresh ")?;
    cluster.kubectl(&[
        "patch",
        "secret",
        "door",
        "-p",
        r#"{"stringData":{"key":"two"}}"#,
    ])?;
    cluster.kubectl(&["label", "pod", "watcher", "--overwrite", "stage=second"])?;
    logged(
        &cluster,
        "watcher",
        r#"now blue two stage="second" blue red"#,
    )?;
    let pod = get(&cluster, "pod", "watcher")?;
    ensure!(pod["status"]["containerStatuses"][0]["restartCount"] == 0);
    // What was there once stays when its source goes, and a restarted container finds it.
    cluster.kubectl(&["delete", "configmap", "settings"])?;
    wait_for_event(
        &cluster,
        "watcher",
        "FailedMount",
        "configmap \"settings\" not found",
    )?;
    ensure!(running(&get(&cluster, "pod", "watcher")?));
    cluster.kubectl(&["delete", "pod", "watcher"])?;
    ensure!(
        mounts(&cluster, "/pods/")? == 0,
        "something is still mounted"
    );
    Ok(())
}

const FOUND: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: { name: settings }
data: { a: A, b: B }
---
apiVersion: v1
kind: Secret
metadata: { name: door }
stringData: { key: open, b: from-secret }
---
apiVersion: v1
kind: Pod
metadata: { name: found, labels: { l: one, a: two }, annotations: { note: "two\nlines", b: 'say "hi"' } }
spec:
  restartPolicy: Never
  securityContext: { runAsUser: 1000, runAsGroup: 3000, fsGroup: 2000, fsGroupChangePolicy: OnRootMismatch }
  containers:
    - name: main
      image: bramble.test/busybox:1
      env: [{ name: WHO, valueFrom: { fieldRef: { fieldPath: metadata.name } } }]
      resources: { requests: { cpu: 100m }, limits: { memory: 64Mi, cpu: 500m } }
      command: [sh, -c, '
        stat -c "%n %a %u:%g" -L /p/a /p/b /p/deep/key /p/token /p/labels /s/key;
        echo "b $(cat /p/b)"; echo "labels $(tr "\n" "," < /p/labels)"; cat /p/all-notes; echo; cat /p/note; echo;
        echo "cpu $(cat /d/cpu) mem $(cat /d/mem) node $(cat /d/node) req $(cat /d/req)";
        echo "token $(cut -d. -f1 /p/token | wc -c | tr -d " ")";
        readlink /p/a; readlink /p/..data | cut -c1-4; readlink /p/deep;
        for v in /p /s /d /ro; do touch $v/x 2>/dev/null && echo "$v writable"; done;
        stat -c "%n %a %g" /e /m /e/sub-path; id -G;
        touch /e/x /m/x /sub/y && stat -c "%n %g" /e/x /m/x /e/tree/found/y;
        df -k /m | tail -1 | tr -s " " | cut -d" " -f2; df -k /half | tail -1 | tr -s " " | cut -d" " -f2;
        grep -c "/half.*noswap" /proc/mounts >/dev/null; echo done']
      volumeMounts:
        - { name: p, mountPath: /p }
        - { name: s, mountPath: /s }
        - { name: d, mountPath: /d }
        - { name: e, mountPath: /e }
        - { name: e, mountPath: /sub, subPathExpr: tree/$(WHO) }
        - { name: e, mountPath: /e2, subPath: sub-path }
        - { name: e, mountPath: /ro, readOnly: true }
        - { name: m, mountPath: /m }
        - { name: half, mountPath: /half }
  volumes:
    - name: p
      projected:
        defaultMode: 0444
        sources:
          - configMap: { name: settings, optional: false }
          - secret: { name: door, items: [{ key: b, path: b }, { key: key, path: deep/key, mode: 0400 }] }
          - secret: { name: missing, optional: true }
          - serviceAccountToken: { path: token, audience: vault, expirationSeconds: 3600 }
          - downwardAPI:
              items:
                - { path: labels, fieldRef: { fieldPath: metadata.labels }, mode: 0400 }
                - { path: note, fieldRef: { fieldPath: "metadata.annotations['note']" } }
                - { path: all-notes, fieldRef: { fieldPath: metadata.annotations } }
    - { name: s, secret: { secretName: door, defaultMode: 0400, items: [{ key: key, path: key }] } }
    - name: d
      downwardAPI:
        items:
          - { path: cpu, resourceFieldRef: { containerName: main, resource: limits.cpu, divisor: 1m } }
          - { path: mem, resourceFieldRef: { containerName: main, resource: limits.memory, divisor: 1Mi } }
          - { path: req, resourceFieldRef: { containerName: main, resource: requests.cpu } }
          - { path: node, resourceFieldRef: { containerName: main, resource: limits.ephemeral-storage, divisor: 1Ei } }
    - { name: e, emptyDir: {} }
    - { name: m, emptyDir: { medium: Memory, sizeLimit: 2Mi } }
    - { name: half, emptyDir: { medium: Memory } }
"#;

#[test]
fn root_volumes_have_the_files_modes_and_sizes_that_were_asked_for() -> Result<()> {
    let cluster = Guard::start(1)?;
    cluster.apply(FOUND)?;
    let out = told(&cluster, "found")?;
    has_lines(
        &out,
        &[
            "/p/a 444 0:2000",
            "/p/b 444 0:2000",
            "/p/deep/key 440 0:2000",
            // Of the user that runs the pod, 0600, and readable for its group.
            "/p/token 640 1000:2000",
            "/p/labels 440 0:2000",
            "/s/key 440 0:2000",
            "b from-secret",
            r#"labels a="two",l="one""#,
            r#"b="say \"hi\"""#,
            r#"note="two\nlines""#,
            "two",
            "lines",
            "cpu 500 mem 64 node 1 req 1",
            "..data/a",
            "..20",
            "..data/deep",
            "/e 2777 2000",
            "/m 2777 2000",
            "/e/sub-path 2777 2000",
            "3000 2000",
            "/e/x 2000",
            "/m/x 2000",
            "/e/tree/found/y 2000",
            "2048",
            // Without a limit of its own it is what the containers may use.
            "65536",
            "done",
        ],
    )?;
    ensure!(!out.contains("writable"), "{out}");
    ensure!(!out.contains("token 0"), "{out}");
    Ok(())
}

const GREEDY: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: greedy }
spec:
  terminationGracePeriodSeconds: 60
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: [sh, -c, 'trap "" TERM; dd if=/dev/zero of=/e/big bs=1024 count=3072; echo full; while :; do sleep 1; done']
      volumeMounts: [{ name: e, mountPath: /e }]
  volumes: [{ name: e, emptyDir: { sizeLimit: 2Mi } }]
---
apiVersion: v1
kind: Pod
metadata: { name: modest }
spec:
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: [sh, -c, 'dd if=/dev/zero of=/e/big bs=1024 count=1024; sleep 1000']
      volumeMounts: [{ name: e, mountPath: /e }]
  volumes: [{ name: e, emptyDir: { sizeLimit: 2Mi } }]
---
apiVersion: v1
kind: Pod
metadata: { name: hoarder }
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: [sh, -c, 'dd if=/dev/zero of=/tmp/big bs=1024 count=3072; sleep 1000']
      resources: { limits: { ephemeral-storage: 2Mi } }
"#;

#[test]
fn root_a_pod_over_the_limit_of_its_volume_is_evicted() -> Result<()> {
    let cluster = Guard::start(1)?;
    cluster.apply(GREEDY)?;
    let pod = wait_for(&cluster, "pod", "greedy", "to be evicted", ended)?;
    let message = "Usage of EmptyDir volume \"e\" exceeds the limit \"2Mi\". ";
    ensure!(
        text(&pod, "/status/phase") == "Failed"
            && text(&pod, "/status/reason") == "Evicted"
            && text(&pod, "/status/message") == message,
        "{:#}",
        pod["status"]
    );
    wait_for_event(&cluster, "greedy", "Evicted", "exceeds the limit")?;
    ensure!(running(&get(&cluster, "pod", "modest")?));
    // Its disk is free although nobody has deleted it yet.
    let uid = text(&pod, "/metadata/uid");
    let volumes = cluster.options().dir.join("board-1/volumes").join(uid);
    let freed = wait_until(Duration::from_secs(10), || Ok(!volumes.exists()))?;
    ensure!(freed, "{} is still there", volumes.display());
    // What is written beside volumes counts too.
    let pod = wait_for(&cluster, "pod", "hoarder", "to be evicted", ended)?;
    let message = "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. ";
    ensure!(
        text(&pod, "/status/reason") == "Evicted" && text(&pod, "/status/message") == message,
        "{:#}",
        pod["status"]
    );
    Ok(())
}

const MISSING: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: waits }
spec:
  restartPolicy: Never
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: [cat, /v/db/pass]
      volumeMounts: [{ name: v, mountPath: /v }]
  volumes:
    - name: v
      projected:
        sources:
          - secret: { name: later, items: [{ key: pass, path: db/pass }] }
          - configMap: { name: never-mind, optional: true }
"#;

#[test]
fn root_a_pod_waits_for_its_volumes_and_says_so() -> Result<()> {
    let cluster = Guard::start(1)?;
    cluster.apply(MISSING)?;
    wait_for_event(
        &cluster,
        "waits",
        "FailedMount",
        "MountVolume.SetUp failed for volume \"v\" : secret \"later\" not found",
    )?;
    cluster.kubectl(&["create", "secret", "generic", "later", "--from-literal=x=y"])?;
    wait_for_event(
        &cluster,
        "waits",
        "FailedMount",
        "references non-existent secret key: pass",
    )?;
    cluster.kubectl(&[
        "patch",
        "secret",
        "later",
        "-p",
        r#"{"stringData":{"pass":"in time"}}"#,
    ])?;
    ensure!(told(&cluster, "waits")?.trim_end() == "in time");
    Ok(())
}
