//! Whether who asks may: what a request is in the words of authorization, and upstream's refusals.

use bramble_api::selector::FieldSelector;
use bramble_api::status::Status;
use bramble_controller_core::rbac::{Attributes, Resource, Target};

use super::Context;
use super::authn::Identity;
use super::request::{Info, Verb};

/// Lets pass who may; else upstream's 403.
pub(crate) fn check(
    ctx: &Context,
    identity: &Identity,
    attributes: &Attributes<'_>,
    selected: Option<&str>,
) -> Result<(), Status> {
    if ctx.rbac.allows(identity, attributes, selected) {
        return Ok(());
    }
    // Asked again for the reason, which only a refusal shows.
    let decision = ctx.rbac.decide(identity, attributes, selected);
    if decision.allowed {
        return Ok(());
    }
    let mut why = attributes.refusal(&identity.user);
    if !decision.reason.is_empty() {
        why = format!("{why}: {}", decision.reason);
    }
    Err(match attributes.target {
        Target::Path(_) => Status::forbidden_path(&why),
        Target::Resource(r) => Status::forbidden(r.group, r.resource, r.name, &why),
    })
}

/// The same for a request for a resource.
pub(crate) fn resource(ctx: &Context, info: &Info) -> Result<(), Status> {
    let said = named(info, "metadata.name");
    let name = info.name.as_deref().or(said.as_deref()).unwrap_or_default();
    // A namespace is in itself, so that a Role in it can give a right to it.
    let namespace = match (&info.namespace, info.kind.kind) {
        (Some(namespace), _) => namespace,
        (None, "Namespace") => info.name(),
        (None, _) => "",
    };
    let target = Resource {
        group: info.kind.group,
        resource: info.kind.plural,
        subresource: info.subresource.map_or("", |sub| sub.name),
        namespace,
        name,
    };
    let attributes = Attributes::resource(info.verb.as_str(), target);
    let selected = named(info, "spec.nodeName");
    check(ctx, &info.identity, &attributes, selected.as_deref())
}

/// The same for a PUT or an apply that makes the object: upstream wants the right to create as well.
pub(crate) fn creation(ctx: &Context, info: &Info) -> Result<(), Status> {
    if info.verb == Verb::Create {
        return Ok(());
    }
    let target = Resource {
        group: info.kind.group,
        resource: info.kind.plural,
        subresource: "",
        namespace: info.namespace.as_deref().unwrap_or_default(),
        name: info.name(),
    };
    let attributes = Attributes::resource(Verb::Create.as_str(), target);
    check(ctx, &info.identity, &attributes, None)
}

/// The same for a stream over WebSocket, which upstream lets pass only who may create one too
/// (`AuthorizePodWebsocketUpgradeCreatePermission`).
pub(crate) fn streaming(ctx: &Context, info: &Info) -> Result<(), Status> {
    let target = Resource {
        group: info.kind.group,
        resource: info.kind.plural,
        subresource: info.subresource.map_or("", |sub| sub.name),
        namespace: info.namespace.as_deref().unwrap_or_default(),
        name: info.name(),
    };
    let attributes = Attributes::resource(Verb::Create.as_str(), target);
    check(ctx, &info.identity, &attributes, None)
}

/// What the field selector of a list says a field must be. A selector that does not parse is refused
/// later, for what it is.
fn named(info: &Info, field: &str) -> Option<String> {
    if !matches!(info.verb, Verb::List | Verb::Watch) {
        return None;
    }
    let text = info.query.get("fieldSelector")?;
    let selector = FieldSelector::parse(info.kind, text).ok()?;
    let value = selector.exact(field).filter(|value| !value.is_empty())?;
    Some(value.to_owned())
}

/// The same for a path below `/api` or `/apis` that names nothing that is served, or a method that it
/// does not have: what it would be a request for.
pub(crate) fn unknown(
    ctx: &Context,
    identity: &Identity,
    method: &str,
    segments: &[&str],
) -> Result<(), Status> {
    let (group, rest) = match segments {
        ["api", _, rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        _ => ("", segments),
    };
    let (watch, rest) = match rest {
        ["watch", rest @ ..] if !rest.is_empty() => (true, rest),
        rest => (false, rest),
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
        rest => ("", rest),
    };
    let part = |n: usize| rest.get(n).copied().unwrap_or_default();
    let target = Resource {
        group,
        resource: part(0),
        subresource: part(2),
        namespace,
        name: part(1),
    };
    let named = !target.name.is_empty();
    let verb = match method {
        "GET" | "HEAD" if watch => "watch",
        "GET" | "HEAD" if named => "get",
        "GET" | "HEAD" => "list",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" if named => "delete",
        "DELETE" => "deletecollection",
        _ => "",
    };
    check(ctx, identity, &Attributes::resource(verb, target), None)
}

/// The same for a path that is no resource.
pub(crate) fn path(
    ctx: &Context,
    identity: &Identity,
    method: &str,
    path: &str,
) -> Result<(), Status> {
    let verb = method.to_ascii_lowercase();
    check(ctx, identity, &Attributes::path(&verb, path), None)
}
