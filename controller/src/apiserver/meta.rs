//! Which form of an object the client wants: the object, a `Table`, or its metadata alone.

use bramble_api::kind::Kind;
use bramble_api::status::Status;
use bramble_api::table::{self, Include};
use http::HeaderMap;
use http::header::ACCEPT;
use serde_json::{Value, json};

use super::request::Query;
use crate::object::now;

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Object,
    Table { include: Include, beta: bool },
    Metadata,
}

impl Form {
    /// The first form in `Accept` that we have.
    pub(crate) fn negotiate(headers: &HeaderMap, query: &Query) -> Result<Self, Status> {
        let mut any = false;
        for value in headers.get_all(ACCEPT) {
            for part in value.to_str().unwrap_or_default().split(',') {
                any |= !part.trim().is_empty();
                if let Some(form) = Self::of(part, query) {
                    return Ok(form);
                }
            }
        }
        if any {
            return Err(Status::not_acceptable(&["application/json"]));
        }
        Ok(Self::Object)
    }

    fn of(part: &str, query: &Query) -> Option<Self> {
        let mut pieces = part.split(';').map(str::trim);
        if !matches!(pieces.next()?, "application/json" | "application/*" | "*/*") {
            return None;
        }
        let (mut form, mut group, mut version) = (None, "", "");
        for piece in pieces {
            match piece.split_once('=') {
                Some(("as", value)) => form = Some(value),
                Some(("g", value)) => group = value,
                Some(("v", value)) => version = value,
                _ => {}
            }
        }
        match (form, group, version) {
            (None, ..) => Some(Self::Object),
            (Some("Table"), "meta.k8s.io", "v1" | "v1beta1") => Some(Self::Table {
                include: Include::from_query(query.get("includeObject")),
                beta: version == "v1beta1",
            }),
            (Some("PartialObjectMetadata" | "PartialObjectMetadataList"), "meta.k8s.io", "v1") => {
                Some(Self::Metadata)
            }
            _ => None,
        }
    }

    /// One object in this form. `head` is false for all but the first event of a watch.
    pub(crate) fn of_object(self, kind: &Kind, object: Value, head: bool) -> Value {
        match self {
            Self::Object => object,
            Self::Metadata => metadata_of(&object),
            Self::Table { include, beta } => {
                let mut table = table::table_of(kind, object, now(), include, head);
                if beta {
                    table["apiVersion"] = "meta.k8s.io/v1beta1".into();
                }
                table
            }
        }
    }
}

pub(crate) fn metadata_of(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
           "metadata": object.get("metadata").cloned().unwrap_or_default()})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(accept: &str) -> Result<Form, u16> {
        let mut headers = HeaderMap::new();
        if !accept.is_empty() {
            headers.insert(ACCEPT, accept.parse().unwrap());
        }
        Form::negotiate(&headers, &Query::default()).map_err(|s| s.code())
    }

    #[test]
    fn the_first_form_we_have_wins() {
        let table = Ok(Form::Table {
            include: Include::Metadata,
            beta: false,
        });
        assert_eq!(
            form("application/json;as=Table;v=v1;g=meta.k8s.io,application/json"),
            table
        );
        assert_eq!(
            form("application/json;as=Other;v=v1;g=meta.k8s.io,application/json"),
            Ok(Form::Object)
        );
        assert_eq!(
            form("application/vnd.kubernetes.protobuf, */*"),
            Ok(Form::Object)
        );
        assert_eq!(
            form("application/vnd.kubernetes.protobuf,application/json"),
            Ok(Form::Object)
        );
        assert_eq!(
            form("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"),
            Ok(Form::Metadata)
        );
        assert_eq!(form(""), Ok(Form::Object));
        assert_eq!(form("application/vnd.kubernetes.protobuf"), Err(406));
        assert_eq!(form("text/html"), Err(406));
    }
}
