//! Whatever comes in, an answer goes out: no panic, and in time that fits the size.

use bramble_api::admit::{self, Create, Update};
use bramble_api::decode::{self, FieldValidation};
use bramble_api::facts::{self, Field, Message, Shape, Type};
use bramble_api::kind::{KINDS, Kind};
use bramble_api::metadata;
use bramble_api::time::Timestamp;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::time::{Duration, Instant};

/// A stream of numbers out of a seed; the same seed gives the same object again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[usize::try_from(self.roll(from.len() as u64)).expect("an index")]
    }
}

/// Texts that mean something somewhere, and some that mean nothing anywhere.
const TEXTS: [&str; 40] = [
    "",
    "a",
    "A",
    "-",
    "..",
    "../x",
    "/",
    "/a/../b",
    "web",
    "a.b/c",
    "a/b/c",
    "10.0.0.1",
    "::1",
    "1",
    "-1",
    "100m",
    "1Gi",
    "0.0000000001",
    "9999999999999999999999",
    "50%",
    "-5%",
    "101%",
    "In",
    "Exists",
    "NotIn",
    "Gt",
    "Always",
    "Never",
    "OnFailure",
    "Recreate",
    "RollingUpdate",
    "NoExecute",
    "DoNotSchedule",
    "Localhost",
    "Memory",
    "None",
    "metadata.labels['a']",
    "2026-01-01T00:00:00Z",
    "\u{0}\u{ffff}é",
    "kubernetes.io/hostname",
];

fn scalar(ty: Type, dice: &mut Dice) -> Value {
    let number = |dice: &mut Dice| -> Value {
        match dice.roll(6) {
            0 => 0.into(),
            1 => (-1).into(),
            2 => i64::MAX.into(),
            3 => i64::MIN.into(),
            4 => i64::from(i32::MAX).into(),
            _ => (dice.roll(100) as i64).into(),
        }
    };
    match ty {
        Type::Bool => (dice.roll(2) == 0).into(),
        Type::Int32 | Type::Int64 => number(dice),
        Type::Double => 0.5.into(),
        Type::IntOrString if dice.roll(2) == 0 => number(dice),
        Type::Raw | Type::FieldsV1 | Type::Any => nonsense(dice, 3),
        Type::Time | Type::MicroTime if dice.roll(3) > 0 => "2026-01-01T00:00:00Z".into(),
        Type::Quantity if dice.roll(2) == 0 => dice.pick(&["1", "500m", "1Gi", "-1", "0.1"]).into(),
        _ => dice.pick(&TEXTS).into(),
    }
}

/// Any JSON.
fn nonsense(dice: &mut Dice, depth: u64) -> Value {
    match dice.roll(if depth == 0 { 5 } else { 7 }) {
        0 => Value::Null,
        1 => true.into(),
        2 => (dice.roll(1000) as i64 - 500).into(),
        3 => 1e300.into(),
        4 => dice.pick(&TEXTS).into(),
        5 => (0..dice.roll(4))
            .map(|_| nonsense(dice, depth - 1))
            .collect(),
        _ => {
            let entries = (0..dice.roll(4))
                .map(|_| (dice.pick(&TEXTS).to_owned(), nonsense(dice, depth - 1)));
            Value::Object(entries.collect())
        }
    }
}

fn field(of: &'static Field, dice: &mut Dice, depth: u64) -> Value {
    // Once in a while what does not belong there at all.
    if dice.roll(40) == 0 {
        return nonsense(dice, 3);
    }
    let one = |dice: &mut Dice| match of.ty.message() {
        Some(inner) => message(inner, dice, depth.saturating_sub(1)),
        None => scalar(of.ty, dice),
    };
    match of.shape {
        Shape::One => one(dice),
        Shape::List => (0..dice.roll(4)).map(|_| one(dice)).collect(),
        Shape::Map => {
            let entries = (0..dice.roll(4)).map(|_| (dice.pick(&TEXTS).to_owned(), one(dice)));
            Value::Object(entries.collect())
        }
        Shape::MapOfLists => json!({"a": ["b"]}),
    }
}

/// An object with some of a message's fields, mostly of the right type.
fn message(of: &'static Message, dice: &mut Dice, depth: u64) -> Value {
    let mut out = Map::new();
    if depth == 0 {
        return out.into();
    }
    for inner in of.fields {
        let wanted =
            inner.flags.required() || matches!(inner.name, "spec" | "metadata" | "template");
        if (wanted && dice.roll(20) > 0) || dice.roll(3) == 0 {
            out.insert(inner.name.into(), field(inner, dice, depth));
        }
    }
    out.into()
}

fn object(kind: &Kind, dice: &mut Dice) -> Value {
    let mut object = message(
        facts::message(kind.message).expect("a message of every kind"),
        dice,
        9,
    );
    if dice.roll(10) > 0 {
        object["kind"] = kind.kind.into();
        object["apiVersion"] = kind.api_version().into();
        if !object["metadata"].is_object() {
            object["metadata"] = json!({});
        }
        object["metadata"]["name"] = "a".into();
        object["metadata"]["namespace"] = kind.namespaced.then_some("default").into();
    }
    object
}

fn decoded(kind: &Kind, object: &Value) -> Option<Value> {
    let bytes = serde_json::to_vec(object).expect("JSON");
    let body = decode::body(
        Some("application/json"),
        &bytes,
        kind,
        FieldValidation::Warn,
    );
    body.ok().map(|decoded| decoded.value)
}

fn create(kind: &Kind, object: &mut Value) -> bool {
    let ctx = Create {
        now: Timestamp::default(),
        uid: "0a1b2c3d-0000-4000-8000-000000000000",
        suffix: "x2x4z",
        namespace: kind.namespaced.then_some("default"),
    };
    admit::create(kind, object, &ctx).is_ok()
}

/// Everything that a body goes through, in any order of creation and change.
fn goes_through(kind: &'static Kind, seed: u64) {
    let mut dice = Dice(seed);
    let Some(mut first) = decoded(kind, &object(kind, &mut dice)) else {
        return;
    };
    let second = decoded(kind, &object(kind, &mut dice));
    let unchecked = first.clone();
    let stands = create(kind, &mut first);
    if stands {
        // What stands is stable: writing it again changes nothing and is not refused.
        let mut again = first.clone();
        let ctx = Update {
            now: Timestamp::default(),
            subresource: None,
        };
        admit::update(kind, &first, &mut again, &ctx).expect("an object as it is");
        assert_eq!(again, first, "{}", kind.kind);
        let _ = metadata::canonical(&first);
    }
    let Some(second) = second else { return };
    for old in [&first, &unchecked] {
        for subresource in [None, Some("status"), Some("scale"), Some("finalize")] {
            let ctx = Update {
                now: Timestamp::default(),
                subresource,
            };
            let _ = admit::update(kind, old, &mut second.clone(), &ctx);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn objects_of_any_shape_get_an_answer(seed in any::<u64>(), at in 0..KINDS.len()) {
        let started = Instant::now();
        goes_through(&KINDS[at], seed);
        prop_assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    }

    #[test]
    fn pods_and_templates_of_any_shape_get_an_answer(
        seed in any::<u64>(),
        kind in prop::sample::select(vec!["Pod", "Deployment", "ReplicaSet", "ReplicationController", "PodTemplate"]),
    ) {
        goes_through(KINDS.iter().find(|k| k.kind == kind).unwrap(), seed);
    }

    #[test]
    fn any_json_gets_an_answer(seed in any::<u64>(), at in 0..KINDS.len()) {
        let kind = &KINDS[at];
        let mut dice = Dice(seed);
        let mut object = nonsense(&mut dice, 6);
        let _ = decoded(kind, &object);
        // Past the decoder nothing of this kind comes; it is no reason to fall over.
        create(kind, &mut object);
    }
}
