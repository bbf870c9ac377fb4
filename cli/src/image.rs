//! Container images of this board, through the agent's socket.
//!
//! An archive that is a file is loaded by its path, so that nothing is copied twice on a slow card;
//! standard input and other streams are sent over the socket.

use std::fs::File;
use std::io::{IsTerminal as _, Read};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use bramble_wire::local::{Auth, Detail, Image, Progress, Reply, Request};

use crate::agent::{self, Agent};
use crate::args;
use crate::output::{self, plain, table};

/// Carries out `bramble image …`.
pub(crate) fn run(command: &args::Image) -> Result<()> {
    match command {
        args::Image::Load { file, socket } => load(file, &socket.socket),
        args::Image::List { socket } => output::print(&list(&images(&socket.socket)?)),
        args::Image::Remove { name, socket } => remove(name, &socket.socket),
        args::Image::Pull {
            name,
            auth_file,
            socket,
        } => pull(name, auth_file.as_deref(), &socket.socket),
        args::Image::Prune { socket } => prune(&socket.socket),
        args::Image::Inspect { name, socket } => inspect(name, &socket.socket),
    }
}

/// Longest file of credentials.
const AUTH_MAX: u64 = 512 * 1024;

fn pull(name: &str, auth_file: Option<&Path>, socket: &Path) -> Result<()> {
    let auth = auth_file.map(read_auth).transpose()?;
    let request = Request::ImagePull {
        name: name.into(),
        auth,
    };
    let terminal = std::io::stderr().is_terminal();
    eprintln!("pulling {} …", plain(name));
    let reply = Agent::connect(socket)?.ask_with_progress(request, |progress| {
        // A line that is written over; in a log it would be many.
        if terminal && progress.of > 0 {
            eprint!("\r{}\x1b[K", how_far(&progress));
        }
    });
    if terminal {
        eprint!("\r\x1b[K");
    }
    match reply? {
        Reply::Loaded(images) => output::print(&done("pulled", &images)),
        other => Err(agent::unexpected(&other)),
    }
}

fn read_auth(file: &Path) -> Result<Auth> {
    let mut bytes = Vec::new();
    let read = match file == Path::new("-") {
        true => std::io::stdin().take(AUTH_MAX + 1).read_to_end(&mut bytes),
        false => File::open(file).and_then(|f| f.take(AUTH_MAX + 1).read_to_end(&mut bytes)),
    };
    read.with_context(|| format!("reading {}", file.display()))?;
    ensure!(
        bytes.len() as u64 <= AUTH_MAX,
        "{} is too long for credentials",
        file.display()
    );
    Ok(Auth(bytes))
}

fn how_far(progress: &Progress) -> String {
    format!(
        "{} of {}, {} of {} layers unpacked",
        size(progress.bytes),
        size(progress.of),
        progress.layers,
        progress.of_layers
    )
}

fn prune(socket: &Path) -> Result<()> {
    match Agent::connect(socket)?.ask(Request::ImagePrune)? {
        Reply::Pruned(images) if images.is_empty() => output::print("nothing to remove\n"),
        Reply::Pruned(images) => output::print(&done("removed", &images)),
        other => Err(agent::unexpected(&other)),
    }
}

fn inspect(name: &str, socket: &Path) -> Result<()> {
    let request = Request::ImageInspect { name: name.into() };
    match Agent::connect(socket)?.ask(request)? {
        Reply::Detail(detail) => output::print(&detail_json(&detail)?),
        other => Err(agent::unexpected(&other)),
    }
}

fn detail_json(detail: &Detail) -> Result<String> {
    let layer =
        |(digest, size): &(String, u64)| serde_json::json!({ "diffId": digest, "size": size });
    let layers: Vec<_> = detail.layers.iter().map(layer).collect();
    // What is no JSON was not read as an image either.
    let config: serde_json::Value = serde_json::from_str(&detail.config).unwrap_or_default();
    let value = serde_json::json!({
        "id": detail.id,
        "names": detail.references,
        "size": detail.size_bytes,
        "inUse": detail.in_use,
        "layers": layers,
        "config": config,
    });
    Ok(format!("{}\n", serde_json::to_string_pretty(&value)?))
}

/// Removing what is not there is no failure for the agent; a person has mistyped a name.
fn remove(name: &str, socket: &Path) -> Result<()> {
    let before = images(socket)?;
    let request = Request::ImageRemove { name: name.into() };
    match Agent::connect(socket)?.ask(request)? {
        Reply::Done => {}
        other => return Err(agent::unexpected(&other)),
    }
    ensure!(
        images(socket)? != before,
        "no image {} on this board; `bramble image list` shows the names",
        plain(name)
    );
    output::print(&format!("{} removed\n", plain(name)))
}

fn images(socket: &Path) -> Result<Vec<Image>> {
    match Agent::connect(socket)?.ask(Request::ImageList)? {
        Reply::Images(images) => Ok(images),
        other => Err(agent::unexpected(&other)),
    }
}

fn load(file: &Path, socket: &Path) -> Result<()> {
    let reply = if file == Path::new("-") {
        let input = std::io::stdin();
        ensure!(
            !input.is_terminal(),
            "- reads the archive from standard input, which is a terminal"
        );
        announce("standard input", None);
        Agent::connect(socket)?.send(input.lock())?
    } else {
        load_file(file, socket)?
    };
    match reply {
        Reply::Loaded(images) => output::print(&done("loaded", &images)),
        other => Err(agent::unexpected(&other)),
    }
}

fn load_file(file: &Path, socket: &Path) -> Result<Reply> {
    let open = || -> Result<(File, std::fs::Metadata)> {
        let opened = File::open(file)?;
        let meta = opened.metadata()?;
        ensure!(
            !meta.is_dir(),
            "is a directory; an image is loaded from a tar archive"
        );
        Ok((opened, meta))
    };
    let shown = file.display();
    let (opened, meta) = open().with_context(|| format!("reading {shown}"))?;
    let agent = Agent::connect(socket)?;
    announce(&shown.to_string(), meta.is_file().then_some(meta.len()));
    let path = std::fs::canonicalize(file).with_context(|| format!("finding {shown}"))?;
    match path.to_str() {
        Some(path) if meta.is_file() => agent.ask(Request::ImageLoadPath { path: path.into() }),
        // A pipe, or a name that is no text.
        _ => agent.send(opened),
    }
}

/// Says what is being waited for; unpacking takes a while on a board.
fn announce(what: &str, bytes: Option<u64>) {
    match bytes {
        Some(bytes) => eprintln!("loading {what} ({}) …", size(bytes)),
        None => eprintln!("loading {what} …"),
    }
}

fn done(what: &str, images: &[Image]) -> String {
    let mut text = String::new();
    for image in images {
        let names: Vec<String> = image.references.iter().map(|r| plain(r)).collect();
        let names = match names.as_slice() {
            [] => "(no name)".to_owned(),
            names => names.join(", "),
        };
        let (id, size) = (plain(&image.id), size(image.size_bytes));
        text.push_str(&format!("{what} {names}  {id}  {size}\n"));
    }
    if images.is_empty() {
        text.push_str("the archive holds no image for this board\n");
    }
    text
}

fn list(images: &[Image]) -> String {
    if images.is_empty() {
        return "no images; `bramble image load FILE` loads some\n".into();
    }
    let mut rows: Vec<Vec<String>> = images
        .iter()
        .flat_map(|image| {
            let all = image.references.iter().map(String::as_str);
            // A digest stands only where there is no other name.
            let tags: Vec<&str> = all.clone().filter(|name| !name.contains('@')).collect();
            let names = match (tags.is_empty(), all.clone().next()) {
                (true, None) => vec!["<none>"],
                (true, Some(_)) => all.collect(),
                (false, _) => tags,
            };
            let row = |name: &str| vec![plain(name), plain(&image.id), size(image.size_bytes)];
            names.into_iter().map(row).collect::<Vec<_>>()
        })
        .collect();
    rows.sort();
    table(&["NAME", "ID", "SIZE"], &rows)
}

/// Bytes for a person.
fn size(bytes: u64) -> String {
    let mut unit = "B";
    let mut tenths = bytes.saturating_mul(10);
    for next in ["kB", "MB", "GB", "TB"] {
        if tenths < 10_000 {
            break;
        }
        tenths /= 1000;
        unit = next;
    }
    if unit == "B" || tenths >= 1000 {
        return format!("{} {unit}", tenths / 10);
    }
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests;
