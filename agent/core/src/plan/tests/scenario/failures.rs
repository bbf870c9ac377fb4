//! What cannot be had, and what goes wrong.

use super::*;

#[test]
fn images_that_are_not_there_are_explained() {
    let cases = [
        (
            PullPolicy::Never,
            ImageState::Absent,
            "ErrImageNeverPull Container image \"i\" is not present with pull policy of Never",
        ),
        (
            PullPolicy::IfNotPresent,
            ImageState::Absent,
            "ContainerCreating",
        ),
        (
            PullPolicy::Always,
            ImageState::Present(image()),
            "ContainerCreating",
        ),
        (
            PullPolicy::IfNotPresent,
            ImageState::InvalidName("invalid reference format".into()),
            "InvalidImageName Failed to apply default image tag \"i\": invalid reference format",
        ),
        (
            PullPolicy::IfNotPresent,
            ImageState::Broken {
                reason: "ErrImageUnpack".into(),
                message: "entry leaves the root".into(),
            },
            "ErrImageUnpack entry leaves the root",
        ),
    ];
    for (policy, state, expected) in cases {
        let mut bad = pod(1);
        bad.containers[0].pull_policy = policy;
        let mut good = pod(2);
        good.containers[0].image = "good".into();
        let mut toy = Toy::new([bad, good]);
        toy.observed.images.insert("i".into(), state);
        let present = ImageState::Present(image());
        toy.observed.images.insert("good".into(), present);
        // The bad one holds up nobody.
        assert_eq!(
            toy.settle(),
            ["start sandbox p1", "start sandbox p2", "start p2/c#1"]
        );
        let pulls = toy.plan().pulls;
        check(&mut toy, &[&format!("p1/c waits: {expected}")]);
        let wanted = policy != PullPolicy::Never && !expected.starts_with("Invalid");
        assert_eq!(!pulls.is_empty(), wanted, "{expected}");
        // As soon as it is there it starts.
        let present = ImageState::Present(image());
        toy.observed.images.insert("i".into(), present);
        toy.document()
            .pods
            .get_mut(&uid(1))
            .expect("pod")
            .containers[0]
            .pull_policy = PullPolicy::Never;
        assert_eq!(toy.settle(), ["start p1/c#1"]);
    }
}

#[test]
fn missing_configuration_is_explained_and_healed() {
    let mut toy = Toy::new([needing_config(pod(1), "settings")]);
    toy.settle();
    check(
        &mut toy,
        &["p1/c waits: CreateContainerConfigError configmap \"settings\" not found"],
    );
    toy.set_config("settings", "value");
    assert_eq!(toy.settle(), ["start p1/c#1"]);
}

#[test]
fn volumes_are_written_before_the_start_and_follow_their_object() {
    let mut with_volume = pod(1);
    with_volume.volumes.push(Volume {
        name: "v".into(),
        source: VolumeSource::ConfigMap(KeyFiles {
            name: "settings".into(),
            items: Vec::new(),
            default_mode: 0o644,
            optional: false,
        }),
    });
    with_volume.containers[0].mounts.push(Mount {
        volume: "v".into(),
        path: "/etc/v".into(),
        read_only: true,
        ..Mount::default()
    });
    let mut toy = Toy::new([with_volume]);
    check(
        &mut toy,
        &[
            "remember p1 (Hard)",
            "p1/c waits: ContainerCreating MountVolume.SetUp failed for volume \"v\" : configmap \"settings\" not found",
        ],
    );
    toy.set_config("settings", "a");
    assert_eq!(toy.settle(), ["start sandbox p1", "start p1/c#1"]);
    toy.set_config("settings", "b");
    assert_eq!(toy.settle(), ["write volumes p1"]);
    assert!(toy.plan().converged);
}

#[test]
fn a_sealed_secret_that_does_not_open_is_said() {
    use bramble_wire::object::{EnvFrom, EnvFromSource};
    let mut needy = pod(1);
    needy.containers[0].env_from.push(EnvFrom {
        prefix: String::new(),
        source: EnvFromSource::Secret("s".into()),
        optional: true,
    });
    let name = ObjectName {
        namespace: "default".into(),
        name: "s".into(),
    };
    let mut toy = Toy::new([needy]);
    toy.document().secrets.insert(name.clone(), None);
    toy.settle();
    check(
        &mut toy,
        &["p1/c waits: CreateContainerConfigError secret \"s\" can't be opened by this node"],
    );
    let data = SecretData::default();
    toy.document().secrets.insert(name, Some(data));
    assert_eq!(toy.settle(), ["start p1/c#1"]);
}

#[test]
fn a_sandbox_that_fails_is_tried_again_later_and_says_why() {
    let mut toy = Toy::new([pod(1)]);
    let at = toy.now;
    let key = (uid(1), String::new());
    toy.observed.failures.insert(key, failure(Step::Pod, at, 3));
    check(
        &mut toy,
        &[
            "remember p1 (Hard)",
            "p1/c waits: ContainerCreating it broke",
            "wake 1002000",
        ],
    );
    toy.advance(2_000);
    assert_eq!(toy.settle(), ["start sandbox p1", "start p1/c#1"]);
}

#[test]
fn a_container_that_can_not_be_made_does_not_count_as_a_life() {
    let mut toy = Toy::new([pod(1)]);
    toy.settle();
    toy.has_no_container(1);
    toy.started.clear();
    let at = toy.now;
    let key = (uid(1), "c".to_owned());
    let broke = failure(
        Step::Create {
            life: 1,
            config: false,
        },
        at,
        1,
    );
    toy.observed.failures.insert(key, broke);
    check(
        &mut toy,
        &[
            "remember p1 c (Ride)",
            "p1/c waits: CreateContainerError it broke",
            "wake 1000500",
        ],
    );
    toy.advance(500);
    assert_eq!(toy.settle(), ["start p1/c#1"]);
}

#[test]
fn a_program_that_can_not_be_started_is_a_failed_life() {
    let mut toy = Toy::new([with_policy(pod(1), Never)]);
    toy.settle();
    toy.has_no_container(1);
    let at = toy.now;
    let key = (uid(1), "c".to_owned());
    let broke = failure(Step::Start { life: 1 }, at, 1);
    toy.observed.failures.insert(key, broke);
    check(
        &mut toy,
        &["remember p1 c#1=128 StartError (Hard)", "stop sandbox p1"],
    );
}

#[test]
fn a_full_range_is_said_and_holds_up_nobody_else() {
    let mut toy = Toy::new([pod(1), pod(2)]);
    toy.document().node.pod_cidr.prefix = 30;
    assert_eq!(toy.settle(), ["start sandbox p1", "start p1/c#1"]);
    check(
        &mut toy,
        &["p2 waits: FailedCreatePodSandBox no free address in the node's range 10.42.0.0/30"],
    );
    toy.set([pod(2)]);
    assert_eq!(
        toy.settle(),
        [
            "stop p1/c#1 within 30",
            "remove p1",
            "start sandbox p2",
            "start p2/c#1"
        ]
    );
}
