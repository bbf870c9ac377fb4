use super::super::rights::{ALL_CAPABILITIES, DEFAULT_CAPABILITIES};
use super::*;

fn around() -> Surroundings {
    Surroundings {
        namespaces: "/run/bramble/pods/u/ns".into(),
        host_network: false,
        host_ipc: false,
        processes: None,
        devices: Vec::new(),
        seccomp: None,
        cgroup: "/bramble/podu/web-0".to_owned(),
        cgroup_v2: true,
        memory_controlled: true,
        rootfs: "/run/bramble/pods/u/c/web-0/rootfs".into(),
        grantable: u64::MAX,
    }
}

fn plain() -> ContainerConfig {
    ContainerConfig {
        id: "web-0".to_owned(),
        args: vec!["/bin/web".to_owned(), "--port=80".to_owned()],
        env: [("A", "1"), ("B", "2"), ("A", "3")]
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .to_vec(),
        user: User {
            uid: 33,
            gid: 34,
            groups: vec![50],
        },
        limits: Limits {
            cpu_request_milli: Some(250),
            cpu_limit_milli: Some(500),
            memory_bytes: Some(64 << 20),
            pids: Some(512),
        },
        mounts: vec![
            BindMount {
                source: "/run/bramble/pods/u/hosts".into(),
                destination: "/etc/hosts".to_owned(),
                ..BindMount::default()
            },
            BindMount {
                source: "/run/bramble/pods/u/volumes/config".into(),
                destination: "/etc/app".to_owned(),
                read_only: true,
                ..BindMount::default()
            },
        ],
        ..ContainerConfig::default()
    }
}

/// Compares with the committed file; `UPDATE_GOLDEN=1` writes it anew.
fn check(name: &str, config: &ContainerConfig, around: &Surroundings) {
    let file = format!(
        "{}/src/runtime/golden/{name}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let mut text = serde_json::to_string_pretty(&runtime_spec(config, around)).unwrap();
    text.push('\n');
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let want = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(text == want, "{file} differs; got:\n{text}");
}

#[test]
fn an_environment_is_not_printed() {
    let secret = ("KEY".to_owned(), "hunter2".to_owned());
    let config = ContainerConfig {
        env: vec![secret],
        ..plain()
    };
    let text = format!("{config:?}");
    assert!(
        text.contains(&config.id) && !text.contains("hunter2"),
        "{text}"
    );
}

#[test]
fn golden_plain() {
    check("plain", &plain(), &around());
}

#[test]
fn golden_privileged_on_the_boards_network() {
    let rights = Rights {
        privileged: true,
        ..Rights::default()
    };
    let config = ContainerConfig { rights, ..plain() };
    let around = Surroundings {
        host_network: true,
        cgroup_v2: false,
        ..around()
    };
    check("privileged", &config, &around);
}

#[test]
fn capabilities_are_added_and_dropped_by_upstreams_rules() {
    let set = |add: &[&str], drop: &[&str], privileged| {
        let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        capabilities(
            &Rights {
                privileged,
                capabilities_add: owned(add),
                capabilities_drop: owned(drop),
                ..Rights::default()
            },
            u64::MAX,
        )
    };
    assert_eq!(set(&[], &[], false).len(), DEFAULT_CAPABILITIES.len());
    assert_eq!(
        set(&["NET_ADMIN", "cap_net_raw"], &["all"], false),
        ["CAP_NET_ADMIN", "CAP_NET_RAW"]
    );
    assert_eq!(
        set(&["ALL"], &["SYS_ADMIN"], false).len(),
        ALL_CAPABILITIES.len() - 1
    );
    assert_eq!(set(&[], &[], true).len(), ALL_CAPABILITIES.len());
    assert!(!set(&[], &["CAP_CHOWN"], false).contains(&"CAP_CHOWN".to_owned()));
    let privileged = Rights {
        privileged: true,
        ..Rights::default()
    };
    assert_eq!(
        capabilities(&privileged, 1 << 12 | 1),
        ["CAP_CHOWN", "CAP_NET_ADMIN"]
    );
    assert_eq!(set(&["NONSENSE"], &["ALL"], false), Vec::<String>::new());
}

#[test]
fn commands_follow_upstreams_table() {
    let words = |text: &str| {
        text.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let line = |command, args| {
        command_line(
            &words(command),
            &words(args),
            &words("/ep e"),
            &words("c m"),
        )
    };
    assert_eq!(line("", ""), words("/ep e c m"));
    assert_eq!(line("/new", ""), words("/new"));
    assert_eq!(line("", "arg"), words("/ep e arg"));
    assert_eq!(line("/new n", "arg"), words("/new n arg"));
}
