//! Who owns the items of lists and sets, and parts of them.

use super::*;

#[test]
fn items_of_nested_lists_have_owners() {
    // structured-merge-diff: remove_one_keep_one_with_two_sub_items.
    Server::of("pods")
        .apply(
            "one",
            "{spec: {containers: [{name: a}, {name: b, env: [{name: C, value: c}]}]}}",
        )
        .apply(
            "two",
            "{spec: {containers: [{name: b, env: [{name: D, value: d}]}]}}",
        )
        .apply("one", "{spec: {containers: [{name: a}]}}")
        .is("{spec: {containers: [{name: a}, {name: b, env: [{name: D, value: d}]}]}}")
        .owns(
            "one",
            &[
                ".spec.containers[name=\"a\"]",
                ".spec.containers[name=\"a\"].name",
            ],
        );
}

#[test]
fn an_item_with_fields_of_an_updater_stays_while_an_applier_holds_it() {
    // structured-merge-diff: remove_one_keep_one_with_dangling_subitem.
    Server::of("pods")
        .apply("one", "{spec: {containers: [{name: a}, {name: b, env: [{name: C, value: c}]}]}}")
        .apply("two", "{spec: {containers: [{name: b, env: [{name: D, value: d}]}]}}")
        .replace(
            "u",
            "{spec: {containers: [{name: a}, {name: b, env: [{name: C, value: c}, {name: D, value: d}, {name: E, value: e}]}]}}",
        )
        .apply("one", "{spec: {containers: [{name: a}]}}")
        .is("{spec: {containers: [{name: a}, {name: b, env: [{name: D, value: d}, {name: E, value: e}]}]}}");
}

#[test]
fn an_item_goes_with_its_last_applier_though_an_updater_wrote_in_it() {
    // structured-merge-diff: remove_one_with_dangling_subitem_keep_one.
    Server::of("pods")
        .apply("one", "{spec: {containers: [{name: a}, {name: b, env: [{name: C, value: c}]}]}}")
        .replace(
            "u",
            "{spec: {containers: [{name: a}, {name: b, env: [{name: C, value: c}, {name: D, value: d}]}]}}",
        )
        .apply("one", "{spec: {containers: [{name: a}]}}")
        .is("{spec: {containers: [{name: a}]}}");
}

#[test]
fn a_message_stays_while_somebody_has_a_field_in_it() {
    // structured-merge-diff: struct_apply_update_remove_all, …_dict_dangling, …_took_over.
    for last in ["", "{spec: {dnsConfig: {}}}", "{spec: {dnsConfig: null}}"] {
        Server::of("pods")
            .apply("a", "{spec: {dnsConfig: {nameservers: [x]}, hostname: h}}")
            .replace(
                "u",
                "{spec: {dnsConfig: {nameservers: [x], searches: [s]}, hostname: h}}",
            )
            .apply("a", last)
            .is("{spec: {dnsConfig: {searches: [s]}}}");
    }
    Server::of("pods")
        .apply("a", "{spec: {dnsConfig: {nameservers: [x]}}}")
        .replace("u", "{spec: {dnsConfig: {nameservers: [q]}}}")
        .apply("a", "{spec: {dnsConfig: {}}}")
        .is("{spec: {dnsConfig: {nameservers: [q]}}}");
}

#[test]
fn sets_have_owners_by_item() {
    let mut server = Server::of("configmaps");
    server
        .apply("a", "{metadata: {finalizers: [e.io/a, e.io/b]}}")
        .apply("b", "{metadata: {finalizers: [e.io/c, e.io/b]}}")
        .is("{metadata: {finalizers: [e.io/a, e.io/c, e.io/b]}}")
        .apply("a", "{metadata: {finalizers: [e.io/b]}}")
        .is("{metadata: {finalizers: [e.io/c, e.io/b]}}")
        .owns("a", &[".metadata.finalizers[=\"e.io/b\"]"])
        .apply("b", "")
        .is("{metadata: {finalizers: [e.io/b]}}");
}

#[test]
fn a_port_without_protocol_is_the_tcp_port() {
    let mut server = Server::of("pods");
    server.apply(
        "a",
        "{spec: {containers: [{name: c, ports: [{containerPort: 80, name: x}]}]}}",
    );
    assert_eq!(
        server.conflicts(
            "b",
            "{spec: {containers: [{name: c, ports: [{containerPort: 80, protocol: TCP, name: q}]}]}}"
        ),
        ["conflict with \"a\": .spec.containers[name=\"c\"].ports[containerPort=80,protocol=\"TCP\"].name"]
    );
    server
        .apply("b", "{spec: {containers: [{name: c, ports: [{containerPort: 80, protocol: UDP, name: q}]}]}}")
        .apply("a", "{spec: {containers: [{name: c}]}}")
        .is("{spec: {containers: [{name: c, ports: [{containerPort: 80, protocol: UDP, name: q}]}]}}");
}

#[test]
fn what_comes_twice_is_owned_as_one_thing() {
    // structured-merge-diff: list/merge/change_duplicated_item and sets/merging/ignore_duplicate.
    let twice = "{spec: {containers: [{name: c, env: [{name: A, value: '1'}, {name: A, value: '2'}, {name: B, value: b}]}]}}";
    let mut server = Server::with("pods", twice);
    server
        .apply(
            "a",
            "{spec: {containers: [{name: c, env: [{name: B, value: b}]}]}}",
        )
        .is(twice);
    let once = "{spec: {containers: [{name: c, env: [{name: A, value: '3'}]}]}}";
    assert_eq!(
        server.conflicts("a", once),
        [
            "conflict with \"before-first-apply\" using v1: .spec.containers[name=\"c\"].env[name=\"A\"]"
        ]
    );
    server
        .force("a", once)
        .is("{spec: {containers: [{name: c, env: [{name: A, value: '3'}, {name: B, value: b}]}]}}");
}
