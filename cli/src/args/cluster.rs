//! What the commands take that concern the whole cluster and its members.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::values::{account, node_name, token_id, ttl};
use super::{Access, Account};
use crate::url::Url;

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a join token; prints the token and nothing else on standard output
    #[command(after_help = "\
Examples:
  bramble token create
  bramble token create --ttl 1h --uses 12
  bramble token create | ssh root@board 'BRAMBLE_TOKEN=$(cat) bramble join https://192.168.1.10:6443'")]
    Create {
        /// How long it is valid: a number with s, m, h or d
        #[arg(long, value_name = "TIME", default_value = "24h", value_parser = ttl)]
        ttl: Duration,
        /// How many boards may join with it
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        uses: u32,
        #[command(flatten)]
        access: Access,
    },
    /// List the tokens that have not ended, without their secrets
    #[command(after_help = "Examples:\n  bramble token list")]
    List {
        #[command(flatten)]
        access: Access,
    },
    /// Remove a token; boards that joined with it stay
    #[command(after_help = "Examples:\n  bramble token delete k3m9x2ab")]
    Delete {
        /// Its id: the first column of `bramble token list`
        #[arg(value_parser = token_id)]
        id: String,
        #[command(flatten)]
        access: Access,
    },
}

/// What kubeconfig is wanted, and where.
#[derive(Debug, Default, Args)]
#[command(group(clap::ArgGroup::new("where").multiple(true)))]
pub(crate) struct KubeconfigArgs {
    /// Address of the API in the output, instead of the one in the input
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<Url>,

    /// For this user, with a client certificate
    #[arg(long, value_name = "NAME", group = "whom")]
    pub(crate) user: Option<String>,

    /// A group of the user; may be repeated
    #[arg(long = "group", value_name = "NAME", requires = "user")]
    pub(crate) groups: Vec<String>,

    /// For this service account, with a token
    #[arg(
        long,
        alias = "token",
        value_name = "[NAMESPACE/]NAME",
        group = "whom",
        value_parser = account
    )]
    pub(crate) service_account: Option<Account>,

    /// How long that is valid: a number with s, m, h or d [default: 365d for users, 1h for service
    /// accounts]
    #[arg(long, value_name = "TIME", requires = "whom", value_parser = ttl)]
    pub(crate) ttl: Option<Duration>,

    /// Name of context and cluster in the output
    #[arg(long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) name: Option<String>,

    /// Write to this file, which must not exist
    #[arg(short, long, value_name = "FILE", group = "where")]
    pub(crate) output: Option<PathBuf>,

    /// Add to the file [default: the first of $KUBECONFIG, or ~/.kube/config]
    #[arg(long, group = "where")]
    pub(crate) merge: bool,

    /// Replace the file or, with --merge, what has the same name in it
    #[arg(long, requires = "where")]
    pub(crate) force: bool,

    #[command(flatten)]
    pub(crate) access: Access,
}

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

#[derive(Debug, Args)]
pub(crate) struct Release {
    /// Pods, as `bramble status` names them
    #[arg(
        value_name = "NODE/NAMESPACE/POD",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    pub(crate) pods: Vec<String>,

    /// All of them, also those of nodes that have not spoken yet
    #[arg(long)]
    pub(crate) all: bool,

    /// With --all: do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,

    #[command(flatten)]
    pub(crate) access: Access,
}

#[derive(Debug, Args)]
pub(crate) struct Adopt {
    /// Pods, as `bramble status` names them
    #[arg(
        value_name = "NODE/NAMESPACE/POD",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    pub(crate) pods: Vec<String>,

    /// All of them that were not let go
    #[arg(long)]
    pub(crate) all: bool,

    #[command(flatten)]
    pub(crate) access: Access,
}

#[derive(Debug, Args)]
pub(crate) struct NodeRemove {
    /// The node
    #[arg(value_name = "NAME", value_parser = node_name)]
    pub(crate) name: String,

    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,

    #[command(flatten)]
    pub(crate) access: Access,
}

#[derive(Debug, Args)]
pub(crate) struct NodeReplace {
    /// The node
    #[arg(value_name = "NAME", value_parser = node_name)]
    pub(crate) name: String,

    /// How long the token is valid: a number with s, m, h or d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = ttl)]
    pub(crate) ttl: Duration,

    #[command(flatten)]
    pub(crate) access: Access,
}
