//! What a namespace's policies do, as a person sees it with the real kubectl.

use anyhow::{Result, ensure};
use bramble_tests::local::{Cluster, Guard, wait_until};

use crate::{LIMIT, get, list, text, wait_for};

fn apply(cluster: &Cluster, manifest: &str) -> Result<String> {
    let out = cluster.kubectl_with_input(&["apply", "-f", "-"], manifest)?;
    ensure!(out.code == 0, "{}\n{manifest}", out.stderr);
    Ok(out.stderr)
}

fn refused(cluster: &Cluster, manifest: &str, expected: &str) -> Result<()> {
    let out = cluster.kubectl_with_input(&["create", "-f", "-"], manifest)?;
    ensure!(out.code == 1, "exit code {} for {manifest}", out.code);
    ensure!(
        out.stderr.contains(expected),
        "no {expected:?} in\n{}",
        out.stderr
    );
    Ok(())
}

fn pod(name: &str, extra: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}"}},"spec":{{
        "terminationGracePeriodSeconds":1,"containers":[{{"name":"c","image":"bramble.test/busybox:1",
        "command":["sleep","3600"]}}]{extra}}}}}"#
    )
}

#[test]
fn root_policies_of_a_namespace_hold() -> Result<()> {
    let cluster = Guard::start(1)?;

    // A quota counts what is there, holds, and gives back what goes.
    apply(&cluster, &pod("one", ""))?;
    cluster.kubectl(&["create", "quota", "q", "--hard=pods=2"])?;
    wait_for(&cluster, "quota", "q", "has counted", |quota| {
        text(quota, "/status/used/pods") == "1"
    })?;
    apply(&cluster, &pod("two", ""))?;
    refused(
        &cluster,
        &pod("three", ""),
        "pods \"three\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2",
    )?;
    cluster.kubectl(&["delete", "pod", "two"])?;
    wait_for(&cluster, "quota", "q", "has given back", |quota| {
        text(quota, "/status/used/pods") == "1"
    })?;

    // What a Deployment makes is held to it as well, and says why.
    cluster.kubectl(&[
        "create",
        "deployment",
        "many",
        "--image=bramble.test/busybox:1",
        "--replicas=3",
        "--",
        "sleep",
        "3600",
    ])?;
    let told = wait_until(LIMIT, || {
        let events = list(&cluster, &["events"])?;
        Ok(events.iter().any(|event| {
            text(event, "/reason") == "FailedCreate"
                && text(event, "/message").contains("exceeded quota: q")
        }))
    })?;
    ensure!(told, "no event tells of the quota");
    ensure!(list(&cluster, &["pods"])?.len() == 2, "two pods at most");
    cluster.kubectl(&["delete", "deployment/many", "quota/q", "pod/one"])?;

    // Pods get their account and run.
    let one = get(&cluster, "sa", "default")?;
    ensure!(text(&one, "/metadata/name") == "default");
    refused(
        &cluster,
        &pod("nobody", r#","serviceAccountName":"nobody""#),
        "error looking up service account default/nobody: serviceaccount \"nobody\" not found",
    )?;

    // Pod Security refuses pods and warns of templates.
    cluster.kubectl(&[
        "label",
        "ns",
        "default",
        "pod-security.kubernetes.io/enforce=restricted",
    ])?;
    refused(
        &cluster,
        &pod("open", ""),
        "violates PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false (container \"c\" must set",
    )?;
    let out = cluster.kubectl_any(&["create", "deployment", "open", "--image=i"])?;
    ensure!(out.code == 0, "{}", out.stderr);
    ensure!(
        out.stderr
            .contains("Warning: would violate PodSecurity \"restricted:latest\""),
        "{}",
        out.stderr
    );

    // Services get addresses of the range, the API has the first one.
    let api = get(&cluster, "service", "kubernetes")?;
    ensure!(text(&api, "/spec/clusterIP").ends_with(".0.1"), "{api}");
    cluster.kubectl(&[
        "create",
        "service",
        "nodeport",
        "web",
        "--tcp=80:8080",
        "--node-port=30080",
    ])?;
    let web = get(&cluster, "service", "web")?;
    ensure!(!text(&web, "/spec/clusterIP").is_empty(), "{web}");
    let again = cluster.kubectl_any(&[
        "create",
        "service",
        "nodeport",
        "other",
        "--tcp=80:8080",
        "--node-port=30080",
    ])?;
    ensure!(
        again.stderr.contains(
            "spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated"
        ),
        "{}",
        again.stderr
    );
    let kept = cluster.kubectl_any(&["delete", "ns", "kube-system"])?;
    ensure!(
        kept.stderr
            .contains("namespaces \"kube-system\" is forbidden: this namespace may not be deleted"),
        "{}",
        kept.stderr
    );
    Ok(())
}
