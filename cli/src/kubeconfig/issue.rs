//! `bramble kubeconfig`: the administrator's, one for somebody else, or one for a service account.
//!
//! The private key of a certificate is made here and never leaves this machine: the controller gets a
//! signing request. Both ways need the rights of an administrator, whose kubeconfig is the input.

use anyhow::{Context as _, Result};
use bramble_wire::join::{CERTIFICATES_PATH, CertificateCreated, CertificateRequest};
use serde::Deserialize;
use serde_json::json;

use super::file::{self, Target};
use super::{Credentials, Kubeconfig, Names, Prefer};
use crate::args::{Account, KubeconfigArgs};
use crate::http::Client;
use crate::output;

/// Carries out the command.
pub(crate) fn run(args: &KubeconfigArgs) -> Result<()> {
    // Before anything is made that would be lost.
    let target = Target::of(args)?;
    let admin = super::load(&args.access, Prefer::Controller)?;
    let (mut config, until) = issued(&admin, args)?;
    if let Some(server) = &args.server {
        config.server = server.clone();
    }
    if let Some(name) = &args.name {
        config.names.context.clone_from(name);
        config.names.cluster.clone_from(name);
    }
    let Some(target) = target else {
        return output::print(&config.render());
    };
    file::write(&target, &config)?;
    let until = until.map(|until| format!(", until {}", output::plain(&until)));
    output::print(&format!(
        "context {:?} written to {}{}\n",
        config.names.context,
        target.path.display(),
        until.unwrap_or_default()
    ))
}

/// The kubeconfig that is wanted, and when its credentials end.
fn issued(admin: &Kubeconfig, args: &KubeconfigArgs) -> Result<(Kubeconfig, Option<String>)> {
    let seconds = args.ttl.map(|ttl| ttl.as_secs());
    if let Some(user) = &args.user {
        let (credentials, until) = certificate(admin, user, &args.groups, seconds)?;
        let context = format!("{user}@{}", admin.names.cluster);
        let config = admin.of_another(credentials, context, user.clone(), None);
        return Ok((config, Some(until)));
    }
    if let Some(account) = &args.service_account {
        let (credentials, until) = token(admin, account, seconds)?;
        let context = format!("{}@{}", account.name, admin.names.cluster);
        let user = format!("{}/{}", account.namespace, account.name);
        let namespace = Some(account.namespace.clone());
        let config = admin.of_another(credentials, context, user, namespace);
        return Ok((config, Some(until)));
    }
    Ok((admin.clone(), None))
}

impl Kubeconfig {
    /// The same cluster for somebody else.
    fn of_another(
        &self,
        credentials: Credentials,
        context: String,
        user: String,
        namespace: Option<String>,
    ) -> Self {
        Self {
            credentials,
            names: Names {
                context,
                cluster: self.names.cluster.clone(),
                user,
                namespace,
            },
            ..self.clone()
        }
    }
}

fn certificate(
    admin: &Kubeconfig,
    user: &str,
    groups: &[String],
    ttl_seconds: Option<u64>,
) -> Result<(Credentials, String)> {
    let making = "making a key";
    let key = rcgen::KeyPair::generate().context(making)?;
    let csr = rcgen::CertificateParams::default()
        .serialize_request(&key)
        .and_then(|csr| csr.pem())
        .context(making)?;
    let request = CertificateRequest {
        csr,
        user: user.to_owned(),
        groups: groups.to_vec(),
        ttl_seconds,
    };
    let body = serde_json::to_value(request)?;
    let created: CertificateCreated =
        Client::new(admin)?.json("POST", CERTIFICATES_PATH, Some(&body))?;
    let credentials = Credentials::Certificate {
        chain: created.certificate.into_bytes(),
        key: key.serialize_pem().into_bytes(),
    };
    Ok((credentials, created.expires))
}

/// The part of a TokenRequest that is read.
#[derive(Deserialize)]
struct TokenRequest {
    status: TokenStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenStatus {
    token: String,
    expiration_timestamp: String,
}

fn token(
    admin: &Kubeconfig,
    account: &Account,
    seconds: Option<u64>,
) -> Result<(Credentials, String)> {
    let mut body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
                          "spec": {}});
    if let Some(seconds) = seconds {
        body["spec"]["expirationSeconds"] = seconds.into();
    }
    let path = format!(
        "/api/v1/namespaces/{}/serviceaccounts/{}/token",
        account.namespace, account.name
    );
    let made: TokenRequest = Client::new(admin)?.json("POST", &path, Some(&body))?;
    let TokenStatus {
        token,
        expiration_timestamp,
    } = made.status;
    Ok((Credentials::Token(token), expiration_timestamp))
}
