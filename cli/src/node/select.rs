//! Which pod and which container a person means.

use std::path::Path;

use anyhow::{Result, bail};
use bramble_wire::local::Pod;
use bramble_wire::object::PodUid;
use bramble_wire::report::ContainerReport;

use crate::args::PodName;
use crate::output::plain;

/// The pod of that name, or the only one whose name begins so. One that is gone counts no more.
pub(super) fn pod<'a>(pods: &'a [Pod], wanted: &PodName) -> Result<&'a Pod> {
    let of_namespace = |pod: &&Pod| {
        !pod.report.gone
            && (wanted.namespace.as_ref()).is_none_or(|namespace| pod.name.namespace == *namespace)
    };
    let all: Vec<&Pod> = pods.iter().filter(of_namespace).collect();
    let exact = |pod: &&Pod| pod.name.name == wanted.name;
    let begins = |pod: &&Pod| pod.name.name.starts_with(&wanted.name);
    let mut found: Vec<&Pod> = all.iter().copied().filter(exact).collect();
    if found.is_empty() {
        found = all.iter().copied().filter(begins).collect();
    }
    // A pod that ends and its successor of the same name: the newer is meant.
    if let Some(last) = found.iter().max_by_key(|pod| pod.report.started).copied()
        && found.iter().all(|pod| pod.name == last.name)
    {
        return Ok(last);
    }
    let names = |pods: &[&Pod]| {
        let names: Vec<String> = pods
            .iter()
            .map(|pod| plain(&pod.name.to_string()))
            .collect();
        names.join(", ")
    };
    match (found.is_empty(), all.is_empty()) {
        (false, _) => bail!("{wanted} could be any of {}", names(&found)),
        (true, false) => bail!("no pod {wanted} on this board; there are {}", names(&all)),
        (true, true) => bail!("no pod {wanted} on this board; there is none at all"),
    }
}

/// A pod of the board and one of its containers, as named; says which container is meant when it is not named and there
/// are others.
pub(super) fn chosen(
    socket: &Path,
    wanted: &PodName,
    of: Option<&str>,
) -> Result<(PodUid, String)> {
    let (_, pods) = super::board(socket)?;
    let pod = pod(&pods, wanted)?;
    let (container, others) = container(pod, of)?;
    if others {
        eprintln!(
            "container {} of {}; -c names another",
            container.name, pod.name
        );
    }
    Ok((pod.report.uid, container.name.clone()))
}

/// The container of that name, or the first; the second value says that there are others.
pub(super) fn container<'a>(
    pod: &'a Pod,
    wanted: Option<&str>,
) -> Result<(&'a ContainerReport, bool)> {
    let report = &pod.report;
    let name = plain(&pod.name.to_string());
    let Some(wanted) = wanted else {
        return match report.containers.first() {
            Some(first) => Ok((first, report.containers.len() > 1)),
            None => bail!("nothing is known of the containers of {name} yet"),
        };
    };
    let mut all = (report.containers.iter())
        .chain(&report.init_containers)
        .chain(&report.ephemeral_containers);
    if let Some(found) = all.clone().find(|container| container.name == wanted) {
        return Ok((found, false));
    }
    let names: Vec<String> = all
        .by_ref()
        .map(|container| plain(&container.name))
        .collect();
    bail!(
        "no container {wanted} in {name}; there are {}",
        names.join(", ")
    )
}
