//! Who may do what, with real client certificates.

mod nodes;
mod reviews;

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
    cluster
        .post(CONFIG_MAPS, &config_map("c"))
        .await
        .expect(201);
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
async fn a_binding_to_a_role_that_is_not_there_is_told() {
    let cluster = Cluster::start().await;
    let ann = person(&cluster, "ann", &[]);
    cluster.bind("default", "nothing", "ann").await;
    assert_eq!(
        cluster.get_as(&ann, PODS).await.expect(403).message(),
        "pods is forbidden: User \"ann\" cannot list resource \"pods\" in API group \"\" in the namespace \
         \"default\": RBAC: clusterrole.rbac.authorization.k8s.io \"nothing\" not found"
    );
}

#[tokio::test]
async fn an_object_that_a_put_makes_needs_the_right_to_create() {
    let cluster = Cluster::start().await;
    let ann = person(&cluster, "ann", &[]);
    let rules = json!([{"verbs": ["get", "update"], "apiGroups": ["coordination.k8s.io"], "resources": ["leases"]}]);
    let path = format!("{RBAC}/clusterroles");
    cluster
        .post(&path, &role("ClusterRole", "updater", rules))
        .await
        .expect(201);
    cluster.bind("default", "updater", "ann").await;
    let lease = json!({"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": {"name": "l"}, "spec": {}});
    let path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l";
    let reply = cluster.put_as(&ann, path, &lease).await;
    assert!([403, 404].contains(&reply.code), "{}", reply.code);
}

#[tokio::test]
async fn nobody_hands_on_what_they_do_not_have() {
    let cluster = Cluster::start().await;
    let ann = person(&cluster, "ann", &["people"]);
    cluster.bind("default", "admin", "ann").await;
    let roles = format!("{RBAC}/namespaces/default/roles");
    let own = role("Role", "own", json!([on(&["get"], &["pods"])]));
    cluster.post_as(&ann, &roles, &own).await.expect(201);
    let nodes = role("Role", "nodes", json!([on(&["list", "get"], &["nodes"])]));
    let refused = cluster.post_as(&ann, &roles, &nodes).await.expect(403);
    let missing = "is attempting to grant RBAC permissions not currently held:\n\
                   {APIGroups:[\"\"], Resources:[\"nodes\"], Verbs:[\"list\" \"get\"]}";
    assert_eq!(
        refused.message(),
        format!(
            "roles.rbac.authorization.k8s.io \"nodes\" is forbidden: user \"ann\" \
             (groups=[\"people\" \"system:authenticated\"]) {missing}"
        )
    );
    // Nor by changing one, by patch or by PUT.
    let path = format!("{roles}/own");
    let more = json!({"rules": [on(&["get"], &["nodes"])]});
    cluster.patch_as(&ann, &path, &more).await.expect(403);
    cluster
        .put_as(&ann, &path, &role("Role", "own", more["rules"].clone()))
        .await
        .expect(403);
    // Nor by binding.
    let to_all = binding("RoleBinding", "b", "ClusterRole", "cluster-admin", "ann");
    let refused = cluster
        .post_as(&ann, &bindings("default"), &to_all)
        .await
        .expect(403)
        .message();
    assert!(
        refused
            .starts_with("rolebindings.rbac.authorization.k8s.io \"b\" is forbidden: user \"ann\""),
        "{refused}"
    );
    let to_none = binding("RoleBinding", "b", "ClusterRole", "none", "ann");
    let refused = cluster
        .post_as(&ann, &bindings("default"), &to_none)
        .await
        .expect(404)
        .message();
    assert_eq!(
        refused,
        "clusterroles.rbac.authorization.k8s.io \"none\" not found"
    );
    let to_view = binding("RoleBinding", "b", "ClusterRole", "view", "bob");
    cluster
        .post_as(&ann, &bindings("default"), &to_view)
        .await
        .expect(201);
    // Cluster roles are not a namespace administrator's.
    let any = role("ClusterRole", "any", json!([]));
    cluster
        .post_as(&ann, &format!("{RBAC}/clusterroles"), &any)
        .await
        .expect(403);

    // Who may `bind` or `escalate` may.
    let group = json!(["rbac.authorization.k8s.io"]);
    let more = json!([
        {"verbs": ["bind"], "apiGroups": group, "resources": ["clusterroles"], "resourceNames": ["cluster-admin"]},
        {"verbs": ["escalate"], "apiGroups": group, "resources": ["roles"]},
    ]);
    cluster
        .post(
            &format!("{RBAC}/clusterroles"),
            &role("ClusterRole", "more", more),
        )
        .await
        .expect(201);
    cluster.bind("default", "more", "ann").await;
    cluster.post_as(&ann, &roles, &nodes).await.expect(201);
    let mut to_all = to_all;
    to_all["metadata"]["name"] = "all".into();
    cluster
        .post_as(&ann, &bindings("default"), &to_all)
        .await
        .expect(201);
    // Everything in a namespace is not everything.
    cluster.get_as(&ann, "/api/v1/nodes").await.expect(403);
    cluster
        .get_as(&ann, "/api/v1/namespaces/default/secrets")
        .await
        .expect(200);
}

#[tokio::test]
async fn only_who_has_everything_gathers_roles() {
    let cluster = Cluster::start().await;
    let ann = person(&cluster, "ann", &[]);
    let path = format!("{RBAC}/clusterroles");
    let all =
        json!([{"verbs": ["*"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["*"]}]);
    let mut manager = role("ClusterRole", "manager", all);
    // `*` would be `escalate` as well.
    manager["rules"][0]["verbs"] = json!(["get", "create", "update", "patch", "delete"]);
    cluster.post(&path, &manager).await.expect(201);
    cluster.bind("", "manager", "ann").await;
    let mut gathers = role("ClusterRole", "gathers", json!([]));
    cluster.post_as(&ann, &path, &gathers).await.expect(201);
    gathers["metadata"]["name"] = "more".into();
    gathers["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]});
    assert_eq!(
        cluster
            .post_as(&ann, &path, &gathers)
            .await
            .expect(403)
            .message(),
        "clusterroles.rbac.authorization.k8s.io \"more\" is forbidden: must have cluster-admin privileges \
         to use the aggregationRule"
    );
    // Loosening or dropping one is the same.
    let drop = json!({"aggregationRule": null, "rules": []});
    cluster
        .patch_as(&ann, &format!("{path}/edit"), &drop)
        .await
        .expect(403);
}
