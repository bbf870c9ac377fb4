//! Bridge, links and addresses in real network namespaces: needs root.
#![allow(missing_docs, clippy::unwrap_used)] // tests and their helpers

use std::net::Ipv4Addr;
use std::time::Duration;

use bramble_agent::network::{Address, Network};
use bramble_agent::runtime::{ContainerFact, Runtime};

use crate::support::{Board, NodeNamespace, eventually, pod, uid};

fn address(last: u8, prefix: u8) -> Address {
    Address {
        ip: Ipv4Addr::new(10, 77, 3, last),
        prefix,
    }
}

#[test]
fn two_pods_talk_over_the_bridge_and_leave_nothing() {
    NodeNamespace::run(|| async {
        let board = Board::new();
        let runtime = board.runtime().await;
        let network = Network::open("bramble0").unwrap();
        let gateway = address(1, 24);
        for _ in 0..2 {
            network.ensure_node(gateway).await.unwrap();
        }
        let (server, client) = (uid(), uid());
        for (uid, last) in [(server, 2), (client, 3)] {
            let handle = runtime.ensure_pod(&pod(uid)).await.unwrap();
            for _ in 0..2 {
                let netns = handle.netns.as_deref().unwrap();
                network
                    .ensure_pod(uid, netns, address(last, 24), gateway.ip)
                    .await
                    .unwrap();
            }
        }
        let mut pods = network.pods().await.unwrap();
        pods.sort();
        assert_eq!(pods, [server, client]);
        let serve = "echo hello from the server > /tmp/index.html; httpd -f -p 80 -h /tmp";
        runtime
            .start_container(server, &board.container(server, "web-0", serve))
            .await
            .unwrap();
        let ask = "for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do \
                   wget -q -O - http://10.77.3.2/ && ip route && exit 0; sleep 0.1; done; exit 1";
        runtime
            .start_container(client, &board.container(client, "ask-0", ask))
            .await
            .unwrap();
        let code = eventually(|| async {
            let pods = runtime.observe().await;
            let mine = pods.iter().find(|p| p.uid == client).ok_or("no pod")?;
            match mine.containers.first().map(|c| c.state) {
                Some(ContainerFact::Exited(exit)) => Ok(exit.code),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        let log = board.log(client, "ask-0");
        assert_eq!(code, 0, "{log}");
        assert!(log.contains("hello from the server"), "{log}");
        assert!(log.contains("default via 10.77.3.1"), "{log}");
        // The node itself reaches its pods too.
        let reach = tokio::net::TcpStream::connect(("10.77.3.2", 80));
        tokio::time::timeout(Duration::from_secs(5), reach)
            .await
            .unwrap()
            .unwrap();
        for uid in [server, client] {
            network.remove_pod(uid).await.unwrap();
            network.remove_pod(uid).await.unwrap();
            runtime.delete_pod(uid).await.unwrap();
        }
        assert_eq!(network.pods().await.unwrap(), []);
        network.remove_node().await.unwrap();
        network.remove_node().await.unwrap();
        assert_eq!(board.leaks(), Vec::<String>::new());
    });
}

#[test]
fn a_pod_made_anew_gets_its_link_again_and_a_new_range_replaces_the_old() {
    NodeNamespace::run(|| async {
        let board = Board::new();
        let runtime = board.runtime().await;
        let network = Network::open("bramble0").unwrap();
        network.ensure_node(address(1, 24)).await.unwrap();
        let uid = uid();
        for _ in 0..2 {
            // The link of the first life goes with its namespace, or is found useless.
            let handle = runtime.ensure_pod(&pod(uid)).await.unwrap();
            let netns = handle.netns.unwrap();
            network
                .ensure_pod(uid, &netns, address(9, 24), address(1, 24).ip)
                .await
                .unwrap();
            assert_eq!(network.pods().await.unwrap(), [uid]);
            runtime.delete_pod(uid).await.unwrap();
        }
        network.remove_pod(uid).await.unwrap();
        let other = Address {
            ip: Ipv4Addr::new(10, 78, 0, 1),
            prefix: 24,
        };
        network.ensure_node(other).await.unwrap();
        let listed = std::process::Command::new("ip")
            .args(["-4", "-o", "addr", "show", "bramble0"])
            .output();
        let listed = String::from_utf8(listed.unwrap().stdout).unwrap();
        assert!(
            listed.contains("10.78.0.1/24") && !listed.contains("10.77"),
            "{listed}"
        );
        assert_eq!(board.leaks(), Vec::<String>::new());
    });
}
