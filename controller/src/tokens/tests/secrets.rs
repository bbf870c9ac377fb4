//! Tokens in Secrets.

use super::*;

#[test]
fn secrets_are_filled_and_their_tokens_count_while_they_hold_them() {
    let world = World::new();
    let empty = json!({"type": secret::TYPE, "metadata": {"name": "old", "namespace": "default",
        "uid": "old-1", "annotations": {secret::ACCOUNT: "ci"}}});
    let Fate::Write(filled) = world.tokens.fate_of(&empty, Some("ci-1")) else {
        panic!("not filled");
    };
    assert_eq!(
        filled["metadata"]["annotations"][secret::ACCOUNT_UID],
        "ci-1"
    );
    let data = |key: &str| {
        let bytes = STANDARD
            .decode(filled["data"][key].as_str().unwrap())
            .unwrap();
        String::from_utf8(bytes).unwrap()
    };
    assert_eq!(
        (data("namespace"), data("ca.crt")),
        ("default".into(), "the CA".into())
    );
    assert_eq!(world.tokens.fate_of(&filled, Some("ci-1")), Fate::Keep);
    assert_eq!(world.tokens.fate_of(&filled, Some("ci-2")), Fate::Delete);
    assert_eq!(world.tokens.fate_of(&filled, None), Fate::Delete);
    assert_eq!(
        world.tokens.fate_of(&json!({"type": "Opaque"}), None),
        Fate::Keep
    );

    let token = data("token");
    world.put("secrets", "default", "old", filled.clone());
    assert_eq!(world.whose(&token).as_deref(), Ok(CI));
    let why = "[invalid bearer token, Token does not match server's copy]";
    let mut other = filled.clone();
    other["data"]["token"] = "eA==".into();
    world.put("secrets", "default", "old", other);
    assert_eq!(world.whose(&token), Err(why.into()));
    world.remove("secrets", "default", "old");
    let why = "[invalid bearer token, Token has been invalidated]";
    assert_eq!(world.whose(&token), Err(why.into()));
    world.put("secrets", "default", "old", filled);
    world.put(
        "serviceaccounts",
        "default",
        "ci",
        json!({"metadata": {"uid": "ci-2"}}),
    );
    assert!(
        world
            .whose(&token)
            .unwrap_err()
            .contains("does not match claim")
    );
}

#[tokio::test]
async fn the_loop_fills_secrets_and_removes_those_of_accounts_that_went() {
    let world = World::new();
    let tokens = Arc::new(world.tokens);
    let store = world.store;
    let put = |resource: &str, name: &str, object: &Value| {
        let _ = store.commit(vec![Op::Put {
            key: Key::new("", resource, "default", name),
            expect: Expect::Any,
            body: Body {
                json: object.to_string().into_bytes(),
                revision_at: None,
            },
            durability: Durability::Hard,
        }]);
    };
    let secret = |name: &str, account: &str| {
        json!({"type": secret::TYPE, "metadata": {"name": name, "namespace": "default",
               "resourceVersion": "", "annotations": {secret::ACCOUNT: account}}})
    };
    // One is there when the loop starts, one comes later, one names nobody.
    put("secrets", "early", &secret("early", "ci"));
    let run = tokio::spawn(fill_secrets(tokens.clone()));
    put("secrets", "late", &secret("late", "ci"));
    put("secrets", "orphan", &secret("orphan", "nobody"));
    let stored = |name: &str| {
        let entry = store.get(&Key::new("", "secrets", "default", name))?;
        serde_json::from_slice::<Value>(&entry.json).ok()
    };
    let until = async |done: &dyn Fn() -> bool| {
        let wait = async {
            while !done() {
                tokio::task::yield_now().await;
            }
        };
        let limit = std::time::Duration::from_secs(20);
        tokio::time::timeout(limit, wait).await.expect("in time");
    };
    let filled = |name: &str| stored(name).is_some_and(|s| s["data"]["token"].is_string());
    until(&|| filled("early") && filled("late") && stored("orphan").is_none()).await;
    let token = stored("late").unwrap()["data"]["token"].clone();
    let token = STANDARD.decode(token.as_str().unwrap()).unwrap();
    let token = String::from_utf8(token).unwrap();
    assert!(tokens.authenticate(&token, &[]).is_ok());

    let mut held = stored("early").unwrap();
    held["metadata"]["finalizers"] = json!(["x/y"]);
    put("secrets", "early", &held);
    let _ = store.commit(vec![Op::Delete {
        key: Key::new("", "serviceaccounts", "default", "ci"),
        expect: Expect::Any,
        durability: Durability::Hard,
    }]);
    let leaving =
        || stored("early").is_some_and(|s| s["metadata"]["deletionTimestamp"].is_string());
    until(&|| leaving() && stored("late").is_none()).await;
    assert!(tokens.authenticate(&token, &[]).is_err());
    run.abort();
}
