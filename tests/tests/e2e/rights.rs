//! What containers may do, end to end: each field of securityContext and each shared namespace, as a
//! process finds it.

use std::fs;

use anyhow::{Result, ensure};
use bramble_tests::local::{Cluster, Guard};
use serde_json::Value;

use crate::said::ended;
use crate::{text, wait_for};

/// What a container of a pod printed before the pod ended.
fn told(cluster: &Cluster, pod: &str, container: &str) -> Result<String> {
    wait_for(cluster, "pod", pod, "to end", ended)?;
    Ok(cluster.kubectl(&["logs", pod, "-c", container])?.stdout)
}

fn has(out: &str, lines: &[&str]) -> Result<()> {
    for line in lines {
        ensure!(
            out.lines().any(|l| l.trim() == *line),
            "no line {line:?} in\n{out}"
        );
    }
    Ok(())
}

fn has_not(out: &str, texts: &[&str]) -> Result<()> {
    for not in texts {
        ensure!(!out.contains(not), "{not:?} in\n{out}");
    }
    Ok(())
}

const PODS: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: secure }
spec:
  restartPolicy: Never
  securityContext:
    runAsUser: 1000
    runAsGroup: 3000
    runAsNonRoot: true
    supplementalGroups: [4000]
    fsGroup: 2000
    seccompProfile: { type: RuntimeDefault }
    sysctls:
      - { name: net.ipv4.ip_local_port_range, value: "20000 20100" }
      - { name: kernel.shm_rmid_forced, value: "1" }
  containers:
    - name: strict
      image: bramble.test/busybox:1
      command: [sh, -c, 'echo $(id -u) $(id -G); grep -E "Seccomp:|NoNewPrivs|CapBnd|CapEff" /proc/self/status;
        cat /proc/sys/net/ipv4/ip_local_port_range /proc/sys/kernel/shm_rmid_forced;
        touch /new 2>/dev/null || echo root is read-only; unshare -u true || echo unshare is refused']
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        procMount: Default
        capabilities: { drop: [ALL], add: [NET_BIND_SERVICE] }
    - name: loose
      image: bramble.test/busybox:1
      command: [sh, -c, 'echo $(id -u) $(id -G); grep -E "Seccomp:|NoNewPrivs|CapBnd" /proc/self/status; touch /tmp/new && echo written']
      securityContext: { runAsUser: 0, runAsGroup: 0, runAsNonRoot: false, seccompProfile: { type: Unconfined } }
---
apiVersion: v1
kind: Pod
metadata: { name: local }
spec:
  restartPolicy: Never
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: [sh, -c, 'grep Seccomp: /proc/self/status; mkdir /tmp/x || echo mkdir is refused; touch /tmp/y && echo touched']
      securityContext: { seccompProfile: { type: Localhost, localhostProfile: team/no-mkdir.json } }
---
apiVersion: v1
kind: Pod
metadata: { name: missing }
spec:
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: [sleep, "1000"]
      securityContext: { seccompProfile: { type: Localhost, localhostProfile: team/none.json } }
---
apiVersion: v1
kind: Pod
metadata: { name: privileged }
spec:
  restartPolicy: Never
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: [sh, -c, 'test -c /dev/kmsg && head -c 1 /dev/kmsg > /dev/null && echo kmsg opens; grep Seccomp: /proc/self/status;
        mount -t tmpfs x /tmp && echo mounted']
      securityContext: { privileged: true, seccompProfile: { type: RuntimeDefault } }
---
apiVersion: v1
kind: Pod
metadata: { name: shared }
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  shareProcessNamespace: true
  containers:
    - name: worker
      image: bramble.test/busybox:1
      command: [sh, -c, 'trap "exit 0" USR1; echo up; while :; do sleep 0.05; done']
    - name: looker
      image: bramble.test/busybox:1
      command: [sh, -c, 'echo first $(cat /proc/1/comm); until pid=$(ps -o pid,args | grep "[t]rap .exit 0" | head -n 1 | awk "{print \$1}") && [ -n "$pid" ]; do
        sleep 0.05; done; kill -USR1 $pid && echo told it']
---
apiVersion: v1
kind: Pod
metadata: { name: host }
spec:
  restartPolicy: Never
  hostPID: true
  hostIPC: true
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: [sh, -c, 'for kind in pid ipc net; do readlink /proc/self/ns/$kind; done; [ $$ != 1 ] && echo not the first']
---
apiVersion: v1
kind: Pod
metadata: { name: rooted }
spec:
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: [sleep, "1000"]
      securityContext: { runAsNonRoot: true }
"#;

const PROFILE: &str = r#"{"defaultAction":"SCMP_ACT_ALLOW",
    "syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}"#;

#[test]
fn root_security_contexts_are_carried_out() -> Result<()> {
    let cluster = Guard::start(1)?;
    let node = &cluster.layout.boards[0].node;
    let folder = cluster.options().dir.join(node).join("seccomp/team");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("no-mkdir.json"), PROFILE)?;
    cluster.apply(PODS)?;

    let strict = told(&cluster, "secure", "strict")?;
    has(
        &strict,
        &[
            "1000 3000 2000 4000",
            "Seccomp:\t2",
            "NoNewPrivs:\t1",
            "CapBnd:\t0000000000000400",
            "CapEff:\t0000000000000000",
            "20000\t20100",
            "1",
            "root is read-only",
            "unshare is refused",
        ],
    )?;
    let loose = told(&cluster, "secure", "loose")?;
    has(
        &loose,
        &[
            "Seccomp:\t0",
            "NoNewPrivs:\t0",
            "CapBnd:\t00000000a80425fb",
            "written",
        ],
    )?;
    let own = told(&cluster, "local", "main")?;
    has(&own, &["Seccomp:\t2", "mkdir is refused", "touched"])?;
    let privileged = told(&cluster, "privileged", "main")?;
    has(&privileged, &["kmsg opens", "Seccomp:\t0", "mounted"])?;
    let looker = told(&cluster, "shared", "looker")?;
    has(&looker, &["first pause", "told it"])?;
    let host = told(&cluster, "host", "main")?;
    let link = |kind: &str| -> Result<String> {
        let link = fs::read_link(format!("/proc/self/ns/{kind}"))?;
        Ok(link.display().to_string())
    };
    has(&host, &[&link("pid")?, &link("ipc")?, "not the first"])?;
    has_not(&host, &[&link("net")?])?;

    for (pod, why) in [
        ("missing", "team/none.json"),
        (
            "rooted",
            "container has runAsNonRoot and image will run as root",
        ),
    ] {
        let object = wait_for(&cluster, "pod", pod, "to be refused", |pod| {
            let waiting = text(pod, "/status/containerStatuses/0/state/waiting/reason");
            waiting == "CreateContainerConfigError" || waiting == "CreateContainerError"
        })?;
        let message = text(&object, "/status/containerStatuses/0/state/waiting/message");
        ensure!(message.contains(why), "{pod}: {message}");
    }
    for (manifest, why) in [
        (
            r#"{"securityContext":{"sysctls":[{"name":"kernel.core_pattern","value":"x"}]}}"#,
            "sysctl",
        ),
        (
            r#"{"containers":[{"name":"main","image":"a","securityContext":{"procMount":"Unmasked"}}]}"#,
            "hostUsers",
        ),
    ] {
        let patch = format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"refused"}},"spec":{manifest}}}"#
        );
        let mut object: Value = serde_json::from_str(&patch)?;
        if object["spec"]["containers"].is_null() {
            object["spec"]["containers"] = serde_json::json!([{"name": "main", "image": "a"}]);
        }
        let file = cluster.options().dir.join("refused.json");
        fs::write(&file, object.to_string())?;
        let out = cluster.kubectl_any(&["create", "-f", &file.display().to_string()])?;
        ensure!(out.stderr.contains(why), "{out:?}");
    }
    Ok(())
}
