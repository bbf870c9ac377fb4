use super::*;

struct Taken(Holdings);

impl InUse for Taken {
    fn address(&self, address: Ipv4Addr) -> bool {
        self.0.addresses.contains(&address)
    }

    fn port(&self, port: u16) -> bool {
        self.0.ports.contains(&port)
    }
}

const RANGE: Range = Range {
    base: Ipv4Addr::new(10, 43, 0, 0),
    prefix: 16,
};

fn nothing() -> Taken {
    Taken(Holdings::default())
}

fn service(spec: &Value) -> Value {
    json!({"metadata": {"name": "s"}, "spec": spec})
}

fn allotted(spec: &Value, taken: &Taken) -> Result<Value, Error> {
    let mut new = service(spec);
    allot(&mut new, None, RANGE, taken, 7)?;
    Ok(new["spec"].take())
}

fn updated(old: &Value, spec: &Value) -> Result<(Value, Holdings), Error> {
    let mut new = service(spec);
    let taken = Taken(Holdings::of(&service(old)));
    let holdings = allot(&mut new, Some(&service(old)), RANGE, &taken, 7)?;
    Ok((new["spec"].take(), holdings))
}

fn causes(error: &Error) -> Vec<String> {
    match error {
        Error::Invalid(causes) => causes
            .iter()
            .map(|c| format!("{}: {}", c.field, c.message))
            .collect(),
        Error::Full(what) => vec![(*what).to_owned()],
    }
}

#[test]
fn a_service_gets_an_address_out_of_the_upper_part() {
    let spec = allotted(
        &json!({"type": "ClusterIP", "selector": {"a": "b"}}),
        &nothing(),
    )
    .unwrap();
    let address: Ipv4Addr = spec["clusterIP"].as_str().unwrap().parse().unwrap();
    assert!(address >= Ipv4Addr::new(10, 43, 1, 0), "{address}");
    assert_eq!(spec["clusterIPs"], json!([spec["clusterIP"]]));
    assert_eq!(spec["ipFamilies"], json!(["IPv4"]));
    assert_eq!(spec["ipFamilyPolicy"], "SingleStack");
}

#[test]
fn types_without_an_address() {
    for (spec, want) in [
        (
            json!({"type": "ExternalName", "externalName": "x"}),
            json!({"type": "ExternalName", "externalName": "x"}),
        ),
        (
            json!({"clusterIP": "None", "selector": {"a": "b"}}),
            json!({"clusterIP": "None", "clusterIPs": ["None"], "selector": {"a": "b"},
                   "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"}),
        ),
        (
            json!({"clusterIP": "None"}),
            json!({"clusterIP": "None", "clusterIPs": ["None"],
                   "ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "RequireDualStack"}),
        ),
    ] {
        assert_eq!(allotted(&spec, &nothing()), Ok(want), "{spec}");
    }
}

#[test]
fn what_is_asked_for_is_checked() {
    let taken = Taken(Holdings {
        addresses: [Ipv4Addr::new(10, 43, 0, 9)].into(),
        ports: [30080].into(),
    });
    let cases = [
        (json!({"clusterIP": "10.43.0.10"}), "ok"),
        (
            json!({"clusterIP": "10.43.0.9"}),
            "spec.clusterIPs: Invalid value: [\"10.43.0.9\"]: failed to allocate IP 10.43.0.9: provided IP is already allocated",
        ),
        (
            json!({"clusterIP": "10.44.0.9"}),
            "spec.clusterIPs: Invalid value: [\"10.44.0.9\"]: failed to allocate IP 10.44.0.9: the provided IP \
             (10.44.0.9) is not in the valid range. The range of valid IPs is 10.43.0.0/16",
        ),
        (
            json!({"clusterIP": "10.43.255.255"}),
            "spec.clusterIPs: Invalid value: [\"10.43.255.255\"]: failed to allocate IP 10.43.255.255: the provided IP \
             (10.43.255.255) is not in the valid range. The range of valid IPs is 10.43.0.0/16",
        ),
        (
            json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30081}]}),
            "ok",
        ),
        (
            json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}),
            "spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated",
        ),
        (
            json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]}),
            "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767",
        ),
    ];
    for (spec, want) in cases {
        let got = allotted(&spec, &taken).map_or_else(|e| causes(&e).join("; "), |_| "ok".into());
        assert_eq!(got, want, "{spec}");
    }
}

#[test]
fn node_ports_are_given_out_once() {
    let ports = json!([{"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}, {"port": 80, "protocol": "TCP"}]);
    let spec = allotted(&json!({"type": "NodePort", "ports": ports}), &nothing()).unwrap();
    let port = |at: usize| spec["ports"][at]["nodePort"].as_u64().unwrap();
    assert_eq!(port(0), port(1), "one for both protocols");
    assert_ne!(port(0), port(2));
    assert!((0..3).all(|at| (30086..=32767).contains(&port(at))));
    let plain = json!([{"port": 80, "protocol": "TCP"}]);
    let suppressed =
        json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": plain});
    assert_eq!(allotted(&suppressed, &nothing()).unwrap()["ports"], plain);
    let local = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": plain});
    let spec = allotted(&local, &nothing()).unwrap();
    assert!(spec["healthCheckNodePort"].is_number());
    assert_ne!(spec["healthCheckNodePort"], spec["ports"][0]["nodePort"]);
}

#[test]
fn a_full_range_says_so() {
    let small = Range {
        base: Ipv4Addr::new(10, 0, 0, 0),
        prefix: 30,
    };
    let mut taken = Holdings::default();
    let mut one = service(&json!({}));
    let new = allot(&mut one, None, small, &Taken(taken.clone()), 3).unwrap();
    assert_eq!(
        new.addresses,
        [Ipv4Addr::new(10, 0, 0, 2)].into(),
        "not the first"
    );
    taken.addresses.extend(new.addresses);
    assert_eq!(
        allot(&mut service(&json!({})), None, small, &Taken(taken), 3),
        Err(Error::Full("failed to allocate a serviceIP: range is full"))
    );
    let all = Holdings {
        ports: NODE_PORTS.collect(),
        ..Holdings::default()
    };
    assert_eq!(
        allotted(
            &json!({"type": "NodePort", "ports": [{"port": 1}]}),
            &Taken(all)
        ),
        Err(Error::Full("failed to allocate a nodePort: range is full"))
    );
}

#[test]
fn every_address_but_the_first_is_found() {
    let range = Range {
        base: Ipv4Addr::new(10, 0, 0, 0),
        prefix: 24,
    };
    let mut taken = BTreeSet::new();
    for random in 0..300 {
        if let Some(address) = range.pick(random * 31, |a| taken.contains(&a)) {
            assert!(range.contains(address) && taken.insert(address));
        }
    }
    assert_eq!(taken.len(), 253);
}

fn stored() -> Value {
    json!({"type": "NodePort", "clusterIP": "10.43.1.1", "clusterIPs": ["10.43.1.1"],
           "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "externalTrafficPolicy": "Cluster",
           "internalTrafficPolicy": "Cluster",
           "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30100}], "selector": {"a": "b"}})
}

#[test]
fn an_update_keeps_what_it_leaves_out() {
    let spec = json!({"type": "NodePort", "selector": {"a": "c"}, "externalTrafficPolicy": "Cluster",
        "internalTrafficPolicy": "Cluster",
        "ports": [{"port": 80, "protocol": "TCP"}]});
    let (new, holdings) = updated(&stored(), &spec).unwrap();
    let mut want = stored();
    want["selector"] = json!({"a": "c"});
    assert_eq!(new, want);
    assert_eq!(holdings, Holdings::default(), "nothing new");
}

#[test]
fn an_address_does_not_change() {
    let mut spec = stored();
    spec["clusterIP"] = json!("10.43.1.2");
    let error = updated(&stored(), &spec).unwrap_err();
    assert_eq!(
        causes(&error),
        ["spec.clusterIPs[0]: Invalid value: [\"10.43.1.2\"]: may not change once set"]
    );
}

#[test]
fn types_change_as_upstream() {
    // To ClusterIP: node ports go.
    let mut spec = stored();
    spec["type"] = json!("ClusterIP");
    let (new, _) = updated(&stored(), &spec).unwrap();
    assert_eq!(new["ports"], json!([{"port": 80, "protocol": "TCP"}]));
    assert_eq!(new.get("externalTrafficPolicy"), None);
    assert_eq!(new["clusterIP"], "10.43.1.1");
    // To ExternalName: the address goes too.
    spec["type"] = json!("ExternalName");
    spec["externalName"] = json!("x.example");
    let (new, _) = updated(&stored(), &spec).unwrap();
    for key in [
        "clusterIP",
        "clusterIPs",
        "ipFamilies",
        "ipFamilyPolicy",
        "internalTrafficPolicy",
    ] {
        assert_eq!(new.get(key), None, "{key}");
    }
    // And back: a new address.
    let (back, holdings) = updated(
        &new,
        &json!({"type": "ClusterIP", "externalName": "x.example"}),
    )
    .unwrap();
    assert_eq!(back.get("externalName"), None);
    assert_eq!(holdings.addresses.len(), 1);
    // From ClusterIP to NodePort: one is given out.
    let mut plain = stored();
    plain["type"] = json!("ClusterIP");
    plain["ports"] = json!([{"port": 80, "protocol": "TCP"}]);
    plain
        .as_object_mut()
        .unwrap()
        .remove("externalTrafficPolicy");
    let mut open = plain.clone();
    open["type"] = json!("NodePort");
    let (new, holdings) = updated(&plain, &open).unwrap();
    assert_eq!(holdings.ports.len(), 1);
    assert!(new["ports"][0]["nodePort"].is_number());
    // An added port gets its own; the old one keeps its.
    let mut more = stored();
    more["ports"]
        .as_array_mut()
        .unwrap()
        .push(json!({"port": 81, "protocol": "TCP"}));
    let (new, holdings) = updated(&stored(), &more).unwrap();
    assert_eq!(new["ports"][0]["nodePort"], 30100);
    assert_eq!(holdings.ports.len(), 1);
}
