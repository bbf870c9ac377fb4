//! Versions of this program and of the controller.

use anyhow::Result;
use serde::Deserialize;

use crate::args::Access;
use crate::client;
use crate::output::{self, plain};

/// Answer to `GET /version`, the part we use.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Server {
    /// `v<Kubernetes>+bramble<version>`.
    pub(crate) git_version: String,
}

impl Server {
    /// Bramble's version and that of the Kubernetes API; the first is `None` for another server.
    pub(crate) fn parts(&self) -> (Option<&str>, &str) {
        match self.git_version.split_once("+bramble") {
            Some((kubernetes, bramble)) => (Some(bramble), kubernetes),
            None => (None, &self.git_version),
        }
    }
}

/// Prints both. A controller that can't be reached is a remark, not a failure: the question about
/// this program has been answered.
pub(crate) fn run(access: &Access) -> Result<()> {
    output::print(&format!("client   {}\n", env!("CARGO_PKG_VERSION")))?;
    let asked = client(access).and_then(|client| {
        let server: Server = client.get("/version")?;
        Ok((client.server().to_string(), server))
    });
    match asked {
        Ok((url, server)) => {
            let (bramble, kubernetes) = server.parts();
            output::print(&format!(
                "server   {}   (Kubernetes {}, {url})\n",
                plain(bramble.unwrap_or("no Bramble")),
                plain(kubernetes)
            ))
        }
        Err(error) => {
            eprintln!("server   not reached: {error:#}");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_version_has_two_parts() {
        let server = |text: &str| Server {
            git_version: text.into(),
        };
        assert_eq!(
            server("v1.34.2+bramble0.1.0").parts(),
            (Some("0.1.0"), "v1.34.2")
        );
        assert_eq!(server("v1.34.2+k3s1").parts(), (None, "v1.34.2+k3s1"));
    }
}
