//! The workspace keeps its shape: dependencies point one way, and cores know no clock, no runtime
//! and no I/O. Read from `cargo metadata`, which builds nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Normal dependencies of every package, by name.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--locked"])
        // The crates of other platforms were never fetched.
        .args(["--filter-platform", "host-tuple"])
        .current_dir(crate::repository())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("metadata is JSON");
    let name = |id: &Value| {
        metadata["packages"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|package| package["id"] == *id)
            .and_then(|package| package["name"].as_str())
            .expect("every node is a package")
            .to_owned()
    };
    let names: BTreeMap<String, String> = metadata["resolve"]["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .map(|node| (node["id"].to_string(), name(&node["id"])))
        .collect();
    let mut out: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for node in metadata["resolve"]["nodes"].as_array().expect("nodes") {
        let needs = node["deps"]
            .as_array()
            .expect("deps")
            .iter()
            .filter(|dependency| {
                let kinds = dependency["dep_kinds"].as_array().expect("kinds");
                kinds.iter().any(|kind| kind["kind"].is_null())
            });
        let needs = needs.map(|dependency| names[&dependency["pkg"].to_string()].clone());
        out.entry(names[&node["id"].to_string()].clone())
            .or_default()
            .extend(needs);
    }
    out
}

/// Everything that a package links, itself left out.
fn closure(all: &BTreeMap<String, BTreeSet<String>>, package: &str) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut todo: Vec<&str> = vec![package];
    while let Some(next) = todo.pop() {
        for needed in &all[next] {
            if seen.insert(needed.clone()) {
                todo.push(needed);
            }
        }
    }
    seen
}

#[test]
fn cores_know_no_runtime_and_the_halves_do_not_know_each_other() {
    let all = dependencies();
    for core in [
        "bramble-wire",
        "bramble-api",
        "bramble-agent-core",
        "bramble-controller-core",
    ] {
        for forbidden in [
            "tokio",
            "mio",
            "rustix",
            "rumqttc",
            "hyper",
            "rand",
            "chrono",
            "async-std",
        ] {
            assert!(
                !closure(&all, core).contains(forbidden),
                "{core} depends on {forbidden}"
            );
        }
    }
    for (from, to) in [
        ("bramble-agent", "bramble-controller"),
        ("bramble-agent", "bramble-controller-core"),
        ("bramble-agent", "bramble-api"),
        ("bramble-agent", "libcontainer"),
        ("bramble-agent-core", "bramble-api"),
        ("bramble-controller", "bramble-agent"),
        ("bramble-controller", "bramble-agent-core"),
        ("bramble-shim", "tokio"),
        ("bramble-shim", "libcontainer"),
        ("bramble-link", "bramble-ledger"),
        ("bramble-ledger", "bramble-wire"),
    ] {
        assert!(!closure(&all, from).contains(to), "{from} depends on {to}");
    }
    // The check can see: these are there.
    assert!(closure(&all, "bramble-agent").contains("tokio"));
    assert!(closure(&all, "bramble-oci").contains("libcontainer"));
}

#[test]
fn no_c_library_for_tls_and_nothing_copyleft_by_name() {
    let all = dependencies();
    for forbidden in [
        "aws-lc-sys",
        "openssl-sys",
        "libbpf-sys",
        "libseccomp-sys",
        "nftnl",
        "rustables",
    ] {
        assert!(!all.contains_key(forbidden), "{forbidden} came in");
    }
}
