use super::super::{Create, Update, create, update};
use super::*;
use crate::kind::{Kind, find};
use crate::status::Status;
use crate::time::Timestamp;

fn kind() -> &'static Kind {
    find("", "v1", "namespaces").unwrap()
}

fn lines(status: &Status) -> Vec<String> {
    let causes = status.details().map_or(&[][..], |d| &d.causes);
    let line = |c: &crate::status::Cause| format!("{}: {}", c.field, c.message);
    causes.iter().map(line).collect()
}

fn created(finalizers: Value) -> Result<Value, Vec<String>> {
    let mut object = json!({"metadata": {"name": "n"}, "spec": {"finalizers": finalizers}});
    let ctx = Create {
        now: Timestamp::default(),
        uid: "u",
        suffix: "x",
        namespace: None,
    };
    create(kind(), &mut object, &ctx).map_err(|status| lines(&status))?;
    Ok(object)
}

fn through(subresource: &str, old: &Value, change: Value) -> Vec<String> {
    let mut new = old.clone();
    for (key, value) in change.as_object().unwrap() {
        new[key] = value.clone();
    }
    let ctx = Update {
        now: Timestamp::default(),
        subresource: Some(subresource),
    };
    update(kind(), old, &mut new, &ctx).map_or_else(|status| lines(&status), |_| Vec::new())
}

#[test]
fn who_else_holds_a_namespace_is_kept() {
    for (said, want) in [
        (json!(null), json!(["kubernetes"])),
        (json!([]), json!(["kubernetes"])),
        (json!(["a.b/c"]), json!(["a.b/c", "kubernetes"])),
        (
            json!(["kubernetes", "a.b/c"]),
            json!(["kubernetes", "a.b/c"]),
        ),
    ] {
        let object = created(said).unwrap();
        assert_eq!(object["spec"]["finalizers"], want);
    }
    assert_eq!(
        created(json!(["mine"])).unwrap_err(),
        ["spec.finalizers: Invalid value: \"mine\": \
          name is neither a standard finalizer name nor is it fully qualified"]
    );
}

#[test]
fn finalizers_have_names() {
    let old = created(json!([])).unwrap();
    let with = |list: Value| through("finalize", &old, json!({"spec": {"finalizers": list}}));
    assert!(with(json!([])).is_empty());
    assert!(with(json!(["a.b/c", "orphan"])).is_empty());
    assert_eq!(
        with(json!(["a.b/c", "mine"])),
        ["spec.finalizers[1]: Invalid value: \"mine\": \
          name is neither a standard finalizer name nor is it fully qualified"]
    );
}

#[test]
fn the_phase_follows_the_deletion() {
    let mut old = created(json!([])).unwrap();
    let phase =
        |old: &Value, phase: &str| through("status", old, json!({"status": {"phase": phase}}));
    assert!(phase(&old, "Active").is_empty());
    assert_eq!(
        phase(&old, "Terminating"),
        ["status.Phase: Invalid value: \"Terminating\": \
          may only be 'Active' if `deletionTimestamp` is empty"]
    );
    old["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    assert!(phase(&old, "Terminating").is_empty());
    assert_eq!(
        phase(&old, "Active"),
        ["status.Phase: Invalid value: \"Active\": \
          may only be 'Terminating' if `deletionTimestamp` is not empty"]
    );
}
