//! `./x up` and `./x down` themselves.

use anyhow::{Result, ensure};
use bramble_tests::local::{Cluster, Options, layout::Layout, leftovers, run};
use std::path::Path;
use std::process::Command;

use crate::{pods, text};

fn local(dir: &Path, args: &[&str]) -> Result<String> {
    let program = bramble_tests::programs()?.join("bramble-local");
    let mut command = Command::new(program);
    command.args(args).arg("--dir").arg(dir);
    command.env("BRAMBLE_KUBECTL", bramble_tests::kubectl()?);
    command.env("BRAMBLE_IMAGES", bramble_tests::images()?);
    Ok(run(&mut command)?.success()?.stdout)
}

/// Takes the cluster down however the test ends.
struct Down<'a>(&'a Path);

impl Drop for Down<'_> {
    fn drop(&mut self) {
        if let Err(error) = local(self.0, &["down"]) {
            eprintln!("taking down: {error:#}");
        }
    }
}

fn cluster(dir: &Path) -> Result<Cluster> {
    Cluster::prepare(Options {
        dir: dir.to_owned(),
        programs: bramble_tests::programs()?,
        boards: 2,
        kubectl: bramble_tests::kubectl()?,
    })
}

#[test]
fn root_down_leaves_nothing_and_up_brings_the_same_pods_back() -> Result<()> {
    let dir = tempfile::Builder::new()
        .prefix("bramble-updown-")
        .tempdir()?;
    let printed;
    let before;
    {
        let _down = Down(dir.path());
        printed = local(dir.path(), &["up"])?;
        before = pods(&cluster(dir.path())?)?;
        // A second `up` finds everything running.
        local(dir.path(), &["up"])?;
    }
    for part in [
        "board-1",
        "board-2",
        "Ready",
        "hello from Bramble v1",
        "export KUBECONFIG=",
    ] {
        ensure!(
            printed.contains(part),
            "`up` did not print {part}:\n{printed}"
        );
    }
    let layout = Layout::load(dir.path())?;
    let left = leftovers::find(&layout);
    ensure!(left.is_empty(), "left behind: {left:#?}");
    {
        let _down = Down(dir.path());
        local(dir.path(), &["up"])?;
        let after = pods(&cluster(dir.path())?)?;
        let key = |pods: &[serde_json::Value]| {
            let mut key: Vec<_> = pods
                .iter()
                .map(|pod| {
                    format!(
                        "{} {}",
                        text(pod, "/metadata/uid"),
                        text(pod, "/status/podIP")
                    )
                })
                .collect();
            key.sort();
            key
        };
        ensure!(
            key(&before) == key(&after),
            "{:?} came back as {:?}",
            key(&before),
            key(&after)
        );
    }
    local(dir.path(), &["down", "--purge"])?;
    ensure!(
        std::fs::read_dir(dir.path())?.next().is_none(),
        "--purge left data"
    );
    Ok(())
}
