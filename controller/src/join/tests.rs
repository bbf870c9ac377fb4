//! Joining, without a network: tokens, names, addresses, repeats.

use bramble_wire::join::{JoinRequest, JoinResponse, TokenRequest, hex_of};
use bramble_wire::name::NodeName;
use bramble_wire::version::HistoryId;
use ed25519_dalek::{Signer, SigningKey};

use super::*;
use crate::nodelink::control::Control;
use crate::pki::{Options, fingerprint};
use crate::store::{Durability, Expect, Key, MemoryStore, Op};

struct Fixture {
    store: MemoryStore,
    joiner: Joiner,
    keys: NodeKeys,
    _dir: tempfile::TempDir,
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        data_dir: dir.path().to_owned(),
        names: Vec::new(),
    };
    let pki = Arc::new(Pki::open(&options).unwrap());
    let store = MemoryStore::default();
    let shared: Arc<dyn Store> = Arc::new(store.clone());
    let keys = NodeKeys::open(shared.clone()).unwrap();
    let settings = Settings {
        brokers: vec!["mqtts://{controller}:8883".into()],
        pod_cidr: "10.42.0.0/23".parse().unwrap(),
        service_cidr: "10.43.0.0/16".parse().unwrap(),
    };
    let joiner = Joiner::new(shared, pki, keys.clone(), settings);
    Fixture {
        store,
        joiner,
        keys,
        _dir: dir,
    }
}

impl Fixture {
    async fn token(&self, uses: u32) -> String {
        let request = TokenRequest {
            uses: Some(uses),
            ..TokenRequest::default()
        };
        self.joiner.create_token(&request).await.unwrap().token
    }

    async fn join(&self, token: &str, node: &str, seed: u8) -> Result<JoinResponse, u16> {
        self.joiner
            .join(&request(token, node, seed))
            .await
            .map_err(|s| s.code())
    }
}

fn request(token: &str, node: &str, seed: u8) -> JoinRequest {
    let identity = SigningKey::from_bytes(&[seed; 32]);
    let key = rcgen::KeyPair::generate().unwrap();
    let csr = rcgen::CertificateParams::new(Vec::new())
        .unwrap()
        .serialize_request(&key)
        .unwrap();
    let mut request = JoinRequest {
        token: token.into(),
        node: node.into(),
        csr: csr.pem().unwrap(),
        identity_key: hex_of(identity.verifying_key().as_bytes()),
        sealing_key: hex_of(&[7; 32]),
        proof: String::new(),
        hardware: String::new(),
        arch: "arm64".into(),
    };
    request.proof = hex_of(&identity.sign(&request.proof_message()).to_bytes());
    request
}

fn name(text: &str) -> NodeName {
    NodeName::new(text).unwrap()
}

#[tokio::test]
async fn a_board_joins_once_with_a_token() {
    let f = fixture();
    let token = f.token(1).await;
    let response = f.join(&token, "pi-1", 1).await.unwrap();
    assert_eq!(response.pod_cidr, "10.42.0.0/24");
    assert_eq!(response.cluster_cidr, "10.42.0.0/23");
    let key = f.keys.by_name(&name("pi-1")).unwrap();
    assert_eq!(
        f.keys.by_fingerprint(&key.certificate).unwrap().node,
        name("pi-1")
    );
    let node = f.store.get(&Key::new("", "nodes", "", "pi-1")).unwrap();
    let node: serde_json::Value = serde_json::from_slice(&node.json).unwrap();
    assert_eq!(node["spec"]["podCIDR"], "10.42.0.0/24");
    assert_eq!(node["metadata"]["labels"]["kubernetes.io/arch"], "arm64");
    assert_eq!(f.join(&token, "pi-2", 2).await, Err(403), "used up");
}

#[tokio::test]
async fn a_lost_reply_costs_nothing() {
    let f = fixture();
    let token = f.token(1).await;
    let first = f.join(&token, "pi-1", 1).await.unwrap();
    let old = f.keys.by_name(&name("pi-1")).unwrap().certificate;
    let again = f.join(&token, "pi-1", 1).await.unwrap();
    assert_eq!(first.pod_cidr, again.pod_cidr);
    // The new certificate is the node's, the old one is nobody's.
    let key = f.keys.by_name(&name("pi-1")).unwrap();
    assert_ne!(key.certificate, old);
    assert!(f.keys.by_fingerprint(&old).is_none());
    assert!(f.keys.by_fingerprint(&key.certificate).is_some());
    assert_eq!(
        f.join(&token, "pi-9", 1).await,
        Err(403),
        "same key, other name: another use"
    );
}

#[tokio::test]
async fn a_board_that_was_removed_does_not_come_back_on_a_spent_token() {
    let f = fixture();
    let (spent, fresh) = (f.token(1).await, f.token(1).await);
    f.join(&spent, "pi-1", 1).await.unwrap();
    let remove = |key| Op::Delete {
        key,
        expect: Expect::Any,
        durability: Durability::Hard,
    };
    let node = Key::new("", "nodes", "", "pi-1");
    let ops = vec![remove(node_key("pi-1")), remove(node)];
    let _ = f.store.commit(ops).unwrap();
    assert_eq!(f.join(&spent, "pi-1", 1).await, Err(403));
    assert!(f.keys.by_name(&name("pi-1")).is_none());
    f.join(&fresh, "pi-1", 1).await.unwrap();
}

#[tokio::test]
async fn a_name_that_is_taken_stays_with_its_board() {
    let f = fixture();
    let token = f.token(5).await;
    f.join(&token, "pi-1", 1).await.unwrap();
    assert_eq!(f.join(&token, "pi-1", 2).await, Err(409));
    assert_eq!(
        f.join(&token, "pi-2", 2).await.unwrap().pod_cidr,
        "10.42.1.0/24"
    );
    assert_eq!(
        f.join(&token, "pi-3", 3).await,
        Err(500),
        "the range is used up"
    );
}

#[tokio::test]
async fn after_a_restore_a_board_gets_a_range_that_no_lost_one_has() {
    let f = fixture();
    let token = f.token(5).await;
    let control = Control::start(&f.store).await.unwrap();
    let history = HistoryId([1; 16]);
    let control = control.raise(&f.store, control.epoch + 1, history).await;
    let range = async |node: &str, seed| f.join(&token, node, seed).await.unwrap().pod_cidr;
    assert_eq!(range("pi-1", 1).await, "10.42.1.0/24");
    control.unwrap().confirm(&f.store).await.unwrap();
    assert_eq!(range("pi-2", 2).await, "10.42.0.0/24");
}

#[tokio::test]
async fn bad_tokens_get_one_answer() {
    let f = fixture();
    let token = f.token(1).await;
    let mut parts: Vec<&str> = token.split('.').collect();
    let zeros = "0".repeat(64);
    for (at, other) in [
        (1, zeros.as_str()),
        (2, "aaaaaaaa"),
        (3, "aaaaaaaaaaaaaaaaaaaaaaaaaa"),
    ] {
        let kept = std::mem::replace(&mut parts[at], other);
        assert_eq!(
            f.join(&parts.join("."), "pi-1", 1).await,
            Err(403),
            "{other}"
        );
        parts[at] = kept;
    }
    assert_eq!(f.join("nonsense", "pi-1", 1).await, Err(400));
    let id = parts[2];
    f.joiner.delete_token(id).await.unwrap();
    assert_eq!(f.join(&token, "pi-1", 1).await, Err(403), "deleted");
    assert_eq!(f.joiner.delete_token(id).await.unwrap_err().code(), 404);
}

#[tokio::test]
async fn malformed_requests_name_the_field() {
    let f = fixture();
    let token = f.token(1).await;
    type Spoil = fn(&mut JoinRequest);
    let cases: [(&str, Spoil); 6] = [
        ("node", |r| r.node = "Bad_Name".into()),
        ("csr", |r| r.csr = "x".into()),
        ("identityKey", |r| r.identity_key = "00".into()),
        ("sealingKey", |r| r.sealing_key = "zz".repeat(32)),
        ("proof", |r| r.proof = "00".repeat(64)),
        ("arch", |r| r.arch = "a b".into()),
    ];
    for (field, spoil) in cases {
        let mut request = request(&token, "pi-1", 1);
        spoil(&mut request);
        let status = f.joiner.join(&request).await.unwrap_err();
        assert_eq!(status.code(), 422);
        let causes = &status.details().unwrap().causes;
        assert!(
            causes.iter().any(|c| c.field == field),
            "{field}: {causes:?}"
        );
    }
    f.join(&token, "pi-1", 1)
        .await
        .expect("none of them used the token up");
}

#[tokio::test]
async fn tokens_are_listed_without_their_secret() {
    let f = fixture();
    let token = f.token(2).await;
    f.join(&token, "pi-1", 1).await.unwrap();
    let list = f.joiner.tokens().unwrap();
    assert_eq!(list.items.len(), 1);
    assert_eq!(list.items[0].nodes, ["pi-1"]);
    let secret = token.rsplit('.').next().unwrap();
    assert!(!serde_json::to_string(&list).unwrap().contains(secret));
    let stored = f.store.list(
        &crate::store::Scope::all(GROUP, TOKENS),
        &Default::default(),
    );
    for entry in stored.unwrap().entries {
        assert!(
            !String::from_utf8_lossy(&entry.json).contains(secret),
            "only its hash is kept"
        );
    }
    let bad = TokenRequest {
        ttl_seconds: Some(0),
        ..TokenRequest::default()
    };
    assert_eq!(f.joiner.create_token(&bad).await.unwrap_err().code(), 400);
}

#[tokio::test]
async fn keys_are_read_back_after_a_start() {
    let f = fixture();
    let token = f.token(1).await;
    let response = f.join(&token, "pi-1", 1).await.unwrap();
    let keys = NodeKeys::open(Arc::new(f.store.clone())).unwrap();
    let der = rustls_pki_types::pem::PemObject::from_pem_slice(response.certificate.as_bytes());
    let der: rustls_pki_types::CertificateDer<'_> = der.unwrap();
    assert_eq!(
        keys.by_fingerprint(&fingerprint(&der)).unwrap().node,
        name("pi-1")
    );
}

#[tokio::test]
async fn another_board_takes_the_place_of_a_node_with_a_token_for_it() {
    let f = fixture();
    let replace = async |node: &str| {
        let request = TokenRequest {
            replaces: Some(node.into()),
            ..TokenRequest::default()
        };
        (f.joiner.create_token(&request).await).map(|created| created.token)
    };
    assert_eq!(replace("pi-1").await.unwrap_err().code(), 404);
    assert_eq!(replace("Not A Name").await.unwrap_err().code(), 404);
    let batch = f.token(10).await;
    let first = f.join(&batch, "pi-1", 1).await.unwrap();
    f.join(&batch, "pi-2", 2).await.unwrap();
    let old = f.keys.by_name(&name("pi-1")).unwrap();
    let lost = replace("pi-1").await.unwrap();
    let token = replace("pi-1").await.unwrap();
    let listed = f.joiner.tokens().unwrap().items;
    let of: Vec<&str> = listed.iter().map(|token| token.replaces.as_str()).collect();
    assert_eq!(of.iter().filter(|of| **of == "pi-1").count(), 1, "{of:?}");

    assert_eq!(
        f.join(&lost, "pi-1", 3).await,
        Err(403),
        "a later one was made"
    );
    assert_eq!(f.join(&token, "pi-2", 3).await, Err(403), "it is for pi-1");
    assert_eq!(f.join(&token, "pi-9", 3).await, Err(403), "it is for pi-1");
    assert_eq!(
        f.join(&batch, "pi-1", 3).await,
        Err(409),
        "not with any token"
    );
    let second = f.join(&token, "pi-1", 3).await.unwrap();
    assert_eq!(second.pod_cidr, first.pod_cidr);
    let new = f.keys.by_name(&name("pi-1")).unwrap();
    assert_ne!(new.identity, old.identity);
    assert!(f.keys.by_fingerprint(&old.certificate).is_none());
    assert!(f.keys.by_fingerprint(&new.certificate).is_some());
    // A lost reply costs nothing, and the board that was replaced does not come back by what it knows.
    f.join(&token, "pi-1", 3).await.unwrap();
    assert_eq!(f.join(&batch, "pi-1", 1).await, Err(409));
    assert_eq!(f.join(&token, "pi-1", 1).await, Err(403));
}
