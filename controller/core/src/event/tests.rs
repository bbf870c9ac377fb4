use std::collections::BTreeMap;

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
        reason: "Pulled".into(),
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
    let write = recorder.record(&note("a", "x"), at(2_000_000)).unwrap();
    assert_eq!(
        write.object["count"],
        25 + 4 + 1 + 99 + 1,
        "what was not written is counted"
    );
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
            "series": {"count": 2, "lastObservedTime": at(60).rfc3339_micro()},
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
    let oldest = recorder.record(&note("0", "x"), at(1)).unwrap();
    assert_eq!(oldest.object["count"], 1, "the oldest went");
    let newest = recorder
        .record(&note(&(2 * MAX + 9).to_string(), "x"), at(1))
        .unwrap();
    assert_eq!(newest.object["count"], 2, "the newest stays");
}

#[test]
fn the_newer_group_shows_a_series_from_the_second_time_on() {
    let kind = bramble_api::kind::find("events.k8s.io", "v1", "events").unwrap();
    let mut recorder = Recorder::default();
    let second = Timestamp {
        nanos: 250_000_999,
        ..at(60)
    };
    for (now, series) in [
        (at(0), Value::Null),
        (
            second,
            json!({"count": 2, "lastObservedTime": "2027-01-15T08:01:00.250000Z"}),
        ),
        (
            at(61),
            json!({"count": 3, "lastObservedTime": "2027-01-15T08:01:01.000000Z"}),
        ),
    ] {
        let mut event = recorder.record(&note("p", "m"), now).unwrap().object;
        assert_eq!(event["lastTimestamp"], now.rfc3339());
        bramble_api::convert::to_served(kind, &mut event);
        assert_eq!(event["series"], series);
        assert_eq!(event["apiVersion"], "events.k8s.io/v1");
    }
}

#[test]
fn a_clock_set_back_silences_nobody_for_longer() {
    let mut recorder = Recorder::default();
    let mut said = |second: i64| recorder.record(&note("a", "x"), at(second)).is_some();
    assert_eq!((0..99).filter(|_| said(1_000_000)).count(), 25);
    assert!(!said(0));
    assert!(!said(299));
    assert!(said(300));
}

/// Different messages at these seconds, then others with what is written of them.
#[track_caller]
fn check_combined(before: &[i64], script: &[(i64, &str, &str)]) {
    let mut recorder = Recorder::default();
    for (i, second) in before.iter().enumerate() {
        let message = format!("m{i}");
        let write = recorder.record(&note("p", &message), at(*second)).unwrap();
        assert_eq!(write.object["message"], message, "the {i}th is its own");
    }
    for (second, message, want) in script {
        let write = recorder.record(&note("p", message), at(*second)).unwrap();
        let got = format!(
            "{} ×{}",
            write.object["message"].as_str().unwrap(),
            write.object["count"]
        );
        assert_eq!(got, *want, "at {second}");
    }
}

#[test]
fn what_differs_by_words_alone_is_combined_from_the_tenth_on() {
    check_combined(
        &[0; 9],
        &[
            (1, "m3", "m3 ×2"),
            (2, "a", "(combined from similar events): a ×1"),
            (3, "b", "(combined from similar events): b ×2"),
            (4, "b", "b ×1"),
            (603, "c", "(combined from similar events): c ×3"),
            // Silence of more than ten minutes.
            (1204, "d", "d ×1"),
        ],
    );
    // The ten minutes begin anew with each.
    check_combined(
        &[0, 600, 1200, 1800, 2400, 3000, 3600, 4200, 4800],
        &[(5400, "a", "(combined from similar events): a ×1")],
    );
    check_combined(
        &[0, 600, 1200, 1800, 2400, 3000, 3600, 4200, 4800],
        &[(5401, "a", "a ×1")],
    );
}

#[test]
fn what_differs_by_more_than_words_is_not_combined() {
    let ten = |change: fn(&mut Note)| {
        let mut recorder = Recorder::default();
        for i in 0..9 {
            recorder.record(&note("p", &i.to_string()), at(0)).unwrap();
        }
        let mut tenth = note("p", "9");
        change(&mut tenth);
        recorder.record(&tenth, at(0)).unwrap().object["message"] != "9"
    };
    for (what, change, combined) in [
        ("nothing", (|_| {}) as fn(&mut Note), true),
        (
            "the container",
            |note| note.regarding.field_path = "spec.containers{b}".into(),
            true,
        ),
        ("the reason", |note| note.reason = "Created".into(), false),
        ("the type", |note| note.warning = true, false),
        ("the source", |note| note.component = "other", false),
        ("the node", |note| note.host = "n2".into(), false),
        ("the object", |note| note.regarding.uid = "u2".into(), false),
    ] {
        assert_eq!(ten(change), combined, "{what} differs");
    }
}

#[test]
fn each_source_has_its_own_allowance_and_loses_no_fraction_of_a_second() {
    let mut recorder = Recorder::default();
    let mut container = note("a", "x");
    container.regarding.field_path = "spec.containers{b}".into();
    for i in 0..25 {
        let note = if i % 2 == 0 {
            note("a", "x")
        } else {
            container.clone()
        };
        assert!(recorder.record(&note, at(0)).is_some());
    }
    assert!(recorder.record(&container, at(0)).is_none());
    let mut other = note("a", "x");
    other.component = "other";
    assert!(recorder.record(&other, at(0)).is_some());
    let written = (1..=660).filter(|i| {
        let now = Timestamp {
            nanos: (i % 2) * 500_000_000,
            ..at(i64::from(i / 2))
        };
        recorder.record(&note("a", "x"), now).is_some()
    });
    assert_eq!(written.collect::<Vec<_>>(), [600]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_note_is_counted_and_different_ones_never_share_a_name(
        script in prop::collection::vec((0..5i64, 0..3usize, 0..3usize), 1..120),
    ) {
        let mut recorder = Recorder::default();
        let mut said: BTreeMap<(usize, usize), (u64, Option<String>)> = BTreeMap::new();
        let (mut now, mut written) = (0, 0);
        for (step, object, message) in script.iter().copied() {
            now += step;
            let of = said.entry((object, message)).or_default();
            of.0 += 1;
            if let Some(write) = recorder.record(&note(&object.to_string(), &message.to_string()), at(now)) {
                written += 1;
                prop_assert_eq!(write.object["count"].as_u64(), Some(of.0));
                prop_assert_eq!(of.1.get_or_insert(write.name.clone()), &write.name);
            }
        }
        prop_assert_eq!(written + recorder.dropped(), script.len() as u64);
        let mut names: Vec<_> = said.values().filter_map(|of| of.1.as_ref()).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        prop_assert_eq!(names.len(), all);
    }
}
