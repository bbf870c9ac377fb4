//! Acknowledged means durable.

use anyhow::{Result, ensure};
use bramble_tests::local::{Guard, wait_until};

use crate::said::running;
use crate::{LIMIT, ask, get, list, text, wait_for};

/// Shows a line of a ConfigMap.
const SHOWS: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: shows }
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: [httpd, -f, -p, "8080", -h, /www]
      volumeMounts: [{ name: www, mountPath: /www }]
  volumes: [{ name: www, configMap: { name: page } }]
"#;

fn page(line: u32) -> String {
    let data = format!("data: {{ index.html: \"line {line}\" }}");
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: page }}\n{data}\n")
}

#[test]
fn root_controller_keeps_what_it_acknowledged_through_kill_9() -> Result<()> {
    let cluster = Guard::prepare(1)?;
    cluster.up()?;
    let mut highest = 0u64;
    for round in 0..3 {
        for n in 0..5 {
            let name = format!("kept-{round}-{n}");
            cluster.kubectl(&[
                "create",
                "configmap",
                &name,
                &format!("--from-literal=n={n}"),
            ])?;
            let version = text(
                &get(&cluster, "configmap", &name)?,
                "/metadata/resourceVersion",
            )
            .parse::<u64>()?;
            ensure!(
                version > highest,
                "resourceVersion went from {highest} to {version}"
            );
            highest = version;
        }
        cluster.kill("controller")?;
        cluster.start_controller()?;
        let kept = list(&cluster, &["configmaps"])?
            .iter()
            .filter(|object| text(object, "/metadata/name").starts_with("kept-"))
            .count();
        ensure!(
            kept == (round + 1) * 5,
            "{kept} of {} are left",
            (round + 1) * 5
        );
    }
    Ok(())
}

/// The write is durable and its node has not been told: the next life of the controller tells it.
#[test]
fn root_a_write_reaches_its_node_though_the_controller_was_killed_at_once() -> Result<()> {
    let cluster = Guard::start(1)?;
    cluster.apply(&page(0))?;
    cluster.apply(SHOWS)?;
    let pod = wait_for(&cluster, "pod", "shows", "to run", running)?;
    for line in 1..=5 {
        cluster.apply(&page(line))?;
        cluster.kill("controller")?;
        cluster.start_controller()?;
        let wanted = format!("line {line}");
        let mut shown = String::new();
        let there = wait_until(LIMIT, || {
            shown = ask(&pod)?;
            Ok(shown.trim() == wanted)
        })?;
        ensure!(there, "the board shows {shown:?} instead of {wanted:?}");
    }
    let now = get(&cluster, "pod", "shows")?;
    ensure!(text(&now, "/metadata/uid") == text(&pod, "/metadata/uid"));
    ensure!(now["status"]["containerStatuses"][0]["restartCount"] == 0);
    Ok(())
}
