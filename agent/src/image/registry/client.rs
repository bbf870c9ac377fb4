//! One registry (or mirror) and one login: asks for manifests and blobs, proves itself when asked to,
//! follows redirects. In: digests and ranges. Out: answers with a status that is a success, or a
//! [`PullError`] that says what the registry said.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ClientConfig;
use serde::Deserialize;

use super::PullError;
use super::challenge::{self, Challenge};
use super::config::Endpoint;
use super::http::{self, Patience, Request, Response};
use super::keyring::Login;
use super::url::{Url, escape};

/// Most redirects of one request.
const REDIRECTS_MAX: usize = 5;
/// Longest answer of a server of tokens, and longest text of an error.
const ANSWER_MAX: u64 = 1 << 20;
/// Most of what a registry says about an error that is shown.
const DETAIL_MAX: usize = 300;

/// Of an ordinary pull.
pub(super) const PATIENT: Patience = Patience {
    connect: Duration::from_secs(20),
    silence: Duration::from_secs(45),
};

/// Where there is a copy on the board that will do. Enough for a satellite, little for a pod.
pub(super) const HURRIED: Patience = Patience {
    connect: Duration::from_secs(3),
    silence: Duration::from_secs(4),
};

/// See the module.
pub(super) struct Client {
    endpoint: Endpoint,
    /// Path of the repository in the registry, for the scope of tokens.
    path: String,
    tls: Arc<ClientConfig>,
    patience: Patience,
    login: Option<Login>,
    /// Value of the `Authorization` header that the registry last took.
    authorization: Mutex<Option<String>>,
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

#[derive(Deserialize)]
struct Errors {
    #[serde(default)]
    errors: Vec<Detail>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Detail {
    code: String,
    message: String,
}

impl Client {
    pub(super) fn new(endpoint: Endpoint, tls: Arc<ClientConfig>, patience: Patience) -> Self {
        let path = endpoint.repository.path.trim_start_matches("/v2/");
        Self {
            path: path.to_owned(),
            endpoint,
            tls,
            patience,
            login: None,
            authorization: Mutex::default(),
        }
    }

    /// The same registry with another login, or none.
    pub(super) fn with_login(self, login: Option<Login>) -> Self {
        Self {
            login,
            authorization: Mutex::default(),
            ..self
        }
    }

    /// Asks for something of the repository.
    ///
    /// # Errors
    /// Also for every status that is not 2xx (and 416, which is about a range).
    pub(super) fn ask(
        &self,
        method: &'static str,
        what: &str,
        headers: &[(&str, &str)],
    ) -> Result<Response, PullError> {
        let repository = &self.endpoint.repository;
        let mut url = Url {
            path: format!("{}/{what}", repository.path),
            ..repository.clone()
        };
        if let Some(registry) = &self.endpoint.mirror_of {
            // So that one mirror can stand for several registries.
            url.path.push_str(&format!("?ns={}", escape(registry)));
        }
        let mut proven = false;
        loop {
            let response = self.follow(method, &url, headers)?;
            match response.status {
                200..300 | 416 => return Ok(response),
                401 if !proven => {
                    self.prove(challenge::parse(response.all("www-authenticate")))?;
                    proven = true;
                }
                _ => return Err(failed(response)),
            }
        }
    }

    fn follow(
        &self,
        method: &'static str,
        url: &Url,
        headers: &[(&str, &str)],
    ) -> Result<Response, PullError> {
        let mut url = url.clone();
        for _ in 0..=REDIRECTS_MAX {
            let authorization = self.authorization().clone();
            let mut all = headers.to_vec();
            // Another server gets no secrets of this one.
            if let Some(value) = &authorization
                && url.same_origin(&self.endpoint.repository)
            {
                all.push(("Authorization", value));
            }
            let response = self.send(method, &url, &all)?;
            if !matches!(response.status, 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            let location = response.header("location").unwrap_or_default();
            let next = url
                .join(location)
                .ok_or_else(|| PullError::Invalid(format!("a redirect to {location:?}")))?;
            if !next.https && self.endpoint.repository.https {
                return Err(PullError::Invalid(format!(
                    "a redirect to plain HTTP at {}",
                    next.authority()
                )));
            }
            url = next;
        }
        Err(PullError::Invalid("too many redirects".into()))
    }

    fn send(
        &self,
        method: &'static str,
        url: &Url,
        headers: &[(&str, &str)],
    ) -> Result<Response, PullError> {
        let request = Request {
            method,
            url,
            headers,
            tls: &self.tls,
            patience: self.patience,
        };
        http::send(&request).map_err(|error| match error {
            http::Error::Unreachable { .. } | http::Error::Cut { .. } => {
                PullError::Unreachable(error.to_string())
            }
            http::Error::Tls { .. } | http::Error::Protocol { .. } => {
                PullError::Invalid(error.to_string())
            }
        })
    }

    /// Does what a registry asks for before it answers.
    fn prove(&self, challenges: Vec<Challenge>) -> Result<(), PullError> {
        let mut why = PullError::Denied("authorization failed: no basic auth credentials".into());
        for challenge in challenges {
            let value = match (challenge, &self.login) {
                (Challenge::Basic, Some(login)) => Ok(login.basic()),
                (Challenge::Basic, None) => continue,
                (
                    Challenge::Bearer {
                        realm,
                        service,
                        scope,
                    },
                    _,
                ) => self.token(&realm, service.as_deref(), scope.as_deref()),
            };
            match value {
                Ok(value) => {
                    *self.authorization() = Some(value);
                    return Ok(());
                }
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    /// A token for pulling, from where the registry says.
    fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: Option<&str>,
    ) -> Result<String, PullError> {
        let invalid =
            |what: &str| PullError::Invalid(format!("server of tokens {realm:?}: {what}"));
        let mut url = Url::parse(realm).ok_or_else(|| invalid("not an address"))?;
        if !url.https && self.endpoint.repository.https {
            return Err(invalid("credentials are not sent over plain HTTP"));
        }
        let own = format!("repository:{}:pull", self.path);
        let mut separator = if url.path.contains('?') { '&' } else { '?' };
        let scope = scope.filter(|scope| !scope.is_empty()).unwrap_or(&own);
        for (name, value) in [("service", service), ("scope", Some(scope))] {
            if let Some(value) = value {
                url.path
                    .push_str(&format!("{separator}{name}={}", escape(value)));
                separator = '&';
            }
        }
        let basic = self.login.as_ref().map(Login::basic);
        let headers: Vec<_> = basic
            .iter()
            .map(|value| ("Authorization", value.as_str()))
            .collect();
        // Not followed anywhere: a secret goes where the registry said, and no further.
        let response = self.send("GET", &url, &headers)?;
        if response.status != 200 {
            return Err(failed(response).context("failed to fetch oauth token"));
        }
        let bytes = response
            .read_all(ANSWER_MAX)
            .map_err(|e| PullError::Unreachable(format!("{}: {e}", url.authority())))?;
        let token: Token = serde_json::from_slice(&bytes).map_err(|_| invalid("no token"))?;
        match token.token.or(token.access_token) {
            Some(token) if !token.is_empty() => Ok(format!("Bearer {token}")),
            _ => Err(invalid("no token")),
        }
    }

    fn authorization(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        // Replaced whole.
        let guard = self.authorization.lock();
        guard.unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a status means, with what the registry says about it.
fn failed(response: Response) -> PullError {
    let status = response.status;
    let detail = detail(response);
    let with = |words: &str| match detail.as_str() {
        "" => words.to_owned(),
        detail => format!("{words}: {detail}"),
    };
    match status {
        401 | 403 => PullError::Denied(with(
            "pull access denied, repository does not exist or may require authorization",
        )),
        404 => PullError::NotFound(with("not found")),
        429 => PullError::Unavailable(with("too many requests (429)")),
        500..600 => PullError::Unavailable(with(&format!("unexpected status {status}"))),
        _ => PullError::Invalid(with(&format!("unexpected status {status}"))),
    }
}

/// The registry's own words, as far as they are fit to be shown.
fn detail(response: Response) -> String {
    let Ok(bytes) = response.read_all(ANSWER_MAX) else {
        return String::new();
    };
    let text = match serde_json::from_slice::<Errors>(&bytes) {
        Ok(errors) => {
            let say = |d: &Detail| format!("{} {}", d.code, d.message).trim().to_owned();
            let all: Vec<_> = errors.errors.iter().take(4).map(say).collect();
            all.join("; ")
        }
        Err(_) => String::new(),
    };
    let plain = text.chars().filter(|c| !c.is_control());
    plain.take(DETAIL_MAX).collect()
}
