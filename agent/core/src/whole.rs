//! What a pod as a whole may use: the limits of its cgroup. Pure.

use bramble_wire::object::{Container, Pod, Resources};

/// Requests and limits of a pod, by the kubelet's rules (`ResourceConfigForPod`): containers and sidecars
/// together, or the greediest init container with the sidecars before it, whichever is more. A limit
/// counts only where every container has one.
pub fn resources(pod: &Pod) -> Resources {
    let most = |amount: fn(&Resources) -> Option<u64>| {
        let of = |container: &Container| amount(&container.resources).unwrap_or(0);
        let (mut sidecars, mut greediest) = (0u64, 0u64);
        for init in &pod.init_containers {
            if init.sidecar {
                sidecars = sidecars.saturating_add(of(init));
                greediest = greediest.max(sidecars);
            } else {
                greediest = greediest.max(sidecars.saturating_add(of(init)));
            }
        }
        let together = pod
            .containers
            .iter()
            .map(of)
            .fold(sidecars, u64::saturating_add);
        together.max(greediest)
    };
    let all = |amount: fn(&Resources) -> Option<u64>| {
        let mut every = pod.containers.iter().chain(&pod.init_containers);
        every.all(|c| amount(&c.resources).is_some_and(|limit| limit > 0))
    };
    let limit = |amount: fn(&Resources) -> Option<u64>| all(amount).then(|| most(amount));
    let request = |amount: fn(&Resources) -> Option<u64>| Some(most(amount)).filter(|n| *n > 0);
    Resources {
        cpu_request_milli: request(|r| r.cpu_request_milli),
        cpu_limit_milli: limit(|r| r.cpu_limit_milli),
        memory_request_bytes: request(|r| r.memory_request_bytes),
        memory_limit_bytes: limit(|r| r.memory_limit_bytes),
        ..Resources::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(cpu: Option<u64>, memory: Option<u64>, sidecar: bool) -> Container {
        Container {
            resources: Resources {
                cpu_request_milli: cpu,
                memory_limit_bytes: memory,
                ..Resources::default()
            },
            sidecar,
            ..Container::default()
        }
    }

    #[test]
    fn a_pod_is_limited_by_the_sum_where_every_container_is() {
        let pod = |containers: &[Container], init_containers: &[Container]| {
            let found = resources(&Pod {
                containers: containers.to_vec(),
                init_containers: init_containers.to_vec(),
                ..Pod::default()
            });
            (found.cpu_request_milli, found.memory_limit_bytes)
        };
        let (a, b) = (
            container(Some(100), Some(10), false),
            container(None, Some(20), false),
        );
        let open = container(Some(50), None, false);
        let sidecar = container(Some(1), Some(5), true);
        let greedy = container(Some(500), Some(100), false);
        assert_eq!(pod(&[a.clone(), b.clone()], &[]), (Some(100), Some(30)));
        assert_eq!(pod(&[a.clone(), open.clone()], &[]), (Some(150), None));
        assert_eq!(pod(std::slice::from_ref(&a), &[open]), (Some(100), None));
        assert_eq!(
            pod(std::slice::from_ref(&a), std::slice::from_ref(&sidecar)),
            (Some(101), Some(15))
        );
        assert_eq!(pod(&[a, b], &[sidecar, greedy]), (Some(501), Some(105)));
        assert_eq!(pod(&[container(None, None, false)], &[]), (None, None));
    }
}
