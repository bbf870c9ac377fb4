//! Probes and hooks of a container.

use serde::Deserialize;

use super::super::PortRef;

view! {
    /// A probe.
    Probe {
        /// A command in the container.
        exec: Option<ExecAction>,
        /// A request.
        http_get: Option<HttpGetAction>,
        /// A connection.
        tcp_socket: Option<TcpAction>,
        /// A health check.
        grpc: Option<GrpcAction>,
        /// Seconds to the first try.
        initial_delay_seconds: Option<i64>,
        /// Seconds a try may take; 1 when absent.
        timeout_seconds: Option<i64>,
        /// Seconds between tries; 10 when absent.
        period_seconds: Option<i64>,
        /// Successes that count; 1 when absent.
        success_threshold: Option<i64>,
        /// Failures that count; 3 when absent.
        failure_threshold: Option<i64>,
        /// Grace when it ends the container.
        termination_grace_period_seconds: Option<i64>,
    }
}
view! {
    /// What a hook does; one of these.
    Handler {
        /// A command in the container.
        exec: Option<ExecAction>,
        /// A request.
        http_get: Option<HttpGetAction>,
        /// A connection.
        tcp_socket: Option<TcpAction>,
        /// A pause.
        sleep: Option<SleepAction>,
    }
}
view! {
    /// `exec`.
    ExecAction {
        /// The command, not through a shell.
        command: Vec<String>,
    }
}
view! {
    /// `httpGet`.
    HttpGetAction {
        /// Name or address; empty is the pod's.
        host: String,
        /// Port.
        port: Option<PortRef>,
        /// Path; `/` when empty.
        path: String,
        /// `HTTP` (also when empty) or `HTTPS`.
        scheme: String,
        /// Headers.
        http_headers: Vec<HttpHeader>,
    }
}
view! {
    /// A header.
    HttpHeader {
        /// Name.
        name: String,
        /// Value.
        value: String,
    }
}
view! {
    /// `tcpSocket`.
    TcpAction {
        /// Name or address; empty is the pod's.
        host: String,
        /// Port.
        port: Option<PortRef>,
    }
}
view! {
    /// `grpc`.
    GrpcAction {
        /// Port.
        port: i64,
        /// Service.
        service: String,
    }
}
view! {
    /// `sleep`.
    SleepAction {
        /// Seconds.
        seconds: i64,
    }
}
view! {
    /// `lifecycle`.
    Lifecycle {
        /// Right after the start.
        post_start: Option<Handler>,
        /// Before the end.
        pre_stop: Option<Handler>,
        /// Signal instead of the image's.
        stop_signal: String,
    }
}
