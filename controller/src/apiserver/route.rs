//! From a request to its answer.

use std::sync::Arc;

use bramble_api::kind::Subresource;
use bramble_api::status::Status;
use bramble_api::{decode, discovery, kind};
use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, HOST, HeaderValue, VARY};
use http::{HeaderMap, Method, Request, Response};
use hyper::body::Incoming;
use serde_json::json;

use super::authn::Identity;
use super::bodies::Arriving;
use super::metrics::{self, Label};
use super::options::Options;
use super::refusals::Kind;
use super::request::{self, Info, Query, Verb};
use super::respond::{self, Body};
use super::standing::Standing;
use super::{
    Context, Limits, adopt, authorize, bodies, bramble, create, delete, documents, health, list,
    rbac, recovery, review, stream, subresource, usage, watch, write,
};

/// kubectl looks here for kinds that are not served and stops with an error about this list when it
/// is not there, whatever else its file holds.
const NO_DEFINITIONS: [&str; 4] = [
    "apis",
    "apiextensions.k8s.io",
    "v1",
    "customresourcedefinitions",
];

/// What upstream says to everybody who asks for Endpoints, whatever the verb.
const OLD_ENDPOINTS: &str =
    "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice";

/// Answers a request; never fails.
pub(crate) async fn answer(
    standing: Arc<Standing>,
    under_way: usize,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let ctx = &standing.ctx;
    let connection = stream::Connection {
        standing: Arc::clone(&standing),
        upgrade: hyper::upgrade::on(&mut request),
    };
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let started = std::time::Instant::now();
    let identity = standing.who(request.headers(), under_way);
    let known = identity.as_ref().is_ok_and(|who| !who.is_anonymous());
    let mut label = Label::default();
    let mut response = match dispatch(ctx, identity, request, connection, &mut label).await {
        Ok(response) => response,
        Err(status) => respond::status(&status),
    };
    let code = response.status().as_u16();
    ctx.metrics.count(label, code);
    // What is shown to one is nobody else's, and old at once.
    let private = HeaderValue::from_static("no-cache, private");
    let cache = response.headers_mut().entry(CACHE_CONTROL);
    cache.or_insert(private);
    if code >= 500 && !known {
        let what = format!("{method} {} was answered {code}", uri.path());
        ctx.refusals.note(Kind::Request, what);
    } else if code >= 500 {
        tracing::warn!(%method, path = uri.path(), code, "request failed");
    }
    tracing::debug!(%method, %uri, code, elapsed = ?started.elapsed(), "request");
    response
}

async fn dispatch(
    ctx: &Context,
    identity: Result<Identity, Status>,
    request: Request<Incoming>,
    connection: stream::Connection,
    label: &mut Label,
) -> Result<Response<Body>, Status> {
    let (parts, body) = request.into_parts();
    let body = Arriving::from(body);
    let identity = &identity?;
    let path = parts.uri.path();
    let segments = request::segments(path);
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    if !matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS)
        && ctx.logs.standing().has_yielded()
    {
        return Err(Status::unavailable(
            "another controller has this cluster's identity and goes on; this one only answers what is asked \
             (bramble status)",
        ));
    }
    match segments.as_slice() {
        ["healthz" | "livez" | "readyz", ..] => {
            let query = Query::parse(parts.uri.query().unwrap_or_default());
            return health::answer(ctx, &segments, &query).ok_or_else(Status::not_found_path);
        }
        ["version"] => return Ok(respond::value(200, &discovery::version())),
        ["bramble", "v1", "join"] => {
            if parts.method != Method::POST {
                return Err(Status::method_not_allowed(
                    "bramble.dev",
                    "join",
                    parts.method.as_str(),
                ));
            }
            let _permit = ctx.joins.try_acquire().map_err(|_| watch::busy())?;
            let limits = Limits {
                body_bytes: bramble::JOIN_BODY,
                body: ctx.limits.body.min(ctx.limits.stranger_idle),
                ..ctx.limits
            };
            let body = bodies::read(body, &parts.headers, &limits).await?;
            return bramble::join(ctx, &body).await;
        }
        _ => {}
    }
    // Nobody known may see no more than that, whatever rules say.
    if identity.is_anonymous() {
        return Err(Status::unauthorized());
    }
    let identity = &*rbac::acting(ctx, identity, &parts.headers)?;
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let rest =
        |from: usize| -> Vec<String> { segments[from..].iter().map(|s| (*s).to_owned()).collect() };
    if segments == NO_DEFINITIONS && parts.method == Method::GET && !query.has("watch") {
        let list = json!({
            "kind": "CustomResourceDefinitionList", "apiVersion": "apiextensions.k8s.io/v1",
            "metadata": {"resourceVersion": ctx.store.revision().0.to_string()}, "items": [],
        });
        return Ok(respond::value(200, &list));
    }
    let info = match segments.as_slice() {
        ["api", "v1", _, ..] => request::parse(&parts.method, "", "v1", &rest(2), query),
        ["apis", group, version, _, ..] => {
            request::parse(&parts.method, group, version, &rest(3), query)
        }
        _ => {
            authorize::path(ctx, identity, parts.method.as_str(), path)?;
            return plain(ctx, identity, &parts, &segments, body).await;
        }
    };
    // Who may not ask does not learn what is served either.
    let mut info = match info {
        Ok(info) => {
            *label = Label::of(&info);
            info
        }
        Err(status) => {
            authorize::unknown(ctx, identity, parts.method.as_str(), &segments)?;
            return Err(status);
        }
    };
    info.identity = Arc::new(identity.clone());
    authorize::resource(ctx, &info)?;
    if (info.subresource).is_some_and(Subresource::is_stream) {
        return stream::connect(&info, &parts.headers, connection).await;
    }
    let mut response = resource(ctx, identity, &info, &parts.headers, body).await?;
    if (info.kind.group, info.kind.kind) == ("", "Endpoints") {
        respond::warn(&mut response, &[OLD_ENDPOINTS.to_owned()]);
    }
    Ok(response)
}

async fn resource(
    ctx: &Context,
    identity: &Identity,
    info: &Info,
    headers: &HeaderMap,
    body: Arriving,
) -> Result<Response<Body>, Status> {
    if info.verb == Verb::Watch && info.subresource.is_none() {
        return watch::watch(ctx, info, headers).await;
    }
    let long = info.subresource.is_some_and(|s| s.name == "log");
    let permit = if long {
        None
    } else {
        Some(ctx.requests.take(identity).ok_or_else(watch::busy)?)
    };
    let body = match info.verb {
        Verb::Get | Verb::List | Verb::Watch => Bytes::new(),
        _ => bodies::read(body, headers, &ctx.limits).await?,
    };
    let response = match (info.subresource, info.verb) {
        (Some(sub), _) => subresource::handle(ctx, info, sub.name, headers, &body).await,
        (None, Verb::Get | Verb::List) if !info.kind.stored => {
            usage::answer(ctx, info, headers).await
        }
        (None, Verb::Get) => list::get(ctx, info, headers).await,
        (None, Verb::List | Verb::Watch) => list::list(ctx, info, headers).await,
        (None, Verb::Create) if info.name.is_some() => Err(Status::method_not_allowed_path()),
        (None, Verb::Create) if !info.kind.stored => {
            question(ctx, identity, info, headers, &body).await
        }
        (None, Verb::Create) => create::create(ctx, info, headers, &body).await,
        (None, Verb::Update) => write::update(ctx, info, headers, &body).await,
        (None, Verb::Patch) => write::patch(ctx, info, headers, &body).await,
        (None, Verb::Delete) => delete::delete(ctx, info, headers, &body).await,
        (None, Verb::DeleteCollection) => {
            delete::delete_collection(ctx, info, headers, &body).await
        }
    };
    drop(permit);
    response
}

/// A POST whose object is answered and not stored.
async fn question(
    ctx: &Context,
    identity: &Identity,
    info: &Info,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Response<Body>, Status> {
    let options = Options::parse(&info.query, "CreateOptions")?;
    let content_type = write::content_type(headers);
    let decoded = decode::body(content_type, body, info.kind, options.validation)?;
    let answer = review::create(ctx, identity, info, decoded.value).await?;
    let mut response = respond::value(201, &answer);
    respond::warn(&mut response, &decoded.warnings);
    Ok(response)
}

/// Paths that are no resources: discovery, OpenAPI, tokens.
async fn plain(
    ctx: &Context,
    identity: &Identity,
    parts: &http::request::Parts,
    segments: &[&str],
    body: Arriving,
) -> Result<Response<Body>, Status> {
    let (method, headers) = (&parts.method, &parts.headers);
    if let ["bramble", "v1", "certificates"] = segments {
        let _permit = ctx.requests.take(identity).ok_or_else(watch::busy)?;
        let body = bodies::read(body, headers, &ctx.limits).await?;
        return bramble::certificates(ctx, identity, method, &body);
    }
    if let ["bramble", "v1", "backup"] = segments {
        return bramble::backup(ctx, identity, method).await;
    }
    if let ["bramble", "v1", "standing"] = segments {
        return recovery::standing(ctx, method);
    }
    if let ["bramble", "v1", "standing", "release"] = segments {
        let _permit = ctx.requests.take(identity).ok_or_else(watch::busy)?;
        let body = bodies::read(body, headers, &ctx.limits).await?;
        return recovery::release(ctx, identity, method, &body).await;
    }
    if let ["bramble", "v1", "standing", "adopt"] = segments {
        let _permit = ctx.requests.take(identity).ok_or_else(watch::busy)?;
        let body = bodies::read(body, headers, &ctx.limits).await?;
        return adopt::adopt(ctx, identity, method, &body).await;
    }
    if let ["bramble", "v1", "tokens", rest @ ..] = segments {
        let id = match rest {
            [] => None,
            [id] => Some(*id),
            _ => return Err(Status::not_found_path()),
        };
        let _permit = ctx.requests.take(identity).ok_or_else(watch::busy)?;
        let body = bodies::read(body, headers, &ctx.limits).await?;
        return bramble::tokens(ctx, identity, method, id, &body).await;
    }

    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(Status::not_found_path());
    }
    let aggregated = accepts_aggregated(headers);
    let found = match segments {
        [".well-known", "openid-configuration"] => {
            return Ok(openid(&ctx.tokens.openid_configuration(), respond::JSON));
        }
        ["openid", "v1", "jwks"] => {
            let content_type = HeaderValue::from_static("application/jwk-set+json");
            return Ok(openid(&ctx.tokens.key_set(), content_type));
        }
        [] => Some(index()),
        ["metrics"] => return Ok(respond::text(200, metrics::render(ctx))),
        ["api"] if aggregated => return Ok(documents::aggregated(false, headers)),
        ["apis"] if aggregated => return Ok(documents::aggregated(true, headers)),
        ["api"] => {
            let host = headers
                .get(HOST)
                .and_then(|h| h.to_str().ok())
                .unwrap_or_default();
            Some(discovery::api_versions(host))
        }
        ["apis"] => Some(discovery::api_groups()),
        ["api", version] => discovery::api_resources("", version),
        ["apis", group] => discovery::api_group(group),
        ["apis", group, version] => discovery::api_resources(group, version),
        ["openapi", "v2"] => return Ok(documents::openapi_v2(headers)),
        ["openapi", "v3"] => return Ok(documents::openapi_index(headers)),
        ["openapi", "v3", path @ ..] => {
            let query = Query::parse(parts.uri.query().unwrap_or_default());
            return documents::openapi_v3(&path.join("/"), &query, headers);
        }
        _ => None,
    };
    let found = found.ok_or_else(Status::not_found_path)?;
    let mut response = respond::value(200, &found);
    response
        .headers_mut()
        .insert(VARY, HeaderValue::from_static("Accept"));
    Ok(response)
}

/// How others verify the tokens of service accounts.
fn openid(value: &serde_json::Value, content_type: HeaderValue) -> Response<Body> {
    let mut response = respond::answer(200, content_type, respond::full(value.to_string()));
    let cache = HeaderValue::from_static("public, max-age=3600");
    response.headers_mut().insert(CACHE_CONTROL, cache);
    response
}

/// Clients of either form say so in `Accept`; we have the released version of the aggregated one.
fn accepts_aggregated(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .any(|value| {
            value.split(',').any(|part| {
                let has = |wanted: &str| part.split(';').any(|p| p.trim() == wanted);
                has("as=APIGroupDiscoveryList") && has("v=v2") && has("g=apidiscovery.k8s.io")
            })
        })
}

/// The paths that are worth a look, as upstream's `/` lists them.
fn index() -> serde_json::Value {
    let versions = kind::group_versions();
    let mut paths: Vec<String> = ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/metrics"]
        .iter()
        .chain(&["/openapi/v2", "/openapi/v3", "/readyz", "/version"])
        .map(|path| (*path).to_owned())
        .collect();
    for (group, version) in versions.into_iter().filter(|(group, _)| !group.is_empty()) {
        paths.push(format!("/apis/{group}"));
        paths.push(format!("/apis/{group}/{version}"));
    }
    paths.sort();
    paths.dedup();
    serde_json::json!({"paths": paths})
}
