//! A fleet whose controller went away and comes back: every agent's link and session, all at once.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bramble_tests::local::{run, wait_until};

use super::fleet::{self, Fleet};
use crate::budget::Budgets;
use crate::http::Access;

/// From the start of the controller until everything that the fleet has to say is acknowledged: the links'
/// back-off after the outage, which may double to thirty seconds by then, and the work.
const RETURN_S: f64 = 60.0;
/// The controller's peak while they return.
const RETURN_MB: f64 = 96.0;
/// How long the controller is away.
const OUTAGE: Duration = Duration::from_secs(10);

/// The controller of a fleet: a process of its own, on this machine's loopback.
struct Controller {
    dir: tempfile::TempDir,
    ports: (u16, u16),
    process: Option<Child>,
}

impl Controller {
    fn new() -> Result<Self> {
        let port = || {
            anyhow::Ok(
                std::net::TcpListener::bind("127.0.0.1:0")?
                    .local_addr()?
                    .port(),
            )
        };
        Ok(Self {
            dir: tempfile::tempdir()?,
            ports: (port()?, port()?),
            process: None,
        })
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Starts it; it may not answer yet.
    fn start(&mut self) -> Result<u32> {
        let program = bramble_tests::programs()?.join("bramble-controller");
        let log = std::fs::File::create(self.dir.path().join("log"))?;
        let child = Command::new(program)
            .arg("--data-dir")
            .arg(self.data())
            .args(["--listen", &format!("127.0.0.1:{}", self.ports.0)])
            .args(["--mqtt-listen", &format!("127.0.0.1:{}", self.ports.1)])
            // A range of pods for each of them.
            .args(["--advertise", "127.0.0.1", "--pod-cidr", "10.96.0.0/12"])
            .args(["--service-cidr", "10.43.0.0/16"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting the controller")?;
        let pid = child.id();
        self.process = Some(child);
        Ok(pid)
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // An error means that it has ended.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    fn bramble(&self, args: &[&str]) -> Result<String> {
        let program = bramble_tests::programs()?.join("bramble");
        let mut command = Command::new(program);
        command
            .args(args)
            .env("KUBECONFIG", self.data().join("admin.kubeconfig"));
        Ok(run(&mut command)?.success()?.stdout)
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A field of `/proc/PID/status` in KiB.
fn status_kib(pid: u32, field: &str) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find(|line| line.starts_with(field));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(number.with_context(|| format!("no {field}"))?.parse()?)
}

/// Agents that lost their controller find it again, all at once.
pub(crate) fn comeback(agents: usize, budgets: &Budgets) -> Result<()> {
    let mut controller = Controller::new()?;
    controller.start()?;
    let address = ([127, 0, 0, 1], controller.ports.0).into();
    let mut token = None;
    wait_until(Duration::from_secs(60), || {
        let uses = agents.to_string();
        token = controller
            .bramble(&["token", "create", "--uses", &uses])
            .ok();
        Ok(token.is_some())
    })?;
    let token = token.context("the controller gives no token")?;
    let access = Access::admin(&controller.data(), address)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let begun = Instant::now();
    let fleet = runtime.block_on(Fleet::join(&access, token.trim(), agents))?;
    println!(
        "\n{agents} agents joined in {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    runtime.block_on(fleet::pods(&access, agents))?;
    let settled = wait_until(Duration::from_secs(180), || Ok(fleet.settled() == agents))?;
    ensure!(settled, "{} of {agents} agents settled", fleet.settled());
    controller.kill();
    let away = Instant::now();
    wait_until(Duration::from_secs(60), || {
        Ok(fleet.welcomed() == 0 && away.elapsed() >= OUTAGE)
    })?;
    ensure!(fleet.welcomed() == 0, "an agent believes to be connected");

    let begun = Instant::now();
    let pid = controller.start()?;
    let mut half = None;
    let back = wait_until(Duration::from_secs(300), || {
        let there = fleet.settled();
        if there * 2 >= agents {
            half.get_or_insert(begun.elapsed());
        }
        Ok(there == agents)
    })?;
    ensure!(back, "{} of {agents} agents came back", fleet.settled());
    let took = begun.elapsed();
    runtime.block_on(fleet::ready(&access, agents))?;
    let (peak, now) = (
        status_kib(pid, "VmHWM:")? / 1024.0,
        status_kib(pid, "VmRSS:")? / 1024.0,
    );
    println!(
        "{agents} agents return to a controller that was away for {} s: half after {:.1} s, all welcomed and \
         their reports acknowledged after {:.1} s, their nodes Ready after {:.1} s; its peak {peak:.1} MB, \
         {now:.1} MB after",
        OUTAGE.as_secs(),
        half.unwrap_or_default().as_secs_f64(),
        took.as_secs_f64(),
        begun.elapsed().as_secs_f64(),
    );
    budgets.check(
        &format!("return of {agents} agents"),
        begun.elapsed().as_secs_f64(),
        RETURN_S,
        "s",
    );
    budgets.check("controller's peak while they return", peak, RETURN_MB, "MB");
    Ok(())
}
