//! Letting go what the store does not know any more: unclaimed pods, one by one or all.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Result, bail, ensure};
use bramble_wire::standing::{
    RELEASE_PATH, Release, Released, ReleasedPod, STANDING_PATH, Standing, Unclaimed,
};

use crate::args::Release as Args;
use crate::client;
use crate::http::Client;
use crate::output::{self, plain};

/// Carries out `bramble release`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let client = client(&args.access)?;
    let standing: Standing = client.get(STANDING_PATH)?;
    if args.all {
        return all(&client, &standing, args.yes);
    }
    let pods = find(&standing, &args.pods)?;
    let released = Release {
        epoch: standing.epoch,
        pods: pods.iter().map(|pod| meant(pod)).collect(),
        all: false,
    };
    post(&client, &released)?;
    let lines = pods.iter().map(|pod| {
        format!(
            "{} is let go: its node stops it when it hears of that\n",
            plain(&name_of(pod))
        )
    });
    output::print(&lines.collect::<String>())
}

fn all(client: &Client, standing: &Standing, yes: bool) -> Result<()> {
    if !standing.is_set_back() {
        return output::print("nothing is unclaimed: there is nothing to let go\n");
    }
    if !yes {
        ask(standing)?;
    }
    let released = Release {
        epoch: standing.epoch,
        pods: Vec::new(),
        all: true,
    };
    post(client, &released)?;
    output::print(&format!(
        "epoch {} is confirmed: every node stops what this cluster does not know; data of volumes stays\n",
        standing.epoch
    ))
}

fn post(client: &Client, release: &Release) -> Result<Released> {
    client.json("POST", RELEASE_PATH, Some(&serde_json::to_value(release)?))
}

/// A person says so, and a script says `--yes`.
fn ask(standing: &Standing) -> Result<()> {
    let waiting = match standing.waiting {
        0 => String::new(),
        count => format!(", and whatever {count} nodes run that have not said so yet"),
    };
    let what = format!(
        "This stops {} pods that the cluster does not know{waiting}.",
        standing.unclaimed_total
    );
    let input = std::io::stdin();
    if !input.is_terminal() {
        bail!("{what} Say --yes to do that without being asked");
    }
    eprint!("{what} Type yes to go on: ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    input.lock().read_line(&mut answer)?;
    ensure!(answer.trim() == "yes", "nothing was let go");
    Ok(())
}

/// The pods with these names, each exactly one.
pub(crate) fn find<'a>(standing: &'a Standing, names: &[String]) -> Result<Vec<&'a Unclaimed>> {
    let mut found = Vec::new();
    for name in names {
        let by_uid = |pod: &&Unclaimed| format!("{}/{}", pod.node, pod.uid) == *name;
        let by_name = |pod: &&Unclaimed| name_of(pod) == *name;
        let pods = standing.unclaimed.iter();
        let mut matching = pods.filter(|pod| by_name(pod) || by_uid(pod));
        let Some(pod) = matching.next() else {
            bail!(
                "no unclaimed pod is called {name} (NODE/NAMESPACE/POD); `bramble status` shows those there are"
            );
        };
        if let Some(other) = matching.next() {
            bail!(
                "several unclaimed pods are called {name}; say {0}/{1} or {0}/{2}",
                pod.node,
                pod.uid,
                other.uid
            );
        }
        found.push(pod);
    }
    Ok(found)
}

pub(crate) fn meant(pod: &Unclaimed) -> ReleasedPod {
    ReleasedPod {
        node: pod.node.clone(),
        uid: pod.uid.clone(),
    }
}

/// What a person types for a pod: by its UID when its node can't tell its name.
pub(crate) fn name_of(pod: &Unclaimed) -> String {
    match pod.name.as_str() {
        "" => format!("{}/{}", pod.node, pod.uid),
        name => format!("{}/{}/{name}", pod.node, pod.namespace),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_found_by_what_names_it_alone() {
        let pod = |node: &str, name: &str, uid: &str| Unclaimed {
            node: node.into(),
            namespace: "shop".into(),
            name: name.into(),
            uid: uid.into(),
            ..Unclaimed::default()
        };
        let standing = Standing {
            unclaimed: vec![
                pod("a", "web", "1"),
                pod("b", "web", "2"),
                pod("b", "twice", "3"),
                pod("b", "twice", "4"),
                pod("c", "", "5"),
            ],
            ..Standing::default()
        };
        let uids = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let found = find(&standing, &names).map_err(|error| error.to_string())?;
            Ok::<_, String>(found.iter().map(|pod| pod.uid.clone()).collect::<Vec<_>>())
        };
        assert_eq!(uids(&["a/shop/web", "b/shop/web"]).unwrap(), ["1", "2"]);
        assert_eq!(uids(&["c/5", "b/4"]).unwrap(), ["5", "4"]);
        for (name, why) in [
            (
                "b/shop/twice",
                "several unclaimed pods are called b/shop/twice; say b/3 or b/4",
            ),
            ("shop/web", "no unclaimed pod is called shop/web"),
            ("a/shop/gone", "no unclaimed pod"),
        ] {
            let error = uids(&[name]).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
