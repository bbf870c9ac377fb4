//! Whether who asks may: one group may do everything.

use bramble_api::status::Status;

use super::authn::Identity;
use super::request::Info;

/// May do everything.
const MASTERS: &str = "system:masters";

/// Lets an administrator pass; 401 for nobody, upstream's 403 for anybody else.
pub(crate) fn resource(identity: &Identity, info: &Info) -> Result<(), Status> {
    if identity.is_anonymous() {
        return Err(Status::unauthorized());
    }
    if identity.is_in(MASTERS) {
        return Ok(());
    }
    let resource = info.kind.plural;
    let shown = match info.subresource {
        Some(sub) => format!("{resource}/{}", sub.name),
        None => resource.to_owned(),
    };
    let scope = match &info.namespace {
        Some(namespace) => format!("in the namespace {namespace:?}"),
        None => "at the cluster scope".to_owned(),
    };
    let why = format!(
        "User {:?} cannot {} resource {shown:?} in API group {:?} {scope}",
        identity.user,
        info.verb.as_str(),
        info.kind.group,
    );
    Err(Status::forbidden(
        info.kind.group,
        resource,
        info.name(),
        &why,
    ))
}

/// The same for a path that is no resource.
pub(crate) fn path(identity: &Identity, method: &str, path: &str) -> Result<(), Status> {
    if identity.is_anonymous() {
        return Err(Status::unauthorized());
    }
    if identity.is_in(MASTERS) {
        return Ok(());
    }
    let verb = method.to_ascii_lowercase();
    let why = format!("User {:?} cannot {verb} path {path:?}", identity.user);
    Err(Status::forbidden_path(&why))
}
