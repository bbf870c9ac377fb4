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
use super::selectors::{Of, Selector};

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
    field_selector: Option<Selector>,
    #[serde(rename = "labelSelector")]
    label_selector: Option<Selector>,
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
    if let Some(attributes) = &spec.resource_attributes {
        for (selector, of) in [
            (&attributes.field_selector, Of::Fields),
            (&attributes.label_selector, Of::Labels),
        ] {
            causes.extend(selector.iter().flat_map(|selector| selector.check(of)));
        }
    }
    if causes.is_empty() {
        Ok(())
    } else {
        Err(info.kind.invalid("", causes))
    }
}

fn decided(ctx: &Context, subject: &Identity, spec: &Spec) -> Value {
    let mut ignored = Vec::new();
    let decision = match (&spec.resource_attributes, &spec.non_resource_attributes) {
        (Some(r), _) => {
            let target = Resource {
                group: text(&r.group),
                resource: text(&r.resource),
                subresource: text(&r.subresource),
                namespace: text(&r.namespace),
                name: text(&r.name),
            };
            let fields = r.field_selector.as_ref().map(|one| one.read(Of::Fields));
            let labels = r.label_selector.as_ref().map(|one| one.read(Of::Labels));
            // Selectors narrow: the authorizers look at that of a node's pods alone.
            let selected = fields.as_ref().and_then(|read| read.exact("spec.nodeName"));
            ignored.extend(
                fields
                    .iter()
                    .chain(&labels)
                    .filter_map(|read| read.ignored()),
            );
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
    if !ignored.is_empty() {
        status["evaluationError"] = ignored.join("; ").into();
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
