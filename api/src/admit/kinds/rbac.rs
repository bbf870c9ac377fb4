//! Roles and bindings (`pkg/apis/rbac/v1/defaults.go`, `pkg/apis/rbac/validation`).

use super::super::pod::{list, text};
use super::{Errors, Object, child, each, set};
use crate::metadata;
use crate::status::Cause;
use serde_json::Value;

const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) fn binding_defaults(object: &mut Object) {
    let role = child(object, "roleRef");
    if role.get("apiGroup").is_none_or(|group| *group == "") {
        role.insert("apiGroup".into(), GROUP.into());
    }
    each(object, "subjects", |subject| {
        let kind = subject.get("kind").and_then(Value::as_str);
        if matches!(kind, Some("User" | "Group")) {
            if subject.get("apiGroup").is_some_and(|group| *group == "") {
                subject.remove("apiGroup");
            }
            set(subject, "apiGroup", GROUP);
        }
    });
}

pub(super) fn validate_role(object: &Object, namespaced: bool, errors: &mut Errors) {
    let rules = object.get("rules").and_then(Value::as_array);
    for (at, rule) in rules.into_iter().flatten().enumerate() {
        validate_rule(&format!("rules[{at}]"), rule, namespaced, errors);
    }
}

fn validate_rule(path: &str, rule: &Value, namespaced: bool, errors: &mut Errors) {
    let has = |key: &str| !list(rule, key).is_empty();
    if !has("verbs") {
        let why = "verbs must contain at least one value";
        errors.required(format!("{path}.verbs"), why);
    }
    if has("nonResourceURLs") {
        let at = format!("{path}.nonResourceURLs");
        let urls = &rule["nonResourceURLs"];
        if namespaced {
            let why = "namespaced rules cannot apply to non-resource URLs";
            errors.invalid(&at, urls, why);
        }
        if has("apiGroups") || has("resources") || has("resourceNames") {
            let why = "rules cannot apply to both regular resources and non-resource URLs";
            errors.invalid(&at, urls, why);
        }
        return;
    }
    if !has("apiGroups") {
        let why = "resource rules must supply at least one api group";
        errors.required(format!("{path}.apiGroups"), why);
    }
    if !has("resources") {
        let why = "resource rules must supply at least one resource";
        errors.required(format!("{path}.resources"), why);
    }
}

pub(super) fn validate_binding(object: &Object, namespaced: bool, errors: &mut Errors) {
    let role = object.get("roleRef").unwrap_or(&Value::Null);
    if text(role, "apiGroup") != GROUP {
        let group = text(role, "apiGroup").into();
        errors.push(Cause::not_supported("roleRef.apiGroup", &group, &[GROUP]));
    }
    let kinds: &[&str] = if namespaced {
        &["Role", "ClusterRole"]
    } else {
        &["ClusterRole"]
    };
    if !kinds.contains(&text(role, "kind")) {
        let kind = text(role, "kind").into();
        errors.push(Cause::not_supported("roleRef.kind", &kind, kinds));
    }
    match text(role, "name") {
        "" => errors.required("roleRef.name", ""),
        name => errors.each("roleRef.name", name, metadata::path_segment(name)),
    }
    let subjects = object.get("subjects").and_then(Value::as_array);
    for (at, subject) in subjects.into_iter().flatten().enumerate() {
        validate_subject(&format!("subjects[{at}]"), subject, namespaced, errors);
    }
}

fn validate_subject(path: &str, subject: &Value, namespaced: bool, errors: &mut Errors) {
    let (name, group) = (text(subject, "name"), text(subject, "apiGroup"));
    let at = |key: &str| format!("{path}.{key}");
    if name.is_empty() {
        errors.required(at("name"), "");
    }
    match text(subject, "kind") {
        "ServiceAccount" => {
            if !name.is_empty() {
                errors.each(&at("name"), name, metadata::dns_subdomain(name));
            }
            if !group.is_empty() {
                let cause = Cause::not_supported(at("apiGroup"), &group.into(), &[""]);
                errors.push(cause);
            }
            if !namespaced && text(subject, "namespace").is_empty() {
                errors.required(at("namespace"), "");
            }
        }
        kind @ ("User" | "Group") => {
            if name.is_empty() {
                let why = format!("{} name cannot be empty", kind.to_lowercase());
                errors.invalid(at("name"), &"".into(), &why);
            }
            if group != GROUP {
                errors.push(Cause::not_supported(
                    at("apiGroup"),
                    &group.into(),
                    &[GROUP],
                ));
            }
        }
        kind => errors.push(Cause::not_supported(
            at("kind"),
            &kind.into(),
            &["ServiceAccount", "User", "Group"],
        )),
    }
}

pub(super) fn validate_binding_update(old: &Object, new: &Object, errors: &mut Errors) {
    let role = |object: &Object| object.get("roleRef").cloned().unwrap_or_default();
    if role(old) != role(new) {
        errors.invalid("roleRef", &role(new), "cannot change roleRef");
    }
}
