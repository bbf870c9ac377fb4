//! What the commands take that concern the whole cluster and its members.

use std::path::PathBuf;

use clap::Args;

use super::Access;

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// Where it goes; - is standard output [default: bramble-TIME.tar]
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// Replace a file that exists, once the new one is whole
    #[arg(long)]
    pub(crate) force: bool,

    #[command(flatten)]
    pub(crate) access: Access,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// What `bramble backup` wrote
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// Data of the controller [default: /var/lib/bramble/controller]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    /// Move what the directory holds aside, as DIR.before-1
    #[arg(long)]
    pub(crate) force: bool,

    /// Only look whether the backup is whole
    #[arg(long, conflicts_with = "force")]
    pub(crate) check: bool,
}
