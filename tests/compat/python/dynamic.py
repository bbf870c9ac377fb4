"""The dynamic client: discovery, server-side apply, a conflict between two managers."""

import os

from kubernetes import config, dynamic
from kubernetes.client import api_client
from kubernetes.dynamic.exceptions import ConflictError

dynamic_client = dynamic.DynamicClient(api_client.ApiClient(configuration=config.load_kube_config()))
namespaces = dynamic_client.resources.get(api_version="v1", kind="Namespace")
maps = dynamic_client.resources.get(api_version="v1", kind="ConfigMap")
namespace = os.environ["NS"] + "-dynamic"
namespaces.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
try:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "demo"}, "data": {"a": "1"}}
    maps.server_side_apply(body, name="demo", namespace=namespace, field_manager="first")
    print("applied server-side")
    body["data"]["a"] = "2"
    try:
        maps.server_side_apply(body, name="demo", namespace=namespace, field_manager="second")
    except ConflictError as error:
        print("conflict", error.status)
    kinds = dynamic_client.resources.search()
    print("kinds", len({resource.kind for resource in kinds}))
finally:
    namespaces.delete(name=namespace)
