//! A board whose disk is full while there is no controller to tell.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bramble_tests::local::{Guard, Tmpfs, run, wait_until};

use crate::offline::servers;
use crate::said::running;
use crate::{LIMIT, apply_example, ask, name, pods, text, wait_for};

/// Fills the disk when it is told to, and gives it back when it is told to.
const FILLER: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: filler }
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: bramble.test/busybox:1
      command:
        - sh
        - -c
        - |
          until [ -e /told/fill ]; do sleep 0.1; done
          dd if=/dev/zero of=/data/fill bs=4k
          touch /told/full
          until [ -e /told/free ]; do sleep 0.1; done
          rm /data/fill
          exec sleep 100000
      volumeMounts: [{ name: work, mountPath: /data }, { name: told, mountPath: /told }]
  volumes:
    - { name: work, emptyDir: {} }
    - { name: told, hostPath: { path: @TOLD } }
"#;

const LATER: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: later }
spec:
  terminationGracePeriodSeconds: 0
  tolerations: [{ key: node.kubernetes.io/disk-pressure, operator: Exists }]
  containers: [{ name: main, image: bramble.test/busybox:1, command: [sleep, "100000"] }]
"#;

fn kill_servers(cluster: &Guard) -> Result<()> {
    for pid in servers(cluster)?.keys() {
        run(Command::new("kill").args(["-KILL", &pid.to_string()]))?;
    }
    Ok(())
}

#[test]
fn root_a_full_disk_while_alone_is_survived() -> Result<()> {
    let place = tempfile::tempdir()?;
    let _disk = Tmpfs::mount(place.path(), 96)?;
    let cluster = Guard::prepare(1)?;
    let told = cluster.options().dir.join("told");
    fs::create_dir(&told)?;
    symlink(place.path(), cluster.options().dir.join("board-1"))?;
    cluster.up()?;
    for image in ["hello-v1.tar", "busybox-1.tar"] {
        cluster.load_image(&bramble_tests::images()?.join(image))?;
    }
    apply_example(&cluster)?;
    cluster.apply(&FILLER.replace("@TOLD", &told.display().to_string()))?;
    wait_for(&cluster, "pod", "filler", "to run", running)?;
    let before = pods(&cluster)?;

    cluster.kill("controller")?;
    fs::write(told.join("fill"), "")?;
    let full = wait_until(LIMIT, || Ok(told.join("full").exists()))?;
    ensure!(full, "the disk is not full");
    kill_servers(&cluster)?;
    for pod in &before {
        ask(pod).context("started again on a full disk")?;
    }
    let still = servers(&cluster)?;
    cluster.kill("board-1")?;
    cluster.start_agent(0)?;
    let socket = PathBuf::from(cluster.run_dir(0)).join("agent.sock");
    let serves = || std::os::unix::net::UnixStream::connect(&socket).is_ok();
    cluster.wait("the agent to start on a full disk", "board-1", || {
        Ok(serves())
    })?;
    let now = servers(&cluster)?;
    ensure!(
        now == still,
        "a new agent changed something: {now:?}, before {still:?}\n{}",
        cluster.log_tail("board-1")
    );

    fs::write(told.join("free"), "")?;
    cluster.start_controller()?;
    // A new document is taken again, once what could not be written is tried again, and what happened is told. The
    // board is under pressure for five minutes more, as a kubelet's is: only a pod that tolerates it comes here.
    cluster.apply(LATER)?;
    wait_for(&cluster, "pod", "later", "to run", running)?;
    for pod in &before {
        wait_for(&cluster, "pod", name(pod), "to tell its restart", |now| {
            let restarts = &now["status"]["containerStatuses"][0]["restartCount"];
            text(now, "/metadata/uid") == text(pod, "/metadata/uid") && *restarts == 1
        })?;
    }
    let left = servers(&cluster)?;
    ensure!(
        still
            .iter()
            .all(|(pid, start)| left.get(pid) == Some(start))
    );
    Ok(())
}
