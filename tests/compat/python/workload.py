"""A Deployment by the typed client: create, wait, logs of a pod, scale, delete."""

import os
import time

from kubernetes import client, config
from kubernetes.client.rest import ApiException

config.load_kube_config()
core, apps = client.CoreV1Api(), client.AppsV1Api()
namespace = os.environ["NS"] + "-workload"


def until(what, done):
    end = time.monotonic() + 60
    while not done():
        if time.monotonic() > end:
            raise SystemExit(f"waited for {what}")
        time.sleep(0.2)


def gone():
    try:
        core.read_namespace(namespace)
    except ApiException as error:
        return error.status == 404
    return False


core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=namespace)))
try:
    labels = {"app": "demo"}
    container = client.V1Container(name="main", image="bramble.test/hello:v1")
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels=labels),
        spec=client.V1PodSpec(containers=[container], termination_grace_period_seconds=1),
    )
    apps.create_namespaced_deployment(
        namespace,
        client.V1Deployment(
            metadata=client.V1ObjectMeta(name="demo"),
            spec=client.V1DeploymentSpec(
                replicas=1, selector=client.V1LabelSelector(match_labels=labels), template=template
            ),
        ),
    )
    until("a ready pod", lambda: apps.read_namespaced_deployment_status("demo", namespace).status.ready_replicas == 1)
    print("ready")
    pod = core.list_namespaced_pod(namespace, label_selector="app=demo").items[0].metadata.name
    until("a log", lambda: "8080" in core.read_namespaced_pod_log(pod, namespace))
    print("log", core.read_namespaced_pod_log(pod, namespace, tail_lines=1).strip())
    apps.patch_namespaced_deployment_scale("demo", namespace, {"spec": {"replicas": 2}})
    until("two pods", lambda: apps.read_namespaced_deployment_scale("demo", namespace).status.replicas == 2)
    print("scaled 2")
finally:
    core.delete_namespace(namespace)
until("the namespace to go", gone)
print("gone")
