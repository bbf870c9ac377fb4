//! Wrong input through the real kubectl and the real command: a clear error that names the field,
//! and the old state stands.

use anyhow::{Result, ensure};
use bramble_tests::local::{Cluster, Guard};

use crate::said::{container, ended, wait_for_event};
use crate::{get, wait_for};

fn refused(cluster: &Cluster, manifest: &str, expected: &[&str]) -> Result<()> {
    let out = cluster.kubectl_with_input(&["apply", "-f", "-"], manifest)?;
    ensure!(
        out.code == 1,
        "exit code {} for {manifest}\n{}",
        out.code,
        out.stdout
    );
    for part in expected {
        ensure!(out.stderr.contains(part), "no {part:?} in\n{}", out.stderr);
    }
    Ok(())
}

#[test]
fn root_wrong_manifests_get_upstreams_answers() -> Result<()> {
    let cluster = Guard::prepare(1)?;
    cluster.up()?;
    let deployment = |name: &str, spec: &str| {
        format!(
            r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"{name}"}},"spec":{{
            "selector":{{"matchLabels":{{"app":"a"}}}},"template":{{"metadata":{{"labels":
            {{"app":"a"}}}},"spec":{{"containers":[{{"name":"c","image":"i"}}]}}}}{spec}}}}}"#
        )
    };
    refused(
        &cluster,
        &deployment("a", r#","replica":3"#),
        &["strict decoding error", r#"unknown field "spec.replica""#],
    )?;
    refused(
        &cluster,
        &deployment("Big_Name", ""),
        &[
            r#"metadata.name: Invalid value: "Big_Name""#,
            "a lowercase RFC 1123 subdomain",
        ],
    )?;
    refused(
        &cluster,
        &deployment("a", r#","replicas":-1"#),
        &["spec.replicas: Invalid value: -1"],
    )?;
    refused(
        &cluster,
        r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"containers":[{"name":"c"}]}}"#,
        &["spec.containers[0].image: Required value"],
    )?;
    refused(&cluster, "kind: Pod\n  bad: [", &["error parsing"])?;
    refused(
        &cluster,
        r#"{"apiVersion":"v9","kind":"Gadget","metadata":{"name":"p"}}"#,
        &[r#"no matches for kind "Gadget" in version "v9""#],
    )?;
    let missing = cluster.kubectl_any(&["get", "pod", "nobody"])?;
    ensure!(missing.code == 1);
    ensure!(
        missing
            .stderr
            .contains(r#"Error from server (NotFound): pods "nobody" not found"#),
        "{}",
        missing.stderr
    );
    // A field that this release does not carry out is refused or warned about, not swallowed.
    let warned = cluster.kubectl_with_input(
        &["apply", "-f", "-"],
        r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"resolving"},"spec":{
        "dnsConfig":{"nameservers":["10.0.0.1"]},"containers":[{"name":"c","image":"bramble.test/busybox:1"}]}}"#,
    )?;
    ensure!(
        warned.stderr.contains("spec.dnsConfig"),
        "neither refused nor warned about: {} {}",
        warned.stdout,
        warned.stderr
    );
    Ok(())
}

/// A layer whose entry would land outside the image.
fn hostile_image(dir: &std::path::Path) -> Result<std::path::PathBuf> {
    let script = r#"
set -e
cd "$1"; mkdir -p good save/l
printf x > good/file
tar -C good -cf save/l/layer.tar --transform 's,^./file,../../../../../../../../tmp/bramble-escaped,' -P ./file
sum=$(sha256sum save/l/layer.tar | cut -d' ' -f1)
printf '{"architecture":"amd64","os":"linux","config":{"Cmd":["sh"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' "$sum" > save/c.json
printf '[{"Config":"c.json","RepoTags":["bramble.test/hostile:1"],"Layers":["l/layer.tar"]}]' > save/manifest.json
tar -C save -cf hostile.tar .
"#;
    bramble_tests::local::run(
        std::process::Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(dir),
    )?
    .success()?;
    Ok(dir.join("hostile.tar"))
}

#[test]
fn root_a_hostile_image_writes_nothing_outside_and_the_pod_says_why() -> Result<()> {
    let cluster = Guard::start(1)?;
    let dir = tempfile::tempdir()?;
    let tar = hostile_image(dir.path())?;
    let loaded = cluster.load_image(&tar);
    ensure!(loaded.is_err(), "a hostile image was taken");
    ensure!(
        !std::path::Path::new("/tmp/bramble-escaped").exists(),
        "it got out"
    );
    cluster.apply(
        r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"hostile"},"spec":{"containers":[{
        "name":"c","image":"bramble.test/hostile:1","imagePullPolicy":"Never"}]}}"#,
    )?;
    wait_for(&cluster, "pod", "hostile", "to say why", |pod| {
        let state = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
        let reason = state["reason"].as_str().unwrap_or_default();
        let message = state["message"].as_str().unwrap_or_default();
        reason.contains("Image") && message.contains("bramble.test/hostile:1")
    })?;
    // The others go on.
    cluster.apply(
        r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"good"},"spec":{"containers":[{
        "name":"c","image":"bramble.test/busybox:1","command":["sleep","1000"]}]}}"#,
    )?;
    wait_for(&cluster, "pod", "good", "to run", |pod| {
        pod["status"]["phase"] == "Running"
    })?;
    ensure!(get(&cluster, "pod", "hostile")?["status"]["phase"] == "Pending");
    Ok(())
}

const CANNOT_START: &str = r#"
apiVersion: v1
kind: List
items:
- { apiVersion: v1, kind: Pod, metadata: { name: nocmd }, spec: { containers: [{ name: c, image: "bramble.test/busybox:1", command: [/nope] }] } }
- { apiVersion: v1, kind: Pod, metadata: { name: noexec }, spec: { restartPolicy: Never, containers: [{ name: c, image: "bramble.test/busybox:1", command: [/etc/passwd] }] } }
- { apiVersion: v1, kind: Pod, metadata: { name: never }, spec: { containers: [{ name: c, image: "bramble.test/none:1", imagePullPolicy: Never }] } }
- { apiVersion: v1, kind: Pod, metadata: { name: badimage }, spec: { containers: [{ name: c, image: "UPPER//x" }] } }
- { apiVersion: v1, kind: Pod, metadata: { name: asroot }, spec: { securityContext: { runAsNonRoot: true }, containers: [{ name: c, image: "bramble.test/busybox:1" }] } }
- { apiVersion: v1, kind: Pod, metadata: { name: nopath }, spec: { containers: [{ name: c, image: "bramble.test/busybox:1", volumeMounts: [{ name: v, mountPath: /v }] }], volumes: [{ name: v, hostPath: { path: /nope, type: Directory } }] } }
"#;

#[test]
fn root_what_cannot_start_says_why() -> Result<()> {
    let cluster = Guard::start(1)?;
    let out = cluster.kubectl_with_input(&["apply", "-f", "-"], CANNOT_START)?;
    ensure!(out.code == 0, "{}", out.stderr);
    for (pod, reason) in [
        ("nocmd", "CrashLoopBackOff"),
        ("never", "ErrImageNeverPull"),
        ("badimage", "InvalidImageName"),
        ("asroot", "CreateContainerConfigError"),
    ] {
        wait_for(&cluster, "pod", pod, reason, |pod| {
            container(pod, "c")["state"]["waiting"]["reason"] == reason
        })?;
    }
    let nocmd = get(&cluster, "pod", "nocmd")?;
    let nocmd = container(&nocmd, "c");
    let last = &nocmd["lastState"]["terminated"];
    ensure!(
        last["reason"] == "StartError" && last["exitCode"] == 128,
        "{nocmd:#}"
    );
    let noexec = wait_for(&cluster, "pod", "noexec", "to fail", ended)?;
    let state = &container(&noexec, "c")["state"]["terminated"];
    ensure!(state["reason"] == "StartError", "{state:#}");
    for (pod, reason, message) in [
        ("nocmd", "Failed", "stat /nope: no such file or directory"),
        ("noexec", "Failed", "\"/etc/passwd\": permission denied"),
        (
            "never",
            "ErrImageNeverPull",
            "not present with pull policy of Never",
        ),
        (
            "badimage",
            "InspectFailed",
            "couldn't parse image name \"UPPER//x\"",
        ),
        ("asroot", "Failed", "image will run as root"),
        ("nopath", "FailedMount", "/nope is not a directory"),
    ] {
        wait_for_event(&cluster, pod, reason, message)?;
    }
    Ok(())
}
