//! Who may do what, through the real kubectl: a person with `view`, questions, acting as others, and
//! rights that nobody hands on without having them.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};
use bramble_tests::local::{Cluster, Guard, Output, run};

const ROLE: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: default}
rules:
- {apiGroups: [""], resources: [configmaps], verbs: [get, list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: default}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects:
- {kind: User, apiGroup: rbac.authorization.k8s.io, name: eve}
"#;

struct Person {
    kubeconfig: PathBuf,
    cache: PathBuf,
}

impl Person {
    /// Somebody with a certificate of their own.
    fn new(cluster: &Cluster, name: &str) -> Result<Self> {
        let kubeconfig = cluster.options().dir.join(format!("{name}.kubeconfig"));
        let file = kubeconfig.display().to_string();
        let server = format!("https://{}", cluster.api());
        cluster.bramble(&[
            "kubeconfig",
            "--user",
            name,
            "--group",
            "people",
            "--server",
            &server,
            "-o",
            &file,
        ])?;
        Ok(Self {
            kubeconfig,
            cache: cluster.options().dir.join(format!("cache-{name}")),
        })
    }

    fn kubectl(&self, args: &[&str]) -> Result<Output> {
        run(Command::new(bramble_tests::kubectl()?)
            .arg(format!("--kubeconfig={}", self.kubeconfig.display()))
            .arg(format!("--cache-dir={}", self.cache.display()))
            .args(args))
    }

    fn is_refused(&self, args: &[&str], said: &str) -> Result<()> {
        let out = self.kubectl(args)?;
        ensure!(
            out.code != 0,
            "{} was not refused: {}",
            out.line,
            out.stdout
        );
        ensure!(out.stderr.contains(said), "{}: {}", out.line, out.stderr);
        Ok(())
    }
}

/// What `kubectl auth can-i` answers: `yes` with 0, `no` with 1.
fn says(out: &Output, answer: &str) -> Result<()> {
    let code = i32::from(answer != "yes");
    let said = out.stdout.trim();
    ensure!(
        said.starts_with(answer) && out.code == code,
        "{}: {said} ({}), not {answer}; {}",
        out.line,
        out.code,
        out.stderr
    );
    Ok(())
}

#[test]
fn root_a_viewer_looks_and_hands_nothing_on() -> Result<()> {
    let cluster = Guard::prepare(1)?;
    cluster.up()?;
    cluster.kubectl(&["create", "configmap", "c", "--from-literal=a=1"])?;
    let ann = Person::new(&cluster, "ann")?;

    // A stranger sees what is served, and no object.
    ensure!(
        ann.kubectl(&["api-resources"])?
            .success()?
            .stdout
            .contains("rolebindings")
    );
    ann.is_refused(
        &["get", "pods"],
        "Error from server (Forbidden): pods is forbidden: User \"ann\" cannot list resource \"pods\" \
         in API group \"\" in the namespace \"default\"",
    )?;
    says(&ann.kubectl(&["auth", "can-i", "list", "pods"])?, "no")?;

    cluster.kubectl(&[
        "create",
        "rolebinding",
        "ann",
        "--clusterrole=view",
        "--user=ann",
    ])?;
    let seen = ann
        .kubectl(&["get", "configmap", "c", "-o", "name"])?
        .success()?;
    ensure!(seen.stdout.trim() == "configmap/c", "{}", seen.stdout);
    ann.kubectl(&["get", "all"])?.success()?;
    ann.is_refused(&["get", "secrets"], "cannot list resource \"secrets\"")?;
    ann.is_refused(
        &["delete", "configmap", "c"],
        "cannot delete resource \"configmaps\"",
    )?;
    ann.is_refused(&["get", "pods", "-A"], "at the cluster scope")?;
    ann.is_refused(&["get", "nodes"], "cannot list resource \"nodes\"")?;

    says(&ann.kubectl(&["auth", "can-i", "list", "pods"])?, "yes")?;
    says(&ann.kubectl(&["auth", "can-i", "create", "pods"])?, "no")?;
    says(
        &ann.kubectl(&["auth", "can-i", "get", "pods", "--subresource=log"])?,
        "yes",
    )?;
    says(&ann.kubectl(&["auth", "can-i", "get", "/apis"])?, "yes")?;
    let list = ann.kubectl(&["auth", "can-i", "--list"])?.success()?.stdout;
    for line in [
        "pods/log",
        "configmaps",
        "selfsubjectaccessreviews.authorization.k8s.io",
        "[/api/*]",
    ] {
        ensure!(list.contains(line), "no {line} in\n{list}");
    }
    ensure!(!list.contains("secrets"), "{list}");

    // The administrator asks for others, and acts as them.
    let can = |args: &[&str]| cluster.kubectl_any(&[&["auth", "can-i"], args].concat());
    says(&can(&["create", "pods", "--as=ann"])?, "no")?;
    says(&can(&["list", "pods", "--as=ann"])?, "yes")?;
    says(
        &can(&["list", "pods", "--as=bob", "--as-group=system:masters"])?,
        "yes",
    )?;
    says(
        &can(&[
            "get",
            "secrets",
            "--as=system:serviceaccount:default:default",
        ])?,
        "no",
    )?;
    says(&can(&["*", "*", "-A"])?, "yes")?;
    let refused = cluster.kubectl_any(&["get", "secrets", "--as=ann"])?;
    ensure!(
        refused.stderr.contains("User \"ann\" cannot list"),
        "{}",
        refused.stderr
    );
    ann.is_refused(
        &["get", "pods", "--as=kubernetes-admin"],
        "cannot impersonate resource \"users\"",
    )?;

    // An administrator of a namespace hands on what they have, and no more.
    cluster.kubectl(&[
        "create",
        "rolebinding",
        "ann-admin",
        "--clusterrole=admin",
        "--user=ann",
    ])?;
    ann.kubectl(&[
        "create",
        "role",
        "reader",
        "--verb=get,list",
        "--resource=pods",
    ])?
    .success()?;
    ann.kubectl(&[
        "create",
        "rolebinding",
        "bob",
        "--role=reader",
        "--user=bob",
    ])?
    .success()?;
    says(&can(&["list", "pods", "--as=bob"])?, "yes")?;
    ann.is_refused(
        &["create", "role", "nodes", "--verb=get", "--resource=nodes"],
        "is attempting to grant RBAC permissions not currently held:\n\
         {APIGroups:[\"\"], Resources:[\"nodes\"], Verbs:[\"get\"]}",
    )?;
    ann.is_refused(
        &[
            "create",
            "rolebinding",
            "all",
            "--clusterrole=cluster-admin",
            "--user=ann",
        ],
        "is attempting to grant RBAC permissions not currently held",
    )?;
    ann.is_refused(
        &[
            "create",
            "clusterrolebinding",
            "all",
            "--clusterrole=view",
            "--user=ann",
        ],
        "cannot create resource \"clusterrolebindings\"",
    )?;

    // And `auth reconcile` brings roles and bindings to what a file says, twice the same.
    cluster.kubectl(&["delete", "role/reader", "rolebinding/ann-admin"])?;
    for _ in 0..2 {
        let out = cluster
            .kubectl_with_input(&["auth", "reconcile", "-f", "-"], ROLE)?
            .success()?;
        ensure!(
            out.stdout
                .contains("role.rbac.authorization.k8s.io/reader reconciled"),
            "{}",
            out.stdout
        );
    }
    says(&can(&["get", "configmaps", "--as=eve"])?, "yes")?;
    says(&can(&["get", "pods", "--as=eve"])?, "no")?;
    Ok(())
}

#[test]
fn root_a_role_with_a_label_joins_view() -> Result<()> {
    let cluster = Guard::prepare(1)?;
    cluster.up()?;
    cluster.kubectl(&[
        "create",
        "rolebinding",
        "ann",
        "--clusterrole=view",
        "--user=ann",
    ])?;
    let can =
        |verb: &str, what: &str| cluster.kubectl_any(&["auth", "can-i", verb, what, "--as=ann"]);
    says(&can("get", "secrets")?, "no")?;
    cluster.kubectl(&[
        "create",
        "clusterrole",
        "more",
        "--verb=get",
        "--resource=secrets",
    ])?;
    let label = "rbac.authorization.k8s.io/aggregate-to-view=true";
    cluster.kubectl(&["label", "clusterrole", "more", label])?;
    cluster.wait("view to take it in", "controller", || {
        Ok(can("get", "secrets")?.code == 0)
    })?;
    cluster.kubectl(&["delete", "clusterrole", "more"])?;
    cluster.wait("view to let it go", "controller", || {
        Ok(can("get", "secrets")?.code == 1)
    })?;

    // A start writes nothing: the default roles are as they were.
    let version = |cluster: &Cluster| -> Result<String> {
        let args = [
            "get",
            "clusterroles",
            "-o",
            "jsonpath={.items[*].metadata.resourceVersion}",
        ];
        Ok(cluster.kubectl(&args)?.stdout)
    };
    let before = version(&cluster)?;
    cluster.kill("controller")?;
    cluster.start_controller()?;
    ensure!(
        version(&cluster)? == before,
        "roles were written at a start"
    );
    Ok(())
}
