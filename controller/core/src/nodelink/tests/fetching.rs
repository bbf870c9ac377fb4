//! Documents on their way to nodes.

use bramble_wire::chunk;
use bramble_wire::limits::{BODY_MAX, CHUNK_SIZE, DOCUMENT_OBJECTS_MAX, RESPONSE_MAX};
use bramble_wire::message::{Body, ObjectBody};
use bramble_wire::seal::{self, Binding};

use super::*;

fn index(version: Option<Version>, from: u32) -> Ask {
    Ask::Index { version, from }
}

#[test]
fn a_version_changes_only_with_the_content_and_upwards() {
    let mut bench = Bench::new(1);
    bench.arrive(0);
    let before = bench.version(0);
    bench.document(0, Objects::new(), 50);
    assert_eq!(bench.version(0), before);
    bench.silent();
    bench.document(0, objects(&[("a", 3, b"A")]), 51);
    assert_eq!(bench.head(0).version.rev, 51);
    // What has changed without a write, or seems to be older, has to wait for one.
    let name = bench.name(0);
    let other = || objects(&[("a", 3, b"B")]);
    for revision in [51, 40] {
        let set = bench.link.set_document(&name, other(), revision, bench.now);
        assert_eq!(set, Err(Error::Unwritten));
        assert_eq!(bench.version(0).rev, 51);
        bench.silent();
    }
    bench.document(0, other(), 52);
    assert_eq!(bench.head(0).version.rev, 52);
}

#[test]
fn a_document_over_a_limit_leaves_the_one_before() {
    let mut bench = Bench::new(1);
    let before = bench.version(0);
    let name = bench.name(0);
    let large = vec![0; BODY_MAX];
    let megabyte = vec![0; 1_000_000];
    let names: Vec<String> = (0..=DOCUMENT_OBJECTS_MAX)
        .map(|n| format!("m{n}"))
        .collect();
    let many: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), 1, &b""[..]))
        .collect();
    let nine: Vec<_> = names
        .iter()
        .take(9)
        .map(|name| (name.as_str(), 1, &megabyte[..]))
        .collect();
    type Like = fn(&Error) -> bool;
    let table: [(Objects, Like); 3] = [
        (objects(&[("a", 3, &large)]), |e| {
            matches!(e, Error::ObjectTooLarge { .. })
        }),
        (objects(&nine), |e| matches!(e, Error::TooLarge(_))),
        (objects(&many), |e| matches!(e, Error::TooMany(_))),
    ];
    for (objects, like) in table {
        let error = bench
            .link
            .set_document(&name, objects, 9, bench.now)
            .unwrap_err();
        assert!(like(&error), "{error}");
        assert_eq!(bench.version(0), before);
    }
}

#[test]
fn a_request_for_another_version_is_told_the_newest() {
    let mut bench = Bench::new(1);
    bench.arrive(0);
    let old = bench.version(0);
    bench.document(0, objects(&[("a", 3, b"A")]), 60);
    let newest = bench.head(0);
    for ask in [
        index(Some(old), 1),
        Ask::Objects {
            version: old,
            ids: vec![config_map("a")],
        },
        Ask::Chunk {
            version: old,
            id: config_map("a"),
            index: 0,
        },
    ] {
        assert_eq!(bench.answer(0, ask), Answer::Superseded(newest));
    }
}

#[test]
fn a_long_index_comes_in_pages_that_fit() {
    let mut bench = Bench::new(1);
    let names: Vec<String> = (0..3000)
        .map(|n| format!("{n:04}-{}", "x".repeat(60)))
        .collect();
    let maps: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), 1, &b""[..]))
        .collect();
    bench.document(0, objects(&maps), 10);
    bench.arrive(0);
    let version = Some(bench.version(0));
    let (mut got, mut pages) = (Vec::new(), 0);
    while got.len() < names.len() {
        let answer = bench.answer(0, index(version, got.len() as u32));
        assert!(bramble_wire::encode(&answer).len() <= RESPONSE_MAX + 1024);
        let Answer::Index { entries, total, .. } = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(total as usize, names.len());
        assert!(!entries.is_empty());
        got.extend(entries);
        pages += 1;
    }
    assert!(pages > 1);
    let digest = bramble_wire::document::digest(&mut got);
    assert_eq!(
        Some(digest),
        bench
            .link
            .head_of(&bench.link.nodes[&bench.name(0)])
            .map(|h| h.digest)
    );
}

#[test]
fn objects_that_do_not_fit_are_left_out_and_large_ones_come_in_pieces() {
    let mut bench = Bench::new(1);
    let (part, large) = (vec![1; CHUNK_SIZE - 200], vec![2; CHUNK_SIZE * 2]);
    let names = ["a", "b", "c", "d", "e", "f"];
    let mut maps: Vec<_> = names.iter().map(|name| (*name, 1, &part[..])).collect();
    maps.insert(0, ("L", 1, &large));
    bench.document(0, objects(&maps), 10);
    bench.arrive(0);
    let version = bench.version(0);
    let ids: Vec<_> = ["L", "none"]
        .iter()
        .chain(&names)
        .map(|name| config_map(name))
        .collect();
    let Answer::Objects(bodies) = bench.answer(0, Ask::Objects { version, ids }) else {
        panic!("no objects");
    };
    let [
        ObjectBody {
            body: Body::Chunked { len },
            ..
        },
        ObjectBody {
            body: Body::Missing,
            ..
        },
        whole @ ..,
    ] = &bodies[..]
    else {
        panic!("{bodies:?}");
    };
    assert_eq!(whole.len(), 4, "as many as fit");
    let mut pieces = Vec::new();
    for number in 0..chunk::count(*len as usize) {
        let (id, index) = (config_map("L"), number);
        let Answer::Chunk { bytes, .. } = bench.answer(0, Ask::Chunk { version, id, index }) else {
            panic!("no piece {number}");
        };
        pieces.extend(bytes);
    }
    assert_eq!(pieces.len(), *len as usize);
    assert!(matches!(
        bramble_wire::decode(&pieces, "object"),
        Ok(Object::ConfigMap(_))
    ));
    let (id, index) = (config_map("L"), 99);
    let past = bench.answer(0, Ask::Chunk { version, id, index });
    assert!(matches!(past, Answer::Objects(_)), "{past:?}");
}

#[test]
fn a_secret_is_sealed_to_the_node_that_it_is_for() {
    let mut bench = Bench::new(3);
    let id = ObjectId::Secret(object_name("s"));
    let plain = SecretData([("password".to_owned(), b"correct horse".to_vec())].into());
    let document: Objects = [(id.clone(), Compiled::secret(8, &plain))].into();
    bench.document(0, document.clone(), 10);
    bench.document(1, document.clone(), 10);
    let mut seen = Vec::new();
    for board in 0..3 {
        bench.arrive(board);
        let version = bench.version(board);
        let ids = vec![id.clone()];
        let ask = Ask::Objects { version, ids };
        bench.ask(board, 9, ask.clone());
        bench.hear();
        let packet = &bench.publishes[0].payload;
        assert!(!packet.windows(13).any(|bytes| bytes == b"correct horse"));
        let Answer::Objects(bodies) = bench.response(board).answer else {
            panic!("no objects");
        };
        if board == 2 {
            assert_eq!(
                bodies[0].body,
                Body::Missing,
                "its document does not have it"
            );
            continue;
        }
        let Answer::Objects(again) = bench.answer(board, ask) else {
            panic!("no objects");
        };
        assert_eq!(again, bodies, "its pieces fit together");
        let Body::Whole(body) = &bodies[0].body else {
            panic!("not whole");
        };
        let Ok(Object::Secret(secret)) = bramble_wire::decode(body, "object") else {
            panic!("not a secret");
        };
        seen.push(secret.sealed);
    }
    assert_ne!(seen[0], seen[1]);
    let (cluster, revision) = (cluster(), 8);
    for (board, node, sealed) in [(0, 0, 0), (1, 1, 1), (0, 0, 1), (1, 0, 0), (0, 1, 0)] {
        let binding = Binding {
            cluster: &cluster,
            node: &bench.boards[node].name,
            id: &id,
            revision,
        };
        let opened = seal::open(&bench.boards[board].sealing, binding, &seen[sealed]);
        if board == node && node == sealed {
            assert_eq!(opened.unwrap(), bramble_wire::encode(&plain));
        } else {
            opened.unwrap_err();
        }
    }
}

#[test]
fn heads_and_welcomes_keep_to_their_rate() {
    let limits = Limits {
        heads_per_s: 10,
        ..Limits::default()
    };
    let mut bench = Bench::with_limits(40, limits);
    for board in 0..40 {
        bench.birth(board, None);
    }
    for (second, most) in [(0, 10), (1, 20), (2, 30), (3, 40)] {
        bench.hear();
        let sent = bench.publishes.len();
        assert_eq!(sent, most, "after {second} s");
        bench.pass(1000);
    }
}

#[test]
fn answers_keep_to_their_bytes_and_whole_pulls_to_their_rate() {
    let limits = Limits {
        full_per_s: 5,
        bytes_per_s: 30_000,
        ..Limits::default()
    };
    let mut bench = Bench::with_limits(20, limits);
    for board in 0..20 {
        let body = vec![1; 20_000];
        bench.document(board, objects(&[("a", 3, &body)]), 10);
        bench.birth(board, None);
    }
    bench.hear();
    bench.publishes.clear();
    for board in 0..20 {
        bench.ask(board, 1, index(None, 0));
    }
    bench.hear();
    assert_eq!(
        bench.publishes.len(),
        5,
        "indexes to those who hold nothing"
    );
    bench.pass(1000);
    assert_eq!(bench.publishes.len(), 10);
    bench.pass(10_000);
    assert_eq!(bench.publishes.len(), 20);
    bench.publishes.clear();

    let before = bench.link.counters().answer_bytes;
    for board in 0..20 {
        let (version, ids) = (bench.version(board), vec![config_map("a")]);
        bench.ask(board, 2, Ask::Objects { version, ids });
    }
    bench.pass(5000);
    let sent = bench.link.counters().answer_bytes - before;
    assert!((150_000..=30_000 * 6 + 21_000).contains(&sent), "{sent}");
}

#[test]
fn of_many_requests_of_a_node_the_newest_is_answered() {
    let limits = Limits {
        bytes_per_s: 1,
        ..Limits::default()
    };
    let mut bench = Bench::with_limits(1, limits);
    bench.arrive(0);
    bench.answer(0, index(None, 0));
    for nonce in 1..100 {
        bench.ask(0, nonce, index(None, 0));
    }
    bench.pass(3_600_000);
    let responses: Vec<_> = (bench.topics().into_iter())
        .filter(|topic| matches!(topic, Topic::Response(..)))
        .cloned()
        .collect();
    assert_eq!(responses.len(), 1);
    assert_eq!(bench.response(0).nonce, Nonce([99; 16]));
}
