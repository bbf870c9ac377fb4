//! The controller's flags.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Parser;

use crate::join::Cidr;

/// The Bramble controller: Kubernetes API, scheduler, controllers and the nodes' broker in one
/// process.
///
/// At the first start it makes the cluster's keys in --data-dir and writes
/// <data-dir>/admin.kubeconfig. Nodes need to reach the MQTT port, and, to join, the API port.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "bramble-controller",
    version,
    after_help = "Examples:\n  bramble-controller --advertise 192.168.1.10\n  \
                  bramble-controller --data-dir /srv/bramble --listen 0.0.0.0:7443\n  \
                  bramble-controller --broker mqtts://broker.lan:8883\n  \
                  bramble-controller --data-dir /srv/bramble --restored\n\n\
                  Log level: RUST_LOG=debug, or per part: RUST_LOG=info,bramble_controller::apiserver=debug"
)]
pub struct Config {
    /// Keys, certificates and the store; made with mode 0700.
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/var/lib/bramble/controller"
    )]
    pub data_dir: PathBuf,

    /// Address and port of the Kubernetes API.
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:6443")]
    pub listen: SocketAddr,

    /// Address and port of the embedded MQTT broker that nodes connect to.
    #[arg(
        long,
        value_name = "ADDR:PORT",
        default_value = "0.0.0.0:8883",
        conflicts_with = "broker"
    )]
    pub mqtt_listen: SocketAddr,

    /// Use this external broker instead of the embedded one (mqtts://HOST:PORT). It must trust the
    /// cluster's CA (<data-dir>/pki/ca.crt), and its own certificate must come from it or be in the
    /// file of --broker-ca.
    #[arg(long, value_name = "URL")]
    pub broker: Option<String>,

    /// CA of the external broker's certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "broker")]
    pub broker_ca: Option<PathBuf>,

    /// Range of pod addresses; each node gets a /24 of it.
    #[arg(long, value_name = "CIDR", default_value = "10.42.0.0/16")]
    pub pod_cidr: Cidr,

    /// Range of service addresses.
    #[arg(long, value_name = "CIDR", default_value = "10.43.0.0/16")]
    pub service_cidr: Cidr,

    /// Address or DNS name under which the controller is reached; goes into its certificates, and the
    /// first one into admin.kubeconfig. Repeatable. This machine's own name and addresses are always
    /// included.
    #[arg(long, value_name = "ADDR")]
    pub advertise: Vec<String>,

    /// Begins a new epoch and ends: to be run once after an older copy of --data-dir was put in its
    /// place, before the controller is started. Nodes then keep what the copy does not know until a
    /// person confirms that it may go.
    #[arg(long)]
    pub restored: bool,
}

/// Flags that don't fit each other.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The ranges share addresses.
    #[error("--pod-cidr {pods} and --service-cidr {services} overlap; choose ranges that don't")]
    Overlap {
        /// Pods.
        pods: Cidr,
        /// Services.
        services: Cidr,
    },
    /// The range is too small for a node.
    #[error("--pod-cidr {0} is smaller than a /24, so no node gets addresses")]
    TooSmall(Cidr),
}

impl Config {
    /// Checks what no single flag can.
    ///
    /// # Errors
    /// [`Error`], naming the flags.
    pub fn check(&self) -> Result<(), Error> {
        let (pods, services) = (self.pod_cidr, self.service_cidr);
        if pods.overlaps(&services) {
            return Err(Error::Overlap { pods, services });
        }
        if pods.prefix() > 24 {
            return Err(Error::TooSmall(pods));
        }
        Ok(())
    }

    /// Names and addresses for the server certificates.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut names = self.advertise.clone();
        // `kubernetes.default`, as pods will see it.
        names.push(self.service_cidr.address(1).to_string());
        names.push(self.listen.ip().to_string());
        names
    }

    /// URL of the API, which listens on `port`, for the administrator on this machine.
    #[must_use]
    pub fn api_url(&self, port: u16) -> String {
        let ip = match self.listen.ip() {
            ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            ip => ip,
        };
        match self.advertise.first() {
            Some(name) if name.contains(':') => format!("https://[{name}]:{port}"),
            Some(name) => format!("https://{name}:{port}"),
            None => format!("https://{}", SocketAddr::new(ip, port)),
        }
    }

    /// Broker URLs for nodes, best first.
    #[must_use]
    pub fn broker_urls(&self, mqtt_port: u16) -> Vec<String> {
        if let Some(url) = &self.broker {
            return vec![url.clone()];
        }
        // The address the board reached us under works; the advertised ones may too.
        let bracketed = |host: &str| {
            if host.contains(':') {
                format!("[{host}]")
            } else {
                host.to_owned()
            }
        };
        let advertised = self
            .advertise
            .iter()
            .map(|a| format!("mqtts://{}:{mqtt_port}", bracketed(a)));
        std::iter::once(format!("mqtts://{{controller}}:{mqtt_port}"))
            .chain(advertised)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(flags: &[&str]) -> Config {
        Config::try_parse_from(std::iter::once(&"bramble-controller").chain(flags)).unwrap()
    }

    #[test]
    fn the_kubeconfig_points_where_the_api_is() {
        assert_eq!(parsed(&[]).api_url(6443), "https://127.0.0.1:6443");
        assert_eq!(
            parsed(&["--listen", "10.0.0.1:7443"]).api_url(7443),
            "https://10.0.0.1:7443"
        );
        assert_eq!(
            parsed(&["--listen", "[::]:1", "--advertise", "fd00::1"]).api_url(1),
            "https://[fd00::1]:1"
        );
    }

    #[test]
    fn nodes_are_told_the_address_they_know() {
        let urls = parsed(&["--advertise", "pi.lan"]).broker_urls(8883);
        assert_eq!(urls, ["mqtts://{controller}:8883", "mqtts://pi.lan:8883"]);
        assert_eq!(
            parsed(&["--broker", "mqtts://b:1"]).broker_urls(8883),
            ["mqtts://b:1"]
        );
    }

    #[test]
    fn ranges_that_can_not_work_are_refused() {
        assert!(parsed(&["--pod-cidr", "10.0.0.0/8"]).check().is_err());
        assert!(parsed(&["--pod-cidr", "10.42.0.0/25"]).check().is_err());
        assert!(parsed(&[]).check().is_ok());
    }
}
