//! One stored sample of every message and object, in `tests/compat/wire-v1`: the bytes of a released
//! version must decode to the same value for ever. `BRAMBLE_BLESS=1` writes the samples of messages
//! that have none yet; an existing one is never overwritten.

mod shim;
mod values;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;

use bramble_wire::document::{Digest, IndexEntry};
use bramble_wire::envelope::{self, KeyId, Message, Sequence};
use bramble_wire::message::{
    Answer, Ask, Birth, Body, ControllerState, Head, Life, ObjectBody, Report, Request, Response,
    Sum,
};
use bramble_wire::name::{ClusterId, NodeName};
use bramble_wire::object::{
    Cidr, ConfigMap, NodeConfig, Object, ObjectId, SealedSecret, SecretData, Token, Tokens,
};
use bramble_wire::seal::{self, Binding, SealingSecret};
use bramble_wire::stream::{self, In, Logs, Out, Stdio, StreamError, What};
use bramble_wire::version::{Boot, HardwareId, HistoryId, Nonce};
use ed25519_dalek::SigningKey;
use serde::Serialize;
use serde::de::DeserializeOwned;

use values::{facts, head, name, nonce, pod, pod_report, uid, version};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/compat/wire-v1")
}

fn stored(name: &str, bytes: &[u8]) -> Vec<u8> {
    let path = folder().join(format!("{name}.bin"));
    if !path.exists() && std::env::var_os("BRAMBLE_BLESS").is_some() {
        std::fs::create_dir_all(folder()).unwrap();
        std::fs::write(&path, bytes).unwrap();
    }
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The stored bytes mean `value`, and `value` is written as the stored bytes.
fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(name: &str, value: &T) {
    let now = bramble_wire::encode(value);
    let stored = stored(name, &now);
    let read: T = bramble_wire::decode(&stored, "sample").unwrap_or_else(|e| panic!("{name}: {e}"));
    assert_eq!(&read, value, "{name} means something else now");
    assert_eq!(stored, now, "{name} is written in another way now");
}

#[test]
fn every_message_of_version_1_loads() {
    check("head", &head());
    for (label, ask) in [
        (
            "index",
            Ask::Index {
                version: Some(version()),
                from: 7,
            },
        ),
        (
            "objects",
            Ask::Objects {
                version: version(),
                ids: vec![ObjectId::Pod(uid())],
            },
        ),
        (
            "chunk",
            Ask::Chunk {
                version: version(),
                id: ObjectId::ConfigMap(name("c")),
                index: 2,
            },
        ),
    ] {
        check(
            &format!("request-{label}"),
            &Request {
                nonce: nonce(),
                ask,
            },
        );
    }
    let entry = IndexEntry::of(ObjectId::Secret(name("s")), 12, b"");
    let body = |body| ObjectBody {
        id: ObjectId::Pod(uid()),
        revision: 12,
        body,
    };
    for (label, answer) in [
        (
            "welcome",
            Answer::Welcome {
                session: nonce(),
                head: head(),
                unix_s: 1_800_000_000,
            },
        ),
        (
            "index",
            Answer::Index {
                head: head(),
                total: 9,
                from: 7,
                entries: vec![entry],
                cleared: true,
            },
        ),
        (
            "objects",
            Answer::Objects(vec![
                body(Body::Whole(vec![1, 2])),
                body(Body::Chunked { len: 70_000 }),
                body(Body::Missing),
            ]),
        ),
        (
            "chunk",
            Answer::Chunk {
                id: ObjectId::Node,
                revision: 1,
                index: 2,
                bytes: vec![3],
            },
        ),
        ("superseded", Answer::Superseded(head())),
        (
            "report-ack",
            Answer::ReportAck {
                number: 4,
                forget: vec![uid()],
            },
        ),
        ("announce", Answer::Announce),
        ("refused", Answer::Refused { challenge: nonce() }),
    ] {
        check(
            &format!("response-{label}"),
            &Response {
                nonce: nonce(),
                answer,
            },
        );
    }
    check(
        "birth",
        &Birth {
            boot: Boot(8),
            connection: Nonce([9; 16]),
            nonce: nonce(),
            schemas: (1, 1),
            have: Some((version(), HistoryId([4; 16]))),
            digest: Digest([5; 32]),
            facts: facts(),
            hardware: Some(HardwareId([10; 16])),
            process: Nonce([11; 16]),
            refused: Some(Nonce([12; 16])),
        },
    );
    check(
        "life-lost",
        &Life::Lost {
            boot: Boot(8),
            connection: nonce(),
        },
    );
    check(
        "life-bye",
        &Life::Bye {
            boot: Boot(8),
            connection: nonce(),
        },
    );
    check(
        "sum",
        &Sum {
            session: nonce(),
            accepted: Some(version()),
            digest: Digest([5; 32]),
            observed: Digest([6; 32]),
        },
    );
    check(
        "report",
        &Report {
            session: nonce(),
            number: 5,
            full: true,
            more: false,
            accepted: Some(version()),
            converged: None,
            pods: vec![pod_report()],
            facts: Some(facts()),
            first_event: 0,
            events: Vec::new(),
            usage: None,
            rejected: "because".into(),
        },
    );
    check(
        "controller-state",
        &ControllerState {
            epoch: 2,
            term: 3,
            boot: Boot(4),
            history: HistoryId([4; 16]),
            online: true,
            instance: Nonce([13; 16]),
            heard: Some(Nonce([14; 16])),
        },
    );
    let logs = Logs {
        pod: uid(),
        container: "main".into(),
        follow: true,
        previous: true,
        timestamps: true,
        tail_lines: Some(10),
        since_unix_s: Some(-1),
        limit_bytes: Some(1),
        resume: Some(stream::Resume {
            cursor: vec![1, 2],
            skip: 300,
            line_open: true,
        }),
    };
    check(
        "stream-open",
        &stream::Open {
            boot: Boot(8),
            credit: 65_536,
            what: What::Logs(logs),
        },
    );
    check("stream-in-credit", &In::Credit(100_000));
    check("stream-in-close", &In::Close);
    check(
        "stream-out-data",
        &Out::Data {
            offset: 9,
            bytes: vec![1],
        },
    );
    for (label, error) in [
        ("end", None),
        ("not-found", Some(StreamError::NotFound("p".into()))),
        ("unavailable", Some(StreamError::Unavailable("p".into()))),
        ("failed", Some(StreamError::Failed("p".into()))),
        ("lost", Some(StreamError::Lost("p".into()))),
    ] {
        check(
            &format!("stream-out-{label}"),
            &Out::End { offset: 9, error },
        );
    }
}

#[test]
fn every_stream_of_version_1_loads() {
    let stdio = Stdio {
        stdin: true,
        stdout: true,
        stderr: false,
        tty: true,
    };
    let (pod, container) = (uid(), String::from("main"));
    let command = vec!["sh".into(), "-c".into()];
    for (label, what) in [
        (
            "exec",
            What::Exec(stream::Exec {
                pod,
                container: container.clone(),
                command,
                stdio,
            }),
        ),
        (
            "attach",
            What::Attach(stream::Attach {
                pod,
                container,
                stdio,
            }),
        ),
        ("object", What::Object(ObjectId::ConfigMap(name("c")))),
        (
            "forward",
            What::Forward(stream::Forward {
                pod,
                ports: vec![80],
            }),
        ),
    ] {
        let open = stream::Open {
            boot: Boot(8),
            credit: 16_384,
            what,
        };
        check(&format!("stream-open-{label}"), &open);
    }
    let (channel, offset, bytes) = (2, 9, vec![1, 2]);
    let data = In::Data {
        channel,
        offset,
        bytes: bytes.clone(),
    };
    for (label, input) in [
        ("data", data),
        ("end", In::End { channel, offset }),
        (
            "resize",
            In::Resize {
                columns: 101,
                rows: 40,
            },
        ),
        ("connect", In::Connect { channel, port: 80 }),
        (
            "channel-credit",
            In::ChannelCredit {
                channel,
                credit: 32_768,
            },
        ),
        ("disconnect", In::Disconnect { channel }),
    ] {
        check(&format!("stream-in-{label}"), &input);
    }
    let error = Some(StreamError::Failed("p".into()));
    for (label, out) in [
        (
            "credit",
            Out::Credit {
                channel,
                credit: 32_768,
            },
        ),
        (
            "channel-data",
            Out::ChannelData {
                channel,
                offset,
                bytes,
            },
        ),
        (
            "channel-end",
            Out::ChannelEnd {
                channel,
                offset,
                error,
            },
        ),
        ("exit", Out::Exit { code: 137 }),
        ("ready", Out::Ready),
        (
            "log",
            Out::Log {
                offset,
                bytes: vec![1, 2],
                mark: stream::Mark {
                    offset: 10,
                    cursor: vec![3],
                },
            },
        ),
    ] {
        check(&format!("stream-out-{label}"), &out);
    }
}

#[test]
fn every_object_of_version_1_loads() {
    let config = NodeConfig {
        pod_cidr: Cidr {
            address: [10, 42, 0, 0],
            prefix: 24,
        },
        service_cidr: Cidr {
            address: [10, 43, 0, 0],
            prefix: 16,
        },
        confirmed_epoch: 2,
        brokers: vec!["mqtts://pi.lan:8883".into()],
        released: vec![uid()],
    };
    check("object-node", &Object::Node(config));
    check("object-pod", &Object::Pod(pod()));
    let data = BTreeMap::from([("k".to_owned(), b"v".to_vec())]);
    let map = ConfigMap {
        name: name("c"),
        data: data.clone(),
    };
    check("object-configmap", &Object::ConfigMap(map));

    // A seal is opened, not compared: what was sealed then must open now.
    let (secret, public) = SealingSecret::from_seed(&[1; 32]);
    let (cluster, node) = (ClusterId::new("c1").unwrap(), NodeName::new("n1").unwrap());
    let id = ObjectId::Secret(name("s"));
    let binding = Binding {
        cluster: &cluster,
        node: &node,
        id: &id,
        revision: 12,
    };
    let plain = SecretData(data);
    let sealed = seal::seal(&public, binding, &bramble_wire::encode(&plain), &[2; 32]).unwrap();
    let object = Object::Secret(SealedSecret {
        name: name("s"),
        sealed,
    });
    let bytes = stored("object-secret", &bramble_wire::encode(&object));
    let Object::Secret(read) = bramble_wire::decode(&bytes, "sample").unwrap() else {
        panic!("object-secret is no Secret now");
    };
    let opened = seal::open(&secret, binding, &read.sealed).unwrap();
    assert_eq!(
        bramble_wire::decode::<SecretData>(&opened, "data").unwrap(),
        plain
    );

    let id = ObjectId::Tokens(uid());
    let binding = Binding { id: &id, ..binding };
    let plain = Tokens(vec![Token {
        audience: "vault".into(),
        expiration_s: 3607,
        token: "t".into(),
        expires_unix_s: 9,
    }]);
    let sealed = seal::seal(&public, binding, &bramble_wire::encode(&plain), &[2; 32]).unwrap();
    let bytes = stored(
        "object-tokens",
        &bramble_wire::encode(&Object::Tokens(sealed)),
    );
    let Object::Tokens(read) = bramble_wire::decode(&bytes, "sample").unwrap() else {
        panic!("object-tokens are no tokens now");
    };
    let opened = seal::open(&secret, binding, &read).unwrap();
    assert_eq!(
        bramble_wire::decode::<Tokens>(&opened, "tokens").unwrap(),
        plain
    );
}

#[test]
fn a_signed_packet_of_version_1_opens() {
    let key = SigningKey::from_bytes(&[3; 32]);
    let me = KeyId([4; 8]);
    let sequence = Sequence {
        epoch: 2,
        boot: Boot(4),
        seq: 5,
    };
    let topic = "bramble/v1/c1/nodes/n1/d/head";
    let now = envelope::sign(&key, topic, me, sequence, &head()).unwrap();
    let stored = stored("packet", &now);
    assert_eq!(stored, now, "Ed25519 signatures are deterministic");
    let opened = envelope::open::<Head>(&stored, topic, me, &key.verifying_key()).unwrap();
    assert_eq!((opened.message, opened.sequence), (head(), sequence));
}

#[test]
fn every_kind_keeps_its_number() {
    fn number<M: Message>() -> Vec<u8> {
        bramble_wire::encode(&M::KIND)
    }
    let numbers = [
        number::<Head>(),
        number::<Request>(),
        number::<Response>(),
        number::<Birth>(),
        number::<Life>(),
        number::<Sum>(),
        number::<Report>(),
        number::<stream::Open>(),
        number::<In>(),
        number::<Out>(),
        number::<ControllerState>(),
    ];
    let expected: Vec<_> = (0..11u8).map(|n| vec![n]).collect();
    assert_eq!(numbers.to_vec(), expected);
}
