//! The boards' network: one bridge, a namespace and a veth pair for each board.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::command::run;
use super::layout::{Board, Layout};

fn ip(args: &[&str]) -> Result<()> {
    run(Command::new("ip").args(args))?.success().map(drop)
}

/// `ip` inside a namespace; by nsenter(1), because `ip -n` wants to remount `/`, which it may not in
/// a chroot.
fn ip_in(netns: &str, args: &[&str]) -> Result<()> {
    let netns = format!("--net=/run/netns/{netns}");
    run(Command::new("nsenter")
        .args([&netns, "--", "ip"])
        .args(args))?
    .success()
    .map(drop)
}

/// Makes what is missing.
pub(super) fn ensure(layout: &Layout) -> Result<()> {
    let bridge = layout.id.as_str();
    if !Path::new("/sys/class/net").join(bridge).exists() {
        ip(&["link", "add", bridge, "type", "bridge"])?;
        ip(&[
            "address",
            "add",
            &format!("{}/24", layout.host),
            "dev",
            bridge,
        ])?;
    }
    ip(&["link", "set", bridge, "up"])?;
    for board in &layout.boards {
        if Path::new("/run/netns").join(&board.netns).exists() {
            continue;
        }
        let netns = board.netns.as_str();
        ip(&["netns", "add", netns])?;
        ip(&[
            "link",
            "add",
            &board.link,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "address",
            &card(board),
            "netns",
            netns,
        ])?;
        ip(&["link", "set", &board.link, "master", bridge, "up"])?;
        let address = format!("{}/24", board.address);
        ip_in(netns, &["address", "add", &address, "dev", "eth0"])?;
        ip_in(netns, &["link", "set", "lo", "up"])?;
        ip_in(netns, &["link", "set", "eth0", "up"])?;
        ip(&[
            "-n",
            netns,
            "route",
            "add",
            "default",
            "via",
            &layout.host.to_string(),
        ])?;
    }
    Ok(())
}

/// Address of a board's network card: the same for as long as there is the board, or who spoke with it
/// before a reboot would go on speaking to the card that it had.
fn card(board: &Board) -> String {
    let [a, b, c, d] = board.address.octets();
    format!("02:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

impl super::Cluster {
    /// Gives this machine another address on the boards' network, which is made where it is missing.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn second_host(&self) -> Result<Ipv4Addr> {
        let layout = &self.layout;
        ensure(layout)?;
        let [a, b, c, _] = layout.host.octets();
        let address = Ipv4Addr::new(a, b, c, 2);
        ip(&[
            "address",
            "add",
            &format!("{address}/24"),
            "dev",
            &layout.id,
        ])?;
        Ok(address)
    }
}

/// Sends a range of pods to its board.
pub(super) fn route(layout: &Layout, range: &str, board: Ipv4Addr) -> Result<()> {
    ip(&[
        "route",
        "replace",
        range,
        "via",
        &board.to_string(),
        "dev",
        &layout.id,
    ])
}

/// Removes namespaces, links and the bridge; what is gone already is no error.
pub(super) fn remove(layout: &Layout) -> Result<()> {
    for board in &layout.boards {
        remove_board(board)?;
    }
    if Path::new("/sys/class/net").join(&layout.id).exists() {
        ip(&["link", "delete", &layout.id])?;
    }
    Ok(())
}

/// Removes a board's namespace and link, with all that was made in them.
pub(super) fn remove_board(board: &Board) -> Result<()> {
    if Path::new("/sys/class/net").join(&board.link).exists() {
        ip(&["link", "delete", &board.link])?;
    }
    if Path::new("/run/netns").join(&board.netns).exists() {
        ip(&["netns", "delete", &board.netns])?;
    }
    Ok(())
}
