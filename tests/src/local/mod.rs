//! A whole cluster on this machine: one controller with its broker, and boards that are network
//! namespaces. `./x up` and the end-to-end tests use the same code.
//!
//! In: a directory for the cluster's data and the built programs. Out: running processes and the
//! [`Cluster`] that names them. Everything made outside the directory carries the cluster's id in
//! its name (namespaces, links, cgroups, `/run/bramble-<id>`), is listed in [`layout::Layout`], and
//! is removed by [`Cluster::down`]; nothing else of the host is touched.

mod command;
mod guard;
pub mod layout;
pub mod leftovers;
mod network;
mod process;
mod reboot;
mod tmpfs;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

pub use command::{Output, run, run_in};
pub use guard::Guard;
use layout::Layout;
pub use tmpfs::Tmpfs;

/// What a cluster is made with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Holds all data, logs and the kubeconfig; made when missing.
    pub dir: PathBuf,
    /// Folder of the built programs (`bramble`, `bramble-controller`, …).
    pub programs: PathBuf,
    /// Number of boards, 1 to 9.
    pub boards: u8,
    /// The real kubectl.
    pub kubectl: PathBuf,
}

/// A cluster on this machine; dropping it leaves it running (see [`Guard`]).
#[derive(Debug)]
pub struct Cluster {
    options: Options,
    /// Names and addresses of everything that belongs to it.
    pub layout: Layout,
}

/// How long a step of the start may take before it is called failed.
const PATIENCE: Duration = Duration::from_secs(60);

impl Cluster {
    /// Finds free names, ranges and ports, or takes those of an earlier start in the same directory.
    ///
    /// # Errors
    /// When the directory can't be written or no range is free.
    pub fn prepare(options: Options) -> Result<Self> {
        std::fs::create_dir_all(options.dir.join("log"))
            .with_context(|| format!("making {}", options.dir.display()))?;
        let layout = Layout::load_or_choose(&options.dir, options.boards)?;
        Ok(Self { options, layout })
    }

    /// Starts what is not running: network, controller, boards. Safe to repeat.
    ///
    /// # Errors
    /// Names the part that did not come up, with the end of its log.
    pub fn up(&self) -> Result<()> {
        network::ensure(&self.layout)?;
        self.start_controller()?;
        for board in 0..self.layout.boards.len() {
            self.start_agent(board)?;
        }
        self.wait_nodes_ready()?;
        self.route_pods()
    }

    /// Starts the controller unless it runs, and waits until it answers.
    ///
    /// # Errors
    /// With the end of its log when it does not answer in time.
    pub fn start_controller(&self) -> Result<()> {
        self.start_controller_at(self.layout.host, &[])
    }

    /// The same at another address of this machine, announcing other names beside it.
    ///
    /// # Errors
    /// As there.
    pub fn start_controller_at(&self, host: Ipv4Addr, names: &[&str]) -> Result<()> {
        let layout = &self.layout;
        let data = self.options.dir.join("controller");
        let mut args = vec![
            "--data-dir".into(),
            data.display().to_string(),
            "--listen".into(),
            format!("{host}:{}", layout.api_port),
            "--mqtt-listen".into(),
            format!("{host}:{}", layout.mqtt_port),
            "--pod-cidr".into(),
            layout.pod_cidr.clone(),
            "--advertise".into(),
            host.to_string(),
        ];
        for name in names {
            args.extend(["--advertise".into(), (*name).to_owned()]);
        }
        process::ensure(
            &self.options,
            "controller",
            "bramble-controller",
            &[],
            &args,
        )?;
        let kubeconfig = data.join("admin.kubeconfig");
        self.wait("the controller to answer", "controller", || {
            Ok(kubeconfig.exists() && self.kubectl(&["get", "--raw", "/readyz"]).is_ok())
        })?;
        std::fs::copy(&kubeconfig, self.kubeconfig()).context("copying the kubeconfig")?;
        Ok(())
    }

    /// Starts a board's agent unless it runs; the first time it joins with a fresh token.
    ///
    /// # Errors
    /// When the token can't be made or the program can't be started.
    pub fn start_agent(&self, board: usize) -> Result<()> {
        self.start_agent_with(board, &self.layout.host.to_string(), &[])
    }

    /// The same with more arguments; where it joins, it reaches the controller by this name.
    ///
    /// # Errors
    /// As there.
    pub fn start_agent_with(&self, board: usize, controller: &str, more: &[&str]) -> Result<()> {
        let board = &self.layout.boards[board];
        let mut args = self.agent_places(board);
        args.extend(["--node-name".into(), board.node.clone()]);
        args.extend(more.iter().map(|&arg| arg.to_owned()));
        args.extend([
            "--registries".into(),
            self.registries().display().to_string(),
            "--static-pods".into(),
            self.static_pods(&board.node).display().to_string(),
        ]);
        let joined = self.options.dir.join(format!("{}.joined", board.node));
        if !joined.exists() {
            let token = self.bramble(&["token", "create"])?.stdout.trim().to_owned();
            ensure!(!token.is_empty(), "`bramble token create` printed no token");
            let controller = format!("https://{controller}:{}", self.layout.api_port);
            args.extend(["--join".into(), controller]);
            args.extend(["--token".into(), token]);
        }
        process::ensure(
            &self.options,
            &board.node,
            "bramble-agent",
            &self.on_board(board),
            &args,
        )?;
        if !joined.exists() {
            self.wait(&format!("node {} to join", board.node), &board.node, || {
                Ok(self.kubectl(&["get", "node", &board.node]).is_ok())
            })?;
            std::fs::write(&joined, "").context("noting that the board has joined")?;
        }
        Ok(())
    }

    /// Where an agent keeps what a reboot ends.
    pub fn run_dir(&self, board: usize) -> &str {
        &self.layout.boards[board].run_dir
    }

    /// Arguments that tell an agent where its things are.
    pub fn agent_places(&self, board: &layout::Board) -> Vec<String> {
        vec![
            "--data-dir".into(),
            self.options.dir.join(&board.node).display().to_string(),
            "--run-dir".into(),
            board.run_dir.clone(),
            "--cgroup-parent".into(),
            board.cgroup.clone(),
        ]
    }

    fn wait_nodes_ready(&self) -> Result<()> {
        for board in &self.layout.boards {
            self.wait(
                &format!("node {} to be Ready", board.node),
                &board.node,
                || {
                    let path = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
                    Ok(self
                        .kubectl(&["get", "node", &board.node, "-o", path])
                        .is_ok_and(|out| out.stdout == "True"))
                },
            )?;
        }
        Ok(())
    }

    /// Lets the host reach the pods' addresses, by routes over the cluster's own bridge.
    fn route_pods(&self) -> Result<()> {
        for board in &self.layout.boards {
            let range =
                self.kubectl(&["get", "node", &board.node, "-o", "jsonpath={.spec.podCIDR}"])?;
            let range = range.stdout.trim().to_owned();
            ensure!(
                !range.is_empty(),
                "node {} has no range for its pods",
                board.node
            );
            network::route(&self.layout, &range, board.address)?;
        }
        Ok(())
    }

    /// Loads an image tar on every board.
    ///
    /// # Errors
    /// What `bramble image load` said.
    pub fn load_image(&self, tar: &Path) -> Result<()> {
        for board in &self.layout.boards {
            let socket = format!("{}/agent.sock", board.run_dir);
            let tar = tar.display().to_string();
            self.wait_for_file(&socket)?;
            self.bramble(&["image", "load", "--socket", &socket, &tar])
                .with_context(|| format!("loading {tar} on {}", board.node))?;
        }
        Ok(())
    }

    fn wait_for_file(&self, path: &str) -> Result<()> {
        wait_until(PATIENCE, || Ok(Path::new(path).exists()))?
            .then_some(())
            .with_context(|| format!("{path} did not appear"))
    }

    /// A board's folder of its own pods; need not exist.
    pub fn static_pods(&self, node: &str) -> PathBuf {
        self.options.dir.join(format!("{node}.pods"))
    }

    /// The boards' file about registries; need not exist.
    pub fn registries(&self) -> PathBuf {
        self.options.dir.join("registries.toml")
    }

    /// The cluster's kubeconfig for a person.
    pub fn kubeconfig(&self) -> PathBuf {
        self.options.dir.join("kubeconfig")
    }

    /// What the cluster was made with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Runs the real kubectl against this cluster.
    ///
    /// # Errors
    /// With what it printed, when its exit code is not 0.
    pub fn kubectl(&self, args: &[&str]) -> Result<Output> {
        self.kubectl_any(args)?.success()
    }

    /// Runs the real kubectl; any exit code is an answer.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn kubectl_any(&self, args: &[&str]) -> Result<Output> {
        self.kubectl_with_input(args, "")
    }

    /// Runs the real kubectl with text on its standard input.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn kubectl_with_input(&self, args: &[&str], input: &str) -> Result<Output> {
        let config = self.options.dir.join("controller/admin.kubeconfig");
        let config = format!("--kubeconfig={}", config.display());
        let cache = format!(
            "--cache-dir={}",
            self.options.dir.join("kubectl-cache").display()
        );
        let mut all = vec![config.as_str(), cache.as_str()];
        all.extend(args);
        command::run_with_input(&self.options.kubectl, &all, input)
    }

    /// Applies a manifest given as text.
    ///
    /// # Errors
    /// With what kubectl printed.
    pub fn apply(&self, manifest: &str) -> Result<Output> {
        self.kubectl_with_input(&["apply", "-f", "-"], manifest)?
            .success()
    }

    /// Runs the `bramble` command with the administrator's kubeconfig.
    ///
    /// # Errors
    /// With what it printed, when its exit code is not 0.
    pub fn bramble(&self, args: &[&str]) -> Result<Output> {
        let config = self.options.dir.join("controller/admin.kubeconfig");
        let mut command = std::process::Command::new(self.options.programs.join("bramble"));
        command.args(args).env("KUBECONFIG", config);
        run(&mut command)?.success()
    }

    /// Waits for a condition of the cluster.
    ///
    /// # Errors
    /// After a minute, with the end of `log` (the name of a process) for the reader.
    pub fn wait(&self, what: &str, log: &str, done: impl FnMut() -> Result<bool>) -> Result<()> {
        self.wait_within(PATIENCE, what, log, done)
    }

    /// As [`Cluster::wait`], with a time of its own.
    ///
    /// # Errors
    /// When the time is over.
    pub fn wait_within(
        &self,
        limit: Duration,
        what: &str,
        log: &str,
        done: impl FnMut() -> Result<bool>,
    ) -> Result<()> {
        if wait_until(limit, done)? {
            return Ok(());
        }
        bail!(
            "waited {}s for {what}\n{}",
            limit.as_secs(),
            self.log_tail(log)
        )
    }

    /// The last lines of a process' log (`controller` or a node's name).
    pub fn log_tail(&self, name: &str) -> String {
        let text = self.log(name);
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(40)..].join("\n");
        format!("end of the log of {name}:\n{tail}")
    }

    /// All that the controller or a node's agent has written.
    pub fn log(&self, name: &str) -> String {
        let path = self.options.dir.join("log").join(format!("{name}.log"));
        std::fs::read_to_string(path).unwrap_or_default()
    }

    /// Process id of the controller or of a node's agent, when it runs.
    pub fn pid(&self, name: &str) -> Option<u32> {
        process::running(&self.options, name)
    }

    /// Kills a process at once, as a crash would.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&self, name: &str) -> Result<()> {
        process::kill(&self.options, name)
    }

    /// Ends a board as a power cut would: every process in its namespaces, its `/run`, its mounts
    /// and its cgroups; only its data directory remains.
    ///
    /// # Errors
    /// When something of it can't be removed.
    pub fn power_cut(&self, board: usize) -> Result<()> {
        let board = &self.layout.boards[board];
        process::forget(&self.options, &board.node);
        leftovers::clear_board(&self.layout, board)
    }

    /// Stops every process and removes everything outside the cluster's directory.
    ///
    /// # Errors
    /// When something is left.
    pub fn down(&self) -> Result<()> {
        for board in &self.layout.boards {
            process::stop(&self.options, &board.node, Duration::from_secs(10));
        }
        for board in &self.layout.boards {
            self.drain(board);
        }
        process::stop(&self.options, "controller", Duration::from_secs(10));
        // What one board can't clear leaves nothing of the others.
        let cleared: Vec<_> = (self.layout.boards.iter())
            .map(|board| leftovers::clear_board(&self.layout, board))
            .collect();
        let network = network::remove(&self.layout);
        cleared.into_iter().collect::<Result<()>>()?;
        network?;
        let _ = std::fs::remove_dir(self.layout.run_root());
        let left = leftovers::find(&self.layout);
        ensure!(left.is_empty(), "left behind:\n  {}", left.join("\n  "));
        Ok(())
    }

    /// Asks a stopped agent's program to end its pods in order; what it misses is cleared after.
    fn drain(&self, board: &layout::Board) {
        if !Path::new(&board.run_dir).exists() {
            return;
        }
        let mut args = vec!["drain".to_owned()];
        args.extend(self.agent_places(board));
        let program = self.options.programs.join("bramble-agent");
        let result = run_in(&board.netns, &program, &args).and_then(Output::success);
        if let Err(error) = result {
            eprintln!("{}: ending its pods in order failed: {error:#}", board.node);
        }
    }

    /// Where a board's API is reached from pods and boards.
    pub fn api(&self) -> SocketAddr {
        self.layout.api()
    }
}

/// Polls a condition until it holds or the time is over.
///
/// # Errors
/// What the condition returned.
pub fn wait_until(limit: Duration, mut done: impl FnMut() -> Result<bool>) -> Result<bool> {
    let end = Instant::now() + limit;
    loop {
        if done()? {
            return Ok(true);
        }
        if Instant::now() >= end {
            return Ok(false);
        }
        // A poll interval, not a wait for something to have happened.
        std::thread::sleep(Duration::from_millis(100)); // poll
    }
}

/// One HTTP GET over plain TCP; the body of a 200 answer.
///
/// # Errors
/// When it can't connect in 2 s, or the status is another.
pub fn http_get(address: Ipv4Addr, port: u16) -> Result<String> {
    http_get_path(address, port, "/")
}

/// As [`http_get`], of a path.
///
/// # Errors
/// When it can't connect in 2 s, or the status is another.
pub fn http_get_path(address: Ipv4Addr, port: u16, path: &str) -> Result<String> {
    use std::io::{Read, Write};
    let limit = Duration::from_secs(2);
    let mut stream = std::net::TcpStream::connect_timeout(&(address, port).into(), limit)?;
    stream.set_read_timeout(Some(limit))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    let (head, body) = reply
        .split_once("\r\n\r\n")
        .context("no end of the reply's header")?;
    ensure!(
        head.contains(" 200 "),
        "answered {}",
        head.lines().next().unwrap_or_default()
    );
    Ok(body.to_owned())
}
