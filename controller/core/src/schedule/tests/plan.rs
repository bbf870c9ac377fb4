//! What a decision writes.

use super::*;

#[test]
fn a_binding_is_one_hard_write_with_its_event() {
    let cluster = cluster(&[node("n", json!({}))], &[]);
    let waiting = json!({"status": {"conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "m",
         "lastTransitionTime": "2020-01-01T00:00:00Z"}]}});
    let (plan, node) = plan(&cluster, &observed(pod("p", waiting)), NOW);
    assert_eq!(node.as_deref(), Some("n"));
    let [
        Action::Patch {
            target,
            revision: 7,
            patch,
            durability: Durability::Hard,
            note: Some(note),
        },
    ] = &plan.actions[..]
    else {
        panic!("{plan:?}")
    };
    assert_eq!(
        (target.namespace.as_str(), target.name.as_str()),
        ("d", "p")
    );
    assert_eq!(
        *patch,
        json!({
            "spec": {"nodeName": "n"},
            "status": {"conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": NOW.rfc3339()}]},
        })
    );
    assert_eq!(
        (
            note.warning,
            note.reason.as_ref(),
            note.message.as_str(),
            note.component
        ),
        (
            false,
            "Scheduled",
            "Successfully assigned d/p to n",
            "default-scheduler"
        )
    );
}

#[test]
fn a_refusal_is_written_when_it_is_news_and_its_time_is_that_of_the_first() {
    let refuse = |cluster: &Cluster, pod: &Pod, now| {
        let (plan, node) = plan(cluster, &observed(pod.clone()), now);
        assert_eq!(node, None);
        let event = plan.actions.last().cloned();
        let Some(Action::Event(note)) = event else {
            panic!("{plan:?}")
        };
        assert_eq!(
            (note.warning, note.reason.as_ref()),
            (true, "FailedScheduling")
        );
        let patch = plan.actions.iter().find_map(|action| match action {
            Action::Patch {
                patch,
                durability: Durability::Soft,
                ..
            } => Some(patch.clone()),
            _ => None,
        });
        assert_eq!(plan.actions.len(), 1 + usize::from(patch.is_some()));
        (patch, note.message)
    };
    let condition = |message: &str| {
        json!({"status": {"conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": message, "lastTransitionTime": NOW.rfc3339()}]}})
    };
    let none = "no nodes available to schedule pods";
    let cordoned = "0/1 nodes are available: 1 node(s) were unschedulable. preemption: \
        0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
    let later = Timestamp::from_seconds(NOW.seconds + 60);
    let (empty, closed) = (
        cluster(&[], &[]),
        cluster(&[node("n", json!({"spec": {"unschedulable": true}}))], &[]),
    );

    assert_eq!(
        refuse(&empty, &pod("p", json!({})), NOW),
        (Some(condition(none)), none.to_owned())
    );
    assert_eq!(
        refuse(&empty, &pod("p", condition(none)), later),
        (None, none.to_owned())
    );
    assert_eq!(
        refuse(&closed, &pod("p", condition(none)), later),
        (Some(condition(cordoned)), cordoned.to_owned()),
        "another message is news, the transition was before"
    );
}
