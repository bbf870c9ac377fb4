//! A shim that lives and does not answer.

use super::toy::{Toy, pod, uid};
use crate::memory::Life;
use crate::observed::{ObservedPod, Sandbox};

fn silenced(toy: &mut Toy) -> &mut ObservedPod {
    let seen = toy.observed.pods.get_mut(&uid(1)).expect("pod");
    seen.sandbox = Sandbox::Silent;
    seen
}

#[test]
fn a_pod_whose_shim_is_silent_is_left_alone_until_it_answers() {
    let mut toy = Toy::new([pod(1)]);
    toy.settle();
    silenced(&mut toy);
    let plan = toy.plan();
    assert!(!plan.converged);
    assert_eq!(toy.settle(), [""; 0]);
    // One that is not to be seen has ended, or not; its shim knows.
    silenced(&mut toy).containers.clear();
    assert_eq!(toy.settle(), [""; 0]);
    assert_eq!(toy.memory[&uid(1)].containers["c"].life, Life::Begun);
    let waits = toy.plan().waiting;
    assert!(
        waits
            .iter()
            .any(|why| why.message.contains("does not answer")),
        "{waits:?}"
    );
}

#[test]
fn a_pod_whose_shim_is_silent_can_be_ended() {
    let mut toy = Toy::new([pod(1)]);
    toy.settle();
    silenced(&mut toy);
    toy.set([]);
    assert_eq!(toy.settle(), ["stop p1/c#1 within 30", "remove p1"]);
}
