//! The board's power is cut while its controller is away: it boots, and its pods answer by themselves.

use anyhow::{Result, ensure};

use super::super::Board;
use super::PATIENCE;
use crate::local::wait_until;

/// A pod with an address of its own; one that has run and must not again.
const FIRST: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: { name: settings }
data: { colour: green }
---
apiVersion: v1
kind: Secret
metadata: { name: door }
stringData: { key: sesame }
---
apiVersion: v1
kind: Pod
metadata: { name: inner, labels: { check: alone } }
spec:
  containers: [{ name: main, image: "bramble.test/hello:v1" }]
---
apiVersion: v1
kind: Pod
metadata: { name: once, labels: { check: alone } }
spec:
  restartPolicy: Never
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: [sh, -c, "echo began >> /kept/once; busybox sync"]
      volumeMounts: [{ name: kept, mountPath: /kept }]
  volumes: [{ name: kept, hostPath: { path: /var/lib/bramble/kept, type: DirectoryOrCreate } }]
"#;

/// What is asked from outside of the machine: it tells what it was made with, what the first one answers
/// at its address, and what the second one wrote.
const WEB: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: web, labels: { check: alone } }
spec:
  hostNetwork: true
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: bramble.test/busybox:1
      command:
        - sh
        - -c
        - |
          mkdir -p /tmp/www
          echo "$COLOUR $(sha256sum < /secret/key) $(sha256sum < /bin/busybox)" > /tmp/www/index.html
          busybox ln -s /kept/once /tmp/www/once
          httpd -p 8080 -h /tmp/www
          while :; do
            printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 2 @INNER 8080 | tail -n 1 > /tmp/inner
            ! test -s /tmp/inner || busybox mv /tmp/inner /tmp/www/inner
            sleep 1
          done
      env: [{ name: COLOUR, valueFrom: { configMapKeyRef: { name: settings, key: colour } } }]
      volumeMounts: [{ name: secret, mountPath: /secret }, { name: kept, mountPath: /kept }]
  volumes:
    - { name: secret, secret: { secretName: door } }
    - { name: kept, hostPath: { path: /var/lib/bramble/kept } }
"#;

/// What the three of them say.
fn answers(board: &Board) -> Result<[String; 3]> {
    Ok([board.ask("/")?, board.ask("/inner")?, board.ask("/once")?])
}

/// Name with uid, phase and restarts.
type Pod = (String, String, String);

/// What the store says of each.
fn pods(board: &Board) -> Result<Vec<Pod>> {
    let path = "jsonpath={range .items[*]}{.metadata.name} {.metadata.uid} {.status.phase} \
                {.status.containerStatuses[0].restartCount}{\"\\n\"}{end}";
    let out = board.kubectl(&["get", "pods", "-l", "check=alone", "-o", path])?;
    let word = |line: &str, n: usize| line.split(' ').nth(n).unwrap_or_default().to_owned();
    let of = |line: &str| {
        let who = format!("{} {}", word(line, 0), word(line, 1));
        (who, word(line, 2), word(line, 3))
    };
    Ok(out.stdout.lines().map(of).collect())
}

pub(super) fn comes_back(board: &mut Board) -> Result<String> {
    board.apply(FIRST)?;
    let timeout = format!("--timeout={}s", PATIENCE.as_secs());
    let ready = ["wait", "--for=condition=Ready", &timeout];
    board.kubectl(&[&ready[..], &["pod/inner"]].concat())?;
    let done = "--for=jsonpath={.status.phase}=Succeeded";
    board.kubectl(&["wait", done, &timeout, "pod/once"])?;
    let path = "jsonpath={.status.podIP}";
    let address = board.kubectl(&["get", "pod", "inner", "-o", path])?.stdout;
    board.apply(&WEB.replace("@INNER", &address))?;
    let mut before = None;
    let answer = wait_until(PATIENCE, || {
        before = answers(board).ok();
        Ok(before.is_some())
    })?;
    ensure!(answer, "no answers before: {:?}", answers(board));
    let before = before.unwrap_or_default();
    ensure!(before[2] == "began\n", "{before:?}");
    let known = pods(board)?;

    board.power_off();
    board.kill_controller();
    ensure!(answers(board).is_err(), "the power is off");
    board.power_on(None)?;
    let mut now = None;
    let same = wait_until(PATIENCE, || {
        now = answers(board).ok();
        Ok(now.as_ref() == Some(&before))
    })?;
    ensure!(
        same,
        "before {before:?}\nnow {now:?}\n{}",
        board.tail("console.log")
    );

    board.start_controller()?;
    board.wait_ready()?;
    // A life that began within seconds of the cut may not be on the disk, and then does not count.
    let as_before = |(now, before): (&Pod, &Pod)| {
        let restarts: &[&str] = match before.1.as_str() {
            "Succeeded" => &["0"],
            _ => &["0", "1"],
        };
        now.0 == before.0 && now.1 == before.1 && restarts.contains(&now.2.as_str())
    };
    let mut seen = Vec::new();
    let told = wait_until(PATIENCE, || {
        seen = pods(board)?;
        Ok(seen.len() == known.len() && seen.iter().zip(&known).all(as_before))
    })?;
    ensure!(told, "{seen:?}, before {known:?}");
    ensure!(
        answers(board)? == before,
        "the controller's return changed something"
    );
    board.kubectl(&["delete", "pods", "-l", "check=alone", "--timeout=60s"])?;
    Ok(before.join(", ").replace('\n', ""))
}
