//! Probes and hooks for the wire, with upstream's defaults filled in.
//!
//! Source of the defaults: `SetDefaults_Probe` in kubernetes/kubernetes
//! `pkg/apis/core/v1/defaults.go`.

use bramble_api::view::{self, PortRef as Given};
use bramble_wire::object::{Handler, HttpGet, PortRef, Probe};

use super::Error;

pub(super) fn probe(from: Option<&view::Probe>) -> Result<Option<Probe>, Error> {
    let Some(from) = from else { return Ok(None) };
    let or = |given: Option<i64>, default: u32| match given {
        None | Some(0) => Ok(default),
        Some(given) => u32::try_from(given).map_err(|_| Error::Range("a number of a probe")),
    };
    let grace = from.termination_grace_period_seconds;
    Ok(Some(Probe {
        handler: tried(from)?,
        initial_delay_s: or(from.initial_delay_seconds, 0)?,
        timeout_s: or(from.timeout_seconds, 1)?,
        period_s: or(from.period_seconds, 10)?,
        success_threshold: or(from.success_threshold, 1)?,
        failure_threshold: or(from.failure_threshold, 3)?,
        termination_grace_s: grace.map(|grace| or(Some(grace), 0)).transpose()?,
    }))
}

fn tried(from: &view::Probe) -> Result<Handler, Error> {
    let mut handlers = [
        from.exec.as_ref().map(exec),
        from.http_get.as_ref().map(http),
        from.tcp_socket.as_ref().map(tcp),
        from.grpc.as_ref().map(grpc),
    ]
    .into_iter()
    .flatten();
    only(&mut handlers, "a probe without one handler")
}

pub(super) fn hook(from: Option<&view::Handler>) -> Result<Option<Handler>, Error> {
    let Some(from) = from else { return Ok(None) };
    if from.tcp_socket.is_some() {
        // Upstream takes such a hook and then fails the container for it.
        return Err(Error::Unsupported("tcpSocket of a hook".into()));
    }
    let mut handlers = [
        from.exec.as_ref().map(exec),
        from.http_get.as_ref().map(http),
        from.sleep.as_ref().map(sleep),
    ]
    .into_iter()
    .flatten();
    only(&mut handlers, "a hook without one handler").map(Some)
}

fn only(
    handlers: &mut dyn Iterator<Item = Result<Handler, Error>>,
    else_what: &str,
) -> Result<Handler, Error> {
    match (handlers.next(), handlers.next()) {
        (Some(handler), None) => handler,
        _ => Err(Error::Unsupported(else_what.to_owned())),
    }
}

fn exec(from: &view::ExecAction) -> Result<Handler, Error> {
    Ok(Handler::Exec(from.command.clone()))
}

fn http(from: &view::HttpGetAction) -> Result<Handler, Error> {
    let path = match from.path.as_str() {
        path if path.starts_with('/') => path.to_owned(),
        path => format!("/{path}"),
    };
    let header = |h: &view::HttpHeader| (h.name.clone(), h.value.clone());
    Ok(Handler::Http(HttpGet {
        host: from.host.clone(),
        port: port(from.port.as_ref())?,
        path,
        https: from.scheme == "HTTPS",
        headers: from.http_headers.iter().map(header).collect(),
    }))
}

fn tcp(from: &view::TcpAction) -> Result<Handler, Error> {
    Ok(Handler::Tcp {
        host: from.host.clone(),
        port: port(from.port.as_ref())?,
    })
}

fn grpc(from: &view::GrpcAction) -> Result<Handler, Error> {
    Ok(Handler::Grpc {
        port: u16::try_from(from.port).map_err(|_| Error::Range("a port"))?,
        service: from.service.clone(),
    })
}

fn sleep(from: &view::SleepAction) -> Result<Handler, Error> {
    let seconds = u32::try_from(from.seconds).map_err(|_| Error::Range("a pause"))?;
    Ok(Handler::Sleep { seconds })
}

fn port(from: Option<&Given>) -> Result<PortRef, Error> {
    match from {
        Some(Given::Number(number)) => u16::try_from(*number)
            .map(PortRef::Number)
            .map_err(|_| Error::Range("a port")),
        Some(Given::Name(name)) => Ok(PortRef::Name(name.clone())),
        None => Err(Error::Range("a port")),
    }
}
