//! Dry runs of what is not stored.

use super::tokens::account;
use super::*;
use crate::store::Store as _;

/// Upstream's TokenREST looks at no option: nothing is stored either way.
#[tokio::test]
async fn a_trial_of_a_token_request_is_answered_like_any_and_stores_nothing() {
    let cluster = account(Cluster::start().await).await;
    let path = "/api/v1/namespaces/default/serviceaccounts/ci/token";
    let body =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let before = cluster.store.revision();
    let trial = cluster.post(&format!("{path}?dryRun=All"), &body).await;
    let trial = trial.expect(201).json();
    assert_ne!(trial["status"]["token"].as_str().unwrap_or_default(), "");
    assert_eq!(cluster.store.revision(), before);
    let wrong = cluster.post(&format!("{path}?dryRun=Some"), &body).await;
    assert_eq!(wrong.code / 100, 4, "{}", wrong.message());
}
