use super::*;
use serde_json::json;

const PODS: Subject<'_> = Subject {
    group: "",
    resource: "pods",
};
const SERVICES: Subject<'_> = Subject {
    group: "",
    resource: "services",
};
const NOW: Timestamp = Timestamp {
    seconds: 1_000_000,
    nanos: 0,
};

fn core(resource: &str) -> Subject<'_> {
    Subject {
        group: "",
        resource,
    }
}

fn quota(hard: &Value, used: &Value) -> Value {
    json!({"metadata": {"name": "q"}, "spec": {"hard": hard}, "status": {"hard": hard, "used": used}})
}

fn pod(resources: &Value) -> Value {
    json!({"spec": {"containers": [{"name": "a", "resources": resources}]}})
}

#[track_caller]
fn create(quota: &Value, subject: Subject<'_>, object: &Value) -> Result<Value, String> {
    let charged = check(&[quota], subject, object, Change::Create, NOW)?;
    Ok(charged
        .get(&0)
        .map_or(Value::Null, |status| status["used"].clone()))
}

#[test]
fn the_last_place_and_one_too_many() {
    let q = |used: &str| quota(&json!({"pods": "2"}), &json!({"pods": used}));
    assert_eq!(
        create(&q("1"), PODS, &pod(&json!({}))),
        Ok(json!({"pods": "2"}))
    );
    assert_eq!(
        create(&q("2"), PODS, &pod(&json!({}))),
        Err("exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2".into())
    );
}

#[test]
fn only_what_is_exceeded_is_named() {
    let q = quota(
        &json!({"requests.cpu": "1", "requests.memory": "1Gi", "pods": "9"}),
        &json!({"requests.cpu": "500m", "requests.memory": "512Mi", "pods": "1"}),
    );
    let big = pod(&json!({"requests": {"cpu": "700m", "memory": "600Mi"}}));
    assert_eq!(
        create(&q, PODS, &big),
        Err(
            "exceeded quota: q, requested: requests.cpu=700m,requests.memory=600Mi, \
             used: requests.cpu=500m,requests.memory=512Mi, limited: requests.cpu=1,requests.memory=1Gi"
                .into()
        )
    );
    let fits = pod(&json!({"requests": {"cpu": "500m", "memory": "512Mi"}}));
    assert_eq!(
        create(&q, PODS, &fits),
        Ok(json!({"pods": "2", "requests.cpu": "1", "requests.memory": "1Gi"}))
    );
}

#[test]
fn containers_must_say_what_is_limited() {
    let q = quota(
        &json!({"limits.cpu": "1", "limits.memory": "1Gi", "requests.cpu": "1", "requests.memory": "1Gi"}),
        &json!({"limits.cpu": "0", "limits.memory": "0", "requests.cpu": "0", "requests.memory": "0"}),
    );
    assert_eq!(
        create(&q, PODS, &pod(&json!({"requests": {"cpu": "1"}}))),
        Err(
            "failed quota: q: must specify limits.cpu for: a; limits.memory for: a; \
             requests.memory for: a"
                .into()
        )
    );
    let storage = quota(
        &json!({"ephemeral-storage": "1"}),
        &json!({"ephemeral-storage": "0"}),
    );
    assert_eq!(create(&storage, PODS, &pod(&json!({}))), Ok(Value::Null));
}

#[test]
fn an_unknown_status_refuses() {
    let q = quota(&json!({"pods": "2"}), &json!({}));
    assert_eq!(
        create(&q, PODS, &pod(&json!({}))),
        Err("status unknown for quota: q, resources: pods".into())
    );
    assert!(!is_current(&q));
    assert!(is_current(&quota(
        &json!({"pods": "2"}),
        &json!({"pods": "0"})
    )));
    let moved = json!({"spec": {"hard": {"pods": "3"}}, "status": {"hard": {"pods": "2"}, "used": {"pods": "0"}}});
    assert!(!is_current(&moved));
}

#[test]
fn counts_of_objects() {
    let cases = [
        ("configmaps", core("configmaps"), true),
        ("count/configmaps", core("configmaps"), true),
        ("secrets", core("secrets"), true),
        (
            "replicationcontrollers",
            core("replicationcontrollers"),
            true,
        ),
        ("resourcequotas", core("resourcequotas"), true),
        ("serviceaccounts", core("serviceaccounts"), false),
        ("count/serviceaccounts", core("serviceaccounts"), true),
        ("count/pods", PODS, true),
        (
            "count/deployments.apps",
            Subject {
                group: "apps",
                resource: "deployments",
            },
            true,
        ),
        (
            "count/deployments",
            Subject {
                group: "apps",
                resource: "deployments",
            },
            false,
        ),
        ("secrets", core("configmaps"), false),
    ];
    for (name, subject, counted) in cases {
        let q = quota(&json!({name: "1"}), &json!({name: "1"}));
        assert_eq!(create(&q, subject, &json!({})).is_err(), counted, "{name}");
        let q = quota(&json!({name: "1"}), &json!({name: "0"}));
        let want = if counted {
            json!({name: "1"})
        } else {
            Value::Null
        };
        assert_eq!(create(&q, subject, &json!({})), Ok(want), "{name}");
    }
    assert!(!counts(core("events"), Change::Create));
    assert!(!counts(PODS, Change::Update(&Value::Null)));
    assert!(counts(SERVICES, Change::Update(&Value::Null)));
}

#[test]
fn services_use_ports_and_balancers() {
    let hard = json!({"services": "9", "services.nodeports": "2", "services.loadbalancers": "1"});
    let used = json!({"services": "1", "services.nodeports": "1", "services.loadbalancers": "0"});
    let q = quota(&hard, &used);
    let service = |kind: &str, ports: usize| json!({"spec": {"type": kind, "ports": vec![json!({"port": 1}); ports]}});
    assert_eq!(
        create(&q, SERVICES, &service("ClusterIP", 5)),
        Ok(json!({"services": "2", "services.nodeports": "1", "services.loadbalancers": "0"}))
    );
    assert_eq!(
        create(&q, SERVICES, &service("LoadBalancer", 1)),
        Ok(json!({"services": "2", "services.nodeports": "2", "services.loadbalancers": "1"}))
    );
    assert_eq!(
        create(&q, SERVICES, &service("NodePort", 2)),
        Err("exceeded quota: q, requested: services.nodeports=2, used: services.nodeports=1, limited: services.nodeports=2".into())
    );
    let suppressed = json!({"spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false,
                                     "ports": [{"port": 1}, {"port": 2, "nodePort": 30001}]}});
    assert_eq!(
        create(&q, SERVICES, &suppressed).unwrap()["services.nodeports"],
        "2"
    );
    // An update is charged for what it adds.
    let change = |old: &Value, new: &Value| {
        check(&[&q], SERVICES, new, Change::Update(old), NOW)
            .map(|c| c.get(&0).map(|s| s["used"].to_string()))
    };
    let (plain, open) = (service("ClusterIP", 1), service("NodePort", 1));
    let used = r#"{"services":"1","services.loadbalancers":"0","services.nodeports":"2"}"#;
    assert_eq!(change(&plain, &open), Ok(Some(used.into())));
    assert_eq!(change(&open, &plain), Ok(None));
}

#[test]
fn scopes() {
    let best_effort = pod(&json!({}));
    let burstable = pod(&json!({"requests": {"cpu": "1"}}));
    let mut ends = best_effort.clone();
    ends["spec"]["activeDeadlineSeconds"] = 5.into();
    let mut high = best_effort.clone();
    high["spec"]["priorityClassName"] = "high".into();
    let list = |scope: &str| json!({"scopes": [scope]});
    let term = |operator: &str, values: &Value| {
        json!({"scopeSelector": {"matchExpressions": [
            {"scopeName": "PriorityClass", "operator": operator, "values": values}]}})
    };
    let cases = [
        (list("BestEffort"), [true, false, true, true]),
        (list("NotBestEffort"), [false, true, false, false]),
        (list("Terminating"), [false, false, true, false]),
        (list("NotTerminating"), [true, true, false, true]),
        (list("PriorityClass"), [false, false, false, true]),
        (term("In", &json!(["high"])), [false, false, false, true]),
        (term("In", &json!(["low"])), [false; 4]),
        (term("NotIn", &json!(["high"])), [true, true, true, false]),
        (term("Exists", &json!([])), [false, false, false, true]),
        (term("DoesNotExist", &json!([])), [true, true, true, false]),
        (
            json!({"scopes": ["BestEffort", "Terminating"]}),
            [false, false, true, false],
        ),
    ];
    for (spec, want) in cases {
        let mut q = quota(&json!({"pods": "1"}), &json!({"pods": "1"}));
        q["spec"]
            .as_object_mut()
            .unwrap()
            .extend(spec.as_object().unwrap().clone());
        let got = [&best_effort, &burstable, &ends, &high].map(|p| create(&q, PODS, p).is_err());
        assert_eq!(got, want, "{spec}");
    }
}

#[test]
fn usage_is_counted_anew() {
    let mut ended = pod(&json!({"requests": {"cpu": "1"}}));
    ended["status"] = json!({"phase": "Succeeded"});
    let mut gone = pod(&json!({"requests": {"cpu": "1"}}));
    gone["metadata"] =
        json!({"deletionTimestamp": "1970-01-02T00:00:00Z", "deletionGracePeriodSeconds": 30});
    let running = pod(&json!({"requests": {"cpu": "250m"}}));
    let map = json!({});
    let objects = [
        (PODS, &ended),
        (PODS, &gone),
        (PODS, &running),
        (PODS, &running),
        (core("configmaps"), &map),
    ];
    let q = json!({"spec": {"hard": {"pods": "5", "count/pods": "9", "requests.cpu": "2", "configmaps": "3", "secrets": "1"}}});
    assert_eq!(
        usage(&q, objects, NOW),
        json!({"hard": {"pods": "5", "count/pods": "9", "requests.cpu": "2", "configmaps": "3", "secrets": "1"},
               "used": {"pods": "2", "count/pods": "4", "requests.cpu": "500m", "configmaps": "1", "secrets": "0"}})
    );
    assert!(measured(&q, PODS) && measured(&q, core("secrets")) && !measured(&q, SERVICES));
}

#[test]
fn extended_resources_and_claims() {
    let q = quota(
        &json!({"requests.example.com/gpio": "1", "requests.storage": "1Gi",
                "fast.storageclass.storage.k8s.io/requests.storage": "1Gi"}),
        &json!({"requests.example.com/gpio": "0", "requests.storage": "0",
                "fast.storageclass.storage.k8s.io/requests.storage": "512Mi"}),
    );
    let wants = pod(&json!({"requests": {"example.com/gpio": "2"}}));
    assert_eq!(
        create(&q, PODS, &wants),
        Err("exceeded quota: q, requested: requests.example.com/gpio=2, used: requests.example.com/gpio=0, limited: requests.example.com/gpio=1".into())
    );
    let claim = json!({"spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "600Mi"}}}});
    let why = create(&q, core("persistentvolumeclaims"), &claim).unwrap_err();
    assert!(
        why.contains("requested: fast.storageclass.storage.k8s.io/requests.storage=600Mi"),
        "{why}"
    );
}
