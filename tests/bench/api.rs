//! The API with thousands of pods: requests a second, p99, memory.
//!
//! The nodes are objects without a board behind them: what is measured is the API, the store and the
//! controllers, not the node protocol.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bramble_tests::local::Guard;
use serde_json::{Value, json};

use crate::budget::Budgets;
use crate::http::{Access, Client};

/// Connections that ask at the same time.
const CLIENTS: usize = 8;
/// Nodes that the pods are bound to.
const NODES: usize = 100;
const WATCHERS: usize = 200;
/// What the controller may have resident: at first, and with the nodes and a thousand pods.
const IDLE_MB: f64 = 32.0;
const THOUSAND_PODS_MB: f64 = 64.0;
/// Changes that every watcher is told of.
const CHANGES: usize = 100;
const PODS: &str = "/api/v1/namespaces/default/pods";

pub(crate) fn run(pods: usize, budgets: &Budgets) -> Result<()> {
    let cluster = Guard::prepare(1)?;
    cluster.up()?;
    let data = cluster.options().dir.join("controller");
    let access = Access::admin(&data, cluster.api())?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(measure(&cluster, &access, pods, budgets))?;
    cold(&cluster)
}

fn resident(cluster: &Guard) -> Result<f64> {
    let pid = cluster.pid("controller").context("no controller")?;
    let smaps = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = smaps.lines().find(|line| line.starts_with("Rss:"));
    let kib: f64 = (line.and_then(|line| line.split_whitespace().nth(1)))
        .context("no Rss")?
        .parse()?;
    Ok(kib / 1024.0)
}

/// As a Deployment's pod looks once its node has reported on it: about 3 KB.
fn pod(number: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("bench-{number:05}"),
            "labels": {"app": "bench", "tier": format!("t{}", number % 10), "pod-template-hash": "6c5f9d7d4b"},
        },
        "spec": {
            "nodeName": format!("bench-{:03}", number % NODES),
            "containers": [{
                "name": "main", "image": "bramble.test/hello:v1",
                "env": [{"name": "NUMBER", "value": number.to_string()}, {"name": "COLOUR", "value": "green"}],
                "ports": [{"containerPort": 8080, "name": "http"}],
                "resources": {"requests": {"cpu": "10m", "memory": "8Mi"}, "limits": {"memory": "64Mi"}},
            }],
        },
    })
}

async fn measure(cluster: &Guard, access: &Access, pods: usize, budgets: &Budgets) -> Result<()> {
    let idle = resident(cluster)?;
    println!("\nAPI, {CLIENTS} clients; controller resident {idle:.1} MB with no pods");
    budgets.check("controller resident, no pods", idle, IDLE_MB, "MB");
    let mut client = access.connect().await?;
    for number in 0..NODES {
        let name = format!("bench-{number:03}");
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
        client.send("POST", "/api/v1/nodes", &node).await?;
    }
    let thousand = 1000.min(pods);
    create(access, 0, thousand).await?;
    let busy = resident(cluster)?;
    println!("resident with {NODES} nodes and {thousand} pods: {busy:.1} MB");
    let what = format!("controller resident, {NODES} nodes and {thousand} pods");
    budgets.check(&what, busy, THOUSAND_PODS_MB, "MB");
    create(access, thousand, pods).await?;
    println!("resident with {pods} pods: {:.1} MB", resident(cluster)?);
    load(access, "get", 4000, move |number| {
        let path = format!("{PODS}/bench-{:05}", number * 7 % pods);
        ("GET", path, Value::Null)
    })
    .await?;
    load(access, "patch (durable)", 2000, move |number| {
        let path = format!("{PODS}/bench-{:05}", number * 7 % pods);
        (
            "PATCH",
            path,
            json!({"metadata": {"annotations": {"n": number.to_string()}}}),
        )
    })
    .await?;
    load(access, "list, 500 of them", 200, |_| {
        ("GET", format!("{PODS}?limit=500"), Value::Null)
    })
    .await?;
    load(access, "list, all of them", 40, |_| {
        ("GET", PODS.to_owned(), Value::Null)
    })
    .await?;
    load(access, "list by label, a tenth", 100, |number| {
        let path = format!("{PODS}?labelSelector=tier%3Dt{}", number % 10);
        ("GET", path, Value::Null)
    })
    .await?;
    load(access, "list by node, a hundredth", 400, |number| {
        let path = format!(
            "/api/v1/pods?fieldSelector=spec.nodeName%3Dbench-{:03}",
            number % NODES
        );
        ("GET", path, Value::Null)
    })
    .await?;
    println!("resident after that: {:.1} MB", resident(cluster)?);
    watchers(cluster, access, &mut client).await
}

async fn create(access: &Access, from: usize, to: usize) -> Result<()> {
    if from == to {
        return Ok(());
    }
    let title = format!("create (durable), {from} to {to}");
    load(access, &title, to - from, move |number| {
        ("POST", PODS.to_owned(), pod(from + number))
    })
    .await
}

/// Requests from all clients at once, as fast as they are answered.
async fn load(
    access: &Access,
    title: &str,
    count: usize,
    request: impl Fn(usize) -> (&'static str, String, Value) + Copy + Send + 'static,
) -> Result<()> {
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for first in 0..CLIENTS {
        let mut client = access.connect().await?;
        tasks.push(tokio::spawn(async move {
            let mut times = Vec::new();
            for number in (first..count).step_by(CLIENTS) {
                let (method, path, body) = request(number);
                let begun = Instant::now();
                client.send(method, &path, &body).await?;
                times.push(begun.elapsed());
            }
            anyhow::Ok(times)
        }));
    }
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await??);
    }
    report(title, count, begun.elapsed(), &mut times);
    Ok(())
}

fn report(title: &str, count: usize, took: Duration, times: &mut [Duration]) {
    times.sort();
    let at = |part: f64| {
        let place = ((times.len() - 1) as f64 * part).round() as usize;
        times[place].as_secs_f64() * 1e3
    };
    println!(
        "{title:<34} {:>8.0}/s  p50 {:7.1} ms  p99 {:7.1} ms",
        count as f64 / took.as_secs_f64(),
        at(0.5),
        at(0.99)
    );
}

/// Changes that all watchers are told of, one after the other.
async fn watchers(cluster: &Guard, access: &Access, client: &mut Client) -> Result<()> {
    let list = client
        .send("GET", &format!("{PODS}?limit=1"), &Value::Null)
        .await?;
    let list: Value = serde_json::from_slice(&list)?;
    let revision = (list["metadata"]["resourceVersion"].as_str()).context("no resourceVersion")?;
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..WATCHERS {
        let path = format!("{PODS}?watch=true&resourceVersion={revision}");
        let mut events = access.connect().await?.watch(&path).await?;
        let tell = tell.clone();
        tokio::spawn(async move {
            while events.next().await.is_ok() {
                if tell.send(Instant::now()).is_err() {
                    return;
                }
            }
        });
    }
    let begun = Instant::now();
    let mut times = Vec::new();
    for number in 0..CHANGES {
        let sent = Instant::now();
        let body = json!({"metadata": {"annotations": {"watched": number.to_string()}}});
        client
            .send("PATCH", &format!("{PODS}/bench-00000"), &body)
            .await?;
        for _ in 0..WATCHERS {
            let at = told.recv().await.context("the watchers ended")?;
            times.push(at.duration_since(sent));
        }
    }
    let title = format!("events to {WATCHERS} watchers");
    report(&title, CHANGES * WATCHERS, begun.elapsed(), &mut times);
    println!(
        "resident with {WATCHERS} watchers: {:.1} MB",
        resident(cluster)?
    );
    Ok(())
}

/// `kubectl get pods` of a person whose kubectl has no cache yet, and of one whose has.
fn cold(cluster: &Guard) -> Result<()> {
    let home = tempfile::tempdir()?;
    for what in ["cold", "warm"] {
        let begun = Instant::now();
        let output = Command::new(&cluster.options().kubectl)
            .args(["get", "pods", "--no-headers"])
            .arg(format!("--kubeconfig={}", cluster.kubeconfig().display()))
            .arg(format!("--cache-dir={}", home.path().display()))
            .output()?;
        anyhow::ensure!(output.status.success(), "kubectl get pods failed");
        let lines = output.stdout.iter().filter(|byte| **byte == b'\n').count();
        println!(
            "kubectl get pods, {what}: {lines} lines in {:.0} ms",
            begun.elapsed().as_secs_f64() * 1e3
        );
    }
    Ok(())
}
