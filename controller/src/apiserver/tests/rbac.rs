//! Who may do what, with real client certificates.

mod handing_on;
mod nodes;

use bramble_link::tls::Identity;
use rustls_pki_types::PrivateKeyDer;

use super::*;
use crate::apiserver::rbac::ensure_roles;
use crate::pki::Csr;
use crate::store::{Body, Durability, Expect, Key, Op, Store as _};

pub(super) const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const REVIEWS: &str = "/apis/authorization.k8s.io/v1";
pub(super) const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

fn csr() -> (Csr, PrivateKeyDer<'static>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let request = rcgen::CertificateParams::default().serialize_request(&key);
    let der = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let pem = request.unwrap().pem().unwrap();
    (Csr::parse(&pem).unwrap(), der)
}

pub(super) fn person(cluster: &Cluster, user: &str, groups: &[&str]) -> Identity {
    let (csr, key) = csr();
    let groups: Vec<String> = groups.iter().map(|g| (*g).to_owned()).collect();
    let cert = cluster.pki.sign_user(user, &groups, 4_000_000_000, csr);
    Identity {
        chain: vec![cert.unwrap()],
        key,
    }
}

/// A board that is a member.
pub(super) fn board(cluster: &Cluster, name: &str) -> Identity {
    let (csr, key) = csr();
    let node = bramble_wire::name::NodeName::new(name).unwrap();
    let identity = Identity {
        chain: vec![cluster.pki.sign_node(&node, csr).unwrap()],
        key,
    };
    let hash = hex::encode(crate::pki::fingerprint(&identity.chain[0]));
    let signing = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let member = json!({
        "node": name, "certificate": hash,
        "identity": hex::encode(signing.verifying_key().as_bytes()), "sealing": hex::encode([8; 32]),
        "podCidr": "10.42.0.0/24", "index": 0, "token": "t",
    });
    let put = Op::Put {
        key: Key::new(crate::join::GROUP, crate::join::NODE_KEYS, "", name),
        expect: Expect::Any,
        body: Body {
            json: member.to_string().into_bytes(),
            revision_at: None,
        },
        durability: Durability::Hard,
    };
    drop(cluster.store.commit(vec![put]).unwrap());
    identity
}

impl Cluster {
    pub(super) async fn get_as(&self, who: &Identity, path: &str) -> Reply {
        self.send_as(Some(who.clone()), "GET", path, &[], "").await
    }

    pub(super) async fn post_as(&self, who: &Identity, path: &str, body: &Value) -> Reply {
        self.send_as(Some(who.clone()), "POST", path, JSON, body.to_string())
            .await
    }

    pub(super) async fn put_as(&self, who: &Identity, path: &str, body: &Value) -> Reply {
        self.send_as(Some(who.clone()), "PUT", path, JSON, body.to_string())
            .await
    }

    pub(super) async fn patch_as(&self, who: &Identity, path: &str, body: &Value) -> Reply {
        let headers = &[("content-type", "application/merge-patch+json")];
        self.send_as(Some(who.clone()), "PATCH", path, headers, body.to_string())
            .await
    }

    /// Binds a ClusterRole to a user in a namespace, or everywhere without one.
    pub(super) async fn bind(&self, namespace: &str, role: &str, user: &str) {
        let kind = if namespace.is_empty() {
            "ClusterRoleBinding"
        } else {
            "RoleBinding"
        };
        let body = binding(kind, &format!("{user}-{role}"), "ClusterRole", role, user);
        self.post(&bindings(namespace), &body).await.expect(201);
    }

    /// `allowed`, and the reason.
    async fn review(&self, who: &Identity, kind: &str, spec: Value) -> (bool, String) {
        let path = format!("{REVIEWS}/{}s", kind.to_lowercase());
        let body = json!({"kind": kind, "apiVersion": "authorization.k8s.io/v1", "spec": spec});
        let reply = self.post_as(who, &path, &body).await.expect(201).json();
        let status = &reply["status"];
        let reason = status["reason"].as_str().unwrap_or_default().to_owned();
        (status["allowed"].as_bool().unwrap(), reason)
    }
}

pub(super) fn bindings(namespace: &str) -> String {
    if namespace.is_empty() {
        format!("{RBAC}/clusterrolebindings")
    } else {
        format!("{RBAC}/namespaces/{namespace}/rolebindings")
    }
}

pub(super) fn binding(kind: &str, name: &str, role_kind: &str, role: &str, user: &str) -> Value {
    let group = "rbac.authorization.k8s.io";
    json!({
        "kind": kind, "apiVersion": format!("{group}/v1"), "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": role_kind, "name": role},
        "subjects": [{"kind": "User", "apiGroup": group, "name": user}],
    })
}

pub(super) fn role(kind: &str, name: &str, rules: Value) -> Value {
    json!({
        "kind": kind, "apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": name}, "rules": rules,
    })
}

pub(super) fn on(verbs: &[&str], resources: &[&str]) -> Value {
    json!({"verbs": verbs, "apiGroups": [""], "resources": resources})
}

#[tokio::test]
async fn the_default_roles_are_there_and_a_second_start_writes_nothing() {
    let cluster = Cluster::start().await;
    let view = cluster
        .get(&format!("{RBAC}/clusterroles/view"))
        .await
        .expect(200)
        .json();
    assert!(view["rules"].as_array().unwrap().len() > 5, "{view}");
    assert!(view["metadata"]["uid"].is_string());
    let before = cluster.store.revision();
    ensure_roles(&cluster.store).await.unwrap();
    assert_eq!(cluster.store.revision(), before);
    // What somebody took away comes back at the next start; what gathers it follows.
    let path = format!("{RBAC}/clusterroles/system:aggregate-to-view");
    let gone = cluster
        .patch(&path, "merge-patch", &json!({"rules": []}))
        .await;
    gone.expect(200);
    cluster
        .delete(&format!("{RBAC}/clusterroles/view"), &json!({}))
        .await
        .expect(200);
    ensure_roles(&cluster.store).await.unwrap();
    let again = cluster
        .get(&format!("{RBAC}/clusterroles/view"))
        .await
        .expect(200)
        .json();
    assert_eq!(again["rules"], view["rules"]);
}

#[tokio::test]
async fn somebody_without_a_role_sees_what_is_served_and_no_more() {
    let cluster = Cluster::start().await;
    let ann = person(&cluster, "ann", &["people"]);
    for path in [
        "/api",
        "/apis",
        "/apis/apps/v1",
        "/openapi/v3",
        "/version",
        "/healthz",
    ] {
        cluster.get_as(&ann, path).await.expect(200);
    }
    let refused = cluster.get_as(&ann, PODS).await.expect(403).json();
    assert_eq!(
        refused["message"],
        "pods is forbidden: User \"ann\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
    );
    assert_eq!(refused["reason"], "Forbidden");
    assert_eq!(refused["details"], json!({"kind": "pods"}));
    let cases = [
        (
            "/api/v1/nodes/a",
            "nodes \"a\" is forbidden: User \"ann\" cannot get resource \"nodes\" in API group \"\" at the cluster scope",
        ),
        (
            "/api/v1/namespaces/default",
            "namespaces \"default\" is forbidden: User \"ann\" cannot get resource \"namespaces\" in API group \"\" in the namespace \"default\"",
        ),
        (
            "/api/v1/namespaces/default/pods/x/log",
            "pods \"x\" is forbidden: User \"ann\" cannot get resource \"pods/log\" in API group \"\" in the namespace \"default\"",
        ),
        (
            "/api/v1/namespaces/default/pods?fieldSelector=metadata.name%3Dx",
            "pods \"x\" is forbidden: User \"ann\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"",
        ),
        (
            "/apis/example.com/v1/namespaces/x/things/y",
            "things.example.com \"y\" is forbidden: User \"ann\" cannot get resource \"things\" in API group \"example.com\" in the namespace \"x\"",
        ),
        (
            "/metrics",
            "forbidden: User \"ann\" cannot get path \"/metrics\"",
        ),
        (
            "/bramble/v1/tokens",
            "forbidden: User \"ann\" cannot get path \"/bramble/v1/tokens\"",
        ),
    ];
    for (path, message) in cases {
        assert_eq!(
            cluster.get_as(&ann, path).await.expect(403).message(),
            message
        );
    }
    // Nobody known is told nothing.
    for path in ["/api", PODS, "/openapi/v3"] {
        cluster
            .send_as(None, "GET", path, &[], "")
            .await
            .expect(401);
    }
}

#[tokio::test]
async fn a_viewer_of_a_namespace_reads_it_and_writes_nothing() {
    let cluster = Cluster::start().await;
    let ann = person(&cluster, "ann", &[]);
    cluster.has_config_map("c").await;
    cluster.get_as(&ann, CONFIG_MAPS).await.expect(403);
    cluster.bind("default", "view", "ann").await;
    // At once, on every path.
    cluster.get_as(&ann, CONFIG_MAPS).await.expect(200);
    cluster
        .get_as(&ann, &format!("{CONFIG_MAPS}/c"))
        .await
        .expect(200);
    cluster
        .get_as(&ann, "/api/v1/namespaces/default")
        .await
        .expect(200);
    let codes = [
        ("GET", "/api/v1/namespaces/kube-system/configmaps", 403),
        ("GET", "/api/v1/configmaps", 403),
        ("GET", "/api/v1/namespaces", 403),
        ("GET", "/api/v1/namespaces/default/secrets", 403),
        ("DELETE", "/api/v1/namespaces/default/configmaps/c", 403),
        (
            "GET",
            "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles",
            403,
        ),
    ];
    for (method, path, code) in codes {
        cluster
            .send_as(Some(ann.clone()), method, path, &[], "")
            .await
            .expect(code);
    }
    cluster
        .post_as(&ann, CONFIG_MAPS, &config_map("d"))
        .await
        .expect(403);
    // And gone at once.
    cluster
        .delete(&format!("{}/ann-view", bindings("default")), &json!({}))
        .await
        .expect(200);
    cluster.get_as(&ann, CONFIG_MAPS).await.expect(403);
}

#[tokio::test]
async fn reviews_say_who_may_what() {
    let cluster = Cluster::start().await;
    let ann = person(&cluster, "ann", &[]);
    cluster.bind("default", "view", "ann").await;
    let pods = |verb: &str, namespace: &str| json!({"resourceAttributes": {"verb": verb, "resource": "pods", "namespace": namespace}});
    let this = "SelfSubjectAccessReview";
    let by =
        "RBAC: allowed by RoleBinding \"ann-view/default\" of ClusterRole \"view\" to User \"ann\"";
    assert_eq!(
        cluster.review(&ann, this, pods("list", "default")).await,
        (true, by.to_owned())
    );
    assert_eq!(
        cluster.review(&ann, this, pods("create", "default")).await,
        (false, String::new())
    );
    assert_eq!(
        cluster.review(&ann, this, pods("list", "x")).await,
        (false, String::new())
    );
    let path = json!({"nonResourceAttributes": {"verb": "get", "path": "/apis/x"}});
    assert!(cluster.review(&ann, this, path).await.0);
    let admin = cluster.admin();
    assert!(cluster.review(&admin, this, pods("nothing", "")).await.0);

    // About others, for who may ask.
    let mut of_ann = pods("list", "default");
    of_ann["user"] = "ann".into();
    assert!(
        cluster
            .review(&admin, "SubjectAccessReview", of_ann.clone())
            .await
            .0
    );
    let body = json!({"kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "spec": of_ann});
    cluster
        .post_as(&ann, &format!("{REVIEWS}/subjectaccessreviews"), &body)
        .await
        .expect(403);
    let local = format!("{REVIEWS}/namespaces/default/localsubjectaccessreviews");
    let body = json!({"kind": "LocalSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "spec": of_ann});
    let reply = cluster.post(&local, &body).await.expect(201).json();
    assert_eq!(reply["status"]["allowed"], true);
    let mut elsewhere = body.clone();
    elsewhere["spec"]["resourceAttributes"]["namespace"] = "x".into();
    let refused = cluster.post(&local, &elsewhere).await.expect(422).message();
    assert!(
        refused.contains("must match metadata.namespace"),
        "{refused}"
    );
    let empty =
        json!({"kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "spec": {}});
    let refused = cluster
        .post(&format!("{REVIEWS}/subjectaccessreviews"), &empty)
        .await
        .expect(422)
        .message();
    assert!(
        refused.contains(
            "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        ),
        "{refused}"
    );
    assert!(
        refused.contains("at least one of user or group must be specified"),
        "{refused}"
    );

    // Everything at once.
    let path = format!("{REVIEWS}/selfsubjectrulesreviews");
    let body = json!({"kind": "SelfSubjectRulesReview", "apiVersion": "authorization.k8s.io/v1", "spec": {"namespace": "default"}});
    let status = cluster.post_as(&ann, &path, &body).await.expect(201).json()["status"].clone();
    assert_eq!(status["incomplete"], false);
    let rules = status["resourceRules"].as_array().unwrap();
    assert!(
        rules.iter().any(|r| r["resources"]
            .as_array()
            .unwrap()
            .contains(&json!("pods/log"))),
        "{status}"
    );
    assert!(
        status["nonResourceRules"]
            .as_array()
            .unwrap()
            .iter()
            .any(|r| r["nonResourceURLs"][0] == "/api")
    );
    let nowhere = json!({"kind": "SelfSubjectRulesReview", "apiVersion": "authorization.k8s.io/v1", "spec": {}});
    cluster.post_as(&ann, &path, &nowhere).await.expect(400);
}

#[tokio::test]
async fn an_administrator_acts_as_others_and_nobody_else_does() {
    let cluster = Cluster::start().await;
    let ann = person(&cluster, "ann", &[]);
    cluster.bind("default", "view", "bob").await;
    let as_bob: &[(&str, &str)] = &[("impersonate-user", "bob")];
    cluster.send("GET", PODS, as_bob, "").await.expect(200);
    assert_eq!(
        cluster
            .send("GET", "/api/v1/nodes", as_bob, "")
            .await
            .expect(403)
            .message(),
        "nodes is forbidden: User \"bob\" cannot list resource \"nodes\" in API group \"\" at the cluster scope"
    );
    let who = |headers: Vec<(&'static str, &'static str)>| {
        let cluster = &cluster;
        async move {
            let mut all = vec![("content-type", "application/json")];
            all.extend(headers);
            let body =
                json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
            let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
            let reply = cluster.send("POST", path, &all, body.to_string()).await;
            reply.expect(201).json()["status"]["userInfo"].clone()
        }
    };
    let account = who(vec![("impersonate-user", "system:serviceaccount:x:bot")]).await;
    assert_eq!(
        account,
        json!({"username": "system:serviceaccount:x:bot", "groups":
            ["system:serviceaccounts", "system:serviceaccounts:x", "system:authenticated"]})
    );
    let full = who(vec![
        ("impersonate-user", "bob"),
        ("impersonate-group", "ops"),
        ("impersonate-group", "dev"),
        ("impersonate-uid", "u-1"),
        ("impersonate-extra-acme.com%2fproject", "p"),
    ])
    .await;
    assert_eq!(
        full,
        json!({"username": "bob", "uid": "u-1", "groups": ["ops", "dev", "system:authenticated"],
               "extra": {"acme.com/project": ["p"]}})
    );
    // A group without a user is nobody.
    let lone: &[(&str, &str)] = &[("impersonate-group", "ops")];
    cluster.send("GET", PODS, lone, "").await.expect(500);

    // Ann may be nobody else, until she may be bob; but not with any group.
    let refused = cluster
        .send_as(Some(ann.clone()), "GET", PODS, as_bob, "")
        .await
        .expect(403);
    assert_eq!(
        refused.message(),
        "users \"bob\" is forbidden: User \"ann\" cannot impersonate resource \"users\" in API group \"\" \
         at the cluster scope"
    );
    let rules = json!([{"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": ["bob"]}]);
    cluster
        .post(
            &format!("{RBAC}/clusterroles"),
            &role("ClusterRole", "be-bob", rules),
        )
        .await
        .expect(201);
    cluster.bind("", "be-bob", "ann").await;
    cluster
        .send_as(Some(ann.clone()), "GET", PODS, as_bob, "")
        .await
        .expect(200);
    let masters: &[(&str, &str)] = &[
        ("impersonate-user", "bob"),
        ("impersonate-group", "system:masters"),
    ];
    let refused = cluster
        .send_as(Some(ann.clone()), "GET", PODS, masters, "")
        .await
        .expect(403);
    assert!(
        refused
            .message()
            .starts_with("groups \"system:masters\" is forbidden"),
        "{}",
        refused.message()
    );
    for header in ["impersonate-uid", "impersonate-extra-scopes"] {
        let headers: &[(&str, &str)] = &[("impersonate-user", "bob"), (header, "x")];
        cluster
            .send_as(Some(ann.clone()), "GET", PODS, headers, "")
            .await
            .expect(403);
    }
    cluster
        .send_as(None, "GET", PODS, as_bob, "")
        .await
        .expect(401);
}
