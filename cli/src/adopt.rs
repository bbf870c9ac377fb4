//! Keeping what the store does not know any more: unclaimed pods become objects again, as they run.

use anyhow::{Result, bail, ensure};
use bramble_wire::standing::{
    ADOPT_MAX, ADOPT_PATH, Adopt, Adopted, AdoptedPod, STANDING_PATH, Standing, Unclaimed,
};

use crate::args::Adopt as Args;
use crate::client;
use crate::output::{self, plain};
use crate::release::{find, meant, name_of};

/// Carries out `bramble adopt`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let client = client(&args.access)?;
    let standing: Standing = client.get(STANDING_PATH)?;
    let pods = if args.all {
        standing
            .unclaimed
            .iter()
            .filter(|pod| !pod.released)
            .collect()
    } else {
        find(&standing, &args.pods)?
    };
    if pods.is_empty() {
        return output::print("nothing is unclaimed: there is nothing to keep\n");
    }
    let mut failed = 0;
    for pods in pods.chunks(ADOPT_MAX) {
        let wanted = Adopt {
            epoch: standing.epoch,
            pods: pods.iter().map(|pod| meant(pod)).collect(),
        };
        let wanted = serde_json::to_value(wanted)?;
        let adopted: Adopted = client.json("POST", ADOPT_PATH, Some(&wanted))?;
        failed += adopted
            .pods
            .iter()
            .filter(|pod| !pod.error.is_empty())
            .count();
        output::print(&told(pods, &adopted.pods))?;
    }
    let unnamed = standing.unclaimed_total - standing.unclaimed.len();
    if args.all && unnamed > 0 {
        bail!("{unnamed} more are unclaimed: say it again");
    }
    ensure!(failed == 0, "{failed} of {} are not adopted", pods.len());
    Ok(())
}

/// What became of each.
fn told(wanted: &[&Unclaimed], adopted: &[AdoptedPod]) -> String {
    let line = |pod: &AdoptedPod| {
        let of = (wanted.iter()).find(|of| of.node == pod.node && of.uid == pod.uid);
        let name = of.map_or_else(|| pod.uid.clone(), |of| name_of(of));
        let name = plain(&name);
        if !pod.error.is_empty() {
            return format!("{name} is not adopted: {}\n", plain(&pod.error));
        }
        let mut text = format!("{name} is adopted and goes on as it is");
        let mut also = |what: &str, names: &[String]| {
            if !names.is_empty() {
                text.push_str(&format!("\n  {what}: {}", plain(&names.join(", "))));
            }
        };
        also("made again as well, ConfigMap", &pod.config_maps);
        also("reads Secret", &pod.secrets);
        if !pod.service_account.is_empty() {
            also(
                "acts as ServiceAccount",
                std::slice::from_ref(&pod.service_account),
            );
        }
        also(
            "missing, make it again before this epoch is confirmed",
            &pod.missing,
        );
        text + "\n"
    };
    adopted.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reads_what_became_of_each() {
        let wanted = Unclaimed {
            node: "pi-2".into(),
            uid: "1".into(),
            namespace: "shop".into(),
            name: "web".into(),
            ..Unclaimed::default()
        };
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let adopted = AdoptedPod {
            node: "pi-2".into(),
            uid: "1".into(),
            config_maps: list(&["page"]),
            secrets: list(&["a", "b"]),
            missing: list(&["secret/key\u{1b}[2J"]),
            service_account: "default".into(),
            ..AdoptedPod::default()
        };
        let refused = AdoptedPod {
            node: "pi-3".into(),
            uid: "2".into(),
            error: "why".into(),
            ..AdoptedPod::default()
        };
        assert_eq!(
            told(&[&wanted], &[adopted, refused]),
            "pi-2/shop/web is adopted and goes on as it is\n  \
             made again as well, ConfigMap: page\n  \
             reads Secret: a, b\n  \
             acts as ServiceAccount: default\n  \
             missing, make it again before this epoch is confirmed: secret/key [2J\n\
             2 is not adopted: why\n"
        );
    }
}
