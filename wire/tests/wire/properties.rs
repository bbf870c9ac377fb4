//! What holds for every value: what goes in comes out, and nothing else is taken.

use bramble_wire::chunk::{self, Assembly};
use bramble_wire::document::{self, IndexEntry};
use bramble_wire::envelope::{self, Error, KeyId, ReplayGuard, Sequence};
use bramble_wire::limits::{BODY_MAX, CHUNK_SIZE, PACKET_MAX};
use bramble_wire::message::{
    Answer, Birth, ControllerState, Head, Life, Report, Request, Response, Sum,
};
use bramble_wire::name::{ClusterId, NodeName};
use bramble_wire::object::{ObjectId, ObjectName, PodUid};
use bramble_wire::seal::{self, Binding, SealingSecret};
use bramble_wire::stream::{self, In};
use bramble_wire::topic::{StreamId, Topic};
use bramble_wire::version::{Boot, HistoryId, Version};
use ed25519_dalek::SigningKey;
use proptest::prelude::*;

fn cluster() -> ClusterId {
    ClusterId::new("c1").unwrap()
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn id(seed: u8) -> KeyId {
    KeyId::of(&key(seed).verifying_key())
}

fn sequence(seq: u64) -> Sequence {
    Sequence {
        epoch: 1,
        boot: Boot(3),
        seq,
    }
}

fn node() -> impl Strategy<Value = NodeName> {
    "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?".prop_map(|text| NodeName::new(&text).unwrap())
}

fn topic() -> impl Strategy<Value = Topic> {
    (node(), any::<u64>(), 0..11u8).prop_map(|(node, number, which)| match which {
        0 => Topic::Head(node),
        1 => Topic::Request(node, Boot(number)),
        2 => Topic::Response(node, Boot(number)),
        3 => Topic::Birth(node),
        4 => Topic::Life(node),
        5 => Topic::Sum(node),
        6 => Topic::Report(node),
        7 => Topic::StreamOpen(node, StreamId(number)),
        8 => Topic::StreamIn(node, StreamId(number)),
        9 => Topic::StreamOut(node, StreamId(number)),
        _ => Topic::Controller,
    })
}

fn head() -> impl Strategy<Value = Head> {
    (
        any::<(u64, u64, u64)>(),
        any::<[u8; 16]>(),
        any::<[u8; 32]>(),
    )
        .prop_map(|((epoch, term, rev), history, digest)| Head {
            version: Version { epoch, term, rev },
            history: HistoryId(history),
            digest: document::Digest(digest),
        })
}

fn object_id() -> impl Strategy<Value = ObjectId> {
    let name =
        ("[a-z]{1,8}", "[a-z]{1,8}").prop_map(|(namespace, name)| ObjectName { namespace, name });
    prop_oneof![
        Just(ObjectId::Node),
        any::<[u8; 16]>().prop_map(|uid| ObjectId::Pod(PodUid(uid))),
        name.clone().prop_map(ObjectId::ConfigMap),
        name.prop_map(ObjectId::Secret),
    ]
}

proptest! {
    #[test]
    fn a_topic_is_parsed_as_it_was_written(topic in topic()) {
        let text = topic.text(&cluster());
        prop_assert_eq!(Topic::parse(&cluster(), &text), Some(topic.clone()));
        let other = ClusterId::new("c2").unwrap();
        prop_assert_eq!(Topic::parse(&other, &text), None);
        // One text, one meaning: nothing but the written form is taken.
        for altered in [format!("{text}/"), format!("/{text}"), text.replace("/v1/", "/v2/")] {
            prop_assert_eq!(Topic::parse(&cluster(), &altered), None);
        }
    }

    #[test]
    fn arbitrary_text_is_no_topic_or_its_own_text(text in "(bramble/v1/c1/)?[a-z0-9/+#]{0,40}") {
        if let Some(topic) = Topic::parse(&cluster(), &text) {
            let written = topic.text(&cluster());
            prop_assert_eq!(written.as_str(), text);
        }
    }

    #[test]
    fn a_name_is_an_rfc_1123_label(text in "\\PC{0,70}") {
        let valid = !text.is_empty() && text.len() <= 63
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !text.starts_with('-') && !text.ends_with('-');
        prop_assert_eq!(NodeName::new(&text).is_ok(), valid);
    }

    #[test]
    fn an_envelope_opens_for_its_recipient_on_its_topic_only(head in head(), topic in topic()) {
        let text = topic.text(&cluster());
        let bytes = envelope::sign(&key(1), &text, id(2), sequence(9), &head).unwrap();
        let opened = envelope::open::<Head>(&bytes, &text, id(2), &key(1).verifying_key()).unwrap();
        prop_assert_eq!(opened.message, head);
        prop_assert_eq!(opened.sequence, sequence(9));
        let sender = key(1).verifying_key();
        let open = |topic: &str, me, sender| envelope::open::<Head>(&bytes, topic, me, sender);
        prop_assert_eq!(open("bramble/v1/c1/elsewhere", id(2), &sender), Err(Error::Signature));
        prop_assert_eq!(open(&text, id(3), &sender), Err(Error::Recipient));
        prop_assert_eq!(open(&text, id(2), &key(3).verifying_key()), Err(Error::Sender));
        let other = envelope::open::<Life>(&bytes, &text, id(2), &sender);
        prop_assert!(matches!(other, Err(Error::Kind(_))));
    }

    #[test]
    fn no_altered_byte_is_believed(head in head(), at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let mut bytes = envelope::sign(&key(1), "t", id(2), sequence(1), &head).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(envelope::open::<Head>(&bytes, "t", id(2), &key(1).verifying_key()).is_err());
    }

    #[test]
    fn no_cut_or_lengthened_packet_is_believed(head in head(), cut in any::<prop::sample::Index>()) {
        let mut bytes = envelope::sign(&key(1), "t", id(2), sequence(1), &head).unwrap();
        let open = |bytes: &[u8]| envelope::open::<Head>(bytes, "t", id(2), &key(1).verifying_key());
        prop_assert!(open(&bytes[..cut.index(bytes.len())]).is_err());
        bytes.push(0);
        prop_assert!(open(&bytes).is_err());
    }

    #[test]
    fn arbitrary_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let sender = key(1).verifying_key();
        // The version byte lets half of them past the first check.
        let mut versioned = bytes.clone();
        versioned.insert(0, 1);
        for bytes in [&bytes, &versioned] {
            prop_assert!(envelope::open::<Response>(bytes, "t", id(2), &sender).is_err());
        }
        // Bodies behind a right signature are decoded too: whatever they hold, no panic.
        let _ = bramble_wire::decode::<Head>(&bytes, "head");
        let _ = bramble_wire::decode::<Request>(&bytes, "request");
        let _ = bramble_wire::decode::<Response>(&bytes, "response");
        let _ = bramble_wire::decode::<Birth>(&bytes, "birth");
        let _ = bramble_wire::decode::<Sum>(&bytes, "sum");
        let _ = bramble_wire::decode::<Report>(&bytes, "report");
        let _ = bramble_wire::decode::<ControllerState>(&bytes, "state");
        let _ = bramble_wire::decode::<stream::Open>(&bytes, "open");
        let _ = bramble_wire::decode::<stream::Out>(&bytes, "out");
        let _ = bramble_wire::decode::<In>(&bytes, "in");
        let _ = bramble_wire::decode::<bramble_wire::object::Object>(&bytes, "object");
    }

    #[test]
    fn a_replay_guard_takes_each_message_of_its_window_once(seqs in prop::collection::vec(1..200u64, 1..200)) {
        let mut guard = ReplayGuard::default();
        let mut taken = std::collections::BTreeSet::new();
        for seq in seqs {
            let highest = taken.last().copied().unwrap_or(0);
            let expected = !taken.contains(&seq) && (seq > highest || highest - seq < 64);
            prop_assert_eq!(guard.accept(sequence(seq)).is_ok(), expected, "{} after {:?}", seq, taken);
            if expected {
                taken.insert(seq);
            }
        }
        // A later boot starts anew, the earlier one is over.
        let reborn = Sequence { boot: Boot(4), ..sequence(1) };
        prop_assert_eq!(guard.accept(reborn), Ok(()));
        prop_assert!(guard.accept(sequence(1_000)).is_err());
    }

    #[test]
    fn a_digest_depends_on_the_entries_and_not_on_their_order(
        entries in prop::collection::vec((object_id(), any::<u64>(), any::<Vec<u8>>()), 1..20),
        change in any::<prop::sample::Index>(),
    ) {
        let mut index: Vec<_> = entries
            .into_iter()
            .map(|(id, revision, body)| (id.clone(), IndexEntry::of(id, revision, &body)))
            .collect::<std::collections::BTreeMap<_, _>>()
            .into_values()
            .collect();
        let sorted = document::digest(&mut index.clone());
        index.reverse();
        prop_assert_eq!(document::digest(&mut index.clone()), sorted);
        let at = change.index(index.len());
        index[at].revision = index[at].revision.wrapping_add(1);
        prop_assert_ne!(document::digest(&mut index), sorted);
    }

    #[test]
    fn a_body_in_pieces_is_the_body(len in 0..4 * CHUNK_SIZE, again in any::<bool>()) {
        let body: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
        let mut assembly = Assembly::new(len).unwrap();
        for index in 0..chunk::count(len) {
            prop_assert_eq!(assembly.next(), Some(index));
            let piece = chunk::chunk(&body, index).unwrap();
            prop_assert!(assembly.push(index + 1, piece).is_err(), "one was left out");
            prop_assert!(assembly.push(index, &piece[1..]).is_err(), "one was cut");
            assembly.push(index, piece).unwrap();
            if again {
                assembly.push(index, piece).unwrap();
            }
        }
        prop_assert_eq!(chunk::chunk(&body, chunk::count(len)), None);
        prop_assert_eq!(assembly.finish(), Some(body));
    }

    #[test]
    fn a_sealed_secret_opens_under_its_own_binding_only(plain in any::<Vec<u8>>(), revision in any::<u64>()) {
        let (secret, public) = SealingSecret::from_seed(&[7; 32]);
        let (other, _) = SealingSecret::from_seed(&[8; 32]);
        let (cluster, node) = (cluster(), NodeName::new("n1").unwrap());
        let name = ObjectName { namespace: "a".into(), name: "b".into() };
        let id = ObjectId::Secret(name);
        let binding = Binding { cluster: &cluster, node: &node, id: &id, revision };
        let mut sealed = seal::seal(&public, binding, &plain, &[9; 32]).unwrap();
        prop_assert_eq!(seal::open(&secret, binding, &sealed), Ok(plain.clone()));
        prop_assert!(seal::open(&other, binding, &sealed).is_err());
        let elsewhere = NodeName::new("n2").unwrap();
        let other_node = Binding { node: &elsewhere, ..binding };
        prop_assert!(seal::open(&secret, other_node, &sealed).is_err());
        let later = Binding { revision: revision.wrapping_add(1), ..binding };
        prop_assert!(seal::open(&secret, later, &sealed).is_err());
        if plain.len() >= 8 {
            prop_assert!(!sealed.ciphertext.windows(plain.len()).any(|part| part == plain));
        }
        sealed.ciphertext[0] ^= 1;
        prop_assert!(seal::open(&secret, binding, &sealed).is_err());
    }
}

#[test]
fn what_is_over_a_limit_is_refused() {
    assert!(Assembly::new(BODY_MAX).is_ok());
    assert!(Assembly::new(BODY_MAX + 1).is_err());
    let bytes = vec![0; PACKET_MAX];
    let answer = Answer::Chunk {
        id: ObjectId::Node,
        revision: 1,
        index: 0,
        bytes,
    };
    let response = Response {
        nonce: Default::default(),
        answer,
    };
    let signed = envelope::sign(&key(1), "t", id(2), sequence(1), &response);
    assert!(matches!(signed, Err(Error::Oversize(_))), "{signed:?}");
    let mut packet = vec![1; PACKET_MAX + 1];
    let opened = envelope::open::<Response>(&packet, "t", id(2), &key(1).verifying_key());
    assert_eq!(opened, Err(Error::Oversize(PACKET_MAX + 1)));
    packet.truncate(10);
    packet[0] = 2;
    let opened = envelope::open::<Response>(&packet, "t", id(2), &key(1).verifying_key());
    assert_eq!(opened, Err(Error::Protocol(2)));
}

#[test]
fn the_longest_topic_fits() {
    let longest = "a".repeat(63);
    let (cluster, node) = (
        ClusterId::new(&longest).unwrap(),
        NodeName::new(&longest).unwrap(),
    );
    let topic = Topic::StreamOut(node, StreamId(u64::MAX));
    assert_eq!(Topic::parse(&cluster, &topic.text(&cluster)), Some(topic));
}

#[test]
fn uids_have_one_text() {
    let text = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";
    assert_eq!(PodUid::parse(text).unwrap().to_string(), text);
    for wrong in [
        "",
        &text[1..],
        &text.to_uppercase(),
        &text.replace('-', "0"),
    ] {
        assert_eq!(PodUid::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn a_guard_that_starts_at_a_message_refuses_it_and_everything_before() {
    let at = |boot, seq| Sequence {
        epoch: 1,
        boot: Boot(boot),
        seq,
    };
    let mut guard = ReplayGuard::starting_at(at(3, 100));
    for seq in 1..=100 {
        assert_eq!(guard.accept(at(3, seq)), Err(Error::Replay), "{seq}");
    }
    assert_eq!(guard.accept(at(2, 900)), Err(Error::Replay));
    assert!(guard.is_ahead_of(at(3, 99)) && guard.is_ahead_of(at(2, 900)));
    assert!(!guard.is_ahead_of(at(3, 100)) && !guard.is_ahead_of(at(4, 1)));
    assert_eq!(guard.accept(at(3, 102)), Ok(()));
    assert_eq!(guard.accept(at(3, 101)), Ok(()), "reordered, not seen");
    assert_eq!(guard.accept(at(3, 101)), Err(Error::Replay));
}
