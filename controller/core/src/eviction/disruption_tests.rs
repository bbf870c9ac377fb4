//! What a pod's status says of why it goes.

use super::*;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

#[test]
fn a_pod_that_a_taint_drives_out_says_so() {
    let pod = Observed {
        revision: 1,
        object: serde_json::from_value(json!({"metadata": {"name": "p", "uid": "u"}})).unwrap(),
    };
    let taints = json!([{"key": "mine", "effect": "NoExecute"}]);
    let input = Input {
        pod: &pod,
        node: &serde_json::from_value(json!({"spec": {"taints": taints}})).unwrap(),
        mass_loss: false,
        calm_since: NOW,
        tainted_since: &|_| NOW,
    };
    let plan = plan(&input, NOW);
    let [
        Action::Delete {
            told: Some(told), ..
        },
    ] = &plan.actions[..]
    else {
        panic!("{plan:?}");
    };
    let mut object = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    conditions::set_in(&mut object, told);
    let want = json!({"type": "DisruptionTarget", "status": "True",
        "reason": "DeletionByTaintManager",
        "message": "Taint manager: deleting due to NoExecute taint",
        "lastTransitionTime": NOW.rfc3339()});
    let ready = json!({"type": "Ready", "status": "True"});
    assert_eq!(object["status"]["conditions"], json!([ready, want]));
    // Said again for another reason, it is the same disruption.
    let later = Timestamp::from_seconds(NOW.seconds + 9);
    let other = conditions::disruption("Other", "why", later);
    conditions::set_in(&mut object, &other);
    let list = &object["status"]["conditions"];
    assert_eq!(
        (&list[1]["reason"], list.as_array().unwrap().len()),
        (&json!("Other"), 2)
    );
    assert_eq!(list[1]["lastTransitionTime"], json!(NOW.rfc3339()));
}
