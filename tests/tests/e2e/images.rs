//! Images from a registry (Debian's `docker-registry`, with basic auth), as a user sees them.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bramble_tests::local::{Cluster, Guard, wait_until};
use serde_json::Value;

use crate::said::wait_for_event;
use crate::{LIMIT, text, wait_for};

#[path = "../../../agent/tests/node/support/registry.rs"]
pub(crate) mod registry;

use registry::{PASSWORD, Registry, Setup, USER};

const SCHEMA2: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// A registry that the boards reach, with busybox in it, and a cluster that may speak to it in plain.
struct Bench {
    cluster: Guard,
    registry: Option<Registry>,
    name: String,
    _storage: tempfile::TempDir,
}

impl Bench {
    fn start() -> Result<Self> {
        let cluster = Guard::prepare(1)?;
        let storage = tempfile::tempdir()?;
        // The host's address exists once the network does.
        cluster.up()?;
        let host = cluster.layout.host.to_string();
        let push = Registry::start(storage.path(), &Setup::default());
        push_busybox(&push, storage.path())?;
        push_big(&push, storage.path(), 48)?;
        drop(push);
        let setup = Setup {
            auth: true,
            host: Some(host),
            ..Setup::default()
        };
        let registry = Registry::start(storage.path(), &setup);
        let address = registry.address.to_string();
        let file = format!("[registry.\"{address}\"]\nplain-http = true\n");
        std::fs::write(cluster.registries(), file)?;
        Ok(Self {
            name: format!("{address}/team/busybox:1"),
            cluster,
            registry: Some(registry),
            _storage: storage,
        })
    }

    fn apply(&self, name: &str, more: &str, policy: &str) -> Result<()> {
        self.apply_image(&self.name, name, more, policy)
    }

    fn apply_image(&self, image: &str, name: &str, more: &str, policy: &str) -> Result<()> {
        self.cluster.apply(&format!(
            r#"
apiVersion: v1
kind: Pod
metadata: {{ name: {name} }}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  {more}
  containers:
    - name: main
      image: {image}
      imagePullPolicy: {policy}
      command: [sh, -c, "echo runs"]
"#
        ))?;
        Ok(())
    }
}

/// The example image, out of its tar and into the registry.
pub(crate) fn push_busybox(registry: &Registry, work: &Path) -> Result<()> {
    let tar = bramble_tests::images()?.join("busybox-1.tar");
    let dir = work.join("busybox");
    std::fs::create_dir(&dir)?;
    let status = Command::new("tar")
        .args(["-xf", &tar.display().to_string(), "-C"])
        .arg(&dir)
        .status()?;
    ensure!(status.success(), "tar");
    let manifest = std::fs::read(dir.join("manifest.json"))?;
    let manifest: Value = serde_json::from_slice(&manifest)?;
    let put = |member: &Value, media_type: &str| -> Result<Value> {
        let path = dir.join(member.as_str().context("no member")?);
        let bytes = std::fs::read(&path)?;
        let digest = format!("sha256:{}", sha256(&path)?);
        registry.push_blob("team/busybox", &digest, &bytes);
        Ok(serde_json::json!({"mediaType": media_type, "digest": digest, "size": bytes.len()}))
    };
    let config = "application/vnd.docker.container.image.v1+json";
    let layer = "application/vnd.docker.image.rootfs.diff.tar";
    let image = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": SCHEMA2,
        "config": put(&manifest[0]["Config"], config)?,
        "layers": [put(&manifest[0]["Layers"][0], layer)?],
    });
    let bytes = image.to_string().into_bytes();
    registry.push_manifest("team/busybox", "1", SCHEMA2, &bytes);
    Ok(())
}

/// Bytes that no compression makes smaller, as an image of one layer that shares busybox's.
fn push_big(registry: &Registry, work: &Path, megabytes: usize) -> Result<()> {
    let dir = work.join("big");
    std::fs::create_dir(&dir)?;
    let mut random = std::fs::File::open("/dev/urandom")?;
    let mut file = std::fs::File::create(dir.join("noise"))?;
    let noise = random.by_ref().take((megabytes as u64) << 20);
    std::io::copy(&mut { noise }, &mut file)?;
    let busybox = work.join("busybox");
    let saved = std::fs::read(busybox.join("manifest.json"))?;
    let saved: Value = serde_json::from_slice(&saved)?;
    let member = |value: &Value| busybox.join(value.as_str().unwrap_or_default());
    let layer = work.join("big.tar");
    let mut tar = Command::new("tar");
    tar.arg("-cf").arg(&layer).arg("-C").arg(&dir).arg("noise");
    ensure!(tar.status()?.success(), "tar");
    let config = std::fs::read(member(&saved[0]["Config"]))?;
    let mut config: Value = serde_json::from_slice(&config)?;
    let diff_ids = config["rootfs"]["diff_ids"]
        .as_array_mut()
        .context("layers")?;
    diff_ids.push(format!("sha256:{}", sha256(&layer)?).into());
    let config_path = work.join("big.json");
    std::fs::write(&config_path, config.to_string())?;
    let mut parts = Vec::new();
    for path in [&config_path, &member(&saved[0]["Layers"][0]), &layer] {
        let bytes = std::fs::read(path)?;
        let digest = format!("sha256:{}", sha256(path)?);
        registry.push_blob("team/big", &digest, &bytes);
        let kind = "application/octet-stream";
        parts.push(serde_json::json!({"mediaType": kind, "digest": digest, "size": bytes.len()}));
    }
    let image = serde_json::json!({"schemaVersion": 2, "mediaType": SCHEMA2, "config": parts[0], "layers": parts[1..]});
    let bytes = image.to_string().into_bytes();
    registry.push_manifest("team/big", "1", SCHEMA2, &bytes);
    Ok(())
}

/// Most memory that a process ever had, kB.
fn peak(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(number.context("no VmHWM")?.parse()?)
}

fn sha256(path: &PathBuf) -> Result<String> {
    let out = Command::new("sha256sum").arg(path).output()?;
    let text = String::from_utf8(out.stdout)?;
    Ok(text.split(' ').next().unwrap_or_default().to_owned())
}

fn waiting<'a>(pod: &'a Value, field: &str) -> &'a str {
    let state = "/status/containerStatuses/0/state/waiting";
    text(pod, &format!("{state}/{field}"))
}

fn succeeded(cluster: &Cluster, pod: &str) -> Result<Value> {
    wait_for(cluster, "pod", pod, "to succeed", |pod| {
        text(pod, "/status/phase") == "Succeeded"
    })
}

fn make_secret(bench: &Bench, password: &str) -> Result<()> {
    let team = bench.name.trim_end_matches("/busybox:1");
    let server = format!("--docker-server={team}");
    let (user, password) = (
        format!("--docker-username={USER}"),
        format!("--docker-password={password}"),
    );
    let create = [
        "create",
        "secret",
        "docker-registry",
        "key",
        &server,
        &user,
        &password,
    ];
    bench.cluster.kubectl(&create)?;
    Ok(())
}

#[test]
fn root_images_are_pulled_with_the_pods_secrets() -> Result<()> {
    let bench = Bench::start()?;
    let cluster = &bench.cluster;
    let image = &bench.name;
    bench.apply("locked-out", "hostname: x", "IfNotPresent")?;
    let failed = |pod: &Value| waiting(pod, "reason") == "ErrImagePull";
    let pod = wait_for(cluster, "pod", "locked-out", "to be refused", failed)?;
    ensure!(
        waiting(&pod, "message").contains("no basic auth credentials"),
        "{pod:#}"
    );
    let backed_off = |pod: &Value| waiting(pod, "reason") == "ImagePullBackOff";
    let pod = wait_for(cluster, "pod", "locked-out", "to back off", backed_off)?;
    let text = format!("Back-off pulling image \"{image}\": ErrImagePull: failed to resolve");
    ensure!(waiting(&pod, "message").starts_with(&text), "{pod:#}");
    wait_for_event(cluster, "locked-out", "Failed", "Failed to pull image")?;
    wait_for_event(cluster, "locked-out", "BackOff", "Back-off pulling image")?;
    // The pod that fails holds nobody up, and the secret lets the next one in.
    make_secret(&bench, PASSWORD)?;
    let secret = "imagePullSecrets: [{ name: key }]";
    bench.apply("let-in", secret, "IfNotPresent")?;
    succeeded(cluster, "let-in")?;
    let pulled = format!("Successfully pulled image \"{image}\" in ");
    wait_for_event(
        cluster,
        "let-in",
        "Pulling",
        &format!("Pulling image \"{image}\""),
    )?;
    wait_for_event(cluster, "let-in", "Pulled", &pulled)?;
    // Now it is here, for the one that waited too.
    succeeded(cluster, "locked-out")?;
    let present = format!("Container image \"{image}\" already present on machine");
    wait_for_event(cluster, "locked-out", "Pulled", &present)?;
    // A large one costs the agent no memory: another process pulls it.
    let agent = cluster.pid(&cluster.layout.boards[0].node);
    let agent = agent.context("no agent")?;
    let before = peak(agent)?;
    let big = image.replace("team/busybox", "team/big");
    bench.apply_image(&big, "big", secret, "IfNotPresent")?;
    succeeded(cluster, "big")?;
    let grown = peak(agent)?.saturating_sub(before);
    ensure!(grown < 2048, "the agent's peak rose by {grown} kB");
    // The board says so.
    wait_for(
        cluster,
        "node",
        &cluster.layout.boards[0].node,
        "to list it",
        |node| {
            let images = node.pointer("/status/images").and_then(Value::as_array);
            let names = images
                .into_iter()
                .flatten()
                .flat_map(|i| i["names"].as_array());
            names.flatten().any(|name| name == image)
        },
    )?;
    Ok(())
}

#[test]
fn root_policy_always_asks_and_a_board_without_its_registry_goes_on() -> Result<()> {
    let mut bench = Bench::start()?;
    make_secret(&bench, PASSWORD)?;
    // Through the account, as `kubectl patch serviceaccount` is used.
    let patch = r#"{"imagePullSecrets": [{"name": "key"}]}"#;
    let account = ["patch", "serviceaccount", "default", "-p", patch];
    wait_until(LIMIT, || Ok(bench.cluster.kubectl(&account).is_ok()))?;
    bench.apply("first", "hostname: x", "Always")?;
    succeeded(&bench.cluster, "first")?;
    bench.apply("second", "hostname: x", "Always")?;
    succeeded(&bench.cluster, "second")?;
    let pulled = "Successfully pulled image";
    wait_for_event(&bench.cluster, "second", "Pulled", pulled)?;
    bench.registry = None;
    bench.apply("third", "hostname: x", "Always")?;
    succeeded(&bench.cluster, "third")?;
    wait_for_event(
        &bench.cluster,
        "third",
        "RegistryUnreachable",
        "the copy on the node",
    )?;
    Ok(())
}

#[test]
fn root_images_that_can_not_be_pulled_say_why() -> Result<()> {
    let cluster = Guard::prepare(1)?;
    cluster.up()?;
    let pod = |name: &str, image: &str, policy: &str| {
        cluster.apply(&format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}"}},"spec":{{"containers":[
            {{"name":"main","image":"{image}","imagePullPolicy":"{policy}"}}]}}}}"#
        ))
    };
    for (name, image, policy, reason, part) in [
        (
            "never",
            "host.invalid/a:1",
            "Never",
            "ErrImageNeverPull",
            "Container image \"host.invalid/a:1\" is not present with pull policy of Never",
        ),
        (
            "bad-name",
            "host.invalid/A b",
            "IfNotPresent",
            "InvalidImageName",
            "Failed to apply default image tag \"host.invalid/A b\": couldn't parse image name \"host.invalid/A b\": invalid reference format",
        ),
        (
            "nowhere",
            "127.0.0.1:1/a:1",
            "IfNotPresent",
            "ErrImagePull",
            "onnection refused",
        ),
    ] {
        pod(name, image, policy)?;
        let found = wait_for(&cluster, "pod", name, "to say why", |pod| {
            waiting(pod, "reason") == reason
        })?;
        ensure!(waiting(&found, "message").contains(part), "{found:#}");
    }
    Ok(())
}
