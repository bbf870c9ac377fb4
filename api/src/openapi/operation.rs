//! Paths: what can be asked of a kind, once, for both documents.

use super::schema::{self, Version};
use crate::kind::{Kind, Subresource};
use serde_json::{Map, Value, json};

/// A body that a request carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body {
    None,
    Object(String),
    Patch,
    Options,
}

/// A query parameter: name and type.
pub(super) type Parameter = (&'static str, &'static str);

#[derive(Debug)]
pub(super) struct Operation {
    /// `get`, `put`, `post`, `delete`, `patch`.
    pub(super) method: &'static str,
    /// Upstream's word for it, `list`.
    pub(super) action: &'static str,
    pub(super) id: String,
    pub(super) description: String,
    pub(super) gvk: Value,
    pub(super) parameters: &'static [Parameter],
    pub(super) body: Body,
    /// Definition of the answer.
    pub(super) answer: String,
    pub(super) tag: String,
}

/// A path and what can be done there.
#[derive(Debug)]
pub(super) struct Path {
    pub(super) path: String,
    /// `namespace`, `name`, as far as the path has them.
    pub(super) variables: Vec<&'static str>,
    pub(super) operations: Vec<Operation>,
}

pub(super) const PATCHES: [&str; 4] = [
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];
const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
pub(super) const OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
pub(super) const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";

const LIST: &[Parameter] = &[
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
const DELETE: &[Parameter] = &[
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];
const DELETE_COLLECTION: &[Parameter] = &[
    ("continue", "string"),
    ("dryRun", "string"),
    ("fieldSelector", "string"),
    ("gracePeriodSeconds", "integer"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("propagationPolicy", "string"),
    ("resourceVersion", "string"),
    ("timeoutSeconds", "integer"),
];
const WRITE: &[Parameter] = &[
    ("dryRun", "string"),
    ("fieldManager", "string"),
    ("fieldValidation", "string"),
];
const PATCHED: &[Parameter] = &[
    ("dryRun", "string"),
    ("fieldManager", "string"),
    ("fieldValidation", "string"),
    ("force", "boolean"),
];
const LOG: &[Parameter] = &[
    ("container", "string"),
    ("follow", "boolean"),
    ("limitBytes", "integer"),
    ("previous", "boolean"),
    ("sinceSeconds", "integer"),
    ("tailLines", "integer"),
    ("timestamps", "boolean"),
];

/// Every path of a kind.
pub(super) fn paths(kind: &'static Kind) -> Vec<Path> {
    let root = format!("/{}", super::root(kind.group, kind.version));
    let mut out = Vec::new();
    let has = |verb: &str| kind.verbs.contains(&verb);
    let (base, variables) = if kind.namespaced {
        let base = format!("{root}/namespaces/{{namespace}}/{}", kind.plural);
        (base, vec!["namespace"])
    } else {
        (format!("{root}/{}", kind.plural), Vec::new())
    };
    if kind.namespaced && has("list") {
        out.push(Path {
            path: format!("{root}/{}", kind.plural),
            variables: Vec::new(),
            operations: vec![operation(kind, "list", None, true)],
        });
    }
    let of = |verbs: &[&'static str], sub: Option<&'static Subresource>| -> Vec<Operation> {
        let allowed = sub.map_or(kind.verbs, |s| s.verbs);
        verbs
            .iter()
            .filter(|verb| allowed.contains(verb))
            .map(|verb| operation(kind, verb, sub, false))
            .collect()
    };
    out.push(Path {
        path: base.clone(),
        variables: variables.clone(),
        operations: of(&["list", "create", "deletecollection"], None),
    });
    if !has("get") {
        return out;
    }
    let variables = [variables, vec!["name"]].concat();
    let object = format!("{base}/{{name}}");
    out.push(Path {
        path: object.clone(),
        variables: variables.clone(),
        operations: of(&["get", "update", "patch", "delete"], None),
    });
    for sub in kind.subresources.iter().filter(|sub| !sub.is_stream()) {
        out.push(Path {
            path: format!("{object}/{}", sub.name),
            variables: variables.clone(),
            operations: of(&["get", "update", "patch", "create"], Some(sub)),
        });
    }
    out
}

fn operation(
    kind: &'static Kind,
    verb: &str,
    sub: Option<&'static Subresource>,
    everywhere: bool,
) -> Operation {
    let message = sub.map_or(kind.message, |s| s.message);
    let object = || Body::Object(message.to_owned());
    let (method, action, word, parameters, body) = match verb {
        "list" => ("get", "list", "list", LIST, Body::None),
        "create" => ("post", "post", "create", WRITE, object()),
        "update" => ("put", "put", "replace", WRITE, object()),
        "patch" => ("patch", "patch", "patch", PATCHED, Body::Patch),
        "delete" => ("delete", "delete", "delete", DELETE, Body::Options),
        "deletecollection" => (
            "delete",
            "deletecollection",
            "delete",
            DELETE_COLLECTION,
            Body::Options,
        ),
        _ if sub.is_some_and(|s| s.name == "log") => ("get", "get", "read", LOG, Body::None),
        _ => ("get", "get", "read", &[][..], Body::None),
    };
    let answer = match verb {
        "list" => schema::list_name(kind),
        "delete" | "deletecollection" => STATUS.to_owned(),
        _ => message.to_owned(),
    };
    let (group, version, name) = sub.map_or((kind.group, kind.version, kind.kind), |s| {
        (s.group, s.version, s.kind)
    });
    let place = match (kind.namespaced, everywhere) {
        (true, false) => "Namespaced",
        _ => "",
    };
    let collection = if verb == "deletecollection" {
        "Collection"
    } else {
        ""
    };
    let tail = if everywhere { "ForAllNamespaces" } else { "" };
    let below = sub.map_or_else(String::new, |s| capital(s.name));
    let own = family(kind.group);
    let what = sub.map_or_else(
        || kind.kind.to_owned(),
        |s| format!("{} of {}", s.name, kind.kind),
    );
    Operation {
        method,
        action,
        id: format!(
            "{word}{own}{}{collection}{place}{}{below}{tail}",
            capital(kind.version),
            kind.kind
        ),
        description: format!("{word} {what}"),
        gvk: schema::gvk(group, version, name),
        parameters,
        body,
        answer,
        tag: format!("{}_{}", lower_first(&own), kind.version),
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_ascii_uppercase().to_string() + chars.as_str()
    })
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_ascii_lowercase().to_string() + chars.as_str()
    })
}

/// `RbacAuthorization` out of `rbac.authorization.k8s.io`.
fn family(group: &str) -> String {
    if group.is_empty() {
        return "Core".into();
    }
    let own = group.strip_suffix(".k8s.io").unwrap_or(group);
    own.split('.').map(capital).collect()
}

impl Path {
    pub(super) fn to_json(&self, version: Version) -> Value {
        let mut out: Map<String, Value> = Map::new();
        let variables: Vec<Value> = self
            .variables
            .iter()
            .map(|name| {
                typed(
                    json!({"name": name, "in": "path", "required": true}),
                    "string",
                    version,
                )
            })
            .collect();
        if !variables.is_empty() {
            out.insert("parameters".into(), variables.into());
        }
        for operation in &self.operations {
            out.insert(operation.method.into(), operation.to_json(version));
        }
        out.into()
    }
}

/// Where the type of a parameter stands differs.
fn typed(mut parameter: Value, ty: &str, version: Version) -> Value {
    match version {
        Version::V2 => {
            parameter["type"] = ty.into();
            parameter["uniqueItems"] = true.into();
        }
        Version::V3 => parameter["schema"] = json!({"type": ty, "uniqueItems": true}),
    }
    parameter
}

fn reference(name: &str, version: Version) -> Value {
    json!({"$ref": format!("{}{name}", version.prefix())})
}

impl Operation {
    fn to_json(&self, version: Version) -> Value {
        let mut parameters: Vec<Value> = self
            .parameters
            .iter()
            .map(|(name, ty)| typed(json!({"name": name, "in": "query"}), ty, version))
            .collect();
        let mut out = json!({
            "operationId": self.id, "description": self.description, "tags": [self.tag],
            "x-kubernetes-action": self.action, "x-kubernetes-group-version-kind": self.gvk,
        });
        let answer = reference(&self.answer, version);
        let body = self.body.definition().map(|name| reference(name, version));
        match version {
            Version::V2 => {
                if let Some(schema) = body {
                    let required = self.body != Body::Options;
                    parameters.push(
                        json!({"name": "body", "in": "body", "required": required, "schema": schema}),
                    );
                }
                out["consumes"] = json!(self.body.media());
                out["produces"] = json!(["application/json"]);
                out["responses"] = json!({"200": {"description": "OK", "schema": answer}});
                out["schemes"] = json!(["https"]);
            }
            Version::V3 => {
                if let Some(schema) = body {
                    let content: Map<String, Value> = self
                        .body
                        .media()
                        .iter()
                        .map(|media| ((*media).to_owned(), json!({"schema": schema})))
                        .collect();
                    out["requestBody"] = json!({"content": content});
                }
                out["responses"] = json!({"200": {"description": "OK",
                    "content": {"application/json": {"schema": answer}}}});
            }
        }
        out["parameters"] = parameters.into();
        out
    }
}

impl Body {
    /// The definition that the body has.
    pub(super) fn definition(&self) -> Option<&str> {
        match self {
            Self::None => None,
            Self::Object(name) => Some(name),
            Self::Patch => Some(PATCH),
            Self::Options => Some(OPTIONS),
        }
    }

    pub(super) fn media(&self) -> &'static [&'static str] {
        match self {
            Self::Patch => &PATCHES,
            _ => &["*/*"],
        }
    }
}
