//! Questions about rights, posted as objects: `kubectl auth can-i`, and what programs ask for others.
//!
//! Checks, order and wording: `pkg/registry/authorization/*/rest.go`,
//! `pkg/apis/authorization/validation/validation.go`.

use std::collections::BTreeMap;

use bramble_api::status::{Cause, Status};
use bramble_controller_core::rbac::{Attributes, Resource, Rule};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::Context;
use super::super::authn::Identity;
use super::super::request::Info;

/// `spec` of the reviews that ask about one right.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    resource_attributes: Option<ResourceAttributes>,
    non_resource_attributes: Option<PathAttributes>,
    user: Option<String>,
    groups: Option<Vec<String>>,
    uid: Option<String>,
    extra: Option<BTreeMap<String, Vec<String>>>,
    /// Of a SelfSubjectRulesReview.
    namespace: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ResourceAttributes {
    namespace: Option<String>,
    verb: Option<String>,
    group: Option<String>,
    resource: Option<String>,
    subresource: Option<String>,
    name: Option<String>,
    #[serde(rename = "fieldSelector")]
    field_selector: Option<FieldSelector>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct FieldSelector {
    raw_selector: Option<String>,
    requirements: Option<Vec<Requirement>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Requirement {
    key: Option<String>,
    operator: Option<String>,
    values: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PathAttributes {
    path: Option<String>,
    verb: Option<String>,
}

fn text(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or_default()
}

impl FieldSelector {
    /// The node whose pods it selects, and nothing but that node's.
    fn node(&self) -> Option<&str> {
        let requirements = self.requirements.iter().flatten();
        let mut exact = requirements.filter_map(|r| match (text(&r.key), text(&r.operator)) {
            ("spec.nodeName", "In") => match r.values.as_deref() {
                Some([one]) => Some(one.as_str()),
                _ => None,
            },
            _ => None,
        });
        let raw = self.raw_selector.as_deref().unwrap_or_default();
        exact.next().or_else(|| {
            raw.split(',').find_map(|term| {
                let value = term.strip_prefix("spec.nodeName=")?;
                Some(value.strip_prefix('=').unwrap_or(value))
            })
        })
    }
}

/// Answers one of the reviews of `authorization.k8s.io`.
pub(crate) fn review(
    ctx: &Context,
    identity: &Identity,
    info: &Info,
    mut object: Value,
) -> Result<Value, Status> {
    let kind = info.kind.kind;
    let spec = match object.get("spec") {
        None | Some(Value::Null) => Spec::default(),
        Some(spec) => Deserialize::deserialize(spec)
            .map_err(|error| Status::bad_request(format!("{kind}: {error}")))?,
    };
    let status = match kind {
        "SelfSubjectRulesReview" => {
            if text(&spec.namespace).is_empty() {
                return Err(Status::bad_request("no namespace on request"));
            }
            rules(ctx, identity, text(&spec.namespace))
        }
        "SelfSubjectAccessReview" => {
            check(info, &object, &spec)?;
            decided(ctx, identity, &spec)
        }
        _ => {
            if kind == "LocalSubjectAccessReview" {
                localize(info, &mut object)?;
            }
            check(info, &object, &spec)?;
            let subject = Identity {
                user: spec.user.clone().unwrap_or_default(),
                uid: spec.uid.clone().unwrap_or_default(),
                groups: spec.groups.clone().unwrap_or_default(),
                extra: spec.extra.clone().unwrap_or_default(),
            };
            decided(ctx, &subject, &spec)
        }
    };
    object["status"] = status;
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    Ok(object)
}

/// A local review is about the namespace it is posted to.
fn localize(info: &Info, object: &mut Value) -> Result<(), Status> {
    let namespace = info.namespace.as_deref().unwrap_or_default();
    let said = object["metadata"]["namespace"].as_str().unwrap_or_default();
    if !said.is_empty() && said != namespace {
        return Err(Status::bad_request(format!(
            "spec.resourceAttributes.namespace must match namespace: {namespace}"
        )));
    }
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    object["metadata"]["namespace"] = namespace.into();
    Ok(())
}

fn check(info: &Info, object: &Value, spec: &Spec) -> Result<(), Status> {
    let kind = info.kind.kind;
    let mut causes = Vec::new();
    let paths = || object["spec"]["nonResourceAttributes"].clone();
    match (&spec.resource_attributes, &spec.non_resource_attributes) {
        (Some(_), Some(_)) => causes.push(Cause::invalid(
            "spec.nonResourceAttributes",
            &paths(),
            "cannot be specified in combination with resourceAttributes",
        )),
        (None, None) => causes.push(Cause::required(
            "spec.resourceAttributes",
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )),
        _ => {}
    }
    let groups = spec.groups.as_ref().is_some_and(|g| !g.is_empty());
    if kind != "SelfSubjectAccessReview" && text(&spec.user).is_empty() && !groups {
        let detail = "at least one of user or group must be specified";
        causes.push(Cause::required("spec.user", detail));
    }
    if kind == "LocalSubjectAccessReview" {
        let namespace = info.namespace.as_deref().unwrap_or_default();
        if let Some(attributes) = &spec.resource_attributes
            && text(&attributes.namespace) != namespace
        {
            causes.push(Cause::invalid(
                "spec.resourceAttributes.namespace",
                &text(&attributes.namespace).into(),
                "must match metadata.namespace",
            ));
        }
        if spec.non_resource_attributes.is_some() {
            causes.push(Cause::invalid(
                "spec.nonResourceAttributes",
                &paths(),
                "disallowed on this kind of request",
            ));
        }
    }
    if causes.is_empty() {
        Ok(())
    } else {
        Err(info.kind.invalid("", causes))
    }
}

fn decided(ctx: &Context, subject: &Identity, spec: &Spec) -> Value {
    let decision = match (&spec.resource_attributes, &spec.non_resource_attributes) {
        (Some(r), _) => {
            let target = Resource {
                group: text(&r.group),
                resource: text(&r.resource),
                subresource: text(&r.subresource),
                namespace: text(&r.namespace),
                name: text(&r.name),
            };
            let selected = r.field_selector.as_ref().and_then(FieldSelector::node);
            let attributes = Attributes::resource(text(&r.verb), target);
            ctx.rbac.decide(subject, &attributes, selected)
        }
        (None, Some(p)) => {
            let attributes = Attributes::path(text(&p.verb), text(&p.path));
            ctx.rbac.decide(subject, &attributes, None)
        }
        (None, None) => Default::default(),
    };
    let mut status = json!({"allowed": decision.allowed});
    if !decision.reason.is_empty() {
        status["reason"] = decision.reason.into();
    }
    status
}

fn rules(ctx: &Context, identity: &Identity, namespace: &str) -> Value {
    let found = ctx.rbac.rules_for(identity, namespace);
    let objects = |rule: &&Rule| !rule.resources.is_empty();
    let resource_rules: Vec<Value> = found
        .rules
        .iter()
        .filter(objects)
        .map(|rule| {
            let mut rule = json!(rule);
            // The two parts of a rule are told apart here.
            if let Some(rule) = rule.as_object_mut() {
                rule.remove("nonResourceURLs");
            }
            rule
        })
        .collect();
    let path_rules: Vec<Value> = found
        .rules
        .iter()
        .filter(|rule| !rule.urls.is_empty())
        .map(|rule| json!({"verbs": rule.verbs, "nonResourceURLs": rule.urls}))
        .collect();
    let mut status = json!({
        "resourceRules": resource_rules,
        "nonResourceRules": path_rules,
        "incomplete": found.incomplete,
    });
    if let Some(error) = found.error {
        status["evaluationError"] = error.into();
    }
    status
}
