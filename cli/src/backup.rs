//! Saving a cluster into a file: whole, for its owner only, or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::args::Backup;
use crate::http::Client;
use crate::{client, now, output};

const PATH: &str = "/bramble/v1/backup";

/// Carries out `bramble backup`.
pub(crate) fn run(args: &Backup) -> Result<()> {
    let file = match &args.file {
        Some(file) if file.as_os_str() == "-" => return to_output(&client(&args.access)?),
        Some(file) => file.clone(),
        None => PathBuf::from(format!("bramble-{}.tar", now().rfc3339().replace(':', ""))),
    };
    ensure!(
        args.force || !file.exists(),
        "{} exists; --force replaces it, once the new one is whole",
        file.display()
    );
    let size = to_file(&client(&args.access)?, &file)?;
    eprintln!(
        "{} holds every secret of the cluster and the keys that make it: whoever has it can do \
         everything. Keep it as you keep those keys.",
        file.display()
    );
    output::print(&format!(
        "{} ({} KiB)\n",
        file.display(),
        size.div_ceil(1024)
    ))
}

fn to_output(client: &Client) -> Result<()> {
    let mut out = std::io::stdout().lock();
    ensure!(
        !out.is_terminal(),
        "a backup holds every secret of the cluster and is not text: give a file, or a pipe"
    );
    client.download(PATH, &mut out)?;
    out.flush().context("writing the output")
}

/// Writes beside the file, and gives it its name when it is whole and on disk.
fn to_file(client: &Client, file: &Path) -> Result<u64> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".part");
    let beside = PathBuf::from(beside);
    let written = write(client, &beside).and_then(|size| {
        fs::rename(&beside, file).with_context(|| format!("naming {}", file.display()))?;
        Ok(size)
    });
    if written.is_err() {
        // Of no use to anybody.
        let _ = fs::remove_file(&beside);
    }
    let size = written?;
    let parent = file
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = File::open(parent.unwrap_or(Path::new(".")))?;
    directory.sync_all().context("syncing its directory")?;
    Ok(size)
}

fn write(client: &Client, beside: &Path) -> Result<u64> {
    // What an earlier, broken one left may have other rights.
    let _ = fs::remove_file(beside);
    let mut open = OpenOptions::new();
    let open = open.write(true).create_new(true).mode(0o600);
    let mut out = open
        .open(beside)
        .with_context(|| format!("creating {}", beside.display()))?;
    client.download(PATH, &mut out)?;
    out.sync_all()
        .with_context(|| format!("syncing {}", beside.display()))?;
    Ok(out.metadata()?.len())
}
