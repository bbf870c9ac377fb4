//! A controller that is found again where it went.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use bramble_tests::local::{Cluster, Guard};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::offline::processes;
use crate::said::running;
use crate::{apply_example, pods, text, wait_for};

/// The agent is told of something only by a document that it has accepted, and so has on disk.
fn announced(cluster: &Cluster, place: &str) -> Result<()> {
    cluster.wait("the board to be told", "board-1", || {
        let log = cluster.log("board-1");
        let told =
            |line: &str| line.contains("where the controller may be") && line.contains(place);
        Ok(log.lines().any(told))
    })
}

/// The board hears of a pod that the controller was given where it is now.
fn starts_a_pod(cluster: &Cluster, name: &str) -> Result<()> {
    let image = "--image=bramble.test/busybox:1";
    let soon = r#"--overrides={"spec":{"terminationGracePeriodSeconds":1}}"#;
    cluster.kubectl(&["run", name, image, soon, "--", "sleep", "1000"])?;
    wait_for(cluster, "pod", name, "to run", running).map(drop)
}

#[test]
fn root_a_controller_at_another_address_is_found_by_the_list_that_it_announced() -> Result<()> {
    let cluster = Guard::start(1)?;
    apply_example(&cluster)?;
    let before = pods(&cluster)?;
    let second = cluster.second_host()?;

    // Announced before the move: the address is in the certificates and on the nodes' disks.
    cluster.kill("controller")?;
    cluster.start_controller_at(cluster.layout.host, &[&second.to_string()])?;
    announced(&cluster, &format!("mqtts://{second}:"))?;
    // A board that was started anew meanwhile knows it, too.
    cluster.kill("board-1")?;
    cluster.start_agent(0)?;
    cluster.kill("controller")?;
    cluster.start_controller_at(second, &[])?;
    starts_a_pod(&cluster, "after-the-move")?;

    let after = pods(&cluster)?;
    ensure!(after.len() == before.len(), "{after:#?}");
    for (was, is) in before.iter().zip(&after) {
        ensure!(text(was, "/metadata/uid") == text(is, "/metadata/uid"));
        let restarts = &is["status"]["containerStatuses"][0]["restartCount"];
        ensure!(*restarts == 0, "{is:#}");
    }

    // Nobody announced that it goes back: where the board joined is never forgotten.
    cluster.kill("controller")?;
    cluster.start_controller()?;
    starts_a_pod(&cluster, "after-the-return")
}

#[test]
fn root_a_controller_at_another_address_is_found_by_its_name() -> Result<()> {
    const NAME: &str = "controller.bramble.test";
    let cluster = Guard::prepare(1)?;
    let second = cluster.second_host()?;
    let names = Names::serve(&cluster, NAME, cluster.layout.host)?;
    cluster.start_controller_at(cluster.layout.host, &[NAME])?;
    cluster.start_agent_with(0, NAME, &[])?;
    cluster.up()?;
    let images = bramble_tests::images()?;
    cluster.load_image(&images.join("busybox-1.tar"))?;
    starts_a_pod(&cluster, "before")?;

    cluster.kill("controller")?;
    names.set(second);
    cluster.start_controller_at(second, &[NAME])?;
    starts_a_pod(&cluster, "after")?;
    let before = wait_for(&cluster, "pod", "before", "to run", running)?;
    ensure!(before["status"]["containerStatuses"][0]["restartCount"] == 0);
    Ok(())
}

#[test]
fn root_a_board_is_told_by_hand_where_the_controller_went() -> Result<()> {
    let cluster = Guard::start(1)?;
    let second = cluster.second_host()?;
    cluster.kill("controller")?;
    cluster.start_controller_at(second, &[])?;
    // Nobody announced it.
    cluster.kill("board-1")?;
    let broker = format!("mqtts://{second}:{}", cluster.layout.mqtt_port);
    cluster.start_agent_with(0, "", &["--broker", &broker])?;
    starts_a_pod(&cluster, "after-the-move")?;
    // By now it has accepted a document that names the new place.
    cluster.kill("board-1")?;
    cluster.start_agent(0)?;
    starts_a_pod(&cluster, "without-the-flag")
}

#[test]
fn root_a_controller_at_another_address_is_found_by_mdns() -> Result<()> {
    let cluster = Guard::start(1)?;
    // Asked a little sooner than a person would have it.
    cluster.kill("board-1")?;
    let host = cluster.layout.host.to_string();
    cluster.start_agent_with(0, &host, &["--mdns-after", "2"])?;
    starts_a_pod(&cluster, "before")?;
    let before = processes(&cluster, "sleep\x001000")?;

    // Nobody announced it, and nobody is at the old place.
    let second = cluster.second_host()?;
    cluster.kill("controller")?;
    cluster.start_controller_at(second, &[])?;
    starts_a_pod(&cluster, "after")?;
    let after = processes(&cluster, "sleep\x001000")?;
    let same = before
        .iter()
        .all(|(pid, start)| after.get(pid) == Some(start));
    ensure!(same && before.len() == 1, "{before:?} {after:?}");
    Ok(())
}

/// Answers the board's questions for one name, at the address that this machine's resolver asks.
struct Names(Arc<Mutex<Ipv4Addr>>);

impl Names {
    fn serve(cluster: &Cluster, name: &'static str, address: Ipv4Addr) -> Result<Self> {
        let netns = &cluster.layout.boards[0].netns;
        let resolver = resolver();
        let local = format!("{resolver}/32");
        let args = ["address", "replace", &local, "dev", "lo"].map(str::to_owned);
        bramble_tests::local::run_in(netns, "ip".as_ref(), &args)?.success()?;
        let file = File::open(format!("/run/netns/{netns}"))?;
        let answer = Arc::new(Mutex::new(address));
        let now = Arc::clone(&answer);
        let (bound, is_bound) = std::sync::mpsc::channel();
        // Only this thread goes into the namespace; it lives as long as the test's process.
        std::thread::spawn(move || {
            let enter = move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network));
            let socket = enter
                .map_err(std::io::Error::from)
                .and_then(|()| UdpSocket::bind(SocketAddr::new(resolver.into(), 53)));
            match socket {
                Ok(socket) => {
                    let _ = bound.send(Ok(()));
                    answer_all(&socket, name, &now);
                }
                Err(error) => drop(bound.send(Err(error))),
            }
        });
        is_bound
            .recv()
            .context("the thread ended")?
            .context("answer for names")?;
        Ok(Self(answer))
    }

    fn set(&self, address: Ipv4Addr) {
        *self.0.lock().expect("nobody panics with it") = address;
    }
}

/// The first name server of this machine; without one the C library asks the machine itself.
fn resolver() -> Ipv4Addr {
    let file = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    file.lines()
        .filter_map(|line| line.strip_prefix("nameserver"))
        .find_map(|address| address.trim().parse().ok())
        .unwrap_or(Ipv4Addr::LOCALHOST)
}

fn answer_all(socket: &UdpSocket, name: &str, address: &Mutex<Ipv4Addr>) {
    let mut query = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut query) {
        let address = *address.lock().expect("nobody panics with it");
        if let Some(answer) = answer(&query[..length], name, address) {
            let _ = socket.send_to(&answer, from);
        }
    }
}

/// RFC 1035: the question with an answer, with none, or with "no such name".
fn answer(query: &[u8], name: &str, address: Ipv4Addr) -> Option<Vec<u8>> {
    let mut asked = String::new();
    let mut at = 12;
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        asked += std::str::from_utf8(query.get(at..at + length)?).ok()?;
        asked += ".";
        at += length;
    }
    let kind = query.get(at..at + 4)?;
    let ours = asked.trim_end_matches('.').eq_ignore_ascii_case(name);
    let found = ours && kind == [0, 1, 0, 1];
    let mut out = query.get(..2)?.to_vec();
    out.extend([0x85, if ours { 0x80 } else { 0x83 }]);
    out.extend([0, 1, 0, u8::from(found), 0, 0, 0, 0]);
    out.extend(&query[12..at + 4]);
    if found {
        out.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        out.extend(address.octets());
    }
    Some(out)
}
