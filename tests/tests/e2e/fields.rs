//! Fields of a pod, end to end: what the manifest says is what a process on the board finds.
//!
//! `api/src/support/rules/pods.rs` names these tests as the proof of what it calls honoured.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bramble_tests::local::{Cluster, Guard};

use crate::said::ended;
use crate::{text, wait_for};

/// What a container of a pod printed before the pod ended.
fn told(cluster: &Cluster, pod: &str, container: &str) -> Result<String> {
    let object = wait_for(cluster, "pod", pod, "to end", ended)?;
    ensure!(
        text(&object, "/status/phase") == "Succeeded",
        "{pod} failed: {:#}\n{}",
        object["status"],
        cluster.kubectl(&["logs", pod, "-c", container])?.stdout
    );
    Ok(cluster.kubectl(&["logs", pod, "-c", container])?.stdout)
}

#[track_caller]
fn has_line(text: &str, line: &str) -> Result<()> {
    let found = text.lines().any(|l| l == line);
    found
        .then_some(())
        .with_context(|| format!("no line {line:?} in\n{text}"))
}

const TOLD: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: { name: words }
data: { WORD: hej, other: annat }
---
apiVersion: v1
kind: Secret
metadata: { name: door }
stringData: { KEY: open }
---
apiVersion: v1
kind: Pod
metadata: { name: told, labels: { l: one }, annotations: { a: two } }
spec:
  restartPolicy: Never
  hostname: parrot
  containers:
    - name: main
      image: bramble.test/busybox:1
      imagePullPolicy: Never
      workingDir: /files
      command: [sh, -c, 'set -u; echo "$0 $1 $2"; pwd; hostname; echo "$LINE";
        echo "[${C-unset}] [${E-unset}]"; echo "$P_WORD $P_other $KEY"; echo "$UID_ $NODE $IP $HOST";
        stat -c "%n %a" -L words/renamed words/other alone/KEY; cat words/renamed words/other alone/KEY single; echo;
        ls gone | wc -l; touch words/x 2>/dev/null || echo read-only; df -k memory | tail -1 | cut -c1-30;
        dd if=/dev/zero of=memory/big bs=1024 count=2048 2>/dev/null || echo full; touch disk/x && echo writable', zero]
      args: [one, two]
      env:
        - { name: A, value: literal }
        - { name: B, valueFrom: { configMapKeyRef: { name: words, key: WORD } } }
        - { name: C, valueFrom: { configMapKeyRef: { name: nowhere, key: x, optional: true } } }
        - { name: D, valueFrom: { secretKeyRef: { name: door, key: KEY } } }
        - { name: E, valueFrom: { secretKeyRef: { name: nowhere, key: x, optional: true } } }
        - { name: F, valueFrom: { fieldRef: { apiVersion: v1, fieldPath: metadata.name } } }
        - { name: G, valueFrom: { fieldRef: { fieldPath: metadata.namespace } } }
        - { name: H, valueFrom: { fieldRef: { fieldPath: "metadata.labels['l']" } } }
        - { name: I, valueFrom: { fieldRef: { fieldPath: "metadata.annotations['a']" } } }
        - { name: UID_, valueFrom: { fieldRef: { fieldPath: metadata.uid } } }
        - { name: NODE, valueFrom: { fieldRef: { fieldPath: spec.nodeName } } }
        - { name: IP, valueFrom: { fieldRef: { fieldPath: status.podIP } } }
        - { name: HOST, valueFrom: { fieldRef: { fieldPath: status.hostIP } } }
        - { name: LINE, value: "$(A) $(B) $(D) $(F) $(G) $(H) $(I)" }
      envFrom:
        - { prefix: P_, configMapRef: { name: words } }
        - { configMapRef: { name: nowhere, optional: true } }
        - { secretRef: { name: door } }
        - { secretRef: { name: nowhere, optional: true } }
      resources: { limits: { memory: 64Mi } }
      volumeMounts:
        - { name: words, mountPath: /files/words, readOnly: true }
        - { name: door, mountPath: /files/alone }
        - { name: words, mountPath: /files/single, subPath: renamed }
        - { name: gone, mountPath: /files/gone }
        - { name: memory, mountPath: /files/memory }
        - { name: disk, mountPath: /files/disk }
  volumes:
    - name: words
      configMap:
        name: words
        defaultMode: 0440
        items: [{ key: WORD, path: renamed, mode: 0644 }, { key: other, path: other }]
    - { name: door, secret: { secretName: door, defaultMode: 0400 } }
    - { name: gone, configMap: { name: nowhere, optional: true } }
    - { name: memory, emptyDir: { medium: Memory, sizeLimit: 1Mi } }
    - { name: disk, emptyDir: {} }
---
apiVersion: v1
kind: Pod
metadata: { name: greedy }
spec:
  restartPolicy: Never
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: [sh, -c, "tail /dev/zero"]
      resources: { limits: { memory: 16Mi } }
"#;

#[test]
fn root_a_container_gets_what_its_manifest_says() -> Result<()> {
    let cluster = Guard::start(1)?;
    cluster.apply(TOLD)?;
    let out = told(&cluster, "told", "main")?;
    let pod = crate::get(&cluster, "pod", "told")?;
    let field = |pointer: &str| text(&pod, pointer);
    for line in [
        "zero one two",
        "/files",
        "parrot",
        "literal hej open told default one two",
        "[unset] [unset]",
        "hej annat open",
        &format!(
            "{} {} {} {}",
            field("/metadata/uid"),
            field("/spec/nodeName"),
            field("/status/podIP"),
            field("/status/hostIP")
        ),
        "words/renamed 644",
        "words/other 440",
        "alone/KEY 400",
        "hejannatopenhej",
        "0",
        "read-only",
        "full",
        "writable",
    ] {
        has_line(&out, line)?;
    }
    ensure!(out.contains("tmpfs"), "not in memory:\n{out}");

    let greedy = wait_for(&cluster, "pod", "greedy", "to end", ended)?;
    let state = &greedy["status"]["containerStatuses"][0]["state"]["terminated"];
    ensure!(state["reason"] == "OOMKilled", "{state}");
    Ok(())
}

const RIGHTS: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: rights }
spec:
  restartPolicy: Never
  securityContext: { runAsUser: 1000, runAsGroup: 2000, supplementalGroups: [3000] }
  containers:
    - name: plain
      image: bramble.test/busybox:1
      command: [sh, -c, "id -u; id -g; id -G; touch /tmp/x 2>/dev/null && echo wrote; grep -E 'NoNewPrivs|CapBnd' /proc/self/status"]
      securityContext: { runAsNonRoot: true, allowPrivilegeEscalation: false, capabilities: { drop: [ALL] } }
    - name: other
      image: bramble.test/busybox:1
      command: [sh, -c, "id -u; id -g; touch /x 2>/dev/null || echo read-only; grep -E 'NoNewPrivs|CapEff' /proc/self/status"]
      securityContext: { runAsUser: 0, runAsGroup: 7, readOnlyRootFilesystem: true, capabilities: { drop: [ALL], add: [NET_ADMIN] } }
    - name: all
      image: bramble.test/busybox:1
      command: [sh, -c, "grep CapEff /proc/self/status"]
      securityContext: { runAsUser: 0, privileged: true }
---
apiVersion: v1
kind: Pod
metadata: { name: root }
spec:
  restartPolicy: Never
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: ["true"]
      securityContext: { runAsNonRoot: true }
"#;

#[test]
fn root_processes_have_the_rights_of_the_manifest() -> Result<()> {
    let cluster = Guard::start(1)?;
    cluster.apply(RIGHTS)?;
    let plain = told(&cluster, "rights", "plain")?;
    for line in [
        "1000",
        "2000",
        "NoNewPrivs:\t1",
        "CapBnd:\t0000000000000000",
    ] {
        has_line(&plain, line)?;
    }
    let groups = plain.lines().nth(2).unwrap_or_default();
    ensure!(groups.split(' ').any(|g| g == "3000"), "{plain}");
    let other = told(&cluster, "rights", "other")?;
    // NET_ADMIN is the twelfth.
    for line in [
        "0",
        "7",
        "read-only",
        "NoNewPrivs:\t0",
        "CapEff:\t0000000000001000",
    ] {
        has_line(&other, line)?;
    }
    let all = told(&cluster, "rights", "all")?;
    let digits = all.trim().rsplit('\t').next().unwrap_or_default();
    let bits = u64::from_str_radix(digits, 16)?;
    ensure!(bits.count_ones() > 30, "privileged has {all}");

    let root = wait_for(&cluster, "pod", "root", "to be held back", |pod| {
        !text(pod, "/status/containerStatuses/0/state/waiting/message").is_empty()
    })?;
    let message = text(&root, "/status/containerStatuses/0/state/waiting/message");
    ensure!(message.contains("runAsNonRoot"), "{message}");
    Ok(())
}

const ENDS: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: twice }
spec:
  restartPolicy: OnFailure
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: [sh, -c, 'printf bye > /tmp/last; [ -e /kept/once ] && exit 0; touch /kept/once; exit 3']
      terminationMessagePath: /tmp/last
      volumeMounts: [{ name: kept, mountPath: /kept }]
  volumes: [{ name: kept, emptyDir: {} }]
---
apiVersion: v1
kind: Pod
metadata: { name: never }
spec:
  restartPolicy: Never
  containers:
    - { name: main, image: "bramble.test/busybox:1", command: [sh, -c, exit 3] }
---
apiVersion: v1
kind: Pod
metadata: { name: deaf }
spec:
  restartPolicy: Always
  terminationGracePeriodSeconds: 3
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: [sh, -c, "trap '' TERM; echo up; while true; do sleep 0.1; done"]
"#;

#[test]
fn root_pods_end_as_their_manifest_says() -> Result<()> {
    let cluster = Guard::start(1)?;
    cluster.apply(ENDS)?;
    let twice = wait_for(&cluster, "pod", "twice", "to end", ended)?;
    let status = &twice["status"]["containerStatuses"][0];
    ensure!(text(&twice, "/status/phase") == "Succeeded", "{status:#}");
    ensure!(status["restartCount"] == 1, "{status:#}");
    ensure!(
        status["lastState"]["terminated"]["exitCode"] == 3,
        "{status:#}"
    );
    ensure!(
        status["state"]["terminated"]["message"] == "bye",
        "{status:#}"
    );
    let never = wait_for(&cluster, "pod", "never", "to end", ended)?;
    ensure!(text(&never, "/status/phase") == "Failed", "{never:#}");
    ensure!(never["status"]["containerStatuses"][0]["restartCount"] == 0);

    // It has to hear TERM with its trap set, so it is asked to go only when it is up.
    wait_for(&cluster, "pod", "deaf", "to run", |pod| {
        text(pod, "/status/phase") == "Running"
            && cluster
                .kubectl(&["logs", "deaf"])
                .is_ok_and(|logs| logs.stdout.contains("up"))
    })?;
    let started = Instant::now();
    cluster.kubectl(&["delete", "pod", "deaf"])?;
    let took = started.elapsed();
    ensure!(
        (Duration::from_secs(3)..Duration::from_secs(20)).contains(&took),
        "its grace is three seconds; it took {took:?}"
    );
    Ok(())
}
