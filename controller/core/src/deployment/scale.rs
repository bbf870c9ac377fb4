//! How large each ReplicaSet is to be: surge and unavailability, and proportional scaling.

use serde_json::{Value, json};

use super::{DESIRED_REPLICAS, MAX_REPLICAS, Sync};
use bramble_api::view::IntOrPercent;

/// Surge and unavailability in pods. When both come out as 0 nothing could move, so one pod may be
/// missing.
fn bounds(sync: &Sync<'_>) -> (i32, i32) {
    let rolling = &sync.deployment.spec.strategy.rolling_update;
    let quarter = IntOrPercent::Percent(25);
    let replicas = sync.replicas();
    let surge = rolling.max_surge.unwrap_or(quarter).of(replicas, true);
    let unavailable = rolling
        .max_unavailable
        .unwrap_or(quarter)
        .of(replicas, false);
    if surge == 0 && unavailable == 0 {
        (0, 1)
    } else {
        (surge, unavailable)
    }
}

/// Pods above the wanted number.
pub(super) fn max_surge(sync: &Sync<'_>) -> i32 {
    if sync.is_rolling() { bounds(sync).0 } else { 0 }
}

/// Pods that may be missing.
pub(super) fn max_unavailable(sync: &Sync<'_>) -> i32 {
    let replicas = sync.replicas();
    if sync.is_rolling() && replicas > 0 {
        bounds(sync).1.min(replicas)
    } else {
        0
    }
}

/// The size that the newest ReplicaSet, now of `current`, may have.
pub(super) fn new_replicas(sync: &Sync<'_>, current: i32) -> i32 {
    let replicas = sync.replicas();
    if !sync.is_rolling() {
        return replicas;
    }
    let room = replicas + max_surge(sync) - sync.total();
    if room <= 0 {
        current
    } else {
        current + room.min(replicas - current)
    }
}

impl Sync<'_> {
    /// Gives a ReplicaSet a size, with the annotations that go with it; true when that is a change
    /// of size.
    fn resize(&mut self, index: usize, replicas: i32) -> bool {
        let set = self.sets[index].clone();
        let annotations = self.size_annotations();
        let current = |key: &String| set.seen.metadata.annotations.get(key).map(String::as_str);
        let stale = annotations
            .iter()
            .any(|(key, value)| current(key) != value.as_str());
        let resized = set.replicas != replicas;
        if !resized && !stale {
            return false;
        }
        let mut patch = json!({"metadata": {"annotations": annotations}});
        let note = resized.then(|| {
            patch["spec"] = json!({"replicas": replicas});
            let direction = if replicas > set.replicas {
                "up"
            } else {
                "down"
            };
            let (name, from) = (set.name(), set.replicas);
            let message =
                format!("Scaled {direction} replica set {name} from {from} to {replicas}");
            self.note("ScalingReplicaSet", message)
        });
        self.sets[index].replicas = replicas;
        self.patch_set(set.seen, patch, note);
        resized
    }

    /// Moves the newest ReplicaSet towards its size.
    pub(super) fn grow_new(&mut self) -> bool {
        let Some(index) = self.newest else {
            return false;
        };
        let (current, wanted) = (self.sets[index].replicas, self.replicas());
        if current == wanted {
            return false;
        }
        let size = if current > wanted {
            wanted
        } else {
            new_replicas(self, current)
        };
        size != current && self.resize(index, size)
    }

    /// Takes pods from old ReplicaSets as far as enough are available: first those that do not work.
    pub(super) fn shrink_old(&mut self) -> bool {
        let old: Vec<usize> = (0..self.sets.len())
            .filter(|index| self.is_old(*index) && self.sets[*index].replicas > 0)
            .collect();
        if old.is_empty() {
            return false;
        }
        let min_available = self.replicas() - max_unavailable(self);
        let new_unavailable = self
            .new_set()
            .map_or(0, |set| set.replicas - set.available());
        let mut sizes: Vec<i32> = old.iter().map(|index| self.sets[*index].replicas).collect();

        let mut broken = self.total() - min_available - new_unavailable;
        if broken <= 0 {
            return false;
        }
        for (size, index) in sizes.iter_mut().zip(&old) {
            let take = (*size - self.sets[*index].available()).clamp(0, broken);
            *size -= take;
            broken -= take;
        }
        let available: i32 = self.sets.iter().map(super::Set::available).sum();
        let mut working = available - min_available;
        for size in &mut sizes {
            let take = (*size).min(working).max(0);
            *size -= take;
            working -= take;
        }
        let mut moved = false;
        for (size, index) in sizes.into_iter().zip(old) {
            if size != self.sets[index].replicas {
                moved |= self.resize(index, size);
            }
        }
        moved
    }

    /// Recreate: every old ReplicaSet to nothing.
    pub(super) fn stop_old(&mut self) -> bool {
        let mut moved = false;
        for index in 0..self.sets.len() {
            if self.is_old(index) && self.sets[index].replicas > 0 {
                moved |= self.resize(index, 0);
            }
        }
        moved
    }

    /// Whether the Deployment's size has changed since its ReplicaSets were sized.
    pub(super) fn is_scaling(&self) -> bool {
        self.sets.iter().filter(|set| set.replicas > 0).any(|set| {
            number(set, DESIRED_REPLICAS).is_some_and(|desired| desired != self.replicas())
        })
    }

    /// Follows a change of size: all of it for a single ReplicaSet, shares in a running roll-out.
    pub(super) fn scale(&mut self) {
        let active: Vec<usize> = (0..self.sets.len())
            .filter(|index| self.sets[*index].replicas > 0)
            .collect();
        let only = match active.as_slice() {
            [] => self.newest.or_else(|| self.sets.len().checked_sub(1)),
            [one] => Some(*one),
            _ => None,
        };
        if let Some(index) = only {
            self.resize(index, self.replicas());
        } else if self.is_saturated() {
            self.stop_old();
        } else if self.is_rolling() {
            self.share(active);
        }
    }

    fn is_saturated(&self) -> bool {
        self.new_set().is_some_and(|set| {
            let wanted = self.replicas();
            set.replicas == wanted
                && number(set, DESIRED_REPLICAS) == Some(wanted)
                && set.available() == wanted
        })
    }

    /// Proportional scaling: each ReplicaSet gets its share, the first in order what is left.
    fn share(&mut self, mut active: Vec<usize>) {
        let wanted = self.replicas();
        let allowed = if wanted > 0 {
            wanted + max_surge(self)
        } else {
            0
        };
        let to_add = allowed - self.total();
        let newer = to_add > 0;
        active.sort_by_key(|index| {
            let age = if newer { -cast(*index) } else { cast(*index) };
            (-i64::from(self.sets[*index].replicas), age)
        });
        let mut added = 0;
        let mut sizes: Vec<i32> = Vec::with_capacity(active.len());
        for index in &active {
            let set = &self.sets[*index];
            let left = to_add - added;
            let part = if to_add == 0 || left == 0 {
                0
            } else {
                self.fraction(*index)
            };
            let part = if to_add > 0 {
                part.min(left)
            } else {
                part.max(left)
            };
            added += part;
            sizes.push(set.replicas + part);
        }
        if let Some(first) = sizes.first_mut() {
            *first = (*first + to_add - added).max(0);
        }
        for (index, size) in active.into_iter().zip(sizes) {
            self.resize(index, size);
        }
    }

    fn fraction(&self, index: usize) -> i32 {
        let set = &self.sets[index];
        let wanted = self.replicas();
        if wanted == 0 {
            return -set.replicas;
        }
        let max_before = number(set, MAX_REPLICAS)
            .filter(|max| *max != 0)
            .unwrap_or(self.deployment.status.replicas);
        if max_before == 0 {
            return 0;
        }
        let max_now = f64::from(wanted + max_surge(self));
        let size = (f64::from(set.replicas) * max_now / f64::from(max_before)).round();
        // Both factors are 32 bit, and a share is at most the whole.
        #[allow(clippy::cast_possible_truncation)]
        let size = size as i32;
        size - set.replicas
    }
}

fn number(set: &super::Set<'_>, annotation: &str) -> Option<i32> {
    set.seen.metadata.annotations.get(annotation)?.parse().ok()
}

fn cast(index: usize) -> i64 {
    i64::try_from(index).unwrap_or(i64::MAX)
}

/// A count that is absent when 0, as upstream prints it.
pub(super) fn count(n: i32) -> Value {
    if n == 0 { Value::Null } else { n.into() }
}
