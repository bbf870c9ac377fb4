//! Who pods are, and what their namespace lets them be: tokens in files, `restricted` namespaces, and
//! containers that come to help.

use anyhow::{Context as _, Result, ensure};
use bramble_tests::local::{Cluster, Guard, wait_until};
use serde_json::Value;

use crate::said::{ended, running};
use crate::tokens::{kubectl_as, refused, whoami};
use crate::{LIMIT, get, text, wait_for};

/// What a container has printed, once it has printed so many lines.
fn lines(cluster: &Cluster, args: &[&str], count: usize) -> Result<Vec<String>> {
    let (mut last, mut lines) = (String::new(), Vec::new());
    let printed = wait_until(LIMIT, || {
        // Until the container has started there is no log to ask for.
        if let Ok(out) = cluster.kubectl(&[&["logs"], args].concat()) {
            last = out.stdout;
        }
        lines = last.lines().map(str::to_owned).collect();
        Ok(lines.len() >= count)
    })?;
    ensure!(printed, "waited for {count} lines in {last}");
    Ok(lines)
}

const SPEAKING: &str = r#"
apiVersion: v1
kind: ServiceAccount
metadata: { name: ci }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: silent }
automountServiceAccountToken: false
---
apiVersion: v1
kind: Pod
metadata: { name: speaks }
spec:
  serviceAccountName: ci
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: [sh, -c, 'cd /var/run/secrets/kubernetes.io/serviceaccount; cat namespace; echo;
        cat token; echo; cat /vault/token; echo; grep -c "BEGIN CERTIFICATE" ca.crt; ls; sleep 1000']
      volumeMounts: [{ name: vault, mountPath: /vault }]
  volumes:
    - name: vault
      projected:
        sources: [{ serviceAccountToken: { path: token, audience: vault, expirationSeconds: 600 } }]
---
apiVersion: v1
kind: Pod
metadata: { name: silent }
spec:
  serviceAccountName: silent
  restartPolicy: Never
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: [sh, -c, 'ls /var/run/secrets/kubernetes.io 2>/dev/null | wc -l']
---
apiVersion: v1
kind: Pod
metadata: { name: unasked }
spec:
  automountServiceAccountToken: false
  restartPolicy: Never
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: [sh, -c, 'ls /var/run/secrets/kubernetes.io 2>/dev/null | wc -l']
"#;

#[test]
fn root_pods_are_their_account_by_the_token_in_their_files() -> Result<()> {
    let cluster = Guard::start(1)?;
    cluster.apply(SPEAKING)?;
    let said = lines(&cluster, &["speaks"], 7)?;
    ensure!(
        said[0] == "default" && said[3] == "1" && said[4..7] == ["ca.crt", "namespace", "token"],
        "{said:?}"
    );
    let (token, vault) = (&said[1], &said[2]);
    let user = whoami(&cluster, token)?;
    ensure!(
        user["username"] == "system:serviceaccount:default:ci",
        "{user:#}"
    );
    let extra = |key: &str| user["extra"][format!("authentication.kubernetes.io/{key}")][0].clone();
    ensure!(extra("pod-name") == "speaks", "{user:#}");
    let uid = get(&cluster, "pod", "speaks")?["metadata"]["uid"].clone();
    ensure!(extra("pod-uid") == uid, "{user:#}");
    refused(&cluster, vault).context("a token for somebody else")?;
    cluster.kubectl(&[
        "create",
        "rolebinding",
        "ci",
        "--clusterrole=view",
        "--serviceaccount=default:ci",
    ])?;
    kubectl_as(&cluster, token, &["get", "pods"])?.success()?;
    for silent in ["silent", "unasked"] {
        wait_for(&cluster, "pod", silent, "to end", ended)?;
        ensure!(
            lines(&cluster, &[silent], 1)? == ["0"],
            "{silent} has a token"
        );
    }
    // The token ends with its pod.
    cluster.kubectl(&["delete", "pod", "speaks"])?;
    refused(&cluster, token)
}

const RESTRICTED: &str = r#"
apiVersion: v1
kind: Namespace
metadata:
  name: strict
  labels: { pod-security.kubernetes.io/enforce: restricted }
---
apiVersion: v1
kind: Pod
metadata: { name: good, namespace: strict }
spec:
  restartPolicy: Never
  securityContext: { runAsNonRoot: true, runAsUser: 1000, seccompProfile: { type: RuntimeDefault } }
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: [sh, -c, 'grep -E "^(Seccomp|NoNewPrivs|CapBnd):" /proc/self/status']
      securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: [ALL] } }
"#;

#[test]
fn root_restricted_namespaces_take_pods_whose_calls_are_filtered() -> Result<()> {
    let cluster = Guard::start(1)?;
    cluster.apply(RESTRICTED)?;
    let told = lines(&cluster, &["-n", "strict", "good"], 3)?;
    let want = ["CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"];
    ensure!(told == want, "{told:?}");
    let bad = "{apiVersion: v1, kind: Pod, metadata: {name: bad, namespace: strict}, \
               spec: {containers: [{name: main, image: 'bramble.test/busybox:1'}]}}";
    let refused = cluster.kubectl_with_input(&["apply", "-f", "-"], bad);
    let said = format!("{refused:?}");
    for why in [
        "violates PodSecurity",
        "restricted:latest",
        "seccompProfile (pod or container",
    ] {
        ensure!(said.contains(why), "no {why:?} in {said}");
    }
    Ok(())
}

const PATIENT: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: patient }
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: [sleep, "1234567"]
"#;

#[test]
fn root_debug_containers_come_to_running_pods_and_stay() -> Result<()> {
    let cluster = Guard::start(1)?;
    cluster.apply(PATIENT)?;
    wait_for(&cluster, "pod", "patient", "to run", running)?;
    let image = "--image=bramble.test/busybox:1";
    let debug = [
        "debug",
        "patient",
        image,
        "--target=main",
        "-c",
        "doctor",
        "--",
    ];
    let look = ["sh", "-c", "ps | grep -c '[s]leep 1234567'; exit 3"];
    cluster.kubectl(&[&debug[..], &look].concat())?;
    let done = |pod: &Value| {
        text(
            pod,
            "/status/ephemeralContainerStatuses/0/state/terminated/reason",
        ) == "Error"
    };
    let pod = wait_for(&cluster, "pod", "patient", "to be looked at", done)?;
    let status = &pod["status"]["ephemeralContainerStatuses"][0];
    ensure!(
        status["name"] == "doctor" && status["state"]["terminated"]["exitCode"] == 3,
        "{status:#}"
    );
    ensure!(
        lines(&cluster, &["patient", "-c", "doctor"], 1)? == ["1"],
        "it sees the processes of its target"
    );
    let spec = &pod["spec"]["ephemeralContainers"][0];
    ensure!(
        spec["targetContainerName"] == "main" && spec["imagePullPolicy"] == "IfNotPresent",
        "{spec:#}"
    );
    // It is not started again, and the pod goes on.
    ensure!(status["restartCount"] == 0 && running(&pod), "{pod:#}");
    let again = cluster.kubectl_any(&[&debug[..], &look].concat())?;
    ensure!(again.code != 0, "a name is given once: {}", again.stdout);
    Ok(())
}
