//! Pulling documents.

use bramble_wire::document::Hash;
use bramble_wire::object::{NodeConfig, Object, ObjectName, Pod};

use super::*;

fn index_ask() -> Ask {
    Ask::Index {
        version: None,
        from: 0,
    }
}

#[test]
fn only_objects_that_changed_are_pulled() {
    let mut bench = Bench::settled(&wanted(1, 10, &[("a", 3, b"A"), ("b", 4, b"B")]));
    // "a" has a new revision and the same content; "c" is new; "b" is not wanted any more.
    let next = wanted(1, 12, &[("a", 11, b"A"), ("c", 12, b"C")]);
    bench.head(&next);
    let asked = bench.accept(&next);
    let (version, ids) = (next.head.version, vec![config_map("c")]);
    assert_eq!(asked, [index_ask(), Ask::Objects { version, ids }]);
    let document = bench.session.document().unwrap();
    assert_eq!(document.objects[&config_map("a")].revision, 11);
    assert_eq!(document.objects.len(), 2);
    assert!(document.unclaimed.is_empty(), "the epoch is the same");
}

#[test]
fn a_large_object_comes_in_pieces_and_goes_on_where_the_link_was_lost() {
    let body: Vec<u8> = (0..CHUNK_SIZE * 2 + 7).map(|i| (i % 251) as u8).collect();
    let large = wanted(1, 10, &[("a", 3, &body)]);
    let mut bench = Bench::welcomed(1, None, &large);
    assert_eq!(bench.serve(&large), index_ask());
    bench.serve(&large);
    let piece = |index| Ask::Chunk {
        version: large.head.version,
        id: config_map("a"),
        index,
    };
    assert_eq!(bench.serve(&large), piece(0));
    assert_eq!(bench.request().ask, piece(1));

    bench.session.handle_disconnected(bench.now);
    assert_eq!(bench.session.next_wake(), None);
    let birth = bench.connect();
    bench.welcome(&birth, &large);
    assert_eq!(bench.accept(&large), [piece(1), piece(2)]);
    let document = bench.session.document().unwrap();
    assert_eq!(*document.objects[&config_map("a")].body, *body);
}

#[test]
fn pieces_of_another_controllers_life_are_not_mixed() {
    let body = vec![9; CHUNK_SIZE + 1];
    let large = wanted(1, 10, &[("a", 3, &body)]);
    let mut bench = Bench::welcomed(1, None, &large);
    bench.serve(&large);
    bench.serve(&large);
    bench.serve(&large);
    // Another life of the controller answers: it would have sealed a Secret anew.
    (bench.controller, bench.seq) = (Boot(2), 0);
    let asked = bench.accept(&large);
    let begins_again = |ask: &Ask| matches!(ask, Ask::Objects { .. });
    assert!(asked.iter().any(begins_again), "{asked:?}");
    assert_eq!(
        *bench.session.document().unwrap().objects[&config_map("a")].body,
        *body
    );
}

#[test]
fn superseded_in_the_middle_keeps_what_was_pulled() {
    let old = wanted(1, 10, &[("a", 3, b"A"), ("b", 4, b"B")]);
    let new = wanted(1, 11, &[("a", 3, b"A"), ("b", 11, b"B2")]);
    let mut bench = Bench::welcomed(1, None, &old);
    bench.serve(&old);
    let request = bench.request();
    bench.answer(
        request.nonce,
        Answer::Objects(vec![old.body(&config_map("a"))]),
    );
    let request = bench.request();
    bench.answer(request.nonce, Answer::Superseded(new.head));
    let asked = bench.accept(&new);
    let (version, ids) = (new.head.version, vec![config_map("b")]);
    assert_eq!(asked, [index_ask(), Ask::Objects { version, ids }]);
}

#[test]
fn an_index_of_several_pieces_that_changes_between_them_starts_again() {
    let old = wanted(1, 10, &[("a", 3, b"A"), ("b", 4, b"B")]);
    let new = wanted(1, 11, &[("a", 3, b"A"), ("c", 11, b"C")]);
    let mut bench = Bench::welcomed(1, None, &old);
    let request = bench.request();
    let piece = |of: &Wanted, from: u32| Answer::Index {
        head: of.head,
        total: 2,
        from,
        entries: of.index[from as usize..=from as usize].to_vec(),
        cleared: false,
    };
    bench.answer(request.nonce, piece(&old, 0));
    let request = bench.request();
    let version = Some(old.head.version);
    assert_eq!(request.ask, Ask::Index { version, from: 1 });
    bench.answer(request.nonce, piece(&new, 1));
    assert_eq!(bench.serve(&new), index_ask());
    bench.accept(&new);
    assert_eq!(bench.session.counters().invalid, 0);
}

/// The controller came back without what it had last: it counts the same numbers again.
#[test]
fn a_pull_does_not_go_on_into_another_document_of_the_same_version() {
    let begun = wanted(2, 10, &[("a", 3, b"A"), ("b", 4, b"B")]);
    let mut history = wanted(2, 10, &[("a", 3, b"A"), ("c", 4, b"C")]);
    history.head.history = HistoryId([77; 16]);
    let content = wanted(2, 10, &[("c", 4, b"C")]);
    for (name, other) in [("another history", history), ("another content", content)] {
        let mut bench = Bench::welcomed(1, None, &begun);
        assert_eq!(bench.serve(&begun), index_ask(), "{name}");
        let request = bench.request();
        assert!(matches!(request.ask, Ask::Objects { .. }), "{name}");
        // The question is answered by nobody: another life of the controller is greeted.
        bench.session.handle_disconnected(bench.now);
        let birth = bench.connect();
        bench.welcome(&birth, &other);
        assert_eq!(bench.serve(&other), index_ask(), "{name}");
        bench.accept(&other);
        let document = bench.session.document().unwrap();
        assert_eq!(document.history, other.head.history, "{name}");
        assert_eq!(bench.session.counters().refused, 0, "{name}");
    }
}

#[test]
fn a_conflict_is_announced_once_a_minute() {
    let held = wanted(2, 10, &[("a", 3, b"A")]);
    let mut other = wanted(2, 10, &[("b", 3, b"B")]);
    other.head.history = HistoryId([77; 16]);
    let mut bench = Bench::settled(&held);
    for _ in 0..3 {
        let told = bench.now;
        bench.head(&other);
        bench.settle_reports();
        while !bench.has(|said| matches!(said, Said::Birth(_))) {
            bench.wait();
        }
        let waited = bench.now.0 - told.0;
        // A minute, plus or minus half of it.
        assert!((30_000..=90_000).contains(&waited), "{waited}");
        let birth = bench.birth();
        assert_eq!(birth.have, Some((held.head.version, held.head.history)));
        bench.welcome(&birth, &held);
        bench.settle();
    }
}

#[test]
fn a_head_that_comes_while_a_document_is_written_is_looked_at_afterwards() {
    let first = wanted(1, 10, &[("a", 3, b"A")]);
    let second = wanted(1, 11, &[("a", 11, b"A2")]);
    let mut bench = Bench::welcomed(1, None, &first);
    let (_, document) = bench.pull(&first);
    bench.head(&second);
    bench
        .session
        .handle_persisted(Version::default(), bench.now);
    assert_eq!(bench.session.document(), None, "another one was persisted");
    assert!(!bench.has(|said| matches!(said, Said::Request(_))));
    (bench.session).handle_persisted(document.version, bench.now);
    bench.accept(&second);
}

#[test]
fn lost_answers_are_asked_for_again_ever_more_seldom() {
    let newest = wanted(1, 10, &[("a", 3, b"A")]);
    let mut bench = Bench::welcomed(1, None, &newest);
    bench.settle_reports();
    let first = bench.request();
    let mut last = first.nonce;
    for attempt in 0..8 {
        let asked_at = bench.now;
        let next = loop {
            bench.wait();
            bench.said.retain(|said| !matches!(said, Said::Sum(_)));
            if bench.has(|said| matches!(said, Said::Request(_))) {
                break bench.request();
            }
        };
        let waited = bench.now.since(asked_at);
        let middle = (10_000u64 << attempt).min(300_000);
        let expected = middle / 2..=middle / 2 * 3;
        assert!(expected.contains(&waited), "{attempt}: {waited} ms");
        assert_eq!(next.ask, index_ask());
        assert_ne!(next.nonce, last, "each question has its nonce");
        last = next.nonce;
    }
    assert_eq!(bench.session.counters().retries, 8);
    bench.answer(first.nonce, newest.answer(&first.ask));
    assert_eq!(bench.session.counters().unasked, 1, "too late");
    bench.answer(last, newest.answer(&first.ask));
    bench.accept(&newest);
}

/// A settled node is offered `offered`, whose index is answered so: it must keep what it has and say why.
#[track_caller]
fn check_refused(name: &str, offered: &Wanted, answer: Option<Answer>) {
    let held = wanted(2, 10, &[("a", 3, b"A")]);
    let mut bench = Bench::settled(&held);
    let before = bench.session.document().cloned();
    match answer {
        None => bench.head(offered),
        Some(answer) => {
            // Something newer is announced; asked for it, the controller has this.
            bench.head(&wanted(2, 99, &[]));
            let request = bench.request();
            bench.answer(request.nonce, answer);
        }
    }
    let report = bench.report();
    assert!(!report.rejected.is_empty(), "{name}");
    assert_eq!(report.accepted, Some(held.head.version), "{name}");
    assert_eq!(bench.session.document(), before.as_ref(), "{name}");
    assert_eq!(bench.session.counters().refused, 1, "{name}");
    assert!(
        !bench.has(|said| matches!(said, Said::Persist(_))),
        "{name}"
    );

    // A good one is taken all the same, and ends the complaint.
    bench.ack(&report, &[]);
    let good = wanted(2, 100, &[("z", 100, b"Z")]);
    bench.head(&good);
    bench.accept(&good);
    bench.settle_until(|report| report.rejected.is_empty());
}

#[test]
fn documents_that_are_not_to_be_believed() {
    let newer = wanted(2, 11, &[("a", 11, b"A2")]);
    let other = wanted(2, 10, &[("a", 10, b"other")]);
    let mut history = wanted(2, 50, &[("a", 50, b"A")]);
    history.head.history = HistoryId([77; 16]);
    let older = wanted(2, 9, &[("a", 3, b"A")]);
    let past = wanted(1, 90, &[("a", 90, b"A")]);
    let twice = newer.clone().with(config_map("a"), 11, b"A2");
    let mut short = newer.clone();
    short.index.clear();
    let mut altered = newer.clone();
    altered.index[0].hash = Hash([5; 32]);

    check_refused("same version, another digest", &other, None);
    check_refused("same epoch, another history", &history, None);
    let index = |wanted: &Wanted| Some(wanted.answer(&index_ask()));
    for (name, offered) in [
        ("index of an older version", &older),
        ("index of an earlier epoch", &past),
        ("index of the same version with another digest", &other),
        ("index of another history", &history),
        ("index names an object twice", &twice),
        ("index lacks an entry", &short),
        ("index with an altered hash", &altered),
    ] {
        check_refused(name, offered, index(offered));
    }
    let many = Answer::Index {
        head: newer.head,
        total: u32::MAX,
        from: 0,
        entries: newer.index.clone(),
        cleared: false,
    };
    check_refused("too many objects", &newer, Some(many));
}

#[test]
fn a_head_from_the_past_is_counted_and_answered_with_what_the_node_holds() {
    let held = wanted(2, 10, &[("a", 3, b"A")]);
    for old in [wanted(2, 9, &[]), wanted(1, 99, &[])] {
        let mut bench = Bench::settled(&held);
        bench.head(&old);
        assert_eq!(bench.sum().accepted, Some(held.head.version));
        bench.silent();
        assert_eq!(bench.session.counters().refused, 1);
    }
}

#[test]
fn objects_that_are_not_what_the_index_says_are_asked_for_again_later() {
    let newest = wanted(1, 10, &[("a", 3, b"A"), ("b", 4, b"B")]);
    let good = newest.body(&config_map("a"));
    let tampered = ObjectBody {
        body: Body::Whole(b"evil".to_vec()),
        ..good.clone()
    };
    let revision = ObjectBody {
        revision: 2,
        ..good.clone()
    };
    let stranger = ObjectBody {
        id: config_map("z"),
        ..good.clone()
    };
    let missing = ObjectBody {
        body: Body::Missing,
        ..good
    };
    for bad in [tampered, revision, stranger, missing] {
        let mut bench = Bench::welcomed(1, None, &newest);
        bench.settle_reports();
        bench.serve(&newest);
        let request = bench.request();
        bench.answer(request.nonce, Answer::Objects(vec![bad.clone()]));
        assert_eq!(bench.session.counters().invalid, 1, "{bad:?}");
        assert_eq!(bench.session.document(), None);
        assert!(!bench.has(|said| matches!(said, Said::Request(_) | Said::Persist(_))));
        while !bench.has(|said| matches!(said, Said::Request(_))) {
            bench.wait();
        }
        bench.accept(&newest);
        let document = bench.session.document().unwrap();
        assert_eq!(*document.objects[&config_map("a")].body, *b"A");
        assert!(!document.objects.contains_key(&config_map("z")));
    }
}

#[test]
fn a_piece_out_of_order_or_of_a_wrong_size_is_not_taken() {
    let body = vec![9; CHUNK_SIZE * 2];
    let large = wanted(1, 10, &[("a", 3, &body)]);
    for (index, len) in [(1, CHUNK_SIZE), (0, CHUNK_SIZE - 1), (0, CHUNK_SIZE + 1)] {
        let mut bench = Bench::welcomed(1, None, &large);
        bench.settle_reports();
        bench.serve(&large);
        bench.serve(&large);
        let request = bench.request();
        let (id, revision, bytes) = (config_map("a"), 3, vec![9; len]);
        let chunk = Answer::Chunk {
            id,
            revision,
            index,
            bytes,
        };
        bench.answer(request.nonce, chunk);
        assert_eq!(bench.session.counters().invalid, 1, "{index} {len}");
        while !bench.has(|said| matches!(said, Said::Request(_))) {
            bench.wait();
        }
        bench.accept(&large);
    }
}

#[test]
fn a_higher_epoch_is_taken_and_what_it_lacks_stays_until_confirmed() {
    let pod = ObjectId::Pod(uid(1));
    let name = ObjectName {
        namespace: "shop".into(),
        name: "web".into(),
    };
    let body = bramble_wire::encode(&Object::Pod(Pod {
        uid: uid(1),
        name: name.clone(),
        ..Pod::default()
    }));
    let before = wanted(1, 900, &[("a", 3, b"A")]).with(pod.clone(), 4, &body);
    let mut bench = Bench::settled(&before);
    bench.observe([super::pod(1, Phase::Running)]);
    bench.settle();

    let config = |confirmed_epoch| {
        let config = NodeConfig {
            confirmed_epoch,
            ..NodeConfig::default()
        };
        bramble_wire::encode(&Object::Node(config))
    };
    let restored = wanted(2, 7, &[("b", 5, b"B")]).with(ObjectId::Node, 6, &config(1));
    bench.head(&restored);
    bench.accept(&restored);
    let document = bench.session.document().unwrap().clone();
    assert_eq!(document.objects.len(), 2);
    let unclaimed: Vec<_> = document.unclaimed.keys().cloned().collect();
    assert_eq!(unclaimed, [pod, config_map("a")]);
    assert!(document.names_pod(&uid(1)));
    let report = bench.report();
    assert_eq!(report.accepted, Some(restored.head.version));
    assert!(report.pods.len() == 1 && report.pods[0].unclaimed);
    assert_eq!(report.pods[0].name, Some(name));
    bench.ack(&report, &[]);
    bench.settle();

    let next = wanted(2, 8, &[("b", 5, b"B")]).with(ObjectId::Node, 6, &config(0));
    bench.head(&next);
    bench.accept(&next);
    assert_eq!(bench.session.document().unwrap().unclaimed.len(), 2);

    let confirmed = wanted(2, 9, &[]).with(ObjectId::Node, 9, &config(2));
    bench.head(&confirmed);
    bench.accept(&confirmed);
    assert!(!bench.session.document().unwrap().names_pod(&uid(1)));
}

#[test]
fn a_pod_that_a_person_lets_go_is_not_kept() {
    let pods = [ObjectId::Pod(uid(1)), ObjectId::Pod(uid(2))];
    let [first, second] = pods.clone();
    let before = wanted(1, 900, &[("a", 3, b"A")]);
    let before = before
        .with(first, 4, b"pod")
        .with(second.clone(), 4, b"pod");
    let mut bench = Bench::settled(&before);
    let config = |released: &[PodUid]| {
        let config = NodeConfig {
            released: released.to_vec(),
            ..NodeConfig::default()
        };
        bramble_wire::encode(&Object::Node(config))
    };
    let kept = |bench: &Bench| {
        let document = bench.session.document().unwrap();
        document.unclaimed.keys().cloned().collect::<Vec<_>>()
    };
    let restored = wanted(2, 7, &[]).with(ObjectId::Node, 6, &config(&[]));
    bench.head(&restored);
    bench.accept(&restored);
    assert_eq!(kept(&bench), [&pods[..], &[config_map("a")]].concat());

    let released = wanted(2, 8, &[]).with(ObjectId::Node, 7, &config(&[uid(1)]));
    bench.head(&released);
    bench.accept(&released);
    assert_eq!(kept(&bench), [second, config_map("a")]);

    // A node that was away learns of both at once.
    let mut bench = Bench::settled(&before);
    bench.head(&released);
    bench.accept(&released);
    assert_eq!(kept(&bench), [pods[1].clone(), config_map("a")]);
}

#[test]
fn a_secret_of_another_history_is_pulled_anew() {
    let secret = ObjectId::Secret(object_name("s"));
    let before = wanted(1, 10, &[("a", 3, b"A")]).with(secret.clone(), 4, b"sealed");
    let mut bench = Bench::settled(&before);
    // The same history: the same revision is the same content.
    let next = wanted(1, 11, &[]).with(secret.clone(), 4, b"sealed again");
    bench.head(&next);
    assert_eq!(bench.accept(&next), [index_ask()]);
    // Another one: it is not.
    let restored = wanted(2, 5, &[]).with(secret.clone(), 4, b"another secret");
    bench.head(&restored);
    bench.accept(&restored);
    let document = bench.session.document().unwrap();
    assert_eq!(*document.objects[&secret].body, *b"another secret");
}

impl Bench {
    /// Acknowledges what was reported and leaves everything else.
    fn settle_reports(&mut self) {
        while self.ack_all() {}
    }

    /// Acknowledges until there is nothing more to say: the last report must be like this.
    #[track_caller]
    fn settle_until(&mut self, like: fn(&Report) -> bool) {
        let mut last = None;
        while self.has(|said| matches!(said, Said::Report(_))) {
            let report = self.report();
            self.ack(&report, &[]);
            last = Some(report);
        }
        assert!(last.as_ref().is_some_and(like), "{last:?}");
    }
}
