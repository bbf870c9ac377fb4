//! A Deployment's life through the real kubectl.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use bramble_tests::local::{Guard, wait_until};

use crate::{LIMIT, apply_example, ask, list, name, pods, rolled_out, text};

#[test]
fn root_apply_runs_a_deployment_and_kubectl_drives_it() -> Result<()> {
    let cluster = Guard::start(2)?;
    apply_example(&cluster)?;

    let running = pods(&cluster)?;
    ensure!(running.len() == 2, "two replicas, not {}", running.len());
    for pod in &running {
        let reply = ask(pod)?;
        ensure!(
            reply.contains("Bramble v1") && reply.contains(name(pod)),
            "answered {reply}"
        );
    }
    let nodes: BTreeSet<_> = running
        .iter()
        .map(|pod| text(pod, "/spec/nodeName"))
        .collect();
    ensure!(
        nodes.len() == 2,
        "replicas are spread over the boards: {nodes:?}"
    );

    let logs = cluster.kubectl(&["logs", "deploy/hello"])?;
    ensure!(
        logs.stdout.contains("hello v1 listening on 8080"),
        "logs: {}",
        logs.stdout
    );
    let tail = cluster.kubectl(&["logs", name(&running[0]), "--tail=1"])?;
    ensure!(
        tail.stdout.lines().count() == 1,
        "--tail=1 printed {:?}",
        tail.stdout
    );

    // A deleted pod is replaced by another.
    let victim = name(&running[0]).to_owned();
    cluster.kubectl(&["delete", "pod", &victim])?;
    rolled_out(&cluster)?;
    ensure!(
        pods(&cluster)?.iter().all(|pod| name(pod) != victim),
        "{victim} is still there"
    );

    cluster.kubectl(&["scale", "deploy/hello", "--replicas=4"])?;
    rolled_out(&cluster)?;
    ensure!(pods(&cluster)?.len() == 4, "scaled to 4");

    cluster.kubectl(&[
        "set",
        "image",
        "deploy/hello",
        "hello=bramble.test/hello:v2",
    ])?;
    rolled_out(&cluster)?;
    for pod in &pods(&cluster)? {
        ensure!(
            ask(pod)?.contains("Bramble v2"),
            "every pod is of the new version"
        );
    }
    cluster.kubectl(&["rollout", "undo", "deploy/hello"])?;
    rolled_out(&cluster)?;
    for pod in &pods(&cluster)? {
        ensure!(
            ask(pod)?.contains("Bramble v1"),
            "every pod is of the old version again"
        );
    }
    let revisions = list(&cluster, &["rs", "-l", "app=hello"])?;
    ensure!(
        revisions.len() == 2,
        "undo took the old ReplicaSet again: {}",
        revisions.len()
    );

    cluster.kubectl(&["delete", "deploy", "hello"])?;
    let gone = wait_until(LIMIT, || {
        Ok(list(&cluster, &["pods,rs", "-l", "app=hello"])?.is_empty())
    })?;
    ensure!(gone, "its ReplicaSets and pods go with a Deployment");
    Ok(())
}

#[test]
fn root_a_second_apply_changes_nothing_and_a_removed_entry_goes() -> Result<()> {
    let cluster = Guard::start(1)?;
    let manifest = |env: &str| {
        format!(
            r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"hello"}},"spec":{{
            "replicas":1,"selector":{{"matchLabels":{{"app":"hello"}}}},"template":{{
            "metadata":{{"labels":{{"app":"hello"}}}},"spec":{{"containers":[{{"name":"hello",
            "image":"bramble.test/hello:v1","env":[{env}]}}]}}}}}}}}"#
        )
    };
    let both = r#"{"name":"A","value":"1"},{"name":"B","value":"2"}"#;
    cluster.apply(&manifest(both))?;
    let again = cluster.apply(&manifest(both))?;
    ensure!(
        again.stdout.contains("unchanged"),
        "printed {}",
        again.stdout
    );
    cluster.apply(&manifest(r#"{"name":"A","value":"1"}"#))?;
    let names = cluster.kubectl(&[
        "get",
        "deploy",
        "hello",
        "-o",
        "jsonpath={.spec.template.spec.containers[0].env[*].name}",
    ])?;
    ensure!(
        names.stdout == "A",
        "the removed variable is gone: {}",
        names.stdout
    );
    Ok(())
}
