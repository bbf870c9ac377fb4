use super::*;
use serde_json::json;

fn range(limit: &Value) -> Value {
    json!({"spec": {"limits": [limit]}})
}

fn pod(resources: &Value) -> Value {
    json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "resources": resources}]}})
}

#[track_caller]
fn checked(limit: &Value, resources: &Value) -> String {
    check_pod(&pod(resources), &range(limit))
        .err()
        .unwrap_or_else(|| "ok".into())
}

#[test]
fn bounds_of_containers() {
    let max = json!({"type": "Container", "max": {"memory": "1Gi"}});
    let min = json!({"type": "Container", "min": {"cpu": "100m"}});
    let ratio = json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}});
    let cases = [
        (
            &max,
            json!({"limits": {"memory": "2Gi"}, "requests": {"memory": "2Gi"}}),
            "maximum memory usage per Container is 1Gi, but limit is 2Gi",
        ),
        (
            &max,
            json!({}),
            "maximum memory usage per Container is 1Gi.  No limit is specified",
        ),
        (
            &max,
            json!({"limits": {"memory": "1Gi"}, "requests": {"memory": "2Gi"}}),
            "maximum memory usage per Container is 1Gi, but request is 2Gi",
        ),
        (
            &max,
            json!({"limits": {"memory": "1024Mi"}, "requests": {"memory": "1"}}),
            "ok",
        ),
        (
            &min,
            json!({}),
            "minimum cpu usage per Container is 100m.  No request is specified",
        ),
        (
            &min,
            json!({"requests": {"cpu": "0.05"}}),
            "minimum cpu usage per Container is 100m, but request is 50m",
        ),
        (
            &min,
            json!({"requests": {"cpu": "1"}, "limits": {"cpu": "10m"}}),
            "minimum cpu usage per Container is 100m, but limit is 10m",
        ),
        (&min, json!({"requests": {"cpu": "100m"}}), "ok"),
        (
            &ratio,
            json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "250m"}}),
            "cpu max limit to request ratio per Container is 2, but provided ratio is 2.500000",
        ),
        (
            &ratio,
            json!({"limits": {"cpu": "250m"}}),
            "cpu max limit to request ratio per Container is 2, but no request is specified or request is 0",
        ),
        (
            &ratio,
            json!({"requests": {"cpu": "100m"}}),
            "cpu max limit to request ratio per Container is 2, but no limit is specified or limit is 0",
        ),
        (
            &ratio,
            json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "200m"}}),
            "ok",
        ),
    ];
    for (limit, resources, want) in cases {
        assert_eq!(checked(limit, &resources), want, "{resources}");
    }
}

#[test]
fn all_that_is_wrong_is_named() {
    let limit = json!({"type": "Container", "max": {"cpu": "1", "memory": "1Gi"}});
    assert_eq!(
        checked(&limit, &json!({"limits": {"cpu": "2", "memory": "2Gi"}})),
        "[maximum cpu usage per Container is 1, but limit is 2, \
         maximum memory usage per Container is 1Gi, but limit is 2Gi]"
    );
}

#[test]
fn bounds_of_pods_are_on_the_sum() {
    let limit = json!({"type": "Pod", "max": {"cpu": "1"}});
    let container = json!({"name": "a", "resources": {"limits": {"cpu": "600m"}}});
    let pod = json!({"spec": {"containers": [container, container]}});
    assert_eq!(
        check_pod(&pod, &range(&limit)),
        Err("maximum cpu usage per Pod is 1, but limit is 1200m".into())
    );
    assert_eq!(
        checked(&limit, &json!({})),
        "maximum cpu usage per Pod is 1.  No limit is specified"
    );
}

#[test]
fn claims() {
    let limit = json!({"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}});
    let claim = |storage: &str| json!({"spec": {"resources": {"requests": {"storage": storage}}}});
    for (storage, want) in [
        ("1Gi", "ok"),
        (
            "3Gi",
            "maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi",
        ),
        (
            "1Mi",
            "minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi",
        ),
    ] {
        let got = check_claim(&claim(storage), &range(&limit));
        assert_eq!(got.err().as_deref().unwrap_or("ok"), want);
    }
}

#[test]
fn containers_get_defaults() {
    let ranges = [range(&json!({"type": "Container",
        "default": {"cpu": "500m", "memory": "512Mi"}, "defaultRequest": {"cpu": "100m"}}))];
    let mut new = pod(&json!({"limits": {"memory": "1Gi"}}));
    default_pod(&mut new, &ranges);
    assert_eq!(
        new["spec"]["containers"][0]["resources"],
        // The default request of memory is the default limit.
        json!({"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"cpu": "500m", "memory": "1Gi"}})
    );
    assert_eq!(
        new["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
        "LimitRanger plugin set: cpu, memory request for container a; cpu limit for container a"
    );
    let before = new.clone();
    default_pod(&mut new, &ranges);
    assert_eq!(new, before, "nothing is set twice");
}

#[test]
fn defaults_come_from_bounds_too() {
    let ranges = [range(
        &json!({"type": "Container", "max": {"cpu": "1"}, "min": {"memory": "1Mi"}}),
    )];
    let mut new = pod(&json!({}));
    default_pod(&mut new, &ranges);
    assert_eq!(
        new["spec"]["containers"][0]["resources"],
        json!({"requests": {"cpu": "1", "memory": "1Mi"}, "limits": {"cpu": "1"}})
    );
    let mut other = pod(&json!({}));
    default_pod(
        &mut other,
        &[range(&json!({"type": "Pod", "max": {"cpu": "1"}}))],
    );
    assert_eq!(other, pod(&json!({})));
}
