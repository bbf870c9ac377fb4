//! Discovery: which kinds are served, in the aggregated and the legacy forms, and the version.

use crate::kind::{KINDS, Kind, Subresource, group_versions, join_api_version};
use serde_json::{Value, json};

/// Content type of the aggregated answers; clients compare it as a whole.
pub const AGGREGATED_V2: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// The Kubernetes version whose API is served.
pub const KUBERNETES_VERSION: &str = "v1.37.0";

/// `/api` in aggregated form.
pub fn aggregated_api() -> Value {
    aggregated(|group| group.is_empty())
}

/// `/apis` in aggregated form.
pub fn aggregated_apis() -> Value {
    aggregated(|group| !group.is_empty())
}

fn aggregated(wanted: impl Fn(&str) -> bool) -> Value {
    let items: Vec<Value> = groups()
        .into_iter()
        .filter(|group| wanted(group))
        .map(|group| {
            let versions: Vec<Value> = versions(group)
                .map(|version| {
                    let resources: Vec<Value> = kinds(group, version).map(resource).collect();
                    json!({"version": version, "resources": resources, "freshness": "Current"})
                })
                .collect();
            // The core group has no name.
            let metadata = if group.is_empty() {
                json!({"creationTimestamp": null})
            } else {
                json!({"name": group, "creationTimestamp": null})
            };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

fn groups() -> Vec<&'static str> {
    let mut out: Vec<&str> = group_versions()
        .into_iter()
        .map(|(group, _)| group)
        .collect();
    out.dedup();
    out
}

fn versions(group: &str) -> impl Iterator<Item = &'static str> {
    group_versions()
        .into_iter()
        .filter(move |gv| gv.0 == group)
        .map(|gv| gv.1)
}

fn kinds(group: &str, version: &str) -> impl Iterator<Item = &'static Kind> {
    KINDS
        .iter()
        .filter(move |k| k.group == group && k.version == version)
}

fn resource(kind: &'static Kind) -> Value {
    let mut out = json!({
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular,
        "verbs": kind.verbs,
    });
    if !kind.short_names.is_empty() {
        out["shortNames"] = kind.short_names.into();
    }
    if !kind.categories.is_empty() {
        out["categories"] = kind.categories.into();
    }
    if !kind.subresources.is_empty() {
        let list = kind.subresources.iter().map(|sub| {
            json!({
                "subresource": sub.name,
                "responseKind": {"group": sub.group, "version": sub.version, "kind": sub.kind},
                "verbs": sub.verbs,
            })
        });
        out["subresources"] = list.collect();
    }
    out
}

/// `/api` in legacy form (`APIVersions`). `server` is `host:port` as the client sees it.
pub fn api_versions(server: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": versions("").collect::<Vec<_>>(),
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server}],
    })
}

/// `/apis` in legacy form (`APIGroupList`).
pub fn api_groups() -> Value {
    let list: Vec<Value> = groups()
        .into_iter()
        .filter(|group| !group.is_empty())
        .map(group_body)
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": list})
}

/// `/apis/{group}` (`APIGroup`).
pub fn api_group(group: &str) -> Option<Value> {
    if group.is_empty() || !groups().contains(&group) {
        return None;
    }
    let mut out = group_body(group);
    out["kind"] = "APIGroup".into();
    out["apiVersion"] = "v1".into();
    Some(out)
}

fn group_body(group: &str) -> Value {
    let list: Vec<Value> = versions(group)
        .map(|v| json!({"groupVersion": join_api_version(group, v), "version": v}))
        .collect();
    json!({"name": group, "preferredVersion": list.first(), "versions": list})
}

/// `/api/v1` and `/apis/{group}/{version}` (`APIResourceList`).
pub fn api_resources(group: &str, version: &str) -> Option<Value> {
    let mut list = Vec::new();
    for kind in kinds(group, version) {
        let mut entry = json!({
            "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced,
            "kind": kind.kind, "verbs": kind.verbs,
        });
        if !kind.short_names.is_empty() {
            entry["shortNames"] = kind.short_names.into();
        }
        if !kind.categories.is_empty() {
            entry["categories"] = kind.categories.into();
        }
        list.push(entry);
        list.extend(kind.subresources.iter().map(|sub| subresource(kind, sub)));
    }
    if list.is_empty() {
        return None;
    }
    let group_version = join_api_version(group, version);
    Some(
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": list}),
    )
}

fn subresource(kind: &Kind, sub: &Subresource) -> Value {
    let mut entry = json!({
        "name": format!("{}/{}", kind.plural, sub.name), "singularName": "",
        "namespaced": kind.namespaced, "kind": sub.kind, "verbs": sub.verbs,
    });
    if (sub.group, sub.version) != (kind.group, kind.version) {
        entry["group"] = sub.group.into();
        entry["version"] = sub.version.into();
    }
    entry
}

/// `/version`.
pub fn version() -> Value {
    let mut parts = KUBERNETES_VERSION.trim_start_matches('v').split('.');
    json!({
        "major": parts.next(),
        "minor": parts.next(),
        "gitVersion": format!("{KUBERNETES_VERSION}+bramble{}", env!("CARGO_PKG_VERSION")),
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("linux/{}", std::env::consts::ARCH),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aggregated_and_legacy_name_the_same_resources() {
        let mut aggregated = Vec::new();
        for list in [aggregated_api(), aggregated_apis()] {
            for group in list["items"].as_array().unwrap() {
                for version in group["versions"].as_array().unwrap() {
                    for resource in version["resources"].as_array().unwrap() {
                        let name = resource["resource"].as_str().unwrap();
                        aggregated.push(name.to_owned());
                        for sub in resource["subresources"].as_array().into_iter().flatten() {
                            aggregated
                                .push(format!("{name}/{}", sub["subresource"].as_str().unwrap()));
                        }
                    }
                }
            }
        }
        let mut legacy = Vec::new();
        for (group, version) in group_versions() {
            let list = api_resources(group, version).unwrap();
            legacy.extend(
                list["resources"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|r| r["name"].as_str().unwrap().to_owned()),
            );
        }
        aggregated.sort();
        legacy.sort();
        assert_eq!(aggregated, legacy);
        assert!(legacy.contains(&"deployments/scale".to_owned()));
        assert_eq!(api_resources("nope", "v1"), None);
    }

    #[test]
    fn pods_as_kubectl_reads_them() {
        let list = aggregated_api();
        let pods = list["items"][0]["versions"][0]["resources"]
            .as_array()
            .unwrap()
            .iter()
            .find(|r| r["resource"] == "pods")
            .unwrap();
        assert_eq!(pods["scope"], "Namespaced");
        assert_eq!(pods["shortNames"], json!(["po"]));
        assert_eq!(pods["categories"], json!(["all"]));
        assert_eq!(pods["singularResource"], "pod");
        let eviction = pods["subresources"]
            .as_array()
            .unwrap()
            .iter()
            .find(|s| s["subresource"] == "eviction")
            .unwrap();
        assert_eq!(
            eviction["responseKind"],
            json!({"group": "policy", "version": "v1", "kind": "Eviction"})
        );
    }

    #[test]
    fn groups_and_version() {
        assert_eq!(api_groups()["groups"][0]["name"], "apps");
        assert_eq!(
            api_group("apps").unwrap()["preferredVersion"]["groupVersion"],
            "apps/v1"
        );
        assert_eq!(api_group("nope"), None);
        let version = version();
        assert_eq!(
            (version["major"].as_str(), version["minor"].as_str()),
            (Some("1"), Some("37"))
        );
    }

    /// `kubectl api-resources -o wide`, line by line: name, short names, group, scope, kind, verbs.
    #[test]
    fn what_kubectl_lists() {
        let mut lines = Vec::new();
        for list in [aggregated_api(), aggregated_apis()] {
            for group in list["items"].as_array().unwrap() {
                let name = group["metadata"]["name"].as_str().unwrap_or("-");
                let resources = group["versions"][0]["resources"].as_array().unwrap();
                for resource in resources {
                    let short = resource["shortNames"].as_array();
                    let short: Vec<&str> = short
                        .into_iter()
                        .flatten()
                        .filter_map(Value::as_str)
                        .collect();
                    let subs = resource["subresources"].as_array();
                    let subs: Vec<&str> = subs
                        .into_iter()
                        .flatten()
                        .filter_map(|s| s["subresource"].as_str())
                        .collect();
                    let mut sorted = subs.clone();
                    sorted.sort_unstable();
                    assert_eq!(subs, sorted, "in upstream's order");
                    let verbs = resource["verbs"].as_array().unwrap().len();
                    lines.push(format!(
                        "{} {} {name} {} {} {verbs} {}",
                        resource["resource"].as_str().unwrap(),
                        short.join(","),
                        &resource["scope"].as_str().unwrap()[..1],
                        resource["responseKind"]["kind"].as_str().unwrap(),
                        subs.join(",")
                    ));
                }
            }
        }
        let want = "\
configmaps cm - N ConfigMap 8 
endpoints ep - N Endpoints 8 
events ev - N Event 8 
limitranges limits - N LimitRange 8 
namespaces ns - C Namespace 7 finalize,status
nodes no - C Node 8 status
pods po - N Pod 8 attach,binding,ephemeralcontainers,eviction,exec,log,portforward,status
podtemplates  - N PodTemplate 8 
replicationcontrollers rc - N ReplicationController 8 scale,status
resourcequotas quota - N ResourceQuota 8 status
secrets  - N Secret 8 
serviceaccounts sa - N ServiceAccount 8 token
services svc - N Service 8 status
controllerrevisions  apps N ControllerRevision 8 
deployments deploy apps N Deployment 8 scale,status
replicasets rs apps N ReplicaSet 8 scale,status
events ev events.k8s.io N Event 8 
selfsubjectreviews  authentication.k8s.io C SelfSubjectReview 1 
tokenreviews  authentication.k8s.io C TokenReview 1 
localsubjectaccessreviews  authorization.k8s.io N LocalSubjectAccessReview 1 
selfsubjectaccessreviews  authorization.k8s.io C SelfSubjectAccessReview 1 
selfsubjectrulesreviews  authorization.k8s.io C SelfSubjectRulesReview 1 
subjectaccessreviews  authorization.k8s.io C SubjectAccessReview 1 
clusterrolebindings  rbac.authorization.k8s.io C ClusterRoleBinding 8 
clusterroles  rbac.authorization.k8s.io C ClusterRole 8 
rolebindings  rbac.authorization.k8s.io N RoleBinding 8 
roles  rbac.authorization.k8s.io N Role 8 
priorityclasses pc scheduling.k8s.io C PriorityClass 8 
leases  coordination.k8s.io N Lease 8 
endpointslices  discovery.k8s.io N EndpointSlice 8 
nodes  metrics.k8s.io C NodeMetrics 2 
pods  metrics.k8s.io N PodMetrics 2 
";
        assert_eq!(lines.join("\n") + "\n", want);
    }

    #[test]
    fn subresources_say_what_their_body_is() {
        let core = api_resources("", "v1").unwrap();
        let entry = |name: &str| {
            let list = core["resources"].as_array().unwrap();
            list.iter().find(|r| r["name"] == name).unwrap().clone()
        };
        for (name, want) in [
            ("pods/eviction", json!(["policy", "v1", "Eviction"])),
            (
                "serviceaccounts/token",
                json!(["authentication.k8s.io", "v1", "TokenRequest"]),
            ),
            (
                "replicationcontrollers/scale",
                json!(["autoscaling", "v1", "Scale"]),
            ),
            ("pods/binding", json!([null, null, "Binding"])),
            ("services/status", json!([null, null, "Service"])),
        ] {
            let entry = entry(name);
            let got = json!([entry["group"], entry["version"], entry["kind"]]);
            assert_eq!(got, want, "{name}");
        }
        assert_eq!(entry("pods")["singularName"], "pod");
        assert_eq!(entry("pods/log")["verbs"], json!(["get"]));
    }
}
