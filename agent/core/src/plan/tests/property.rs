//! What holds for every document and every history.

use bramble_wire::object::{Pod, RestartPolicy};
use proptest::prelude::*;

use super::toy::*;
use crate::observed::{ImageState, Run, Sandbox};

/// Something that happens to the node.
#[derive(Debug, Clone)]
enum Event {
    /// The document has these pods from now on.
    Document(Vec<Shape>),
    Exit(u8, &'static str, i32),
    ShimDies(u8),
    AgentRestarts,
    PowerCut,
    Pass,
    Advance(u64),
    ImageArrives,
    ConfigArrives,
}

#[derive(Debug, Clone)]
struct Shape {
    n: u8,
    image: u8,
    config: bool,
    stop: bool,
}

fn shape() -> impl Strategy<Value = Shape> {
    (0..5u8, 0..4u8, any::<bool>(), 0..8u8).prop_map(|(n, image, config, stop)| Shape {
        n,
        image,
        config,
        stop: stop == 0,
    })
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => proptest::collection::vec(shape(), 0..5).prop_map(Event::Document),
        6 => (0..5u8, 0..3usize, 0..2i32)
            .prop_map(|(n, name, code)| Event::Exit(n, ["c", "a", "s"][name], code)),
        1 => (0..5u8).prop_map(Event::ShimDies),
        1 => Just(Event::AgentRestarts),
        1 => Just(Event::PowerCut),
        8 => Just(Event::Pass),
        2 => (0..400_000u64).prop_map(Event::Advance),
        1 => Just(Event::ImageArrives),
        1 => Just(Event::ConfigArrives),
    ]
}

fn build(shape: &Shape) -> Pod {
    let mut pod = pod(shape.n);
    // What a pod is never changes under one UID, except its image and its end.
    pod.restart_policy = match pod.uid.0[0] % 3 {
        0 => RestartPolicy::Always,
        1 => RestartPolicy::OnFailure,
        _ => RestartPolicy::Never,
    };
    if shape.n.is_multiple_of(2) {
        pod.containers.push(container("d"));
    }
    if shape.n >= 2 {
        let mut sidecar = container("s");
        sidecar.sidecar = true;
        pod.init_containers = vec![sidecar, container("a")];
    }
    pod.containers[0].image = ["i", "i", "i", "late"][usize::from(shape.image)].into();
    if shape.config {
        pod = needing_config(pod, "late");
    }
    if shape.stop {
        pod = stopping(pod, 5);
    }
    pod
}

fn happen(toy: &mut Toy, event: Event) {
    match event {
        Event::Document(shapes) => toy.set(shapes.iter().map(build)),
        Event::Exit(n, name, code) => {
            if toy.runs(n, name) {
                toy.exit(n, name, code);
            }
        }
        Event::ShimDies(n) => {
            if let Some(seen) = toy.observed.pods.get_mut(&uid(n))
                && let Sandbox::Ready = seen.sandbox
            {
                seen.sandbox = Sandbox::Lost;
            }
        }
        Event::AgentRestarts => toy.agent_restarts(),
        Event::PowerCut => toy.power_cut(),
        Event::Pass => drop(toy.pass()),
        Event::Advance(ms) => toy.advance(ms),
        Event::ImageArrives => {
            let present = ImageState::Present(image());
            toy.observed.images.insert("late".into(), present);
        }
        Event::ConfigArrives => toy.set_config("late", "x"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// The toy node asserts at each step; here: there is always an end, nothing is left over that
    /// should not be, and everything that can run does.
    #[test]
    fn every_history_ends_well(events in proptest::collection::vec(event(), 0..40)) {
        let mut toy = Toy::new([]);
        for event in events {
            happen(&mut toy, event);
        }
        happen(&mut toy, Event::ImageArrives);
        happen(&mut toy, Event::ConfigArrives);
        for _ in 0..3 {
            toy.settle();
            toy.advance(300_000);
            toy.settle();
            for n in 0..5 {
                happen(&mut toy, Event::Exit(n, "a", 0));
            }
        }
        toy.settle();
        let plan = toy.plan();
        prop_assert!(plan.converged, "{:?}", show(&plan));
        prop_assert!(plan.waiting.is_empty(), "{:?}", show(&plan));
        let document = toy.desired.clone().unwrap_or_default();
        for (uid, pod) in &document.pods {
            let known = &toy.memory[uid];
            if known.ending.is_some() {
                prop_assert!(known.gone);
                continue;
            }
            let seen = toy.observed.pods.get(uid);
            let runs = |name: &str| {
                seen.and_then(|seen| seen.containers.get(name))
                    .is_some_and(|seen| matches!(seen.run, Run::Running { .. }))
            };
            let finished = |name: &str| {
                (known.containers.get(name))
                    .is_some_and(|known| known.has_finished(pod.restart_policy))
            };
            let main = || pod.containers.iter().map(|container| container.name.as_str());
            let failed = pod.restart_policy == RestartPolicy::Never
                && !main().any(|name| known.containers.contains_key(name));
            for name in main() {
                prop_assert!(failed || runs(name) != finished(name), "{uid} {name}");
            }
            let over = failed || main().all(finished);
            let sidecar = !pod.init_containers.is_empty();
            prop_assert!(runs("s") == (sidecar && !over), "{uid}: the sidecar");
        }
        for uid in toy.observed.pods.keys() {
            prop_assert!(document.pods.contains_key(uid), "{uid} is left over");
        }
    }
}

/// Objects arrive in any order; the plan is the same.
#[test]
fn input_order_never_matters() {
    use bramble_wire::object::{Object, ObjectId};
    let pods: Vec<Pod> = (1..6).map(pod).collect();
    let bodies: Vec<(ObjectId, Vec<u8>)> = (pods.into_iter())
        .map(|pod| {
            (
                ObjectId::Pod(pod.uid),
                bramble_wire::encode(&Object::Pod(pod)),
            )
        })
        .collect();
    let plan_of = |bodies: Vec<&(ObjectId, Vec<u8>)>| {
        let mut toy = Toy::new([]);
        let node = toy.document().node.clone();
        let objects = bodies.iter().map(|(id, body)| (id, 1, body.as_slice()));
        let mut desired = crate::desired::Desired::from_objects(objects, |_, _, _| None);
        desired.node = node;
        toy.desired = Some(desired);
        toy.plan()
    };
    let forwards = plan_of(bodies.iter().collect());
    assert_eq!(forwards.actions.len(), 5);
    assert_eq!(forwards, plan_of(bodies.iter().rev().collect()));
}
