//! Which container the kernel kills first when the board's memory ends. In: a pod, one of its containers and
//! the memory that pods may use. Out: the value for `/proc/PID/oom_score_adj`, as upstream's kubelet has it
//! (`pkg/kubelet/qos/policy.go`); a node-critical priority is not known here and changes nothing.

use bramble_wire::object::{Container, Pod, Resources};

/// A container of a pod that was given all that it may use.
const GUARANTEED: i32 = -997;
/// A container of a pod that asked for nothing.
const BEST_EFFORT: i32 = 1000;

/// The adjustment of a container's score, -997 to 1000: who asked for nothing goes first, who asked for more
/// of the board's memory later, whose pod is guaranteed all that it may use last. `memory_bytes` is what
/// pods may use altogether.
#[must_use]
pub fn score_adj(pod: &Pod, container: &Container, memory_bytes: u64) -> i32 {
    let mut all = pod.containers.iter().chain(&pod.init_containers);
    if all.all(|one| asks_for_nothing(&one.resources)) {
        return BEST_EFFORT;
    }
    let mut all = pod.containers.iter().chain(&pod.init_containers);
    if all.all(|one| is_guaranteed(&one.resources)) {
        return GUARANTEED;
    }
    let mut asked = request(container);
    if container.sidecar {
        // It goes no sooner than the first of those that it serves.
        asked = asked.max(pod.containers.iter().map(request).min().unwrap_or(0));
    }
    let share = u128::from(asked) * 1000 / u128::from(memory_bytes.max(1));
    let share = i32::try_from(share.min(1000)).unwrap_or(1000);
    (BEST_EFFORT - share).clamp(BEST_EFFORT + GUARANTEED, BEST_EFFORT - 1)
}

/// Requested memory; a limit alone is a request too.
fn request(container: &Container) -> u64 {
    let of = &container.resources;
    of.memory_request_bytes
        .or(of.memory_limit_bytes)
        .unwrap_or(0)
}

fn amounts(of: &Resources) -> [(Option<u64>, Option<u64>); 2] {
    let some = |amount: Option<u64>| amount.filter(|amount| *amount > 0);
    [
        (some(of.cpu_request_milli), some(of.cpu_limit_milli)),
        (some(of.memory_request_bytes), some(of.memory_limit_bytes)),
    ]
}

fn asks_for_nothing(of: &Resources) -> bool {
    amounts(of).iter().all(|amount| *amount == (None, None))
}

fn is_guaranteed(of: &Resources) -> bool {
    let same = |(request, limit): &(Option<u64>, Option<u64>)| {
        limit.is_some() && (request.is_none() || request == limit)
    };
    amounts(of).iter().all(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn container(cpu: [Option<u64>; 2], memory: [Option<u64>; 2]) -> Container {
        Container {
            resources: Resources {
                cpu_request_milli: cpu[0],
                cpu_limit_milli: cpu[1],
                memory_request_bytes: memory[0],
                memory_limit_bytes: memory[1],
                ..Resources::default()
            },
            ..Container::default()
        }
    }

    fn asking(bytes: u64) -> Container {
        container([None; 2], [Some(bytes), None])
    }

    fn scores(containers: Vec<Container>, init_containers: Vec<Container>) -> Vec<i32> {
        let pod = Pod {
            containers,
            init_containers,
            ..Pod::default()
        };
        let all = pod.containers.iter().chain(&pod.init_containers);
        all.map(|one| score_adj(&pod, one, 4 * GIB)).collect()
    }

    #[test]
    fn who_asked_for_least_is_sacrificed_first() {
        let guaranteed = || container([Some(500), Some(500)], [Some(GIB), Some(GIB)]);
        let nothing = || container([None; 2], [None; 2]);
        let limits = container([None, Some(500)], [None, Some(GIB)]);
        assert_eq!(scores(vec![nothing(), nothing()], vec![]), [1000, 1000]);
        assert_eq!(scores(vec![guaranteed(), limits], vec![]), [-997, -997]);
        assert_eq!(scores(vec![asking(GIB)], vec![]), [750]);
        assert_eq!(scores(vec![asking(8 * GIB)], vec![]), [3]);
        let processor = container([Some(100), None], [None; 2]);
        assert_eq!(scores(vec![processor], vec![]), [999]);
        // The class is the pod's, its init containers counted.
        assert_eq!(scores(vec![guaranteed(), nothing()], vec![]), [750, 999]);
        assert_eq!(scores(vec![guaranteed()], vec![nothing()]), [750, 999]);
    }

    #[test]
    fn a_sidecar_outlives_the_first_that_it_serves() {
        let sidecar = |bytes| Container {
            sidecar: true,
            ..asking(bytes)
        };
        let regular = vec![asking(GIB), asking(2 * GIB)];
        let all = scores(regular, vec![sidecar(0), sidecar(3 * GIB)]);
        assert_eq!(all, [750, 500, 750, 250]);
    }
}
