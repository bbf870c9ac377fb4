//! Where services lead.

use super::*;

#[test]
fn endpoints() {
    let subset = |subset: Value| json!({"subsets": [subset]});
    check(
        "endpoints",
        &[
            (json!({}), &[]),
            (
                subset(json!({"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]})),
                &[],
            ),
            (
                subset(json!({"ports": [{"port": 80}]})),
                &["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"],
            ),
            (
                subset(
                    json!({"notReadyAddresses": [{"ip": "x", "hostname": "A", "nodeName": "N_"}]}),
                ),
                &[
                    "subsets[0].notReadyAddresses[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                    "subsets[0].notReadyAddresses[0].hostname: Invalid value: \"A\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
                    "subsets[0].notReadyAddresses[0].nodeName: Invalid value: \"N_\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
                ],
            ),
            (
                subset(
                    json!({"addresses": [{"ip": "127.0.0.1"}, {"ip": "169.254.1.1"}, {"ip": "224.0.0.1"}, {"ip": "0.0.0.0"}]}),
                ),
                &[
                    "subsets[0].addresses[0].ip: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
                    "subsets[0].addresses[1].ip: Invalid value: \"169.254.1.1\": may not be in the link-local range (169.254.0.0/16, fe80::/10)",
                    "subsets[0].addresses[2].ip: Invalid value: \"224.0.0.1\": may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)",
                    "subsets[0].addresses[3].ip: Invalid value: \"0.0.0.0\": may not be unspecified (0.0.0.0)",
                ],
            ),
            (
                subset(
                    json!({"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 0}, {"name": "a", "port": 80, "protocol": "ICMP"}]}),
                ),
                &[
                    "subsets[0].ports[0].name: Required value",
                    "subsets[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                    "subsets[0].ports[1].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
                ],
            ),
        ],
    );
    let made = created(
        "endpoints",
        subset(json!({"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]})),
    )
    .unwrap();
    assert_eq!(made["subsets"][0]["ports"][0]["protocol"], "TCP");
}

#[test]
fn endpoint_slices() {
    let slice = |kind: &str, addresses: Value| json!({"addressType": kind, "endpoints": [{"addresses": addresses}]});
    check(
        "endpointslices",
        &[
            (slice("IPv4", json!(["10.0.0.1"])), &[]),
            (slice("FQDN", json!(["a.example.com"])), &[]),
            (json!({"endpoints": []}), &["addressType: Required value"]),
            (
                slice("IP", json!(["10.0.0.1"])),
                &[
                    "addressType: Unsupported value: \"IP\": supported values: \"FQDN\", \"IPv4\", \"IPv6\"",
                ],
            ),
            (
                slice("IPv4", json!([])),
                &["endpoints[0].addresses: Required value: must contain at least 1 address"],
            ),
            (
                slice("IPv4", json!(["::1"])),
                &[
                    "endpoints[0].addresses[0]: Invalid value: \"::1\": must be a valid IPv4 address",
                ],
            ),
            (
                slice("IPv6", json!(["fe80::1"])),
                &[
                    "endpoints[0].addresses[0]: Invalid value: \"fe80::1\": may not be in the link-local range (169.254.0.0/16, fe80::/10)",
                ],
            ),
            (
                slice("FQDN", json!(["local"])),
                &[
                    "endpoints[0].addresses[0]: Invalid value: \"local\": should be a domain with at least two segments separated by dots",
                ],
            ),
            (
                json!({"addressType": "IPv4", "endpoints": [], "ports": [{"port": 1}, {"port": 2}]}),
                &["ports[1].name: Duplicate value: \"\""],
            ),
            (
                json!({"addressType": "IPv4", "endpoints": [{"addresses": vec!["10.0.0.1"; 101]}]}),
                &["endpoints[0].addresses: Too many: 101: must have at most 100 items"],
            ),
        ],
    );
    let made = created("endpointslices", slice("IPv4", json!(["10.0.0.1"]))).unwrap();
    assert_eq!(made["metadata"]["generation"], 1);
    let changed = updated("endpointslices", slice("IPv4", json!(["10.0.0.1"])), |s| {
        s["endpoints"][0]["addresses"][0] = "10.0.0.2".into();
    });
    assert_eq!(changed.unwrap()["metadata"]["generation"], 2);
    let wrong = updated("endpointslices", slice("IPv4", json!(["10.0.0.1"])), |s| {
        s["addressType"] = "FQDN".into();
        s["endpoints"] = json!([]);
    });
    assert_eq!(
        wrong.unwrap_err(),
        ["addressType: Invalid value: \"FQDN\": field is immutable"]
    );
}
