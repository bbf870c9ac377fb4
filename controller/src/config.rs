//! The controller's flags.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use bramble_link::BrokerUrl;
use bramble_link::options::UrlError;
use bramble_wire::limits::{BROKER_URL_MAX, BROKERS_MAX};
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
                  bramble-controller --data-dir /srv/bramble --restore bramble.tar\n  \
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

    /// Address or DNS name under which the controller is, or is going to be, reached; goes into its
    /// certificates, and the first one into admin.kubeconfig. Repeatable. This machine's own name and
    /// addresses are always included in the certificates. Nodes are told of it and remember it: name
    /// the new address before the controller moves there, and they find it.
    #[arg(long, value_name = "ADDR")]
    pub advertise: Vec<String>,

    /// Broker that this cluster is going to use (mqtts://HOST:PORT). Nodes are told of it and remember
    /// it: they try it when they don't reach the present one. Repeatable.
    #[arg(long, value_name = "URL")]
    pub announce_broker: Vec<String>,

    /// Do not tell boards that ask on the LAN (mDNS) where the embedded broker is.
    #[arg(long)]
    pub no_mdns: bool,

    /// Puts a backup (`bramble backup`) into the place of --data-dir, begins a new epoch in it and ends.
    /// Refuses a controller that runs, a directory that holds something, and a file that is not whole.
    #[arg(long, value_name = "FILE", conflicts_with = "restored")]
    pub restore: Option<PathBuf>,

    /// With --restore: move whatever --data-dir holds aside, as <data-dir>.before-1. It is not deleted.
    #[arg(long, requires = "restore")]
    pub force: bool,

    /// With --restore: only look whether the backup is whole.
    #[arg(long, requires = "restore", conflicts_with = "force")]
    pub check: bool,

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
    /// A name or an address that no URL can be made of.
    #[error("--advertise {name:?} is not a host name or an address: {source}")]
    Advertise {
        /// What was given.
        name: String,
        /// Why.
        source: UrlError,
    },
    /// Not the URL of a broker.
    #[error("{flag} is not usable: {source}")]
    Broker {
        /// The flag.
        flag: &'static str,
        /// Why.
        source: UrlError,
    },
    /// Nodes speak to a broker over TLS alone.
    #[error("{flag} {url} is not encrypted; nodes need mqtts://")]
    Plaintext {
        /// The flag.
        flag: &'static str,
        /// The URL.
        url: String,
    },
    /// Nodes would leave it out.
    #[error("the broker URL {0:?} is longer than {BROKER_URL_MAX} bytes")]
    TooLong(String),
    /// Nodes would leave some out.
    #[error(
        "nodes are told of at most {BROKERS_MAX} brokers, these are {0}: give fewer --advertise and \
         --announce-broker"
    )]
    TooMany(usize),
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
        self.announced_brokers(self.mqtt_listen.port()).map(drop)
    }

    /// Broker URLs that nodes are told of and remember, best first: the one in use, as far as it has a
    /// name that all of them know, then those that are going to be.
    ///
    /// # Errors
    /// [`Error`], naming the flag.
    pub fn announced_brokers(&self, mqtt_port: u16) -> Result<Vec<String>, Error> {
        let mut urls: Vec<String> = Vec::new();
        let mut add = |url: BrokerUrl| {
            let url = url.to_string();
            if url.len() > BROKER_URL_MAX {
                return Err(Error::TooLong(url));
            }
            if !urls.contains(&url) {
                urls.push(url);
            }
            Ok(())
        };
        let encrypted = |flag, url: &str| {
            let source = |source| Error::Broker { flag, source };
            let parsed: BrokerUrl = url.parse().map_err(source)?;
            match parsed.tls {
                true => Ok(parsed),
                false => Err(Error::Plaintext {
                    flag,
                    url: url.to_owned(),
                }),
            }
        };
        match &self.broker {
            Some(url) => {
                let source = |source| Error::Broker {
                    flag: "--broker",
                    source,
                };
                let url: BrokerUrl = url.parse().map_err(source)?;
                // One on this machine may be plaintext; nodes have no use for it.
                if url.tls {
                    add(url)?;
                }
            }
            None => {
                for name in &self.advertise {
                    let source = |source| Error::Advertise {
                        name: name.clone(),
                        source,
                    };
                    add(broker_at(name, mqtt_port).parse().map_err(source)?)?;
                }
            }
        }
        for url in &self.announce_broker {
            add(encrypted("--announce-broker", url)?)?;
        }
        if urls.len() > BROKERS_MAX {
            return Err(Error::TooMany(urls.len()));
        }
        Ok(urls)
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
        let advertised = self.advertise.iter().map(|a| broker_at(a, mqtt_port));
        std::iter::once(format!("mqtts://{{controller}}:{mqtt_port}"))
            .chain(advertised)
            .collect()
    }
}

fn broker_at(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("mqtts://[{host}]:{port}"),
        false => format!("mqtts://{host}:{port}"),
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
    fn nodes_remember_where_the_brokers_are_going_to_be() {
        let urls = |flags: &[&str]| parsed(flags).announced_brokers(8883);
        assert!(urls(&[]).unwrap().is_empty(), "they know where they joined");
        assert_eq!(
            urls(&["--advertise", "pi.lan", "--advertise", "fd00::1"]).unwrap(),
            ["mqtts://pi.lan:8883", "mqtts://[fd00::1]:8883"]
        );
        let next = ["--announce-broker", "mqtts://new"];
        assert_eq!(urls(&next).unwrap(), ["mqtts://new:8883"]);
        let both = [
            "--broker",
            "mqtts://old",
            "--announce-broker",
            "mqtts://new",
        ];
        assert_eq!(
            urls(&both).unwrap(),
            ["mqtts://old:8883", "mqtts://new:8883"]
        );
        let twice = [
            "--broker",
            "mqtts://b",
            "--announce-broker",
            "mqtts://b:8883",
        ];
        assert_eq!(urls(&twice).unwrap(), ["mqtts://b:8883"]);
        assert!(urls(&["--broker", "mqtt://127.0.0.1"]).unwrap().is_empty());
    }

    #[test]
    fn places_that_nodes_can_not_use_are_refused() {
        let refused = |flags: &[&str]| parsed(flags).check().unwrap_err().to_string();
        assert!(refused(&["--advertise", "a b"]).contains("--advertise \"a b\""));
        assert!(refused(&["--announce-broker", "pi.lan"]).contains("--announce-broker"));
        assert!(refused(&["--announce-broker", "mqtt://pi.lan"]).contains("not encrypted"));
        assert!(refused(&["--broker", "http://x"]).contains("--broker"));
        let long = "x".repeat(BROKER_URL_MAX);
        assert!(refused(&["--advertise", &long]).contains("longer than 256"));
        let many: Vec<String> = (0..9).map(|n| format!("--advertise=pi{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(refused(&many).contains("at most 8"));
        assert!(parsed(&many[1..]).check().is_ok());
    }

    #[test]
    fn ranges_that_can_not_work_are_refused() {
        assert!(parsed(&["--pod-cidr", "10.0.0.0/8"]).check().is_err());
        assert!(parsed(&["--pod-cidr", "10.42.0.0/25"]).check().is_err());
        assert!(parsed(&[]).check().is_ok());
    }
}
