//! Paths of the board, and what is mounted in them.

use super::*;

const PATHS: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: paths }
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: [sh, -c, 'cat /dir/kept; echo made > /made/file; cat /file; test -S /socket && echo socket; test -c /null && echo device;
        touch /dir/below/x 2>/dev/null || echo read-only below; touch /dir/x 2>/dev/null || echo read-only;
        echo any > /any/file; mount | grep -c " /dir/below " ; ln -s /etc /made/out; sleep 1000']
      volumeMounts:
        - { name: dir, mountPath: /dir, readOnly: true, recursiveReadOnly: Enabled }
        - { name: made, mountPath: /made }
        - { name: made, mountPath: /deeper, subPath: a/b/c }
        - { name: file, mountPath: /file }
        - { name: socket, mountPath: /socket }
        - { name: dev, mountPath: /null }
        - { name: any, mountPath: /any }
  volumes:
    - { name: dir, hostPath: { path: "@DIR/dir", type: Directory } }
    - { name: made, hostPath: { path: "@DIR/made", type: DirectoryOrCreate } }
    - { name: file, hostPath: { path: "@DIR/new-file", type: FileOrCreate } }
    - { name: socket, hostPath: { path: "@DIR/socket", type: Socket } }
    - { name: dev, hostPath: { path: /dev/null, type: CharDevice } }
    - { name: any, hostPath: { path: "@DIR/any" } }
---
apiVersion: v1
kind: Pod
metadata: { name: wrong }
spec:
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: [sleep, "1000"]
      volumeMounts: [{ name: v, mountPath: /v }]
  volumes: [{ name: v, hostPath: { path: "@DIR/dir/kept", type: Directory } }]
"#;

const ESCAPE: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: escape }
spec:
  restartPolicy: Never
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: [sh, -c, 'ls /v']
      volumeMounts: [{ name: v, mountPath: /v, subPath: out }]
  volumes: [{ name: v, hostPath: { path: "@DIR/made", type: Directory } }]
"#;

#[test]
fn root_paths_of_the_board_are_checked_and_survive_their_pods() -> Result<()> {
    let cluster = Guard::start(1)?;
    let dir = BoardDir::new(&cluster, "paths")?;
    fs::create_dir_all(dir.0.join("dir/below"))?;
    fs::write(dir.0.join("dir/kept"), "kept\n")?;
    sh(&dir.yaml("mount -t tmpfs below @DIR/dir/below"))?;
    fs::write(dir.0.join("dir/below/also"), "also")?;
    let _socket = std::os::unix::net::UnixListener::bind(dir.0.join("socket"))?;
    cluster.apply(&dir.yaml(PATHS))?;
    let why = dir.yaml("MountVolume.SetUp failed for volume \"v\" : hostPath type check failed: @DIR/dir/kept is not a directory");
    wait_for_event(&cluster, "wrong", "FailedMount", &why)?;
    let wrong = get(&cluster, "pod", "wrong")?;
    let waiting = &wrong["status"]["containerStatuses"][0]["state"]["waiting"];
    ensure!(
        waiting["reason"] == "ContainerCreating" && waiting["message"] == why.as_str(),
        "{waiting:#}"
    );
    for line in [
        "kept",
        "socket",
        "device",
        "read-only below",
        "read-only",
        "1",
    ] {
        logged(&cluster, "paths", line)?;
    }
    // A link that a container made leads nowhere out of its volume.
    cluster.apply(&dir.yaml(ESCAPE))?;
    let refused = wait_for(&cluster, "pod", "escape", "to be refused", |pod| {
        text(pod, "/status/containerStatuses/0/state/waiting/reason")
            == "CreateContainerConfigError"
    })?;
    let message = text(
        &refused,
        "/status/containerStatuses/0/state/waiting/message",
    );
    ensure!(
        message == "failed to prepare subPath for volumeMount \"v\" of container \"main\"",
        "{message}"
    );
    // The pods end while the agent is away, and it comes back to clean up.
    cluster.kill("board-1")?;
    cluster.kubectl(&["delete", "pod", "paths", "wrong", "escape", "--wait=false"])?;
    cluster.start_agent(0)?;
    cluster.kubectl(&[
        "wait",
        "--for=delete",
        "pod/paths",
        "pod/wrong",
        "pod/escape",
        "--timeout=60s",
    ])?;
    for (name, content) in [
        ("dir/kept", "kept\n"),
        ("dir/below/also", "also"),
        ("made/file", "made\n"),
        ("any/file", "any\n"),
        ("new-file", ""),
    ] {
        ensure!(dir.read(name)? == content, "{name} did not survive");
    }
    ensure!(dir.0.join("made/a/b/c").is_dir() && dir.0.join("socket").exists());
    ensure!(
        mounts(&cluster, "/pods/")? == 0,
        "something is still mounted"
    );
    Ok(())
}

const PROPAGATE: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: both }
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: mounter
      image: bramble.test/busybox:1
      securityContext: { privileged: true }
      command: [sh, -c, 'mkdir -p /e/point /h/point; mount -t tmpfs inner /e/point && echo x > /e/point/file; mount -t tmpfs inner /h/point && echo y > /h/point/file; sleep 1000']
      volumeMounts:
        - { name: e, mountPath: /e, mountPropagation: Bidirectional }
        - { name: h, mountPath: /h, mountPropagation: Bidirectional }
    - name: follower
      image: bramble.test/busybox:1
      command: [sh, -c, 'until [ -e /e/point/file ] && [ -e /h/outer/file ]; do sleep 0.1; done; echo followed; test -e /none/outer/file || echo alone; sleep 1000']
      volumeMounts:
        - { name: e, mountPath: /e, mountPropagation: HostToContainer }
        - { name: h, mountPath: /h, mountPropagation: HostToContainer }
        - { name: h, mountPath: /none }
  volumes:
    - { name: e, emptyDir: {} }
    - { name: h, hostPath: { path: "@DIR/shared", type: Directory } }
---
apiVersion: v1
kind: Pod
metadata: { name: private }
spec:
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: [sleep, "1000"]
      volumeMounts: [{ name: h, mountPath: /h, mountPropagation: HostToContainer }]
  volumes: [{ name: h, hostPath: { path: "@DIR/private", type: Directory } }]
"#;

#[test]
fn root_mounts_are_seen_on_the_other_side_where_that_was_asked_for() -> Result<()> {
    let cluster = Guard::start(1)?;
    let dir = BoardDir::new(&cluster, "propagate")?;
    sh(&dir.yaml(
        "mkdir @DIR/shared @DIR/private && mount -t tmpfs shared @DIR/shared && mount --make-shared @DIR/shared \
         && mount -t tmpfs private @DIR/private && mount --make-private @DIR/private && mkdir @DIR/shared/outer",
    ))?;
    cluster.apply(&dir.yaml(PROPAGATE))?;
    wait_for(&cluster, "pod", "both", "to run", running)?;
    let appeared = wait_until(LIMIT, || Ok(dir.0.join("shared/point/file").exists()))?;
    ensure!(
        appeared,
        "a mount of the container is not seen on the board"
    );
    sh(&dir.yaml("mount -t tmpfs outer @DIR/shared/outer && echo z > @DIR/shared/outer/file"))?;
    let mut out = String::new();
    let followed = wait_until(LIMIT, || {
        out = cluster
            .kubectl_any(&["logs", "both", "-c", "follower"])?
            .stdout;
        Ok(out.lines().any(|line| line == "alone"))
    })?;
    ensure!(followed, "follower: {out:?}");
    let why = dir.yaml("path \"@DIR/private\" is mounted on \"@DIR/private\" but it is not a shared or slave mount");
    let private = wait_for(&cluster, "pod", "private", "to be refused", |pod| {
        text(pod, "/status/containerStatuses/0/state/waiting/message") == why
    })?;
    ensure!(!running(&private));
    cluster.kubectl(&["delete", "pod", "both", "private"])?;
    // What a container mounted in an emptyDir goes with it; on a path of the board it stays.
    ensure!(dir.read("shared/point/file")? == "y\n");
    ensure!(
        mounts(&cluster, "/volumes/")? == 0,
        "something is still mounted"
    );
    Ok(())
}
