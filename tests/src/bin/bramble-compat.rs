//! `./x compat`: drives real clients against a cluster of its own and prints what came of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use bramble_tests::compat::{self, Client, Verdict, case, coverage};
use bramble_tests::local::Guard;

const USAGE: &str = "\
Usage: bramble-compat CLIENTS [--only TEXT] [--release R] [--client NAME] [--newest] [--out FILE]

CLIENTS holds kubectl-1.37/kubectl, helm-4.3/helm, python-37.0/python …; every folder is a client in
one release. --only runs the cases whose line has TEXT (and says that the run is partial);
--newest takes the newest release of each client.";

/// Cases of a client, in the order in which they run.
const FILES: [(&str, &str); 3] = [
    ("kubectl", "kubectl.cases"),
    ("helm", "helm.cases"),
    ("python", "python.cases"),
];

struct Arguments {
    clients: PathBuf,
    only: Option<String>,
    release: Option<String>,
    client: Option<String>,
    newest: bool,
    out: Option<PathBuf>,
}

fn main() -> ExitCode {
    match real_main() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bramble-compat: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn arguments() -> Result<Arguments> {
    let mut given = std::env::args().skip(1);
    let mut arguments = Arguments {
        clients: given.next().context(USAGE)?.into(),
        only: None,
        release: None,
        client: None,
        newest: false,
        out: None,
    };
    while let Some(name) = given.next() {
        if name == "--newest" {
            arguments.newest = true;
            continue;
        }
        let mut value = || {
            given
                .next()
                .with_context(|| format!("{name} needs a value"))
        };
        match name.as_str() {
            "--only" => arguments.only = Some(value()?),
            "--release" => arguments.release = Some(value()?),
            "--client" => arguments.client = Some(value()?),
            "--out" => arguments.out = Some(value()?.into()),
            _ => bail!("unknown argument `{name}`\n{USAGE}"),
        }
    }
    Ok(arguments)
}

/// The clients in a folder, kubectl first, newest release last.
fn clients(folder: &Path) -> Result<Vec<Client>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("{}", folder.display()))? {
        let path = entry?.path();
        if !path.is_dir() {
            continue;
        }
        let name = path.file_name().and_then(|name| name.to_str());
        let Some((name, release)) = name.and_then(|name| name.split_once('-')) else {
            continue;
        };
        found.push(Client {
            name: name.to_owned(),
            release: release.to_owned(),
            path: path.clone(),
        });
    }
    let order = |client: &Client| {
        let place = FILES.iter().position(|(name, _)| *name == client.name);
        (place.unwrap_or(FILES.len()), client.release.clone())
    };
    found.sort_by_key(order);
    ensure!(!found.is_empty(), "no clients in {}", folder.display());
    Ok(found)
}

/// What a run adds up to.
#[derive(Default)]
struct Sums {
    same: usize,
    refused: usize,
    different: Vec<String>,
    missing: Vec<String>,
}

fn real_main() -> Result<bool> {
    let arguments = arguments()?;
    let folder = bramble_tests::repository().join("tests/compat");
    let clients = clients(&arguments.clients)?;
    let mut table = String::new();
    let mut sums = Sums::default();
    let cluster = Guard::start(2)?;
    for client in &clients {
        let wanted = |filter: &Option<String>, value: &str| {
            filter.as_ref().is_none_or(|filter| filter == value)
        };
        if !wanted(&arguments.client, &client.name) || !wanted(&arguments.release, &client.release)
        {
            continue;
        }
        let newest = (clients.iter()).rfind(|other| other.name == client.name);
        if arguments.newest && newest.is_some_and(|newest| newest.release != client.release) {
            continue;
        }
        let file = (FILES.iter())
            .find(|(name, _)| *name == client.name)
            .map(|(_, file)| folder.join(file))
            .with_context(|| format!("no cases for client {}", client.name))?;
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let cases = case::parse(&text).with_context(|| file.display().to_string())?;
        if client.name != "python" {
            let gaps = coverage::missing(client, &coverage::offered(client)?, &cases);
            let title = format!("{} {}", client.name, client.release);
            sums.missing
                .extend(gaps.into_iter().map(|gap| format!("{title}: {gap}")));
        }
        let variables = variables(&cluster, client)?;
        for case in cases
            .cases
            .iter()
            .filter(|case| case.is_for(&client.release))
        {
            if let Some(only) = &arguments.only
                && !case.script.contains(only.as_str())
            {
                continue;
            }
            run_case(case, client, &folder, &variables, &mut sums, &mut table)?;
        }
    }
    if let Some(out) = &arguments.out {
        std::fs::write(out, &table).with_context(|| out.display().to_string())?;
    }
    Ok(summary(&sums, arguments.only.is_some()))
}

fn run_case(
    case: &case::Case,
    client: &Client,
    folder: &Path,
    variables: &BTreeMap<String, String>,
    sums: &mut Sums,
    table: &mut String,
) -> Result<()> {
    let outcome = compat::run(case, client, folder, variables)?;
    let verdict = match &outcome.verdict {
        Verdict::Same => {
            sums.same += 1;
            "same".to_owned()
        }
        Verdict::Refused => {
            sums.refused += 1;
            format!("refused: {}", case.refused.as_deref().unwrap_or_default())
        }
        Verdict::Different(_) => "DIFFERENT".to_owned(),
    };
    let command = case.script.lines().next().unwrap_or_default();
    let line = format!(
        "{:<7} {:<5} {:>3}  {:>5.1}s  {:<60} {verdict}\n",
        client.name,
        client.release,
        outcome.exit,
        outcome.took.as_secs_f64(),
        command
    );
    print!("{line}");
    table.push_str(&line);
    if let Verdict::Different(missing) = &outcome.verdict {
        let shown: Vec<&str> = outcome.shown.lines().take(30).collect();
        println!(
            "        {}\n        | {}",
            missing.join("\n        "),
            shown.join("\n        | ")
        );
        sums.different.push(format!(
            "{} {} line {}: {command}: {}",
            client.name,
            client.release,
            case.line,
            missing.join("; ")
        ));
    }
    Ok(())
}

fn variables(cluster: &Guard, client: &Client) -> Result<BTreeMap<String, String>> {
    let work = cluster
        .options()
        .dir
        .join(format!("home-{}-{}", client.name, client.release));
    std::fs::create_dir_all(&work)?;
    let kubeconfig = work.join("kubeconfig");
    std::fs::copy(cluster.kubeconfig(), &kubeconfig)?;
    let layout = &cluster.layout;
    let namespace = format!("{}-{}", client.name, client.release.replace('.', "-"));
    let path = |path: &Path| path.display().to_string();
    Ok(BTreeMap::from([
        ("HOME".to_owned(), path(&work)),
        ("KUBECONFIG".to_owned(), path(&kubeconfig)),
        ("NS".to_owned(), namespace),
        ("NODE".to_owned(), layout.boards[0].node.clone()),
        ("NODE2".to_owned(), layout.boards[1].node.clone()),
        ("API".to_owned(), layout.api().to_string()),
        ("RELEASE".to_owned(), client.release.clone()),
        (
            "BRAMBLE".to_owned(),
            path(&bramble_tests::programs()?.join("bramble")),
        ),
        // kubectl's editor commands: what is edited stays as it is, with one more label.
        (
            "EDITOR".to_owned(),
            path(&bramble_tests::repository().join("tests/compat/editor.sh")),
        ),
    ]))
}

fn summary(sums: &Sums, partial: bool) -> bool {
    println!(
        "\n{} as upstream, {} refused as the cases say, {} different, {} commands without a case{}",
        sums.same,
        sums.refused,
        sums.different.len(),
        sums.missing.len(),
        if partial { " (a partial run)" } else { "" }
    );
    for line in &sums.different {
        println!("  different: {line}");
    }
    for line in &sums.missing {
        println!("  no case: {line}");
    }
    sums.different.is_empty() && sums.missing.is_empty() && sums.same > 0
}
