//! A probe or hook of the document as it is tried: addresses and ports settled.

use bramble_wire::object::{Container, Handler, PortRef, Probe};

use super::{Target, Watch};
use crate::observed::Health;
use bramble_wire::object::PodUid;

/// Port of a web server, for a hook that names none.
const HTTP_PORT: u16 = 80;

/// What is tried. Nothing is left to look up but host names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// Runs a command in the container; 0 is success.
    Exec(Vec<String>),
    /// GETs; 200 to 399 is success.
    Http(HttpCheck),
    /// Connects.
    Tcp {
        /// Name or address.
        host: String,
        /// Number.
        port: u16,
    },
    /// `grpc.health.v1.Health/Check`, in clear text.
    Grpc {
        /// Name or address.
        host: String,
        /// Number.
        port: u16,
        /// Service asked for; may be empty.
        service: String,
    },
    /// Waits.
    Sleep {
        /// Seconds.
        seconds: u32,
    },
    /// Can't be tried, and why.
    Impossible(String),
}

/// A GET.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpCheck {
    /// Name or address.
    pub host: String,
    /// Number.
    pub port: u16,
    /// Path with query; begins with `/`.
    pub path: String,
    /// Over TLS, without looking at the certificate.
    pub https: bool,
    /// Header lines; a `Host` among them stands for the host.
    pub headers: Vec<(String, String)>,
}

impl Check {
    /// Settles a handler of a container; `address` is its pod's.
    pub fn of(handler: &Handler, container: &Container, address: Option<[u8; 4]>) -> Self {
        let host = |host: &str| match (host, address) {
            ("", Some([a, b, c, d])) => format!("{a}.{b}.{c}.{d}"),
            ("", None) => "127.0.0.1".to_owned(),
            (host, _) => host.to_owned(),
        };
        match handler {
            Handler::Exec(argv) => Self::Exec(argv.clone()),
            Handler::Http(get) => match port(&get.port, container) {
                Ok(port) => Self::Http(HttpCheck {
                    host: host(&get.host),
                    port,
                    path: get.path.clone(),
                    https: get.https,
                    headers: get.headers.clone(),
                }),
                Err(why) => Self::Impossible(why),
            },
            Handler::Tcp { host: of, port: at } => match port(at, container) {
                Ok(port) => Self::Tcp {
                    host: host(of),
                    port,
                },
                Err(why) => Self::Impossible(why),
            },
            Handler::Grpc { port, service } => Self::Grpc {
                host: host(""),
                port: *port,
                service: service.clone(),
            },
            Handler::Sleep { seconds } => Self::Sleep { seconds: *seconds },
        }
    }
}

/// The texts are the kubelet's.
fn port(port: &PortRef, container: &Container) -> Result<u16, String> {
    match port {
        PortRef::Number(0) => Err("invalid port number: 0".into()),
        PortRef::Number(port) => Ok(*port),
        PortRef::Name(name) if name.is_empty() => Ok(HTTP_PORT),
        PortRef::Name(name) => (container.ports.iter())
            .find(|port| port.name == *name)
            .map(|port| port.port)
            .or_else(|| name.parse().ok().filter(|port| *port != 0))
            .ok_or_else(|| format!("strconv.Atoi: parsing {name:?}: invalid syntax")),
    }
}

/// What there is to watch of a container that runs; `None` when it has neither hook nor probe.
pub fn target(
    uid: PodUid,
    container: &Container,
    life: u32,
    started_boot_ms: u64,
    address: Option<[u8; 4]>,
) -> Option<Target> {
    let watch = |probe: &Option<Probe>| {
        probe.as_ref().map(|probe| Watch {
            check: Check::of(&probe.handler, container, address),
            initial_delay_ms: u64::from(probe.initial_delay_s) * 1000,
            timeout_ms: u64::from(probe.timeout_s.max(1)) * 1000,
            period_ms: u64::from(probe.period_s.max(1)) * 1000,
            success_threshold: probe.success_threshold.max(1),
            failure_threshold: probe.failure_threshold.max(1),
        })
    };
    let target = Target {
        uid,
        container: container.name.clone(),
        life,
        started_boot_ms,
        initial: Health::initial(container),
        post_start: (container.post_start.as_ref())
            .map(|handler| Check::of(handler, container, address)),
        startup: watch(&container.startup),
        liveness: watch(&container.liveness),
        readiness: watch(&container.readiness),
    };
    let idle = target.post_start.is_none()
        && target.startup.is_none()
        && target.liveness.is_none()
        && target.readiness.is_none();
    (!idle).then_some(target)
}
