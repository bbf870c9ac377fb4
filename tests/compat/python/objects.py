"""ConfigMaps by the typed client: create, list, patch, replace, a conflict, watch, delete."""

import os
import threading

from kubernetes import client, config, watch
from kubernetes.client.rest import ApiException

config.load_kube_config()
core = client.CoreV1Api()
namespace = os.environ["NS"] + "-objects"
core.create_namespace({"metadata": {"name": namespace}})
try:
    seen = []
    # The stream below asks for nothing before it is read. However late that is, it tells what happened
    # after this list.
    before = core.list_namespaced_config_map(namespace, label_selector="app=demo").metadata.resource_version

    def follow():
        stream = watch.Watch().stream(
            core.list_namespaced_config_map,
            namespace,
            label_selector="app=demo",
            resource_version=before,
            timeout_seconds=60,
        )
        for event in stream:
            seen.append(event["type"])
            if event["type"] == "DELETED":
                return

    follower = threading.Thread(target=follow)
    follower.start()
    core.create_namespaced_config_map(
        namespace, {"metadata": {"name": "demo", "labels": {"app": "demo"}}, "data": {"colour": "green"}}
    )
    print("created")
    print("listed", len(core.list_namespaced_config_map(namespace, label_selector="app=demo").items))
    patched = core.patch_namespaced_config_map("demo", namespace, {"data": {"colour": "blue"}})
    print("patched", patched.data["colour"])
    old = patched.metadata.resource_version
    patched.data["colour"] = "red"
    core.replace_namespaced_config_map("demo", namespace, patched)
    print("replaced")
    patched.metadata.resource_version = old
    try:
        core.replace_namespaced_config_map("demo", namespace, patched)
    except ApiException as error:
        print("conflict", error.status)
    core.delete_namespaced_config_map("demo", namespace)
    print("deleted")
    follower.join(60)
    for kind in dict.fromkeys(seen):
        print("watched", kind)
finally:
    core.delete_namespace(namespace)
