use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, ClientConnection, ServerConfig, ServerConnection, SupportedProtocolVersion,
};
use rustls_pki_types::PrivatePkcs8KeyDer;

use super::*;

/// Shows one certificate to everybody.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesServerCert for Shows {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// A server's certificate with its own key, or with somebody else's.
fn server(version: &'static SupportedProtocolVersion, own: bool) -> ServerConnection {
    let keys = [(); 2].map(|()| KeyPair::generate().unwrap());
    let certificate = CertificateParams::new(vec!["elsewhere".to_owned()]).unwrap();
    let certificate = certificate.self_signed(&keys[0]).unwrap();
    let key = PrivatePkcs8KeyDer::from(keys[usize::from(!own)].serialize_der()).into();
    let key = any_supported_type(&key).unwrap();
    let shown = CertifiedKey::new(vec![certificate.der().clone()], key);
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Shows(Arc::new(shown))));
    ServerConnection::new(Arc::new(config)).unwrap()
}

/// What the client makes of the server.
fn shake(
    verifier: Arc<dyn ServerCertVerifier>,
    mut server: ServerConnection,
) -> Result<(), rustls::Error> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    let name = ServerName::try_from("here").unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    while client.is_handshaking() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut wire = wire.as_slice();
        while !wire.is_empty() {
            server.read_tls(&mut wire).unwrap();
            server.process_new_packets().unwrap();
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut wire = wire.as_slice();
        while !wire.is_empty() {
            client.read_tls(&mut wire).unwrap();
            client.process_new_packets()?;
        }
    }
    Ok(())
}

#[test]
fn a_certificate_is_no_proof_without_its_key_where_that_is_demanded() {
    for version in rustls::ALL_VERSIONS {
        shake(anybody(Proof::Demanded), server(version, true)).unwrap();
        shake(anybody(Proof::Demanded), server(version, false)).unwrap_err();
        shake(anybody(Proof::Waived), server(version, false)).unwrap();
    }
}

#[test]
fn who_is_judged_unfit_is_not_taken_whatever_is_proven() {
    for proof in [Proof::Demanded, Proof::Waived] {
        let judge = |shown: &Shown<'_>| {
            assert_eq!(*shown.server_name, ServerName::try_from("here").unwrap());
            Err(rustls::Error::General("not this one".into()))
        };
        let error = shake(
            verifier(proof, judge),
            server(&rustls::version::TLS13, true),
        );
        let said = error.unwrap_err().to_string();
        assert!(said.contains("not this one"), "{said}");
    }
}
