//! A cluster is saved while it runs, and comes back on a machine that never saw it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, ensure};
use bramble_tests::local::{Cluster, Guard, Output, run, wait_until};

use crate::offline::processes;
use crate::said::running;
use crate::{LIMIT, list, name, text, wait_for};

/// Objects that are written one after the other.
const CHURN: &str = "churn-";

fn churn(cluster: &Cluster, number: u32) -> Result<()> {
    let name = format!("{CHURN}{number:04}");
    cluster.kubectl(&["create", "configmap", &name, "--from-literal=a=b"])?;
    Ok(())
}

pub(crate) fn restore(cluster: &Cluster, args: &[&str]) -> Result<Output> {
    let mut command = Command::new(cluster.options().programs.join("bramble"));
    command.arg("restore").args(args).arg("--data-dir");
    run(command.arg(cluster.options().dir.join("controller")))
}

fn run_pod(cluster: &Cluster, name: &str) -> Result<()> {
    let image = "--image=bramble.test/busybox:1";
    let soon = r#"--overrides={"spec":{"terminationGracePeriodSeconds":1}}"#;
    cluster.kubectl(&["run", name, image, soon, "--", "sleep", "1000"])?;
    wait_for(cluster, "pod", name, "to run", running)?;
    Ok(())
}

#[test]
fn root_backup_under_churn_and_restore_on_another_machine() -> Result<()> {
    let cluster = Guard::start(1)?;
    let dir = cluster.options().dir.clone();
    let file = dir.join("saved.tar");
    let path = file.to_str().context("the directory's name")?;
    run_pod(&cluster, "early")?;
    let secret = "--from-literal=password=tiptop";
    cluster.kubectl(&["create", "secret", "generic", "kept", secret])?;

    // Saved while it is written to, and what was acknowledged before is part of it.
    let written = AtomicU32::new(0);
    let stop = AtomicU32::new(u32::MAX);
    let before = std::thread::scope(|scope| -> Result<u32> {
        let writer = scope.spawn(|| -> Result<()> {
            for number in 0.. {
                if number >= stop.load(Ordering::SeqCst) {
                    break;
                }
                churn(&cluster, number)?;
                written.store(number + 1, Ordering::SeqCst);
            }
            Ok(())
        });
        let saved = (|| {
            let some = wait_until(LIMIT, || Ok(written.load(Ordering::SeqCst) >= 3))?;
            ensure!(some, "nothing is written");
            let before = written.load(Ordering::SeqCst);
            let told = cluster.bramble(&["backup", path])?;
            ensure!(told.stderr.contains("every secret"), "{}", told.stderr);
            Ok(before)
        })();
        stop.store(0, Ordering::SeqCst);
        writer.join().expect("the writer does not panic")?;
        saved
    })?;
    let mode = std::fs::metadata(&file)?.permissions().mode() & 0o777;
    ensure!(mode == 0o600, "anybody may read it: {mode:o}");
    let again = cluster.bramble(&["backup", path]).map(|told| told.stdout);
    let again = again
        .expect_err("a backup is not replaced unasked")
        .to_string();
    ensure!(again.contains("--force"), "{again}");
    let told = restore(&cluster, &["--check", path])?.success()?;
    ensure!(told.stdout.contains("is whole"), "{}", told.stdout);

    run_pod(&cluster, "late")?;
    let both = processes(&cluster, "sleep\x001000")?;
    ensure!(both.len() == 2, "{both:?}");
    let told = restore(&cluster, &[path, "--force"])?;
    ensure!(
        told.code == 1 && told.stderr.contains("a controller runs"),
        "{told:?}"
    );

    // The machine is gone with everything on it, and another one has its address.
    cluster.kill("controller")?;
    let data = dir.join("controller");
    std::fs::rename(&data, dir.join("lost"))?;
    damaged_is_refused(&cluster, &file)?;
    ensure!(!data.exists(), "a damaged backup was restored");
    let told = restore(&cluster, &[path])?.success()?;
    ensure!(told.stdout.contains("epoch 2 begins"), "{}", told.stdout);
    cluster.start_controller()?;
    let hint = "bramble.dev/confirmed-epoch=2";
    cluster.wait("the late pod to be unclaimed", "controller", || {
        let log = cluster.log("controller");
        Ok(log.contains("unclaimed pod") && log.contains(hint))
    })?;
    wait_for(&cluster, "pod", "early", "to run", running)?;
    let now = processes(&cluster, "sleep\x001000")?;
    ensure!(now == both, "{now:?} {both:?}");
    let mut found: Vec<String> = list(&cluster, &["configmaps"])?
        .iter()
        .map(|object| name(object).to_owned())
        .filter(|name| name.starts_with(CHURN))
        .collect();
    found.sort();
    let want: Vec<String> = (0..found.len()).map(|n| format!("{CHURN}{n:04}")).collect();
    ensure!(found == want, "{found:?}");
    ensure!(found.len() >= before as usize, "{found:?} of {before}");
    let secret = crate::get(&cluster, "secret", "kept")?;
    ensure!(text(&secret, "/data/password") == "dGlwdG9w", "{secret:#}");

    cluster.kubectl(&["annotate", "namespace", "kube-system", hint])?;
    cluster.wait("the late pod to go", "controller", || {
        Ok(processes(&cluster, "sleep\x001000")?.len() == 1)
    })
}

fn damaged_is_refused(cluster: &Cluster, file: &Path) -> Result<()> {
    let whole = std::fs::read(file)?;
    let bad = file.with_extension("bad");
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for bytes in [&flipped[..], &whole[..whole.len() - 1]] {
        std::fs::write(&bad, bytes)?;
        let told = restore(cluster, &[bad.to_str().context("its name")?])?;
        ensure!(
            told.code == 1 && told.stderr.contains("damaged"),
            "{told:?}"
        );
    }
    Ok(())
}
