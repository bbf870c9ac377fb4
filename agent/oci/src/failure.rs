//! libcontainer's errors as failures that the agent tells apart.
//!
//! Errors of the container's first process reach us as text through its pipe, so what our own
//! [`crate::executor`] found is marked in the text and found again here.

use bramble_wire::shim::{Failure, FailureKind};

/// Marks of our executor, in front of the message for a person.
pub(crate) const NOT_FOUND: &str = "bramble:not-found:";
pub(crate) const NOT_EXECUTABLE: &str = "bramble:not-executable:";

/// A failure for an error and all its causes.
pub(crate) fn failure(what: &str, error: &(dyn std::error::Error + 'static)) -> Failure {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    classify(what, &text)
}

fn classify(what: &str, text: &str) -> Failure {
    for (mark, kind) in [
        (NOT_FOUND, FailureKind::CommandNotFound),
        (NOT_EXECUTABLE, FailureKind::CommandNotExecutable),
    ] {
        if let Some((_, message)) = text.split_once(mark) {
            return Failure {
                kind,
                message: message.trim().to_owned(),
            };
        }
    }
    Failure {
        kind: FailureKind::Runtime,
        message: format!("{what}: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_texts_are_found_wherever_they_stand() {
        let text = format!("main process: init: {NOT_FOUND}exec: \"x\": not found");
        assert_eq!(
            classify("create", &text),
            Failure {
                kind: FailureKind::CommandNotFound,
                message: "exec: \"x\": not found".to_owned()
            }
        );
        assert_eq!(classify("create", "boom").message, "create: boom");
    }
}
