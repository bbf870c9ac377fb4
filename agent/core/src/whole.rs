//! What a pod as a whole may use: the limits of its cgroup, and of its part of the disk. Pure.

use bramble_wire::object::{Container, Pod, Resources};
use serde::{Deserialize, Serialize};

/// Limits of `ephemeral-storage`: root file systems, logs and emptyDirs on disk.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Storage {
    /// Of all together; `None`: no container has one.
    pub pod_bytes: Option<u64>,
    /// Of containers that have one, by name: without the emptyDirs, which are the pod's.
    pub containers: Vec<(String, u64)>,
}

/// Requests and limits of a pod, by the kubelet's rules (`ResourceConfigForPod`): containers and sidecars
/// together, or the greediest init container with the sidecars before it, whichever is more. A limit
/// counts only where every container has one.
pub fn resources(pod: &Pod) -> Resources {
    let most = |amount: fn(&Resources) -> Option<u64>| most(pod, amount);
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

/// What a pod may use of the disk, as the kubelet's eviction by local storage has it: the limits that
/// there are count, whether every container has one or not; a container's own holds for those that
/// are not init containers.
pub fn storage(pod: &Pod) -> Storage {
    let limit = |container: &Container| {
        let limit = container.resources.storage_limit_bytes;
        limit.filter(|bytes| *bytes > 0)
    };
    let own = |container: &Container| Some((container.name.clone(), limit(container)?));
    let together = most(pod, |resources| resources.storage_limit_bytes);
    Storage {
        pod_bytes: Some(together).filter(|bytes| *bytes > 0),
        containers: pod.containers.iter().filter_map(own).collect(),
    }
}

/// Containers and sidecars together, or the greediest init container with the sidecars before it.
fn most(pod: &Pod, amount: fn(&Resources) -> Option<u64>) -> u64 {
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

    #[test]
    fn of_the_disk_every_limit_counts() {
        let container = |name: &str, bytes| Container {
            name: name.into(),
            resources: Resources {
                storage_limit_bytes: bytes,
                ..Resources::default()
            },
            ..Container::default()
        };
        let mut pod = Pod {
            containers: vec![container("a", Some(5)), container("b", None)],
            ..Pod::default()
        };
        let found = storage(&pod);
        assert_eq!(found.pod_bytes, Some(5));
        assert_eq!(found.containers, [("a".to_owned(), 5)]);
        pod.init_containers = vec![container("i", Some(7))];
        assert_eq!(storage(&pod).pod_bytes, Some(7));
        assert_eq!(storage(&Pod::default()), Storage::default());
    }
}
