//! A board that loses its power, more than once, with no controller and no registry to ask. Nothing but its
//! data directory remains.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use bramble_tests::local::{Cluster, Guard, http_get, wait_until};
use serde_json::Value;

use crate::images::push_busybox;
use crate::images::registry::{Registry, Setup};
use crate::said::{ended, running, succeeded};
use crate::{LIMIT, get, list, name, text, wait_for};

/// Reboots in a row.
const REBOOTS: u64 = 3;

/// A web server that says what its pod was made with; `init` and `side` run before and beside it.
const FULL: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: { name: settings }
data: { colour: green, greeting: "good day" }
---
apiVersion: v1
kind: Secret
metadata: { name: door }
stringData: { key: sesame }
---
apiVersion: v1
kind: Pod
metadata: { name: full, labels: { sort: steady } }
spec:
  terminationGracePeriodSeconds: 0
  initContainers:
    - name: first
      image: bramble.test/busybox:1
      command: [sh, -c, "echo once >> /data/lines"]
      volumeMounts: [{ name: work, mountPath: /data }]
    - name: side
      image: bramble.test/busybox:1
      restartPolicy: Always
      command: [sh, -c, "mkdir -p /tmp/www; echo side > /tmp/www/index.html; exec httpd -f -p 8081 -h /tmp/www"]
  containers:
    - name: main
      image: bramble.test/busybox:1
      command:
        - sh
        - -c
        - |
          mkdir -p /tmp/www
          {
            echo "name $(hostname) address $ADDRESS"
            echo "config $COLOUR $(cat /config/greeting)"
            echo "secret $(sha256sum < /secret/key) $KEY"
            echo "token $(sha256sum < /token/token)"
            echo "host $(cat /kept/given)"
            echo "image $(sha256sum < /bin/busybox)"
            echo "init ran $(wc -l < /data/lines) times"
          } > /tmp/www/index.html
          exec httpd -f -p 8080 -h /tmp/www
      env:
        - { name: COLOUR, valueFrom: { configMapKeyRef: { name: settings, key: colour } } }
        - { name: KEY, valueFrom: { secretKeyRef: { name: door, key: key } } }
        - { name: ADDRESS, valueFrom: { fieldRef: { fieldPath: status.podIP } } }
      volumeMounts:
        - { name: config, mountPath: /config }
        - { name: secret, mountPath: /secret }
        - { name: token, mountPath: /token }
        - { name: work, mountPath: /data }
        - { name: kept, mountPath: /kept }
  volumes:
    - { name: config, configMap: { name: settings } }
    - { name: secret, secret: { secretName: door } }
    - { name: token, projected: { sources: [{ serviceAccountToken: { path: token } }] } }
    - { name: work, emptyDir: {} }
    - { name: kept, hostPath: { path: @KEPT } }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  replicas: 3
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web, sort: steady } }
    spec:
      containers: [{ name: main, image: "bramble.test/hello:v1" }]
---
apiVersion: v1
kind: Pod
metadata: { name: always, labels: { sort: steady } }
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: @IMAGE
      imagePullPolicy: Always
      command: [sh, -c, "mkdir -p /tmp/www; sha256sum < /bin/busybox > /tmp/www/index.html; exec httpd -f -p 8080 -h /tmp/www"]
"#;

/// Those that run once: each appends a line to a file of its own when it begins.
const ONCE: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: failed, labels: { sort: once } }
spec:
  restartPolicy: Never
  containers:
    - { name: main, image: "bramble.test/busybox:1", command: [sh, -c, "echo began >> /kept/failed; exit 3"], volumeMounts: [{ name: kept, mountPath: /kept }] }
  volumes: [{ name: kept, hostPath: { path: @KEPT } }]
---
apiVersion: v1
kind: Pod
metadata: { name: done, labels: { sort: once } }
spec:
  restartPolicy: OnFailure
  containers:
    - { name: main, image: "bramble.test/busybox:1", command: [sh, -c, "echo began >> /kept/done"], volumeMounts: [{ name: kept, mountPath: /kept }] }
  volumes: [{ name: kept, hostPath: { path: @KEPT } }]
---
apiVersion: v1
kind: Pod
metadata: { name: cut, labels: { sort: once } }
spec:
  restartPolicy: Never
  containers:
    - { name: main, image: "bramble.test/busybox:1", command: [sh, -c, "echo began >> /kept/cut; exec sleep 100000"], volumeMounts: [{ name: kept, mountPath: /kept }] }
  volumes: [{ name: kept, hostPath: { path: @KEPT } }]
"#;

/// Names of the files that pods of [`ONCE`] write.
const ONCE_FILES: [&str; 3] = ["failed", "done", "cut"];

/// What a pod was and said before the first reboot.
struct Steady {
    name: String,
    address: Ipv4Addr,
    page: String,
}

fn page(address: Ipv4Addr, port: u16) -> Result<String> {
    let mut reply = Err(anyhow::anyhow!("not asked"));
    wait_until(LIMIT, || {
        reply = http_get(address, port);
        Ok(reply.is_ok())
    })?;
    reply.with_context(|| format!("asking {address}:{port}"))
}

fn steady(cluster: &Cluster) -> Result<Vec<Steady>> {
    let pods = list(cluster, &["pods", "-l", "sort=steady"])?;
    let of = |pod: &Value| -> Result<Steady> {
        let address = text(pod, "/status/podIP").parse()?;
        Ok(Steady {
            name: name(pod).to_owned(),
            address,
            page: page(address, 8080)?,
        })
    };
    pods.iter().map(of).collect()
}

/// Name, uid and images of every pod.
fn identities(cluster: &Cluster) -> Result<Vec<String>> {
    let of = |pod: &Value| {
        let statuses = pod["status"]["containerStatuses"].as_array();
        let images = statuses.into_iter().flatten().map(|s| &s["imageID"]);
        let images: Vec<_> = images.map(Value::to_string).collect();
        let uid = text(pod, "/metadata/uid");
        format!("{} {uid} {}", name(pod), images.join(" "))
    };
    Ok(list(cluster, &["pods"])?.iter().map(of).collect())
}

/// Every pod of [`ONCE`] has begun once.
fn began_once(kept: &Path) -> Result<()> {
    for file in ONCE_FILES {
        let lines = fs::read_to_string(kept.join(file))?;
        ensure!(lines == "began\n", "{file}: {lines}");
    }
    Ok(())
}

#[test]
fn root_every_sort_of_pod_comes_back_the_same() -> Result<()> {
    let cluster = Guard::start(1)?;
    let storage = tempfile::tempdir()?;
    let setup = Setup {
        host: Some(cluster.layout.host.to_string()),
        ..Setup::default()
    };
    let registry = Registry::start(storage.path(), &setup);
    push_busybox(&registry, storage.path())?;
    let plain = format!("[registry.\"{}\"]\nplain-http = true\n", registry.address);
    fs::write(cluster.registries(), plain)?;
    let kept = cluster.options().dir.join("kept");
    fs::create_dir(&kept)?;
    fs::write(kept.join("given"), "by the board")?;
    let image = format!("{}/team/busybox:1", registry.address);
    let path = kept.display().to_string();
    for manifest in [FULL, ONCE] {
        cluster.apply(&manifest.replace("@KEPT", &path).replace("@IMAGE", &image))?;
    }
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"])?;
    wait_for(&cluster, "pod", "failed", "to fail", ended)?;
    wait_for(&cluster, "pod", "done", "to succeed", succeeded)?;
    for pod in ["full", "always", "cut"] {
        wait_for(&cluster, "pod", pod, "to run", running)?;
    }
    let began = || Ok(std::fs::read(kept.join("cut")).is_ok_and(|text| !text.is_empty()));
    ensure!(wait_until(LIMIT, began)?, "cut did not begin");
    began_once(&kept)?;
    let (before, known) = (steady(&cluster)?, identities(&cluster)?);
    ensure!(before.len() == 5 && known.len() == 8, "{known:#?}");

    cluster.kill("controller")?;
    drop(registry);
    let mut boot_id = String::new();
    for reboot in 1..=REBOOTS {
        boot_id = cluster.reboot(0)?;
        for pod in &before {
            let now = page(pod.address, 8080)?;
            let ran = format!("init ran {} times", reboot + 1);
            let wanted = pod.page.replace("init ran 1 times", &ran);
            ensure!(now == wanted, "{}: {wanted}\n{now}", pod.name);
            if pod.name == "full" {
                ensure!(page(pod.address, 8081)? == "side\n", "the sidecar");
            }
        }
        began_once(&kept)?;
    }

    cluster.start_controller()?;
    // A restart's number is written with what is written next: a power cut may take it back.
    let counted = |status: &Value| {
        let restarts = status["restartCount"].as_u64();
        restarts.is_some_and(|restarts| (1..=REBOOTS).contains(&restarts))
    };
    for pod in &before {
        wait_for(&cluster, "pod", &pod.name, "to be ready again", |pod| {
            let all = pod["status"]["containerStatuses"].as_array();
            let mut all = all.into_iter().flatten();
            running(pod) && all.all(|status| status["ready"] == true && counted(status))
        })?;
    }
    let cut = wait_for(&cluster, "pod", "cut", "to have failed", ended)?;
    ensure!(text(&cut, "/status/phase") == "Failed", "{cut:#}");
    let failed = get(&cluster, "pod", "failed")?;
    let code = "/status/containerStatuses/0/state/terminated/exitCode";
    ensure!(failed.pointer(code) == Some(&3.into()), "{failed:#}");
    ensure!(succeeded(&get(&cluster, "pod", "done")?));
    let now = identities(&cluster)?;
    ensure!(now == known, "{known:#?}\n{now:#?}");
    wait_for(&cluster, "node", "board-1", "to tell its boot id", |node| {
        text(node, "/status/nodeInfo/bootID") == boot_id
    })?;
    began_once(&kept)
}
