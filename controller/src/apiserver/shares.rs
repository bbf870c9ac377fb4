//! What one user may take of what all share: requests under way, and watches.
//!
//! One program that goes wrong, or a pod that was taken over, must not keep everybody else out. The
//! accounts of a namespace count as one, as whoever may make one may make many; and the last places are
//! the administrators', so that somebody can always put things right.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::authn::{Identity, MASTERS};

/// The administrators' part of all places: one in so many.
const RESERVED: usize = 8;

/// Places of one sort.
#[derive(Debug)]
pub(crate) struct Shares {
    places: Arc<Semaphore>,
    reserved: usize,
    per_user: usize,
    users: Users,
}

/// How many each user has.
type Users = Arc<Mutex<HashMap<String, usize>>>;

/// A place that is taken; dropping it frees it.
#[derive(Debug)]
pub(crate) struct Share {
    _permit: OwnedSemaphorePermit,
    /// Whose count it is in, if in any.
    user: Option<(Users, String)>,
}

/// Under which name a user is counted.
fn counted(user: &str) -> &str {
    let account = user.strip_prefix("system:serviceaccount:");
    let named = account.and_then(|account| account.rfind(':').map(|at| (account, at)));
    named.map_or(user, |(account, at)| {
        &user[..user.len() - account.len() + at]
    })
}

impl Shares {
    pub(super) fn new(places: usize, per_user: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places)),
            reserved: places / RESERVED,
            per_user,
            users: Arc::default(),
        }
    }

    /// A place, unless there is none left for this user.
    pub(crate) fn take(&self, identity: &Identity) -> Option<Share> {
        let permit = self.places.clone().try_acquire_owned().ok()?;
        if identity.is_in(MASTERS) {
            return Some(Share {
                _permit: permit,
                user: None,
            });
        }
        if self.places.available_permits() < self.reserved {
            return None;
        }
        let user = counted(&identity.user);
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let count = users.get(user).copied().unwrap_or(0);
        if count >= self.per_user {
            return None;
        }
        users.insert(user.to_owned(), count + 1);
        Some(Share {
            _permit: permit,
            user: Some((self.users.clone(), user.to_owned())),
        })
    }

    /// Places that nobody has.
    pub(crate) fn available_permits(&self) -> usize {
        self.places.available_permits()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let Some((users, user)) = &self.user else {
            return;
        };
        let mut users = users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = users.get_mut(user) {
            *count -= 1;
            if *count == 0 {
                users.remove(user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(user: &str, group: &str) -> Identity {
        Identity {
            user: user.to_owned(),
            groups: vec![group.to_owned()],
            ..Identity::default()
        }
    }

    #[test]
    fn nobody_takes_everything_and_the_last_places_are_the_administrators() {
        let shares = Shares::new(16, 8);
        let (ann, bob, admin) = (who("ann", "g"), who("bob", "g"), who("admin", MASTERS));
        let mut held: Vec<Share> = (0..8).map(|_| shares.take(&ann).unwrap()).collect();
        assert!(shares.take(&ann).is_none());
        held.extend((0..6).map(|_| shares.take(&bob).unwrap()));
        assert!(shares.take(&bob).is_none());
        assert!(shares.take(&who("eve", "g")).is_none());
        held.extend((0..2).map(|_| shares.take(&admin).unwrap()));
        assert!(shares.take(&admin).is_none());
        held.clear();
        assert_eq!(shares.available_permits(), 16);
        assert!(shares.users.lock().unwrap().is_empty());
    }

    #[test]
    fn accounts_of_a_namespace_are_one() {
        for (user, want) in [
            ("system:serviceaccount:ns:a", "system:serviceaccount:ns"),
            ("system:serviceaccount:ns", "system:serviceaccount:ns"),
            ("system:node:pi", "system:node:pi"),
            ("a:b", "a:b"),
        ] {
            assert_eq!(counted(user), want);
        }
    }
}
