//! The administrator's kubeconfig, with everything embedded.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bramble_link::tls::Identity;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::certs::to_pem;

/// A kubeconfig for `url` with one context, named `bramble`.
#[must_use]
pub fn kubeconfig(
    cluster: &str,
    url: &str,
    ca: &CertificateDer<'_>,
    identity: &Identity,
) -> String {
    let key = match &identity.key {
        PrivateKeyDer::Pkcs8(der) => to_pem("PRIVATE KEY", der.secret_pkcs8_der()),
        PrivateKeyDer::Sec1(der) => to_pem("EC PRIVATE KEY", der.secret_sec1_der()),
        other => to_pem("RSA PRIVATE KEY", other.secret_der()),
    };
    let cert = identity
        .chain
        .first()
        .map(|leaf| to_pem("CERTIFICATE", leaf))
        .unwrap_or_default();
    format!(
        "apiVersion: v1\nkind: Config\n\
         clusters:\n- name: bramble\n  cluster:\n    server: {url}\n    certificate-authority-data: {ca}\n\
         users:\n- name: kubernetes-admin\n  user:\n    client-certificate-data: {cert}\n    client-key-data: {key}\n\
         contexts:\n- name: bramble\n  context:\n    cluster: bramble\n    user: kubernetes-admin\n\
         current-context: bramble\npreferences: {{}}\n# cluster id: {cluster}\n",
        ca = STANDARD.encode(to_pem("CERTIFICATE", ca)),
        cert = STANDARD.encode(cert),
        key = STANDARD.encode(key),
    )
}
