//! Making tokens, for whoever asks by TokenRequest and for the controller's own pods.
//!
//! Rules and messages are upstream's
//! (`k8s.io/kubernetes/pkg/registry/core/serviceaccount/storage/token.go`).

use bramble_api::status::{Cause, Status};
use serde_json::json;

use super::jwt::{self, Claims, Kubernetes, Ref};
use super::objects::Object;
use super::{API_AUDIENCES, ISSUER, Tokens, username};

/// The shortest life of a token.
pub const MIN_SECONDS: i64 = 600;
/// A token's life when nothing is said.
pub const DEFAULT_SECONDS: i64 = 3600;
/// The longest life of a token; more is shortened, with a warning.
pub const MAX_SECONDS: i64 = 365 * 24 * 3600;
/// What projected volumes ask for: upstream's clients of old never read the file again, so such a
/// token lives a year and only says when it should have been renewed.
const EXTENDED: i64 = 3607;

/// Somebody wants a token.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Namespace of the account.
    pub namespace: &'a str,
    /// The account.
    pub account: &'a str,
    /// For whom; none means the API.
    pub audiences: &'a [String],
    /// How long.
    pub seconds: i64,
    /// What it ends with.
    pub bound: Option<Bound<'a>>,
}

/// An object that a token ends with.
#[derive(Clone, Copy, Debug)]
pub struct Bound<'a> {
    /// `v1`.
    pub api_version: &'a str,
    /// `Pod`, `Secret` or `Node`.
    pub kind: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its uid, when it must be that one.
    pub uid: &'a str,
}

/// A fresh token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Minted {
    /// The token.
    pub token: String,
    /// For whom it is.
    pub audiences: Vec<String>,
    /// The life that was granted.
    pub seconds: i64,
    /// When it was made, in seconds since 1970.
    pub issued: u64,
    /// When it should be renewed at the latest; it may live longer.
    pub expires: u64,
    /// When it ends.
    pub ends: u64,
    /// Texts for the client.
    pub warnings: Vec<String>,
}

/// Makes tokens. The seam for whoever needs them inside of the controller.
pub trait Minter: std::fmt::Debug + Send + Sync + 'static {
    /// A token as asked for.
    ///
    /// # Errors
    /// Upstream's answers: 404 for what is not there, 409 for another uid, 400 and 422 for what can't
    /// be.
    fn mint(&self, request: &Request<'_>) -> Result<Minted, Status>;

    /// Which key signs; tokens of another one are worth nothing.
    fn key_id(&self) -> &str;
}

/// The seconds that a token bound to a pod lives when a volume asks for it: as long as it says, but
/// never less than [`MIN_SECONDS`], and a year where that is the usual request.
#[must_use]
pub fn life_of_pods_token(audience: &str, seconds: i64) -> i64 {
    let for_api = audience.is_empty() || API_AUDIENCES.contains(&audience);
    if seconds == EXTENDED && for_api {
        MAX_SECONDS
    } else {
        seconds.clamp(MIN_SECONDS, MAX_SECONDS)
    }
}

impl Minter for Tokens {
    fn mint(&self, request: &Request<'_>) -> Result<Minted, Status> {
        let (namespace, name) = (request.namespace, request.account);
        let account = read(self, "serviceaccounts", namespace, name)?;
        check_seconds(request.seconds)?;
        let mut kubernetes = Kubernetes {
            namespace: namespace.to_owned(),
            serviceaccount: reference(name, &account),
            ..Kubernetes::default()
        };
        if let Some(bound) = &request.bound {
            self.bind(request, bound, &mut kubernetes)?;
        }
        let mut warnings = Vec::new();
        let seconds = request.seconds.min(MAX_SECONDS);
        if seconds < request.seconds {
            warnings.push(format!(
                "requested expiration of {} seconds shortened to {seconds} seconds",
                request.seconds
            ));
        }
        let audiences: Vec<String> = if request.audiences.is_empty() {
            API_AUDIENCES.iter().map(|&a| a.to_owned()).collect()
        } else {
            request.audiences.to_vec()
        };
        let issued = self.clock.now();
        let after = |seconds: i64| issued + seconds.unsigned_abs();
        let for_api = audiences
            .iter()
            .all(|a| API_AUDIENCES.contains(&a.as_str()));
        let mut exp = after(seconds);
        if kubernetes.pod.is_some() && seconds == EXTENDED && for_api {
            kubernetes.warnafter = Some(exp);
            exp = after(MAX_SECONDS);
        }
        let claims = Claims {
            aud: audiences.clone(),
            exp: Some(exp),
            iat: Some(issued),
            iss: ISSUER.to_owned(),
            jti: crate::object::uid().map_err(Status::internal)?,
            kubernetes: Some(kubernetes),
            nbf: Some(issued),
            sub: username(namespace, name),
            ..Claims::default()
        };
        let token = jwt::sign(&self.key, &claims)
            .ok_or_else(|| Status::internal("failed to generate token: no randomness"))?;
        Ok(Minted {
            token,
            audiences,
            seconds,
            issued,
            expires: after(seconds),
            ends: exp,
            warnings,
        })
    }

    fn key_id(&self) -> &str {
        self.key.id()
    }
}

impl Tokens {
    fn bind(
        &self,
        request: &Request<'_>,
        bound: &Bound<'_>,
        claims: &mut Kubernetes,
    ) -> Result<(), Status> {
        let namespace = request.namespace;
        let (group, version) = bound
            .api_version
            .split_once('/')
            .unwrap_or(("", bound.api_version));
        let found = match (group, bound.kind) {
            ("", "Pod") => {
                let pod = read(self, "pods", namespace, bound.name)?;
                if pod.spec.service_account_name != request.account {
                    return Err(Status::bad_request(format!(
                        "cannot bind token for serviceaccount {:?} to pod running with different \
                         serviceaccount name.",
                        request.account
                    )));
                }
                claims.pod = Some(reference(bound.name, &pod));
                let node = &pod.spec.node_name;
                claims.node = Object::read(&*self.store, "nodes", "", node)
                    .map(|found| reference(node, &found));
                pod
            }
            ("", "Secret") => {
                let secret = read(self, "secrets", namespace, bound.name)?;
                claims.secret = Some(reference(bound.name, &secret));
                secret
            }
            ("", "Node") => {
                let node = read(self, "nodes", "", bound.name)?;
                claims.node = Some(reference(bound.name, &node));
                node
            }
            _ => {
                return Err(Status::bad_request(format!(
                    "cannot bind token to object of type {group}/{version}, Kind={}",
                    bound.kind
                )));
            }
        };
        if !bound.uid.is_empty() && bound.uid != found.metadata.uid {
            let why = format!(
                "the UID in the bound object reference ({}) does not match the UID in record. The \
                 object might have been deleted and then recreated",
                bound.uid
            );
            return Err(Status::conflict(group, bound.kind, bound.name, &why));
        }
        Ok(())
    }
}

/// As upstream's validation of a TokenRequest.
fn check_seconds(seconds: i64) -> Result<(), Status> {
    let why = if seconds < MIN_SECONDS {
        "may not specify a duration less than 10 minutes"
    } else if seconds > 1 << 32 {
        "may not specify a duration larger than 2^32 seconds"
    } else {
        return Ok(());
    };
    let cause = Cause::invalid("spec.expirationSeconds", &json!(seconds), why);
    Err(Status::invalid(
        "authentication.k8s.io",
        "TokenRequest",
        "",
        vec![cause],
    ))
}

fn read(tokens: &Tokens, resource: &str, namespace: &str, name: &str) -> Result<Object, Status> {
    Object::read(&*tokens.store, resource, namespace, name)
        .ok_or_else(|| Status::not_found("", resource, name))
}

fn reference(name: &str, object: &Object) -> Ref {
    Ref {
        name: name.to_owned(),
        uid: object.metadata.uid.clone(),
    }
}
