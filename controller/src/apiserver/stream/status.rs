//! The `Status` that ends a command's stream, in upstream's words
//! (`k8s.io/kubelet/pkg/cri/streaming/remotecommand`).

use serde_json::{Value, json};

/// All is well.
pub(super) fn success() -> Value {
    json!({"metadata": {}, "status": "Success"})
}

/// The command's own exit code.
pub(super) fn exit(code: i32) -> Value {
    if code == 0 {
        return success();
    }
    json!({
        "metadata": {},
        "status": "Failure",
        "message": format!(
            "command terminated with non-zero exit code: command terminated with exit code {code}"
        ),
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
    })
}

/// Something broke.
pub(super) fn internal(why: &str) -> Value {
    json!({
        "metadata": {},
        "status": "Failure",
        "message": format!("Internal error occurred: {why}"),
        "reason": "InternalError",
        "details": {"causes": [{"message": why}]},
        "code": 500,
    })
}

/// As protocols before the fourth version have it: text, and none when all is well.
pub(super) fn plain(status: &Value) -> String {
    match status["status"].as_str() {
        Some("Success") => String::new(),
        _ => status["message"].as_str().unwrap_or_default().to_owned(),
    }
}
