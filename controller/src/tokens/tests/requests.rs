//! What may be asked for, and how long it is good.

use super::*;

#[test]
fn requests_that_can_not_be_are_refused_in_upstreams_words() {
    let world = World::new();
    let spec = json!({"spec": {"serviceAccountName": "other"}});
    world.put("pods", "default", "q", spec);
    let bound = |kind, name, uid| {
        let api_version = if kind == "Deployment" {
            "apps/v1"
        } else {
            "v1"
        };
        Some(Bound {
            api_version,
            kind,
            name,
            uid,
        })
    };
    let cases = [
        (
            Request {
                account: "nobody",
                ..plain()
            },
            404,
            "serviceaccounts \"nobody\" not found",
        ),
        (
            Request {
                seconds: 599,
                ..plain()
            },
            422,
            "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid \
             value: 599: may not specify a duration less than 10 minutes",
        ),
        (
            Request {
                seconds: (1 << 32) + 1,
                ..plain()
            },
            422,
            "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid \
             value: 4294967297: may not specify a duration larger than 2^32 seconds",
        ),
        (
            Request {
                bound: bound("Pod", "none", ""),
                ..plain()
            },
            404,
            "pods \"none\" not found",
        ),
        (
            Request {
                bound: bound("Pod", "q", ""),
                ..plain()
            },
            400,
            "cannot bind token for serviceaccount \"ci\" to pod running with different serviceaccount \
             name.",
        ),
        (
            Request {
                bound: bound("Secret", "s", "s-2"),
                ..plain()
            },
            409,
            "Operation cannot be fulfilled on Secret \"s\": the UID in the bound object reference \
             (s-2) does not match the UID in record. The object might have been deleted and then \
             recreated",
        ),
        (
            Request {
                bound: bound("Deployment", "d", ""),
                ..plain()
            },
            400,
            "cannot bind token to object of type apps/v1, Kind=Deployment",
        ),
    ];
    for (request, code, message) in cases {
        let status = world.mint(&request).unwrap_err();
        assert_eq!((status.code(), status.message()), (code, message));
    }
}

#[test]
fn lives_are_capped_and_those_of_volumes_are_stretched() {
    let world = World::new();
    let long = world
        .mint(&Request {
            seconds: 1 << 32,
            ..plain()
        })
        .unwrap();
    assert_eq!(long.seconds, MAX_SECONDS);
    assert_eq!(
        long.warnings,
        ["requested expiration of 4294967296 seconds shortened to 31536000 seconds"]
    );
    let pod = Bound {
        api_version: "v1",
        kind: "Pod",
        name: "p",
        uid: "p-1",
    };
    let volume = Request {
        seconds: 3607,
        bound: Some(pod),
        ..plain()
    };
    let minted = world.mint(&volume).unwrap();
    assert_eq!(minted.expires, minted.issued + 3607);
    let claims = claims(&minted.token);
    assert_eq!(claims["kubernetes.io"]["warnafter"], minted.issued + 3607);
    assert_eq!(claims["exp"], minted.issued + MAX_SECONDS.unsigned_abs());
}
