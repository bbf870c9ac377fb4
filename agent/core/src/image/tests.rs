use bramble_wire::object::SecretData;

use super::*;

const NAME: &str = "registry.lan/app:1";

fn image(id: &str) -> Image {
    Image {
        id: id.into(),
        ..Image::default()
    }
}

fn pod(policy: PullPolicy) -> Pod {
    Pod {
        uid: PodUid([1; 16]),
        name: ObjectName {
            namespace: "ns".into(),
            name: "p".into(),
        },
        containers: vec![Container {
            name: "c".into(),
            image: NAME.into(),
            pull_policy: policy,
            ..Container::default()
        }],
        pull_secrets: vec!["a".into(), "none".into(), "other".into(), "old".into()],
        ..Pod::default()
    }
}

fn desired() -> Desired {
    let secret = |name: &str, key: &str, value: &str| {
        let name = ObjectName {
            namespace: "ns".into(),
            name: name.into(),
        };
        let data = SecretData([(key.to_owned(), value.as_bytes().to_vec())].into());
        (name, Some(data))
    };
    Desired {
        secrets: [
            secret("a", ".dockerconfigjson", "A"),
            secret("other", "password", "x"),
            secret("old", ".dockercfg", "O"),
        ]
        .into(),
        ..Desired::default()
    }
}

fn at(seconds: u64) -> Moment {
    Moment::default().plus_ms(seconds * 1000)
}

#[track_caller]
fn check(policy: PullPolicy, state: ImageState, pulls: &Pulls, seconds: u64, expected: &str) {
    let pod = pod(policy);
    let step = step(
        &desired(),
        Some(&state),
        pulls,
        &pod,
        &pod.containers[0],
        2,
        at(seconds),
    );
    let want = |want: &Option<Want>| match want {
        Some(want) if want.hold => " held",
        Some(_) => " wanted",
        None => "",
    };
    let text = match &step {
        Step::Ready { image, hold } => format!("ready {}{}", image.id, want(hold)),
        Step::Wait {
            reason,
            message,
            wake,
            want: wanted,
        } => {
            let wake = wake.map_or_else(String::new, |wake| format!(" until {}", wake / 1000));
            format!("{reason} {message}{wake}{}", want(wanted))
        }
    };
    assert_eq!(text, expected);
}

fn failed(kind: FailedKind, count: u32) -> Pulls {
    let failed = Failed {
        kind,
        message: "why".into(),
        at: at(100),
        count,
    };
    Pulls {
        failed: [((PodUid([1; 16]), NAME.to_owned()), failed)].into(),
        ..Pulls::default()
    }
}

fn got(life: u32) -> Pulls {
    let got = Got {
        life,
        name: NAME.into(),
        image: image("new"),
    };
    Pulls {
        got: [((PodUid([1; 16]), "c".to_owned()), got)].into(),
        ..Pulls::default()
    }
}

#[test]
fn policies_are_the_kubelets() {
    use PullPolicy::{Always, IfNotPresent, Never};
    let none = &Pulls::default();
    let here = || ImageState::Present(image("old"));
    check(IfNotPresent, here(), none, 0, "ready old");
    check(Never, here(), none, 0, "ready old");
    check(Always, here(), none, 0, "ContainerCreating  wanted");
    check(
        IfNotPresent,
        ImageState::Absent,
        none,
        0,
        "ContainerCreating  wanted",
    );
    check(
        Never,
        ImageState::Absent,
        none,
        0,
        r#"ErrImageNeverPull Container image "registry.lan/app:1" is not present with pull policy of Never"#,
    );
    check(
        Always,
        ImageState::InvalidName("couldn't parse image name \"x\": invalid reference format".into()),
        none,
        0,
        r#"InvalidImageName Failed to apply default image tag "registry.lan/app:1": couldn't parse image name "x": invalid reference format"#,
    );
}

#[test]
fn an_image_is_got_for_one_life() {
    let here = || ImageState::Present(image("old"));
    check(PullPolicy::Always, here(), &got(2), 0, "ready new held");
    check(
        PullPolicy::Always,
        here(),
        &got(1),
        0,
        "ContainerCreating  wanted",
    );
}

#[test]
fn a_failed_pull_is_shown_and_backs_off() {
    let pull = |count| failed(FailedKind::Pull, count);
    let show = |pulls: &Pulls, seconds, expected: &str| {
        check(
            PullPolicy::IfNotPresent,
            ImageState::Absent,
            pulls,
            seconds,
            expected,
        );
    };
    let back_off =
        r#"ImagePullBackOff Back-off pulling image "registry.lan/app:1": ErrImagePull: why"#;
    show(&pull(1), 101, "ErrImagePull why until 105 held");
    show(&pull(1), 105, &format!("{back_off} until 110 held"));
    // While it is tried again, the last failure is what there is to say.
    show(&pull(1), 110, &format!("{back_off} wanted"));
    show(&pull(4), 120, &format!("{back_off} until 180 held"));
    show(&pull(9), 399, &format!("{back_off} until 400 held"));
    show(&pull(900), 400, &format!("{back_off} wanted"));
    show(
        &failed(FailedKind::RegistryUnavailable, 1),
        101,
        "RegistryUnavailable image pull failed for registry.lan/app:1 because the registry is unavailable: why until 105 held",
    );
    show(
        &failed(FailedKind::RegistryUnavailable, 1),
        106,
        r#"ImagePullBackOff Back-off pulling image "registry.lan/app:1": RegistryUnavailable: image pull failed for registry.lan/app:1 because the registry is unavailable: why until 110 held"#,
    );
}

#[test]
fn a_refused_archive_is_said_and_a_pull_is_tried() {
    let broken = || ImageState::Broken {
        reason: "InvalidImage".into(),
        message: "entry leaves the root".into(),
    };
    let none = &Pulls::default();
    let text = "InvalidImage entry leaves the root";
    check(PullPolicy::Never, broken(), none, 0, text);
    check(
        PullPolicy::IfNotPresent,
        broken(),
        none,
        0,
        &format!("{text} wanted"),
    );
    check(
        PullPolicy::IfNotPresent,
        broken(),
        &failed(FailedKind::Pull, 1),
        101,
        &format!("{text}; pulling it: why until 105 held"),
    );
}

#[test]
fn pull_secrets_come_in_their_order_and_are_never_shown() {
    let pod = pod(PullPolicy::Always);
    let want = want(&desired(), &pod, &pod.containers[0], 1);
    let (a, old) = (b"A".to_vec(), b"O".to_vec());
    assert_eq!(
        want.credentials,
        [Credentials::ConfigJson(a), Credentials::Config(old)]
    );
    assert_eq!(want.missing, ["none"]);
    let shown = format!("{want:?} {:?}", want.credentials);
    assert!(
        !shown.contains("65") && shown.contains("registry.lan"),
        "{shown}"
    );
}
