//! Which form of an object the client wants: the object, a `Table`, or its metadata alone.

use bramble_api::convert;
use bramble_api::kind::Kind;
use bramble_api::status::{Cause, Status};
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
    Metadata { beta: bool },
}

/// What is to be shown; not every form fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    One,
    List,
    Watch,
}

impl Form {
    /// The form that `Accept` likes best of those we have, for one object.
    pub(crate) fn negotiate(headers: &HeaderMap, query: &Query) -> Result<Self, Status> {
        Self::negotiated(headers, query, Shape::One)
    }

    /// The same for a list.
    pub(crate) fn negotiate_list(headers: &HeaderMap, query: &Query) -> Result<Self, Status> {
        Self::negotiated(headers, query, Shape::List)
    }

    /// The same for a watch.
    pub(crate) fn negotiate_watch(headers: &HeaderMap, query: &Query) -> Result<Self, Status> {
        Self::negotiated(headers, query, Shape::Watch)
    }

    fn negotiated(headers: &HeaderMap, query: &Query, shape: Shape) -> Result<Self, Status> {
        let (mut any, mut best) = (false, None);
        for value in headers.get_all(ACCEPT) {
            for part in value.to_str().unwrap_or_default().split(',') {
                any |= !part.trim().is_empty();
                let Some((quality, form)) = Self::of(part, query, shape)? else {
                    continue;
                };
                // Of equals the first wins.
                if quality > best.map_or(0, |(quality, _)| quality) {
                    best = Some((quality, form));
                }
            }
        }
        match best {
            Some((_, form)) => Ok(form),
            None if any => Err(Status::not_acceptable(&["application/json"])),
            None => Ok(Self::Object),
        }
    }

    /// What one clause asks for, with its weight in thousandths; nothing if we don't have it.
    fn of(part: &str, query: &Query, shape: Shape) -> Result<Option<(u16, Self)>, Status> {
        let mut pieces = part.split(';').map(str::trim);
        let media = pieces.next().unwrap_or_default();
        if !matches!(media, "application/json" | "application/*" | "*/*") {
            return Ok(None);
        }
        let (mut form, mut group, mut version, mut quality) = (None, "", "", 1000);
        for piece in pieces {
            match piece.split_once('=').map(|(k, v)| (k.trim(), v.trim())) {
                Some(("as", value)) => form = Some(value),
                Some(("g", value)) => group = value,
                Some(("v", value)) => version = value,
                Some(("q", value)) => quality = thousandths(value),
                _ => {}
            }
        }
        let meta = group == "meta.k8s.io" && matches!(version, "v1" | "v1beta1");
        let beta = version == "v1beta1";
        let form = match (form, shape) {
            (None, _) => Self::Object,
            (Some("Table"), _) if meta => Self::Table {
                include: include(query)?,
                beta,
            },
            (Some("PartialObjectMetadata"), Shape::One | Shape::Watch)
            | (Some("PartialObjectMetadataList"), Shape::List | Shape::Watch)
                if meta =>
            {
                Self::Metadata { beta }
            }
            _ => return Ok(None),
        };
        Ok(Some((quality, form)))
    }

    /// One stored object in this form. Tables are made of what is stored, whichever group a kind is
    /// served in, as upstream makes them of its internal form. `head` is false for all but the first event of a watch.
    pub(crate) fn of_object(self, kind: &Kind, object: Value, head: bool) -> Value {
        match self {
            Self::Object => {
                let mut object = object;
                convert::to_served(kind, &mut object);
                object
            }
            Self::Metadata { beta } => metadata_of(&object, beta),
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

pub(crate) fn metadata_of(object: &Value, beta: bool) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": group_version(beta),
           "metadata": object.get("metadata").cloned().unwrap_or_default()})
}

/// Group and version of the forms that are not the object's own.
pub(crate) fn group_version(beta: bool) -> &'static str {
    if beta {
        "meta.k8s.io/v1beta1"
    } else {
        "meta.k8s.io/v1"
    }
}

/// Upstream's `ValidateTableOptions`.
fn include(query: &Query) -> Result<Include, Status> {
    let text = query.get("includeObject");
    if !matches!(text, None | Some("None" | "Metadata" | "Object")) {
        let text = text.unwrap_or_default().into();
        let detail = "must be 'Metadata', 'Object', 'None', or empty";
        let cause = Cause::invalid("includeObject", &text, detail);
        return Err(Status::invalid(
            "meta.k8s.io",
            "TableOptions",
            "",
            vec![cause],
        ));
    }
    Ok(Include::from_query(text))
}

/// A quality such as `0.8`; what is none counts as 1.
fn thousandths(text: &str) -> u16 {
    let quality: f32 = text.parse().unwrap_or(1.0);
    (quality.clamp(0.0, 1.0) * 1000.0) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(accept: &str) -> Result<Form, u16> {
        shaped(accept, Shape::One)
    }

    fn shaped(accept: &str, shape: Shape) -> Result<Form, u16> {
        let mut headers = HeaderMap::new();
        if !accept.is_empty() {
            headers.insert(ACCEPT, accept.parse().unwrap());
        }
        Form::negotiated(&headers, &Query::default(), shape).map_err(|s| s.code())
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
        let metadata = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
        let list = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        let found = Ok(Form::Metadata { beta: false });
        assert_eq!(form(metadata), found);
        assert_eq!(shaped(list, Shape::List), found);
        for accept in [metadata, list] {
            assert_eq!(shaped(accept, Shape::Watch), found);
        }
        assert_eq!(form(list), Err(406));
        assert_eq!(shaped(metadata, Shape::List), Err(406));
        assert_eq!(form(&format!("{list},application/json")), Ok(Form::Object));
        assert_eq!(form(&format!("*/*;q=0.5,{metadata};q=0.8")), found);
        assert_eq!(form("application/json;q=0"), Err(406));
        assert_eq!(form(""), Ok(Form::Object));
        assert_eq!(form("application/vnd.kubernetes.protobuf"), Err(406));
        assert_eq!(form("text/html"), Err(406));
    }
}
