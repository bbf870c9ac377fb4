//! Who is who, through the real kubectl: tokens of service accounts and how they end, kubeconfigs for
//! people and programs, and a certificate that follows the controller's addresses.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bramble_tests::local::{Cluster, Guard, Output, run, run_in, wait_until};
use serde_json::Value;

use crate::{LIMIT, get};

const CI: &str = "system:serviceaccount:default:ci";

fn running() -> Result<Guard> {
    let cluster = Guard::prepare(1)?;
    cluster.up()?;
    Ok(cluster)
}

/// kubectl with nothing of the administrator's but the cluster's CA.
pub(crate) fn kubectl_as(cluster: &Cluster, token: &str, args: &[&str]) -> Result<Output> {
    let data = cluster.kubeconfig().with_file_name("controller");
    let ca = data.join("pki/ca.crt").display().to_string();
    let server = format!("https://{}", cluster.api());
    let cache = data.with_file_name("cache-ci").display().to_string();
    let flags = [
        "--kubeconfig=/dev/null",
        &format!("--server={server}"),
        &format!("--certificate-authority={ca}"),
        &format!("--cache-dir={cache}"),
        &format!("--token={token}"),
    ];
    run(Command::new(bramble_tests::kubectl()?)
        .args(flags)
        .args(args))
}

fn create_token(cluster: &Cluster, more: &[&str]) -> Result<String> {
    let args = [&["create", "token", "ci"], more].concat();
    Ok(cluster.kubectl(&args)?.stdout.trim().to_owned())
}

/// The user that kubectl says it is.
pub(crate) fn whoami(cluster: &Cluster, token: &str) -> Result<Value> {
    let out = kubectl_as(cluster, token, &["auth", "whoami", "-o", "json"])?.success()?;
    Ok(serde_json::from_str::<Value>(&out.stdout)?["status"]["userInfo"].clone())
}

pub(crate) fn refused(cluster: &Cluster, token: &str) -> Result<()> {
    let out = kubectl_as(cluster, token, &["auth", "whoami"])?;
    ensure!(out.code == 1, "exit code {}: {}", out.code, out.stdout);
    let said = "You must be logged in to the server";
    ensure!(out.stderr.contains(said), "{}", out.stderr);
    Ok(())
}

#[test]
fn root_a_token_is_somebody_as_long_as_its_account_is() -> Result<()> {
    let cluster = running()?;
    cluster.kubectl(&["create", "serviceaccount", "ci"])?;
    let token = create_token(&cluster, &["--duration=20m"])?;
    let user = whoami(&cluster, &token)?;
    ensure!(user["username"] == CI, "{user:#}");
    let uid = get(&cluster, "serviceaccount", "ci")?["metadata"]["uid"].clone();
    ensure!(user["uid"] == uid, "{user:#}");
    let table = kubectl_as(&cluster, &token, &["auth", "whoami"])?.success()?;
    for row in ["Username", CI, "system:serviceaccounts:default", "JTI="] {
        ensure!(table.stdout.contains(row), "no {row} in\n{}", table.stdout);
    }
    // It is what RBAC says of it: at first nothing, then what a binding gives.
    let denied = kubectl_as(&cluster, &token, &["get", "pods"])?;
    let why = format!(
        "pods is forbidden: User {CI:?} cannot list resource \"pods\" in API group \"\" in the namespace \
         \"default\""
    );
    ensure!(denied.stderr.contains(&why), "{}", denied.stderr);
    let bind = [
        "create",
        "rolebinding",
        "ci",
        "--clusterrole=view",
        "--serviceaccount=default:ci",
    ];
    cluster.kubectl(&bind)?;
    kubectl_as(&cluster, &token, &["get", "pods"])?.success()?;
    // A token for somebody else is not for us, and one that is too short is not made.
    let vault = create_token(&cluster, &["--audience=vault"])?;
    refused(&cluster, &vault)?;
    let short = cluster.kubectl_any(&["create", "token", "ci", "--duration=1m"])?;
    let why = "may not specify a duration less than 10 minutes";
    ensure!(short.stderr.contains(why), "{}", short.stderr);

    // It ends with the account, and a new one of that name is somebody else.
    cluster.kubectl(&["delete", "serviceaccount", "ci"])?;
    refused(&cluster, &token)?;
    cluster.kubectl(&["create", "serviceaccount", "ci"])?;
    refused(&cluster, &token)?;
    whoami(&cluster, &create_token(&cluster, &[])?)?;
    Ok(())
}

#[test]
fn root_a_bound_token_ends_with_its_object_and_outlives_a_restart() -> Result<()> {
    let cluster = running()?;
    cluster.kubectl(&["create", "serviceaccount", "ci"])?;
    cluster.kubectl(&["create", "secret", "generic", "s"])?;
    let uid = get(&cluster, "secret", "s")?["metadata"]["uid"].clone();
    let uid = uid.as_str().context("no uid")?;
    let bound = ["--bound-object-kind=Secret", "--bound-object-name=s"];
    let wrong = [
        &["create", "token", "ci"],
        &bound[..],
        &["--bound-object-uid=other"],
    ]
    .concat();
    let wrong = cluster.kubectl_any(&wrong)?;
    let why = "the UID in the bound object reference (other) does not match the UID in record";
    ensure!(wrong.stderr.contains(why), "{}", wrong.stderr);
    let uid = format!("--bound-object-uid={uid}");
    let token = create_token(&cluster, &[&bound[..], &[&uid]].concat())?;
    let node = cluster.layout.boards[0].node.clone();
    let for_node = ["--bound-object-kind=Node", "--bound-object-name", &node];
    let of_node = create_token(&cluster, &for_node)?;
    let user = whoami(&cluster, &of_node)?;
    let extra = &user["extra"]["authentication.kubernetes.io/node-name"][0];
    ensure!(*extra == *node, "{user:#}");

    // The key is the cluster's, not the process'.
    cluster.kill("controller")?;
    cluster.start_controller()?;
    whoami(&cluster, &token)?;
    cluster.kubectl(&["delete", "secret", "s"])?;
    refused(&cluster, &token)?;
    whoami(&cluster, &of_node)?;
    Ok(())
}

#[test]
fn root_kubeconfigs_for_people_and_programs() -> Result<()> {
    let cluster = running()?;
    let dir = tempfile::tempdir()?;
    let file = |name: &str| dir.path().join(name).display().to_string();
    let with = |file: &str, args: &[&str]| {
        run(Command::new(bramble_tests::kubectl()?)
            .arg(format!("--kubeconfig={file}"))
            .arg(format!(
                "--cache-dir={}",
                dir.path().join("cache").display()
            ))
            .args(args))
    };
    let ann = file("ann");
    let make = [
        "kubeconfig",
        "--user",
        "ann",
        "--group",
        "people",
        "--ttl",
        "1h",
        "-o",
        &ann,
    ];
    cluster.bramble(&make)?;
    ensure!(
        cluster.bramble(&make).is_err(),
        "it replaced a file unasked"
    );
    let who = with(&ann, &["auth", "whoami", "-o", "json"])?.success()?;
    let who: Value = serde_json::from_str(&who.stdout)?;
    let user = &who["status"]["userInfo"];
    ensure!(user["username"] == "ann", "{user:#}");
    ensure!(user["groups"][0] == "people", "{user:#}");
    let denied = with(&ann, &["get", "nodes"])?;
    ensure!(
        denied
            .stderr
            .contains("User \"ann\" cannot list resource \"nodes\""),
        "{}",
        denied.stderr
    );
    // She can't make another of herself.
    let mut again = Command::new(bramble_tests::programs()?.join("bramble"));
    again
        .env("KUBECONFIG", &ann)
        .args(["kubeconfig", "--user", "bob"]);
    let again = run(&mut again)?;
    ensure!(
        again.code == 1 && again.stderr.contains("orbidden"),
        "{} {}",
        again.code,
        again.stderr
    );

    cluster.kubectl(&["create", "serviceaccount", "ci"])?;
    let merge = [
        "kubeconfig",
        "--service-account",
        "ci",
        "--merge",
        "-o",
        &ann,
    ];
    cluster.bramble(&merge)?;
    let contexts = with(&ann, &["config", "get-contexts", "-o", "name"])?.success()?;
    ensure!(
        contexts.stdout == "ann@bramble\nci@bramble\n",
        "{}",
        contexts.stdout
    );
    let who = with(&ann, &["--context=ci@bramble", "auth", "whoami"])?.success()?;
    ensure!(who.stdout.contains(CI), "{}", who.stdout);
    let info = cluster.kubectl(&["cluster-info"])?.stdout;
    ensure!(info.contains("Kubernetes control plane"), "{info}");
    ensure!(info.contains(&cluster.api().to_string()), "{info}");
    Ok(())
}

/// A controller in a network namespace of its own; gone when dropped.
struct Alone {
    netns: String,
    child: Option<Child>,
    dir: tempfile::TempDir,
}

impl Alone {
    fn start() -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("bramble-alone-")
            .tempdir()?;
        let netns = format!("bralone{}", std::process::id());
        run(Command::new("ip").args(["netns", "add", &netns]))?.success()?;
        let mut alone = Self {
            netns,
            child: None,
            dir,
        };
        alone.ip(&["link", "set", "lo", "up"])?;
        let log = std::fs::File::create(alone.dir.path().join("log"))?;
        let child = Command::new("nsenter")
            .arg(format!("--net=/run/netns/{}", alone.netns))
            .arg("--")
            .arg(bramble_tests::programs()?.join("bramble-controller"))
            .arg("--data-dir")
            .arg(alone.data())
            .stderr(log)
            .spawn()?;
        alone.child = Some(child);
        Ok(alone)
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn ip(&self, args: &[&str]) -> Result<()> {
        let args: Vec<String> = args.iter().map(|&a| a.to_owned()).collect();
        run_in(&self.netns, Path::new("ip"), &args)?.success()?;
        Ok(())
    }

    /// Asks for health as the administrator, at an address, which the certificate must name.
    fn ask(&self, server: &str, named: &str) -> Result<Output> {
        let config = self.data().join("admin.kubeconfig");
        let args = [
            format!("--kubeconfig={}", config.display()),
            format!("--server=https://{server}:6443"),
            format!("--tls-server-name={named}"),
            "get".to_owned(),
            "--raw=/readyz".to_owned(),
        ];
        run_in(&self.netns, &bramble_tests::kubectl()?, &args)
    }

    fn wait(&self, what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
        let log = || std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        ensure!(
            wait_until(LIMIT, &mut done)?,
            "waited for {what}\n{}",
            log()
        );
        Ok(())
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Nothing better can be done about failures here.
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = run(Command::new("ip").args(["netns", "delete", &self.netns]));
    }
}

#[test]
fn root_the_certificate_follows_the_addresses_without_a_restart_or_a_write() -> Result<()> {
    const NEW: &str = "198.51.100.7";
    let alone = Alone::start()?;
    alone.wait("the controller to answer", || {
        let config = alone.data().join("admin.kubeconfig");
        Ok(config.exists() && alone.ask("127.0.0.1", "127.0.0.1")?.code == 0)
    })?;
    for name in [
        "localhost",
        "kubernetes",
        "kubernetes.default.svc",
        "10.43.0.1",
    ] {
        alone.ask("127.0.0.1", name)?.success()?;
    }
    let file = || -> Result<_> {
        let path = alone.data().join("pki/api.pem");
        Ok((std::fs::metadata(&path)?.modified()?, std::fs::read(path)?))
    };
    let before = file()?;
    let unknown = alone.ask("127.0.0.1", NEW)?;
    ensure!(
        unknown.stderr.contains("certificate is valid for"),
        "{}",
        unknown.stderr
    );

    alone.ip(&["address", "add", &format!("{NEW}/32"), "dev", "lo"])?;
    let told = std::time::Instant::now();
    alone.wait("a certificate for the new address", || {
        Ok(alone.ask(NEW, NEW)?.code == 0)
    })?;
    ensure!(
        told.elapsed() < Duration::from_secs(10),
        "it took {:?}",
        told.elapsed()
    );
    alone.ask("127.0.0.1", "localhost")?.success()?;

    alone.ip(&["address", "delete", &format!("{NEW}/32"), "dev", "lo"])?;
    alone.wait("a certificate without the address that went", || {
        Ok(alone
            .ask("127.0.0.1", NEW)?
            .stderr
            .contains("certificate is valid for"))
    })?;
    ensure!(file()? == before, "the certificate was written to disk");
    Ok(())
}
