//! Services: defaults, errors, what moves when the type does.

use super::tests::{check, created, updated};
use serde_json::{Value, json};

fn service(rest: Value) -> Value {
    let mut spec = json!({"ports": [{"port": 80}]});
    let own = spec.as_object_mut().unwrap();
    own.extend(rest.as_object().unwrap().clone());
    json!({"spec": spec})
}

#[test]
fn defaults() {
    let made = created("services", service(json!({"selector": {"a": "b"}}))).unwrap();
    assert_eq!(
        made["spec"],
        json!({"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "selector": {"a": "b"},
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}]})
    );
    assert_eq!(made["status"], json!({"loadBalancer": {}}));
    assert_eq!(made["metadata"].get("generation"), None);

    let made = created(
        "services",
        service(json!({"type": "LoadBalancer", "sessionAffinity": "ClientIP"})),
    )
    .unwrap();
    let spec = &made["spec"];
    assert_eq!(spec["externalTrafficPolicy"], "Cluster");
    assert_eq!(spec["allocateLoadBalancerNodePorts"], true);
    assert_eq!(
        spec["sessionAffinityConfig"],
        json!({"clientIP": {"timeoutSeconds": 10800}})
    );

    let made = created(
        "services",
        service(json!({"clusterIP": "None", "selector": {"a": "b"}})),
    )
    .unwrap();
    assert_eq!(made["spec"]["clusterIPs"], json!(["None"]));
    assert_eq!(made["spec"]["ipFamilyPolicy"], "SingleStack");

    let made = created("services", json!({"spec": {"clusterIP": "None"}})).unwrap();
    assert_eq!(made["spec"]["ipFamilyPolicy"], "RequireDualStack");
    assert_eq!(made["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]));

    let made = created(
        "services",
        json!({"spec": {"type": "ExternalName", "externalName": "example.com."}}),
    )
    .unwrap();
    assert_eq!(
        made["spec"],
        json!({"type": "ExternalName", "externalName": "example.com.", "sessionAffinity": "None"})
    );
}

#[test]
fn names_and_ports() {
    let ports = |ports: Value| json!({"spec": {"ports": ports}});
    let named = |name: &str| json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
    check(
        "services",
        &[
            (service(json!({})), &[]),
            (json!({"spec": {}}), &["spec.ports: Required value"]),
            (
                named("1a"),
                &[
                    "metadata.name: Invalid value: \"1a\": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')",
                ],
            ),
            (
                ports(json!([{"port": 80}, {"port": 80}])),
                &[
                    "spec.ports[0].name: Required value",
                    "spec.ports[1].name: Required value",
                    "spec.ports[1]: Duplicate value: {\"port\":80,\"protocol\":\"TCP\"}",
                ],
            ),
            (
                ports(json!([{"name": "a", "port": 1}, {"name": "a", "port": 2}])),
                &["spec.ports[1].name: Duplicate value: \"a\""],
            ),
            (
                ports(
                    json!([{"port": 70000, "targetPort": "a--b", "protocol": "tcp", "appProtocol": "-"}]),
                ),
                &[
                    "spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive",
                    "spec.ports[0].protocol: Unsupported value: \"tcp\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
                    "spec.ports[0].targetPort: Invalid value: \"a--b\": must not contain consecutive hyphens",
                    "spec.ports[0].appProtocol: Invalid value: \"-\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
                ],
            ),
            (
                ports(json!([{"port": 80, "nodePort": 30000}])),
                &["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
            ),
            (
                service(
                    json!({"type": "NodePort", "ports": [{"name": "a", "port": 1, "nodePort": 30000}, {"name": "b", "port": 2, "nodePort": 30000}]}),
                ),
                &["spec.ports[1].nodePort: Duplicate value: 30000"],
            ),
        ],
    );
}

#[test]
fn types_and_policies() {
    check(
        "services",
        &[
            (
                service(json!({"type": "Other"})),
                &[
                    "spec.type: Unsupported value: \"Other\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
                ],
            ),
            (
                service(json!({"type": "NodePort", "clusterIP": "None"})),
                &[
                    "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services",
                ],
            ),
            (
                json!({"spec": {"type": "ExternalName", "clusterIP": "10.0.0.1"}}),
                &[
                    "spec.clusterIPs: Forbidden: may not be set for ExternalName services",
                    "spec.externalName: Required value",
                ],
            ),
            (
                service(json!({"sessionAffinity": "Cookie"})),
                &[
                    "spec.sessionAffinity: Unsupported value: \"Cookie\": supported values: \"ClientIP\", \"None\"",
                ],
            ),
            (
                service(
                    json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86401}}}),
                ),
                &[
                    "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401: must be greater than 0 and less than 86400",
                ],
            ),
            (
                service(json!({"externalTrafficPolicy": "Local"})),
                &[
                    "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services",
                ],
            ),
            (
                service(
                    json!({"type": "NodePort", "externalTrafficPolicy": "Near", "internalTrafficPolicy": "Near"}),
                ),
                &[
                    "spec.externalTrafficPolicy: Unsupported value: \"Near\": supported values: \"Cluster\", \"Local\"",
                    "spec.internalTrafficPolicy: Unsupported value: \"Near\": supported values: \"Cluster\", \"Local\"",
                ],
            ),
            (
                service(
                    json!({"loadBalancerSourceRanges": ["x"], "loadBalancerClass": "a/b", "allocateLoadBalancerNodePorts": true, "healthCheckNodePort": 30000}),
                ),
                &[
                    "spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'",
                    "spec.LoadBalancerSourceRanges[0]: Invalid value: \"x\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
                    "spec.allocateLoadBalancerNodePorts: Forbidden: may only be used when `type` is 'LoadBalancer'",
                    "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'",
                    "spec.healthCheckNodePort: Invalid value: 30000: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
                ],
            ),
        ],
    );
}

#[test]
fn addresses_and_families() {
    check(
        "services",
        &[
            (service(json!({"clusterIP": "10.43.0.9"})), &[]),
            (
                service(json!({"clusterIP": "x"})),
                &[
                    "spec.clusterIPs[0]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                ],
            ),
            (
                service(json!({"clusterIP": "10.43.0.9", "clusterIPs": ["10.43.0.8"]})),
                &[
                    "spec.clusterIPs: Invalid value: [\"10.43.0.8\"]: first value must match `clusterIP`",
                ],
            ),
            (
                service(json!({"clusterIPs": ["10.43.0.8"]})),
                &[
                    "spec.clusterIPs: Invalid value: [\"10.43.0.8\"]: must be empty when `clusterIP` is not specified",
                ],
            ),
            (
                service(
                    json!({"clusterIP": "10.43.0.8", "clusterIPs": ["10.43.0.8", "10.43.0.9"]}),
                ),
                &[
                    "spec.clusterIPs: Invalid value: [\"10.43.0.8\",\"10.43.0.9\"]: may specify no more than one IP for each IP family",
                ],
            ),
            (
                service(json!({"ipFamilies": ["IPv6"]})),
                &["spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster"],
            ),
            (
                service(json!({"ipFamilyPolicy": "RequireDualStack"})),
                &[
                    "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services",
                ],
            ),
            (service(json!({"ipFamilyPolicy": "PreferDualStack"})), &[]),
            (
                service(json!({"externalIPs": ["127.0.0.1"]})),
                &[
                    "spec.externalIPs[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
                ],
            ),
        ],
    );
}

#[test]
fn what_was_allocated_stays() {
    let allocated = service(
        json!({"type": "NodePort", "clusterIP": "10.43.0.9", "ports": [{"port": 80, "nodePort": 30001}]}),
    );
    let kept = updated("services", allocated.clone(), |s| {
        let spec = s["spec"].as_object_mut().unwrap();
        spec.remove("clusterIP");
        spec.remove("clusterIPs");
        s["spec"]["ports"] = json!([{"port": 81}]);
    })
    .unwrap();
    assert_eq!(kept["spec"]["clusterIP"], "10.43.0.9");
    assert_eq!(kept["spec"]["clusterIPs"], json!(["10.43.0.9"]));
    assert_eq!(kept["spec"]["ports"][0]["nodePort"], 30001);

    let wrong = updated("services", allocated.clone(), |s| {
        s["spec"]["clusterIP"] = "10.43.0.8".into()
    });
    assert_eq!(
        wrong.unwrap_err(),
        ["spec.clusterIPs[0]: Invalid value: [\"10.43.0.8\"]: may not change once set"]
    );
    let wrong = updated("services", allocated.clone(), |s| {
        s["spec"]["clusterIP"] = "None".into();
        s["spec"]["type"] = "ClusterIP".into();
    });
    assert_eq!(
        wrong.unwrap_err(),
        ["spec.clusterIPs[0]: Invalid value: [\"None\"]: may not change once set"]
    );

    let internal = updated("services", allocated.clone(), |s| {
        s["spec"]["type"] = "ClusterIP".into()
    })
    .unwrap();
    assert_eq!(internal["spec"]["ports"][0].get("nodePort"), None);
    assert_eq!(internal["spec"].get("externalTrafficPolicy"), None);
    assert_eq!(internal["spec"]["clusterIP"], "10.43.0.9");

    let external = updated("services", allocated, |s| {
        s["spec"]["type"] = "ExternalName".into();
        s["spec"]["externalName"] = "example.com".into();
    })
    .unwrap();
    for gone in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        assert_eq!(external["spec"].get(gone), None, "{gone}");
    }
}
