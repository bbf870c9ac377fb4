//! Where volumes appear.

use super::*;

fn mount_of(mount: Mount, source: VolumeSource) -> Result<MountInput, String> {
    let mut pod = pod(source);
    pod.containers[0].mounts = vec![mount];
    let variables = [("NAME", "web"), ("EMPTY", "")];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    mounts(&pod, &pod.containers[0], &variables.into()).map(|mut mounts| mounts.remove(0))
}

#[test]
fn mounts_are_settled() {
    let empty = || VolumeSource::EmptyDir {
        memory: false,
        size_limit_bytes: None,
    };
    let at = |sub_path: &str, expression: &str| Mount {
        volume: "v".into(),
        path: "data".into(),
        sub_path: sub_path.into(),
        sub_path_expr: expression.into(),
        propagation: Propagation::HostToContainer,
        recursive_read_only: true,
        ..Mount::default()
    };
    let mount = mount_of(at("", "logs/$(NAME)"), empty()).unwrap();
    let expected = MountInput {
        volume: "v".into(),
        place: Place::Disk,
        path: "/data".into(),
        sub_path: "logs/web".into(),
        read_only: false,
        recursive_read_only: true,
        propagation: Propagation::HostToContainer,
    };
    assert_eq!(mount, expected);
    let errors = [
        (
            at("", "$(OTHER)/$(EMPTY)/$(NAME)"),
            "missing value for EMPTY, OTHER",
        ),
        (
            at("/etc", ""),
            "error SubPath `/etc` must not be an absolute path",
        ),
        (
            at("a/../..", ""),
            "unable to provision SubPath `a/../..`: must not contain '..'",
        ),
        (
            Mount {
                volume: "w".into(),
                ..Mount::default()
            },
            "cannot find volume \"w\" to mount into container \"main\"",
        ),
    ];
    for (mount, why) in errors {
        assert_eq!(mount_of(mount, empty()), Err(why.to_owned()));
    }
    // What follows its objects can't be written to.
    let follows = [
        (VolumeSource::ConfigMap(keys("x")), Place::Run),
        (VolumeSource::Secret(keys("x")), Place::Secret),
        (projected(vec![token("")]), Place::Secret),
    ];
    for (source, place) in follows {
        let mount = mount_of(at("", ""), source).unwrap();
        assert_eq!((mount.place, mount.read_only), (place, true));
    }
}

#[test]
fn parents_are_mounted_before_what_lies_below() {
    let mut pod = pod(VolumeSource::EmptyDir {
        memory: false,
        size_limit_bytes: None,
    });
    let at = |path: &str| Mount {
        volume: "v".into(),
        path: path.into(),
        ..Mount::default()
    };
    pod.containers[0].mounts = ["/a/b/c", "/z", "/a", "/a/b/"].map(at).into();
    let mounts = mounts(&pod, &pod.containers[0], &BTreeMap::new()).unwrap();
    let paths: Vec<&str> = mounts.iter().map(|mount| mount.path.as_str()).collect();
    assert_eq!(paths, ["/z", "/a", "/a/b/", "/a/b/c"]);
}
