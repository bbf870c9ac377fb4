//! What the controllers keep in order, through the real kubectl.

use anyhow::{Context, Result, ensure};
use bramble_tests::local::{Cluster, Guard, wait_until};
use serde_json::Value;

use crate::{LIMIT, apply_example, list, name, pods, text, wait_for};

fn eventually(what: &str, done: impl FnMut() -> Result<bool>) -> Result<()> {
    ensure!(wait_until(LIMIT, done)?, "waited for: {what}");
    Ok(())
}

/// Ready addresses of a Service's Endpoints, and of its EndpointSlices.
fn addresses(cluster: &Cluster, service: &str) -> Result<(usize, usize)> {
    let endpoints = crate::get(cluster, "endpoints", service)?;
    let count = |list: &Value| list.as_array().map_or(0, Vec::len);
    let subsets = endpoints["subsets"].as_array().cloned().unwrap_or_default();
    let classic = subsets
        .iter()
        .map(|subset| count(&subset["addresses"]))
        .sum();
    let label = format!("kubernetes.io/service-name={service}");
    let slices = list(cluster, &["endpointslices", "-l", &label])?;
    let ready = |slice: &Value| {
        let endpoints = slice["endpoints"].as_array().cloned().unwrap_or_default();
        endpoints
            .iter()
            .filter(|endpoint| endpoint["conditions"]["ready"] == true)
            .count()
    };
    Ok((classic, slices.iter().map(ready).sum()))
}

#[test]
fn root_services_lead_to_ready_pods_and_owners_take_their_own_along() -> Result<()> {
    let cluster = Guard::start(2)?;
    // What is there from the first moment.
    for what in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        cluster.kubectl(&["get", "serviceaccount", "default", "-n", what])?;
        cluster.kubectl(&["get", "configmap", "kube-root-ca.crt", "-n", what])?;
    }
    let api = crate::get(&cluster, "service", "kubernetes")?;
    ensure!(api["spec"]["ports"][0]["port"] == 443, "{api:#}");
    ensure!(
        addresses(&cluster, "kubernetes")? == (1, 1),
        "one controller"
    );
    let leases = list(&cluster, &["leases", "-n", "kube-node-lease"])?;
    ensure!(leases.len() == 2, "a lease for each board: {leases:#?}");

    apply_example(&cluster)?;
    cluster.kubectl(&["expose", "deploy/hello", "--port=80", "--target-port=8080"])?;
    eventually("two endpoints", || {
        Ok(addresses(&cluster, "hello")? == (2, 2))
    })?;
    cluster.kubectl(&["scale", "deploy/hello", "--replicas=1"])?;
    eventually("one endpoint", || {
        Ok(addresses(&cluster, "hello")? == (1, 1))
    })?;
    cluster.kubectl(&["delete", "service", "hello"])?;
    eventually("no endpoints", || {
        Ok(cluster.kubectl_any(&["get", "endpoints", "hello"])?.code != 0)
    })?;

    // Orphans stay, and lose the reference; foreground waits for the pods.
    cluster.kubectl(&["delete", "deploy/hello", "--cascade=orphan"])?;
    let sets = list(&cluster, &["replicasets"])?;
    ensure!(sets.len() == 1, "the ReplicaSet stays: {sets:#?}");
    let set = name(&sets[0]).to_owned();
    wait_for(&cluster, "replicaset", &set, "to be nobody's", |set| {
        set["metadata"]["ownerReferences"].is_null()
    })?;
    cluster.kubectl(&[
        "delete",
        "replicaset",
        &set,
        "--cascade=foreground",
        "--timeout=60s",
    ])?;
    ensure!(list(&cluster, &["pods"])?.is_empty(), "the pods went first");
    Ok(())
}

#[test]
fn root_a_namespace_goes_with_its_content() -> Result<()> {
    let cluster = Guard::start(1)?;
    cluster.kubectl(&["create", "namespace", "t"])?;
    cluster.kubectl(&["get", "serviceaccount", "default", "-n", "t"])?;
    cluster.kubectl(&["create", "configmap", "c", "-n", "t", "--from-literal=a=b"])?;
    cluster.kubectl(&[
        "create",
        "secret",
        "generic",
        "s",
        "-n",
        "t",
        "--from-literal=a=b",
    ])?;
    cluster.kubectl(&[
        "patch",
        "configmap",
        "c",
        "-n",
        "t",
        "--type=merge",
        "-p",
        r#"{"metadata":{"finalizers":["example.com/hold"]}}"#,
    ])?;
    cluster.kubectl(&["delete", "namespace", "t", "--wait=false"])?;
    wait_for(
        &cluster,
        "namespace",
        "t",
        "to say what keeps it",
        |namespace| {
            namespace
                .to_string()
                .contains("example.com/hold in 1 resource instances")
        },
    )?;
    cluster.kubectl(&[
        "patch",
        "configmap",
        "c",
        "-n",
        "t",
        "--type=merge",
        "-p",
        r#"{"metadata":{"finalizers":null}}"#,
    ])?;
    cluster.kubectl(&["wait", "--for=delete", "namespace/t", "--timeout=60s"])?;
    Ok(())
}

const CONTROLLER: &str = r#"
apiVersion: v1
kind: ReplicationController
metadata: {name: old}
spec:
  replicas: 2
  selector: {app: hello}
  template:
    metadata: {labels: {app: hello}}
    spec: TEMPLATE
"#;

#[test]
fn root_pods_of_a_lost_board_are_replaced_and_it_has_the_last_word() -> Result<()> {
    let cluster = Guard::start(2)?;
    apply_example(&cluster)?;
    let deployment = crate::get(&cluster, "deployment", "hello")?;
    let mut template = deployment["spec"]["template"]["spec"].clone();
    cluster.kubectl(&[
        "delete",
        "deploy/hello",
        "--cascade=foreground",
        "--timeout=60s",
    ])?;
    let bears = |key: &str| {
        serde_json::json!({"key": key, "operator": "Exists", "effect": "NoExecute",
            "tolerationSeconds": 2})
    };
    template["tolerations"] = serde_json::json!([
        bears("node.kubernetes.io/unreachable"),
        bears("node.kubernetes.io/not-ready"),
    ]);
    cluster.apply(&CONTROLLER.replace("TEMPLATE", &template.to_string()))?;
    wait_for(&cluster, "rc", "old", "to be ready", |rc| {
        rc["status"]["readyReplicas"] == 2
    })?;
    let victim = pods(&cluster)?
        .into_iter()
        .find(|pod| text(pod, "/spec/nodeName") == "board-1")
        .context("none on board-1")?;

    cluster.kill("board-1")?;
    let node = wait_for(&cluster, "node", "board-1", "to be lost", |node| {
        node["spec"]["taints"]
            .to_string()
            .contains("node.kubernetes.io/unreachable")
    })?;
    let ready = node["status"]["conditions"]
        .as_array()
        .and_then(|list| list.iter().find(|c| c["type"] == "Ready").cloned())
        .context("no Ready")?;
    ensure!(
        ready["status"] == "Unknown" && ready["reason"] == "NodeStatusUnknown",
        "{ready:#}"
    );
    wait_for(&cluster, "pod", name(&victim), "to be marked", |pod| {
        !pod["metadata"]["deletionTimestamp"].is_null()
    })?;
    eventually("two others on the board that is left", || {
        let pods = pods(&cluster)?;
        let there = |pod: &Value| {
            text(pod, "/spec/nodeName") == "board-2" && text(pod, "/status/phase") == "Running"
        };
        Ok(pods.len() == 2 && pods.iter().all(there))
    })?;
    let events = list(&cluster, &["events"])?;
    ensure!(
        events
            .iter()
            .any(|event| event["reason"] == "TaintManagerEviction"),
        "nobody says why"
    );
    cluster.start_agent(0)?;
    cluster.kubectl(&[
        "wait",
        "--for=delete",
        &format!("pod/{}", name(&victim)),
        "--timeout=60s",
    ])?;
    wait_for(&cluster, "node", "board-1", "to be back", |node| {
        !node["spec"]["taints"].to_string().contains("unreachable")
    })?;
    cluster.kubectl(&["cordon", "board-1"])?;
    cluster.kubectl(&["drain", "board-2", "--ignore-daemonsets", "--timeout=60s"])?;
    cluster.kubectl(&["uncordon", "board-1"])?;
    wait_for(&cluster, "rc", "old", "to be ready on the other", |rc| {
        rc["status"]["readyReplicas"] == 2
    })?;
    cluster.kubectl(&["taint", "node", "board-1", "mine=x:NoExecute"])?;
    eventually("none on the tainted board", || {
        Ok(pods(&cluster)?
            .iter()
            .all(|pod| text(pod, "/spec/nodeName") != "board-1"))
    })?;
    Ok(())
}
