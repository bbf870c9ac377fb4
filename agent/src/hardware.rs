//! The board that the card is in. A card that comes up in another board than before was moved there, or is
//! a copy of one that goes on running where it was: nobody on this board can tell. So what may run only
//! once waits until the controller has taken this board for the node; everything else starts as ever.

use bramble_agent_core::plan::Durability;
use bramble_wire::version::HardwareId;

use crate::state::{Change, Contents, Error, State};

/// Remembers which board this is. `true` when it is another one than before: then pods that must not run
/// twice have lost their permission, and keys that nobody has seen yet are forgotten, as another board may
/// join with them. All of it is on disk, or nothing.
///
/// # Errors
/// [`Error`].
pub async fn settle(
    state: &State,
    contents: &mut Contents,
    own: Option<HardwareId>,
) -> Result<bool, Error> {
    let Some(own) = own.filter(|own| contents.hardware != Some(*own)) else {
        return Ok(false);
    };
    let moved = contents.hardware.replace(own).is_some();
    let mut changes = vec![Change::Hardware(own)];
    if moved {
        for (uid, memory) in contents.pods.iter_mut().filter(|(_, pod)| pod.cleared) {
            memory.cleared = false;
            changes.push(Change::Pod(*uid, Some(Box::new(memory.clone()))));
        }
        if contents.membership.is_none() {
            contents.keys = None;
        }
        tracing::warn!(hardware = %own, "this card was in another board before");
    }
    state.commit(changes, Durability::Hard).await?;
    Ok(moved)
}

#[cfg(test)]
mod tests {
    use bramble_agent_core::memory::PodMemory;
    use bramble_wire::object::PodUid;

    use super::*;
    use crate::identity;

    const FIRST: HardwareId = HardwareId([1; 16]);
    const OTHER: HardwareId = HardwareId([2; 16]);

    fn uid(n: u8) -> PodUid {
        PodUid([n; 16])
    }

    #[tokio::test]
    async fn another_board_takes_no_permission_along() {
        let directory = tempfile::tempdir().unwrap();
        let (state, mut contents) = State::open(directory.path()).unwrap();
        assert!(!settle(&state, &mut contents, Some(FIRST)).await.unwrap());
        for (n, cleared) in [(1, true), (2, false)] {
            let memory = PodMemory {
                cleared,
                ..PodMemory::default()
            };
            contents.pods.insert(uid(n), memory.clone());
            let change = Change::Pod(uid(n), Some(Box::new(memory)));
            state.commit(vec![change], Durability::Hard).await.unwrap();
        }
        for same in [Some(FIRST), None] {
            assert!(!settle(&state, &mut contents, same).await.unwrap());
            assert!(contents.pods[&uid(1)].cleared);
        }
        assert!(settle(&state, &mut contents, Some(OTHER)).await.unwrap());
        assert!(!contents.pods[&uid(1)].cleared);
        assert!(!settle(&state, &mut contents, Some(OTHER)).await.unwrap());

        drop(state);
        let after = crate::state::read(directory.path());
        assert_eq!(after.hardware, Some(OTHER));
        assert!(after.pods.values().all(|pod| !pod.cleared));
        assert_eq!(after.pods.len(), 2);
    }

    #[tokio::test]
    async fn a_copy_of_a_card_that_has_not_joined_makes_keys_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let (state, mut contents) = State::open(directory.path()).unwrap();
        contents.keys = Some(identity::generate().unwrap());
        settle(&state, &mut contents, Some(FIRST)).await.unwrap();
        assert!(contents.keys.is_some());
        settle(&state, &mut contents, Some(OTHER)).await.unwrap();
        assert!(contents.keys.is_none());
    }
}
