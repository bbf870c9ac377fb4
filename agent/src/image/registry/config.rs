//! The board's file about registries (`--registries`, `/etc/bramble/registries.toml`): where an
//! image's registry is asked, and what is believed. Read by each pull, so a change needs no restart.
//! `docs/images.md` describes it. A registry that the file does not name is asked by TLS, with the
//! board's own certificates of authorities.
//!
//! ```toml
//! [registry."docker.io"]
//! mirrors = ["https://mirror.lan:5000", "http://10.0.0.5:5000/hub"]
//!
//! [registry."registry.lan:5000"]
//! ca = "/etc/bramble/lan-ca.pem"
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bramble_link::tls::{FloorClock, provider};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;

use super::url::Url;
use crate::image::reference::Reference;
use crate::tls::{Proof, anybody};

/// Largest file of certificates, or of registries.
const FILE_MAX: u64 = 4 << 20;
/// Most mirrors of a registry.
const MIRRORS_MAX: usize = 16;
/// Where Docker Hub really is.
const HUB: &str = "registry-1.docker.io";
/// The section that holds for every registry without one of its own.
const ANY: &str = "*";

/// What the file says of one registry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Section {
    /// Asked before it, in this order.
    mirrors: Vec<String>,
    /// It speaks no TLS.
    plain_http: bool,
    /// Certificates that are believed beside the board's own.
    ca: Option<PathBuf>,
    /// Whoever answers is believed.
    insecure_skip_verify: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    registry: BTreeMap<String, Section>,
}

/// The file, read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Registries {
    file: File,
}

/// Somewhere that an image may be had from.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// `host[:port]`, as credentials are looked up by.
    pub(super) name: String,
    /// Address of the repository: `…/v2/<path>`.
    pub(super) repository: Url,
    /// For a mirror: the registry that it stands for.
    pub(super) mirror_of: Option<String>,
    section: Section,
}

impl Registries {
    /// Reads the file; one that is not there says nothing.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        match read_bounded(path) {
            Ok(bytes) => {
                let text = String::from_utf8(bytes).map_err(|_| format!("{shown}: not text"))?;
                Self::parse(&text).map_err(|why| format!("{shown}: {why}"))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(format!("{shown}: {e}")),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|e| e.to_string().trim_end().to_owned())?;
        for (name, section) in &file.registry {
            if section.mirrors.len() > MIRRORS_MAX {
                return Err(format!("{name}: more than {MIRRORS_MAX} mirrors"));
            }
            if name != ANY && Url::of(true, name, String::new()).is_none() {
                return Err(format!("{name:?} is no host or host:port"));
            }
            for mirror in &section.mirrors {
                if Url::parse(mirror).is_none_or(|url| url.path.contains('?')) {
                    return Err(format!(
                        "{name}: {mirror:?} is no address of a mirror (https://host[:port][/path])"
                    ));
                }
            }
        }
        Ok(Self { file })
    }

    fn section(&self, name: &str) -> Section {
        let sections = &self.file.registry;
        let section = sections.get(name).or_else(|| sections.get(ANY));
        section.cloned().unwrap_or_default()
    }

    /// Where an image is asked for: mirrors first, then its registry.
    pub(super) fn endpoints(&self, image: &Reference) -> Vec<Endpoint> {
        let own = self.section(&image.host);
        let mut out = Vec::new();
        for mirror in &own.mirrors {
            let Some(url) = Url::parse(mirror) else {
                continue;
            };
            let prefix = url.path.trim_end_matches('/').to_owned();
            let name = url.authority();
            let section = self.section(&name);
            out.push(Endpoint {
                repository: Url {
                    path: format!("/v2{prefix}/{}", image.path),
                    ..url
                },
                name,
                mirror_of: Some(image.host.clone()),
                section,
            });
        }
        let host = match image.host.as_str() {
            "docker.io" => HUB,
            other => other,
        };
        let path = format!("/v2/{}", image.path);
        if let Some(repository) = Url::of(!own.plain_http, host, path) {
            out.push(Endpoint {
                name: image.host.clone(),
                repository,
                mirror_of: None,
                section: own,
            });
        }
        out
    }
}

impl Endpoint {
    /// TLS towards it.
    ///
    /// # Errors
    /// What is wrong with its certificates of authorities, for a person.
    pub(super) fn tls(&self, clock: &Arc<FloorClock>) -> Result<Arc<ClientConfig>, String> {
        let builder = ClientConfig::builder_with_details(provider(), Arc::clone(clock) as Arc<_>)
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?;
        if self.section.insecure_skip_verify {
            let builder = builder.dangerous();
            let config = builder.with_custom_certificate_verifier(anybody(Proof::Demanded));
            return Ok(Arc::new(config.with_no_client_auth()));
        }
        let mut roots = RootCertStore::empty();
        if self.repository.https {
            // Those that can't be read are as if they were not there: another may be what is needed.
            let system = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(system.certs);
        }
        if let Some(ca) = &self.section.ca {
            let shown = ca.display();
            let bytes = read_bounded(ca).map_err(|e| format!("{shown}: {e}"))?;
            let mut any = false;
            for certificate in CertificateDer::pem_slice_iter(&bytes) {
                let certificate = certificate.map_err(|e| format!("{shown}: {e}"))?;
                roots
                    .add(certificate)
                    .map_err(|e| format!("{shown}: {e}"))?;
                any = true;
            }
            if !any {
                return Err(format!("{shown}: no certificate in it"));
            }
        }
        let config = builder.with_root_certificates(roots);
        Ok(Arc::new(config.with_no_client_auth()))
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut out = Vec::new();
    let file = fs::File::open(path)?;
    file.take(FILE_MAX).read_to_end(&mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(file: &str, image: &str) -> Vec<String> {
        let registries = Registries::parse(file).unwrap();
        let image = Reference::parse(image).unwrap();
        let show = |e: &Endpoint| {
            let scheme = if e.repository.https { "https" } else { "http" };
            let (authority, path) = (e.repository.authority(), &e.repository.path);
            format!("{} {scheme}://{authority}{path}", e.name)
        };
        registries.endpoints(&image).iter().map(show).collect()
    }

    #[test]
    fn mirrors_come_before_the_registry() {
        let file = r#"
            [registry."docker.io"]
            mirrors = ["https://mirror.lan:5000", "http://10.0.0.5:5000/hub/"]
            [registry."plain.lan:5000"]
            plain-http = true
            [registry."*"]
            mirrors = ["https://all.lan"]
        "#;
        assert_eq!(
            endpoints(file, "busybox"),
            [
                "mirror.lan:5000 https://mirror.lan:5000/v2/library/busybox",
                "10.0.0.5:5000 http://10.0.0.5:5000/v2/hub/library/busybox",
                "docker.io https://registry-1.docker.io/v2/library/busybox",
            ]
        );
        assert_eq!(
            endpoints(file, "plain.lan:5000/a/b:1"),
            ["plain.lan:5000 http://plain.lan:5000/v2/a/b"]
        );
        assert_eq!(
            endpoints(file, "quay.io/a"),
            [
                "all.lan https://all.lan/v2/a",
                "quay.io https://quay.io/v2/a"
            ]
        );
        assert_eq!(endpoints("", "quay.io/a"), ["quay.io https://quay.io/v2/a"]);
    }

    #[test]
    fn mistakes_are_named() {
        let why = |file: &str| Registries::parse(file).unwrap_err();
        let typing = why("[registry.\"a.b\"]\nplain_http = true\n");
        assert!(
            typing.contains("line 2") && typing.contains("plain_http"),
            "{typing}"
        );
        assert!(why("[registry.\"a b\"]\n").contains("\"a b\" is no host"));
        assert!(why("[registry.\"a.b\"]\nmirrors = [\"c.d\"]\n").contains("\"c.d\" is no address"));
        assert!(why("registry = 1").contains("line 1"));
        let none = Registries::read(Path::new("/nonexistent/registries.toml"));
        assert_eq!(none, Ok(Registries::default()));
    }

    #[test]
    fn an_authority_that_can_not_be_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("ca.pem");
        let file = format!("[registry.\"a.b\"]\nca = {ca:?}\n");
        let registries = Registries::parse(&file).unwrap();
        let image = Reference::parse("a.b/c").unwrap();
        let tls = || registries.endpoints(&image)[0].tls(&FloorClock::new(0));
        assert!(tls().unwrap_err().contains("ca.pem: No such file"));
        fs::write(&ca, "nothing").unwrap();
        assert!(tls().unwrap_err().contains("no certificate in it"));
    }
}
