//! Who owns what after applies and updates.

use super::*;

#[test]
fn the_first_apply_creates_and_owns_what_it_says() {
    Server::of("configmaps")
        .apply("a", "{data: {x: '1', p: '2'}}")
        .is("{data: {x: '1', p: '2'}}")
        .owns("a", &[".data.x", ".data.p"]);
}

#[test]
fn what_is_no_longer_applied_goes() {
    Server::of("configmaps")
        .apply("a", "{data: {x: '1', p: '2'}, metadata: {labels: {l: v}}}")
        .apply("a", "{data: {p: '3'}}")
        .is("{data: {p: '3'}}")
        .owns("a", &[".data.p"])
        // An applier without fields is none.
        .apply("a", "")
        .is("")
        .owns("a", &[]);
}

#[test]
fn the_same_apply_changes_nothing_and_keeps_its_time() {
    let mut server = Server::of("configmaps");
    server.apply("a", "{data: {x: '1'}}");
    let before = server.object.clone();
    server.apply("a", "{data: {x: '1'}}");
    assert_eq!(server.object, before);
    let time = server.time_of("a");
    server.apply("a", "{data: {x: '2'}}");
    assert_ne!(server.time_of("a"), time);
}

#[test]
fn the_same_value_is_shared_and_stays_until_the_last_owner_lets_go() {
    Server::of("configmaps")
        .apply("a", "{data: {x: '1', p: '1'}}")
        .apply("b", "{data: {x: '1'}}")
        .owns("a", &[".data.x", ".data.p"])
        .owns("b", &[".data.x"])
        .apply("a", "{data: {p: '1'}}")
        .is("{data: {x: '1', p: '1'}}")
        .apply("b", "")
        .is("{data: {p: '1'}}")
        .owns("b", &[]);
}

#[test]
fn another_value_is_a_conflict_until_it_is_forced() {
    let mut server = Server::of("configmaps");
    server.apply("a", "{data: {x: '1', p: '1'}}");
    assert_eq!(
        server.conflicts("b", "{data: {x: '2', z: '1'}}"),
        ["conflict with \"a\": .data.x"]
    );
    server
        .force("b", "{data: {x: '2', z: '1'}}")
        .is("{data: {x: '2', p: '1', z: '1'}}")
        .owns("a", &[".data.p"])
        .owns("b", &[".data.x", ".data.z"]);
    assert_eq!(
        server.conflicts("a", "{data: {x: '1', p: '1'}}"),
        ["conflict with \"b\": .data.x"]
    );
    // Who lost a field and no longer applies it does not remove it.
    server
        .apply("a", "{data: {p: '1'}}")
        .is("{data: {x: '2', p: '1', z: '1'}}");
}

#[test]
fn an_update_takes_what_it_changes() {
    let mut server = Server::of("deployments");
    server
        .apply("a", "{spec: {replicas: 3, paused: true}}")
        .replace("kubectl-edit", "{spec: {replicas: 5, paused: true}}")
        .owns("a", &[".spec.paused"])
        .owns("kubectl-edit", &[".spec.replicas"]);
    let status = server
        .try_apply("a", "{spec: {replicas: 3, paused: true}}")
        .unwrap_err();
    assert_eq!(
        status.message(),
        "Apply failed with 1 conflict: conflict with \"kubectl-edit\" using apps/v1: .spec.replicas"
    );
    server
        .apply("a", "{spec: {paused: true}}")
        .is("{spec: {replicas: 5, paused: true}}")
        .force("a", "{spec: {replicas: 3, paused: true}}")
        .owns("kubectl-edit", &[])
        .owns("a", &[".spec.paused", ".spec.replicas"]);
}

#[test]
fn an_update_that_changes_nothing_owns_nothing() {
    let mut server = Server::of("configmaps");
    server.apply("a", "{data: {x: '1'}}");
    let before = server.object.clone();
    server.replace("b", "{data: {x: '1'}}");
    assert_eq!(server.object, before);
}

#[test]
fn an_update_that_removes_ends_ownership() {
    Server::of("configmaps")
        .apply("a", "{data: {x: '1', p: '1'}}")
        .replace("b", "{data: {p: '1'}}")
        .owns("a", &[".data.p"])
        .owns("b", &[]);
}

#[test]
fn an_update_shared_with_an_applier_keeps_the_field() {
    Server::of("configmaps")
        .apply("a", "{data: {x: '1'}}")
        .replace("b", "{data: {x: '2'}}")
        .force("a", "{data: {x: '2'}}")
        .owns("b", &[".data.x"])
        .apply("a", "")
        .is("{data: {x: '2'}}");
}

#[test]
fn several_conflicts_are_told_by_manager() {
    let mut server = Server::of("configmaps");
    server
        .apply("b", "{data: {x: '1', p: '1'}}")
        .apply("a", "{data: {z: '1'}}")
        .replace("u", "{data: {x: '1', p: '1', z: '1', w: '1'}}");
    let status = server
        .try_apply("c", "{data: {x: '2', p: '2', z: '2', w: '2'}}")
        .unwrap_err();
    assert_eq!(
        status.message(),
        "Apply failed with 4 conflicts: conflicts with \"a\":\n- .data.z\nconflicts with \"b\":\n- .data.p\n- .data.x\nconflicts with \"u\" using v1:\n- .data.w"
    );
}

#[test]
fn order_alone_is_a_change_without_conflict() {
    Server::of("configmaps")
        .apply("a", "{metadata: {finalizers: [e.io/a, e.io/b, e.io/c]}}")
        .apply("b", "{metadata: {finalizers: [e.io/c, e.io/a]}}")
        .is("{metadata: {finalizers: [e.io/b, e.io/c, e.io/a]}}");
}

#[test]
fn atomic_values_have_one_owner() {
    for (first, second, field) in [
        (
            "{nodeSelector: {x: '1'}}",
            "{nodeSelector: {p: '1'}}",
            ".spec.nodeSelector",
        ),
        (
            "{tolerations: [{key: a}]}",
            "{tolerations: [{key: b}]}",
            ".spec.tolerations",
        ),
        (
            "{affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: a}]}}}",
            "{affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: b}]}}}",
            ".spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution",
        ),
        (
            "{containers: [{name: a, command: [x]}]}",
            "{containers: [{name: a, command: [x, p]}]}",
            ".spec.containers[name=\"a\"].command",
        ),
        (
            "{containers: [{name: a, env: [{name: A, valueFrom: {configMapKeyRef: {name: c, key: k}}}]}]}",
            "{containers: [{name: a, env: [{name: A, valueFrom: {configMapKeyRef: {name: c, key: l}}}]}]}",
            ".spec.containers[name=\"a\"].env[name=\"A\"].valueFrom.configMapKeyRef",
        ),
    ] {
        let mut server = Server::of("pods");
        server.apply("a", &format!("{{spec: {first}}}"));
        let second = format!("{{spec: {second}}}");
        assert_eq!(
            server.conflicts("b", &second),
            [format!("conflict with \"a\": {field}")]
        );
        server.force("b", &second).is(&second);
        assert!(!server.owned("a").contains(&field.to_owned()), "{field}");
        assert!(server.owned("b").contains(&field.to_owned()), "{field}");
    }
}

#[test]
fn a_field_that_is_dropped_anyway_is_no_conflict() {
    // The server stores neither, so nothing changes and nobody is in the way.
    let config = "{spec: {hostNetwork: false, hostname: null, containers: [{name: c, image: ''}]}}";
    Server::of("pods").apply("a", config).apply("b", config);
    // A value that is there is another matter.
    let mut server = Server::of("deployments");
    server.apply("a", "{spec: {replicas: 3}}");
    assert_eq!(
        server.conflicts("b", "{spec: {replicas: null}}"),
        ["conflict with \"a\": .spec.replicas"]
    );
}

#[test]
fn a_default_inside_of_what_has_one_owner_is_no_conflict() {
    let mut server = Server::of("pods");
    let config = "{spec: {containers: [{name: c, resources: {limits: {cpu: 1000m}}, env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]}]}}";
    server.apply("a", config);
    // As the server stores it: with a default in a message that has one owner.
    let live = server.object.as_mut().unwrap();
    crate::admit::defaulted(server.kind, live.as_object_mut().unwrap());
    let field = "/spec/containers/0/env/0/valueFrom/fieldRef";
    assert_eq!(live.pointer(field).unwrap()["apiVersion"], "v1");
    server.apply("b", config);
}

#[test]
fn what_is_nobodys_stays_when_the_last_key_beside_it_goes() {
    // A controller of ours wrote a label, an annotation and a finalizer.
    let mut server = Server::of("configmaps");
    server.apply(
        "a",
        "{metadata: {labels: {l: v}, finalizers: [e.io/a]}, data: {x: '1'}}",
    );
    let live = server.object.as_mut().unwrap();
    live["metadata"]["labels"]["ours"] = "o".into();
    live["metadata"]["finalizers"] = json!(["e.io/a", "e.io/ours"]);
    live["metadata"]["annotations"] = json!({"ours": "o"});
    server
        .apply("a", "")
        .is("{metadata: {labels: {ours: o}, finalizers: [e.io/ours], annotations: {ours: o}}}");
}

#[test]
fn system_metadata_is_nobodys() {
    let mut server = Server::of("configmaps");
    server.apply(
        "a",
        "{metadata: {creationTimestamp: null, generation: 3, labels: {a: b}}, data: {x: '1'}}",
    );
    server.owns("a", &[".data.x", ".metadata.labels.a"]);
}

#[test]
fn the_status_has_owners_of_its_own() {
    let mut server = Server::of("deployments");
    server.apply("a", "{spec: {replicas: 1}, status: {replicas: 7}}");
    server.owns("a", &[".spec.replicas"]);
    let config = server.full(yaml("{spec: {replicas: 9}, status: {replicas: 1}}"));
    let request = server.request("a", Some("status"));
    server.run(&request, &config).unwrap();
    assert_eq!(server.managers(), ["a Apply", "a Apply status"]);
    server.owns("a", &[".spec.replicas", ".status.replicas"]);
    server.write("c", Some("status"), |live| {
        live["status"]["replicas"] = 2.into()
    });
    let request = server.request("a", Some("status"));
    let status = server.run(&request, &config).unwrap_err();
    assert_eq!(
        status.message(),
        "Apply failed with 1 conflict: conflict with \"c\" with subresource \"status\" using apps/v1: .status.replicas"
    );
    // What a write of the object says about the status is not heard.
    server.write("d", None, |live| live["status"]["replicas"] = 2.into());
    server.owns("d", &[]);
}

#[test]
fn scaling_takes_the_replicas_only() {
    let mut server = Server::of("deployments");
    server.apply("a", "{spec: {replicas: 1, paused: true}}");
    server.write("kubectl", Some("scale"), |live| {
        live["spec"]["replicas"] = 4.into()
    });
    assert_eq!(server.managers(), ["a Apply", "kubectl Update scale"]);
    server
        .owns("a", &[".spec.paused"])
        .owns("kubectl", &[".spec.replicas"]);
    assert_eq!(
        server.conflicts("a", "{spec: {replicas: 1, paused: true}}"),
        ["conflict with \"kubectl\" with subresource \"scale\" using apps/v1: .spec.replicas"]
    );
    let config = server.full(yaml("{spec: {replicas: 6}}"));
    let mut request = server.request("hpa", Some("scale"));
    request.force = true;
    server.run(&request, &config).unwrap();
    server.owns("hpa", &[".spec.replicas"]).owns("kubectl", &[]);
}

#[test]
fn there_are_at_most_ten_managers_by_update() {
    let mut server = Server::of("configmaps");
    server.apply("a", "{data: {}}").apply("a", "{data: {a: a}}");
    for at in 0..14 {
        server.write(&format!("u{at:02}"), None, |live| {
            live["data"][format!("k{at:02}")] = "v".into();
        });
    }
    let managers = server.managers();
    let updaters: Vec<&String> = managers.iter().filter(|m| m.ends_with("Update")).collect();
    assert_eq!(updaters.len(), 10, "{managers:?}");
    assert_eq!(managers[0], "a Apply");
    assert_eq!(managers[1], "ancient-changes Update");
    assert_eq!(managers[10], "u13 Update");
    let fields: Vec<String> = (0..5).map(|at| format!(".data.k{at:02}")).collect();
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    server.owns("ancient-changes", &fields);
}

#[test]
fn a_manager_of_a_version_that_is_gone_is_forgotten() {
    let mut server = Server::of("deployments");
    server.apply("a", "{spec: {replicas: 1}}");
    let live = server.object.as_mut().unwrap();
    live["metadata"]["managedFields"][0]["apiVersion"] = "apps/v0".into();
    server.apply("b", "{spec: {replicas: 2}}").owns("a", &[]);
}

#[test]
fn parts_of_what_has_one_owner_are_read_as_the_whole() {
    let mut server = Server::of("pods");
    server.apply("a", "{spec: {nodeSelector: {x: '1'}}}");
    let live = server.object.as_mut().unwrap();
    live["metadata"]["managedFields"][0]["fieldsV1"] =
        json!({"f:spec": {"f:nodeSelector": {".": {}, "f:x": {}}}});
    assert_eq!(
        server.conflicts("b", "{spec: {nodeSelector: {x: '2'}}}"),
        ["conflict with \"a\": .spec.nodeSelector"]
    );
}

#[test]
fn what_is_refused() {
    let mut server = Server::of("pods");
    server.apply("a", "{spec: {hostname: h}}");
    let mut check = |change: &dyn Fn(&mut Value), code: u16, want: &str| {
        let mut config = server.full(json!({"metadata": {"namespace": "n"}}));
        change(&mut config);
        let request = server.request("a", None);
        let status = server.run(&request, &config).unwrap_err();
        assert_eq!((status.code(), status.message()), (code, want));
    };
    check(
        &|c| c["kind"] = "Deployment".into(),
        400,
        "invalid object type: /v1, Kind=Deployment",
    );
    check(
        &|c| c["apiVersion"] = "apps/v1".into(),
        400,
        "invalid object type: apps/v1, Kind=Pod",
    );
    check(&|c| *c = json!({}), 400, "invalid object type: /, Kind=");
    check(&|c| *c = json!([]), 400, "invalid object type: /, Kind=");
    check(
        &|c| c["metadata"]["managedFields"] = json!([]),
        400,
        "metadata.managedFields must be nil",
    );
    check(
        &|c| c["spec"] = json!({"foo": 1}),
        500,
        "failed to create typed patch object (n/x; /v1, Kind=Pod): .spec.foo: field not declared in schema",
    );
}

#[test]
fn giving_up_a_long_list_costs_no_more_than_its_length() {
    let long: Vec<String> = (0..10_000).map(|n| format!("k.io/{n}")).collect();
    let mut server = Server::of("configmaps");
    let started = std::time::Instant::now();
    let list = format!("metadata: {{finalizers: [{}]}}", long.join(", "));
    server.apply("a", &list).apply("a", "{}");
    assert!(server.object.as_ref().unwrap()["metadata"]["finalizers"].is_null());
    // Minutes, when each item was looked for among all others.
    let took = started.elapsed();
    assert!(took < std::time::Duration::from_secs(10), "{took:?}");
}
