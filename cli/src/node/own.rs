//! `bramble node apply` and `delete`: files in the folder of the board's own pods.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use bramble_wire::local::Pod;
use bramble_wire::manifest::FILE_MAX;

use super::select;
use crate::args::{NodeApply, NodeDelete, PodName};
use crate::manifests;
use crate::output::{self, plain};

/// Endings of names that the agent looks for.
const ENDS: [&str; 3] = [".yaml", ".yml", ".json"];

/// Checks a file and puts it into the folder, whole.
pub(crate) fn apply(args: &NodeApply) -> Result<()> {
    let text = read(&args.file)?;
    let name = file_name(args)?;
    let made = manifests::made(&name, &text).map_err(|why| anyhow!("{why}"))?;
    let (folder, pods) = folder(&args.socket.socket)?;
    for pod in &made.pods {
        let other = pods.iter().find(|other| {
            !other.report.gone && other.name == pod.name && other.file.as_ref() != Some(&name)
        });
        match other.map(|other| &other.file) {
            Some(Some(file)) => bail!("pod {} is in {} already", pod.name, plain(file)),
            Some(None) if !other.is_some_and(|other| other.report.uid.is_static()) => {
                bail!("pod {} is the controller's; give it another name", pod.name)
            }
            // None, or one of ours that ends.
            _ => {}
        }
    }
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    put(&folder, &name, &text).with_context(|| format!("writing to {}", folder.display()))?;
    let names: Vec<String> = made.pods.iter().map(|pod| pod.name.to_string()).collect();
    let path = folder.join(&name);
    output::print(&format!("{}: {}\n", path.display(), names.join(", ")))
}

/// Takes a file out of the folder.
pub(crate) fn delete(args: &NodeDelete) -> Result<()> {
    let (folder, pods) = folder(&args.socket.socket)?;
    let is_file_name = !args.name.contains('/') && !args.name.starts_with('.');
    let mut files = (std::iter::once("").chain(ENDS)).map(|end| format!("{}{end}", args.name));
    let named = files.find(|file| is_file_name && folder.join(file).is_file());
    let file = match named {
        Some(file) => file,
        None => file_of_pod(&args.name, &pods)?,
    };
    let path = folder.join(&file);
    fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
    // Its pods would come back after a power cut.
    fs::File::open(&folder)
        .and_then(|folder| folder.sync_all())
        .with_context(|| format!("syncing {}", folder.display()))?;
    output::print(&format!("{} removed\n", path.display()))
}

/// The file that says a pod, when it says no other.
pub(super) fn file_of_pod(name: &str, pods: &[Pod]) -> Result<String> {
    let wanted: PodName = name.parse().map_err(|why| anyhow!("{name}: {why}"))?;
    let own: Vec<Pod> = (pods.iter())
        .filter(|pod| pod.file.is_some() && pod.name.name == wanted.name)
        .cloned()
        .collect();
    let pod = select::pod(&own, &wanted)?;
    let others = (own.iter()).filter(|other| other.file == pod.file && other.name != pod.name);
    let others: Vec<String> = others.map(|pod| plain(&pod.name.to_string())).collect();
    let file = pod.file.clone().unwrap_or_default();
    ensure!(
        others.is_empty(),
        "{} has {}, too; name the file to delete it",
        plain(&file),
        others.join(", ")
    );
    Ok(file)
}

/// The agent's folder, and what it runs.
fn folder(socket: &Path) -> Result<(PathBuf, Vec<Pod>)> {
    let (board, pods) = super::board(socket)?;
    ensure!(
        !board.static_pods.is_empty(),
        "the agent of this board takes no pods from a folder (--static-pods)"
    );
    Ok((board.static_pods.into(), pods))
}

fn read(file: &Path) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    let read = match file == Path::new("-") {
        true => std::io::stdin().take(FILE_MAX + 1).read_to_end(&mut text),
        false => fs::File::open(file).and_then(|f| f.take(FILE_MAX + 1).read_to_end(&mut text)),
    };
    read.with_context(|| format!("reading {}", file.display()))?;
    let shown = file.display();
    ensure!(text.len() as u64 <= FILE_MAX, "{shown} is too long");
    Ok(text)
}

/// The name in the folder, with an ending that the agent looks for.
pub(super) fn file_name(args: &NodeApply) -> Result<String> {
    let given = match (&args.name, args.file.file_name()) {
        (Some(name), _) => name.as_str(),
        (None, Some(name)) if args.file != Path::new("-") => {
            let text = name.to_str();
            text.context("the file's name is no text; --name gives another")?
        }
        _ => bail!("--name says how the file is called in the folder"),
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    ensure!(
        !given.is_empty() && !given.starts_with(['.', '-']) && given.chars().all(allowed),
        "{} can't be the name of a file in the folder; --name gives another",
        plain(given)
    );
    let ends = ENDS.iter().any(|end| given.ends_with(end));
    Ok(if ends {
        given.to_owned()
    } else {
        format!("{given}.yaml")
    })
}

/// On disk whole before it has its name. Only root may read it: there can be Secrets in it.
fn put(folder: &Path, name: &str, text: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let new = folder.join(format!(".{name}.new"));
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&new)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&new, folder.join(name))?;
    fs::File::open(folder)?.sync_all()
}
