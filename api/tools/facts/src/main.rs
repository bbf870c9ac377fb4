//! Writes the descriptor table out of the source text of `k8s-openapi` and `k8s-pb`; see README.md.

mod openapi;
mod overlay;
mod pb;
mod render;

use anyhow::{Context as _, Result, bail};
use std::path::PathBuf;
use std::process::Command;

fn main() -> Result<()> {
    let check = std::env::args().any(|a| a == "--check");
    let (openapi_dir, pb_dir) = sources()?;
    let messages = openapi::read(&openapi_dir.join("src/v1_37"))?;
    let numbers = pb::read(&pb_dir.join("src"))?;
    let text = render::table(&messages, &numbers)?;
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../src/facts/table.rs");
    if check {
        let committed = std::fs::read_to_string(&path).context("read the committed table")?;
        if committed != text {
            bail!(
                "api/src/facts/table.rs is not what the tool writes: run `cargo run` in api/tools/facts"
            );
        }
        println!("table.rs is up to date");
    } else {
        std::fs::write(&path, &text).context("write the table")?;
        println!("{} bytes written", text.len());
    }
    Ok(())
}

/// Where cargo keeps the two crates.
fn sources() -> Result<(PathBuf, PathBuf)> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--manifest-path",
            manifest,
        ])
        .output()
        .context("run cargo metadata")?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("parse cargo metadata")?;
    let find = |name: &str| -> Result<PathBuf> {
        metadata["packages"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|p| p["name"] == name)
            .and_then(|p| p["manifest_path"].as_str())
            .and_then(|p| PathBuf::from(p).parent().map(PathBuf::from))
            .with_context(|| format!("{name} is not among the packages"))
    };
    Ok((find("k8s-openapi")?, find("k8s-pb")?))
}
