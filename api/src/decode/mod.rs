//! Request bodies: bytes in JSON, YAML or protobuf become a checked JSON value.
//!
//! Every decoder is bounded in size and depth and never panics; what the descriptor table does not
//! know is an error, a warning or dropped, as the client's `fieldValidation` asks.

mod check;
mod json;
mod path;
mod proto;
mod yaml;

use crate::facts::{self, Message};
use crate::kind::{Kind, Subresource, find_kind, join_api_version};
use crate::status::{Cause, Status};
use json::Parsed;
pub(crate) use path::Path;
use serde_json::{Value, json};

/// Largest body, as upstream: 3 MiB.
pub const MAX_BODY: usize = 3 * 1024 * 1024;
/// Most values (objects, lists, scalars) in a body: a few bytes of text can be an object, and each
/// costs a hundred in memory.
pub const MAX_VALUES: usize = 250_000;
/// Most unknown or duplicate fields that are named, as upstream.
const MAX_NAMED: usize = 100;
/// Deepest nesting of objects and lists.
pub const MAX_DEPTH: usize = 100;

/// The client's wish about fields that the schema lacks or that come twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldValidation {
    /// Refuse.
    Strict,
    /// Drop and warn: upstream's default.
    Warn,
    /// Drop silently.
    Ignore,
}

impl FieldValidation {
    /// From the query parameter; absent or empty means `Warn`.
    pub fn from_query(value: Option<&str>) -> Result<Self, Status> {
        match value {
            None | Some("" | "Warn") => Ok(Self::Warn),
            Some("Strict") => Ok(Self::Strict),
            Some("Ignore") => Ok(Self::Ignore),
            Some(other) => Err(Status::invalid(
                "meta.k8s.io",
                "CreateOptions",
                "",
                vec![crate::status::Cause::not_supported(
                    "fieldValidation",
                    &other.into(),
                    &["Ignore", "Strict", "Warn"],
                )],
            )),
        }
    }
}

/// A decoded body.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The object, with `kind` and `apiVersion` filled in, unknown fields gone.
    pub value: Value,
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
}

/// What a body is expected to be.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// API group.
    pub group: &'a str,
    /// API version.
    pub version: &'a str,
    /// Kind.
    pub kind: &'a str,
    /// Full message name in the descriptor table.
    pub message: &'a str,
}

impl From<&'static Kind> for Expected<'static> {
    fn from(kind: &'static Kind) -> Self {
        Self {
            group: kind.group,
            version: kind.version,
            kind: kind.kind,
            message: kind.message,
        }
    }
}

impl From<&'static Subresource> for Expected<'static> {
    fn from(sub: &'static Subresource) -> Self {
        Self {
            group: sub.group,
            version: sub.version,
            kind: sub.kind,
            message: sub.message,
        }
    }
}

/// The formats that are understood, in upstream's order.
pub const MEDIA_TYPES: &[&str] = &[
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
];

/// Decodes an object of `kind`. A body that says it is something else is refused.
pub fn body(
    content_type: Option<&str>,
    bytes: &[u8],
    kind: &Kind,
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let expected = Expected {
        group: kind.group,
        version: kind.version,
        kind: kind.kind,
        message: kind.message,
    };
    message(content_type, bytes, expected, validation)
}

/// Decodes a body of any message of the descriptor table: `Scale`, `Binding`, `Eviction`, …
pub fn message(
    content_type: Option<&str>,
    bytes: &[u8],
    expected: Expected<'_>,
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let parsed = parse(content_type, bytes, expected)?;
    let said = said(&parsed.value);
    if let Some((api_version, kind)) = &said {
        matches_expected(api_version, kind, expected)?;
    }
    finish(parsed, expected, said.is_some(), validation)
}

/// Decodes `DeleteOptions`, which clients send as `v1`, `meta.k8s.io/v1` or with the kind's own
/// group-version. An empty body is `{}`.
pub fn delete_options(content_type: Option<&str>, bytes: &[u8]) -> Result<Value, Status> {
    if bytes.is_empty() {
        return Ok(json!({}));
    }
    let expected = Expected {
        group: "",
        version: "v1",
        kind: "DeleteOptions",
        message: "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions",
    };
    let parsed = parse(content_type, bytes, expected)?;
    if let Some((api_version, kind)) = said(&parsed.value).filter(|s| s.1 != "DeleteOptions") {
        return Err(unregistered(&api_version, &kind, expected.kind));
    }
    finish(parsed, expected, true, FieldValidation::Ignore).map(|d| d.value)
}

/// Any JSON, such as a patch: no deeper and of no more values than objects may be.
///
/// # Errors
/// What the parser says.
pub fn plain_json(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    json::parse(bytes).map(|parsed| parsed.value)
}

/// Parses a body without a schema: patches, and objects whose kind is not known yet.
pub fn untyped(content_type: Option<&str>, bytes: &[u8]) -> Result<Value, Status> {
    limit(bytes)?;
    match media_type(content_type) {
        Some(Media::Yaml) => yaml::parse(bytes).map(|p| p.value),
        _ => json::parse(bytes)
            .map(|p| p.value)
            .map_err(|e| e.to_string()),
    }
    .map_err(|e| Status::bad_request(format!("error decoding patch: {e}")))
}

/// Parses an apply configuration, which is YAML or JSON text whatever its content type says, with the
/// paths of fields that come twice.
pub fn configuration(bytes: &[u8]) -> Result<(Value, Vec<String>), Status> {
    limit(bytes)?;
    let json = match bytes.trim_ascii_start().first() {
        // JSON is YAML to the letter only almost: escapes of characters beyond the first plane.
        Some(b'{') => json::parse(bytes).ok(),
        _ => None,
    };
    let parsed = match json {
        Some(parsed) => parsed,
        None => yaml::parse(bytes)
            .map_err(|e| Status::bad_request(format!("error decoding YAML: {e}")))?,
    };
    match parsed.value {
        Value::Object(_) => Ok((parsed.value, parsed.duplicates)),
        Value::Null => Ok((json!({}), Vec::new())),
        other => {
            let found = check::json_kind(&other);
            Err(Status::bad_request(format!(
                "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"
            )))
        }
    }
}

/// Checks and prunes a value that did not come from a body: the result of a patch. Unknown fields
/// are refused, dropped with a warning, or dropped.
pub fn check(kind: &Kind, value: Value, validation: FieldValidation) -> Result<Decoded, Status> {
    let mut value = value;
    let message = descriptor(kind.message)?;
    let report = check::check(message, &mut value);
    if let Some(wrong) = report.wrong {
        return Err(patch_invalid(&format!("unrecognized type: {wrong}")));
    }
    let problems: Vec<String> = report
        .unknown
        .iter()
        .map(|path| format!("unknown field \"{path}\""))
        .collect();
    match validation {
        FieldValidation::Strict if !problems.is_empty() => Err(patch_invalid(&format!(
            "strict decoding error: {}",
            problems.join(", ")
        ))),
        FieldValidation::Warn => Ok(Decoded {
            value,
            warnings: problems,
        }),
        _ => Ok(Decoded {
            value,
            warnings: Vec::new(),
        }),
    }
}

fn patch_invalid(why: &str) -> Status {
    Status::invalid(
        "",
        "",
        "",
        vec![Cause::invalid("patch", &Value::from(""), why)],
    )
}

fn descriptor(name: &str) -> Result<&'static Message, Status> {
    facts::message(name).ok_or_else(|| Status::internal(format!("no descriptor for {name}")))
}

fn limit(bytes: &[u8]) -> Result<(), Status> {
    if bytes.len() > MAX_BODY {
        return Err(Status::too_large(format!("limit is {MAX_BODY}")));
    }
    Ok(())
}

enum Media {
    Json,
    Yaml,
    Protobuf,
}

fn media_type(content_type: Option<&str>) -> Option<Media> {
    let media = content_type
        .unwrap_or("application/json")
        .split(';')
        .next()
        .unwrap_or_default();
    match media.trim().to_ascii_lowercase().as_str() {
        ""
        | "application/json"
        | "application/merge-patch+json"
        | "application/json-patch+json"
        | "application/strategic-merge-patch+json" => Some(Media::Json),
        "application/yaml" | "application/apply-patch+yaml" => Some(Media::Yaml),
        "application/vnd.kubernetes.protobuf" => Some(Media::Protobuf),
        _ => None,
    }
}

fn parse(
    content_type: Option<&str>,
    bytes: &[u8],
    expected: Expected<'_>,
) -> Result<Parsed, Status> {
    limit(bytes)?;
    let unrecognized = |why: String| {
        Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): {why} ({})",
            expected.kind,
            summary(bytes)
        ))
    };
    match media_type(content_type) {
        Some(Media::Json) => json::parse(bytes)
            .map_err(|e| unrecognized(format!("couldn't get version/kind; json parse error: {e}"))),
        Some(Media::Yaml) => yaml::parse(bytes).map_err(|e| unrecognized(format!("yaml: {e}"))),
        Some(Media::Protobuf) => {
            let (value, dropped) = proto::envelope(bytes, expected.message)
                .map_err(|e| unrecognized(e.to_string()))?;
            let notices = dropped
                .into_iter()
                .map(|what| format!("{what} is not known to this release and was dropped"))
                .collect();
            Ok(Parsed {
                value,
                notices,
                ..Parsed::default()
            })
        }
        None => Err(Status::unsupported_media_type(MEDIA_TYPES)),
    }
}

/// The first bytes of a body, for the error text, as upstream shortens them.
fn summary(bytes: &[u8]) -> String {
    const MAX: usize = 30;
    let head = &bytes[..bytes.len().min(MAX)];
    let more = if bytes.len() > MAX { " ..." } else { "" };
    match head.first() {
        None => "<empty>".into(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(head)),
        Some(_) => {
            let hex: String = head.iter().map(|b| format!("{b:02x}")).collect();
            format!("{hex}{more}")
        }
    }
}

/// What the object says it is; `None` when it says nothing.
fn said(value: &Value) -> Option<(String, String)> {
    let text = |key: &str| {
        value
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    (!api_version.is_empty() || !kind.is_empty()).then_some((api_version, kind))
}

fn matches_expected(api_version: &str, kind: &str, expected: Expected<'_>) -> Result<(), Status> {
    let want = join_api_version(expected.group, expected.version);
    if !kind.is_empty() && kind != expected.kind {
        if find_kind(expected.group, expected.version, kind).is_none() {
            return Err(unregistered(api_version, kind, expected.kind));
        }
        let version = expected.version;
        return Err(Status::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {}: converting ({version}.{kind}) to ({version}.{}): unknown conversion",
            expected.kind, expected.kind
        )));
    }
    if !api_version.is_empty() && api_version != want {
        return Err(Status::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({want})"
        )));
    }
    Ok(())
}

fn unregistered(api_version: &str, kind: &str, expected: &str) -> Status {
    let (_, version) = crate::kind::split_api_version(api_version);
    Status::bad_request(format!(
        "{kind} in version \"{version}\" cannot be handled as a {expected}: no kind \"{kind}\" is registered for version \"{api_version}\""
    ))
}

fn finish(
    parsed: Parsed,
    expected: Expected<'_>,
    said: bool,
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let Parsed {
        mut value,
        duplicates,
        notices,
    } = parsed;
    let refused = |why: &str| {
        let version = if said { expected.version } else { "" };
        Status::bad_request(format!(
            "{} in version \"{version}\" cannot be handled as a {}: {why}",
            expected.kind, expected.kind
        ))
    };
    let report = check::check(descriptor(expected.message)?, &mut value);
    if let Some(wrong) = report.wrong {
        return Err(refused(&wrong));
    }
    let mut warnings: Vec<String> = report
        .unknown
        .iter()
        .map(|path| format!("unknown field \"{path}\""))
        .collect();
    warnings.extend(
        duplicates
            .iter()
            .map(|path| format!("duplicate field \"{path}\"")),
    );
    match validation {
        FieldValidation::Strict if !warnings.is_empty() => {
            return Err(refused(&format!(
                "strict decoding error: {}",
                warnings.join(", ")
            )));
        }
        FieldValidation::Ignore => warnings.clear(),
        _ => {}
    }
    // Not an error even when strict: newer clients write zero values of fields they do not use.
    warnings.extend(notices);
    if let Value::Object(map) = &mut value {
        map.insert("kind".into(), expected.kind.into());
        map.insert(
            "apiVersion".into(),
            join_api_version(expected.group, expected.version).into(),
        );
    }
    Ok(Decoded { value, warnings })
}
