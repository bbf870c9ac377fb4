//! Who asks, and whether they may: client certificates, and one group that may do everything.

use bramble_api::status::Status;
use rustls_pki_types::CertificateDer;

use super::request::Info;

/// May do everything.
const MASTERS: &str = "system:masters";

/// The bearer of a client certificate of our CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Common name.
    pub user: String,
    /// Organisations.
    pub groups: Vec<String>,
}

impl Identity {
    /// Out of a certificate that TLS has verified.
    #[must_use]
    pub fn from_certificate(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
        let subject = certificate.subject();
        let user = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
        let groups = subject
            .iter_organization()
            .filter_map(|o| o.as_str().ok())
            .map(str::to_owned)
            .collect();
        Some(Self { user, groups })
    }

    fn is_master(&self) -> bool {
        self.groups.iter().any(|g| g == MASTERS)
    }
}

/// Lets an administrator pass; 401 for nobody, upstream's 403 for anybody else.
pub(crate) fn resource(identity: Option<&Identity>, info: &Info) -> Result<(), Status> {
    let identity = identity.ok_or_else(Status::unauthorized)?;
    if identity.is_master() {
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
pub(crate) fn path(identity: Option<&Identity>, method: &str, path: &str) -> Result<(), Status> {
    let identity = identity.ok_or_else(Status::unauthorized)?;
    if identity.is_master() {
        return Ok(());
    }
    let verb = method.to_ascii_lowercase();
    let why = format!("User {:?} cannot {verb} path {path:?}", identity.user);
    Err(Status::forbidden_path(&why))
}
