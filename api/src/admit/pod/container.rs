//! A pod's containers.

use super::volume::relative;
use super::{Errors, MAX_CONTAINERS, list, text, user_ids};
use crate::metadata;
use crate::quantity::Quantity;
use crate::status::Cause;
use crate::support::NOT_SUPPORTED;
use serde_json::Value;

pub(super) fn validate(spec: &Value, path: &str, volumes: &[&str], errors: &mut Errors) {
    let containers = list(spec, "containers");
    if containers.is_empty() {
        errors.required(format!("{path}.containers"), "");
    }
    if containers.len() > MAX_CONTAINERS {
        errors.push(Cause::too_many(
            format!("{path}.containers"),
            containers.len(),
            MAX_CONTAINERS,
        ));
        return;
    }
    let mut names: Vec<&str> = Vec::new();
    for (at, container) in containers.iter().enumerate() {
        let path = format!("{path}.containers[{at}]");
        match text(container, "name") {
            "" => errors.required(format!("{path}.name"), ""),
            name => {
                errors.each(&format!("{path}.name"), name, metadata::dns_label(name));
                if names.contains(&name) {
                    errors.push(Cause::duplicate(format!("{path}.name"), &name.into()));
                }
                names.push(name);
            }
        }
        match text(container, "image") {
            "" => errors.required(format!("{path}.image"), ""),
            image if image.trim() != image => errors.invalid(
                format!("{path}.image"),
                &image.into(),
                "must not have leading or trailing whitespace",
            ),
            _ => {}
        }
        errors.one_of(
            format!("{path}.imagePullPolicy"),
            container.get("imagePullPolicy"),
            &["Always", "IfNotPresent", "Never"],
        );
        ports(container, &path, errors);
        env(container, &path, errors);
        env_from(container, &path, errors);
        resources(container, &path, errors);
        mounts(container, &path, volumes, errors);
        security(container, &path, errors);
    }
}

fn ports(container: &Value, path: &str, errors: &mut Errors) {
    let mut names: Vec<&str> = Vec::new();
    for (at, port) in list(container, "ports").iter().enumerate() {
        let path = format!("{path}.ports[{at}]");
        let name = text(port, "name");
        if !name.is_empty() {
            errors.each(&format!("{path}.name"), name, port_name(name));
            if names.contains(&name) {
                errors.push(Cause::duplicate(format!("{path}.name"), &name.into()));
            }
            names.push(name);
        }
        match port
            .get("containerPort")
            .and_then(Value::as_i64)
            .unwrap_or(0)
        {
            0 => errors.required(format!("{path}.containerPort"), ""),
            1..=65535 => {}
            number => errors.invalid(
                format!("{path}.containerPort"),
                &number.into(),
                "must be between 1 and 65535, inclusive",
            ),
        }
        errors.one_of(
            format!("{path}.protocol"),
            port.get("protocol"),
            &["SCTP", "TCP", "UDP"],
        );
    }
}

fn port_name(name: &str) -> Vec<String> {
    let mut out = Vec::new();
    let bytes = name.as_bytes();
    if name.len() > 15 {
        out.push("must be no more than 15 characters");
    }
    if !bytes
        .iter()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
    {
        out.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
    }
    if !bytes.iter().any(u8::is_ascii_lowercase) {
        out.push("must contain at least one letter (a-z)");
    }
    if name.contains("--") {
        out.push("must not contain consecutive hyphens");
    }
    if name.starts_with('-') || name.ends_with('-') {
        out.push("must not begin or end with a hyphen");
    }
    out.into_iter().map(str::to_owned).collect()
}

fn env(container: &Value, path: &str, errors: &mut Errors) {
    for (at, variable) in list(container, "env").iter().enumerate() {
        let path = format!("{path}.env[{at}]");
        match text(variable, "name") {
            "" => errors.required(format!("{path}.name"), ""),
            name => errors.each(&format!("{path}.name"), name, metadata::env_name(name)),
        }
        let Some(Value::Object(from)) = variable.get("valueFrom") else {
            continue;
        };
        let path = format!("{path}.valueFrom");
        if from.is_empty() {
            let why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
            errors.invalid(&path, &"".into(), why);
        }
        if !text(variable, "value").is_empty() {
            errors.invalid(
                &path,
                &"".into(),
                "may not be specified when `value` is not empty",
            );
        } else if from.len() > 1 {
            errors.invalid(
                &path,
                &"".into(),
                "may not have more than one field specified at a time",
            );
        }
        for (kind, reference) in from {
            let path = format!("{path}.{kind}");
            match kind.as_str() {
                "fieldRef" => field_ref(reference, &path, errors),
                "configMapKeyRef" | "secretKeyRef" => match text(reference, "key") {
                    "" => errors.required(format!("{path}.key"), ""),
                    key => errors.each(&format!("{path}.key"), key, metadata::config_key(key)),
                },
                _ => {}
            }
        }
    }
}

/// Paths that `fieldRef` may name, beside single labels and annotations.
const FIELDS: [&str; 7] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.podIP",
];
/// Those of upstream's that this release can't fill in.
const NOT_YET: [&str; 2] = ["status.hostIPs", "status.podIPs"];

fn field_ref(reference: &Value, path: &str, errors: &mut Errors) {
    let field = text(reference, "fieldPath");
    let path = format!("{path}.fieldPath");
    let subscript = ["metadata.labels['", "metadata.annotations['"]
        .iter()
        .any(|head| field.starts_with(head) && field.ends_with("']"));
    if field.is_empty() {
        errors.required(path, "");
    } else if NOT_YET.contains(&field) {
        errors.forbidden(path, NOT_SUPPORTED);
    } else if !subscript && !FIELDS.contains(&field) {
        errors.push(Cause::not_supported(path, &field.into(), &FIELDS));
    }
}

fn env_from(container: &Value, path: &str, errors: &mut Errors) {
    for (at, source) in list(container, "envFrom").iter().enumerate() {
        let path = format!("{path}.envFrom[{at}]");
        let sources: Vec<&str> = ["configMapRef", "secretRef"]
            .into_iter()
            .filter(|k| source.get(k).is_some())
            .collect();
        match sources.as_slice() {
            [] => errors.invalid(
                &path,
                &"".into(),
                "must specify one of: `configMapRef` or `secretRef`",
            ),
            [_] => {}
            _ => errors.invalid(
                &path,
                &"".into(),
                "may not have more than one field specified at a time",
            ),
        }
        for key in sources {
            match text(&source[key], "name") {
                "" => errors.required(format!("{path}.{key}.name"), ""),
                name => errors.each(
                    &format!("{path}.{key}.name"),
                    name,
                    metadata::dns_subdomain(name),
                ),
            }
        }
    }
}

fn resources(container: &Value, path: &str, errors: &mut Errors) {
    let Some(resources) = container.get("resources") else {
        return;
    };
    let amount = |set: &str, name: &str| {
        let text = resources.get(set)?.get(name)?.as_str()?;
        Some((text, Quantity::parse(text).ok()?))
    };
    for set in ["limits", "requests"] {
        for name in resources
            .get(set)
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|e| e.0)
        {
            let path = format!("{path}.resources.{set}[{name}]");
            if !matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") {
                errors.forbidden(&path, NOT_SUPPORTED);
            }
            if let Some((text, amount)) = amount(set, name)
                && amount.is_negative()
            {
                errors.invalid(&path, &text.into(), "must be greater than or equal to 0");
            }
        }
    }
    for name in ["cpu", "memory", "ephemeral-storage"] {
        if let (Some((text, request)), Some((limit_text, limit))) =
            (amount("requests", name), amount("limits", name))
            && request > limit
        {
            let why = format!("must be less than or equal to {name} limit of {limit_text}");
            errors.invalid(format!("{path}.resources.requests"), &text.into(), &why);
        }
    }
}

fn mounts(container: &Value, path: &str, volumes: &[&str], errors: &mut Errors) {
    let mut targets: Vec<&str> = Vec::new();
    for (at, mount) in list(container, "volumeMounts").iter().enumerate() {
        let path = format!("{path}.volumeMounts[{at}]");
        match text(mount, "name") {
            "" => errors.required(format!("{path}.name"), ""),
            name if !volumes.contains(&name) => {
                errors.push(Cause::not_found(format!("{path}.name"), &name.into()));
            }
            _ => {}
        }
        let sub_path = text(mount, "subPath");
        if !sub_path.is_empty() {
            relative(sub_path, format!("{path}.subPath"), errors);
        }
        match text(mount, "mountPath") {
            "" => errors.required(format!("{path}.mountPath"), ""),
            target => {
                if targets.contains(&target) {
                    errors.invalid(
                        format!("{path}.mountPath"),
                        &target.into(),
                        "must be unique",
                    );
                }
                targets.push(target);
            }
        }
    }
}

fn security(container: &Value, path: &str, errors: &mut Errors) {
    let Some(security) = container.get("securityContext") else {
        return;
    };
    let path = format!("{path}.securityContext");
    user_ids(security, &path, errors);
    if security.get("allowPrivilegeEscalation") != Some(&Value::Bool(false)) {
        return;
    }
    if security.get("privileged") == Some(&Value::Bool(true)) {
        let why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        errors.invalid(&path, security, why);
    }
    let adds = security
        .get("capabilities")
        .map_or(&[][..], |c| list(c, "add"));
    if adds.iter().any(|c| c.as_str() == Some("CAP_SYS_ADMIN")) {
        let why =
            "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
        errors.invalid(&path, security, why);
    }
}
