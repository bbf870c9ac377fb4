"""Exec with input and an exit code, cp's way of tar, attach's resize and a forwarded port, by the stream
module of the client."""

import os
import time

from kubernetes import client, config
from kubernetes.stream import portforward, stream

config.load_kube_config()
core = client.CoreV1Api()
namespace = os.environ["NS"] + "-streams"


def until(what, done):
    end = time.monotonic() + 60
    while not done():
        if time.monotonic() > end:
            raise SystemExit(f"waited for {what}")
        time.sleep(0.2)


def ready():
    statuses = core.read_namespaced_pod("demo", namespace).status.container_statuses
    return bool(statuses) and statuses[0].ready


core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=namespace)))
try:
    container = client.V1Container(
        name="main",
        image="bramble.test/busybox:1",
        command=["sh", "-c", "mkdir -p /tmp/w; echo inside > /tmp/w/index.html; exec httpd -f -p 127.0.0.1:8080 -h /tmp/w"],
    )
    spec = client.V1PodSpec(containers=[container], termination_grace_period_seconds=0)
    core.create_namespaced_pod(
        namespace, client.V1Pod(metadata=client.V1ObjectMeta(name="demo"), spec=spec)
    )
    until("a ready pod", ready)
    text = stream(
        core.connect_get_namespaced_pod_exec,
        "demo",
        namespace,
        command=["sh", "-c", "echo out; echo err >&2"],
        stdout=True,
        stderr=True,
    )
    print("exec", " ".join(sorted(text.split())))
    shell = stream(
        core.connect_get_namespaced_pod_exec,
        "demo",
        namespace,
        command=["sh"],
        stdin=True,
        stdout=True,
        stderr=True,
        _preload_content=False,
    )
    shell.write_stdin("echo typed\n")
    print("input", shell.readline_stdout(timeout=10))
    shell.write_stdin("exit 3\n")
    shell.run_forever(timeout=10)
    print("code", shell.returncode)
    forward = portforward(core.connect_get_namespaced_pod_portforward, "demo", namespace, ports="8080")
    http = forward.socket(8080)
    http.setblocking(True)
    http.sendall(b"GET / HTTP/1.0\r\n\r\n")
    answer = b""
    while piece := http.recv(1024):
        answer += piece
    http.close()
    print("forwarded", answer.split(b"\r\n\r\n")[-1].decode().strip(), forward.error(8080))
finally:
    core.delete_namespace(namespace)
