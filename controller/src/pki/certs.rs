//! Making certificates with rcgen, and reading them back.

use std::path::Path;
use std::time::Duration;

use bramble_link::tls::Identity;
use bramble_wire::name::NodeName;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
    SerialNumber, date_time_ymd,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer};

use super::{Error, files, random, subject};

/// 2020-01-01, where every certificate's life begins, in seconds since 1970.
const FROM: u64 = 1_577_836_800;
/// Until the year 9999, nearly.
const AGES: Duration = Duration::from_secs(7_900 * 365 * 86_400);

/// A request for a client certificate whose own signature was right.
pub struct Csr(CertificateSigningRequestParams);

impl std::fmt::Debug for Csr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Csr(..)")
    }
}

impl Csr {
    /// Parses PEM and checks that the sender holds the key.
    ///
    /// # Errors
    /// [`Error::Csr`] saying what is wrong.
    pub fn parse(pem: &str) -> Result<Self, Error> {
        let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| Error::Csr("not PEM".into()))?;
        CertificateSigningRequestParams::from_der(&der)
            .map(Self)
            .map_err(|e| Error::Csr(e.to_string()))
    }
}

/// What a leaf certificate says.
pub(super) struct Leaf<'a> {
    cn: &'a str,
    organisation: Option<&'a str>,
    names: &'a [String],
}

impl<'a> Leaf<'a> {
    pub(super) fn server(cn: &'a str, names: &'a [String]) -> Self {
        Self {
            cn,
            organisation: None,
            names,
        }
    }

    pub(super) fn client(cn: &'a str, organisation: &'a str) -> Self {
        Self {
            cn,
            organisation: Some(organisation),
            names: &[],
        }
    }

    fn params(&self) -> Result<CertificateParams, Error> {
        let mut params = params(self.cn, self.organisation, self.names.to_vec())?;
        params.extended_key_usages = vec![if self.organisation.is_some() {
            ExtendedKeyUsagePurpose::ClientAuth
        } else {
            ExtendedKeyUsagePurpose::ServerAuth
        }];
        Ok(params)
    }
}

fn failed(subject: &str) -> impl Fn(rcgen::Error) -> Error + '_ {
    move |source| Error::Certificate {
        subject: subject.to_owned(),
        source,
    }
}

fn params(
    cn: &str,
    organisation: Option<&str>,
    names: Vec<String>,
) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::new(names).map_err(failed(cn))?;
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(9999, 12, 31);
    params.serial_number = Some(serial()?);
    params.distinguished_name = distinguished(cn, organisation);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    Ok(params)
}

/// 15 random bytes: positive, and inside of the 20 that RFC 5280 allows.
fn serial() -> Result<SerialNumber, Error> {
    let mut bytes = random::<16>()?;
    bytes[0] = 1;
    Ok(SerialNumber::from_slice(&bytes))
}

fn distinguished(cn: &str, organisation: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(organisation) = organisation {
        name.push(DnType::OrganizationName, organisation);
    }
    name.push(DnType::CommonName, cn);
    name
}

/// The CA: certificate and key as PEM.
pub(super) fn make_ca(cluster: &str) -> Result<(String, String), Error> {
    let cn = format!("bramble-ca {cluster}");
    let key = KeyPair::generate().map_err(failed(&cn))?;
    let mut params = params(&cn, None, Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let cert = params.self_signed(&key).map_err(failed(&cn))?;
    Ok((to_pem("CERTIFICATE", cert.der()), key.serialize_pem()))
}

/// Reads a leaf's file, or makes it (again) when it is missing, damaged, from another CA or lacks a
/// name. The file holds the names as a comment, the certificate and the key: one rename, one state.
pub(super) fn ensure_leaf(
    path: &Path,
    leaf: &Leaf<'_>,
    ca: &CertificateDer<'static>,
    issuer: &Issuer<'static, KeyPair>,
) -> Result<Identity, Error> {
    if let Some(identity) = std::fs::read_to_string(path)
        .ok()
        .and_then(|t| read_leaf(&t, leaf, ca))
    {
        return Ok(identity);
    }
    let key = KeyPair::generate().map_err(failed(leaf.cn))?;
    let cert = leaf
        .params()?
        .signed_by(&key, issuer)
        .map_err(failed(leaf.cn))?;
    let text = format!(
        "# names: {}\n# ca: {}\n{}{}",
        leaf.names.join(","),
        hex::encode(super::fingerprint(ca)),
        to_pem("CERTIFICATE", cert.der()),
        key.serialize_pem()
    );
    files::write(path, text.as_bytes())?;
    read_leaf(&text, leaf, ca)
        .ok_or_else(|| failed(leaf.cn)(rcgen::Error::CouldNotParseCertificate))
}

/// A new certificate for the key of an old one.
pub(super) fn sign_again(
    issuer: &Issuer<'static, KeyPair>,
    leaf: &Leaf<'_>,
    key: &PrivateKeyDer<'_>,
) -> Result<CertificateDer<'static>, Error> {
    let key = KeyPair::try_from(key).map_err(failed(leaf.cn))?;
    let cert = leaf.params()?.signed_by(&key, issuer);
    Ok(cert.map_err(failed(leaf.cn))?.der().clone())
}

fn read_leaf(text: &str, leaf: &Leaf<'_>, ca: &CertificateDer<'static>) -> Option<Identity> {
    let comment = |prefix: &str| text.lines().find_map(|l| l.strip_prefix(prefix));
    if comment("# ca: ")? != hex::encode(super::fingerprint(ca)) {
        return None;
    }
    let have: Vec<&str> = comment("# names: ")?.split(',').collect();
    if !leaf.names.iter().all(|name| have.contains(&name.as_str())) {
        return None;
    }
    let cert = read_cert(text)?;
    let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).ok()?;
    let pair = KeyPair::try_from(&key).ok()?;
    check_pair(&cert, &pair).ok()?;
    Some(Identity {
        chain: vec![cert, ca.clone()],
        key,
    })
}

/// Whether a key belongs to a certificate.
pub(super) fn check_pair(cert: &CertificateDer<'_>, key: &KeyPair) -> Result<(), ()> {
    let (_, parsed) = x509_parser::parse_x509_certificate(cert).map_err(|_| ())?;
    if parsed.public_key().subject_public_key.data.as_ref() == key.der_bytes() {
        Ok(())
    } else {
        Err(())
    }
}

pub(super) fn sign_node(
    issuer: &Issuer<'static, KeyPair>,
    node: &NodeName,
    csr: Csr,
) -> Result<CertificateDer<'static>, Error> {
    let params = params(node.as_str(), Some("system:nodes"), Vec::new())?;
    sign_client(issuer, node.as_str(), params, csr)
}

pub(super) fn sign_user(
    issuer: &Issuer<'static, KeyPair>,
    user: &str,
    groups: &[String],
    until: u64,
    csr: Csr,
) -> Result<CertificateDer<'static>, Error> {
    let mut params = params(user, None, Vec::new())?;
    params.not_after =
        params.not_before + (Duration::from_secs(until.saturating_sub(FROM))).min(AGES);
    let cert = sign_client(issuer, user, params, csr)?;
    subject::replaced(&cert, user, groups, issuer.key())
        .map(CertificateDer::from)
        .map_err(failed(user))
}

/// Nothing that the request asks for is taken over but its key.
fn sign_client(
    issuer: &Issuer<'static, KeyPair>,
    subject: &str,
    mut params: CertificateParams,
    csr: Csr,
) -> Result<CertificateDer<'static>, Error> {
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let mut request = csr.0;
    request.params = params;
    let cert = request.signed_by(issuer).map_err(failed(subject))?;
    Ok(cert.der().clone())
}

pub(super) fn read_cert(text: &str) -> Option<CertificateDer<'static>> {
    CertificateDer::from_pem_slice(text.as_bytes()).ok()
}

/// PEM with lines of 64 characters.
pub(super) fn to_pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in body.as_bytes().chunks(64) {
        out.push_str(std::str::from_utf8(line).unwrap_or_default());
        out.push('\n');
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}
