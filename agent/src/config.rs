//! Flags and sub-commands of `bramble-agent`.

use std::ffi::OsString;
use std::path::PathBuf;

use bramble_link::BrokerUrl;
use bramble_wire::join::Token;
use bramble_wire::name::NodeName;
use clap::{Args, Parser, Subcommand};

use crate::facts::Reserved;
use crate::join::Controller;

/// The node agent of Bramble: runs the pods that the controller gives to this board, and keeps them
/// running with nobody to talk to.
#[derive(Debug, Parser)]
#[command(
    name = "bramble-agent",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "A board joins once: with --join and --token at its first start. Its keys and what it \
                  was told to run are in --data-dir from then on.\n\n\
                  SIGTERM ends the agent; its containers go on, and the next agent finds them again.\n\
                  Logs go to standard error; RUST_LOG sets what is logged (for example RUST_LOG=debug)."
)]
pub struct Cli {
    /// Something else than to run the agent.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// To run the agent.
    #[command(flatten)]
    pub run: Run,
}

/// Sub-commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// End every pod of a run directory in order and take them off the board; data stays
    ///
    /// For a board that is switched off or leaves its cluster. The agent must not be running. When
    /// it is started again, it starts the same pods again.
    Drain(Drain),
    /// Read an image archive; the agent starts this itself
    #[command(hide = true)]
    Unpack {
        /// Store and archive.
        #[arg(num_args = 0.., allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

/// Where an agent's things are.
#[derive(Debug, Clone, Args)]
pub struct Places {
    /// Directory for everything that survives a reboot: keys, state, images, volumes
    #[arg(long, value_name = "DIR", default_value = "/var/lib/bramble/agent")]
    pub data_dir: PathBuf,
    /// Directory for everything that a reboot ends; best in memory. Paths of sockets are short, so
    /// it must be, too (56 characters)
    #[arg(long, value_name = "DIR", default_value = "/run/bramble")]
    pub run_dir: PathBuf,
    /// cgroup that holds all pods
    #[arg(long, value_name = "NAME", default_value = "bramble")]
    pub cgroup_parent: String,
    /// Name of the bridge that pods are connected to
    #[arg(long, value_name = "NAME", default_value = "bramble0")]
    pub bridge: String,
}

/// Flags to run the agent.
#[derive(Debug, Clone, Args)]
pub struct Run {
    /// Places.
    #[command(flatten)]
    pub places: Places,
    /// Name of this node [default: the host name]
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<NodeName>,
    /// Controller to join, host or host:port; ignored once the board has joined
    #[arg(long, value_name = "ADDR")]
    pub join: Option<Controller>,
    /// Join token, as `bramble token create` prints it; ignored once the board has joined. Every user of
    /// the board can read an argument: better in the environment
    #[arg(
        long,
        value_name = "TOKEN",
        env = "BRAMBLE_TOKEN",
        hide_env_values = true
    )]
    pub token: Option<JoinToken>,
    /// Broker to try first, mqtts://host:port; for a board whose controller has moved without telling
    /// it. Repeatable. The brokers that the controller names and those of the join come after it
    #[arg(long, value_name = "URL")]
    pub broker: Vec<BrokerUrl>,
    /// Ask on the LAN for the controller (mDNS) when it has been away for so long, and again after two and a
    /// half times as long; 0: never
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub mdns_after: u32,
    /// Images.
    #[command(flatten)]
    pub images: crate::image::flags::Flags,
    /// Folder with manifests of the board's own pods, which run with or without a controller; empty: none
    #[arg(long, value_name = "DIR", default_value = "/etc/bramble/pods")]
    pub static_pods: OsString,
    /// The program bramble-shim [default: beside this program]
    #[arg(long, value_name = "PATH")]
    pub shim: Option<PathBuf>,
    /// The program bramble-oci [default: beside this program]
    #[arg(long, value_name = "PATH")]
    pub oci: Option<PathBuf>,
    /// What is kept for the board itself.
    #[command(flatten)]
    pub reserve: Reserve,
}

/// What pods may not use: the system, the agent and the page cache of both live on it.
#[derive(Debug, Clone, Default, Args)]
pub struct Reserve {
    /// Processor kept for the board itself, thousandths of a core [default: 100]
    #[arg(long, value_name = "MILLICORES")]
    pub reserve_cpu: Option<u64>,
    /// Memory kept for the board itself, MiB [default: an eighth, from 48 to 256]
    #[arg(long, value_name = "MIB")]
    pub reserve_memory: Option<u64>,
    /// Disk kept for the board itself, MiB [default: a tenth, at most 2048]
    #[arg(long, value_name = "MIB")]
    pub reserve_storage: Option<u64>,
}

/// A join token, or the empty place of one: a board whose token was taken out of its configuration by
/// emptying `BRAMBLE_TOKEN=` starts like any other.
#[derive(Debug, Clone)]
pub struct JoinToken(Option<Token>);

impl std::str::FromStr for JoinToken {
    type Err = <Token as std::str::FromStr>::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        text.parse().map(|token| Self(Some(token)))
    }
}

impl Run {
    /// The token to join with, where there is one.
    pub fn token(&self) -> Option<&Token> {
        self.token.as_ref()?.0.as_ref()
    }
}

impl From<&Reserve> for Reserved {
    fn from(flags: &Reserve) -> Self {
        let bytes = |mib: u64| mib.saturating_mul(1 << 20);
        Self {
            cpu_milli: flags.reserve_cpu,
            memory_bytes: flags.reserve_memory.map(bytes),
            storage_bytes: flags.reserve_storage.map(bytes),
        }
    }
}

/// Flags of `drain`.
#[derive(Debug, Clone, Args)]
pub struct Drain {
    /// Places.
    #[command(flatten)]
    pub places: Places,
    /// Seconds that containers have to end by themselves
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pub grace: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Cli, String> {
        let args = std::iter::once("bramble-agent").chain(line.split_whitespace());
        Cli::try_parse_from(args).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_board_joins_with_address_and_token() {
        let token = format!("bramble1.{}.id.secret", "ab".repeat(32));
        let cli = parse(&format!("--join pi.lan --token {token} --node-name pi-2")).unwrap();
        assert_eq!(cli.run.join.as_ref().unwrap().port, 6443);
        assert_eq!(cli.run.node_name.as_ref().unwrap().as_str(), "pi-2");
        assert_eq!(cli.run.token().unwrap().to_string(), token);
        for (line, expected) in [
            ("--join pi.lan --token nonsense", "not a join token"),
            ("--node-name Pi_2", "lower case"),
            ("--bad", "unexpected argument"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }

    #[test]
    fn a_board_that_has_joined_starts_without_the_token() {
        for line in [
            &["--join", "pi.lan"][..],
            &["--join", "pi.lan", "--token", ""],
        ] {
            let args = std::iter::once(&"bramble-agent").chain(line);
            let cli = Cli::try_parse_from(args).unwrap();
            assert!(cli.run.join.is_some(), "{line:?}");
            assert!(cli.run.token().is_none(), "{line:?}");
        }
    }

    #[test]
    fn a_person_says_where_the_broker_is_now() {
        let cli = parse("--broker mqtts://a --broker mqtts://[fd00::1]:1").unwrap();
        let brokers: Vec<_> = cli.run.broker.iter().map(ToString::to_string).collect();
        assert_eq!(brokers, ["mqtts://a:8883", "mqtts://[fd00::1]:1"]);
        assert!(parse("--broker pi.lan").is_err());
    }

    #[test]
    fn a_person_says_when_the_lan_is_asked() {
        assert_eq!(parse("").unwrap().run.mdns_after, 120);
        assert_eq!(parse("--mdns-after 0").unwrap().run.mdns_after, 0);
        assert!(parse("--mdns-after -1").is_err());
    }

    #[test]
    fn a_person_says_what_is_kept() {
        let cli = parse("--reserve-cpu 50 --reserve-memory 32").unwrap();
        let reserved = Reserved::from(&cli.run.reserve);
        assert_eq!(reserved.cpu_milli, Some(50));
        assert_eq!(reserved.memory_bytes, Some(32 << 20));
        assert_eq!(reserved.storage_bytes, None);
    }

    #[test]
    fn draining_takes_the_same_places() {
        let cli = parse("drain --run-dir /r --data-dir /d --cgroup-parent c").unwrap();
        let Some(Command::Drain(drain)) = cli.command else {
            panic!("{cli:?}");
        };
        assert_eq!(drain.places.run_dir, PathBuf::from("/r"));
        assert_eq!(drain.grace, 5);
    }
}
