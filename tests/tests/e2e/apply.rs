//! Server-side apply with the real kubectl, and the requests that helm sends.

use anyhow::{Result, ensure};
use bramble_tests::local::{Cluster, Guard};
use serde_json::{Value, json};

use crate::{get, text};

/// A Deployment whose pods wait for a board that is not there; `with` goes into its spec.
fn manifest(image: &str, with: &str) -> String {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"nodeSelector": {"board": "none"}, "containers": [
                {"name": "web", "image": image, "ports": [{"containerPort": 80}]}]}}},
    })
    .to_string()
    .replace(
        "\"spec\":{\"selector\"",
        &format!("\"spec\":{{{with}\"selector\""),
    )
}

fn start() -> Result<Guard> {
    let cluster = Guard::prepare(1)?;
    cluster.up()?;
    Ok(cluster)
}

fn apply(cluster: &Cluster, args: &[&str], manifest: &str) -> Result<(i32, String)> {
    let mut all = vec!["apply", "--server-side", "-f", "-"];
    all.extend(args);
    let out = cluster.kubectl_with_input(&all, manifest)?;
    Ok((out.code, format!("{}{}", out.stdout, out.stderr)))
}

#[track_caller]
fn applied(cluster: &Cluster, args: &[&str], manifest: &str) -> Result<()> {
    let (code, said) = apply(cluster, args, manifest)?;
    ensure!(
        code == 0 && said == "deployment.apps/web serverside-applied\n",
        "{code} {said}"
    );
    Ok(())
}

fn managers(object: &Value) -> Vec<String> {
    let list = object["metadata"]["managedFields"].as_array();
    list.into_iter()
        .flatten()
        .map(|e| format!("{} {}", text(e, "/manager"), text(e, "/operation")))
        .collect()
}

fn web(cluster: &Cluster) -> Result<Value> {
    let out = cluster.kubectl(&[
        "get",
        "deploy",
        "web",
        "-o",
        "json",
        "--show-managed-fields",
    ])?;
    Ok(serde_json::from_str(&out.stdout)?)
}

#[test]
fn root_an_apply_conflicts_with_what_others_changed_until_it_is_forced() -> Result<()> {
    let cluster = start()?;
    let mine = manifest("web:1", "\"replicas\":2,");
    applied(&cluster, &[], &mine)?;
    let first = web(&cluster)?;
    applied(&cluster, &[], &mine)?;
    let again = web(&cluster)?;
    ensure!(
        first["metadata"]["managedFields"] == again["metadata"]["managedFields"]
            && managers(&again) == ["kubectl Apply"],
        "{again:#}"
    );
    let shown = cluster.kubectl(&[
        "get",
        "deploy",
        "web",
        "-o",
        "yaml",
        "--show-managed-fields",
    ])?;
    for part in ["operation: Apply", "f:replicas: {}", "k:{\"name\":\"web\"}"] {
        ensure!(
            shown.stdout.contains(part),
            "no {part} in\n{}",
            shown.stdout
        );
    }

    cluster.kubectl(&["scale", "deployment/web", "--replicas=5"])?;
    let (code, said) = apply(&cluster, &[], &mine)?;
    for part in [
        "Apply failed with 1 conflict: conflict with \"kubectl\" with subresource \"scale\" using apps/v1: .spec.replicas",
        "Please review the fields above",
    ] {
        ensure!(code == 1 && said.contains(part), "{code} {said}");
    }
    ensure!(get(&cluster, "deployment", "web")?["spec"]["replicas"] == 5);

    // What an apply would do, without doing it: the difference is kubectl's exit code 1.
    let diff = ["diff", "--server-side", "--force-conflicts", "-f", "-"];
    let out = cluster.kubectl_with_input(&diff, &mine)?;
    ensure!(
        out.code == 1
            && out.stdout.contains("-  replicas: 5")
            && out.stdout.contains("+  replicas: 2"),
        "{} {}{}",
        out.code,
        out.stdout,
        out.stderr
    );
    applied(&cluster, &["--force-conflicts"], &mine)?;
    let forced = web(&cluster)?;
    ensure!(
        forced["spec"]["replicas"] == 2 && managers(&forced) == ["kubectl Apply"],
        "{forced:#}"
    );
    let out = cluster.kubectl_with_input(&diff, &mine)?;
    ensure!(out.code == 0, "{} {}{}", out.code, out.stdout, out.stderr);
    Ok(())
}

#[test]
fn root_from_client_side_apply_to_server_side_and_back() -> Result<()> {
    let cluster = start()?;
    let plain = manifest("web:1", "\"paused\":true,");
    cluster.apply(&plain)?;
    cluster.kubectl(&["scale", "deployment/web", "--replicas=5"])?;
    cluster.kubectl(&["label", "deployment/web", "mine=yes"])?;
    // The image changes on the way: kubectl is not in conflict with its own past.
    applied(&cluster, &[], &manifest("web:2", "\"paused\":true,"))?;
    let moved = web(&cluster)?;
    let names = managers(&moved);
    ensure!(
        names.contains(&"kubectl Apply".to_owned())
            && names.contains(&"kubectl-last-applied Apply".to_owned())
            && !names.iter().any(|name| name.contains("client-side")),
        "{names:?}"
    );
    let container = &moved["spec"]["template"]["spec"]["containers"][0];
    ensure!(container["image"] == "web:2", "{container}");
    ensure!(
        moved["spec"]["replicas"] == 5 && moved["metadata"]["labels"]["mine"] == "yes",
        "what others set is gone: {moved:#}"
    );
    // A field that was applied client-side and is no longer in the manifest goes.
    applied(&cluster, &[], &manifest("web:2", ""))?;
    ensure!(web(&cluster)?["spec"].get("paused").is_none());

    // And back: kubectl finds what it applied last.
    cluster.apply(&manifest("web:3", "\"minReadySeconds\":3,"))?;
    cluster.apply(&manifest("web:3", ""))?;
    let back = web(&cluster)?;
    let container = &back["spec"]["template"]["spec"]["containers"][0];
    ensure!(
        container["image"] == "web:3" && back["spec"].get("minReadySeconds").is_none(),
        "{back:#}"
    );
    ensure!(back["spec"]["replicas"] == 5, "{back:#}");
    Ok(())
}

#[test]
fn root_helms_requests_and_several_managers() -> Result<()> {
    let cluster = start()?;
    // helm 4: fieldManager=helm, force, JSON text.
    let helm = ["--field-manager=helm", "--force-conflicts"];
    applied(&cluster, &helm, &manifest("web:1", "\"replicas\":1,"))?;
    let other = r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","annotations":{"team":"a"}}}"#;
    applied(&cluster, &["--field-manager=argo"], other)?;
    applied(&cluster, &helm, &manifest("web:2", "\"replicas\":2,"))?;
    let object = web(&cluster)?;
    ensure!(
        object["metadata"]["annotations"]["team"] == "a" && object["spec"]["replicas"] == 2,
        "{object:#}"
    );
    // Who lets go takes along what only they owned.
    let nothing = r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"}}"#;
    applied(&cluster, &["--field-manager=argo"], nothing)?;
    let object = web(&cluster)?;
    ensure!(
        object["metadata"]["annotations"].get("team").is_none()
            && managers(&object) == ["helm Apply"],
        "{object:#}"
    );
    let (code, said) = apply(&cluster, &[], &manifest("web:9", ""))?;
    ensure!(
        code == 1
            && said.contains(
                "conflict with \"helm\": .spec.template.spec.containers[name=\"web\"].image"
            ),
        "{code} {said}"
    );
    let (code, said) = apply(
        &cluster,
        &["--validate=false"],
        &manifest("web:2", "\"replicaz\":2,"),
    )?;
    ensure!(
        code == 1
            && said.contains("failed to create typed patch object (default/web; apps/v1, Kind=Deployment): .spec.replicaz: field not declared in schema"),
        "{code} {said}"
    );
    Ok(())
}
