//! How well a node suits a pod, among those that can take it.

use bramble_api::view::{Node, Pod};

use super::{Amount, Place};

/// What a pod without requests is taken to need, so that such pods spread too. As upstream.
const CPU_DEFAULT_MILLI: u64 = 100;
const MEMORY_DEFAULT: u64 = 200 << 20;

/// Higher is better. Spreading the pods of one owner counts most, then avoiding soft taints, then
/// the share of the node that stays free.
pub(super) fn of(pod: &Pod, wants: Amount, place: &Place, node: &Node) -> u64 {
    let siblings = pod
        .metadata
        .controller()
        .and_then(|owner| place.siblings.get(&owner.uid));
    let spread = 10_000u64.saturating_sub(u64::from(siblings.copied().unwrap_or(0)));
    let soft = node.spec.taints.iter().filter(|taint| {
        taint.effect == "PreferNoSchedule"
            && !pod
                .spec
                .tolerations
                .iter()
                .any(|toleration| toleration.tolerates(taint))
    });
    let soft = 100u64.saturating_sub(u64::try_from(soft.count()).unwrap_or(100));
    (spread * 1_000 + soft) * 100_000 + free(wants, place)
}

/// Mean of the free shares of processor, memory and pods after the pod came, in ten-thousandths.
fn free(wants: Amount, place: &Place) -> u64 {
    let has = place.allocatable;
    let share = |has: u64, used: u64, want: u64| {
        if has == 0 {
            return 0;
        }
        let left = has.saturating_sub(used.saturating_add(want));
        u64::try_from(u128::from(left) * 10_000 / u128::from(has)).unwrap_or(0)
    };
    let cpu = wants.cpu_milli.max(CPU_DEFAULT_MILLI);
    let memory = wants.memory.max(MEMORY_DEFAULT);
    (share(has.cpu_milli, place.used.cpu_milli, cpu)
        + share(has.memory, place.used.memory, memory)
        + share(has.pods, place.used.pods, wants.pods))
        / 3
}
