use super::rules::{KEPT, KEPT_STATUS, TYPED};
use super::*;
use crate::kind::KINDS;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path as FilePath, PathBuf};

#[test]
fn every_leaf_of_every_served_kind_has_a_rule() {
    for kind in KINDS {
        let mut gaps = Vec::new();
        leaves(kind, &mut |leaf| {
            if leaf.rule.is_none() {
                gaps.push(leaf.path.to_owned());
            }
        });
        assert!(gaps.is_empty(), "{}: no rule for {gaps:?}", kind.kind);
    }
}

fn by_brief_name(name: &str) -> &'static Message {
    let message = facts::messages().iter().find(|m| brief(m) == name);
    message.unwrap_or_else(|| panic!("{name} is no message"))
}

#[test]
fn every_rule_names_a_field_that_exists_once() {
    let mut messages = HashSet::new();
    for (name, rules) in rules::all() {
        assert!(messages.insert(name), "{name} is listed twice");
        let message = by_brief_name(name);
        let mut fields = HashSet::new();
        for rule in *rules {
            for field in rule.fields.split_whitespace() {
                assert!(fields.insert(field), "{name}.{field} is listed twice");
                let found = message.field(field);
                let found = found.unwrap_or_else(|| panic!("{name}.{field} does not exist"));
                let is_message = found.ty.message().is_some();
                assert!(
                    rule.verdict != Verdict::Inside || is_message,
                    "{name}.{field} has nothing inside"
                );
            }
        }
    }
}

#[test]
fn every_message_that_is_listed_is_reached() {
    fn walk(message: &'static Message, seen: &mut HashSet<&'static str>) {
        if !seen.insert(brief(message)) {
            return;
        }
        for field in message.fields {
            let rule = rule(message, field.name);
            if let Some(inner) = field.ty.message()
                && rule.is_some_and(|r| r.verdict == Verdict::Inside)
            {
                walk(inner, seen);
            }
        }
    }
    let mut seen = HashSet::new();
    for kind in KINDS {
        walk(facts::message(kind.message).unwrap(), &mut seen);
    }
    for (name, _) in rules::all() {
        assert!(seen.contains(name), "{name} is listed and not reached");
    }
}

/// The tests of the workspace: name → text of the files that have one of that name.
fn tests_of_the_workspace() -> BTreeMap<String, Vec<(PathBuf, String)>> {
    fn gather(dir: &FilePath, out: &mut BTreeMap<String, Vec<(PathBuf, String)>>) {
        for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let name = entry.file_name().into_string().unwrap_or_default();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                gather(&path, out);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                for name in tests_in(&text) {
                    let named = out.entry(name.to_owned()).or_default();
                    named.push((path.clone(), text.clone()));
                }
            }
        }
    }
    let mut out = BTreeMap::new();
    gather(
        &FilePath::new(env!("CARGO_MANIFEST_DIR")).join(".."),
        &mut out,
    );
    out
}

/// Functions right below an attribute that makes them tests.
fn tests_in(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut marked = false;
    for line in text.lines().map(str::trim) {
        let function = line.trim_start_matches("async ").strip_prefix("fn ");
        if line.starts_with("#[") {
            marked |= line.contains("test]") || line.contains("test(");
        } else if let Some(rest) = function {
            if std::mem::take(&mut marked) {
                out.extend(rest.split(['(', '<']).next());
            }
        } else if !line.starts_with("//") {
            marked = false;
        }
    }
    out
}

/// Whether a text has a JSON name, or the Rust form of it, as a word.
fn mentions(text: &str, name: &str) -> bool {
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    [name, snake.as_str()].iter().any(|name| {
        text.match_indices(name).any(|(at, _)| {
            let before = text[..at].chars().next_back();
            let after = text[at + name.len()..].chars().next();
            !before.is_some_and(is_word) && !after.is_some_and(is_word)
        })
    })
}

/// A rule that promises something names the test that shows it: it is there, once, and the file it
/// is in knows the field. Tests that take their fields from the list are looked at no closer.
#[test]
fn every_honoured_field_has_its_test() {
    let tests = tests_of_the_workspace();
    assert!(tests.contains_key("every_honoured_field_has_its_test"));
    let mut wrong = BTreeSet::new();
    for (message, rules) in rules::all() {
        for rule in *rules {
            let Verdict::Honoured(test) = rule.verdict else {
                continue;
            };
            let (part, name) = test.rsplit_once("::").unwrap_or(("", test));
            let found: Vec<_> = tests
                .get(name)
                .into_iter()
                .flatten()
                .filter(|(path, _)| path.to_string_lossy().contains(part))
                .collect();
            let [(_, text)] = &found[..] else {
                wrong.insert(format!("{} tests are named {test}", found.len()));
                continue;
            };
            for field in rule.fields.split_whitespace() {
                if ![KEPT, KEPT_STATUS, TYPED].contains(&test) && !mentions(text, field) {
                    wrong.insert(format!("{message}.{field}: {test} does not mention it"));
                }
            }
        }
    }
    let wrong: Vec<String> = wrong.into_iter().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_kind_is_what_it_says() {
    for kind in KINDS {
        let typed = |api_version: &str, name: &str| json!({"apiVersion": api_version, "kind": name, "metadata": {"name": "a"}});
        let decode = |object: Value| {
            let bytes = serde_json::to_vec(&object).unwrap();
            let validation = crate::decode::FieldValidation::Strict;
            crate::decode::body(Some("application/json"), &bytes, kind, validation)
        };
        assert!(
            decode(typed(&kind.api_version(), kind.kind)).is_ok(),
            "{}",
            kind.kind
        );
        assert!(
            decode(typed(&kind.api_version(), "Other")).is_err(),
            "{}",
            kind.kind
        );
        assert!(
            decode(typed("other/v1", kind.kind)).is_err(),
            "{}",
            kind.kind
        );
    }
}

#[test]
fn every_honoured_field_can_be_sent_in_protobuf() {
    for (name, rules) in rules::all() {
        let message = by_brief_name(name);
        for rule in *rules {
            // Nobody sends a status that nothing here writes in protobuf.
            let kept = rule.verdict == Verdict::Honoured(KEPT_STATUS);
            // Nor what is measured here.
            let kept = kept || name.starts_with("metrics.");
            if kept || matches!(rule.verdict, Verdict::Warned | Verdict::Refused) {
                continue;
            }
            for field in rule.fields.split_whitespace() {
                let number = message.field(field).map_or(0, |f| f.number);
                let inline = message
                    .inline
                    .iter()
                    .any(|i| i.1.iter().any(|m| m.1 == field));
                // The envelope carries these two.
                let typed = matches!(field, "kind" | "apiVersion");
                assert!(
                    number != 0 || inline || typed,
                    "{name}.{field} has no protobuf number"
                );
            }
        }
    }
}

fn review_pod(spec: Value) -> (Vec<String>, Vec<String>) {
    let kind = crate::kind::find("", "v1", "pods").unwrap();
    let (warnings, refusals) = review(
        kind,
        &json!({"kind": "Pod", "apiVersion": "v1", "spec": spec}),
    );
    (
        warnings.into_iter().map(|w| w.text).collect(),
        refusals
            .into_iter()
            .map(|c| format!("{}: {}", c.field, c.message))
            .collect(),
    )
}

#[test]
fn refusals_and_warnings_name_the_field() {
    let (warnings, refusals) = review_pod(json!({
        "subdomain": "s", "runtimeClassName": "kata",
        "containers": [{"name": "a", "lifecycle": {"preStop": {"tcpSocket": {"port": 1}}}}],
        "volumes": [{"name": "v", "nfs": {"path": "/"}}]}));
    assert_eq!(
        warnings,
        ["spec.subdomain: not supported by this release: there is no cluster DNS"]
    );
    assert_eq!(
        refusals,
        [
            "spec.containers[0].lifecycle.preStop.tcpSocket: Forbidden: not supported by this release: upstream fails such a container",
            "spec.runtimeClassName: Forbidden: not supported by this release",
            "spec.volumes[0].nfs: Forbidden: not supported by this release: volumes are emptyDir, configMap, secret, hostPath, downwardAPI and projected",
        ]
    );
}

#[test]
fn asking_for_the_default_is_fine() {
    let spec = json!({"hostNetwork": false, "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler",
        "enableServiceLinks": true, "priority": 0, "os": {"name": "linux"},
        "containers": [{"terminationMessagePath": "/dev/termination-log", "stdin": false,
                        "securityContext": {"seccompProfile": {"type": "Unconfined"}}}]});
    assert_eq!(review_pod(spec), (vec![], vec![]));
}
