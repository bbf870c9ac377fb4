//! Acknowledged means durable.

use anyhow::{Result, ensure};
use bramble_tests::local::Guard;

use crate::{get, list, text};

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
