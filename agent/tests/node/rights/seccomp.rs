//! The system calls that a container may make.

use super::*;

/// `unshare` and the like are calls that the default profile forbids with EPERM; mknod is one it allows.
const FORBIDDEN: &str = "grep Seccomp: /proc/self/status; \
    unshare -u true && echo unshared || echo unshare-refused; \
    mkdir /tmp/m; mount -t tmpfs x /tmp/m && echo mounted || echo mount-refused";

#[tokio::test]
async fn the_default_profile_is_on_and_forbids() {
    let pod = Pod::new(|_| {}).await;
    for (id, escalation) in [("with-0", true), ("without-0", false)] {
        let mut filtered = pod.container(id, FORBIDDEN);
        filtered.rights.seccomp = Seccomp::RuntimeDefault;
        // The capability would allow it; the profile of somebody without it must not.
        filtered.rights.allow_privilege_escalation = escalation;
        let (_, log) = pod.run(&filtered).await;
        contains_all(&log, &["Seccomp:\t2", "unshare-refused", "mount-refused"]);
        contains_all(&log, &["Operation not permitted"]);
        // As a user without any capability, filters included.
        filtered.id = format!("user-{id}");
        filtered.log = pod.board.options.log_path(pod.uid, &filtered.id, 0);
        filtered.user.uid = 33;
        let (_, log) = pod.run(&filtered).await;
        contains_all(&log, &["Seccomp:\t2", "unshare-refused"]);
    }
    let (_, log) = pod.run(&pod.container("open-0", FORBIDDEN)).await;
    contains_all(&log, &["Seccomp:\t0"]);
    let mut admin = pod.container("admin-0", FORBIDDEN);
    admin.rights.seccomp = Seccomp::RuntimeDefault;
    admin.rights.capabilities_add = vec!["SYS_ADMIN".to_owned()];
    let (_, log) = pod.run(&admin).await;
    contains_all(&log, &["Seccomp:\t2", "unshared", "mounted"]);
    let mut privileged = pod.container("privileged-0", FORBIDDEN);
    privileged.rights.seccomp = Seccomp::RuntimeDefault;
    privileged.rights.privileged = true;
    let (_, log) = pod.run(&privileged).await;
    contains_all(&log, &["Seccomp:\t0", "mounted"]);
    pod.end().await;
}

#[tokio::test]
async fn commands_executed_later_meet_the_same_filter() {
    let pod = Pod::new(|_| {}).await;
    for (id, escalation) in [("with-0", true), ("without-0", false)] {
        let mut config = pod.container(id, "echo up; sleep 60");
        config.rights.seccomp = Seccomp::RuntimeDefault;
        config.rights.allow_privilege_escalation = escalation;
        pod.start(&config, "up").await;
        let log = pod.exec(id, &["/bin/sh", "-c", FORBIDDEN]).await;
        contains_all(&log, &["Seccomp:\t2", "unshare-refused", "mount-refused"]);
    }
    pod.end().await;
}

#[tokio::test]
async fn a_profile_of_the_board_is_enforced_or_the_container_refused() {
    let pod = Pod::new(|_| {}).await;
    let folder = pod.board.options.data_dir.join("seccomp/team");
    fs::create_dir_all(&folder).unwrap();
    let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
        {"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":122},
        {"names":["kill"],"action":"SCMP_ACT_ERRNO","args":[{"index":1,"value":10,"op":"SCMP_CMP_EQ"}]}]}"#;
    fs::write(folder.join("web.json"), profile).unwrap();
    let script = "grep Seccomp: /proc/self/status; mkdir /tmp/new; kill -USR1 1 || echo kill-refused; \
                  kill -USR2 $$ ; echo $?";
    let mut config = pod.container("web-0", script);
    config.rights.seccomp = Seccomp::Localhost("team/web.json".to_owned());
    let (code, log) = pod.run(&config).await;
    contains_all(&log, &["Seccomp:\t2", "quota exceeded", "kill-refused"]);
    // As the first process it has no handler for it and is not hurt; the call went through.
    assert_eq!(code, 0, "{log}");
    for (id, name, text, why) in [
        ("none-0", "team/none.json", None, "No such file"),
        ("out-0", "../outside.json", None, "not a path below"),
        (
            "notify-0",
            "n.json",
            Some(r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#),
            "SCMP_ACT_NOTIFY",
        ),
        (
            "docker-0",
            "d.json",
            Some(r#"{"defaultAction":"SCMP_ACT_ERRNO","archMap":[]}"#),
            "archMap",
        ),
        (
            "unknown-0",
            "u.json",
            Some(
                r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["moutn"],"action":"SCMP_ACT_ERRNO"}]}"#,
            ),
            "moutn",
        ),
    ] {
        if let Some(text) = text {
            fs::write(pod.board.options.data_dir.join("seccomp").join(name), text).unwrap();
        }
        let mut config = pod.container(id, "true");
        config.rights.seccomp = Seccomp::Localhost(name.to_owned());
        let error = pod
            .runtime
            .start_container(pod.uid, &config)
            .await
            .unwrap_err();
        let text = match &error {
            Error::Prepare { source, .. } => source.to_string(),
            other => other.to_string(),
        };
        assert!(text.contains(why), "{name}: {text}");
    }
    pod.end().await;
}
