//! Tokens and certificates as clients use them.

use bramble_link::tls::Identity;
use rustls_pki_types::PrivateKeyDer;

use super::*;
use crate::store::{Body, Durability, Expect, Key, Op, Store as _};

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";

/// A cluster with the account `ci`.
async fn with_account() -> Cluster {
    account(Cluster::start().await).await
}

/// Makes the account `ci`.
pub(super) async fn account(cluster: Cluster) -> Cluster {
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "ci"}});
    cluster.post(ACCOUNTS, &account).await.expect(201);
    cluster
}

impl Cluster {
    async fn token(&self, spec: &Value) -> Reply {
        let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
                          "spec": spec});
        self.post(&format!("{ACCOUNTS}/ci/token"), &body).await
    }

    /// A token of `ci` for the API.
    pub(super) async fn plain_token(&self) -> String {
        let reply = self.token(&json!({})).await.expect(201).json();
        reply["status"]["token"].as_str().unwrap().to_owned()
    }

    /// `kubectl auth whoami` with a token and, perhaps, a certificate.
    async fn whoami(&self, certificate: Option<Identity>, token: &str) -> Reply {
        let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
        let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        let bearer = format!("Bearer {token}");
        let mut headers = vec![("content-type", "application/json")];
        if !token.is_empty() {
            headers.push(("authorization", &bearer));
        }
        self.send_as(certificate, "POST", path, &headers, body.to_string())
            .await
    }

    async fn with_token(&self, token: &str, path: &str) -> Reply {
        let bearer = format!("Bearer {token}");
        self.send_as(None, "GET", path, &[("authorization", &bearer)], "")
            .await
    }
}

/// A certificate that anybody could have made.
fn foreign(user: &str, group: &str) -> Identity {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    let subject = &mut params.distinguished_name;
    subject.push(rcgen::DnType::OrganizationName, group);
    subject.push(rcgen::DnType::CommonName, user);
    let cert = params.self_signed(&key).unwrap();
    Identity {
        chain: vec![cert.der().clone()],
        key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
    }
}

#[tokio::test]
async fn a_token_request_is_answered_as_upstream_does() {
    let cluster = with_account().await;
    let reply = cluster
        .token(&json!({"expirationSeconds": 1200}))
        .await
        .expect(201)
        .json();
    assert_eq!(reply["kind"], "TokenRequest");
    assert_eq!(reply["apiVersion"], "authentication.k8s.io/v1");
    assert_eq!(reply["metadata"]["name"], "ci");
    assert_eq!(reply["metadata"]["namespace"], "default");
    assert_eq!(reply["spec"]["expirationSeconds"], 1200);
    assert_eq!(
        reply["spec"]["audiences"][0],
        "https://kubernetes.default.svc"
    );
    assert_eq!(reply["spec"]["boundObjectRef"], Value::Null);
    assert!(
        reply["status"]["expirationTimestamp"]
            .as_str()
            .unwrap()
            .ends_with('Z')
    );

    let short = cluster
        .token(&json!({"expirationSeconds": 5}))
        .await
        .expect(422);
    assert!(
        short
            .message()
            .contains("may not specify a duration less than 10 minutes")
    );
    let long = cluster
        .token(&json!({"expirationSeconds": 40_000_000}))
        .await
        .expect(201);
    assert!(
        long.warnings()[0].contains("shortened to 31536000 seconds"),
        "{:?}",
        long.warnings()
    );
    let nobody =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let path = format!("{ACCOUNTS}/nobody/token");
    let gone = cluster.post(&path, &nobody).await.expect(404);
    assert_eq!(gone.message(), "serviceaccounts \"nobody\" not found");
    let pod = json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p"}});
    let gone = cluster.token(&pod).await.expect(404);
    assert_eq!(gone.message(), "pods \"p\" not found");
}

#[tokio::test]
async fn a_token_is_somebody_until_its_account_is_gone() {
    let cluster = with_account().await;
    let token = cluster.plain_token().await;
    let who = cluster.whoami(None, &token).await;
    // Whether it may ask is the rules' business; that it is known is ours.
    assert!([201, 403].contains(&who.code), "{}", who.code);
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
                        "spec": {"token": token}});
    let path = "/apis/authentication.k8s.io/v1/tokenreviews";
    let status = cluster.post(path, &review).await.expect(201).json()["status"].clone();
    assert_eq!(status["authenticated"], true);
    assert_eq!(
        status["user"]["username"],
        "system:serviceaccount:default:ci"
    );
    assert_eq!(status["user"]["groups"][2], "system:authenticated");
    assert_eq!(status["audiences"][0], "https://kubernetes.default.svc");
    assert_ne!(cluster.with_token(&token, "/api").await.code, 401);

    cluster
        .delete(&format!("{ACCOUNTS}/ci"), &json!({}))
        .await
        .expect(200);
    let refused = cluster.with_token(&token, "/api").await.expect(401).json();
    assert_eq!(refused["kind"], "Status");
    assert_eq!(refused["reason"], "Unauthorized");
    assert_eq!(refused["message"], "Unauthorized");
    let status = cluster.post(path, &review).await.expect(201).json()["status"].clone();
    assert_eq!(status["authenticated"], Value::Null);
    assert_eq!(
        status["error"],
        "[invalid bearer token, serviceaccounts \"ci\" not found]"
    );
    // The same name again is somebody else.
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "ci"}});
    cluster.post(ACCOUNTS, &account).await.expect(201);
    cluster.with_token(&token, "/api").await.expect(401);
}

#[tokio::test]
async fn what_is_shown_and_counts_for_nothing_is_401() {
    let cluster = with_account().await;
    let token = cluster.plain_token().await;
    let wrong = format!("{token}x");
    let admin = || Some(cluster.admin());
    let mallory = || Some(foreign("kubernetes-admin", "system:masters"));
    let codes = [
        (cluster.whoami(None, "").await.code, 401, "nothing"),
        (
            cluster.whoami(None, &wrong).await.code,
            401,
            "a wrong token",
        ),
        (
            cluster.whoami(mallory(), "").await.code,
            401,
            "a foreign certificate",
        ),
        (
            cluster.whoami(mallory(), &wrong).await.code,
            401,
            "both wrong",
        ),
        (
            cluster.whoami(admin(), &wrong).await.code,
            201,
            "the certificate counts first",
        ),
    ];
    for (code, want, what) in codes {
        assert_eq!(code, want, "{what}");
    }
    // A foreign certificate does not spoil a token that counts.
    let code = cluster.whoami(mallory(), &token).await.code;
    assert!([201, 403].contains(&code), "{code}");
    // Health is for everybody, but not for who shows something wrong: as upstream.
    cluster
        .send_as(None, "GET", "/healthz", &[], "")
        .await
        .expect(200);
    cluster.with_token(&wrong, "/healthz").await.expect(401);
    let who = cluster.whoami(admin(), "").await.expect(201).json();
    let user = &who["status"]["userInfo"];
    assert_eq!(user["username"], "kubernetes-admin");
    assert_eq!(
        user["groups"],
        json!(["system:masters", "system:authenticated"])
    );
}

#[tokio::test]
async fn a_node_that_was_removed_is_nobody() {
    let cluster = Cluster::start().await;
    let (csr, key) = csr();
    let node = bramble_wire::name::NodeName::new("pi-1").unwrap();
    let csr = crate::pki::Csr::parse(&csr).unwrap();
    let identity = Identity {
        chain: vec![cluster.pki.sign_node(&node, csr).unwrap()],
        key,
    };
    // Signed by our CA, and not in the table of members.
    cluster.whoami(Some(identity.clone()), "").await.expect(401);
    let hash = hex::encode(crate::pki::fingerprint(&identity.chain[0]));
    let member = json!({"node": "pi-1", "certificate": hash, "identity": hex::encode(
        ed25519_dalek::SigningKey::from_bytes(&[7; 32]).verifying_key().as_bytes()),
        "sealing": hex::encode([8; 32]), "podCidr": "10.42.0.0/24", "index": 0, "token": "t"});
    let key = Key::new(crate::join::GROUP, crate::join::NODE_KEYS, "", "pi-1");
    let put = Op::Put {
        key: key.clone(),
        expect: Expect::Absent,
        body: Body {
            json: member.to_string().into_bytes(),
            revision_at: None,
        },
        durability: Durability::Hard,
    };
    let _ = cluster.store.commit(vec![put]).unwrap();
    assert_ne!(cluster.whoami(Some(identity.clone()), "").await.code, 401);
    let delete = Op::Delete {
        key,
        expect: Expect::Any,
        durability: Durability::Hard,
    };
    let _ = cluster.store.commit(vec![delete]).unwrap();
    cluster.whoami(Some(identity), "").await.expect(401);
}

fn csr() -> (String, PrivateKeyDer<'static>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let request = rcgen::CertificateParams::default().serialize_request(&key);
    let der = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    (request.unwrap().pem().unwrap(), der)
}

#[tokio::test]
async fn an_administrator_makes_certificates_for_people() {
    let cluster = with_account().await;
    let path = "/bramble/v1/certificates";
    let (csr, key) = csr();
    let wish = json!({"csr": csr, "user": "ann", "groups": ["people", "more"], "ttlSeconds": 3600});
    let reply = cluster.post(path, &wish).await.expect(201).json();
    assert!(reply["expires"].as_str().unwrap().ends_with('Z'));
    let pem = reply["certificate"].as_str().unwrap();
    let ann = Identity {
        chain: vec![rustls_pki_types::pem::PemObject::from_pem_slice(pem.as_bytes()).unwrap()],
        key,
    };
    let status = cluster.whoami(Some(ann.clone()), "").await;
    let info = status.expect(201).json()["status"]["userInfo"].clone();
    assert_eq!(info["username"], "ann");
    let groups = json!(["people", "more", "system:authenticated"]);
    assert_eq!(info["groups"], groups);
    // Known, and no master: she makes no certificates.
    let body = wish.to_string();
    let json = [("content-type", "application/json")];
    let refused = cluster
        .send_as(Some(ann), "POST", path, &json, body)
        .await
        .expect(403);
    assert!(
        refused.message().contains("\"ann\""),
        "{}",
        refused.message()
    );
    for (field, value) in [
        ("user", json!("")),
        ("user", json!("system:node:pi-1")),
        ("user", json!("a\nb")),
        ("groups", json!(["system:nodes"])),
        ("groups", json!([""])),
        ("ttlSeconds", json!(5)),
        ("csr", json!("nonsense")),
    ] {
        let mut wish = wish.clone();
        wish[field] = value;
        let refused = cluster.post(path, &wish).await.expect(422);
        assert!(refused.message().contains(field), "{}", refused.message());
    }
    // A token of whatever rights is no master's certificate either.
    let token = cluster.plain_token().await;
    let bearer = format!("Bearer {token}");
    let headers = [json[0], ("authorization", &*bearer)];
    let code = cluster
        .send_as(None, "POST", path, &headers, wish.to_string())
        .await
        .code;
    assert_eq!(code, 403);
}

#[tokio::test]
async fn others_find_how_to_verify() {
    let cluster = Cluster::start().await;
    let config = cluster
        .get("/.well-known/openid-configuration")
        .await
        .expect(200);
    assert_eq!(
        config.json()["id_token_signing_alg_values_supported"],
        json!(["ES256"])
    );
    let keys = cluster.get("/openid/v1/jwks").await.expect(200);
    assert_eq!(keys.headers["content-type"], "application/jwk-set+json");
    assert_eq!(keys.json()["keys"][0]["kty"], "EC");
    cluster
        .send_as(None, "GET", "/openid/v1/jwks", &[], "")
        .await
        .expect(401);
}
