use proptest::prelude::*;

use super::*;

const START: i64 = 1_800_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(START + seconds)
}

fn note(name: &str, message: &str) -> Note {
    Note {
        regarding: Regarding {
            api_version: "v1".into(),
            kind: "Pod".into(),
            namespace: "d".into(),
            name: name.into(),
            uid: format!("uid-{name}"),
            field_path: String::new(),
        },
        warning: false,
        reason: "Pulled",
        message: message.into(),
        component: "kubelet",
        host: String::new(),
    }
}

/// Notes as `(second, object, message)`, and what each gives: `-` for nothing, else how many distinct
/// Events there were up to it and the count of its own.
#[track_caller]
fn check(script: &[(i64, &str, &str, &str)]) {
    let mut recorder = Recorder::default();
    let mut names: Vec<String> = Vec::new();
    for (second, object, message, want) in script {
        let write = recorder.record(&note(object, message), at(*second));
        let got = write.map_or("-".to_owned(), |write| {
            let number = names
                .iter()
                .position(|name| *name == write.name)
                .unwrap_or_else(|| {
                    names.push(write.name.clone());
                    names.len() - 1
                });
            format!("#{number} ×{}", write.object["count"])
        });
        assert_eq!(got, *want, "at {second}: {object} {message}");
    }
}

#[test]
fn a_note_that_comes_again_is_counted() {
    check(&[
        (0, "a", "x", "#0 ×1"),
        (1, "a", "x", "#0 ×2"),
        (1, "a", "y", "#1 ×1"),
        (2, "b", "x", "#2 ×1"),
        (3, "a", "x", "#0 ×3"),
        (TTL_S * 9, "a", "x", "#0 ×4"),
    ]);
}

#[test]
fn an_object_that_talks_too_much_is_held_to_one_in_five_minutes() {
    let mut recorder = Recorder::default();
    let mut said =
        |second: i64, name: &str| recorder.record(&note(name, "x"), at(second)).is_some();
    assert!((0..25).all(|_| said(0, "a")), "a burst of 25");
    assert!(!said(0, "a"));
    assert!(said(0, "b"), "others may speak");
    assert!(!said(299, "a"));
    assert!(said(300, "a"));
    assert!(!said(301, "a"));
    assert!(!said(200, "a"), "a clock that goes back gives nothing");
    assert_eq!(
        (0..99).filter(|_| said(1_000_000, "a")).count(),
        25,
        "never more than a burst"
    );
    assert_eq!(recorder.dropped(), 4 + 74);
}

#[test]
fn an_event_has_upstreams_shape() {
    let mut recorder = Recorder::default();
    let mut note = note("p", "m");
    recorder.record(&note, at(0)).unwrap();
    let write = recorder.record(&note, at(60)).unwrap();
    assert_eq!(
        write.object,
        json!({
            "kind": "Event",
            "apiVersion": "v1",
            "metadata": {"name": write.name, "namespace": "d", "creationTimestamp": at(0).rfc3339()},
            "involvedObject": {"kind": "Pod", "apiVersion": "v1", "namespace": "d", "name": "p", "uid": "uid-p"},
            "reason": "Pulled",
            "message": "m",
            "source": {"component": "kubelet"},
            "firstTimestamp": at(0).rfc3339(),
            "lastTimestamp": at(60).rfc3339(),
            "count": 2,
            "type": "Normal",
            "reportingComponent": "kubelet",
            "reportingInstance": "",
        })
    );
    assert_eq!(write.namespace, "d");

    note.warning = true;
    note.regarding.namespace = String::new();
    let write = recorder.record(&note, at(60)).unwrap();
    assert_eq!(
        (
            write.namespace.as_str(),
            &write.object["metadata"]["namespace"]
        ),
        ("default", &json!("default"))
    );
    assert_eq!(write.object["involvedObject"].get("namespace"), None);
    assert_eq!(
        (&write.object["type"], &write.object["count"]),
        (&json!("Warning"), &json!(1))
    );
}

#[test]
fn a_message_is_cut_between_characters() {
    for (message, want) in [
        ("x".repeat(1024), 1024),
        ("x".repeat(1025), 1024),
        ("€".repeat(400), 1023),
        (format!("x{}", "€".repeat(400)), 1024),
    ] {
        let write = Recorder::default()
            .record(&note("p", &message), at(0))
            .unwrap();
        let got = write.object["message"].as_str().unwrap();
        assert_eq!(got.len(), want);
        assert!(message.starts_with(got));
    }
}

#[test]
fn the_name_of_an_event_is_a_name_whatever_it_is_about() {
    for length in [1, 63, 230, 253] {
        let object = format!("{}.a", "b".repeat(length))
            .chars()
            .take(length)
            .collect::<String>();
        let name = Recorder::default()
            .record(&note(&object, "x"), at(0))
            .unwrap()
            .name;
        assert!(name.len() <= 253, "{} of {length}", name.len());
        assert!(
            !name.contains("..") && name.starts_with(&object[..length.min(200)]),
            "{name}"
        );
    }
}

#[test]
fn an_event_is_forgotten_an_hour_after_it_happened_last() {
    let mut recorder = Recorder::default();
    let first = recorder.record(&note("a", "x"), at(0)).unwrap().name;
    recorder.record(&note("a", "x"), at(1800));
    recorder.expire(at(1800 + TTL_S - 1));
    let again = recorder.record(&note("a", "x"), at(1800)).unwrap();
    assert_eq!(
        (again.name.as_str(), &again.object["count"]),
        (first.as_str(), &json!(3))
    );
    recorder.expire(at(1800 + TTL_S));
    let later = recorder.record(&note("a", "x"), at(1800 + TTL_S)).unwrap();
    assert_ne!(later.name, first);
    assert_eq!(later.object["count"], 1);
    recorder.expire(at(1_000_000));
    assert!(recorder.is_empty(), "nothing is left of what is long ago");
}

#[test]
fn what_is_remembered_is_bounded_however_many_speak_at_once() {
    let mut recorder = Recorder::default();
    for i in 0..2 * MAX + 10 {
        assert!(
            recorder.record(&note(&i.to_string(), "x"), at(0)).is_some(),
            "{i} speaks for the first time"
        );
    }
    assert_eq!((recorder.known.len(), recorder.order.len()), (MAX, MAX));
    assert!(
        recorder.buckets.len() <= MAX,
        "{} allowances",
        recorder.buckets.len()
    );
    let newest = recorder
        .record(&note(&(2 * MAX + 9).to_string(), "x"), at(1))
        .unwrap();
    assert_eq!(newest.object["count"], 2, "the oldest went");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_note_is_counted_or_dropped_and_different_ones_never_share_a_name(
        script in prop::collection::vec((0..5i64, 0..3usize, 0..3usize), 1..120),
    ) {
        let mut recorder = Recorder::default();
        let mut counts: BTreeMap<String, (u64, (usize, usize))> = BTreeMap::new();
        let mut now = 0;
        for (step, object, message) in &script {
            now += step;
            if let Some(write) = recorder.record(&note(&object.to_string(), &message.to_string()), at(now)) {
                let count = write.object["count"].as_u64().unwrap();
                let known = counts.entry(write.name).or_insert((0, (*object, *message)));
                prop_assert_eq!((count, known.1), (known.0 + 1, (*object, *message)));
                known.0 = count;
            }
        }
        let written: u64 = counts.values().map(|(count, _)| count).sum();
        prop_assert_eq!(written + recorder.dropped(), script.len() as u64);
    }
}
