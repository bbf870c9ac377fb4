//! Field selectors: a fixed list of fields per kind, as upstream.

use super::early;
use crate::convert;
use crate::kind::Kind;
use crate::status::Status;
use serde_json::Value;

/// Conditions on fields that must all hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<Term>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    field: String,
    value: String,
    equal: bool,
}

/// Fields beyond `metadata.name` and `metadata.namespace`.
fn supported(kind: &Kind) -> &'static [&'static str] {
    match kind.kind {
        "Pod" => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
            "spec.host",
        ],
        "Event" if kind.group == "events.k8s.io" => &[
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reason",
            "reportingController",
            "type",
        ],
        "Event" => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        "Namespace" => &["status.phase"],
        "Node" => &["spec.unschedulable"],
        "Secret" => &["type"],
        "ReplicaSet" | "ReplicationController" => &["status.replicas"],
        "Service" => &["spec.clusterIP", "spec.type"],
        _ => &[],
    }
}

impl FieldSelector {
    /// Parses the `fieldSelector` query parameter and checks that the kind supports the fields.
    pub fn parse(kind: &Kind, text: &str) -> Result<Self, Status> {
        let mut terms = Vec::new();
        for part in split(text) {
            if part.is_empty() {
                continue;
            }
            let term = term(part).ok_or_else(|| {
                Status::bad_request(format!(
                    "invalid selector: '{text}'; can't understand '{part}'"
                ))
            })?;
            let own = supported(kind);
            let known = match term.field.as_str() {
                "metadata.name" => true,
                // Upstream's own conversions leave it out where there is none.
                "metadata.namespace" => kind.namespaced || own.is_empty(),
                field => own.contains(&field),
            };
            if !known {
                return Err(Status::bad_request(if own.is_empty() {
                    format!(
                        "\"{}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
                        term.field
                    )
                } else {
                    format!("field label not supported: {}", term.field)
                }));
            }
            let field = match term.field.as_str() {
                // The name of very old clients.
                "spec.host" => "spec.nodeName".to_owned(),
                field => convert::stored_path(kind, field),
            };
            terms.push(Term { field, ..term });
        }
        Ok(Self { terms })
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The value that the field must have, when it is bound to one (`metadata.name=x`).
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.terms
            .iter()
            .find(|t| t.field == field && t.equal)
            .map(|t| t.value.as_str())
    }

    /// Whether an object fulfils every condition. Of its bytes only the fields are read that are asked
    /// for; what is no JSON fulfils nothing.
    pub fn matches(&self, json: &[u8]) -> bool {
        let paths = self.terms.iter().flat_map(|term| read(&term.field));
        let holds =
            |term: &Term, object: &Value| (lookup(object, &term.field) == term.value) == term.equal;
        self.terms.is_empty()
            || early::fields(json, paths.collect())
                .is_some_and(|object| self.terms.iter().all(|term| holds(term, &object)))
    }
}

/// Paths that [`lookup`] reads for a field.
fn read(field: &str) -> impl Iterator<Item = &str> {
    let (path, or) = match field {
        "source" => ("source.component", Some("reportingComponent")),
        other => (other, None),
    };
    std::iter::once(path).chain(or)
}

/// The field's text; absent is empty, except where the field is a truth value or a number.
fn lookup(object: &Value, field: &str) -> String {
    let path = match field {
        // The selector's name for the component of the source.
        "source" => "source.component",
        "status.podIPs" => return pod_ips(object),
        other => other,
    };
    let value = path.split('.').try_fold(object, |at, key| at.get(key));
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(on)) => on.to_string(),
        Some(Value::Number(number)) => number.to_string(),
        _ => match field {
            "spec.unschedulable" | "spec.hostNetwork" => "false".into(),
            "status.replicas" => "0".into(),
            // Events written without a source carry the reporter instead.
            "source" => match object.get("reportingComponent") {
                Some(Value::String(text)) => text.clone(),
                _ => String::new(),
            },
            _ => String::new(),
        },
    }
}

/// Every address of a pod, as upstream joins them for the selector.
fn pod_ips(pod: &Value) -> String {
    let list = pod.pointer("/status/podIPs").and_then(Value::as_array);
    let ips = list
        .into_iter()
        .flatten()
        .filter_map(|ip| ip.get("ip")?.as_str());
    ips.collect::<Vec<_>>().join(",")
}

/// Splits at commas that no backslash escapes.
fn split(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                out.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    out.push(&text[start..]);
    out
}

fn term(part: &str) -> Option<Term> {
    let (at, operator) = ["!=", "==", "="]
        .into_iter()
        .filter_map(|op| part.find(op).map(|at| (at, op)))
        .min_by_key(|(at, op)| (*at, std::cmp::Reverse(op.len())))?;
    let value = unescape(&part[at + operator.len()..])?;
    Some(Term {
        field: part[..at].to_owned(),
        value,
        equal: operator != "!=",
    })
}

fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push(chars.next().filter(|c| "\\,=".contains(*c))?),
            // Unescaped, these would be another term or operator.
            ',' | '=' => return None,
            other => out.push(other),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::find;
    use serde_json::json;

    #[test]
    fn pods_by_node_and_phase() {
        let kind = find("", "v1", "pods").unwrap();
        let pod = json!({"metadata": {"name": "a"}, "spec": {"nodeName": "n1"}, "status": {"phase": "Running"}});
        for (text, want) in [
            ("", true),
            ("spec.nodeName=n1", true),
            ("spec.nodeName==n1,status.phase!=Failed", true),
            ("spec.nodeName!=n1", false),
            ("metadata.name=b", false),
            ("spec.hostNetwork=false", true),
            ("status.podIP=", true),
            (r"metadata.name=a\,b", false),
        ] {
            assert_eq!(
                FieldSelector::parse(kind, text)
                    .unwrap()
                    .matches(pod.to_string().as_bytes()),
                want,
                "{text}"
            );
        }
        assert_eq!(
            FieldSelector::parse(kind, "metadata.name=x")
                .unwrap()
                .exact("metadata.name"),
            Some("x")
        );
    }

    #[test]
    fn events_of_an_object() {
        let kind = find("", "v1", "events").unwrap();
        let event = json!({"involvedObject": {"kind": "Pod", "name": "a"}, "source": {"component": "kubelet"}});
        let selector = "involvedObject.name=a,involvedObject.namespace=,involvedObject.kind=Pod,source=kubelet";
        assert!(
            FieldSelector::parse(kind, selector)
                .unwrap()
                .matches(event.to_string().as_bytes())
        );
    }

    #[test]
    fn fields_by_other_names() {
        let parse = |group: &str, plural: &str, text: &str| {
            FieldSelector::parse(find(group, "v1", plural).unwrap(), text)
        };
        let stored = json!({"involvedObject": {"name": "a"}, "reportingComponent": "x"});
        let selector = "regarding.name=a,reportingController=x";
        assert!(
            parse("events.k8s.io", "events", selector)
                .unwrap()
                .matches(stored.to_string().as_bytes())
        );
        assert!(parse("", "events", selector).is_err());
        let pod = json!({"spec": {"nodeName": "n"}, "status": {"podIPs": [{"ip": "10.0.0.1"}]}});
        let selector = parse("", "pods", "spec.host=n,status.podIPs=10.0.0.1").unwrap();
        assert!(selector.matches(pod.to_string().as_bytes()));
        let service = json!({"spec": {"type": "ClusterIP", "clusterIP": "None"}});
        let selector = parse("", "services", "spec.type=ClusterIP,spec.clusterIP!=None").unwrap();
        assert!(!selector.matches(service.to_string().as_bytes()));
        assert!(
            parse("", "nodes", "metadata.namespace=a").is_err(),
            "as upstream"
        );
    }

    #[test]
    fn mistakes_in_upstream_words() {
        let (pods, maps) = (
            find("", "v1", "pods").unwrap(),
            find("", "v1", "configmaps").unwrap(),
        );
        for (kind, text, want) in [
            (pods, "spec.foo=1", "field label not supported: spec.foo"),
            (
                maps,
                "data=1",
                "\"data\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
            ),
            (
                pods,
                "nonsense",
                "invalid selector: 'nonsense'; can't understand 'nonsense'",
            ),
        ] {
            let status = FieldSelector::parse(kind, text).unwrap_err();
            assert_eq!((status.code(), status.message()), (400, want));
        }
    }
}
