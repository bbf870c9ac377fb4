//! Kubeconfig files: finding the right one, reading the part that is in use, printing it again.
//!
//! Only what reaches a controller is understood: an HTTPS server with its CA, and a client
//! certificate or a bearer token, embedded or as files. Anything that would change who is trusted
//! or who we are (exec plugins, proxies, unverified servers) is refused, not ignored.

mod file;
mod issue;
mod yaml;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use crate::args::Access;
use crate::url::Url;

pub(crate) use issue::run;

/// Where the controller of this machine writes the administrator's.
const ADMIN: &str = "/var/lib/bramble/controller/admin.kubeconfig";
/// A kubeconfig is a few kilobytes for each cluster; more is some other file.
const SIZE_MAX: u64 = 4 << 20;

/// The part of a kubeconfig that is in use, with everything embedded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kubeconfig {
    /// The file it came from, for messages.
    pub(crate) path: PathBuf,
    names: Names,
    pub(crate) server: Url,
    /// Name in the server's certificate, when it is not the server's address.
    pub(crate) tls_server_name: Option<String>,
    /// Certificates of the CA, PEM.
    pub(crate) ca: Vec<u8>,
    pub(crate) credentials: Credentials,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Names {
    context: String,
    cluster: String,
    user: String,
    namespace: Option<String>,
}

/// Who we are.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Credentials {
    /// Certificate chain and key, PEM.
    Certificate { chain: Vec<u8>, key: Vec<u8> },
    /// A bearer token.
    Token(String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Certificate { .. } => "Certificate(..)",
            Self::Token(_) => "Token(..)",
        })
    }
}

/// Which file wins when nobody names one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prefer {
    /// A person's own, as kubectl would.
    Home,
    /// That of the controller on this machine.
    Controller,
}

/// Finds and reads the kubeconfig that a command shall use.
pub(crate) fn load(access: &Access, prefer: Prefer) -> Result<Kubeconfig> {
    let places = Places {
        explicit: access.kubeconfig.clone(),
        variable: std::env::var_os("KUBECONFIG"),
        home: std::env::var_os("HOME").map(PathBuf::from),
        admin: ADMIN.into(),
    };
    let path = places.find(prefer)?;
    let text = read_file(&path)?;
    parse(&text, &path, access.context.as_deref())
}

/// Where kubeconfigs may be.
#[derive(Debug, Default)]
struct Places {
    explicit: Option<PathBuf>,
    variable: Option<OsString>,
    home: Option<PathBuf>,
    admin: PathBuf,
}

impl Places {
    fn find(&self, prefer: Prefer) -> Result<PathBuf> {
        if let Some(path) = &self.explicit {
            return Ok(path.clone());
        }
        // Set but empty is unset, as for kubectl.
        if let Some(list) = self.variable.as_ref().filter(|list| !list.is_empty()) {
            return std::env::split_paths(list)
                .filter(|path| !path.as_os_str().is_empty())
                .find(|path| path.exists())
                .ok_or_else(|| {
                    // Another cluster than the one that was named must never be asked instead.
                    anyhow!(
                        "no file of KUBECONFIG={} exists; correct or unset it",
                        list.to_string_lossy()
                    )
                });
        }
        let home = self.home.as_ref().map(|home| home.join(".kube/config"));
        let admin = Some(self.admin.clone());
        let order = match prefer {
            Prefer::Home => [home, admin],
            Prefer::Controller => [admin, home],
        };
        // An empty file is what `bramble kubeconfig > ~/.kube/config` finds: the shell made it.
        order
            .into_iter()
            .flatten()
            .find(|path| std::fs::metadata(path).is_ok_and(|meta| meta.len() > 0))
            .with_context(|| {
                format!(
                    "no kubeconfig in ~/.kube/config or {}; name one with --kubeconfig or KUBECONFIG \
                     (`bramble kubeconfig`, as root on the controller's machine, prints it)",
                    self.admin.display()
                )
            })
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>> {
    let read = || -> Result<Vec<u8>> {
        let meta = std::fs::metadata(path)?;
        ensure!(meta.len() <= SIZE_MAX, "larger than {} MiB", SIZE_MAX >> 20);
        Ok(std::fs::read(path)?)
    };
    read().with_context(|| format!("reading {}", path.display()))
}

/// As in the file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    current_context: Option<String>,
    clusters: Option<Vec<NamedCluster>>,
    users: Option<Vec<NamedUser>>,
    contexts: Option<Vec<NamedContext>>,
}

#[derive(Debug, Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Option<Cluster>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Cluster {
    server: String,
    certificate_authority: Option<String>,
    certificate_authority_data: Option<String>,
    tls_server_name: Option<String>,
    insecure_skip_tls_verify: Option<bool>,
    proxy_url: Option<String>,
}

#[derive(Debug, Deserialize)]
struct NamedUser {
    name: String,
    user: Option<User>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct User {
    #[serde(rename = "client-certificate")]
    certificate: Option<String>,
    #[serde(rename = "client-certificate-data")]
    certificate_data: Option<String>,
    #[serde(rename = "client-key")]
    key: Option<String>,
    #[serde(rename = "client-key-data")]
    key_data: Option<String>,
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<String>,
}

#[derive(Debug, Deserialize)]
struct NamedContext {
    name: String,
    context: Option<ContextOf>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct ContextOf {
    cluster: String,
    user: String,
    namespace: Option<String>,
}

fn parse(text: &[u8], path: &Path, context: Option<&str>) -> Result<Kubeconfig> {
    read(text, path, context).with_context(|| format!("kubeconfig {}", path.display()))
}

fn read(text: &[u8], path: &Path, context: Option<&str>) -> Result<Kubeconfig> {
    let value: Value = bramble_api::decode::untyped(Some("application/yaml"), text)
        .map_err(|status| anyhow!("not YAML: {}", yaml_reason(status.message())))?;
    ensure!(value.is_object(), "is empty, or no kubeconfig");
    let file: File = serde_json::from_value(value).context("not a kubeconfig")?;

    let name = context
        .map(str::to_owned)
        .or(file.current_context)
        .filter(|name| !name.is_empty())
        .context("no current context; choose one with --context")?;
    let contexts = file.contexts.unwrap_or_default();
    let context = contexts
        .iter()
        .find(|c| c.name == name)
        .with_context(|| {
            let known: Vec<&str> = contexts.iter().map(|c| c.name.as_str()).collect();
            format!("no context {name:?}; it has: {}", known.join(", "))
        })?
        .context
        .clone()
        .unwrap_or_default();
    let cluster = file
        .clusters
        .unwrap_or_default()
        .into_iter()
        .find(|c| c.name == context.cluster)
        .and_then(|c| c.cluster)
        .with_context(|| {
            format!(
                "no cluster {:?}, which context {name:?} names",
                context.cluster
            )
        })?;
    let user = file
        .users
        .unwrap_or_default()
        .into_iter()
        .find(|u| u.name == context.user)
        .and_then(|u| u.user)
        .with_context(|| format!("no user {:?}, which context {name:?} names", context.user))?;

    let dir = path.parent().unwrap_or(Path::new("."));
    Ok(Kubeconfig {
        path: path.to_owned(),
        server: Url::of_kubeconfig(&cluster.server)
            .map_err(|why| anyhow!("cluster {:?}: server {why}", context.cluster))?,
        ca: authority(&cluster, dir).with_context(|| format!("cluster {:?}", context.cluster))?,
        tls_server_name: cluster.tls_server_name.filter(|name| !name.is_empty()),
        credentials: credentials(&user, dir).with_context(|| format!("user {:?}", context.user))?,
        names: Names {
            context: name,
            cluster: context.cluster,
            user: context.user,
            namespace: context.namespace.filter(|n| !n.is_empty()),
        },
    })
}

/// The reason alone: the decoder is also used for request bodies and says so.
fn yaml_reason(message: &str) -> &str {
    message
        .rsplit_once("patch: ")
        .map_or(message, |(_, why)| why)
}

fn authority(cluster: &Cluster, dir: &Path) -> Result<Vec<u8>> {
    if cluster.insecure_skip_tls_verify == Some(true) {
        bail!("insecure-skip-tls-verify is not supported: give the CA's certificate");
    }
    if cluster
        .proxy_url
        .as_ref()
        .is_some_and(|url| !url.is_empty())
    {
        bail!("proxy-url is not supported");
    }
    data_or_file(
        "certificate-authority",
        cluster.certificate_authority_data.as_deref(),
        cluster.certificate_authority.as_deref(),
        dir,
    )?
    .context("no certificate-authority-data: only servers of a known CA are trusted")
}

fn credentials(user: &User, dir: &Path) -> Result<Credentials> {
    let chain = data_or_file(
        "client-certificate",
        user.certificate_data.as_deref(),
        user.certificate.as_deref(),
        dir,
    )?;
    let key = data_or_file(
        "client-key",
        user.key_data.as_deref(),
        user.key.as_deref(),
        dir,
    )?;
    match (chain, key) {
        (Some(chain), Some(key)) => return Ok(Credentials::Certificate { chain, key }),
        (Some(_), None) => bail!("a client certificate without its key"),
        (None, Some(_)) => bail!("a client key without its certificate"),
        (None, None) => {}
    }
    let token = match (&user.token, &user.token_file) {
        (Some(token), _) if !token.is_empty() => token.clone(),
        (_, Some(file)) if !file.is_empty() => {
            String::from_utf8(read_file(&dir.join(file))?).context("tokenFile is not text")?
        }
        _ => bail!("no client certificate and no token (exec plugins are not supported)"),
    };
    let token = token.trim();
    ensure!(
        !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic()),
        "the token is not one word of plain characters"
    );
    Ok(Credentials::Token(token.to_owned()))
}

/// Embedded bytes win over a file, as for kubectl; file names are relative to the kubeconfig.
fn data_or_file(
    what: &str,
    data: Option<&str>,
    file: Option<&str>,
    dir: &Path,
) -> Result<Option<Vec<u8>>> {
    if let Some(data) = data.filter(|data| !data.is_empty()) {
        let packed: String = data.split_ascii_whitespace().collect();
        return STANDARD
            .decode(packed)
            .map(Some)
            .with_context(|| format!("{what}-data is not base64"));
    }
    match file.filter(|file| !file.is_empty()) {
        Some(file) => read_file(&dir.join(file)).map(Some),
        None => Ok(None),
    }
}

impl Kubeconfig {
    /// A kubeconfig with this one context and everything embedded.
    pub(crate) fn render(&self) -> String {
        // A JSON string is a YAML string, whatever is in it.
        let quoted = |text: &str| Value::from(text).to_string();
        let (context, cluster, user) = (
            quoted(&self.names.context),
            quoted(&self.names.cluster),
            quoted(&self.names.user),
        );
        let mut text = format!(
            "apiVersion: v1\nkind: Config\n\
             clusters:\n- name: {cluster}\n  cluster:\n    server: {}\n    certificate-authority-data: {}\n",
            self.server,
            STANDARD.encode(&self.ca),
        );
        if let Some(name) = &self.tls_server_name {
            text.push_str(&format!("    tls-server-name: {}\n", quoted(name)));
        }
        text.push_str(&format!("users:\n- name: {user}\n  user:\n"));
        text.push_str(&match &self.credentials {
            Credentials::Certificate { chain, key } => format!(
                "    client-certificate-data: {}\n    client-key-data: {}\n",
                STANDARD.encode(chain),
                STANDARD.encode(key)
            ),
            Credentials::Token(token) => format!("    token: {}\n", quoted(token)),
        });
        text.push_str(&format!(
            "contexts:\n- name: {context}\n  context:\n    cluster: {cluster}\n    user: {user}\n"
        ));
        if let Some(namespace) = &self.names.namespace {
            text.push_str(&format!("    namespace: {}\n", quoted(namespace)));
        }
        text.push_str(&format!("current-context: {context}\n"));
        text
    }
}

#[cfg(test)]
mod tests;
