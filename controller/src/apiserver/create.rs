//! New objects: by POST, by PUT and by apply. Names are given or drawn, namespaces must be there.

use bramble_api::admit;
use bramble_api::apply as owners;
use bramble_api::decode;
use bramble_api::status::Status;
use bytes::Bytes;
use http::{HeaderMap, Response};
use serde_json::Value;

use super::admission::{Attributes, Mutated, Operation};
use super::meta::Form;
use super::options::Options;
use super::request::Info;
use super::respond::Body;
use super::write::{TRIES, answer, commit_admitted, content_type, put, store_error, text};
use super::{Context, authorize, rbac};
use crate::object;
use crate::store::{Error, Expect, Key, Op};

/// 404 when the namespace is not there, 403 when it is going. The operation makes the commit fail
/// when either happens meanwhile, so that a namespace that is found empty stays so.
pub(crate) fn check_namespace(
    ctx: &Context,
    info: &Info,
    name: &str,
) -> Result<Option<Op>, Status> {
    let Some(namespace) = info.namespace.as_deref() else {
        return Ok(None);
    };
    let key = Key::new("", "namespaces", "", namespace);
    let Some(entry) = ctx.store.get(&key) else {
        return Err(Status::not_found("", "namespaces", namespace));
    };
    let object: Value = serde_json::from_slice(&entry.json).map_err(Status::internal)?;
    if object.pointer("/metadata/deletionTimestamp").is_some() {
        let (group, resource) = (info.kind.group, info.kind.plural);
        return Err(Status::namespace_terminating(
            group, resource, name, namespace,
        ));
    }
    Ok(Some(Op::Check {
        key,
        expect: Expect::Revision(entry.modified),
    }))
}

pub(crate) async fn create(
    ctx: &Context,
    info: &Info,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Response<Body>, Status> {
    Form::negotiate(headers, &info.query)?;
    let options = Options::parse(&info.query, "CreateOptions")?;
    let decoded = decode::body(content_type(headers), body, info.kind, options.validation)?;
    let new = New::of(&decoded.value);
    insert(ctx, info, headers, options, new, decoded.warnings).await
}

/// An object to be created.
pub(crate) struct New<'a> {
    pub(crate) value: &'a Value,
    /// Who owns what; nobody but after an apply.
    pub(crate) managed_fields: Option<Value>,
}

impl<'a> New<'a> {
    pub(super) fn of(value: &'a Value) -> Self {
        Self {
            value,
            managed_fields: None,
        }
    }
}

/// Stores a new object and answers with it. The name is the object's own, or drawn.
pub(crate) async fn insert(
    ctx: &Context,
    info: &Info,
    headers: &HeaderMap,
    options: Options,
    new: New<'_>,
    mut warnings: Vec<String>,
) -> Result<Response<Body>, Status> {
    let value = new.value;
    authorize::creation(ctx, info)?;
    let said = text(value, "/metadata/name");
    check_namespace(ctx, info, said)?;
    let generated = said.is_empty();
    let attributes = Attributes::of(info, Operation::Create, options.dry_run);
    ctx.admission.ready(&attributes, value).await;
    let mut tries = TRIES;
    loop {
        tries -= 1;
        let guard = check_namespace(ctx, info, said)?;
        let mut object = value.clone();
        let mut mutated = Mutated::default();
        let uid = object::uid().map_err(Status::internal)?;
        let suffix = object::suffix().map_err(Status::internal)?;
        let context = admit::Create {
            now: object::now(),
            uid: &uid,
            suffix: &suffix,
            namespace: info.namespace.as_deref(),
        };
        let admitted = admit::create_with(info.kind, &mut object, &context, &mut |object| {
            mutated = ctx.admission.mutate(&attributes, object, None)?;
            Ok(())
        })?;
        owners::set_managed_fields(&mut object, new.managed_fields.clone());
        let advice = ctx.admission.validate(&attributes, &object, None)?;
        rbac::admit(ctx, info, rbac::Operation::Create, Some(&object), None)?;
        let name = text(&object, "/metadata/name");
        let key = info.key(name);
        let result = if options.dry_run {
            match ctx.store.get(&key) {
                Some(_) => Err(Error::Exists(key)),
                None => {
                    ctx.admission.reserve(&attributes, &object, None)?;
                    Ok(object.to_string().into())
                }
            }
        } else {
            let mut ops = vec![put(info.kind, key.clone(), &object, Expect::Absent)];
            ops.extend(guard);
            commit_admitted(ctx, &attributes, &object, None, ops)
                .await?
                .map(|entries| entries[0].json.clone())
        };
        match result {
            Ok(json) => {
                warnings.extend(admitted.into_iter().map(|w| w.text));
                warnings.extend(mutated.warnings);
                warnings.extend(advice);
                return answer(info, headers, 201, &json, &warnings);
            }
            Err(Error::Exists(_)) if generated && tries > 0 => {}
            Err(Error::Exists(_)) if generated => {
                return Err(Status::generated_name_taken(
                    info.kind.group,
                    info.kind.plural,
                    name,
                ));
            }
            // The namespace, or what admission counted, has moved meanwhile.
            Err(Error::Conflict { .. } | Error::NotFound(_)) if tries > 0 => {}
            Err(error) => return Err(store_error(info.kind, name, &error)),
        }
    }
}
