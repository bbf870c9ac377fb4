//! A board that is an emulated machine: its own kernel, pure cgroup v2, and for ARM its own
//! instructions. The controller runs here, the agent there; they meet over the emulator's own network,
//! on which the host is 10.0.2.2.
//!
//! In: an initramfs (`tests/tools/initramfs.sh`), a kernel, and the built programs. Out: a [`Board`]
//! that the real kubectl can be pointed at. Dropping it ends the emulator and the controller and removes
//! the directory.
//!
//! What the board must keep is on a disk that outlives the machine: [`Board::power_off`] kills the
//! emulator, [`Board::power_on`] boots it again, with or without a controller to be found.

pub mod card;
pub mod cards;
pub mod checks;

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::local::{Output, http_get_path, run, wait_until};
use card::Card;

/// How long an emulated machine may take to boot, join and load its images: without hardware support,
/// beside other work.
pub const BOOT: Duration = Duration::from_secs(400);
/// The host, as the emulated machine sees it.
const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// Port on which a pod in the board's own network answers [`Board::ask`].
pub const WEB: u16 = 8080;
/// Size of the disk, sparse.
const DISK: u64 = 1 << 30;
/// Name of the node.
pub const NODE: &str = "emulated";

/// Which machine is emulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A PC.
    Amd64,
    /// QEMU's `virt` with a Cortex-A53, as in a Pi 3 or Zero 2 W.
    Arm64,
    /// QEMU's `virt` with a Cortex-A15: 32 bits (ARMv7), as a Pi 2 or a 32-bit system on a later one.
    Armhf,
}

impl Kind {
    /// By Debian's name of the architecture.
    ///
    /// # Errors
    /// For any other name.
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "amd64" => Ok(Self::Amd64),
            "arm64" => Ok(Self::Arm64),
            "armhf" => Ok(Self::Armhf),
            _ => bail!("no machine `{name}`: amd64, arm64 or armhf"),
        }
    }

    fn emulator(self) -> Command {
        let (program, args): (_, &[&str]) = match self {
            // Hardware support is not asked for: where it is half there the machine does not boot.
            Self::Amd64 => (
                "qemu-system-x86_64",
                &["-M", "q35", "-accel", "tcg", "-cpu", "max"],
            ),
            Self::Arm64 => ("qemu-system-aarch64", &["-M", "virt", "-cpu", "cortex-a53"]),
            Self::Armhf => ("qemu-system-arm", &["-M", "virt", "-cpu", "cortex-a15"]),
        };
        let mut command = Command::new(program);
        command.args(args);
        command
    }

    fn console(self) -> &'static str {
        match self {
            Self::Amd64 => "ttyS0",
            Self::Arm64 | Self::Armhf => "ttyAMA0",
        }
    }
}

/// What a board is made from.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which machine.
    pub kind: Kind,
    /// Memory, MiB.
    pub memory: u32,
    /// Its kernel.
    pub kernel: PathBuf,
    /// Its first file system.
    pub initramfs: PathBuf,
    /// The host's own programs.
    pub programs: PathBuf,
    /// The real kubectl.
    pub kubectl: PathBuf,
    /// The disk is a card that may lose, at a power cut, whatever it was not told to flush.
    pub card: bool,
}

/// An emulated board with its controller.
#[derive(Debug)]
pub struct Board {
    options: Options,
    dir: tempfile::TempDir,
    /// Of the API, of the broker, and the one that leads to [`WEB`] of the board.
    ports: (u16, u16, u16),
    card: Option<Card>,
    controller: Option<Child>,
    machine: Option<Child>,
}

impl Board {
    /// Starts a controller, boots the machine and waits until its node is Ready and has its images.
    ///
    /// # Errors
    /// With the end of the log of what did not come up.
    pub fn boot(options: Options) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("bramble-emulated-")
            .tempdir()?;
        let mut board = Self {
            ports: (free_port()?, free_port()?, free_port()?),
            card: None,
            controller: None,
            machine: None,
            options,
            dir,
        };
        board.make_disk()?;
        board.start_controller()?;
        let token = board
            .bramble(&["token", "create"])?
            .stdout
            .trim()
            .to_owned();
        board.power_on(Some(&token))?;
        board.wait_ready()?;
        Ok(board)
    }

    fn make_disk(&mut self) -> Result<()> {
        let path = self.disk();
        File::create(&path)?.set_len(DISK)?;
        run(Command::new("mke2fs")
            .args(["-q", "-F", "-t", "ext4"])
            .arg(&path))?
        .success()?;
        if self.options.card {
            self.card = Some(Card::insert(&path, &self.socket())?);
        }
        Ok(())
    }

    /// The disk's file; with a card, what the card surely keeps.
    pub fn disk(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("card.sock")
    }

    /// The card, where there is one.
    pub fn card(&self) -> Option<&Card> {
        self.card.as_ref()
    }

    /// Starts the controller and waits until it answers.
    ///
    /// # Errors
    /// With the end of its log.
    pub fn start_controller(&mut self) -> Result<()> {
        let (api, mqtt, _) = self.ports;
        let log = File::create(self.dir.path().join("controller.log"))?;
        let controller = Command::new(self.options.programs.join("bramble-controller"))
            .arg("--data-dir")
            .arg(self.dir.path().join("controller"))
            .args(["--listen", &format!("127.0.0.1:{api}")])
            .args(["--mqtt-listen", &format!("127.0.0.1:{mqtt}")])
            .args(["--advertise", &HOST.to_string()])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting the controller")?;
        self.controller = Some(controller);
        let answers = wait_until(Duration::from_secs(60), || {
            Ok(self.kubeconfig().exists() && self.kubectl(&["get", "--raw", "/readyz"]).is_ok())
        })?;
        ensure!(
            answers,
            "the controller does not answer\n{}",
            self.tail("controller.log")
        );
        Ok(())
    }

    /// Kills the controller.
    pub fn kill_controller(&mut self) {
        end(&mut self.controller);
    }

    /// Takes the power: the emulator is killed without a warning.
    pub fn power_off(&mut self) {
        end(&mut self.machine);
    }

    /// One HTTP GET of what listens on [`WEB`] in the board's own network.
    ///
    /// # Errors
    /// When nobody answers, or with another status than 200.
    pub fn ask(&self, path: &str) -> Result<String> {
        http_get_path(Ipv4Addr::LOCALHOST, self.ports.2, path)
    }

    /// Starts the machine and waits until its agent does; with a token it joins, and loads the images.
    ///
    /// # Errors
    /// When it does not come up in time, with the end of its console.
    pub fn power_on(&mut self, token: Option<&str>) -> Result<()> {
        let kind = self.options.kind;
        let mut line = format!(
            "console={} panic=-1 quiet bramble.node={NODE}",
            kind.console()
        );
        if let Some(token) = token {
            line += &format!(
                " bramble.join={HOST}:{} bramble.token={token}",
                self.ports.0
            );
        }
        let console = File::create(self.dir.path().join("console.log"))?;
        let mut command = kind.emulator();
        command
            .arg("-append")
            .arg(line)
            .args(["-m", &self.options.memory.to_string(), "-smp", "2"])
            .args([
                "-display",
                "none",
                "-no-reboot",
                "-nodefaults",
                "-serial",
                "stdio",
            ])
            .arg("-netdev")
            .arg(format!(
                "user,id=n,hostfwd=tcp:127.0.0.1:{}-:{WEB}",
                self.ports.2
            ))
            .args(["-device", "virtio-net-pci,netdev=n"])
            .args(["-device", "virtio-rng-pci"])
            // Boards have no clock that goes on without power.
            .args(["-rtc", "base=1970-01-01T00:00:00"])
            .args(["-blockdev", &self.block_device()])
            .args(["-device", "virtio-blk-pci,drive=disk"])
            .arg("-kernel")
            .arg(&self.options.kernel)
            .arg("-initrd")
            .arg(&self.options.initramfs)
            .stdin(Stdio::null())
            .stdout(console.try_clone()?)
            .stderr(console);
        self.machine = Some(command.spawn().context("starting the emulator")?);
        let up = wait_until(BOOT, || {
            let text = self.console();
            ensure!(
                !text.contains("BOARD-FAILED"),
                "{}",
                self.tail("console.log")
            );
            if let Some(machine) = &mut self.machine
                && let Some(status) = machine.try_wait()?
            {
                bail!("the emulator ended: {status}\n{}", self.tail("console.log"));
            }
            Ok(text.contains("BOARD-UP"))
        })?;
        ensure!(
            up,
            "the board did not come up\n{}",
            self.tail("console.log")
        );
        Ok(())
    }

    fn block_device(&self) -> String {
        match &self.card {
            Some(_) => format!(
                "driver=nbd,node-name=disk,server.type=unix,server.path={}",
                self.socket().display()
            ),
            None => format!(
                "driver=file,node-name=disk,filename={}",
                self.disk().display()
            ),
        }
    }

    /// Waits until the controller says that the node is Ready.
    ///
    /// # Errors
    /// With the end of the machine's console.
    pub fn wait_ready(&self) -> Result<()> {
        let path = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
        let ready = wait_until(BOOT, || {
            let node = self.kubectl(&["get", "node", NODE, "-o", path]);
            Ok(node.is_ok_and(|node| node.stdout == "True"))
        })?;
        ensure!(ready, "the node is not Ready\n{}", self.tail("console.log"));
        Ok(())
    }

    /// Everything that the machine wrote to its console.
    pub fn console(&self) -> String {
        let bytes = std::fs::read(self.dir.path().join("console.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Runs the real kubectl; another exit code than 0 is an error.
    ///
    /// # Errors
    /// With what it printed.
    pub fn kubectl(&self, args: &[&str]) -> Result<Output> {
        self.kubectl_any(args)?.success()
    }

    /// Runs the real kubectl; any exit code is an answer.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn kubectl_any(&self, args: &[&str]) -> Result<Output> {
        let mut command = self.kubectl_command();
        run(command.args(args))
    }

    /// Applies a manifest given as text.
    ///
    /// # Errors
    /// With what kubectl printed.
    pub fn apply(&self, manifest: &str) -> Result<Output> {
        let file = self.dir.path().join("manifest.yaml");
        std::fs::write(&file, manifest)?;
        self.kubectl(&["apply", "-f", &file.display().to_string()])
    }

    fn kubectl_command(&self) -> Command {
        let mut command = Command::new(&self.options.kubectl);
        command
            .arg(format!("--kubeconfig={}", self.kubeconfig().display()))
            .arg(format!(
                "--cache-dir={}",
                self.dir.path().join("cache").display()
            ))
            // The kubeconfig names the address that the board uses.
            .arg(format!("--server=https://127.0.0.1:{}", self.ports.0));
        command
    }

    fn bramble(&self, args: &[&str]) -> Result<Output> {
        let text = std::fs::read_to_string(self.kubeconfig())?;
        let here = self.dir.path().join("kubeconfig");
        let there = format!("https://{HOST}:{}", self.ports.0);
        std::fs::write(
            &here,
            text.replace(&there, &format!("https://127.0.0.1:{}", self.ports.0)),
        )?;
        let mut command = Command::new(self.options.programs.join("bramble"));
        run(command.args(args).env("KUBECONFIG", here))?.success()
    }

    fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("controller/admin.kubeconfig")
    }

    /// The last lines of a log in the board's directory.
    pub fn tail(&self, name: &str) -> String {
        let bytes = std::fs::read(self.dir.path().join(name)).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        format!(
            "end of {name}:\n{}",
            lines[lines.len().saturating_sub(60)..].join("\n")
        )
    }

    /// Directory of its logs.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        end(&mut self.machine);
        end(&mut self.controller);
    }
}

fn end(process: &mut Option<Child>) {
    if let Some(mut child) = process.take() {
        // Errors mean that it has ended.
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
