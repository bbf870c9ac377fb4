//! Validation of pods as tables: what is written, and upstream's words about it.

mod changes;
mod containers;
mod scheduling;

use crate::admit::tests::{container, created, kind, pod, refused, updated, with};
use crate::admit::{Update, update};
use crate::status::Status;
use crate::support::NOT_SUPPORTED;
use crate::time::Timestamp;
use serde_json::{Value, json};

/// A good pod's spec with `rest` over it.
fn spec(rest: Value) -> Value {
    let mut spec = container(json!({}));
    spec.as_object_mut()
        .unwrap()
        .extend(rest.as_object().unwrap().clone());
    spec
}

/// What is said of a pod whose spec has `rest`, without what this release refuses altogether.
#[track_caller]
fn said(rest: Value) -> Vec<String> {
    words(created("pods", pod(spec(rest))).err())
}

#[track_caller]
fn of_container(rest: Value) -> Vec<String> {
    words(created("pods", pod(container(rest))).err())
}

fn words(status: Option<Status>) -> Vec<String> {
    let causes = status
        .as_ref()
        .and_then(Status::details)
        .map(|d| d.causes.clone());
    causes
        .unwrap_or_default()
        .iter()
        .map(|c| format!("{}: {}", c.field, c.message))
        .filter(|text| !text.contains(NOT_SUPPORTED))
        .collect()
}

#[track_caller]
fn check(cases: &[(Value, &[&str])]) {
    for (rest, want) in cases {
        assert_eq!(said(rest.clone()), *want, "{rest}");
    }
}

#[track_caller]
fn check_container(cases: &[(Value, &[&str])]) {
    for (rest, want) in cases {
        assert_eq!(of_container(rest.clone()), *want, "{rest}");
    }
}

const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

#[test]
fn gates_names_and_numbers_in_upstreams_words() {
    check(&[
        (
            json!({"schedulingGates": [{"name": "a/b"}, {"name": "a/b"}]}),
            &["spec.schedulingGates[1]: Duplicate value: \"a/b\""],
        ),
        (
            json!({"schedulingGates": [{"name": "a/b"}], "nodeName": "n"}),
            &[
                "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared",
            ],
        ),
        (
            json!({"activeDeadlineSeconds": 0}),
            &[
                "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive",
            ],
        ),
        (
            json!({"preemptionPolicy": "Often"}),
            &[
                "spec.preemptionPolicy: Unsupported value: \"Often\": supported values: \"PreemptLowerPriority\", \"Never\"",
            ],
        ),
        (
            json!({"os": {"name": "beos"}}),
            &["spec.os: Unsupported value: \"beos\": supported values: \"linux\", \"windows\""],
        ),
        (
            json!({"dnsPolicy": "None"}),
            &["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"],
        ),
        (
            json!({"dnsConfig": {"nameservers": ["here"]}}),
            &[
                "spec.dnsConfig.nameservers[0]: Invalid value: \"here\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            ],
        ),
        (
            json!({"hostAliases": [{"ip": "::1", "hostnames": ["ok"]}, {"ip": "x"}]}),
            &[
                "spec.hostAliases[1].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            ],
        ),
        (
            json!({"hostUsers": false, "hostNetwork": true, "hostPID": true}),
            &[
                "spec.hostNetwork: Forbidden: when `pod.Spec.HostUsers` is false",
                "spec.HostPID: Forbidden: when `pod.Spec.HostUsers` is false",
            ],
        ),
        (
            json!({"ephemeralContainers": [{"name": "d", "image": "x"}]}),
            &["spec.ephemeralContainers: Forbidden: cannot be set on create"],
        ),
    ]);
    for key in [
        "serviceAccountName",
        "priorityClassName",
        "runtimeClassName",
    ] {
        let words = said(json!({key: "A"}));
        assert!(
            words[0].starts_with(&format!(
                "spec.{key}: Invalid value: \"A\": a lowercase RFC 1123 subdomain must"
            )),
            "{words:?}"
        );
    }
    let words = said(json!({"readinessGates": [{"conditionType": "-"}]}));
    assert!(words[0].starts_with(
        "spec.readinessGates[0].conditionType: Invalid value: \"-\": name part must consist of"
    ));
}

#[test]
fn volumes_in_upstreams_words() {
    let path = "spec.volumes[0]";
    for (source, want) in [
        (
            json!({"emptyDir": {}, "secret": {"secretName": "s"}}),
            ".secret: Forbidden: may not specify more than 1 volume type",
        ),
        (
            json!({"emptyDir": {"sizeLimit": "-1"}}),
            ".emptyDir.sizeLimit: Forbidden: SizeLimit field must be a valid resource quantity",
        ),
        (
            json!({"configMap": {"name": "c", "defaultMode": 512}}),
            ".configMap.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive",
        ),
        (
            json!({"configMap": {"name": "c", "items": [{"key": "k", "path": "..x"}]}}),
            ".configMap.items[0].path: Invalid value: \"..x\": must not start with '..'",
        ),
        (
            json!({"hostPath": {"path": "/a/../b"}}),
            ".hostPath.path: Invalid value: \"/a/../b\": must not contain '..'",
        ),
        (
            json!({"persistentVolumeClaim": {}}),
            ".persistentVolumeClaim.claimName: Required value",
        ),
        (
            json!({"downwardAPI": {"items": [{"path": "a"}]}}),
            ".downwardAPI.items[0]: Required value: one of fieldRef and resourceFieldRef is required",
        ),
        (
            json!({"projected": {"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 1}}]}}),
            ".projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes",
        ),
    ] {
        let mut volume = json!({"name": "v"});
        volume
            .as_object_mut()
            .unwrap()
            .extend(source.as_object().unwrap().clone());
        let words = said(json!({"volumes": [volume]}));
        assert_eq!(words, [format!("{path}{want}")], "{source}");
    }
}

#[test]
fn upstreams_warnings() {
    let warned = |spec: Value| -> Vec<String> {
        let template = json!({"metadata": {"annotations": {"scheduler.alpha.kubernetes.io/critical-pod": ""}}, "spec": spec});
        super::warnings(&template, "spec.template")
            .into_iter()
            .map(|w| w.text)
            .collect()
    };
    let critical = "spec.template.metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: non-functional in v1.16+; use the \"priorityClassName\" field instead";
    assert_eq!(warned(json!({})), [critical]);
    let at = "spec.template.spec";
    for (spec, want) in [
        (
            json!({"nodeSelector": {"beta.kubernetes.io/arch": "arm64"}}),
            ".nodeSelector[beta.kubernetes.io/arch]: deprecated since v1.14; use \"kubernetes.io/arch\" instead",
        ),
        (
            json!({"terminationGracePeriodSeconds": -1}),
            ".terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1",
        ),
        (
            json!({"containers": [{"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}, {"name": "A", "value": "3"}]}]}),
            ".containers[0].env[2]: hides previous definition of \"A\", which may be dropped when using apply",
        ),
        (
            json!({"containers": [{"resources": {"limits": {"memory": "100m"}}}]}),
            ".containers[0].resources.limits[memory]: fractional byte value \"100m\" is invalid, must be an integer",
        ),
        (
            json!({"containers": [{"ports": [{"containerPort": 80}]}, {"ports": [{"containerPort": 80, "protocol": "TCP"}]}]}),
            ".containers[1].ports[0]: duplicate port definition with spec.template.spec.containers[0].ports[0]",
        ),
        (
            json!({"imagePullSecrets": [{"name": "a"}, {"name": "a"}]}),
            ".imagePullSecrets[1].name: duplicate name \"a\"",
        ),
        (
            json!({"topologySpreadConstraints": [{"topologyKey": "z"}]}),
            ".topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod",
        ),
    ] {
        let words: Vec<String> = warned(spec).into_iter().filter(|w| w != critical).collect();
        assert_eq!(words, [format!("{at}{want}")]);
    }
}

#[test]
fn a_template_has_upstreams_paths() {
    let object = |pointer: &str, value: Value| {
        refused(
            "deployments",
            with(crate::admit::tests::deployment(), pointer, value),
        )
    };
    assert!(
        object(
            "/spec/template/metadata",
            json!({"labels": {"app": "web", "a b": "c"}})
        )
        .starts_with("spec.template.labels: Invalid value: \"a b\": name part must consist of")
    );
    assert!(
        object(
            "/spec/template/metadata/annotations",
            json!({"controller.kubernetes.io/pod-deletion-cost": "+1"})
        )
        .starts_with("spec.template.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: \"+1\": must be a 32bit integer")
    );
    assert!(
        object(
            "/spec/template/spec/ephemeralContainers",
            json!([{"name": "d", "image": "x"}])
        )
        .contains("spec.template.spec.ephemeralContainers: Forbidden: ephemeral containers not allowed in pod template")
    );
    assert!(
        object("/spec/template/spec/activeDeadlineSeconds", json!(5))
            .contains("spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported")
    );
    // Blanks around an image pass in a template, as upstream lets them.
    let mut deployment = crate::admit::tests::deployment();
    deployment["spec"]["template"]["spec"]["containers"][0]["image"] = " x".into();
    created("deployments", deployment).unwrap();
    assert_eq!(
        of_container(json!({"image": " x"})),
        [
            "spec.containers[0].image: Invalid value: \" x\": must not have leading or trailing whitespace"
        ]
    );
}

/// Far too much of anything is answered in time that grows with its size, not with its square.
#[test]
fn long_lists_take_linear_time() {
    let many = |make: &dyn Fn(usize) -> Value| (0..10_000).map(make).collect::<Value>();
    let started = std::time::Instant::now();
    let mut spec = container(json!({
        "env": many(&|n| json!({"name": format!("A{n}"), "value": "x"})),
        "volumeMounts": many(&|n| json!({"name": format!("v{n}"), "mountPath": format!("/{n}")})),
        "ports": many(&|n| json!({"containerPort": 80, "hostIP": format!("{n}"), "hostPort": n + 1})),
    }));
    spec["volumes"] = many(&|n| json!({"name": format!("v{n}")}));
    spec["tolerations"] = many(&|n| json!({"key": format!("k{n}"), "operator": "Exists"}));
    spec["topologySpreadConstraints"] = many(
        &|n| json!({"maxSkew": 1, "topologyKey": format!("k{n}"), "labelSelector": {}, "whenUnsatisfiable": "DoNotSchedule"}),
    );
    let object = pod(spec);
    let _ = created("pods", object.clone());
    let mut errors = crate::admit::errors::Errors::default();
    let mut changed = object.clone();
    changed["spec"]["nodeName"] = "n".into();
    crate::admit::pod_update::validate(
        object.as_object().unwrap(),
        changed.as_object().unwrap(),
        &mut errors,
    );
    // A square of these would take minutes.
    assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
}
