//! What a container gets from its manifest, and what kubectl shows of its end.

use anyhow::{Result, ensure};
use bramble_tests::local::Guard;
use serde_json::Value;

use crate::said::{ended, wait_for_event};
use crate::{name, text, wait_for};

#[test]
fn root_config_and_secret_reach_a_container_and_its_exit_code_comes_back() -> Result<()> {
    let cluster = Guard::start(1)?;
    cluster.kubectl(&["create", "configmap", "greeting", "--from-literal=word=hej"])?;
    cluster.kubectl(&[
        "create",
        "secret",
        "generic",
        "door",
        "--from-literal=key=s3same-0pen",
    ])?;
    cluster.apply(
        r#"
apiVersion: v1
kind: Pod
metadata: { name: once }
spec:
  restartPolicy: Never
  containers:
    - name: main
      image: bramble.test/busybox:1
      env:
        - name: WORD
          valueFrom: { configMapKeyRef: { name: greeting, key: word } }
        - name: KEY
          valueFrom: { secretKeyRef: { name: door, key: key } }
        - name: ME
          valueFrom: { fieldRef: { fieldPath: metadata.name } }
        - name: LINE
          value: "$(WORD)-$(ME)-$$(ME)"
      command: [sh, -c, 'echo "$LINE $KEY"; exit 7']
"#,
    )?;
    let pod = wait_for(&cluster, "pod", "once", "to end", ended)?;
    ensure!(text(&pod, "/status/phase") == "Failed", "{pod:#}");
    let state = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
    ensure!(
        state["exitCode"] == 7 && state["reason"] == "Error",
        "{state}"
    );
    let logs = cluster.kubectl(&["logs", "once"])?;
    ensure!(
        logs.stdout == "hej-once-$(ME) s3same-0pen\n",
        "logs: {:?}",
        logs.stdout
    );

    // The secret lies sealed on the board.
    let data = cluster.options().dir.join("board-1");
    let found = std::process::Command::new("grep")
        .args(["-rlaF", "s3same-0pen"])
        .arg(&data)
        .output()?;
    ensure!(
        found.stdout.is_empty(),
        "the secret is readable in {}",
        String::from_utf8_lossy(&found.stdout)
    );
    Ok(())
}

#[test]
fn root_a_crashing_container_backs_off_and_a_missing_config_map_says_so() -> Result<()> {
    let cluster = Guard::start(1)?;
    cluster.apply(
        r#"
apiVersion: v1
kind: Pod
metadata: { name: crash }
spec:
  containers:
    - { name: main, image: "bramble.test/busybox:1", command: [sh, -c, exit 3] }
---
apiVersion: v1
kind: Pod
metadata: { name: waits }
spec:
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: [sleep, "1000"]
      env: [{ name: A, valueFrom: { configMapKeyRef: { name: later, key: a } } }]
---
apiVersion: v1
kind: Pod
metadata: { name: nowhere }
spec:
  containers: [{ name: main, image: "bramble.test/none:1" }]
"#,
    )?;
    let waiting = |reason: &'static str| {
        move |pod: &Value| text(pod, "/status/containerStatuses/0/state/waiting/reason") == reason
    };
    let crash = wait_for(
        &cluster,
        "pod",
        "crash",
        "to back off",
        waiting("CrashLoopBackOff"),
    )?;
    let status = &crash["status"]["containerStatuses"][0];
    ensure!(
        status["lastState"]["terminated"]["exitCode"] == 3,
        "{status:#}"
    );
    wait_for_event(&cluster, "crash", "Started", "")?;
    wait_for_event(&cluster, "crash", "BackOff", "")?;

    let reason = waiting("CreateContainerConfigError");
    let waits = wait_for(&cluster, "pod", "waits", "to miss its ConfigMap", reason)?;
    let message = text(&waits, "/status/containerStatuses/0/state/waiting/message");
    ensure!(
        message.contains(r#"configmap "later" not found"#),
        "{message}"
    );
    // Level, not edge: it starts when the ConfigMap comes.
    cluster.kubectl(&["create", "configmap", "later", "--from-literal=a=1"])?;
    wait_for(&cluster, "pod", "waits", "to run", |pod| {
        text(pod, "/status/phase") == "Running"
    })?;
    wait_for_event(&cluster, "waits", "Failed", "")?;
    wait_for_event(&cluster, "waits", "Started", "")?;

    let silent = cluster.kubectl(&["logs", "waits"])?;
    ensure!(
        silent.stdout.is_empty(),
        "it has said nothing: {}",
        silent.stdout
    );

    let nowhere = wait_for(&cluster, "pod", "nowhere", "to miss its image", |pod| {
        !text(pod, "/status/containerStatuses/0/state/waiting/message").is_empty()
    })?;
    let message = text(
        &nowhere,
        "/status/containerStatuses/0/state/waiting/message",
    );
    ensure!(
        message.contains("bramble.test/none:1"),
        "{}: {message}",
        name(&nowhere)
    );
    Ok(())
}

#[test]
fn root_a_pod_that_fits_nowhere_says_why() -> Result<()> {
    let cluster = Guard::start(1)?;
    cluster.apply(
        r#"
apiVersion: v1
kind: Pod
metadata: { name: huge }
spec:
  containers:
    - name: main
      image: bramble.test/busybox:1
      resources: { requests: { memory: 100Ti } }
"#,
    )?;
    let pod = wait_for(&cluster, "pod", "huge", "to be unschedulable", |pod| {
        text(pod, "/status/conditions/0/reason") == "Unschedulable"
    })?;
    let message = text(&pod, "/status/conditions/0/message");
    ensure!(
        message.contains("0/1 nodes are available: 1 Insufficient memory"),
        "{message}"
    );
    Ok(())
}
