//! Tokens and those that only look like one.

mod requests;
mod secrets;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bramble_api::status::Status;
use proptest::prelude::*;

use super::secret::Fate;
use super::*;
use crate::store::{Body, Durability, Expect, Key, MemoryStore, Op};

const API: &str = "https://kubernetes.default.svc";

struct World {
    tokens: Tokens,
    store: MemoryStore,
    clock: Arc<FloorClock>,
}

fn key() -> Arc<SigningKey> {
    Arc::new(SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap())
}

impl World {
    /// An account `ci`, a pod `p` of it on node `n`, and a Secret `s`; each has the uid `<name>-1`.
    fn new() -> Self {
        let store = MemoryStore::default();
        let clock = FloorClock::new(0);
        let shared: Arc<dyn Store> = Arc::new(store.clone());
        let tokens = Tokens::new(key(), shared, clock.clone(), "the CA".into());
        let world = Self {
            tokens,
            store,
            clock,
        };
        world.put("serviceaccounts", "default", "ci", json!({}));
        let spec = json!({"spec": {"serviceAccountName": "ci", "nodeName": "n"}});
        world.put("pods", "default", "p", spec);
        world.put("nodes", "", "n", json!({}));
        world.put("secrets", "default", "s", json!({}));
        world
    }

    /// Stores an object, with the uid `<name>-1` unless it says another.
    fn put(&self, resource: &str, namespace: &str, name: &str, mut object: Value) {
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = format!("{name}-1").into();
        }
        let op = Op::Put {
            key: Key::new("", resource, namespace, name),
            expect: Expect::Any,
            body: Body {
                json: object.to_string().into_bytes(),
                revision_at: None,
            },
            durability: Durability::Hard,
        };
        let _ = self.store.commit(vec![op]).unwrap();
    }

    fn remove(&self, resource: &str, namespace: &str, name: &str) {
        let op = Op::Delete {
            key: Key::new("", resource, namespace, name),
            expect: Expect::Any,
            durability: Durability::Hard,
        };
        let _ = self.store.commit(vec![op]).unwrap();
    }

    fn mint(&self, request: &Request<'_>) -> Result<Minted, Status> {
        self.tokens.mint(request)
    }

    fn token(&self, bound: Option<(&str, &str)>) -> String {
        let bound = bound.map(|(kind, name)| Bound {
            api_version: "v1",
            kind,
            name,
            uid: "",
        });
        let request = Request { bound, ..plain() };
        self.mint(&request).unwrap().token
    }

    /// The user of a token, or why it does not count.
    fn whose(&self, token: &str) -> Result<String, String> {
        let verified = self.tokens.authenticate(token, &[]);
        verified.map(|v| v.identity.user).map_err(|e| e.to_string())
    }
}

fn plain() -> Request<'static> {
    Request {
        namespace: "default",
        account: "ci",
        audiences: &[],
        seconds: 600,
        bound: None,
    }
}

const CI: &str = "system:serviceaccount:default:ci";

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// Any header and payload, signed with any key.
fn forged(key: &SigningKey, header: &Value, payload: &Value) -> String {
    let part = |v: &Value| URL_SAFE_NO_PAD.encode(v.to_string());
    let signed = format!("{}.{}", part(header), part(payload));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

#[test]
fn a_token_says_whose_it_is() {
    let world = World::new();
    let token = world.token(Some(("Pod", "p")));
    let verified = world.tokens.authenticate(&token, &[]).unwrap();
    let identity = verified.identity;
    assert_eq!(identity.user, CI);
    assert_eq!(identity.uid, "ci-1");
    let groups = [
        "system:serviceaccounts",
        "system:serviceaccounts:default",
        "system:authenticated",
    ];
    assert_eq!(identity.groups, groups);
    let extra = |key: &str| &identity.extra[&format!("authentication.kubernetes.io/{key}")][0];
    assert_eq!(extra("pod-name"), "p");
    assert_eq!(extra("pod-uid"), "p-1");
    assert_eq!(extra("node-name"), "n");
    assert_eq!(extra("node-uid"), "n-1");
    let claims = claims(&token);
    let jti = claims["jti"].as_str().unwrap();
    assert_eq!(*extra("credential-id"), format!("JTI={jti}"));
    assert_eq!(claims["iss"], ISSUER);
    assert_eq!(claims["aud"], json!(API_AUDIENCES));
    assert_eq!(claims["sub"], CI);
    assert_eq!(claims["iat"], claims["nbf"]);
    assert_eq!(
        claims["exp"].as_u64().unwrap(),
        claims["iat"].as_u64().unwrap() + 600
    );
    assert_eq!(
        claims["kubernetes.io"],
        json!({"namespace": "default", "node": {"name": "n", "uid": "n-1"},
               "pod": {"name": "p", "uid": "p-1"}, "serviceaccount": {"name": "ci", "uid": "ci-1"}})
    );
}

#[test]
fn what_is_not_signed_by_us_in_our_way_is_nobody() {
    let world = World::new();
    let token = world.token(None);
    assert_eq!(world.whose(&token).as_deref(), Ok(CI));
    let parts: Vec<&str> = token.split('.').collect();
    let payload = claims(&token);
    let ours = &*world.tokens.key;
    let other = key();
    let head = |alg: &str| json!({"alg": alg, "kid": ours.id()});
    let none = URL_SAFE_NO_PAD.encode(head("none").to_string());
    let mut grown = payload.clone();
    grown["sub"] = "system:serviceaccount:kube-system:ci".into();
    let swapped = URL_SAFE_NO_PAD.encode(grown.to_string());
    let mut foreign = payload.clone();
    foreign["iss"] = "https://elsewhere".into();
    let mut unbound = payload.clone();
    unbound.as_object_mut().unwrap().remove("kubernetes.io");
    let critical = json!({"alg": "ES256", "kid": ours.id(), "crit": ["x"]});
    let cases = [
        ("nothing", String::new()),
        ("dots", "..".into()),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("alg none, unsigned", format!("{none}.{}.", parts[1])),
        ("alg none, signed", forged(ours, &head("none"), &payload)),
        ("alg HS256", forged(ours, &head("HS256"), &payload)),
        (
            "alg in another case",
            forged(ours, &head("es256"), &payload),
        ),
        ("another key", forged(&other, &head("ES256"), &payload)),
        (
            "another key's id",
            forged(
                &other,
                &json!({"alg": "ES256", "kid": other.id()}),
                &payload,
            ),
        ),
        ("a critical extension", forged(ours, &critical, &payload)),
        (
            "another payload",
            format!("{}.{swapped}.{}", parts[0], parts[2]),
        ),
        ("another issuer", forged(ours, &head("ES256"), &foreign)),
        ("no binding claims", forged(ours, &head("ES256"), &unbound)),
        ("four parts", format!("{token}.x")),
        ("padded", format!("{token}=")),
        ("a space", format!(" {token}")),
        ("too long", format!("{token}{}", "A".repeat(jwt::MAX_TOKEN))),
    ];
    for (what, token) in cases {
        assert_eq!(
            world.whose(&token),
            Err("invalid bearer token".into()),
            "{what}"
        );
    }
    // The subject must fit the account that is looked up.
    let token = forged(ours, &head("ES256"), &grown);
    assert_eq!(
        world.whose(&token),
        Err("[invalid bearer token, sub claim is invalid]".into())
    );
    // What was refused is not remembered.
    assert_eq!(world.tokens.recent.len(), 4);
}

#[test]
fn a_token_ends_with_its_account_and_with_what_it_is_bound_to() {
    /// Bound to what, what happens, and what is said then.
    type Case = (
        Option<(&'static str, &'static str)>,
        fn(&World),
        &'static str,
    );
    let invalidated = "service account token has been invalidated";
    let cases: &[Case] = &[
        (
            None,
            |w| w.remove("serviceaccounts", "default", "ci"),
            "serviceaccounts \"ci\" not found",
        ),
        (
            None,
            |w| {
                w.put(
                    "serviceaccounts",
                    "default",
                    "ci",
                    json!({"metadata": {"uid": "ci-2"}}),
                )
            },
            "service account UID (ci-2) does not match claim (ci-1)",
        ),
        (
            None,
            |w| {
                let gone = json!({"metadata": {"deletionTimestamp": "2020-01-01T00:00:00Z"}});
                w.put("serviceaccounts", "default", "ci", gone);
            },
            "service account default/ci has been deleted",
        ),
        (
            Some(("Pod", "p")),
            |w| w.remove("pods", "default", "p"),
            invalidated,
        ),
        (
            Some(("Pod", "p")),
            |w| w.put("pods", "default", "p", json!({"metadata": {"uid": "p-2"}})),
            "pod UID (p-2) does not match service account pod ref claim (p-1)",
        ),
        (
            Some(("Pod", "p")),
            |w| {
                let gone = json!({"metadata": {"deletionTimestamp": "2020-01-01T00:00:00Z"}});
                w.put("pods", "default", "p", gone);
            },
            invalidated,
        ),
        (
            Some(("Secret", "s")),
            |w| w.remove("secrets", "default", "s"),
            invalidated,
        ),
        (
            Some(("Secret", "s")),
            |w| {
                w.put(
                    "secrets",
                    "default",
                    "s",
                    json!({"metadata": {"uid": "s-2"}}),
                )
            },
            "secret UID (s-2) does not match service account secret ref claim (s-1)",
        ),
        (
            Some(("Node", "n")),
            |w| w.remove("nodes", "", "n"),
            invalidated,
        ),
        (
            Some(("Node", "n")),
            |w| w.put("nodes", "", "n", json!({"metadata": {"uid": "n-2"}})),
            "node UID (n-2) does not match service account node ref claim (n-1)",
        ),
        (
            None,
            |w| w.clock.raise(w.clock.now() + 600 + 61),
            "service account token has expired",
        ),
    ];
    for (bound, happens, why) in cases {
        let world = World::new();
        let token = world.token(*bound);
        assert_eq!(world.whose(&token).as_deref(), Ok(CI), "{why}");
        happens(&world);
        let want = format!("[invalid bearer token, {why}]");
        assert_eq!(world.whose(&token), Err(want));
    }
}

#[test]
fn a_terminating_pod_keeps_its_token_for_its_grace() {
    let world = World::new();
    let token = world.token(Some(("Pod", "p")));
    let ends = bramble_api::time::Timestamp::from_seconds(crate::object::now().seconds + 30);
    let pod = json!({"metadata": {"deletionTimestamp": ends.rfc3339()}});
    world.put("pods", "default", "p", pod);
    assert_eq!(world.whose(&token).as_deref(), Ok(CI));
    // Of a pod's token the node is only information.
    world.remove("nodes", "", "n");
    assert_eq!(world.whose(&token).as_deref(), Ok(CI));
}

#[test]
fn a_clock_that_went_back_locks_nobody_out() {
    let world = World::new();
    world.clock.raise(4_000_000_000);
    let token = world.token(None);
    let behind = Tokens::new(
        world.tokens.key.clone(),
        Arc::new(world.store.clone()),
        FloorClock::new(0),
        String::new(),
    );
    assert!(behind.authenticate(&token, &[]).is_ok());
}

#[test]
fn a_token_is_for_its_audience_only() {
    let world = World::new();
    let vault = ["vault".to_owned()];
    let request = Request {
        audiences: &vault,
        ..plain()
    };
    let token = world.mint(&request).unwrap().token;
    let why = "[invalid bearer token, token audiences [\"vault\"] is invalid for the target audiences \
               [\"https://kubernetes.default.svc\" \"https://kubernetes.default.svc.cluster.local\"]]";
    assert_eq!(world.whose(&token), Err(why.into()));
    let asked = ["x".to_owned(), "vault".to_owned()];
    let verified = world.tokens.authenticate(&token, &asked).unwrap();
    assert_eq!(verified.audiences, vault);
    let token = world.token(None);
    assert!(world.tokens.authenticate(&token, &vault).is_err());
    let verified = world.tokens.authenticate(&token, &[API.into()]).unwrap();
    assert_eq!(verified.audiences, [API]);
}

#[test]
fn the_memory_of_tokens_is_bounded() {
    let world = World::new();
    let first = world.token(None);
    for _ in 0..600 {
        assert!(world.whose(&world.token(None)).is_ok());
    }
    assert!(
        world.tokens.recent.len() <= 512,
        "{}",
        world.tokens.recent.len()
    );
    assert!(world.whose(&first).is_ok());
}

#[test]
fn others_can_verify_with_the_published_key() {
    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
    let world = World::new();
    let config = world.tokens.openid_configuration();
    assert_eq!(config["issuer"], ISSUER);
    let jwk = world.tokens.key_set()["keys"][0].clone();
    let mut point = vec![4];
    for axis in ["x", "y"] {
        let bytes = URL_SAFE_NO_PAD.decode(jwk[axis].as_str().unwrap());
        point.extend(bytes.unwrap());
    }
    let token = world.token(None);
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
    key.verify(signed.as_bytes(), &signature).unwrap();
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap());
    let header: Value = serde_json::from_slice(&header.unwrap()).unwrap();
    assert_eq!(header["kid"], jwk["kid"]);
}

proptest! {
    #[test]
    fn no_bytes_panic_or_pass(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(!fuzz_bearer(&KEY, &bytes));
    }

    /// The same for what gets past the first look.
    #[test]
    fn no_three_parts_panic_or_pass(
        header in r#"(\{"alg":"(ES256|none)"(,"kid":[0-9a-z"\[\]{}]{0,9})?\}|[ -~]{0,40})"#,
        payload in proptest::collection::vec(any::<u8>(), 0..60),
        signature in proptest::collection::vec(any::<u8>(), 0..70),
    ) {
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let token = [part(header.as_bytes()), part(&payload), part(&signature)].join(".");
        prop_assert!(!fuzz_bearer(&KEY, token.as_bytes()));
    }

    /// One changed character is one too many.
    #[test]
    fn no_changed_token_passes(at in any::<proptest::sample::Index>(), to in "[A-Za-z0-9._=-]") {
        let world = &*WORLD;
        let mut token = WHOLE.clone();
        let at = at.index(token.len());
        prop_assume!(token[at..=at] != to);
        token.replace_range(at..=at, &to);
        prop_assert!(world.whose(&token).is_err());
    }
}

static KEY: std::sync::LazyLock<Arc<SigningKey>> = std::sync::LazyLock::new(key);
static WORLD: std::sync::LazyLock<World> = std::sync::LazyLock::new(World::new);
static WHOLE: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| WORLD.token(None));
