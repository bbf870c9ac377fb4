//! Sets of fields and their JSON form.

use super::*;

fn set(text: &str) -> Set {
    parse_fields(&serde_json::from_str(text).unwrap()).unwrap()
}

fn shown(set: &Set) -> String {
    set.to_string()
}

#[test]
fn the_json_form_is_upstreams() {
    let text = r#"{"f:metadata":{"f:labels":{".":{},"f:a":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{}}}},"f:list":{"i:3":{},"v:\"x\"":{},"v:1":{},"v:true":{}}}}"#;
    let parsed = set(text);
    let want = [
        ".metadata.labels",
        ".metadata.labels.a",
        ".spec.containers[name=\"c\"]",
        ".spec.containers[name=\"c\"].ports[containerPort=80,protocol=\"TCP\"]",
        ".spec.list[=1]",
        ".spec.list[=\"x\"]",
        ".spec.list[=true]",
        ".spec.list[3]",
    ];
    assert_eq!(shown(&parsed), want.join("\n"));
    assert_eq!(print_fields(&parsed).to_string(), text);
    assert_eq!(parsed.len(), want.len());
}

#[test]
fn keys_of_the_future_are_left_out_and_nonsense_is_an_error() {
    assert_eq!(shown(&set(r#"{"f:a":{},"x:b":{"f:c":{}}}"#)), ".a");
    // What has only such children counts as a leaf, as upstream reads it.
    assert_eq!(shown(&set(r#"{"f:a":{"x:b":{}}}"#)), ".a");
    for bad in [
        r#"{"a":{}}"#,
        r#"{"v:":{}}"#,
        r#"{"v:{":{}}"#,
        r#"{"k:[]":{}}"#,
        r#"{"i:x":{}}"#,
        r#"{"f:a":1}"#,
        r#"{"long:a":{}}"#,
        "[]",
        "null",
    ] {
        let value: Value = serde_json::from_str(bad).unwrap();
        assert!(parse_fields(&value).is_err(), "{bad}");
    }
}

#[test]
fn algebra() {
    let a = set(r#"{"f:a":{".":{},"f:b":{},"f:c":{}},"f:d":{}}"#);
    let b = set(r#"{"f:a":{"f:b":{}},"f:e":{}}"#);
    let check = |set: Set, want: &str| assert_eq!(shown(&set).replace('\n', " "), want);
    check(a.clone().union(&b), ".a .d .e .a.b .a.c");
    check(a.clone().intersection(&b), ".a.b");
    check(a.clone().difference(&b), ".a .d .a.c");
    check(b.clone().difference(&a), ".e");
    // A parent takes its children along, a child not its parent.
    check(a.clone().without(&set(r#"{"f:a":{}}"#)), ".d");
    check(a.clone().without(&b), ".a .d .a.c");
    check(a.clone().difference(&set(r#"{"f:a":{}}"#)), ".d .a.b .a.c");
    check(a.clone().difference(&a), "");
    assert!(a.clone().difference(&a).is_empty());
}

#[test]
fn numbers_are_equal_when_they_count_the_same() {
    assert_eq!(set(r#"{"v:1":{}}"#), set(r#"{"v:1.0":{}}"#));
    assert_ne!(set(r#"{"v:1":{}}"#), set(r#"{"v:\"1\"":{}}"#));
    assert_ne!(
        set(r#"{"v:9007199254740993":{}}"#),
        set(r#"{"v:9007199254740992":{}}"#)
    );
    let big = set(r#"{"v:18446744073709551615":{},"v:-9223372036854775808":{},"v:1e300":{}}"#);
    assert_eq!(big.len(), 3);
    assert_eq!(set(r#"{"v:0":{}}"#), set(r#"{"v:-0.0":{}}"#));
}
