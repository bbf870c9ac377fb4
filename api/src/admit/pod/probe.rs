//! Probes and lifecycle hooks.
//!
//! Source of the wording: `validateProbe`, `validateHandler` and their neighbours in
//! kubernetes/kubernetes `pkg/apis/core/validation/validation.go`.

use super::super::Errors;
use super::container::{Pod, port_name};
use super::{list, number, text};
use crate::status::Cause;
use serde_json::Value;

/// The three probes of a container.
pub(super) fn validate(container: &Value, path: &str, grace: Option<i64>, errors: &mut Errors) {
    for key in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.get(key) else {
            continue;
        };
        let path = format!("{path}.{key}");
        handler(probe, &path, grace, errors);
        for key in [
            "initialDelaySeconds",
            "timeoutSeconds",
            "periodSeconds",
            "successThreshold",
            "failureThreshold",
        ] {
            errors.not_negative(format!("{path}.{key}"), probe.get(key));
        }
        let ready = key == "readinessProbe";
        if let Some(seconds) = probe.get("terminationGracePeriodSeconds") {
            let path = format!("{path}.terminationGracePeriodSeconds");
            if seconds.as_i64().is_some_and(|n| n <= 0) {
                errors.invalid(&path, seconds, "must be greater than 0");
            }
            if ready {
                errors.invalid(&path, seconds, "must not be set for readinessProbes");
            }
        }
        let successes = number(probe, "successThreshold").unwrap_or(1);
        if !ready && successes != 1 {
            errors.invalid(
                format!("{path}.successThreshold"),
                &successes.into(),
                "must be 1",
            );
        }
    }
}

/// `postStart`, `preStop` and `stopSignal`.
pub(super) fn lifecycle(container: &Value, path: &str, pod: &Pod<'_>, errors: &mut Errors) {
    let Some(lifecycle) = container.get("lifecycle") else {
        return;
    };
    let grace = pod.grace;
    for key in ["postStart", "preStop"] {
        if let Some(hook) = lifecycle.get(key) {
            handler(hook, &format!("{path}.lifecycle.{key}"), grace, errors);
        }
    }
    if let Some(signal) = lifecycle.get("stopSignal") {
        let path = format!("{path}.lifecycle.stopSignal");
        if !pod.has_os {
            let why = "may not be set for containers with empty `spec.os.name`";
            errors.forbidden(path, why);
        } else if !is_signal(signal.as_str().unwrap_or_default()) {
            errors.push(Cause::not_supported(path, signal, &SIGNALS));
        }
    }
}

const SIGNALS: [&str; 36] = [
    "SIGABRT",
    "SIGALRM",
    "SIGBUS",
    "SIGCHLD",
    "SIGCLD",
    "SIGCONT",
    "SIGFPE",
    "SIGHUP",
    "SIGILL",
    "SIGINT",
    "SIGIO",
    "SIGIOT",
    "SIGKILL",
    "SIGPIPE",
    "SIGPOLL",
    "SIGPROF",
    "SIGPWR",
    "SIGQUIT",
    "SIGRTMAX",
    "SIGRTMIN",
    "SIGSEGV",
    "SIGSTKFLT",
    "SIGSTOP",
    "SIGSYS",
    "SIGTERM",
    "SIGTRAP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGUSR1",
    "SIGUSR2",
    "SIGVTALRM",
    "SIGWINCH",
    "SIGXCPU",
    "SIGXFSZ",
];

/// One of [`SIGNALS`], or a real-time signal: `SIGRTMIN+1` to `+15`, `SIGRTMAX-1` to `-14`.
fn is_signal(name: &str) -> bool {
    let within = |digits: &str, most: u8| {
        !digits.starts_with(['0', '+'])
            && digits.parse::<u8>().is_ok_and(|n| (1..=most).contains(&n))
    };
    SIGNALS.contains(&name)
        || name
            .strip_prefix("SIGRTMIN+")
            .is_some_and(|n| within(n, 15))
        || name
            .strip_prefix("SIGRTMAX-")
            .is_some_and(|n| within(n, 14))
}

fn handler(of: &Value, path: &str, grace: Option<i64>, errors: &mut Errors) {
    let mut first = true;
    for kind in ["exec", "httpGet", "tcpSocket", "grpc", "sleep"] {
        let Some(action) = of.get(kind) else { continue };
        let path = format!("{path}.{kind}");
        if !std::mem::take(&mut first) {
            errors.forbidden(path, "may not specify more than 1 handler type");
            continue;
        }
        match kind {
            "exec" if list(action, "command").is_empty() => {
                errors.required(format!("{path}.command"), "");
            }
            "exec" => {}
            "httpGet" => http_get(action, &path, errors),
            "sleep" => sleep(action, &path, grace, errors),
            _ => port(action, &path, errors),
        }
    }
    if first {
        errors.required(path, "must specify a handler type");
    }
}

fn http_get(action: &Value, path: &str, errors: &mut Errors) {
    port(action, path, errors);
    errors.one_of(
        format!("{path}.scheme"),
        action.get("scheme"),
        &["HTTP", "HTTPS"],
    );
    for header in list(action, "httpHeaders") {
        let name = text(header, "name");
        let fine = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !fine {
            let why = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";
            errors.invalid(format!("{path}.httpHeaders"), &name.into(), why);
        }
    }
}

fn sleep(action: &Value, path: &str, grace: Option<i64>, errors: &mut Errors) {
    let seconds = number(action, "seconds").unwrap_or(0);
    if let Some(grace) = grace
        && !(0..=grace).contains(&seconds)
    {
        let why =
            format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        errors.invalid(path, &seconds.into(), &why);
    }
}

fn port(action: &Value, path: &str, errors: &mut Errors) {
    let path = format!("{path}.port");
    match action.get("port") {
        Some(Value::String(name)) => errors.each(&path, name, port_name(name)),
        other => {
            let number = other.and_then(Value::as_i64).unwrap_or(0);
            if !(1..=65535).contains(&number) {
                let why = "must be between 1 and 65535, inclusive";
                errors.push(Cause::invalid(path, &number.into(), why));
            }
        }
    }
}
