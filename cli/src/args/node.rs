//! What `bramble node` takes.

use std::path::PathBuf;

use clap::Args;

use super::{Output, Socket};

#[derive(Debug, Args)]
pub(crate) struct NodeStatus {
    /// Output format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) socket: Socket,
}

#[derive(Debug, Args)]
pub(crate) struct NodeLogs {
    /// The pod, or how its name begins
    #[arg(value_name = "[NAMESPACE/]POD")]
    pub(crate) pod: PodName,
    /// The container [default: the pod's first]
    #[arg(short, long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// Go on until the container ends
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Of the life before this one
    #[arg(short, long)]
    pub(crate) previous: bool,
    /// Only so many lines at the end
    #[arg(long, value_name = "LINES")]
    pub(crate) tail: Option<u64>,
    /// Put the time before each line
    #[arg(long)]
    pub(crate) timestamps: bool,
    #[command(flatten)]
    pub(crate) socket: Socket,
}

#[derive(Debug, Args)]
pub(crate) struct NodeExec {
    /// The pod, or how its name begins
    #[arg(value_name = "[NAMESPACE/]POD")]
    pub(crate) pod: PodName,
    /// The container [default: the pod's first]
    #[arg(short, long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// Give the command this program's standard input
    #[arg(short = 'i', long)]
    pub(crate) stdin: bool,
    /// Give the command a terminal
    #[arg(short, long, requires = "stdin")]
    pub(crate) tty: bool,
    #[command(flatten)]
    pub(crate) socket: Socket,
    /// Program and arguments, after `--`
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

/// How a pod is named: by the beginning of its name, in any namespace or in one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodName {
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
}

impl std::str::FromStr for PodName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // As kubectl takes it, too.
        let text = text
            .strip_prefix("pod/")
            .or(text.strip_prefix("pods/"))
            .unwrap_or(text);
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (Some(namespace.to_owned()), name),
            None => (None, text),
        };
        if name.is_empty() || name.contains('/') || namespace.as_deref() == Some("") {
            return Err("not POD or NAMESPACE/POD".to_owned());
        }
        Ok(Self {
            namespace,
            name: name.to_owned(),
        })
    }
}

impl std::fmt::Display for PodName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct NodeApply {
    /// The manifests; - reads standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Name in the folder [default: that of the file]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) socket: Socket,
}

#[derive(Debug, Args)]
pub(crate) struct NodeDelete {
    /// The file's name, or the only pod in it
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) socket: Socket,
}

#[derive(Debug, Args)]
pub(crate) struct CompilePods {
    /// The folder
    pub(crate) directory: PathBuf,
    /// Names of files in it
    pub(crate) files: Vec<String>,
}
