use super::*;

fn options(dir: &Path, names: &[&str]) -> Options {
    Options {
        data_dir: dir.to_owned(),
        names: names.iter().map(|&n| n.to_owned()).collect(),
    }
}

fn leaf_of(serving: &Serving) -> &CertificateDer<'static> {
    serving.identity.chain.first().unwrap()
}

#[test]
fn a_second_start_finds_the_same_keys() {
    let dir = tempfile::tempdir().unwrap();
    let first = Pki::open(&options(dir.path(), &["pi.example"])).unwrap();
    let second = Pki::open(&options(dir.path(), &["pi.example"])).unwrap();
    assert_eq!(first.cluster, second.cluster);
    assert_eq!(first.signing.to_bytes(), second.signing.to_bytes());
    assert_eq!(leaf_of(&first.api), leaf_of(&second.api));
    assert_eq!(first.ca, second.ca);
    use std::os::unix::fs::PermissionsExt;
    for path in [dir.path().to_owned(), dir.path().join("pki")] {
        assert_eq!(
            std::fs::metadata(path).unwrap().permissions().mode() & 0o777,
            0o700
        );
    }
    let written = second.write_kubeconfig("https://127.0.0.1:6443").unwrap();
    let mode = std::fs::metadata(written).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_new_name_makes_new_server_certificates_of_the_same_ca() {
    let dir = tempfile::tempdir().unwrap();
    let first = Pki::open(&options(dir.path(), &[])).unwrap();
    let second = Pki::open(&options(dir.path(), &["pi.example", "192.0.2.7"])).unwrap();
    assert_eq!(first.ca, second.ca);
    assert_ne!(leaf_of(&first.api), leaf_of(&second.api));
    let (_, cert) = x509_parser::parse_x509_certificate(leaf_of(&second.api)).unwrap();
    let san = cert.subject_alternative_name().unwrap().unwrap().value;
    let names = format!("{:?}", san.general_names);
    assert!(
        names.contains("pi.example") && names.contains("kubernetes.default.svc"),
        "{names}"
    );
    assert_eq!(cert.validity().not_after.to_datetime().year(), 9999);
    assert_eq!(cert.validity().not_before.to_datetime().year(), 2020);
}

#[test]
fn a_start_cut_short_is_done_over() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("pki.new")).unwrap();
    std::fs::write(dir.path().join("pki.new/ca.crt"), "half").unwrap();
    Pki::open(&options(dir.path(), &[])).unwrap();
    assert!(!dir.path().join("pki.new").exists());
}

#[test]
fn lost_leaf_is_made_again_lost_root_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let first = Pki::open(&options(dir.path(), &[])).unwrap();
    std::fs::remove_file(dir.path().join("pki/api.pem")).unwrap();
    std::fs::write(dir.path().join("pki/admin.pem"), "torn").unwrap();
    let again = Pki::open(&options(dir.path(), &[])).unwrap();
    assert_eq!(first.ca, again.ca);

    std::fs::remove_file(dir.path().join("pki/ca.key")).unwrap();
    let error = Pki::open(&options(dir.path(), &[]))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("ca.key is missing") && error.contains("backup"),
        "{error}"
    );
}

#[test]
fn a_node_gets_its_own_name_whatever_it_asks_for() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open(&options(dir.path(), &[])).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["evil.example".into()]).unwrap();
    params
        .distinguished_name
        .push(rcgen::DnType::OrganizationName, "system:masters");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let csr = params.serialize_request(&key).unwrap().pem().unwrap();
    let cert = pki
        .sign_node(&NodeName::new("pi-1").unwrap(), Csr::parse(&csr).unwrap())
        .unwrap();
    let (_, cert) = x509_parser::parse_x509_certificate(&cert).unwrap();
    assert_eq!(cert.subject().to_string(), "O=system:nodes, CN=pi-1");
    assert!(cert.subject_alternative_name().unwrap().is_none());
    assert!(!cert.is_ca());
    assert!(Csr::parse("nonsense").is_err());
}
