//! What pods share: with their board, among their containers, and what of the kernel they see.

use anyhow::{Context as _, Result, ensure};
use bramble_tests::local::Guard;

use crate::said::ended;
use crate::{get, text, wait_for};

/// The value after `name=` in what was printed.
fn said<'a>(out: &'a str, name: &str) -> Result<&'a str> {
    let mut lines = out.lines();
    lines
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        .with_context(|| format!("no {name} in\n{out}"))
}

const LOOK: &str = "for n in net pid ipc uts; do echo $n=$(readlink /proc/self/ns/$n); done";

fn manifest() -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{ name: board }}
spec:
  restartPolicy: Never
  hostNetwork: true
  hostPID: true
  hostIPC: true
  containers:
    - name: main
      image: bramble.test/busybox:1
      ports: [{{ containerPort: 8080, hostPort: 8080, hostIP: 127.0.0.1 }}]
      command: [sh, -c, "{LOOK}"]
---
apiVersion: v1
kind: Pod
metadata: {{ name: alone }}
spec:
  restartPolicy: Never
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: [sh, -c, "{LOOK}"]
---
apiVersion: v1
kind: Pod
metadata: {{ name: shared }}
spec:
  restartPolicy: Never
  shareProcessNamespace: true
  hostAliases: [{{ ip: 10.9.8.7, hostnames: [parrot, fjord.example] }}]
  securityContext:
    sysctls: [{{ name: net.ipv4.tcp_syncookies, value: "0" }}, {{ name: net/ipv4/tcp_fin_timeout, value: "17" }}]
    seccompProfile: {{ type: Localhost, localhostProfile: strict/no-mkdir.json }}
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: [sh, -c, 'until pidof sleep; do usleep 50000; done; echo seen=$(pidof sleep | wc -w);
        echo aliases=$(grep -c "^10.9.8.7.parrot.fjord.example$" /etc/hosts);
        echo cookies=$(cat /proc/sys/net/ipv4/tcp_syncookies) ;
        echo timeout=$(cat /proc/sys/net/ipv4/tcp_fin_timeout);
        echo ips=$IPS; echo hosts=$HOSTS; echo ns=$(readlink /proc/self/ns/pid);
        mkdir /tmp/x 2>/dev/null && echo mkdir=made || echo mkdir=refused;
        echo filter=$(grep ^Seccomp: /proc/self/status | cut -f2); kill $(pidof sleep)']
      env:
        - {{ name: IPS, valueFrom: {{ fieldRef: {{ fieldPath: status.podIPs }} }} }}
        - {{ name: HOSTS, valueFrom: {{ fieldRef: {{ fieldPath: status.hostIPs }} }} }}
    - name: other
      image: bramble.test/busybox:1
      command: [sh, -c, 'sleep 1000; exit 0']
"#
    )
}

#[test]
fn root_pods_share_what_they_say_with_their_board_and_among_their_containers() -> Result<()> {
    let cluster = Guard::start(1)?;
    let profile = r#"{"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}"#;
    let board = &cluster.layout.boards[0];
    let folder = cluster
        .options()
        .dir
        .join(&board.node)
        .join("seccomp/strict");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("no-mkdir.json"), profile)?;
    cluster.apply(&manifest())?;
    let told = |pod: &str| -> Result<String> {
        wait_for(&cluster, "pod", pod, "to end", ended)?;
        Ok(cluster.kubectl(&["logs", pod, "-c", "main"])?.stdout)
    };
    let agent = cluster.pid(&board.node).context("the agent runs")?;
    let (on_board, alone) = (told("board")?, told("alone")?);
    for namespace in ["net", "pid", "ipc"] {
        let link = std::fs::read_link(format!("/proc/{agent}/ns/{namespace}"))?;
        let link = link.display().to_string();
        let (its, others) = (said(&on_board, namespace)?, said(&alone, namespace)?);
        ensure!(its == link, "{namespace}: {its}, the board's is {link}");
        ensure!(others != link, "{namespace} of a pod that did not ask");
    }
    let shared = told("shared")?;
    let pod = get(&cluster, "pod", "shared")?;
    for (name, want) in [
        ("seen", "1"),
        ("aliases", "1"),
        ("cookies", "0"),
        ("timeout", "17"),
        ("ips", text(&pod, "/status/podIP")),
        ("hosts", text(&pod, "/status/hostIP")),
        ("mkdir", "refused"),
        ("filter", "2"),
    ] {
        let is = said(&shared, name)?;
        ensure!(is == want, "{name} is {is}, not {want}:\n{shared}");
    }
    let pid = said(&shared, "ns")?;
    ensure!(
        pid != said(&on_board, "pid")?,
        "its processes are its own, not the board's"
    );
    let forbidden = "{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {securityContext: \
                     {sysctls: [{name: kernel.panic, value: '1'}]}, \
                     containers: [{name: a, image: b}]}}";
    let refused = format!(
        "{:?}",
        cluster.kubectl_with_input(&["apply", "-f", "-"], forbidden)
    );
    ensure!(refused.contains("not allowlisted"), "{refused}");
    Ok(())
}
