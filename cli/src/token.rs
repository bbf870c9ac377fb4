//! Join tokens, through the controller's API.

use std::io::IsTerminal as _;
use std::net::IpAddr;

use anyhow::Result;
use bramble_api::time::{Timestamp, human_duration};
use bramble_wire::join::{TOKENS_PATH, TokenCreated, TokenInfo, TokenList, TokenRequest};
use serde_json::Value;

use crate::args::TokenCommand;
use crate::http::Client;
use crate::output::{self, plain, table};
use crate::url::Url;
use crate::{client, now};

/// Carries out `bramble token …`.
pub(crate) fn run(command: &TokenCommand) -> Result<()> {
    match command {
        TokenCommand::Create { ttl, uses, access } => {
            let request = TokenRequest {
                ttl_seconds: Some(ttl.as_secs()),
                uses: Some(*uses),
                replaces: None,
            };
            create(&client(access)?, &request)
        }
        TokenCommand::List { access } => {
            let list: TokenList = client(access)?.get(TOKENS_PATH)?;
            output::print(&render(&list.items, now()))
        }
        TokenCommand::Delete { id, access } => {
            let path = format!("{TOKENS_PATH}/{id}");
            let _: Value = client(access)?.json("DELETE", &path, None)?;
            output::print(&format!("token {id} deleted\n"))
        }
    }
}

fn create(client: &Client, request: &TokenRequest) -> Result<()> {
    let body = serde_json::to_value(request)?;
    let created: TokenCreated = client.json("POST", TOKENS_PATH, Some(&body))?;
    // Scripts read the token from standard output; the hint is for a person only.
    if std::io::stderr().is_terminal() {
        eprintln!(
            "For {}, until {}. On the board, as root:\n  bramble join {} --token …",
            match created.info.uses {
                1 => "one board".to_owned(),
                n => format!("{n} boards"),
            },
            plain(&created.info.expires),
            reached_from_elsewhere(client.server())
        );
    }
    output::print(&format!("{}\n", created.token))
}

/// The address for a board: that of a kubeconfig on the controller's machine may be the loopback.
pub(crate) fn reached_from_elsewhere(server: &Url) -> String {
    let host = server.host.as_str();
    let loopback = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    if loopback {
        return format!("https://ADDRESS-OF-THE-CONTROLLER:{}", server.port);
    }
    server.to_string()
}

fn render(tokens: &[TokenInfo], now: Timestamp) -> String {
    if tokens.is_empty() {
        return "no tokens; `bramble token create` makes one\n".into();
    }
    let rows: Vec<Vec<String>> = tokens
        .iter()
        .map(|token| {
            let age = |text: &str, sign: i64| {
                Timestamp::parse(text)
                    .map_or_else(|| plain(text), |t| human_duration(now.since(t) * sign))
            };
            vec![
                plain(&token.id),
                format!("{}/{}", token.nodes.len(), token.uses),
                age(&token.created, 1),
                age(&token.expires, -1),
                match token.replaces.as_str() {
                    "" => plain(&token.nodes.join(",")),
                    node => format!("in place of {}", plain(node)),
                },
            ]
        })
        .collect();
    table(&["ID", "USED", "AGE", "EXPIRES IN", "NODES"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_board_is_never_told_the_loopback() {
        for (server, want) in [
            (
                "https://127.0.0.1:6443",
                "https://ADDRESS-OF-THE-CONTROLLER:6443",
            ),
            ("https://localhost:1", "https://ADDRESS-OF-THE-CONTROLLER:1"),
            ("https://[::1]:1", "https://ADDRESS-OF-THE-CONTROLLER:1"),
            ("https://10.0.0.1:6443", "https://10.0.0.1:6443"),
        ] {
            assert_eq!(reached_from_elsewhere(&server.parse().unwrap()), want);
        }
    }

    #[test]
    fn tokens_are_listed_with_what_is_left() {
        let token = |id: &str, uses, nodes: &[&str]| TokenInfo {
            id: id.into(),
            created: "2026-01-01T00:00:00Z".into(),
            expires: "2026-01-02T00:00:00Z".into(),
            uses,
            nodes: nodes.iter().map(|n| (*n).to_owned()).collect(),
            replaces: String::new(),
        };
        let place = TokenInfo {
            replaces: "pi-3".into(),
            ..token("yy", 1, &[])
        };
        let tokens = [
            token("k3m9x2ab", 1, &[]),
            token("zz", 12, &["a", "b"]),
            place,
        ];
        let now = Timestamp::parse("2026-01-01T01:00:00Z").unwrap();
        assert_eq!(
            render(&tokens, now),
            "\
ID         USED   AGE   EXPIRES IN   NODES
k3m9x2ab   0/1    60m   23h          -
zz         2/12   60m   23h          a,b
yy         0/1    60m   23h          in place of pi-3
"
        );
        assert!(render(&[], now).contains("bramble token create"));
    }
}
