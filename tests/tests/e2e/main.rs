//! What a user sees, on real parts: the real kubectl, the built programs, boards as network
//! namespaces, containers that run. Each test has a cluster of its own.

mod admission;
mod adoption;
mod alone;
mod apply;
mod backup;
mod bad_input;
mod controllers;
mod deployment;
mod durability;
mod facts;
mod fields;
mod followers;
mod identity;
mod images;
mod lifecycle;
mod members;
mod moved;
mod offline;
mod pods;
mod rbac;
mod reboot;
mod restored;
mod rights;
mod said;
mod sharing;
mod standing;
mod streams;
mod technician;
mod tokens;
mod up_down;
mod volumes;

use std::time::Duration;

use anyhow::{Context, Result};
use bramble_tests::local::{Cluster, http_get, wait_until};
use serde_json::Value;

/// Longer than anything that works takes, shorter than the limit of a test.
const LIMIT: Duration = Duration::from_secs(60);

/// The example of the README.
fn apply_example(cluster: &Cluster) -> Result<()> {
    let example = bramble_tests::repository().join("docs/examples/hello.yaml");
    cluster.kubectl(&["apply", "-f", &example.display().to_string()])?;
    rolled_out(cluster)
}

fn rolled_out(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["rollout", "status", "deployment/hello", "--timeout=60s"])?;
    Ok(())
}

/// Objects of a list, as kubectl prints them.
fn list(cluster: &Cluster, what: &[&str]) -> Result<Vec<Value>> {
    let mut args = vec!["get"];
    args.extend(what);
    args.extend(["-o", "json"]);
    let value: Value = serde_json::from_str(&cluster.kubectl(&args)?.stdout)?;
    Ok(value["items"].as_array().context("not a list")?.clone())
}

fn get(cluster: &Cluster, kind: &str, name: &str) -> Result<Value> {
    Ok(serde_json::from_str(
        &cluster.kubectl(&["get", kind, name, "-o", "json"])?.stdout,
    )?)
}

/// Pods of the example that are not being deleted.
fn pods(cluster: &Cluster) -> Result<Vec<Value>> {
    let mut pods = list(cluster, &["pods", "-l", "app=hello"])?;
    pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    Ok(pods)
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn name(pod: &Value) -> &str {
    text(pod, "/metadata/name")
}

/// Asks a pod's web server until it answers.
fn ask(pod: &Value) -> Result<String> {
    let ip = text(pod, "/status/podIP")
        .parse()
        .context("the pod has no address")?;
    let mut reply = Err(anyhow::anyhow!("not asked"));
    wait_until(LIMIT, || {
        reply = http_get(ip, 8080);
        Ok(reply.is_ok())
    })?;
    reply.with_context(|| format!("asking {} at {ip}", name(pod)))
}

/// Waits until the object satisfies the condition and returns it.
fn wait_for(
    cluster: &Cluster,
    kind: &str,
    object: &str,
    what: &str,
    condition: impl Fn(&Value) -> bool,
) -> Result<Value> {
    let mut last = Value::Null;
    let done = wait_until(LIMIT, || {
        // An answer that fails just now (the controller may be starting) is asked for again.
        if let Ok(value) = get(cluster, kind, object) {
            last = value;
        }
        Ok(!last.is_null() && condition(&last))
    })?;
    anyhow::ensure!(done, "waited for {kind} {object} {what}; it is {last:#}");
    Ok(last)
}
