//! Boards that leave the cluster, and boards that take the place of others.

use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use bramble_tests::local::{Cluster, Guard, run};
use serde_json::Value;

use crate::offline::processes;
use crate::said::running;
use crate::{get, list, name, wait_for};

/// Exit code and everything that was printed.
fn bramble(cluster: &Cluster, args: &[&str]) -> Result<(i32, String)> {
    let mut command = Command::new(cluster.options().programs.join("bramble"));
    let config = cluster.options().dir.join("controller/admin.kubeconfig");
    let told = run(command.args(args).env("KUBECONFIG", config))?;
    Ok((told.code, told.stdout + &told.stderr))
}

/// Ends with the test, however that ends.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The agent of a board that has never been a member, with a token.
fn join(cluster: &Cluster, token: &str) -> Result<Agent> {
    let board = &cluster.layout.boards[0];
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net=/run/netns/{}", board.netns))
        .arg("--")
        .arg(cluster.options().programs.join("bramble-agent"))
        .args(cluster.agent_places(board))
        .args(["--node-name", &board.node, "--static-pods", ""])
        .arg("--join")
        .arg(format!("https://{}", cluster.api()))
        .env("BRAMBLE_TOKEN", token)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Ok(Agent(command.spawn().context("starting an agent")?))
}

fn has_ready(node: &Value, status: &str) -> bool {
    let conditions = node["status"]["conditions"].as_array();
    conditions.is_some_and(|conditions| {
        (conditions.iter()).any(|c| c["type"] == "Ready" && c["status"] == status)
    })
}

#[test]
fn root_another_board_takes_the_place_of_a_node_and_the_old_one_is_a_stranger() -> Result<()> {
    let cluster = Guard::prepare(1)?;
    cluster.up()?;
    let (code, told) = bramble(&cluster, &["node", "replace", "nobody"])?;
    ensure!(code == 1 && told.contains("not found"), "{told}");
    let before = get(&cluster, "node", "board-1")?;
    let token = cluster.bramble(&["node", "replace", "board-1"])?.stdout;
    let listed = cluster.bramble(&["token", "list"])?.stdout;
    ensure!(listed.contains("in place of board-1"), "{listed}");

    // A new data directory is a new board: it has other keys.
    cluster.power_cut(0)?;
    let data = cluster.options().dir.join("board-1");
    let old = cluster.options().dir.join("board-1.old");
    std::fs::rename(&data, &old)?;
    let gone = |node: &Value| !has_ready(node, "True");
    wait_for(&cluster, "node", "board-1", "to be lost", gone)?;
    let new = join(&cluster, token.trim())?;
    let there = |node: &Value| has_ready(node, "True");
    let now = wait_for(&cluster, "node", "board-1", "to be Ready", there)?;
    for field in ["/metadata/uid", "/spec/podCIDR"] {
        ensure!(now.pointer(field) == before.pointer(field), "{now:#}");
    }
    let (code, told) = bramble(&cluster, &["status"])?;
    ensure!(code == 0 && !told.contains("STRANGER"), "{told}");

    // The old one comes back, and is nobody.
    drop(new);
    cluster.power_cut(0)?;
    std::fs::remove_dir_all(&data)?;
    std::fs::rename(&old, &data)?;
    cluster.start_agent(0)?;
    cluster.wait("the stranger to be seen", "controller", || {
        let told = cluster.bramble(&["status", "-o", "json"])?.stdout;
        let report: Value = serde_json::from_str(&told)?;
        Ok(report["standing"]["strangers"][0]["node"] == "board-1")
    })?;
    let told = cluster.bramble(&["status"])?.stdout;
    ensure!(told.contains("STRANGER"), "{told}");
    cluster.wait("the log to say so", "controller", || {
        Ok(cluster.log("controller").contains("is no member of it"))
    })?;
    Ok(())
}

#[test]
fn root_a_node_that_is_removed_stops_everything() -> Result<()> {
    let cluster = Guard::start(1)?;
    let image = "--image=bramble.test/busybox:1";
    let soon = r#"--overrides={"spec":{"terminationGracePeriodSeconds":1}}"#;
    cluster.kubectl(&["run", "web", image, soon, "--", "sleep", "1000"])?;
    wait_for(&cluster, "pod", "web", "to run", running)?;
    let before = processes(&cluster, "sleep\x001000")?;
    ensure!(before.len() == 1, "{before:?}");
    let (code, told) = bramble(&cluster, &["node", "remove", "nobody", "--yes"])?;
    ensure!(code == 1 && told.contains("not found"), "{told}");
    let (code, told) = bramble(&cluster, &["node", "remove", "board-1"])?;
    let shown = told.contains("web") && told.contains("told to stop everything");
    ensure!(code == 1 && shown && told.contains("--yes"), "{told}");
    ensure!(processes(&cluster, "sleep\x001000")? == before);

    let (code, told) = bramble(&cluster, &["node", "remove", "board-1", "--yes"])?;
    ensure!(code == 0 && told.contains("is removed"), "{told}");
    cluster.wait("the board to have stopped everything", "board-1", || {
        Ok(processes(&cluster, "sleep\x001000")?.is_empty())
    })?;
    let nodes = list(&cluster, &["nodes"])?;
    ensure!(
        nodes.iter().all(|node| name(node) != "board-1"),
        "{nodes:#?}"
    );
    Ok(())
}

/// Laid over what a board's hardware says of itself: with that, this machine's own files are another
/// board's. The first file is a serial number, the second the address of a link.
const OTHER_HARDWARE: &str = r#"
mount --make-rprivate /sys
for file in /proc/device-tree/serial-number /sys/firmware/devicetree/base/serial-number /sys/class/dmi/id/product_uuid; do
    if [ -e "$file" ]; then mount --bind "$0" "$file" || exit 1; fi
done
for link in /sys/class/net/*; do
    if [ -e "$link/device" ]; then mount --bind "$0.link" "$link/address" || exit 1; fi
done
exec "$@"
"#;

/// The agent of a copy of the first board's card, in the place of the second board.
fn start_copy(cluster: &Cluster) -> Result<Agent> {
    let dir = &cluster.options().dir;
    let card = dir.join("copy");
    let copy = Command::new("cp")
        .arg("-a")
        .arg(dir.join("board-1"))
        .arg(&card)
        .status()?;
    ensure!(copy.success(), "copying the card");
    let serial = dir.join("serial");
    std::fs::write(&serial, "bramble-test-0001\n")?;
    std::fs::write(dir.join("serial.link"), "02:00:5e:00:53:01\n")?;
    let place = &cluster.layout.boards[1];
    let mut places = cluster.agent_places(place);
    places[1] = card.display().to_string();
    let log = std::fs::File::create(dir.join("log/copy.log"))?;
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net=/run/netns/{}", place.netns))
        .args(["--", "unshare", "--mount", "--propagation", "unchanged"])
        .args(["sh", "-c", OTHER_HARDWARE])
        .arg(&serial)
        .arg(cluster.options().programs.join("bramble-agent"))
        .args(places)
        .args(["--static-pods", ""])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    Ok(Agent(command.spawn().context("starting an agent")?))
}

#[test]
fn root_a_cloned_card_is_refused_and_its_board_goes_on() -> Result<()> {
    let cluster = Guard::start(2)?;
    cluster.kubectl(&["delete", "node", "board-2"])?;
    cluster.power_cut(1)?;
    let image = "--image=bramble.test/busybox:1";
    let soon = r#"--overrides={"spec":{"terminationGracePeriodSeconds":1}}"#;
    let once = "--annotations=bramble.dev/once=true";
    cluster.kubectl(&["run", "web", image, soon, "--", "sleep", "1000"])?;
    cluster.kubectl(&["run", "only", image, soon, once, "--", "sleep", "2000"])?;
    for pod in ["web", "only"] {
        wait_for(&cluster, "pod", pod, "to run", running)?;
    }
    let only = processes(&cluster, "sleep\x002000")?;
    ensure!(only.len() == 1, "{only:?}");

    let copy = start_copy(&cluster)?;
    let said = |node: &Value, kind: &str| {
        let conditions = node["status"]["conditions"].as_array();
        let is = |c: &Value| c["type"] == kind && c["status"] == "True";
        conditions.is_some_and(|conditions| conditions.iter().any(is))
    };
    let duplicate = |node: &Value| said(node, "Duplicate");
    let node = wait_for(&cluster, "node", "board-1", "to be a duplicate", duplicate)?;
    ensure!(said(&node, "Ready"), "{node:#}");
    let told = cluster.bramble(&["status"])?.stdout;
    ensure!(
        told.contains("DUPLICATE OF") && told.contains("board-1"),
        "{told}"
    );
    let told = cluster.bramble(&["status", "-o", "json"])?.stdout;
    let report: Value = serde_json::from_str(&told)?;
    ensure!(
        report["standing"]["duplicates"][0]["node"] == "board-1",
        "{told}"
    );
    let events = cluster.kubectl(&["get", "events", "-A"])?.stdout;
    ensure!(events.contains("DuplicateBoard"), "{events}");

    // The copy knows it, and starts nothing that may run only once; everything else it does start.
    let socket = format!("{}/agent.sock", cluster.run_dir(1));
    cluster.wait("the copy's own pods to run", "copy", || {
        Ok(processes(&cluster, "sleep\x001000")?.len() == 2)
    })?;
    let status = cluster
        .bramble(&["node", "status", "--socket", &socket])?
        .stdout;
    for note in ["refuses this one", "in another board before", "NotCleared"] {
        ensure!(status.contains(note), "{status}");
    }
    ensure!(
        processes(&cluster, "sleep\x002000")? == only,
        "it runs twice"
    );
    // The board itself is served as ever.
    cluster.kubectl(&["run", "next", image, soon, "--", "sleep", "3000"])?;
    wait_for(&cluster, "pod", "next", "to run", running)?;
    ensure!(
        cluster
            .bramble(&["status"])?
            .stdout
            .contains("DUPLICATE OF")
    );

    // Without the copy the node is itself again once that is forgotten; a controller that starts anew has
    // forgotten it at once.
    drop(copy);
    cluster.power_cut(1)?;
    cluster.kill("controller")?;
    cluster.start_controller()?;
    let alone = |node: &Value| said(node, "Ready") && !duplicate(node);
    wait_for(&cluster, "node", "board-1", "to be alone", alone)?;
    Ok(())
}
