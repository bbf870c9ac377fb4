//! Servers that are believed otherwise than by the board's authorities, as the client's end of a TLS
//! connection decides it. In: what a server shows. Out: whether it is who it should be. No state.

use std::fmt;
use std::sync::Arc;

use bramble_link::tls::provider;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::{DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// What a server shows of itself, and when.
pub(crate) struct Shown<'a> {
    /// Its own certificate.
    pub(crate) end_entity: &'a CertificateDer<'a>,
    /// Those that it sent along.
    pub(crate) intermediates: &'a [CertificateDer<'a>],
    /// Who it should be.
    pub(crate) server_name: &'a ServerName<'a>,
    /// What it says of its certificate's revocation.
    pub(crate) ocsp_response: &'a [u8],
    /// The time by which to judge.
    pub(crate) now: UnixTime,
}

/// Whether a server must prove that it has its certificate's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// It must: the provider verifies the handshake's signature.
    Demanded,
    /// It need not. Nothing then hinges on the certificate, not even that it can be read.
    Waived,
}

/// Takes every certificate.
pub(crate) fn anybody(proof: Proof) -> Arc<dyn ServerCertVerifier> {
    verifier(proof, |_| Ok(()))
}

/// Takes the servers that `judge` takes.
pub(crate) fn verifier<F>(proof: Proof, judge: F) -> Arc<dyn ServerCertVerifier>
where
    F: Fn(&Shown<'_>) -> Result<(), rustls::Error> + Send + Sync + 'static,
{
    let algorithms = provider().signature_verification_algorithms;
    Arc::new(Verifier {
        proof,
        algorithms,
        judge,
    })
}

struct Verifier<F> {
    proof: Proof,
    algorithms: WebPkiSupportedAlgorithms,
    judge: F,
}

impl<F> fmt::Debug for Verifier<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("proof", &self.proof)
            .finish_non_exhaustive()
    }
}

impl<F> Verifier<F> {
    /// Asks for the signature unless that is waived.
    fn proven(
        &self,
        check: impl FnOnce(&WebPkiSupportedAlgorithms) -> Result<HandshakeSignatureValid, rustls::Error>,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match self.proof {
            Proof::Waived => Ok(HandshakeSignatureValid::assertion()),
            Proof::Demanded => check(&self.algorithms),
        }
    }
}

impl<F> ServerCertVerifier for Verifier<F>
where
    F: Fn(&Shown<'_>) -> Result<(), rustls::Error> + Send + Sync,
{
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        (self.judge)(&Shown {
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        })?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.proven(|known| verify_tls12_signature(message, certificate, signature, known))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.proven(|known| verify_tls13_signature(message, certificate, signature, known))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
