//! Rules, bindings and aggregation.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::rbac::aggregate::{ClusterRole, plan_aggregation};
use crate::rbac::*;

fn rule(value: Value) -> Rule {
    serde_json::from_value(value).unwrap()
}

/// `verb group/resource[/sub] namespace name`, `-` for none; or `verb /path`.
fn asked(text: &str) -> Attributes<'_> {
    let mut words = text.split(' ').map(|w| if w == "-" { "" } else { w });
    let verb = words.next().unwrap();
    let what = words.next().unwrap();
    if what.starts_with('/') && words.clone().next().is_none() {
        return Attributes::path(verb, what);
    }
    let (group, resource) = what.split_once('/').unwrap();
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let resource = Resource {
        group,
        resource,
        subresource,
        namespace: words.next().unwrap_or_default(),
        name: words.next().unwrap_or_default(),
    };
    Attributes::resource(verb, resource)
}

#[test]
fn a_rule_allows_what_upstream_says() {
    let pods = json!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]});
    let named =
        json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]});
    let log = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods/log"]});
    let scale = json!({"verbs": ["update"], "apiGroups": ["*"], "resources": ["*/scale"]});
    let below = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods/*"]});
    let all = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]});
    let verbs = json!({"verbs": ["*"], "apiGroups": ["apps"], "resources": ["deployments"]});
    let paths = json!({"verbs": ["get"], "nonResourceURLs": ["/healthz", "/api/*"]});
    let every = json!({"verbs": ["get"], "nonResourceURLs": ["*"]});
    let none = json!({"verbs": null, "apiGroups": null, "resources": null});
    let cases: &[(&Value, &str, bool)] = &[
        (&pods, "get /pods ns a", true),
        (&pods, "list /pods - -", true),
        (&pods, "watch /pods ns -", false),
        (&pods, "get apps/pods ns a", false),
        (&pods, "get /pods/log ns a", false),
        (&pods, "get /pods", false),
        (&named, "get /pods ns a", true),
        (&named, "get /pods ns b", false),
        // A list has no name, so a rule with names does not allow it.
        (&named, "get /pods ns -", false),
        (&log, "get /pods/log ns a", true),
        (&log, "get /pods ns a", false),
        (&scale, "update apps/deployments/scale ns a", true),
        (&scale, "update /replicationcontrollers/scale ns a", true),
        (&scale, "update apps/deployments ns a", false),
        (&scale, "update apps/deployments/status ns a", false),
        // Upstream knows `*/scale`, but not `pods/*`.
        (&below, "get /pods/log ns a", false),
        (&below, "get /pods/* ns a", true),
        (&all, "delete apps/deployments/scale ns a", true),
        (&all, "get /healthz", false),
        (&verbs, "impersonate apps/deployments ns a", true),
        (&verbs, "get apps/replicasets ns a", false),
        (&paths, "get /healthz", true),
        (&paths, "get /healthz/x", false),
        (&paths, "get /api/", true),
        (&paths, "get /api/v1", true),
        (&paths, "get /api", false),
        (&paths, "post /healthz", false),
        (&every, "get /anything/at/all", true),
        (&none, "get /pods ns a", false),
    ];
    for (value, text, want) in cases {
        let got = rule((*value).clone()).allows(&asked(text));
        assert_eq!(got, *want, "{value} {text}");
    }
}

fn policy() -> Policy {
    let role =
        |rules: Value| Some(serde_json::from_value::<Role>(json!({"rules": rules})).unwrap());
    let binding = |subjects: Value, kind: &str, name: &str| {
        let object = json!({"subjects": subjects, "roleRef": {"kind": kind, "name": name}});
        Some(serde_json::from_value::<Binding>(object).unwrap())
    };
    let pods = json!([{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}]);
    let nodes = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["nodes"]}]);
    let mut policy = Policy::default();
    policy.set_cluster_role("pods", role(pods.clone()));
    policy.set_cluster_role("nodes", role(nodes));
    policy.set_role("y", "local", role(pods));
    let user = |name: &str| json!([{"kind": "User", "name": name}]);
    let group = |name: &str| json!([{"kind": "Group", "name": name}]);
    let account = |name: &str| json!([{"kind": "ServiceAccount", "name": name}]);
    policy.set_cluster_binding("all-nodes", binding(group("ops"), "ClusterRole", "nodes"));
    policy.set_cluster_binding("lost", binding(user("zoe"), "ClusterRole", "gone"));
    policy.set_cluster_binding("odd", binding(user("odd"), "Thing", "x"));
    policy.set_cluster_binding("homeless", binding(account("bot"), "ClusterRole", "nodes"));
    policy.set_binding("y", "ann", binding(user("ann"), "ClusterRole", "pods"));
    policy.set_binding("y", "bot", binding(account("bot"), "Role", "local"));
    policy.set_binding("y", "lost", binding(user("zoe"), "Role", "gone"));
    // A Role of another namespace is not found from here.
    policy.set_binding("x", "far", binding(user("far"), "Role", "local"));
    policy
}

fn decide(policy: &Policy, user: &str, text: &str) -> String {
    let mut words = user.split('+');
    let name = words.next().unwrap();
    let groups: Vec<String> = words.map(str::to_owned).collect();
    let user = User {
        name,
        groups: &groups,
    };
    let asked = asked(text);
    let decision = policy.decide(user, &asked);
    assert_eq!(decision.allowed, policy.allows(user, &asked));
    let sign = if decision.allowed { "yes" } else { "no" };
    format!("{sign} {}", decision.reason)
}

#[test]
fn bindings_give_roles_to_users_groups_and_accounts() {
    let policy = policy();
    let by_ann = r#"yes RBAC: allowed by RoleBinding "ann/y" of ClusterRole "pods" to User "ann""#;
    let by_bot =
        r#"yes RBAC: allowed by RoleBinding "bot/y" of Role "local" to ServiceAccount "bot/y""#;
    let by_ops = r#"yes RBAC: allowed by ClusterRoleBinding "all-nodes" of ClusterRole "nodes" to Group "ops""#;
    let lost = r#"no RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found"#;
    let both = r#"no RBAC: [clusterrole.rbac.authorization.k8s.io "gone" not found, role.rbac.authorization.k8s.io "gone" not found]"#;
    let cases = [
        ("ann", "list /pods y -", by_ann),
        ("ann", "list /pods x -", "no "),
        ("ann", "list /pods - -", "no "),
        ("ann", "get /nodes - a", "no "),
        ("ann+ops", "get /nodes - a", by_ops),
        ("system:serviceaccount:y:bot", "get /pods y a", by_bot),
        ("system:serviceaccount:x:bot", "get /pods y a", "no "),
        // Without a namespace of its own, an account in a ClusterRoleBinding is nobody.
        ("system:serviceaccount:y:bot", "get /nodes - a", "no "),
        ("bot", "get /nodes - a", "no "),
        ("zoe", "get /nodes - a", lost),
        ("zoe", "get /pods y a", both),
        (
            "odd",
            "get /pods y a",
            "no RBAC: unsupported role reference kind: \"Thing\"",
        ),
        (
            "far",
            "get /pods x a",
            "no RBAC: role.rbac.authorization.k8s.io \"local\" not found",
        ),
        ("root+system:masters", "delete /nodes - a", "yes "),
        ("root+system:masters", "post /anything", "yes "),
        ("nobody", "get /healthz", "no "),
    ];
    for (user, text, want) in cases {
        assert_eq!(decide(&policy, user, text), want, "{user}: {text}");
    }
}

#[test]
fn what_changes_or_goes_counts_at_once() {
    let mut policy = policy();
    let ann = |policy: &Policy| decide(policy, "ann", "list /pods y -").starts_with("yes");
    assert!(ann(&policy));
    policy.set_cluster_role("pods", None);
    assert_eq!(
        decide(&policy, "ann", "list /pods y -"),
        "no RBAC: clusterrole.rbac.authorization.k8s.io \"pods\" not found"
    );
    let rules = json!({"rules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]});
    policy.set_cluster_role("pods", serde_json::from_value(rules).unwrap());
    assert!(ann(&policy));
    let other = json!({"subjects": [{"kind": "User", "name": "bob"}], "roleRef": {"kind": "ClusterRole", "name": "pods"}});
    policy.set_binding("y", "ann", serde_json::from_value(other).unwrap());
    assert!(!ann(&policy));
    assert!(decide(&policy, "bob", "list /pods y -").starts_with("yes"));
    policy.set_binding("y", "ann", None);
    assert_eq!(decide(&policy, "bob", "list /pods y -"), "no ");
    // Gone twice, and never there: nothing to do.
    policy.set_binding("y", "ann", None);
    policy.set_binding("nowhere", "x", None);
    policy.set_role("nowhere", "x", None);
}

#[test]
fn refusals_have_upstreams_words() {
    let cases = [
        (
            "list /pods y -",
            r#"User "ann" cannot list resource "pods" in API group "" in the namespace "y""#,
        ),
        (
            "get apps/deployments/scale - a",
            r#"User "ann" cannot get resource "deployments/scale" in API group "apps" at the cluster scope"#,
        ),
        ("get /metrics", r#"User "ann" cannot get path "/metrics""#),
    ];
    for (text, want) in cases {
        assert_eq!(asked(text).refusal("ann"), want);
    }
}

fn cluster_role(value: Value) -> ClusterRole {
    ClusterRole::read(&value).unwrap()
}

#[test]
fn aggregated_roles_gather_by_label_through_each_other() {
    let gets = |what: &str| json!([{"verbs": ["get"], "apiGroups": [""], "resources": [what]}]);
    let gather = |label: &str| json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]});
    let mut roles = BTreeMap::from([
        (
            "admin".to_owned(),
            cluster_role(json!({"aggregationRule": gather("to-admin")})),
        ),
        (
            "edit".to_owned(),
            cluster_role(json!({
                "metadata": {"labels": {"to-admin": "true"}},
                "aggregationRule": gather("to-edit"), "rules": gets("stale"),
            })),
        ),
        (
            "a".to_owned(),
            cluster_role(
                json!({"metadata": {"labels": {"to-edit": "true"}}, "rules": gets("pods")}),
            ),
        ),
        (
            "b".to_owned(),
            cluster_role(json!({
                "metadata": {"labels": {"to-edit": "true", "to-admin": "true"}}, "rules": gets("nodes"),
            })),
        ),
        // It gathers itself and what gathers it.
        (
            "ring".to_owned(),
            cluster_role(json!({
                "metadata": {"labels": {"to-admin": "true", "ring": "true"}}, "aggregationRule": gather("ring"),
            })),
        ),
        // A selector that does not parse selects nothing.
        (
            "bad".to_owned(),
            cluster_role(json!({"aggregationRule": {"clusterRoleSelectors": [
                {"matchExpressions": [{"key": "a", "operator": "Odd"}]},
            ]}})),
        ),
    ]);
    let changed = plan_aggregation(&roles);
    let shown = |rules: &[Rule]| {
        rules
            .iter()
            .map(|r| r.resources[0].to_string())
            .collect::<Vec<_>>()
    };
    let got: Vec<(&str, Vec<String>)> = changed
        .iter()
        .map(|(name, rules)| (name.as_str(), shown(rules)))
        .collect();
    let pair = ["pods".to_owned(), "nodes".to_owned()];
    assert_eq!(got.len(), 2, "{got:?}");
    assert_eq!(got[0].0, "admin");
    assert_eq!(got[1], ("edit", pair.to_vec()));
    assert_eq!(got[0].1.len(), 2);
    // What is up to date stays as it is.
    for (name, rules) in changed {
        roles.get_mut(&name).unwrap().rules = rules;
    }
    assert!(plan_aggregation(&roles).is_empty());
}
