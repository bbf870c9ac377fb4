//! What nodes say of themselves and of their pods: facts, conditions, events, usage.

use anyhow::{Context, Result, ensure};
use bramble_tests::local::{Cluster, Guard, wait_until};
use serde_json::Value;

use crate::said::{condition, is, succeeded};
use crate::{LIMIT, get, list, name, text, wait_for};

fn says(object: &Value, kind: &str, status: &str, reason: &str) -> bool {
    is(object, kind, status) && condition(object, kind)["reason"] == reason
}

/// A quantity of plain or `Ki` units.
fn amount(value: &Value) -> Result<u64> {
    let text = value.as_str().context("no quantity")?;
    Ok(text.strip_suffix("Ki").unwrap_or(text).parse()?)
}

#[test]
fn root_a_node_says_what_it_is_and_is_tainted_while_cordoned() -> Result<()> {
    let cluster = Guard::start(1)?;
    let first = name(&list(&cluster, &["nodes"])?[0]).to_owned();
    let told = |node: &Value| {
        let images = node["status"]["images"].to_string();
        images.contains("bramble.test/busybox") && condition(node, "PIDPressure").is_object()
    };
    let node = wait_for(&cluster, "node", &first, "to say what it has", told)?;
    let status = &node["status"];
    for (kind, state, reason) in [
        ("NetworkUnavailable", "False", "BrambleNetworkReady"),
        ("MemoryPressure", "False", "KubeletHasSufficientMemory"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID"),
        ("Ready", "True", "KubeletReady"),
    ] {
        ensure!(
            says(&node, kind, state, reason),
            "{kind}: {:#}",
            status["conditions"]
        );
    }
    let (has, may) = (&status["capacity"], &status["allocatable"]);
    ensure!(
        amount(&may["memory"])? < amount(&has["memory"])?,
        "{has} {may}"
    );
    ensure!(may["pods"] == has["pods"], "{has} {may}");
    for field in [
        "architecture",
        "bootID",
        "containerRuntimeVersion",
        "kernelVersion",
        "kubeletVersion",
        "machineID",
        "operatingSystem",
        "osImage",
    ] {
        ensure!(
            !text(&status["nodeInfo"], &format!("/{field}")).is_empty(),
            "{field}"
        );
    }
    let internal = |address: &Value| address["type"] == "InternalIP";
    ensure!(
        status["addresses"]
            .as_array()
            .is_some_and(|list| list.iter().any(internal))
    );
    ensure!(text(&node, "/metadata/annotations/bramble.dev~1platforms").contains("linux/"));

    let selector = format!("--field-selector=involvedObject.name={first},reason=NodeReady");
    let events = cluster.kubectl(&["get", "events", "-o", "name", &selector])?;
    ensure!(!events.stdout.is_empty(), "the node's start was told");

    let cordoned = |node: &Value| {
        node["spec"]["taints"]
            .to_string()
            .contains("node.kubernetes.io/unschedulable")
    };
    cluster.kubectl(&["cordon", &first])?;
    wait_for(&cluster, "node", &first, "to be tainted", cordoned)?;
    cluster.kubectl(&["uncordon", &first])?;
    let free = |node: &Value| !cordoned(node);
    wait_for(&cluster, "node", &first, "to be free", free)?;
    Ok(())
}

const STEPS: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: steps, labels: { app: steps } }
spec:
  terminationGracePeriodSeconds: 1
  restartPolicy: Never
  initContainers:
    - name: first
      image: bramble.test/busybox:1
      command: [sh, -c, "until [ -e /tmp/go ]; do sleep 0.1; done"]
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: [sh, -c, "sleep 1"]
      resources: { requests: { memory: 8Mi } }
"#;

/// Events of a pod with this reason, for this part of it.
fn events(cluster: &Cluster, pod: &str, reason: &str, path: &str) -> Result<Vec<Value>> {
    let selector = format!("--field-selector=involvedObject.name={pod},reason={reason}");
    let mut events = list(cluster, &["events", &selector])?;
    events.retain(|event| text(event, "/involvedObject/fieldPath") == path);
    Ok(events)
}

#[test]
fn root_a_pods_steps_are_conditions_and_events_told_once() -> Result<()> {
    let cluster = Guard::start(1)?;
    cluster.apply(STEPS)?;
    let waits = |pod: &Value| {
        says(pod, "Initialized", "False", "ContainersNotInitialized")
            && is(pod, "PodReadyToStartContainers", "True")
            && pod["status"]["initContainerStatuses"][0]["state"]["running"].is_object()
    };
    let pod = wait_for(&cluster, "pod", "steps", "to be at its first step", waits)?;
    for (kind, message) in [
        ("Initialized", "containers with incomplete status: [first]"),
        ("ContainersReady", "containers with unready status: [main]"),
    ] {
        let found = condition(&pod, kind);
        ensure!(found["message"] == message, "{kind}: {found:#}");
    }
    cluster.kubectl(&["exec", "steps", "-c", "first", "--", "touch", "/tmp/go"])?;
    let pod = wait_for(&cluster, "pod", "steps", "to be done", succeeded)?;
    for kind in ["Initialized", "Ready", "ContainersReady"] {
        let status = if kind == "Initialized" {
            "True"
        } else {
            "False"
        };
        ensure!(
            says(&pod, kind, status, "PodCompleted"),
            "{kind}: {:#}",
            pod["status"]
        );
    }
    let main = &pod["status"]["containerStatuses"][0];
    ensure!(main["allocatedResources"]["memory"] == "8Mi", "{main:#}");
    ensure!(
        text(main, "/state/terminated/reason") == "Completed",
        "{main:#}"
    );
    ensure!(text(&pod, "/status/qosClass") == "Burstable");

    for path in ["spec.initContainers{first}", "spec.containers{main}"] {
        for reason in ["Pulled", "Created", "Started"] {
            let mut found = Vec::new();
            let told = wait_until(LIMIT, || {
                found = events(&cluster, "steps", reason, path)?;
                Ok(!found.is_empty())
            })?;
            ensure!(told, "waited for the event {reason} of {path}");
            ensure!(
                found.len() == 1,
                "{reason} of {path} is told once: {found:#?}"
            );
            let event = &found[0];
            ensure!(event["count"] == 1, "{event:#}");
            ensure!(text(event, "/source/component") == "kubelet", "{event:#}");
            ensure!(!text(event, "/source/host").is_empty(), "{event:#}");
        }
    }
    Ok(())
}

const BUSY: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: busy, labels: { app: busy } }
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: worker
      image: bramble.test/busybox:1
      command: [sh, -c, "while :; do :; done"]
      resources: { limits: { cpu: 200m } }
    - name: idler
      image: bramble.test/busybox:1
      command: [sleep, "1000000"]
"#;

#[test]
fn root_kubectl_top_shows_what_nodes_and_pods_use() -> Result<()> {
    let cluster = Guard::start(1)?;
    cluster.apply(BUSY)?;
    let mut last = String::new();
    let shown = wait_until(LIMIT, || {
        let top = cluster.kubectl_any(&["top", "pod", "--containers", "-A", "--sort-by=cpu"])?;
        last = format!("{}{}", top.stdout, top.stderr);
        Ok(top.code == 0 && last.contains("worker") && last.contains("idler"))
    })?;
    ensure!(shown, "kubectl top pod says: {last}");
    // The one that works is first, and uses about what it may.
    let rows: Vec<Vec<&str>> = (last.lines().skip(1))
        .map(|line| line.split_whitespace().collect())
        .collect();
    let [namespace, pod, container, cpu, memory] = rows[0][..] else {
        anyhow::bail!("{last}");
    };
    ensure!(
        (namespace, pod, container) == ("default", "busy", "worker"),
        "{last}"
    );
    let milli: u64 = cpu.trim_end_matches('m').parse()?;
    ensure!((50..=400).contains(&milli), "{last}");
    ensure!(memory.ends_with("Mi"), "{last}");

    let nodes = cluster.kubectl(&["top", "node"])?.stdout;
    let node = name(&list(&cluster, &["nodes"])?[0]).to_owned();
    ensure!(nodes.contains(&node) && nodes.contains('%'), "{nodes}");
    let labelled = cluster.kubectl(&["top", "pod", "-l", "app=busy", "--no-headers"])?;
    ensure!(labelled.stdout.starts_with("busy"), "{}", labelled.stdout);
    let raw = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods/busy";
    let raw = cluster.kubectl(&["get", "--raw", raw])?.stdout;
    let raw: Value = serde_json::from_str(&raw)?;
    ensure!(
        raw["containers"]
            .as_array()
            .is_some_and(|list| list.len() == 2),
        "{raw:#}"
    );
    let table = cluster.kubectl(&["get", "pods.metrics.k8s.io"])?.stdout;
    ensure!(
        table.contains("busy") && table.contains("WINDOW"),
        "{table}"
    );

    // What is gone uses nothing.
    cluster.kubectl(&["delete", "pod", "busy", "--now"])?;
    let gone = get(&cluster, "podmetrics.metrics.k8s.io", "busy").is_err();
    ensure!(gone, "its metrics went with it");
    Ok(())
}
