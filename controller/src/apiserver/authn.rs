//! Who asks: the bearer of a client certificate, a service account by its token, or nobody known.
//!
//! In: what TLS has verified, and the headers of a request. Out: an [`Identity`], which everything
//! behind it (authorization, admission, reviews) takes as given. Group names and extra keys are
//! upstream's (`k8s.io/apiserver/pkg/authentication/user`), and so is the order: the certificate, then
//! the token; what is shown and counts for nothing is 401, also where nothing need be shown.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bramble_api::status::Status;
use bramble_wire::name::NodeName;
use http::HeaderMap;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};

use super::Context;
use crate::join::NodeKeys;

/// Everybody who showed who they are.
pub(crate) const AUTHENTICATED: &str = "system:authenticated";
/// Everybody who did not.
pub(crate) const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The user of a request without credentials.
pub(crate) const ANONYMOUS: &str = "system:anonymous";
/// Extra key that names the credential, for audits.
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// May do everything.
pub(crate) const MASTERS: &str = "system:masters";
/// Nodes, by their certificates. Only joining makes one of these.
pub(crate) const NODES: &str = "system:nodes";

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user's name.
    pub user: String,
    /// What tells two users of one name apart in time; empty when unknown.
    pub uid: String,
    /// The user's groups, `system:authenticated` or `system:unauthenticated` included.
    pub groups: Vec<String>,
    /// What else the credential says.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl Identity {
    /// A service account, by one of its tokens.
    pub(crate) fn of_account(
        namespace: &str,
        name: &str,
        uid: &str,
        extra: BTreeMap<String, Vec<String>>,
    ) -> Self {
        Self {
            user: format!("system:serviceaccount:{namespace}:{name}"),
            uid: uid.to_owned(),
            groups: vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
                AUTHENTICATED.to_owned(),
            ],
            extra,
        }
    }

    /// Nobody known: may see health and version.
    #[must_use]
    pub fn anonymous() -> Self {
        Self {
            user: ANONYMOUS.to_owned(),
            groups: vec![UNAUTHENTICATED.to_owned()],
            ..Self::default()
        }
    }

    /// Whether nobody known asks.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.user == ANONYMOUS
    }

    /// Whether it has this group.
    #[must_use]
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }
}

/// What a client showed while TLS was set up.
#[derive(Debug)]
pub(crate) enum Shown {
    Nothing,
    /// A certificate that is not of our CA, or no longer.
    Foreign,
    Certificate(Box<Certified>),
}

/// A client certificate of our CA.
#[derive(Debug)]
pub(crate) struct Certified {
    identity: Identity,
    /// Of a node: which, and the certificate's hash. The table of keys says whether it is a member.
    node: Option<(NodeName, [u8; 32])>,
}

impl Certified {
    /// Out of a certificate that TLS has verified: the common name and the organisations. `None` when
    /// it names nobody.
    pub(crate) fn from_certificate(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
        let subject = certificate.subject();
        let mut user = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
        let mut groups: Vec<String> = subject
            .iter_organization()
            .filter_map(|o| o.as_str().ok())
            .map(str::to_owned)
            .collect();
        let hash: [u8; 32] = Sha256::digest(der).into();
        let mut node = None;
        if groups.iter().any(|g| g == NODES) {
            let name = NodeName::new(&user).ok()?;
            user = format!("system:node:{name}");
            node = Some((name, hash));
        }
        groups.push(AUTHENTICATED.to_owned());
        let id = format!("X509SHA256={}", hex::encode(hash));
        let identity = Identity {
            user,
            uid: String::new(),
            groups,
            extra: BTreeMap::from([(CREDENTIAL_ID.to_owned(), vec![id])]),
        };
        Some(Self { identity, node })
    }

    /// Whom it names, whether or not that counts.
    pub(crate) fn user(&self) -> &str {
        &self.identity.user
    }

    /// Whom it names; a node that was removed, or has another certificate since, is nobody.
    fn identity(&self, keys: &NodeKeys) -> Option<&Identity> {
        let member = match &self.node {
            None => true,
            Some((name, hash)) => (keys.by_name(name)).is_some_and(|key| key.certificate == *hash),
        };
        member.then_some(&self.identity)
    }
}

/// Who sends a request.
///
/// # Errors
/// 401, when what was shown counts for nothing.
pub(crate) fn authenticate(
    ctx: &Context,
    shown: &Shown,
    headers: &HeaderMap,
) -> Result<Identity, Status> {
    if let Shown::Certificate(certificate) = shown
        && let Some(identity) = certificate.identity(ctx.joiner.keys())
    {
        return Ok(identity.clone());
    }
    if let Some(token) = bearer(headers) {
        return match ctx.tokens.authenticate(&token, &[]) {
            Ok(verified) => Ok(verified.identity),
            Err(why) => {
                tracing::debug!(%why, "unable to authenticate a request");
                Err(Status::unauthorized())
            }
        };
    }
    match shown {
        Shown::Nothing => Ok(Identity::anonymous()),
        Shown::Foreign | Shown::Certificate(_) => Err(Status::unauthorized()),
    }
}

/// The token of a request; browsers can't set headers for a WebSocket and name it as a protocol.
fn bearer(headers: &HeaderMap) -> Option<String> {
    if let Some(value) = headers.get(AUTHORIZATION) {
        let mut words = value.to_str().ok()?.trim().splitn(3, ' ');
        let scheme = words.next()?;
        let token = words.next().filter(|token| !token.is_empty());
        if let (true, Some(token)) = (scheme.eq_ignore_ascii_case("bearer"), token) {
            return Some(token.to_owned());
        }
    }
    let encoded = headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(|name| {
            name.trim()
                .strip_prefix("base64url.bearer.authorization.k8s.io.")
        })?;
    String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(organisation: &str, name: &str) -> Certified {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let subject = &mut params.distinguished_name;
        subject.push(rcgen::DnType::OrganizationName, organisation);
        subject.push(rcgen::DnType::CommonName, name);
        let cert = params.self_signed(&key).unwrap();
        Certified::from_certificate(cert.der()).unwrap()
    }

    #[test]
    fn a_certificate_names_its_user_and_groups() {
        let Certified { identity, node } = certificate("people", "ann");
        assert_eq!(identity.user, "ann");
        assert_eq!(identity.groups, ["people", AUTHENTICATED]);
        assert!(identity.extra[CREDENTIAL_ID][0].starts_with("X509SHA256="));
        assert!(node.is_none());
        assert!(Identity::anonymous().is_in(UNAUTHENTICATED));
    }

    #[test]
    fn a_node_is_one_only_while_it_is_a_member() {
        let node = certificate(NODES, "pi-1");
        assert_eq!(node.user(), "system:node:pi-1");
        let store = std::sync::Arc::new(crate::store::MemoryStore::default());
        let keys = NodeKeys::open(store).unwrap();
        assert_eq!(node.identity(&keys), None);
        assert!(certificate("people", "ann").identity(&keys).is_some());
    }

    #[test]
    fn tokens_are_found_where_clients_put_them() {
        let found = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            bearer(&headers)
        };
        for value in ["Bearer a.b.c", "bearer a.b.c", " BEARER a.b.c x"] {
            assert_eq!(
                found("authorization", value).as_deref(),
                Some("a.b.c"),
                "{value}"
            );
        }
        for value in ["", "Bearer", "Bearer ", "Basic a.b.c", "a.b.c", "Bearer  a"] {
            assert_eq!(found("authorization", value), None, "{value}");
        }
        let protocols = "v4.channel.k8s.io, base64url.bearer.authorization.k8s.io.YS5iLmM";
        assert_eq!(
            found("sec-websocket-protocol", protocols).as_deref(),
            Some("a.b.c")
        );
    }
}
