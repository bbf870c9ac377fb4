//! `./x up` and `./x down`: a cluster on this machine whose boards are network namespaces.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bramble_tests::local::{self, Cluster, Options, layout::Layout};

/// Prints a line; a reader that went away (`| head`) does not stop the work.
macro_rules! say {
    ($($part:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($part)*);
    }};
}

const USAGE: &str = "\
Usage: bramble-local up [--dir DIR] [--boards N] | down [--dir DIR] [--purge]

  up     starts the cluster in DIR (default .bramble), or what of it does not run, and shows it
  down   stops it; DIR keeps its data unless --purge is given";

fn main() -> ExitCode {
    match real_main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bramble-local: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn real_main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let verb = args.next().unwrap_or_default();
    let (mut dir, mut boards, mut purge) = (PathBuf::from(".bramble"), None, false);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--dir" => dir = args.next().context("--dir needs a folder")?.into(),
            "--boards" => {
                let text = args.next().context("--boards needs a number")?;
                boards = Some(
                    text.parse::<u8>()
                        .context("--boards needs a number from 1 to 9")?,
                );
            }
            "--purge" => purge = true,
            "--help" | "-h" => {
                say!("{USAGE}");
                return Ok(());
            }
            other => bail!("unknown argument `{other}`\n{USAGE}"),
        }
    }
    let dir = std::path::absolute(&dir).context("finding the folder")?;
    match verb.as_str() {
        "up" => up(&dir, boards),
        "down" => down(&dir, purge),
        _ => bail!("{USAGE}"),
    }
}

fn cluster(dir: &Path, boards: u8) -> Result<Cluster> {
    Cluster::prepare(Options {
        dir: dir.to_owned(),
        programs: bramble_tests::programs()?,
        boards,
        kubectl: bramble_tests::kubectl()?,
    })
}

fn up(dir: &Path, boards: Option<u8>) -> Result<()> {
    let begun = Instant::now();
    let stored = Layout::load(dir)
        .ok()
        .map(|layout| layout.boards.len() as u8);
    let cluster = cluster(dir, boards.or(stored).unwrap_or(2))?;
    let step = |text: &str| say!("[{:5.1}s] {text}", begun.elapsed().as_secs_f64());
    step("starting the controller, its broker and the boards");
    cluster.up()?;
    step("loading the images of the examples");
    let images = bramble_tests::images()?;
    for name in ["hello-v1.tar", "hello-v2.tar", "busybox-1.tar"] {
        cluster.load_image(&images.join(name))?;
    }
    // Only the first start applies the example: later ones bring back what was there.
    let marker = dir.join("example.applied");
    if !marker.exists() {
        step("kubectl apply -f docs/examples/hello.yaml");
        let example = bramble_tests::repository().join("docs/examples/hello.yaml");
        cluster.kubectl(&["apply", "-f", &example.display().to_string()])?;
        std::fs::write(&marker, "").context("noting that the example is applied")?;
    }
    let has_hello = cluster.kubectl(&["get", "deployment", "hello"]).is_ok();
    if has_hello {
        cluster.kubectl(&["rollout", "status", "deployment/hello", "--timeout=90s"])?;
        step("the example is ready");
    }
    show(&cluster, "get nodes,pods -o wide")?;
    if has_hello {
        ask(&cluster)?;
    }
    next_commands(&cluster);
    Ok(())
}

fn show(cluster: &Cluster, command: &str) -> Result<()> {
    let args: Vec<&str> = command.split(' ').collect();
    say!(
        "\n$ kubectl {command}\n{}",
        cluster.kubectl(&args)?.stdout.trim_end()
    );
    Ok(())
}

/// Asks one of the example's pods, as a person would with curl.
fn ask(cluster: &Cluster) -> Result<()> {
    let path = "jsonpath={.items[*].status.podIP}";
    let mut reply = None;
    local::wait_until(Duration::from_secs(30), || {
        let out = cluster.kubectl(&["get", "pods", "-l", "app=hello", "-o", path])?;
        let Some(ip) = out.stdout.split_whitespace().next().map(str::to_owned) else {
            return Ok(false);
        };
        let url = format!("http://{ip}:8080/");
        let mut curl = std::process::Command::new("curl");
        curl.args(["-sS", "--noproxy", "*", "--max-time", "2", &url]);
        reply = Some((url, local::run(&mut curl)?));
        Ok(reply.as_ref().is_some_and(|(_, out)| out.code == 0))
    })?;
    let (url, out) = reply.context("the example has no pod with an address")?;
    say!("\n$ curl {url}\n{}", out.success()?.stdout.trim_end());
    Ok(())
}

fn next_commands(cluster: &Cluster) {
    let kubeconfig = cluster.kubeconfig();
    let tools = cluster
        .options()
        .kubectl
        .parent()
        .unwrap_or(Path::new("."))
        .display();
    say!(
        "\nNext:
  export KUBECONFIG={} PATH={tools}:$PATH
  kubectl get nodes,pods -o wide
  kubectl logs deploy/hello
  kubectl scale deploy/hello --replicas=4
  kubectl set image deploy/hello hello=bramble.test/hello:v2 && kubectl rollout status deploy/hello
  kubectl delete pod -l app=hello
  ./x down            # stops everything, keeps the data; ./x up brings it back",
        kubeconfig.display(),
    );
}

fn down(dir: &Path, purge: bool) -> Result<()> {
    match Layout::load(dir) {
        Ok(layout) => {
            cluster(dir, layout.boards.len() as u8)?.down()?;
            say!("stopped; nothing is left outside {}", dir.display());
        }
        Err(_) => say!("nothing runs from {}", dir.display()),
    }
    if purge {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            // Installed programs are no data of the cluster.
            if entry.file_name() == "tools" {
                continue;
            }
            let path = entry.path();
            let removed = if path.is_dir() {
                std::fs::remove_dir_all(&path)
            } else {
                std::fs::remove_file(&path)
            };
            removed.with_context(|| format!("removing {}", path.display()))?;
        }
        say!("its data is forgotten");
    }
    Ok(())
}
