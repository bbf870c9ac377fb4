use super::*;
use serde_json::json;

fn level(level: Level, version: Version) -> LevelVersion {
    LevelVersion { level, version }
}

fn baseline(pod: &Value) -> String {
    details(&violations(level(Level::Baseline, Version::Latest), pod))
}

fn restricted(pod: &Value) -> String {
    details(&violations(level(Level::Restricted, Version::Latest), pod))
}

fn hardened() -> Value {
    json!({"metadata": {"name": "p"}, "spec": {
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "a", "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}]}})
}

/// A hardened pod with a change.
fn with(pointer: &str, value: Value) -> Value {
    let mut pod = hardened();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    pod.pointer_mut(parent).unwrap()[key] = value;
    pod
}

#[test]
fn a_plain_pod_breaks_what_upstream_says() {
    let pod = json!({"spec": {"containers": [{"name": "a"}]}});
    assert_eq!(baseline(&pod), "");
    assert_eq!(
        restricted(&pod),
        "allowPrivilegeEscalation != false (container \"a\" must set \
         securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \"a\" must \
         set securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or container \"a\" \
         must set securityContext.runAsNonRoot=true), seccompProfile (pod or container \"a\" must set \
         securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
    );
    assert_eq!(restricted(&hardened()), "");
}

#[test]
fn every_control_of_baseline() {
    let cases = [
        (
            "/spec/hostNetwork",
            json!(true),
            "host namespaces (hostNetwork=true)",
        ),
        (
            "/spec/hostPID",
            json!(true),
            "host namespaces (hostPID=true)",
        ),
        (
            "/spec/hostIPC",
            json!(true),
            "host namespaces (hostIPC=true)",
        ),
        (
            "/spec/containers/0/securityContext/privileged",
            json!(true),
            "privileged (container \"a\" must not set securityContext.privileged=true)",
        ),
        (
            "/spec/containers/0/securityContext/capabilities",
            json!({"add": ["NET_RAW", "CHOWN", "BPF"], "drop": ["ALL"]}),
            "non-default capabilities (container \"a\" must not include \"BPF\", \"NET_RAW\" in securityContext.capabilities.add)",
        ),
        (
            "/spec/volumes",
            json!([{"name": "v", "hostPath": {"path": "/"}}, {"name": "w", "emptyDir": {}}]),
            "hostPath volumes (volume \"v\")",
        ),
        (
            "/spec/containers/0/ports",
            json!([{"containerPort": 1, "hostPort": 80}, {"containerPort": 2, "hostPort": 443}, {"containerPort": 3}]),
            "hostPort (container \"a\" uses hostPorts 443, 80)",
        ),
        (
            "/spec/containers/0/livenessProbe",
            json!({"httpGet": {"host": "10.0.0.1", "port": 80}}),
            "probe or lifecycle host (container \"a\" uses probe or lifecycle host \"10.0.0.1\")",
        ),
        (
            "/spec/containers/0/lifecycle",
            json!({"preStop": {"tcpSocket": {"host": "x", "port": 80}}}),
            "probe or lifecycle host (container \"a\" uses probe or lifecycle host \"x\")",
        ),
        (
            "/spec/containers/0/securityContext/procMount",
            json!("Unmasked"),
            "procMount (container \"a\" must not set securityContext.procMount to \"Unmasked\")",
        ),
        (
            "/spec/securityContext/seLinuxOptions",
            json!({"type": "foo", "user": "u", "role": "r"}),
            "seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type \"foo\"; user may not be set; role may not be set)",
        ),
        (
            "/spec/containers/0/securityContext/seccompProfile",
            json!({"type": "Unconfined"}),
            "seccompProfile (container \"a\" must not set securityContext.seccompProfile.type to \"Unconfined\")",
        ),
        (
            "/spec/securityContext/sysctls",
            json!([{"name": "kernel.msgmax", "value": "1"}, {"name": "net.ipv4.tcp_rmem", "value": "1"}]),
            "forbidden sysctls (kernel.msgmax)",
        ),
        (
            "/spec/securityContext/appArmorProfile",
            json!({"type": "Unconfined"}),
            "forbidden AppArmor profile (pod must not set AppArmor profile type to \"Unconfined\")",
        ),
        (
            "/metadata/annotations",
            json!({"container.apparmor.security.beta.kubernetes.io/a": "unconfined"}),
            "forbidden AppArmor profile (annotation must not set AppArmor profile type to \
             \"container.apparmor.security.beta.kubernetes.io/a=\"unconfined\"\")",
        ),
        (
            "/spec/securityContext/windowsOptions",
            json!({"hostProcess": true}),
            "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
        ),
    ];
    for (pointer, value, want) in cases {
        let pod = with(pointer, value);
        assert_eq!(baseline(&pod), want, "{pointer}");
        assert!(!restricted(&pod).is_empty(), "{pointer}");
        assert!(violations(level(Level::Privileged, Version::Latest), &pod).is_empty());
    }
}

#[test]
fn every_control_of_restricted() {
    let cases = [
        (
            "/spec/containers/0/securityContext/allowPrivilegeEscalation",
            json!(true),
            "allowPrivilegeEscalation != false (container \"a\" must set securityContext.allowPrivilegeEscalation=false)",
        ),
        (
            "/spec/containers/0/securityContext/capabilities",
            json!({"add": ["CHOWN", "NET_BIND_SERVICE"], "drop": ["ALL"]}),
            "unrestricted capabilities (container \"a\" must not include \"CHOWN\" in securityContext.capabilities.add)",
        ),
        (
            "/spec/volumes",
            json!([{"name": "v", "hostPath": {}}, {"name": "w", "nfs": {}}, {"name": "x", "image": {}}, {"name": "y"}]),
            "restricted volume types (volumes \"v\", \"w\" use restricted volume types \"hostPath\", \"nfs\")",
        ),
        (
            "/spec/containers/0/securityContext/runAsNonRoot",
            json!(false),
            "runAsNonRoot != true (container \"a\" must not set securityContext.runAsNonRoot=false)",
        ),
        (
            "/spec/securityContext/runAsUser",
            json!(0),
            "runAsUser=0 (pod must not set runAsUser=0)",
        ),
        (
            "/spec/securityContext/seccompProfile",
            json!({"type": "Unconfined"}),
            "seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\")",
        ),
        (
            "/spec/initContainers",
            json!([{"name": "i", "securityContext": {"capabilities": {"drop": ["ALL"]}}}]),
            "allowPrivilegeEscalation != false (container \"i\" must set securityContext.allowPrivilegeEscalation=false)",
        ),
        (
            "/spec/ephemeralContainers",
            json!([{"name": "e", "securityContext": {"allowPrivilegeEscalation": false}}]),
            "unrestricted capabilities (container \"e\" must set securityContext.capabilities.drop=[\"ALL\"])",
        ),
    ];
    for (pointer, value, want) in cases {
        assert_eq!(restricted(&with(pointer, value)), want, "{pointer}");
    }
}

#[test]
fn versions_choose_the_rules() {
    let found = |minor: u32, pod: &Value| {
        !violations(level(Level::Restricted, Version::Minor(minor)), pod).is_empty()
    };
    let mut windows = json!({"spec": {"os": {"name": "windows"}, "containers": [{"name": "a"}],
                                      "securityContext": {"runAsNonRoot": true}}});
    assert!(found(24, &windows) && !found(25, &windows));
    windows["spec"]["securityContext"] = json!({});
    assert!(found(37, &windows));
    let users = with("/spec/securityContext/runAsNonRoot", json!(false));
    let mut users = users;
    users["spec"]["hostUsers"] = json!(false);
    assert!(found(34, &users) && !found(35, &users));
    let user = with("/spec/securityContext/runAsUser", json!(0));
    assert!(!found(22, &user) && found(23, &user));
    let sysctl = with(
        "/spec/securityContext/sysctls",
        json!([{"name": "net.ipv4.tcp_keepalive_time", "value": "1"}]),
    );
    assert!(found(28, &sysctl) && !found(29, &sysctl));
    let engine = with(
        "/spec/securityContext/seLinuxOptions",
        json!({"type": "container_engine_t"}),
    );
    assert!(found(30, &engine) && !found(31, &engine));
    let host = with(
        "/spec/containers/0/livenessProbe",
        json!({"tcpSocket": {"host": "h", "port": 1}}),
    );
    assert!(!found(33, &host) && found(34, &host) && found(9999, &host));
    let annotated = with(
        "/metadata/annotations",
        json!({"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}),
    );
    assert!(found(18, &annotated) && !found(19, &annotated));
    // Unmasked is fine for baseline in a user namespace, never for restricted.
    let mut unmasked = with(
        "/spec/containers/0/securityContext/procMount",
        json!("Unmasked"),
    );
    unmasked["spec"]["hostUsers"] = json!(false);
    assert_eq!(baseline(&unmasked), "");
    assert!(found(37, &unmasked));
}

#[test]
fn labels_make_a_policy() {
    let policy = |labels: &Value| {
        let (policy, causes) = Policy::of(&json!({"metadata": {"labels": labels}}));
        let levels = [policy.enforce, policy.audit, policy.warn].map(|l| l.to_string());
        let causes: Vec<String> = causes
            .iter()
            .map(|c| format!("{}: {}", c.field, c.message))
            .collect();
        (levels.join(" "), causes)
    };
    let label = |mode: &str| format!("pod-security.kubernetes.io/{mode}");
    let none: Vec<String> = Vec::new();
    assert_eq!(
        policy(&json!({})),
        (
            "privileged:latest privileged:latest privileged:latest".into(),
            none.clone()
        )
    );
    assert_eq!(
        policy(&json!({label("enforce"): "baseline", label("enforce-version"): "v1.30"})),
        (
            "baseline:v1.30 privileged:latest baseline:v1.30".into(),
            none.clone()
        ),
        "warnings follow what is enforced"
    );
    assert_eq!(
        policy(
            &json!({label("enforce"): "restricted", label("warn"): "privileged", label("audit"): "baseline"})
        ),
        (
            "restricted:latest baseline:latest privileged:latest".into(),
            none
        )
    );
    assert_eq!(
        policy(
            &json!({label("enforce"): "strict", label("warn"): "x", label("warn-version"): "1.3"})
        ),
        (
            "restricted:latest privileged:latest privileged:latest".into(),
            vec![
                format!(
                    "metadata.labels[{}]: Invalid value: \"strict\": must be one of privileged, baseline, restricted",
                    label("enforce")
                ),
                format!(
                    "metadata.labels[{}]: Invalid value: \"x\": must be one of privileged, baseline, restricted",
                    label("warn")
                ),
                format!(
                    "metadata.labels[{}]: Invalid value: \"1.3\": must be \"latest\" or \"v1.x\"",
                    label("warn-version")
                ),
            ]
        )
    );
}

#[test]
fn a_tighter_namespace_warns_of_its_pods() {
    let of = |enforce: &str| {
        Policy::of(
            &json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": enforce}}}),
        )
        .0
    };
    assert!(of("restricted").tightens(&of("baseline")));
    assert!(!of("baseline").tightens(&of("restricted")));
    assert!(!of("privileged").tightens(&of("restricted")));
    let pod = |name: &str| json!({"metadata": {"name": name}, "spec": {"hostNetwork": true, "containers": []}});
    let mut other = pod("x");
    other["spec"]["hostPID"] = json!(true);
    other["spec"]["containers"] = json!([{"name": "a", "securityContext": {"privileged": true}}]);
    let pods = [pod("c"), pod("b"), pod("d"), other, hardened()];
    assert_eq!(
        namespace_warnings("n", of("baseline").enforce, &pods),
        [
            "existing pods in namespace \"n\" violate the new PodSecurity enforce level \"baseline:latest\"",
            "b (and 2 other pods): host namespaces",
            "x: host namespaces, privileged",
        ]
    );
    assert!(namespace_warnings("n", of("baseline").enforce, &[hardened()]).is_empty());
}

#[test]
fn refusals_and_warnings() {
    let policy = Policy::of(
        &json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline",
        "pod-security.kubernetes.io/warn": "restricted"}}}),
    )
    .0;
    let bad = with("/spec/hostNetwork", json!(true));
    assert_eq!(
        judge(&policy, &bad, true),
        Err("violates PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)".into())
    );
    assert_eq!(
        judge(&policy, &bad, false),
        Ok(Some(
            "would violate PodSecurity \"restricted:latest\": host namespaces (hostNetwork=true)"
                .into()
        ))
    );
    assert_eq!(judge(&policy, &hardened(), true), Ok(None));
}

#[test]
fn only_images_matter_to_an_update() {
    let old = hardened();
    let mut new = old.clone();
    new["metadata"]["labels"] = json!({"a": "b"});
    assert!(!is_significant(&new, &old));
    new["spec"]["containers"][0]["image"] = json!("other");
    assert!(is_significant(&new, &old));
    let mut debug = old.clone();
    debug["spec"]["ephemeralContainers"] = json!([{"name": "e"}]);
    assert!(is_significant(&debug, &old));
    assert!(!is_significant(&debug, &debug));
}
