//! Which container a stream is for, and what is wanted of it: the path's pod and the query, as
//! upstream's `pkg/registry/core/pod/strategy.go` (`streamLocation`, `validateContainer`) reads them.

use bramble_api::status::Status;
use bramble_wire::object::PodUid;
use bramble_wire::stream::{Attach, Exec, Forward, Stdio, What};
use serde_json::Value;

use super::super::request::{Info, Query};

/// What a stream is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// Node that runs the pod.
    pub(super) node: String,
    /// For the node.
    pub(super) what: What,
    /// Pod, for messages.
    pub(super) pod: String,
    /// Its UID, for messages.
    pub(super) uid: String,
}

/// Reads the request.
///
/// # Errors
/// Upstream's.
pub(super) fn target(info: &Info, subresource: &str, pod: &Value) -> Result<Target, Status> {
    let text = |pointer: &str| {
        let text = pod.pointer(pointer).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    let (name, query) = (info.name(), &info.query);
    let uid = text("/metadata/uid");
    let parsed = PodUid::parse(&uid);
    let parsed = parsed.ok_or_else(|| Status::internal(format!("{uid:?} is not a uid")))?;
    let what = match subresource {
        "exec" => What::Exec(Exec {
            pod: parsed,
            container: container(query.get("container"), pod, name)?,
            command: command(query)?,
            stdio: stdio(query)?,
        }),
        "attach" => What::Attach(Attach {
            pod: parsed,
            container: container(query.get("container"), pod, name)?,
            stdio: stdio(query)?,
        }),
        _ => What::Forward(Forward {
            pod: parsed,
            ports: ports(query)?,
        }),
    };
    let node = text("/spec/nodeName");
    if node.is_empty() {
        return Err(Status::bad_request(format!(
            "pod {name} does not have a host assigned"
        )));
    }
    let pod = name.to_owned();
    Ok(Target {
        node,
        what,
        pod,
        uid,
    })
}

/// The container that is meant.
///
/// # Errors
/// Upstream's.
pub(crate) fn container(wanted: Option<&str>, pod: &Value, name: &str) -> Result<String, Status> {
    let of = |field: &str| -> Vec<&str> {
        let list = pod.pointer(field).and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .filter_map(|c| c.get("name")?.as_str())
            .collect()
    };
    let containers = of("/spec/containers");
    let init = of("/spec/initContainers");
    if let Some(wanted) = wanted {
        let all = [&containers, &init, &of("/spec/ephemeralContainers")];
        return if all.iter().any(|names| names.contains(&wanted)) {
            Ok(wanted.to_owned())
        } else {
            Err(Status::bad_request(format!(
                "container {wanted} is not valid for pod {name}"
            )))
        };
    }
    match containers.as_slice() {
        [one] => Ok((*one).to_owned()),
        [] => Err(Status::bad_request(format!(
            "a container name must be specified for pod {name}"
        ))),
        many => {
            let mut why = format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                many.join(" ")
            );
            if !init.is_empty() {
                let init = init.join(" ");
                why.push_str(&format!(" or one of the init containers: [{init}]"));
            }
            Err(Status::bad_request(why))
        }
    }
}

/// The node runs a command of one argument at least.
fn command(query: &Query) -> Result<Vec<String>, Status> {
    let command: Vec<String> = query.every("command").map(str::to_owned).collect();
    if command.is_empty() {
        return Err(Status::bad_request(
            "you must specify at least one command for the container",
        ));
    }
    Ok(command)
}

/// As upstream's `remotecommand.NewOptions`: a terminal has no standard error of its own.
fn stdio(query: &Query) -> Result<Stdio, Status> {
    let tty = query.flag("tty");
    let stdio = Stdio {
        stdin: query.flag("stdin"),
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr") && !tty,
        tty,
    };
    if !stdio.stdin && !stdio.stdout && !stdio.stderr {
        return Err(Status::bad_request(
            "you must specify at least 1 of stdin, stdout, stderr",
        ));
    }
    Ok(stdio)
}

/// Ports of WebSocket clients; with SPDY each stream names its own.
fn ports(query: &Query) -> Result<Vec<u16>, Status> {
    let texts = query.all("ports").flat_map(|text| text.split(','));
    let port = |text: &str| match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(Status::bad_request(format!(
            "invalid port {text:?}: must be in 1-65535"
        ))),
    };
    texts.map(port).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn containers_are_chosen_as_upstream_does() {
        let names =
            |names: &[&str]| -> Value { names.iter().map(|name| json!({"name": name})).collect() };
        let one =
            json!({"spec": {"containers": names(&["a"]), "ephemeralContainers": names(&["e"])}});
        let two =
            json!({"spec": {"containers": names(&["a", "b"]), "initContainers": names(&["i"])}});
        for (pod, wanted, want) in [
            (&one, None, Ok("a")),
            (&one, Some("e"), Ok("e")),
            (&two, Some("b"), Ok("b")),
            (&two, Some("i"), Ok("i")),
            (&two, Some("x"), Err("container x is not valid for pod p")),
            (
                &two,
                None,
                Err(
                    "a container name must be specified for pod p, choose one of: [a b] or one of \
                     the init containers: [i]",
                ),
            ),
        ] {
            let got = container(wanted, pod, "p");
            let got = got.as_deref().map_err(|status| status.message());
            assert_eq!(got, want);
        }
    }

    #[test]
    fn options_are_checked() {
        let query = |text: &str| Query::parse(text);
        assert_eq!(command(&query("stdout=1")).unwrap_err().code(), 400);
        assert_eq!(
            command(&query("command=sh&command=-c&command=")).unwrap(),
            ["sh", "-c", ""]
        );
        assert_eq!(stdio(&query("command=a")).unwrap_err().code(), 400);
        let tty = stdio(&query("stdin=1&stdout=true&stderr=true&tty=true")).unwrap();
        assert!(tty.stdin && tty.stdout && tty.tty && !tty.stderr);
        assert_eq!(ports(&query("ports=80&ports=81,82")).unwrap(), [80, 81, 82]);
        for bad in ["ports=0", "ports=65536", "ports=x"] {
            assert_eq!(ports(&query(bad)).unwrap_err().code(), 400);
        }
    }
}
