//! A pull from a registry on this machine, unpacked, beside skopeo and umoci.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bramble_tests::local::{Cluster, wait_until};

use super::memory::memory;
use super::shell;

/// Ends with the measurement, however that ends.
struct Registry(Child);

impl Drop for Registry {
    fn drop(&mut self) {
        // Errors mean that it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// About 130 MB in 2,000 files that compress to three quarters.
const IMAGE: &str = r#"
set -e
cd "$1"; mkdir -p big save
i=0; while [ $i -lt 2000 ]; do head -c 48000 /dev/urandom | base64 > big/$i; i=$((i + 1)); done
umoci init --layout made
umoci new --image made:1
umoci insert --image made:1 big /data
skopeo copy -q --dest-tls-verify=false oci:made:1 "docker://$2/big:1"
"#;

/// Pulls the same image three ways.
pub(crate) fn pulls(cluster: &Cluster) -> Result<()> {
    for program in [
        "/usr/bin/docker-registry",
        "/usr/bin/skopeo",
        "/usr/bin/umoci",
    ] {
        ensure!(Path::new(program).exists(), "{program} is missing");
    }
    let dir = tempfile::tempdir()?;
    let folder = dir.path().display().to_string();
    let address = format!("{}:{}", cluster.layout.host, free_port()?);
    let config = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder}/registry}}}}\nhttp: {{addr: \"{address}\"}}\n"
    );
    std::fs::write(dir.path().join("registry.yml"), config)?;
    let server = Command::new("docker-registry")
        .args(["serve", &format!("{folder}/registry.yml")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("starting docker-registry")?;
    let _registry = Registry(server);
    let up = wait_until(Duration::from_secs(20), || {
        Ok(std::net::TcpStream::connect(&address).is_ok())
    })?;
    ensure!(up, "docker-registry does not listen");
    shell(IMAGE, &[&folder, &address])?;
    std::fs::write(
        cluster.registries(),
        format!("[registry.\"{address}\"]\nplain-http = true\n"),
    )?;

    let socket = format!("{}/agent.sock", cluster.layout.boards[0].run_dir);
    let name = format!("{address}/big:1");
    let begun = Instant::now();
    cluster.bramble(&["image", "pull", "--socket", &socket, &name])?;
    println!("\nan image of 130 MB in 2,000 files, from a registry on this machine");
    println!(
        "bramble image pull (with unpacking)   {:6.2} s",
        begun.elapsed().as_secs_f64()
    );
    memory(cluster, "after the pull")?;
    let begun = Instant::now();
    shell(
        r#"cd "$1" && skopeo copy -q --src-tls-verify=false "docker://$2" oci:copied:1"#,
        &[&folder, &name],
    )?;
    let copied = begun.elapsed();
    shell(
        r#"cd "$1" && umoci unpack --image copied:1 bundle"#,
        &[&folder],
    )?;
    println!(
        "skopeo copy, umoci unpack             {:6.2} s ({:.2} s, {:.2} s)",
        begun.elapsed().as_secs_f64(),
        copied.as_secs_f64(),
        (begun.elapsed() - copied).as_secs_f64()
    );
    Ok(())
}

fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    Ok(listener.local_addr()?.port())
}
