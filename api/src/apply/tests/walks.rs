//! Merging, comparing, removing, checking: the walks over one or two objects.

use super::super::compare::compare;
use super::super::merge::{merge, remove};
use super::super::typed::{fields, joined, validate};
use super::*;

fn schema(kind: &str) -> Schema {
    Schema::object(facts::message(kind).unwrap())
}

fn pod() -> Schema {
    schema("io.k8s.api.core.v1.Pod")
}

fn finalizers(list: &str) -> Value {
    let list: Vec<Value> = list.split_whitespace().map(Value::from).collect();
    json!({"metadata": {"finalizers": list}})
}

/// The order of structured-merge-diff's own cases: what is applied keeps its order, what is not
/// listed stays where it stood, what comes twice and is applied comes once.
#[test]
fn lists_are_interleaved() {
    for (live, config, want) in [
        ("a b c", "a b", "a b c"),
        ("a b", "a b c", "a b c"),
        ("a b c", "", "a b c"),
        ("", "a b c", "a b c"),
        ("a b", "b a", "b a"),
        ("a b c", "d e f", "a b c d e f"),
        ("a b c", "c d e f", "a b c d e f"),
        ("a b c g f", "c d e f", "a b c g d e f"),
        ("c d e f", "a c e", "a c d e f"),
        ("a b c x y z", "d e f", "a b c x y z d e f"),
        ("a b c x y z", "d e f x y z", "a b c d e f x y z"),
        ("c a g f", "c f a g", "c f a g"),
        ("a b c d", "d e f a", "b c d e f a"),
        (
            "c d e f g h i j",
            "2 h 3 e 4 k l",
            "c d f g 2 h i j 3 e 4 k l",
        ),
        (
            "a b c d e f g h i j",
            "1 b 2 h 3 e 4 k l",
            "a 1 b c d f g 2 h i j 3 e 4 k l",
        ),
        ("a b b", "c", "a b b c"),
        ("a b b", "b", "a b"),
        ("a b b", "a", "a b b"),
        ("a b c d e c", "1 b 2 e d", "a 1 b c 2 e c d"),
        ("a b c d e c", "1 b 2 c e d", "a 1 b 2 c e d"),
        ("a a b b", "b c d", "a a b c d"),
        ("a a b b", "", "a a b b"),
        ("c a g f c a", "c f a g", "c f a g"),
    ] {
        let merged = merge(pod(), &finalizers(live), &finalizers(config)).unwrap();
        assert_eq!(merged, finalizers(want), "{live} + {config}");
    }
}

#[test]
fn items_merge_by_all_their_keys() {
    let ports = |text: &str| {
        yaml(&format!(
            "spec: {{containers: [{{name: a, ports: [{text}]}}]}}"
        ))
    };
    let tcp = "{containerPort: 80, protocol: TCP, name: t}";
    for (live, config, want) in [
        // A key that is left out has its default.
        (
            "{containerPort: 80, protocol: TCP}",
            "{containerPort: 80, name: t}",
            tcp.to_owned(),
        ),
        (
            tcp,
            "{containerPort: 80, protocol: UDP}",
            format!("{tcp}, {{containerPort: 80, protocol: UDP}}"),
        ),
    ] {
        let merged = merge(pod(), &ports(live), &ports(config)).unwrap();
        assert_eq!(merged, ports(&want), "{live} + {config}");
    }
    let spread = |text: &str| yaml(&format!("spec: {{topologySpreadConstraints: [{text}]}}"));
    let merged = merge(
        pod(),
        &spread("{topologyKey: z, whenUnsatisfiable: DoNotSchedule, maxSkew: 1}"),
        &spread("{topologyKey: z, whenUnsatisfiable: ScheduleAnyway, maxSkew: 2}"),
    )
    .unwrap();
    assert_eq!(
        merged["spec"]["topologySpreadConstraints"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn what_has_one_owner_is_replaced_and_the_rest_is_merged() {
    let live = yaml(
        "metadata: {labels: {a: '1', b: '2'}}
spec:
  nodeSelector: {x: '1', p: '2'}
  tolerations: [{key: a}, {key: b}]
  containers: [{name: a, image: i, command: [x, p]}]
  affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: []}]}}}",
    );
    let config = yaml(
        "metadata: {labels: {b: '3', c: '4'}}
spec:
  nodeSelector: {x: '3'}
  tolerations: [{key: c}]
  containers: [{name: a, command: [z]}]",
    );
    let want = yaml(
        "metadata: {labels: {a: '1', b: '3', c: '4'}}
spec:
  nodeSelector: {x: '3'}
  tolerations: [{key: c}]
  containers: [{name: a, image: i, command: [z]}]
  affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: []}]}}}",
    );
    assert_eq!(merge(pod(), &live, &config).unwrap(), want);
}

#[test]
fn null_and_empty() {
    for (live, config, want) in [
        // Null and empty of a granular map or list change nothing that is there …
        (
            "{metadata: {labels: {a: b}}}",
            "{metadata: {labels: null}}",
            "{metadata: {labels: {a: b}}}",
        ),
        (
            "{metadata: {labels: {a: b}}}",
            "{metadata: {labels: {}}}",
            "{metadata: {labels: {a: b}}}",
        ),
        (
            "{metadata: {finalizers: [a]}}",
            "{metadata: {finalizers: null}}",
            "{metadata: {finalizers: [a]}}",
        ),
        // … and stay apart where nothing is.
        (
            "{metadata: {labels: null}}",
            "{metadata: {labels: {}}}",
            "{metadata: {labels: {}}}",
        ),
        (
            "{metadata: {}}",
            "{metadata: {labels: null}}",
            "{metadata: {labels: null}}",
        ),
        // Of a leaf they are values.
        (
            "{spec: {nodeName: a}}",
            "{spec: {nodeName: null}}",
            "{spec: {nodeName: null}}",
        ),
        (
            "{spec: {tolerations: [{key: a}]}}",
            "{spec: {tolerations: null}}",
            "{spec: {tolerations: null}}",
        ),
        (
            "{spec: {nodeSelector: {a: b}}}",
            "{spec: {nodeSelector: {}}}",
            "{spec: {nodeSelector: {}}}",
        ),
    ] {
        let merged = merge(pod(), &yaml(live), &yaml(config)).unwrap();
        assert_eq!(merged, yaml(want), "{live} + {config}");
    }
}

fn sorted(set: &Set) -> Vec<String> {
    let mut out: Vec<String> = set.paths().iter().map(|path| show(path)).collect();
    out.sort();
    out
}

#[test]
fn fields_of_an_object() {
    let object = yaml(
        "metadata: {labels: {a: b}, annotations: {}, finalizers: [f, g, g], ownerReferences: [{uid: u, name: n}]}
spec:
  nodeSelector: {x: '1'}
  hostname: null
  tolerations: [{key: c}]
  securityContext: {}
  volumes:
  - {name: v, configMap: {name: c, items: [{key: k, path: p}]}}
  containers:
  - name: a
    env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}]
    ports: [{containerPort: 80}]",
    );
    assert_eq!(
        sorted(&fields(pod(), &object)),
        [
            ".metadata.annotations",
            ".metadata.finalizers[=\"f\"]",
            ".metadata.finalizers[=\"g\"]",
            ".metadata.labels.a",
            ".metadata.ownerReferences[uid=\"u\"]",
            ".spec.containers[name=\"a\"]",
            ".spec.containers[name=\"a\"].env[name=\"A\"]",
            ".spec.containers[name=\"a\"].env[name=\"A\"].name",
            ".spec.containers[name=\"a\"].env[name=\"A\"].valueFrom.secretKeyRef",
            ".spec.containers[name=\"a\"].name",
            ".spec.containers[name=\"a\"].ports[containerPort=80,protocol=\"TCP\"]",
            ".spec.containers[name=\"a\"].ports[containerPort=80,protocol=\"TCP\"].containerPort",
            ".spec.hostname",
            ".spec.nodeSelector",
            ".spec.securityContext",
            ".spec.tolerations",
            ".spec.volumes[name=\"v\"]",
            ".spec.volumes[name=\"v\"].configMap.items",
            ".spec.volumes[name=\"v\"].configMap.name",
            ".spec.volumes[name=\"v\"].name",
        ]
    );
}

#[test]
fn differences() {
    let old = yaml(
        "metadata: {labels: {a: '1', b: '2'}, finalizers: [x, p]}
spec: {hostname: h, containers: [{name: a, image: i}, {name: b}, {name: d, env: [{name: A, value: '1'}, {name: A, value: '2'}]}]}",
    );
    let new = yaml(
        "metadata: {labels: {a: '3', c: '2'}, finalizers: [p, x]}
spec: {hostname: h, containers: [{name: c}, {name: a, image: j}, {name: d, env: [{name: A, value: '1'}, {name: A, value: '3'}]}]}",
    );
    let found = compare(pod(), &old, &new).unwrap();
    assert_eq!(
        sorted(&found.modified),
        [
            ".metadata.labels.a",
            ".spec.containers[name=\"a\"].image",
            ".spec.containers[name=\"d\"].env[name=\"A\"]"
        ]
    );
    assert_eq!(
        sorted(&found.added),
        [
            ".metadata.labels.c",
            ".spec.containers[name=\"c\"]",
            ".spec.containers[name=\"c\"].name"
        ]
    );
    assert_eq!(
        sorted(&found.removed),
        [
            ".metadata.labels.b",
            ".spec.containers[name=\"b\"]",
            ".spec.containers[name=\"b\"].name"
        ]
    );
    assert_eq!(compare(pod(), &new, &new).unwrap(), Default::default());
}

#[test]
fn removing_fields() {
    let object = yaml(
        "metadata: {labels: {a: '1', b: '2'}, finalizers: [x, p]}
spec: {nodeSelector: {a: b}, containers: [{name: a, image: i}, {name: b}]}",
    );
    let set = |text: &str| parse_fields(&serde_json::from_str(text).unwrap()).unwrap();
    for (gone, want) in [
        ("{}", object.clone()),
        (
            r#"{"f:metadata":{"f:labels":{"f:a":{}},"f:finalizers":{"v:\"x\"":{}}},
                "f:spec":{"f:nodeSelector":{},"f:containers":{"k:{\"name\":\"a\"}":{"f:image":{}},"k:{\"name\":\"b\"}":{}}}}"#,
            yaml(
                "{metadata: {labels: {b: '2'}, finalizers: [p]}, spec: {containers: [{name: a}]}}",
            ),
        ),
        (
            r#"{"f:metadata":{},"f:spec":{"f:containers":{}}}"#,
            yaml("{spec: {nodeSelector: {a: b}}}"),
        ),
    ] {
        assert_eq!(remove(pod(), &object, &set(gone)), want, "{gone}");
    }
}

#[test]
fn what_is_wrong_with_a_configuration() {
    for (config, want) in [
        (
            "{spec: {foo: 1}}",
            ".spec.foo: field not declared in schema",
        ),
        (
            "{metadata: {labels: {a: 1}}}",
            ".metadata.labels.a: expected string, got &value.valueUnstructured{Value:1}",
        ),
        (
            "{spec: {hostNetwork: 'yes'}}",
            ".spec.hostNetwork: expected boolean, got &{\"yes\"}",
        ),
        (
            "{spec: {priority: high}}",
            ".spec.priority: expected numeric (int or float), got string",
        ),
        (
            "{spec: {containers: a}}",
            ".spec.containers: expected list, got &{\"a\"}",
        ),
        (
            "{spec: [1]}",
            ".spec: expected map, got &{[]interface {}{1}}",
        ),
        (
            "{spec: {containers: [{image: a}]}}",
            ".spec.containers: element 0: associative list with keys has an element that omits all key fields [\"name\"] (and doesn't have default values for any key fields)",
        ),
        (
            "{spec: {containers: [{name: a}, {name: a}]}}",
            ".spec.containers: duplicate entries for key [name=\"a\"]",
        ),
        (
            "{spec: {containers: [{name: a, ports: [{containerPort: 80}, {containerPort: 80, protocol: TCP}]}]}}",
            ".spec.containers[name=\"a\"].ports: duplicate entries for key [containerPort=80,protocol=\"TCP\"]",
        ),
        (
            "{metadata: {finalizers: [a, null]}}",
            ".metadata.finalizers: element 1: associative list without keys has an element that's an explicit null",
        ),
        (
            "{metadata: {finalizers: [{}]}}",
            ".metadata.finalizers: element 0: associative list without keys has an element that's a map type",
        ),
        (
            "{spec: {a: 1, b: 2}}",
            "errors:\n  .spec.a: field not declared in schema\n  .spec.b: field not declared in schema",
        ),
        (
            "{spec: {tolerations: [{key: a}, {key: a}], hostname: null, containers: null}}",
            "",
        ),
        (
            "{spec: {containers: [{name: a, resources: {limits: {cpu: 0.5}}}]}}",
            "",
        ),
    ] {
        let problems = validate(pod(), &mut yaml(config));
        let text = if problems.is_empty() {
            String::new()
        } else {
            joined(&problems)
        };
        assert_eq!(text, want, "{config}");
    }
}

#[test]
fn equal_amounts_are_equal() {
    let mut config =
        yaml("{spec: {containers: [{name: a, resources: {limits: {cpu: 0.5, memory: 1024Mi}}}]}}");
    assert!(validate(pod(), &mut config).is_empty());
    let limits = &config["spec"]["containers"][0]["resources"]["limits"];
    assert_eq!(*limits, json!({"cpu": "500m", "memory": "1Gi"}));
}
