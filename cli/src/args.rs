//! What a person types: the command line as types. Values are checked here, so that everything
//! behind it is valid and a wrong value ends with the usage code before anything has happened.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::url::Url;
pub(crate) use cluster::{
    Adopt, Backup, KubeconfigArgs, NodeRemove, NodeReplace, Release, Restore, TokenCommand,
};
pub(crate) use node::{
    CompilePods, NodeApply, NodeDelete, NodeExec, NodeLogs, NodeStatus, PodName,
};
pub(crate) use values::Account;
use values::{node_name, token};

mod cluster;
mod node;
mod values;

/// Where the agent listens for commands of its own board.
pub(crate) const AGENT_SOCKET: &str = "/run/bramble/agent.sock";

/// Carries the join token, for this program and the agent.
pub(crate) const TOKEN_VARIABLE: &str = "BRAMBLE_TOKEN";

/// Kubernetes workloads on single-board clusters: what kubectl does not know.
///
/// For pods, deployments and every other object use kubectl.
#[derive(Debug, Parser)]
#[command(
    name = "bramble",
    version,
    arg_required_else_help = true,
    after_help = "\
Examples:
  bramble controller --advertise 192.168.1.10             on one machine
  bramble token create                                    one for each board
  bramble join https://192.168.1.10:6443 --token …        on each board, as root
  bramble image load hello.tar                            on the board that shall run it
  bramble kubeconfig --server https://192.168.1.10:6443   for kubectl on your laptop
  bramble status                                          what runs, and what does not
  bramble backup /mnt/usb/bramble.tar                     everything, while it runs

Exit codes: 0 done, 1 failed, 2 wrong usage."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the controller on this machine (bramble-controller, with all arguments)
    #[command(
        disable_help_flag = true,
        after_help = "\
All arguments are those of bramble-controller: see `bramble controller --help`.

Examples:
  bramble controller --advertise 192.168.1.10
  bramble controller --data-dir /srv/bramble --listen 0.0.0.0:7443"
    )]
    Controller(Program),

    /// Run the agent on this board (bramble-agent, with all arguments)
    #[command(
        disable_help_flag = true,
        after_help = "\
All arguments are those of bramble-agent: see `bramble agent --help`. A board that has not joined
yet starts with `bramble join`.

Examples:
  bramble agent
  bramble agent --data-dir /srv/bramble-agent"
    )]
    Agent(Program),

    /// Make this board a node of a cluster, and run its agent
    ///
    /// The agent runs in the foreground until it is stopped; its containers go on without it. The
    /// token is needed once: later starts are `bramble agent`, with the same directories.
    #[command(after_help = "\
Examples:
  bramble join https://192.168.1.10:6443 --token bramble1.…
  BRAMBLE_TOKEN=bramble1.… bramble join https://pi.lan:6443 --node-name kitchen
  bramble join https://pi.lan:6443 --token bramble1.… -- --cgroup-parent boards")]
    Join(Join),

    /// Tokens that let boards join
    #[command(after_help = "\
Examples:
  bramble token create --ttl 1h
  bramble token list")]
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },

    /// Print or write a kubeconfig: the administrator's, or one for somebody else
    ///
    /// With --user the controller signs a client certificate for a key that is made here; with
    /// --service-account it makes a token. What they may do is up to RBAC: `kubectl create
    /// rolebinding`. Certificates and keys are embedded, so the output works on any machine: keep it
    /// secret. A certificate can't be taken back before it ends, so give people a short --ttl; a token
    /// ends with its service account.
    ///
    /// Only an administrator can do this: without --kubeconfig and KUBECONFIG, with the kubeconfig
    /// that the controller of this machine wrote.
    #[command(after_help = "\
Examples:
  bramble kubeconfig > admin.kubeconfig
  bramble kubeconfig --server https://192.168.1.10:6443 --merge           into ~/.kube/config
  bramble kubeconfig --user ann --group people --ttl 30d -o ann.kubeconfig
  bramble kubeconfig --service-account ci/deployer --ttl 12h -o ci.kubeconfig
  kubectl create rolebinding ann --clusterrole=edit --user=ann            what ann may do

The address must be one of the controller's own, or one that it was told with
`bramble controller --advertise`.")]
    Kubeconfig(Box<KubeconfigArgs>),

    /// Show what waits for you, nodes, pods, and what is not well, in one screen
    ///
    /// After a restore, first of all: which nodes have not spoken yet, what runs that this cluster does not
    /// know any more, and the commands that decide it.
    #[command(after_help = "\
Examples:
  bramble status
  bramble status -o json
  watch bramble status")]
    Status {
        /// Output format
        #[arg(short, long, value_name = "FORMAT", default_value = "text")]
        output: Output,
        #[command(flatten)]
        access: Access,
    },

    /// Save the whole cluster, as it is now, while it runs
    ///
    /// Every object at one moment, Secrets among them, and the keys that make the cluster what it is:
    /// whoever has the file can do everything, and be everybody. It is written with mode 0600; only an
    /// administrator can make one. What pods have in their volumes is not part of it.
    #[command(after_help = "\
Examples:
  bramble backup                                    bramble-2026-11-21T205500Z.tar, here
  bramble backup /mnt/usb/bramble.tar --force       in place of the last one
  bramble backup - | age -r age1… > bramble.tar.age
  bramble restore --check /mnt/usb/bramble.tar      is it whole?")]
    Backup(Backup),

    /// Put a backup into the place of the controller's data, on the machine where it shall run
    ///
    /// The controller must be stopped. All of the file is looked at before anything is written; a power
    /// cut leaves the old data or the new. What nodes run and the backup does not know goes on until a
    /// person decides: see `bramble status` after the start.
    #[command(after_help = "\
Examples:
  sudo bramble restore bramble.tar
  sudo bramble restore bramble.tar --force           what is there is kept as DIR.before-1
  bramble restore --check bramble.tar                only look whether it is whole
  bramble restore bramble.tar --data-dir /srv/bramble")]
    Restore(Restore),

    /// Keep what nodes run although the cluster does not know it any more, after a restore
    ///
    /// The pod is made again with everything that its node knows of it, and goes on: nothing is started or
    /// stopped. ConfigMaps that are missing are made again, too; Secrets can't be, and are named. What it was
    /// made by is not known: a ReplicaSet takes it by its labels. The node says what the pod is, and is sent
    /// the Secrets that it names.
    #[command(after_help = "\
Examples:
  bramble status                              what is unclaimed
  bramble adopt pi-2/shop/web-7d5-x2k1c
  bramble adopt --all")]
    Adopt(Adopt),

    /// Let go what nodes keep although the cluster does not know it any more, after a restore
    ///
    /// A pod that is let go is stopped by its node, as soon as that hears of it; data of its volumes stays.
    /// With --all the new epoch is confirmed: every node stops what the cluster does not know, also nodes
    /// that come back later. There is no way back.
    #[command(after_help = "\
Examples:
  bramble status                              what is unclaimed
  bramble release pi-2/shop/web-7d5-x2k1c
  bramble release --all")]
    Release(Release),

    /// Container images on this board
    #[command(after_help = "\
Examples:
  bramble image load hello.tar
  bramble image list")]
    Image {
        #[command(subcommand)]
        command: Image,
    },

    /// This board as a node
    #[command(after_help = "\
Examples:
  bramble node doctor
  bramble node status
  bramble node logs -f shop/web
  bramble node exec -it shop/web -- sh")]
    Node {
        #[command(subcommand)]
        command: Node,
    },

    /// Compile manifests of a board's own pods; the agent starts this itself
    #[command(
        hide = true,
        after_help = "Examples:\n  bramble compile-pods /etc/bramble/pods kiosk.yaml | xxd"
    )]
    CompilePods(CompilePods),

    /// Take Bramble off this machine
    ///
    /// Ends the services and every pod, and removes what they left in /run, in the network and among
    /// the control groups. Data stays unless --purge is given. Other machines are not told: use
    /// `kubectl delete node NAME` for that.
    #[command(after_help = "\
Examples:
  bramble uninstall              data stays: installed again, the board goes on where it was
  bramble uninstall --purge      the data of this board and of its volumes goes, too")]
    Uninstall(Uninstall),

    /// Print a completion script for a shell
    #[command(after_help = "\
Examples:
  source <(bramble completion bash)
  bramble completion zsh > ~/.zfunc/_bramble
  bramble completion fish > ~/.config/fish/completions/bramble.fish")]
    Completion {
        /// The shell
        shell: Shell,
    },

    /// Print the versions of this program and, when it can be reached, of the controller
    #[command(after_help = "\
Examples:
  bramble version
  bramble --version    only this program's")]
    Version {
        #[command(flatten)]
        access: Access,
    },
}

/// Arguments for another program, untouched.
#[derive(Debug, Args)]
pub(crate) struct Program {
    /// Arguments of the program
    #[arg(
        value_name = "ARGUMENT",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub(crate) args: Vec<OsString>,
}

/// How the controller is reached.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Access {
    /// Kubeconfig file [default: the first that exists of $KUBECONFIG, ~/.kube/config,
    /// /var/lib/bramble/controller/admin.kubeconfig]
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Join {
    /// Address of the controller's API
    #[arg(value_name = "URL")]
    pub(crate) server: Url,

    /// Join token, as `bramble token create` prints it
    #[arg(long, env = TOKEN_VARIABLE, hide_env_values = true, value_parser = token)]
    pub(crate) token: String,

    /// Name of the node [default: the board's host name]
    #[arg(long, value_name = "NAME", value_parser = node_name)]
    pub(crate) node_name: Option<String>,

    /// Keys, desired state and images of the agent [default: /var/lib/bramble/agent]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    /// Sockets and running pods of the agent [default: /run/bramble]
    #[arg(long, value_name = "DIR")]
    pub(crate) run_dir: Option<PathBuf>,

    /// More arguments for bramble-agent, after `--`
    #[arg(last = true, value_name = "ARGUMENT")]
    pub(crate) args: Vec<OsString>,
}

/// How the agent of this board is reached.
#[derive(Debug, Clone, Args)]
pub(crate) struct Socket {
    /// Socket of the agent
    #[arg(long, value_name = "PATH", default_value = AGENT_SOCKET)]
    pub(crate) socket: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Image {
    /// Load the images of an archive (docker save, podman save, OCI layout as a tar)
    #[command(after_help = "\
Examples:
  bramble image load hello.tar
  docker save hello:v1 | bramble image load -")]
    Load {
        /// The archive; - reads standard input
        file: PathBuf,
        #[command(flatten)]
        socket: Socket,
    },
    /// Pull an image from its registry
    #[command(after_help = "\
Examples:
  bramble image pull busybox:1.36
  bramble image pull registry.lan:5000/app:1 --auth-file ~/.docker/config.json

Mirrors, certificates and plain HTTP are set in the board's /etc/bramble/registries.toml.")]
    Pull {
        /// The name
        name: String,
        /// Docker configuration with credentials; - reads standard input
        #[arg(long, value_name = "FILE")]
        auth_file: Option<PathBuf>,
        #[command(flatten)]
        socket: Socket,
    },
    /// List the images on this board
    #[command(visible_alias = "ls", after_help = "Examples:\n  bramble image ls")]
    List {
        #[command(flatten)]
        socket: Socket,
    },
    /// Remove an image by its name
    #[command(
        visible_alias = "rm",
        after_help = "Examples:\n  bramble image rm docker.io/library/hello:v1"
    )]
    Remove {
        /// The name, as `bramble image list` shows it
        name: String,
        #[command(flatten)]
        socket: Socket,
    },
    /// Remove every image that no pod of this board names and nothing runs of
    #[command(after_help = "Examples:\n  bramble image prune")]
    Prune {
        #[command(flatten)]
        socket: Socket,
    },
    /// Print what is known of an image, as JSON
    #[command(after_help = "Examples:\n  bramble image inspect hello:v1")]
    Inspect {
        /// Its name or id
        name: String,
        #[command(flatten)]
        socket: Socket,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Node {
    /// Say what this board lacks, and the line that mends it
    ///
    /// Reads the kernel's own files and changes nothing. Exit code 1 when something keeps pods from
    /// running.
    #[command(after_help = "\
Examples:
  sudo bramble node doctor
  bramble node doctor -o json")]
    Doctor(Doctor),
    /// Show what this board runs, and whether its controller is there
    ///
    /// Asks the agent of this board and nobody else.
    #[command(after_help = "\
Examples:
  sudo bramble node status
  bramble node status -o json | jq '.pods[].containers[].imageID'")]
    Status(NodeStatus),
    /// Print the log of a container on this board
    #[command(after_help = "\
Examples:
  sudo bramble node logs web                  the first pod whose name begins so, when it is the only one
  bramble node logs -f shop/web -c nginx
  bramble node logs -p web                    of the life before
  bramble node logs --tail 20 web")]
    Logs(NodeLogs),
    /// Execute a command in a container on this board
    ///
    /// The exit code is that of the command.
    #[command(after_help = "\
Examples:
  sudo bramble node exec web -- ls /
  bramble node exec -it shop/web -c nginx -- sh
  tar -c . | bramble node exec -i web -- tar -x -C /tmp")]
    Exec(NodeExec),
    /// Take a node out of the cluster
    ///
    /// Shows what is bound to it, and asks. A board that is there is told to stop everything; one that is not
    /// goes on with what it has until `bramble uninstall` is called on it. After a restore a node that is
    /// removed is not waited for.
    #[command(after_help = "\
Examples:
  bramble node remove pi-3
  bramble node remove pi-3 --yes")]
    Remove(NodeRemove),
    /// Make a token with which another board takes a node's place
    ///
    /// It gets the node's name, its range of addresses and what is bound to it. From that moment the board
    /// that was the node is no member any more. Prints the token and nothing else on standard output.
    #[command(after_help = "\
Examples:
  bramble node replace pi-3
  bramble join https://192.168.1.10:6443 --node-name pi-3 --token …     on the new board, as root")]
    Replace(NodeReplace),
    /// Run a file's pods on this board, with or without a controller
    ///
    /// Writes the file into the folder of the board's own pods (`bramble-agent --static-pods`); the agent takes it
    /// from there, now and after every reboot. ConfigMaps and Secrets that the pods name can be in the same file.
    #[command(after_help = "\
Examples:
  sudo bramble node apply -f kiosk.yaml
  bramble node apply -f - --name kiosk < kiosk.yaml")]
    Apply(NodeApply),
    /// Take a file of the board's own pods away; its pods end
    #[command(after_help = "\
Examples:
  sudo bramble node delete kiosk              the file kiosk.yaml
  bramble node delete default/kiosk-pod       the file that says this pod, and no other")]
    Delete(NodeDelete),
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Output format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: Output,
    /// Where the agent keeps its data
    #[arg(long, value_name = "DIR", default_value = "/var/lib/bramble")]
    pub(crate) data_dir: PathBuf,
    /// Look at a system that is mounted here instead of the running one
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Uninstall {
    /// Remove all data as well: keys, state, images, volumes
    #[arg(long)]
    pub(crate) purge: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For a person
    Text,
    /// For a program
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

#[cfg(test)]
mod tests;
