//! Members of the cluster: taken out of it, or another board in their place.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Result, bail, ensure};
use bramble_wire::join::{TOKENS_PATH, TokenCreated, TokenRequest};
use serde_json::Value;

use crate::args::{NodeRemove, NodeReplace};
use crate::client;
use crate::http::Client;
use crate::output::{self, plain, table};
use crate::token::reached_from_elsewhere;

/// Pods that are shown.
const SHOWN: usize = 20;

/// Carries out `bramble node remove`.
pub(crate) fn remove(args: &NodeRemove) -> Result<()> {
    let client = client(&args.access)?;
    let path = format!("/api/v1/nodes/{}", args.name);
    let node: Value = client.get(&path)?;
    let pods: Value = client.get(&format!(
        "/api/v1/pods?fieldSelector=spec.nodeName%3D{}",
        args.name
    ))?;
    let told = what_happens(&args.name, &node, &pods);
    if args.yes {
        eprint!("{told}");
    } else {
        ask(&told)?;
    }
    let _: Value = client.json("DELETE", &path, None)?;
    output::print(&format!("node {} is removed\n", args.name))
}

/// What runs there, and what becomes of it.
fn what_happens(name: &str, node: &Value, pods: &Value) -> String {
    let pods = pods["items"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let text = |value: &Value, pointer: &str| {
        let text = value.pointer(pointer).and_then(Value::as_str);
        plain(text.unwrap_or_default())
    };
    let mut out = String::new();
    if pods.is_empty() {
        out.push_str(&format!("Nothing is bound to {name}.\n"));
    } else {
        let rows: Vec<Vec<String>> = (pods.iter().take(SHOWN))
            .map(|pod| {
                vec![
                    text(pod, "/metadata/namespace"),
                    text(pod, "/metadata/name"),
                    text(pod, "/status/phase"),
                    text(pod, "/metadata/ownerReferences/0/kind"),
                ]
            })
            .collect();
        out.push_str(&table(&["NAMESPACE", "POD", "PHASE", "MADE BY"], &rows));
        if pods.len() > SHOWN {
            out.push_str(&format!("… {} more\n", pods.len() - SHOWN));
        }
    }
    let conditions = node["status"]["conditions"].as_array();
    let ready = conditions.is_some_and(|conditions| {
        (conditions.iter()).any(|c| c["type"] == "Ready" && c["status"] == "True")
    });
    out.push_str(&match ready {
        true => format!("{name} is there: its board is told to stop everything; what a controller made comes again elsewhere.\n"),
        false => format!(
            "{name} is not there: its board goes on with what it has until `bramble uninstall` is called on it; \
             what a controller made comes again elsewhere.\n"
        ),
    });
    out.push_str("Data of its volumes stays on the board.\n");
    out
}

fn ask(told: &str) -> Result<()> {
    eprint!("{told}");
    let input = std::io::stdin();
    if !input.is_terminal() {
        bail!("say --yes to remove it without being asked");
    }
    eprint!("Type yes to remove it: ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    input.lock().read_line(&mut answer)?;
    ensure!(answer.trim() == "yes", "nothing was removed");
    Ok(())
}

/// Carries out `bramble node replace`.
pub(crate) fn replace(args: &NodeReplace) -> Result<()> {
    let client = client(&args.access)?;
    let request = TokenRequest {
        ttl_seconds: Some(args.ttl.as_secs()),
        uses: None,
        replaces: Some(args.name.clone()),
    };
    let created = create(&client, &request)?;
    if std::io::stderr().is_terminal() {
        eprintln!(
            "For the board that takes the place of {0}, until {1}. On it, as root:\n  \
             bramble join {2} --node-name {0} --token …\n\
             From then on the board that is {0} now is no member any more; what it runs goes on until\n\
             `bramble uninstall` there. Pods that must not run twice may start on the new one: switch the old one off first.",
            args.name,
            plain(&created.info.expires),
            reached_from_elsewhere(client.server())
        );
    }
    output::print(&format!("{}\n", created.token))
}

fn create(client: &Client, request: &TokenRequest) -> Result<TokenCreated> {
    client.json("POST", TOKENS_PATH, Some(&serde_json::to_value(request)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_person_sees_what_a_removal_does() {
        let node =
            |ready: &str| json!({"status": {"conditions": [{"type": "Ready", "status": ready}]}});
        let pod = json!({"metadata": {"namespace": "shop", "name": "web-1",
            "ownerReferences": [{"kind": "ReplicaSet"}]}, "status": {"phase": "Running"}});
        let bare = json!({"metadata": {"namespace": "shop", "name": "db"}});
        let told = what_happens("pi-3", &node("True"), &json!({"items": [pod, bare]}));
        assert_eq!(
            told,
            "\
NAMESPACE   POD     PHASE     MADE BY
shop        web-1   Running   ReplicaSet
shop        db      -         -
pi-3 is there: its board is told to stop everything; what a controller made comes again elsewhere.
Data of its volumes stays on the board.
"
        );
        let told = what_happens("pi-3", &node("Unknown"), &json!({"items": []}));
        assert!(
            told.starts_with("Nothing is bound to pi-3.\npi-3 is not there:"),
            "{told}"
        );
        let many: Vec<Value> = (0..25).map(|_| json!({})).collect();
        let told = what_happens("pi-3", &json!({}), &json!({"items": many}));
        assert!(told.contains("… 5 more"), "{told}");
    }
}
